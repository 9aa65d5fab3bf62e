# SPDX-License-Identifier: MIT
"""onboard-api on a database, a virtual host and a Redis number of one test file's own."""
import contextlib
import http.client
import json
import os
import re
import threading
import time

import pika
import psycopg2
import redis
import servers
from daemon import Daemon, free_port, migrate
from wait import wait_until

SIGNUP = "/api/users/signup"
BACK_S = 15  # how long a link may take to come back


class Answer:
    def __init__(self, response):
        self.status, self.text = response.status, response.read()
        self.headers = response.headers

    @property
    def json(self):
        return json.loads(self.text)

    def fields(self):
        """The reason for each field of a 422 or 409."""
        return {e["field"]: e["reason"] for e in self.json["errors"]}

    def problem(self, status):
        """Checks that the answer is a problem with this status."""
        assert self.status == status, (self.status, self.text)
        assert self.headers["Content-Type"] == "application/problem+json", self.headers
        assert {"type", "title", "status", "instance"} <= self.json.keys(), self.json
        assert self.json["status"] == status
        return self

    def is_(self, status):
        assert self.status == status, (self.status, self.text)
        return self


class Client:
    """One connection, kept open."""

    def __init__(self, port, seconds=15):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)

    def __call__(self, method, path, body=None, headers=None):
        head = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            head.setdefault("Content-Type", "application/json")
        self.connection.request(method, path, body.encode() if isinstance(body, str) else body, head)
        return Answer(self.connection.getresponse())

    def close(self):
        self.connection.close()


