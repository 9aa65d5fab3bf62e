# SPDX-License-Identifier: MIT
"""Consumers while their servers go and come under load: nothing in the DLQ,
nothing lost, /ready tells the truth, and all goes on by itself."""
import collections
import concurrent.futures
import contextlib
import os
import time

import pytest
import redis
from harm import stack
from pipeline import Load, Pipeline, event, metric, user_event
from proxy import behind
from servers import Sql
from wait import wait_until

pytestmark = pytest.mark.seconds(300)
LONG = bool(os.environ.get("LONG"))  # make chaos LONG=1
RATE = 500
AWAY_S = 60 if LONG else 5  # how long a store is away
KILLS, TERMS, RESETS = (20, 20, 100) if LONG else (3, 4, 10)
TRUTH_S = 8      # a call's deadline and a turn
BACK_S = 10
SOME = 200       # events
FIRST_USER = 8000000000000000


class EventLog:
    """What the event log must hold."""
    program, server, variable, queue = "onboard-eventlog", "mongo", "ONBOARD_MONGO_URL", "user_data_queue"

    def __init__(self):
        self.pipe = Pipeline(f"faults_log_{os.getpid()}", 12)
        self.pipe.env["ONBOARD_TOPOLOGY_CONSUMERS"] = "eventlog"

    def make(self, n):
        return event("login", {"user_id": FIRST_USER + n % 100, "metadata": {"n": n}})

    def missing(self, sent):
        there = {d["_id"] for d in self.pipe.events.find({}, {"_id": 1})}
        return [e["id"] for e in sent if e["id"] not in there]

    def forget(self):
        self.pipe.events.delete_many({})


class Cache:
    """What the cache must hold."""
    program, server, variable, queue = "onboard-cache", "redis", "ONBOARD_REDIS_URL", "user_cache_queue"

    def __init__(self):
        self.pipe = Pipeline(f"faults_cache_{os.getpid()}", 13)
        self.pipe.env["ONBOARD_TOPOLOGY_CONSUMERS"] = "cache"
        self.kv = redis.Redis.from_url(self.pipe.place.redis)

    def make(self, n):
        return user_event("created", FIRST_USER + n)

    def missing(self, sent):
        keys = [f"user:{e['payload']['user_id']}:profile" for e in sent]
        return [k for at in range(0, len(keys), 1000)
                for k, v in zip(keys[at:at + 1000], self.kv.mget(keys[at:at + 1000])) if v is None]

    def forget(self):
        self.kv.flushdb()


class Segments:
    """A document and recommendations for each user, whichever of its two stores goes."""
    program, queue = "onboard-segments", "user_segment_queue"

    def __init__(self, pipe, server):
        self.pipe, self.server, self.variable = pipe, server, f"ONBOARD_{server.upper()}_URL"
        self.users = pipe.mongo[pipe.place.name]["users"]
        self.kv = redis.Redis.from_url(pipe.place.redis)

    @classmethod
    def both(cls):
        pipe = Pipeline(f"faults_segments_{os.getpid()}", 10)
        pipe.env["ONBOARD_TOPOLOGY_CONSUMERS"] = "segments"
        return [cls(pipe, "mongo"), cls(pipe, "redis")]

    def make(self, n):
        return user_event("created", FIRST_USER + n)

    def missing(self, sent):
        users = {d["_id"] for d in self.users.find({"segment": "new_user", "profile_score": 50}, {"_id": 1})}
        ids = [e["payload"]["user_id"] for e in sent]
        keys = [self.kv.exists(*(f"recommendations:user:{one}" for one in ids[at:at + 1000])) for at in range(0, len(ids), 1000)]
        return [one for one in ids if one not in users] or (sum(keys) < len(ids) and ["recommendations"])

    def forget(self):
        self.users.delete_many({})
        self.kv.flushdb()


