#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What was acknowledged is stored and published, whatever dies: the API, the broker, the database."""
import collections
import concurrent.futures
import datetime
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import tap
from api import Api, Servers, at_once
from daemon import ROOT
from tap import wait_until

QUEUE = "user_data_queue"
servers = None


def stack(*words):
    subprocess.run([f"{ROOT}/tools/stack", "--run", os.environ["ONBOARD_STACK_DIR"], *words],
                   check=True, stdout=subprocess.DEVNULL, timeout=120)


def empty():
    servers.wait_published(30)
    servers.place.purge()


def in_queue(count, seconds=30):
    """At least so many events, and each id once where nothing was killed."""
    wait_until(lambda: servers.place.depth(QUEUE) >= count, seconds, f"{count} events in {QUEUE}")
    got, seen = [], 0
    while seen < servers.place.depth(QUEUE) + seen:
        got += servers.messages(QUEUE, min(1000, servers.place.depth(QUEUE)))
        seen = len(got)
    return [json.loads(m["payload"])["id"] for m in got]


def test_broker_away_signups_go_on():
    with Api(servers) as api:
        empty()
        stack("ctl", "stop", "rabbitmq")
        try:
            wait_until(lambda: '"degraded"' in api.ask("/ready")[1], 10, "degraded")
            assert api.ask("/ready")[0] == 200
            answers = at_once(200, lambda i: api.signup(f"nobroker{i}"))
            assert collections.Counter(a.status for a in answers) == {201: 200}
            assert servers.unpublished() == 200
            wait_until(lambda: api.metric("onboard_outbox_unpublished") == 200, 10, "the metric says so")
        finally:
            stack("ctl", "start", "rabbitmq")
        servers.wait_published(30)
        assert sorted(in_queue(200)) == sorted(a.json["event_id"] for a in answers)


def test_started_while_the_broker_is_away():
    stack("ctl", "stop", "rabbitmq")
    try:
        with Api(servers) as api:
            answer = api.signup("earlybird")
            assert answer.status == 201
            assert api.terminate() == 0
    finally:
        stack("ctl", "start", "rabbitmq")
    with Api(servers, env={"ONBOARD_OUTBOX_SWEEP_AFTER": "500ms"}):
        servers.wait_published(30)
        assert answer.json["event_id"] in in_queue(1)


def test_killed_right_after_the_answers():
    # the point lies between the commit and the publisher: all of these events are the sweeper's
    with Api(servers, env={"ONBOARD_FAULTS": "signup_committed=fail", "ONBOARD_OUTBOX_SWEEP_AFTER": "1h"}) as api:
        empty()
        answers = at_once(300, lambda i: api.signup(f"killed{i}"))
        assert {a.status for a in answers} == {201}
        os.kill(api.process.pid, signal.SIGKILL)
    assert servers.unpublished() == 300
    with Api(servers, env={"ONBOARD_OUTBOX_SWEEP_AFTER": "500ms"}) as api:
        servers.wait_published(30)
        assert api.metric("onboard_outbox_swept_total") == 300
        assert sorted(in_queue(300)) == sorted(a.json["event_id"] for a in answers)


def test_two_processes_do_not_publish_the_same_twice():
    with Api(servers, env={"ONBOARD_FAULTS": "signup_committed=fail", "ONBOARD_OUTBOX_SWEEP_AFTER": "1h"}) as api:
        empty()
        answers = at_once(600, lambda i: api.signup(f"twice{i}"))
        os.kill(api.process.pid, signal.SIGKILL)
    with Api(servers, env={"ONBOARD_OUTBOX_SWEEP_AFTER": "500ms"}), Api(servers, env={"ONBOARD_OUTBOX_SWEEP_AFTER": "500ms"}):
        servers.wait_published(30)
        assert sorted(in_queue(600)) == sorted(a.json["event_id"] for a in answers)


def test_database_away_503_and_back():
    with Api(servers) as api:
        stack("ctl", "freeze", "postgres")
        try:
            answer = api.signup("frozen_one")
            assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1, answer
            wait_until(lambda: api.ask("/ready")[0] == 503, 10, "/ready says so")
            assert api.call("GET", "/api/countries").status == 503
        finally:
            stack("ctl", "thaw", "postgres")
        wait_until(lambda: api.ask("/ready")[0] == 200, 10, "back")
        again = api.signup("frozen_one")
        stored = servers.sql.number("SELECT count(*) FROM users WHERE username = 'frozen_one'")
        assert again.status in (201, 409) and stored == 1, again
        servers.wait_published(30)
        assert servers.sql.number("SELECT count(*) FROM outbox o JOIN users u ON u.id = o.user_id AND u.username = 'frozen_one'") == 1


