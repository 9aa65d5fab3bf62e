# SPDX-License-Identifier: MIT
"""CPU time and memory of a process with everything below it, from /proc."""
import os

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    """The fields of /proc/PID/stat after the name, which may hold anything; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def family(pids):
    """The processes and all their descendants that live."""
    below = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(name)):
            below.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], list(pids)
    while todo:
        pid = todo.pop()
        if pid not in found and os.path.exists(f"/proc/{pid}"):
            found.append(pid)
            todo += below.get(pid, [])
    return sorted(found)


def cpu_seconds(pids):
    """User and system time: of the processes, those below them, and those of either that have ended."""
    total = 0
    for pid in family(pids):
        if fields := _stat(pid):
            total += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return total / TICKS


def memory_mib(pids):
    """(private dirty, resident) in MiB. What is resident counts pages of shared libraries to every
    process that maps them; what is private and dirty is what a process costs."""
    private = resident = 0
    for pid in family(pids):
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
                for line in f:
                    if line.startswith("Private_Dirty:"):
                        private += int(line.split()[1])
                    elif line.startswith("Rss:"):
                        resident += int(line.split()[1])
        except OSError:
            continue
    return private / 1024, resident / 1024
