# SPDX-License-Identifier: MIT
"""The campaign's ledger sees each fault that it is there for. No server: the stores hold what a test puts there."""
import collections
import json
import os
import re
import signal
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import campaign
import chains
import changes
import conditions
import faults
import load
import stores


class Sql:
    """Answers by table."""

    def __init__(self, users, outbox, unpublished):
        self.tables = {"users": users, "outbox": outbox, "outbox_unpublished": unpublished}

    def ask(self, statement):
        return list(self.tables[statement.rsplit(" ", 1)[1]])


def created(event, user):
    """A row of the outbox as the ledger asks for it."""
    return f"{event}|{user}|user.created||" + json.dumps({"payload": {"user_id": user, "version": 1}})


def signup(username, word, user=None, event=None, want=201, **more):
    one = load.Signup(username, {"username": username, **more}, want=want)
    one.word, one.user, one.event = word, user, event
    return one


def found(*signups, users=("1|ann|f", "2|bob|t"), outbox=(created("e1", 1), created("e2", 2)), unpublished=(),
          queue=(("e1", 1), ("e2", 2))):
    """The kinds of faults in a ledger where ann and bob are in order."""
    signups = (signup("ann", "acknowledged", 1, "e1"), signup("bob", "acknowledged", 2, "e2", address={})) + signups
    book = stores.Book(signups, [kind(None) for kind in stores.OF_SIGNUPS])
    book.store(stores.Queue).seen = dict(queue)
    book.close(Sql(users, outbox, unpublished))
    return sorted(book.faults)


ANN, BOB, EVE = "1|ann|f", "2|bob|t", "3|eve|f"
E1, E2, E3 = created("e1", 1), created("e2", 2), created("e3", 3)
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
    assert found(outbox=(E1, E2, created("e3", 2)), queue=(("e1", 1), ("e2", 2), ("e3", 2))) == [
        "doubled: events of one user"]


def kinds(store, book):
    return sorted(what for what, _ in store.faults(book))


def book_of(outbox, *others):
    """A ledger whose outbox has these rows."""
    first = stores.Outbox(None)
    first.read(Sql((), outbox, ()))
    return stores.Book([], [first, *others])


def test_what_the_consumers_stores_say():
    documents, profiles, dead = stores.Documents(None), stores.Profiles(None), stores.Dead(None)
    book = book_of((E1, E2), documents, profiles, dead)
    documents.seen, documents.payloads, documents.named = {"e1": 1}, {}, set()
    assert kinds(documents, book) == ["lost: stored, not in documents"]
    profiles.users, profiles.left, profiles.rows = {1: "ann", 2: "bob", 3: "eve"}, [], {}
    profiles.found = {1: {"id": 1, "username": "ann", "version": 1}, 2: {"id": 2, "username": "eve", "version": 1}}
    assert kinds(profiles, book) == ["another's profile", "lost: no profile"]
    states = stores.States(None)
    states.users = {1: "1|ann|a@example.org|1", 2: "2|bob|b@example.org|1", 3: "3|eve|e@example.org|1",
                    4: "4|kim|k@example.org|1"}
    states.found = {1: {"_id": 1, "username": "ann", "email": "a@example.org", "segment": "new_user", "version": 1},
                    2: {"_id": 2, "username": "bob", "email": "a@example.org", "segment": "new_user", "version": 1},
                    4: {"_id": 4, "username": "kim", "email": "k@example.org", "version": 1}, 9: {"_id": 9}}
    assert kinds(states, book) == ["a state without a segment", "another state", "lost: no state", "state without user"]
    counted = stores.Counted(None)
    counted.seen, counted.counts, counted.shown = {"e1", "e2"}, {"user.created": 2}, {"user.created": 2}
    assert not list(counted.faults(book))
    counted.seen, counted.counts = {"e1", "e9"}, {"user.created": 3}
    assert kinds(counted, book) == [
        "Redis shows another total", "counted, not stored", "doubled: counts", "lost: stored, not counted"]
    counted.counts = {"user.created": 1}
    assert "lost: counts" in kinds(counted, book)
    mails = stores.Mails(None, "")
    mails.users = ["1", "2", "3", "4", "5"]
    mails.rows = {"1": ("sent", "a"), "2": ("sent", "b"), "3": ("sending", "c"), "4": ("unknown", "d"), "9": ("sent", "f")}
    mails.taken = collections.Counter({"a": 2, "d": 1, "f": 2})  # the mail of 9, who is deleted since, counts, too
    assert kinds(mails, book) == [
        "doubled: mails", "doubled: mails", "lost: no mail", "lost: no mail", "lost: said to be sent, not at the mail server"]
    dead.count = 1
    assert kinds(dead, book) == ["dead letters"]


