# SPDX-License-Identifier: MIT
"""onboard-segments on real servers: a user's document through creation, change and deletion in any
order, e-mails that are unique, and what is recommended to one who is new."""
import contextlib
import datetime
import json
import os
import subprocess

import pymongo
import pytest
from daemon import BUILD
from pipeline import event, metric, properties, user_event
from wait import wait_until

QUEUE, SECONDS = "user_segment_queue", 10
LINGER = {"ONBOARD_CONSUMER_LINGER": "2s"}
numbers = iter(range(8000000000000000, 8000000001000000))


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global PIPE, USERS, KV
    PIPE, USERS, KV = pipe, pipe.mongo[pipe.place.name]["users"], pipe.kv
    PIPE.env["ONBOARD_TOPOLOGY_CONSUMERS"] = "segments"
    subprocess.run([os.path.join(BUILD, "bin/onboardctl"), "topology", "declare"], check=True,
                   env=os.environ | PIPE.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def running(**env):
    with PIPE.daemon("onboard-segments", **env) as daemon:
        daemon.wait_ready()
        yield daemon
        assert daemon.terminate() == 0


def done(daemon, count, outcome="done", seconds=SECONDS):
    wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total", outcome=outcome) == count, seconds,
               f"{count} deliveries are {outcome}")


def in_one_batch(daemon, *events):
    """The daemon was started with LINGER; its first event goes alone, as after every start."""
    PIPE.publish(event("login", {"user_id": next(numbers)}))
    done(daemon, 1)
    with PIPE.channel(confirm=False) as channel:  # at once: a confirm for each could take longer than LINGER
        for one in events:
            channel.basic_publish("user_events", one["type"], json.dumps(one).encode(), properties(one))
    wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total") == 1 + len(events), SECONDS, "a batch is handled")
    assert metric(daemon, "onboard_consumer_batches_total") == 2


def user(user_id):
    return USERS.find_one({"_id": user_id})


def picks(user_id):
    return f"recommendations:user:{user_id}"


def when(one):
    """An event's time as MongoDB keeps it."""
    at = datetime.datetime.fromisoformat(one["timestamp"].replace("Z", ""))
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def deleted(user_id, version):
    return event("deleted", {"user_id": user_id, "version": version})


def beginning(one, **more):
    """The whole document of a user who is new."""
    p = one["payload"]
    return {"_id": p["user_id"], "username": p["username"], "email": p["email"], "created_at": when(one),
            "segments": ["new_user"], "segment": "new_user", "churn_risk": 0.05, "ltv_prediction": 500.0, "profile_score": 50.0,
            "why": "no purchase, registered within 30 days", "version": p["version"], "updated_at": when(one)} | more


def test_D2_a_new_user():
    one = user_event("created", next(numbers), "Ann", country="LV", name="Ann Lee")
    ident = one["payload"]["user_id"]
    with running() as daemon:
        PIPE.publish(one)
        done(daemon, 1)
        assert user(ident) == beginning(one), user(ident)
        assert json.loads(KV.get(picks(ident))) == {"user_id": ident, "items": [], "cached": True}
        assert 3590 < KV.ttl(picks(ident)) <= 3600
        index = next(i for i in USERS.list_indexes() if i["name"] == "email_1")
        assert dict(index["key"]) == {"email": 1} and index["unique"] and index["sparse"], index


def test_D5_what_is_popular_is_recommended():
    first, second, third = (user_event("created", next(numbers)) for _ in range(3))
    ident = lambda one: one["payload"]["user_id"]
    KV.zadd("trending:products", {f"PROD-{n:03}": n + 0.5 for n in range(12)} | {'odd "one"': 100, "endless": float("inf")})
    with running() as daemon:
        PIPE.publish(first)
        done(daemon, 1)
        got = json.loads(KV.get(picks(ident(first))))
        assert (got["user_id"], got["cached"], set(got)) == (ident(first), True, {"user_id", "items", "cached"})
        items = got["items"]
        assert items[0] == {"product_id": 'odd "one"', "name": None, "score": 100, "reason": "popular"}, items[0]
        assert [i["product_id"] for i in items[1:]] == [f"PROD-{n:03}" for n in range(11, 3, -1)], items
        assert items[1]["score"] == 11.5 and len(items) <= 10
        # what is there for a user stays, and what is missing comes with the event's second delivery
        KV.set(picks(ident(second)), "better")
        KV.delete(picks(ident(first)))
        PIPE.publish(second, first)
        done(daemon, 3)
        assert KV.get(picks(ident(second))) == "better" and json.loads(KV.get(picks(ident(first))))["items"] == items
        # another's keys of those names hold nobody up
        KV.lpush(picks(ident(third)), "no text")
        KV.delete("trending:products")
        KV.set("trending:products", "no sorted set")
        PIPE.publish(third)
        done(daemon, 4)
        assert json.loads(KV.get(picks(ident(third))))["items"] == []
    KV.delete("trending:products")


