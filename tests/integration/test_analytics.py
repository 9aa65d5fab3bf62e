# SPDX-License-Identifier: MIT
"""onboard-analytics on real servers: exact counts by day, type and country, once however often an event
comes; who was active; totals in Redis; the inbox' partitions; onboardctl counts."""
import collections
import datetime
import json
import os
import random
import subprocess
import uuid

import pytest
from daemon import BUILD
from pipeline import event, metric, user_event
from proxy import behind
from servers import Sql
from wait import wait_until

QUEUE, SECONDS, WEEK = "user_analytics_queue", 20, 7
FIRST_USER = 8000000000000000
TODAY = datetime.datetime.now(datetime.timezone.utc).date()


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global PIPE, KV, SQL
    PIPE, KV = pipe, pipe.kv
    PIPE.env["ONBOARD_TOPOLOGY_CONSUMERS"] = "analytics"
    with Sql(PIPE.place.postgres) as SQL:
        yield


def analytics(**env):
    return PIPE.daemon("onboard-analytics", **env)


def day(back):
    return (TODAY - datetime.timedelta(days=back)).isoformat()


def at(back, clock="12:00:00Z"):
    return f"{day(back)}T{clock}"


def uuid7(back_days):
    when = datetime.datetime.combine(TODAY - datetime.timedelta(days=back_days), datetime.time(12), datetime.timezone.utc)
    ms = int(when.timestamp() * 1000)
    return str(uuid.UUID(int=(ms << 80) | (7 << 76) | (2 << 62) | random.getrandbits(62)))


def counts():
    """{(day, type, country): count}"""
    rows = (line.split("|") for line in SQL.ask("SELECT day, type, country, count FROM event_counts"))
    return {(d, t, c): int(n) for d, t, c, n in rows}


def inbox(table="analytics_inbox"):
    return SQL.number(f"SELECT count(*) FROM {table}")


def totals():
    """PostgreSQL's, as Redis is to show them: {day: {type: count}}"""
    found = collections.defaultdict(collections.Counter)
    for (d, t, _), n in counts().items():
        found[d][t] += n
    return {d: dict(types) for d, types in found.items()}


def shown():
    keys = KV.keys("stats:events:*")
    return {key.removeprefix("stats:events:"): {t: int(n) for t, n in KV.hgetall(key).items()} for key in keys}


def settled(*daemons, deliveries):
    """As many deliveries are acked, by all together, and nothing was retried or refused."""
    name = "onboard_consumer_deliveries_total"
    wait_until(lambda: sum(metric(d, name) for d in daemons) >= deliveries, SECONDS, f"{deliveries} deliveries")
    assert sum(metric(d, name, outcome="done") for d in daemons) == deliveries
    assert PIPE.depth(QUEUE) == 0 and PIPE.depth("user.dlq") == 0


def afresh():
    SQL.ask("TRUNCATE event_counts, analytics_inbox")
    KV.flushdb()
    PIPE.purge()


def ctl(*words):
    done = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False, env=os.environ | PIPE.env)
    return done.returncode, done.stdout, done.stderr


