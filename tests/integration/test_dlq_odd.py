# SPDX-License-Identifier: MIT
"""onboardctl dlq and entries that somebody made so that it fails: headers that fill a frame, huge bodies, numbers that
JSON cannot say, files that are torn."""
import json
import os

import pika
import pytest
from dead import bodies_in, bury, bury_many, dead_headers, depth, depth_is, event_body, filled, place, take
from wait import wait_until

pytestmark = pytest.mark.usefixtures("servers")


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
        # what the connection held is back in the DLQ a moment after it has ended
        wait_until(lambda: depth(channel, "user_mail_queue") + depth(channel) >= 16, 20, "nothing is lost")
        assert depth(channel, "user_mail_queue") <= 30


def test_bodies_of_any_size_are_found_by_their_event():
    one, _ = event_body(777)
    with place() as (op, channel):
        bodies = [json.dumps(one | {"more": "ā\u0080\\" * 100 + "x" * int(mib * (1 << 20))}).encode() for mib in (15.9, 4.1)]
        for n, consumer in enumerate(("mailer", "cache")):
            bury(channel, bodies[n], dead_headers(consumer, seconds=n))
        bury(channel, event_body(778)[1], dead_headers("mailer"))
        depth_is(channel, 3)
        assert "mailer" in op.run("dlq", "show", one["id"])
        assert [r["body"].encode() for r in op.rows("dlq", "show", one["id"])] == bodies
        assert op.rows("dlq", "replay", one["id"]) == [{"replayed": 2, "stayed": 0}]
        assert take(channel, "user_mail_queue")[1] == bodies[0] and depth(channel) == 1


def test_replay_holds_a_bounded_part_of_many_large_entries():
    """64 MiB and what is on its way; it takes another look for the rest."""
    with place() as (op, channel):
        for n in range(10):
            bury(channel, (b"%02d" % n) * (4 << 20), dead_headers("mailer", seconds=n))
        depth_is(channel, 10)
        assert op.rows("dlq", "replay", "--all", "--rate", "20/s") == [{"replayed": 10, "stayed": 0}]
        assert depth(channel) == 0 and sorted(b[:2] for _, b in bodies_in(op)) == [b"%02d" % n for n in range(10)]


def test_import_takes_what_purge_wrote():
    with place() as (op, channel):
        odd = dead_headers("mailer", **{"x-retry-count": 2 ** 60})
        bury(channel, event_body(1)[1], odd)
        bury(channel, event_body(2)[1], dead_headers("mailer", seconds=1, **{"x-many": [None] * 60000}))
        bury(channel, b"\x01" * (1 << 20), dead_headers("mailer", seconds=2))
        depth_is(channel, 3)
        assert int(op.rows("dlq", "list")[0]["retry_count"]) == 2 ** 60
        op.run("dlq", "purge", "--all", "--yes", "--to", "gone")
        assert op.rows("dlq", "import", "gone") == [{"imported": 3}]
        (first, _), (many, _), (_, large) = sorted(bodies_in(op, "user.dlq"), key=lambda m: m[0].headers["x-failed-at"])
        assert large == b"\x01" * (1 << 20) and len(many.headers["x-many"]) == 60000
        assert first.headers == odd, first.headers


def test_a_full_disk_tears_no_file_of_purge():
    with place() as (op, channel):
        for n in range(30):  # flushed each 8 MiB: the first flush succeeds, the next does not
            bury(channel, (b"%02d" % n) + b"x" * (1 << 20), dead_headers("mailer", seconds=n))
        depth_is(channel, 30)
        said = op.run("dlq", "purge", "--all", "--yes", "--to", "gone", code=1, file_max=12 << 20)
        assert "cannot write gone" in said, said
        with open(os.path.join(op.folder, "gone"), encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        assert 0 < len(lines) < 30
        depth_is(channel, 30 - len(lines))
        # one that was cut off all the same, by a kill: the rest is taken, and it is said
        with open(os.path.join(op.folder, "gone"), "a", encoding="utf-8") as f:
            f.write(json.dumps(lines[0])[:1000])
        said = op.run("dlq", "import", "gone", both=True)
        assert f"line ({len(lines) + 1}) is torn" in said and f"{len(lines)} entries imported" in said, said
        depth_is(channel, 30)
        assert {body[:2] for _, body in bodies_in(op, "user.dlq")} == {b"%02d" % n for n in range(30)}


def test_an_imported_entry_does_not_expire():
    with place() as (op, channel):
        line = {"body": "{}", "properties": {"expiration": "1", "type": "t"}, "headers": []}
        with open(os.path.join(op.folder, "file"), "w", encoding="utf-8") as f:
            f.write(json.dumps(line))  # whole, though without an end of line
        said = op.run("dlq", "import", "file", both=True)
        assert "1 had an expiration" in said and "1 entries imported" in said and "torn" not in said, said
        props, _ = take(channel, "user.dlq")
        assert props.expiration is None and props.type == "t"
