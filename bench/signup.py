# SPDX-License-Identifier: MIT
"""The signup API: signups, their latency, memory, processor time, publishing, cached reads.

Only the broker and the API run on both sides, no consumer. Both sides are up all the time and take
turns. Between two loads, all events are published and every queue is emptied."""
import http.client
import json
import os

import servers
from lib import bench as frame
from lib import disk, ours, procs, wrk
from lib.table import Row, median

PROGRAM = "onboard-api"
QUEUE = "user_data_queue"  # bound to user.* (ours) and user.created (the peer): every signup's event
USERS = "SELECT count(*) FROM users"
UNPUBLISHED = "SELECT coalesce(sum(cardinality(event_ids)), 0) FROM outbox_unpublished"
QUEUES = 5                 # one queue per consumer: the broker's limit publishes to them
HOT, MANY = 16, 1000       # ids of the cached reads
DRAIN_SECONDS = 30
LIMIT_ROWS = 50_000


class Side:
    """Ours or the peer: a running API and its servers."""

    def __init__(self, name, place, runner):
        self.name, self.place, self.runner = name, place, runner
        self.url, self.pids = runner.url, [runner.pids["api"]]
        self.is_ours = name == "ours"
        self.sql = servers.Sql(place.postgres)

    def close(self):
        self.sql.close()
        self.runner.stop()


class Group:
    """The sides that run, in the order of their turns."""

    def __init__(self):
        self.sides, self.notes = [], []

    def side(self, name):
        return next((side for side in self.sides if side.name == name), None)

    def note(self, text):
        frame.say(text)
        self.notes.append(text)

    def take_notes(self):
        text, self.notes = "; ".join(dict.fromkeys(self.notes)), []
        return text


class Load:
    """The result of one load of signups."""

    def __init__(self, report, stored, drained, cpu, missing):
        self.rate, self.p50, self.p99 = report.rate, report.p(50), report.p(99)
        self.stored, self.drained, self.missing, self.trouble = stored, drained, missing, report.trouble("201")
        self.cpu_per_1000 = cpu * 1000 / stored if stored else None


def start(bench):
    group = Group()
    try:
        if bench.with_ours:
            with bench.guard("ours"):
                if why := ours.missing(PROGRAM):
                    raise ours.OursError(why)
                place = bench.place("bench_ours")
                ours.migrate(place)
                group.sides.append(Side("ours", place, bench.start_ours(PROGRAM, place, "api")))
        if bench.venv:
            with bench.guard("the peer"):
                place = bench.place("bench_peer")
                group.sides.append(Side("peer", place, bench.start_peer(place)))
        if not group.sides:
            raise servers.ServerError("nothing to measure")
        for side in group.sides:  # fills caches, prepared statements and connections, which are not measured
            with bench.guard(f"{side.name}, warming up"):
                load(group, side, 64, 2)
        group.take_notes()
        yield group
    finally:
        for side in group.sides:
            side.close()


def load(group, side, connections, seconds, threads=1):
    """One load, then the wait until its events are published: all of this processor time counts."""
    users = side.sql.number(USERS)
    cpu = procs.cpu_seconds(side.pids)
    report = wrk.run(side.url, connections, seconds, wrk.SIGNUP, threads)
    drained = 0.0
    if side.is_ours:
        drained, done = frame.poll(lambda: side.sql.number(UNPUBLISHED) == 0, DRAIN_SECONDS)
        if not done:
            group.note(f"events still unpublished {DRAIN_SECONDS} s after a load with {connections} connections")
    # Requests that wrk has left unfinished may still end.
    counts = [0, 0]

    def settled():
        counts[:] = side.sql.number(USERS) - users, side.place.depth(QUEUE)
        return counts[0] == counts[1]

    frame.poll(settled, 10, 0.05)
    cpu = procs.cpu_seconds(side.pids) - cpu
    one = Load(report, counts[0], drained, cpu, counts[0] - counts[1])
    if one.trouble:
        group.note(f"{side.name} at {connections} connections: {one.trouble}")
    if counts[0] < report.good:
        group.note(f"{side.name} at {connections} connections: {report.good} acknowledged, {counts[0]} stored")
    side.place.purge()
    frame.say(f"  {side.name}, {connections} connections: {one.rate:.0f}/s, p50 {one.p50} ms, p99 {one.p99} ms")
    return one


def each(found, side, value):
    return [value(one) for one in found.get(side, [])]


