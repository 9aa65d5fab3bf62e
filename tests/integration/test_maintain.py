# SPDX-License-Identifier: MIT
"""onboardctl db maintain: what the timer runs while no API does. And a schema newer than the program."""
import datetime
import json
import os
import subprocess
import time

import pytest
from daemon import BUILD, Daemon
from harm import stopped
from wait import wait_until


SOON = {"ONBOARD_OUTBOX_SWEEP_AFTER": "100ms"}


@pytest.fixture(scope="module", autouse=True)
def here(request):
    global world
    world = request.getfixturevalue("world")


def maintain(*words, **env):
    return subprocess.run([os.path.join(BUILD, "bin/onboardctl"), "--json", "db", "maintain", *words], text=True,
                          timeout=60, env=os.environ | world.env | env, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def days():
    return {r[0] for r in world.sql("SELECT relname FROM pg_class WHERE relname ~ '^outbox_[0-9]{8}$' AND relkind = 'r'")}


def left_behind(count):
    """Signed up while the broker was away, by an API that was killed."""
    with world.api() as api:
        wait_until(lambda: api.ask("/ready")[0] == 200, 15, "/ready")
        made = [api.signup(world.user()).is_(201).json["event_id"] for _ in range(count)]
        api.process.kill()
        api.process.wait()
    newest = max(int(event.replace("-", "")[:12], 16) for event in made)  # milliseconds, of the id itself
    wait_until(lambda: time.time() * 1000 > newest + 200, 5, "they are older than SOON")
    return made


def test_it_makes_the_days_ahead_and_drops_the_old():
    today = datetime.datetime.now(datetime.timezone.utc).date()
    old = today - datetime.timedelta(days=30)
    world.sql(f"CREATE TABLE outbox_{old:%Y%m%d} PARTITION OF outbox FOR VALUES FROM ('{old}')"
              f" TO ('{old + datetime.timedelta(days=1)}')")
    done = maintain()
    assert done.returncode == 0 and json.loads(done.stdout) == {"partitions": "kept", "swept": 0}, done
    wanted = {f"outbox_{today + datetime.timedelta(days=n):%Y%m%d}" for n in range(8)}
    assert wanted <= days() and f"outbox_{old:%Y%m%d}" not in days(), days()
    assert maintain("more").returncode == 2


def test_with_a_reader_it_says_so_and_does_the_rest():
    today = datetime.datetime.now(datetime.timezone.utc).date()
    world.sql(f"DROP TABLE outbox_{today:%Y%m%d}")
    with world.reading("outbox"):
        done = maintain()
        assert done.returncode == 0 and json.loads(done.stdout)["partitions"] == "in use", done
        assert f"outbox_{today:%Y%m%d}" not in days()
    assert json.loads(maintain().stdout)["partitions"] == "kept"
    assert f"outbox_{today:%Y%m%d}" in days()


def test_it_publishes_what_stayed_behind():
    queue = world.queue("maintain")
    with stopped("rabbitmq"):
        made = left_behind(20)
        assert world.unpublished() == 20
    done = maintain(**SOON)
    assert done.returncode == 0 and json.loads(done.stdout)["swept"] == 20, done
    assert world.unpublished() == 0
    assert sorted(json.loads(m[2])["id"] for m in world.take(queue)) == sorted(made)


def test_with_the_broker_away_events_stay_and_it_says_so():
    with stopped("rabbitmq"):
        made = left_behind(3)
        done = maintain(**SOON)
    assert done.returncode == 69 and "the broker is away" in done.stderr and "3 events" in done.stderr, done
    assert world.unpublished() == len(made)
    assert maintain(**SOON).returncode == 0
    assert world.unpublished() == 0


def test_a_daemon_refuses_a_schema_newer_than_its_own():
    world.sql("INSERT INTO schema_migrations (number, name, checksum, took_ms) VALUES (9000, '9000_later', '', 0)")
    try:
        for program in ("onboard-api", "onboard-cache"):
            env = world.env | {"ONBOARD_API_LISTEN": "127.0.0.1:0"}
            with Daemon(f"bin/{program}", env=env) as daemon:
                assert daemon.process.wait(15) == 78, daemon.log()
                assert "the database has migration 9000" in daemon.log() and "a newer version made it" in daemon.log()
    finally:
        world.sql("DELETE FROM schema_migrations WHERE number = 9000")
