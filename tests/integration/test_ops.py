# SPDX-License-Identifier: MIT
"""onboardctl queues, top, pause, resume and doctor on real servers, under load and over restarts."""
import collections
import json
import os
import subprocess

import pika
import pytest
from daemon import BUILD, free_port
from harm import stack
from pipeline import Load, event, metric
from servers import Sql
from wait import wait_until

pytestmark = pytest.mark.seconds(80)
QUEUE = "user_data_queue"
FOLLOW_S = 6  # a look each second, the window, what is held


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global PIPE
    PIPE = pipe


def ctl(*words, **env):
    said = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False, env=os.environ | PIPE.env | env)
    return said.returncode, said.stdout, said.stderr


def ctl_json(*words, **env):
    code, out, err = ctl(*words, "--json", **env)
    return code, [json.loads(line) for line in out.splitlines()], err


def queue_rows(*words):
    code, rows, err = ctl_json("queues", *words)
    assert code == 0, err
    return {r["queue"]: r for r in rows}


def make(n):
    return event("login", {"user_id": 8000000000000000 + n % 100, "metadata": {"n": n}})


def documents():
    return PIPE.events.count_documents({})


def paused(daemon):
    status, said = daemon.ask_json("/ready")
    return status == 200 and said["status"] == "degraded" and "paused" in said.get("notice", "")


def running(daemon):
    status, said = daemon.ask_json("/ready")
    return status == 200 and said["status"] == "ready" and "notice" not in said


ONE_CONSUMER_MAX = 2000  # what a quorum queue gives to one consumer without an ack


def delivery_counts(queue, count):
    """What the queue says of earlier deliveries of its messages, of ONE_CONSUMER_MAX at most. Nothing is taken."""
    got = []
    count = min(count, ONE_CONSUMER_MAX)
    with PIPE.channel(confirm=False) as channel:
        for method, props, _ in channel.consume(queue, inactivity_timeout=5):
            if method:
                got.append((method.redelivered, (props.headers or {}).get("x-delivery-count", 0)))
            if not method or len(got) == count:
                return got


def test_pause_under_load_stops_all_instances_and_gives_nothing_back():
    # before a pause each window is let fill, for 3.5 s at most: both must be full by then, on a slow machine too
    small = {"ONBOARD_CONSUMER_PREFETCH": "256"}
    with PIPE.daemon("onboard-eventlog", **small) as one, PIPE.daemon("onboard-eventlog", **small) as two:
        one.wait_ready()
        two.wait_ready()
        with Load(PIPE, make, 1000) as load:
            wait_until(lambda: documents() > 500, 10, "500 documents")
            code, rows, err = ctl_json("pause", "eventlog", "--why", "a \"test\"")
            assert code == 0 and rows[0]["state"] == "paused" and rows[0]["consumers"] == 0, (code, rows, err)
            wait_until(lambda: paused(one) and paused(two), FOLLOW_S, "both say paused")
            for daemon in (one, two):
                wait_until(lambda: metric(daemon, "onboard_consumer_held") == 0, 5, "nothing is held")
                assert metric(daemon, "onboard_consumer_paused") == 1 and "READY=1" in daemon.said
            stood = documents()
            wait_until(lambda: PIPE.depth(QUEUE) > 500, 10, "events wait")
            load.stop()
        assert documents() == stood, "something was taken after the pause"
        row = queue_rows()[QUEUE]
        assert row["paused"] and row["consumers"] == 0 and row["depth"] == len(load.sent) - stood, (row, len(load.sent), stood)
        counts = delivery_counts(QUEUE, row["depth"])
        assert len(counts) == min(row["depth"], ONE_CONSUMER_MAX) and set(counts) == {(False, 0)}, set(counts)
        _, out, _ = ctl("queues")
        assert "paused by" in out and 'a "test"' in out and all(len(x) <= 80 for x in out.splitlines()[:8]), out
        assert "\033" not in out
        code, rows, _ = ctl_json("resume", "eventlog")
        assert code == 0 and rows[0]["state"] == "running" and rows[0]["consumers"] >= 1, rows  # one may be slower
        wait_until(lambda: running(one) and running(two), FOLLOW_S, "both run")
        wait_until(lambda: documents() == len(load.sent), 20, "every event")
        assert PIPE.depth("user.dlq") == 0
        assert one.terminate() == 0 and two.terminate() == 0
    assert ctl("resume", "eventlog")[0] == 3
    PIPE.events.delete_many({})