# ---- changes ----

RIGA = {"street": "S 1", "postal_code": "1000", "city": "Riga", "region": None, "country": "LV"}
TALLINN = {"street": "S 2", "postal_code": "2000", "city": "Tallinn", "region": "North", "country": "EE"}
MAIL = "ann@example.org"


def event(version, trace, kind="user.updated", number=None, **payload):
    return stores.Event(number or f"e{version}", kind, trace, json.dumps({"payload": {"version": version} | payload}))


def change(trace, word, sent=None, version=None, answer=None, match=None):
    one = changes.Change(1, trace, sent, match)
    one.word, one.version, one.answer = word, version, answer
    return one


def state(name, address):
    return {"name": name, "email": MAIL, "address": address}


def row(version, name, address):
    return {"id": 1, "version": version, "name": name, "email": MAIL} | (address or dict.fromkeys(RIGA))


# Ann of Riga calls herself Anna, and moves to Tallinn.
BORN = event(1, "", "user.created", name="Ann", email=MAIL, country="LV", city="Riga")
NAMED = event(2, "t2", name="Anna", email=MAIL, country="LV", city="Riga", previous_country="LV")
MOVED = event(3, "t3", name="Anna", email=MAIL, country="EE", city="Tallinn", previous_country="LV")
GONE = event(4, "t4", "user.deleted", country="EE")
TOLD_NAMED = change("t2", "acknowledged", {"name": "Anna"}, 2, state("Anna", RIGA))
TOLD_MOVED = change("t3", "acknowledged", {"address": TALLINN}, 3, state("Anna", TALLINN))
TOLD_GONE = change("t4", "acknowledged")
LAST = row(3, "Anna", TALLINN)


def changed(events=(BORN, NAMED, MOVED), told=(TOLD_NAMED, TOLD_MOVED), stored=LAST, shown=None, missing=0, faulty=()):
    """The kinds of faults in the ledger of one user's changes."""
    subject = changes.Subject("ann", 1)
    subject.changes, subject.shown, subject.missing, subject.faults = list(told), shown or {}, missing, list(faulty)
    outbox, ledger = stores.Outbox(None), chains.Changes(None)
    outbox.chains = {1: list(events)}
    ledger.subjects, ledger.rows = [subject], {1: stored} if stored else {}
    book = stores.Book([signup("ann", "acknowledged", 1, "e1", name="Ann", email=MAIL, address=RIGA)],
                       [outbox, ledger])
    return kinds(ledger, book)


def test_changes_in_order_have_no_fault():
    assert changed() == []
    assert changed((BORN,), (), None) == []
    assert changed(shown={1: [state("Ann", RIGA)], 3: [state("Anna", TALLINN)]}) == []
    for word in ("away", "unclear"):  # may have been done, may not
        assert changed(told=(TOLD_NAMED, change("t3", word, {"address": TALLINN}))) == [], word
        assert changed(told=(TOLD_NAMED, TOLD_MOVED, change("t5", word, {"name": "Eve"}))) == [], word
    for word in ("refused", "unreached"):
        assert changed(told=(TOLD_NAMED, TOLD_MOVED, change("t5", word, {"name": "Eve"}))) == [], word
    told = (TOLD_NAMED, TOLD_MOVED, TOLD_GONE)
    assert changed((BORN, NAMED, MOVED, GONE), told, None, missing=3) == []
    homeless = event(2, "t2", name="Ann", email=MAIL, previous_country="LV")
    assert changed((BORN, homeless), (change("t2", "acknowledged", {"address": None}, 2, state("Ann", None)),),
                   row(2, "Ann", None)) == []


def test_a_change_that_is_not_there():
    assert changed((BORN, NAMED), stored=row(2, "Anna", RIGA)) == ["lost: an acknowledged change without its event"]
    assert changed(stored=row(3, "Anna", RIGA)) == ["lost: stored is not what the last change made"]
    assert changed(stored=row(3, "Anna", RIGA | {"street": "S 9"})) == ["lost: stored is not what the last change made"]
    assert changed(stored=row(4, "Anna", TALLINN)) == ["stored with another version"]
    assert changed(stored=None) == ["lost: a user that nobody deleted"]
    assert changed((BORN, MOVED), (TOLD_MOVED,), LAST)[0] == "answered wrongly"  # the name comes from nowhere
    assert "lost: a version without its event" in changed((BORN, MOVED), (TOLD_MOVED,), LAST)


