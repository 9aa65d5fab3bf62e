# SPDX-License-Identifier: MIT
"""Talking to the supervisor: starting one, joining one that runs, asking it, ending it."""
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from .layout import EX_FAILED, EX_NOT_UP, ROOT, StackError, tail, try_lock
from .supervisor import Link

PATIENCE = 60  # for a supervisor that is just starting or just ending


def connect(layout):
    """A connection to the running supervisor, or None."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(os.fspath(layout.socket()))
    except OSError:
        sock.close()
        return None
    return Link(sock)


def ask(layout, **message):
    """One question, one answer."""
    link = connect(layout)
    if link is None:
        raise StackError(f"the stack in {layout.dir} is not running: start it with tools/stack up",
                         EX_NOT_UP)
    link.send(**message)
    return _answer(link, lambda text: None)


def _answer(link, show):
    """The supervisor's answer. Messages that come before it are shown."""
    while True:
        message = link.receive()
        if message is None:
            raise StackError("the supervisor ended without a word: see tools/stack logs supervisor",
                             EX_FAILED)
        if "say" in message:
            show(message["say"])
        elif "failed" in message:
            raise StackError(message["failed"], message.get("code", EX_FAILED), message.get("detail", ()))
        else:
            return message


def _spawn(layout, with_daemons):
    ours, theirs = socket.socketpair()
    log = layout.log / "supervisor.log"
    if log.exists() and log.stat().st_size > 1 << 20:
        os.replace(log, log.with_suffix(".log.1"))
    line = [sys.executable, str(ROOT / "tools/stack"), "--run", str(layout.dir), "supervise",
            str(theirs.fileno())] + (["--daemons"] if with_daemons else [])
    with open(log, "ab") as out, theirs:
        child = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/",
                                 start_new_session=True, pass_fds=[theirs.fileno()])
    return Link(ours), child


def up(layout, with_daemons, show):
    """Starts the stack or joins the one that runs: (link, own, answer). own: the stack is ours, and
    ends with the link unless it is released."""
    deadline = time.monotonic() + PATIENCE
    while True:
        link = connect(layout)
        if link is not None:
            link.send(verb="attach", daemons=with_daemons)
            try:
                return link, False, _answer(link, show)
            except StackError as error:
                # It was ending while we asked. Start it again.
                if "stopped meanwhile" not in str(error) and "without a word" not in str(error):
                    raise
        else:
            link, child = _spawn(layout, with_daemons)
            try:
                answer = _answer(link, show)
            except KeyboardInterrupt:
                leave(link, child)
                raise
            except StackError as error:
                child.wait()
                if "without a word" in str(error):
                    error.detail += tail(layout.log / "supervisor.log", 6)
                raise
            if "busy" not in answer:
                return link, child, answer
            child.wait()
        if time.monotonic() > deadline:
            raise StackError(f"another supervisor holds {layout.lock} and does not answer: "
                             "tools/stack down, then try again")
        time.sleep(0.1)


def leave(link, child):
    """Ends the stack that we started, by closing the connection, and waits until all processes are gone."""
    link.sock.shutdown(socket.SHUT_WR)
    while True:
        try:
            child.wait()
            return
        except KeyboardInterrupt:
            print("stack: stopping, please wait", file=sys.stderr)


def _supervisor_pid(layout):
    """The pid in the pid file, if that process is a supervisor of this folder."""
    try:
        pid = int(layout.pid.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if b"supervise" in words and os.fsencode(layout.dir) in words else None


def down(layout, fast, show, seconds=75):
    """Stops everything and removes stale files. True when something was running."""
    if not layout.dir.is_dir():
        return False
    link = connect(layout)
    if link is not None:
        link.send(verb="down", fast=fast)
        link.sock.settimeout(seconds)
        message = {}
        while message is not None:  # ends with the supervisor
            if "say" in message:
                show(message["say"])
            message = link.receive()
    was, deadline = link is not None, time.monotonic() + (5 if link else seconds)
    while not _all_gone(layout):
        was = True
        if time.monotonic() > deadline:
            pid = _supervisor_pid(layout)
            if pid is None:
                raise StackError(f"a process still holds a lock in {layout.dir}, and it is no "
                                 "supervisor: see who by fuser")
            show(f"the supervisor (pid {pid}) does not end: killing it and all servers")
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 15
        time.sleep(0.05)
    for path in (layout.socket(), layout.pid):
        path.unlink(missing_ok=True)
    return was


def _all_gone(layout):
    """True when nobody holds the lock of the supervisor or of a server."""
    for path in [layout.lock, *layout.data.glob("*.lock")]:
        if path.exists():
            fd = try_lock(path)
            if fd is None:
                return False
            os.close(fd)
    return True


def status(layout):
    link = connect(layout)
    if link is None:
        return None
    link.send(verb="status")
    return _answer(link, lambda text: None)


def as_json(answer):
    return json.dumps(answer, indent=1)
