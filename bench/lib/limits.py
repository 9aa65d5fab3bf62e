# SPDX-License-Identifier: MIT
"""The limit programs: what a server alone can do, asked as cheaply as a client can."""
import concurrent.futures
import os
import re
import subprocess

from servers import ROOT

OUT = os.path.join(ROOT, "build/bench/limits")
LINE = re.compile(r"^(.*?)\s+(\d+) in\s+([\d.]+) s =\s+([\d.]+) /s, own cpu ([\d.]+) s per 1000", re.M)


class LimitError(Exception):
    pass


class Result:
    """count, seconds, rate and cpu_per_1000 of one line."""

    def __init__(self, text):
        found = LINE.search(text)
        if not found:
            raise LimitError("no figure from a limit program: " + text.strip()[-300:])
        self.what, self.count, self.seconds = found[1].strip(), int(found[2]), float(found[3])
        self.cpu_per_1000 = float(found[5])
        if not self.count or not self.seconds:
            raise LimitError("a limit program did nothing: " + found[0])
        self.rate = self.count / self.seconds
        self.each_ms = self.seconds * 1000 / self.count


def folder():
    """Where the programs' sources are, or None."""
    near = os.path.join(os.environ["PEER"], "../limits") if os.environ.get("PEER") else None
    path = os.path.abspath(os.environ.get("LIMITS") or near or os.path.join(ROOT, "../shared/limits"))
    return path if os.path.exists(os.path.join(path, "limit.h")) else None


class Limits:
    def __init__(self, source, place):
        self.source, self.built = source, set()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        self.env |= {"POSTGRES_URL": place.postgres, "RABBITMQ_URL": place.rabbitmq, "MONGO_URL": place.mongo_server,
                     "MONGO_DB": place.name,
                     # redis_limit gives no password: open_redis takes it away meanwhile
                     "REDIS_URL": re.sub(r"//[^@/]*@", "//", place.redis)}

    def build(self, program):
        if program in self.built:
            return
        os.makedirs(OUT, exist_ok=True)
        self._do(["make", "-s", "-C", OUT, "-f", os.path.join(self.source, "Makefile"), f"VPATH={self.source}", program])
        self.built.add(program)

    def run(self, program, *words, seconds=120):
        """Its result, or None for a program that only prepares."""
        self.build(program)
        text = self._do([os.path.join(OUT, program), *map(str, words)], seconds)
        return Result(text) if " /s, " in text else None

    def at_once(self, *programs, seconds=120):
        """(program, words…) each, all at the same time: their results."""
        for program, *_ in programs:  # one after the other
            self.build(program)
        with concurrent.futures.ThreadPoolExecutor(len(programs)) as pool:
            return list(pool.map(lambda words: self.run(*words, seconds=seconds), programs))

    def _do(self, words, seconds=120):
        try:
            done = subprocess.run(words, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds, check=False)
        except subprocess.TimeoutExpired as late:
            raise LimitError(f"{os.path.basename(words[0])} did not end within {seconds} s") from late
        if done.returncode != 0:
            raise LimitError(f"{os.path.basename(words[0])}: {done.stdout.strip()[-300:]}")
        return done.stdout
