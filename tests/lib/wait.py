# SPDX-License-Identifier: MIT
"""Waiting for a thing itself, with a deadline."""
import time

LEAST = 20  # seconds: a machine under load is slow, and only a failure reaches a deadline


def wait_until(what, seconds, description):
    """Asks what() until it answers something true, and returns that. Past the deadline the test fails. seconds: what
    it may take; no deadline is shorter than LEAST."""
    seconds = max(seconds, LEAST)
    deadline = time.monotonic() + seconds
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {description}")
        time.sleep(0.02)