def test_R6_counts_by_day_type_and_country():
    user = FIRST_USER
    events = [
        user_event("created", user, country="LV") | {"timestamp": at(1, "23:59:59.999999Z")},
        user_event("updated", user, country="EE", previous_country="LV", version=2) | {"timestamp": at(0)},
        event("deleted", {"user_id": user, "version": 3, "country": "EE"}, timestamp=at(0)),
        event("deleted", {"user_id": user + 1, "version": 3}, timestamp=at(0)),
        event("login", {"user_id": user, "geo": {"country": "lv"}}, timestamp=at(0)),
        event("login", {"user_id": user, "geo": {"country": "LV"}}, timestamp=at(0)),
        event("login", {"user_id": user, "geo": {"country": "LV"}}, timestamp=at(-1, "00:30:00+01:00")),
        event("login", {"user_id": user, "geo": {"country": "Latvia"}}, timestamp=at(0)),
        event("login", {"user_id": user, "geo": {"country": "L'"}}, timestamp=at(0)),
        event("purchase", {"user_id": user + 1}, timestamp=at(0)),
    ]
    afresh()
    with analytics() as daemon:
        daemon.wait_ready()
        PIPE.publish(*events[:5])
        PIPE.publish(*events[5:], headers={"x-test": 1})
        settled(daemon, deliveries=len(events))
        assert counts() == {
            (day(1), "user.created", "LV"): 1, (day(0), "user.updated", "EE"): 1, (day(0), "user.deleted", "EE"): 1,
            (day(0), "user.deleted", "ZZ"): 1, (day(0), "user.login", "LV"): 3, (day(0), "user.login", "ZZ"): 2,
            (day(0), "user.purchase", "ZZ"): 1}, counts()
        assert inbox() == len(events) and inbox("analytics_inbox_default") == 0
        assert KV.smembers(f"active:{day(1)}") == {str(user)}
        assert KV.smembers(f"active:{day(0)}") == {str(user), str(user + 1)}
        assert shown() == totals() and shown()[day(0)]["user.login"] == 5, shown()
        for key in KV.keys():
            assert 89 * 86400 < KV.ttl(key) <= 90 * 86400, key
        print(f"# private dirty: {daemon.private_kib()} KiB")
        assert daemon.terminate() == 0


def test_R6_twenty_copies_are_one_count():
    afresh()
    one = event("login", {"user_id": FIRST_USER, "geo": {"country": "LV"}})
    own = event("login", {"user_id": FIRST_USER, "geo": {"country": "LV"}}, id=uuid7(0))
    with analytics() as daemon:
        daemon.wait_ready()
        PIPE.publish(one, own, times=10)
        settled(daemon, deliveries=20)
        PIPE.publish(one | {"id": one["id"].upper()}, own, times=10)
        settled(daemon, deliveries=40)
        assert counts() == {(day(0), "user.login", "LV"): 2}, counts()
        assert daemon.terminate() == 0


def test_two_instances_with_copies_count_exactly():
    afresh()
    dice = random.Random(7)
    kinds = ["login", "logout", "page_view", "purchase", "product_viewed"]
    events = [event(dice.choice(kinds), {"user_id": FIRST_USER + dice.randrange(200), "geo": {"country": dice.choice(["LV", "EE", "FI"])}},
                    timestamp=at(dice.randrange(3)), **({"id": uuid7(0)} if dice.random() < 0.5 else {})) for _ in range(5000)]
    sent = events + dice.choices(events, k=1500)
    dice.shuffle(sent)
    want = collections.Counter((e["timestamp"][:10], e["type"], e["payload"]["geo"]["country"]) for e in events)
    active = collections.defaultdict(set)
    for e in events:
        active[e["timestamp"][:10]].add(str(e["payload"]["user_id"]))
    with analytics(ONBOARD_CONSUMER_PREFETCH="300") as first, analytics(ONBOARD_CONSUMER_PREFETCH="300") as second:
        first.wait_ready()
        second.wait_ready()
        with PIPE.channel(confirm=False) as channel:
            for e in sent:
                channel.basic_publish("user_events", e["type"], json.dumps(e).encode())
        settled(first, second, deliveries=len(sent))
        assert counts() == want and inbox() == len(events)
        assert shown() == totals()
        for d, users in active.items():
            assert KV.smembers(f"active:{d}") == users, d
        share = [metric(d, "onboard_consumer_deliveries_total") for d in (first, second)]
        assert min(share) > 0, share
        assert first.terminate() == 0 and second.terminate() == 0


def test_C5_active_in_both_of_two_weeks():
    afresh()
    with analytics() as daemon:
        daemon.wait_ready()
        stays, came, went = FIRST_USER, FIRST_USER + 1, FIRST_USER + 2
        PIPE.publish(*(event("login", {"user_id": u}, timestamp=at(WEEK)) for u in (stays, went)),
                     *(event("login", {"user_id": u}, timestamp=at(0)) for u in (stays, came)))
        settled(daemon, deliveries=4)
        assert KV.sinter(f"active:{day(0)}", f"active:{day(WEEK)}") == {str(stays)}
        assert daemon.terminate() == 0


