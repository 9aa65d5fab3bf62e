#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Users read, listed, changed and deleted, through every tier and by two processes; countries."""
import json
import os
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import tap
from api import Api, Servers, at_once
from daemon import ROOT
from tap import wait_until

RIGA = {"street": "Brīvības 1", "postal_code": "LV-1010", "city": "Rīga", "country": "LV"}
servers, api, other = None, None, None


def stack(*words):
    subprocess.run([f"{ROOT}/tools/stack", "--run", os.environ["ONBOARD_STACK_DIR"], *words],
                   check=True, stdout=subprocess.DEVNULL, timeout=120)


def user(username, **more):
    answer = api.signup(username, **more)
    assert answer.status == 201, answer
    return answer.json["id"]


def get(path, from_=None):
    return (from_ or api).call("GET", path)


def redis_profile(number):
    return servers.redis.ask("GET", f"user:{number}:profile")


def test_P2_joined_by_one_statement():
    number = user("joined", name="J", address=RIGA)
    before = api.metric("onboard_sql_statements_total")
    answer = get(f"/api/users/{number}")
    assert api.metric("onboard_sql_statements_total") == before + 1, "more than one statement for a user with address"
    assert answer.status == 200 and answer.headers["ETag"] == '"1"', answer
    shown = answer.json
    assert shown.pop("created_at").endswith("Z") and shown.pop("updated_at").endswith("Z")
    assert shown == {"id": number, "username": "joined", "email": "joined@example.com", "name": "J", "profile_score": 0,
                     "is_verified": False, "version": 1, "address": {"street": "Brīvības 1", "postal_code": "LV-1010",
                     "city": "Rīga", "region": None, "country": "LV", "country_name": "Latvia"}}
    assert get(f"/api/users/{user('bare')}").json["address"] is None
    for missing in ("999999999", "0", "-1", "abc", "1e3", "9007199254740993", "1.0"):
        assert get(f"/api/users/{missing}").status == 404, missing


def test_C1_C2_three_tiers():
    number = user("tiers")
    api.metric("onboard_cache_memory_hits_total")
    first = get(f"/api/users/{number}")
    wait_until(lambda: redis_profile(number), 5, "the profile is in Redis")
    assert json.loads(redis_profile(number)) == first.json
    assert 0 < servers.redis.ask("TTL", f"user:{number}:profile") <= 3600
    hits, statements = api.metric("onboard_cache_memory_hits_total"), api.metric("onboard_sql_statements_total")
    assert get(f"/api/users/{number}").text == first.text
    assert api.metric("onboard_cache_memory_hits_total") == hits + 1
    through_redis = other.metric("onboard_cache_redis_hits_total")
    assert get(f"/api/users/{number}", other).text == first.text
    assert other.metric("onboard_cache_redis_hits_total") == through_redis + 1
    assert api.metric("onboard_sql_statements_total") == statements


def test_what_is_in_redis_is_not_believed_blindly():
    number = user("poisoned")
    for text in ("nonsense", "{}", json.dumps({"id": number + 1, "version": 1}), "[]", ""):
        servers.redis.ask("SET", f"user:{number}:profile", text)
        assert get(f"/api/users/{number}", other).json["username"] == "poisoned", text
        servers.redis.ask("PUBLISH", "cache:invalidate", f"user:{number}:profile")


def test_C4_a_thousand_for_one_user_are_one_statement():
    number = user("stampede")
    before = api.metric("onboard_sql_statements_total")
    stack("ctl", "freeze", "redis")  # so that none is answered before all are there
    try:
        answers = at_once(1000, lambda i: get(f"/api/users/{number}"), 1000)
    finally:
        stack("ctl", "thaw", "redis")
    assert {a.status for a in answers} == {200}
    assert api.metric("onboard_sql_statements_total") <= before + 2
    wait_until(lambda: api.ask("/ready")[0] == 200 and '"ready"' in api.ask("/ready")[1], 10, "Redis is back")


