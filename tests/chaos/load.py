# SPDX-License-Identifier: MIT
"""Signups from plain HTTP clients, and what each was told.

The last word on a signup is one of
  acknowledged  201 with id and event_id
  refused       409 or 422: it must not be stored
  away          503: nobody could tell in time, so it may be stored
  unclear       the connection was lost or nothing came in time: it may be stored
  unreached     nobody listened: it must not be stored
"""
import http.client
import json
import random
import threading
import time

SECONDS = 12        # a client's patience with one answer
SIGNUP = "/api/users/signup"
TRIES = 8           # of a signup with an Idempotency-Key
COUNTRIES = ("LV", "EE", "LT", "DE", "FR")


class Unreached(Exception):
    """Nobody listens: nothing was sent."""


class Lost(Exception):
    """The request was sent and no answer came: it may have been done."""


class Line:
    """One HTTP connection to an instance, made again after it was lost."""

    def __init__(self, port):
        self.port, self.connection = port, None

    def ask(self, method, path, body=None, headers=None):
        """Status, body and headers; raises Unreached or Lost."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
                self.connection.connect()
        except OSError as why:
            self.close()
            raise Unreached from why
        try:
            self.connection.request(method, path, None if body is None else json.dumps(body),
                                    ({} if body is None else {"Content-Type": "application/json"}) | (headers or {}))
            answer = self.connection.getresponse()
            return answer.status, answer.read(), answer.headers
        except (OSError, http.client.HTTPException) as why:
            self.close()
            raise Lost from why

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Signup:
    def __init__(self, name, body, key=None, want=201):
        self.name, self.body, self.key, self.want = name, body, key, want
        self.word, self.status, self.user, self.event = "unreached", 0, None, None
        self.tries, self.faults = 0, []
        self.told = []      # (when, status) of each try, 0: no answer

    @property
    def address(self):
        return "address" in self.body


class Client(threading.Thread):
    """One after another, about rate a second, until told to stop."""

    def __init__(self, port, seed, number, rate, stop):
        super().__init__(daemon=True, name=f"client {number}")
        self.line, self.stop, self.pause = Line(port), stop, 1 / rate
        self.random = random.Random(f"{seed} client {number}")
        self.prefix, self.signups, self.count = f"c{seed}_{number}_", [], 0
        self.acknowledged = 0

    def run(self):
        while not self.stop.is_set():
            began = time.monotonic()
            self.act()
            self.stop.wait(max(0.0, self.pause - (time.monotonic() - began)))
        self.close()

    def act(self):
        self.sign_up(self.make())

    def sign_up(self, one):
        self.signups.append(one)
        self.bring(one)
        self.acknowledged += one.word == "acknowledged"

    def make(self):
        self.count += 1
        name, dice = f"{self.prefix}{self.count}", self.random.random()
        body = {"username": name, "email": f"{name}@example.org"}
        if dice < 0.25:
            city = self.random.choice(("Riga", "Ventspils", f"Town {self.random.randrange(40)}"))
            body["address"] = {"street": f"Street {self.count}", "postal_code": "1000", "city": city,
                               "country": self.random.choice(COUNTRIES)}
        key = f"key-{name}" if self.random.random() < 0.4 else None
        dice = self.random.random()
        taken = [s for s in self.signups[-20:] if s.word == "acknowledged"]
        if dice < 0.03 and taken:  # a name or e-mail of one that exists, under another spelling
            other = self.random.choice(taken)
            if dice < 0.015:
                body["email"] = other.body["email"].upper()
            else:
                body["username"] = other.name.upper()
            return Signup(body["username"], body, key, 409)
        if dice > 0.98:
            body["address"] = {"street": "x", "postal_code": "1", "city": "Nowhere", "country": "ZZ"}
            return Signup(name, body, key, 422)
        return Signup(name, body, key)

    def bring(self, one):
        """One try; with a key as many as it takes to be told, and sometimes once more after that."""
        self.ask(one)
        while one.key and one.tries < TRIES and one.word in ("away", "unclear", "unreached") and not self.stop.is_set():
            self.stop.wait(0.5)
            self.ask(one)
        if one.key and one.word == "acknowledged" and self.random.random() < 0.1:
            self.ask(one)
        if one.word == "unreached":
            self.stop.wait(0.2)

    def ask(self, one):
        one.tries += 1
        try:
            status, text, _ = self.line.ask("POST", SIGNUP, one.body, {"Idempotency-Key": one.key} if one.key else None)
            one.told.append((time.strftime("%T"), status))
            self.hear(one, status, text)
        except Unreached:
            pass  # as clear as before
        except Lost:
            one.told.append((time.strftime("%T"), 0))
            if one.word not in ("acknowledged", "refused"):
                one.word = "unclear"

    def hear(self, one, status, text):
        if status == 503:
            if one.word not in ("acknowledged", "refused"):
                one.word, one.status = "away", status
            return
        answer = json.loads(text)
        said = (answer.get("id"), answer.get("event_id"))
        if status not in (201, 409, 422):
            one.faults.append(f"answered {status}")
            one.word = one.word if one.word in ("acknowledged", "refused") else "unclear"
        elif status != one.want:
            one.faults.append(f"{status} where {one.want} was due: {text.decode()[:200]}")
        elif one.word == "acknowledged" and (status != 201 or said != (one.user, one.event)):
            one.faults.append(f"the second answer is another: {status} {said}, first {one.user} {one.event}")
        one.status = status
        if status == 201:
            one.word, (one.user, one.event) = "acknowledged", said
        elif status in (409, 422) and one.word != "acknowledged":
            one.word = "refused"

    def close(self):
        self.line.close()


class Load:
    """Signups at the first instance; changes and reads at all of them (changes.py)."""

    def __init__(self, ports, seed, clients, rate, changers=0, changes=20):
        import changes as other  # which builds on this module

        self.stopping, self.pool = threading.Event(), other.Pool()
        self.clients = [Client(ports[0], seed, n, rate / clients, self.stopping) for n in range(clients)]
        self.clients += [other.Changer(ports, seed, clients + n, changes / changers, self.stopping, self.pool)
                         for n in range(changers)]

    def start(self):
        for client in self.clients:
            client.start()

    def stop(self):
        self.stopping.set()
        for client in self.clients:
            client.join(5 * SECONDS)
            if client.is_alive():
                raise RuntimeError(f"{client.name} does not end")

    def signups(self):
        return [one for client in self.clients for one in list(client.signups)]

    def acknowledged(self):
        """Signups that were acknowledged by now."""
        return sum(client.acknowledged for client in self.clients)
