# SPDX-License-Identifier: MIT
"""Consumers on servers of a test's own: events published as others publish them, what stands in the
stores, and what lies in the DLQ."""
import contextlib
import datetime
import json
import os
import re
import threading
import time
import uuid

import pika
import pymongo
import redis
import servers
from daemon import Daemon, migrate
from wait import wait_until

DEAD_HEADERS = {"x-dead-id", "x-retry-count", "x-consumer", "x-original-queue", "x-original-routing-key",
                "x-error-class", "x-error", "x-first-failed-at", "x-failed-at"}


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event(kind, payload, **more):
    return {"id": str(uuid.uuid4()), "type": f"user.{kind}", "timestamp": now(), "payload": payload} | more


def user_event(kind, user_id, username=None, **more):
    username = username or f"u{user_id}"
    return event(kind, {"user_id": user_id, "username": username, "email": f"{username.lower()}@example.com",
                        "version": 1} | more)


def properties(one, headers=None):
    return pika.BasicProperties(content_type="application/json", delivery_mode=2, message_id=one["id"],
                                type=one["type"], timestamp=int(time.time()), app_id="test", headers=headers)


class Pipeline:
    """Virtual host, databases and Redis number of one test file, created empty, and what stands in them."""

    def __init__(self, name, number):
        self.place = servers.Place(os.environ, name, number)
        self.env = self.place.env() | {"ONBOARD_LOG_FORMAT": "json"}
        migrate(self.env)
        self.mongo = pymongo.MongoClient(self.place.mongo, serverSelectionTimeoutMS=10000)
        self.mongo.drop_database(name)
        self.kv = redis.Redis.from_url(self.place.redis, decode_responses=True)
        self.events = self.mongo[name]["events"]

    def daemon(self, program, **env):
        path = program if "/" in program else f"bin/{program}"
        return Daemon(path, env=self.env | env)

    @contextlib.contextmanager
    def channel(self, confirm=True):
        connection = pika.BlockingConnection(pika.URLParameters(self.place.rabbitmq))
        try:
            channel = connection.channel()
            if confirm:
                channel.confirm_delivery()
            yield channel
        finally:
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()

    def publish(self, *events, headers=None, times=1):
        with self.channel() as channel:
            for one in events:
                for _ in range(times):
                    channel.basic_publish("user_events", one["type"], json.dumps(one).encode(),
                                          properties(one, headers), mandatory=True)

    def publish_raw(self, key, body, exchange="user_events", **more):
        with self.channel() as channel:
            channel.basic_publish(exchange, key, body, pika.BasicProperties(delivery_mode=2, **more), mandatory=True)

    def depth(self, queue):
        return self.place.depth(queue)

    def take(self, queue):
        """Takes all messages from the queue: [(body, properties, redelivered, routing key)]."""
        got = []
        with self.channel(confirm=False) as channel:
            while True:
                method, props, body = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return got
                got.append((body, props, method.redelivered, method.routing_key))

    def document(self, one):
        return self.events.find_one({"_id": one["id"]})

    def purge(self):
        self.place.purge()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.mongo.close()
        self.kv.close()
        self.place.drop()


class Load(threading.Thread):
    """Publishes make(n) at a rate. Each event is tried until it is confirmed; .sent has the confirmed ones."""

    def __init__(self, pipe, make, rate=500, hands=4):
        super().__init__(daemon=True)
        self.pipe, self.make, self.rate = pipe, make, rate
        self.lock, self.number, self.sent, self.over = threading.Lock(), 0, [], threading.Event()
        self.began = time.monotonic()
        self.threads = [threading.Thread(target=self._hand, daemon=True) for _ in range(hands)]

    def __enter__(self):
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_more(self, count):
        """Waits until count more events are confirmed."""
        want = len(self.sent) + count
        wait_until(lambda: len(self.sent) >= want, 60, f"{count} more events are confirmed")

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "an event was not confirmed in a minute"

    def _hand(self):
        pending, connection, channel = None, None, None
        while pending or not self.over.is_set():
            try:
                if channel is None:
                    connection = pika.BlockingConnection(pika.URLParameters(self.pipe.place.rabbitmq))
                    channel = connection.channel()
                    channel.confirm_delivery()
                if pending is None:
                    with self.lock:
                        number, self.number = self.number, self.number + 1
                    early = self.began + number / self.rate - time.monotonic()
                    if early > 0 and self.over.wait(early):
                        break
                    pending = self.make(number)
                channel.basic_publish("user_events", pending["type"], json.dumps(pending).encode(),
                                      properties(pending), mandatory=True)
                self.sent.append(pending)
                pending = None
            except (pika.exceptions.AMQPError, OSError, AttributeError, AssertionError):
                channel = None  # pika's own bookkeeping may break too when a server goes
                time.sleep(0.2)
        with contextlib.suppress(Exception):
            connection.close()


def metric(daemon, name, **labels):
    """The value of a metric, summed over the labels that are not given. None: the daemon does not answer."""
    status, body = daemon.ask("/metrics")
    if status != 200:
        return None
    total = 0
    for line in body.splitlines():
        m = re.match(rf"{name}(?:{{(.*)}})? (\S+)$", line)
        if m and all(f'{k}="{v}"' in (m[1] or "") for k, v in labels.items()):
            total += float(m[2])
    return int(total)
