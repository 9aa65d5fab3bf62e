# SPDX-License-Identifier: MIT
"""docs/metrics.md names every metric that the sources define, with its labels, and no other; Prometheus'
own linter has nothing against their names and texts."""
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
import pytest

NAME = "(?:onboard|process)_[a-z_]+"
DEFINED = re.compile(rf'\{{\s*"({NAME})",\s*METRIC_([A-Z_]+),\s*((?:"[^"]*"\s*)+),\s*\{{([^}}]*)\}}')
LISTED = re.compile(rf"^\| `({NAME})` \| ([a-z, ]*)\|", re.M)


def defined():
    found = {}
    for path in sorted((ROOT / "src").rglob("*.c")):
        for name, _, _, labels in DEFINED.findall(path.read_text()):
            found[name] = re.findall(r'"([a-z]+)"', labels)
    return found


def listed():
    text = (ROOT / "docs/metrics.md").read_text()
    return text, {name: re.findall("[a-z]+", labels) for name, labels in LISTED.findall(text)}


def test_every_definition_is_seen():
    strings = {name for path in (ROOT / "src").rglob("*.c") if "ctl" not in path.parts
               for name in re.findall(rf'"({NAME})", METRIC_', path.read_text())}
    assert len(strings) > 30 and strings <= defined().keys(), strings - defined().keys()


def test_the_tables_are_the_sources():
    there, here = ({str(item) for item in table.items()} for table in (defined(), listed()[1]))
    assert there == here, sorted(there ^ here)


def test_what_the_alarms_name_is_there():
    text, names = listed()
    told = set(re.findall(r"onboard_[a-z]+(?:_[a-z]+)+", text))
    assert told <= names.keys(), told - names.keys()


def test_promtool_has_nothing_against_a_definition():
    """Those without a value on a daemon's page, too, which tests/integration/test_pipeline.py cannot see."""
    if not shutil.which("promtool"):
        pytest.skip("promtool is not here: apt-get install prometheus")
    lines = []
    for path in sorted((ROOT / "src").rglob("*.c")):
        for name, kind, text, labels in DEFINED.findall(path.read_text()):
            kind = kind.removesuffix("_US").lower()
            text = "".join(re.findall('"([^"]*)"', text))
            labels = [f'{label}="x"' for label in re.findall(r'"([a-z]+)"', labels)]
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            samples = [("", [])]
            if kind == "histogram":
                samples = [("_bucket", ['le="+Inf"']), ("_sum", []), ("_count", [])]
            lines += [f"{name}{suffix}{{{','.join(labels + more)}}} 1" for suffix, more in samples]
    done = subprocess.run(["promtool", "check", "metrics"], input="\n".join(lines) + "\n", text=True, timeout=60,
                          check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout
