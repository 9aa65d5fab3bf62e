# SPDX-License-Identifier: MIT
"""What happens to signups and their events when a server or the API itself goes: nothing is lost,
nothing is acknowledged that is not there."""
import contextlib
import json
import secrets
import signal
import threading
import uuid
from datetime import date, datetime, timedelta, timezone

import pytest
from api import BACK_S, Load, at_once
from harm import read_only, stack, stopped
from wait import wait_until

pytestmark = pytest.mark.seconds(115)
RIGA = {"street": "Brīvības iela 1", "postal_code": "LV-1010", "city": "Riga", "country": "LV"}


@pytest.fixture(scope="module", autouse=True)
def here(request):
    global world
    world = request.getfixturevalue("world")


def said(api, status, word):
    got = api.ask_json("/ready")
    return got[0] == status and got[1].get("status") == word and got[1]


def is_whole(api, seconds=BACK_S):
    wait_until(lambda: said(api, 200, "ready"), seconds, "ready")


def ids_of(events):
    return [json.loads(text)["id"] for _, _, text in events]


def check_stored(load):
    """Every 201 is a user and an event under the ids it told; nothing else was stored but what got no answer."""
    created = {b["username"]: a.json for b, a in load.created()}
    stored = {name: (user, event) for name, user, event in world.sql(
        "SELECT username, u.id, o.event_id::text FROM users u JOIN outbox o ON o.user_id = u.id AND o.type = 'user.created'"
        " WHERE username = ANY (%s)", [b["username"] for b, _, _ in load.answers] + [b["username"] for b, _ in load.broken])}
    for name, answer in created.items():
        assert stored.get(name) == (answer["id"], answer["event_id"]), f"{name}: answered {answer}, stored {stored.get(name)}"
    return created, set(stored) - set(created)


def test_D1_without_the_broker_signups_go_on_and_their_events_come_later():
    queue = world.queue("away")
    with world.api() as api:
        api.ready()
        with stopped("rabbitmq"):
            body = wait_until(lambda: said(api, 200, "degraded"), 10, "degraded")
            assert body["dependencies"]["rabbitmq"]["state"] != "up", body
            made = [api.signup(world.user()).is_(201).json for _ in range(50)]
            changed = api("PATCH", f"/api/users/{made[0]['id']}", {"name": "Without a broker"}).is_(200).json
            api("DELETE", f"/api/users/{made[1]['id']}").is_(204)
            assert world.unpublished() == 52
            assert said(api, 200, "degraded")
        is_whole(api, 40)
        world.wait_published(30)
        events = [json.loads(text) for _, _, text in world.take(queue)]
        mine = [m["event_id"] for m in made]
        assert sorted(e["id"] for e in events if e["type"] == "user.created") == sorted(mine), "once each"
        assert [e["payload"]["version"] for e in events if e["type"] != "user.created"] == [changed["version"], 2]
        assert [e["id"] for e in events if e["type"] == "user.created"] == mine, "in their order"


def test_started_without_the_broker():
    queue = world.queue("late")
    with stopped("rabbitmq"), world.api() as api:
        wait_until(lambda: said(api, 200, "degraded"), BACK_S, "degraded")
        made = [api.signup(world.user()).is_(201).json["event_id"] for _ in range(5)]
        stack("ctl", "start", "rabbitmq")
        world.wait_published(40)
        assert sorted(ids_of(world.take(queue))) == sorted(made)


def test_killed_right_after_its_answers():
    queue = world.queue("killed")
    for _ in range(3):
        made = []
        with world.api(ONBOARD_OUTBOX_SWEEP_AFTER="300ms") as api:
            api.ready()
            made += at_once(24, lambda i: api.signup(world.user()).is_(201).json["event_id"])
            api.process.kill()
            api.process.wait()
        with world.api(ONBOARD_OUTBOX_SWEEP_AFTER="300ms") as api:
            api.ready()
            world.wait_published(20)
        found = ids_of(world.take(queue))
        assert set(made) <= set(found), f"{len(set(made) - set(found))} events are lost"
        assert set(found) <= set(made), "an event of nobody"


