# SPDX-License-Identifier: MIT
"""The servers: how each is prepared, started, asked whether it is usable, and stopped.

A server runs as the user it has inside the root file system; its own folder is /run/data there.
All listen on 127.0.0.1 only and keep what they are given (fsync, append-only file).
"""
import re
import shutil
import signal
import subprocess
from pathlib import Path

from . import probes, sandbox
from .layout import EX_UNAVAILABLE, StackError, write_atomic

INSIDE = sandbox.INSIDE
# A log line and its likely fix; the first match is shown.
HINTS = [
    (r"[Aa]ddress already in use|eaddrinuse|EADDRINUSE",
     "another program took its port: tools/stack down, then up chooses again"),
    (r"[Nn]o permissions to creat|uid map: Operation not permitted",
     "as root: sysctl kernel.unprivileged_userns_clone=1"),
    (r"database files are incompatible|was initialized by PostgreSQL version",
     "its data come from another version: tools/stack reset removes them"),
    (r"appendonly|append only file|AOF", "its append-only file is damaged: redis-check-aof --fix, or "
     "tools/stack reset, which removes all data"),
    (r"not a valid data directory|pg_control|checkpoint record|could not (open|read) (file|directory)",
     "its data folder is damaged: tools/stack reset removes all data and starts anew"),
]


class Context:
    """What every server needs to know of its stack."""

    def __init__(self, layout, ports, passwords, rootfs, ferretdb, versions):
        self.layout, self.ports, self.passwords = layout, ports, passwords
        self.rootfs, self.ferretdb, self.versions = rootfs, ferretdb, versions


class Server:
    name = ""
    user = "nobody"         # inside the root file system
    after = None            # the server that must be ready before this one starts
    seconds = 60            # from start to ready
    stop_signal = signal.SIGTERM
    stop_seconds = 15
    target = None           # the process that takes signals, if it is not the first
    sandboxed = True

    def __init__(self, context):
        self.context = context
        self.data = context.layout.data / self.name
        self.log = context.layout.log / f"{self.name}.log"
        self.port = context.ports.get(self.name)

    def version(self):
        return self.context.versions.get(self.name, "")

    def password(self):
        return self.context.passwords[self.name]

    def prepare(self):
        """Makes the data and the configuration; runs before every start, without the server."""

    def argv(self):
        raise NotImplementedError

    def environment(self):
        return {}

    def binds(self):
        return []

    def command(self, argv=None):
        return sandbox.command(self.context.rootfs, self.user, argv or self.argv(), self.data,
                               self.binds(), self.environment())

    def spawn(self, lock_fd):
        return sandbox.Process(self.command(), self.log, lock_fd, target=self.target)

    def probe(self, first):
        """Returns if the server is usable, otherwise raises. first: it has not been ready yet."""
        raise NotImplementedError

    def feels(self):
        """A word for the status table next to the state; a daemon's word is from its /health."""
        return ""

    def run(self, argv, seconds=60, stdin=None, env=None):
        """A helper program beside the server, in a sandbox of its own on the same folder."""
        return sandbox.run(sandbox.command(self.context.rootfs, self.user, argv, self.data,
                                           self.binds(), env), seconds, stdin)

    def hint(self, lines):
        text = "\n".join(lines)
        for pattern, fix in HINTS:
            if re.search(pattern, text):
                return fix
        return f"see tools/stack logs {self.name}"


