# SPDX-License-Identifier: MIT
"""What every daemon does around its own work, seen on a tiny one: command line, signals, systemd's
protocol, draining, reloading, the admin listener."""
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import pytest
from daemon import BUILD, Daemon, free_port
from wait import wait_until

PROBE = "tests/prog/probe"
QUEUE = f"probe.daemon.{os.getpid()}"


@pytest.fixture(scope="module", autouse=True)
def here(management):
    yield
    management.delete("queues", "/", QUEUE)


def probe(*args, **env):
    return Daemon(PROBE, *args, env={"PROBE_QUEUE": QUEUE, **env})


def run(*args, **env):
    return subprocess.run([os.path.join(BUILD, PROBE), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False, env=os.environ | {"PROBE_QUEUE": QUEUE} | env)


def test_help_version_and_configuration():
    said = run("--help")
    assert said.returncode == 0 and "--config" in said.stdout and "Uses all four links" in said.stdout
    assert re.fullmatch(r"probe \d+\.\d+\.\d+\n", run("--version").stdout)
    assert run("--check-config").returncode == 0
    printed = run("--print-config").stdout
    assert "[postgres]" in printed
    for variable in ("ONBOARD_POSTGRES_URL", "ONBOARD_RABBITMQ_URL", "ONBOARD_REDIS_URL"):
        assert re.search(r":([^:@]+)@", os.environ[variable])[1] not in printed, "a password is shown"


def test_what_it_cannot_read():
    for words, code, says in [(["--no-such"], 2, "--no-such"), (["extra"], 2, "extra"), (["--instance", "0"], 2, "instance"),
                              (["--config", "/no/such"], 78, "/no/such"), (["--set", "log.level=loud"], 78, "loud"),
                              (["--set", "no.key=1"], 78, "no.key"), (["--set", "nonsense"], 2, "SECTION.KEY")]:
        said = run(*words)
        assert (said.returncode, says in said.stderr) == (code, True), (words, said.returncode, said.stderr)
        assert said.stderr.count("\n") <= 2, said.stderr
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write("[log]\nlevel = info\nshout = yes\n")
        f.flush()
        said = run("--config", f.name)
        assert said.returncode == 78 and f"{f.name}:3" in said.stderr, said.stderr


def test_sigterm_drains_and_ends_with_0():
    with probe(PROBE_DRAIN="300") as daemon:
        daemon.wait_ready()
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "STOPPING=1" in daemon.said, 5, "STOPPING=1")
        status, body = daemon.ask_json("/ready")
        assert (status, body["status"]) == (503, "draining")
        assert daemon.process.wait(30) == 0
        assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in daemon.said)
        assert '"message":"drained"' in daemon.log()


def test_a_second_signal_ends_at_once():
    with probe(PROBE_DRAIN="never") as daemon:
        daemon.wait_ready()
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "STOPPING=1" in daemon.said, 5, "STOPPING=1")
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.process.wait(30) == 1 and "not drained in time" not in daemon.log()


def test_what_is_not_drained_in_10_s_ends_with_1():
    with probe(PROBE_DRAIN="never") as daemon:
        daemon.wait_ready()
        began = time.monotonic()
        assert daemon.terminate() == 1
        assert time.monotonic() - began > 9 and "not drained in time" in daemon.log()


def test_sigterm_before_it_is_ready():
    with probe(ONBOARD_POSTGRES_URL=f"postgresql://x@127.0.0.1:{free_port()}/x") as daemon:
        wait_until(lambda: daemon.ask("/health")[0] == 200, 5, "/health")
        assert daemon.terminate() == 0 and "READY=1" not in daemon.said


def watchdogs(daemon):
    return daemon.said.count("WATCHDOG=1")


def feeds(daemon):
    was = watchdogs(daemon)
    wait_until(lambda: watchdogs(daemon) > was + 2, 5, "WATCHDOG=1")


def test_the_watchdog_is_fed_by_progress_alone():
    # the loop turns its heartbeat each 500 ms; the tenth never ends
    with probe(WATCHDOG_USEC="400000", ONBOARD_FAULTS="loop_turn=stall:60000@10") as daemon:
        daemon.wait_ready()
        feeds(daemon)
        wait_until(lambda: daemon.ask("/health", 2)[0] == 0, 10, "it stands still")
        was = watchdogs(daemon)
        assert daemon.ask("/health", 2)[0] == 0 and watchdogs(daemon) == was, "fed while the loop stood still"


