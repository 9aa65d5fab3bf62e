# SPDX-License-Identifier: MIT
"""The oldest RabbitMQ that is promised: Debian 12's own 3.10, on a node of the test's own. The broker
link's programs and the topology's test run on it as they do on the stack's; the alarm is a real one."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import pytest
from wait import wait_until
from ports import free_port
from rabbit import Management

pytestmark = pytest.mark.seconds(80)
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("ONBOARD_BUILD", "build/debug"))
# Not those of /usr/sbin: they change to the package's own user.
SERVER, CTL = "/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmqctl"


class Node:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="onboard-rabbitmq-310-")
        self.children = []
        self.env = None

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def child(self, name, *argv):
        with open(os.path.join(self.folder, name + ".log"), "wb") as log:
            self.children.append(subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                                                  stderr=log, start_new_session=True, cwd=self.folder))

    def start(self):
        amqp, management, dist, epmd = (free_port() for _ in range(4))
        config = self.write("rabbitmq.conf", f"""\
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
distribution.listener.interface = 127.0.0.1
disk_free_limit.absolute = 10MB
log.console = true
log.file = false
""")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("RABBITMQ_")} | {
            "HOME": self.folder, "RABBITMQ_NODENAME": "onboard310@localhost",
            "RABBITMQ_MNESIA_BASE": self.folder + "/node", "RABBITMQ_LOG_BASE": self.folder + "/log",
            "RABBITMQ_PID_FILE": self.folder + "/pid", "RABBITMQ_CONFIG_FILE": config,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_ADVANCED_CONFIG_FILE": self.folder + "/none",
            "RABBITMQ_GENERATED_CONFIG_DIR": self.folder + "/generated",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.write("enabled_plugins", "[rabbitmq_management].\n"),
            "RABBITMQ_DIST_PORT": str(dist), "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        # the node would start one that outlives it
        self.child("epmd", "epmd")
        wait_until(lambda: self.listens(epmd), 10, "epmd listens")
        self.child("server", SERVER)
        self.url = f"amqp://guest:guest@127.0.0.1:{amqp}/%2f"
        self.management_url = f"http://guest:guest@127.0.0.1:{management}"
        self.alarm = self.write("alarm", f"""\
#!/bin/sh
case $1 in on) mark=0.0000001 ;; *) mark=0.4 ;; esac
exec {CTL} -q set_vm_memory_high_watermark $mark
""", 0o700)
        wait_until(lambda: self.ended() or self.ready(), 90, "RabbitMQ is ready")
        assert not self.ended(), open(self.folder + "/server.log", errors="replace").read()[-2000:]

    @staticmethod
    def listens(port):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    def ended(self):
        return any(c.poll() is not None for c in self.children)

    def ready(self):
        try:
            return Management(self.management_url).get("overview")
        except OSError:
            return None

    def stop(self):
        """Its own children and what they started in their sessions; nobody else."""
        for c in reversed(self.children):
            for with_what, seconds in ((signal.SIGTERM, 30), (signal.SIGKILL, 5)):
                if c.poll() is not None:
                    break
                os.killpg(c.pid, with_what)
                try:
                    c.wait(seconds)
                except subprocess.TimeoutExpired:
                    pass
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *argv):
        done = subprocess.run(argv, text=True, timeout=200, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.env | {
                                  "ONBOARD_TEST_SERVERS": "given", "ONBOARD_RABBITMQ_URL": self.url,
                                  "ONBOARD_RABBITMQ_ALARM": self.alarm,
                                  "ONBOARD_RABBITMQ_MANAGEMENT_URL": self.management_url})
        assert done.returncode == 0, done.stdout

    def run_program(self, name):
        self.run(f"{BUILD}/tests/prog/{name}")

    def run_tests(self, file, words=None):
        """A test file on this node and, for the rest, on this worker's servers."""
        self.run(sys.executable, "-m", "pytest", "-c", f"{ROOT}/tests/pytest.ini",
                 f"{ROOT}/tests/integration/{file}", *(["-k", words] if words else []))


NODE = Node()


@pytest.fixture(scope="module", autouse=True)
def stopped(servers):
    yield
    NODE.stop()


def installed():
    found = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "rabbitmq-server"],
                           text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return found.startswith("installed 3.10")


def node():
    if not NODE.children:
        if not installed():
            pytest.skip("Debian 12's rabbitmq-server 3.10 is not installed (tools/setup test)")
        NODE.start()
    return NODE


def test_it_is_the_oldest_one():
    version = Management(node().management_url).get("overview")["rabbitmq_version"]
    assert version.startswith("3.10."), version


def test_link_broker():
    node().run_program("link_broker")


def test_link_broker_bytes():
    node().run_program("link_broker_bytes")


def test_link_broker_life_with_a_real_alarm():
    node().run_program("link_broker_life")


def test_topology():
    node().run_tests("test_topology.py")


def test_pause():
    node().run_tests("test_ops.py", "under_load or reading_why")


def test_mend():
    node().run_tests("test_mend.py", "killed or retry_queue")
