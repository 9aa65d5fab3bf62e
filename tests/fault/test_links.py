# SPDX-License-Identifier: MIT
"""Each server under a tiny daemon (tests/prog/probe): away at start, stopped, frozen, reset, slow,
wrong password, and back. /ready tells the truth, no call lasts over 5 s, it recovers by itself
within 10 s. ROUNDS=100 cuts leave memory and descriptors as they were."""
import os
import re
import subprocess
import urllib.parse

import pytest
from daemon import Daemon, ROOT
from harm import alarm, stack
from proxy import Proxy, through
from wait import wait_until

pytestmark = pytest.mark.seconds(130)
TRUTH_S = 5     # two heartbeats: what asks an idle server asks every 2 s, or each second (RabbitMQ)
BACK_S = 10
CALL_MS = 5000
ROUNDS = int(os.environ.get("ROUNDS", "100"))

# name in /health, its variable, its name in tools/stack, whether /ready needs it
SERVERS = [("postgres", "ONBOARD_POSTGRES_URL", "postgres", True),
           ("redis", "ONBOARD_REDIS_URL", "redis", False),
           ("rabbitmq", "ONBOARD_RABBITMQ_URL", "rabbitmq", True),
           ("mongo", "ONBOARD_MONGO_URL", "mongo", True)]
QUEUE = f"probe.{os.getpid()}"


@pytest.fixture(scope="module", autouse=True)
def here(management):
    yield
    management.delete("queues", "/", QUEUE)


class Proxies:
    """A proxy before each server, and the variables that lead through them."""

    def __init__(self):
        self.of, self.env = {}, {}
        for name, variable, _, _ in SERVERS:
            url = urllib.parse.urlsplit(os.environ[variable])
            self.of[name] = Proxy(url.hostname, url.port)
            self.env[variable] = through(url.geturl(), self.of[name])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for proxy in self.of.values():
            proxy.flow()
            proxy.close()


def probe(*args, env=None):
    return Daemon("tests/prog/probe", *args,
                  env={"PROBE_QUEUE": QUEUE, "ONBOARD_RABBITMQ_HEARTBEAT": "1s", **(env or {})})


def metric(daemon, name, server):
    status, body = daemon.ask("/metrics")
    assert status == 200, body
    found = re.search(rf'^{name}{{server="{server}"}} (\d+)$', body, re.M)
    return int(found[1]) if found else 0


def dependency(daemon, name):
    return daemon.ask_json("/health")[1]["dependencies"][name]


def says_away(daemon, name, needed):
    """/ready and /health agree that it cannot be used."""
    status, body = daemon.ask_json("/ready")
    return (body.get("dependencies", {}).get(name, {}).get("state") != "up"
            and (status, body.get("status")) == ((503, "waiting") if needed else (200, "degraded")))


def is_whole(daemon):
    status, body = daemon.ask_json("/ready")
    return status == 200 and body["status"] == "ready"


def goes_and_comes(daemon, name, needed, harm, mend):
    """It is used, is harmed, /ready says so, is mended, and is used again."""
    harm()
    wait_until(lambda: says_away(daemon, name, needed), TRUTH_S, f"{name} is said to be away")
    assert dependency(daemon, name).get("why"), "no reason is given"
    mend()
    wait_until(lambda: is_whole(daemon), BACK_S, f"ready again after {name} is back")
    trips = metric(daemon, "probe_round_trips_total", name)
    wait_until(lambda: metric(daemon, "probe_round_trips_total", name) > trips, BACK_S, f"{name} is used again")


def no_call_was_long(daemon):
    for name, _, _, _ in SERVERS:
        took = metric(daemon, "probe_longest_call_milliseconds", name)
        assert took <= CALL_MS, f"a call to {name} took {took} ms"


def test_away_at_start_it_waits_and_says_so():
    with Proxies() as proxies:
        for p in proxies.of.values():
            p.close()
        with probe(env=proxies.env) as daemon:
            wait_until(lambda: daemon.ask("/ready")[0] == 503, TRUTH_S, "503 while nothing is there")
            assert daemon.ask("/health")[0] == 200
            wait_until(lambda: "STATUS=waiting for postgres, rabbitmq, mongo" in daemon.said, TRUTH_S, "STATUS for systemd")
            proxies.of["redis"].open()
            proxies.of["postgres"].open()
            proxies.of["mongo"].open()
            wait_until(lambda: dependency(daemon, "postgres")["state"] == "up", BACK_S, "postgres came")
            assert daemon.ask("/ready")[0] == 503 and "READY=1" not in daemon.said, "ready before RabbitMQ"
            proxies.of["rabbitmq"].open()
            wait_until(lambda: "READY=1" in daemon.said, BACK_S, "READY=1")
            wait_until(lambda: is_whole(daemon), BACK_S, "ready")
            no_call_was_long(daemon)


def test_stopped_and_back():
    with probe() as daemon:
        daemon.wait_ready()
        wait_until(lambda: is_whole(daemon), BACK_S, "ready")
        for name, _, server, needed in SERVERS:
            goes_and_comes(daemon, name, needed, lambda s=server: stack("ctl", "stop", s),
                           lambda s=server: stack("ctl", "start", s))
        no_call_was_long(daemon)


def test_frozen_and_back():
    with probe() as daemon:
        daemon.wait_ready()
        for name, _, server, needed in SERVERS:
            goes_and_comes(daemon, name, needed, lambda s=server: stack("ctl", "freeze", s),
                           lambda s=server: stack("ctl", "thaw", s))
        no_call_was_long(daemon)


