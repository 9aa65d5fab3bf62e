# SPDX-License-Identifier: MIT
"""Every command in the documents runs and succeeds, in a copy of the tree of its own.

Commands are the lines of ```sh blocks. `make test` is what runs this; it is not run within itself.
"""
import os
import re
import shutil
import subprocess
import tempfile
import time

import pytest

pytestmark = pytest.mark.seconds(170)
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
RUNS_THIS = {"make test"}
SECONDS = 400
WAY_SECONDS = 15


def commands(path):
    for block in re.findall(r"^```sh\n(.*?)^```", open(path).read(), re.M | re.S):
        for line in block.splitlines():
            line = re.sub(r"\s+#.*", "", line).strip()
            if line:
                yield line


def copy_tree(to):
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True,
                           stdout=subprocess.PIPE).stdout.decode().split("\0")
    for name in filter(None, names):
        if os.path.lexists(f"{ROOT}/{name}"):
            os.makedirs(os.path.dirname(f"{to}/{name}"), exist_ok=True)
            shutil.copy2(f"{ROOT}/{name}", f"{to}/{name}", follow_symlinks=False)
    subprocess.run("git init -q && git add -A", shell=True, cwd=to, check=True)


def run(command, tree, env):
    """onboardctl ends with 3 where there is nothing yet: what the command before began may be on its way."""
    until = time.monotonic() + WAY_SECONDS
    while True:
        done = subprocess.run(["bash", "-c", command], cwd=tree, env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
        if done.returncode != 3 or time.monotonic() > until:
            return done
        time.sleep(0.1)


def wanted():
    """In order, also what one document says twice; of a later document only what is new."""
    found, seen = [], set(RUNS_THIS)
    for document in DOCUMENTS:
        lines = list(commands(f"{ROOT}/{document}"))
        found += [c for c in lines if c not in seen]
        seen.update(lines)
    return found


@pytest.fixture(scope="module")
def copy():
    """The tree in which the commands run, one after the other, and their environment."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ONBOARD_", "MAKE", "MFLAGS"))}
    with tempfile.TemporaryDirectory(prefix="onboard-readme-") as tree:
        copy_tree(tree)
        yield tree, env
        subprocess.run(["tools/stack", "reset"], cwd=tree, env=env, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


@pytest.mark.timeout(SECONDS + WAY_SECONDS)
@pytest.mark.parametrize("command", wanted())
def test_command(command, copy):
    done = run(command, *copy)
    assert done.returncode == 0, "\n".join(done.stdout.decode(errors="replace").splitlines()[-30:])
