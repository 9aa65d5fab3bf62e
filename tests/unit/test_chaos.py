#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The campaign's ledger sees each fault that it is there for. No server: the stores hold what a test puts there."""
import collections
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests/lib"), os.path.join(ROOT, "tests/chaos")]
sys.dont_write_bytecode = True
import faults
import load
import stores
import tap


class Sql:
    """Answers by table."""

    def __init__(self, users, outbox, unpublished):
        self.tables = {"users": users, "outbox": outbox, "outbox_unpublished": unpublished}

    def ask(self, statement):
        return list(self.tables[statement.rsplit(" ", 1)[1]])


def signup(name, word, user=None, event=None, want=201, **more):
    one = load.Signup(name, {"username": name, **more}, want=want)
    one.word, one.user, one.event = word, user, event
    return one


def found(*signups, users=("1|ann|f", "2|bob|t"), outbox=("e1|1|user.created", "e2|2|user.created"), unpublished=(),
          queue=(("e1", 1), ("e2", 2))):
    """The kinds of faults in a ledger where ann and bob are in order."""
    signups = (signup("ann", "acknowledged", 1, "e1"), signup("bob", "acknowledged", 2, "e2", address={})) + signups
    book = stores.Book(signups, [kind(None) for kind in stores.OF_SIGNUPS])
    book.store(stores.Queue).seen = dict(queue)
    book.close(Sql(users, outbox, unpublished))
    return sorted(book.faults)


ANN, BOB, EVE = "1|ann|f", "2|bob|t", "3|eve|f"
E1, E2, E3 = "e1|1|user.created", "e2|2|user.created", "e3|3|user.created"
ALL = (("e1", 1), ("e2", 2), ("e3", 3))


def test_what_is_in_order_has_no_fault():
    assert found() == []
    for word in ("away", "unclear", "refused", "unreached"):  # not stored: any of them may be so
        assert found(signup("eve", word)) == [], word
    for word in ("away", "unclear"):  # stored, with its event
        assert found(signup("eve", word), users=(ANN, BOB, EVE), outbox=(E1, E2, E3), queue=ALL) == [], word


def test_acknowledged_and_not_stored():
    assert found(signup("eve", "acknowledged", 3, "e3")) == [
        "lost: acknowledged event not stored", "lost: acknowledged, not stored"]
    assert found(users=(ANN, "2|bob|f")) == ["lost: the address"]


def test_stored_and_not_published():
    assert found(queue=(("e1", 1),)) == ["lost: stored, not in queue"]
    assert found(unpublished=("e2",)) == ["left unpublished"]
    assert found(queue=ALL) == ["in queue, not stored"]
    assert found(queue=(("e1", 1), ("e2", 1))) == ["in queue with another user"]


def test_an_unclear_one_without_its_event():
    assert found(signup("eve", "unclear"), users=(ANN, BOB, EVE)) == ["user without event"]
    assert found(signup("eve", "unclear"), outbox=(E1, E2, E3), queue=ALL) == ["event without user"]


def test_doubled():
    assert found(users=(ANN, BOB, "3|Ann|f"), outbox=(E1, E2, E3), queue=ALL) == ["doubled: users of one name"]
    assert found(outbox=(E1, E2, "e3|2|user.created"), queue=(("e1", 1), ("e2", 2), ("e3", 2))) == [
        "doubled: events of one user"]


