# SPDX-License-Identifier: MIT
"""The consumer runtime, onboard-eventlog and onboard-cache on real servers: an event's way into the
stores, twice is once, retries, dead letters, poison, stale versions, a deleted user."""
import collections
import contextlib
import datetime
import json
import os
import random
import signal
import subprocess
import tempfile
import time
import urllib.parse
import uuid

import pika
import pytest
from daemon import BUILD, ROOT
from dead import filled
from pipeline import DEAD_HEADERS, event, metric, user_event
from servers import Sql
from wait import wait_until

FAILING = "tests/prog/failing_consumer"
SECONDS = 10
numbers = iter(range(8000000000000000, 8000000001000000))


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global PIPE, KV, FOLDER
    PIPE, KV = pipe, pipe.kv
    with tempfile.TemporaryDirectory(prefix="onboard-test-") as FOLDER:
        yield


def eventlog(**env):
    return PIPE.daemon("onboard-eventlog", **env)


def cache(**env):
    return PIPE.daemon("onboard-cache", **env)


def failing(path, **env):
    return PIPE.daemon(FAILING, FAILING_LOG=path, **env)


def ctl(*words):
    return subprocess.Popen([os.path.join(BUILD, "bin/onboardctl"), *words], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, env=os.environ | PIPE.env, cwd=ROOT)


def seen(path):
    """What the failing consumer saw: {id: [seconds, …]}."""
    got = collections.defaultdict(list)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as log:
            for line in log:
                at, one, _ = line.split(" ", 2)
                got[one].append(int(at) / 1e6)
    return got


def dead(count, seconds=SECONDS):
    wait_until(lambda: PIPE.depth("user.dlq") >= count, seconds, f"{count} in the DLQ")
    return PIPE.take("user.dlq")


def is_dead(entry, body, consumer, queue, key, kind, retries, error=None):
    """An entry of the DLQ is as the contract says."""
    got, props, _, routing_key = entry
    headers = props.headers
    assert got == body, (got[:100], body[:100])
    assert routing_key == "user.failed" and props.delivery_mode == 2
    assert set(headers) >= DEAD_HEADERS, DEAD_HEADERS - set(headers)
    assert not [h for h in headers if h.startswith(("x-death", "x-first-death", "x-last-death", "x-delivery"))], headers
    said = {k: headers[f"x-{k}"] for k in ("consumer", "original-queue", "original-routing-key", "error-class", "retry-count")}
    assert said == {"consumer": consumer, "original-queue": queue, "original-routing-key": key, "error-class": kind,
                    "retry-count": retries}, said
    uuid.UUID(headers["x-dead-id"])
    times = [datetime.datetime.fromisoformat(headers[h].replace("Z", "+00:00")) for h in ("x-first-failed-at", "x-failed-at")]
    assert times[0] <= times[1] and abs(times[1].timestamp() - time.time()) < 60, times
    assert 0 < len(headers["x-error"].encode()) <= 1024
    assert error is None or error in headers["x-error"], headers["x-error"]


