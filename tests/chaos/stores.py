# SPDX-License-Identifier: MIT
"""Where a signup must have arrived. Each store is read once, after all is settled, and says what is
wrong with it. A consumer's store is one more class in STORES: event ids that must be those of the
outbox (Events), or its own faults()."""
import collections
import json
import os
import threading
import time

import amqp
import servers

QUEUE = "chaos.drain"


class Store:
    name = ""

    def __init__(self, place):
        self.place = place

    def start(self):
        """Before the load, with the API running."""

    def settled(self, _sql):
        """Nothing more is due."""
        return True

    def read(self, sql):
        raise NotImplementedError

    def size(self):
        raise NotImplementedError

    def faults(self, book):
        """(what is wrong, whose) for each fault."""
        raise NotImplementedError

    def stop(self):
        pass


class Users(Store):
    name = "users"

    def read(self, sql):
        self.rows = collections.defaultdict(list)  # name without case: [(id, name, has an address)]
        for line in sql.ask("SELECT id, username, address_id IS NOT NULL FROM users"):
            number, name, placed = line.split("|")
            self.rows[name.lower()].append((int(number), name, placed == "t"))

    def size(self):
        return sum(map(len, self.rows.values()))

    def ids(self):
        return {row[0]: row[1] for rows in self.rows.values() for row in rows}

    def faults(self, book):
        for name, rows in self.rows.items():
            if len(rows) > 1:
                yield "doubled: users of one name", name
        outbox = book.store(Outbox)
        for one in book.signups:
            if one.user in outbox.gone:
                continue  # the ledger of changes has it (chains.py)
            rows = [row for row in self.rows.get(one.name.lower(), []) if row[1] == one.name]
            if one.word == "acknowledged" and one.user not in [row[0] for row in rows]:
                yield "lost: acknowledged, not stored", f"{one.name} id {one.user}"
            elif one.word in ("refused", "unreached") and rows:
                yield f"{one.word}, but stored", f"{one.name} told {one.told}"
            elif one.word == "acknowledged" and one.address and one.user not in outbox.changed and not rows[0][2]:
                yield "lost: the address", one.name


class Event:
    """One row of the outbox. trace: of the request that made it, "" where it has none"""

    def __init__(self, event, kind, trace, body):
        self.event, self.kind, self.trace = event, kind, trace
        self.body = json.loads(body)
        self.payload = self.body["payload"]
        self.version = self.payload["version"]


class Outbox(Store):
    """The archive of events, which commits with the users."""
    name = "outbox"

    def __init__(self, place):
        super().__init__(place)
        self.rows = {}                                  # event id: (user, type)
        self.chains = collections.defaultdict(list)     # user: [Event]
        self.changed, self.gone = set(), set()          # users with more than one event, with a deletion

    def read(self, sql):
        for line in sql.ask("SELECT event_id, user_id, type, split_part(coalesce(traceparent, ''), '-', 2), body"
                            " FROM outbox"):
            event, user, kind, trace, body = line.split("|", 4)
            self.rows[event] = (int(user), kind)
            self.chains[int(user)].append(Event(event, kind, trace, body))
        self.changed = {user for user, events in self.chains.items() if len(events) > 1}
        self.gone = {user for user, kind in self.rows.values() if kind == "user.deleted"}

    def size(self):
        return len(self.rows)

    def faults(self, book):
        users = book.store(Users).ids()
        made = collections.Counter(user for user, kind in self.rows.values() if kind == "user.created")
        for user, name in users.items():
            if made[user] != 1:
                yield ("user without event" if made[user] == 0 else "doubled: events of one user"), f"{name} id {user}"
        for event, (user, _) in self.rows.items():
            if user not in users and user not in self.gone:
                yield "event without user", f"{event} user {user}"
        for one in book.signups:
            if one.word == "acknowledged" and self.rows.get(one.event, (None,))[0] != one.user:
                yield "lost: acknowledged event not stored", f"{one.name} event {one.event}"


class Unpublished(Store):
    name = "unpublished"

    def settled(self, sql):
        return sql.number("SELECT count(*) FROM outbox_unpublished") == 0

    def read(self, sql):
        self.rows = sql.ask("SELECT unnest(event_ids) FROM outbox_unpublished")

    def size(self):
        return len(self.rows)

    def faults(self, book):
        for event in self.rows:
            yield "left unpublished", event