def test_patch_merges_and_every_tier_shows_it():
    number = user("patched", name="Old", address=RIGA)
    for side in (api, other):
        assert get(f"/api/users/{number}", side).json["name"] == "Old"
    servers.wait_published()
    servers.place.purge()
    for method, body, expect in (("PATCH", {"name": "New"}, {"name": "New"}),
                                 ("PUT", {"email": "NEW@example.com"}, {"email": "new@example.com"}),
                                 ("PATCH", {"username": "Patched2"}, {"username": "Patched2"}),
                                 ("PATCH", {"name": None}, {"name": None})):
        answer = api.call(method, f"/api/users/{number}", body)
        assert answer.status == 200, answer
        assert answer.json.items() >= expect.items() and answer.headers["ETag"] == f'"{answer.json["version"]}"'
        assert get(f"/api/users/{number}").json == answer.json
        wait_until(lambda a=answer: get(f"/api/users/{number}", other).json == a.json, 5, "the other process shows it")
    assert answer.json["version"] == 5 and answer.json["address"]["city"] == "Rīga"
    events = [json.loads(m["payload"]) for m in servers.messages("user_data_queue", 4)]
    assert [e["type"] for e in events] == ["user.updated"] * 4
    assert events[0]["payload"] == {"user_id": number, "username": "patched", "email": "patched@example.com", "version": 2,
                                    "name": "New", "country": "LV", "city": "Rīga", "previous_country": "LV"}
    assert events[3]["payload"]["version"] == 5 and "name" not in events[3]["payload"]


def test_patch_of_the_address():
    number = user("mover", address=RIGA)
    servers.wait_published()
    servers.place.purge()
    answer = api.call("PATCH", f"/api/users/{number}", {"address": RIGA | {"city": "Tallinn", "country": "EE"}})
    assert answer.json["address"]["country"] == "EE" and answer.json["address"]["city"] == "Tallinn", answer
    event = json.loads(servers.messages("user_data_queue", 1)[0]["payload"])["payload"]
    assert (event["country"], event["city"], event["previous_country"]) == ("EE", "Tallinn", "LV")
    assert servers.sql.number("SELECT count(*) FROM addresses a WHERE NOT EXISTS (SELECT FROM users WHERE address_id = a.id)") == 0
    assert api.call("PATCH", f"/api/users/{number}", {"address": None}).json["address"] is None
    assert api.call("PATCH", f"/api/users/{number}", {"address": RIGA}).json["address"]["city"] == "Rīga"
    answer = api.call("PATCH", f"/api/users/{number}", {"address": RIGA | {"country": "Nowhere"}})
    assert answer.status == 422 and set(answer.fields()) == {"address.country"}


def test_patch_what_is_refused():
    number, taken = user("target"), "joined"
    for body, status, field in (({"profile_score": 99}, 422, "profile_score"), ({"version": 9}, 422, "version"),
                                ({"id": 9}, 422, "id"), ({"nick": "x"}, 422, "nick"), ({"username": "x"}, 422, "username"),
                                ({"username": None}, 422, "username"), ({"username": taken.upper()}, 409, "username"),
                                ({"email": f"{taken}@example.com"}, 409, "email")):
        answer = api.call("PATCH", f"/api/users/{number}", body)
        assert (answer.status, set(answer.fields())) == (status, {field}), (body, answer)
    assert api.call("PATCH", f"/api/users/{number}", {}).status == 422
    assert api.call("PATCH", "/api/users/999999999", {"name": "x"}).status == 404
    assert api.call("PATCH", f"/api/users/{number}", raw=b"{}", headers={"Content-Type": "text/html"}).status == 415
    assert get(f"/api/users/{number}").json["version"] == 1


def test_if_match():
    number = user("matched")

    def patch(name, tag):
        return api.call("PATCH", f"/api/users/{number}", {"name": name}, {"If-Match": tag})

    assert patch("a", '"1"').headers["ETag"] == '"2"'
    assert patch("b", '"1"').status == 412 and patch("b", "nonsense").status == 412
    assert patch("c", "*").status == 200
    assert api.call("DELETE", f"/api/users/{number}", headers={"If-Match": '"2"'}).status == 412
    tags = [a.status for a in at_once(16, lambda i: patch(f"race{i}", '"3"'), 16)]
    assert sorted(tags) == [200] + [412] * 15, tags


def test_delete():
    number = user("leaver", address=RIGA)
    for side in (api, other):
        assert get(f"/api/users/{number}", side).status == 200
    servers.wait_published()
    servers.place.purge()
    answer = api.call("DELETE", f"/api/users/{number}")
    assert (answer.status, answer.text) == (204, "")
    assert get(f"/api/users/{number}").status == 404
    wait_until(lambda: get(f"/api/users/{number}", other).status == 404, 5, "gone in the other process, too")
    assert api.call("DELETE", f"/api/users/{number}").status == 404
    event = json.loads(servers.messages("user_data_queue", 1)[0]["payload"])
    assert (event["type"], event["payload"]) == ("user.deleted", {"user_id": number, "version": 2, "country": "LV"})
    assert redis_profile(number) is None and servers.redis.ask("GET", f"user:{number}:version") == b"2"
    assert servers.sql.number("SELECT count(*) FROM addresses a WHERE NOT EXISTS (SELECT FROM users WHERE address_id = a.id)") == 0


