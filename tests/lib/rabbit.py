# SPDX-License-Identifier: MIT
"""A RabbitMQ's management interface, and virtual hosts of a test's own."""
import json
import os
import urllib.error
import urllib.parse
import urllib.request


class Management:
    def __init__(self, url):
        self.parts = urllib.parse.urlsplit(url)
        manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        self.base = f"http://{self.parts.hostname}:{self.parts.port}/api"
        manager.add_password(None, self.base, self.parts.username, self.parts.password)
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(manager))

    def ask(self, method, *path, body=None):
        """The decoded answer; path parts are quoted."""
        where = "/".join(urllib.parse.quote(p, safe="") for p in path)
        request = urllib.request.Request(f"{self.base}/{where}", method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"content-type": "application/json"})
        with self.opener.open(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None


class Vhost:
    """A virtual host that ends with the test; url is the AMQP one."""

    count = 0

    def __init__(self, management, amqp_url):
        Vhost.count += 1
        self.management = management
        self.name = f"test-{os.getpid()}-{Vhost.count}"
        parts = urllib.parse.urlsplit(amqp_url)
        self.user = urllib.parse.unquote(parts.username)
        self.url = urllib.parse.urlunsplit(parts._replace(path="/" + self.name))

    def __enter__(self):
        self.management.ask("PUT", "vhosts", self.name, body={})
        self.management.ask("PUT", "permissions", self.name, self.user,
                            body={"configure": ".*", "write": ".*", "read": ".*"})
        return self

    def __exit__(self, *_):
        self.management.ask("DELETE", "vhosts", self.name)

    def exchanges(self):
        rows = self.management.ask("GET", "exchanges", self.name)
        return {r["name"]: r for r in rows if r["name"] and not r["name"].startswith("amq.")}

    def queues(self):
        return {r["name"]: r for r in self.management.ask("GET", "queues", self.name)}

    def bindings(self):
        rows = self.management.ask("GET", "bindings", self.name)
        return {(r["source"], r["routing_key"], r["destination"]) for r in rows if r["source"]}
