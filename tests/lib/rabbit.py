# SPDX-License-Identifier: MIT
"""RabbitMQ's management API, and virtual hosts of a test's own."""
import json
import os
import urllib.error
import urllib.parse
import urllib.request


class Management:
    """url: the API's address, by default the one that the environment names."""

    def __init__(self, url=None):
        parts = urllib.parse.urlsplit(url or os.environ["ONBOARD_RABBITMQ_MANAGEMENT_URL"])
        self.base = f"http://{parts.hostname}:{parts.port}/api"
        self.user = urllib.parse.unquote(parts.username)
        self.log_in(urllib.parse.unquote(parts.password))

    def log_in(self, password):
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        passwords.add_password(None, self.base, self.user, password, is_authenticated=True)
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(passwords))

    def ask(self, method, *path, body=None):
        """The decoded answer. The parts of the path get quoted here."""
        where = "/".join(urllib.parse.quote(part, safe="") for part in path)
        request = urllib.request.Request(f"{self.base}/{where}", method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with self.opener.open(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def get(self, *path):
        return self.ask("GET", *path)

    def delete(self, *path):
        """Also when it does not exist."""
        try:
            self.ask("DELETE", *path)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise

    def password_set(self, password):
        """Changes our own user's password. Open connections stay."""
        self.ask("PUT", "users", self.user, body={"password": password, "tags": "administrator"})
        self.log_in(password)


class Vhost:
    """A virtual host, created empty and deleted at the end. url is its AMQP address."""

    count = 0

    def __init__(self, name=None, management=None, amqp_url=None):
        Vhost.count += 1
        self.management = management or Management()
        self.name = name or f"test-{os.getpid()}-{Vhost.count}"
        parts = urllib.parse.urlsplit(amqp_url or os.environ["ONBOARD_RABBITMQ_URL"])
        self.user = urllib.parse.unquote(parts.username)
        self.url = parts._replace(path="/" + self.name).geturl()
        self.env = {"ONBOARD_RABBITMQ_URL": self.url}

    def create(self):
        self.delete()
        self.management.ask("PUT", "vhosts", self.name, body={})
        self.management.ask("PUT", "permissions", self.name, self.user,
                            body={"configure": ".*", "write": ".*", "read": ".*"})

    def delete(self):
        self.management.delete("vhosts", self.name)

    def __enter__(self):
        self.create()
        return self

    def __exit__(self, *_):
        self.delete()

    def exchanges(self):
        rows = self.management.get("exchanges", self.name)
        return {r["name"]: r for r in rows if r["name"] and not r["name"].startswith("amq.")}

    def queues(self):
        return {r["name"]: r for r in self.management.get("queues", self.name)}

    def bindings(self):
        rows = self.management.get("bindings", self.name)
        return {(r["source"], r["routing_key"], r["destination"]) for r in rows if r["source"]}
