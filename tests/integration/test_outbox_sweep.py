# SPDX-License-Identifier: MIT
"""Whose events the sweeper takes, in which order, and what it says of those it cannot publish. On the
stack's PostgreSQL, and on 15 with a large day."""
import json
import os
import re
import subprocess
import time

import pytest
from api import BACK_S, World
from daemon import BUILD
from harm import alarm
from postgres15 import Postgres15
from proxy import behind
from wait import wait_until

SOON = {"ONBOARD_OUTBOX_SWEEP_AFTER": "300ms"}
# event n of a time in milliseconds, as UUID v7
ID = "(lpad(to_hex((%s)::bigint), 12, '0') || '70008000' || lpad(to_hex((%s)::bigint), 12, '0'))::uuid"


@pytest.fixture(scope="module", autouse=True)
def here(request):
    global world
    world = request.getfixturevalue("world")


def left(place, age_s=60, count=1, kind="user.created"):
    """A row of nobody's in outbox_unpublished, and its events, whose ids were made age_s ago."""
    place.count += 1
    ms = int((time.time() - age_s) * 1000)
    day = time.strftime("%Y-%m-%d", time.gmtime(ms / 1000))
    batch = place.one(f"SELECT {ID}::text", ms, place.count)
    place.sql(f"WITH e AS (SELECT {ID % ('%s', '%s * 1000000 + n')} AS id FROM generate_series(1, %s) AS n),"
              " o AS (INSERT INTO outbox (day, event_id, type, user_id, body) SELECT %s, id, %s, 1,"
              " json_build_object('id', id, 'type', %s::text)::text FROM e)"
              " INSERT INTO outbox_unpublished (batch_id, first_day, last_day, event_ids)"
              " SELECT %s, %s, %s, array_agg(id) FROM e", ms, place.count, count, day, kind, kind, batch, day, day)
    return batch


def there(place, batch):
    return place.one("SELECT count(*) FROM outbox_unpublished WHERE batch_id = %s", batch) == 1


def gauge(api, name):
    return int(re.search(rf"^{name} (-?\d+)", api.ask("/metrics")[1], re.M)[1])


def says(api, word):
    status, body = api.ask_json("/ready")
    return status == 200 and body["status"] == word and body


def test_an_event_that_no_queue_takes_keeps_no_other_from_being_published():
    with world.api(**SOON) as api:
        api.ready()
        stuck = left(world, 3600, kind="stranger.event")
        wait_until(lambda: api.metric("onboard_publish_returned_total") > 0, 10, "it is returned")
        other = left(world, 60, count=3)
        wait_until(lambda: not there(world, other), 10, "the other one is published")
        assert there(world, stuck)
        api.wait_metric("onboard_outbox_swept_total", 3)  # what was returned is not published
        body = wait_until(lambda: says(api, "degraded"), 20, "/ready tells of the one that stays")
        assert "unpublished" in body["notice"], body
        world.sql("DELETE FROM outbox_unpublished")
        wait_until(lambda: says(api, "ready"), 10, "ready again")


def test_another_process_leaves_the_events_of_one_that_lives():
    queue = world.queue("busy")
    with behind(world.env["ONBOARD_RABBITMQ_URL"]) as (proxy, url), world.api(ONBOARD_RABBITMQ_URL=url, **SOON) as busy:
        busy.ready()
        proxy.close()
        wait_until(lambda: says(busy, "degraded"), BACK_S, "without a broker")
        made = [busy.signup(world.user()).is_(201).json["event_id"] for _ in range(10)]
        busy("PATCH", f"/api/users/{world.one('SELECT max(id) FROM users')}", {"name": "Busy"}).is_(200)
        with world.api(**SOON) as idle:
            idle.ready()
            last = left(world)
            wait_until(lambda: not there(world, last), 10, "nobody's is published")
            assert world.unpublished() == 11, "the busy one's wait for it"
            idle.wait_metric("onboard_outbox_swept_total", 1)
            busy.process.kill()
            busy.process.wait()
            world.wait_published()
            idle.wait_metric("onboard_outbox_swept_total", 12)
    found = [json.loads(text) for _, _, text in world.take(queue)]
    assert [e["id"] for e in found if e["id"] in made] == made, "once each, in their order"
    assert len(found) == 12, found


