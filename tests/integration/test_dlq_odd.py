#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""onboardctl dlq and entries that somebody made so that it fails: headers that fill a frame, huge bodies, numbers that
JSON cannot say, files that are torn."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import pika
import tap
from dead import bodies_in, bury, bury_many, dead_headers, depth, depth_is, event_body, filled, place, take


def test_headers_that_fill_a_frame_hold_nothing_up():
    """What the broker adds to them when they come again makes a larger frame than was agreed on."""
    with place() as (op, channel):
        bury_many(op.url, 15)
        full = filled(dead_headers("cache"), message_id="full")
        bury(channel, event_body()[1], full, message_id="full")
        bare = filled({"x-other": 1})  # without any of ours
        bury(channel, b"{}", bare)
        depth_is(channel, 17)
        for _ in range(3):
            assert len(op.rows("dlq", "list")) == 17
        assert len(op.rows("dlq", "stats")) == 3 and full["x-dead-id"] in op.run("dlq", "show", full["x-dead-id"])
        op.run("dlq", "replay", "--all", code=1)  # the one without a queue stays
        depth_is(channel, 1)
        assert len(bodies_in(op)) == 15
        props, _ = take(channel, "user_cache_queue")
        assert props.headers["x-big"] == full["x-big"] and props.message_id == "full"
        assert op.rows("dlq", "purge", "--all", "--yes", "--to", "gone")[0]["purged"] == 1
        assert op.rows("dlq", "import", "gone") == [{"imported": 1}]
        assert take(channel, "user.dlq")[0].headers["x-big"] == bare["x-big"]


def test_headers_of_the_brokers_own_that_no_frame_takes():
    """It gave the message up and wrote why into headers that were full: the file has them all, import leaves some out."""
    with place() as (op, channel):
        one, body = event_body()
        headers = filled({"x-test": 1}, message_id=one["id"])
        channel.basic_publish("", "user_mail_queue", body, pika.BasicProperties(delivery_mode=2, headers=headers, message_id=one["id"]))
        method = channel.basic_get("user_mail_queue")[0]
        channel.basic_reject(method.delivery_tag, requeue=False)
        depth_is(channel, 1)
        assert op.rows("dlq", "list")[0]["consumer"] == "mailer"
        op.run("dlq", "export", "file")
        assert "purged" in op.rows("dlq", "purge", "--all", "--yes")[0]
        assert "left out" in op.run("dlq", "import", "file", code=0, both=True)
        row, = op.rows("dlq", "list")
        assert row["queue"] == "user_mail_queue" and row["event_id"] == one["id"], row
        assert op.rows("dlq", "replay", "--all") == [{"replayed": 1, "stayed": 0}]
        assert take(channel, "user_mail_queue")[0].headers["x-test"] == 1


def test_headers_past_every_bound_are_said_and_double_nothing():
    """The broker takes a sender's list of further recipients into x-death at each death: ten deaths are over 1 MiB."""
    with place() as (op, channel):
        for n in range(12):
            channel.exchange_declare(f"death{n}", "fanout")
            channel.queue_declare(f"death{n}", durable=True, arguments={
                "x-message-ttl": 0, "x-dead-letter-exchange": f"death{n + 1}" if n < 11 else "deaths"})
            channel.queue_bind(f"death{n}", f"death{n}")
        channel.exchange_declare("deaths", "fanout")
        channel.queue_bind("user.dlq", "deaths")
        bury_many(op.url, 15)
        depth_is(channel, 15)
        channel.basic_publish("death0", "k", b"{}", pika.BasicProperties(headers={"CC": ["b" * 250] * 450}))
        depth_is(channel, 16)
        assert "over 1048576 bytes" in op.run("dlq", "list", code=1)
        assert "over 1048576 bytes" in op.run("dlq", "replay", "--all", code=1)
        got = depth(channel, "user_mail_queue")
        assert got <= 30 and got + depth(channel) >= 16, got


if __name__ == "__main__":
    sys.exit(tap.run(dict(globals())))
