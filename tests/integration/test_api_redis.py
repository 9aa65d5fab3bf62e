# SPDX-License-Identifier: MIT
"""Two instances of onboard-api while Redis refuses what one of them writes: no reader sees the state before
a change once the change has been answered, whichever instance and tier it asks."""
import contextlib
import os
import urllib.parse

import pytest
from api import BACK_S, at_once
from proxy import behind, through
from wait import wait_until

ADDRESS = {"street": "Brīvības iela 1", "postal_code": "LV-1010", "city": "Riga", "country": "LV"}
WORD = "a-word-of-the-tests"
NAMES = [f"onboard-test-{which}-{os.getpid()}" for which in ("one", "other")]


@pytest.fixture(scope="module", autouse=True)
def here(request):
    global world
    world = request.getfixturevalue("world")


def rights(which, *rules):
    world.redis.execute_command("ACL", "SETUSER", NAMES[which], *rules)


def url(which):
    parts = urllib.parse.urlsplit(world.env["ONBOARD_REDIS_URL"])
    return parts._replace(netloc=f"{NAMES[which]}:{WORD}@{parts.hostname}:{parts.port}").geturl()


@contextlib.contextmanager
def instances(way=lambda url: url):
    """Two of them; way leads the first one to Redis."""
    for which in (0, 1):
        rights(which, "reset", "on", f">{WORD}", "~*", "&*", "+@all")
    try:
        with contextlib.ExitStack() as both:
            yield [both.enter_context(world.api(ONBOARD_REDIS_URL=to)).ready() for to in (way(url(0)), url(1))]
    finally:
        world.redis.execute_command("ACL", "DELUSER", *NAMES)


@contextlib.contextmanager
def refused(which, *rules):
    rights(which, *rules)
    try:
        yield
    finally:
        rights(which, "allkeys", "allchannels", "+@all")


@contextlib.contextmanager
def full():
    was = world.redis.config_get("maxmemory")["maxmemory"]
    world.redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        world.redis.config_set("maxmemory", was)


def copies_are_used(api):
    user = api.signup(world.user()).is_(201).json["id"]

    def hit():
        before = api.metric("onboard_cache_memory_hits_total")
        api("GET", f"/api/users/{user}").is_(200)
        return api.metric("onboard_cache_memory_hits_total") > before

    wait_until(hit, BACK_S, "reads are answered from the process")


def made(one, other, count):
    """Users whom both instances and Redis have copies of."""
    users = [one.signup(world.user(address=ADDRESS)).is_(201).json["id"] for _ in range(count)]
    for user in users:
        for api in (one, other, other):
            api("GET", f"/api/users/{user}").is_(200)
    for api in (one, other):
        api("GET", "/api/users?country=LV").is_(200)
    return users


def changes_show(one, other, users):
    """Half of them are changed, half are deleted; then everybody is asked."""
    def change(n):
        path = f"/api/users/{users[n]}"
        if n % 2:
            one("DELETE", path).is_(204)
        else:
            one("PATCH", path, {"name": f"changed {n}"}).is_(200)
        for api in (other, one, other):
            answer = api("GET", path)
            assert answer.status == (404 if n % 2 else 200), (n, answer.status, "a deleted user is read")
            assert n % 2 or answer.json["name"] == f"changed {n}", "the old state is read"
            shown = {u["id"]: u for u in api("GET", "/api/users?country=LV&limit=50").is_(200).json["items"]}
            assert (users[n] in shown) == (n % 2 == 0), "a deleted user is listed"
            assert n % 2 or shown[users[n]]["name"] == f"changed {n}", "the old state is listed"

    for found in at_once(len(users), change):
        if found is not None:
            raise found


CASES = {
    "a full memory": lambda: full(),
    "no eval": lambda: refused(0, "-eval", "-evalsha"),
    "no publish": lambda: refused(0, "-publish"),
    "no del": lambda: refused(0, "-del"),
    "no write": lambda: refused(0, "-@write"),
    "no channels": lambda: refused(0, "resetchannels"),
}


def test_what_redis_refuses_to_one_the_other_does_not_show():
    with instances() as (one, other):
        for what, harm in CASES.items():
            users = made(one, other, 6)
            with harm():
                try:
                    changes_show(one, other, users)
                except AssertionError as why:
                    raise AssertionError(f"{what}: {why}") from why
            for api in (one, other):
                copies_are_used(api)
            assert world.one("SELECT count(*) FROM cache_owed") == 0, what


def test_what_redis_refuses_to_both():
    with instances() as (one, other):
        users = made(one, other, 6)
        with refused(0, "-@write"), refused(1, "-@write"):
            changes_show(one, other, users[:4])
            wait_until(lambda: other.ask_json("/ready")[1]["dependencies"]["redis-writes"]["state"] == "blocked", BACK_S,
                       "the refused writes are said")
            # once it is known to all, nobody waits for it any more
            wait_until(lambda: world.one("SELECT now() - min(owed_at) > interval '5 s' FROM cache_owed"), BACK_S, "5 s")
            changes_show(one, other, users[4:])
        for api in (one, other):
            copies_are_used(api)
        assert world.one("SELECT count(*) FROM cache_owed") == 0
        for n, user in enumerate(users):
            kept = world.redis.get(f"user:{user}:profile")
            assert kept is None or n % 2 == 0 and f"changed {n % 4}" in kept, kept


def test_what_a_killed_instance_owes_another_carries_out():
    with instances() as (one, other):
        users = made(one, other, 4)
        with refused(0, "-@write"):
            with refused(1, "-@write"):
                changes_show(one, other, users)
                one.process.kill()
                one.process.wait()
            copies_are_used(other)
        assert world.one("SELECT count(*) FROM cache_owed") == 0
        for n, user in enumerate(users):
            assert other("GET", f"/api/users/{user}").status == (404 if n % 2 else 200)
            assert n % 2 == 0 or world.redis.get(f"user:{user}:profile") is None


def test_what_another_program_owes_is_carried_out_too():
    """A key of a kind that this program does not know: it is deleted, and the others are told."""
    key = f"other:{os.getpid()}"
    with instances() as (one, other), contextlib.closing(world.redis.pubsub(ignore_subscribe_messages=True)) as channel:
        channel.subscribe("cache:invalidate")
        world.redis.set(key, "old")
        world.sql("INSERT INTO cache_owed (key, version) VALUES (%s, 0)", key)
        wait_until(lambda: world.one("SELECT count(*) FROM cache_owed") == 0, BACK_S, "it is carried out")
        assert world.redis.get(key) is None
        wait_until(lambda: (m := channel.get_message(timeout=1)) and m["data"] == key, BACK_S, "the others are told")
        for api in (one, other):
            copies_are_used(api)


def test_an_instance_that_redis_does_not_answer():
    with behind(url(0)) as (proxy, _), instances(lambda url: through(url, proxy)) as (one, other):
        users = made(one, other, 6)
        proxy.stall()
        changes_show(one, other, users)
        proxy.flow()
        for api in (one, other):
            copies_are_used(api)
        assert world.one("SELECT count(*) FROM cache_owed") == 0


def test_an_instance_that_may_not_listen_uses_no_copies():
    with instances() as (one, other):
        with refused(1, "-subscribe"):
            world.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            users = made(one, other, 4)
            changes_show(one, other, users)
        for api in (one, other):
            copies_are_used(api)