def test_killed_with_the_broker_away():
    queue = world.queue("both")
    with stopped("rabbitmq"):
        with world.api() as api:
            wait_until(lambda: said(api, 200, "degraded"), BACK_S, "degraded")
            made = [api.signup(world.user()).is_(201).json["event_id"] for _ in range(30)]
            api.process.kill()
            api.process.wait()
        assert world.unpublished() == 30
    with world.api(ONBOARD_OUTBOX_SWEEP_AFTER="300ms") as api:
        api.ready()
        world.wait_published(30)
        api.wait_metric("onboard_outbox_swept_total", 30)
    assert ids_of(world.take(queue)) == made, "once each, the oldest first"


def test_killed_under_load_with_idempotency_keys():
    """Who got no answer asks again with the same key: one user, one event."""
    bodies = [world.user() for _ in range(200)]
    first = [None] * len(bodies)
    with world.api() as api:
        api.ready()
        worker = threading.Thread(target=lambda: first.__setitem__(slice(None), at_once(
            200, lambda i: api.signup(bodies[i], Idempotency_Key=f"kill-{i}"))))
        worker.start()
        wait_until(lambda: world.one("SELECT count(*) FROM signup_keys") > 20, 10, "some are on their way")
        api.process.kill()
        worker.join()
    with world.api(ONBOARD_OUTBOX_SWEEP_AFTER="300ms") as api:
        api.ready()
        answers = []
        for i, body in enumerate(bodies):  # a claim of the dead process ends after 15 s
            answer = api.signup(body, Idempotency_Key=f"kill-{i}")
            if answer.status == 503:
                wait_until(lambda b=body, k=i: answers.append(api.signup(b, Idempotency_Key=f"kill-{k}")) or
                           answers.pop().status == 201, 25, "the dead one's claim is taken over")
                answer = api.signup(body, Idempotency_Key=f"kill-{i}")
            answer.is_(201)
            if not isinstance(first[i], Exception) and first[i].status == 201:
                assert first[i].json == answer.json, (first[i].json, answer.json)
        world.wait_published(20)
    names = [b["username"] for b in bodies]
    assert world.one("SELECT count(*) FROM users WHERE username = ANY (%s)", names) == 200
    assert world.one("SELECT count(*) FROM users u JOIN outbox o ON o.user_id = u.id WHERE username = ANY (%s)", names) == 200


def test_without_postgres_503_and_back():
    with world.api() as api:
        api.ready()
        user = api.signup(world.user()).is_(201).json["id"]
        with stopped("postgres"):
            wait_until(lambda: said(api, 503, "waiting"), 10, "waiting")
            for method, path, body in [("POST", "/api/users/signup", world.user()), ("GET", "/api/users/424242", None),
                                       ("GET", "/api/users?city=Riga", None), ("GET", "/api/countries", None),
                                       ("GET", "/api/countries/stats", None), ("PATCH", f"/api/users/{user}", {"name": "x"}),
                                       ("DELETE", f"/api/users/{user}", None)]:
                answer = api(method, path, body).problem(503)
                assert int(answer.headers["Retry-After"]) >= 1, (method, path, answer.headers)
            assert api.signup({}).status == 422, "what is wrong is wrong without a store"
            assert api.ask("/health")[0] == 200
        is_whole(api)
        api("PATCH", f"/api/users/{user}", {"name": "x"}).is_(200)
        api.signup(world.user()).is_(201)
        world.wait_published()


def test_a_read_only_postgres_is_away_until_it_takes_writes():
    with world.api() as api:
        api.ready()
        user = api.signup(world.user()).is_(201).json["id"]
        with read_only():
            wait_until(lambda: said(api, 503, "waiting"), 10, "waiting, though nobody has asked for a write")
            api.signup(world.user()).problem(503)
            assert "read-only" in api.ask_json("/ready")[1]["dependencies"]["postgres"]["why"]
            with world.api() as late:
                wait_until(lambda: "read-only" in late.log(), 10, "one that starts meanwhile sees it, too")
                assert said(late, 503, "waiting")
            assert api("GET", f"/api/users/{user}").status == 200, "reads go on"
        is_whole(api)
        api.signup(world.user()).is_(201)
        api("PATCH", f"/api/users/{user}", {"name": "x"}).is_(200)
        world.wait_published()


