# SPDX-License-Identifier: MIT
"""onboardctl doctor and topology, on servers with and without faults."""
import json
import os
import subprocess
import tempfile
import urllib.parse

import pytest
from daemon import BUILD, Daemon, free_port
from proxy import Proxy

pytestmark = pytest.mark.usefixtures("servers")


def ctl(*words, **env):
    said = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False, env=os.environ | env)
    return said.returncode, said.stdout, said.stderr


def findings(*words, **env):
    code, out, _ = ctl(*words, "--json", **env)
    return code, [json.loads(line) for line in out.splitlines()]


def test_doctor_finds_all_well():
    assert ctl("db", "migrate", "up")[0] == 0 and ctl("topology", "declare")[0] == 0
    code, found = findings("doctor")
    for collection, name in (("events", "geo.coordinates_2dsphere"), ("users", "email_1")):
        one = next(f for f in found if f["text"].startswith(f"{collection}: "))
        if one["state"] == "bad":  # no consumer has run on this database yet
            assert code == 1 and name in one["text"] and "onboard-" in one["fix"], one
    with Daemon("bin/onboard-eventlog") as eventlog, Daemon("bin/onboard-segments") as segments:
        eventlog.wait_ready()
        segments.wait_ready()
    code, found = findings("doctor")
    assert code == 0 and all(f["state"] == "ok" for f in found), found
    assert {f["subject"] for f in found} >= {"postgres", "schema", "rabbitmq", "topology", "mongo", "redis", "smtp"}, found
    code, out, _ = ctl("doctor")
    assert code == 0 and out.count("\n") == len(found) and all(len(line) <= 80 for line in out.splitlines()), out


def test_doctor_names_each_server_that_is_away_and_the_way_out():
    nowhere = free_port()
    for section, scheme in (("postgres", "postgresql"), ("rabbitmq", "amqp"), ("redis", "redis"), ("mongo", "mongodb"), ("smtp", "smtp")):
        path = "/onboard" if section == "mongo" else ""
        code, found = findings("doctor", **{f"ONBOARD_{section.upper()}_URL": f"{scheme}://127.0.0.1:{nowhere}{path}"})
        bad = [f for f in found if f["state"] == "bad"]
        assert code == 69 and bad[0]["subject"] == section, (section, found)
        assert f"{section}.url" in bad[0]["fix"] and bad[0]["text"], bad[0]


def test_doctor_does_not_hang_on_a_silent_server():
    url = urllib.parse.urlsplit(os.environ["ONBOARD_RABBITMQ_URL"])
    proxy = Proxy(url.hostname, url.port)
    proxy.stall()
    code, found = findings("doctor", ONBOARD_RABBITMQ_URL=f"amqp://x:y@127.0.0.1:{proxy.port}")
    assert code == 69 and "rabbitmq" in [f["subject"] for f in found if f["state"] == "bad"]
    proxy.flow()
    proxy.close()


def test_topology_missing_is_told_and_declared(vhost):
    code, found = findings("topology", "check", **vhost.env)
    assert code == 1 and any("'user_events' is missing" in f["text"] for f in found), found
    assert not vhost.queues(), "a check declared something"
    assert findings("doctor", **vhost.env)[0] == 1
    assert ctl("topology", "declare", **vhost.env)[0] == 0
    assert findings("topology", "check", **vhost.env)[0] == 0
    vhost.management.delete("queues", vhost.name, "user_mail_queue.retry.2")
    code, found = findings("topology", "check", **vhost.env)
    assert code == 1 and [f["text"] for f in found] == \
        ["queue 'user_mail_queue.retry.2' is missing; `onboardctl topology declare` makes it"], found


def test_topology_with_other_arguments_names_the_difference(vhost):
    vhost.management.ask("PUT", "queues", vhost.name, "user_mail_queue.retry.1",
                         body={"durable": True, "arguments": {"x-queue-type": "quorum", "x-message-ttl": 5000}})
    vhost.management.ask("PUT", "queues", vhost.name, "user.dlq",
                         body={"durable": True, "arguments": {"x-queue-type": "classic"}})
    code, out, err = ctl("topology", "declare", **vhost.env)
    assert code == 1 and "user_mail_queue.retry.1" in err and "x-" in err, (out, err)
    code, found = findings("topology", "check", **vhost.env)
    bad = [f["text"] for f in found if f["state"] == "bad"]
    assert code == 1 and len(bad) == 1 and "user_mail_queue.retry.1" in bad[0], found
    warned = [f["text"] for f in found if f["state"] == "warn"]
    assert len(warned) == 1 and "user.dlq" in warned[0] and "used as it is" in warned[0], found


def test_topology_words(vhost):
    assert ctl("topology")[0] == 2 and ctl("topology", "mend-it")[0] == 2
    code, _, err = ctl("--set", "topology.consumers=nobody", "topology", "check")
    assert code == 78 and "nobody" in err
    assert ctl("--set", "topology.consumers=mailer", "topology", "declare", **vhost.env)[0] == 0
    names = set(vhost.queues())
    assert names == {"user.dlq", "user_mail_queue", *(f"user_mail_queue.retry.{n}" for n in (1, 2, 3))}, names


def test_R5_exchanges_and_queues_of_ones_own(vhost):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write("# ours\nbind jobs.urgent jobs urgent\nexchange jobs direct\nexchange alerts fanout\n"
                "queue jobs.urgent x-max-priority=10\nqueue alerts.mail x-message-ttl=60000\nbind alerts.mail alerts\n")
        f.flush()
        env = vhost.env | {"ONBOARD_TOPOLOGY_FILE": f.name}
        assert findings("topology", "check", **env)[0] == 1
        assert ctl("topology", "declare", **env)[0] == 0 and findings("topology", "check", **env)[0] == 0
        kinds = {name: row["type"] for name, row in vhost.exchanges().items()}
        assert (kinds["jobs"], kinds["alerts"]) == ("direct", "fanout")
        queues = vhost.queues()
        assert queues["jobs.urgent"]["arguments"]["x-max-priority"] == 10 and queues["jobs.urgent"]["durable"]
        assert queues["alerts.mail"]["arguments"] == {"x-message-ttl": 60000, "x-queue-type": "quorum"}
        assert {("jobs", "urgent", "jobs.urgent"), ("alerts", "", "alerts.mail")} <= vhost.bindings()
        vhost.management.delete("queues", vhost.name, "alerts.mail")
        assert [x["text"] for x in findings("topology", "check", **env)[1]] == \
            ["queue 'alerts.mail' is missing; `onboardctl topology declare` makes it"]


def test_R5_a_faulty_file_is_one_line_with_its_number():
    for line, says in (("queue", "name"), ("exchange x round", "direct|fanout"), ("queue user.dlq", "onboard's own"),
                       ("queue user_mail_queue.retry.1", "onboard's own"), ("queue onboard.paused.mailer", "onboard's own"),
                       ("queue q x-a", "ARGUMENT=VALUE"), ("bind q", "bind QUEUE"),
                       ("queue amq.q", "amq."), ("remove q", "none of"), ("queue q " + "a=1 " * 20, "too many")):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
            f.write(f"exchange good topic\n\n{line}\n")
            f.flush()
            code, _, err = ctl("topology", "check", ONBOARD_TOPOLOGY_FILE=f.name)
            assert code == 78 and f"{f.name}:3" in err and says in err and err.count("\n") == 1, (line, code, err)
    assert ctl("topology", "check", ONBOARD_TOPOLOGY_FILE="/no/such")[0] == 78
