# SPDX-License-Identifier: MIT
"""A consumer is one file and one row: the greeter of docs/adding-a-consumer.md, built in a copy of the tree,
is found by everything that knows the consumers."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest
from daemon import BUILD, ROOT, free_port
from pipeline import Pipeline, user_event
from wait import wait_until

pytestmark = pytest.mark.seconds(50)
TREE = Path(tempfile.mkdtemp(prefix="onboard-one-row-"))
VARIANT = os.path.basename(BUILD)
BIN = TREE / "build" / VARIANT / "bin"
QUEUE, PORT = "user_greeting_queue", free_port()
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("ONBOARD_") and k not in ("MAKEFLAGS", "MAKELEVEL", "V")}


def run(*words, code=0, env=None, seconds=300):
    done = subprocess.run(words, cwd=TREE, env=CLEAN | (env or {}), text=True, timeout=seconds, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == code, f"{words}: exit {done.returncode}, want {code}:\n{(done.stdout + done.stderr)[-3000:]}"
    return done


def copy_tree():
    """The sources, and what has been built of them: then only what reads the table is compiled again."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=False, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.split("\n")
    if len(names) < 100:  # a release's archive
        names = [os.path.relpath(os.path.join(folder, name), ROOT) for top in ("src", "tools", "config", "docs", "systemd", "migrations")
                 for folder, _, files in os.walk(f"{ROOT}/{top}") for name in files]
        names += [name for name in os.listdir(ROOT) if os.path.isfile(f"{ROOT}/{name}")]
    for name in names:
        if name and not name.startswith("tests/") and os.path.exists(f"{ROOT}/{name}"):
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(f"{ROOT}/{name}", TREE / name)
    for name in ("src", "gen", "bin"):
        shutil.copytree(f"{BUILD}/{name}", TREE / "build" / VARIANT / name)
    shutil.copy2(f"{BUILD}/libcommon.a", BIN.parent)


