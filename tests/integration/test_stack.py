# SPDX-License-Identifier: MIT
"""The local stack (tools/stack), as a person uses it. Every stack lies in a temporary folder and is gone
at the end. The first test starts the stacks that the others use."""
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from daemon import BUILD
from wait import wait_until

pytestmark = pytest.mark.seconds(105)
ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools/stack"
BASE = Path(tempfile.mkdtemp(prefix="onboard-stack-test."))
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith("ONBOARD_")}
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
SERVERS = {"postgres", "docstore", "mongo", "rabbitmq", "redis", "mail"}


def check(truth, *why):
    if not truth:
        raise AssertionError(" ".join(str(word) for word in why) or "not so")


class Stack:
    def __init__(self, name, tool=TOOL):
        self.dir, self.tool = BASE / name, tool

    def start(self, *words, env=None):
        return subprocess.Popen([sys.executable, self.tool, "--run", self.dir, *words],
                                env={**CLEAN, **(env or {})}, stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def do(self, *words, env=None, code=0, seconds=120):
        child = self.start(*words, env=env)
        try:
            out = child.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            child.kill()
            raise AssertionError(f"{' '.join(words)}: not done in {seconds} s") from None
        check(child.returncode == code, f"{' '.join(words)}: exit {child.returncode}, not {code}:\n{out}")
        return out

    def env(self):
        """What a shell has after sourcing the file."""
        out = subprocess.run(["sh", "-c", '. "$0" && env -0', self.dir / "env"], env=CLEAN, check=True,
                             stdout=subprocess.PIPE).stdout.decode()
        pairs = (one.partition("=") for one in out.split("\0"))
        return {name: value for name, _, value in pairs if name.startswith("ONBOARD_")}

    def status(self):
        out = subprocess.run([sys.executable, self.tool, "--run", self.dir, "status", "--json"],
                             env=CLEAN, stdout=subprocess.PIPE, check=False).stdout
        return json.loads(out)

    def rows(self):
        return {row["name"]: row for row in self.status()["servers"]}

    def supervisor(self):
        return int((self.dir / "pid").read_text())

    def processes(self):
        """Every process that belongs to the run folder: by its command line or its mounts."""
        mark, found = os.fsencode(self.dir), []
        own = os.readlink("/proc/self/ns/mnt")
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
                inside = os.readlink(f"/proc/{entry}/ns/mnt") != own and \
                    mark in Path(f"/proc/{entry}/mountinfo").read_bytes()
                if mark in line or inside:
                    found.append((int(entry), line.replace(b"\0", b" ").decode()[:60]))
        return found

    def check_nothing_left(self, seconds=15):
        wait_until(lambda: not self.processes(), seconds, f"processes left: {self.processes()[:4]}")
        check(str(self.dir) not in Path("/proc/self/mountinfo").read_text(), "mounts left")


A, B = Stack("a"), Stack("b")


@pytest.fixture(scope="module", autouse=True)
def tidy():
    yield
    for folder in BASE.glob("*"):
        stack = Stack(folder.name)
        if (folder / "lock").exists():
            subprocess.run([sys.executable, TOOL, "--run", folder, "reset"], check=False, env=CLEAN,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for pid, _ in stack.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(BASE, ignore_errors=True)


def psql(stack, sql):
    done = subprocess.run(["psql", "-XqtA", stack.env()["ONBOARD_POSTGRES_URL"], "-c", sql], text=True,
                          env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    check(done.returncode == 0, done.stdout)
    return done.stdout.strip()


def redis_cli(stack, *words, seconds=10):
    done = subprocess.run(["redis-cli", "-u", stack.env()["ONBOARD_REDIS_URL"], "--no-auth-warning", *words],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                          env=CLEAN, check=False)
    return done.stdout.strip()


@contextlib.contextmanager
def channel(stack):
    import pika
    connection = pika.BlockingConnection(pika.URLParameters(stack.env()["ONBOARD_RABBITMQ_URL"]))
    try:
        yield connection.channel()
    finally:
        connection.close()


@contextlib.contextmanager
def mongo(stack):
    import pymongo
    client = pymongo.MongoClient(stack.env()["ONBOARD_MONGO_URL"], serverSelectionTimeoutMS=10000)
    try:
        yield client.get_default_database()
    finally:
        client.close()


def kept_message():
    with channel(A) as one:
        return one.queue_declare("kept", passive=True).method.message_count == 1


# --- the tests, in order: the first brings up what the next ones use

def test_two_stacks_start_at_once_on_ports_of_their_own():
    began = time.monotonic()
    first, second = A.start("up"), B.start("up")
    for child in (first, second):
        out = child.communicate(timeout=1500)[0]
        check(child.returncode == 0, out)
    print(f"two cold stacks: {time.monotonic() - began:.1f} s")
    ports = [{row["port"] for row in stack.rows().values()} for stack in (A, B)]
    check(len(ports[0]) == len(SERVERS) and not ports[0] & ports[1], ports)
    B.do("down")
    B.check_nothing_left()


def test_env_file_is_private_and_complete():
    env = A.env()
    for name in """POSTGRES_URL RABBITMQ_URL MONGO_URL REDIS_URL SMTP_URL GATEWAY_URL API_URL ORDERS_URL
                   PAYMENTS_URL API_LISTEN GATEWAY_LISTEN ORDERS_LISTEN PAYMENTS_LISTEN MAIL_DIR
                   RABBITMQ_MANAGEMENT_URL ADMIN_BASE STACK_DIR""".split():
        check(env.get(f"ONBOARD_{name}"), f"ONBOARD_{name} is missing")
    for name in ("env", "secrets"):
        check((A.dir / name).stat().st_mode & 0o777 == 0o600, name)
    check(A.do("env") == (A.dir / "env").read_text(), "env shows the file")


def test_psql_connects_by_the_env_file():
    psql(A, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
    check(psql(A, "SELECT current_user, current_database()") == "onboard|onboard")
    check(psql(A, "SHOW fsync") == "on" and psql(A, "SHOW synchronous_commit") == "on")
    check(psql(A, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'onboard'") == "onboard")


def test_redis_cli_connects_by_the_env_file():
    check(redis_cli(A, "SET", "kept", "1") == "OK")
    check(redis_cli(A, "CONFIG", "GET", "appendfsync").split() == ["appendfsync", "everysec"])
    port = A.rows()["redis"]["port"]
    out = subprocess.run(["redis-cli", "-p", str(port), "GET", "kept"], text=True, check=False,
                         stdout=subprocess.PIPE).stdout
    check("NOAUTH" in out, "Redis answers without its password")


def test_pika_connects_by_the_env_file():
    import pika
    with channel(A) as one:
        one.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
        one.confirm_delivery()
        one.basic_publish("", "kept", b"1", pika.BasicProperties(delivery_mode=2), mandatory=True)


def test_pymongo_connects_by_the_env_file():
    with mongo(A) as database:
        database.kept.insert_one({"_id": 1})
        check(database.kept.find_one({"_id": 1}) == {"_id": 1})


def test_psycopg2_and_redis_py_connect_by_the_env_file():
    import psycopg2
    import redis
    with contextlib.closing(psycopg2.connect(A.env()["ONBOARD_POSTGRES_URL"])) as connection:
        check(connection.server_version >= 180000)
    check(redis.Redis.from_url(A.env()["ONBOARD_REDIS_URL"]).get("kept") == b"1")


def test_mail_lands_in_the_mail_folder():
    port = A.rows()["mail"]["port"]
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("from@example.com", ["jānis@example.lv"], "Subject: hello\r\n\r\nbody ā\r\n".encode(),
                        mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    name, = glob.glob(A.env()["ONBOARD_MAIL_DIR"] + "/*.eml")
    text = Path(name).read_text()
    check("body ā" in text and "jānis@example.lv" in text, text)


def test_everything_listens_on_loopback_only():
    block = range(json.loads((A.dir / "ports").read_text())["base"], 40000)[:64]
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            address, _, port = line.split()[1].rpartition(":")
            if line.split()[3] == "0A" and int(port, 16) in block:
                check(address in LOOPBACK, address, int(port, 16))


def test_a_second_up_is_harmless():
    before = A.rows()
    check("was up already" in A.do("up"))
    check({n: r["pid"] for n, r in before.items()} == {n: r["pid"] for n, r in A.rows().items()})


def test_status_tells_what_runs():
    rows = A.rows()
    check(set(rows) == SERVERS, rows)
    for row in rows.values():
        check(row["state"] == "ready" and row["pid"] and row["port"] and row["version"]
              and row["memory_kib"] > 0 and row["since"] and row["restarts"] == 0, row)
    check(all(name in A.do("status") for name in SERVERS))
    check("database system is ready" in A.do("logs", "postgres"))
    A.do("logs", "nobody", code=2)
    A.do("ctl", "stop", "nobody", code=2)
    A.do("wrong", code=2)


def test_ctl_stop_stays_down_until_start():
    A.do("ctl", "stop", "postgres")
    row = A.rows()["postgres"]
    check(row["state"] == "stopped" and row["pid"] is None, row)
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", row["port"]), 2)
        raise AssertionError("the port still answers")
    A.do("status", code=1)
    with mongo(A) as database:  # its own cluster: not touched
        check(database.kept.find_one())
    A.do("ctl", "start", "postgres")
    check(psql(A, "SELECT n FROM kept") == "1")


def test_ctl_kill_is_sudden_and_start_recovers():
    A.do("ctl", "kill", "rabbitmq")
    check(A.rows()["rabbitmq"]["state"] == "stopped")
    A.do("ctl", "start", "rabbitmq")
    wait_until(kept_message, 10, "the message is not back")
    pid = A.rows()["redis"]["pid"]
    A.do("ctl", "restart", "redis")
    check(A.rows()["redis"]["pid"] != pid and redis_cli(A, "GET", "kept") == "1")


def test_ctl_freeze_stalls_and_thaw_resumes():
    url = "redis"
    A.do("ctl", "freeze", url)
    check(A.rows()[url]["state"] == "frozen")
    try:
        redis_cli(A, "PING", seconds=1)
        raise AssertionError("a frozen server answered")
    except subprocess.TimeoutExpired:
        pass
    A.do("ctl", "thaw", url)
    check(redis_cli(A, "PING") == "PONG")
    A.do("ctl", "freeze", "rabbitmq")
    A.do("ctl", "stop", "rabbitmq")  # a frozen one can be stopped, and hears it
    check("rabbitmq did not stop within" not in A.do("logs", "supervisor"), "it had to be killed")
    A.do("ctl", "start", "rabbitmq")


def test_a_server_that_dies_unasked_is_restarted_and_counted():
    for name in ("redis", "docstore"):
        row = A.rows()[name]
        os.kill(row["pid"], signal.SIGKILL)
        wait_until(lambda: A.rows()[name]["restarts"] == 1 and A.rows()[name]["state"] == "ready", 15,
                   f"{name} is not up again")
        check(A.rows()[name]["pid"] != row["pid"])
    check("redis died unasked" in A.do("logs", "supervisor"))
    check(redis_cli(A, "GET", "kept") == "1")

    def found():
        with contextlib.suppress(Exception), mongo(A) as database:
            return database.kept.find_one()
    wait_until(found, 15, "MongoDB did not come back after its store")


def test_killed_supervisor_leaves_no_process_and_up_works_again():
    ports = (A.dir / "ports").read_text()
    os.kill(A.supervisor(), signal.SIGKILL)
    A.check_nothing_left()
    A.do("status", code=3)
    check((A.dir / "data/postgres/cluster/postmaster.pid").exists(), "nothing stale: tests nothing")
    (A.dir / "pid").write_text("1\n")  # after a reboot the number is somebody else's
    A.do("up")
    check((A.dir / "ports").read_text() == ports, "the ports are not the same")
    check(psql(A, "SELECT n FROM kept") == "1" and redis_cli(A, "GET", "kept") == "1")
    wait_until(kept_message, 10, "the message is not back")
    with mongo(A) as database:
        check(database.kept.find_one({"_id": 1}))


def test_down_leaves_nothing_and_keeps_the_data():
    began = time.monotonic()
    A.do("down")
    A.check_nothing_left(1)
    print(f"down: {time.monotonic() - began:.1f} s")
    A.do("status", code=3)
    check("was not running" in A.do("down"))
    # As a power cut leaves it: the pid of a server that is long gone, alive here as something else.
    for name in ("postgres", "docstore"):
        (A.dir / f"data/{name}/cluster/postmaster.pid").write_text("1\n/run/data/cluster\n1\n1\n")
    began = time.monotonic()
    A.do("up")
    print(f"cached up: {time.monotonic() - began:.1f} s")
    check(psql(A, "SELECT n FROM kept") == "1")


def test_external_servers_are_not_started():
    theirs = A.env()
    env = {"ONBOARD_EXTERNAL": "postgres, rabbitmq,mongo,redis",
           **{name: theirs[name] for name in theirs if name.endswith("_URL")}}
    out = B.do("up", env=env)
    check("redis answers, elsewhere" in out, out)
    rows = B.rows()
    check({name for name, row in rows.items() if row["state"] == "external"} ==
          {"postgres", "rabbitmq", "mongo", "redis"} and rows["mail"]["state"] == "ready", rows)
    check(B.env()["ONBOARD_REDIS_URL"] == theirs["ONBOARD_REDIS_URL"])
    B.do("down")
    for variable, url in (("ONBOARD_REDIS_URL", "redis://127.0.0.1:1/0"),
                          ("ONBOARD_POSTGRES_URL", "postgresql://x:wrong@127.0.0.1:1/x"),
                          ("ONBOARD_RABBITMQ_URL", re.sub(":[^:]*@", ":wrong@", theirs["ONBOARD_RABBITMQ_URL"]))):
        out = B.do("up", env={**env, variable: url}, code=69)
        check("does not answer" in out and variable in out and "wrong@" not in out, out)
    B.check_nothing_left()


def test_bad_settings_are_named():
    for env, words in (({"ONBOARD_EXTERNAL": "oracle"}, "oracle"),
                       ({"ONBOARD_EXTERNAL": "redis"}, "ONBOARD_REDIS_URL"),
                       ({"ONBOARD_STACK_PORT_REDIS": "many"}, "ONBOARD_STACK_PORT_REDIS=many"),
                       ({"ONBOARD_STACK_PORT_REDIS": "70000"}, "ONBOARD_STACK_PORT_REDIS=70000")):
        out = B.do("up", env=env, code=78)
        check(words in out and len(out.splitlines()) == 1, out)
    B.check_nothing_left()


def test_missing_host_tools_are_named():
    out = B.do("up", env={"PATH": "/nonexistent"}, code=69)
    check("bubblewrap mmdebstrap" in out and "tools/setup stack" in out, out)


def test_a_taken_port_names_port_server_and_holder():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        out = B.do("up", env={"ONBOARD_STACK_PORT_REDIS": str(port)}, code=69)
        check(f"port {port} for redis is taken (held by" in out and f"pid {os.getpid()})" in out, out)
        check(len(out.splitlines()) == 1, out)
    B.check_nothing_left()


def test_a_block_taken_meanwhile_gives_way_to_another():
    base = json.loads((B.dir / "ports").read_text())["base"]
    with socket.create_server(("127.0.0.1", base + 8)):
        out = B.do("up")
        check(f"port {base + 8} of this stack's block was taken" in out, out)
    check(json.loads((B.dir / "ports").read_text())["base"] != base)
    check(redis_cli(B, "SET", "kept", "1") == "OK" and psql(B, "SELECT 1") == "1")
    with mongo(B) as database:
        database.kept.insert_one({"_id": 1})
    B.do("down")


def test_a_given_port_is_used():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    B.do("up", env={"ONBOARD_STACK_PORT_REDIS": str(port)})
    check(B.rows()["redis"]["port"] == port and f":{port}/" in B.env()["ONBOARD_REDIS_URL"])
    check(redis_cli(B, "GET", "kept") == "1")
    B.do("down")


def test_killed_starter_leaves_nothing():
    child = B.start("up")
    for line in child.stdout:
        if "ready on" in line:
            break
    child.kill()
    child.communicate()
    B.check_nothing_left(20)
    wait_until(lambda: not (B.dir / "ctl.sock").exists(), 5, "socket left")


def test_a_first_start_cut_short_begins_again():
    one = Stack("short")
    child = one.start("up")
    wait_until(lambda: (one.dir / "data/rabbitmq/node").exists(), 30, "RabbitMQ did not begin")
    os.kill(one.supervisor(), signal.SIGKILL)
    child.communicate(timeout=30)
    check(child.returncode == 1, child.returncode)
    one.check_nothing_left()
    one.do("up")
    one.do("reset")


def test_ctrl_c_leaves_nothing():
    child = B.start("up")
    for line in child.stdout:
        if "ready on" in line:
            break
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    check(child.returncode == 130, child.returncode)
    B.check_nothing_left(1)


def test_a_damaged_redis_names_server_and_log_line():
    base = next((B.dir / "data/redis/appendonlydir").glob("*.incr.aof"))
    good = base.read_bytes()
    base.write_bytes(b"*3\r\n$garbage\r\n" * 40)
    out = B.do("up", code=69)
    first = out[out.index("stack: redis did not start"):].splitlines()[0]
    check("Bad file format" in first and "Fix:" in first, out)
    check("  | " in out, out)
    B.check_nothing_left(1)
    base.write_bytes(good)


def test_a_damaged_postgres_names_server_and_log_line():
    control = B.dir / "data/postgres/cluster/global/pg_control"
    good = control.read_bytes()
    control.write_bytes(b"\0" * 512)
    out = B.do("up", code=69)
    first = out[out.index("stack: postgres did not start"):].splitlines()[0]
    check("FATAL" in first or "PANIC" in first, out)
    check("reset" in first, out)
    B.check_nothing_left(1)
    control.write_bytes(good)
    B.do("up")
    check(redis_cli(B, "GET", "kept") == "1")
    B.do("down")


def test_a_full_disk_is_named():
    if os.getuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    full = Stack("full")
    full.dir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", full.dir], check=True)
    try:
        filler = full.dir / "filler"

        def fill(megabytes):
            with contextlib.suppress(OSError), open(filler, "wb") as out:
                for _ in range(megabytes):
                    out.write(b"\0" * (1 << 20))
        fill(600)
        out = full.do("up", code=69)
        check(f"the disk that holds {full.dir} is full" in out and len(out.splitlines()) == 1, out)
        filler.unlink()
        full.do("up")
        full.do("down")
        fill(1000)
        out = full.do("up", code=69)
        said = [line for line in out.splitlines() if "is full" in line]
        check(said and str(full.dir) in said[0], out)
        wait_until(lambda: not full.processes(), 15, "processes left")
    finally:
        full.do("down")
        subprocess.run(["umount", full.dir], check=True)


def test_reset_removes_all_and_the_next_up_is_new():
    B.do("reset")
    check(not B.dir.exists(), list(B.dir.glob("*")) if B.dir.exists() else "")
    B.check_nothing_left(1)


def test_a_run_folder_with_a_long_name_works():
    deep = Stack("x" * 120)
    env = {"ONBOARD_EXTERNAL": "postgres,rabbitmq,mongo,redis", **A.env()}
    deep.do("up", env=env)
    deep.do("status")
    deep.do("reset")
    deep.check_nothing_left(1)


FAKE = """#!/usr/bin/python3
import http.server, os, signal, sys
if "--version" in sys.argv: print("onboard-eventlog 0.0.test"); sys.exit()
def ended(*_):
    open(sys.argv[0] + ".ended", "a").close()
    os._exit(0)
signal.signal(signal.SIGTERM, ended)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        metrics = self.path == "/metrics"
        self.send_response(200); self.end_headers()
        self.wfile.write(b'onboard_build_info{daemon="onboard-eventlog"} 1\\n' if metrics else b'{"status": "degraded"}')
    def log_message(self, *words): pass
host, port = os.environ["ONBOARD_ADMIN_LISTEN"].split(":")
assert os.environ["ONBOARD_REDIS_URL"]
http.server.HTTPServer((host, int(port)), Answer).serve_forever()
"""


BROKEN = "#!/bin/sh\necho no good >&2\nexit 3\n"


def top_finds_it(stack, port):
    """`onboardctl top` in a shell that has sourced the environment."""
    out = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), "top", "--once", "--json"], env=CLEAN | stack.env(),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False).stdout
    check([(d["daemon"], d["port"]) for d in json.loads(out)["daemons"]] == [("onboard-eventlog", port)], out)


def up_restarts_what_was_built_anew(stack, env, program):
    before = stack.rows()["onboard-eventlog"]
    out = stack.do("up", "--daemons", env=env)
    check("the daemons are up already" in out and "built anew" not in out, out)
    check(stack.rows()["onboard-eventlog"]["pid"] == before["pid"], "an up without a new program restarts nothing")
    program.write_text(FAKE.replace("0.0.test", "0.1.test"))
    out = stack.do("up", "--daemons", env=env)
    check("onboard-eventlog was built anew: restarting it" in out, out)
    now = stack.rows()["onboard-eventlog"]
    check((now["state"], now["version"]) == ("ready", "0.1.test") and now["pid"] != before["pid"], now)
    check(program.with_suffix(".ended").exists(), "the old one was not asked to end")
    program.write_text(BROKEN)
    out = stack.do("up", "--daemons", env=env, code=69)
    check("onboard-eventlog did not start" in out and "no good" in out, out)
    program.write_text(FAKE)
    stack.do("up", "--daemons", env=env)  # one that failed is tried again
    check(stack.rows()["onboard-eventlog"]["state"] == "ready", stack.rows())


def test_daemons_run_beside_the_servers():
    copy = BASE / "copy"
    shutil.copytree(ROOT / "tools", copy / "tools")
    (copy / "src/common/model").mkdir(parents=True)
    shutil.copy(ROOT / "src/common/model/consumers.h", copy / "src/common/model")
    (copy / "build/release/bin").mkdir(parents=True)
    for name, text in (("onboard-eventlog", FAKE),
                       ("onboardctl", f'#!/bin/sh\necho "$ONBOARD_REDIS_URL $@" >> {BASE}/migrated\n')):
        path = copy / "build/release/bin" / name
        path.write_text(text)
        path.chmod(0o755)
    one = Stack("daemons", copy / "tools/stack")
    env = {"ONBOARD_EXTERNAL": "postgres,rabbitmq,mongo,redis", **A.env()}
    one.do("up", env=env)
    one.do("up", "--daemons", env=env)  # joins what runs
    row = one.rows()["onboard-eventlog"]
    check(row["state"] == "ready" and row["health"] == "degraded" and row["version"] == "0.0.test", row)
    check(row["port"] == int(one.env()["ONBOARD_ADMIN_BASE"]) + 4, row)
    check("db migrate up" in (BASE / "migrated").read_text())
    top_finds_it(one, row["port"])
    program = copy / "build/release/bin/onboard-eventlog"
    up_restarts_what_was_built_anew(one, env, program)
    row = one.rows()["onboard-eventlog"]
    os.kill(row["pid"], signal.SIGKILL)
    wait_until(lambda: one.rows()["onboard-eventlog"]["restarts"] == row["restarts"] + 1 and
               one.rows()["onboard-eventlog"]["state"] == "ready", 15, "the daemon is not up again")
    pid = one.rows()["onboard-eventlog"]["pid"]
    os.kill(one.supervisor(), signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5, "the daemon outlived its supervisor")
    child = one.start("run", env=env)
    for line in child.stdout:
        if "eventlog degraded" in line:
            break
    threading.Thread(target=child.stdout.read, daemon=True).start()
    child.send_signal(signal.SIGINT)
    check(child.wait(30) == 0, child.returncode)
    one.check_nothing_left(1)
    program.write_text(BROKEN)
    out = one.do("up", "--daemons", env=env, code=69)
    check("onboard-eventlog did not start" in out and "no good" in out, out)
    one.check_nothing_left(1)
