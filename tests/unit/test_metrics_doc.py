#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/metrics.md names every metric that the sources define, with its labels, and no other."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/lib"))
import tap

DEFINED = re.compile(r'\{\s*"(onboard_[a-z_]+)",\s*METRIC_[A-Z]+,\s*(?:"[^"]*"\s*)+,\s*\{([^}]*)\}')
LISTED = re.compile(r"^\| `(onboard_[a-z_]+)` \| ([a-z, ]*)\|", re.M)


def defined():
    found = {}
    for path in sorted((ROOT / "src").rglob("*.c")):
        for name, labels in DEFINED.findall(path.read_text()):
            found[name] = re.findall(r'"([a-z]+)"', labels)
    return found


def listed():
    text = (ROOT / "docs/metrics.md").read_text()
    return text, {name: re.findall("[a-z]+", labels) for name, labels in LISTED.findall(text)}


def test_every_definition_is_seen():
    strings = {name for path in (ROOT / "src").rglob("*.c") if "ctl" not in path.parts
               for name in re.findall(r'"(onboard_[a-z_]+)", METRIC_', path.read_text())}
    assert len(strings) > 30 and strings <= defined().keys(), strings - defined().keys()


def test_the_tables_are_the_sources():
    there, here = ({str(item) for item in table.items()} for table in (defined(), listed()[1]))
    assert there == here, sorted(there ^ here)


def test_what_the_alarms_name_is_there():
    text, names = listed()
    told = set(re.findall(r"onboard_[a-z]+(?:_[a-z]+)+", text))
    assert told <= names.keys(), told - names.keys()


if __name__ == "__main__":
    sys.exit(tap.run(globals()))