class Analytics:
    """What is counted: each event once, so that too many is as wrong as too few."""
    program, server, variable, queue = "onboard-analytics", "postgres", "ONBOARD_POSTGRES_URL", "user_analytics_queue"

    def __init__(self):
        self.pipe = Pipeline(f"faults_counts_{os.getpid()}", 9)
        self.pipe.env["ONBOARD_TOPOLOGY_CONSUMERS"] = "analytics"
        self.kv = redis.Redis.from_url(self.pipe.place.redis, decode_responses=True)

    def make(self, n):
        return event(("login", "logout")[n % 2], {"user_id": FIRST_USER + n % 100, "geo": {"country": ("LV", "EE")[n % 3 % 2]}})

    def missing(self, sent):
        with Sql(self.pipe.place.postgres) as sql:
            there = set(sql.ask("SELECT event_id FROM analytics_inbox"))
            rows = [line.split("|") for line in sql.ask("SELECT day, type, country, count FROM event_counts")]
        wrong = [e["id"] for e in sent if e["id"] not in there]
        # what nobody was told is confirmed may have been published twice or lie there all the same, but is one count
        counted, shown = collections.Counter(), collections.Counter()
        for day, kind, _, count in rows:
            counted[day, kind] += int(count)
        for key in self.kv.keys("stats:events:*"):
            for kind, count in self.kv.hgetall(key).items():
                shown[key.removeprefix("stats:events:"), kind] += int(count)
        if sum(counted.values()) != len(there):
            wrong.append(f"{len(there)} in the inbox, {counted} counted")
        if counted != shown:
            wrong.append(f"{counted} counted, {shown} shown")
        active = set().union(*(self.kv.smembers(key) for key in self.kv.keys("active:*")))
        return wrong + sorted({str(e["payload"]["user_id"]) for e in sent} - active)

    def forget(self):
        with Sql(self.pipe.place.postgres) as sql:
            sql.ask("TRUNCATE analytics_inbox, event_counts")
        self.kv.flushdb()


@pytest.fixture(scope="module", autouse=True)
def here(servers):
    global SEGMENTS, ANALYTICS, KINDS, HANDLERS, STORES
    SEGMENTS, ANALYTICS = Segments.both(), Analytics()
    KINDS = [EventLog(), Cache()]                # where it is the runtime that counts
    HANDLERS = [*KINDS, SEGMENTS[0], ANALYTICS]  # where the handler does
    STORES = [*HANDLERS, SEGMENTS[1]]            # and each of its stores
    yield
    for kind in HANDLERS:
        kind.pipe.close()


def start(kind, **env):
    return kind.pipe.daemon(kind.program, **env)


def ready(daemon):
    return daemon.ask("/ready")[0] == 200


def nothing_is_lost(kind, daemon, load, seconds=180):
    """All that was confirmed is in the store, nothing waits, nothing is dead."""
    load.stop()
    sent = load.sent
    assert len(sent) > 50, len(sent)
    wait_until(lambda: not (kind.pipe.depth(kind.queue) or metric(daemon, "onboard_consumer_held")), seconds, "the queue is empty")
    wait_until(lambda: not kind.missing(sent), BACK_S, "every event is in the store")
    assert kind.pipe.depth("user.dlq") == 0
    assert metric(daemon, "onboard_consumer_deliveries_total") == metric(
        daemon, "onboard_consumer_deliveries_total", outcome="done"), "a retry was spent"
    kind.forget()
    print(f"# {kind.program}: {len(sent)} events, {metric(daemon, 'onboard_consumer_redelivered_total')} came again")


def store_goes_and_comes(kind, harm, mend, held=AWAY_S, **env):
    with start(kind, **env) as daemon:
        daemon.wait_ready()
        with Load(kind.pipe, kind.make, RATE) as load:
            load.wait_more(SOME)
            harm()
            gone = time.monotonic()
            try:
                daemon.wait_status("/ready", 503, TRUTH_S)
                wait_until(lambda: metric(daemon, "onboard_consumer_away") == 1, TRUTH_S, "away")
                time.sleep(max(0, gone + held - time.monotonic()))
                assert not ready(daemon) and daemon.process.poll() is None
            finally:
                mend()
            back = time.monotonic()
            daemon.wait_status("/ready", 200, BACK_S)
            print(f"# {kind.program}: ready again after {time.monotonic() - back:.1f} s")
            load.wait_more(SOME)
            nothing_is_lost(kind, daemon, load)
        assert daemon.terminate() == 0


def test_store_stopped():
    for kind in STORES:
        store_goes_and_comes(kind, lambda k=kind: stack("ctl", "stop", k.server), lambda k=kind: stack("ctl", "start", k.server))


def test_store_frozen():
    for kind in STORES:
        store_goes_and_comes(kind, lambda k=kind: stack("ctl", "freeze", k.server), lambda k=kind: stack("ctl", "thaw", k.server))


def at_once(what):
    """For each kind, all at the same time: they share no proxy and no database, and mostly wait."""
    with concurrent.futures.ThreadPoolExecutor(len(KINDS)) as pool:
        for one in [pool.submit(what, kind) for kind in KINDS]:
            one.result()


def cut_off(kind):
    with behind(kind.pipe.env[kind.variable]) as (proxy, way):
        store_goes_and_comes(kind, proxy.stall, proxy.flow, **{kind.variable: way})
        store_goes_and_comes(kind, proxy.close, proxy.open, **{kind.variable: way})