class Api(Daemon):
    def __init__(self, world, *args, port=None, **env):
        self.port = port or free_port()
        super().__init__("bin/onboard-api", *args,
                         env=world.env | {"ONBOARD_API_LISTEN": f"127.0.0.1:{self.port}"} | env)

    def ready(self):
        self.wait_ready()
        wait_until(lambda: self.ask_json("/ready")[1].get("status") == "ready", BACK_S, "ready, nothing away")
        return self

    def client(self):
        return Client(self.port)

    def __call__(self, method, path, body=None, **headers):
        """One request on a new connection. Header names have _ for -."""
        client = self.client()
        try:
            return client(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        finally:
            client.close()

    def signup(self, body, **headers):
        return self("POST", SIGNUP, body, **headers)

    def metric(self, name):
        status, text = self.ask("/metrics")
        assert status == 200, text
        found = re.search(rf"^{re.escape(name)} (\d+)", text, re.M)
        assert found, f"no metric {name}"
        return int(found[1])

    def wait_metric(self, name, count):
        wait_until(lambda: self.metric(name) == count, BACK_S, f"{name} is {count}")

    def statements(self, ask):
        """How many database statements ask() caused. Statements of signups are not counted."""
        before = self.metric("onboard_sql_statements_total")
        ask()
        return self.metric("onboard_sql_statements_total") - before


class World:
    """Database, virtual host and Redis number of one test file, created empty, with onboard-api on them."""

    def __init__(self, name, number):
        self.name = name
        self.place = servers.Place(os.environ, name, number)
        self.management = self.place.management
        self.count = 0
        self._shared = None
        self.env = self.place.env() | {"ONBOARD_RABBITMQ_HEARTBEAT": "1s"}
        self.redis = redis.Redis.from_url(self.place.redis, decode_responses=True)
        migrate(self.env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._shared:
            self._shared.__exit__(None, None, None)
        self.redis.close()
        self.place.drop()

    def api(self, *args, **env):
        return Api(self, *args, **env)

    def shared(self):
        """The running onboard-api for tests that do it no harm."""
        if not self._shared:
            self._shared = self.api().ready()
        return self._shared

    def user(self, **more):
        """The body of a signup with a new name and address."""
        self.count += 1
        return {"username": f"user{self.count:06d}", "email": f"user{self.count:06d}@example.org", **more}

    # ---- the servers, from outside ----

    def connect(self):
        return psycopg2.connect(self.env["ONBOARD_POSTGRES_URL"])

    def sql(self, text, *values):
        with contextlib.closing(self.connect()) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(text, values or None)
            return cursor.fetchall() if cursor.description else []

    def one(self, text, *values):
        return self.sql(text, *values)[0][0]

    @contextlib.contextmanager
    def locked(self, table):
        """Locks the table against readers and writers."""
        with contextlib.closing(self.connect()) as connection:
            connection.cursor().execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    @contextlib.contextmanager
    def reading(self, table):
        """Holds open a transaction that has read the table, as pg_dump does for hours."""
        with contextlib.closing(self.connect()) as connection:
            connection.cursor().execute(f"SELECT count(*) FROM {table}")
            yield
            connection.rollback()

    def amqp(self):
        return pika.BlockingConnection(pika.URLParameters(self.env["ONBOARD_RABBITMQ_URL"]))

    def queue(self, name, key="user.#"):
        """Binds a durable, empty queue to this key."""
        connection = self.amqp()
        channel = connection.channel()
        channel.exchange_declare("user_events", "topic", durable=True)
        channel.queue_declare(name, durable=True)
        channel.queue_purge(name)
        channel.queue_bind(name, "user_events", key)
        connection.close()
        return name

    def take(self, queue):
        """Takes all messages from the queue: (method, properties, body) each."""
        connection = self.amqp()
        channel = connection.channel()
        found = []
        while (got := channel.basic_get(queue, auto_ack=True))[0]:
            found.append(got)
        connection.close()
        return found

    def wait_events(self, queue, count, seconds=10):
        """Takes at least count messages, in order of arrival."""
        found = []
        wait_until(lambda: found.extend(self.take(queue)) or len(found) >= count, seconds, f"{count} events")
        return found

    def unpublished(self):
        return self.one("SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint FROM outbox_unpublished")

    def wait_published(self, seconds=10):
        wait_until(lambda: self.unpublished() == 0, seconds, "nothing unpublished is left")

    def counts(self):
        """The numbers of rows in the tables that a signup writes."""
        return self.sql("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM addresses),"
                        " (SELECT count(*) FROM outbox), (SELECT count(*) FROM cities)")[0]


def at_once(count, do):
    """Runs do(0) … do(count − 1) in threads that begin together. Returns what each returned or raised."""
    gate, found = threading.Barrier(count), [None] * count

    def one(i):
        gate.wait()
        try:
            found[i] = do(i)
        except Exception as why:
            found[i] = why

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return found


class Load:
    """Sends signups on many connections until stop(). Keeps each answer, or how the connection ended."""

    def __init__(self, world, api, connections=8):
        self.world, self.api = world, api
        self.lock = threading.Lock()
        self.answers = []  # (body, status, answer)
        self.broken = []   # (body, reason): sent, and no answer came
        self.refused = 0   # nothing was sent
        self.ending = False
        self.threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(connections)]
        for t in self.threads:
            t.start()

    def _run(self, n):
        number, client = 0, None
        while not self.ending:
            number += 1
            name = f"load{id(self) % 100000}x{n}x{number}"
            body = {"username": name, "email": f"{name}@example.org"}
            if not client:
                client = self.api.client()
            if not client.connection.sock:
                try:
                    client.connection.connect()
                except OSError:
                    self.refused += 1
                    time.sleep(0.02)
                    continue
            try:
                answer = client("POST", SIGNUP, body)
            except (OSError, http.client.HTTPException) as why:
                client.close()
                with self.lock:
                    self.broken.append((body, repr(why)))
                continue
            with self.lock:
                self.answers.append((body, answer.status, answer))
            if answer.status == 503:
                time.sleep(0.02)

    def statuses(self):
        with self.lock:
            return {status for _, status, _ in self.answers}

    def created(self):
        with self.lock:
            return [(b, a) for b, status, a in self.answers if status == 201]

    def stop(self):
        self.ending = True
        for t in self.threads:
            t.join()
        return self
