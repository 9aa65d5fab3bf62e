# SPDX-License-Identifier: MIT
"""Where things lie in a run folder, how they are written, and what errors look like."""
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the checkout
EX_FAILED, EX_USAGE, EX_NOT_UP, EX_UNAVAILABLE, EX_CONFIG = 1, 2, 3, 69, 78
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SOCKET_MAX = 100  # sun_path holds 108 bytes with its NUL


class StackError(Exception):
    """A failure to show: one clear line, maybe log lines below it, and an exit code."""

    def __init__(self, message, code=EX_FAILED, detail=()):
        super().__init__(message)
        self.code = code
        self.detail = list(detail)


class Layout:
    """The names of everything in one run folder."""

    def __init__(self, directory):
        self.dir = Path(directory).absolute()
        self.data = self.dir / "data"
        self.log = self.dir / "log"
        self.mail = self.dir / "mail"
        self.env = self.dir / "env"
        self.secrets = self.dir / "secrets"
        self.ports = self.dir / "ports"
        self.lock = self.dir / "lock"
        self.pid = self.dir / "pid"

    def socket(self):
        """The control socket's path: in the run folder, or under /tmp where that is too long."""
        path = self.dir / "ctl.sock"
        if len(os.fsencode(path)) <= SOCKET_MAX:
            return path
        parent = Path(f"/tmp/onboard-{os.getuid()}")
        parent.mkdir(mode=0o700, exist_ok=True)
        about = parent.lstat()
        if about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode) or about.st_mode & 0o077:
            raise StackError(f"{parent} is not a private folder of this user: remove it")
        name = hashlib.sha256(os.fsencode(self.dir)).hexdigest()[:16]
        return parent / f"{name}.sock"

    def make(self):
        for folder in (self.dir, self.data, self.log, self.mail):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_atomic(path, text, mode=0o600):
    """A reader sees the old file or the new one, never a half; the new one is on disk first."""
    path = Path(path)
    fd, temp = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(temp, mode)
        os.replace(temp, path)
    except BaseException:
        os.unlink(temp)
        raise


def read_json(path, default):
    """What a file holds, or the default where it is missing or damaged (it can be made again)."""
    try:
        with open(path, encoding="utf-8") as source:
            value = json.load(source)
        return value if isinstance(value, type(default)) else default
    except (FileNotFoundError, ValueError):
        return default


def load_secrets(layout, names):
    """The passwords by name: generated once, kept so that a restart finds its data usable."""
    known = read_json(layout.secrets, {})
    missing = [name for name in names if not known.get(name)]
    for name in missing:
        known[name] = secrets.token_hex(16)  # hexadecimal: needs no quoting in any URL or file
    if missing:
        write_atomic(layout.secrets, json.dumps(known, indent=1) + "\n")
    return known


def write_env(layout, values):
    def quoted(value):
        return "'" + str(value).replace("'", "'\\''") + "'"
    lines = [f"export {name}={quoted(value)}\n" for name, value in values.items()]
    write_atomic(layout.env, "# Written by tools/stack: source it in a shell.\n" + "".join(lines))


def try_lock(path):
    """An exclusive lock on a file, as an open descriptor, or None where another holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def tail(path, lines=8, most=16384):
    """The last lines of a log that say something."""
    try:
        with open(path, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - most))
            text = COLOUR.sub("", log.read().decode("utf-8", "replace"))
    except OSError:
        return []
    return [line.rstrip()[:300] for line in text.splitlines() if line.strip()][-lines:]


def disk_room(path):
    """Free and total megabytes of the file system that holds a path."""
    about = os.statvfs(path)
    return about.f_bavail * about.f_frsize >> 20, about.f_blocks * about.f_frsize >> 20