def test_a_postgres_without_room_is_not_ready():
    world.sql("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
              " $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$")
    with world.api() as api:
        api.ready()
        world.sql("CREATE TRIGGER full_disk BEFORE INSERT ON users EXECUTE FUNCTION full_disk()")
        try:
            api.signup(world.user()).problem(503)
            told = wait_until(lambda: said(api, 503, "waiting"), 5, "waiting")
            assert told["dependencies"]["postgres"]["state"] == "blocked", told
        finally:
            world.sql("DROP FUNCTION full_disk CASCADE")
        api.signup(world.user()).is_(201)  # tried all the same
        is_whole(api)


def test_postgres_goes_under_load():
    """The answer to a COMMIT may be lost: a 201 is a user all the same, a 503 with nothing stored stays so."""
    queue = world.queue("commit")
    with world.api() as api:
        api.ready()
        load = Load(world, api, 16)
        wait_until(lambda: len(load.created()) > 100, 20, "it runs")
        with stopped("postgres"):
            wait_until(lambda: 503 in load.statuses(), 20, "a signup is refused")
        is_whole(api)
        count = len(load.created())
        wait_until(lambda: len(load.created()) > count + 100, 20, "it runs again")
        load.stop()
        assert not load.broken, load.broken[:3]
        assert {status for _, status, _ in load.answers} <= {201, 503}, {s for _, s, _ in load.answers}
        created, _ = check_stored(load)
        world.wait_published(20)
        found = ids_of(world.take(queue))
        assert {a["event_id"] for a in created.values()} <= set(found), "events are lost"


def test_a_full_queue_is_503():
    with world.api(ONBOARD_API_QUEUE="1", ONBOARD_API_BATCH="1") as api:
        api.ready()
        with world.locked("users"):
            answers = []
            worker = threading.Thread(target=at_once, args=(32, lambda i: answers.append(api.signup(world.user()))))
            worker.start()
            wait_until(lambda: len(answers) == 30, 10, "all but two are answered")
        worker.join()
        got = [a.status for a in answers]
        assert set(got) == {201, 503} and got.count(201) == 2, f"one under way, one that waits: {got}"
        full = next(a for a in answers if a.status == 503).problem(503)
        assert int(full.headers["Retry-After"]) >= 1
        load = Load(world, api, 32)
        wait_until(lambda: {201, 503} <= load.statuses(), 20, "both answers")
        load.stop()
        assert {s for _, s, _ in load.answers} == {201, 503} and not load.broken
        _, more = check_stored(load)
        assert not more, f"{len(more)} were stored and answered 503"
        world.wait_published()  # killed sooner, it would leave its last ones to the next test


def test_SIGTERM_under_load_answers_what_was_sent():
    queue = world.queue("drain")
    for turn in range(3):
        assert world.unpublished() == 0, "left by the test before"
        with world.api() as api:
            api.ready()
            load = Load(world, api, 24)
            wait_until(lambda: len(load.created()) > 200, 20, "it runs")
            code = api.terminate()
            load.stop()
            assert code == 0, f"exit {code}: {api.log()[-1500:]}"  # 1, where it has not drained within 10 s
            assert '"message":"drained"' in api.log()
        created, more = check_stored(load)
        # a request that crosses the close of an idle connection on the wire cannot be answered
        print(f"# turn {turn}: {len(created)} created, {len(load.broken)} without an answer, of those {len(more)} stored")
        assert not load.broken, f"{len(load.broken)} of {len(load.answers)} requests got no answer: {load.broken[:3]}"
        assert {s for _, s, _ in load.answers} <= {201, 503}
        assert world.unpublished() == 0, "drained with events that were not written down as published"
        assert {a["event_id"] for a in created.values()} == set(ids_of(world.take(queue)))