def flood(count):
    """Straight into the queue, without waiting for each."""
    with PIPE.channel(confirm=False) as channel:
        for n in range(count):
            one = make(n)
            channel.basic_publish("", QUEUE, json.dumps(one).encode(), pika.BasicProperties(delivery_mode=2))
    wait_until(lambda: PIPE.depth(QUEUE) >= count, 20, f"{count} wait")


def test_pause_with_a_backlog_spends_no_attempt():
    with PIPE.daemon("onboard-eventlog", ONBOARD_CONSUMER_BATCH="20") as daemon:
        daemon.wait_ready()
        assert ctl("pause", "eventlog")[0] == 0
        flood(20000)
        assert ctl("resume", "eventlog")[0] == 0
        wait_until(lambda: documents() > 200, 10, "200 documents")
        assert ctl("pause", "eventlog")[0] == 0
        left = PIPE.depth(QUEUE)
        counts = delivery_counts(QUEUE, left)
        assert left > 1000 and set(counts) == {(False, 0)}, (left, collections.Counter(counts))
        wait_until(lambda: documents() + left == 20000, 10, "what was held is written")
        assert daemon.terminate() == 0
    assert ctl("resume", "eventlog")[0] == 0
    PIPE.purge()
    PIPE.events.delete_many({})


def test_a_pause_outlasts_daemon_and_broker():
    with PIPE.daemon("onboard-eventlog") as daemon:
        daemon.wait_ready()
        assert ctl("pause", "eventlog")[0] == 0
        wait_until(lambda: paused(daemon), FOLLOW_S, "paused")
        PIPE.publish(make(1))
        for _ in range(3):
            stack("ctl", "restart", "rabbitmq")
            daemon.wait_status("/ready", 200, 40)
            wait_until(lambda: paused(daemon), FOLLOW_S, "paused again")
        assert documents() == 0 and PIPE.depth(QUEUE) == 1
        assert daemon.terminate() == 0
    with PIPE.daemon("onboard-eventlog") as daemon:
        daemon.wait_ready()
        wait_until(lambda: paused(daemon), FOLLOW_S, "paused from the start")
        PIPE.publish(make(2))
        assert ctl("pause", "eventlog", "--why", "again")[0] == 0, "a second pause only renews the reason"
        assert documents() == 0 and PIPE.depth(QUEUE) == 2
        assert ctl("resume", "eventlog")[0] == 0
        wait_until(lambda: documents() == 2, FOLLOW_S, "both")
        assert daemon.terminate() == 0
    PIPE.events.delete_many({})


def test_reading_why_lets_nobody_go():
    with PIPE.daemon("onboard-eventlog") as daemon:
        daemon.wait_ready()
        assert ctl("pause", "eventlog", "--why", "still")[0] == 0
        PIPE.publish(make(1))
        for _ in range(20):
            assert "still" in ctl("queues")[1]
        wait_until(lambda: paused(daemon), FOLLOW_S, "paused")
        assert documents() == 0
        assert ctl("resume", "eventlog")[0] == 0
        wait_until(lambda: documents() == 1, FOLLOW_S, "it")
        assert daemon.terminate() == 0
    PIPE.events.delete_many({})


def findings(**env):
    code, rows, _ = ctl_json("doctor", **env)
    return code, rows