def test_store_cut_off():
    at_once(cut_off)


def test_analytics_without_redis():
    """The counts are committed already when it turns out that Redis has gone: they are added once and shown later."""
    kind = ANALYTICS
    with behind(kind.pipe.place.redis) as (proxy, way):
        store_goes_and_comes(kind, proxy.stall, proxy.flow, held=3, ONBOARD_REDIS_URL=way)
        store_goes_and_comes(kind, lambda: stack("ctl", "stop", "redis"), lambda: stack("ctl", "start", "redis"), held=2)


def test_a_store_that_answers_pings_but_no_calls():
    """The table is locked: PostgreSQL answers the probe each time, and no batch. Nothing more is taken meanwhile."""
    kind, prefetch = ANALYTICS, 100
    database = kind.pipe.place.name
    with Sql(kind.pipe.place.postgres) as sql:
        sql.ask(f"ALTER DATABASE {database} SET lock_timeout = '100ms'")
        with start(kind, ONBOARD_CONSUMER_PREFETCH=str(prefetch)) as daemon, Load(kind.pipe, kind.make, RATE) as load:
            daemon.wait_ready()
            wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total") > 100, 20, "it works")
            sql.ask("BEGIN")
            sql.ask("LOCK TABLE event_counts")
            daemon.wait_status("/ready", 503, TRUTH_S)
            most = 0
            locked = time.monotonic()
            while time.monotonic() < locked + AWAY_S:
                most = max(most, metric(daemon, "onboard_consumer_held"))
                assert daemon.ask("/ready")[0] == 503
            assert 0 < most <= prefetch, most
            sql.ask("ROLLBACK")
            daemon.wait_status("/ready", 200, BACK_S)
            nothing_is_lost(kind, daemon, load)
            assert daemon.terminate() == 0
        sql.ask(f"ALTER DATABASE {database} RESET lock_timeout")


def test_commits_whose_answers_are_lost():
    """Ten times what PostgreSQL says is swallowed in mid-stream, and the connection with it."""
    kind = ANALYTICS
    with behind(kind.pipe.place.postgres) as (proxy, way):
        with start(kind, ONBOARD_POSTGRES_URL=way) as daemon:
            daemon.wait_ready()
            with Load(kind.pipe, kind.make, RATE) as load:
                for n in range(10):
                    done = metric(daemon, "onboard_consumer_deliveries_total")
                    wait_until(lambda d=done: metric(daemon, "onboard_consumer_deliveries_total") > d, BACK_S, f"goes on after {n}")
                    proxy.swallow()
                    time.sleep(0.1)  # a few statements arrive
                    proxy.reset()
                    proxy.flow()
                nothing_is_lost(kind, daemon, load)
            assert daemon.terminate() == 0


def test_redis_that_refuses_writes():
    kind = KINDS[1]
    was = kind.kv.config_get("maxmemory")["maxmemory"]
    with start(kind) as daemon:
        daemon.wait_ready()
        with Load(kind.pipe, kind.make, RATE) as load:
            try:
                load.wait_more(SOME)
                kind.kv.config_set("maxmemory", 1)
                wait_until(lambda: '"a store is away' in daemon.log(), BACK_S, "it says so")
                load.wait_more(SOME)
            finally:
                kind.kv.config_set("maxmemory", was)
            nothing_is_lost(kind, daemon, load)
        assert daemon.terminate() == 0


def sigterm_while_away(kind):
    with behind(kind.pipe.env[kind.variable]) as (proxy, way):
        with start(kind, **{kind.variable: way}) as daemon:
            daemon.wait_ready()
            with Load(kind.pipe, kind.make, RATE) as load:
                load.wait_more(SOME)
                proxy.stall()
                load.wait_more(3 * SOME)
                assert daemon.terminate() == 0  # 1, where it has not drained within 10 s
        with start(kind) as daemon:
            daemon.wait_ready()
            nothing_is_lost(kind, daemon, load)
            assert daemon.terminate() == 0


def test_sigterm_while_the_store_is_away():
    """What it holds is given back, in time; its successor finds all of it."""
    at_once(sigterm_while_away)


