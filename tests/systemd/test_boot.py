# SPDX-License-Identifier: MIT
"""A Debian boots, gets the package, and runs everything under its systemd: started, followed, killed,
frozen, reloaded, upgraded under load, refused a downgrade, stopped, removed."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading

import pymongo
import pytest
import redis
import tree
from api import SIGNUP, Client
from daemon import ROOT, consumers, free_port
from machine import Machine
from servers import Place, Sql
from wait import wait_until

pytestmark = pytest.mark.seconds(60)
PORT = free_port()
FIRST, SECOND, THIRD = "0.0.1-1", "0.0.2-1", "0.0.3-1"
made = {"count": 0}
world = {}


@pytest.fixture(scope="module", autouse=True)
def here(servers):
    global FOLDER
    place = world["place"] = Place(os.environ, "boot", 14)
    world["mongo"] = pymongo.MongoClient(place.mongo, serverSelectionTimeoutMS=10000)
    world["mongo"].drop_database(place.name)
    world["consumers"] = consumers()
    with tempfile.TemporaryDirectory(prefix="onboard-deb-") as FOLDER:
        yield
        if "machine" in world:
            world["machine"].close()
    world["mongo"].close()


def package(version):
    """The release build, packed under this version."""
    target = f"{FOLDER}/onboard_{version}.deb"
    tree.package(version, target)
    return target


def newer_schema(deb):
    """The same with the onboardctl of a version that has one migration more than the daemons know."""
    unpacked, source = f"{FOLDER}/tree", f"{FOLDER}/source"
    os.mkdir(source)
    subprocess.run(["cp", "-a", "--parents", "Makefile", "VERSION", "src", "tools", "migrations", "build/release",
                    source], cwd=ROOT, check=True)
    number = len([n for n in os.listdir(f"{source}/migrations/onboard") if n.endswith(".up.sql")]) + 1
    for ending, text in (("up", "CREATE TABLE of_tomorrow (id int);\n"), ("down", "DROP TABLE of_tomorrow;\n")):
        with open(f"{source}/migrations/onboard/{number:04d}_tomorrow.{ending}.sql", "w", encoding="utf-8") as f:
            f.write(text)
    subprocess.run(["make", "V=release", "build/release/bin/onboardctl"], cwd=source, check=True, timeout=300,
                   env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")},
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    subprocess.run(["dpkg-deb", "-R", deb, unpacked], check=True)
    subprocess.run(["install", "-m", "755", "-s", f"{source}/build/release/bin/onboardctl", f"{unpacked}/usr/bin"], check=True)
    control = f"{unpacked}/DEBIAN/control"
    with open(control, encoding="utf-8") as f:
        text = f.read()
    with open(control, "w", encoding="utf-8") as f:
        f.write(re.sub(r"^Version: .*", f"Version: {THIRD}", text, flags=re.M))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", unpacked, f"{FOLDER}/onboard_{THIRD}.deb"],
                   check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(source)


def needs(deb):
    """The packages that it depends on, without their versions."""
    said = subprocess.run(["dpkg-deb", "-f", deb, "Depends"], check=True, text=True, stdout=subprocess.PIPE).stdout
    return sorted({re.split(r"[ (|]", one.strip())[0] for one in said.split(",")})


def signup(client, prefix="boot"):
    made["count"] += 1
    name = f"{prefix}{made['count']}x{os.getpid()}"
    return client("POST", SIGNUP, {"username": name, "email": f"{name}@example.com",
                                   "address": {"street": "Brivibas 1", "postal_code": "LV-1010", "city": "Riga",
                                               "country": "LV"}})


def daemons():
    """Their units, by what the target wants."""
    wanted = world["machine"].show("onboard.target", "Wants").split()
    return sorted(name for name in wanted if "@1.service" in name)


def processes():
    """What runs as the daemons' user."""
    return world["machine"].run("sh", "-c", "id=$(id -u onboard); for p in /proc/[0-9]*; do "
                                "[ \"$(stat -c %u $p 2>/dev/null)\" != \"$id\" ] || echo $p; done").stdout.split()


def wait_active(*units, seconds=40):
    machine = world["machine"]
    for unit in units:
        wait_until(lambda: machine.show(unit, "ActiveState", "SubState") ==
                   {"ActiveState": "active", "SubState": "running"}, seconds,
                   f"{unit} runs: {machine.journal('-u', unit, '-n', '5')}")


