# SPDX-License-Identifier: MIT
"""One run of wrk, and its report as figures. wrk is a closed loop: each connection asks again as
soon as it has its answer, so its latencies are those of that many clients and of no other rate."""
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
SIGNUP, GET = os.path.join(HERE, "signup.lua"), os.path.join(HERE, "get.lua")
UNITS_MS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
ERRORS = ("connect", "read", "write", "timeout")


class WrkError(Exception):
    pass


def duration_ms(text):
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m|h)", text)
    if not found:
        raise WrkError(f"wrk: no duration: {text}")
    return float(found[1]) * UNITS_MS[found[2]]


class Report:
    """requests, seconds, rate (of 2xx answers), percentiles {50: ms, 99: ms}, bad (answers outside
    of 2xx and 3xx), errors {connect, read, write, timeout}."""

    def __init__(self, text):
        total = re.search(r"^\s*(\d+) requests in ([\d.]+(?:us|ms|s|m|h)), ", text, re.M)
        if not total:
            raise WrkError("wrk: no total in its report:\n" + text[-800:])
        self.requests, self.seconds = int(total[1]), duration_ms(total[2]) / 1000
        self.percentiles = {int(p): duration_ms(value)
                            for p, value in re.findall(r"^\s+(\d+)(?:\.0+)?%\s+([\d.]+\w+)\s*$", text, re.M)}
        bad = re.search(r"^\s*Non-2xx or 3xx responses: (\d+)", text, re.M)
        self.bad = int(bad[1]) if bad else 0
        self.errors = dict.fromkeys(ERRORS, 0)
        socket = re.search(r"^\s*Socket errors: (.*)$", text, re.M)
        if socket:
            self.errors |= {kind: int(n) for kind, n in re.findall(r"(\w+) (\d+)", socket[1])}
        self.good = self.requests - self.bad
        self.rate = self.good / self.seconds if self.seconds else 0.0

    def p(self, percent):
        return self.percentiles.get(percent)

    def trouble(self, want="2xx"):
        """What was not as it should be, in words; empty when all was well."""
        parts = [f"{self.bad} answers other than {want}"] if self.bad else []
        parts += [f"{count} {kind} errors" for kind, count in self.errors.items() if count]
        return ", ".join(parts)


def trouble_of_signups(errors):
    """What is wrong of the errors that a load of signups reports, the peer's e2e.py. The load fills its last moments
    with GET /health, which our API's port does not know. They are the only answers outside of 2xx once every signup
    is stored, which the caller makes sure of."""
    return [error for error in errors if not error.startswith("Non-2xx")]


def command(url, connections, seconds, script, threads=1):
    return ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency",
            "-s", script, url]


def run(url, connections, seconds, script=SIGNUP, threads=1, env=None):
    """Blocks until wrk is done. Its standard input is nobody's."""
    try:
        done = subprocess.run(command(url, connections, seconds, script, threads), env=os.environ | (env or {}),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=seconds + 60, check=False)
    except subprocess.TimeoutExpired as late:
        raise WrkError(f"wrk did not end within {seconds + 60} s") from late
    if done.returncode != 0:
        raise WrkError(f"wrk ended with {done.returncode}: {done.stdout.strip()[-400:]}")
    return Report(done.stdout)
