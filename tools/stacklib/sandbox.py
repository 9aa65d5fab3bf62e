# SPDX-License-Identifier: MIT
"""One process tree under bubblewrap.

bwrap (our child) waits for pid 1 of a pid namespace (bwrap again, a reaper), whose child is the
server. Killing pid 1 kills all of them. --die-with-parent does so when our thread or bwrap ends, so
only a thread that lives as long as the supervisor may start a sandbox. We signal the server from
outside, because bwrap passes no signal on.
"""
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

INSIDE = "/run/data"  # where a server finds its own folder


def uid_of(rootfs, user):
    """A user's uid and gid inside the root file system (initdb refuses unknown ones)."""
    for line in (Path(rootfs) / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == user:
            return fields[2], fields[3]
    return "65534", "65534"


def command(rootfs, user, argv, data=None, binds=(), env=None):
    """The bwrap command line. binds: (outside, inside, "ro" or "rw")."""
    uid, gid = uid_of(rootfs, user)
    line = ["bwrap", "--die-with-parent", "--unshare-user", "--unshare-pid", "--unshare-ipc",
            "--unshare-uts", "--hostname", "localhost", "--uid", uid, "--gid", gid,
            "--cap-drop", "ALL", "--ro-bind", str(rootfs), "/", "--proc", "/proc", "--dev", "/dev",
            "--tmpfs", "/tmp", "--tmpfs", "/run", "--chdir", "/"]
    if data is not None:
        line += ["--bind", str(data), INSIDE]
    for outside, inside, how in binds:
        line += ["--ro-bind" if how == "ro" else "--bind", str(outside), inside]
    line += ["--clearenv"]
    settings = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "LANG": "C.UTF-8",
                "HOME": INSIDE, **(env or {})}
    for name, value in settings.items():
        line += ["--setenv", name, str(value)]
    return line + ["--"] + list(argv)


def process_table():
    """pid → (parent, name, state) of every visible process."""
    table = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text(errors="replace")
            except OSError:
                continue
            name, _, rest = text.partition("(")[2].rpartition(")")
            fields = rest.split()
            table[int(entry)] = (int(fields[1]), name, fields[0])
    return table


def descendants(root, table=None):
    table = table or process_table()
    found, last = [], {root}
    while last:
        last = {pid for pid, about in table.items() if about[0] in last}
        found += sorted(last)
    return found


def memory_kib(pids):
    """The memory of these processes; shared pages count in parts if we may read them."""
    total = 0
    for pid in pids:
        for name, word in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
            try:
                lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
            except OSError:
                continue
            values = [int(line.split()[1]) for line in lines if line.startswith(word)]
            if values:
                total += values[0]
                break
    return total


class Process:
    """A running tree: under bwrap, or plain (inner = the process itself) for our own daemons."""

    def __init__(self, line, log, lock_fd=None, sandboxed=True, env=None, target=None):
        self.target = target  # the name of the process that gets signals, if it is not the first
        self.started = time.time()
        self.inner = None
        extra = [lock_fd] if lock_fd is not None else []
        read_end = write_end = None
        if sandboxed:
            read_end, write_end = os.pipe()
            line = line[:1] + ["--info-fd", str(write_end)] + line[1:]
            extra.append(write_end)
        try:
            with open(log, "ab") as out:
                self.popen = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=out,
                                              stderr=out, pass_fds=extra, env=env,
                                              start_new_session=True)
        finally:
            if write_end is not None:
                os.close(write_end)
        if sandboxed:
            self.inner = self._read_inner(read_end)
        else:
            self.inner = self.popen.pid

    @staticmethod
    def _read_inner(read_end):
        """The pid, as we see it, of pid 1 in the sandbox; None if bwrap failed earlier."""
        text = b""
        with os.fdopen(read_end, "rb", buffering=0) as source:
            while select.select([source], [], [], 10)[0]:
                part = source.read(4096)
                if not part:
                    break
                text += part
                if b"}" in text:
                    break
        try:
            return json.loads(text)["child-pid"]
        except (ValueError, KeyError):
            return None

    def alive(self):
        return self.popen.poll() is None

    def pids(self, table=None):
        if self.inner is None or not self.alive():
            return []
        if self.inner == self.popen.pid:
            return [self.inner] + descendants(self.inner, table)
        return descendants(self.inner, table)

    def server_pid(self):
        """The server's process: pid 1's first child, or the process with the target name."""
        table = process_table()
        pids = self.pids(table)
        named = [pid for pid in pids if table[pid][1] == self.target]
        return (named or pids or [None])[0]

    def signal(self, number):
        pid = self.server_pid()
        if pid is not None:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def signal_all(self, number):
        """Every process of the tree; looks again until it finds no new one, because a process may be forking."""
        done = set()
        while True:
            fresh = [pid for pid in self.pids() if pid not in done]
            if not fresh:
                return
            for pid in fresh:
                done.add(pid)
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass

    def kill(self):
        """Kills the tree at once and waits until no process of it is left."""
        for pid in (self.inner, self.popen.pid):
            if pid is not None and self.alive():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                if pid == self.inner and self._gone(3):
                    break
        self.popen.wait()

    def _gone(self, seconds):
        try:
            self.popen.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def stop(self, number, seconds):
        """Asks the server to stop and kills it after the deadline. True when it stopped by itself."""
        self.signal(number)
        self.signal_all(signal.SIGCONT)  # a frozen process would not get the signal
        if self._gone(seconds):
            return True
        self.kill()
        return False


def run(line, seconds, stdin=None):
    """A short command under bwrap: (exit code, output). 124: it took too long."""
    try:
        done = subprocess.run(line, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=seconds, text=True, errors="replace",
                              stdin=None if stdin is not None else subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return 124, f"took longer than {seconds:.0f} s"
    return done.returncode, done.stdout
