# SPDX-License-Identifier: MIT
"""Drains a filled queue with one consumer at a time, ours and the peer's in turn.

lib/drain.py measures both sides. It fills the queue, starts the consumer, and counts in the consumer's store
from the first event to the last. It runs in the peer's Python, because that has pymongo. So without a peer
nothing is measured."""
import json
import os
import signal
import subprocess
import threading
import time

from lib import bench as frame
from lib import ours, peer, procs
from lib.table import Row

import servers  # tests/lib, which lib.bench puts on the path

COUNT, COUNT_ONE = int(os.environ.get("EVENTS", 100_000)), int(os.environ.get("EVENTS_ONE", 20_000))
ABOUT = {  # queue, what is watched, the store's limit program, goal, aim
    "eventlog": ("user_data_queue", "events", ("mongo_limit", "insert", COUNT, 256), 2.5, 3),
    "cache": ("user_cache_queue", "redis", ("redis_limit", 2 * COUNT, 512, 2), 6, 8),
    "segments": ("user_segment_queue", "users", ("mongo_limit", "upsert", COUNT, 256), 1.5, 1.75),
}
ALONE = {  # the peer has none: queue, what is watched, goal in events/s, what is stored in the end
    "analytics": ("user_analytics_queue", "queue", 10_000, "SELECT coalesce(sum(count), 0) FROM event_counts"),
}
MEMORY_GOAL = 6
DROP = "import sys, pymongo; pymongo.MongoClient(sys.argv[1]).drop_database(sys.argv[2])"


class Side:
    def __init__(self, name, place):
        self.name, self.place = name, place

    def command(self, bench, consumer):
        if self.name == "ours":
            return [os.path.join(ours.BIN, f"onboard-{consumer}")]
        return [os.path.join(bench.venv, "bin/python"), os.path.join(bench.peer_source, "consumers.py"), consumer]

    def env(self):
        """The environment of drain.py and, through it, of the consumer."""
        return peer.variables(self.place) | {
            "ONBOARD_POSTGRES_URL": self.place.postgres, "ONBOARD_RABBITMQ_URL": self.place.rabbitmq,
            "ONBOARD_MONGO_URL": self.place.mongo, "ONBOARD_REDIS_URL": self.place.redis,
            "ONBOARD_LOG_LEVEL": "warn", "ONBOARD_ADMIN_LISTEN": "127.0.0.1:0"}