def test_broker_connection_reset():
    for kind in KINDS:
        with behind(kind.pipe.env["ONBOARD_RABBITMQ_URL"]) as (proxy, way), start(kind, ONBOARD_RABBITMQ_URL=way) as daemon:
            daemon.wait_ready()
            with Load(kind.pipe, kind.make, RATE) as load:
                for n in range(RESETS):
                    load.wait_more(SOME // 4)
                    wait_until(proxy.connections, BACK_S, "connected")
                    done = metric(daemon, "onboard_consumer_deliveries_total")
                    proxy.reset()
                    wait_until(lambda d=done: metric(daemon, "onboard_consumer_deliveries_total") > d, BACK_S,
                               f"goes on after reset {n}")
                nothing_is_lost(kind, daemon, load)
            assert daemon.terminate() == 0


def test_broker_stopped_and_started():
    with contextlib.ExitStack() as all_of:
        daemons = [all_of.enter_context(start(kind)) for kind in KINDS]
        for daemon in daemons:
            daemon.wait_ready()
        loads = [all_of.enter_context(Load(kind.pipe, kind.make, RATE // 4)) for kind in KINDS]
        for load in loads:
            load.wait_more(SOME // 4)
        stack("ctl", "stop", "rabbitmq")
        try:
            for daemon in daemons:
                daemon.wait_status("/ready", 503, TRUTH_S)
            time.sleep(2)
        finally:
            stack("ctl", "start", "rabbitmq")
        for daemon in daemons:
            daemon.wait_status("/ready", 200, BACK_S)
        for load in loads:
            load.wait_more(SOME // 4)
        for kind, daemon, load in zip(KINDS, daemons, loads):
            nothing_is_lost(kind, daemon, load)
            assert daemon.terminate() == 0


def test_killed():
    for kind in HANDLERS:
        with Load(kind.pipe, kind.make, RATE) as load:
            for _ in range(KILLS):
                with start(kind) as daemon:
                    daemon.wait_ready()
                    wait_until(lambda d=daemon: metric(d, "onboard_consumer_deliveries_total") > 100, 20, "it works")
                    daemon.process.kill()
                    daemon.process.wait()
            with start(kind) as daemon:
                daemon.wait_ready()
                nothing_is_lost(kind, daemon, load)
                assert daemon.terminate() == 0


def ends_and_hands_nothing_back(kind, end, window=256):
    """Again and again under load; what one of them hands back comes again to the next."""
    log = ""

    def came_again(daemon):
        """None, unless the one before lost its broker: a busy machine thaws it late."""
        again = metric(daemon, "onboard_consumer_redelivered_total")
        assert again == 0 or "server away" in log, f"{again} came again; the one before ended so: {log[-1500:]}"

    with Load(kind.pipe, kind.make, RATE) as load:
        for _ in range(TERMS):
            # a window that fills in time on a slow machine too
            with start(kind, ONBOARD_CONSUMER_PREFETCH=str(window)) as daemon:
                daemon.wait_ready()
                wait_until(lambda d=daemon: metric(d, "onboard_consumer_deliveries_total") > 300, 20, "it works")
                time.sleep(0.2)
                came_again(daemon)
                code, log = end(daemon), daemon.log()
                assert code == 0, f"exit code {code}: {log[-1500:]}"  # 1, where it has not drained within 10 s
        with start(kind) as daemon:
            daemon.wait_ready()
            nothing_is_lost(kind, daemon, load)
            came_again(daemon)
            assert daemon.terminate() == 0


def test_sigterm_under_load_hands_nothing_back():
    for kind in HANDLERS:
        ends_and_hands_nothing_back(kind, lambda daemon: daemon.terminate())


def test_sigterm_while_the_broker_hangs():
    """Nothing comes for a moment, as when its disk stalls: that is not yet an empty queue. By the look
    whether it is, a small window gets an event beside those that fill it."""
    def end(daemon):
        stack("ctl", "freeze", "rabbitmq")
        try:
            daemon.process.terminate()
            time.sleep(0.6)  # longer than the quiet by which an empty queue is known
        finally:
            stack("ctl", "thaw", "rabbitmq")
        return daemon.process.wait(30)

    for window in (256, 40):
        ends_and_hands_nothing_back(KINDS[0], end, window)


def test_a_queue_that_is_deleted_is_declared_again():
    for kind in KINDS:
        with start(kind) as daemon:
            daemon.wait_ready()
            with Load(kind.pipe, kind.make, RATE) as load:
                load.wait_more(SOME)
                kind.pipe.place.management.delete("queues", kind.pipe.place.name, kind.queue)
                wait_until(lambda d=daemon: "declaring it anew" in d.log(), BACK_S, "it sees that the queue has gone")
            # of what was in it nobody is left to ask; what comes now must arrive
            daemon.wait_status("/ready", 200, BACK_S)
            with Load(kind.pipe, kind.make, RATE) as load:
                load.wait_more(SOME)
                nothing_is_lost(kind, daemon, load)
            assert daemon.terminate() == 0
