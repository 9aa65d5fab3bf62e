# SPDX-License-Identifier: MIT
"""rediss:// on a Redis with TLS of the test's own: all of the link's tests through it, and whose
certificate is believed. Where hiredis has TLS; tests/integration/test_debian_13.py runs it there."""
import json
import os
import shutil
import signal
import subprocess
import tempfile

import pytest
import redis
import tls
from daemon import BUILD, free_port
from wait import wait_until

CTL = os.path.join(BUILD, "bin/onboardctl")
started = []


@pytest.fixture(scope="module", autouse=True)
def here(servers):
    global FOLDER
    libraries = subprocess.run(["ldd", CTL], text=True, stdout=subprocess.PIPE, check=True).stdout
    if "hiredis_ssl" not in libraries:
        pytest.skip("this hiredis has no TLS")
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not here: apt-get install redis-server")
    with tempfile.TemporaryDirectory(prefix="onboard-tls-") as FOLDER:
        yield
        for one in started:
            one.send_signal(signal.SIGKILL)
            one.wait()


class Redis:
    """A server that shows this certificate."""

    def __init__(self, name, host, expired=False):
        self.pem, self.port = tls.certificate(FOLDER, name, host, expired), free_port()
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--tls-cert-file", self.pem, "--tls-key-file", self.pem[:-len("pem")] + "key", "--tls-ca-cert-file", self.pem,
             "--tls-auth-clients", "no", "--requirepass", "word", "--dir", FOLDER],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started.append(self.process)
        kv = redis.Redis("localhost", self.port, password="word", ssl=True, ssl_cert_reqs="none")
        wait_until(lambda: self.answers(kv), 20, "redis-server answers")

    @staticmethod
    def answers(kv):
        try:
            return kv.ping()
        except redis.ConnectionError:
            return False

    def env(self, authority, host="localhost"):
        return os.environ | {"ONBOARD_REDIS_URL": f"rediss://:word@{host}:{self.port}/0", "SSL_CERT_FILE": authority}

    def doctor(self, authority, **more):
        done = subprocess.run([CTL, "--json", "doctor"], env=self.env(authority, **more), text=True, timeout=60,
                              check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return next(f for f in found if f["subject"] == "redis")


def test_the_links_own_tests_over_tls():
    server = Redis("good", "localhost")
    done = subprocess.run([os.path.join(BUILD, "tests/prog/link_kv")], env=server.env(server.pem), text=True, check=False,
                          timeout=120, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-3000:]


def test_it_believes_only_its_authority_for_its_host_in_its_time():
    good, other, old = Redis("good2", "localhost"), Redis("other", "elsewhere.example"), Redis("old", "localhost", True)
    found = good.doctor(good.pem)
    assert found["state"] == "ok", found
    for server, authority, host in ((good, other.pem, "localhost"), (other, other.pem, "localhost"), (old, old.pem, "localhost"),
                                    (good, good.pem, "127.0.0.1")):
        found = server.doctor(authority, host=host)
        assert found["state"] == "bad" and "certificate" in found["text"] and "word" not in found["text"], found
