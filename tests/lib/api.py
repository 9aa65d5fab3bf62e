# SPDX-License-Identifier: MIT
"""onboard-api on a database, virtual host and Redis number of its own, and a plain HTTP client for it."""
import concurrent.futures
import http.client
import json
import os
import subprocess

from daemon import BUILD, Daemon, free_port
from management import Management
from servers import Place, Redis, Sql
from tap import wait_until


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.text = status, headers, body.decode()
        self.json = json.loads(body) if body.startswith((b"{", b"[")) else None

    def fields(self):
        """What a 422 or 409 says of which field."""
        return {e["field"]: e["reason"] for e in (self.json or {}).get("errors", [])}

    def __repr__(self):
        return f"{self.status} {self.text[:600]}"


class Servers:
    """The place of one test program; its schema is migrated."""

    def __init__(self, name, number):
        self.place = Place(os.environ, f"{name}_{os.getpid()}", number)
        self.sql, self.redis = Sql(self.place.postgres), Redis(self.place.redis)
        self.management = Management()
        self.env = {"ONBOARD_POSTGRES_URL": self.place.postgres, "ONBOARD_RABBITMQ_URL": self.place.rabbitmq,
                    "ONBOARD_REDIS_URL": self.place.redis, "ONBOARD_MONGO_URL": self.place.mongo}
        done = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), "db", "migrate", "up"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, env=os.environ | self.env)
        assert done.returncode == 0, done.stdout + done.stderr

    def messages(self, queue, count):
        """Takes count messages out of a queue, as RabbitMQ's management API shows them."""
        path = f"/api/queues/{self.place.name}/{queue}/get"
        got = []

        def enough():
            got.extend(self.management.ask("POST", path, {"count": count, "ackmode": "ack_requeue_false",
                                                          "encoding": "auto"}))
            return len(got) >= count
        wait_until(enough, 10, f"{count} messages in {queue}")
        return got

    def unpublished(self):
        return self.sql.number("SELECT coalesce(sum(cardinality(event_ids)), 0) FROM outbox_unpublished")

    def wait_published(self, seconds=10):
        wait_until(lambda: self.unpublished() == 0, seconds, "everything is published")


class Api(Daemon):
    def __init__(self, servers, *args, env=None):
        self.port = free_port()
        super().__init__("bin/onboard-api", *args,
                         env=servers.env | {"ONBOARD_API_LISTEN": f"127.0.0.1:{self.port}"} | (env or {}))

    def __enter__(self):
        self.wait_ready()
        return self

    def call(self, method, path, body=None, headers=None, seconds=15, raw=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            sent = dict(headers or {})
            data = raw
            if body is not None:
                data = json.dumps(body).encode()
                sent.setdefault("Content-Type", "application/json")
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def signup(self, username, email=None, headers=None, **more):
        return self.call("POST", "/api/users/signup", {"username": username, "email": email or f"{username}@example.com",
                                                       **more}, headers)

    def metric(self, name):
        for line in self.ask("/metrics")[1].splitlines():
            if line.startswith(f"{name} "):
                return int(float(line.split()[1]))
        raise AssertionError(f"no metric {name}")


def at_once(n, what, workers=64):
    """what(i) for each of n, as many at once as there are workers; their answers."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(what, range(n)))