def test_an_event_that_says_what_is_not_so():
    stale = event(3, "t3", name="Anna", email=MAIL, country="LV", city="Riga", previous_country="LV")
    assert changed((BORN, NAMED, stale)) == ["wrong event: not what the change made"]
    skips = event(3, "t3", name="Anna", email=MAIL, country="EE", city="Tallinn", previous_country="DE")
    assert changed((BORN, NAMED, skips)) == ["wrong event: previous_country"]
    assert changed((BORN, NAMED, MOVED, event(4, "t4", "user.deleted", country="LV")),
                   (TOLD_NAMED, TOLD_MOVED, TOLD_GONE), None) == ["wrong event: country of the deletion"]
    assert changed((BORN, NAMED, event(3, "t3", "user.deleted", country="LV")), stored=None) == [
        "wrong event: another type"]


def test_an_answer_that_is_another_changes():
    other = change("t2", "acknowledged", {"name": "Anna"}, 3, state("Anna", TALLINN))
    assert changed(told=(other, TOLD_MOVED)) == ["answered another version", "doubled: a version answered twice"]
    wrong = change("t2", "acknowledged", {"name": "Anna"}, 2, state("Anna", TALLINN))
    assert changed(told=(wrong, TOLD_MOVED)) == ["answered wrongly"]
    assert changed(faulty=["instance 2 shows version 1 after 2 was acknowledged"]) == ["answered wrongly"]
    wrong.answer, wrong.faults = state("Anna", RIGA), ["ETag None with version 2"]
    assert changed(told=(wrong, TOLD_MOVED)) == ["answered wrongly"]


def test_a_change_that_is_doubled_or_that_nobody_made():
    again = event(4, "t3", name="Anna", email=MAIL, country="EE", city="Tallinn", previous_country="EE")
    assert changed((BORN, NAMED, MOVED, again), stored=row(4, "Anna", TALLINN)) == ["doubled: a change made twice"]
    same = event(3, "t5", name="Anna", email=MAIL, country="EE", city="Tallinn", previous_country="EE", number="e5")
    assert changed((BORN, NAMED, MOVED, same)) == ["changed by nobody", "doubled: events of one version"]
    for word in ("refused", "unreached"):
        assert changed(told=(TOLD_NAMED, change("t3", word, {"address": TALLINN}))) == [f"{word}, but changed"]


def test_a_deletion_that_does_not_hold():
    events, told = (BORN, NAMED, MOVED, GONE), (TOLD_NAMED, TOLD_MOVED, TOLD_GONE)
    assert changed(events, told, LAST) == ["deleted, but stored"]
    assert changed(missing=1) == ["answered 404, but never deleted"]
    later = event(5, "t5", name="Anna", email=MAIL, country="EE", city="Tallinn", previous_country="EE")
    assert changed((*events, later), (*told, change("t5", "away", {"name": "Anna"})), None) == ["changed after its deletion"]


def test_reads_that_show_what_was_never_so():
    assert changed(shown={2: [state("Anna", TALLINN)]}) == ["read wrongly"]
    assert changed(shown={7: [state("Anna", TALLINN)]}) == ["read wrongly"]


def test_changed_users_that_no_client_changed():
    ledger = chains.Changes(None)
    ledger.rows = {5: LAST}
    assert kinds(ledger, book_of((), ledger)) == ["changed by nobody"]


def test_what_a_changer_hears():
    body = json.dumps({"version": 5, "email": MAIL, "name": "Anna", "address": RIGA | {"country_name": "Latvia"}}).encode()
    for status, etag, sent, match, word, faulty in (
            (200, '"5"', {"name": "Anna"}, None, "acknowledged", 0), (200, '"5"', {"address": RIGA}, 4, "acknowledged", 0),
            (200, '"4"', {"name": "Anna"}, None, "acknowledged", 1), (200, '"5"', {"name": "Eve"}, None, "acknowledged", 1),
            (200, '"5"', {"address": TALLINN}, None, "acknowledged", 1), (200, '"5"', {"name": "Anna"}, 3, "acknowledged", 1),
            (204, None, None, None, "acknowledged", 0), (412, None, {"name": "Anna"}, 3, "refused", 0),
            (412, None, {"name": "Anna"}, None, "unclear", 1), (404, None, None, None, "refused", 0),
            (503, None, {"name": "Anna"}, None, "away", 0), (409, None, {"email": MAIL}, None, "unclear", 1),
            (204, None, {"name": "Anna"}, None, "unclear", 1)):
        one = changes.Change(1, "t", sent, match)
        one.hear(status, body if status == 200 else b"{}", etag)
        assert (one.word, len(one.faults)) == (word, faulty), (status, etag, sent, match, one.word, one.faults)


