# SPDX-License-Identifier: MIT
"""onboardctl rebuild: what the daemons wrote is forgotten, made again and compared in full; killed half
way and gone on with."""
import json
import os
import signal
import subprocess
import tempfile

import pytest
from daemon import BUILD
from pipeline import event, user_event
from servers import Sql
from wait import wait_until

USERS = 1500


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global PIPE, KV, FOLDER, ENV, MONGO_USERS, IDS
    PIPE, KV = pipe, pipe.kv
    with tempfile.TemporaryDirectory(prefix="onboard-test-") as FOLDER:
        ENV = os.environ | PIPE.env | {"XDG_STATE_HOME": FOLDER, "ONBOARD_CTL_AUDIT_LOG": f"{FOLDER}/audit.log"}
        MONGO_USERS = PIPE.mongo[PIPE.place.name]["users"]
        IDS = users_make()
        yield


def command(*words):
    return [os.path.join(BUILD, "bin/onboardctl"), *words]


def ctl(*words):
    said = subprocess.run(command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False, env=ENV)
    return said.returncode, said.stdout, said.stderr


def start(*words):
    return subprocess.Popen(command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, env=ENV)


def rebuilt(what, *words):
    code, out, err = ctl("rebuild", what, "--json", *words)
    assert code == 0, (code, out, err)
    return json.loads(out), err


def users_make():
    with Sql(PIPE.place.postgres) as sql:
        sql.ask("WITH c AS (INSERT INTO cities (name, country_id) SELECT 'Riga', id FROM countries WHERE code = 'LV'"
                " RETURNING id), a AS (INSERT INTO addresses (street, city_id) SELECT 'Brivibas 1', id FROM c RETURNING id)"
                " INSERT INTO users (username, email, name, address_id, version, profile_score) SELECT 'user' || n, 'user' || n ||"
                " '@example.com', CASE WHEN n % 3 = 0 THEN 'Ann \"Ü\" Lee' END, CASE WHEN n % 2 = 0 THEN a.id END, 1 + n % 5,"
                f" n / 7.0 FROM a, generate_series(1, {USERS}) AS n")
        return [int(i) for i in sql.ask("SELECT id FROM users ORDER BY id")]


def profiles():
    keys = sorted(KV.keys("user:*"))
    return dict(zip(keys, KV.mget(keys))) if keys else {}


def documents():
    return {d.pop("_id"): {k: v for k, v in d.items() if k != "received_at"} for d in PIPE.events.find({})}


def archive(events):
    """The outbox rows that signups leave."""
    with Sql(PIPE.place.postgres) as sql:
        for at in range(0, len(events), 200):
            rows = ",".join(f"('2026-11-{10 + i % 9}', '{e['id']}', '{e['type']}', {e['payload']['user_id']}, $x${json.dumps(e)}$x$)"
                            for i, e in enumerate(events[at:at + 200], at))
            sql.ask(f"INSERT INTO outbox (day, event_id, type, user_id, body) VALUES {rows}")


def killed_half_way(what, written):
    process = start("rebuild", what, "--rate", "300")
    wait_until(lambda: process.poll() is not None or written() >= USERS / 2, 30, "half way")
    assert process.poll() is None, "over before half way"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < written() < USERS


def test_cache_as_the_daemon_had_it():
    with PIPE.daemon("onboard-cache", ONBOARD_TOPOLOGY_CONSUMERS="cache") as daemon:
        daemon.wait_ready()
        with PIPE.channel(confirm=False) as channel:
            for i in IDS:
                channel.basic_publish("user_events", "user.created", json.dumps(user_event("created", i, f"user{i}")).encode())
        wait_until(lambda: len(KV.keys("user:*:profile")) == USERS, 20, "every profile")
        assert daemon.terminate() == 0
    had = profiles()
    assert len(had) == 2 * USERS
    KV.flushdb()
    out = json.loads(ctl("rebuild", "cache", "--dry-run", "--json")[1])
    assert out["read"] == USERS and out["dry_run"] and not KV.keys("*")
    KV.set("users:country:LV", "[]")
    listener = KV.pubsub()
    listener.subscribe("cache:invalidate")
    said, _ = rebuilt("cache")
    assert (said["read"], said["written"], said["kept"]) == (USERS, USERS, 0), said
    assert profiles() == had and not KV.exists("users:country:LV")
    assert 3500 < KV.ttl(f"user:{IDS[0]}:profile") <= 3600 and 604000 < KV.ttl(f"user:{IDS[0]}:version") <= 604800
    heard, wanted = set(), {f"user:{i}:profile" for i in IDS} | {"users:country:LV"}

    def all_heard():
        while message := listener.get_message(ignore_subscribe_messages=True):
            heard.add(message["data"])
        return wanted <= heard

    wait_until(all_heard, 5, "every key on the channel")
    # what is newer stays
    KV.set(f"user:{IDS[5]}:version", "99")
    KV.set(f"user:{IDS[5]}:profile", "newer")
    said, _ = rebuilt("cache")
    assert (said["written"], said["kept"]) == (USERS - 1, 1) and KV.get(f"user:{IDS[5]}:profile") == "newer"


