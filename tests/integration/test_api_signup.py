# SPDX-License-Identifier: MIT
"""POST /api/users/signup on the real servers: its answers, what it writes, the event it publishes."""
import json
import re
import threading
import time

import pytest
from api import at_once
from wait import wait_until

UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
RIGA = {"street": "Brīvības iela 1", "postal_code": "LV-1010", "city": "Riga", "country": "LV"}


@pytest.fixture(scope="module", autouse=True)
def here(request):
    global world
    world = request.getfixturevalue("world")


def test_D1_the_answer_and_what_is_stored():
    api, body = world.shared(), world.user(name="Anna Bērziņa", address=RIGA)
    answer = api.signup(body, X_Request_Id="mine-1").is_(201)
    assert answer.headers["Content-Type"] == "application/json" and answer.headers["X-Request-Id"] == "mine-1"
    made = answer.json
    assert list(made) == ["id", "username", "email", "status", "event_id"], made
    assert made["username"] == body["username"] and made["email"] == body["email"] and made["status"] == "created"
    assert isinstance(made["id"], int) and re.fullmatch(UUID7, made["event_id"])
    row = world.sql("SELECT u.username, u.email, u.name, u.version, street, postal_code, ci.name, code, o.event_id::text"
                    " FROM users u JOIN addresses a ON a.id = u.address_id JOIN cities ci ON ci.id = a.city_id"
                    " JOIN countries co ON co.id = ci.country_id JOIN outbox o ON o.user_id = u.id"
                    " WHERE u.id = %s", made["id"])
    assert row == [(body["username"], body["email"], "Anna Bērziņa", 1, RIGA["street"], "LV-1010", "Riga", "LV",
                    made["event_id"])], row


def test_D1_only_what_must_be_given():
    made = world.shared().signup(world.user()).is_(201).json
    assert world.sql("SELECT name, address_id FROM users WHERE id = %s", made["id"]) == [(None, None)]
    made = world.shared().signup(world.user(name=None, address=None)).is_(201).json
    assert world.sql("SELECT name, address_id FROM users WHERE id = %s", made["id"]) == [(None, None)]


def test_taken_names_say_which():
    api, first = world.shared(), world.user()
    api.signup(first).is_(201)
    for given, fields in [({"username": first["username"]}, ["username"]), ({"email": first["email"]}, ["email"]),
                          ({"username": first["username"].upper()}, ["username"]),
                          ({"email": first["email"].upper()}, ["email"]), (first, ["username", "email"])]:
        before = world.counts()
        answer = api.signup({**world.user(), **given}).problem(409)
        assert list(answer.fields()) == fields, (given, answer.json)
        assert all(f in answer.json["detail"] for f in fields), answer.json
        assert world.counts() == before, "a refused signup has left something"


def test_usernames_keep_their_case():
    made = world.shared().signup({**world.user(), "username": "MixedCase.1"}).is_(201).json
    assert made["username"] == "MixedCase.1"
    assert world.one("SELECT username FROM users WHERE id = %s", made["id"]) == "MixedCase.1"
    assert list(world.shared().signup({**world.user(), "username": "mixedcase.1"}).problem(409).fields()) == ["username"]


def test_emails_are_lower_case_with_the_domain_as_A_label():
    api, queue = world.shared(), world.queue("idn")
    made = api.signup({**world.user(), "email": "Jānis.B".replace("ā", "a") + "@BÜCHER.Example"}).is_(201).json
    want = "janis.b@xn--bcher-kva.example"
    assert made["email"] == want, made
    assert world.one("SELECT email FROM users WHERE id = %s", made["id"]) == want
    event = json.loads(world.wait_events(queue, 1)[0][2])
    assert event["payload"]["email"] == want, event
    assert list(api.signup({**world.user(), "email": "JANIS.B@xn--bcher-kva.example"}).problem(409).fields()) == ["email"]


def test_422_tells_every_fault_at_once():
    answer = world.shared().signup({"username": "x", "email": "no", "name": "", "extra": 1, "profile_score": 5, "version": 2,
                                    "id": 7, "address": {"street": "", "city": "Riga", "zip": 1}}).problem(422)
    assert answer.fields().keys() == {"username", "email", "name", "extra", "profile_score", "version", "id",
                                      "address.street", "address", "address.postal_code", "address.country"}, answer.json
    assert world.shared().signup({}).problem(422).fields().keys() == {"username", "email"}


