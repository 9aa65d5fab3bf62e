# SPDX-License-Identifier: MIT
"""onboardctl topology mend: 20,000 messages through a temporary queue, killed in the middle, with the
broker restarted in the middle, with consumers attached: nothing is lost."""
import collections
import json
import os
import signal
import subprocess
import time

import pika
import pytest
from daemon import BUILD
from harm import busy, stack
from pipeline import Load, event
from wait import wait_until

pytestmark = pytest.mark.seconds(95)
QUEUE, MEND = "user_data_queue", "user_data_queue.mend"
COUNT = 20000
RIGHT = {"x-queue-type": "quorum", "x-delivery-limit": 20, "x-dead-letter-exchange": "dlx",
         "x-dead-letter-routing-key": "user.failed", "x-dead-letter-strategy": "at-least-once",
         "x-overflow": "reject-publish"}
OTHER = {"x-queue-type": "quorum", "x-delivery-limit": 7}


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global PIPE
    PIPE = pipe


def command(*words):
    return [os.path.join(BUILD, "bin/onboardctl"), *words]


def ctl(*words):
    said = subprocess.run(command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                          check=False, env=os.environ | PIPE.env)
    return said.returncode, said.stdout, said.stderr


def start(*words, faults=""):
    return subprocess.Popen(command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                            stderr=subprocess.STDOUT, env=os.environ | PIPE.env | {"ONBOARD_FAULTS": faults})


def ended(process):
    """Its exit status, and all that it said."""
    said = process.communicate(timeout=120)[0]
    return process.returncode, said


def depth(queue):
    """None: there is none."""
    try:
        return PIPE.depth(queue)
    except Exception:
        return None


def arguments(queue):
    return {name: row["arguments"] for name, row in PIPE.place.vhost.queues().items()}.get(queue)


def bindings(queue):
    rows = PIPE.place.management.get("queues", PIPE.place.name, queue, "bindings")
    return {(b["source"], b["routing_key"]) for b in rows if b["source"]}


def wrong(args=None, queue=QUEUE):
    """The topology, but for one queue with other arguments, bound as the right one was."""
    assert ctl("topology", "declare")[0] == 0
    with PIPE.channel(confirm=False) as channel:
        channel.queue_delete(queue)
        channel.queue_declare(queue, durable=True, arguments=args or OTHER)
        if queue == QUEUE:
            channel.queue_bind(queue, "user_events", "user.*")


def fill(count):
    """Events with all kinds of properties; {message id: (body, headers)}. The first is confirmed: a queue that was
    declared just now may lose what comes before it has a leader."""
    sent = {}
    with PIPE.channel() as sure, PIPE.channel(confirm=False) as channel:
        for n in range(count):
            one = event("login", {"user_id": 8000000000000000 + n, "metadata": {"n": n, "text": "ü" * (n % 50)}})
            body = json.dumps(one).encode() if n % 100 else b"\xff\x00no json %d" % n
            headers = {"n": n, "traceparent": "00-a-b-01"} if n % 2 else {"x-retry-count": n % 4}
            (channel if n else sure).basic_publish("user_events", "user.login", body, pika.BasicProperties(
                message_id=one["id"], delivery_mode=2, headers=headers, type="user.login", priority=n % 5,
                correlation_id=str(n), timestamp=1700000000 + n, app_id="test", content_type="application/json",
                **({"expiration": "900000"} if n % 10 == 3 else {})))
            sent[one["id"]] = (body, headers, n)
    wait_until(lambda: depth(QUEUE) == count, 30, f"{count} wait")
    return sent


def taken(count):
    """So many of the queue, by a consumer: faster than one by one."""
    with PIPE.channel(confirm=False) as channel:
        got = []
        for method, props, body in channel.consume(QUEUE, auto_ack=True, inactivity_timeout=5):
            if method:
                got.append((body, props))
            if not method or len(got) == count:
                return got


def same(sent, doubled_at_most):
    """What the queue holds is what was sent."""
    got = collections.Counter()
    wait_until(lambda: (depth(QUEUE) or 0) >= len(sent), 30, "a broker that is busy says 0")
    for body, props in taken(depth(QUEUE)):
        want, headers, n = sent[props.message_id]
        assert body == want and props.correlation_id == str(n) and props.timestamp == 1700000000 + n, n
        assert props.priority == n % 5 and props.type == "user.login" and props.delivery_mode == 2, props
        had = dict(props.headers)
        assert had.pop("x-original-routing-key") == "user.login" and had.pop("x-delivery-count", 0) <= 20, had
        assert had == headers, (had, headers)
        got[props.message_id] += 1
    assert set(got) == set(sent), f"{len(set(sent) - set(got))} lost"
    doubled = sum(got.values()) - len(sent)
    print(f"# {len(sent)} sent, {doubled} doubled")
    assert doubled <= doubled_at_most, doubled


