# SPDX-License-Identifier: MIT
"""PostgreSQL and MongoDB over TLS, and Redis, which Debian's hiredis has no TLS for: whose certificate is
believed, and what is said of one that is not. The broker's is in test_link_broker_tls.py."""
import json
import os
import subprocess
import tempfile
import urllib.parse

import pytest
import tls

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CTL = os.path.join(ROOT, os.environ.get("ONBOARD_BUILD", "build/debug"), "bin/onboardctl")

@pytest.fixture(scope="module", autouse=True)
def here(servers):
    global PG, MONGO, GOOD, OTHER, OLD
    PG, MONGO = (urllib.parse.urlsplit(os.environ[f"ONBOARD_{name}_URL"]) for name in ("POSTGRES", "MONGO"))
    with tempfile.TemporaryDirectory(prefix="onboard-tls-") as folder:
        GOOD = tls.certificate(folder, "good", "localhost")
        OTHER = tls.certificate(folder, "other", "elsewhere.example")
        OLD = tls.certificate(folder, "old", "localhost", expired=True)
        yield


def postgres(pem, authority):
    port = tls.End(pem, PG.hostname, PG.port, postgres=True).port
    return {"ONBOARD_POSTGRES_URL": f"postgresql://{PG.username}:{PG.password}@localhost:{port}{PG.path}"
                                    f"?sslmode=verify-full&sslrootcert={authority}"}


def mongo(pem, authority):
    port = tls.End(pem, MONGO.hostname, MONGO.port).port
    return {"ONBOARD_MONGO_URL": f"mongodb://localhost:{port}{MONGO.path}?tls=true&tlsCAFile={authority}"}


def doctor(subject, env):
    """What it finds of this server."""
    done = subprocess.run([CTL, "--json", "doctor"], env=os.environ | env, text=True, timeout=60, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (PG.password or "-") not in done.stdout
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done.returncode, next(f for f in found if f["subject"] == subject)


def believed(subject, env):
    assert doctor(subject, env)[1]["state"] == "ok"


def refused(subject, env, *words):
    code, found = doctor(subject, env)
    assert code == 69 and found["state"] == "bad", (code, found)
    assert all(word in found["text"] for word in words), found


def test_postgresql_believes_only_its_authority_for_its_host_in_its_time():
    believed("postgres", postgres(GOOD, GOOD))
    refused("postgres", postgres(GOOD, OTHER), "not from an authority of sslrootcert")
    refused("postgres", postgres(OTHER, OTHER), "elsewhere.example", "does not match host name")
    refused("postgres", postgres(OLD, OLD), "certificate", "or out of date")
    refused("postgres", {"ONBOARD_POSTGRES_URL": f"{PG.geturl()}?sslmode=verify-full&sslrootcert={GOOD}"},
            "server does not support SSL")


def test_mongodb_believes_only_its_authority_for_its_host_in_its_time():
    believed("mongo", mongo(GOOD, GOOD))
    refused("mongo", mongo(GOOD, OTHER), "not from an authority of tlsCAFile")
    refused("mongo", mongo(OTHER, OTHER), "for another host")
    refused("mongo", mongo(OLD, OLD), "or out of date")
    refused("mongo", {"ONBOARD_MONGO_URL": f"mongodb://localhost:{MONGO.port}{MONGO.path}?tls=true&tlsCAFile={GOOD}"})


def test_redis_without_tls_in_its_library_says_so():
    libraries = subprocess.run(["ldd", CTL], text=True, stdout=subprocess.PIPE, check=True).stdout
    if "hiredis_ssl" in libraries:
        pytest.skip("this hiredis has TLS")
    _, found = doctor("redis", {"ONBOARD_REDIS_URL": "rediss://127.0.0.1:6379/0"})
    assert found["state"] == "bad" and "TLS" in found["text"], found
    done = subprocess.run([os.path.join(os.path.dirname(CTL), "onboard-cache")], text=True, timeout=30, check=False,
                          env=os.environ | {"ONBOARD_REDIS_URL": "rediss://127.0.0.1:6379/0",
                                            "ONBOARD_ADMIN_LISTEN": "127.0.0.1:0"},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 78 and "TLS" in done.stdout, done.stdout
