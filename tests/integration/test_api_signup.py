#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""POST /api/users/signup through a plain client, and what it leaves in PostgreSQL and on the broker."""
import collections
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import tap
from api import Api, Servers, at_once

RIGA = {"street": "Brīvības 1", "postal_code": "LV-1010", "city": "Rīga", "region": "Vidzeme", "country": "LV"}
servers, api = None, None


def counts():
    return {t: servers.sql.number(f"SELECT count(*) FROM {t}") for t in ("users", "addresses", "outbox")}


def refused(answer, status, *fields):
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json" and answer.json["status"] == status
    assert set(answer.fields()) == set(fields), (fields, answer)


def test_D1_201_and_its_shape():
    answer = api.signup("anna", "Anna@Example.COM", name="Anna Ozola")
    assert answer.status == 201 and answer.headers["Content-Type"] == "application/json", answer
    assert set(answer.json) == {"id", "username", "email", "status", "event_id"}
    assert (answer.json["username"], answer.json["email"], answer.json["status"]) == ("anna", "anna@example.com", "created")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", answer.json["event_id"])
    assert servers.sql.ask("SELECT username || ' ' || email || ' ' || name || ' ' || version FROM users") == \
        ["anna anna@example.com Anna Ozola 1"]


def test_409_says_which():
    before = counts()
    refused(api.signup("ANNA", "other@example.com"), 409, "username")
    refused(api.signup("other", "ANNA@example.com"), 409, "email")
    refused(api.signup("Anna", "anna@EXAMPLE.com"), 409, "username", "email")
    assert counts() == before


def test_422_tells_every_fault_at_once():
    before = counts()
    refused(api.call("POST", "/api/users/signup", {}), 422, "username", "email")
    refused(api.call("POST", "/api/users/signup", {"username": "a!", "email": "no", "name": "\t", "age": 3, "version": 2,
                                                   "address": {"street": "", "town": "x", "country": 7}}), 422,
            "username", "email", "name", "age", "version", "address", "address.street", "address.postal_code",
            "address.city", "address.country")
    refused(api.call("POST", "/api/users/signup", [1]), 422, "")
    for username in ("ab", "a" * 51, "a b", "a/b", "ä" * 5, "", None, 7):
        refused(api.call("POST", "/api/users/signup", {"username": username, "email": "x@example.com"}), 422, "username")
    for email in ("x", "x@y", "@example.com", "x@-a.com", "x y@example.com", "x@example.com\r\nBcc: y@example.com",
                  "\"x\"@example.com", "x@" + "a" * 99 + ".com", None, 7):
        refused(api.call("POST", "/api/users/signup", {"username": "sound", "email": email}), 422, "email")
    refused(api.call("POST", "/api/users/signup", {"username": "sound", "email": "x@example.com", "Username": "two"}), 400)
    assert counts() == before


def test_400_413_415_405_404():
    send = {"Content-Type": "application/json"}
    for body in (b"", b"{", b"nonsense", b'{"username":"a","username":"b"}', b'{"username":"\xff"}', b"{} {}",
                 b'{"username":"a\\u0000b"}', b"[" * 100 + b"]" * 100):
        refused(api.call("POST", "/api/users/signup", raw=body, headers=send), 400)
    assert api.call("POST", "/api/users/signup", raw=b'{"username":"' + b"a" * 70000 + b'"}', headers=send).status == 413
    assert api.call("POST", "/api/users/signup", raw=b"x" * 300000, headers=send).status == 413
    refused(api.call("POST", "/api/users/signup", raw=b"{}", headers={"Content-Type": "text/plain"}), 415)
    refused(api.call("POST", "/api/users/signup", raw=b"{}"), 415)
    answer = api.call("GET", "/api/users/signup")
    assert answer.status == 404, answer  # as an id, which it is none of
    answer = api.call("DELETE", "/api/users/signup")
    assert answer.status == 404, answer
    answer = api.call("PUT", "/api/countries", {})
    refused(answer, 405)
    assert answer.headers["Allow"] == "GET, HEAD"
    refused(api.call("GET", "/nothing"), 404)


def test_idn_domains_are_a_labels_everywhere():
    answer = api.signup("jurgen", "Jürgen.M@bücher.example".replace("ü", "u", 1))
    assert answer.status == 201 and answer.json["email"] == "jurgen.m@xn--bcher-kva.example", answer
    assert servers.sql.ask("SELECT email FROM users WHERE username = 'jurgen'") == ["jurgen.m@xn--bcher-kva.example"]


def test_P4_a_bad_address_leaves_nothing():
    before = counts()
    refused(api.signup("badplace", address=RIGA | {"country": "Atlantis"}), 422, "address.country")
    refused(api.signup("badplace", address=RIGA | {"postal_code": "12345678901"}), 422, "address.postal_code")
    refused(api.signup("badplace", address="Riga"), 422, "address")
    assert counts() == before
    assert servers.sql.number("SELECT count(*) FROM cities") == 0


