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
TRIES = 8           # of a signup with an Idempotency-Key
COUNTRIES = ("LV", "EE", "LT", "DE", "FR")


class Signup:
    def __init__(self, name, body, key=None, want=201):
        self.name, self.body, self.key, self.want = name, body, key, want
        self.word, self.status, self.user, self.event = "unreached", 0, None, None
        self.tries, self.faults = 0, []

    @property
    def address(self):
        return "address" in self.body


class Client(threading.Thread):
    """One after another, about rate a second, until told to stop."""

    def __init__(self, port, seed, number, rate, stop):
        super().__init__(daemon=True, name=f"client {number}")
        self.port, self.stop, self.pause = port, stop, 1 / rate
        self.random = random.Random(f"{seed} client {number}")
        self.prefix, self.signups, self.count = f"c{seed}_{number}_", [], 0
        self.connection = None

    def run(self):
        while not self.stop.is_set():
            began = time.monotonic()
            one = self.make()
            self.signups.append(one)
            self.bring(one)
            self.stop.wait(max(0.0, self.pause - (time.monotonic() - began)))
        self.close()

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
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": one.key} if one.key else {})
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
                self.connection.connect()
        except OSError:
            self.close()
            return  # as clear as before
        try:
            self.connection.request("POST", "/api/users/signup", json.dumps(one.body), headers)
            answer = self.connection.getresponse()
            self.hear(one, answer.status, answer.read())
        except (OSError, http.client.HTTPException):
            self.close()
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
        if self.connection:
            self.connection.close()
        self.connection = None


class Load:
    def __init__(self, port, seed, clients, rate):
        self.stopping = threading.Event()
        self.clients = [Client(port, seed, n, rate / clients, self.stopping) for n in range(clients)]

    def start(self):
        for client in self.clients:
            client.start()

    def stop(self):
        self.stopping.set()
        for client in self.clients:
            client.join(SECONDS + 5)
            if client.is_alive():
                raise RuntimeError(f"{client.name} does not end")

    def signups(self):
        return [one for client in self.clients for one in list(client.signups)]

    def acknowledged(self):
        return sum(one.word == "acknowledged" for one in self.signups())
