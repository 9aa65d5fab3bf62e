# SPDX-License-Identifier: MIT
"""The oldest PostgreSQL that doctor accepts: Debian 12's own 15, beside the stack's 18. The tests of what
speaks SQL run on it as they do on 18, with the rest of the stack as it is. Left out are tests that stop or
change the stack's PostgreSQL, and tests that mostly wait for another server."""
import contextlib
import os
import re
import subprocess
import sys

import psycopg2
import pytest
from daemon import ROOT
from postgres15 import Postgres15

pytestmark = pytest.mark.seconds(170)
# Each file with words of its tests' names; no words: all of it.
FILES = {
    "prog/link_sql.c": [],
    "prog/link_sql_async.c": [],
    "integration/test_migrate.py": [],
    "integration/test_api_signup.py": [],
    "integration/test_api_users.py": ["P1", "P2", "P3", "PATCH", "If_Match", "change", "pages", "by_username", "countries",
                                      "DELETE"],
    "integration/test_api_outbox.py": ["killed_right_after", "idempotency_keys", "no_partition", "reader", "too_large",
                                       "room"],
    "integration/test_maintain.py": ["days_ahead", "reader"],
    "integration/test_analytics.py": [],
    "integration/test_mailer.py": ["in_the_sink", "twenty_copies", "mail_list", "killed_between", "middle_of_it",
                                   "read_whole"],
    "integration/test_rebuild.py": ["cache_as", "events_as"],
    "integration/test_trace.py": ["arrives", "not_published"],
}


@pytest.fixture(scope="module")
def server(servers):
    with Postgres15() as it:
        yield it


def test_it_is_the_oldest_one(server):
    with contextlib.closing(psycopg2.connect(server.url)) as connection:
        assert 150000 <= connection.server_version < 160000, connection.server_version


@pytest.mark.parametrize(("file", "words"), FILES.items(), ids=FILES)
def test_on_15(server, file, words):
    done = subprocess.run([sys.executable, "-m", "pytest", "-c", f"{ROOT}/tests/pytest.ini", "-v",
                           f"{ROOT}/tests/{file}", "-k", " or ".join(words)], text=True, timeout=280, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=os.environ | {"ONBOARD_POSTGRES_URL": server.url, "ONBOARD_TEST_SERVERS": "given"})
    assert done.returncode == 0, done.stdout[-20000:]
    passed = re.findall(r"::(\S+) PASSED", done.stdout)
    unknown = [word for word in words if not any(word in name for name in passed)]
    assert passed and not unknown, (unknown, done.stdout[-20000:])