def test_R6_twenty_copies_are_one_document():
    one = user_event("created", next(numbers), "Twenty")
    changed = user_event("updated", one["payload"]["user_id"], "Twenty2", version=2)
    ident = one["payload"]["user_id"]
    with running() as daemon:
        PIPE.publish(one, times=20)
        done(daemon, 20)
        assert user(ident) == beginning(one)
        PIPE.publish(changed, one, times=10)
        done(daemon, 40)
        wanted = beginning(one, username="Twenty2", email="twenty2@example.com", version=2, updated_at=when(changed))
        assert user(ident) == wanted, user(ident)
        assert USERS.count_documents({"_id": ident}) == 1


def test_changes_by_version():
    ident = next(numbers)
    one = user_event("created", ident, "name1")
    changes = {v: user_event("updated", ident, f"name{v}", version=v) for v in (2, 3)}
    with running() as daemon:
        for n, event_now in enumerate((one, changes[3], changes[2], one), 1):
            PIPE.publish(event_now)
            done(daemon, n)
        wanted = beginning(one, username="name3", email="name3@example.com", version=3, updated_at=when(changes[3]))
        assert user(ident) == wanted, user(ident)
        # one who does not count versions: each of them is 1, the last one stands
        plain = user_event("updated", other := next(numbers), "plain1")
        PIPE.publish(user_event("created", other, "plain0"))
        done(daemon, 5)
        del plain["payload"]["version"]
        PIPE.publish(plain)
        done(daemon, 6)
        assert user(other)["username"] == "plain1"


def test_created_after_updated():
    ident = next(numbers)
    one = user_event("created", ident, "early", name="Early")
    one["timestamp"] = "2026-01-02T03:04:05.678901Z"
    changed = user_event("updated", ident, "later", version=2)
    with running() as daemon:
        PIPE.publish(changed)
        done(daemon, 1)
        assert user(ident) == beginning(changed), user(ident)
        PIPE.publish(one)
        done(daemon, 2)
        wanted = beginning(changed, created_at=datetime.datetime(2026, 1, 2, 3, 4, 5, 678000))
        assert user(ident) == wanted, user(ident)
        assert KV.exists(picks(ident))


def test_deleted_stays_deleted():
    ident, never = next(numbers), next(numbers)
    one, late = user_event("created", ident, "gone"), user_event("updated", ident, "gone2", version=2)
    end, end_of_never = deleted(ident, 3), deleted(never, 1)
    with running() as daemon:
        PIPE.publish(one)
        done(daemon, 1)
        KV.set(f"personalized:user:{ident}", "{}")
        PIPE.publish(end, end_of_never)
        done(daemon, 3)
        stone = {"_id": ident, "deleted_at": when(end), "version": 3}
        assert user(ident) == stone, user(ident)
        assert user(never) == {"_id": never, "deleted_at": when(end_of_never), "version": 1}
        assert not KV.exists(picks(ident), f"personalized:user:{ident}")
        revived = user_event("updated", ident, "revived", version=9)
        PIPE.publish(one, late, revived, user_event("created", never), deleted(ident, 2), end)
        done(daemon, 9)
        assert user(ident) == stone, user(ident)
        assert set(user(never)) == {"_id", "deleted_at", "version"}
        assert not KV.exists(picks(ident), picks(never))