def test_redis_that_was_emptied_shows_totals_again():
    afresh()
    with analytics() as daemon:
        daemon.wait_ready()
        PIPE.publish(*(event(kind, {"user_id": FIRST_USER}, timestamp=at(back)) for kind in ("login", "logout") for back in (0, 1)))
        settled(daemon, deliveries=4)
        KV.flushdb()
        KV.script_flush()
        PIPE.publish(event("purchase", {"user_id": FIRST_USER}, timestamp=at(0)))
        settled(daemon, deliveries=5)
        assert shown() == {day(0): {"user.login": 1, "user.logout": 1, "user.purchase": 1}}, shown()
        assert KV.smembers(f"active:{day(0)}") == {str(FIRST_USER)}
        # an older total never replaces a newer one
        KV.hset(f"stats:events:{day(0)}", "user.login", 50)
        PIPE.publish(event("login", {"user_id": FIRST_USER}, timestamp=at(0)))
        settled(daemon, deliveries=6)
        assert shown()[day(0)]["user.login"] == 50, shown()
        assert daemon.terminate() == 0


def test_keys_that_are_gone_or_of_another_type_are_made_again_whole():
    afresh()
    active, stats = f"active:{day(0)}", f"stats:events:{day(0)}"

    def login(user, **more):
        return event("login", {"user_id": FIRST_USER + user}, timestamp=at(0), **more)

    users = {str(FIRST_USER + n) for n in range(4)}
    with analytics() as daemon:
        daemon.wait_ready()
        # an id of that day, one of another day, and one that tells no day
        PIPE.publish(login(0, id=uuid7(0)), login(1, id=uuid7(1)), login(2), event("logout", {"user_id": FIRST_USER + 3}, timestamp=at(0)))
        settled(daemon, deliveries=4)
        harms = [lambda key: KV.delete(key), lambda key: KV.set(key, "x"), lambda key: KV.lpush(key, "x"),
                 lambda key: KV.zadd(key, {"x": 1})]
        for n, harm in enumerate(harms):
            for key in (active, stats):
                KV.delete(key)
                harm(key)
            PIPE.publish(login(4 + n))
            users.add(str(FIRST_USER + 4 + n))
            settled(daemon, deliveries=5 + n)
            assert KV.smembers(active) == users, KV.smembers(active)
            assert shown() == totals() and len(shown()[day(0)]) == 2, shown()
            assert 89 * 86400 < KV.ttl(active) <= 90 * 86400 and not KV.keys("building:*")
        # more than a page
        SQL.ask("INSERT INTO analytics_inbox (day, event_id, user_id) SELECT (now() AT TIME ZONE 'UTC')::date,"
                " gen_random_uuid(), n / 2 FROM generate_series(2, 24999) AS n")
        KV.delete(active)
        PIPE.publish(login(0))
        settled(daemon, deliveries=5 + len(harms))
        assert KV.scard(active) == 12499 + len(users), KV.scard(active)
        assert daemon.terminate() == 0


def test_an_answer_lost_in_mid_commit_counts_once():
    afresh()
    with behind(PIPE.place.postgres) as (proxy, way), analytics(ONBOARD_POSTGRES_URL=way) as daemon:
        daemon.wait_ready()
        for back in (0, 1):
            PIPE.publish(event("login", {"user_id": FIRST_USER}, timestamp=at(back)))
            settled(daemon, deliveries=back + 1)
        proxy.swallow()
        PIPE.publish(*(event("login", {"user_id": FIRST_USER}, timestamp=at(0)) for _ in range(5)), times=2)
        wait_until(lambda: inbox() > 2, SECONDS, "committed, though nobody was told")
        wait_until(lambda: metric(daemon, "onboard_consumer_away") == 1, SECONDS, "away")
        assert metric(daemon, "onboard_consumer_deliveries_total") == 2 and shown()[day(0)] == {"user.login": 1}
        proxy.reset()
        proxy.flow()
        settled(daemon, deliveries=12)
        assert counts() == {(day(0), "user.login", "ZZ"): 6, (day(1), "user.login", "ZZ"): 1}, counts()
        assert shown() == totals()
        assert daemon.terminate() == 0