def whole():
    assert arguments(QUEUE) == RIGHT, arguments(QUEUE)
    assert bindings(QUEUE) == {("user_events", "user.*")}, bindings(QUEUE)
    assert depth(MEND) is None
    assert ctl("topology", "check")[0] == 0


def test_mend_keeps_every_message_with_all_it_has():
    wrong()
    sent = fill(COUNT)
    code, out, _ = ctl("topology", "mend", "--dry-run")
    assert code == 0 and "would mend" in out and "x-" in out and str(COUNT) in out, out
    assert arguments(QUEUE) == OTHER and depth(MEND) is None and depth(QUEUE) == COUNT
    began = time.monotonic()
    code, out, err = ctl("topology", "mend")
    print(f"# {COUNT} messages there and back in {time.monotonic() - began:.1f} s")
    assert code == 0 and f"{QUEUE} is as it should be" in out, (out, err)
    whole()
    same(sent, 0)
    code, out, _ = ctl("topology", "mend")
    assert code == 0 and "nothing to mend" in out


def killed_at(count):
    """mend, killed by SIGKILL when it has moved so many."""
    code, said = ended(start("topology", "mend", faults=f"move_confirmed=kill@{count}"))
    assert code == -signal.SIGKILL, (code, said)


def settled():
    """How many wait in either queue once the first has back what a killed one held, but for a thousand
    at most: so many may be in both. A broker that is busy says 0."""
    def both():
        here, there = depth(QUEUE), depth(MEND)
        return (here, there) if here and there and here + there >= COUNT else None
    return wait_until(both, 30, "what it held is back")


def test_mend_killed_on_the_way_out_and_back():
    wrong()
    sent = fill(COUNT)
    killed_at(3000)
    killed_at(6000)  # begun while the broker may not have noticed that the other is gone
    rest, moved = settled()
    assert arguments(QUEUE) == OTHER and rest <= COUNT - 5000 and moved >= 9000, (rest, moved)
    killed_at(rest + 5000)
    assert arguments(QUEUE) == RIGHT, "on the way back"
    wait_until(lambda: (depth(QUEUE) or 0) >= 2000, 30, "on the way back")
    code, out, _ = ctl("topology", "mend", "--dry-run")
    assert code == 0 and "an earlier mend left" in " ".join(out.split()), out
    code, out, err = ctl("topology", "mend")
    assert code == 0, (out, err)
    whole()
    same(sent, 3 * 2000)


def test_mend_over_a_restart_of_the_broker():
    wrong()
    sent = fill(COUNT)
    process = start("topology", "mend", faults="move_confirmed=stall:3000@5000")
    wait_until(lambda: (depth(MEND) or 0) > 3000, 60, "the way out")
    stack("ctl", "restart", "rabbitmq")
    began = time.monotonic()
    code, said = ended(process)
    assert code == 0, said
    print(f"# mended {time.monotonic() - began:.1f} s after it")
    whole()
    same(sent, 2000)


def test_mend_while_events_come():
    wrong()
    sent = fill(5000)
    with Load(PIPE, lambda n: event("login", {"user_id": n + 1}), 800) as load:
        wait_until(lambda: len(load.sent) > 200, 10, "load")
        assert ctl("topology", "mend")[0] == 0
        wait_until(lambda: len(load.sent) > 1500, 10, "load")
    whole()
    got = collections.Counter(props.message_id for _, props, _, _ in PIPE.take(QUEUE))
    want = set(sent) | {e["id"] for e in load.sent}
    assert set(got) == want, f"{len(want - set(got))} lost"
    print(f"# {len(want)} events, {sum(got.values()) - len(want)} twice")


def test_mend_refuses_while_somebody_consumes():
    wrong()
    PIPE.publish(*(event("login", {"user_id": n + 1}) for n in range(5)))
    with PIPE.daemon("onboard-eventlog") as daemon:
        daemon.wait_status("/ready", 200, 20)
        code, _, err = ctl("topology", "mend")
        assert code == 1 and "onboardctl pause eventlog" in err and arguments(QUEUE) == OTHER, err
        wait_until(lambda: PIPE.events.count_documents({}) == 5, 10, "five documents")
        assert ctl("pause", "eventlog")[0] == 0
        PIPE.publish(*(event("login", {"user_id": n + 1}) for n in range(5)))
        assert ctl("topology", "mend")[0] == 0
        whole()
        assert ctl("resume", "eventlog")[0] == 0
        wait_until(lambda: PIPE.events.count_documents({}) == 10, 15, "ten documents")
        assert daemon.terminate() == 0