def test_a_watchdog_for_another_process_is_not_ours():
    with probe(WATCHDOG_USEC="400000", WATCHDOG_PID="1") as daemon:
        daemon.wait_ready()
        assert watchdogs(daemon) == 0


def test_sighup_reloads_and_a_bad_file_changes_nothing():
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        def write(text):
            f.seek(0)
            f.truncate()
            f.write(text)
            f.flush()

        write("[log]\nlevel = info\n")
        with probe("--config", f.name) as daemon:
            daemon.wait_ready()
            write("[log]\nlevel = debug\n")
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "configuration reloaded" in daemon.log(), 5, "reloaded")
            wait_until(lambda: daemon.said.count("READY=1") == 2, 5, "READY=1 again")
            assert "RELOADING=1" in daemon.said and any(s.startswith("MONOTONIC_USEC=") for s in daemon.said)
            write("[log]\nlevel = loud\n")
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "is refused, the old one stays" in daemon.log(), 5, "refused")
            assert f"{f.name}:2" in daemon.log() and daemon.ask("/ready")[0] == 200


def test_without_a_port_of_its_own_no_instance_listens():
    """Ports are 10 apart, so instance 2 of a daemon without a port took port 10."""
    for instance in ("1", "2"):
        with probe("--instance", instance, PROBE_NO_PORT="1", ONBOARD_ADMIN_LISTEN="") as daemon:
            daemon.wait_ready()
            assert '"message":"no admin listener: admin.listen is not set"' in daemon.log(), daemon.log()
            assert "admin listener\"" not in daemon.log() and daemon.terminate(5) == 0


def test_a_service_without_database_waits_for_no_server():
    port = free_port()
    nowhere = {f"ONBOARD_{name}_URL": f"{scheme}://x@127.0.0.1:1/x" for name, scheme in
               (("POSTGRES", "postgresql"), ("RABBITMQ", "amqp"), ("MONGO", "mongodb"))}
    words = {"ONBOARD_API_LISTEN": f"127.0.0.1:{port}", "ONBOARD_TOPOLOGY_FILE": "/no/such/file", **nowhere}
    with Daemon("tests/prog/bare_service", env=words) as daemon:
        daemon.wait_ready()
        for n in (1, 2):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/count", timeout=5) as answer:
                assert json.loads(answer.read()) == {"asked": n}
        status, body = daemon.ask_json("/ready")
        assert (status, body["status"], body["dependencies"]) == (200, "ready", {})
        assert daemon.terminate(5) == 0 and '"message":"drained"' in daemon.log()
    # whoever declares the topology cannot do without its file
    with Daemon("bin/onboard-api", env=words) as daemon:
        assert daemon.process.wait(10) == 78 and "/no/such/file" in daemon.log()


def test_a_listener_keeps_its_own_address():
    """The log names it when accepting fails, also after a reload: freed memory is overwritten here."""
    with probe(MALLOC_PERTURB_="165") as daemon:
        daemon.wait_ready()
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded" in daemon.log(), 5, "reloaded")
        soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, hard))
        with socket.create_connection(("127.0.0.1", daemon.admin), 5):
            wait_until(lambda: "cannot accept connections" in daemon.log(), 5, "no descriptor is left")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert f'"listen":"127.0.0.1:{daemon.admin}"' in daemon.log(), daemon.log()[-500:]
        daemon.wait_status("/health", 200, 5)
        assert daemon.terminate() == 0


def test_a_taken_port_is_named_with_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        said = run(ONBOARD_ADMIN_LISTEN=f"127.0.0.1:{port}")
    assert said.returncode == 1 and f"127.0.0.1:{port} is taken" in said.stderr and "admin.listen" in said.stderr, said


