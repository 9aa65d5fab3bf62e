# SPDX-License-Identifier: MIT
"""`make` and tools/deb in the checkout itself. Tests of other workers may run them too, and two at once write the same
files: one waits for the other."""
import contextlib
import fcntl
import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VARIANT = os.path.basename(os.environ.get("ONBOARD_BUILD", "build/debug"))


@contextlib.contextmanager
def locked():
    """Nobody else builds meanwhile."""
    os.makedirs(f"{ROOT}/build", exist_ok=True)
    with open(f"{ROOT}/build/tests.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def package(version, target):
    """The Debian package of the release build, under this version, as the file target."""
    with locked():
        out = subprocess.run([f"{ROOT}/tools/deb", version], check=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE).stdout.split()[-1]
        shutil.move(f"{ROOT}/{out}", target)


def make(*words):
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "V")}
    with locked():
        return subprocess.run(["make", "--no-print-directory", *words], cwd=ROOT, env=env, text=True, timeout=300,
                              check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