def test_queues_missing_waiting_and_dead():
    PIPE.purge()
    assert ctl("topology", "declare")[0] == 0
    for queue in ("user_mail_queue.retry.1", "user_mail_queue"):
        PIPE.place.management.delete("queues", PIPE.place.name, queue)
    rows = queue_rows()
    assert set(rows) == {"user.dlq", QUEUE, "user_cache_queue", "user_segment_queue", "user_mail_queue", "user_analytics_queue"}
    assert rows["user_mail_queue"]["exists"] is False and rows[QUEUE]["exists"] is True
    names = PIPE.place.queues()
    assert "user_mail_queue" not in names and "onboard.paused.mailer" not in names, "a look made something"
    assert ctl("topology", "declare")[0] == 0
    with PIPE.channel(confirm=False) as channel:
        for n, queue in enumerate(["user.dlq", "user_mail_queue", "user_mail_queue.retry.3"], 1):
            for _ in range(n):
                channel.basic_publish("", queue, b"{}", pika.BasicProperties(delivery_mode=2))
    # after 4 s they are in their queue again
    row = wait_until(lambda: (r := queue_rows("mailer"))["user_mail_queue"]["retry"] == [0, 0, 3] and r, 4, "three wait in the third")
    assert list(row) == ["user_mail_queue"] and row["user_mail_queue"]["depth"] == 2, row
    code, out, _ = ctl("queues", "--all")
    assert code == 0 and "user_mail_queue.retry.3" in out and "nobody consumes" in out and "dlq list" in out, out
    assert "user_analytics_queue.retry.3  " in out, "in a pipe a name is whole"
    code, out, _ = ctl("queues", "--watch", "--rounds", "2")
    assert code == 0 and out.count("QUEUE") == 2 and "+0" in out, out
    assert ctl("queues", "nobody")[0] == 2 and ctl("queues", "--what")[0] == 2
    assert ctl("queues", ONBOARD_RABBITMQ_URL=f"amqp://127.0.0.1:{free_port()}")[0] == 69
    # doctor says the same, with the way out
    code, found = findings()
    warned = {f["subject"]: f for f in found if f["state"] == "warn"}
    assert "nobody consumes" in warned["queues"]["text"] and warned["queues"]["fix"] == "start onboard-mailer", warned
    assert warned["dlq"]["text"] == "1 dead" and "dlq list" in warned["dlq"]["fix"], warned
    PIPE.purge()


def test_doctor_on_pauses_outbox_days_and_redis():
    assert ctl("pause", "mailer", "--why", "x")[0] == 0
    _, found = findings()
    assert any(f["subject"] == "queues" and "mailer is paused" in f["text"] and f["fix"] == "onboardctl resume mailer" for f in found), found
    assert any(f["subject"] == "redis" and "may forget all" in f["text"] for f in found), found
    assert any(f["subject"] == "days" and f["state"] == "ok" and f["text"].startswith("outbox: none yet") for f in found), found
    assert any(f["subject"] == "days" and f["state"] == "ok" and f["text"].startswith("analytics_inbox: none yet") for f in found), found
    assert any(f["subject"] == "outbox" and f["text"] == "all published" for f in found), found
    assert ctl("resume", "mailer")[0] == 0
    with Sql(PIPE.place.postgres) as sql:
        sql.ask("INSERT INTO outbox_unpublished (batch_id, first_day, last_day, event_ids, written_at) VALUES"
                " ('0187ffff-0000-7000-8000-000000000000', '2023-05-10', '2023-05-10',"
                " ARRAY['0187ffff-0000-7000-8000-000000000000'::uuid], '2023-05-10')")
        sql.ask("INSERT INTO outbox VALUES ('2023-05-10', '0187ffff-0000-7000-8000-000000000000', 'user.created', 1, '{}')")
        code, found = findings()
        bad = {f["subject"]: f for f in found if f["state"] == "bad"}
        assert code == 1 and "1 unpublished" in bad["outbox"]["text"] and "onboard-api" in bad["outbox"]["fix"], found
        assert any(f["state"] == "warn" and "outbox_default" in f["text"] for f in found), found
        sql.ask("UPDATE outbox_unpublished SET written_at = now() + interval '1 hour'")
        code, found = findings()
        bad = {f["subject"]: f for f in found if f["state"] == "bad"}
        assert code == 1 and "ahead" in bad["outbox"]["text"] and "clock" in bad["outbox"]["fix"], found
        sql.ask("DELETE FROM outbox_unpublished")
        sql.ask("DELETE FROM outbox")
        sql.ask("CREATE TABLE outbox_20230510 PARTITION OF outbox FOR VALUES FROM ('2023-05-10') TO ('2023-05-11')")
        code, found = findings()
        bad = {f["subject"]: f for f in found if f["state"] == "bad"}
        assert code == 1 and bad["days"]["text"].startswith("outbox: 0 from today") and "db maintain" in bad["days"]["fix"], found
        sql.ask("DROP TABLE outbox_20230510")
        # of the inbox any day may come: rows without one are said, days that lack are a fault
        sql.ask("INSERT INTO analytics_inbox VALUES ('1999-05-10', gen_random_uuid())")
        code, found = findings()
        assert any(f["state"] == "ok" and f["text"].startswith("1 rows lie in analytics_inbox_default") for f in found), found
        sql.ask("CREATE TABLE analytics_inbox_20230510 PARTITION OF analytics_inbox FOR VALUES FROM ('2023-05-10') TO ('2023-05-11')")
        code, found = findings()
        bad = {f["subject"]: f for f in found if f["state"] == "bad"}
        assert code == 1 and bad["days"]["text"].startswith("analytics_inbox: 0 from today") and "onboard-analytics" in bad["days"]["fix"], found
        sql.ask("DROP TABLE analytics_inbox_20230510")
        sql.ask("DELETE FROM analytics_inbox")