def test_a_full_queue_says_so_at_once():
    with Api(servers, env={"ONBOARD_API_QUEUE": "1", "ONBOARD_API_BATCH": "1"}) as api:
        answers = at_once(300, lambda i: api.signup(f"full{i}"), 100)
        counted = collections.Counter(a.status for a in answers)
        assert counted[503] > 0 and counted[201] > 0 and sum(counted.values()) == 300 and set(counted) == {201, 503}, counted
        assert all(a.headers["Retry-After"] for a in answers if a.status == 503)
        assert servers.sql.number("SELECT count(*) FROM users WHERE username LIKE 'full%'") == counted[201]


def test_sigterm_under_load_drops_no_request_it_has_taken():
    for turn in range(3):
        with Api(servers) as api:
            created, trouble, stop = [], [], threading.Event()

            def client(n, t=turn, a=api, done=created, bad=trouble, end=stop):
                connection = http.client.HTTPConnection("127.0.0.1", a.port, timeout=10)
                i = 0
                while not end.is_set():
                    i += 1
                    name = f"term{t}_{n}_{i}"
                    try:
                        connection.request("POST", "/api/users/signup", json.dumps({"username": name, "email": f"{name}@example.com"}),
                                           {"Content-Type": "application/json"})
                    except (ConnectionError, http.client.CannotSendRequest, OSError):
                        return  # refused, or closed while idle: nothing was taken
                    try:
                        answer = connection.getresponse()
                        answer.read()
                    except (http.client.RemoteDisconnected, ConnectionResetError):
                        bad.append(name)  # fine only if it is not stored
                        return
                    assert answer.status == 201, answer.status
                    done.append(name)
                    if answer.headers.get("Connection") == "close":
                        connection.close()

            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                jobs = [pool.submit(client, n) for n in range(16)]
                wait_until(lambda c=created: len(c) > 300, 20, "under load")
                api.process.send_signal(signal.SIGTERM)
                code = api.process.wait(12)
                stop.set()
                for job in jobs:
                    job.result()
            assert code == 0, api.log()[-1000:]
            stored = set(servers.sql.ask(f"SELECT username FROM users WHERE username LIKE 'term{turn}\\_%'"))
            assert stored == set(created), (stored ^ set(created), trouble)


def test_partitions_are_made_ahead_and_dropped_behind():
    today = datetime.datetime.now(datetime.timezone.utc).date()

    def partitions():
        return set(servers.sql.ask("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'outbox'::regclass"))

    def name(days):
        return f"outbox_{today + datetime.timedelta(days):%Y%m%d}"

    assert partitions() >= {"outbox_default"} | {name(d) for d in range(-1, 8)}, partitions()
    for days in (-30, -31):
        day = today + datetime.timedelta(days)
        servers.sql.ask(f"CREATE TABLE {name(days)} PARTITION OF outbox FOR VALUES FROM ('{day}') TO ('{day + datetime.timedelta(1)}')")
    kept = today + datetime.timedelta(-31)
    number, batch = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
    servers.sql.ask(f"INSERT INTO outbox VALUES ('{kept}', '{number}', 'user.created', 1, '{{}}', NULL)")
    servers.sql.ask(f"INSERT INTO outbox_unpublished VALUES ('{batch}', '{kept}', '{kept}', ARRAY['{number}'::uuid])")
    with Api(servers, env={"ONBOARD_OUTBOX_SWEEP_AFTER": "1h"}):
        wait_until(lambda: name(-30) not in partitions(), 10, "what is past the retention is dropped")
        assert name(-31) in partitions(), "dropped although something in it is unpublished"
    with Api(servers, env={"ONBOARD_OUTBOX_SWEEP_AFTER": "100ms"}):
        servers.wait_published(15)
    with Api(servers):
        wait_until(lambda: name(-31) not in partitions(), 10, "dropped once it is published")


def test_nothing_is_bound_it_is_declared_anew():
    with Api(servers, env={"ONBOARD_TOPOLOGY_CHECK_EVERY": "1h"}) as api:
        empty()
        for queue in servers.place.queues():
            servers.management.delete(f"/api/queues/{servers.place.name}/{queue}")
        answer = api.signup("unbound")
        servers.wait_published(15)
        assert in_queue(1) == [answer.json["event_id"]]
        assert api.metric("onboard_publish_returned_total") >= 1
        assert not re.search(r"unbound@", api.log())


if __name__ == "__main__":
    servers = Servers("outbox", 5)
    sys.exit(tap.run(globals()))