class Postgres(Server):
    name = "postgres"
    user = "postgres"
    stop_signal = signal.SIGINT  # "fast": open transactions are rolled back, a checkpoint is made
    database, role = "onboard", "onboard"
    superuser_role = False
    bin = "/usr/lib/postgresql/18/bin"
    # min_wal_size: PostgreSQL reuses old WAL files; otherwise commits wait until it has created one
    settings = {"max_connections": 200, "shared_buffers": "'128MB'", "max_wal_size": "'512MB'",
                "min_wal_size": "'512MB'"}

    def prepare(self):
        cluster = self.data / "cluster"
        if not (cluster / "PG_VERSION").exists():
            code, out = self.run([f"{self.bin}/initdb", "-D", f"{INSIDE}/cluster", "-U", "postgres",
                                  "-A", "peer", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums"])
            if code != 0:
                lines = [line for line in out.splitlines() if line.strip()]
                raise StackError("initdb failed: " + (lines or ["no output"])[-1],
                                 EX_UNAVAILABLE, lines[-8:])
        # Its pid means nothing in the new pid namespace, where it may even be alive as something
        # else; our lock on the data folder has proved that no server of before is left.
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        lines = {"listen_addresses": "'127.0.0.1'", "port": self.port, "fsync": "on",
                 "unix_socket_directories": f"'{INSIDE}'", "synchronous_commit": "on",
                 "password_encryption": "'scram-sha-256'", "timezone": "'UTC'", "jit": "off",
                 "log_timezone": "'UTC'", "log_line_prefix": "'%m [%p] '", "huge_pages": "off",
                 **self.settings}
        write_atomic(self.data / "postgresql.conf",
                     "".join(f"{key} = {value}\n" for key, value in lines.items()))
        write_atomic(self.data / "pg_hba.conf", "local all postgres peer\n"
                     "host all all 127.0.0.1/32 scram-sha-256\n")

    def argv(self):
        return [f"{self.bin}/postgres", "-D", f"{INSIDE}/cluster",
                "-c", f"config_file={INSIDE}/postgresql.conf", "-c", f"hba_file={INSIDE}/pg_hba.conf",
                "-c", f"ident_file={INSIDE}/cluster/pg_ident.conf"]

    def sql(self, text, database="postgres", seconds=30):
        """As the superuser, over the socket in the data folder."""
        code, out = self.run([f"{self.bin}/psql", "-XqtA", "-v", "ON_ERROR_STOP=1", "-h", INSIDE,
                              "-p", str(self.port), "-U", "postgres", "-d", database, "-f", "-"],
                             seconds, text)
        if code != 0:
            raise probes.ProbeError((out.strip().splitlines() or ["no answer"])[-1])
        return out

    def provision(self):
        """Creates role, password and database, if they do not exist yet."""
        # CREATEDB: a test makes its own database, next to the one that `make up` fills
        kind = "SUPERUSER" if self.superuser_role else "NOSUPERUSER CREATEDB"
        self.sql(f"""
            SELECT 'CREATE ROLE {self.role} LOGIN' WHERE NOT EXISTS
                (SELECT FROM pg_roles WHERE rolname = '{self.role}') \\gexec
            ALTER ROLE {self.role} {kind} PASSWORD '{self.password()}';
            SELECT 'CREATE DATABASE {self.database} OWNER {self.role}' WHERE NOT EXISTS
                (SELECT FROM pg_database WHERE datname = '{self.database}') \\gexec
            """)

    def probe(self, first):
        if first:
            self.sql("SELECT 1;", seconds=5)
            self.provision()
        ask_postgres(self.context.rootfs, self.url())

    def url(self):
        return f"postgresql://{self.role}:{self.password()}@127.0.0.1:{self.port}/{self.database}"


def ask_postgres(rootfs, url):
    """A query by psql, as any client would send it."""
    code, out = sandbox.run(sandbox.command(rootfs, "postgres", [
        "/usr/lib/postgresql/18/bin/psql", "-XqtA", "-c", "SELECT 1", url],
        binds=[("/etc/resolv.conf", "/etc/resolv.conf", "ro")]
        if Path("/etc/resolv.conf").exists() and (rootfs / "etc/resolv.conf").exists() else (),
        env={"PGCONNECT_TIMEOUT": "5"}), 15)
    if code != 0 or out.strip() != "1":
        raise probes.ProbeError((out.strip().splitlines() or ["no answer"])[-1])


class Docstore(Postgres):
    """The second cluster, only for FerretDB: a fault of postgres does not touch MongoDB."""
    name = "docstore"
    database, role = "docstore", "ferretdb"
    superuser_role = True
    settings = {"shared_preload_libraries": "'pg_cron,pg_documentdb_core,pg_documentdb'",
                "cron.database_name": "'docstore'", "cron.use_background_workers": "on",
                "max_worker_processes": 24, "max_connections": 200, "shared_buffers": "'256MB'",
                "max_wal_size": "'1GB'", "min_wal_size": "'1GB'"}

    def prepare(self):
        super().prepare()
        # DocumentDB connects to its own server, over TCP, as the role that asked.
        write_atomic(self.data / "pgpass", f"*:*:*:{self.role}:{self.password()}\n")

    def environment(self):
        return {"PGPASSFILE": f"{INSIDE}/pgpass"}

    def provision(self):
        super().provision()
        self.sql("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS documentdb CASCADE;",
                 self.database, 60)


class Ferretdb(Server):
    name = "mongo"
    after = "docstore"

    def prepare(self):
        url = (f"postgresql://ferretdb:{self.context.passwords['docstore']}@127.0.0.1:"
               f"{self.context.ports['docstore']}/docstore")
        write_atomic(self.data / "postgresql-url", url)

    def version(self):
        return f"ferretdb {self.context.ferretdb.name.split('-')[1].lstrip('v')}"

    def binds(self):
        return [(self.context.ferretdb / "ferretdb", "/run/ferretdb", "ro")]

    def argv(self):
        return ["/run/ferretdb", f"--postgresql-url-file={INSIDE}/postgresql-url",
                f"--listen-addr=127.0.0.1:{self.port}", "--debug-addr=-", f"--state-dir={INSIDE}",
                "--telemetry=disable", "--no-auth", "--log-level=WARN"]

    def probe(self, first):
        probes.mongo(self.url(), write=first)

    def url(self):
        return f"mongodb://127.0.0.1:{self.port}/onboard"


class Mongod(Server):
    """A real mongod from PATH, with this machine's own libraries below it."""
    name = "mongo"
    program = shutil.which("mongod")

    def version(self):
        out = subprocess.run([self.program, "--version"], stdout=subprocess.PIPE, text=True,
                             check=False).stdout
        return "mongod " + (re.findall(r"v(\d[\d.]*)", out) or ["?"])[0]

    def command(self):
        return ["bwrap", "--die-with-parent", "--unshare-user", "--unshare-pid", "--cap-drop", "ALL",
                "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
                "--bind", str(self.data), str(self.data), "--", self.program, "--dbpath",
                str(self.data), "--bind_ip", "127.0.0.1", "--port", str(self.port), "--nounixsocket"]

    def probe(self, first):
        probes.mongo(self.url(), write=first)

    def url(self):
        return f"mongodb://127.0.0.1:{self.port}/onboard"


class Rabbitmq(Server):
    name = "rabbitmq"
    user = "rabbitmq"
    target = "beam.smp"
    stop_seconds = 30
    seconds = 90

    def prepare(self):
        management = self.context.ports["rabbitmq_management"]
        write_atomic(self.data / "rabbitmq.conf", f"""\
listeners.tcp.1 = 127.0.0.1:{self.port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
distribution.listener.interface = 127.0.0.1
default_user = onboard
default_pass = {self.password()}
default_vhost = /
disk_free_limit.absolute = 10MB
log.console = true
log.console.level = info
log.file = false
""")
        write_atomic(self.data / "enabled_plugins", "[rabbitmq_management].\n")

    def environment(self):
        return {"RABBITMQ_NODENAME": "onboard@localhost", "RABBITMQ_MNESIA_BASE": f"{INSIDE}/node",
                "RABBITMQ_LOG_BASE": f"{INSIDE}/log", "RABBITMQ_PID_FILE": "/tmp/rabbitmq.pid",
                "RABBITMQ_CONFIG_FILE": f"{INSIDE}/rabbitmq.conf",
                "RABBITMQ_ENABLED_PLUGINS_FILE": f"{INSIDE}/enabled_plugins",
                # Larger heaps from the start, which stay mapped: docs/operations.md says what they gain.
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+hms 65536 +MHsbct 8192 +MHlmbcs 16384 +MHsmbcs 4096",
                "RABBITMQ_DIST_PORT": self.context.ports["rabbitmq_dist"],
                "ERL_EPMD_PORT": self.context.ports["rabbitmq_epmd"],
                "ERL_EPMD_ADDRESS": "127.0.0.1"}

    def argv(self):
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def probe(self, first):
        probes.amqp(self.url())
        if first:
            status, _ = probes.http_get("127.0.0.1", self.context.ports["rabbitmq_management"],
                                        "/api/overview", "onboard", self.password())
            if status != 200:
                raise probes.ProbeError(f"management API: {status}")

    def url(self):
        return f"amqp://onboard:{self.password()}@127.0.0.1:{self.port}/%2f"


class Redis(Server):
    name = "redis"
    user = "redis"

    def prepare(self):
        write_atomic(self.data / "redis.conf", f"""\
bind 127.0.0.1
port {self.port}
requirepass {self.password()}
appendonly yes
appendfsync everysec
dir {INSIDE}
daemonize no
""")

    def argv(self):
        return ["/usr/bin/redis-server", f"{INSIDE}/redis.conf"]

    def probe(self, first):
        probes.redis(self.url())

    def url(self):
        # The URL names the user, because redis-cli -u takes an empty user literally.
        return f"redis://default:{self.password()}@127.0.0.1:{self.port}/0"


class Mail(Server):
    name = "mail"

    def binds(self):
        return [(Path(__file__).with_name("mailsink.py"), "/run/mailsink.py", "ro"),
                (self.context.layout.mail, "/run/mail", "rw")]

    def argv(self):
        return ["/usr/bin/python3", "/run/mailsink.py", str(self.port), "/run/mail"]

    def probe(self, first):
        probes.smtp(self.url())

    def url(self):
        return f"smtp://127.0.0.1:{self.port}"


# The client's name for a service, the variable of its URL, and the servers that the stack runs for it.
SERVICES = {
    "postgres": ("ONBOARD_POSTGRES_URL", [Postgres]),
    "rabbitmq": ("ONBOARD_RABBITMQ_URL", [Rabbitmq]),
    "mongo": ("ONBOARD_MONGO_URL", [Mongod] if Mongod.program else [Docstore, Ferretdb]),
    "redis": ("ONBOARD_REDIS_URL", [Redis]),
    "mail": ("ONBOARD_SMTP_URL", [Mail]),
}
WITH_PASSWORD = ["postgres", "docstore", "rabbitmq", "redis"]


def ask_external(name, url, rootfs):
    """Checks a server that runs elsewhere."""
    ask = {"rabbitmq": probes.amqp, "mongo": probes.mongo, "redis": probes.redis,
           "mail": probes.smtp, "postgres": lambda one: ask_postgres(rootfs, one)}[name]
    try:
        ask(url)
    except (OSError, probes.ProbeError, ValueError) as error:
        raise StackError(f"{name}, which ONBOARD_EXTERNAL names, does not answer: {error}. Fix: start "
                         f"it, or correct {SERVICES[name][0]}", EX_UNAVAILABLE) from error
