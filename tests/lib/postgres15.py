# SPDX-License-Identifier: MIT
"""A private PostgreSQL 15, the oldest release that doctor accepts: Debian 12's own package on a free port
of loopback. It holds an empty database "onboard", whose owner is the role of the same name.

    with Postgres15() as server:
        psycopg2.connect(server.url)         # as onboard, which may create databases
        psycopg2.connect(server.admin_url)   # as the superuser: ALTER SYSTEM and the like

bubblewrap runs it, as tools/stack runs its servers: PostgreSQL refuses root, so inside the sandbox it
has the uid of the package's user. The sandbox ends with the test program, however that ends."""
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile

import psycopg2
import pytest
from daemon import free_port
from wait import wait_until

BIN = "/usr/lib/postgresql/15/bin"
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200",
            "timezone": "UTC", "jit": "off",
            "fsync": "off"}  # nothing outlives the test, so nothing has to survive the machine


class Postgres15:
    def __init__(self, **settings):
        """settings: more of postgresql.conf's."""
        if not os.path.exists(f"{BIN}/postgres"):
            pytest.skip("Debian 12's postgresql-15 is not installed (tools/setup test)")
        self.settings = SETTINGS | settings
        self.folder = tempfile.mkdtemp(prefix="onboard-postgres-15-")
        self.password, self.port = secrets.token_hex(16), free_port()
        self.url = f"postgresql://onboard:{self.password}@127.0.0.1:{self.port}/onboard"
        self.admin_url = f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"
        self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()  # and with the sandbox all that runs in it
            self.process.wait()
        shutil.rmtree(self.folder)

    def start(self):
        self.make_cluster()
        arguments = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        with open(self.folder + "/log", "wb") as log:
            self.process = subprocess.Popen(
                self.inside("postgres", "-D", self.folder + "/cluster", "-p", str(self.port), *arguments),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: self.process.poll() is not None or self.answers(), 30, "PostgreSQL 15 answers")
        assert self.process.poll() is None, open(self.folder + "/log", errors="replace").read()[-2000:]
        self.admin(f"CREATE ROLE onboard LOGIN CREATEDB PASSWORD '{self.password}'")
        self.admin("CREATE DATABASE onboard OWNER onboard")

    def make_cluster(self):
        password_file = self.folder + "/password"
        with open(password_file, "w", encoding="ascii") as f:
            f.write(self.password + "\n")
        subprocess.run(self.inside("initdb", "-D", self.folder + "/cluster", "-U", "postgres", "-E", "UTF8",
                                   "--locale=C.UTF-8", "-A", "scram-sha-256", f"--pwfile={password_file}",
                                   "--no-sync", "--no-instructions"),
                       check=True, timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def inside(self, program, *words):
        user = pwd.getpwnam("postgres")
        return ["bwrap", "--die-with-parent", "--unshare-user", "--unshare-pid", "--unshare-ipc",
                "--uid", str(user.pw_uid), "--gid", str(user.pw_gid), "--cap-drop", "ALL",
                "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
                "--bind", self.folder, self.folder, "--chdir", self.folder, "--", f"{BIN}/{program}", *words]

    def answers(self):
        try:
            psycopg2.connect(self.admin_url).close()
            return True
        except psycopg2.OperationalError:
            return False

    def admin(self, sql):
        """As the superuser, outside any transaction."""
        connection = psycopg2.connect(self.admin_url)
        try:
            connection.autocommit = True
            connection.cursor().execute(sql)
        finally:
            connection.close()
