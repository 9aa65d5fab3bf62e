# SPDX-License-Identifier: MIT
"""Test functions as TAP: every function whose name begins with test_ is one test, in order of definition."""
import sys
import time
import traceback


class Skip(Exception):
    """Raised by a test that can't run here; its text says why."""


def wait_until(what, seconds, description):
    """Polls what() until it answers something true, which is returned; past the deadline that is a failure."""
    deadline = time.monotonic() + seconds
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {description}")
        time.sleep(0.02)


def run(namespace):
    tests = [(n, f) for n, f in namespace.items() if n.startswith("test_") and callable(f)]
    words = sys.argv[1:]
    if words:
        tests = [(n, f) for n, f in tests if any(w in n for w in words)]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        began = time.monotonic()
        try:
            function()
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except BaseException:
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
            if not isinstance(sys.exc_info()[1], Exception):
                raise
        else:
            print(f"ok {number} - {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return 1 if failed else 0