def test_odd_times_count_once_and_a_bad_one_is_dead():
    afresh()
    odd = [event("login", {"user_id": FIRST_USER}, timestamp="1970-01-01T00:00:00Z"),
           event("login", {"user_id": FIRST_USER}, timestamp="9999-12-31T23:59:59Z"),
           event("login", {"user_id": FIRST_USER}, timestamp=at(200)),
           event("login", {"user_id": FIRST_USER}, timestamp=at(200), id=uuid7(0)),  # imported today: its own partition
           event("login", {"user_id": FIRST_USER}, timestamp=at(0), id="ffffffff-ffff-7fff-bfff-ffffffffffff")]
    with analytics() as daemon:
        daemon.wait_ready()
        for _ in range(2):
            PIPE.publish(*odd, times=2)
        settled(daemon, deliveries=20)
        assert counts() == {("1970-01-01", "user.login", "ZZ"): 1, ("9999-12-31", "user.login", "ZZ"): 1,
                            (day(200), "user.login", "ZZ"): 2, (day(0), "user.login", "ZZ"): 1}, counts()
        assert inbox() == 5 and inbox("analytics_inbox_default") == 4
        PIPE.publish(event("login", {"user_id": FIRST_USER}, timestamp="yesterday"))
        wait_until(lambda: PIPE.depth("user.dlq") == 1, SECONDS, "a dead letter")
        (_, props, _, _), = PIPE.take("user.dlq")
        assert props.headers["x-consumer"] == "analytics" and "timestamp" in props.headers["x-error"]
        assert inbox() == 5
        assert daemon.terminate() == 0


def partitions():
    return set(SQL.ask("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'analytics_inbox'::regclass"))


def test_partitions_are_made_ahead_and_dropped_after_90_days():
    afresh()
    name = lambda back: "analytics_inbox_" + day(back).replace("-", "")
    for table in partitions() - {"analytics_inbox_default"}:
        SQL.ask(f"DROP TABLE {table}")
    for back in (90, 91, 400):
        SQL.ask(f"CREATE TABLE {name(back)} PARTITION OF analytics_inbox FOR VALUES FROM ('{day(back)}') TO ('{day(back - 1)}')")
    one = event("login", {"user_id": FIRST_USER})
    SQL.ask(f"INSERT INTO analytics_inbox VALUES ('{day(0)}', '{one['id']}', '{day(0)}'),"  # came while its day had no partition
            f" ('{day(300)}', '{uuid.uuid4()}', '{day(91)}'), ('{day(-300)}', '{uuid.uuid4()}', '{day(90)}')")
    assert inbox("analytics_inbox_default") == 3
    with analytics() as daemon:
        daemon.wait_ready()
        assert partitions() == {"analytics_inbox_default", name(90)} | {name(back) for back in range(-7, 2)}, partitions()
        assert inbox(name(0)) == 1 and SQL.ask("SELECT day FROM analytics_inbox_default") == [day(-300)]
        PIPE.publish(one)
        settled(daemon, deliveries=1)
        assert not counts(), "what moved into its partition is still known"
        assert daemon.terminate() == 0


def test_a_reader_of_the_inbox_holds_up_nobody():
    afresh()
    mine = "analytics_inbox_" + day(0).replace("-", "")
    SQL.ask(f"DROP TABLE IF EXISTS {mine}")
    with Sql(PIPE.place.postgres) as other:
        other.ask("BEGIN")
        other.ask("SELECT count(*) FROM analytics_inbox")
        with analytics() as daemon:
            daemon.wait_ready()
            PIPE.publish(*(event("login", {"user_id": FIRST_USER}, timestamp=at(0), id=uuid7(0)) for _ in range(20)))
            settled(daemon, deliveries=20)
            assert counts() == {(day(0), "user.login", "ZZ"): 20} and shown() == totals()
            assert mine not in partitions() and inbox("analytics_inbox_default") == 20
            assert daemon.terminate() == 0