def test_422_field_by_field():
    api = world.shared()
    bad = [("username", v) for v in (None, 5, "ab", "x" * 51, "a b c", "naïve", "", [])]
    bad += [("email", v) for v in (None, 5, "", "a", "a@", "@b.cd", "a@b", "a b@c.de", "a@b..c", "x" * 65 + "@b.cd", "a@b.cd\n",
                                   "a@" + "b" * 100 + ".cd", {})]
    bad += [("name", v) for v in (5, "", "   ", "x" * 101, "a\nb", {})]
    bad += [("address", v) for v in (5, "Riga", [])]
    bad += [("address." + k, {**RIGA, k: v}) for k, v in [("street", None), ("street", "x" * 201), ("postal_code", "12345678901"),
                                                        ("city", " "), ("city", "x" * 101), ("region", ""), ("country", 5),
                                                        ("country", "XX"), ("country", "Atlantis")]]
    before = world.counts()
    for field, value in bad:
        answer = api.signup({**world.user(), field.split(".")[0]: value})
        answer.problem(422)
        assert list(answer.fields()) == [field], (field, value, answer.json)
    for value in ([], "text", 5, None, True):
        api.signup(json.dumps(value)).problem(422)
    assert world.counts() == before, "a refused signup has left something"


def test_400_what_the_strict_parser_refuses():
    api, user = world.shared(), world.user()
    name, email = user["username"], user["email"]
    for text in ("", "{", "nonsense", "{'username': 1}", '{"username": "a",}', '{"a": 01}', '{"a": NaN}', b'{"a": "\xff"}',
                 '{"a": "\\ud800"}', '{"a": 1} x',
                 f'{{"username": "{name}", "username": "{name}2", "email": "{email}"}}',
                 f'{{"username": "{name}", "email": "{email}", "Email": "x{email}"}}',
                 f'{{"username": "{name}", "email": "{email}", "USERNAME": "{name}3"}}', "[" * 5000):
        answer = api.signup(text)
        assert answer.status == 400, (text[:60], answer.status, answer.text)
        answer.problem(400)
    api.signup(f'{{"Username": "{name}", "email": "{email}"}}').problem(422)  # one alone is just not known
    assert world.sql("SELECT FROM users WHERE username = %s", name) == []


def test_413_415_405_404():
    api = world.shared()
    api.signup({**world.user(), "name": "x" * 70000}).problem(413)
    api.signup('{"a": "' + " " * (64 * 1024 - 9) + '"}').problem(422)  # 64 KiB are not over
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data; boundary=x"):
        api.signup(world.user(), Content_Type=kind).problem(415)
    api.signup(world.user(), Content_Type="application/json; charset=utf-8").is_(201)
    assert set(api("POST", "/api/users", world.user()).problem(405).headers["Allow"].split(", ")) == {"GET", "HEAD"}
    assert set(api("POST", "/api/users/5", {}).problem(405).headers["Allow"].split(", ")) == {"GET", "HEAD", "PATCH", "PUT",
                                                                                            "DELETE"}
    for path in ("/", "/api", "/api/", "/api/users/", "/api/users/signup/", "/api/users/0", "/api/users/x", "/api/users/-1",
                 "/api/users/99999999999999999999", "/api/users/1/x", "/api//users", "/API/users"):
        api("GET", path).problem(404)
    assert api("GET", "/api/users/x").json["instance"] == "/api/users/x"


def test_P4_a_signup_with_a_bad_address_leaves_nothing():
    api, before = world.shared(), world.counts()
    api.signup(world.user(address={**RIGA, "city": "Nowhere", "country": "ZZ"})).problem(422)
    assert world.counts() == before
    # past the checks: the database itself refuses the address within the transaction
    world.sql("ALTER TABLE addresses ADD CONSTRAINT refuse CHECK (street <> 'refused')")
    try:
        body = world.user(address={**RIGA, "street": "refused"})
        answer = api.signup(body)
        assert answer.status >= 400, answer.text
        assert world.counts()[:3] == before[:3], "half a signup is stored"
    finally:
        world.sql("ALTER TABLE addresses DROP CONSTRAINT refuse")
    body["address"] = RIGA
    api.signup(body).is_(201)


