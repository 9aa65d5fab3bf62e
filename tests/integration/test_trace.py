# SPDX-License-Identifier: MIT
"""onboardctl trace: a signup through outbox, broker and stores, and what it says where it stands still."""
import json
import os
import subprocess
import uuid

import pytest
from api import SIGNUP, Api
from daemon import BUILD, free_port
from dead import bury, dead_headers
from pipeline import event, user_event
from wait import wait_until



@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global PIPE
    PIPE = pipe


def ctl(*words, **env):
    said = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False, env=os.environ | PIPE.env | env)
    return said.returncode, said.stdout, said.stderr


def hops(*words, **env):
    code, out, err = ctl("trace", "--json", *words, **env)
    rows = [json.loads(line) for line in out.splitlines()]
    return code, {r["hop"]: r for r in rows}, err


def signup(client, name):
    got = client("POST", SIGNUP, {"username": name, "email": f"{name}@example.com"}).is_(201).json
    return got["id"], got["event_id"]


def arrived(event_id, *wanted):
    def look():
        code, got, _ = hops(event_id)
        return code == 0 and all(got[w]["state"] == "arrived" for w in wanted) and got
    return wait_until(look, 15, f"{wanted} say it has arrived")


def test_a_signup_that_arrives():
    with Api(PIPE) as api, PIPE.daemon("onboard-eventlog") as log, PIPE.daemon("onboard-cache") as cache:
        api.ready()
        log.wait_ready()
        cache.wait_ready()
        user, one = signup(api.client(), "arrives")
        got = arrived(one, "user", "outbox", "published", "eventlog", "cache")
        assert list(got)[:3] == ["outbox", "published", "user"], list(got)
        assert all(got[h]["event_id"] == one and got[h]["at"].startswith("20") for h in ("outbox", "eventlog", "user")), got
        assert "after" in got["eventlog"]["text"] and "version 1" in got["cache"]["text"], got
        # nobody has made a table for these, nobody consumes from that
        for hop in ("mailer", "analytics"):
            assert got[hop]["state"] in ("none", "waiting"), got[hop]
        assert got["segments"]["state"] == "waiting" and "start onboard-segments" in got["segments"]["next"], got["segments"]
        api.client()("PATCH", f"/api/users/{user}", {"name": "New"}).is_(200)
        wait_until(lambda: "version 2" in hops("--user", str(user))[1]["cache"]["text"], 10, "version 2")
        code, out, _ = ctl("trace", "--user", str(user))
        assert code == 0 and "user.created" in out and "user.updated" in out and "\033" not in out, out
        code, out, _ = ctl("trace", one)
        assert code == 0 and all(len(line) <= 100 for line in out.splitlines()), out


def test_a_paused_consumer_and_one_that_is_not_there():
    with Api(PIPE) as api, PIPE.daemon("onboard-eventlog") as log:
        api.ready()
        log.wait_ready()
        assert ctl("pause", "eventlog")[0] == 0
        _, one = signup(api.client(), "waits")
        got = arrived(one, "published")
        assert got["eventlog"]["state"] == "waiting" and "onboardctl resume eventlog" in got["eventlog"]["next"], got["eventlog"]
        assert got["cache"]["state"] == "waiting" and "start onboard-cache" in got["cache"]["next"], got["cache"]
        assert ctl("resume", "eventlog")[0] == 0
        arrived(one, "eventlog")


def test_not_published_yet():
    away = f"amqp://x:y@127.0.0.1:{free_port()}"
    with Api(PIPE, ONBOARD_RABBITMQ_URL=away) as api:
        wait_until(lambda: api.ask("/health")[0] == 200, 10, "it lives")
        client = api.client()
        wait_until(lambda: api.ask_json("/ready")[1].get("status") in ("degraded", "ready"), 15, "PostgreSQL is there")
        _, one = signup(client, "behind")
        assert hops(one, ONBOARD_OUTBOX_SWEEP_AFTER="1h")[1]["published"]["next"].startswith("look again")
        soon = {"ONBOARD_OUTBOX_SWEEP_AFTER": "100ms"}
        got = wait_until(lambda: "not yet" in (got := hops(one, **soon)[1])["published"]["text"] and got, 10, "it stayed behind")
        assert got["published"]["state"] == "waiting" and "stayed behind" in got["published"]["next"], got
        assert got["eventlog"]["state"] == "waiting" and "not published" in got["eventlog"]["text"], got["eventlog"]


def test_an_activity_of_another_publisher():
    one = event("login", {"user_id": 8000000000000001})
    with PIPE.daemon("onboard-eventlog") as log:
        log.wait_ready()
        PIPE.publish(one)
        got = arrived(one["id"].upper(), "eventlog")
        assert got["outbox"]["state"] == "none" and "cache" not in got and "mailer" not in got, got


def test_dead_letters_of_it():
    PIPE.purge()
    assert ctl("topology", "declare")[0] == 0
    one, other = user_event("created", 8000000000000005), user_event("created", 8000000000000006)
    with PIPE.channel() as channel:
        bury(channel, json.dumps(other).encode(), dead_headers("cache"), message_id=other["id"])
        code, got, _ = hops(one["id"])
        assert code == 3 and "none of the 1" in got["dlq"]["text"], got
        headers = dead_headers("mailer", "smtp: 550 \x1b[31mno", seconds=5)
        bury(channel, json.dumps(one).encode(), headers, message_id=one["id"])
        code, got, _ = hops(one["id"].upper())
        assert code == 0 and got["dlq"]["state"] == "waiting" and got["dlq"]["event_id"] == one["id"], got
        assert got["dlq"]["at"] == headers["x-failed-at"] and f"dlq replay {headers['x-dead-id']}" in got["dlq"]["next"], got
        assert all(w in got["dlq"]["text"] for w in ("mailer", "exhausted", "550")), got["dlq"]
        out = ctl("trace", one["id"])[1]
        assert "\x1b" not in out and "smtp: 550" in out, out
        code, got, _ = hops("--user", "8000000000000005")
        assert got["dlq"]["event_id"] == one["id"], got
        assert PIPE.depth("user.dlq") == 2, "a look takes nothing"
        # who holds the lock is not waited for
        channel.queue_declare("onboardctl.dlq.lock", exclusive=True)
        code, got, _ = hops(one["id"])
        assert got["dlq"]["state"] == "unknown" and "in use" in got["dlq"]["text"] and f"dlq show {one['id']}" in got["dlq"]["next"], got
    assert len(PIPE.take("user.dlq")) == 2


def test_servers_away_and_unknown_ids():
    nobody = str(uuid.uuid4())
    code, _, err = hops(nobody)
    assert code == 3 and "nothing knows" in err
    assert ctl("trace")[0] == 2 and ctl("trace", "x'; DROP")[0] == 2 and ctl("trace", nobody, "--user", "3")[0] == 2
    for section, scheme, hop in (("POSTGRES", "postgresql", "outbox"), ("MONGO", "mongodb", "eventlog"), ("RABBITMQ", "amqp", "broker")):
        path = "/onboard" if section == "MONGO" else ""
        code, got, _ = hops(nobody, **{f"ONBOARD_{section}_URL": f"{scheme}://127.0.0.1:{free_port()}{path}"})
        assert code == 69 and got[hop]["state"] == "unknown" and "doctor" in got[hop]["next"], (section, got)
