# SPDX-License-Identifier: MIT
"""On Debian 13, whose hiredis has TLS and whose compiler and libraries are newer: the build without a
warning, the unit tests, the whole pipeline on this stack's servers, rediss://, and the package."""
import os
import re
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
pytestmark = [pytest.mark.seconds(200), pytest.mark.timeout(900), pytest.mark.usefixtures("servers")]
BUILD = "build/release"  # as the release sees it; here: build/debian-13/release


def debian(*words, seconds=300, **env):
    """A command there; what it said. DEVELOPER: every make has -Werror, so none builds anew what one has built."""
    done = subprocess.run([f"{ROOT}/tools/debian", "13", *words], text=True, timeout=seconds, check=False,
                          env=os.environ | {"ONBOARD_BUILD": BUILD, "DEVELOPER": "1"} | env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{words}: {done.returncode}: {done.stdout[-4000:]}"
    return done.stdout


def pytest_there(*words, servers="given"):
    """Runs tests there; the last line says how many passed."""
    said = debian("/usr/bin/python3", "-m", "pytest", "-c", "tests/pytest.ini", "-q", *words, ONBOARD_TEST_SERVERS=servers)
    last = said.splitlines()[-1]
    assert re.match(r"[1-9]\d* passed, 0 failed", last), said[-4000:]


def test_it_builds_without_a_warning():
    assert "trixie" in debian("cat", "/etc/os-release", seconds=550)  # the first time it is fetched
    debian("tools/setup", "--check", "build", "unit", "deb")
    said = debian("make", "-j2", "V=release", "tests-build", seconds=550)
    assert "warning:" not in said, said[-4000:]


def test_the_unit_tests_pass():
    pytest_there("tests/unit", "tests/fuzz", "-n", "2", "--dist", "loadfile", servers="none")


def test_a_signup_reaches_every_store():
    pytest_there("tests/integration/test_pipeline.py", "-k", "signup or process")


def test_redis_with_tls():
    pytest_there("tests/integration/test_redis_tls.py")


def test_the_package_depends_on_its_libraries():
    deb = debian("make", "deb").split()[-1]
    depends = debian("dpkg-deb", "-f", deb, "Depends")
    for library in ("libhiredis1.1.0", "libmongoc-1.0-0t64", "libevent-2.1-7t64", "libssl3t64", "libpq5", "librabbitmq4"):
        assert library in depends, depends
