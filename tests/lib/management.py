# SPDX-License-Identifier: MIT
"""RabbitMQ's management API, for what tests do to a broker from outside."""
import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request


class Management:
    def __init__(self):
        url = urllib.parse.urlsplit(os.environ["ONBOARD_RABBITMQ_MANAGEMENT_URL"])
        self.base = f"http://{url.hostname}:{url.port}"
        self.user, self.word = url.username, urllib.parse.unquote(url.password)

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            self.base + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": "Basic " + base64.b64encode(
                f"{self.user}:{self.word}".encode()).decode()})
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def get(self, path):
        return self.ask("GET", path)

    def delete(self, path):
        try:
            self.ask("DELETE", path)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise

    def password_set(self, word):
        """Our user's own; its connections stay."""
        self.ask("PUT", f"/api/users/{self.user}", {"password": word, "tags": "administrator"})
        self.word = word
