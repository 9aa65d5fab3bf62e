# SPDX-License-Identifier: MIT
"""Our daemons, release build: the schema, the start (ready is what NOTIFY_SOCKET says) and the end."""
import os
import shutil
import subprocess

from servers import ROOT

os.environ["ONBOARD_BUILD"] = "build/release"  # read when daemon is imported
import daemon as test_daemon  # noqa: E402

BIN = os.path.join(ROOT, "build/release/bin")


class OursError(Exception):
    pass


def missing(program):
    """Why a program cannot be measured, or None."""
    path = os.path.join(BIN, program)
    return None if os.access(path, os.X_OK) else f"build/release/bin/{program} does not exist"


def migrate(place):
    done = subprocess.run([os.path.join(BIN, "onboardctl"), "db", "migrate", "up"], cwd=ROOT,
                          env=os.environ | {"ONBOARD_POSTGRES_URL": place.postgres}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise OursError("onboardctl db migrate up: " + " | ".join(done.stdout.strip().splitlines()[-3:]))


class Ours:
    """One daemon on the servers of a place. listen: the section whose listen key gets a free port."""

    def __init__(self, program, place, log_path, listen=None, env=None):
        if why := missing(program):
            raise OursError(why)
        self.program, self.log_path, self.url = program, log_path, None
        variables = {"ONBOARD_POSTGRES_URL": place.postgres, "ONBOARD_RABBITMQ_URL": place.rabbitmq,
                     "ONBOARD_MONGO_URL": place.mongo, "ONBOARD_REDIS_URL": place.redis, "ONBOARD_LOG_LEVEL": "warn"}
        if listen:
            port = test_daemon.free_port()
            self.url = f"http://127.0.0.1:{port}"
            variables[f"ONBOARD_{listen.upper()}_LISTEN"] = f"127.0.0.1:{port}"
        # setpriv becomes the daemon: it ends with the benchmark, however that ends.
        self.daemon = test_daemon.Daemon(shutil.which("setpriv"), "--pdeathsig", "KILL", os.path.join(BIN, program),
                                         env=variables | (env or {}))
        self.pids = {program.removeprefix("onboard-"): self.daemon.process.pid}

    def wait_ready(self):
        try:
            self.daemon.wait_ready(30)
        except AssertionError as why:
            raise OursError(f"{self.program}: {why}") from why

    def stop(self):
        try:
            if self.daemon.process.poll() is None:
                self.daemon.terminate()
        except subprocess.TimeoutExpired:
            print(f"bench: {self.program} did not end within 15 s of SIGTERM and is killed", flush=True)
        finally:
            with open(self.log_path, "a", encoding="utf-8") as log:
                log.write(self.daemon.log())
            self.daemon.__exit__(None, None, None)
