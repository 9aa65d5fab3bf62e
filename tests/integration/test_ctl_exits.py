# SPDX-License-Identifier: MIT
"""Every verb's exit codes: 69 a server is away, 3 nothing matched, 2 usage, 78 configuration, 0 done."""
import os
import shutil
import subprocess
import tempfile
import uuid

import pytest
from daemon import BUILD, free_port

NOBODY = str(uuid.uuid4())
FOLDER = tempfile.mkdtemp(prefix="onboard-test-")
FILE = os.path.join(FOLDER, "file")
SERVERS = {"postgres": "postgresql://x@127.0.0.1:{}/x", "rabbitmq": "amqp://127.0.0.1:{}",
           "mongo": "mongodb://127.0.0.1:{}/x", "redis": "redis://127.0.0.1:{}/0"}

# words; the servers without which it cannot; what it answers with all of them, empty as they are
VERBS = [
    ("counts", "postgres", 3),
    ("counts --day 2026-11-20", "postgres", 3),
    ("db migrate status", "postgres", 0),
    ("db migrate up", "postgres", 0),
    ("db maintain", "postgres", 0),
    ("dlq list", "rabbitmq", 3),
    ("dlq stats", "rabbitmq", 3),
    (f"dlq show {NOBODY}", "rabbitmq", 3),
    (f"dlq replay {NOBODY}", "rabbitmq", 3),
    ("dlq replay --all", "rabbitmq", 3),
    (f"dlq export {FILE}.none", "rabbitmq", 3),
    ("dlq purge --yes --class poison", "rabbitmq", 3),
    (f"dlq import {FILE}", "rabbitmq", 0),
    ("doctor", "postgres rabbitmq mongo redis", None),
    ("mail list", "postgres", 3),
    ("mail resend 42", "postgres", 3),
    ("mail settle 42:welcome sent", "postgres", 3),
    ("resume mailer", "rabbitmq", 3),
    ("pause mailer", "rabbitmq", 0),
    ("resume mailer", "rabbitmq", 0),
    ("publish user.login --user-id 8000000000000001", "rabbitmq", 0),
    ("queues", "rabbitmq", 0),
    ("rebuild cache", "postgres redis", 0),
    ("rebuild segments", "postgres mongo", 0),
    ("rebuild events", "postgres mongo", 0),
    (f"trace {NOBODY}", "postgres rabbitmq mongo", 3),
    ("trace --user 42", "postgres rabbitmq", 3),
    ("top --once", "rabbitmq postgres", 0),
    ("topology declare", "rabbitmq", 0),
    ("topology check", "rabbitmq", 0),
    ("topology mend", "rabbitmq", 0),
    ("topology mend nobody", "rabbitmq", 3),
]
USAGE = ["", "explode", "counts --day yesterday", "counts --limit 0", "counts more", "db", "db migrate", "db migrate sideways",
         "db migrate down 0", "db maintain it", "dlq", "dlq bury", "dlq list --yes", "dlq list --error (", "dlq show", "dlq replay",
         "dlq export", "dlq import", "dlq list --since tomorrow", "doctor who", "mail", "mail resend", "mail resend x",
         "mail settle 42 perhaps", "mail list --state odd", "pause", "pause nobody", "pause mailer cache", "resume", "publish",
         "publish user.login --count 0", "publish user.login --rate x", "queues --what", "queues mailer cache", "queues nobody", "rebuild", "rebuild moon",
         "rebuild segments --from x", "rebuild cache --rate 0", "trace", "trace x", "trace --user x", "top --what", "topology",
         "topology mend --what", "topology check it", "--set x counts"]


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    global HERE
    HERE = pipe.env | {"XDG_STATE_HOME": FOLDER, "ONBOARD_CTL_AUDIT_LOG": f"{FOLDER}/audit.log"}
    yield
    shutil.rmtree(FOLDER)


def ctl(words, **env):
    said = subprocess.run([os.path.join(BUILD, "bin/onboardctl"), *words.split()], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False, cwd=FOLDER, env=os.environ | HERE | env)
    return said.returncode, said.stdout, said.stderr


def each(rows):
    """All of them are tried: one line a fault."""
    faults = [fault for fault in rows if fault]
    assert not faults, "\n".join(faults)


def exits(words, code, **env):
    got, out, err = ctl(words, **env)
    said = err or out  # doctor, trace and top say it in their own lines
    if got != code:
        return f"{words or 'nothing'} {env}: exit {got}, want {code}: {said[-300:]}"
    if code not in (0, 69) and not err + out:
        return f"{words}: exit {code} without a word"
    server = next((name for name in SERVERS if code == 69 and f"ONBOARD_{name.upper()}_URL" in env), "")
    return server not in (out + err).lower() and f"{words}: does not name {server}: {said[-300:]}"


def test_usage_is_2():
    each(exits(words, 2) for words in USAGE)


def test_configuration_is_78():
    bad = os.path.join(FOLDER, "bad.conf")
    with open(bad, "w", encoding="utf-8") as f:
        f.write("[api]\nlisten = nowhere\nfrobnicate = 1\n")
    each(exits(words, 78, ONBOARD_CONFIG=bad) for words, _, _ in VERBS)
    each(exits(f"--set topology.consumers=nobody {words}", 78) for words in ("topology check", "topology mend", "topology declare"))


def test_nothing_matched_is_3_and_done_is_0():
    open(FILE, "w").close()
    assert ctl("topology declare")[0] == 0
    each(exits(words, code) for words, _, code in VERBS if code is not None)


def test_a_server_away_is_69():
    def rows():
        for words, needs, _ in VERBS:
            for server in needs.split():
                yield exits(words, 69, **{f"ONBOARD_{server.upper()}_URL": SERVERS[server].format(free_port())})
    each(rows())
