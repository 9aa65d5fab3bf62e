# SPDX-License-Identifier: MIT
"""The peer: its packages in a virtual environment that is kept by the requirements' hash, its start
by its own run.sh, its end. Its folder is only read."""
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading

from servers import ROOT

READY_SECONDS, STOP_SECONDS = 60, 20


class PeerError(Exception):
    pass


def folder():
    """Where the peer is, or None."""
    path = os.path.abspath(os.environ.get("PEER") or os.path.join(ROOT, "../shared/peer"))
    return path if os.path.exists(os.path.join(path, "run.sh")) else None


def venv(peer, say):
    """The virtual environment with the peer's packages; made once, by one at a time."""
    with open(os.path.join(peer, "requirements.txt"), "rb") as f:
        wanted = f.read() + sys.version.encode()
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "onboard")
    os.makedirs(cache, exist_ok=True)
    path = os.path.join(cache, "bench-venv-" + hashlib.sha256(wanted).hexdigest()[:12])
    whole = os.path.join(path, "complete")
    with open(path + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(whole):
            return path
        say("installing the peer's packages (once, then cached)")
        shutil.rmtree(path, ignore_errors=True)
        for words in ([sys.executable, "-m", "venv", path],
                      [os.path.join(path, "bin/python"), "-m", "pip", "install", "--no-input", "--quiet",
                       "--disable-pip-version-check", "-r", os.path.join(peer, "requirements.txt")]):
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, errors="replace", check=False)
            if done.returncode != 0:
                raise PeerError("the peer's packages do not install: " + " | ".join(done.stdout.splitlines()[-3:]))
        with open(whole, "w", encoding="ascii"):
            pass
    return path


def variables(place):
    """The environment of the peer's programs: the servers of a place, and nothing that is meant for ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ONBOARD_", "PEER_"))} | {
        "POSTGRES_URL": place.postgres.replace("postgresql:", "postgresql+asyncpg:", 1), "RABBITMQ_URL": place.rabbitmq,
        "MONGO_URL": place.mongo_server, "MONGO_DB": place.name, "REDIS_URL": place.redis, "PYTHONDONTWRITEBYTECODE": "1"}


class Peer:
    """consumers: which of the peer's consumers run beside its API, e.g. "eventlog cache"."""

    def __init__(self, source, environment, place, port, log_path, consumers="", workers=2):
        self.url, self.pids, self.ready = f"http://127.0.0.1:{port}", {}, threading.Event()
        env = variables(place) | {"PEER_PORT": str(port), "PEER_WORKERS": str(workers), "PEER_VENV": environment,
                                  "PEER_CONSUMERS": consumers}
        self.log = open(log_path, "wb")  # pylint: disable=consider-using-with
        # An own session: Ctrl-C is for the benchmark, which then ends the peer by its own signal.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "bash", os.path.join(source, "run.sh")], env=env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, start_new_session=True)
        self.reader = threading.Thread(target=self._listen, daemon=True)
        self.reader.start()
        self.log_path = log_path

    def _listen(self):
        for line in self.process.stdout:
            words = line.split()
            if words == ["ready"]:
                self.ready.set()
            elif len(words) == 2 and words[1].isdigit():
                self.pids[words[0]] = int(words[1])
        self.ready.set()  # it has ended; wait_ready tells

    def wait_ready(self):
        """run.sh says ready once its API answers."""
        if not self.ready.wait(READY_SECONDS) or self.process.poll() is not None or "api" not in self.pids:
            raise PeerError(f"the peer did not start: {self.last_words()}")

    def last_words(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return " | ".join(f.read().strip().splitlines()[-3:]) or "it said nothing"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)  # the session that it was started in
                self.process.wait()
        self.reader.join(5)
        self.log.close()
