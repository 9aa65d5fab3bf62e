# SPDX-License-Identifier: MIT
"""The exchanges, queues and bindings: exactly the contract's, and nothing that exists is changed."""
import os
import subprocess

import pika
import pytest
from wait import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, os.environ.get("ONBOARD_BUILD", "build/debug"), "tests/prog/topology")
ALL = ["user.*"]
CONSUMERS = {
    "eventlog": ("user_data_queue", ALL),
    "cache": ("user_cache_queue", ["user.created", "user.updated", "user.deleted"]),
    "segments": ("user_segment_queue", ALL),
    "mailer": ("user_mail_queue", ["user.created"]),
    "analytics": ("user_analytics_queue", ALL),
}
AT_LEAST_ONCE = {"x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once",
                 "x-overflow": "reject-publish"}


@pytest.fixture(scope="module", autouse=True)
def here(management):
    global DLQ
    from_4 = management.get("overview")["rabbitmq_version"] >= "4"
    DLQ = {"x-queue-type": "quorum"} | ({"x-delivery-limit": -1} if from_4 else {})


def contract(names=tuple(CONSUMERS)):
    queues = {"user.dlq": DLQ}
    bindings = {("dlx", "user.failed", "user.dlq")}
    for name in names:
        queue, keys = CONSUMERS[name]
        queues[queue] = AT_LEAST_ONCE | {"x-delivery-limit": 20, "x-dead-letter-exchange": "dlx",
                                         "x-dead-letter-routing-key": "user.failed"}
        for n, ms in ((1, 1000), (2, 2000), (3, 4000)):
            queues[f"{queue}.retry.{n}"] = AT_LEAST_ONCE | {
                "x-message-ttl": ms, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
        bindings |= {("user_events", key, queue) for key in keys}
    return queues, bindings


def topology(vhost, verb, *words, code=0):
    done = subprocess.run([PROGRAM, verb, *words], env=os.environ | {"ONBOARD_RABBITMQ_URL": vhost.url},
                          text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout if verb == "check" and not code else done.stderr


def faults(vhost, *words):
    return sorted(tuple(line.split(" ", 2)) for line in topology(vhost, "check", *words).splitlines())


def declare(vhost, *calls):
    connection = pika.BlockingConnection(pika.URLParameters(vhost.url))
    try:
        channel = connection.channel()
        for method, arguments in calls:
            getattr(channel, method)(**arguments)
    finally:
        connection.close()


def same_as_contract(vhost, names=tuple(CONSUMERS)):
    queues, bindings = contract(names)
    got = vhost.queues()
    assert {q: r["arguments"] for q, r in got.items()} == queues, got
    assert all(r["durable"] and not r["auto_delete"] and r["type"] == "quorum" for r in got.values())
    assert vhost.bindings() == bindings, vhost.bindings()
    exchanges = vhost.exchanges()
    assert set(exchanges) == {"user_events", "dlx"}
    assert all(r["type"] == "topic" and r["durable"] and not r["auto_delete"] and not r["internal"]
               for r in exchanges.values())


def test_declares_exactly_the_contract(vhost):
    for _ in range(2):
        topology(vhost, "declare")
        same_as_contract(vhost)
        assert faults(vhost) == []


def test_declares_only_the_named_consumers(vhost):
    topology(vhost, "declare", "mailer, cache")
    same_as_contract(vhost, ("cache", "mailer"))
    assert faults(vhost, "mailer,cache") == []
    assert "invalid: topology.consumers: no consumer is called mailers" in \
        topology(vhost, "declare", "mailers", code=1)


def test_check_names_what_is_missing_and_makes_no_queue(vhost):
    found = faults(vhost)
    assert not vhost.queues() and not vhost.exchanges() and not vhost.bindings()
    assert {f[0] for f in found} == {"missing"}
    assert {f[1] for f in found} == set(contract()[0]) | {"user_events", "dlx"}
    topology(vhost, "declare")
    declare(vhost, ("queue_delete", {"queue": "user_mail_queue.retry.2"}),
            ("queue_unbind", {"queue": "user_cache_queue", "exchange": "user_events",
                              "routing_key": "user.updated"}))
    (kind, name, text), = faults(vhost)
    assert (kind, name) == ("missing", "user_mail_queue.retry.2")
    assert "onboardctl topology declare" in text
    topology(vhost, "declare")
    same_as_contract(vhost)


def test_a_queue_with_other_arguments_is_named_and_left_alone(vhost):
    queues, _ = contract()
    name = "user_mail_queue.retry.1"
    other = queues[name] | {"x-message-ttl": 1500}
    declare(vhost, ("queue_declare", {"queue": name, "durable": True, "arguments": other}),
            ("queue_declare", {"queue": "user_segment_queue", "durable": True}),
            ("exchange_declare", {"exchange": "dlx", "exchange_type": "direct", "durable": True}))
    text = topology(vhost, "declare", code=1)
    assert "conflict: exchange 'dlx' exists with type direct where topic is wanted" in text, text
    found = {f[1]: f for f in faults(vhost)}
    assert set(found) == {"dlx", name, "user_segment_queue"}, found
    assert {f[0] for f in found.values()} == {"differs"}
    assert "exists with x-message-ttl 1500 where 1000 is wanted: `onboardctl topology mend`" \
        in found[name][2], found[name]
    assert "'user_segment_queue' exists with x-" in found["user_segment_queue"][2], found
    # the others were declared all the same, these are as they were
    got = vhost.queues()
    assert set(got) == set(queues)
    assert got[name]["arguments"] == other and "x-queue-type" not in \
        {k for k, v in got["user_segment_queue"]["arguments"].items() if v == "quorum"}


def test_a_dead_letter_queue_of_another_kind_is_used_as_it_is(vhost):
    declare(vhost, ("queue_declare", {"queue": "user.dlq", "durable": True,
                                      "arguments": {"x-max-length": 1000000}}))
    log = topology(vhost, "declare")
    assert "queue used as it is" in log, log
    (kind, name, text), = faults(vhost)
    assert (kind, name) == ("as-is", "user.dlq") and "used as it is" in text, text
    assert vhost.queues()["user.dlq"]["arguments"]["x-max-length"] == 1000000
    assert ("dlx", "user.failed", "user.dlq") in vhost.bindings()


def test_no_right_to_declare_is_said(vhost):
    topology(vhost, "declare")
    vhost.management.ask("PUT", "permissions", vhost.name, vhost.user,
                         body={"configure": "^$", "write": ".*", "read": ".*"})
    text = topology(vhost, "declare", code=1)
    assert "exchange 'user_events' was refused: ACCESS_REFUSED" in text, text


def test_an_event_goes_to_each_consumer_and_back_by_way_of_retry(vhost):
    topology(vhost, "declare")
    connection = pika.BlockingConnection(pika.URLParameters(vhost.url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("user_events", "user.created", b"{}", mandatory=True)
    channel.basic_publish("", "user_mail_queue.retry.1", b"again", mandatory=True)

    def take(queue, want):
        method, properties, body = wait_until(
            lambda: (lambda m: m if m[0] else None)(channel.basic_get(queue, auto_ack=False)), 5, queue)
        assert body == want, body
        return method, properties

    for queue, _ in CONSUMERS.values():
        method, _properties = take(queue, b"{}")
        channel.basic_ack(method.delivery_tag)
    method, properties = take("user_mail_queue", b"again")  # a second later
    assert method.routing_key == "user_mail_queue"
    assert properties.headers["x-first-death-reason"] == "expired"
    channel.basic_reject(method.delivery_tag, requeue=False)
    take("user.dlq", b"again")
    connection.close()
