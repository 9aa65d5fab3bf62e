# SPDX-License-Identifier: MIT
"""onboard-mailer on a database and a queue of one test file's own, and the rows of mail_log."""
import contextlib
import json

import psycopg2
from pipeline import metric, user_event
from wait import wait_until

SECONDS = 10
QUEUE = "user_mail_queue"
numbers = iter(range(8000000000000000, 8000000001000000))


@contextlib.contextmanager
def place(pipe):
    """Sets PIPE and DB for one test file."""
    global PIPE, DB
    PIPE = pipe
    PIPE.env |= {"ONBOARD_TOPOLOGY_CONSUMERS": "mailer", "ONBOARD_MAIL_RATE": "0", "ONBOARD_LOG_LEVEL": "debug"}
    DB = psycopg2.connect(PIPE.place.postgres)
    DB.autocommit = True
    yield
    DB.close()


def rows(sql, *values):
    with DB.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []


def row(one):
    """The row of this event's user: (state, attempts, smtp_code, error, message_id), or None."""
    got = rows("SELECT state, attempts, smtp_code, error, message_id FROM mail_log WHERE user_id = %s",
               one["payload"]["user_id"])
    return got[0] if got else None


def state(one):
    return (row(one) or [None])[0]


def created(username=None, **more):
    return user_event("created", next(numbers), username, **more)


def mailer(server=None, **env):
    if server:
        env = {"ONBOARD_SMTP_URL": server.url} | env
    return PIPE.daemon("onboard-mailer", **env)


def address(one):
    return one["payload"]["email"]


def acked(daemon, count, seconds=SECONDS):
    wait_until(lambda: metric(daemon, "onboard_consumer_deliveries_total") >= count
               and metric(daemon, "onboard_consumer_held") == 0, seconds, f"{count} settled")


def ended(daemon):
    """Ends the daemon by SIGTERM. Its log must contain no address."""
    assert daemon.terminate() == 0
    assert "@example.com" not in daemon.log() and "example.com" not in daemon.log(), daemon.log()[-3000:]


def dead():
    got = [(json.loads(body)["id"], props.headers) for body, props, _, _ in PIPE.take("user.dlq")]
    assert not any("example" in h["x-error"] for _, h in got), got
    return {i: (h["x-error-class"], h["x-error"]) for i, h in got}