def test_top():
    with PIPE.daemon("onboard-eventlog") as daemon:
        daemon.wait_ready()
        env = {"ONBOARD_ADMIN_LISTEN": f"127.0.0.1:{daemon.admin}"}
        PIPE.publish(make(1), make(2))
        wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total") == 2, 10, "two")

        def shown():
            """Three looks; a busy daemon may not answer one in time."""
            code, rows, err = ctl_json("top", "--rounds", "3", **env)
            assert code == 0 and len(rows) == 3, (code, err)
            mine = [[d for d in row["daemons"] if d["port"] == daemon.admin] for row in rows]
            return all(mine) and (rows[2], mine[2][0])

        row, mine = wait_until(shown, 20, "the daemon in each look")
        assert (mine["daemon"], mine["done"], mine["done_per_s"], mine["paused"]) == ("onboard-eventlog", 2, 0, False), mine
        queues = {q["queue"]: q for q in row["queues"]}
        assert queues[QUEUE]["consumers"] == 1 and queues[QUEUE]["change_per_s"] == 0 and row["outbox_unpublished"] == 0

        def processor_shown():
            with subprocess.Popen([os.path.join(BUILD, "bin/onboardctl"), "top", "--rounds", "2"], text=True,
                                  env=os.environ | PIPE.env | env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as top:
                while top.poll() is None:  # so that it uses its processor
                    daemon.ask("/metrics")
                cpu = [x.split()[6] for x in top.stdout if x.startswith("onboard-eventlog")]
            return len(cpu) == 2 and cpu[0] == "-" and int(cpu[1]) > 0

        wait_until(processor_shown, 20, "the processor that it uses")
        assert ctl("pause", "eventlog")[0] == 0

        def paused_shown():
            code, out, _ = ctl("top", "--once", **env)
            line = [x for x in out.splitlines() if x.startswith("onboard-eventlog")]
            return code == 0 and line and "paused" in line[0] and out

        out = wait_until(paused_shown, 20, "top says paused")
        assert "unpublished" in out and "\033" not in out, out
        assert all(len(x) <= 80 for x in out.splitlines()), out
        assert ctl("resume", "eventlog")[0] == 0
        assert daemon.terminate() == 0
    for section, name, scheme in (("RABBITMQ", "RabbitMQ:", "amqp"), ("POSTGRES", "PostgreSQL:", "postgresql")):
        away = {f"ONBOARD_{section}_URL": f"{scheme}://127.0.0.1:{free_port()}"}
        code, out, _ = ctl("top", "--once", **away)
        assert code == 69 and name in out, out
        code, out, _ = ctl("top", "--rounds", "2", **away)
        assert code == 0 and out.count(name) == 2, "a server away is a line, not an end"
    assert ctl("top", "--what")[0] == 2