def test_events_become_documents():
    user = next(numbers)
    created = user_event("created", user, "Ann", country="LV", city="Riga", name="Ann Lee")
    bought = event("purchase", {"user_id": user, "event_type": "purchase", "metadata": {"category": "books", "price": 9.5},
                                "geo": {"country": "LV", "city": "Riga", "coordinates": [24.1, 56.9]},
                                "session_info": {"device": "phone"}}, timestamp="2026-11-20T12:00:00.123456")
    geojson = event("login", {"user_id": user, "geo": {"coordinates": {"type": "Point", "coordinates": [1.5, 2.5]}}})
    with eventlog() as daemon:
        daemon.wait_ready()
        PIPE.publish(created, bought)
        PIPE.publish(geojson, headers={"x-test": 1})
        wait_until(lambda: PIPE.events.count_documents({"user_id": user}) == 3, SECONDS, "three documents")
        assert daemon.terminate() == 0
    got = PIPE.document(created)
    assert abs((got.pop("received_at") - datetime.datetime.utcnow()).total_seconds()) < 30
    assert abs((got.pop("timestamp") - datetime.datetime.utcnow()).total_seconds()) < 30
    assert got == {"_id": created["id"], "user_id": user, "event_type": "created", "type": "user.created",
                   "geo": {"country": "LV", "city": "Riga"}, "payload": created["payload"]}, got
    got = PIPE.document(bought)
    del got["received_at"]
    assert got == {"_id": bought["id"], "user_id": user, "event_type": "purchase", "type": "user.purchase",
                   "timestamp": datetime.datetime(2026, 11, 20, 12, 0, 0, 123000), "metadata": bought["payload"]["metadata"],
                   "geo": {"country": "LV", "city": "Riga", "coordinates": {"type": "Point", "coordinates": [24.1, 56.9]}},
                   "session_info": {"device": "phone"}, "payload": bought["payload"]}, got
    assert PIPE.document(geojson)["geo"] == {"coordinates": {"type": "Point", "coordinates": [1.5, 2.5]}}
    keys = {tuple(i["key"].items()) for i in PIPE.events.list_indexes()}
    assert keys == {(("_id", 1),), (("user_id", 1),), (("event_type", 1),), (("user_id", 1), ("timestamp", -1)),
                    (("geo.coordinates", "2dsphere"),)}, keys


def test_twenty_copies_are_one_document():
    user = next(numbers)
    one, last = (event("login", {"user_id": user}) for _ in range(2))
    with eventlog() as daemon:
        daemon.wait_ready()
        PIPE.publish(one, times=10)
        wait_until(lambda: PIPE.document(one), SECONDS, "the document")
        first = PIPE.document(one)
        PIPE.publish(one, times=10)
        PIPE.publish(last)
        wait_until(lambda: PIPE.document(last), SECONDS, "what came behind")
        wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total", outcome="done") == 21, SECONDS, "21 acked")
        assert PIPE.events.count_documents({"user_id": user}) == 2 and PIPE.document(one) == first
        assert daemon.terminate() == 0
    assert PIPE.depth("user_data_queue") == 0 and PIPE.depth("user.dlq") == 0


def test_profiles_of_events_and_of_rows():
    user = next(numbers)
    with Sql(PIPE.place.postgres) as sql:
        row = sql.number("WITH c AS (INSERT INTO cities (name, country_id) SELECT 'Riga', id FROM countries WHERE code = 'LV'"
                         " RETURNING id), a AS (INSERT INTO addresses (street, postal_code, city_id) SELECT 'Brivibas 1',"
                         " 'LV-1010', id FROM c RETURNING id) INSERT INTO users (username, email, name, address_id, version)"
                         " SELECT 'Bea', 'bea@example.com', 'Bea', id, 4 FROM a RETURNING id")
    with cache() as daemon:
        daemon.wait_ready()
        PIPE.publish(user_event("created", user, "Ann", country="LV", city="Riga"), user_event("created", row, "Old"))
        got = json.loads(wait_until(lambda: KV.get(f"user:{user}:profile"), SECONDS, "a profile of the event"))
        assert (got["id"], got["username"], got["email"], got["version"]) == (user, "Ann", "ann@example.com", 1), got
        assert (got["address"]["city"], got["address"]["country"]) == ("Riga", "LV"), got
        got = json.loads(wait_until(lambda: KV.get(f"user:{row}:profile"), SECONDS, "a profile of the row"))
        assert (got["id"], got["username"], got["version"]) == (row, "Bea", 4), got
        assert got["address"] == {"street": "Brivibas 1", "postal_code": "LV-1010", "city": "Riga", "region": None,
                                  "country": "LV", "country_name": "Latvia"}, got
        assert KV.get(f"user:{row}:version") == "4"
        assert 3500 < KV.ttl(f"user:{user}:profile") <= 3600
        assert 604000 < KV.ttl(f"user:{user}:version") <= 604800
        assert daemon.terminate() == 0


