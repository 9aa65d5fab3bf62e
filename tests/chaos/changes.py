# SPDX-License-Identifier: MIT
"""Changes of a few users by several clients at once, through every instance of the API, and reads
that must show them.

Each change carries a trace id of its own (traceparent), which the API stores with the event. So the
ledger (chains.py) knows which event belongs to which change, whatever the client was told.
"""
import collections
import json
import threading
import time

import load

SUBJECTS = 6        # users that are changed at a time
TOGETHER = 0.7      # share of the changes that all clients send to one user at the same moment
LATE_S = 0.5        # how long another instance may show what it had: it hears of a change through Redis
GONE = 20           # deleted users that are still read
COUNTRIES = ("LV", "EE", "LT", "DE", "FR")


def address_of(value):
    """An address as it counts here: what a client sends and what an answer shows."""
    return value and {field: value.get(field) for field in ("street", "postal_code", "city", "region", "country")}


def state_of(user):
    """What a change can change, of a user as an answer shows it."""
    return {"name": user.get("name"), "email": user.get("email"), "address": address_of(user.get("address"))}


class Change:
    """One request and what the client was told. sent: the fields of a PATCH, None for a DELETE."""

    def __init__(self, user, trace, sent=None, match=None):
        self.user, self.trace, self.sent, self.match = user, trace, sent, match
        self.word, self.status = "unreached", 0
        self.version, self.answer = None, None
        self.faults = []

    @property
    def deletes(self):
        return self.sent is None

    def hear(self, status, text, etag=None):
        self.status = status
        if status == 503:
            self.word = "away"
        elif status == 404 or (status == 412 and self.match):
            self.word = "refused"
        elif self.deletes and status == 204:
            self.word = "acknowledged"
        elif not self.deletes and status == 200:
            self.word = "acknowledged"
            self._take(json.loads(text), etag)
        else:
            self.word = "unclear"
            self.faults.append(f"answered {status}: {text[:200].decode(errors='replace')}")

    def _take(self, answer, etag):
        self.version, self.answer = answer["version"], state_of(answer)
        if etag != f'"{self.version}"':
            self.faults.append(f"ETag {etag} with version {self.version}")
        if self.match and self.version != self.match + 1:
            self.faults.append(f"If-Match {self.match} led to version {self.version}")
        for field, value in self.sent.items():
            wanted = address_of(value) if field == "address" else value
            if self.answer[field] != wanted:
                self.faults.append(f"sent {field} {wanted}, answered {self.answer[field]}")


class Told:
    """What clients were told of a user by one moment: the highest version acknowledged, by any instance and
    by each; whether a deletion was. where, at: the last that raised it"""

    def __init__(self, version=1, own=None, gone=False, where=0, at=0.0):
        self.version, self.own, self.gone, self.where, self.at = version, own or {}, gone, where, at

    def then(self, change, where, at):
        version = change.version or self.version
        if version <= self.version and not change.deletes:
            return Told(self.version, self._raised(where, version), self.gone, self.where, self.at)
        return Told(version, self._raised(where, version), self.gone or change.deletes, where, at)

    def _raised(self, where, version):
        return self.own | {where: max(version, self.own.get(where, 1))}

    def stale(self, where, version, sent):
        """Why it is wrong that this instance shows this version to a read sent at that time; None: it may."""
        late = sent - self.at
        if version < self.own.get(where, 1):
            return f"after it acknowledged {self.own[where]}"
        if (version < self.version or self.gone) and (where == self.where or late > LATE_S):
            return f"{late:.3f} s after {'a deletion' if self.gone else self.version} was acknowledged by " \
                   f"instance {self.where + 1}"
        return None


class Subject:
    """A user that several clients change: what they were told, and what reads have shown."""

    def __init__(self, name, user):
        self.name, self.user = name, user
        self.lock = threading.Lock()
        self.told = Told()                  # the highest version acknowledged, whether a deletion was
        self.changes, self.faults = [], []
        self.shown = {}                     # version: each state that a read has shown of it
        self.missing = 0                    # reads and changes that were answered 404

    def heard(self, change, where):
        with self.lock:
            self.missing += change.status == 404
            if change.word != "acknowledged":
                return
            self.told = self.told.then(change, where, time.monotonic())

    def read(self, where, told, sent, status, text):
        """told: what was known when this read was sent."""
        with self.lock:
            if status == 404:
                self.missing += 1
            elif status == 200:
                answer = json.loads(text)
                state, known = state_of(answer), self.shown.setdefault(answer["version"], [])
                if state not in known:
                    known.append(state)
                why = told.stale(where, answer["version"], sent)
                if why:
                    self.faults.append(f"instance {where + 1} shows version {answer['version']} {why}")
            elif status != 503:
                self.faults.append(f"instance {where + 1} answered {status} to a read")


