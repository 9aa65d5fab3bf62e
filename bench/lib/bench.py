# SPDX-License-Identifier: MIT
"""One measurement: who takes part, in which rounds, and what could not be measured.

A file bench/NAME.py has
  start(bench)   a generator: starts what its parts need, yields it, stops it
  PARTS          {word: function(bench, what was yielded)}; each answers a list of rows
"""
import contextlib
import os
import subprocess
import sys
import time
import traceback
import urllib.error
from urllib.parse import unquote, urlsplit

import amqp
import servers

from . import limits, ours, peer, table, wrk

FAILURES = (amqp.AmqpError, limits.LimitError, ours.OursError, peer.PeerError, servers.ServerError, wrk.WrkError,
            OSError, urllib.error.URLError, subprocess.SubprocessError, ValueError)
BEGAN = time.monotonic()
LOGS = os.path.join(servers.ROOT, "build/bench/log")


def say(text):
    minutes, seconds = divmod(int(time.monotonic() - BEGAN), 60)
    print(f"bench: {minutes:2}:{seconds:02} {text}", file=sys.stderr, flush=True)


class Bench:
    def __init__(self, full=False, only=None):
        self.full, self.rounds = full, 5 if full else 3
        self.stack, self.limits, self.venv = servers.Stack(".run/bench"), None, None
        self.peer_source = None if only == "ours" else peer.folder()
        self.limits_source = None if only == "ours" else limits.folder()
        self.with_ours = only != "peer"
        self.failures, self.numbers = [], iter(range(1, 16))
        os.makedirs(LOGS, exist_ok=True)

    def seconds(self, usual):
        """How long one load lasts."""
        return usual * 3 if self.full else usual

    def failed(self, what, why):
        self.failures.append(f"{what}: {why}")
        say(f"NOT MEASURED: {what}: {why}")

    @contextlib.contextmanager
    def guard(self, what):
        """What fails inside is told and counted, and the rest goes on."""
        try:
            yield
        except FAILURES as why:
            self.failed(what, " ".join(str(why).split()) or repr(why))
        except Exception as why:  # a fault of the benchmark: the rows that are measured are kept all the same
            traceback.print_exc()
            self.failed(what, repr(why))

    def open(self):
        self.stack.start()
        self.stack.work_in()
        if self.peer_source:
            with self.guard("the peer"):
                self.venv = peer.venv(self.peer_source, say)
        if self.limits_source:
            with self.guard("the limit programs"):
                self.limits = limits.Limits(self.limits_source, self.place("bench_limit"))

    def close(self):
        self.stack.stop(keep=bool(os.environ.get("KEEP")))

    def place(self, name, number=None):
        """number: of the Redis database, one of self.numbers; a free one if none is named."""
        return self.stack.place(name, next(self.numbers) if number is None else number)

    def start_peer(self, place, consumers=""):
        """A running peer, or None where there is no peer."""
        if not self.venv:
            return None
        one = peer.Peer(self.peer_source, self.venv, place, ours.test_daemon.free_port(),
                        os.path.join(LOGS, "peer.log"), consumers)
        try:
            one.wait_ready()
        except BaseException:
            one.stop()
            raise
        return one

    def start_ours(self, program, place, listen=None, env=None):
        one = ours.Ours(program, place, os.path.join(LOGS, f"{program}.log"), listen, env)
        try:
            one.wait_ready()
        except BaseException:
            one.stop()
            raise
        return one

    def interleave(self, sides, measure, rounds=None, limits=None):
        """A B A B …: {side: [what measure(side) gave in each round]}. limits(): what takes its turn in
        each round, too, before them."""
        found = {side: [] for side in sides}
        for number in range(1, (rounds or self.rounds) + 1):
            if limits:
                os.sync()
                with self.guard(f"limits, round {number}"):
                    limits()
            for side in sides:
                os.sync()  # what the turn before left to be written is not for this one to wait for
                with self.guard(f"{side.name}, round {number}"):
                    found[side].append(measure(side))
        return found

    def limit(self, program, *words):
        """One figure of a limit program, or None where there is none."""
        if not self.limits:
            return None
        with self.guard(f"limit: {program}"):
            return self.limits.run(program, *words)
        return None

    def limit_together(self, count, queues, *programs, filled=False):
        """Events/s: the broker hands out COUNT events of so many queues, while these programs do what
        else there is to do. filled: the events wait there; else they are published meanwhile.
        None where there are no limit programs."""
        if not self.limits:
            return None
        publish = ("amqp_limit", "publish", count, 4096, 256)
        takers = [("amqp_limit", "consume", count, 1024, 256, n) for n in range(queues)]
        with self.guard("limit: all at once"), self._open_redis():
            self.limits.run("amqp_limit", "declare", "quorum", queues)
            if filled:
                self.limits.run(*publish)
            else:
                takers.append(publish)
            results = self.limits.at_once(*takers, *programs)
            self.limits.run("amqp_limit", "delete", queues)
            return count / max(result.seconds for result in results)
        return None

    @contextlib.contextmanager
    def _open_redis(self):
        """The Redis of this run takes the limit program without a password meanwhile."""
        password = urlsplit(self.stack.env["ONBOARD_REDIS_URL"]).password or ""
        with servers.Redis(self.stack.env["ONBOARD_REDIS_URL"]) as kv:
            kv.ask("CONFIG", "SET", "requirepass", "")
            try:
                yield
            finally:
                kv.ask("CONFIG", "SET", "requirepass", unquote(password))