class Events(Store):
    """Event ids that must be those of the outbox. seen: {id: user}"""

    def __init__(self, place):
        super().__init__(place)
        self.seen = {}

    def size(self):
        return len(self.seen)

    def faults(self, book):
        stored = book.store(Outbox).rows
        for event in stored.keys() - self.seen.keys():
            yield f"lost: stored, not in {self.name}", event
        for event, user in self.seen.items():
            if event not in stored:
                yield f"in {self.name}, not stored", event
            elif user != stored[event][0]:
                yield f"in {self.name} with another user", event


class Queue(Events):
    """A queue bound to user.*, consumed all the time."""
    name = "queue"

    def __init__(self, place):
        super().__init__(place)
        self.again = 0       # first deliveries of an event that had come before: published twice
        self.bodies = {}     # event id: the event, of changes only
        self.heard = time.monotonic()
        self.ending = False
        self.thread = threading.Thread(target=self._run, daemon=True, name="drain")

    def start(self):
        with amqp.Broker(self.place.rabbitmq, 10) as broker:
            broker.declare_quorum(QUEUE)
            broker.bind(QUEUE, "user_events", "user.*")
        self.thread.start()

    def _run(self):
        while not self.ending:
            try:
                with amqp.Broker(self.place.rabbitmq, 3) as broker:
                    broker.consume(QUEUE, 200)
                    while not self.ending:
                        tag, redelivered, body = broker.deliver()
                        self._note(redelivered, json.loads(body))
                        broker.ack(tag)
            except (OSError, amqp.AmqpError):
                time.sleep(0.2)

    def _note(self, redelivered, event):
        if event["id"] in self.seen and not redelivered:
            self.again += 1
        self.seen[event["id"]] = event["payload"]["user_id"]
        if event["type"] != "user.created":
            self.bodies[event["id"]] = event
        self.heard = time.monotonic()

    def settled(self, _sql):
        with amqp.Broker(self.place.rabbitmq, 10) as broker:
            return broker.depth(QUEUE) == 0 and time.monotonic() - self.heard > 1

    def read(self, sql):
        self.stop()

    def faults(self, book):
        yield from super().faults(book)
        for events in book.store(Outbox).chains.values():
            for one in events:
                if one.event in self.bodies and self.bodies[one.event] != one.body:
                    yield "published otherwise than stored", one.event

    def stop(self):
        self.ending = True
        if self.thread.is_alive():
            self.thread.join(10)


class Documents(Events):
    """What onboard-eventlog has stored."""
    name = "documents"

    def _events(self):
        import pymongo  # the ledger's own tests do without
        return pymongo.MongoClient(self.place.mongo, serverSelectionTimeoutMS=10000)[self.place.name]["events"]

    def start(self):
        self._events().drop()

    def settled(self, sql):
        return self._events().count_documents({}) >= sql.number("SELECT count(*) FROM outbox") and not self._named(
            [int(line) for line in sql.ask("SELECT user_id FROM outbox WHERE type = 'user.deleted'")])

    def _named(self, users):
        """Of these users, whose events still hold a name or an e-mail."""
        held = {"$or": [{f"payload.{field}": {"$exists": True}} for field in ("username", "name", "email")]}
        return {one["user_id"] for one in self._events().find({"user_id": {"$in": users}} | held, {"user_id": 1})}

    def read(self, sql):
        self.seen = {one["_id"]: one["user_id"] for one in self._events().find({}, {"user_id": 1})}
        users = [int(line) for line in sql.ask("SELECT DISTINCT user_id FROM outbox WHERE type <> 'user.created'")]
        self.payloads = {one["_id"]: one["payload"]
                         for one in self._events().find({"user_id": {"$in": users}}, {"payload": 1})}
        self.named = self._named([int(line) for line in sql.ask("SELECT user_id FROM outbox"
                                                                " WHERE type = 'user.deleted'")])

    def faults(self, book):
        yield from super().faults(book)
        outbox = book.store(Outbox)
        for user in outbox.changed - outbox.gone:
            last = max(outbox.chains[user], key=lambda one: one.version)
            if last.event in self.payloads and self.payloads[last.event] != last.payload:
                yield "in documents otherwise than stored", f"user {user}: {self.payloads[last.event]}, not {last.payload}"
        for user in self.named:
            yield "deleted, but named in documents", f"user {user}"