def add_greeter():
    """What docs/adding-a-consumer.md says, with a port that is free on this machine."""
    blocks = re.findall(r"```c\n(.*?)```", (TREE / "docs/adding-a-consumer.md").read_text(encoding="utf-8"), re.DOTALL)
    source, row = blocks
    (TREE / "src/consumers/greeter.c").write_text(source, encoding="utf-8")
    table = TREE / "src/common/model/consumers.h"
    end = "\t/* the next row stands above this line */\n"
    text = table.read_text(encoding="utf-8")
    assert text.count(end) == 1 and ", 9201, " in row
    table.write_text(text.replace(end, row.replace(", 9201, ", f", {PORT}, ") + end), encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def here(servers):
    global PIPE
    try:
        copy_tree()
        add_greeter()
        built = run("make", "-j2", f"V={VARIANT}", "render")
        assert "warning:" not in built.stderr, built.stderr
        with Pipeline(f"one_row_{os.getpid()}", 9) as PIPE:
            yield
    finally:
        shutil.rmtree(TREE, ignore_errors=True)


def ctl(*words, code=0):
    """What it says, to both streams."""
    done = ctl_run(*words, code=code)
    return done.stdout + done.stderr


def ctl_run(*words, code=0):
    # admin.base of the stack's own daemons: the greeter listens at its row's port
    env = {name: value for name, value in os.environ.items() if name != "ONBOARD_ADMIN_BASE"}
    return run(str(BIN / "onboardctl"), *words, code=code, env=env | PIPE.env)


def ctl_json(*words, code=0):
    return [json.loads(line) for line in ctl_run("--json", *words, code=code).stdout.splitlines()]


def greeter_hop(one):
    """No consumer whose effect trace can see runs here, so it finds nothing: exit 3."""
    return next(row for row in ctl_json("trace", one["id"], code=3) if row["hop"] == "greeter")


def test_help_and_messages_name_it():
    assert "eventlog cache segments mailer analytics greeter" in ctl("pause", "--help")
    for verb in ("pause", "resume", "queues"):
        assert "greeter" in ctl(verb, "nobody", code=2)
    assert "greeter" in ctl("--describe", "verbs")


def test_it_is_installed_with_its_unit_and_its_manual():
    run("make", f"V={VARIANT}", f"DESTDIR={TREE}/dest", "PREFIX=/usr", "install")
    dest = TREE / "dest/usr"
    assert run(str(dest / "bin/onboard-greeter"), "--version").stdout.startswith("onboard-greeter ")
    unit = (dest / "lib/systemd/system/onboard-greeter@.service").read_text()
    assert "Description=onboard: Greets each new user in the log (instance %i)" in unit
    assert "onboard-greeter@1.service" in (dest / "lib/systemd/system/onboard.target").read_text()
    manual = (dest / "share/man/man8/onboard-greeter.8").read_text()
    assert ".Nd Greets each new user in the log\n" in manual
    assert ".Xr onboard-greeter 8" in (dest / "share/man/man7/onboard.7").read_text()
    run("make", f"V={VARIANT}", f"DESTDIR={TREE}/dest", "PREFIX=/usr", "uninstall")
    assert not (dest / "bin/onboard-greeter").exists()


def test_lint_asks_for_its_service():
    words = ["/usr/bin/python3", "tools/check-compose"]
    done = subprocess.run(words, cwd=TREE, text=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    if done.returncode == 2:
        pytest.skip(" ".join(done.stderr.split()))
    assert done.returncode == 1 and "no service runs onboard-greeter" in done.stdout, done
    wanted = "  onboard-greeter:\n    <<: *onboard\n    command: [/usr/bin/onboard-greeter]\n"
    assert wanted in done.stdout, done.stdout
    path = TREE / "docker-compose.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("services:\n", "services:\n" + wanted, 1), encoding="utf-8")
    run(*words)


def test_the_broker_and_the_tool_know_it():
    assert any("user_greeting_queue'" in f["text"] for f in ctl_json("topology", "check", code=1))
    ctl("topology", "declare")
    assert {QUEUE, *(f"{QUEUE}.retry.{n}" for n in (1, 2, 3))} <= set(PIPE.place.queues())
    row = next(r for r in ctl_json("queues") if r["queue"] == QUEUE)
    assert row["consumer"] == "greeter" and len(row["retry"]) == 3 and row["exists"], row
    assert [r["queue"] for r in ctl_json("queues", "greeter")] == [QUEUE]

    one = user_event("created", 8000000000000001)
    PIPE.publish(one)
    wait_until(lambda: PIPE.depth(QUEUE) == 1, 10, "the event waits")
    assert any(f["subject"] == "queues" and QUEUE in f["text"] and f["fix"] == "start onboard-greeter"
               for f in ctl_json("doctor", code=1))
    hop = greeter_hop(one)
    assert hop["state"] == "unknown" and "1 wait" in hop["text"] and "start onboard-greeter" in hop["next"], hop
    ctl("pause", "greeter")
    assert next(r for r in ctl_json("queues") if r["queue"] == QUEUE)["paused"]
    assert "onboardctl resume greeter" in greeter_hop(one)["next"]
    ctl("resume", "greeter")


def ready():
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_it_runs_and_top_shows_it():
    with open(TREE / "log", "wb") as log, subprocess.Popen([BIN / "onboard-greeter"], env=CLEAN | PIPE.env, stdin=subprocess.DEVNULL,
                                                           stdout=log, stderr=log) as daemon:
        try:
            wait_until(lambda: ready() or daemon.poll() is not None, 20, "it is ready")
            one = user_event("created", 8000000000000002)
            PIPE.publish(one)
            wait_until(lambda: "8000000000000002" in (TREE / "log").read_text(), 10, "it greets")
            # without rates top is there in one look; the row's port is where it is found
            # (a daemon that does not answer within 300 ms is left out of a look)
            row = wait_until(lambda: next((d for d in ctl_json("top", "--once")[0]["daemons"] if d["daemon"] == "onboard-greeter"),
                                          None), 20, "top shows it")
            assert row["port"] == PORT and row["done"] >= 1, row
            wait_until(lambda: greeter_hop(one)["next"] is None, 10, "nothing waits")
            daemon.terminate()
            assert daemon.wait(15) == 0, (TREE / "log").read_text()
        finally:
            daemon.kill()


def test_make_up_starts_it():
    if not (TREE / "build/release").exists():
        os.symlink(VARIANT, TREE / "build/release")
    words = [sys.executable, "tools/stack", "--run", f"{TREE}/run"]
    env = {"ONBOARD_EXTERNAL": "postgres,rabbitmq,mongo,redis"} | PIPE.env
    try:
        run(*words, "up", "--daemons", env=env)
        rows = {row["name"]: row for row in json.loads(run(*words, "status", "--json", env=env).stdout)["servers"]}
        assert rows["onboard-greeter"]["state"] == "ready" and rows["onboard-analytics"]["port"] + 1 == rows["onboard-greeter"]["port"], rows
    finally:
        run(*words, "reset", env=env)