def test_SIGTERM_writes_down_what_is_confirmed_last():
    queue = world.queue("last")
    assert world.unpublished() == 0, "left by the test before"
    with world.api(ONBOARD_RABBITMQ_HEARTBEAT="10s") as api:  # the frozen broker is not given up
        api.ready()
        stack("ctl", "freeze", "rabbitmq")
        try:
            made = [api.signup(world.user()).is_(201).json["event_id"] for _ in range(20)]
            api.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "STOPPING=1" in api.said, 5, "it drains")
        finally:
            stack("ctl", "thaw", "rabbitmq")
        code = api.process.wait(30)
        assert code == 0, f"exit {code}"
    assert world.unpublished() == 0, "confirmed, and not written down: they would be published again"
    assert sorted(ids_of(world.take(queue))) == sorted(made), "once each"


def test_SIGTERM_while_postgres_hangs_ends_in_order():
    """At the drain's deadline one signup has no answer, another waits for its turn, a third for another's key."""
    with world.api(ONBOARD_API_BATCH="1") as api:
        api.ready()
        api.signup(world.user()).is_(201)  # its statement is prepared then
        with world.locked("users"):
            keyed = [world.user()] * 2
            worker = threading.Thread(target=at_once, args=(12, lambda i: api.signup(keyed[i], Idempotency_Key="hangs")
                                                            if i < 2 else api.signup(world.user())))
            worker.start()
            wait_until(lambda: api.metric("onboard_http_requests_open") >= 12, 10, "they wait")
            api.process.send_signal(signal.SIGTERM)
            code = api.process.wait(30)
        worker.join()
        assert code == 1 and "not drained in time" in api.log(), f"exit {code}: {api.log()[-1500:]}"
    world.sql("DELETE FROM outbox_unpublished")  # the server may commit what was under way


def test_two_processes_sweep_without_doubling():
    queue = world.queue("twice")
    with stopped("rabbitmq"), world.api() as api:
        wait_until(lambda: said(api, 200, "degraded"), BACK_S, "degraded")
        made = [api.signup(world.user()).is_(201).json["event_id"] for _ in range(100)]
        api.process.kill()
        api.process.wait()
    with contextlib.ExitStack() as all_:
        apis = [all_.enter_context(world.api(ONBOARD_OUTBOX_SWEEP_AFTER="300ms")) for _ in range(3)]
        for api in apis:
            api.ready()
        world.wait_published(20)
    assert sorted(ids_of(world.take(queue))) == sorted(made), "once each"


# ---- the archive's days ----

def today():
    return datetime.now(timezone.utc).date()