def start(bench):
    if not bench.venv:
        raise servers.ServerError("consumers are drained beside the peer, in its Python: PEER=DIR names it")
    sides = []
    if bench.with_ours:
        place = bench.place("drain_ours")
        ours.migrate(place)
        subprocess.run([os.path.join(ours.BIN, "onboardctl"), "topology", "declare"], check=True,
                       env=os.environ | {"ONBOARD_RABBITMQ_URL": place.rabbitmq}, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
        sides.append(Side("ours", place))
    place = bench.place("drain_peer")
    bench.start_peer(place).stop()  # it has declared its queues
    sides.append(Side("peer", place))
    yield sides


class Drain:
    """One drained queue: events/s, processor seconds per 1,000 events, peak of private dirty memory."""

    def __init__(self, bench, side, consumer, count, env=None):
        queue, watch = (ABOUT | ALONE)[consumer][:2]
        side.place.purge()
        with servers.Redis(side.place.redis) as kv:
            kv.ask("FLUSHDB")
        # the count at the end takes longer after more rounds
        subprocess.run([os.path.join(bench.venv, "bin/python"), "-c", DROP, side.place.mongo_server, side.place.name],
                       stdin=subprocess.DEVNULL, check=True, timeout=60)
        words = [os.path.join(bench.venv, "bin/python"), os.path.join(servers.ROOT, "bench/lib/drain.py"), queue, str(count),
                 str(time.time_ns() // 1000 % 10**15), watch, *side.command(bench, consumer)]
        with open(os.path.join(frame.LOGS, f"drain-{side.name}-{consumer}.log"), "ab") as log:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *words], stdin=subprocess.DEVNULL, text=True,
                                            stdout=subprocess.PIPE, stderr=log, env=side.env() | (env or {}))
        self.private = 0.0
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        try:
            out, _ = self.process.communicate(timeout=400)
        except BaseException:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            raise
        watcher.join(5)
        lines = [line for line in out.splitlines() if line.startswith("{")]
        if self.process.returncode != 0 or not lines:
            raise servers.ServerError(f"drain.py of {side.name}, {consumer}: exit {self.process.returncode}")
        found = json.loads(lines[-1])
        self.rate, self.cpu = found["events_per_s"], found["cpu_s_per_1000"]
        frame.say(f"  {side.name}, {consumer}: {self.rate}/s, {self.private:.1f} MiB private dirty")

    def _watch(self):
        while self.process.poll() is None:
            below = [pid for pid in procs.family([self.process.pid]) if pid != self.process.pid]
            if below:
                self.private = max(self.private, procs.memory_mib(below)[0])
            time.sleep(0.2)


def drained(consumer):
    def part(bench, sides):
        store, goal, aim = ABOUT[consumer][2:]
        limits = []
        found = bench.interleave(sides, lambda side: Drain(bench, side, consumer, COUNT),
                                 limits=lambda: limits.append(bench.limit_together(COUNT, 1, store, filled=True)))
        of = {side.name: found[side] for side in sides}
        value = lambda what: {name: [what(one) for one in of.get(name, [])] for name in ("ours", "peer")}
        rows = [
            Row(f"{consumer}, drained, batched peer", "/s", **value(lambda o: o.rate), limit=limits,
                goal=f">= {goal}x (aim {aim}x)", met=lambda row: row.ratio >= goal),
            Row(f"{consumer} memory, private dirty", "MiB", **value(lambda o: o.private), more=False,
                goal=f"<= {MEMORY_GOAL}", met=lambda row: row.ours <= MEMORY_GOAL),
            Row(f"{consumer} CPU per 1,000 events", "s", **value(lambda o: o.cpu), more=False),
        ]
        with bench.guard(f"the peer, {consumer}, one at a time"):
            one = Drain(bench, sides[-1], consumer, COUNT_ONE, {"PEER_BATCH": "1", "PEER_PREFETCH": "100"})
            rows.append(Row(f"{consumer}, peer one at a time", "/s", ours=[o.rate for o in of.get("ours", [])],
                            peer=[one.rate], goal="", note="ours batched, the course's way beside it"))
        return rows
    part.__doc__ = f"onboard-{consumer}: events/s, memory, processor time."
    return part


def alone(consumer):
    def part(bench, sides):
        goal, stored = ALONE[consumer][2:]
        ours = [side for side in sides if side.name == "ours"]

        def measure(side):
            with servers.Sql(side.place.postgres) as sql:
                before = sql.number(stored)
                found = Drain(bench, side, consumer, COUNT)
                if (there := sql.number(stored) - before) != COUNT:
                    raise servers.ServerError(f"{consumer}: {there} of {COUNT} events are stored")
            return found

        # it has no peer and is far from its goal, so drift does not matter
        found = bench.interleave(ours, measure, None if bench.full else 1)
        of = found[ours[0]] if ours else []
        return [
            Row(f"{consumer}, drained", "/s", ours=[one.rate for one in of], goal=f">= {goal:,}/s",
                met=lambda row: row.ours >= goal, note="the peer has no such consumer"),
            Row(f"{consumer} memory, private dirty", "MiB", ours=[one.private for one in of], more=False,
                goal=f"<= {MEMORY_GOAL}", met=lambda row: row.ours <= MEMORY_GOAL),
            Row(f"{consumer} CPU per 1,000 events", "s", ours=[one.cpu for one in of], more=False),
        ]
    part.__doc__ = f"onboard-{consumer}, which the peer has not: events/s, memory, processor time."
    return part


PARTS = {name: drained(name) for name in ABOUT} | {name: alone(name) for name in ALONE}
