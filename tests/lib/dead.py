# SPDX-License-Identifier: MIT
"""Dead letters as the runtime and the broker write them, and onboardctl."""
import contextlib
import datetime
import json
import os
import subprocess
import tempfile
import uuid

import pika
from daemon import BUILD
from pipeline import user_event
from rabbit import Vhost
from wait import wait_until

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
    """onboardctl on one virtual host, with an audit log of its own."""

    def __init__(self, url, folder):
        self.url, self.folder = url, folder
        self.audit = os.path.join(folder, "audit.log")
        self.env = os.environ | {"ONBOARD_RABBITMQ_URL": url, "ONBOARD_CTL_AUDIT_LOG": self.audit, "TMPDIR": folder,
                                 "XDG_STATE_HOME": os.path.join(folder, "state")}

    def start(self, *words, **env):
        return subprocess.Popen([CTL, *words], env=self.env | env, cwd=self.folder, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *words, code=0, stdin=None, both=False, file_max=None, **env):
        """Runs onboardctl, expects this exit code, and returns what it printed. After a failure, and with both, that
        includes stderr. file_max: no file can grow past so many bytes, as on a full disk."""
        command = [CTL, *words]
        if file_max is not None:
            assert file_max % 512 == 0
            command = ["sh", "-c", f'trap "" XFSZ; ulimit -f {file_max // 512}; exec "$0" "$@"', *command]
        done = subprocess.run(command, env=self.env | env, cwd=self.folder, text=True, timeout=240,
                              input="" if stdin is None else stdin, capture_output=True, check=False)
        assert done.returncode == code, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout + done.stderr if both else done.stdout if code == 0 else done.stderr

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
    """Publishes many dead letters quickly, without confirms."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for n in range(count):
        one = user_event("created", 1000 + n)
        bury(channel, json.dumps(one).encode(), dead_headers(seconds=n % 5000, **headers), message_id=one["id"],
             type=one["type"])
    connection.close()


@contextlib.contextmanager
def place():
    """A virtual host with the topology, a channel to it, and an operator."""
    with Vhost() as vhost, tempfile.TemporaryDirectory() as folder:
        operator = Operator(vhost.url, folder)
        operator.run("topology", "declare", ONBOARD_CTL_AUDIT_LOG=os.path.join(folder, "declared.log"))
        connection = pika.BlockingConnection(pika.URLParameters(vhost.url))
        channel = connection.channel()
        channel.confirm_delivery()
        try:
            yield operator, channel
        finally:
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()


def event_body(user_id=7, **more):
    one = user_event("created", user_id) | more
    return one, json.dumps(one).encode()


def take(channel, queue):
    """Takes the next message from the queue."""
    method, props, body = wait_until(lambda: (lambda m: m if m[0] else None)(channel.basic_get(queue)), 10, queue)
    channel.basic_ack(method.delivery_tag)
    return props, body


def bodies_in(op, queue="user_mail_queue"):
    """Takes all messages from the queue: (properties, body) each."""
    connection = pika.BlockingConnection(pika.URLParameters(op.url))
    channel = connection.channel()
    taken = []
    while True:
        method, props, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            break
        taken.append((props, body))
    connection.close()
    return taken


def drained(op, queue="user_mail_queue"):
    return [props.message_id for props, _ in bodies_in(op, queue)]


def death(queue, reason="delivery_limit"):
    return {"x-death": [{"queue": queue, "reason": reason, "count": 1, "time": EPOCH, "exchange": "user_events",
                         "routing-keys": ["user.created"]}]}


FRAME = 131072  # the broker's largest frame


def filled(headers, size=FRAME, **more):
    """The headers and one more, which makes their frame exactly this large."""
    def frame(n):
        props = pika.BasicProperties(delivery_mode=2, headers=headers | {"x-big": "b" * n}, **more)
        return 20 + len(b"".join(props.encode()))
    return headers | {"x-big": "b" * (size - frame(0))}
