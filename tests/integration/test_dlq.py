# SPDX-License-Identifier: MIT
"""onboardctl dlq through the real broker: it looks without taking, and what it changes is never lost."""
import contextlib
import json
import os
import stat
import subprocess
import time
from decimal import Decimal

import pika
import pytest
from wait import wait_until
from dead import (CTL, EPOCH, FIELDS, QUEUES, at, bodies_in, bury, bury_many, dead_headers, death, depth, depth_is, drained,
                  event_body, place, take)
from harm import busy, stack
from pipeline import now

pytestmark = pytest.mark.seconds(110)



pytestmark = pytest.mark.usefixtures("servers")


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
        assert "\x1b" not in out and "email is missing  user.created" in out, "in a pipe a row is whole"
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


def test_show_tells_attempts_and_what_next():
    with place() as (op, channel):
        one, body = event_body()
        headers = dead_headers(cls="permanent", error="bad \x1b[31m\u009b name", seconds=60)
        bury(channel, body, headers, message_id=one["id"])
        out = op.run("dlq", "show", headers["x-dead-id"])
        for text in (one["id"], '"user_id": 7', at(53), at(60), f"dlq replay {headers['x-dead-id']} --edit", "permanent"):
            assert text in out, (text, out)
        assert "\x1b" not in out and "\u009b" not in out
        row, = op.rows("dlq", "show", one["id"])
        assert [k for k in row if k in FIELDS] == FIELDS and json.loads(row["body"]) == one
        assert op.run("dlq", "show", headers["x-dead-id"][:9])
        assert "\u009b" not in op.run("dlq", "list", "--json")
        second = dict(headers, **{"x-dead-id": headers["x-dead-id"][:20] + "-other"})
        bury(channel, body, second)
        assert "begins several" in op.run("dlq", "show", headers["x-dead-id"][:9], code=2)
        assert len(op.rows("dlq", "show", one["id"])) == 2
        assert "dlq list" in op.run("dlq", "show", "nothing-like-it", code=3)
        assert op.run("dlq", "show", "short", code=2)
        assert depth(channel) == 2


def test_what_the_broker_gave_up_is_read_from_x_death():
    with place() as (op, channel):
        one, body = event_body()
        channel.basic_publish("user_events", "user.created", body, pika.BasicProperties(delivery_mode=2, message_id="m"))
        for _ in range(30):  # 20 is the queue's limit
            method, _, _ = channel.basic_get("user_mail_queue")
            if method:
                channel.basic_reject(method.delivery_tag, requeue=True)
            elif depth(channel):
                break
        depth_is(channel, 1)
        row, = op.rows("dlq", "list")
        assert (row["consumer"], row["queue"], row["class"]) == ("mailer", "user_mail_queue", "poison"), row
        assert row["event_id"] == one["id"] and "delivery_limit" in row["error"] and row["failed_at"] and len(row["id"]) == 32
        assert "broker itself" in op.run("dlq", "show", row["id"])
        assert op.rows("dlq", "replay", row["id"]) == [{"replayed": 1, "stayed": 0}]
        props, got = take(channel, "user_mail_queue")
        assert got == body and props.headers == {"x-original-routing-key": "user.created"}, props.headers


def test_replay_goes_to_its_consumer_alone_with_fresh_headers():
    with place() as (op, channel):
        made = []
        for consumer in ("mailer", "cache", "eventlog"):
            one, body = event_body()
            headers = dead_headers(consumer, **{"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "x-test": 1,
                                                "x-delivery-count": 4, "CC": ["user_data_queue"]})
            headers["x-death"] = [{"queue": "user_mail_queue.retry.1", "reason": "expired", "count": 1}]
            bury(channel, body, {k: v for k, v in headers.items() if k != "CC"}, message_id=one["id"], app_id="them",
                 expiration="3600000")
            made.append((headers["x-dead-id"], one, body))
        assert "entries replayed" in op.run("dlq", "replay", made[0][0], "--why", "mended")
        assert depth(channel) == 2
        props, got = take(channel, "user_mail_queue")
        assert got == made[0][2] and props.message_id == made[0][1]["id"] and props.app_id == "them"
        assert props.expiration is None and props.delivery_mode == 2
        assert props.headers == {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "x-test": 1,
                                 "x-original-routing-key": "user.created"}, props.headers
        assert all(depth(channel, q) == 0 for q in QUEUES.values())
        begin, end = op.audited()
        assert begin["what"] == end["what"] == "dlq replay" and end["count"] == 1 and end["why"] == "mended"
        assert begin["filter"] == {"ids": [made[0][0]]} and begin["phase"] == "begin" and end["result"] == "done"
        assert op.rows("dlq", "replay", "--consumer", "cache") == [{"replayed": 1, "stayed": 0}]
        assert op.rows("dlq", "replay", "--all") == [{"replayed": 1, "stayed": 0}]
        assert depth(channel) == 0 and depth(channel, "user_cache_queue") == depth(channel, "user_data_queue") == 1
        assert op.run("dlq", "replay", "--all", code=3)