def test_cache_killed_half_way_goes_on():
    KV.flushdb()
    killed_half_way("cache", lambda: len(KV.keys("user:*:profile")))
    said, err = rebuilt("cache")
    assert "going on from" in err and 0 < said["read"] < USERS, (said, err)
    assert len(KV.keys("user:*:profile")) == USERS and len(KV.keys("user:*:version")) == USERS
    said, err = rebuilt("cache")
    assert said["read"] == USERS and not err, "what is done is done: the next begins anew"
    said, _ = rebuilt("cache", "--from", str(IDS[-3]))
    assert said["read"] == 2
    assert ctl("rebuild", "cache", "--from", "x; DROP")[0] == 2


def segment_events():
    """What the API would have published of the users: created, and changed up to their version."""
    with Sql(PIPE.place.postgres) as sql:
        rows = [line.split("|") for line in sql.ask(
            "SELECT id, username, version, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM users ORDER BY id")]
    events = [event("created", user_event("x", int(i), name)["payload"], timestamp=at) for i, name, _, at in rows]
    return events + [event("updated", user_event("x", int(i), name, version=int(version))["payload"], timestamp=at)
                     for i, name, version, at in rows if int(version) > 1]


def states():
    return {d["_id"]: d for d in MONGO_USERS.find({})}


GONE = 8000000000000077