def test_stale_versions_are_ignored():
    user = next(numbers)
    with cache() as daemon:
        daemon.wait_ready()
        for version in (3, 2):
            PIPE.publish(user_event("updated", user, f"name{version}", version=version))
        PIPE.publish(user_event("created", behind := next(numbers)))
        wait_until(lambda: KV.get(f"user:{behind}:profile"), SECONDS, "what came behind")
        got = json.loads(KV.get(f"user:{user}:profile"))
        assert (got["username"], got["version"], KV.get(f"user:{user}:version")) == ("name3", 3, "3"), got
        # what comes after a deletion brings nothing back
        PIPE.publish(event("deleted", {"user_id": user, "version": 5}), user_event("updated", user, version=4),
                     user_event("created", behind := next(numbers)))
        wait_until(lambda: KV.get(f"user:{behind}:profile"), SECONDS, "what came behind")
        assert KV.get(f"user:{user}:profile") is None and KV.get(f"user:{user}:version") == "5"
        assert daemon.terminate() == 0


def uuid7():
    return str(uuid.UUID(int=(time.time_ns() // 1000000 << 80) | (7 << 76) | (2 << 62) | random.getrandbits(62)))


def test_a_deleted_user_does_not_come_back_by_an_old_event():
    """Events of the API whose user has no row any more, sent again when Redis knows nothing of the deletion."""
    def profile(one):
        return KV.get(f"user:{one['payload']['user_id']}:profile")

    own, other, old, changed, foreign = (user_event("created", 700000 + n) | {"id": uuid7()} for n in range(5))
    changed["type"] = "user.updated"
    random_id, made_up = user_event("created", 700010), user_event("created", next(numbers)) | {"id": uuid7()}
    with Sql(PIPE.place.postgres) as sql:
        for one in (other, old, changed):  # whoever sends them again does not say whose they are
            sql.ask("INSERT INTO outbox (day, event_id, type, user_id, body) VALUES ((now() AT TIME ZONE 'UTC')::date,"
                    f" '{one['id']}', '{one['type']}', {one['payload']['user_id']}, '')")
    KV.set(f"user:{old['payload']['user_id']}:profile", "as a snapshot had it", ex=3600)
    with cache() as daemon:
        daemon.wait_ready()
        PIPE.publish_raw(own["type"], json.dumps(own).encode(), app_id="onboard", message_id=own["id"])
        for one in (other, old, changed):
            PIPE.publish_raw(one["type"], json.dumps(one).encode())
        PIPE.publish_raw(made_up["type"], json.dumps(made_up).encode(), app_id="onboardctl", headers={"x-test": 1})
        PIPE.publish_raw(foreign["type"], json.dumps(foreign).encode())
        PIPE.publish(random_id)
        for one in (foreign, random_id, made_up):
            got = wait_until(lambda e=one: profile(e), SECONDS, "another publisher's users have profiles")
            assert json.loads(got)["username"] == one["payload"]["username"], got
        wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total", outcome="done") == 7, SECONDS, "7 acked")
        for one in (own, other, old, changed):
            assert profile(one) is None, (one["type"], profile(one))
        assert daemon.terminate() == 0


def test_keys_of_another_type_are_made_again():
    user = next(numbers)
    keys = [f"user:{user}:version", f"user:{user}:profile", "users:country:LV", "users:country:EE"]
    with cache() as daemon:
        daemon.wait_ready()
        for version, harm in enumerate([lambda key: KV.lpush(key, "x"), lambda key: KV.hset(key, "x", "y"),
                                        lambda key: KV.set(key, "inf")], 2):
            for key in keys:
                KV.delete(key)
                harm(key)
            PIPE.publish(user_event("updated", user, f"name{version}", version=version, country="LV", previous_country="EE"))
            got = wait_until(lambda: KV.type(keys[1]) == "string" and (text := KV.get(keys[1])) != "inf" and text, SECONDS,
                             "the profile")
            wait_until(lambda n=version: metric(daemon, "onboard_consumer_deliveries_total") == n - 1, SECONDS, "acked")
            assert json.loads(got)["version"] == version and KV.get(keys[0]) == str(version), got
            assert KV.exists(*keys[2:]) == 0
        assert metric(daemon, "onboard_consumer_deliveries_total", outcome="done") == 3 and PIPE.depth("user.dlq") == 0
        assert daemon.terminate() == 0


def heard(listener, wanted, seconds=SECONDS):
    got = set()

    def more():
        while message := listener.get_message(ignore_subscribe_messages=True):
            got.add(message["data"])
        return got >= wanted

    wait_until(more, seconds, f"{wanted} on the channel")


def test_a_deleted_user():
    user, other = next(numbers), next(numbers)
    created = user_event("created", user, "Gone", country="EE", name="Gone Soon")
    moved = user_event("updated", user, "Gone", country="LV", previous_country="EE", version=2, name="Gone Soon")
    kept = user_event("created", other, "Stays", name="Stays Here")
    late = user_event("updated", user, "Gone", country="LV", version=2, name="Gone Soon")
    deleted = event("deleted", {"user_id": user, "version": 3, "country": "LV"})
    listener = KV.pubsub()
    listener.subscribe("cache:invalidate")
    with eventlog() as log, cache() as keys:
        log.wait_ready()
        keys.wait_ready()
        for code in ("EE", "LV", "FI"):
            KV.set(f"users:country:{code}", "[]")
        PIPE.publish(created)
        heard(listener, {"users:country:EE"})
        KV.set("users:country:EE", "[]")
        PIPE.publish(moved, kept)
        heard(listener, {"users:country:EE", "users:country:LV", f"user:{user}:profile"})
        wait_until(lambda: PIPE.document(moved) and PIPE.document(created), SECONDS, "both documents")
        assert KV.get(f"user:{user}:profile")
        KV.set("users:country:LV", "[]")
        PIPE.publish(deleted)
        heard(listener, {"users:country:LV", f"user:{user}:profile"})
        wait_until(lambda: "email" not in PIPE.document(created)["payload"], SECONDS, "the e-mail has gone")
        assert [KV.exists(f"users:country:{code}") for code in ("EE", "LV", "FI")] == [0, 0, 1]
        assert KV.get(f"user:{user}:profile") is None and KV.get(f"user:{user}:version") == "3"
        # what was on its way when the user went, for instance in a retry queue
        PIPE.publish(late)
        wait_until(lambda: PIPE.document(late), SECONDS, "the late one is logged")
        wait_until(lambda: "email" not in PIPE.document(late)["payload"], SECONDS, "and holds no e-mail")
        for one in (created, moved, late):
            payload = PIPE.document(one)["payload"]
            assert not {"username", "email", "name"} & set(payload) and payload["country"], payload
        assert PIPE.document(kept)["payload"] == kept["payload"]
        assert log.terminate() == 0 and keys.terminate() == 0
    listener.close()


def test_a_deleted_user_with_many_events():
    """Each call has a second. All the user's events in one would take longer; a page of them does not. Killed
    halfway, the event log goes on where it was."""
    user, other, count = next(numbers), next(numbers), 10000

    def documents(of, n):
        return [{"_id": str(uuid.uuid4()), "user_id": of, "event_type": "updated", "type": "user.updated",
                 "timestamp": datetime.datetime.utcnow(), "payload": {"user_id": of, "username": "Gone", "email": "gone@example.com",
                                                                      "country": "LV"}} for _ in range(n)]

    def named(of):
        return PIPE.events.count_documents({"user_id": of, "payload.email": {"$exists": True}})

    for _ in range(0, count, 2000):
        PIPE.events.insert_many(documents(user, 2000), ordered=False)
    PIPE.events.insert_many(documents(other, 10))
    url = f"{PIPE.place.mongo}{'&' if '?' in PIPE.place.mongo else '?'}socketTimeoutMS=1000"
    for killed in (True, False):
        with eventlog(ONBOARD_MONGO_URL=url) as daemon:
            daemon.wait_ready()
            if killed:
                PIPE.publish(event("deleted", {"user_id": user, "version": 3, "country": "LV"}))
                wait_until(lambda: named(user) < count, SECONDS, "some are without a name")
                daemon.process.kill()
                daemon.process.wait()
            else:
                wait_until(lambda: named(user) == 0, 30, "all are without a name")
                wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total", outcome="done") == 1, SECONDS, "acked")
                assert daemon.terminate() == 0
            assert "a store is away" not in daemon.log(), daemon.log()[-1000:]
    assert PIPE.events.count_documents({"user_id": user, "payload.country": "LV"}) == count + 1
    assert named(other) == 10


def test_garbage_is_dead_at_once():
    sound = user_event("created", next(numbers))
    wrong = event("created", {"user_id": 5})
    with eventlog() as log, cache() as keys:
        log.wait_ready()
        keys.wait_ready()
        cases = [(b"not json \xff\x00", "user.created", "JSON"), (json.dumps(wrong).encode(), "user.updated", " is missing"),
                 (b"", "user.deleted", None), (b"x" * (1 << 20), "user.created", "JSON"),
                 (json.dumps(sound | {"type": "other"}).encode(), "user.created", "type is not")]
        for body, key, error in cases:
            PIPE.publish_raw(key, body, headers={"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "x-retry-count": "junk"},
                             expiration="60000", message_id="m", priority=3)
            entries = {e[1].headers["x-consumer"]: e for e in dead(2)}
            assert set(entries) == {"eventlog", "cache"}, set(entries)
            is_dead(entries["eventlog"], body, "eventlog", "user_data_queue", key, "permanent", 0, error)
            is_dead(entries["cache"], body, "cache", "user_cache_queue", key, "permanent", 0, error)
            for entry in entries.values():
                assert entry[1].headers["traceparent"].startswith("00-aaaa") and entry[1].message_id == "m"
                assert entry[1].expiration is None
        assert len({e[1].headers["x-dead-id"] for e in entries.values()}) == 2
        for daemon in (log, keys):
            wait_until(lambda d=daemon: metric(d, "onboard_consumer_deliveries_total", outcome="permanent") == len(cases), SECONDS,
                       "all are counted")
        PIPE.publish(sound)
        wait_until(lambda: PIPE.document(sound), SECONDS, "a sound one behind them")
        assert log.terminate() == 0 and keys.terminate() == 0


def test_headers_that_fill_a_frame_are_dead_without_the_largest():
    """The broker has added to them, so what comes is over a frame; a copy with ours beside them would be as well."""
    PIPE.purge()
    path = os.path.join(FOLDER, "filled")
    bodies = {name: json.dumps(user_event("created", next(numbers), name)).encode() for name in ("again3", "never3", "fine3")}
    sent = filled({"traceparent": "mine", "x-test": 1}, message_id="m")
    for body in bodies.values():
        PIPE.publish_raw("user_mail_queue", body, exchange="", headers=sent, message_id="m")
    for _ in range(3):  # each time they come, their headers grow
        with PIPE.channel() as channel:
            for _ in bodies:
                channel.basic_get("user_mail_queue")
        wait_until(lambda: PIPE.depth("user_mail_queue") == 3, SECONDS, "they are back")
    with failing(path) as daemon:
        daemon.wait_ready()
        entries = {e[0]: e for e in dead(2)}
        assert set(entries) == {bodies["again3"], bodies["never3"]}, len(entries)
        for name, kind, error in (("again3", "exhausted", "as the username says (not retried: its headers"),
                                  ("never3", "permanent", "as the username says (its headers")):
            entry = entries[bodies[name]]
            is_dead(entry, bodies[name], "mailer", "user_mail_queue", "user_mail_queue", kind, 0, error)
            headers = entry[1].headers
            assert headers["traceparent"] == "mine" and headers["x-test"] == 1 and entry[1].message_id == "m"
            assert "x-big" not in headers and "are left out" in headers["x-error"], headers["x-error"]
        wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total", outcome="done") == 1, SECONDS, "the third is done")
        assert PIPE.depth("user_mail_queue") == 0
        assert metric(daemon, "onboard_link_reconnects_total", server="rabbitmq") == 0
        assert daemon.terminate() == 0


def test_another_senders_properties():
    """A user_id that is not ours: the broker would close the channel over a copy with it."""
    management, name, word = PIPE.place.management, f"other-{os.getpid()}", uuid.uuid4().hex
    management.ask("PUT", "users", name, body={"password": word, "tags": ""})
    management.ask("PUT", "permissions", PIPE.place.name, name, body={"configure": "", "write": ".*", "read": ""})
    parts = urllib.parse.urlsplit(PIPE.place.rabbitmq)
    url = parts._replace(netloc=f"{name}:{word}@{parts.hostname}:{parts.port}").geturl()
    with eventlog() as log:
        log.wait_ready()
        connection = pika.BlockingConnection(pika.URLParameters(url))
        connection.channel().basic_publish("user_events", "user.updated", b"bad", pika.BasicProperties(user_id=name))
        connection.close()
        entries = dead(1)
        assert len(entries) == 1
        is_dead(entries[0], b"bad", "eventlog", "user_data_queue", "user.updated", "permanent", 0)
        assert metric(log, "onboard_link_reconnects_total", server="rabbitmq") == 0
        assert log.terminate() == 0
    management.delete("users", name)


def test_retries_after_1_2_4_seconds_then_exhausted():
    PIPE.purge()
    path = os.path.join(FOLDER, "retries")
    again, fine, never = (user_event("created", next(numbers), name) for name in ("again1", "fine1", "never1"))
    body = json.dumps(again, indent=1).encode()  # its own bytes, not what a writer would make of it
    with eventlog() as log, failing(path) as daemon:
        log.wait_ready()
        daemon.wait_ready()
        PIPE.publish_raw("user.created", body, headers={"traceparent": "mine", "CC": ["user_data_queue"]}, message_id=again["id"],
                         content_type="application/json")
        PIPE.publish(fine, never)
        entries = dead(1)
        assert len(entries) == 1
        is_dead(entries[0], json.dumps(never).encode(), "mailer", "user_mail_queue", "user.created", "permanent", 0,
                "as the username says")
        entries = dead(1, 15)
        assert len(entries) == 1
        is_dead(entries[0], body, "mailer", "user_mail_queue", "user.created", "exhausted", 3, "as the username says")
        headers = entries[0][1].headers
        assert headers["traceparent"] == "mine" and entries[0][1].message_id == again["id"]
        passed = (datetime.datetime.fromisoformat(headers["x-failed-at"].replace("Z", "+00:00"))
                  - datetime.datetime.fromisoformat(headers["x-first-failed-at"].replace("Z", "+00:00"))).total_seconds()
        assert passed > 6.9, passed
        times = seen(path)
        assert len(times[fine["id"]]) == 1 and len(times[never["id"]]) == 1 and len(times[again["id"]]) == 4, times
        gaps = [b - a for a, b in zip(times[again["id"]], times[again["id"]][1:])]
        print("# handled again after " + ", ".join(f"{g:.3f}" for g in gaps) + " s")
        for gap, wanted in zip(gaps, (1, 2, 4)):
            assert gap >= wanted * 0.99, gaps
        # the other consumer had each of them once
        wait_until(lambda: metric(log, "onboard_consumer_deliveries_total") == 3, SECONDS, "three for the event log")
        assert PIPE.events.count_documents({"_id": {"$in": [again["id"], fine["id"], never["id"]]}}) == 3
        assert metric(daemon, "onboard_consumer_deliveries_total", outcome="retry") == 3
        assert daemon.terminate() == 0 and log.terminate() == 0
    for queue in ("user_mail_queue", "user_mail_queue.retry.1", "user_mail_queue.retry.2", "user_mail_queue.retry.3", "user.dlq"):
        assert PIPE.depth(queue) == 0, queue


def test_a_slow_postgres_spends_no_retry():
    users = [next(numbers) for _ in range(20)]
    PIPE.purge()  # what earlier tests left for the cache
    with cache() as daemon, Sql(PIPE.place.postgres) as other:
        daemon.wait_ready()
        PIPE.publish(user_event("created", users[0]))  # its statement is prepared then
        wait_until(lambda: KV.get(f"user:{users[0]}:profile"), SECONDS, "the first")
        other.ask("BEGIN")
        other.ask("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        PIPE.publish(*(user_event("created", user) for user in users[1:]))
        wait_until(lambda: metric(daemon, "onboard_consumer_away") == 1 and "(57014)" in daemon.log(), SECONDS, "away")
        other.ask("ROLLBACK")
        wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total", outcome="done") == len(users), SECONDS, "done")
        assert metric(daemon, "onboard_consumer_deliveries_total") == len(users), "none was retried or died"
        assert all(KV.get(f"user:{user}:profile") for user in users)
        assert PIPE.depth("user.dlq") == 0 and PIPE.depth("user_cache_queue.retry.1") == 0
        assert daemon.terminate() == 0


def test_the_count_is_seen_on_its_way():
    """The copies as they come into the retry queues."""
    PIPE.purge()
    path = os.path.join(FOLDER, "counts")
    for had, queue, wanted in ((None, 1, 1), (1, 2, 2), (2, 3, 3), ("two", 1, 1)):
        again = user_event("created", next(numbers), "again2")
        with failing(path) as daemon:
            daemon.wait_ready()
            got, name = [], f"user_mail_queue.retry.{queue}"
            with PIPE.channel(confirm=False) as channel:  # it takes the copy as soon as that comes
                channel.basic_consume(name, lambda _c, _m, props, body, to=got: to.append((props, body)), auto_ack=True)
                PIPE.publish_raw("user.created", json.dumps(again).encode(), headers={} if had is None else {"x-retry-count": had})
                wait_until(lambda c=channel, g=got: c.connection.process_data_events(0.05) or g, SECONDS, f"one in {name}")
            assert len(got) == 1 and got[0][1] == json.dumps(again).encode()
            headers = got[0][0].headers
            assert headers["x-retry-count"] == wanted and headers["x-original-routing-key"] == "user.created", headers
            assert set(headers) == {"x-retry-count", "x-original-routing-key", "x-first-failed-at"}, headers
            assert daemon.terminate() == 0


def test_poison_and_its_neighbours():
    PIPE.purge()
    path = os.path.join(FOLDER, "poison")
    neighbours = [user_event("created", next(numbers), f"ok{n}") for n in range(50)]
    marked = user_event("created", next(numbers), "crash1")
    PIPE.publish(*neighbours[:25], marked, *neighbours[25:])
    ends = 0
    for _ in range(10):
        with failing(path) as daemon:
            wait_until(lambda d=daemon: d.process.poll() is not None or (
                PIPE.depth("user.dlq") == 1 and len(seen(path)) == 51 and
                metric(d, "onboard_consumer_held") == 0 and PIPE.depth("user_mail_queue") == 0), 20, "a crash or the end")
            if daemon.process.poll() is None:
                assert daemon.terminate() == 0
                break
            ends += 1
    entries = PIPE.take("user.dlq")
    assert len(entries) == 1 and ends == 5, (len(entries), ends)
    is_dead(entries[0], json.dumps(marked).encode(), "mailer", "user_mail_queue", "user.created", "poison", 0)
    times = seen(path)
    assert len(times[marked["id"]]) == 5, times[marked["id"]]
    assert all(times[one["id"]] for one in neighbours)
    most = max(len(times[one["id"]]) for one in neighbours)
    assert most <= 2, f"a neighbour was handled {most} times"
    assert PIPE.depth("user_mail_queue") == 0


@contextlib.contextmanager
def no_calls(name, prefetch):
    """A consumer whose store answers the probe and no call, as long as the file exists; 120 events wait for it."""
    PIPE.purge()
    path, away = os.path.join(FOLDER, name), os.path.join(FOLDER, f"{name}.away")
    env = {"FAILING_AWAY": away, "ONBOARD_CONSUMER_PREFETCH": str(prefetch), "ONBOARD_CONSUMER_BATCH": "10"}
    with open(away, "w", encoding="utf-8"):
        pass
    events = [user_event("created", next(numbers)) for _ in range(120)]
    with failing(path, **env) as daemon:
        daemon.wait_ready()
        PIPE.publish(*events)
        tried = len(seen(path)["away"])

        def held():
            count = metric(daemon, "onboard_consumer_held")
            assert count <= prefetch, f"{count} are held at a prefetch of {prefetch}"
            return count

        # the probe succeeds each time, and each time the batch fails again
        wait_until(lambda: held() and len(seen(path)["away"]) > tried, SECONDS, "it has tried once more")
        assert metric(daemon, "onboard_consumer_away") == 1
        status, said = daemon.ask_json("/ready")
        assert status == 503 and "a store is away" in said["notice"], (status, said)
        assert "answers no call" in daemon.log() and "the stores are back" not in daemon.log()
        yield daemon, path, away, env, events, held
    times = seen(path)
    assert {len(times[one["id"]]) for one in events} == {1}, "each is handled once"
    assert PIPE.depth("user.dlq") == 0


def test_a_store_that_answers_pings_but_no_calls():
    """The consumer takes nothing more until a batch has succeeded, and never holds more than its window.
    An operator's pause goes on behind it."""
    prefetch = 40
    with no_calls("pings", prefetch) as (daemon, path, away, _, events, held):
        taken = held()
        pause = ctl("pause", "mailer")
        wait_until(lambda: metric(daemon, "onboard_consumer_paused") == 1, SECONDS, "paused")
        assert metric(daemon, "onboard_consumer_away") == 1
        os.unlink(away)
        wait_until(lambda: held() == 0, SECONDS, "those held are handled")
        assert pause.wait(SECONDS) == 0 and metric(daemon, "onboard_consumer_away") == 0
        assert PIPE.depth("user_mail_queue") == len(events) - taken, "it takes no more while it is paused"
        assert ctl("resume", "mailer").wait(SECONDS) == 0
        wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total", outcome="done") == len(events) and held() == 0,
                   SECONDS, "all are handled")
        daemon.wait_status("/ready", 200, SECONDS)
        assert daemon.terminate() == 0


def test_the_end_while_a_store_answers_no_calls():
    """Those held go back to the queue, and the next one handles them."""
    with no_calls("end", 40) as (daemon, path, away, env, events, _):
        assert daemon.terminate() == 0
        wait_until(lambda: PIPE.depth("user_mail_queue") == len(events), SECONDS, "all are in the queue again")
        os.unlink(away)
        with failing(path, **env) as following:
            wait_until(lambda: metric(following, "onboard_consumer_deliveries_total", outcome="done") == len(events),
                       SECONDS, "all are handled")
            assert following.terminate() == 0


def test_a_window_of_one():
    PIPE.purge()
    path = os.path.join(FOLDER, "one")
    events = [user_event("created", next(numbers)) for _ in range(5)]
    with failing(path, ONBOARD_CONSUMER_PREFETCH="1") as daemon:
        daemon.wait_ready()
        PIPE.publish(*events)
        wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total", outcome="done") == 5, SECONDS, "all are handled")
        assert daemon.terminate() == 0
    assert {len(seen(path)[one["id"]]) for one in events} == {1}


def test_the_topology_is_still_known_after_a_reload():
    """topology.consumers must outlive the configuration it came from: freed memory is overwritten here."""
    with eventlog(ONBOARD_TOPOLOGY_CONSUMERS="eventlog", MALLOC_PERTURB_="165") as daemon:
        daemon.wait_ready()
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded" in daemon.log(), SECONDS, "reloaded")
        PIPE.place.management.delete("queues", PIPE.place.name, "user_data_queue")
        wait_until(lambda: "declaring it anew" in daemon.log(), SECONDS, "it sees that the queue has gone")
        wait_until(lambda: "user_data_queue" in PIPE.place.queues() or "topology.consumers" in daemon.log(), SECONDS,
                   "declared again")
        assert "topology.consumers" not in daemon.log(), daemon.log()[-500:]
        daemon.wait_status("/ready", 200, SECONDS)
        PIPE.publish(one := event("login", {"user_id": next(numbers)}))
        wait_until(lambda: PIPE.document(one), SECONDS, "its document")
        assert daemon.terminate() == 0


def test_nothing_waits_or_is_dead_at_the_end():
    for queue in PIPE.place.queues():
        if queue == "user.dlq" or ".retry." in queue:
            assert PIPE.depth(queue) == 0, queue
