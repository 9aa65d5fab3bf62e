# SPDX-License-Identifier: MIT
"""The whole pipeline: from the first POST until every event is in MongoDB and Redis.

The peer's own e2e.py loads both sides: 64 connections post, then it waits until the queues are empty
and the stores have all events. API and consumers share the processors with the servers and the load."""
import contextlib
import json
import os
import signal
import subprocess

import servers
from lib import bench as frame
from lib import ours, peer, procs, wrk
from lib.table import Row

COUNT = int(os.environ.get("SIGNUPS", 50_000))
THREE = ("eventlog", "cache", "segments")  # the peer's, too
FIVE = THREE + ("mailer", "analytics")
QUEUES = {"eventlog": "user_data_queue", "cache": "user_cache_queue", "segments": "user_segment_queue",
          "analytics": "user_analytics_queue"}  # the mailer keeps to its rate, so its mails may come later
KEYS_PER_USER = {"ours": 3, "peer": 2}     # in Redis
UNPUBLISHED = "SELECT count(*) FROM outbox_unpublished"
DRAIN_SECONDS = 30


class Side:
    """Ours or the peer. Each round has its own empty stores, so earlier rounds do not slow it down."""

    def __init__(self, bench, name):
        self.bench, self.name, self.redis, self.rounds = bench, name, next(bench.numbers), 0

    @contextlib.contextmanager
    def running(self, names):
        """The place, the API's URL and the processes of the API and its consumers."""
        self.rounds += 1
        place, runners = self.bench.place(f"e2e_{self.name}_{self.rounds}", self.redis), []
        try:
            if self.name == "ours":
                ours.migrate(place)
                runners.append(self.bench.start_ours("onboard-api", place, "api"))
                for name in names:
                    runners.append(self.bench.start_ours(f"onboard-{name}", place, env={
                        "ONBOARD_SMTP_URL": self.bench.stack.env["ONBOARD_SMTP_URL"]}))
            else:
                runners.append(self.bench.start_peer(place, " ".join(names)))
            yield place, runners[0].url, [pid for runner in runners for pid in runner.pids.values()]
        finally:
            for runner in reversed(runners):
                runner.stop()


def start(bench):
    if not bench.venv:
        raise servers.ServerError("the pipeline is loaded by the peer's e2e.py: PEER=DIR names the peer")
    yield [Side(bench, name) for name in (["ours"] if bench.with_ours else []) + ["peer"]]


class Way:
    """One load from the first POST to the last event stored."""

    def __init__(self, bench, side, names):
        waits = ",".join(QUEUES[name] for name in names if name in QUEUES)
        with side.running(names) as (place, url, pids):
            os.sync()  # the databases that were just made
            found = load(bench, side, place, "--url", url, "-n", str(COUNT), "-c", "64", "--queues", waits,
                         "--keys-per-user", str(KEYS_PER_USER[side.name]), "--group", "daemons=" + ",".join(map(str, pids)))
            self.private, self.resident = procs.memory_mib(procs.family(pids))
            if side.name == "ours":
                with servers.Sql(place.postgres) as sql:
                    frame.poll(lambda: sql.number(UNPUBLISHED) == 0, DRAIN_SECONDS)
            place.purge()
        if min(found["in_mongo"], found["in_redis"]) < COUNT:
            raise servers.ServerError(f"{side.name}: {found['in_mongo']} in MongoDB and {found['in_redis']} in Redis "
                                      f"of {COUNT} signups")
        self.rate, self.posts, self.trouble = found["e2e_per_s"], found["posts_per_s"], wrk.trouble_of_signups(found["errors"])
        self.cpu = found["cpu_s_per_1000"]["daemons"]
        frame.say(f"  {side.name}: {self.rate}/s end to end, {self.posts}/s posted")


def load(bench, side, place, *words):
    """What e2e.py found."""
    words = [os.path.join(bench.venv, "bin/python"), os.path.join(bench.peer_source, "e2e.py"), *words]
    with open(os.path.join(frame.LOGS, f"e2e-{side.name}.log"), "ab") as log:
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *words], stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.PIPE, stderr=log, env=peer.variables(place))
    try:
        out, _ = process.communicate(timeout=400)
    except BaseException:
        process.send_signal(signal.SIGKILL)
        process.wait()
        raise
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if process.returncode != 0 or not lines:
        raise servers.ServerError(f"e2e.py of {side.name}: exit {process.returncode}")
    return json.loads(lines[-1])


def limit(bench, names):
    """All stages except HTTP; they do not wait for each other. Without the stores of analytics and the mailer."""
    n = COUNT // 2
    return bench.limit_together(n, len(names), ("pg_limit", n, 2, 64, 1), ("mongo_limit", "insert", n, 256),
                                ("mongo_limit", "upsert", n, 256), ("redis_limit", 3 * n, 768, 3))


def rows_of(title, found, limits, goal, met, bounded):
    value = lambda what: {side.name: [what(one) for one in ways] for side, ways in found.items()}
    trouble = sorted({error for ways in found.values() for one in ways for error in one.trouble})
    return [
        Row(f"{title}, end to end", "/s", **value(lambda o: o.rate), limit=limits, goal=goal, met=met, note="; ".join(trouble)),
        Row(f"{title}, posted", "/s", **value(lambda o: o.posts)),
        Row(f"{title}, CPU per 1,000 signups", "s", **value(lambda o: o.cpu), more=False,
            goal="<= 0.1" if bounded else "", met=(lambda row: row.ours <= 0.1) if bounded else None),
        Row(f"{title}, private dirty", "MiB", **value(lambda o: o.private), more=False,
            goal="<= 50" if bounded else "", met=(lambda row: row.ours <= 50) if bounded else None),
        Row(f"{title}, resident", "MiB", **value(lambda o: o.resident), more=False),
    ]


def ways(bench, sides, names):
    limits = []
    found = bench.interleave(sides, lambda side: Way(bench, side, names),
                             limits=lambda: limits.append(limit(bench, names)))
    return found, limits


def three(bench, sides):
    """The API and the three consumers that the peer has."""
    found, limits = ways(bench, sides, THREE)
    return rows_of("three consumers", found, limits, ">= 5.5x", lambda row: row.ratio >= 5.5, False)


def five(bench, sides):
    """The API and all five consumers: ours alone."""
    mine = [side for side in sides if side.name == "ours"]
    if not mine:
        return []
    found, limits = ways(bench, mine, FIVE)
    return rows_of("five consumers", found, limits, ">= 3,600/s", lambda row: row.ours >= 3600, True)


PARTS = {"three": three, "five": five}
