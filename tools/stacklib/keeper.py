# SPDX-License-Identifier: MIT
"""One thread a server, from the supervisor's start to its end (a shorter life would end the server,
see sandbox): start it, wait until it answers, watch it, start it again when it dies unasked."""
import errno
import os
import shutil
import signal
import threading
import time

from . import probes
from .layout import EX_UNAVAILABLE, StackError, disk_room, tail, try_lock

BACKOFF_FIRST, BACKOFF_MOST, CALM = 0.5, 30.0, 60.0
LOG_MOST = 10 << 20
COMPLETE = "complete"  # in a data folder whose server has been ready once
FULL = "No space left on device"


def explain(server, what, lines):
    """The failure of a server: its name, its last words, the likely fix."""
    folder = server.context.layout.dir
    free, total = disk_room(folder)
    if FULL in what or any(FULL in line for line in lines) or free < 8:
        return StackError(f"{server.name} did not start: the disk that holds {folder} is full "
                          f"({free} of {total} MB free). Fix: make room, or give another folder "
                          "(tools/stack --run DIR)", EX_UNAVAILABLE)
    loud = [line for line in lines if any(word in line for word in (
        "FATAL", "PANIC", "ERROR", "rror:", "[error]", "Bad file format", "failed"))]
    last = (loud or lines or [""])[-1].strip()
    said = f": {last}" if last and last not in what else ""
    return StackError(f"{server.name} did not start: {what}{said}. "
                      f"Fix: {server.hint([what] + lines)}", EX_UNAVAILABLE, lines)


