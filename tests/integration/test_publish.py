# SPDX-License-Identifier: MIT
"""onboardctl publish through the real broker: what arrives, and what is said when nothing takes it."""
import json
import os
import tempfile
import time

import pika
import pytest
from dead import Operator, depth_is
from rabbit import Vhost


pytestmark = pytest.mark.usefixtures("servers")


class Place:
    def __enter__(self):
        self.vhost = Vhost().__enter__()
        self.folder = tempfile.TemporaryDirectory()
        self.op = Operator(self.vhost.url, self.folder.name)
        self.op.run("topology", "declare")
        self.connection = pika.BlockingConnection(pika.URLParameters(self.vhost.url))
        self.channel = self.connection.channel()
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.vhost.__exit__(*_)
        self.folder.cleanup()

    def got(self, queue="user_data_queue"):
        while True:
            method, props, body = self.channel.basic_get(queue, auto_ack=True)
            if method is None:
                return
            yield method, props, body

    def file(self, name, data):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as f:
            f.write(data)
        return path


def test_templates_arrive_as_the_contract_says():
    with Place() as p:
        for kind in ("created", "updated", "deleted", "purchase", "login"):
            ids = p.op.run("publish", f"user.{kind}").split()
            (method, props, body), = p.got()
            event = json.loads(body)
            assert ids == [event["id"]] == [props.message_id] and event["type"] == f"user.{kind}" == props.type
            assert props.headers == {"x-test": 1} and props.delivery_mode == 2 and props.app_id == "onboardctl"
            assert props.content_type == "application/json" and method.routing_key == f"user.{kind}"
            assert abs(props.timestamp - time.time()) < 60 and method.exchange == "user_events"
            payload = event["payload"]
            assert 8000000000000000 <= payload["user_id"] < 2 ** 53, payload
            if kind in ("created", "updated"):
                assert payload["email"].endswith("@example.com") and payload["version"] >= 1 and payload["username"]
            if kind == "purchase":
                assert payload["event_type"] == "purchase" and payload["metadata"]["price"] > 0


def test_what_is_given_wins():
    with Place() as p:
        path = p.file("payload.json", b'{"metadata": {"page": "/x"}, "user_id": 9}')
        row, = p.op.rows("publish", "user.created", "--user-id", "42", "--username", "ann", "--email", "ann@example.org")
        assert row["user_id"] == 42 and row["routing_key"] == "user.created" and row["exchange"] == "user_events"
        p.op.run("publish", "page_view", "--payload", f"@{path}")
        p.op.run("publish", "user.purchase", "--payload", "-", "--user-id", "5",
                 stdin='{"metadata": {"price": 2.5}, "user_id": 6}')
        created, view, purchase = (json.loads(body)["payload"] for _, _, body in p.got())
        assert (created["user_id"], created["username"], created["email"]) == (42, "ann", "ann@example.org")
        assert view == {"user_id": 9, "event_type": "page_view", "metadata": {"page": "/x"}}
        assert purchase == {"user_id": 5, "event_type": "purchase", "metadata": {"price": 2.5}}
        for words in (["--payload", "[1]"], ["--payload", "{"], ["--user-id", "x"], ["--rate", "fast"], ["--count", "0"],
                      ["--priority", "256"], ["--nothing"], ["--raw", "/nowhere/file"]):
            assert p.op.run("publish", "user.created", *words, code=2).startswith("onboardctl publish: ")
        assert p.op.run("publish", code=2)


def test_raw_bytes_priority_and_another_exchange():
    with Place() as p:
        raw = b"\x00\xff not an event"
        said = p.op.start("publish", "user.created", "--raw", p.file("raw", raw), "--priority", "7")
        out, err = said.communicate(timeout=30)
        assert said.returncode == 0 and "dead-letter" in err
        (_, props, body), = p.got()
        assert body == raw and props.priority == 7 and props.message_id == out.strip()
        p.op.run("publish", "user.created", "--exchange", "", "--routing-key", "user_mail_queue")
        assert len(list(p.got("user_mail_queue"))) == 2 and list(p.got()) == []


def test_nothing_bound_and_no_exchange_are_said():
    with Place() as p:
        said = p.op.run("publish", "other.thing", "--payload", "{}", code=1)
        assert "nothing is bound" in said and "other.thing" in said and "topology check" in said
        assert "no exchange" in p.op.run("publish", "user.created", "--exchange", "nope", code=1)
        assert "nothing is bound" in p.op.run("publish", "user.created", "--exchange", "", "--routing-key", "no_queue",
                                              "--count", "3", code=1)
        p.op.run("publish", "user.created", code=69, ONBOARD_RABBITMQ_URL="amqp://127.0.0.1:1/%2f")


def test_many_and_no_faster_than_asked():
    with Place() as p:
        rows = p.op.rows("publish", "user.created", "--count", "5000")
        assert len({r["id"] for r in rows}) == 5000 and len({r["user_id"] for r in rows}) > 4990
        depth_is(p.channel, 5000, "user_data_queue")
        began = time.monotonic()
        p.op.run("publish", "user.created", "--count", "100", "--rate", "50/s")
        assert time.monotonic() - began > 1.8
        depth_is(p.channel, 5100, "user_data_queue")