def test_a_cable_that_is_cut_and_back():
    with Proxies() as proxies, probe(env=proxies.env) as daemon:
        daemon.wait_ready()
        for name, _, _, needed in SERVERS:
            goes_and_comes(daemon, name, needed, proxies.of[name].stall, proxies.of[name].flow)
        no_call_was_long(daemon)


def test_refused_and_back():
    with Proxies() as proxies, probe(env=proxies.env) as daemon:
        daemon.wait_ready()
        for name, _, _, needed in SERVERS:
            goes_and_comes(daemon, name, needed, proxies.of[name].close, proxies.of[name].open)
        no_call_was_long(daemon)


def test_slow_is_not_away():
    with Proxies() as proxies, probe(env=proxies.env) as daemon:
        daemon.wait_ready()
        for name, _, _, _ in SERVERS:
            proxies.of[name].delay_s = 0.2
        for name, _, _, _ in SERVERS:
            trips = metric(daemon, "probe_round_trips_total", name)
            wait_until(lambda n=name, t=trips: metric(daemon, "probe_round_trips_total", n) >= t + 3, 20,
                       f"{name} still answers")
            assert dependency(daemon, name)["state"] == "up"
        no_call_was_long(daemon)


def test_wrong_password_and_back(management):
    """The role's own password is changed on the server, and set back."""
    password = {n: urllib.parse.urlsplit(os.environ[v]).password for n, v, _, _ in SERVERS[:3]}

    def set_postgres(word):
        stack("exec", "postgres", "psql", "-h", "/run/data", "-p",
              str(urllib.parse.urlsplit(os.environ["ONBOARD_POSTGRES_URL"]).port), "-U", "postgres", "-qc",
              f"ALTER ROLE onboard PASSWORD '{word}'")

    def set_redis(word):
        subprocess.run([f"{ROOT}/tools/stack", "--run", os.environ["ONBOARD_STACK_DIR"], "exec", "redis",
                        "redis-cli", "-u", os.environ["ONBOARD_REDIS_URL"].replace(password["redis"], set_redis.now),
                        "ACL", "SETUSER", "default", "resetpass", f">{word}"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        set_redis.now = word

    set_redis.now = password["redis"]
    change = {"postgres": set_postgres, "redis": set_redis, "rabbitmq": management.password_set}
    for name, _, _, needed in SERVERS[:3]:  # the local MongoDB asks for no password
        change[name]("another-word")
        try:
            with probe() as daemon:
                wait_until(lambda n=name, m=needed: says_away(daemon, n, m), TRUTH_S, f"{name} refuses the login")
                wait_until(lambda n=name: re.search("password|WRONGPASS", dependency(daemon, n)["why"]), TRUTH_S,
                           f"{name}: the reason names the password")
                assert password[name] not in daemon.log() and daemon.process.poll() is None
                change[name](password[name])
                wait_until(lambda: is_whole(daemon), BACK_S, f"{name} lets it in again")
                no_call_was_long(daemon)
        finally:
            change[name](password[name])


def test_rabbitmq_alarm():
    with probe() as daemon:
        daemon.wait_ready()
        with alarm():
            wait_until(lambda: dependency(daemon, "rabbitmq")["state"] == "blocked", 15, "blocked")
            assert says_away(daemon, "rabbitmq", True)
        wait_until(lambda: is_whole(daemon), 15, "ready again")
        no_call_was_long(daemon)


def test_rabbitmq_deleted_queue(management):
    with probe() as daemon:
        daemon.wait_ready()
        trips = metric(daemon, "probe_round_trips_total", "rabbitmq")
        wait_until(lambda: metric(daemon, "probe_round_trips_total", "rabbitmq") > trips, BACK_S, "used")
        management.delete("queues", "/", QUEUE)
        wait_until(lambda: "probe_cancelled_total 1" in daemon.ask("/metrics")[1], TRUTH_S, "told of the deleted queue")
        trips = metric(daemon, "probe_round_trips_total", "rabbitmq")
        wait_until(lambda: metric(daemon, "probe_round_trips_total", "rabbitmq") > trips + 3, BACK_S, "consumes again")


def test_rounds_leave_memory_and_descriptors_as_they_were():
    with Proxies() as proxies, probe(env=proxies.env | {"ONBOARD_LOG_LEVEL": "error"}) as daemon:
        daemon.wait_ready()
        before = None
        for n in range(ROUNDS + 10):
            if n == 10:  # what is allocated once has been
                wait_until(lambda: is_whole(daemon), BACK_S, "ready")
                before = daemon.private_kib(), daemon.descriptors()
            cuts = {s: metric(daemon, "onboard_link_reconnects_total", s) for s, *_ in SERVERS}
            for proxy in proxies.of.values():
                wait_until(proxy.connections, BACK_S, "connected")
                proxy.reset()
            for name, was in cuts.items():
                wait_until(lambda s=name, c=was: metric(daemon, "onboard_link_reconnects_total", s) > c, BACK_S,
                           f"{name} came back, round {n}")
        wait_until(lambda: is_whole(daemon), BACK_S, "ready")
        wait_until(lambda: daemon.descriptors() <= before[1], 5, f"descriptors: {before[1]} before, {daemon.descriptors()} now")
        now = daemon.private_kib()
        assert now <= before[0] + 256, f"private dirty: {before[0]} KiB before, {now} KiB after {ROUNDS} rounds"
        no_call_was_long(daemon)
