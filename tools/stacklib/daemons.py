# SPDX-License-Identifier: MIT
"""onboard's own daemons, run beside the servers by `tools/stack up --daemons`: those whose program has
been built. Each takes its servers from the same variables as .run/env holds."""
import os
import re
import subprocess
from pathlib import Path

from . import probes, sandbox
from .layout import EX_UNAVAILABLE, ROOT, StackError
from .servers import Server

BIN = ROOT / "build/release/bin"
HTTP = ("gateway", "api", "orders", "payments")  # each listens for clients, too
CONSUMERS = Path("src/common/model/consumers.h")


def producers(root=ROOT):
    """The HTTP daemons that exist: each folder with a main.c."""
    return sorted(main.parent.name for main in root.glob("src/producer/*/main.c"))


def consumers(root=ROOT):
    """The consumers' names, in the order of their table."""
    text = (root / CONSUMERS).read_text(encoding="utf-8")
    return re.findall(r"^\tX\(([a-z0-9_]+),", text, re.MULTILINE)


class Daemon(Server):
    sandboxed = False
    seconds = 30
    stop_seconds = 12  # it drains within 10

    def __init__(self, context, name, admin, env):
        self.name = f"onboard-{name}"
        super().__init__(context)
        self.program = BIN / self.name
        self.port = context.ports[name] if name in HTTP else admin
        self.admin = f"127.0.0.1:{admin}"
        self.env = {**os.environ, **env, "ONBOARD_ADMIN_LISTEN": self.admin}
        if name in HTTP:
            self.env[f"ONBOARD_{name.upper()}_LISTEN"] = f"127.0.0.1:{self.port}"
        self._version = self._started = None

    def _file(self):
        """Changes when the program is built again."""
        about = os.stat(self.program)
        return about.st_ino, about.st_mtime_ns

    def built_anew(self):
        """True when the program on disk is not the one that runs."""
        return self._file() != self._started

    def version(self):
        if self._version is None:
            out = subprocess.run([self.program, "--version"], stdout=subprocess.PIPE, text=True,
                                 stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            self._version = (out.stdout.split() or ["?"])[-1]
        return self._version

    def spawn(self, lock_fd):
        line = ["setpriv", "--pdeathsig", "KILL", str(self.program)]
        self._version, self._started = None, self._file()
        return sandbox.Process(line, self.log, lock_fd, sandboxed=False, env=self.env)

    def probe(self, first):
        probes.health(self.admin)

    def feels(self):
        try:
            return probes.health(self.admin)
        except (OSError, probes.ProbeError) as error:
            return f"no health: {error}"


def built(context, env):
    """A daemon's admin port is admin_base plus its place in the list."""
    base = context.ports["admin_base"]
    return [Daemon(context, name, base + place, env) for place, name in enumerate([*HTTP, *consumers()])
            if os.access(BIN / f"onboard-{name}", os.X_OK)]


def migrate(env, say):
    """Migrates the database before any daemon needs it."""
    program = BIN / "onboardctl"
    if not os.access(program, os.X_OK):
        return
    done = subprocess.run([program, "db", "migrate", "up"], text=True,
                          env={**os.environ, **env},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, errors="replace", check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0:
        raise StackError(f"onboardctl db migrate up failed: {(lines or ['no output'])[-1]}",
                         EX_UNAVAILABLE, lines[-8:])
    say("database schema: " + (lines or ["up to date"])[-1])
