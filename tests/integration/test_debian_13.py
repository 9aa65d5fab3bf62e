#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""On Debian 13, whose hiredis has TLS and whose compiler and libraries are newer: the build without a
warning, the unit tests, the whole pipeline on this stack's servers, rediss://, and the package."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = "build/release"  # as the release sees it; here: build/debian-13/release


def debian(*words, seconds=300):
    """A command there; what it said. DEVELOPER: every make has -Werror, so none builds anew what one has built."""
    done = subprocess.run([f"{ROOT}/tools/debian", "13", *words], text=True, timeout=seconds, check=False,
                          env=os.environ | {"ONBOARD_BUILD": BUILD, "DEVELOPER": "1"}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{words}: {done.returncode}: {done.stdout[-4000:]}"
    return done.stdout


def passed(said):
    """A test program's output: something ran, and nothing failed."""
    for line in said.splitlines():
        if line.startswith(("ok", "not ok")):
            print(f"# {line}", flush=True)
    assert re.search(r"^ok (?!.*# SKIP)", said, re.M) and not re.search(r"^not ok", said, re.M), said[-4000:]


def test_it_builds_without_a_warning():
    assert "trixie" in debian("cat", "/etc/os-release", seconds=550)  # the first time it is fetched
    debian("tools/setup", "--check", "build", "unit", "deb")
    said = debian("make", "-j2", "V=release", "tests-build", seconds=550)
    assert "warning:" not in said, said[-4000:]


def test_the_unit_tests_pass():
    last = debian("tests/run", "--unit", "--build", BUILD).splitlines()[-1]
    print(f"# {last}", flush=True)
    assert re.match(r"\d{2,} passed, 0 failed", last), last


def test_a_signup_reaches_every_store():
    passed(debian("tests/integration/test_pipeline.py", "signup", "process"))


def test_redis_with_tls():
    passed(debian("tests/integration/test_redis_tls.py"))


def test_the_package_depends_on_its_libraries():
    deb = debian("make", "deb").split()[-1]
    depends = debian("dpkg-deb", "-f", deb, "Depends")
    for library in ("libhiredis1.1.0", "libmongoc-1.0-0t64", "libevent-2.1-7t64", "libssl3t64", "libpq5", "librabbitmq4"):
        assert library in depends, depends


sys.exit(tap.run(globals()))