def test_segments_as_the_daemon_had_them():
    lost = [user_event("created", GONE, "lost"), event("deleted", {"user_id": GONE, "version": 2})]
    archive(lost)
    with PIPE.daemon("onboard-segments", ONBOARD_TOPOLOGY_CONSUMERS="segments") as daemon:
        daemon.wait_ready()
        with PIPE.channel(confirm=False) as channel:
            for e in segment_events() + lost:
                channel.basic_publish("user_events", e["type"], json.dumps(e).encode())
        wait_until(lambda: MONGO_USERS.count_documents({"version": {"$gt": 1}}) == USERS * 4 // 5 + 1, 30, "every change")
        wait_until(lambda: MONGO_USERS.count_documents({}) == USERS + 1, 10, "every user")
        assert daemon.terminate() == 0
    had = states()
    indexes = {i["name"] for i in MONGO_USERS.list_indexes()}
    assert set(had[GONE]) == {"_id", "deleted_at", "version"}, had[GONE]
    MONGO_USERS.drop()
    out = json.loads(ctl("rebuild", "segments", "--dry-run", "--json")[1])
    assert out["read"] == USERS + 2 and MONGO_USERS.count_documents({}) == 0
    said, _ = rebuilt("segments")
    assert (said["read"], said["written"], said["kept"]) == (USERS + 2, USERS + 1, 0), said
    assert states() == had
    assert {i["name"] for i in MONGO_USERS.list_indexes()} == indexes
    # what is newer, what segments has found out meanwhile, and who has gone stay
    MONGO_USERS.update_one({"_id": IDS[3]}, {"$set": {"version": 99, "email": "newer@example.com"}})
    MONGO_USERS.update_one({"_id": IDS[4]}, {"$set": {"segment": "vip", "churn_risk": 0.5, "username": "spoilt"}})
    MONGO_USERS.replace_one({"_id": IDS[5]}, {"deleted_at": had[GONE]["deleted_at"], "version": 1})
    MONGO_USERS.replace_one({"_id": GONE}, {"username": "lost", "email": "lost@example.com", "version": 1})
    want = states() | {IDS[4]: had[IDS[4]] | {"segment": "vip", "churn_risk": 0.5}, GONE: had[GONE]}
    said, err = rebuilt("segments")
    assert (said["written"], said["kept"]) == (USERS - 1, 2), (said, err)
    assert states() == want and not err, err
    MONGO_USERS.delete_many({"_id": {"$in": IDS[3:6]}})
    rebuilt("segments")
    assert states() == had


def test_segments_emails_that_went_from_one_to_another():
    had = states()
    a, b, c = IDS[7], IDS[8], IDS[9]
    MONGO_USERS.update_many({"_id": {"$in": [a, b, c]}}, {"$unset": {"email": ""}, "$set": {"version": 1}})
    MONGO_USERS.update_one({"_id": a}, {"$set": {"email": had[b]["email"]}})
    MONGO_USERS.update_one({"_id": b}, {"$set": {"email": had[a]["email"]}})
    rebuilt("segments")
    assert states() == had, "two who have each other's"
    # one whom PostgreSQL does not know keeps it, and that is said
    MONGO_USERS.update_one({"_id": c}, {"$unset": {"email": ""}})
    MONGO_USERS.insert_one({"_id": 8000000000000099, "email": had[c]["email"], "version": 1})
    said, err = rebuilt("segments")
    assert said["kept"] == 1 and f"user {c} is left as it was" in err, (said, err)
    MONGO_USERS.delete_one({"_id": 8000000000000099})
    rebuilt("segments")
    assert states() == had


def test_segments_without_their_index():
    """Two documents have one e-mail, so the index cannot be made before they are written anew."""
    had, indexes = states(), {i["name"] for i in MONGO_USERS.list_indexes()}
    a, b, stranger = IDS[11], IDS[12], 8000000000000098
    MONGO_USERS.drop_index("email_1")
    MONGO_USERS.update_one({"_id": a}, {"$set": {"email": had[b]["email"], "version": 1}})
    MONGO_USERS.insert_one({"_id": stranger, "email": had[b]["email"], "version": 1})
    code, _, err = ctl("rebuild", "segments")  # of the stranger PostgreSQL knows nothing
    assert code == 1 and f"{b} and {stranger}" in err and "@" not in err, (code, err)
    MONGO_USERS.delete_one({"_id": stranger})
    MONGO_USERS.update_one({"_id": a}, {"$set": {"email": had[b]["email"], "version": 1}})
    _, err = rebuilt("segments", "--from", "0")
    assert "trying again at the end" in err and f"{a} and {b}" in err, err
    assert states() == had and {i["name"] for i in MONGO_USERS.list_indexes()} == indexes


def test_segments_killed_half_way_go_on():
    had = states()
    MONGO_USERS.delete_many({})
    killed_half_way("segments", lambda: MONGO_USERS.count_documents({}))
    said, err = rebuilt("segments")
    assert "going on from" in err and 0 < said["read"] < USERS, (said, err)
    assert states() == had
    assert ctl("rebuild", "segments", "--from", "2026-11-20/nonsense")[0] == 2
    said, _ = rebuilt("segments", "--from", str(IDS[-3]))
    assert said["read"] == 2
    with Sql(PIPE.place.postgres) as sql:
        sql.ask("DELETE FROM outbox")


def events_make():
    events = []
    for n, i in enumerate(IDS):
        events.append(user_event("created", i, f"user{n}", country="LV", name=f"N {n}"))
    events += [user_event("updated", i, f"user{i}", version=2, previous_country="LV", country="EE") for i in IDS[:100]]
    return events


def test_events_as_the_daemon_had_them():
    gone = 8000000000000001
    events = events_make()
    lost = [user_event("created", gone, "Gone", name="Gone Soon"), event("deleted", {"user_id": gone, "version": 2})]
    archive(events + lost)
    with PIPE.daemon("onboard-eventlog", ONBOARD_TOPOLOGY_CONSUMERS="eventlog") as daemon:
        daemon.wait_ready()
        with PIPE.channel(confirm=False) as channel:
            for e in events + lost:
                channel.basic_publish("user_events", e["type"], json.dumps(e).encode())
        wait_until(lambda: PIPE.events.count_documents({}) == len(events) + 2, 20, "every document")
        wait_until(lambda: "email" not in PIPE.document(lost[0])["payload"], 10, "the name has gone")
        assert daemon.terminate() == 0
    had = documents()
    indexes = {i["name"] for i in PIPE.events.list_indexes()}
    PIPE.events.drop()
    said, _ = rebuilt("events")
    assert (said["read"], said["written"], said["kept"]) == (len(events) + 2, len(events) + 2, 0), said
    assert documents() == had
    assert {i["name"] for i in PIPE.events.list_indexes()} == indexes
    said, _ = rebuilt("events")
    assert (said["written"], said["kept"]) == (0, len(events) + 2) and documents() == had


def test_events_killed_half_way_go_on():
    had = documents()
    PIPE.events.delete_many({})
    killed_half_way("events", lambda: PIPE.events.count_documents({}))
    said, err = rebuilt("events")
    assert "going on from 2026-" in err and 0 < said["read"] < len(had), (said, err)
    assert documents() == had


def test_words():
    assert ctl("rebuild")[0] == 2 and ctl("rebuild", "moon")[0] == 2 and ctl("rebuild", "cache", "--rate", "0")[0] == 2
    code, out, _ = ctl("rebuild", "cache")
    assert code == 0 and all(len(line) <= 80 for line in out.splitlines()), out
