#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The oldest PostgreSQL that doctor accepts: Debian 12's own 15, beside the stack's 18. The test programs of
what speaks SQL run on it as they do on 18, with the rest of the stack as it is. Left out are tests that stop
or change the stack's PostgreSQL, and those that mostly wait for another server."""
import concurrent.futures
import contextlib
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import psycopg2
import tap
from postgres15 import Postgres15

FOLDER = os.path.dirname(os.path.abspath(__file__))
# Each program with words of its tests' names; no words: all of it. Two lanes run side by side, since none of
# the programs keeps two processors busy. Programs that share a number in Redis are in one lane.
LANES = [
    {"test_link_sql.sh": [], "test_link_sql_async.sh": [], "test_api_signup.py": [], "test_migrate.py": [],
     "test_mailer.py": ["in_the_sink", "twenty_copies", "mail_list", "killed_between", "middle_of_it", "read_whole"],
     "test_rebuild.py": ["cache_as", "events_as"]},
    {"test_api_users.py": ["P1", "P2", "P3", "PATCH", "If_Match", "change", "pages", "by_username", "countries", "DELETE"],
     "test_analytics.py": [], "test_maintain.py": ["days_ahead", "reader"], "test_trace.py": ["arrives", "not_published"],
     "test_api_outbox.py": ["killed_right_after", "idempotency_keys", "no_partition", "reader", "too_large", "room"]},
]


def run(server, program, words):
    """What it printed; raises it where a test failed or a word names none."""
    done = subprocess.run([os.path.join(FOLDER, program), *words], text=True, timeout=300, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          env=os.environ | {"ONBOARD_POSTGRES_URL": server.url})
    names = re.findall(r"^ok \d+ - (\S+)(?!.*# SKIP)", done.stdout, re.M)
    unknown = [word for word in words if not any(word in name for name in names)]
    assert done.returncode == 0 and names and not unknown, f"{program} {unknown}\n{done.stdout}"
    return len(names)


class Programs:
    def __init__(self, stack):
        self.server = stack.enter_context(Postgres15())
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(len(LANES)))
        self.results = {program: concurrent.futures.Future() for lane in LANES for program in lane}
        for lane in LANES:
            pool.submit(self.work, lane)

    def work(self, lane):
        for program, words in lane.items():
            try:
                self.results[program].set_result(run(self.server, program, words))
            except Exception as why:
                self.results[program].set_exception(why)


def programs(cache=[]):
    if not cache:
        cache.append(Programs(END))
    return cache[0]


def passes(program):
    print(f"# {programs().results[program].result()} of its tests passed")


def test_it_is_the_oldest_one():
    with contextlib.closing(psycopg2.connect(programs().server.url)) as connection:
        assert 150000 <= connection.server_version < 160000, connection.server_version


def test_the_link():
    passes("test_link_sql.sh")
    passes("test_link_sql_async.sh")


def test_migrations():
    passes("test_migrate.py")


def test_signups():
    passes("test_api_signup.py")


def test_users():
    passes("test_api_users.py")


def test_the_outbox():
    passes("test_api_outbox.py")


def test_db_maintain():
    passes("test_maintain.py")


def test_analytics():
    passes("test_analytics.py")


def test_the_mail_log():
    passes("test_mailer.py")


def test_rebuild():
    passes("test_rebuild.py")


def test_trace():
    passes("test_trace.py")


with contextlib.ExitStack() as END:
    status = tap.run(globals())
sys.exit(status)