class Profiles(Store):
    """What onboard-cache has written, for each user."""
    name = "profiles"

    def settled(self, _sql):
        with amqp.Broker(self.place.rabbitmq, 10) as broker:
            return broker.depth("user_cache_queue") == 0

    def read(self, sql):
        self.users, self.found = {}, {}
        with servers.Redis(self.place.redis) as kv:
            for line in sql.ask("SELECT id, username FROM users"):
                user, name = line.split("|")
                self.users[int(user)] = name
                text = kv.ask("GET", f"user:{user}:profile")
                if text:
                    self.found[int(user)] = json.loads(text)
            gone = [line for line in sql.ask("SELECT user_id FROM outbox WHERE type = 'user.deleted'")
                    if kv.ask("EXISTS", f"user:{line}:profile")]
        self.left = [int(user) for user in gone]
        self.rows = {int(line.split("|")[0]): int(line.split("|")[1])
                     for line in sql.ask("SELECT id, version FROM users WHERE version > 1")}

    def size(self):
        return len(self.found)

    def faults(self, book):
        for user in self.left:
            yield "deleted, but a profile", f"user {user}"
        for user, name in self.users.items():
            if user not in self.found:
                if user not in self.rows:  # the API takes a changed user's profile away
                    yield "lost: no profile", f"{name} id {user}"
            elif self.found[user].get("version") != self.rows.get(user, 1):
                yield "an old profile", f"{name} id {user}: version {self.found[user].get('version')}"
            elif (self.found[user]["id"], self.found[user]["username"]) != (user, name):
                yield "another's profile", f"{name} id {user}"


class States(Store):
    """What onboard-segments has written, for each user."""
    name = "states"

    def _documents(self):
        import pymongo  # the ledger's own tests do without
        return pymongo.MongoClient(self.place.mongo, serverSelectionTimeoutMS=10000)[self.place.name]["users"]

    def start(self):
        self._documents().delete_many({})  # its index stays

    def settled(self, sql):
        alive = self._documents().count_documents({"deleted_at": {"$exists": False}})
        if alive != sql.number("SELECT count(*) FROM users"):
            return False
        wanted = dict(map(int, line.split("|")) for line in sql.ask("SELECT id, version FROM users WHERE version > 1"))
        return {one["_id"]: one.get("version") for one in
                self._documents().find({"_id": {"$in": list(wanted)}}, {"version": 1})} == wanted

    def read(self, sql):
        self.users = {int(line.split("|")[0]): line for line in sql.ask("SELECT id, username, email, version FROM users")}
        self.found = {one["_id"]: one for one in self._documents().find({})}

    def size(self):
        return len(self.found)

    def faults(self, book):
        for user, line in self.users.items():
            if user not in self.found:
                yield "lost: no state", line
            elif "|".join(str(self.found[user].get(field)) for field in ("_id", "username", "email", "version")) != line:
                yield "another state", line
            elif self.found[user].get("segment") != "new_user":
                yield "a state without a segment", line
        gone = book.store(Outbox).gone
        for user in self.found.keys() - self.users.keys() - gone:
            yield "state without user", str(user)
        for user in gone:
            left = self.found.get(user, {})
            if "deleted_at" not in left or "email" in left or "username" in left:
                yield "deleted, but a state", f"user {user}: {sorted(left)}"