def test_an_owner_whose_connection_was_lost_takes_its_lock_again():
    owners = lambda: world.sql("SELECT pid, objid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted"
                               " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
    with world.api(**SOON) as api:
        api.ready()
        (pid, owner), = wait_until(owners, 5, "it holds its lock")
        api.signup(world.user()).is_(201)
        world.sql("SELECT pg_terminate_backend(%s)", pid)
        api.signup(world.user()).is_(201)
        wait_until(lambda: [o for p, o in owners() if p != pid] == [owner], 10, "by the same number, on another connection")
        world.wait_published()


def test_an_answer_that_never_reached_the_publisher_is_swept_by_its_own_process():
    with world.api(ONBOARD_FAULTS="signup_committed=fail@1", **SOON) as api:
        api.ready()
        api.signup(world.user()).is_(201)
        world.wait_published()
        api.wait_metric("onboard_outbox_swept_total", 1)


def test_events_of_a_clock_that_was_ahead_are_seen_and_published():
    """Their ids are of tomorrow; the database's own clock tells how old they are."""
    with behind(world.env["ONBOARD_RABBITMQ_URL"]) as (proxy, url):
        proxy.close()
        with world.api(ONBOARD_RABBITMQ_URL=url, **SOON) as api:
            wait_until(lambda: says(api, "degraded"), BACK_S, "without a broker")
            ahead = left(world, -86400)
            wait_until(lambda: gauge(api, "onboard_outbox_oldest_seconds") > 0, 10, "its age is seen")
            world.sql("UPDATE outbox_unpublished SET written_at = now() + interval '1 hour' WHERE batch_id = %s", ahead)
            wait_until(lambda: gauge(api, "onboard_outbox_oldest_seconds") < -3000, 10, "a clock that was set back is seen")
            proxy.open()
            world.wait_published(20)


def test_trace_right_after_a_signup_does_not_speak_of_what_stayed_behind():
    with world.api(ONBOARD_FAULTS="outbox_forget=fail") as api:  # confirmed, and its row is still there
        api.ready()
        event = api.signup(world.user()).is_(201).json["event_id"]
        wait_until(lambda: api.metric("onboard_publish_confirmed_total") == 1, 10, "confirmed")

        def published(**env):
            out = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), "--json", "trace", event], text=True, timeout=60,
                                 env=os.environ | world.env | env, check=False, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE).stdout
            return next(hop for hop in map(json.loads, out.splitlines()) if hop["hop"] == "published")

        fresh, late = published(ONBOARD_OUTBOX_SWEEP_AFTER="1h"), published(ONBOARD_OUTBOX_SWEEP_AFTER="100ms")
    assert "stayed behind" not in json.dumps(fresh) and "look again" in fresh["next"], fresh
    assert "stayed behind" in json.dumps(late), late
    world.sql("DELETE FROM outbox_unpublished")


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_during_an_alarm_of_the_broker_the_publisher_waits():
    """Processor time, not time: what it uses while nothing can be sent."""
    with world.api() as api:
        api.ready()
        with alarm():
            wait_until(lambda: api.ask_json("/ready")[1]["dependencies"]["rabbitmq"]["state"] == "blocked" or
                       api.signup(world.user()).is_(201) and None, 15, "blocked")
            for _ in range(5):
                api.signup(world.user()).is_(201)
            began, used = time.monotonic(), cpu_s(api.process.pid)
            wait_until(lambda: time.monotonic() - began > 2, 5, "two seconds")
            used = (cpu_s(api.process.pid) - used) / (time.monotonic() - began)
            print(f"# {100 * used:.1f} % of a core")
            assert used < 0.05, f"{100 * used:.0f} % of a core"
            assert world.unpublished() >= 5
        world.wait_published(20)


def test_a_large_day_on_postgresql_15():
    """200,000 events of today without statistics, and 3,125 in 500 rows that stayed behind."""
    own = os.environ["ONBOARD_POSTGRES_URL"]
    with Postgres15() as server:
        os.environ["ONBOARD_POSTGRES_URL"] = server.url
        try:
            with World(f"sweep15_{os.getpid()}", 15) as old:
                large_day(old)
        finally:
            os.environ["ONBOARD_POSTGRES_URL"] = own


def large_day(place):
    today = place.one("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
    assert place.one("SHOW server_version_num") < "160000"
    with place.api() as api:
        api.ready()
        wait_until(lambda: place.one("SELECT to_regclass(%s) IS NOT NULL", f"outbox_{today}"), 10, "today has its partition")
    place.sql(f"ALTER TABLE outbox_{today} SET (autovacuum_enabled = off)")
    place.sql(f"WITH e AS (SELECT n, {ID % ('%s', 'n')} AS id, (now() AT TIME ZONE 'UTC')::date AS day"
              " FROM generate_series(1, 200000) AS n),"
              " o AS (INSERT INTO outbox (day, event_id, type, user_id, body)"
              " SELECT day, id, 'user.created', n, '{}' FROM e)"
              " INSERT INTO outbox_unpublished (batch_id, first_day, last_day, event_ids)"
              " SELECT (array_agg(id))[1], day, day, array_agg(id) FROM e WHERE n %% 64 = 0"
              " GROUP BY (n / 64) %% 500, day", int(time.time() * 1000))
    assert place.unpublished() == 3125
    with place.api(**SOON) as api:
        api.ready()
        place.wait_published(60)
        api.wait_metric("onboard_outbox_swept_total", 3125)
