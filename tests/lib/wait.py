# SPDX-License-Identifier: MIT
"""Waiting for a thing itself, with a deadline."""
import time


def wait_until(what, seconds, description):
    """Polls what() until it answers something true, and returns that. Past the deadline the test fails."""
    deadline = time.monotonic() + seconds
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {description}")
        time.sleep(0.02)