def test_what_the_consumers_stores_say():
    documents, profiles, dead = stores.Documents(None), stores.Profiles(None), stores.Dead(None)
    outbox = stores.Outbox(None)
    outbox.rows = {"e1": (1, "user.created"), "e2": (2, "user.created")}
    book = stores.Book([], [outbox, documents, profiles, dead])
    documents.seen = {"e1": 1}
    assert [what for what, _ in documents.faults(book)] == ["lost: stored, not in documents"]
    profiles.users = {1: "ann", 2: "bob", 3: "eve"}
    profiles.found = {1: {"id": 1, "username": "ann"}, 2: {"id": 2, "username": "eve"}}
    assert sorted(what for what, _ in profiles.faults(book)) == ["another's profile", "lost: no profile"]
    states = stores.States(None)
    states.users = {1: "1|ann|a@example.org", 2: "2|bob|b@example.org", 3: "3|eve|e@example.org", 4: "4|kim|k@example.org"}
    states.found = {1: {"_id": 1, "username": "ann", "email": "a@example.org", "segment": "new_user"},
                    2: {"_id": 2, "username": "bob", "email": "a@example.org", "segment": "new_user"},
                    4: {"_id": 4, "username": "kim", "email": "k@example.org"}, 9: {"_id": 9}}
    assert sorted(what for what, _ in states.faults(book)) == [
        "a state without a segment", "another's state", "lost: no state", "state without user"]
    counted = stores.Counted(None)
    counted.seen, counted.counts, counted.shown = {"e1", "e2"}, {"user.created": 2}, {"user.created": 2}
    assert not list(counted.faults(book))
    counted.seen, counted.counts = {"e1", "e9"}, {"user.created": 3}
    assert sorted(what for what, _ in counted.faults(book)) == [
        "Redis shows another total", "counted, not stored", "doubled: counts", "lost: stored, not counted"]
    counted.counts = {"user.created": 1}
    assert "lost: counts" in [what for what, _ in counted.faults(book)]
    mails = stores.Mails(None, "")
    mails.users = ["1", "2", "3", "4", "5"]
    mails.rows = {"1": ("sent", "a"), "2": ("sent", "b"), "3": ("sending", "c"), "4": ("unknown", "d")}
    mails.taken = collections.Counter({"a": 2, "d": 1})
    assert sorted(what for what, _ in mails.faults(book)) == [
        "doubled: mails", "lost: no mail", "lost: no mail", "lost: said to be sent, not at the mail server"]
    dead.count = 1
    assert [what for what, _ in dead.faults(book)] == ["dead letters"]


def test_stored_though_the_client_was_told_that_it_is_not():
    for word in ("refused", "unreached"):
        assert found(signup("eve", word), users=(ANN, BOB, EVE), outbox=(E1, E2, E3), queue=ALL) == [
            f"{word}, but stored"]


def test_what_a_client_hears():
    client = load.Client(1, 1, 0, 1, None)
    made = b'{"id": 5, "event_id": "e5"}'
    for answers, word, faulty in (([(201, made)], "acknowledged", 0), ([(503, b""), (201, made)], "acknowledged", 0),
                                  ([(201, made), (503, b"")], "acknowledged", 0), ([(503, b"")], "away", 0),
                                  ([(201, made), (201, b'{"id": 6, "event_id": "e5"}')], "acknowledged", 1),
                                  ([(409, b"{}")], "refused", 1), ([(500, b"{}")], "unclear", 1)):
        one = load.Signup("eve", {})
        for status, text in answers:
            client.hear(one, status, text)
        assert (one.word, len(one.faults)) == (word, faulty), (answers, one.word, one.faults)


def test_the_seed_makes_the_same_signups():
    make = lambda seed: [(s.name, s.body, s.key) for s in map(lambda c: c.make(), [load.Client(1, seed, 0, 1, None)] * 50)]
    assert make(3) == make(3) and make(3) != make(4)


def test_every_fault_point_of_the_daemons_has_a_scenario():
    with open(os.path.join(ROOT, "src/common/base/fault.h"), encoding="utf-8") as f:
        points = set(re.findall(r"^\tX\((\w+)\)", f.read(), re.M)) - {"selftest", "loop_turn", "move_confirmed"}
    with open(faults.__file__, encoding="utf-8") as f:
        taken = set(re.findall(r'point\("(\w+)"', f.read()))
    assert points and points == taken, (points, taken)


if __name__ == "__main__":
    sys.exit(tap.run(globals()))