def poll(what, seconds, every=0.005):
    """Asks until the answer is true: (seconds until then, answer); past the deadline the last answer, false."""
    began = time.monotonic()
    while True:
        answer, passed = what(), time.monotonic() - began
        if answer or passed > seconds:
            return passed, answer
        time.sleep(every)


def machine():
    def first(path, key):
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as f:
            for line in f:
                if line.startswith(key):
                    return line.split(":", 1)[1].strip()
        return ""

    memory = first("/proc/meminfo", "MemTotal").split()
    return {"processors": len(os.sched_getaffinity(0)), "processor": first("/proc/cpuinfo", "model name"),
            "memory_mib": int(memory[0]) // 1024 if memory else None, "kernel": os.uname().release,
            "load_before": os.getloadavg()[0]}


def processor_time():
    """(what the host has spent elsewhere while we would have had use for it, all), in ticks."""
    with open("/proc/stat", encoding="ascii") as f:
        times = [int(word) for word in f.readline().split()[1:9]]
    return times[7], sum(times)


def stolen(before):
    """The share of the processors' time that the host has spent elsewhere since."""
    spent, total = (now - then for now, then in zip(processor_time(), before))
    return round(spent / max(total, 1), 3)


def commit():
    done = subprocess.run(["git", "-C", servers.ROOT, "describe", "--always", "--dirty"], text=True, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.strip()


def report(head, rows, failures):
    """Everything a person reads at the end."""
    lines = [f"onboard {head['version']} {head['commit']}".rstrip() + f", {head['date']}: "
             f"{head['machine']['processors']} x {head['machine']['processor'] or 'processor'}, "
             f"medians of {head['rounds']} rounds, {head['seconds'] / 60:.1f} min, "
             f"{head['stolen']:.0%} of the processors' time taken by the host"]
    if not head["peer"]:
        lines.append("No peer in this run (PEER=DIR names one): ours alone.")
    if not head["limits"]:
        lines.append("No limit programs in this run (LIMITS=DIR names them): no limits.")
    lines += ["", table.render(rows)]
    if failures:
        lines += ["", f"{len(failures)} not measured:"] + [f"  {why}" for why in failures]
    return "\n".join(lines)


def version():
    with open(os.path.join(servers.ROOT, "VERSION"), encoding="ascii") as f:
        return f.read().strip()


def environment():
    """Nothing of a stack that a shell has sourced may reach a daemon of ours."""
    for name in [n for n in os.environ if n.startswith("ONBOARD_") and n != "ONBOARD_BUILD"]:
        del os.environ[name]