def days():
    return {name for name, in world.sql("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                                        " WHERE i.inhparent = 'outbox'::regclass")}


def named(day):
    return f"outbox_{day:%Y%m%d}"


def event_of(day: date, unpublished):
    """A row as an event of that day has it; its partition is made."""
    if named(day) not in days():
        world.sql(f"CREATE TABLE {named(day)} PARTITION OF outbox FOR VALUES FROM ('{day}') TO ('{day + timedelta(1)}')")
    ms = int(datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc).timestamp() * 1000)
    event = str(uuid.UUID(int=ms << 80 | 7 << 76 | 2 << 62 | secrets.randbits(60)))
    body = json.dumps({"id": event, "type": "user.created", "timestamp": f"{day}T00:00:00Z", "payload": {}})
    world.sql("INSERT INTO outbox VALUES (%s, %s, 'user.created', 1, %s)", day, event, body)
    if unpublished:
        world.sql("INSERT INTO outbox_unpublished VALUES (%s, %s, %s, ARRAY[%s::uuid])", event, day, day, event)
    return event


def test_days_are_made_ahead_and_old_ones_dropped_unless_something_is_unpublished():
    old, held, kept = (today() - timedelta(n) for n in (20, 30, 7))
    event_of(old, False)
    event_of(kept, False)
    with stopped("rabbitmq"):
        event_of(held, True)
        with world.api() as api:
            wait_until(lambda: said(api, 200, "degraded"), BACK_S, "degraded")
            wait_until(lambda: {named(today() + timedelta(n)) for n in range(-1, 8)} <= days(), 10, "made ahead")
            wait_until(lambda: named(old) not in days(), 10, "past the retention")
            assert named(kept) in days(), "within the retention"
            assert named(held) in days(), "it holds an event that nobody has got"
    with world.api(ONBOARD_OUTBOX_SWEEP_AFTER="100ms") as api:
        api.ready()
        world.wait_published(20)
    with world.api() as api:
        api.ready()
        wait_until(lambda: named(held) not in days(), 10, "nothing needs it any more")
        assert world.one("SELECT count(*) FROM outbox_default") == 0


def test_events_of_a_day_that_had_no_partition():
    """What came into the default partition must not keep the day's own from being made, nor the API from READY."""
    for day in days() - {"outbox_default"}:
        world.sql(f"DROP TABLE {day}")
    world.sql("DELETE FROM outbox_unpublished")
    event = world.one("SELECT gen_random_uuid()::text")
    world.sql("INSERT INTO outbox VALUES (%s, %s, 'user.created', 1, '{}')", today(), event)
    try:
        with world.api() as api:
            api.ready()
            wait_until(lambda: named(today()) in days(), 10, "made")
            assert world.one("SELECT count(*) FROM outbox WHERE event_id = %s", event) == 1
    finally:
        world.sql("DELETE FROM outbox_default")


def test_a_reader_that_stays_holds_up_nobody():
    """A report or pg_dump has the outbox open when an API starts that has a day to make and one to drop."""
    queue, old = world.queue("reader"), today() - timedelta(20)
    event_of(old, False)
    world.sql(f"DROP TABLE {named(today())}")
    world.sql("DELETE FROM outbox_unpublished")
    with world.reading("outbox"):
        left = event_of(today() - timedelta(1), True)
        with world.api(ONBOARD_OUTBOX_SWEEP_AFTER="100ms") as api:
            api.ready()
            load = Load(world, api)
            wait_until(lambda: len(load.created()) > 500, 20, "signups")
            load.stop()
            assert {status for _, status, _ in load.answers} == {201} and not load.broken
            world.wait_published()
            made = [a.json["event_id"] for _, a in load.created()]
            assert set(made) | {left} == set(ids_of(world.take(queue))), "the sweeper works, and no event waits"
            assert api.log().count("partitions are kept later") <= 2, "once for each day, then a pause"
            assert named(today()) not in days() and named(old) in days()
    with world.api() as api:
        api.ready()
        wait_until(lambda: named(today()) in days() and named(old) not in days(), 10, "kept once the reader has gone")
        assert world.one("SELECT count(*) FROM outbox_default") == 0
        assert world.one(f"SELECT count(*) FROM {named(today())}") >= len(made)


def test_a_day_too_large_to_move_stays_until_it_is_past_the_retention():
    """Moving it would lock its own signups out; pages of it are deleted later."""
    fill = "INSERT INTO outbox SELECT %s, gen_random_uuid(), 'user.created', 1, '{}' FROM generate_series(1, 5001)"
    world.sql(f"DROP TABLE {named(today())}")
    world.sql(fill, today())
    world.sql(fill, today() - timedelta(20))
    try:
        with world.api() as api:
            api.ready()
            wait_until(lambda: world.one("SELECT count(*) FROM outbox_default") == 5001, 10, "the old day is deleted")
            api.signup(world.user()).is_(201)
            assert named(today()) not in days() and named(today() + timedelta(1)) in days()
            world.wait_published()
    finally:
        world.sql("DELETE FROM outbox_default")


def test_SIGHUP_takes_a_new_queue_bound():
    with world.api() as api:
        api.ready()
        api.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded" in api.log(), 5, "reloaded")
        api.signup(world.user()).is_(201)