def busy(bench, group):
    """64 connections: signups/s, p99, memory, processor time, publishing."""
    postgres, broker = [], []

    def limits():
        postgres.append(bench.limit("pg_limit", LIMIT_ROWS, 2, 64, 1))
        bench.limit("amqp_limit", "declare", "quorum", QUEUES)
        broker.append(bench.limit("amqp_limit", "publish", LIMIT_ROWS, 256, 64))
        bench.limit("amqp_limit", "delete", QUEUES)

    def measure(side):
        with disk.Watch() as watch:
            one = load(group, side, 64, bench.seconds(10))
        return one, procs.memory_mib(side.pids), watch.longest_ms

    found = bench.interleave(group.sides, measure, limits=limits)
    mine, theirs = group.side("ours"), group.side("peer")
    # The result of each load, and the memory after the last one.
    result = lambda value: {"ours": each(found, mine, lambda f: value(f[0])),
                            "peer": each(found, theirs, lambda f: value(f[0]))}
    memory = lambda n: {side.name: found[side][-1][1][n] for side in group.sides if found[side]}
    rates, notes = [], []
    for text, results in (("PostgreSQL, 64 signups and their events a commit,", postgres),
                          (f"the broker, confirmed into {QUEUES} quorum queues,", broker)):
        if of_one := [one.rate for one in results if one]:
            rates.append(of_one)
            notes.append(f"{text} {median(of_one):,.0f}/s")
    limit = min(rates, key=median, default=None)
    waits = ", ".join(f"{one[2]:.0f}" for one in found.get(mine, []))
    note = joined("limit: the lower of " + ", and ".join(notes) if notes else "", group.take_notes())
    return [
        Row("signup, 64 connections", "/s", **result(lambda o: o.rate), limit=limit, goal=">= 8x (aim 12x)",
            met=lambda row: row.ratio >= 8, note=note),
        Row("signup, 64 connections, p99", "ms", **result(lambda o: o.p99), more=False, goal="< 20",
            met=lambda row: row.ours < 20,
            note=f"4 KiB to the same disk meanwhile: {waits} ms at the longest" if waits else ""),
        Row("signup, 64 connections, p50", "ms", **result(lambda o: o.p50), more=False),
        Row("API memory, private dirty", "MiB", **memory(0), more=False, goal="< 12",
            met=lambda row: row.ours < 12),
        Row("API memory, resident", "MiB", **memory(1), more=False),
        Row("API CPU per 1,000 signups", "s", **result(lambda o: o.cpu_per_1000), more=False, goal="< 0.06",
            met=lambda row: row.ours < 0.06),
        Row("outbox empty after the load", "s", ours=each(found, mine, lambda f: f[0].drained), more=False,
            goal="< 1", met=lambda row: row.ours < 1,
            note="the peer has no outbox: it answers after the broker's confirm" if theirs else ""),
        Row("signups without event in the queue", ours=sum_of(found, mine), peer=sum_of(found, theirs), more=False,
            goal="0", met=lambda row: row.ours == 0),
    ]


def joined(*texts):
    return "; ".join(text for text in texts if text)


def sum_of(found, side):
    rounds = each(found, side, lambda f: abs(f[0].missing))
    return sum(rounds) if rounds else None


def one_at_a_time(bench, group):
    """One connection: p50 next to a bare commit."""
    bare = []
    found = bench.interleave(group.sides, lambda side: load(group, side, 1, bench.seconds(4)),
                             limits=lambda: bare.append(bench.limit("pg_limit", 4000, 1, 1, 0)))
    mine, theirs = group.side("ours"), group.side("peer")
    commits = [one.each_ms for one in bare if one]
    result = lambda value: {"ours": each(found, mine, value), "peer": each(found, theirs, value)}
    note = joined("limit: one row, one commit, one connection, the mean" if commits else "", group.take_notes())
    return [
        Row("signup, 1 connection, p50", "ms", **result(lambda o: o.p50), limit=commits, more=False,
            goal="<= 0.6, 2.5 limit", note=note,
            met=lambda row: row.ours <= 0.6 and (row.limit is None or row.ours <= 2.5 * row.limit)),
        Row("signup, 1 connection, p99", "ms", **result(lambda o: o.p99), more=False),
    ]


def many(bench, group):
    """256 connections are no slower than 64; 2,000 are still served."""
    few = bench.interleave(group.sides, lambda side: (load(group, side, 64, bench.seconds(4)),
                                                      load(group, side, 256, bench.seconds(4))))
    mine, theirs = group.side("ours"), group.side("peer")
    beside = median(each(few, mine, lambda f: f[0].rate))
    rows = [Row("signup, 256 connections", "/s", ours=each(few, mine, lambda f: f[1].rate),
                peer=each(few, theirs, lambda f: f[1].rate), goal=">= at 64 (95 %)",
                met=lambda row: row.ours >= 0.95 * beside,
                note=joined(f"ours at 64 beside it: {beside:,.0f}/s" if beside else "", group.take_notes()))]
    crowd, memory = {}, {}
    for side in group.sides:
        with bench.guard(f"{side.name}, 2,000 connections"):
            crowd[side] = [load(group, side, 2000, bench.seconds(6), threads=2)]
            memory[side] = procs.memory_mib(side.pids)[0]
    served = mine in crowd and not crowd[mine][0].trouble and crowd[mine][0].rate > 0
    rows += [
        Row("signup, 2,000 connections", "/s", ours=each(crowd, mine, lambda o: o.rate),
            peer=each(crowd, theirs, lambda o: o.rate), goal="all served", met=lambda row: served,
            note=group.take_notes()),
        Row("signup, 2,000 connections, p99", "ms", ours=each(crowd, mine, lambda o: o.p99),
            peer=each(crowd, theirs, lambda o: o.p99), more=False),
        Row("API memory after 2,000 clients", "MiB", ours=memory.get(mine), peer=memory.get(theirs), more=False),
    ]
    return rows