def test_what_a_reader_sees():
    """Instance 0 has acknowledged version 2 at 100 s, instance 1 version 3 at 200 s, then perhaps a deletion."""
    told = changes.Told().then(change("t2", "acknowledged", {}, 2), 0, 100).then(TOLD_MOVED, 1, 200)
    gone = told.then(TOLD_GONE, 1, 300)
    late = changes.LATE_S + 1
    for before, where, version, sent, faulty in (
            (told, 0, 3, 200, 0), (told, 0, 2, 200, 0), (told, 0, 2, 200 + late, 1), (told, 0, 1, 200, 1),
            (told, 1, 2, 200, 1), (told, 1, 4, 200 + late, 0), (changes.Told(), 0, 1, late, 0),
            (gone, 1, 3, 300, 1), (gone, 0, 3, 300, 0), (gone, 0, 3, 300 + late, 1), (gone, 0, 4, 300 + late, 1)):
        subject = changes.Subject("ann", 1)
        body = json.dumps({"version": version, "email": MAIL, "name": "Anna", "address": None}).encode()
        subject.read(where, before, sent, 200, body)
        assert len(subject.faults) == faulty, (where, version, sent, subject.faults)
        assert subject.shown == {version: [state("Anna", None)]}
    for status, faulty in ((404, 0), (503, 0), (500, 1)):
        subject = changes.Subject("ann", 1)
        subject.read(0, told, 1, status, b"{}")
        assert len(subject.faults) == faulty and subject.missing == (status == 404), (status, subject.faults)
    older = told.then(change("t5", "acknowledged", {}, 2), 1, 400)  # its answer came late
    assert (older.version, older.where, older.at, older.own) == (3, 1, 200, {0: 2, 1: 3})
    subject.heard(change("t6", "away", {}), 0)
    assert subject.told.version == 1
    subject.heard(TOLD_MOVED, 0)
    assert subject.told.version == 3 and not subject.told.gone


def test_what_the_consumers_say_of_changes():
    rows = [f"{one.event}|1|{one.kind}|{one.trace}|{json.dumps(one.body)}" for one in (BORN, NAMED, MOVED, GONE)]
    documents, queue, profiles, states = (kind(None) for kind in
                                          (stores.Documents, stores.Queue, stores.Profiles, stores.States))
    book = book_of(rows[:3], documents, queue, profiles, states)
    documents.seen = queue.seen = dict.fromkeys(("e1", "e2", "e3"), 1)
    documents.payloads, documents.named, queue.bodies = {"e3": MOVED.payload}, set(), {"e3": MOVED.body}
    assert kinds(documents, book) == kinds(queue, book) == []
    documents.payloads["e3"], queue.bodies["e3"] = NAMED.payload, NAMED.body
    assert kinds(documents, book) == ["in documents otherwise than stored"]
    assert kinds(queue, book) == ["published otherwise than stored"]
    profiles.users, profiles.left, profiles.rows, profiles.found = {1: "ann"}, [], {1: 3}, {}
    assert kinds(profiles, book) == []  # the API has taken it away
    profiles.found = {1: {"id": 1, "username": "ann", "version": 2}}
    assert kinds(profiles, book) == ["an old profile"]
    states.users = {1: f"1|ann|{MAIL}|3"}
    states.found = {1: {"_id": 1, "username": "ann", "email": MAIL, "version": 2, "segment": "new_user"}}
    assert kinds(states, book) == ["another state"]
    book = book_of(rows, documents, queue, profiles, states)
    documents.seen = queue.seen = dict.fromkeys(("e1", "e2", "e3", "e4"), 1)
    queue.bodies, profiles.users, profiles.found, states.users = {}, {}, {}, {}
    states.found = {1: {"_id": 1, "version": 4, "deleted_at": "now"}}
    assert kinds(documents, book) == kinds(profiles, book) == kinds(states, book) == []
    documents.named, profiles.left, states.found = {1}, [1], {}
    assert kinds(documents, book) == ["deleted, but named in documents"]
    assert kinds(profiles, book) == ["deleted, but a profile"]
    assert kinds(states, book) == ["deleted, but a state"]
    states.found = {1: {"_id": 1, "version": 4, "deleted_at": "now", "email": MAIL}}
    assert kinds(states, book) == ["deleted, but a state"]