def test_many_events_of_one_user_in_one_batch():
    ident, gone = next(numbers), next(numbers)
    one, two, three = (user_event(kind, ident, f"batch{v}", version=v)
                       for kind, v in (("created", 1), ("updated", 2), ("updated", 3)))
    end = deleted(gone, 2)
    with running(**LINGER) as daemon:
        in_one_batch(daemon, three, one, user_event("created", gone), two, end, one, event("login", {"user_id": ident}))
        done(daemon, 8)
        wanted = beginning(one, username="batch3", email="batch3@example.com", version=3, updated_at=when(three))
        assert user(ident) == wanted, user(ident)
        assert user(gone) == {"_id": gone, "deleted_at": when(end), "version": 2}
        assert KV.exists(picks(ident)) and not KV.exists(picks(gone))


def test_an_email_that_is_taken_waits_for_the_others_change():
    holder, comer = next(numbers), next(numbers)
    first = user_event("created", holder, "holder")
    wants = user_event("created", comer, "comer")
    wants["payload"]["email"] = first["payload"]["email"]
    with running() as daemon:
        PIPE.publish(first)
        done(daemon, 1)
        PIPE.publish(wants)
        done(daemon, 1, "retry")
        assert user(comer) is None and not KV.exists(picks(comer))
        PIPE.publish(user_event("updated", holder, "moved", version=2))
        done(daemon, 3)
        assert user(comer) == beginning(wants) and user(holder)["email"] == "moved@example.com"
        assert KV.exists(picks(comer))
        # the same for one who exists already
        PIPE.publish(user_event("updated", holder, "moved", version=3, email=first["payload"]["email"]))
        done(daemon, 2, "retry")
        assert user(holder)["version"] == 2
        PIPE.publish(deleted(comer, 2))
        done(daemon, 5)
        assert user(holder)["email"] == first["payload"]["email"] and user(holder)["version"] == 3
    assert PIPE.depth("user.dlq") == 0


def test_an_email_that_stays_taken_is_exhausted():
    first, wants = user_event("created", next(numbers), "stays"), user_event("created", next(numbers), "loser")
    wants["payload"]["email"] = "STAYS@example.com"  # the same one
    with running() as daemon:
        PIPE.publish(first)
        done(daemon, 1)
        PIPE.publish(wants)
        wait_until(lambda: PIPE.depth("user.dlq") == 1, 12, "a dead letter")
        body, props, _, _ = PIPE.take("user.dlq")[0]
        assert json.loads(body) == wants
        said = {k: props.headers[f"x-{k}"] for k in ("consumer", "error-class", "retry-count", "original-queue")}
        assert said == {"consumer": "segments", "error-class": "exhausted", "retry-count": 3, "original-queue": QUEUE}, said
        assert props.headers["x-error"] == "another user has this e-mail", props.headers["x-error"]
        assert user(wants["payload"]["user_id"]) is None
        assert "stays@" not in daemon.log().lower(), "an address in the log"


def test_an_email_that_is_freed_can_be_had_at_once():
    old, new, newest = next(numbers), next(numbers), next(numbers)
    with running() as daemon:
        PIPE.publish(user_event("created", old, "free"))
        done(daemon, 1)
        PIPE.publish(deleted(old, 2))
        done(daemon, 2)
        PIPE.publish(user_event("created", new, "free"))
        done(daemon, 3)
    # and within one batch, even where the one who comes stands before the one who goes
    with running(**LINGER) as daemon:
        in_one_batch(daemon, user_event("created", newest, "free"), deleted(new, 2))
        done(daemon, 3)
        assert user(newest)["email"] == "free@example.com" and "email" not in user(new)


def test_one_event_that_cannot_be_written_fails_no_other():
    holder, other = next(numbers), next(numbers)
    taken = user_event("created", holder, "taken")
    with running() as daemon:
        PIPE.publish(taken)
        done(daemon, 1)
    one = user_event("created", other, "other")
    with running(**LINGER) as daemon:
        in_one_batch(daemon, one, user_event("updated", other, "taken", version=2), user_event("created", fine := next(numbers)))
        done(daemon, 3)
        assert metric(daemon, "onboard_consumer_deliveries_total", outcome="retry") == 1
        assert user(other) == beginning(one) and user(fine)
        PIPE.publish(deleted(holder, 2))
        done(daemon, 5)
        assert (user(other)["email"], user(other)["version"]) == ("taken@example.com", 2)


