# SPDX-License-Identifier: MIT
"""Ports: a free block, remembered by the run folder, so that a restart keeps it.

The first port of a block is its claim: the supervisor listens there as long as it lives. Binding
it is atomic for all users of the machine, so two stacks that start at once never share a block.
"""
import json
import os
import random
import socket
import time
from pathlib import Path

from .layout import EX_CONFIG, EX_UNAVAILABLE, StackError, read_json, write_atomic

FIRST, LAST, SIZE = 20000, 31999, 64  # below the ports that the kernel hands to clients
OFFSETS = {
    "postgres": 1, "docstore": 2, "mongo": 3, "rabbitmq": 4, "rabbitmq_management": 5,
    "rabbitmq_dist": 6, "rabbitmq_epmd": 7, "redis": 8, "mail": 9,
    "gateway": 10, "api": 11, "orders": 12, "payments": 13,
    "admin_base": 20,  # the first daemon's; the others follow one by one
}


def _bind(port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do no harm
    try:
        sock.bind(("127.0.0.1", port))
        sock.listen(1)
    except OSError:
        sock.close()
        return None
    return sock


def is_free(port):
    sock = _bind(port)
    if sock is not None:
        sock.close()
    return sock is not None


def holder(port):
    """Text for a message that says who listens on a port; empty if that is unknown."""
    inodes = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or not inodes:
            continue
        try:
            for fd in os.scandir(f"/proc/{entry}/fd"):
                if os.readlink(fd.path) in inodes:
                    name = Path(f"/proc/{entry}/comm").read_text().strip()
                    return f" (held by {name}, pid {entry})"
        except OSError:
            continue
    return ""


def _given(environ):
    """The ports set by ONBOARD_STACK_PORT_…, checked."""
    ports = {}
    for name in OFFSETS:
        variable = f"ONBOARD_STACK_PORT_{name.upper()}"
        text = environ.get(variable, "")
        if not text:
            continue
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
            raise StackError(f"{variable}={text}: not a port (1 to 65535)", EX_CONFIG)
        if int(text) in ports.values():
            raise StackError(f"{variable}={text}: the same port is given twice", EX_CONFIG)
        ports[name] = int(text)
    return ports


def _claim(base, names, patience):
    """The claim socket of a block whose ports are free, or None. Servers of a supervisor that was
    just killed may take a moment to end, so a remembered block is tried several times."""
    deadline = time.monotonic() + patience
    while True:
        sock = _bind(base)
        if sock is not None:
            if all(is_free(base + OFFSETS[name]) for name in names):
                return sock
            sock.close()
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.1)


def choose(layout, servers, environ, say):
    """(ports by name, claim socket). `servers`: the names of ports that the servers will bind."""
    given = _given(environ)
    for name, port in given.items():
        if name in servers and not is_free(port):
            raise StackError(f"port {port} for {name} is taken{holder(port)}: free it, or set "
                             f"ONBOARD_STACK_PORT_{name.upper()} to another", EX_UNAVAILABLE)
    names = [name for name in servers if name not in given]
    remembered = read_json(layout.ports, {}).get("base")
    claim = base = None
    if isinstance(remembered, int) and FIRST <= remembered <= LAST - SIZE + 1:
        base, claim = remembered, _claim(remembered, names, 3)
        if claim is None:
            taken = [base] + [base + OFFSETS[name] for name in names]
            port = next((one for one in taken if not is_free(one)), base)
            say(f"port {port} of this stack's block was taken meanwhile{holder(port)}: "
                "choosing another block")
    if claim is None:
        blocks = list(range(FIRST, LAST - SIZE + 2, SIZE))
        random.shuffle(blocks)
        for base in blocks:
            claim = _claim(base, OFFSETS, 0)
            if claim is not None:
                break
        else:
            raise StackError(f"no free block of {SIZE} ports between {FIRST} and {LAST}: stop other "
                             "stacks", EX_UNAVAILABLE)
    ports = {name: base + offset for name, offset in OFFSETS.items()}
    ports.update(given)
    write_atomic(layout.ports, json.dumps({"base": base, "ports": ports}, indent=1) + "\n")
    return ports, claim