def test_P4_one_bad_row_fails_alone_in_its_batch():
    api = world.shared()
    world.sql("ALTER TABLE addresses ADD CONSTRAINT refuse CHECK (street <> 'refused')")
    try:
        bodies = [world.user(address={**RIGA, "street": "refused" if i % 4 == 0 else "fine"}) for i in range(32)]
        answers = []
        with world.locked("users"):  # the first waits, the others form one batch
            worker = threading.Thread(target=lambda: answers.extend(at_once(32, lambda i: api.signup(bodies[i]))))
            worker.start()
            wait_until(lambda: api.metric("onboard_http_requests_open") >= 32, 10, "all wait")
        worker.join()
    finally:
        world.sql("ALTER TABLE addresses DROP CONSTRAINT refuse")
    assert [a.status == 201 for a in answers] == [i % 4 != 0 for i in range(32)], [a.status for a in answers]
    stored = {u for u, in world.sql("SELECT username FROM users")}
    assert all((b["username"] in stored) == (i % 4 != 0) for i, b in enumerate(bodies))


def test_P1_a_city_is_made_once_whatever_its_case():
    api = world.shared()

    def cities():
        return world.one("SELECT count(*) FROM cities WHERE lower(name) = 'ventspils'")

    made = at_once(16, lambda i: api.signup(world.user(
        address={**RIGA, "city": ("Ventspils", "VENTSPILS")[i % 2], "country": ("LV", "lv", "Latvia", "latvia")[i % 4]})))
    assert [a.status for a in made] == [201] * 16, [a.text for a in made]
    assert cities() == 1
    api.signup(world.user(address={**RIGA, "city": "Ventspils", "region": "Kurzeme"})).is_(201)
    assert cities() == 2, "another region is another city"
    assert world.one("SELECT count(DISTINCT a.city_id) FROM users u JOIN addresses a ON a.id = u.address_id JOIN cities c"
                     " ON c.id = a.city_id WHERE lower(c.name) = 'ventspils'") == 2


def test_64_clients_race_for_one_name():
    api, name = world.shared(), world.user()["username"]
    answers = at_once(64, lambda i: api.signup({**world.user(), "username": name if i % 2 else name.upper()}))
    got = sorted(a.status for a in answers)
    assert got == [201] + [409] * 63, got
    assert world.one("SELECT count(*) FROM users WHERE lower(username) = %s", name) == 1
    ids = [a.json["id"] for a in answers if a.status == 201]
    assert world.one("SELECT count(*) FROM outbox WHERE user_id = %s", ids[0]) == 1


def test_idempotency_key_gives_the_first_answer_again():
    api, body = world.shared(), world.user(name="A", address=RIGA)
    first = api.signup(body, Idempotency_Key="k-1").is_(201)
    before = world.counts()
    again = api.signup(body, Idempotency_Key="k-1").is_(201)
    assert again.json == first.json
    shuffled = json.dumps(dict(reversed(body.items())), indent=3).replace("example.org", "EXAMPLE.org")
    assert api.signup(shuffled, Idempotency_Key="k-1").is_(201).json == first.json, "the same body, written differently"
    other = api.signup({**body, "name": "B"}, Idempotency_Key="k-1").problem(422)
    assert list(other.fields()) == ["Idempotency-Key"]
    assert world.counts() == before
    taken = api.signup(body, Idempotency_Key="k-2").problem(409)
    api("DELETE", f"/api/users/{first.json['id']}").is_(204)
    again = api.signup(body, Idempotency_Key="k-2").problem(409)  # the answer, not today's state
    assert again.fields() == taken.fields() == {"username": "is taken", "email": "is taken"}
    api.signup(body).is_(201)


def test_idempotency_keys_that_are_none():
    api = world.shared()
    for key in ("", "a b", "x" * 256, "\u00e4"):
        answer = api.signup(world.user(), Idempotency_Key=key.encode("utf-8"))
        assert list(answer.problem(422).fields()) == ["Idempotency-Key"], key
    api.signup(world.user(), Idempotency_Key="x" * 255).is_(201)