def test_two_at_once_keep_the_newest():
    """Created and updated of one user at the same moment in two processes."""
    idents = [next(numbers) for _ in range(150)]
    slow = {"ONBOARD_CONSUMER_BATCH": "1", "ONBOARD_CONSUMER_PREFETCH": "1"}
    for ident in idents:
        PIPE.publish(user_event("created", ident), user_event("updated", ident, f"n{ident}", version=2))
    with running(**slow) as one, running(**slow) as two:
        both = lambda outcome: sum(metric(d, "onboard_consumer_deliveries_total", outcome=outcome) for d in (one, two))
        wait_until(lambda: both("done") == 2 * len(idents), 60, "all are done")
        print(f"# {both('retry')} retries")
        versions = [d["version"] for d in USERS.find({"_id": {"$in": idents}})]
        assert versions == [2] * len(idents), [i for i in idents if user(i)["version"] != 2]


def test_activity_of_a_user_not_yet_seen():
    ident = next(numbers)
    with running() as daemon:
        PIPE.publish(event("login", {"user_id": ident, "metadata": {"email": "x@example.com"}}),
                     event("purchase", {"user_id": ident, "metadata": {"price": 9.5}}))
        done(daemon, 2)
        assert "email" not in (user(ident) or {})
        one = user_event("created", ident, "seen")
        PIPE.publish(one)
        done(daemon, 3)
        assert user(ident) == beginning(one)


def index_there():
    return any(i["name"] == "email_1" and i.get("unique") for i in USERS.list_indexes())


def test_an_index_that_somebody_drops_is_made_again():
    with running(ONBOARD_TOPOLOGY_CHECK_EVERY="1s") as daemon:
        USERS.drop_index("email_1")
        wait_until(index_there, SECONDS, "it is made again")
        wait_until(lambda: '"index":"email_1"' in daemon.log(), SECONDS, "the log says so")
        wait_until(lambda: metric(daemon, "onboard_consumer_indexes_missing") == 0, SECONDS, "none is missing")


def test_two_documents_with_one_e_mail():
    """The index cannot be made. The daemon says whose documents they are, works on, and makes it once they differ."""
    first, second = next(numbers), next(numbers)
    email = f"u{first}@example.com"
    with running(ONBOARD_TOPOLOGY_CHECK_EVERY="1s") as daemon:
        USERS.insert_one({"_id": first, "email": email, "version": 1})

        def inserted():
            with contextlib.suppress(pymongo.errors.OperationFailure):  # it may just have made the index again
                USERS.drop_index("email_1")
            with contextlib.suppress(pymongo.errors.DuplicateKeyError):
                return USERS.insert_one({"_id": second, "email": email, "version": 1})

        wait_until(inserted, SECONDS, "a second document")
        wait_until(lambda: daemon.ask_json("/ready")[1]["status"] == "degraded", SECONDS, "it says that it lacks something")
    with running(ONBOARD_TOPOLOGY_CHECK_EVERY="1s") as daemon:
        status, said = daemon.ask_json("/ready")
        assert status == 200 and said["status"] == "degraded", said
        assert "email_1" in said["notice"] and str(first) in said["notice"] and str(second) in said["notice"], said
        assert metric(daemon, "onboard_consumer_indexes_missing") == 1
        one = user_event("created", next(numbers))
        PIPE.publish(one)
        done(daemon, 1)
        assert user(one["payload"]["user_id"]) == beginning(one)
        doctor = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), "doctor"], env=os.environ | PIPE.env, timeout=60,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
        assert str(first) in doctor and str(second) in doctor and "rebuild segments" in doctor, doctor
        assert email not in doctor and email not in daemon.log()
        USERS.update_one({"_id": second}, {"$unset": {"email": ""}})
        wait_until(index_there, SECONDS, "it is made")
        wait_until(lambda: (said := daemon.ask_json("/ready")[1])["status"] == "ready" and "notice" not in said and
                   metric(daemon, "onboard_consumer_indexes_missing") == 0, SECONDS, "ready")
    USERS.delete_many({"_id": {"$in": [first, second]}})


def test_nothing_waits_or_is_dead_at_the_end():
    for queue in PIPE.place.queues():
        assert PIPE.depth(queue) == 0, queue
