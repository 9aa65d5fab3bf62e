# SPDX-License-Identifier: MIT
"""The Debian package: lintian has nothing against it, and it holds what `make install` leaves."""
import os
import re
import shutil
import subprocess
import tempfile

import pytest
import tree
from tree import ROOT


@pytest.fixture(scope="module", autouse=True)
def folder():
    global FOLDER, DEB
    with tempfile.TemporaryDirectory(prefix="onboard-deb-") as FOLDER:
        DEB = f"{FOLDER}/onboard.deb"
        yield


def run(*words):
    done = subprocess.run(words, cwd=ROOT, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}"
    return done.stdout


def test_it_is_made_of_the_release_build():
    if not shutil.which("dpkg-shlibdeps"):
        pytest.skip("dpkg-shlibdeps is not here: apt-get install dpkg-dev")
    tree.package("0.0.1-1", DEB)
    assert "/etc/onboard/onboard.conf" in run("dpkg-deb", "-I", DEB, "conffiles")
    depends = run("dpkg-deb", "-f", DEB, "Depends")
    for library in ("libpq5", "libmongoc-1.0-0", "libhiredis", "librabbitmq4", "libevent", "systemd"):
        assert library in depends, depends


def test_lintian_has_nothing_against_it():
    if not shutil.which("lintian"):
        pytest.skip("lintian is not here: apt-get install lintian")
    said = [line for line in run("lintian", "--fail-on", "error,warning", DEB).splitlines()
            if re.match(r"[EW]:", line)]
    assert not said, said
    # what is overridden says why
    with open(f"{ROOT}/packaging/lintian-overrides", encoding="utf-8") as f:
        lines = [line for line in f.read().splitlines() if line]
    assert all(line.startswith("#") or before.startswith("#") for before, line in zip(["#"] + lines, lines)), lines


def test_it_holds_what_install_leaves():
    unpacked = f"{FOLDER}/tree"
    run("dpkg-deb", "-x", DEB, unpacked)
    packed = {re.sub(r"\.gz$", "", os.path.join(folder, name)[len(unpacked):])
              for folder, _, names in os.walk(unpacked) for name in names}
    done = tree.make("V=release", "install", f"DESTDIR={FOLDER}/install", "PREFIX=/usr", "UNITDIR=/lib/systemd/system")
    assert done.returncode == 0, done.stdout
    there = {os.path.join(folder, name)[len(FOLDER) + len("/install"):]
             for folder, _, names in os.walk(f"{FOLDER}/install") for name in names}
    doc = "/usr/share/doc/onboard"
    assert there - packed == {f"{doc}/LICENSE", f"{doc}/CHANGELOG.md"}, there - packed
    assert packed - there == {f"{doc}/copyright", f"{doc}/changelog", f"{doc}/changelog.Debian",
                              "/usr/share/lintian/overrides/onboard"}, packed - there