class Keeper(threading.Thread):
    """States: waiting, starting, ready, frozen, stopping, stopped, backoff, failed."""

    def __init__(self, server, say, after=None):
        super().__init__(name=server.name, daemon=True)
        self.server, self.say, self.after = server, say, after
        self.before = []        # keepers that must be down before this one stops
        self.cond = threading.Condition()
        self.state, self.since = "waiting", time.time()
        self.wanted, self.closing, self.fast = True, False, False
        self.asked = True       # a person waits, so the first failure is final
        self.failure = None
        self.restarts = 0
        self.process = None
        self.pid = None

    # --- from other threads

    def want(self, wanted):
        with self.cond:
            self.wanted, self.failure = wanted, None
            if wanted:
                self.asked = True
                if self.state in ("stopped", "failed"):
                    self._set("waiting")
            self.cond.notify_all()

    def close(self, fast):
        with self.cond:
            self.closing, self.fast, self.wanted = True, fast, False
            self.cond.notify_all()

    def await_state(self, states, seconds):
        with self.cond:
            return self.cond.wait_for(lambda: self.state in states, seconds)

    def kill_now(self):
        """Kills the whole process tree. The server stays down until somebody starts it."""
        with self.cond:
            self.wanted = False
            process = self.process
        if process is not None:
            process.kill()
        with self.cond:
            self.cond.notify_all()

    def freeze(self):
        with self.cond:
            if self.state not in ("ready", "frozen"):
                raise StackError(f"{self.server.name} is {self.state}, not running")
            self.process.signal_all(signal.SIGSTOP)
            self._set("frozen")

    def thaw(self):
        with self.cond:
            if self.state != "frozen":
                return
            self.process.signal_all(signal.SIGCONT)
            self._set("ready")

    # --- the thread

    def _set(self, state):
        with self.cond:
            if state != self.state:
                self.state, self.since = state, time.time()
            self.cond.notify_all()

    def _pause(self, seconds):
        """Waits so long, or until nobody wants the server any more. True: nobody wants it."""
        with self.cond:
            self.cond.wait_for(lambda: not self.wanted, seconds)
            return not self.wanted

    def run(self):
        backoff = BACKOFF_FIRST
        while True:
            with self.cond:
                if not self.wanted and self.state != "failed":
                    self._set("stopped")
                self.cond.wait_for(lambda: self.wanted or self.closing)
                if self.closing:
                    break
            try:
                if not self._bring_up():
                    # Not ready yet. Some servers ignore signals while they start, so kill it.
                    self._put_down(fast=True)
                    continue
                self.asked = False
                died = self._watch()
            except StackError as error:
                self._put_down(fast=True)
                with self.cond:
                    if self.asked and self.wanted:
                        self.failure, self.wanted = error, False
                        self._set("failed")
                        continue
                died = str(error)
            except Exception as error:  # a bug here must not leave a server unwatched
                self._put_down(fast=True)
                with self.cond:
                    self.failure, self.wanted = StackError(f"{self.server.name}: {error!r}"), False
                    self._set("failed")
                self.say(f"{self.server.name}: {error!r}")
                continue
            if not self.wanted:
                self._put_down()
                continue
            self._put_down(fast=True)
            if time.time() - self.since > CALM:
                backoff = BACKOFF_FIRST
            self.restarts += 1
            self._set("backoff")
            self.say(f"{died}; starting it again in {backoff:.1f} s (restart {self.restarts})")
            self._pause(backoff)
            backoff = min(backoff * 2, BACKOFF_MOST)
        self._put_down(self.fast)
        self._set("stopped")

    def _bring_up(self):
        """True when it is ready, False when no longer wanted; StackError when it failed."""
        server = self.server
        self._set("waiting")
        while self.after is not None and self.after.state != "ready":
            if not self.after.wanted:
                raise StackError(f"{server.name} did not start: it needs {self.after.server.name}, "
                                 "which is not running", EX_UNAVAILABLE)
            if self._pause(0.05):
                return False
        self._set("starting")
        began = time.monotonic()
        lines, lock = [], None
        try:
            server.data.mkdir(mode=0o700, exist_ok=True)
            lock = self._lock_data(began)
            if server.log.exists() and server.log.stat().st_size > LOG_MOST:
                os.replace(server.log, server.log.with_suffix(".log.1"))
            if not (server.data / COMPLETE).exists():
                # The first start was cut short, so the data may be incomplete: begin again.
                shutil.rmtree(server.data)
                server.data.mkdir(mode=0o700)
            server.prepare()
            if not self.wanted:
                return False
            mark = server.log.stat().st_size if server.log.exists() else 0
            self.process = server.spawn(lock)
        except StackError as error:
            if error.detail or "failed" in str(error):
                raise explain(server, str(error), error.detail) from error
            raise
        except OSError as error:
            what = FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
            raise explain(server, what, []) from error
        finally:
            if lock is not None:
                os.close(lock)  # the server's processes hold it now, and nobody else
        reason = "no answer"
        while True:
            code = self.process.popen.poll()
            if code is not None:
                size = server.log.stat().st_size - mark
                lines = tail(server.log, most=max(1, min(size, 16384))) if size > 0 else []
                raise explain(server, f"it ended with {'signal' if code < 0 else 'status'} "
                              f"{abs(code)}", lines)
            try:
                server.probe(True)
                break
            except (OSError, probes.ProbeError) as error:
                reason = str(error)
            if time.monotonic() - began > server.seconds:
                raise explain(server, f"not usable after {server.seconds} s ({reason})",
                              tail(server.log))
            if self._pause(0.1):
                return False
        try:
            (server.data / COMPLETE).touch()
        except OSError as error:
            raise explain(server, str(error), []) from error
        self.pid = self.process.server_pid()
        self._set("ready")
        self.say(f"{server.name} {server.version()} ready on 127.0.0.1:{server.port} "
                 f"({time.monotonic() - began:.1f} s)")
        return True

    def _lock_data(self, began):
        """The lock that shows that no process of an earlier start has this data folder: each of
        them inherited it."""
        path = self.server.data.with_name(f"{self.server.name}.lock")
        while True:
            lock = try_lock(path)
            if lock is not None:
                return lock
            if time.monotonic() - began > 15:
                raise StackError(f"{self.server.name} did not start: another process still uses "
                                 f"{self.server.data}", EX_UNAVAILABLE)
            time.sleep(0.05)

    def _watch(self):
        """Waits until the server dies or is no longer wanted. Returns what to say when it died."""
        while not self._pause(0.2):
            code = self.process.popen.poll()
            if code is not None:
                how = f"signal {-code}" if code < 0 else f"status {code}"
                last = (tail(self.server.log, 1) or [""])[-1]
                return f"{self.server.name} died unasked ({how}; {last[-160:]})"
        return ""

    def _put_down(self, fast=False):
        if self.process is None:
            return
        if not fast and self.process.alive():
            for other in self.before if self.closing else ():
                other.await_state(("stopped", "failed"), other.server.stop_seconds + 5)
            self._set("stopping")
            if not self.process.stop(self.server.stop_signal, self.server.stop_seconds):
                self.say(f"{self.server.name} did not stop within {self.server.stop_seconds} s: killed")
        else:
            self.process.kill()
        with self.cond:
            self.process = self.pid = None
