#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""onboardctl dlq through the real broker: it looks without taking, and what it changes is never lost."""
import contextlib
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import pika
import tap
from dead import FIELDS, QUEUES, Operator, at, bury, bury_many, dead_headers, depth, depth_is
from pipeline import user_event
from rabbit import Management, Vhost

URL = os.environ["ONBOARD_RABBITMQ_URL"]
MANAGEMENT = Management(os.environ["ONBOARD_RABBITMQ_MANAGEMENT_URL"])


@contextlib.contextmanager
def place():
    """A virtual host with the topology, a channel to it, and an operator."""
    with Vhost(MANAGEMENT, URL) as vhost, tempfile.TemporaryDirectory() as folder:
        operator = Operator(vhost.url, folder)
        operator.run("topology", "declare")
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
    """The next message there, taken."""
    method, props, body = tap.wait_until(lambda: (lambda m: m if m[0] else None)(channel.basic_get(queue)), 10, queue)
    channel.basic_ack(method.delivery_tag)
    return props, body


def test_lists_by_time_of_failure_and_filters():
    with place() as (op, channel):
        made = []
        for n, (consumer, error, cls) in enumerate([("mailer", "smtp: 421 later", "exhausted"),
                                                    ("cache", "redis: timeout", "exhausted"),
                                                    ("mailer", "email is missing", "permanent"),
                                                    ("eventlog", "crashed", "poison")]):
            one, body = event_body(100 + n)
            headers = dead_headers(consumer, error, seconds=-n * 60, cls=cls)
            bury(channel, body, headers, message_id=one["id"], type=one["type"])
            made.append((one, headers))
        bury(channel, b"\xff\x00not an event\x1b[31m", {}, type="user.odd")
        rows = op.rows("dlq", "list")
        assert [list(r) for r in rows] == [FIELDS] * 5, rows
        assert [r["id"] for r in rows[:4]] == [h["x-dead-id"] for _, h in reversed(made)]
        one, headers = made[2]
        assert rows[1] == {"id": headers["x-dead-id"], "event_id": one["id"], "consumer": "mailer",
                           "queue": "user_mail_queue", "type": "user.created", "class": "permanent",
                           "error": "email is missing", "retry_count": 0, "first_failed_at": at(-127),
                           "failed_at": at(-120)}
        garbage = rows[4]
        assert len(garbage["id"]) == 32 and garbage["type"] == "user.odd"
        assert garbage["consumer"] is None and garbage["event_id"] is None
        for words, want in [(["--consumer", "mailer"], [2, 0]), (["--class", "poison"], [3]),
                            (["--error", "^(redis|crash)"], [3, 1]), (["--user", "101"], [1]),
                            (["--since", at(-60)], [1, 0]), (["--until", at(-60)], [3, 2]), (["--limit", "2"], [3, 2]),
                            (["--since", "1s", "--type", "user.created"], None), (["--type", "created"], [3, 2, 1, 0])]:
            if want is None:
                assert op.rows("dlq", "list", *words, code=3) == []
            else:
                got = [r["id"] for r in op.rows("dlq", "list", *words)]
                assert got == [made[n][1]["x-dead-id"] for n in want], (words, got)
        assert depth(channel) == 5
        out = op.run("dlq", "list")
        assert "\x1b" not in out and all(len(line) <= 80 for line in out.splitlines()), out
        assert made[0][1]["x-dead-id"] in out
        assert "nothing" not in op.run("dlq", "list", "--error", "(", code=2)


def test_an_empty_queue_and_a_missing_one():
    with place() as (op, channel):
        assert "empty" in op.run("dlq", "list", code=3)
        channel.queue_delete("user.dlq")
        assert "onboardctl topology declare" in op.run("dlq", "list", code=1)
        assert op.run("dlq", "list", code=69, ONBOARD_RABBITMQ_URL="amqp://127.0.0.1:1/%2f")
        assert "--all" in op.run("dlq", "replay", code=2)
        assert op.run("dlq", "bury", code=2) and op.run("dlq", "list", "--yes", code=2)


def test_fifty_looks_leave_everything():
    with place() as (op, channel):
        bury_many(op.url, 200)
        depth_is(channel, 200)
        ids = [r["id"] for r in op.rows("dlq", "list")]
        for _ in range(49):
            assert len(op.rows("dlq", "stats")) == 1
            assert depth(channel) == 200
        assert [r["id"] for r in op.rows("dlq", "list")] == ids
        assert depth(channel) == 200


if __name__ == "__main__":
    sys.exit(tap.run(dict(globals())))
