# SPDX-License-Identifier: MIT
"""What `make install` leaves: exactly the files that the manuals name; units that systemd takes as
they are and that give a daemon nothing it does not need; manuals and completion without a warning."""
import fnmatch
import os
import re
import shutil
import subprocess
import tempfile

import pytest
import tree
from tree import ROOT, VARIANT

EXPOSURE = 1.5
DEST = tempfile.mkdtemp(prefix="onboard-install-")
UNITS = f"{DEST}/usr/lib/systemd/system"
MANUALS = f"{DEST}/usr/share/man"


@pytest.fixture(scope="module", autouse=True)
def cleaned():
    yield
    shutil.rmtree(DEST, ignore_errors=True)


def run(*words, **more):
    return subprocess.run(words, cwd=ROOT, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)


def make(*words):
    done = tree.make(f"V={VARIANT}", f"DESTDIR={DEST}", "PREFIX=/usr", *words)
    assert done.returncode == 0, done.stdout


def need(tool, package):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not here: apt-get install {package}")


def installed():
    return {os.path.join(folder, name)[len(DEST):] for folder, _, names in os.walk(DEST) for name in names}


def pages():
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(MANUALS) for name in names)


def unit_names():
    """As systemd-analyze wants them: a template by one of its instances."""
    return sorted(name.replace("@.", "@1.") for name in os.listdir(UNITS))


def test_install_leaves_exactly_what_the_manuals_name():
    make("install")
    named = set()
    for page in pages():
        with open(page, encoding="utf-8") as f:
            text = f.read()
        files = re.search(r"^\.Sh FILES\n(.*?)(?=^\.Sh)", text, re.M | re.S)
        assert files, f"{page} has no FILES"
        assert not re.search(r"@[A-Z]+@", text), f"{page}: a mark is left"
        named |= set(re.findall(r"^\.It Pa (\S+)", files[1], re.M))
    there = installed()
    missing = {n for n in named if not fnmatch.filter(there, n) and not os.path.isdir(DEST + n)}
    unnamed = {f for f in there if not any(fnmatch.fnmatch(f, n) for n in named)}
    assert not missing and not unnamed, f"named but not installed: {missing}; installed but not named: {unnamed}"
    daemons = [n for n in os.listdir(f"{DEST}/usr/bin") if n.startswith("onboard-")]
    assert daemons and {f"{d}@.service" for d in daemons} <= set(os.listdir(UNITS))


def test_units_are_what_systemd_takes():
    need("systemd-analyze", "systemd")
    with tempfile.TemporaryDirectory(prefix="onboard-verify-") as root:  # beside systemd's own units
        shutil.copytree(f"{DEST}/usr", f"{root}/usr")
        shutil.copytree("/lib/systemd/system", f"{root}/lib/systemd/system", symlinks=True)
        os.mkdir(f"{root}/bin")
        with open(f"{root}/bin/sh", "w", encoding="utf-8") as sh:
            os.fchmod(sh.fileno(), 0o755)
        done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}", *unit_names())
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout


def test_units_give_a_daemon_nothing_that_it_does_not_need():
    need("systemd-analyze", "systemd")
    for name in unit_names():
        if not name.endswith(".service"):
            continue
        done = run("systemd-analyze", "security", "--no-pager", "--offline=true", f"--root={DEST}",
                   f"--threshold={int(EXPOSURE * 10)}", name)
        level = re.search(r"Overall exposure level for .*: ([\d.]+)", done.stdout)
        assert level and float(level[1]) <= EXPOSURE and done.returncode == 0, f"{name}: {done.stdout[-400:]}"


def test_the_target_starts_and_stops_every_daemon():
    with open(f"{UNITS}/onboard.target", encoding="utf-8") as f:
        wanted = set(" ".join(re.findall(r"^Wants=(.*)", f.read(), re.M)).split())
    for name in unit_names():
        if name in ("onboard.target", "onboard-maintain.service"):
            continue
        with open(f"{UNITS}/{name.replace('@1.', '@.')}", encoding="utf-8") as f:
            text = f.read()
        assert name in wanted, f"onboard.target does not want {name}"
        assert re.search(r"^PartOf=onboard\.target$", text, re.M), f"{name} is not part of the target"