def test_what_has_no_queue_stays_and_is_said():
    with place() as (op, channel):
        _, body = event_body()
        bury(channel, body, dead_headers("mailer"))
        bury(channel, body, {"x-other": 1})
        bury(channel, body, dead_headers("cache"))
        bury(channel, body, dead_headers("analytics") | {"x-first-failed-at": "2020-01-01T00:00:00Z"})
        channel.queue_delete("user_mail_queue")
        said = op.run("dlq", "replay", "--all", code=1)
        assert "no queue user_mail_queue" in said and "no header says" in said and "--force" in said, said
        assert depth(channel) == 3 and depth(channel, "user_cache_queue") == 1
        assert "user_mail_queue" in op.run("dlq", "replay", "--all", "--force", code=1)
        assert depth(channel) == 2 and depth(channel, "user_analytics_queue") == 1


def test_a_forged_queue_is_not_believed():
    with place() as (op, channel):
        with open(os.path.join(op.folder, "topology.conf"), "w", encoding="utf-8") as f:
            f.write("queue invoices x-dead-letter-exchange=dlx x-dead-letter-routing-key=user.failed\n")
        op.env["ONBOARD_TOPOLOGY_FILE"] = os.path.join(op.folder, "topology.conf")
        op.run("topology", "declare")
        op.run("pause", "mailer")
        channel.queue_declare("others", durable=True)
        targets = ["onboardctl.dlq.lock", "onboardctl.dlq.holder", "onboard.paused.mailer", "others", "user.dlq",
                   "user_cache_queue", "user_mail_queue.retry.1", "", "evil\x1b[31m", "invoices"]
        forged = [dead_headers("mailer", **{"x-original-queue": q}) for q in targets]
        forged += [dead_headers(q, **{"x-original-queue": q}) for q in ("onboard.paused.mailer", "others")]
        nobody = dead_headers("mailer")
        del nobody["x-consumer"]
        forged += [nobody] + [death(q) for q in ("others", "onboard.paused.mailer", "user.dlq")]
        for n, headers in enumerate(forged):
            bury(channel, event_body(n)[1], headers)
        depth_is(channel, len(forged))
        said = op.run("dlq", "replay", "--all", "--force", code=1)
        assert "paused.mailer" in said and "but mailer reads user_mail_queue" in said and "\x1b" not in said, said
        assert "0 stay" not in said and depth(channel) == len(forged)
        assert all(depth(channel, q) == 0 for q in [*QUEUES.values(), "others", "invoices"])
        edited = op.run("dlq", "replay", forged[5]["x-dead-id"], "--edit", code=1, VISUAL="sed -i s/u/v/")
        assert "mailer reads user_mail_queue" in edited, edited
        assert "cannot go back" in op.run("dlq", "show", forged[0]["x-dead-id"])
        # what the topology knows goes back: of the table by its header or its death, of the file as well
        real = [(dead_headers("mailer"), "user_mail_queue"), (death("user_cache_queue"), "user_cache_queue"),
                (death("user_data_queue.retry.2", "maxlen"), "user_data_queue"), (death("invoices"), "invoices"),
                (dead_headers("billing", **{"x-original-queue": "invoices"}), "invoices")]
        for n, (headers, _) in enumerate(real):
            bury(channel, event_body(100 + n)[1], headers)
        op.run("dlq", "replay", "--all", code=1)
        assert depth(channel) == len(forged)
        assert {q: depth(channel, q) for _, q in real} == {"user_mail_queue": 1, "user_cache_queue": 1,
                                                           "user_data_queue": 1, "invoices": 2}


