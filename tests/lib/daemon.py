# SPDX-License-Identifier: MIT
"""Starts one daemon under a NOTIFY_SOCKET of its own and asks its admin listener."""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

from ports import free_port
from wait import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "tools"))
from stacklib.daemons import consumers, producers  # noqa: E402, F401

BUILD = os.path.join(ROOT, os.environ.get("ONBOARD_BUILD", "build/debug"))


def migrate(env):
    """Brings the database that env names to the newest schema."""
    subprocess.run([os.path.join(BUILD, "bin/onboardctl"), "db", "migrate", "up"], check=True, cwd=ROOT, timeout=60,
                   env=os.environ | env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


class Daemon:
    def __init__(self, program, *args, env=None):
        self.folder = tempfile.TemporaryDirectory(prefix="onboard-test-")
        self.admin = free_port()
        path = os.path.join(self.folder.name, "notify")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(path)
        self.said = []  # every notification, in order
        threading.Thread(target=self._listen, daemon=True).start()
        self.log_path = os.path.join(self.folder.name, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [os.path.join(BUILD, program), *args], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={k: v for k, v in os.environ.items() if not k.startswith("ONBOARD_ADMIN")}
                | {"NOTIFY_SOCKET": path, "ONBOARD_ADMIN_LISTEN": f"127.0.0.1:{self.admin}", **(env or {})})

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            for line in self.log().splitlines()[-25:]:
                print(f"# {line}")
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.notify.close()
        self.folder.cleanup()

    def _listen(self):
        while True:
            try:
                data = self.notify.recv(65536)
            except OSError:
                return
            self.said += data.decode().splitlines()

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def ask(self, path, seconds=15):
        """Status and body; (0, reason) when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=seconds) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError as e:
            return 0, str(e)

    def ask_json(self, path):
        status, body = self.ask(path)
        return status, json.loads(body) if body.startswith("{") else {}

    def wait_ready(self, seconds=20):
        wait_until(lambda: "READY=1" in self.said or self._gone(), seconds, "READY=1")

    def wait_status(self, path, status, seconds):
        return wait_until(lambda: (a := self.ask(path))[0] == status and a, seconds, f"{path} answers {status}")

    def _gone(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}: {self.log()[-2000:]}")

    def terminate(self, seconds=30):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def private_kib(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("Private_Dirty"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))