def reads(bench, group):
    """Cached reads: from memory and through Redis, next to the peer's cached read."""
    mine, theirs = group.side("ours"), group.side("peer")
    files, second, rows = {}, None, []
    for side in group.sides:
        with bench.guard(f"{side.name}, ids to read"):
            files[side] = ids(group, side)
    try:
        turns = []
        if mine in files:
            hot = mine.url, "/api/users/%d", some(files[mine], HOT), mine.place
            turns.append(Turn("ours, from memory", *hot))
            with bench.guard("ours, through Redis"):
                second = bench.start_ours(PROGRAM, mine.place, "api", {"ONBOARD_API_LRU_ENTRIES": "0"})
                fill(mine, second.url, files[mine])
                turns.append(Turn("ours, through Redis", second.url, "/api/users/%d", files[mine], mine.place))
        if theirs in files:
            turns.append(Turn("peer", theirs.url, "/api/users/%d/recommendations", files[theirs], theirs.place))
        for turn in turns:
            with bench.guard(f"{turn.name}, warming up"):
                turn.run(group, 2)
        found = bench.interleave(turns, lambda turn: turn.run(group, bench.seconds(3)))
    finally:
        if second:
            second.stop()
    of = {turn.name: found[turn] for turn in turns}
    peers, notes = of.get("peer", []), group.take_notes()
    about = "the peer's cached read is GET /api/users/{id}/recommendations, from its Redis" if peers else ""
    for name, times, kind in (("ours, from memory", 5, "from memory"), ("ours, through Redis", 3, "through Redis")):
        pairs = of.get(name, [])
        note = joined(about, f"ours found {median([h for _, h in pairs]):.2f} keys in Redis a request" if pairs else "",
                      notes)
        # A read counts only if it was answered from where its name says.
        right = bool(pairs) and all(hits < 0.01 if times == 5 else hits > 0.99 for _, hits in pairs)
        rows.append(Row(f"cached GET user, {kind}", "/s", ours=[rate for rate, _ in pairs],
                        peer=[rate for rate, _ in peers], goal=f">= {times}x", note=note,
                        met=lambda row, times=times, right=right: right and row.ratio >= times))
    return rows


class Turn:
    """A read under load: requests/s and keys found in Redis for each request."""

    def __init__(self, name, url, path, file, place):
        self.name, self.url, self.place = name, url, place
        self.env = {"BENCH_PATH": path, "BENCH_IDS": file}

    def run(self, group, seconds):
        with servers.Redis(self.place.redis) as kv:
            before = kv.hits()
            report = wrk.run(self.url, 64, seconds, wrk.GET, env=self.env)
            hits = (kv.hits() - before) / max(report.requests, 1)
        if trouble := report.trouble("200"):
            group.note(f"{self.name}: {trouble}")
        frame.say(f"  {self.name}: {report.rate:.0f}/s, {hits:.2f} keys found in Redis for each")
        return report.rate, hits


def ids(group, side):
    """A file with ids of existing users."""
    while side.sql.number(USERS) < MANY:
        if load(group, side, 64, 1).stored == 0:
            raise servers.ServerError(f"{side.name} takes no signups")
    path = os.path.join(frame.LOGS, f"ids-{side.name}")
    with open(path, "w", encoding="ascii") as f:
        f.write("\n".join(side.sql.ask(f"SELECT id FROM users ORDER BY id DESC LIMIT {MANY}")) + "\n")
    return path


def some(path, count):
    with open(path, encoding="ascii") as f, open(path + "-hot", "w", encoding="ascii") as out:
        out.writelines(f.readlines()[:count])
    return path + "-hot"


def fill(side, url, path):
    """Writes what onboard-cache would write: the answer of GET /api/users/{id} under the user's key."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    with servers.Redis(side.place.redis) as kv, open(path, encoding="ascii") as f:
        for user in f.read().split():
            connection.request("GET", f"/api/users/{user}")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise servers.ServerError(f"GET /api/users/{user}: {answer.status}")
            kv.ask("SET", f"user:{user}:profile", body, "EX", 3600)
            kv.ask("SET", f"user:{user}:version", json.loads(body).get("version", 1), "EX", 604800)
    connection.close()


PARTS = {"busy": busy, "one": one_at_a_time, "many": many, "reads": reads}