def test_plan_and_apply():
    with place() as (op, channel):
        ids = []
        for n in range(6):
            headers = dead_headers("mailer" if n % 2 else "cache", seconds=n)
            bury(channel, event_body()[1], headers)
            ids.append(headers["x-dead-id"])
        out = op.run("dlq", "replay", "--consumer", "mailer", "--dry-run", "--plan", "plan")
        assert "user_mail_queue" in out and "--apply plan" in out and depth(channel) == 6
        assert [r["id"] for r in op.rows("dlq", "replay", "--all", "--dry-run")] == ids
        with open(os.path.join(op.folder, "plan"), encoding="utf-8") as f:
            assert f.read().split() == ids[1::2]
        late = dead_headers("mailer")
        bury(channel, event_body()[1], late)
        assert not os.path.exists(op.audit)
        assert op.rows("dlq", "replay", "--apply", "plan") == [{"replayed": 3, "stayed": 0}]
        assert [r["id"] for r in op.rows("dlq", "list", "--consumer", "mailer")] == [late["x-dead-id"]]
        assert op.run("dlq", "replay", "--apply", "plan", code=3)
        assert op.run("dlq", "replay", "--apply", "nowhere", code=2)
        assert op.rows("dlq", "replay", "--consumer", "cache", "--limit", "2") == [{"replayed": 2, "stayed": 0}]
        assert ids[4] in op.run("dlq", "list")


def test_canary_stops_when_they_come_back_dead():
    with place() as (op, channel):
        bodies = [event_body(n) for n in range(30)]
        for one, body in bodies:
            bury(channel, body, dead_headers("mailer"), message_id=one["id"])
        work = op.start("dlq", "replay", "--all", "--canary", "--canary-wait", "3")
        take(channel, "user_mail_queue")  # the first goes well
        for _ in range(10):
            props, body = take(channel, "user_mail_queue")
            headers = dead_headers("mailer")
            bury(channel, body, headers | {"x-failed-at": now()}, message_id=props.message_id)
        out, err = work.communicate(timeout=60)
        assert work.returncode == 1 and "10 of 11 came back dead" in err and "dlq show" in err, (out, err)
        assert "11 entries replayed" in out and depth(channel, "user_mail_queue") == 0
        depth_is(channel, 29)
        assert op.rows("dlq", "replay", "--all", "--canary", "--canary-wait", "0") == [{"replayed": 29, "stayed": 0}]


def test_edit_gives_the_copy_an_id_of_its_own():
    with place() as (op, channel):
        one, body = event_body(777)
        headers = dead_headers("mailer", cls="permanent")
        bury(channel, body.replace(b"u777@example.com", b"broken"), headers, message_id=one["id"])
        dead = headers["x-dead-id"]
        assert "not changed" in op.run("dlq", "replay", dead, "--edit", code=1, EDITOR="true", VISUAL="")
        assert "editor" in op.run("dlq", "replay", dead, "--edit", code=1, EDITOR="false", VISUAL="")
        said = op.run("dlq", "replay", dead, "--edit", code=1, EDITOR="sed -i s/broken/still/", VISUAL="")
        assert "would fail again: email" in said, said
        assert depth(channel) == 1
        op.run("dlq", "replay", dead, "--edit", EDITOR="sed -i s/broken/u777@example.com/", VISUAL="")
        props, got = take(channel, "user_mail_queue")
        event = json.loads(got)
        assert event["id"] != one["id"] and event == one | {"id": event["id"]} and props.message_id == event["id"]
        assert props.headers == {"replay-of": dead, "x-original-routing-key": "user.created"}
        assert depth(channel) == 0


ODD = {"nested": {"a": [1, "two", None, {"deep": True, "bytes": b"\xff\x00"}], "big": 2 ** 62}, "t": EPOCH,
       "neg": -5, "no": None, "binary": bytes(range(256)), "empty": {}, "list": [], "dec": Decimal("1.5"),
       "text": "ā\u0085\u202e\"\\", "X-A": 1, "x-a": 2}