def test_idempotency_key_20_at_once():
    api = world.shared()
    for round_ in range(3):
        body = world.user(address={**RIGA, "city": f"Idem{round_}"})
        answers = at_once(20, lambda i, b=body, r=round_: api.signup(b, Idempotency_Key=f"at-once-{r}"))
        assert {(a.status, a.text) for a in answers} == {(201, answers[0].text)}, [a.text for a in answers]
        assert world.one("SELECT count(*) FROM users WHERE username = %s", body["username"]) == 1
        assert world.one("SELECT count(*) FROM outbox WHERE user_id = %s", answers[0].json["id"]) == 1


def test_idempotency_keys_are_kept_24_hours():
    api, body = world.shared(), world.user()
    first = api.signup(body, Idempotency_Key="day").is_(201).json
    world.sql("UPDATE signup_keys SET claimed_at = now() - interval '23 hours 59 minutes' WHERE key = 'day'")
    assert api.signup(body, Idempotency_Key="day").is_(201).json == first
    world.sql("UPDATE signup_keys SET claimed_at = now() - interval '24 hours 1 minute' WHERE key = 'day'")
    api.signup(body, Idempotency_Key="day").problem(409)
    api.signup(world.user(), Idempotency_Key="day").problem(422)


def test_old_idempotency_keys_are_forgotten_however_many_there_are():
    world.sql("INSERT INTO signup_keys (key, fingerprint, claim, claimed_at) SELECT 'old-' || n, '', gen_random_uuid(),"
              " now() - interval '25 hours' FROM generate_series(1, 30000) AS n")
    world.sql("INSERT INTO signup_keys (key, fingerprint, claim, claimed_at) VALUES ('kept', '', gen_random_uuid(),"
              " now() - interval '23 hours')")
    left = lambda: world.one("SELECT count(*) FROM signup_keys WHERE key LIKE 'old-%%'")
    with world.api() as api:
        api.ready()
        wait_until(lambda: left() == 0, 15, "they are gone")
    assert world.one("SELECT count(*) FROM signup_keys WHERE key = 'kept'") == 1


def test_idempotency_key_of_a_process_that_died_is_taken_over():
    api, body = world.shared(), world.user()
    api.signup(body, Idempotency_Key="died").is_(201)
    # as the claim stands before its signup's transaction
    user = world.one("DELETE FROM users WHERE username = %s RETURNING id", body["username"])
    dead = world.one("UPDATE signup_keys SET user_id = NULL, claimed_at = now() - interval '2 seconds',"
                     " claim = gen_random_uuid() WHERE key = 'died' RETURNING claimed_at")
    assert api.signup(body, Idempotency_Key="died").is_(201).json["id"] > user
    taken = world.one("SELECT claimed_at FROM signup_keys WHERE key = 'died'")
    assert (taken - dead).total_seconds() >= 3, "it waits for the claim's end"


