# SPDX-License-Identifier: MIT
"""A stack of one's own, as the benchmark and the campaign of faults have one, and on it a database,
virtual host and Redis number for each who takes part: the names of queues and keys are the same."""
import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.error
from urllib.parse import unquote, urlsplit, urlunsplit

import amqp
from rabbit import Management, Vhost
from wait import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

class ServerError(Exception):
    pass


class Stack:
    """Started empty, so that no earlier run's rows or queues slow this one; stopped and removed.
    folder: of the run, in the checkout."""

    def __init__(self, folder):
        self.folder, self.env = os.path.join(ROOT, folder), {}

    def start(self):
        for verb in ("reset", "up"):
            if self._do(verb).returncode != 0:
                raise ServerError(f"tools/stack {verb} failed")
        out = subprocess.run(["env", "-i", "sh", "-c", '. "$1" && env -0', "sh", os.path.join(self.folder, "env")],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout.decode()
        self.env = {name: value for name, value in (pair.split("=", 1) for pair in out.split("\0") if pair)
                    if name.startswith("ONBOARD_")}

    def stop(self, keep=False):
        self._do("down" if keep else "reset")

    def _do(self, *words):
        return subprocess.run([os.path.join(ROOT, "tools/stack"), "--run", self.folder, *words],
                              stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)

    def work_in(self):
        """As after days of work: PostgreSQL has old WAL files, as many as it keeps, to use again.
        Until then commits wait for the making of each 16 MiB."""
        with open(os.path.join(self.folder, "ports"), encoding="ascii") as f:
            ports = json.load(f)["ports"]
        bounds = "pg_size_bytes(current_setting('min_wal_size')) / pg_size_bytes(current_setting('wal_segment_size'))"
        switch = "SELECT count(pg_logical_emit_message(false, 'bench', '')), count(pg_switch_wal()) " \
                 f"FROM generate_series(1, {bounds})"
        for server in ("postgres", "docstore"):
            if self._do("exec", server, "/usr/lib/postgresql/18/bin/psql", "-XqtA", "-o", "/dev/null", "-h", "/run/data",
                        "-p", str(ports[server]), "-U", "postgres", "-d", "postgres", "-c", switch,
                        "-c", "CHECKPOINT").returncode != 0:
                raise ServerError(f"{server}: no WAL files could be made in advance")

    def place(self, name, number):
        return Place(self.env, name, number)


class Place:
    """The servers as one participant sees them: database, virtual host and MongoDB database NAME,
    Redis database NUMBER. All are created empty; drop() removes them, the MongoDB database excepted."""

    def __init__(self, env, name, number):
        self.name = name
        self.base = env["ONBOARD_POSTGRES_URL"]
        self.management = Management(env["ONBOARD_RABBITMQ_MANAGEMENT_URL"])
        self.vhost = Vhost(name, self.management, env["ONBOARD_RABBITMQ_URL"])
        self.postgres = with_path(self.base, name)
        self.rabbitmq = self.vhost.url
        self.mongo = with_path(env["ONBOARD_MONGO_URL"], name)
        self.mongo_server = with_path(env["ONBOARD_MONGO_URL"], "")
        self.redis = with_path(env["ONBOARD_REDIS_URL"], str(number))
        self._database_drop()
        with Sql(self.base) as sql:
            sql.ask(f"CREATE DATABASE {name}")
        with told():
            self.vhost.create()
        with Redis(self.redis) as kv:
            kv.ask("FLUSHDB")

    def env(self):
        """The environment variables that lead a program to these servers."""
        return {"ONBOARD_POSTGRES_URL": self.postgres, "ONBOARD_RABBITMQ_URL": self.rabbitmq,
                "ONBOARD_MONGO_URL": self.mongo, "ONBOARD_REDIS_URL": self.redis}

    def _database_drop(self):
        """FORCE may not end a process of the server's own (autovacuum), so it is tried again."""
        def dropped():
            try:
                with Sql(self.base) as sql:
                    sql.ask(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
                return True
            except ServerError as why:
                if "permission denied to terminate" not in str(why):
                    raise
                return False
        wait_until(dropped, 30, f"database {self.name} dropped")

    def drop(self):
        with Redis(self.redis) as kv:
            kv.ask("FLUSHDB")
        self._database_drop()
        with told():
            self.vhost.delete()

    def queues(self):
        with told():
            return list(self.vhost.queues())

    def purge(self):
        """Empties every queue, so that one round leaves no messages to the next."""
        names = self.queues()
        with amqp.Broker(self.rabbitmq) as broker:
            for name in names:
                broker.purge(name)

    def depth(self, queue):
        with amqp.Broker(self.rabbitmq) as broker:
            return broker.depth(queue)


@contextlib.contextmanager
def told():
    """Turns an error of RabbitMQ's management API into a ServerError."""
    try:
        yield
    except urllib.error.HTTPError as e:
        raise ServerError(f"RabbitMQ's management API: {e.url}: {e}") from e


def with_path(url, path):
    return urlunsplit(urlsplit(url)._replace(path="/" + path))


class Sql:
    """A psql process, kept open. Each statement returns the lines that it printed."""
    END = "-- end of the answer --"

    def __init__(self, url):
        self.process = subprocess.Popen(["psql", "-XqtA", "-v", "ON_ERROR_STOP=1", url], text=True, bufsize=1,
                                        env=os.environ | {"PGOPTIONS": "-c client_min_messages=warning"},
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def ask(self, statement):
        try:
            self.process.stdin.write(f"{statement};\n\\echo '{self.END}'\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended: what it said is read below
        lines = []
        for line in self.process.stdout:
            if line.rstrip("\n") == self.END:
                return lines
            lines.append(line.rstrip("\n"))
        raise ServerError("psql: " + (" ".join(lines) or "ended without a word"))

    def number(self, statement):
        lines = self.ask(statement)
        if len(lines) != 1:
            raise ServerError(f"psql: no single figure from: {statement}")
        return int(lines[0])

    def close(self):
        try:
            self.process.stdin.close()
        except OSError:
            pass
        self.process.wait(10)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Redis:
    """One connection. It decodes no arrays, since nobody here needs them."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.sock = socket.create_connection((parts.hostname, parts.port or 6379), 30)
        self.input = self.sock.makefile("rb")
        if parts.password:
            self.ask("AUTH", *(unquote(word) for word in (parts.username, parts.password) if word))
        self.ask("SELECT", parts.path[1:] or "0")

    def ask(self, *words):
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.sock.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in encoded))
        line = self.input.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self.input.read(int(rest) + 2)[:-2]
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        raise ServerError(f"redis: {words[0]}: {line.decode(errors='replace') or 'closed the connection'}")

    def hits(self):
        """The number of reads that found their key, over all databases."""
        for line in self.ask("INFO", "stats").decode().splitlines():
            if line.startswith("keyspace_hits:"):
                return int(line.split(":")[1])
        raise ServerError("redis: INFO names no keyspace_hits")

    def close(self):
        self.input.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
