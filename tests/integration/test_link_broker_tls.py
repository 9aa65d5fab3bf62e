# SPDX-License-Identifier: MIT
"""amqps://: the broker link's programs through a TLS end in front of the server; whose certificate is
believed; a server that speaks no TLS."""
import os
import socket
import subprocess
import tempfile
import urllib.parse

import pytest
import tls

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = os.path.join(ROOT, os.environ.get("ONBOARD_BUILD", "build/debug"), "tests/prog")

@pytest.fixture(scope="module", autouse=True)
def here(servers):
    global FOLDER, PLAIN, GOOD, OTHER, OLD, END
    PLAIN = urllib.parse.urlsplit(os.environ["ONBOARD_RABBITMQ_URL"])
    with tempfile.TemporaryDirectory(prefix="onboard-tls-") as FOLDER:
        GOOD = tls.certificate(FOLDER, "good", "localhost")
        OTHER = tls.certificate(FOLDER, "other", "elsewhere.example")
        OLD = tls.certificate(FOLDER, "old", "localhost", expired=True)
        END = end(GOOD)
        yield


def url(port, **params):
    return urllib.parse.urlunsplit((
        "amqps", f"{PLAIN.username}:{PLAIN.password}@localhost:{port}", PLAIN.path,
        urllib.parse.urlencode(params), ""))


def run(program, where, *words):
    return subprocess.run([f"{PROGRAMS}/{program}", *words], text=True, timeout=120, stdin=subprocess.DEVNULL,
                          env=os.environ | {"ONBOARD_RABBITMQ_URL": where},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def refused(where, *words):
    done = run("topology", where, "check")
    assert done.returncode == 1 and "away: " in done.stdout, done.stdout
    assert all(w in done.stdout for w in words), done.stdout
    assert PLAIN.password not in done.stdout


def end(pem):
    return tls.End(pem, PLAIN.hostname, PLAIN.port)


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
    refused(url(end(OTHER).port, cacertfile=OTHER), "certificate is for another host")
    refused(url(end(OLD).port, cacertfile=OLD), "certificate is not from an authority", "or out of date")
    assert run("topology", url(END.port, verify="verify_none"), "check").returncode == 0
    refused(url(END.port, cacertfile=f"{FOLDER}/none.pem"), "cacertfile cannot be read")


def test_a_server_without_tls_or_words_ends_in_time():
    refused(url(PLAIN.port, cacertfile=GOOD), "cannot connect")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refused(url(silent.getsockname()[1], cacertfile=GOOD), "cannot connect")