def test_R1_the_event_as_the_contract_has_it():
    api, queue = world.shared(), world.queue("event")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = world.user(name='Zoë "Z" <z>', address={**RIGA, "region": "Vidzeme"})
    answer = api.signup(body, traceparent=f"00-{trace}-00f067aa0ba902b7-01").is_(201).json
    plain = api.signup(world.user()).is_(201).json
    (method, properties, text), (_, bare, bare_text) = world.wait_events(queue, 2)
    assert method.exchange == "user_events" and method.routing_key == "user.created"
    event = json.loads(text)
    assert list(event) == ["id", "type", "timestamp", "payload"] and event["type"] == "user.created"
    assert event["id"] == answer["event_id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["timestamp"]), event
    assert event["payload"] == {"user_id": answer["id"], "username": body["username"], "email": body["email"], "version": 1,
                                "name": body["name"], "country": "LV", "city": "Riga"}
    assert (properties.content_type, properties.delivery_mode, properties.message_id, properties.type, properties.app_id) == \
        ("application/json", 2, event["id"], "user.created", "onboard"), properties
    assert abs(properties.timestamp - time.time()) < 60
    assert set(properties.headers) == {"traceparent"}, properties.headers
    assert re.fullmatch(rf"00-{trace}-[0-9a-f]{{16}}-[0-9a-f]{{2}}", properties.headers["traceparent"]), properties.headers
    stored = world.sql("SELECT body, type, user_id, traceparent, day = (now() AT TIME ZONE 'UTC')::date FROM outbox"
                       " WHERE event_id = %s", event["id"])
    assert stored == [(text.decode(), "user.created", answer["id"], properties.headers["traceparent"], True)], stored
    assert json.loads(bare_text)["payload"].keys() == {"user_id", "username", "email", "version"}
    assert json.loads(bare_text)["id"] == plain["event_id"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", bare.headers["traceparent"])
    world.wait_published()


def test_R1_what_no_queue_takes_stays_unpublished():
    """Mandatory: what was returned is not published, and is tried again once something is bound."""
    api = world.shared()
    world.wait_published()
    bindings = world.management.get("exchanges", world.name, "user_events", "bindings", "source")
    try:
        for b in bindings:
            world.management.delete("bindings", world.name, "e", "user_events", "q", b["destination"], b["properties_key"])
        returned = api.metric("onboard_publish_returned_total")
        api.signup(world.user()).is_(201)
        # declared anew by the publisher itself: its own bindings are back, so the event arrives
        world.wait_published(20)
        assert api.metric("onboard_publish_returned_total") > returned
    finally:
        for b in bindings:
            world.management.ask("POST", "bindings", world.name, "e", "user_events", "q", b["destination"],
                                 body={"routing_key": b["routing_key"]})


def test_a_key_that_is_taken_over_while_its_request_waits_has_one_answer():
    """Two requests with one key in one batch: the one that lost the claim gets the other's answer, not a 409."""
    api, key = world.shared(), {"Idempotency_Key": "taken-over"}
    body, got = world.user(), {}

    def send(name, body, **headers):
        got[name] = api.signup(body, **headers)

    threads = [threading.Thread(target=send, args=args, kwargs=more) for args, more in (
        (("other", world.user()), {}), (("first", body), key), (("second", body), key))]
    with world.locked("users"):
        for count, thread in enumerate(threads):
            thread.start()
            wait_until(lambda n=count: api.metric("onboard_signup_queue") == n, 10, f"{count} wait")
            world.sql("UPDATE signup_keys SET claimed_at = now() - interval '4 seconds' WHERE key = 'taken-over'")
    for thread in threads:
        thread.join()
    assert got["first"].is_(201).json == got["second"].is_(201).json
    assert world.one("SELECT count(*) FROM users WHERE username = %s", body["username"]) == 1


def test_a_key_and_none_in_one_batch():
    api = world.shared()
    bodies, answers = [world.user() for _ in range(24)], []
    with world.locked("users"):
        worker = threading.Thread(target=lambda: answers.extend(at_once(24, lambda i: api.signup(
            bodies[i], **({"Idempotency_Key": f"mix-{i}"} if i % 2 else {})))))
        worker.start()
        wait_until(lambda: api.metric("onboard_http_requests_open") >= 24, 10, "all wait")
    worker.join()
    assert [a.status for a in answers] == [201] * 24
    for i, body in enumerate(bodies):
        again = api.signup(body, **({"Idempotency_Key": f"mix-{i}"} if i % 2 else {}))
        assert (again.status, again.text == answers[i].text) == ((201, True) if i % 2 else (409, False))
    assert {a.json["username"]: a.json["id"] for a in answers} == dict(world.sql(
        "SELECT username, id FROM users WHERE username = ANY (%s)", [b["username"] for b in bodies])), "each its own id"


def test_all_is_published_and_nothing_doubled():
    world.wait_published()
    assert world.sql("SELECT user_id FROM outbox WHERE type = 'user.created' GROUP BY user_id HAVING count(*) > 1") == []
    assert world.sql("SELECT id FROM users u WHERE NOT EXISTS (SELECT FROM outbox o WHERE o.user_id = u.id)") == []
    assert "error" not in {json.loads(line)["level"] for line in world.shared().log().splitlines() if line.startswith("{")}