def test_P3_lists_and_pages():
    for i in range(25):
        user(f"dane{i}", address=RIGA | {"city": "Odense" if i % 2 else "Aarhus", "country": "DK"})
    servers.sql.ask("UPDATE users SET profile_score = right(username, 1)::int * 10 WHERE username LIKE 'dane%'")
    seen, cursor = [], ""
    while cursor is not None:
        page = get(f"/api/users?country=dk&limit=7{cursor and '&cursor=' + cursor}").json
        assert len(page["items"]) <= 7
        seen += [u["username"] for u in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [f"dane{i}" for i in range(25)], seen
    high = get("/api/users?city=odense&min_score=70").json["items"]
    assert [u["username"] for u in high] == ["dane7", "dane9", "dane17", "dane19"], high
    assert get("/api/users?city=odense&country=LV").json["items"] == []
    assert [u["username"] for u in get("/api/users?username=DANE3").json["items"]] == ["dane3"]
    assert [u["username"] for u in get("/api/users?email=" + urllib.parse.quote("DANE4@example.com")).json["items"]] == ["dane4"]
    assert get("/api/users?country=SE").json == {"items": [], "next_cursor": None}
    assert len(get("/api/users?limit=200").json["items"]) == servers.sql.number("SELECT least(200, count(*)) FROM users")
    for bad in ("limit=0", "limit=201", "limit=x", "limit=-1", "cursor=abc", "cursor=-1", "country=DENMARK", "country=D1",
                "min_score=x&city=Odense", "min_score=50", "username=a&email=a@example.com", "email=nonsense", "city="):
        answer = get(f"/api/users?{bad}")
        assert answer.status == 422 and answer.json["errors"], (bad, answer)


def test_C3_a_country_list_is_cached_and_forgotten():
    user("estonian0", address=RIGA | {"country": "EE", "city": "Tartu"})
    before = [u["username"] for u in get("/api/users?country=EE").json["items"]]
    wait_until(lambda: servers.redis.ask("GET", "users:country:EE"), 5, "cached in Redis")
    statements = api.metric("onboard_sql_statements_total")
    assert [u["username"] for u in get("/api/users?country=EE").json["items"]] == before
    assert api.metric("onboard_sql_statements_total") == statements, "not from a cache"
    get("/api/users?country=EE", other)
    number = user("estonian", address=RIGA | {"country": "EE", "city": "Tartu"})
    wait_until(lambda: "estonian" in [u["username"] for u in get("/api/users?country=EE").json["items"]], 5, "shown here")
    wait_until(lambda: "estonian" in [u["username"] for u in get("/api/users?country=EE", other).json["items"]], 5, "and there")
    api.call("PATCH", f"/api/users/{number}", {"address": RIGA})
    wait_until(lambda: [u["username"] for u in get("/api/users?country=EE", other).json["items"]] == before, 5, "moved away")


def test_countries_and_statistics():
    items = get("/api/countries").json["items"]
    assert len(items) == 249 and {"code": "LV", "name": "Latvia"} in items
    stats = {s["code"]: s for s in get("/api/countries/stats").json["items"]}
    assert stats["DK"]["users"] == 25 and stats["DK"]["name"] == "Denmark" and stats["DK"]["avg_score"] == 40.0, stats["DK"]
    assert "SE" not in stats


def test_redis_away_reads_and_changes_go_on_and_nothing_stale_stays():
    number = user("noredis", name="one")
    assert get(f"/api/users/{number}").json["name"] == "one"
    wait_until(lambda: redis_profile(number), 5, "in Redis")
    stack("ctl", "freeze", "redis")
    try:
        wait_until(lambda: '"degraded"' in api.ask("/ready")[1], 10, "degraded")
        assert api.ask("/ready")[0] == 200
        assert get(f"/api/users/{number}").json["name"] == "one"
        answer = api.call("PATCH", f"/api/users/{number}", {"name": "two"})
        assert (answer.status, answer.json["name"]) == (200, "two")
        assert get(f"/api/users/{number}").json["name"] == "two"
        assert api.signup("without_redis").status == 201
    finally:
        stack("ctl", "thaw", "redis")
    wait_until(lambda: '"ready"' in api.ask("/ready")[1], 10, "ready")
    for _ in range(20):
        assert get(f"/api/users/{number}").json["name"] == "two"
    wait_until(lambda: get(f"/api/users/{number}", other).json["name"] == "two", 10, "not stale in the other process")


if __name__ == "__main__":
    servers = Servers("users", 4)
    with Api(servers) as api, Api(servers) as other:
        code = tap.run(globals())
    sys.exit(code)
