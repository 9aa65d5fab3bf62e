#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Makefile's own promises: nothing is built twice, wrong variants are named."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
import tap

VARIANT = os.path.basename(os.environ.get("ONBOARD_BUILD", "build/debug"))


def make(*words):
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "V")}
    return subprocess.run(["make", "--no-print-directory", *words], cwd=ROOT, env=env, text=True, timeout=300,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_second_build_does_nothing():
    make(f"V={VARIANT}", "all")
    done = make(f"V={VARIANT}", "all")
    assert done.returncode == 0 and "Nothing to be done" in done.stdout, done.stdout


def test_a_variant_that_does_not_exist_is_named():
    done = make("V=fast")
    assert done.returncode != 0 and "want debug, release, asan, tsan, cov or fuzz" in done.stdout, done.stdout


def test_missing_packages_are_named_with_the_way_out():
    done = make("all", "PKGS=libpq no-such-library")
    assert done.returncode != 0, done.stdout
    assert "missing packages: no-such-library" in done.stdout and "tools/setup build" in done.stdout, done.stdout


def test_every_target_asks_set_up_for_groups_that_there_are():
    def read(name):
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            return f.read()

    asked = set(" ".join(re.findall(r"^\t@?\$\(SETUP\)((?: [a-z]+)+)$", read("Makefile"), re.M)).split())
    there = set(re.findall(r"^([a-z]+) {2,}\S", read("tools/setup").split("'")[1], re.M))
    assert len(asked) > 4 and asked <= there, asked - there


sys.exit(tap.run(globals()))