def test_export_and_import_are_byte_identical():
    with place() as (op, channel):
        bodies = [b"", b"\x00\xff" * 100, json.dumps(event_body()[0]).encode(), "ā\u2028".encode(), b'{"a":  1 }\n']
        for n, body in enumerate(bodies):
            bury(channel, body, dead_headers(seconds=n) | ODD, content_type="x/y", priority=n, timestamp=2 ** 40,
                 correlation_id="c", reply_to="r", type="t", app_id="a", message_id=f"m{n}")
        bury(channel, b"bare", None)
        before = wire(op.url)
        assert "6 entries" in op.run("dlq", "export", "file")
        assert depth(channel) == 6
        wait_same(op.url, before)
        assert "6 entries removed" in op.run("dlq", "purge", "--all", "--yes", "--to", "gone")
        assert depth(channel) == 0
        for name in ("file", "gone"):
            assert os.stat(os.path.join(op.folder, name)).st_mode & 0o777 == 0o600
            assert "6 entries imported" in op.run("dlq", "import", name)
            wait_same(op.url, before)
            channel.queue_purge("user.dlq")
        with open(os.path.join(op.folder, "file"), encoding="utf-8") as f:
            lines = f.read().splitlines()
        assert json.loads(lines[0])["headers"][0].keys() == {"name", "type", "value"}
        with open(os.path.join(op.folder, "half"), "w", encoding="utf-8") as f:
            f.write(lines[0] + "\n" + lines[1][:50] + "\n")
        assert "line 2" in op.run("dlq", "import", "half", code=1) and depth(channel) == 0
        assert op.run("dlq", "export", "none", code=3) and not os.path.exists(os.path.join(op.folder, "none"))


