# SPDX-License-Identifier: MIT
"""Dead letters as the runtime and the broker put them, and onboardctl beside them."""
import datetime
import json
import os
import subprocess
import uuid

import pika
from daemon import BUILD
from pipeline import user_event
from tap import wait_until

CTL = os.path.join(BUILD, "bin/onboardctl")
FIELDS = ["id", "event_id", "consumer", "queue", "type", "class", "error", "retry_count", "first_failed_at",
          "failed_at"]
QUEUES = {"eventlog": "user_data_queue", "cache": "user_cache_queue", "segments": "user_segment_queue",
          "mailer": "user_mail_queue", "analytics": "user_analytics_queue"}
EPOCH = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.timezone.utc)


def at(seconds):
    return (EPOCH + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def dead_headers(consumer="mailer", error="smtp: 421 try later", seconds=0, cls="exhausted", **more):
    return {"x-dead-id": str(uuid.uuid4()), "x-retry-count": 3 if cls == "exhausted" else 0, "x-consumer": consumer,
            "x-original-queue": QUEUES.get(consumer, consumer), "x-original-routing-key": "user.created",
            "x-error-class": cls, "x-error": error, "x-first-failed-at": at(seconds - 7),
            "x-failed-at": at(seconds)} | more


class Operator:
    """onboardctl on one virtual host, its audit log beside it."""

    def __init__(self, url, folder):
        self.url, self.folder = url, folder
        self.audit = os.path.join(folder, "audit.log")
        self.env = os.environ | {"ONBOARD_RABBITMQ_URL": url, "ONBOARD_CTL_AUDIT_LOG": self.audit, "TMPDIR": folder}

    def start(self, *words, **env):
        return subprocess.Popen([CTL, *words], env=self.env | env, cwd=self.folder, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *words, code=0, stdin=None, **env):
        """What it printed; any other exit code is a failure."""
        done = subprocess.run([CTL, *words], env=self.env | env, cwd=self.folder, text=True, timeout=240,
                              input="" if stdin is None else stdin, capture_output=True, check=False)
        assert done.returncode == code, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout if code == 0 else done.stderr

    def rows(self, *words, code=0):
        done = subprocess.run([CTL, *words, "--json"], env=self.env, cwd=self.folder, text=True, timeout=240,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert done.returncode == code, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def audited(self):
        with open(self.audit, encoding="utf-8") as f:
            return [json.loads(line) for line in f]


def depth(channel, queue="user.dlq"):
    return channel.queue_declare(queue, passive=True).method.message_count


def depth_is(channel, number, queue="user.dlq", seconds=20):
    wait_until(lambda: depth(channel, queue) == number, seconds, f"{queue} has {number} entries")


def bury(channel, body, headers, **more):
    channel.basic_publish("dlx", "user.failed", body, pika.BasicProperties(delivery_mode=2, headers=headers, **more),
                          mandatory=True)


def bury_many(url, count, **headers):
    """Quickly: a process of its own would be no quicker, a confirm for each is what takes the time."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for n in range(count):
        one = user_event("created", 1000 + n)
        bury(channel, json.dumps(one).encode(), dead_headers(seconds=n % 5000, **headers), message_id=one["id"],
             type=one["type"])
    connection.close()