def test_a_schema_that_is_missing_is_said_and_waited_for():
    afresh()
    SQL.ask("ALTER TABLE analytics_inbox_default RENAME TO elsewhere")
    SQL.ask(f"DROP TABLE IF EXISTS analytics_inbox_{day(0).replace('-', '')}")
    try:
        with analytics() as daemon:
            wait_until(lambda: "is the schema up to date" in daemon.log(), SECONDS, "it says so")
            daemon.wait_status("/ready", 503, SECONDS)
            assert "onboardctl doctor" in daemon.log()
            SQL.ask("ALTER TABLE elsewhere RENAME TO analytics_inbox_default")
            daemon.wait_ready()
            assert daemon.terminate() == 0
    finally:
        if SQL.ask("SELECT to_regclass('elsewhere')") != [""]:
            SQL.ask("ALTER TABLE elsewhere RENAME TO analytics_inbox_default")


def test_a_lock_that_is_held_long_is_no_events_fault():
    afresh()
    with analytics() as daemon, Sql(PIPE.place.postgres) as other:
        daemon.wait_ready()
        PIPE.publish(event("login", {"user_id": FIRST_USER}, timestamp=at(0)))
        settled(daemon, deliveries=1)
        other.ask("BEGIN")
        other.ask("UPDATE event_counts SET count = count")
        PIPE.publish(*(event("login", {"user_id": FIRST_USER}, timestamp=at(0)) for _ in range(3)))
        wait_until(lambda: metric(daemon, "onboard_consumer_away") == 1 and "(57014)" in daemon.log(), SECONDS, "away")
        other.ask("COMMIT")
        settled(daemon, deliveries=4)
        assert counts() == {(day(0), "user.login", "ZZ"): 4} and shown() == totals()
        assert daemon.terminate() == 0


def test_onboardctl_counts():
    afresh()
    assert (said := ctl("counts"))[0] == 3, said
    SQL.ask(f"INSERT INTO event_counts VALUES ('{day(1)}', 'user.login', 'LV', 12345), ('{day(0)}', 'user.login', 'LV', 2),"
            f" ('{day(0)}', 'user.login', 'EE', 7), ('{day(0)}', 'user.purchase', 'ZZ', 1)")
    code, out, _ = ctl("counts", "--json")
    assert code == 0 and [json.loads(line) for line in out.splitlines()] == [
        {"day": day(0), "type": "user.login", "country": "EE", "count": 7},
        {"day": day(0), "type": "user.login", "country": "LV", "count": 2},
        {"day": day(0), "type": "user.purchase", "country": "ZZ", "count": 1},
        {"day": day(1), "type": "user.login", "country": "LV", "count": 12345}], out
    for words, want in ((["--day", day(1)], 1), (["--type", "login"], 3), (["--type", "user.purchase"], 1),
                        (["--type", "login", "--day", day(0)], 2), (["--country", "lv"], 2), (["--limit", "2"], 2)):
        code, out, err = ctl("counts", "--json", *words)
        assert code == 0 and len(out.splitlines()) == want, (words, out, err)
    code, out, _ = ctl("counts")
    assert code == 0 and "12345" in out and all(len(line) <= 80 for line in out.splitlines()), out
    assert (said := ctl("counts", "--type", "nothing"))[0] == 3, said
    for words in (["--day", "2026-02-30"], ["--day", "yesterday"], ["--limit", "0"], ["--frob"], ["--day"], ["word"]):
        code, _, err = ctl("counts", *words)
        assert code == 2 and len(err.splitlines()) == 1, (words, err)
    assert subprocess.run([os.path.join(BUILD, "bin/onboardctl"), "counts"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                          check=False, env=os.environ | {"ONBOARD_POSTGRES_URL": "postgresql://127.0.0.1:1/x"}).returncode == 69