def wire(url):
    """What lies in the DLQ as pika sees it, put back: bodies, properties and headers but for the broker's own."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    seen = []
    while True:
        method, props, body = channel.basic_get("user.dlq")
        if method is None:
            break
        fields = dict(props.__dict__)
        fields["headers"] = {k: v for k, v in (props.headers or {}).items() if k not in ("x-delivery-count", "x-acquired-count")}
        seen.append((body, repr(sorted(fields.items()))))
    connection.close()
    return sorted(seen)


def wait_same(url, before):
    wait_until(lambda: wire(url) == before, 20, "the DLQ has what it had")


def test_a_repaired_copy_has_the_id_and_is_replayed_too():
    with place() as (op, channel):
        bury_many(op.url, 300)
        depth_is(channel, 300)
        op.run("dlq", "export", "all")
        with open(os.path.join(op.folder, "all"), encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        for line in lines[:20]:
            line["body"] = json.dumps(json.loads(line["body"]) | {"source": "repaired"})
        mine = lines[0]["id"]
        with open(os.path.join(op.folder, "repaired"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(line) + "\n" for line in lines)
        assert op.rows("dlq", "import", "repaired") == [{"imported": 300}]
        # a canary's second step does not take a copy for the entry of the first
        op.run("dlq", "replay", mine, "--canary", "--canary-wait", "0")
        assert len(drained(op)) == 2
        assert op.run("dlq", "list", "--limit", "1") and len(op.rows("dlq", "list", "--limit", "1")) == 1
        assert op.rows("dlq", "replay", "--all") == [{"replayed": 598, "stayed": 0}]
        depth_is(channel, 0)
        bodies = [body for _, body in bodies_in(op)]
        assert len(bodies) == 598 and sum(b'"repaired"' in b for b in bodies) == 19


def test_an_id_that_two_share_never_stands_for_one():
    with place() as (op, channel):
        headers = dead_headers("mailer")
        mine = headers["x-dead-id"]
        bury(channel, event_body(1)[1], headers)
        bury(channel, event_body(2)[1], headers | {"x-consumer": "cache", "x-original-queue": "user_cache_queue"})
        assert len(op.rows("dlq", "show", mine)) == 2
        assert "2 entries have this id" in op.run("dlq", "replay", mine, "--edit", code=2)
        # one is chosen by the filter, the other stays
        assert op.rows("dlq", "replay", "--consumer", "mailer") == [{"replayed": 1, "stayed": 0}]
        assert depth(channel) == 1 and depth(channel, "user_cache_queue") == 0
        channel.queue_delete("user_mail_queue")
        bury(channel, event_body(3)[1], headers)
        bury(channel, event_body(4)[1], headers)
        said = op.run("dlq", "replay", mine, code=1)
        assert "2 stay in the DLQ" in said and depth(channel) == 2 and depth(channel, "user_cache_queue") == 1, said
        assert op.rows("dlq", "purge", mine, "--yes")[0]["purged"] == 2 and depth(channel) == 0


def test_purge_asks_and_keeps():
    with place() as (op, channel):
        for n in range(4):
            bury(channel, event_body(n)[1], dead_headers("mailer" if n else "cache"))
        assert "--yes" in op.run("dlq", "purge", "--consumer", "mailer", code=2) and depth(channel) == 4
        out = op.run("dlq", "purge", "--consumer", "mailer", "--yes", "--why", "spam")
        state = os.path.join(op.env["XDG_STATE_HOME"], "onboard")
        copy, = [os.path.join(state, f) for f in os.listdir(state) if f.startswith("onboard-dlq-purged-")]
        assert copy in out and "3 entries removed" in out and depth(channel) == 1
        assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600 and stat.S_IMODE(os.stat(state).st_mode) == 0o700
        assert not [f for f in os.listdir(op.folder) if "purged" in f], "nothing in the working folder"
        with open(copy, encoding="utf-8") as f:
            assert [json.loads(line)["consumer"] for line in f] == ["mailer"] * 3
        assert [(a["what"], a["phase"]) for a in op.audited()] == [("dlq purge", "begin"), ("dlq purge", "end")]
        assert op.run("dlq", "purge", "--consumer", "nobody", "--yes", code=3)
        assert f"import {copy}`" in out and "3 entries imported" in op.run("dlq", "import", copy)
        assert "3 entries removed" in op.run("dlq", "purge", "--consumer", "mailer", "--yes", "--to", "here")
        assert len(os.listdir(state)) == 1 and os.path.exists(os.path.join(op.folder, "here"))
        # without the variable it is below the home folder
        home = os.path.join(op.folder, "home")
        op.run("dlq", "import", "here")
        said = op.run("dlq", "purge", "--consumer", "mailer", "--yes", XDG_STATE_HOME="", HOME=home)
        assert f"{home}/.local/state/onboard/onboard-dlq-purged-" in said
        op.env["ONBOARD_CTL_AUDIT_LOG"] = "/proc/nowhere/audit.log"
        assert "audit log" in op.run("dlq", "purge", "--all", "--yes", code=1) and depth(channel) == 1


def test_two_operators_one_waits(management):
    with place() as (op, channel):
        bury_many(op.url, 300)
        depth_is(channel, 300)
        first = op.start("dlq", "replay", "--all", "--rate", "100/s")
        wait_until(lambda: depth(channel, "user_mail_queue") > 20, 20, "the first replays")
        said = op.run("dlq", "list", "--no-wait", code=1)
        assert "in use by" in said and "dlq replay" in said and "since" in said, said
        second = op.start("dlq", "replay", "--all")
        assert first.communicate(timeout=60)[0] == "300 entries replayed\n"
        _, err = second.communicate(timeout=60)
        assert second.returncode == 3 and "waiting" in err, err
        assert depth(channel, "user_mail_queue") == 300 and depth(channel) == 0
        assert not [q for q in management.get("queues") if q["name"].startswith("onboardctl")]


def test_killed_in_the_middle_loses_nothing():
    with place() as (op, channel):
        bury_many(op.url, 2000)
        depth_is(channel, 2000)
        ids = {r["event_id"] for r in op.rows("dlq", "list")}
        for _ in range(3):
            work = op.start("dlq", "replay", "--all", "--rate", "500/s")  # 4 s for the three
            already = depth(channel, "user_mail_queue")
            wait_until(lambda: depth(channel, "user_mail_queue") > already + 200, 30, "it replays")
            work.kill()
            work.wait()
        op.run("dlq", "replay", "--all")
        depth_is(channel, 0)
        got = drained(op)
        assert set(got) == ids and len(got) <= 2000 + 3 * 1100, (len(ids), len(got))


def test_a_competing_consumer_ends_no_look_and_loses_nothing():
    with place() as (op, channel):
        bury_many(op.url, 1000)
        depth_is(channel, 1000)
        channel.basic_qos(prefetch_count=300)
        held = []
        channel.basic_consume("user.dlq", lambda c, m, p, b: held.append(p.message_id))
        wait_until(lambda: channel.connection.process_data_events(0.1) or len(held) == 300, 20, "300 are held")
        assert len(op.rows("dlq", "list")) == 700
        assert op.rows("dlq", "replay", "--all") == [{"replayed": 700, "stayed": 0}]
        channel.connection.close()
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(op.url))) as again:
            depth_is(again.channel(), 300)
        assert op.rows("dlq", "replay", "--all") == [{"replayed": 300, "stayed": 0}]
        assert len(set(drained(op))) == 1000


def test_a_queue_too_busy_to_answer_is_not_empty():
    """RabbitMQ says 0 messages then, which must not be believed."""
    with place() as (op, channel):
        bury_many(op.url, 50)
        depth_is(channel, 50)
        with busy(op.url, "user.dlq"):
            assert depth(channel) == 0, "this is what the test is about"
            work = op.start("dlq", "list", "--json")
            assert depth(channel) == 0 and work.poll() is None
        out, err = work.communicate(timeout=120)
        assert work.returncode == 0 and len(out.splitlines()) == 50, (work.returncode, out[-500:], err)


def test_broker_restarted_in_the_middle():
    with place() as (op, channel):
        bury_many(op.url, 3000)
        depth_is(channel, 3000)
        ids = {r["event_id"] for r in op.rows("dlq", "list")}
        work = op.start("dlq", "replay", "--all", "--rate", "500/s")
        wait_until(lambda: depth(channel, "user_mail_queue") > 500, 30, "it replays")
        stack("ctl", "restart", "rabbitmq")
        out, err = work.communicate(timeout=120)
        assert work.returncode == 0 and "connecting again" in err, (work.returncode, out, err)
        connection = pika.BlockingConnection(pika.URLParameters(op.url))
        depth_is(connection.channel(), 0)
        connection.close()
        got = drained(op)
        assert set(got) == ids, (len(ids), len(set(got)))


def test_twenty_thousand():
    with place() as (op, channel):
        bury_many(op.url, 20000)
        depth_is(channel, 20000, seconds=60)
        began = time.monotonic()
        rows = op.rows("dlq", "list")
        listed = time.monotonic() - began
        assert len(rows) == 20000 and [r["failed_at"] for r in rows] == sorted(r["failed_at"] for r in rows)
        assert depth(channel) == 20000
        assert [r["id"] for r in op.rows("dlq", "list", "--limit", "20")] == [r["id"] for r in rows[:20]]
        # few of many: what is not chosen goes back
        assert op.rows("dlq", "replay", "--user", "1500") == [{"replayed": 1, "stayed": 0}]
        assert op.rows("dlq", "replay", "--consumer", "mailer", "--limit", "99") == [{"replayed": 99, "stayed": 0}]
        assert depth(channel) == 19900
        began = time.monotonic()
        assert op.rows("dlq", "replay", "--all") == [{"replayed": 19900, "stayed": 0}]
        print(f"# listed 20000 in {listed:.1f} s, replayed 19900 in {time.monotonic() - began:.1f} s")
        assert depth(channel) == 0 and depth(channel, "user_mail_queue") == 20000


@pytest.mark.parametrize("words", ["dlq list", "dlq list --json", "dlq show ID --json", "dlq export -"])
def test_output_that_nobody_takes(words):
    """`| head -1` is no fault; a full disk is one, and is named."""
    with place() as (op, channel):
        headers = dead_headers("mailer")
        bury(channel, json.dumps(event_body()[0] | {"more": "x" * (1 << 18)}).encode(), headers)
        depth_is(channel, 1)
        command = [CTL, *words.replace("ID", headers["x-dead-id"]).split()]
        reads, writes = os.pipe()
        os.close(reads)
        said = subprocess.run(command, env=op.env, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        os.close(writes)
        assert (said.returncode, said.stderr) == (0, "")
        with open("/dev/full", "w", encoding="utf-8") as full:
            said = subprocess.run(command, env=op.env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        assert said.returncode == 1 and said.stderr == "onboardctl dlq: cannot write to standard output: No space left on device\n"
        assert depth(channel) == 1
