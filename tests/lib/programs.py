# SPDX-License-Identifier: MIT
"""C programs as pytest tests: each test function of a cmocka program is one item, and so is each fuzz
target's corpus. The program runs once for its whole file; an item reports its own line of that run."""
import os
import re
import subprocess

import pytest

LISTED = re.compile(r"cmocka_unit_test\w*\(\s*(\w+)")
RESULT = re.compile(r"^\s*(not )?ok\b(?:\s+\d+)?(?:\s*-)?\s*(\S*)\s*(?:#\s*(?:SKIP|skip)\b\s*(.*))?")
SECONDS = 500


class ProgramFile(pytest.File):
    """A C file with cmocka tests. `command` runs the program that was built from it."""

    command, needs_servers, run = (), False, None

    def collect(self):
        for name in LISTED.findall(self.path.read_text(encoding="utf-8")):
            yield FunctionItem.from_parent(self, name=name)
        yield ProgramItem.from_parent(self, name="program")

    def result(self):
        if self.run is None:
            if self.needs_servers:
                self.config.stash[SERVERS]()
            self.run = Run(self.command, self.config.rootpath.parent)
        return self.run


SERVERS = pytest.StashKey()  # in config.stash: starts this worker's servers, once


class Run:
    """One run of a program: what its TAP lines say."""

    def __init__(self, command, folder):
        self.command, self.verdicts = command, {}
        if not os.access(os.path.join(folder, command[-1] if command[0] == "valgrind" else command[0]), os.X_OK):
            raise Failed(f"{command[0]} is not built: make tests-build")
        try:
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=SECONDS, check=False)
            self.status, self.output = done.returncode, done.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as late:
            self.status, self.output = f"none: not finished in {SECONDS} s", (late.stdout or b"").decode(errors="replace")
        why = []
        for line in self.output.splitlines():
            if found := RESULT.match(line):
                self.verdicts[found[2]] = (not found[1], "\n".join(why), found[3])
                why = []
            else:
                why.append(line)
        self.rest = "\n".join(why)


class Failed(Exception):
    """Its text is the whole report."""


class Item(pytest.Item):
    def repr_failure(self, excinfo):
        return str(excinfo.value) if isinstance(excinfo.value, Failed) else super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, None, f"{self.path.stem}: {self.name}"


class FunctionItem(Item):
    def runtest(self):
        run = self.parent.result()
        good, why, skipped = run.verdicts.get(self.name, (False, f"no result of it; exit status {run.status}\n{run.rest}", None))
        if skipped is not None:
            pytest.skip(skipped)
        if not good:
            raise Failed(f"{why}\nagain: {' '.join(run.command)}")


class ProgramItem(Item):
    """The program as a whole: it ended well, and told of no test that the file does not list."""

    def runtest(self):
        run = self.parent.result()
        unknown = run.verdicts.keys() - {item.name for item in self.parent.collect()}
        failed = any(not good for good, _, _ in run.verdicts.values())
        if unknown or not run.verdicts:
            raise Failed(f"unknown tests {sorted(unknown)} of {len(run.verdicts)}\n{run.output}")
        if run.status != 0 and not failed:
            raise Failed(f"exit status {run.status}\n{run.rest or run.output}")


class CorpusFile(pytest.File):
    """A fuzz target: its corpus, replayed."""

    command = ()

    def collect(self):
        yield CorpusItem.from_parent(self, name="corpus")


class CorpusItem(Item):
    def runtest(self):
        run = Run(self.parent.command, self.config.rootpath.parent)
        if run.status != 0 or not run.verdicts or not all(good for good, _, _ in run.verdicts.values()):
            raise Failed(f"exit status {run.status}\n{run.output[-4000:]}\nagain: {' '.join(run.command)}")


VALGRIND = ("valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite,possible",
            "--track-fds=no")


def collect(path, parent, build, valgrind):
    """For pytest_collect_file: the node of a C file that is a test, or None."""
    folder, name = path.parent.name, path.stem
    node = None
    if path.suffix != ".c":
        return None
    if folder == "unit" and name.startswith("test_"):
        node = ProgramFile.from_parent(parent, path=path)
        node.command = (*(VALGRIND if valgrind else ()), f"{build}/tests/{name}")
    elif folder == "prog" and name.startswith("link_"):
        node = ProgramFile.from_parent(parent, path=path)
        node.command, node.needs_servers = (f"{build}/tests/prog/{name}",), True
    elif folder == "fuzz" and name.startswith("fuzz_"):
        node = CorpusFile.from_parent(parent, path=path)
        node.command = (f"{build}/tests/{name}", f"tests/fuzz/corpus/{name[5:]}")
    return node