class Pool:
    """The users that are changed now, and those that are gone."""

    def __init__(self):
        self.lock = threading.Lock()
        self.live, self.all = [], []
        self.writers = None     # the instances that changes are sent to, None: all
        self.acknowledged = collections.Counter()   # changes by instance

    def add(self, subject):
        with self.lock:
            self.live.append(subject)
            self.all.append(subject)

    def full(self):
        with self.lock:
            self.live = [one for one in self.live if not one.told.gone]
            return len(self.live) >= SUBJECTS

    def pick(self, turn):
        """The same for all who ask in the same turn."""
        with self.lock:
            return self.live[turn % len(self.live)] if self.live else None

    def pick_read(self, random):
        with self.lock:
            some = self.live + self.all[-GONE:]
            return random.choice(some) if some else None

    def changes(self):
        with self.lock:
            return [change for subject in self.all for change in subject.changes]

    def told(self, where):
        with self.lock:
            self.acknowledged[where] += 1

    def dealt(self, subject):
        """No client knows whether it is still there: others are asked for from now on."""
        with self.lock:
            if subject in self.live:
                self.live.remove(subject)


class Changer(load.Client):
    """Changes one of the pool's users, then reads it through every instance."""

    def __init__(self, ports, seed, number, rate, stop, pool):
        super().__init__(ports[0], seed, number, rate, stop)
        self.lines, self.pool, self.serial = [load.Line(port) for port in ports], pool, 0

    def act(self):
        if not self.pool.full():
            self.subject_make()
        turn = int(time.monotonic() / self.pause) + 1
        self.stop.wait(turn * self.pause - time.monotonic())
        subject = self.pool.pick(turn if self.random.random() < TOGETHER else self.random.randrange(1 << 30))
        if subject:
            self.change(subject)
        other = self.pool.pick_read(self.random)
        if other:
            self.show(other)

    def subject_make(self):
        self.count += 1
        name = f"{self.prefix}{self.count}"
        body = {"username": name, "email": f"{name}@example.org", "name": f"Name {name}"}
        if self.random.random() < 0.7:
            body["address"] = self.address()
        one = load.Signup(name, body, f"key-{name}")
        self.sign_up(one)
        if one.word == "acknowledged":
            self.pool.add(Subject(name, one.user))

    def address(self):
        """Streets are never used twice, towns are."""
        self.serial += 1
        one = {"street": f"Street {self.prefix}{self.serial}", "postal_code": str(1000 + self.serial % 9000),
               "city": self.random.choice(("Riga", "Tallinn", f"Town {self.random.randrange(40)}")),
               "country": self.random.choice(COUNTRIES)}
        if self.random.random() < 0.2:
            one["region"] = "North"
        return one

    def make_change(self, subject):
        dice, self.serial = self.random.random(), self.serial + 1
        trace = f"{self.random.getrandbits(127) + 1:032x}"
        match = subject.told.version if self.random.random() < 0.25 else None
        if dice < 0.04:
            return Change(subject.user, trace, None, match)
        sent = {}
        if dice < 0.45:
            sent["name"] = None if dice < 0.06 else f"Name {self.prefix}{self.serial}"
        if 0.35 < dice < 0.90:
            sent["address"] = None if 0.75 < dice < 0.87 else self.address()
        if dice > 0.85:
            sent["email"] = f"{subject.name}.{self.prefix}{self.serial}@example.org"
        return Change(subject.user, trace, sent, match)

    def change(self, subject):
        change = self.make_change(subject)
        where = self.random.choice(self.pool.writers or range(len(self.lines)))
        headers = {"traceparent": f"00-{change.trace}-{1:016x}-01"}
        if change.match:
            headers["If-Match"] = f'"{change.match}"'
        with subject.lock:
            subject.changes.append(change)
        try:
            status, text, answered = self.lines[where].ask(
                "DELETE" if change.deletes else "PATCH", f"/api/users/{change.user}", change.sent, headers)
            change.hear(status, text, answered.get("ETag"))
        except load.Unreached:
            self.stop.wait(0.2)
            return
        except load.Lost:
            change.word = "unclear"
        subject.heard(change, where)
        if change.status == 404 or (change.deletes and change.word in ("away", "unclear")):
            self.pool.dealt(subject)
        if change.word == "acknowledged":
            self.pool.told(where)
            self.show(subject)

    def show(self, subject):
        for where, line in enumerate(self.lines):
            told, sent = subject.told, time.monotonic()
            try:
                status, text, _ = line.ask("GET", f"/api/users/{subject.user}")
            except (load.Unreached, load.Lost):
                continue
            subject.read(where, told, sent, status, text)

    def close(self):
        super().close()
        for line in self.lines:
            line.close()
