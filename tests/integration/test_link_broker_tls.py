#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""amqps://: the broker link's programs through a TLS end in front of the server; whose certificate is
believed; a server that speaks no TLS."""
import os
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = os.path.join(ROOT, os.environ.get("ONBOARD_BUILD", "build/debug"), "tests/prog")
PLAIN = urllib.parse.urlsplit(os.environ["ONBOARD_RABBITMQ_URL"])
FOLDER = tempfile.mkdtemp(prefix="onboard-tls-")


def certificate(name, host):
    """A self-signed one, which is its own authority."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout",
                    f"{FOLDER}/{name}.key", "-out", f"{FOLDER}/{name}.pem", "-subj", f"/CN={host}",
                    "-addext", f"subjectAltName=DNS:{host}"], check=True, stderr=subprocess.DEVNULL)
    return f"{FOLDER}/{name}.pem"


class End:
    """TLS outside, the plain server inside; one thread a connection, which both directions share."""

    def __init__(self, name):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(f"{FOLDER}/{name}.pem", f"{FOLDER}/{name}.key")
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client = self.listener.accept()[0]
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            client = self.context.wrap_socket(client, server_side=True)
            server = socket.create_connection((PLAIN.hostname, PLAIN.port))
            while True:
                ready = [client] if client.pending() else select.select([client, server], [], [])[0]
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)
        except OSError:
            pass
        finally:
            client.close()


def url(port, **params):
    return urllib.parse.urlunsplit((
        "amqps", f"{PLAIN.username}:{PLAIN.password}@localhost:{port}", PLAIN.path,
        urllib.parse.urlencode(params), ""))


def run(program, where, *words):
    return subprocess.run([f"{PROGRAMS}/{program}", *words], text=True, timeout=120, stdin=subprocess.DEVNULL,
                          env=os.environ | {"ONBOARD_RABBITMQ_URL": where},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def refused(where, *words):
    began = time.monotonic()
    done = run("topology", where, "check")
    assert done.returncode == 1 and "away: " in done.stdout, done.stdout
    assert all(w in done.stdout for w in words), done.stdout
    assert PLAIN.password not in done.stdout
    assert time.monotonic() - began < 5.5


GOOD = certificate("good", "localhost")
OTHER = certificate("other", "elsewhere.example")
END = End("good")


def test_link_broker_through_tls():
    done = run("link_broker", url(END.port, cacertfile=GOOD))
    assert done.returncode == 0, done.stdout


def test_link_broker_bytes_through_tls():
    done = run("link_broker_bytes", url(END.port, cacertfile=GOOD))
    assert done.returncode == 0, done.stdout


def test_a_certificate_is_believed_only_from_its_authority_and_for_its_host():
    assert run("topology", url(END.port, cacertfile=GOOD), "check").returncode == 0
    refused(url(END.port, cacertfile=OTHER), "certificate is not from an authority")
    refused(url(END.port), "certificate is not from")  # the system's authorities don't know it
    refused(url(End("other").port, cacertfile=OTHER), "certificate is for another host")
    assert run("topology", url(END.port, verify="verify_none"), "check").returncode == 0
    refused(url(END.port, cacertfile=f"{FOLDER}/none.pem"), "cacertfile cannot be read")


def test_a_server_without_tls_or_words_ends_in_time():
    refused(url(PLAIN.port, cacertfile=GOOD), "cannot connect")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refused(url(silent.getsockname()[1], cacertfile=GOOD), "cannot connect")


try:
    status = tap.run(globals())
finally:
    shutil.rmtree(FOLDER)
sys.exit(status)