def test_a_configuration_that_is_there_stays():
    conf = f"{DEST}/etc/onboard/onboard.conf"
    with open(conf, "w", encoding="utf-8") as f:
        f.write("[log]\nlevel = debug\n")
    make("install")
    with open(conf, encoding="utf-8") as f:
        assert f.read() == "[log]\nlevel = debug\n"
    shutil.copy(f"{ROOT}/config/onboard.conf", conf)


def test_manuals_have_no_warning():
    need("mandoc", "mandoc")
    need("man", "man-db")
    for page in pages():
        done = run("mandoc", "-Tlint", "-Wwarning", page)
        assert not done.stdout, done.stdout
        done = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page,
                   env=os.environ | {"MANROFFSEQ": "", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
        assert done.returncode == 0 and "warning" not in done.stdout, done.stdout[:500]


def test_every_key_and_every_verb_is_in_its_manual():
    with open(f"{MANUALS}/man5/onboard.conf.5", encoding="utf-8") as f:
        keys = f.read()
    with open(f"{ROOT}/config/onboard.conf", encoding="utf-8") as f:
        for key in re.findall(r"^#(\w+) =", f.read(), re.M):
            assert f".It Cm {key}\n" in keys, key
    with open(f"{MANUALS}/man1/onboardctl.1", encoding="utf-8") as f:
        verbs = f.read()
    for verb in run(f"{DEST}/usr/bin/onboardctl", "--describe", "words").stdout.split():
        assert re.search(rf"^\.Ss {verb}\b", verbs, re.M), verb


def test_the_installed_configuration_is_sound():
    env = {k: v for k, v in os.environ.items() if not k.startswith("ONBOARD_")}
    done = run(f"{DEST}/usr/bin/onboardctl", "--config", f"{DEST}/etc/onboard/onboard.conf", "--set",
               f"topology.file={DEST}/etc/onboard/topology.conf", "--print-config", env=env)
    assert done.returncode == 0, done.stdout


def complete(*words):
    script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }; _onboardctl; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    done = run("bash", "-c", script, "bash", f"{DEST}/usr/share/bash-completion/completions/onboardctl", *words)
    assert done.returncode == 0, done.stdout
    return done.stdout.split()


def test_completion_knows_what_the_program_knows():
    program = f"{DEST}/usr/bin/onboardctl"
    verbs = run(program, "--describe", "words").stdout.split()
    assert {"db", "doctor", "topology"} <= set(verbs)
    assert set(verbs) <= set(complete(program, ""))
    assert complete(program, "do") == ["doctor"]
    assert "--json" in complete(program, "--") and "migrate" in complete(program, "--json", "db", "m")
    assert complete(program, "db", "migrate", "st") == ["status"]
    assert "api.batch=" in complete(program, "--set", "api.b")


def test_the_migrations_are_in_the_program():
    """Neither a folder below the working folder nor the environment gives it others."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("ONBOARD_")}
    with tempfile.TemporaryDirectory(prefix="onboard-stranger-") as stranger:
        os.mkdir(f"{stranger}/migrations")
        with open(f"{stranger}/migrations/0001_half.up.sql", "w", encoding="utf-8") as f:
            f.write("SELECT 1;\n")  # without a .down.sql, which is refused where it is read
        env |= {"ONBOARD_POSTGRES_URL": "postgresql://x@127.0.0.1:1/x", "ONBOARD_MIGRATIONS": f"{stranger}/migrations"}

        def status(*more):
            return subprocess.run([f"{DEST}/usr/bin/onboardctl", "db", "migrate", "status", *more], cwd=stranger,
                                  text=True, timeout=60, env=env, check=False, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        done = status()  # the files are checked before the server is asked
        assert done.returncode == 69, done.stdout
        done = status("--dir", f"{stranger}/migrations")
        assert done.returncode == 1 and "has no .down.sql file" in done.stdout, done.stdout


def test_uninstall_leaves_nothing():
    make("uninstall")
    assert not installed(), installed()
    assert not os.path.exists(f"{DEST}/etc/onboard")
