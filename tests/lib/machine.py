# SPDX-License-Identifier: MIT
"""A Debian that systemd-nspawn boots: this machine's release, its network, its root file system kept
in the cache and never written to. What is done in it is gone when it ends."""
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest
from wait import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))
from stacklib import fetch  # noqa: E402

BOOT_SECONDS = 90


class Machine:
    def __init__(self, packages, share):
        """share: a folder that is seen at /mnt."""
        if os.getuid() != 0:
            pytest.skip("only root can boot a container: sudo tests/run systemd")
        if not shutil.which("systemd-nspawn"):
            pytest.skip("systemd-nspawn is not here: apt-get install systemd-container")
        root = fetch.bootable(packages)
        self.folder = tempfile.mkdtemp(prefix="onboard-boot-")
        self.console = os.path.join(self.folder, "console")
        # In a process namespace of its own, which ends with us: systemd-nspawn that is killed leaves its
        # container running, so whoever killed the tests would leave one behind.
        line = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child",
                "--mount-proc", "systemd-nspawn", "--quiet", f"--directory={root}", "--volatile=overlay",
                "--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
                f"--machine=onboard-{os.getpid()}", "--console=pipe", f"--bind-ro={share}:/mnt", "--boot",
                "systemd.unit=multi-user.target", "systemd.mask=getty.target"]
        with open(self.console, "wb") as console:
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.init = None
        try:
            self.init = wait_until(self._init, 10, "the container's first process")
            wait_until(self._booted, BOOT_SECONDS, "the container has booted")
        except (AssertionError, OSError) as error:
            why = f"no container boots here: {error}: {self.said()}"
            self.close()
            pytest.skip(why)

    def said(self):
        with open(self.console, errors="replace") as console:
            lines = [line for line in console.read().splitlines() if line.strip()]
        return " | ".join(lines[-3:]) or "it said nothing"

    def _init(self):
        if self.process.poll() is not None:
            raise OSError(f"systemd-nspawn ended with {self.process.returncode}")
        pids = [self.process.pid]
        for pid in pids:
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as f:
                    pids += [int(word) for word in f.read().split()]
                with open(f"/proc/{pid}/status") as f:
                    inside = next(line for line in f if line.startswith("NSpid:")).split()[1:]
            except (OSError, StopIteration):
                continue  # a helper that has ended meanwhile
            if inside[-1] == "1" and len(inside) > 2:  # ours, nspawn's, the container's
                return pid
        return None

    def _booted(self):
        if self.process.poll() is not None:
            raise OSError(f"systemd-nspawn ended with {self.process.returncode}")
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def run(self, *words, check=True, seconds=120, text=None):
        """A command inside, its output and errors together."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.init), "-m", "-u", "-i", "-p", "--", "/usr/bin/env", "-i", "LC_ALL=C.UTF-8",
             "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_PAGER=", "DEBIAN_FRONTEND=noninteractive", *words],
            input=text, stdin=None if text is not None else subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False)
        assert not check or done.returncode == 0, f"{shlex.join(words)}: {done.returncode}: {done.stdout[-3000:]}"
        return done

    def write(self, path, text, mode="644"):
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, text=text)

    def show(self, unit, *names):
        """Properties of a unit; one alone as it is."""
        out = self.run("systemctl", "show", unit, *(f"--property={n}" for n in names)).stdout
        found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        return found[names[0]] if len(names) == 1 else found

    def journal(self, *words):
        return self.run("journalctl", "--no-pager", "-q", *words, check=False).stdout

    def close(self):
        if self.process.poll() is None:
            if self.init:
                os.kill(self.init, signal.SIGRTMIN + 4)  # poweroff.target
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
