# SPDX-License-Identifier: MIT
"""Reading, changing and listing users on the real servers, through all three tiers."""
import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest
from api import BACK_S, at_once
from harm import stopped
from proxy import Proxy
from wait import wait_until

RIGA = {"street": "Brīvības iela 1", "postal_code": "LV-1010", "city": "Riga", "country": "LV"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
PROFILE = "user:{}:profile"


@pytest.fixture(scope="module", autouse=True)
def here(request):
    global world
    world = request.getfixturevalue("world")


def made(**more):
    """A new user's id."""
    return world.shared().signup(world.user(**more)).is_(201).json["id"]


def path(user):
    return f"/api/users/{user}"


def get(user, api=None):
    return (api or world.shared())("GET", path(user))


def test_P2_a_user_with_address_city_and_country_by_one_statement():
    api, body = world.shared(), world.user(name="Anna", address={**RIGA, "region": "Vidzeme"})
    user = api.signup(body).is_(201).json["id"]
    answers = []
    assert api.statements(lambda: answers.append(get(user))) == 1
    answer = answers[0].is_(200)
    shown = answer.json
    assert shown.keys() == {"id", "username", "email", "name", "profile_score", "is_verified", "version", "created_at",
                            "updated_at", "address"}, shown
    assert {k: shown[k] for k in ("id", "username", "email", "name", "profile_score", "is_verified", "version")} == \
        {"id": user, "username": body["username"], "email": body["email"], "name": "Anna", "profile_score": 0,
         "is_verified": False, "version": 1}
    assert shown["address"] == {**RIGA, "region": "Vidzeme", "country_name": "Latvia"}
    assert re.fullmatch(TIME, shown["created_at"]) and shown["updated_at"] == shown["created_at"]
    assert answer.headers["ETag"] == '"1"' and answer.headers["Content-Type"] == "application/json"


def test_P1_a_user_without_an_address():
    shown = get(made()).is_(200).json
    assert shown["address"] is None and shown["name"] is None
    get(987654321).problem(404)
    head = world.shared()("HEAD", path(shown["id"]))
    assert head.status == 200 and head.text == b"" and head.headers["ETag"] == '"1"'


def test_C1_the_process_counts_its_hits_and_misses():
    api, user = world.shared(), made()

    def counts():
        return [api.metric(f"onboard_cache_{n}_total") for n in ("memory_hits", "memory_misses", "redis_hits", "redis_misses")]

    def moved(ask):
        before = counts()
        ask()
        return [b - a for a, b in zip(before, counts())]

    assert moved(lambda: get(user)) == [0, 1, 0, 1], "the database"
    assert moved(lambda: get(user)) == [1, 0, 0, 0], "the process"
    kept = wait_until(lambda: world.redis.get(PROFILE.format(user)), 5, "kept in Redis")
    assert json.loads(kept) == get(user).json
    world.redis.publish("cache:invalidate", PROFILE.format(user))
    missed = wait_until(lambda: (m := moved(lambda: get(user)))[1] and m, 5, "the process has dropped its copy")
    assert missed == [0, 1, 1, 0], "Redis"
    assert api.metric("onboard_cache_memory_entries") > 0


def read_past_memory(user):
    """What GET answers once the process has dropped its copy."""
    def missed():
        before = world.shared().metric("onboard_cache_memory_misses_total")
        answer = get(user).is_(200)
        return world.shared().metric("onboard_cache_memory_misses_total") > before and answer
    world.redis.publish("cache:invalidate", PROFILE.format(user))
    return wait_until(missed, 5, "the process has dropped its copy")


def test_C1_the_process_keeps_no_more_than_it_may_and_not_for_longer():
    with world.api(ONBOARD_API_LRU_ENTRIES="4", ONBOARD_API_LRU_TTL="300ms") as api:
        api.ready()
        users = [made() for _ in range(10)]
        for user in users:
            get(user, api).is_(200)
        assert api.metric("onboard_cache_memory_entries") <= 4

        def counted(what):
            before = api.metric(f"onboard_cache_memory_{what}_total")
            get(users[-1], api).is_(200)
            return api.metric(f"onboard_cache_memory_{what}_total") > before

        wait_until(lambda: counted("hits"), 5, "a read from the process")
        wait_until(lambda: counted("misses"), 5, "a copy past its time is not used, however often it is read")


def test_C2_profiles_in_redis():
    user = made()
    answer = get(user)
    kept = wait_until(lambda: world.redis.get(PROFILE.format(user)), 5, "kept in Redis")
    assert kept.encode() == answer.text
    assert 3500 < world.redis.ttl(PROFILE.format(user)) <= 3600
    assert world.redis.get(f"user:{user}:version") == "1" and world.redis.ttl(f"user:{user}:version") > 6 * 86400
    for nonsense in ("", "{", "[]", '{"id":5}', '{"id":%d,"version":"x"}' % user, "null", '{"id":%d,"version":9}' % (user + 1)):
        world.redis.set(PROFILE.format(user), nonsense)
        assert read_past_memory(user).json == answer.json, nonsense
    keys = [PROFILE.format(user), f"user:{user}:version", "users:country:LV"]
    for key in keys:
        world.redis.delete(key)
        world.redis.lpush(key, "a list")
    assert read_past_memory(user).json == answer.json
    wait_until(lambda: world.redis.get(PROFILE.format(user)).encode() == answer.text, 5, "kept in Redis again")
    assert world.redis.get(keys[1]) == "1"
    listed("?country=LV")
    wait_until(lambda: world.redis.type(keys[2]) == "string", 5, "the list is kept, too")


def at_the_same_moment(api, target, count):
    """count connections, the request on each; how many answered 200 with which texts. release() comes between."""
    sockets = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", api.port), 10)
        s.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        sockets.append(s)
    yield
    found = []
    for s in sockets:
        s.settimeout(20)
        text = b""
        while data := s.recv(65536):
            text += data
        s.close()
        found.append((text.split(b"\r\n")[0], text.partition(b"\r\n\r\n")[2]))
    yield found


def test_C4_1000_readers_of_one_user_are_one_statement():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    api, user = world.shared(), made()
    before = api.metric("onboard_sql_statements_total")
    with world.locked("users"):  # what reads it waits
        turn = at_the_same_moment(api, path(user), 1000)
        next(turn)
        wait_until(lambda: api.metric("onboard_http_requests_open") == 1000, 10, "1000 wait")
    found = next(turn)
    assert {line for line, _ in found} == {b"HTTP/1.1 200 OK"} and len({text for _, text in found}) == 1
    assert api.metric("onboard_sql_statements_total") - before == 1


def test_C4_readers_of_one_countrys_list_are_one_statement():
    api = world.shared()
    made(address={**RIGA, "city": "Nuuk", "country": "GL"})
    before = api.metric("onboard_sql_statements_total")
    with world.locked("users"):
        turn = at_the_same_moment(api, "/api/users?country=GL", 100)
        next(turn)
        wait_until(lambda: api.metric("onboard_http_requests_open") == 100, 10, "100 wait")
    found = next(turn)
    assert {line for line, _ in found} == {b"HTTP/1.1 200 OK"} and len({text for _, text in found}) == 1
    assert api.metric("onboard_sql_statements_total") - before == 1
    assert len(json.loads(found[0][1])["items"]) == 1


def test_C4_without_a_lock_too():
    api, user = world.shared(), made()
    assert api.statements(lambda: at_once(100, lambda i: get(user).is_(200))) == 1


def test_readers_of_a_missing_user_wait_together_and_get_404():
    api = world.shared()
    assert api.statements(lambda: [a.problem(404) for a in at_once(20, lambda i: get(5550000 + i % 2))]) <= 20
    assert world.redis.get(PROFILE.format(5550000)) is None


# ---- changes ----

def test_PATCH_and_PUT_merge():
    api, user = world.shared(), made(name="Old", address=RIGA)
    before = get(user).json
    for number, (method, change) in enumerate([("PATCH", {"name": "New"}), ("PUT", {"name": "Newer"}),
                                               ("PATCH", {"username": before["username"] + "x"}),
                                               ("PATCH", {"email": f"New{user}@Example.org"}), ("PATCH", {"name": None})], 2):
        answer = api(method, path(user), change).is_(200)
        want = {**before, **change, "version": number, "updated_at": answer.json["updated_at"]}
        if "email" in change:
            want["email"] = change["email"].lower()
        assert answer.json == want, (answer.json, want)
        assert answer.headers["ETag"] == f'"{number}"' and answer.json["updated_at"] > before["updated_at"]
        assert get(user).text == answer.text, "a GET after the answer"
        before = answer.json
    api("PATCH", path(user), {"name": "M"}, Content_Type="application/merge-patch+json").is_(200)


def test_P1_an_address_comes_changes_and_goes():
    api, user = world.shared(), made()

    def addresses():
        return world.one("SELECT count(*) FROM addresses")

    count = addresses()
    assert api("PATCH", path(user), {"address": RIGA}).is_(200).json["address"] == \
        {**RIGA, "region": None, "country_name": "Latvia"}
    assert addresses() == count + 1
    tallinn = {"street": "Pikk 1", "postal_code": "10123", "city": "Tallinn", "region": "Harju", "country": "EE"}
    assert api("PATCH", path(user), {"address": tallinn}).is_(200).json["address"] == {**tallinn, "country_name": "Estonia"}
    assert addresses() == count + 1, "the address was changed, not left behind"
    assert get(user).json["address"]["city"] == "Tallinn"
    assert api("PATCH", path(user), {"address": None}).is_(200).json["address"] is None
    assert addresses() == count, "an address that nobody has any more stays behind"
    assert get(user).json["address"] is None
    api("PATCH", path(user), {"address": {**RIGA, "country": "XX"}}).problem(422)
    api("PATCH", path(user), {"address": {"city": "Riga"}}).problem(422)
    assert get(user).json["version"] == 4


def test_P1_an_address_that_two_share_is_not_taken_from_the_other():
    api, one, other = world.shared(), made(address=RIGA), made()
    world.sql("UPDATE users SET address_id = (SELECT address_id FROM users WHERE id = %s) WHERE id = %s", one, other)
    api("PATCH", path(one), {"address": {**RIGA, "city": "Cēsis"}}).is_(200)
    assert get(one).json["address"]["city"] == "Cēsis"
    assert get(other).json["address"]["city"] == "Riga", "the other one has moved, too"
    third = made()
    world.sql("UPDATE users SET address_id = (SELECT address_id FROM users WHERE id = %s) WHERE id = %s", other, third)
    api("PATCH", path(other), {"address": None}).is_(200)
    api("PATCH", path(third), {"name": "T"}).is_(200)
    assert get(third).json["address"]["city"] == "Riga"
    world.sql("UPDATE users SET address_id = (SELECT address_id FROM users WHERE id = %s) WHERE id = %s", third, other)
    api("DELETE", path(third)).is_(204)
    assert world.one("SELECT count(*) FROM users u JOIN addresses a ON a.id = u.address_id WHERE u.id = %s", other) == 1


def test_what_a_client_cannot_change():
    api, user = world.shared(), made()
    for field, value in [("profile_score", 99), ("version", 7), ("id", 5), ("is_verified", True), ("created_at", "now"),
                         ("username", None), ("email", None), ("username", "a b"), ("email", "x"), ("name", ""), ("address", 5)]:
        for method in ("PATCH", "PUT"):
            assert list(api(method, path(user), {field: value}).problem(422).fields()) == [field], field
    assert api("PATCH", path(user), {"profile_score": 1, "version": 1, "name": 5}).problem(422).fields().keys() == \
        {"profile_score", "version", "name"}
    api("PATCH", path(user), {}).problem(422)
    api("PATCH", path(user), "[]").problem(422)
    api("PATCH", path(user), "{").problem(400)
    api("PATCH", path(user), '{"name": "a", "Name": "b"}').problem(400)
    api("PATCH", path(user), {"name": "x"}, Content_Type="text/plain").problem(415)
    api("PATCH", path(987654321), {"name": "x"}).problem(404)
    api("DELETE", path(987654321)).problem(404)
    assert get(user).json["version"] == 1


def test_a_change_to_what_another_has():
    api, one, other = world.shared(), get(made()).json, made()
    for field in ("username", "email"):
        assert list(api("PATCH", path(other), {field: one[field].upper()}).problem(409).fields()) == [field]
    assert list(api("PATCH", path(other), {f: one[f] for f in ("username", "email")}).problem(409).fields()) == \
        ["username", "email"]
    assert get(other).json["version"] == 1
    api("PATCH", path(one["id"]), {"username": one["username"].upper(), "email": one["email"]}).is_(200)  # his own


def test_If_Match():
    api, user = world.shared(), made()
    for tag in ('"2"', '"0"', "1", '"x"', 'W/"1"', '""', "", '"1" "2"'):
        api("PATCH", path(user), {"name": "x"}, If_Match=tag).problem(412)
        api("DELETE", path(user), If_Match=tag).problem(412)
    tag = api("PATCH", path(user), {"name": "x"}, If_Match='"1"').is_(200).headers["ETag"]
    assert tag == '"2"' == get(user).headers["ETag"]
    api("PATCH", path(user), {"name": "y"}, If_Match="*").is_(200)
    api("PATCH", path(user), {"name": "z"}, If_Match='"7", "3"').is_(200)  # a list of them
    got = at_once(16, lambda i: api("PATCH", path(user), {"name": f"race {i}"}, If_Match='"4"').status)
    assert sorted(got) == [200] + [412] * 15, got
    api("DELETE", path(user), If_Match='"4"').problem(412)
    api("DELETE", path(user), If_Match='"5"').is_(204)
    api("PATCH", path(user), {"name": "x"}, If_Match="*").problem(404)


def test_changes_at_once_are_all_done_one_after_another():
    api, user = world.shared(), made()
    got = at_once(24, lambda i: api("PATCH", path(user), {"name": f"n{i}"}).is_(200).json["version"])
    assert sorted(got) == list(range(2, 26)), got  # each answers what it has made
    assert get(user).json["version"] == 25
    assert world.one("SELECT count(*) FROM outbox WHERE user_id = %s AND type = 'user.updated'", user) == 24


TALLINN = {"street": "Pikk 1", "postal_code": "10123", "city": "Tallinn", "country": "EE"}
VILNIUS = {"street": "Pilies 1", "postal_code": "01123", "city": "Vilnius", "region": "Vilnius", "country": "LT"}
COUNTRY_NAMES = {"LV": "Latvia", "EE": "Estonia", "LT": "Lithuania"}


def merged(state, change):
    """What GET shows after this change of that state."""
    after = {**state, **change, "version": state["version"] + 1}
    if change.get("address"):
        after["address"] = {"region": None, **change["address"], "country_name": COUNTRY_NAMES[change["address"]["country"]]}
    return after


def places(state):
    address = state["address"] or {}
    return address.get("country"), address.get("city")


def events_of(user):
    """Its user.updated and user.deleted payloads by version."""
    bodies = world.sql("SELECT body FROM outbox WHERE user_id = %s AND type <> 'user.created'", user)
    return sorted((json.loads(b)["payload"] for b, in bodies), key=lambda p: p["version"])


def two_changes(clients, user, changes):
    """Both at the same moment, on connections of their own."""
    return at_once(2, lambda i: clients[i]("PATCH", path(user), changes[i]).is_(200))


def follow(user, start, changes, answers):
    """Each change was applied to what the change before it left; answers, events and GET tell the same story."""
    state, events = start, events_of(user)
    turns = sorted(zip(changes, answers), key=lambda t: t[1].json["version"])
    assert [e["version"] for e in events] == [a.json["version"] for _, a in turns] == [2, 3]
    for event, (change, answer) in zip(events, turns):
        before, state = state, merged(state, change)
        shown = answer.json
        assert answer.headers["ETag"] == f'"{shown["version"]}"'
        assert shown == {**state, "updated_at": shown["updated_at"]}, ("the answer", change, shown, state)
        assert (event.get("country"), event.get("city"), event.get("name")) == (*places(state), state["name"]), ("the event", event, state)
        assert event.get("previous_country") == places(before)[0], ("previous_country", event, before)
    assert get(user).json == turns[-1][1].json, "an acknowledged change is not stored"


def test_changes_of_one_user_at_once_are_each_stored_answered_and_told_as_made():
    api = world.shared()
    clients = [api.client() for _ in range(2)]
    pairs = [({"address": RIGA}, {"address": TALLINN}),
             ({"address": VILNIUS}, {"name": "Moved beside"}),
             ({"address": None}, {"address": TALLINN}),
             ({"address": TALLINN, "name": "One"}, {"name": None})]
    try:
        for start in (RIGA, None):
            for changes in pairs:
                for _ in range(10):
                    user = made(name="Before", **({"address": start} if start else {}))
                    before = get(user).json
                    answers = two_changes(clients, user, changes)
                    assert not [a for a in answers if isinstance(a, Exception)], answers
                    follow(user, before, changes, answers)
    finally:
        for client in clients:
            client.close()
    assert orphans() == 0, "addresses that nobody has"
    assert strays() == []


def orphans():
    return world.one("SELECT count(*) FROM addresses a WHERE NOT EXISTS (SELECT FROM users u WHERE u.address_id = a.id)")


def test_a_move_beside_a_deletion():
    api = world.shared()
    for _ in range(20):
        user = made(address=RIGA)
        moved, gone = at_once(2, lambda i, u=user: api("PATCH", path(u), {"address": TALLINN}) if i else api("DELETE", path(u)))[::-1]
        assert gone.status == 204 and moved.status in (200, 404), (gone.status, moved.status)
        last = events_of(user)[-1]
        assert last["country"] == ("EE" if moved.status == 200 else "LV"), (moved.status, last)
    assert orphans() == 0


def test_two_who_share_an_address_leave_it_at_once():
    api = world.shared()
    for kind in (TALLINN, None):
        for _ in range(10):
            one, other = made(address=RIGA), made()
            world.sql("UPDATE users SET address_id = (SELECT address_id FROM users WHERE id = %s) WHERE id = %s", one, other)
            for answer in at_once(2, lambda i, u=(one, other), k=kind: api("PATCH", path(u[i]), {"address": k})):
                assert places(answer.is_(200).json) == places({"address": kind})
            assert places(get(one).json) == places(get(other).json) == places({"address": kind})
    assert orphans() == 0, "the address that two have left stands for nobody"


def test_a_change_that_waits_too_long_changes_nothing_and_the_next_goes_through():
    api, user = world.shared(), made(address=RIGA)
    with contextlib.closing(world.connect()) as other:
        other.cursor().execute("SELECT FROM users WHERE id = %s FOR UPDATE", (user,))
        answer = api("PATCH", path(user), {"address": TALLINN}).problem(503)
        assert "Retry-After" in answer.headers
        other.rollback()
    assert get(user).json["version"] == 1 and events_of(user) == []
    assert places(api("PATCH", path(user), {"address": TALLINN}).is_(200).json) == ("EE", "Tallinn")


def strays():
    """Users beside whom stands another place than that of their address."""
    return world.sql("SELECT u.id, u.country, u.city_id, co.code, ci.id FROM users u LEFT JOIN addresses a ON a.id = u.address_id"
                     " LEFT JOIN cities ci ON ci.id = a.city_id LEFT JOIN countries co ON co.id = ci.country_id"
                     " WHERE (u.country, u.city_id) IS DISTINCT FROM (co.code, ci.id)")


def test_the_place_beside_the_user_follows_whoever_writes():
    api = world.shared()
    user, other = made(address=RIGA), made()
    for address in (TALLINN, {**TALLINN, "street": "Pikk 2"}, None, RIGA):
        api("PATCH", path(user), {"address": address}).is_(200)
        assert strays() == [], address
    world.sql("UPDATE users SET address_id = (SELECT address_id FROM users WHERE id = %s) WHERE id = %s", user, other)
    assert strays() == [] and other in [u["id"] for u in listed("?country=LV&limit=200")["items"]]
    api("PATCH", path(user), {"address": {**RIGA, "street": "In the same city"}}).is_(200)
    assert strays() == [], "a new address in the same city"
    world.sql("UPDATE addresses SET city_id = (SELECT min(id) FROM cities WHERE name = 'Tallinn')"
              " WHERE id = (SELECT address_id FROM users WHERE id = %s)", other)
    assert strays() == [] and world.one("SELECT country FROM users WHERE id = %s", other) == "EE"
    world.sql("UPDATE users SET address_id = NULL WHERE id = %s", other)
    world.sql("INSERT INTO users (username, email, address_id) SELECT 'by.hand', 'by.hand@example.org', address_id FROM users"
              " WHERE id = %s", user)
    assert strays() == []
    world.sql("DELETE FROM users WHERE username = 'by.hand'")


def test_the_event_names_the_city_as_it_is_stored():
    api = world.shared()
    made(address={**RIGA, "city": "Jelgava"})
    user = made(address={**RIGA, "city": "jELGAVA"})
    assert get(user).json["address"]["city"] == "Jelgava"
    assert json.loads(world.one("SELECT body FROM outbox WHERE user_id = %s", user))["payload"]["city"] == "Jelgava"
    shown = api("PATCH", path(user), {"address": {**RIGA, "city": "JELGAVA"}}).is_(200).json
    assert shown["address"]["city"] == events_of(user)[-1]["city"] == "Jelgava"


def test_R1_events_of_changes():
    api, user = world.shared(), made(name="A", address=RIGA)
    world.wait_published()
    queue = world.queue("changes")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    tallinn = {"street": "Pikk 1", "postal_code": "10123", "city": "Tallinn", "country": "EE"}
    shown = api("PATCH", path(user), {"address": tallinn}, traceparent=f"00-{trace}-00f067aa0ba902b7-01").is_(200).json
    api("PATCH", path(user), {"name": None}).is_(200)
    api("PATCH", path(user), {"address": None}).is_(200)
    api("PATCH", path(user), {"address": RIGA}).is_(200)
    api("DELETE", path(user)).is_(204)
    found = world.wait_events(queue, 5)
    events = [json.loads(text) for _, _, text in found]
    base = {"user_id": user, "username": shown["username"], "email": shown["email"]}
    assert [e["payload"] for e in events] == [
        {**base, "version": 2, "name": "A", "country": "EE", "city": "Tallinn", "previous_country": "LV"},
        {**base, "version": 3, "country": "EE", "city": "Tallinn", "previous_country": "EE"},
        {**base, "version": 4, "previous_country": "EE"},
        {**base, "version": 5, "country": "LV", "city": "Riga"},
        {"user_id": user, "version": 6, "country": "LV"}], [e["payload"] for e in events]
    for (method, properties, text), event in zip(found, events):
        kind = "user.deleted" if event is events[-1] else "user.updated"
        assert (event["type"], method.routing_key, properties.type) == (kind, kind, kind)
        assert list(event) == ["id", "type", "timestamp", "payload"] and re.fullmatch(TIME, event["timestamp"]), event
        assert (properties.message_id, properties.delivery_mode, properties.content_type) == (event["id"], 2, "application/json")
        assert properties.headers.keys() == {"traceparent"}
        assert world.one("SELECT body FROM outbox WHERE event_id = %s", event["id"]).encode() == text
    assert trace in found[0][1].headers["traceparent"]
    world.wait_published()


def test_DELETE_leaves_nothing_to_read():
    api, user = world.shared(), made(address=RIGA)
    shown = get(user).json
    answer = api("DELETE", path(user)).is_(204)
    assert answer.text == b"" and "Content-Type" not in answer.headers
    get(user).problem(404)
    api("DELETE", path(user)).problem(404)
    assert world.redis.get(PROFILE.format(user)) is None and world.redis.get(f"user:{user}:version") == "2"
    assert api("GET", f"/api/users?username={shown['username']}").json["items"] == []
    assert world.sql("SELECT FROM addresses a WHERE NOT EXISTS (SELECT FROM users WHERE address_id = a.id)") == []
    api.signup({"username": shown["username"], "email": shown["email"]}).is_(201)


def test_C5_a_change_shows_in_another_process():
    one = world.shared()
    with world.api() as other:
        other.ready()
        user = made(address=RIGA)
        for turn in range(100):
            assert get(user, other).json["version"] == get(user, one).json["version"] == turn + 1
            (one, other)[turn % 2]("PATCH", path(user), {"name": f"turn {turn}"}).is_(200)
            for api in (one, other):
                shown = get(user, api).json
                assert shown["name"] == f"turn {turn}", f"{turn}: the process still shows {shown['name']}"
        one("DELETE", path(user)).is_(204)
        get(user, other).problem(404)


def test_C5_a_change_shows_in_a_process_that_is_busy():
    """Its loop finds the invalidation and the request in the same turn: the invalidation comes first."""
    one = world.shared()
    with world.api() as other:
        other.ready()
        user, path_of_others = made(), path(made())
        with subprocess.Popen(["wrk", "-t1", "-c32", "-d60", f"http://127.0.0.1:{other.port}{path_of_others}"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as load:
            changing, reading = one.client(), other.client()
            reading("GET", path(user)).is_(200)
            for turn in range(1000):
                changing("PATCH", path(user), {"name": f"turn {turn}"}).is_(200)
                shown = reading("GET", path(user)).is_(200).json["name"]
                assert shown == f"turn {turn}", f"{turn}: the process still shows {shown}"
            load.kill()


def test_reuse_port_shares_it():
    with world.api("--reuse-port") as one, world.api("--reuse-port", port=one.port) as other:
        one.ready()
        other.ready()
        user, seen = made(), [0, 0]
        for n in range(60):
            get(user, one).is_(200)
            one("PATCH", path(user), {"name": f"n{n}"}).is_(200)
            assert get(user, one).json["name"] == f"n{n}"
        seen = [a.metric("onboard_cache_memory_hits_total") + a.metric("onboard_cache_memory_misses_total") for a in (one, other)]
        assert all(seen), f"one of the two got nothing: {seen}"


def test_a_read_that_is_under_way_keeps_nothing_old():
    """The answer of a read that began before a change arrives after it: nobody gets it later."""
    url = urllib.parse.urlsplit(world.env["ONBOARD_POSTGRES_URL"])
    proxy = Proxy(url.hostname, url.port)
    try:
        slow = url._replace(netloc=re.sub(r":\d+$", f":{proxy.port}", url.netloc)).geturl()
        with world.api(ONBOARD_POSTGRES_URL=slow, ONBOARD_API_READERS="1", ONBOARD_API_LISTERS="1") as api:
            api.ready()
            user = made(address={**RIGA, "country": "MT", "city": "Valletta"})
            get(987654321, api).problem(404)          # both statements are known to the server
            api("GET", "/api/users?country=IS").is_(200)
            for target, name in ((path(user), "Once"), ("/api/users?country=MT", "Twice")):
                for key in (PROFILE.format(user), "users:country:MT"):
                    world.redis.delete(key)
                    world.redis.publish("cache:invalidate", key)
                time.sleep(0.1)
                proxy.delay_s = 0.6
                worker = threading.Thread(target=lambda t=target: api("GET", t))
                worker.start()
                time.sleep(0.9)  # read, and on its way back
                world.shared()("PATCH", path(user), {"name": name}).is_(200)
                worker.join()
                proxy.delay_s = 0
                time.sleep(0.2)
                for a in (api, world.shared()):
                    assert get(user, a).json["name"] == name, "the profile is old"
                    assert a("GET", "/api/users?country=MT").json["items"][0]["name"] == name, "the list is old"
    finally:
        proxy.close()


# ---- lists ----

def listed(query):
    return world.shared()("GET", "/api/users" + query).is_(200).json


def pages(query, limit):
    items, cursor = [], None
    while True:
        page = listed(f"{query}&limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        assert page.keys() == {"items", "next_cursor"} and len(page["items"]) <= limit
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items
        assert len(page["items"]) == limit, "a page that is not full, and not the last"


def test_P3_users_of_a_country_and_of_a_city_with_a_score():
    fi = [made(address={**RIGA, "city": ("Oulu", "Espoo")[n % 2], "country": "FI"}) for n in range(9)]
    se = made(address={**RIGA, "city": "Oulu", "country": "SE"})
    for n, user in enumerate(fi):
        world.sql("UPDATE users SET profile_score = %s WHERE id = %s", n * 10, user)
    assert [u["id"] for u in listed("?country=FI")["items"]] == fi
    assert [u["id"] for u in listed("?country=fi")["items"]] == fi
    assert [u["id"] for u in listed("?city=Oulu")["items"]] == fi[0::2] + [se]
    assert [u["id"] for u in listed("?city=oulu&country=FI")["items"]] == fi[0::2]
    assert [u["id"] for u in listed("?city=Oulu&min_score=40")["items"]] == [fi[4], fi[6], fi[8]], "at least, not above"
    assert [u["id"] for u in listed("?city=Oulu&min_score=40.5")["items"]] == [fi[6], fi[8]]
    assert listed("?city=Atlantis") == {"items": [], "next_cursor": None} == listed("?country=BV")
    one = listed("?country=FI")["items"][0]
    assert one == get(fi[0]).json or one["profile_score"] == 0, "the same user as GET shows"


def test_by_username_and_email():
    user = world.shared().signup({"username": "Some.One", "email": "Some.One@Bücher.example"}).is_(201).json["id"]
    for query in ("?username=Some.One", "?username=sOME.oNE", "?email=some.one@xn--bcher-kva.example",
                  "?email=SOME.ONE@b%C3%BCcher.example"):
        assert [u["id"] for u in listed(query)["items"]] == [user], query
    assert listed("?username=some.on")["items"] == listed("?email=none@example.org")["items"] == []
    assert listed("?username=a%27%20OR%20%271%27=%271")["items"] == []


def test_pages_without_gaps_or_doubles():
    users = [made(address={**RIGA, "city": "Akureyri", "country": "IS"}) for _ in range(25)]
    everybody = [i for i, in world.sql("SELECT id FROM users ORDER BY id")]
    for limit in (1, 5, 7, 24, 25, 26, 200):
        assert [u["id"] for u in pages("?country=IS", limit)] == users, limit
        assert [u["id"] for u in pages("?city=Akureyri", limit)] == users, limit
    assert [u["id"] for u in pages("?x=", 50)] == everybody
    # one that goes and one that comes meanwhile: no other is shown twice or left out
    first = listed("?country=IS&limit=10")
    world.shared()("DELETE", path(users[4])).is_(204)
    late = made(address={**RIGA, "city": "Akureyri", "country": "IS"})
    rest = pages(f"?country=IS&cursor={first['next_cursor']}", 200)
    assert [u["id"] for u in first["items"] + rest] == users + [late]


def test_bad_queries_say_what_is_wrong():
    api = world.shared()
    for query, field in [("limit=0", "limit"), ("limit=201", "limit"), ("limit=-1", "limit"), ("limit=x", "limit"),
                         ("limit=", "limit"), ("limit=5x", "limit"), ("limit=1e2", "limit"), ("limit=99999999999999999999", "limit"),
                         ("cursor=x", "cursor"), ("cursor=-1", "cursor"), ("cursor=", "cursor"), ("country=", "country"),
                         ("country=L", "country"), ("country=LATV", "country"), ("country=L1", "country"), ("country=%27%27", "country"),
                         ("city=", "city"), ("city=Riga&min_score=", "min_score"), ("city=Riga&min_score=x", "min_score"),
                         ("city=Riga&min_score=-1", "min_score"), ("city=Riga&min_score=1.2.3", "min_score"),
                         ("city=Riga&min_score=NaN", "min_score"), ("min_score=5", "min_score"), ("email=x", "email"),
                         ("username=", "username"), ("username=a&email=b@c.de", "username"), ("username=abc&country=LV", "username")]:
        answer = api("GET", f"/api/users?{query}").problem(422)
        assert list(answer.fields()) == [field], (query, answer.json)
    assert api("GET", "/api/users?limit=0&cursor=x&country=1").problem(422).fields().keys() == {"limit", "cursor", "country"}
    api("GET", "/api/users?city=%00").problem(400)
    api("GET", "/api/users?city=%ff").problem(400)
    assert len(listed("?limit=200")["items"]) <= 200


def test_C3_the_countrys_list_is_cached_and_a_signup_there_ends_it():
    api = world.shared()
    here = {**RIGA, "city": "Vaduz", "country": "LI"}
    first = made(address=here)
    # a read that had begun when the signup's own invalidation came back keeps nothing; the next one does
    list_ = wait_until(lambda: (r := api("GET", "/api/users?country=LI")) and world.redis.get("users:country:LI") and r,
                       BACK_S, "kept in Redis")
    assert world.redis.get("users:country:LI").encode() == list_.text and 3500 < world.redis.ttl("users:country:LI") <= 3600
    assert api.statements(lambda: listed("?country=LI")) == 0
    time.sleep(1.1)  # what it has just written itself it would not trust
    world.redis.publish("cache:invalidate", "users:country:LI")
    time.sleep(0.1)
    assert api.statements(lambda: listed("?country=LI")) == 0, "from Redis"
    second = made(address=here)
    assert [u["id"] for u in listed("?country=LI")["items"]] == [first, second]
    api("PATCH", path(first), {"name": "Renamed"}).is_(200)
    assert listed("?country=LI")["items"][0]["name"] == "Renamed", "who has changed"
    listed("?country=NO")
    api("PATCH", path(first), {"address": {**here, "country": "NO"}}).is_(200)
    assert [u["id"] for u in listed("?country=LI")["items"]] == [second], "who has moved away"
    assert [u["id"] for u in listed("?country=NO")["items"]] == [first], "who has moved in"
    api("DELETE", path(second)).is_(204)
    assert listed("?country=LI")["items"] == [], "who has gone"
    for query in ("?country=LI&limit=10", "?country=LI&cursor=5"):
        assert api.statements(lambda q=query: listed(q)) == 1, "only the first page of the usual size"


def test_countries_and_stats():
    api = world.shared()
    all_ = api("GET", "/api/countries").is_(200).json
    assert all_.keys() == {"items", "next_cursor"} and all_["next_cursor"] is None
    assert {"code": "LV", "name": "Latvia"} in all_["items"] and len(all_["items"]) == world.one("SELECT count(*) FROM countries")
    for n in range(3):
        user = made(address={**RIGA, "city": "Suva", "country": "FJ"})
        world.sql("UPDATE users SET profile_score = %s WHERE id = %s", 10 * n + 0.5, user)
    stats = {c["code"]: c for c in api("GET", "/api/countries/stats").is_(200).json["items"]}
    assert stats["FJ"] == {"code": "FJ", "name": "Fiji", "users": 3, "avg_score": 10.5}
    assert sum(c["users"] for c in stats.values()) == world.one("SELECT count(*) FROM users WHERE address_id IS NOT NULL")
    assert api.statements(lambda: api("GET", "/api/countries/stats")) <= 1


def test_statistics_are_made_once_for_all_and_kept_for_a_while():
    with world.api(ONBOARD_API_STATS_TTL="700ms") as api:
        api.ready()
        made(address=RIGA)
        before = api.metric("onboard_sql_statements_total")
        with world.locked("users"):
            turn = at_the_same_moment(api, "/api/countries/stats", 50)
            next(turn)
            wait_until(lambda: api.metric("onboard_http_requests_open") == 50, 10, "50 wait")
        found = next(turn)
        assert {line for line, _ in found} == {b"HTTP/1.1 200 OK"} and len({text for _, text in found}) == 1
        assert api.metric("onboard_sql_statements_total") - before == 1
        first = json.loads(found[0][1])
        assert first.keys() == {"items", "next_cursor", "as_of"} and re.fullmatch(TIME, first["as_of"]), first
        assert {c["code"]: c["users"] for c in first["items"]}["LV"] == \
            world.one("SELECT count(*) FROM users WHERE country = 'LV'")
        made(address=RIGA)
        later = wait_until(lambda: (s := api("GET", "/api/countries/stats").is_(200).json)["as_of"] != first["as_of"] and s,
                           10, "made again")
        assert later["as_of"] > first["as_of"]
        users = [{c["code"]: c["users"] for c in s["items"]}["LV"] for s in (first, later)]
        assert users[1] == users[0] + 1


def postgres_process(port):
    """The server's process behind the client's port: its title names it. Its own pid is one of its namespace."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            title = f.read()
            if title.startswith(b"postgres: ") and f"({port})".encode() in title:
                return int(pid)
    raise AssertionError(f"no process of PostgreSQL serves port {port}")


def test_statistics_under_way_hold_up_nobody_else():
    api, user = world.shared(), made(address=RIGA)
    others = [made() for _ in range(5)]
    with world.api(ONBOARD_API_STATS_TTL="100ms") as api:
        api.ready()

        def held():
            return [p for p, in world.sql("SELECT client_port FROM pg_stat_activity WHERE state = 'active'"
                                          " AND query LIKE '%avg(%profile_score)%' AND wait_event_type = 'Lock'")]

        asked = at_the_same_moment(api, "/api/countries/stats", 8)
        with world.locked("users"):
            next(asked)
            wait_until(lambda: api.metric("onboard_http_requests_open") == 8 and held(), 10, "statistics wait for the lock")
            stopped_ = [postgres_process(port) for port in held()]
            for pid in stopped_:
                os.kill(pid, signal.SIGSTOP)
        try:
            for n, other in enumerate(others):
                api("PATCH", path(user), {"name": f"Meanwhile {n}", "address": (TALLINN, RIGA)[n % 2]}).is_(200)
                get(other, api).is_(200)
                api.signup(world.user(address=RIGA)).is_(201)
                api("GET", "/api/users?country=LV&limit=5").is_(200)
        finally:
            for pid in stopped_:
                os.kill(pid, signal.SIGCONT)
        assert {line for line, _ in next(asked)} == {b"HTTP/1.1 200 OK"}


def test_a_page_reads_a_page_whatever_the_country_holds():
    many = 8000
    world.sql("WITH c AS (INSERT INTO cities (name, country_id) SELECT 'Berlin', id FROM countries WHERE code = 'DE' RETURNING id),"
              " a AS (INSERT INTO addresses (street, city_id) SELECT 'Straße', id FROM c RETURNING id)"
              " SELECT id FROM a")
    world.sql("INSERT INTO users (username, email, address_id, profile_score) SELECT 'de' || n, n || '@berlin.example', a.id, n %% 100"
              " FROM generate_series(1, %s) n, addresses a JOIN cities c ON c.id = a.city_id WHERE c.name = 'Berlin'", many)
    world.sql("ANALYZE users, addresses")

    def read(what):
        return world.one(f"SELECT sum({what})::bigint FROM pg_stat_user_tables WHERE relname IN ('users', 'addresses')")

    scans, rows = ("seq_scan + idx_scan", "seq_tup_read + idx_tup_fetch")
    try:
        middle = world.one("SELECT id FROM users WHERE username = 'de4000'")
        # the server's processes tell what they have read at their next ping
        wait_until(lambda: (before := read(scans)) is not None and (time.sleep(0.5) or read(scans) == before), 20, "all is counted")
        before = read(scans), read(rows)
        queries = ["country=DE", f"country=DE&cursor={middle}", "city=Berlin", "city=berlin&min_score=50", f"cursor={middle}"]
        for query in queries:
            assert len(listed(f"?{query}&limit=100")["items"]) == 100, query
        wait_until(lambda: read(scans) - before[0] >= len(queries) * 2, 20, "what they read is counted")
        assert read(rows) - before[1] < len(queries) * 500, read(rows) - before[1]
        assert strays() == []
    finally:
        world.sql("DELETE FROM users WHERE username LIKE 'de%%' AND country = 'DE'")


# ---- Redis away ----

def test_C6_without_redis_all_goes_on_and_nothing_old_comes_back():
    with contextlib.ExitStack() as both:
        one, other = (both.enter_context(world.api()) for _ in range(2))
        one.ready()
        other.ready()
        users = [made(address={**RIGA, "city": "Praia", "country": "CV"}) for _ in range(3)]
        for api in (one, other):
            for user in users:
                get(user, api).is_(200)
            api("GET", "/api/users?country=CV").is_(200)
        with stopped("redis"):
            for api in (one, other):
                status, body = wait_until(lambda a=api: (r := a.ask_json("/ready"))[1].get("status") == "degraded" and r,
                                          5, "degraded")
                assert status == 200 and body["dependencies"]["redis"]["state"] != "up", body
            one("PATCH", path(users[0]), {"name": "Without Redis"}).is_(200)
            one("DELETE", path(users[1])).is_(204)
            late = one.signup(world.user(address={**RIGA, "city": "Praia", "country": "CV"})).is_(201).json["id"]
            for api in (one, other):
                assert get(users[0], api).json["name"] == "Without Redis"
                get(users[1], api).problem(404)
                assert get(users[2], api).is_(200)
                assert [u["id"] for u in api("GET", "/api/users?country=CV").json["items"]] == [users[0], users[2], late]
            # what Redis kept over its stop is old now; nobody shows it
        for api in (one, other):
            wait_until(lambda a=api: a.ask_json("/ready")[1].get("status") == "ready", BACK_S, "ready")
        for api in (one, other):
            assert get(users[0], api).json["name"] == "Without Redis"
            get(users[1], api).problem(404)
            assert [u["id"] for u in api("GET", "/api/users?country=CV").json["items"]] == [users[0], users[2], late]
        # a read that came while an invalidation was still owed has put nothing into Redis; the next one does
        wait_until(lambda: get(users[0], one) and "Without Redis" in (world.redis.get(PROFILE.format(users[0])) or ""),
                   BACK_S, "kept in Redis again")
