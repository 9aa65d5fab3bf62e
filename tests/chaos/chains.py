# SPDX-License-Identifier: MIT
"""The ledger of changes: each user's events in the order of their versions, what the clients were
told of each, and the row that is stored in the end.

An event belongs to the change whose trace id it has. So a user's state can be replayed: the state
of a version is the state of the version before it, with what its change sent.
"""
import collections
import json

import stores
from changes import address_of

EVENT_FIELDS = ("name", "email", "country", "city")
ROWS = "SELECT row_to_json(t) FROM (SELECT u.id, u.version, u.name, u.email, a.street, a.postal_code, " \
       "ci.name AS city, ci.region, co.code AS country FROM users u LEFT JOIN addresses a ON a.id = u.address_id " \
       "LEFT JOIN cities ci ON ci.id = a.city_id LEFT JOIN countries co ON co.id = ci.country_id " \
       "WHERE u.id IN (SELECT user_id FROM outbox WHERE type <> 'user.created')) t"


def start_state(signup):
    return {"name": signup.body.get("name"), "email": signup.body["email"],
            "address": address_of(signup.body.get("address"))}


def merged(state, sent):
    """The state that a change makes of the one before."""
    return {field: (address_of(sent[field]) if field == "address" else sent[field]) if field in sent else state[field]
            for field in state}


def told(state):
    """What an event says of a state."""
    address = state["address"] or {}
    return {"name": state["name"], "email": state["email"], "country": address.get("country"),
            "city": address.get("city")}


def row_state(row):
    return {"name": row["name"], "email": row["email"],
            "address": address_of(row) if row["street"] is not None else None}


class Chain:
    """One user's events by version, replayed. faults: (what is wrong, whose)"""

    def __init__(self, user, events, start, changes):
        self.user, self.events, self.faults = user, sorted(events, key=lambda one: one.version), []
        self.states = {}        # version: its state
        self.last = 0           # the highest version
        self.gone = any(one.kind == "user.deleted" for one in events)
        self.by_trace = {one.trace: one for one in changes}
        self._versions()
        self._replay(start)

    def _fault(self, what, detail):
        self.faults.append((what, f"user {self.user} {detail}"))

    def _versions(self):
        count = collections.Counter(one.version for one in self.events)
        for version, n in count.items():
            if n > 1:
                self._fault("doubled: events of one version", f"version {version}")
        self.last = max(count, default=0)
        for version in range(1, self.last):
            if version not in count:
                self._fault("lost: a version without its event", f"version {version}")

    def _replay(self, state):
        before = None
        for one in self.events:
            if one.kind == "user.created":
                self.states[one.version] = state
                before = one.payload.get("country")
                continue
            change = self.by_trace.get(one.trace)
            if not change:
                self._fault("changed by nobody", f"version {one.version} event {one.event}")
            if one.kind == "user.deleted":
                self._deletion(one, before)
                continue
            state = self._update(one, state, before, change)
            before = one.payload.get("country")

    def _deletion(self, one, before):
        if one.version != self.last:
            self._fault("changed after its deletion", f"version {one.version} of {self.last}")
        if one.payload.get("country") != before:
            self._fault("wrong event: country of the deletion", f"{one.payload.get('country')}, not {before}")

    def _update(self, one, state, before, change):
        wanted = merged(state, change.sent) if change and change.sent else state
        said = {field: one.payload.get(field) for field in EVENT_FIELDS}
        if said != told(wanted):
            self._fault("wrong event: not what the change made", f"version {one.version}: {said}, not {told(wanted)}")
        if one.payload.get("previous_country") != before:
            self._fault("wrong event: previous_country",
                        f"version {one.version}: {one.payload.get('previous_country')}, not {before}")
        if change and change.answer and change.version == one.version and change.answer != wanted:
            self._fault("answered wrongly", f"version {one.version}: {change.answer}, made was {wanted}")
        self.states[one.version] = wanted
        return wanted

    def judge(self, changes):
        """What the clients were told, against the events."""
        made, answered = collections.defaultdict(list), collections.Counter()
        for one in self.events:
            made[one.trace].append(one)
        for change in changes:
            found = made.get(change.trace, [])
            who = f"trace {change.trace}"
            if len(found) > 1:
                self._fault("doubled: a change made twice", who)
            if change.word == "acknowledged" and not found:
                self._fault("lost: an acknowledged change without its event", who)
            elif change.word in ("refused", "unreached") and found:
                self._fault(f"{change.word}, but changed", who)
            elif found and (found[0].kind == "user.deleted") != change.deletes:
                self._fault("wrong event: another type", f"{who}: {found[0].kind}")
            elif change.version and found and found[0].version != change.version:
                self._fault("answered another version", f"{who}: {change.version}, made was {found[0].version}")
            if change.word == "acknowledged" and change.version:
                answered[change.version] += 1
        for version, n in answered.items():
            if n > 1:
                self._fault("doubled: a version answered twice", f"version {version}")

    def stored(self, row):
        """The row in the end, None: there is none."""
        if self.gone and row:
            self._fault("deleted, but stored", f"version {row['version']}")
        elif not self.gone and not row:
            self._fault("lost: a user that nobody deleted", "")
        elif row and row["version"] != self.last:
            self._fault("stored with another version", f"{row['version']}, the last event's is {self.last}")
        elif row and self.last in self.states and row_state(row) != self.states[self.last]:
            self._fault("lost: stored is not what the last change made",
                        f"{row_state(row)}, not {self.states[self.last]}")

    def reads(self, subject):
        """What reads have shown must have been so once."""
        for version, shown in subject.shown.items():
            for state in shown:
                if state != self.states.get(version):
                    self._fault("read wrongly", f"version {version}: {state}, made was {self.states.get(version)}")
        if subject.missing and not self.gone:
            self._fault("answered 404, but never deleted", f"{subject.missing} times")


class Changes(stores.Store):
    """Every acknowledged change is there, once, and the event of the highest version says what is stored."""
    name = "changes"

    def __init__(self, place):
        super().__init__(place)
        self.subjects, self.rows, self.chains = [], {}, {}

    def read(self, sql):
        self.rows = {row["id"]: row for row in map(json.loads, sql.ask(ROWS))}

    def size(self):
        return sum(change.word == "acknowledged" for one in self.subjects for change in one.changes)

    def faults(self, book):
        events = book.store(stores.Outbox).chains
        signups = {one.user: one for one in book.signups if one.word == "acknowledged"}
        for subject in self.subjects:
            chain = Chain(subject.user, events.get(subject.user, []), start_state(signups[subject.user]),
                          subject.changes)
            self.chains[subject.user] = chain
            chain.judge(subject.changes)
            if chain.last > 1:
                chain.stored(self.rows.get(subject.user))
            chain.reads(subject)
            yield from chain.faults
            for why in subject.faults + [why for change in subject.changes for why in change.faults]:
                yield "answered wrongly", f"user {subject.user}: {why}"
        for user in self.rows.keys() - self.chains.keys():
            yield "changed by nobody", f"user {user}"