def stored(events, users, seconds=40):
    """Each of them is in every store; what is not said yet is waited for."""
    place, mongo = world["place"], world["mongo"]
    with Sql(place.postgres) as sql:
        rows = set(sql.ask("SELECT event_id FROM outbox"))
        assert set(events) <= rows, f"{len(set(events) - rows)} answered, but not in PostgreSQL"
        wait_until(lambda: sql.number("SELECT count(*) FROM outbox_unpublished") == 0, seconds, "all is published")

    def documents():
        return {d["_id"] for d in mongo[place.name]["events"].find({"_id": {"$in": list(events)}}, {"_id": 1})}
    wait_until(lambda: len(documents()) == len(set(events)), seconds, "each event is a document")
    def states():
        return mongo[place.name]["users"].count_documents({"_id": {"$in": list(users)}, "segment": {"$exists": True}})
    if "segments" in world["consumers"]:
        wait_until(lambda: states() == len(set(users)), seconds, "each user has a segment")
    if "mailer" in world["consumers"] and len(users) < 10:  # it has a rate
        with Sql(place.postgres) as sql:
            some = ",".join(str(int(u)) for u in users)
            wait_until(lambda: sql.number("SELECT count(*) FROM mail_log WHERE state = 'sent' AND user_id IN"
                                          f" ({some})") == len(set(users)), seconds, "each user has a mail")
    with contextlib.closing(redis.Redis.from_url(place.redis)) as kv:
        wait_until(lambda: all(kv.exists(f"user:{u}:profile") for u in users), seconds, "each user has a profile")


class Load:
    """Signups over one connection after another, until it ends."""

    def __init__(self, hands=4):
        self.over, self.created, self.others = threading.Event(), [], []
        self.hands = [threading.Thread(target=self._hand, daemon=True) for _ in range(hands)]
        self.lock = threading.Lock()

    def __enter__(self):
        for hand in self.hands:
            hand.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for hand in self.hands:
            hand.join(60)

    def _hand(self):
        while not self.over.is_set():
            client = Client(PORT, 30)
            try:
                answer = signup(client, f"load{threading.get_ident()}")
                with self.lock:
                    (self.created if answer.status == 201 else self.others).append(
                        answer.json if answer.status == 201 else (answer.status, answer.text))
            except OSError as error:
                self.others.append(repr(error))
            finally:
                client.close()
            self.over.wait(0.02)


def test_the_package_installs_and_starts_nothing():
    first = package(FIRST)
    newer_schema(package(SECOND))
    world["machine"] = machine = Machine(needs(first), FOLDER)
    machine.run("dpkg", "-i", f"/mnt/onboard_{FIRST}.deb")
    assert machine.show("onboard.target", "ActiveState") == "inactive"
    assert machine.show("onboard-migrate.service", "ActiveState") == "inactive"
    assert not processes()
    modes = machine.run("stat", "-c", "%a %U:%G %n", "/etc/onboard/onboard.conf", "/etc/onboard/credentials").stdout
    assert "640 root:onboard" in modes and "700 root:root" in modes, modes


def test_the_target_starts_every_daemon():
    machine, place = world["machine"], world["place"]
    machine.write("/etc/onboard/onboard.conf", "[admin]\nlisten = 127.0.0.1:0\n\n[topology]\n"
                  f"consumers = {','.join(world['consumers'])}\n\n[smtp]\nurl = {os.environ['ONBOARD_SMTP_URL']}\n", "640")
    machine.run("chgrp", "onboard", "/etc/onboard/onboard.conf")
    for key, url in (("postgres", place.postgres), ("rabbitmq", place.rabbitmq), ("mongo", place.mongo),
                     ("redis", place.redis)):
        machine.write(f"/etc/onboard/credentials/{key}.url", url + "\n", "600")
    machine.write("/etc/systemd/system/onboard-api.socket.d/port.conf",
                  f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{PORT}\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "--now", "onboard.target")
    wait_active(*daemons())
    assert {f"onboard-{c}@1.service" for c in ("api", "eventlog", "cache")} <= set(daemons())
    assert machine.show("onboard-migrate.service", "Result") == "success"
    machine.run("systemctl", "start", "onboard-maintain.service")
    assert "Status" in machine.run("systemctl", "status", "onboard-api@1").stdout
    assert machine.show("onboard-api@1", "StatusText") == "ready"


def test_a_signup_reaches_every_store():
    answer = signup(Client(PORT)).is_(201).json
    stored([answer["event_id"]], [answer["id"]])


def test_a_reload_takes_the_new_configuration_and_the_journal_finds_an_event():
    machine = world["machine"]
    before = {unit: machine.show(unit, "MainPID") for unit in daemons()}
    machine.run("sh", "-c", "printf '\\n[log]\\nlevel = debug\\n' >>/etc/onboard/onboard.conf")
    machine.run("systemctl", "reload", "onboard-*@*.service")
    wait_until(lambda: "configuration reloaded" in machine.journal("-u", "onboard-eventlog@1"), 10, "reloaded")
    assert before == {unit: machine.show(unit, "MainPID") for unit in daemons()}
    answer = signup(Client(PORT)).is_(201).json
    stored([answer["event_id"]], [answer["id"]])
    found = wait_until(lambda: machine.journal("-u", "onboard-eventlog@*", f"EVENT_ID={answer['event_id']}", "-o", "json"),
                       10, "the journal knows the event")
    entry = json.loads(found.splitlines()[-1])
    assert entry["CONSUMER"] == "eventlog" and entry["USER_ID"] == str(answer["id"]), entry
    assert re.fullmatch(r"[0-9a-f]{32}", entry["TRACE_ID"]), entry
    assert entry["SYSLOG_IDENTIFIER"] == "onboard-eventlog" and entry["MESSAGE"] == "done", entry
    everywhere = machine.journal(f"EVENT_ID={answer['event_id']}", "-o", "cat", "--output-fields=CONSUMER")
    assert {"eventlog", "cache"} <= set(everywhere.split()), everywhere