class Counted(Store):
    """What onboard-analytics has counted: its inbox knows each event, and the counts are as many."""
    name = "counted"

    def settled(self, sql):
        return sql.number("SELECT count(*) FROM analytics_inbox") >= sql.number("SELECT count(*) FROM outbox")

    def read(self, sql):
        self.seen = set(sql.ask("SELECT event_id FROM analytics_inbox"))
        self.counts = {}
        for line in sql.ask("SELECT type, sum(count) FROM event_counts GROUP BY type"):
            kind, count = line.split("|")
            self.counts[kind] = int(count)
        self.shown = collections.Counter()
        with servers.Redis(self.place.redis) as kv:
            for day in sql.ask("SELECT DISTINCT day FROM event_counts"):
                for kind in self.counts:
                    self.shown[kind] += int(kv.ask("HGET", f"stats:events:{day}", kind) or 0)

    def size(self):
        return sum(self.counts.values())

    def faults(self, book):
        stored = book.store(Outbox).rows
        for event in stored.keys() - self.seen:
            yield "lost: stored, not counted", event
        for event in self.seen - stored.keys():
            yield "counted, not stored", event
        for kind, count in collections.Counter(kind for _, kind in stored.values()).items():
            if self.counts.get(kind, 0) != count:
                yield ("lost: counts" if self.counts.get(kind, 0) < count else "doubled: counts"), f"{kind}: {self.counts.get(kind, 0)}, not {count}"
        for kind, count in self.counts.items():
            if self.shown[kind] != count:
                yield "Redis shows another total", f"{kind}: {self.shown[kind]}, not {count}"


class Mails(Store):
    """What onboard-mailer says of each user's mail, and what the mail server has taken."""
    name = "mails"

    def __init__(self, place, folder):
        super().__init__(place)
        self.folder = folder

    def start(self):
        self.before = set(os.listdir(self.folder))

    def settled(self, sql):
        return sql.number("SELECT count(*) FROM users u WHERE NOT EXISTS (SELECT FROM mail_log m"
                          " WHERE m.user_id = u.id AND m.state IN ('sent', 'unknown'))") == 0

    def read(self, sql):
        self.users = sql.ask("SELECT id FROM users")
        self.rows = {line.split("|")[0]: line.split("|")[1:] for line in
                     sql.ask("SELECT user_id, state, message_id FROM mail_log")}
        self.taken = collections.Counter()
        for name in set(os.listdir(self.folder)) - self.before:
            if name.endswith(".eml"):
                with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as f:
                    self.taken.update(line.split("<")[1].rstrip(">\r\n") for line in f if line.startswith("Message-ID: <"))

    def size(self):
        return sum(state == "sent" for state, _ in self.rows.values())

    def unknown(self):
        return sum(state == "unknown" for state, _ in self.rows.values())

    def faults(self, book):
        for user in self.users:
            state, mail = self.rows.get(user, ("none", ""))
            if state not in ("sent", "unknown"):
                yield "lost: no mail", f"user {user}: {state}"
            elif state == "sent" and not self.taken[mail]:
                yield "lost: said to be sent, not at the mail server", f"user {user}"
        for user, (_, mail) in self.rows.items():
            if self.taken[mail] > 1:
                yield "doubled: mails", f"user {user}: {self.taken[mail]}"


class Dead(Store):
    """No fault of a server is an event's fault."""
    name = "dead"

    def read(self, sql):
        with amqp.Broker(self.place.rabbitmq, 10) as broker:
            self.count = broker.depth("user.dlq")

    def size(self):
        return self.count

    def faults(self, book):
        if self.count:
            yield "dead letters", str(self.count)


OF_SIGNUPS = [Users, Outbox, Unpublished, Queue]
STORES = OF_SIGNUPS + [Documents, Profiles, States, Counted, Dead]


class Book:
    """The ledger: what clients were told against what every store holds."""

    def __init__(self, signups, stores, changes=()):
        self.signups, self.stores = signups, stores
        self.words = collections.Counter(one.word for one in signups)
        self.changes = collections.Counter(one.word for one in changes)
        self.faults = collections.defaultdict(list)

    def store(self, kind):
        return next(store for store in self.stores if isinstance(store, kind))

    def close(self, sql):
        for store in self.stores:
            store.read(sql)
        for one in self.signups:
            for fault in one.faults:
                self.faults["answered wrongly"].append(f"{one.name}: {fault}, told {one.told}")
        for store in self.stores:
            for what, whose in store.faults(self):
                self.faults[what].append(whose)

    def count(self, beginning):
        return sum(len(whose) for what, whose in self.faults.items() if what.startswith(beginning))

    def silent(self):
        """Stored, though the client was not told so."""
        rows = self.store(Users).rows
        return sum(one.word in ("away", "unclear") and any(row[1] == one.name for row in rows.get(one.name.lower(), []))
                   for one in self.signups)