def test_instances_have_their_own_ports():
    base = {k: v for k, v in os.environ.items() if k != "ONBOARD_ADMIN_LISTEN"}
    with socket.create_server(("127.0.0.1", 9199 + 20)):
        said = subprocess.run([os.path.join(BUILD, PROBE), "--instance", "3"], env=base | {"PROBE_QUEUE": QUEUE},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 1 and "127.0.0.1:9219 is taken" in said.stderr, said.stderr


def test_a_socket_that_systemd_holds_is_used():
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        code = ("import os,sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
                "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='admin'); "
                "os.execv(sys.argv[2], sys.argv[2:])")
        child = subprocess.Popen([sys.executable, "-c", code, str(s.fileno()), os.path.join(BUILD, PROBE)],
                                 pass_fds=[s.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 env=os.environ | {"PROBE_QUEUE": QUEUE, "ONBOARD_ADMIN_LISTEN": "127.0.0.1:1"})
        try:
            # the socket is there before the daemon is: no connection is refused
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as answer:
                assert answer.status == 200
        finally:
            child.terminate()
            assert child.wait(30) == 0


def raw(port, text):
    """What a server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", port), 30) as s:
        s.sendall(text)
        s.shutdown(socket.SHUT_WR)
        answer = b""
        while data := s.recv(65536):
            answer += data
    return answer


def test_http_what_a_careless_or_hostile_client_sends():
    with probe() as daemon:
        daemon.wait_ready()
        head = b"GET /health HTTP/1.1\r\nHost: x\r\n"
        cases = [(head + b"\r\n", 200), (b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n", 200),
                 (b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
                 (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404), (b"GET /health/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
                 (head + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
                 (head + b"Transfer-Encoding: identity\r\n\r\n", 400),
                 (head + b"Content-Length: 0\r\nContent-Length: 1\r\n\r\nx", 400),
                 (head + b"X-Odd: a\x01b\r\n\r\n", 400), (b"GET /health?x=%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
                 (b"GET /health?x=%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400), (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 404),
                 (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", None),
                 (b"NONSENSE\r\n\r\n", None), (b"\x00\xff" * 100 + b"\r\n\r\n", None)]
        for text, status in cases:
            answer = raw(daemon.admin, text)
            if status is None:  # evhttp's own, or just closed
                assert not answer or re.match(rb"HTTP/1\.[01] (400|413|414|431|501) ", answer), (text[:60], answer)
                continue
            assert answer.startswith(b"HTTP/1.1 %d " % status), (text[:60], answer)
            if status != 400 or b"text/html" not in answer:  # some 400s are evhttp's own
                assert b"\r\nX-Request-Id: " in answer, (text[:60], answer)
                assert status == 200 or b"application/problem+json" in answer, (text[:60], answer)
        assert b"Allow: GET, HEAD" in raw(daemon.admin, cases[2][0])
        assert daemon.ask("/health")[0] == 200


def test_http_request_ids_and_traces():
    with probe() as daemon:
        daemon.wait_ready()
        head = b"GET /health HTTP/1.1\r\nHost: x\r\n"
        assert b"X-Request-Id: mine-1.2_3\r\n" in raw(daemon.admin, head + b"X-Request-Id: mine-1.2_3\r\n\r\n")
        for bad in (b"a b", b"x" * 129, b"<script>", b""):
            answer = raw(daemon.admin, head + b"X-Request-Id: " + bad + b"\r\n\r\n")
            assert re.search(rb"X-Request-Id: [0-9a-f]{32}\r\n", answer), answer


def outer_address():
    """An own address that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            return s.getsockname()[0]
        except OSError as why:
            pytest.skip(f"no address but loopback: {why}")


def test_the_admin_listener_is_for_loopback_or_a_token():
    address, port = outer_address(), free_port()

    def ask(token=None):
        with socket.create_connection((address, port), 30) as s:
            line = f"Authorization: Bearer {token}\r\n" if token else ""
            s.sendall(f"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{line}\r\n".encode())
            return int(s.makefile("rb").readline().split()[1])

    with probe("--set", f"admin.listen={address}:{port}") as daemon:
        wait_until(lambda: "admin listener" in daemon.log(), 5, "listening")
        assert (ask(), ask("anything")) == (403, 403)
    with probe("--set", f"admin.listen={address}:{port}", ONBOARD_ADMIN_TOKEN="open-sesame") as daemon:
        wait_until(lambda: "admin listener" in daemon.log(), 5, "listening")
        assert (ask(), ask("open-sesamf"), ask("open-sesame")) == (401, 401, 200)
        assert "open-sesame" not in daemon.log()