def test_P1_addresses_and_cities():
    assert api.signup("inriga", address=RIGA).status == 201
    assert api.signup("inriga2", address=RIGA | {"city": "RĪGA", "country": "latvia", "region": "vidzeme"}).status == 201
    assert api.signup("inriga3", address={k: v for k, v in RIGA.items() if k != "region"}).status == 201
    assert servers.sql.ask("SELECT name || '/' || coalesce(region, '-') FROM cities ORDER BY id") == ["Rīga/Vidzeme", "Rīga/-"]
    assert servers.sql.number("SELECT count(*) FROM users u JOIN addresses a ON a.id = u.address_id") == 3
    answers = at_once(32, lambda i: api.signup(f"cph{i}", address=RIGA | {"city": "København", "country": "DK"}))
    assert [a.status for a in answers] == [201] * 32
    assert servers.sql.number("SELECT count(*) FROM cities WHERE name = 'København'") == 1


def test_64_clients_racing_for_one_name_get_one_201():
    for turn in range(3):
        by_name = at_once(64, lambda i, t=turn: api.signup(f"racer{t}" if i % 2 else f"RACER{t}", f"racer{t}.{i}@example.com"))
        assert collections.Counter(a.status for a in by_name) == {201: 1, 409: 63}
        assert all(set(a.fields()) == {"username"} for a in by_name if a.status == 409)
        by_mail = at_once(64, lambda i, t=turn: api.signup(f"mailer{t}_{i}", f"one{t}@example.com"))
        assert collections.Counter(a.status for a in by_mail) == {201: 1, 409: 63}
    assert servers.sql.number("SELECT count(*) FROM users WHERE username ILIKE 'racer_'") == 3


def test_the_event_and_its_outbox_row():
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    servers.wait_published()
    servers.place.purge()
    answer = api.signup("evented", name="Ev \"Ent\"", address=RIGA,
                        headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert answer.status == 201
    [message] = servers.messages("user_data_queue", 1)
    assert (message["exchange"], message["routing_key"]) == ("user_events", "user.created")
    body = json.loads(message["payload"])
    assert set(body) == {"id", "type", "timestamp", "payload"}
    assert (body["id"], body["type"]) == (answer.json["event_id"], "user.created")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", body["timestamp"])
    assert body["payload"] == {"user_id": answer.json["id"], "username": "evented", "email": "evented@example.com",
                               "version": 1, "name": "Ev \"Ent\"", "country": "LV", "city": "Rīga"}
    properties = message["properties"]
    assert properties["message_id"] == body["id"] and properties["type"] == "user.created"
    assert properties["content_type"] == "application/json" and properties["delivery_mode"] == 2
    assert properties["app_id"] == "onboard" and properties["timestamp"] > 1_700_000_000
    assert properties["headers"]["traceparent"].split("-")[1] == trace
    assert servers.sql.ask(f"SELECT body FROM outbox WHERE event_id = '{body['id']}'") == [message["payload"]]
    servers.wait_published()


def test_every_queue_gets_every_event():
    servers.wait_published()
    servers.place.purge()
    answers = at_once(200, lambda i: api.signup(f"all{i}"))
    assert all(a.status == 201 for a in answers)
    servers.wait_published()
    for queue in ("user_data_queue", "user_cache_queue", "user_segment_queue", "user_mail_queue", "user_analytics_queue"):
        assert servers.place.depth(queue) == 200, queue


def test_idempotency_key():
    def signup(key, username, email=None, **more):
        return api.signup(username, email, headers={"Idempotency-Key": key}, **more)

    first = signup("key-1", "keyed", "Keyed@example.com", name="K")
    assert first.status == 201, first
    again = signup("key-1", "keyed", "keyed@EXAMPLE.com", name="K")
    assert (again.status, again.json) == (201, first.json), again
    refused(signup("key-1", "keyed", "keyed@example.com"), 422, "Idempotency-Key")
    taken = signup("key-2", "keyed", "fresh@example.com")
    refused(taken, 409, "username")
    servers.sql.ask("DELETE FROM users WHERE username = 'keyed'")
    refused(signup("key-2", "keyed", "fresh@example.com"), 409, "username")  # the first answer, though it is free now
    for bad in ("", "a b", "x" * 256, "ä".encode().decode("latin-1")):
        refused(signup(bad, "badkey"), 422, "Idempotency-Key")
    answers = at_once(20, lambda i: signup("key-3", "together"), 20)
    assert {a.status for a in answers} == {201} and len({a.text for a in answers}) == 1, answers
    assert servers.sql.number("SELECT count(*) FROM users WHERE username = 'together'") == 1
    mixed = at_once(100, lambda i: signup(f"mix{i}", f"mix{i}") if i % 2 else api.signup(f"mix{i}"))
    assert [a.status for a in mixed] == [201] * 100
    servers.wait_published()


def test_statistics():
    text = api.ask("/metrics")[1]
    for name in ("onboard_http_requests_total", "onboard_http_request_seconds_bucket", "onboard_signup_batch_rows_total",
                 "onboard_signup_queue", "onboard_outbox_unpublished", "onboard_outbox_oldest_seconds",
                 "onboard_publish_confirmed_total", "onboard_publish_returned_total", "onboard_link_reconnects_total"):
        assert f"\n{name}" in text, name
    assert "@" not in text
    log = api.log()
    assert "example.com" not in log, "an address is in the log"


if __name__ == "__main__":
    servers = Servers("signup", 3)
    with Api(servers, env={"ONBOARD_LOG_LEVEL": "debug"}) as api:
        code = tap.run(globals())
        code = code or (0 if api.terminate() == 0 else 1)
    sys.exit(code)
