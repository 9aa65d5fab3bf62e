# SPDX-License-Identifier: MIT
"""Ports for what a test starts. They lie below those that the kernel gives to clients (from 32768), so no client takes
one between the choice and the bind. Each process begins at a place of its own."""
import itertools
import random
import socket

FIRST, COUNT = 10000, 10000  # tools/stack begins at 20000
_numbers = itertools.count(random.SystemRandom().randrange(COUNT))


def free_port():
    while True:
        port = FIRST + next(_numbers) % COUNT
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