# ---- what else is a fault ----

def test_more_held_than_the_prefetch():
    held = campaign.Held(None)
    for text in ('onboard_consumer_held{consumer="cache"} 200\n', 'onboard_consumer_held{consumer="cache"} 17\n', "refused"):
        held.note("cache", text)
    assert held.most == {"cache": 200} and held.faults(200) == []
    most = 200 + campaign.ENDING
    held.note("cache", f'a 1\nonboard_consumer_held{{consumer="cache"}} {most}\nb 2\n')
    assert held.faults(200) == []
    held.note("cache", f'a 1\nonboard_consumer_held{{consumer="cache"}} {most + 1}\nb 2\n')
    assert held.faults(200) == [f"onboard-cache held {most + 1} deliveries, its prefetch is 200"]


def test_what_a_sanitizer_says():
    assert campaign.reports('{"level":"warn","message":"postgres is away"}\n') == []
    for line in ("==12==ERROR: AddressSanitizer: heap-use-after-free on address 0x1", "==7==ERROR: LeakSanitizer: detected",
                 "WARNING: ThreadSanitizer: data race (pid=9)", "src/a.c:3:5: runtime error: signed integer overflow",
                 "bug: src/a.c:3: run: must(x)"):
        assert len(campaign.reports(f"begin\n{line}\n{line}\nend\n")) == 1, line


class Process:
    """One that has ended, or that ends with this status when it is told to."""

    def __init__(self, running, status):
        self.running, self.returncode = running, status

    def poll(self):
        return None if self.running else self.returncode

    def send_signal(self, _how):
        self.running = False

    def wait(self, _seconds):
        return self.returncode


class Ended:
    """A daemon as the rig knows it."""

    def __init__(self, running, status, points, log):
        self.process, self.points, self.text = Process(running, status), points, log

    def log(self):
        return self.text

    def __exit__(self, *_):
        pass


def test_how_daemons_end():
    """running, status, fault points, log: whether that is a fault"""
    with tempfile.TemporaryDirectory() as folder:
        for running, status, points, log, faulty in (
                (True, 0, "", "", 0), (True, 66, "", "", 1), (False, 0, "", "", 1), (False, -6, "", "", 1),
                (False, -9, "signup_committed=kill@3", "", 0), (False, -9, "signup_committed=fail@3", "", 1),
                (False, 1, "", "127.0.0.1:9101 is taken by another process; set admin.listen", 0),
                (True, 0, "", "WARNING: ThreadSanitizer: data race (pid=1)\n", 1)):
            rig = object.__new__(campaign.Rig)
            rig.logs, rig.folder, rig.doing, rig.ended = folder, "x", "test", []
            rig._end(Ended(running, status, points, log), "api", signal.SIGTERM)
            assert len(rig.ended) == faulty, (running, status, points, log, rig.ended)


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


def test_the_seed_makes_the_same_changes():
    def make(seed):
        one = changes.Changer([1, 2], seed, 0, 1, None, changes.Pool())
        made = [one.make_change(changes.Subject("ann", 1)) for _ in range(200)]
        assert all(change.deletes or change.sent for change in made) and len({change.trace for change in made}) == 200
        return [(change.trace, change.sent, change.match) for change in made]

    assert make(3) == make(3) and make(3) != make(4)


def test_every_fault_point_of_the_daemons_has_a_scenario():
    with open(os.path.join(ROOT, "src/common/base/fault.h"), encoding="utf-8") as f:
        points = set(re.findall(r"^\tX\((\w+)\)", f.read(), re.M)) - {"selftest", "loop_turn", "move_confirmed"}
    taken = set()
    for module in (faults, conditions):
        with open(module.__file__, encoding="utf-8") as f:
            taken.update(re.findall(r'(?:point\("|"(?=\w+=))(\w+)', f.read()))
    assert points and points == taken, (points, taken)
