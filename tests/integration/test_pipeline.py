# SPDX-License-Identifier: MIT
"""Every daemon there is on real servers: a signup reaches every store, and each /metrics is what
Prometheus takes. tests/systemd/test_debian_13.py runs the first of these in a Debian 13, too."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import time

import pytest
from api import Api
from daemon import BUILD, consumers, producers
from wait import wait_until

started = {}


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global PIPE
    PIPE = pipe
    with contextlib.ExitStack() as stack:
        for name in producers() + consumers():
            daemon = Api(PIPE) if name == "api" else PIPE.daemon(f"onboard-{name}")
            started[name] = stack.enter_context(daemon)
        yield


def page(daemon):
    status, text = daemon.ask("/metrics")
    assert status == 200, text
    return text


def value(text, name):
    found = re.search(rf"^{name} (\S+)$", text, re.M)
    assert found, f"no {name}"
    return float(found[1])


def states(event_id):
    """What `onboardctl trace` says of each consumer."""
    done = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), "--json", "trace", event_id], text=True, timeout=60,
                          env=os.environ | PIPE.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["hop"]: row["state"] for row in rows if row["hop"] in consumers()}


def test_a_signup_reaches_every_store():
    for daemon in started.values():
        daemon.wait_ready()
    user = started["api"].ready().signup({"username": "whole", "email": "whole@example.com",
                                          "address": {"street": "Brivibas 1", "postal_code": "LV-1010",
                                                      "city": "Riga", "country": "LV"}}).is_(201).json
    want = dict.fromkeys(consumers(), "arrived")
    wait_until(lambda: states(user["event_id"]) == want, 30, f"all say that it arrived: {states(user['event_id'])}")
    assert started["api"]("GET", f"/api/users/{user['id']}").is_(200).json["address"]["country"] == "LV"


def test_promtool_takes_the_metrics_of_every_daemon():
    if not shutil.which("promtool"):
        pytest.skip("promtool is not here: apt-get install prometheus")
    said = {}
    for name, daemon in started.items():
        done = subprocess.run(["promtool", "check", "metrics"], input=page(daemon), text=True, timeout=60, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0 or done.stdout.strip():
            said[name] = done.stdout
    assert not said, "\n".join(f"{name}: {text}" for name, text in said.items())


def test_process_figures_have_their_standard_names_and_are_those_of_the_process():
    for name, daemon in started.items():
        pid = daemon.process.pid
        text = page(daemon)
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            status = dict(re.findall(r"^(Vm\w+):\s+(\d+) kB$", f.read(), re.M))
        for metric, field in (("process_resident_memory_bytes", "VmRSS"), ("process_virtual_memory_bytes", "VmSize")):
            assert abs(value(text, metric) / 1024 - int(status[field])) < 8192, (name, metric, status)
        assert abs(value(text, "process_open_fds") - daemon.descriptors()) <= 8, (name, daemon.descriptors())
        with open(f"/proc/{pid}/limits", encoding="ascii") as f:
            assert value(text, "process_max_fds") == int(re.search(r"^Max open files\s+(\d+)", f.read(), re.M)[1])
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            user, system = f.read().rpartition(")")[2].split()[11:13]
        used = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        assert 0 < value(text, "process_cpu_seconds_total") <= used + 0.02, (name, used)
        assert value(text, "process_start_time_seconds") <= time.time() + 1
        assert value(text, "process_start_time_seconds") > time.time() - 600