def restarted(unit, pid, seconds):
    machine = world["machine"]
    wait_until(lambda: machine.show(unit, "MainPID") not in (pid, "0"), seconds, f"{unit} has a new process")
    wait_active(unit)


def test_a_killed_daemon_comes_back():
    machine = world["machine"]
    for unit in daemons():
        pid = machine.show(unit, "MainPID")
        machine.run("sh", "-c", f"kill -KILL {pid}")
        restarted(unit, pid, 15)
    answer = signup(Client(PORT)).is_(201).json
    stored([answer["event_id"]], [answer["id"]])


def test_a_frozen_daemon_is_restarted_by_the_watchdog():
    machine, unit = world["machine"], "onboard-eventlog@1.service"
    pid = machine.show(unit, "MainPID")
    machine.run("sh", "-c", f"kill -STOP {pid}")
    restarted(unit, pid, 40)
    assert "Watchdog timeout" in machine.journal("-u", unit)


def test_an_upgrade_under_load_loses_nothing():
    machine = world["machine"]
    before = {unit: machine.show(unit, "MainPID") for unit in daemons()}
    with Load() as load:
        wait_until(lambda: len(load.created) > 50, 20, "it runs")
        machine.run("dpkg", "-i", f"/mnt/onboard_{SECOND}.deb")
        count = len(load.created)
        wait_until(lambda: len(load.created) > count + 50, 20, "it runs on")
    print(f"# {len(load.created)} created, others: {load.others[:5]}")
    for unit in daemons():
        assert machine.show(unit, "MainPID") != before[unit], f"{unit} is still the old one"
        assert "not drained in time" not in machine.journal("-u", unit)
    assert not load.others, f"{len(load.others)} were refused: {load.others[:5]}"
    stored([c["event_id"] for c in load.created], [c["id"] for c in load.created])
    assert FIRST not in machine.run("dpkg-query", "-W", "onboard").stdout


def test_stopping_the_target_drains_and_leaves_no_process():
    machine, units = world["machine"], daemons()
    with Load() as load:
        wait_until(lambda: len(load.created) > 30, 20, "it runs")
        pids = {unit: machine.show(unit, "MainPID") for unit in units}
        machine.run("systemctl", "stop", "onboard.target")
    for unit in units:
        state = machine.show(unit, "ActiveState", "Result", "MainPID")
        assert state == {"ActiveState": "inactive", "Result": "success", "MainPID": "0"}, (unit, state)
        # by the process, since what it said last may come to the journal when its unit can't be told any more
        wait_until(lambda: "drained" in machine.journal(f"_PID={pids[unit]}"), 10, f"{unit} says that it drained")
    assert not processes()
    machine.run("systemctl", "start", "onboard.target")
    wait_active(*units)
    stored([c["event_id"] for c in load.created], [c["id"] for c in load.created])


def test_a_downgrade_below_the_schema_is_refused_with_the_reason():
    machine = world["machine"]
    machine.run("systemctl", "stop", "onboard.target")
    machine.run("dpkg", "-i", f"/mnt/onboard_{THIRD}.deb")
    machine.run("onboardctl", "db", "migrate", "up")
    done = machine.run("dpkg", "-i", f"/mnt/onboard_{SECOND}.deb", check=False)
    assert done.returncode != 0 and "refused: the database has migration" in done.stdout, done.stdout
    assert THIRD in machine.run("dpkg-query", "-W", "onboard").stdout
    # its programs are the old ones, so this is what a daemon says that was put there by force
    machine.run("systemctl", "start", "--no-block", "onboard-cache@1", "onboard-api@1")
    for unit in ("onboard-cache@1", "onboard-api@1"):
        wait_until(lambda: machine.show(unit, "ActiveState", "ExecMainStatus") ==
                   {"ActiveState": "failed", "ExecMainStatus": "78"}, 20, f"{unit} refuses")
        assert "a newer version made it" in machine.journal("-u", unit), unit
    machine.run("systemctl", "stop", "onboard.target", "onboard-api.socket")
    machine.run("onboardctl", "db", "migrate", "down", "1")
    machine.run("dpkg", "-i", f"/mnt/onboard_{SECOND}.deb")
    machine.run("systemctl", "start", "onboard.target")
    wait_active(*daemons())


def test_removing_stops_and_purging_leaves_nothing():
    machine = world["machine"]
    machine.run("dpkg", "-r", "onboard")
    assert not processes()
    machine.run("dpkg", "-P", "onboard")
    left = machine.run("find", "/", "-xdev", "-name", "*onboard*", "-not", "-path", "/proc/*", "-not", "-path",
                       "/var/cache/*", "-not", "-path", "/mnt/*", "-not", "-path", "/run/*", check=False).stdout.split()
    mine = [f for f in left if not f.startswith(("/etc/systemd/system/onboard-api.socket.d", "/sys", "/tmp", "/var/tmp"))]
    assert not mine, mine
