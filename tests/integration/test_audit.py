# SPDX-License-Identifier: MIT
"""The audit log: each verb that changes something is in it, before and after; what changes nothing is not."""
import os
import tempfile

import pytest
from daemon import ROOT
from dead import QUEUES, Operator, bury, dead_headers, depth, depth_is, event_body
from servers import Sql


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global PIPE, FOLDER, OP
    PIPE = pipe
    with tempfile.TemporaryDirectory(prefix="onboard-test-") as FOLDER:
        OP = Operator(PIPE.place.rabbitmq, FOLDER)
        OP.env |= PIPE.env | {"XDG_STATE_HOME": FOLDER}
        yield


def lines():
    return OP.audited() if os.path.exists(OP.audit) else []


def written(words, what, filter_=None, why=None, code=0, count=None, result="done"):
    before = len(lines())
    OP.run(*words, code=code)
    begin, end = lines()[before:]
    assert (begin["phase"], end["phase"]) == ("begin", "end") and begin["change"] == end["change"], (begin, end)
    for line in (begin, end):
        assert (line["what"], line["filter"], line["why"]) == (what, filter_, why), line
        assert line["user"] and line["pid"] and line["at"].startswith("20"), line
    assert result in end["result"] and (count is None or end["count"] == count), end


def silent(*words, code=0):
    before = len(lines())
    OP.run(*words, code=code)
    assert lines()[before:] == [], words


def mail_row(state):
    with Sql(PIPE.place.postgres) as sql:
        sql.ask("INSERT INTO mail_log (user_id, template, state, event_id, message_id) VALUES (42, 'welcome', "
                f"'{state}', gen_random_uuid(), 'x') ON CONFLICT (user_id, template) DO UPDATE SET state = '{state}'")


def test_topology():
    written(["topology", "declare"], "topology declare")
    silent("topology", "declare")
    silent("topology", "check")
    with PIPE.channel(confirm=False) as channel:
        channel.queue_delete("user_mail_queue")
        channel.queue_declare("user_mail_queue", durable=True, arguments={"x-queue-type": "quorum"})
    silent("topology", "mend", "--dry-run")
    written(["topology", "mend", "--why", "ticket 7"], "topology mend", {"first": "user_mail_queue"}, "ticket 7", count=1)
    silent("topology", "mend")
    with PIPE.channel(confirm=False) as channel:
        channel.queue_delete("user_cache_queue.retry.1")
    written(["topology", "mend"], "topology mend", count=0)


def test_pause_and_resume():
    silent("resume", "mailer", code=3)
    written(["pause", "mailer", "--why", "the \"host\" moves"], "pause", {"consumer": "mailer"}, "the \"host\" moves", count=1)
    written(["resume", "mailer", "--why", "moved"], "resume", {"consumer": "mailer"}, "moved", count=1)


def test_rebuild():
    silent("rebuild", "segments", "--dry-run")
    for kind, first in (("cache", "0"), ("segments", None), ("events", None)):
        first = first or "1970-01-01/00000000-0000-0000-0000-000000000000"
        written(["rebuild", kind, "--why", "lost"], "rebuild", {"kind": kind, "from": first}, "lost", count=0)


def test_mail():
    mail_row("unknown")
    written(["mail", "resend", "42", "--why", "asked"], "mail resend", {"user": "42", "template": "welcome"}, "asked",
            code=1, count=0, result="nothing")  # there is no such user: it stays pending, and that is said
    mail_row("unknown")
    written(["mail", "settle", "42:welcome", "sent"], "mail settle", {"user": "42", "template": "welcome", "state": "sent"}, count=1)
    silent("mail", "list", "--state", "sent")


def test_migrations():
    silent("db", "migrate", "up")
    silent("db", "migrate", "status")
    last = sorted(f for f in os.listdir(f"{ROOT}/migrations/onboard") if f.endswith(".up.sql"))[-1].removesuffix(".up.sql")
    written(["db", "migrate", "down"], "db migrate down", {"migration": last}, count=1)
    written(["db", "migrate", "up"], "db migrate up", {"migration": last}, count=1)
    # a log that cannot be written stops every change but this: the schema remembers by itself
    OP.run("db", "migrate", "down", ONBOARD_CTL_AUDIT_LOG="/proc/nothing/audit.log")
    assert "audit" in OP.run("pause", "mailer", code=1, ONBOARD_CTL_AUDIT_LOG="/proc/nothing/audit.log")
    silent("resume", "mailer", code=3)
    OP.run("db", "migrate", "up")


def state():
    """All that the verbs below would change."""
    with PIPE.channel(confirm=False) as channel, Sql(PIPE.place.postgres) as sql:
        return (depth(channel), [depth(channel, q) for q in QUEUES.values() if q != "user_cache_queue"],
                sql.ask("SELECT state FROM mail_log ORDER BY user_id"))


def test_a_log_on_a_full_disk_stops_every_change():
    """The log opens, and takes no line."""
    OP.run("topology", "declare")
    OP.run("pause", "eventlog")
    mail_row("unknown")
    with PIPE.channel(confirm=False) as channel:
        for n in range(3):
            bury(channel, event_body(100 + n)[1], dead_headers("mailer"))
        depth_is(channel, 3)
        channel.queue_delete("user_cache_queue")
    mine = OP.rows("dlq", "list")[0]["id"]
    OP.run("dlq", "export", "file")
    before = state()
    for words in (["dlq", "replay", "--all"], ["dlq", "replay", mine, "--edit"], ["dlq", "purge", "--all", "--yes"],
                  ["dlq", "import", "file"], ["pause", "mailer"], ["resume", "eventlog"],
                  ["topology", "declare"], ["topology", "mend"], ["rebuild", "cache"], ["rebuild", "segments"],
                  ["rebuild", "events"], ["mail", "resend", "42"], ["mail", "settle", "42:welcome", "sent"]):
        said = OP.run(*words, code=1, ONBOARD_CTL_AUDIT_LOG="/dev/full", VISUAL="sed -i s/example.com/example.net/")
        assert "nothing was changed" in said and "No space left" in said, (words, said)
        assert state() == before, (words, before, state())
    with PIPE.channel(confirm=False) as channel:
        assert depth(channel, "onboard.paused.eventlog") > 0 and depth(channel, "onboard.paused.mailer") == 0
    assert "user_cache_queue" in OP.run("topology", "check", both=True, code=1)
    assert not [f for _, _, files in os.walk(FOLDER) for f in files if "purged" in f]
    # the same in the middle of a line: what the disk took of it is taken back
    with open(OP.audit, "a", encoding="utf-8") as log:
        log.write("{" + " " * ((412 - os.path.getsize(OP.audit) - 3) % 512) + "}\n")
    size = os.path.getsize(OP.audit)
    assert size % 512 == 412
    assert "nothing was changed" in OP.run("dlq", "purge", "--all", "--yes", code=1, file_max=size + 100)
    assert os.path.getsize(OP.audit) == size and state() == before
    written(["topology", "declare"], "topology declare")