def test_mend_waits_for_who_works_on_dead_letters():
    wrong()
    with PIPE.channel(confirm=False) as channel:
        channel.queue_declare("onboardctl.dlq.lock", exclusive=True)
        code, _, err = ctl("topology", "mend", "--no-wait")
        assert code == 1 and "in use" in err and arguments(QUEUE) == OTHER, err
        assert ctl("topology", "mend", "--dry-run")[0] == 0, "a look wants no lock"
        process = start("topology", "mend")
        wait_until(lambda: PIPE.place.management.get("vhosts", PIPE.place.name, "connections"), 10, "it is there")
        assert process.poll() is None and arguments(QUEUE) == OTHER
    code, said = ended(process)
    assert code == 0, said
    whole()


def test_mend_waits_for_the_end_of_one_that_was_killed():
    """RabbitMQ notices late; its QUEUE.mend tells that there was one."""
    wrong()
    sent = fill(100)
    killed_at(50)
    with PIPE.channel(confirm=False) as channel:
        channel.basic_consume(QUEUE, lambda *_: None)
        process = start("topology", "mend")
        try:
            code = process.wait(1)
        except subprocess.TimeoutExpired:
            code = None
        assert code is None, ended(process)
    code, said = ended(process)
    assert code == 0, said
    whole()
    same(sent, 100)


def test_mend_by_force_takes_what_nobody_holds():
    PIPE.purge()
    wrong()
    with PIPE.channel(confirm=False) as channel:
        channel.basic_qos(prefetch_count=3)
        held = []
        channel.basic_consume(QUEUE, lambda *got: held.append(got))
        for n in range(10):
            channel.basic_publish("user_events", "user.login", b"%d" % n, pika.BasicProperties(delivery_mode=2))
        wait_until(lambda: channel.connection.process_data_events(0) or len(held) == 3, 10, "three are held")
        assert ctl("topology", "mend")[0] == 1 and arguments(QUEUE) == OTHER
        code, out, err = ctl("topology", "mend", "--force", "--why", "a test")
        assert code == 0, (out, err)
        whole()
        assert sorted(int(body) for body, _ in taken(7)) == list(range(3, 10)), "all but those that the consumer held"


def test_mend_of_a_retry_queue_of_the_dlq_and_of_a_classic_queue():
    PIPE.purge()
    retry = "user_mail_queue.retry.2"
    wrong({"x-queue-type": "classic"}, retry)
    with PIPE.channel(confirm=False) as channel:
        for n in range(50):
            channel.basic_publish("", retry, b"%d" % n, pika.BasicProperties(delivery_mode=2))
    code, out, err = ctl("topology", "mend")
    assert code == 0 and retry in out, (out, err)
    wait_until(lambda: PIPE.depth("user_mail_queue") == 50, 10, "they come back to their queue")
    wrong({"x-queue-type": "classic"}, "user.dlq")
    with PIPE.channel(confirm=False) as channel:
        channel.queue_bind("user.dlq", "dlx", "user.failed")
        channel.basic_publish("dlx", "user.failed", b"dead", pika.BasicProperties(delivery_mode=2, headers={"x-death": [{"n": 1}]}))
    wait_until(lambda: PIPE.depth("user.dlq") == 1, 5, "it is dead")
    assert "nothing to mend" in ctl("topology", "mend")[1] and arguments("user.dlq")["x-queue-type"] == "classic"
    assert ctl("topology", "mend", "user.dlq")[0] == 0
    assert arguments("user.dlq")["x-queue-type"] == "quorum" and bindings("user.dlq") == {("dlx", "user.failed")}
    (body, props, _, _), = PIPE.take("user.dlq")
    assert body == b"dead" and props.headers["x-death"] == [{"n": 1}]
    assert ctl("topology", "mend", "no.such")[0] == 3


def test_a_queue_too_busy_to_answer_is_not_empty():
    """It would be deleted with all that it holds."""
    wrong()
    sent = fill(100)
    with busy(PIPE.env["ONBOARD_RABBITMQ_URL"], QUEUE):
        assert depth(QUEUE) == 0, "this is what the test is about"
        work = start("topology", "mend", QUEUE)
        assert depth(QUEUE) == 0 and depth(QUEUE) == 0 and work.poll() is None
    code, said = ended(work)
    assert code == 0, said
    assert arguments(QUEUE) == RIGHT and depth(MEND) is None
    same(sent, 0)
