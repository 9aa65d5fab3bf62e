# SPDX-License-Identifier: MIT
"""The checks behind `make lint` refuse what they are for, and accept the rest."""
import os
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CANNOT = 2

# name, files, what each line of the answer must begin with (none: accepted)
INCLUDES = [
    ("each layer may include those below it", {
        "src/common/base/err.h": "",
        "src/common/link/sql.h": '#include "base/err.h"\n',
        "src/common/model/days.c": '#include "link/sql.h"\n',
        "src/common/http/http.c": '#include "base/err.h"\n#include "model/days.h"\n',
        "src/common/model/days.h": "",
        "src/common/http/http.h": "",
        "src/common/run/admin.c": '#include "base/err.h"\n#include "http/http.h"\n#include <event2/event.h>\n',
        "src/producer/api/users.c": '#include "run/admin.h"\n#include "link/sql.h"\n#include "users.h"\n',
        "src/producer/api/users.h": "",
        "src/consumers/cache.c": '#include "run/consumer.h"\n',
        "src/ctl/main.c": '#include "base/err.h"\n',
    }, []),
    ("base includes nothing of link", {
        "src/common/base/log.c": '#include "base/log.h"\n\n#include "link/sql.h"\n',
    }, ["src/common/base/log.c:3: base includes link/sql.h of link"]),
    ("base includes nothing of run, by a relative path either", {
        "src/common/base/log.c": '#include "../run/admin.h"\n',
    }, ["src/common/base/log.c:1: base includes ../run/admin.h of run"]),
    ("link includes nothing of run", {
        "src/common/link/kv.c": '# include "run/loop.h"\n',
    }, ["src/common/link/kv.c:1: link includes run/loop.h of run"]),
    ("model includes nothing of http", {
        "src/common/model/days.c": '#include "http/http.h"\n',
    }, ["src/common/model/days.c:1: model includes http/http.h of http"]),
    ("http includes nothing of run", {
        "src/common/http/http.c": '#include "run/daemon.h"\n',
    }, ["src/common/http/http.c:1: http includes run/daemon.h of run"]),
    ("a folder of the tool includes by the way from src", {
        "src/ctl/dlq/dlq.c": '#include "ctl/kit/table.h"\n',
        "src/ctl/kit/table.h": "",
        "src/producer/api/api.c": '#include "ctl/kit/table.h"\n',
    }, ["src/producer/api/api.c:1: producer includes ctl/kit/table.h of ctl"]),
    ("tables are named by model and programs alone", {
        "migrations/onboard/0001_a.up.sql": "CREATE TABLE users (id bigint);\nCREATE TABLE mail_log (id bigint);\n",
        "src/common/model/a.c": 'char *s = "SELECT id FROM users";\n',
        "src/common/run/b.c": '#include "model/mail_log.h"\n',
        "src/common/run/a.c": '/* FROM users */\nchar *s = "SELECT id FROM users";\nchar *t = "all users";\n',
        "src/common/http/a.c": 'char *s = "mail_log is away";\n',
        "src/ctl/a.c": 'char *s = "DELETE FROM mail_log";\n',
    }, ["src/common/http/a.c:1: http names the table mail_log", "src/common/run/a.c:2: run names the table users"]),
    ("run includes nothing of a daemon", {
        "src/common/run/loop.c": '#include "../../consumers/cache.h"\n',
        "src/consumers/cache.h": "",
    }, ["src/common/run/loop.c:1: run includes ../../consumers/cache.h of consumers"]),
    ("producers, consumers and ctl keep apart", {
        "src/producer/api/api.c": '#include "src/consumers/cache.h"\n',
        "src/consumers/cache.h": '#include "../ctl/verb.h"\n',
        "src/ctl/verb.h": "",
    }, ["src/consumers/cache.h:1: consumers includes", "src/producer/api/api.c:1: producer includes"]),
    ("daemons include nothing of the tests", {
        "src/ctl/main.c": '#include "../../tests/lib/tap.h"\n',
        "tests/lib/tap.h": "",
    }, ["src/ctl/main.c:1: ctl includes"]),
    ("a client's header is seen by its own files", {
        "src/common/link/sql.c": "#include <libpq-fe.h>\n",
        "src/common/link/sql_pool.c": "#include <libpq-fe.h>\n",
        "src/common/link/broker.c": "#include <amqp.h>\n#include <amqp_tcp_socket.h>\n",
        "src/common/link/doc.c": "#include <mongoc/mongoc.h>\n#include <bson/bson.h>\n",
        "src/common/link/kv.c": "#include <hiredis/hiredis.h>\n",
        "src/common/link/smtp.c": "#include <curl/curl.h>\n",
        "src/common/base/json.c": "#include <cjson/cJSON.h>\n",
    }, []),
    ("and by no others", {
        "src/common/base/json.c": "#include <libpq-fe.h>\n",
        "src/common/link/sql.c": "#include <cjson/cJSON.h>\n",
        "src/common/run/a.c": "#include <amqp.h>\n#include <rabbitmq-c/amqp.h>\n#include <mongoc/mongoc.h>\n",
        "src/consumers/b.c": "#include <bson/bson.h>\n#include <hiredis/hiredis.h>\n#include <curl/curl.h>\n",
    }, ["src/common/base/json.c:1: <libpq-fe.h>", "src/common/link/sql.c:1: <cjson/cJSON.h>",
        "src/common/run/a.c:1: <amqp.h>", "src/common/run/a.c:2: <rabbitmq-c/amqp.h>",
        "src/common/run/a.c:3: <mongoc/mongoc.h>", "src/consumers/b.c:1: <bson/bson.h>",
        "src/consumers/b.c:2: <hiredis/hiredis.h>", "src/consumers/b.c:3: <curl/curl.h>"]),
    ("a client's header does not travel through ours", {
        "src/common/link/sql.h": '#include "link/sql_types.h"\n',
        "src/common/link/sql_types.h": "#include <libpq-fe.h>\n",
        "src/ctl/main.c": '#include "link/sql.h"\n',
    }, ["src/ctl/main.c:1: src/common/link/sql.h brings libpq's header along"]),
    ("comments and strings are no includes", {
        "src/common/base/a.c": '/*\n#include "run/a.h"\n*/\n// #include "run/a.h"\nchar *s = "/*";\n#include "link/a.h"\n',
    }, ["src/common/base/a.c:6: base includes link/a.h"]),
    ("an include by macro is refused", {
        "src/common/base/a.c": "#include HEADER\n",
    }, ["src/common/base/a.c:1: an include by macro"]),
    ("a source outside of the layers is refused", {
        "src/common/utils.c": "",
    }, ["src/common/utils.c:1: src holds"]),
]

GOOD = """
services:
  db:
    image: postgres:18
    ports: ["127.0.0.1:${PORT:-5432}:5432"]
    volumes: ["data:/var/lib/postgresql", "./conf:/conf:ro"]
    healthcheck: {test: [CMD, pg_isready]}
  migrate:
    image: onboard:local
    restart: "no"
    depends_on:
      db: {condition: service_healthy}
volumes:
  data: {}
"""
# name, what to replace, by what, what the answer must contain (None: accepted)
COMPOSE = [
    ("a sound file is accepted", "", "", None),
    ("an unknown key", "image: postgres:18", "imago: postgres:18", "'imago' was unexpected"),
    ("a value of the wrong type", "restart: \"no\"", "restart: no", "services.migrate.restart: False is not of type"),
    ("an unknown condition", "service_healthy", "service_happy", "'service_happy' is not one of"),
    ("a key given twice", "  migrate:", "  db: {image: redis}\n  migrate:", "key 'db' is given twice"),
    ("no YAML", "services:", "services: [", "while parsing"),
    ("no health check", "    healthcheck: {test: [CMD, pg_isready]}\n", "", "db: neither a healthcheck"),
    ("a health check turned off", "{test: [CMD, pg_isready]}", "{disable: true}", "db: neither a healthcheck"),
    ("a port for everyone", "127.0.0.1:${PORT:-5432}:5432", "${PORT:-5432}:5432", "port 5432:5432 is not bound to 127.0.0.1"),
    ("a port for everyone, written long", '["127.0.0.1:${PORT:-5432}:5432"]', '[{target: 5432, published: "5432"}]', "is not bound to 127.0.0.1"),
    ("a volume that nobody declares", "  data: {}", "  date: {}", "volume data is not declared"),
    ("a dependency that is not there", "      db: {cond", "      dp: {cond", "depends_on dp, which is no service"),
    ("a fault in a service in waiting", "services:", "x-later:\n  image: a\n  restrat: always\nservices:", "x-later as a service: services.x-later"),
]

SPDX = "SPDX-License-Identifier: " "MIT\n"
# name of the check, a file it refuses, its text, what the answer must contain
LINT = [
    ("marks", "src/a.c", "/* TO" "DO: later */\n", "./src/a.c:1:"),
    ("licence", "src/a.h", "int a;\n", "./src/a.h:1: no line SPDX"),
    ("licence", "tools/a", "#!/bin/sh\ntrue\n", "./tools/a:1: no line SPDX"),
    ("length", "src/a.c", "// " + SPDX + "\n" * 600, "./src/a.c: more than 600 lines"),
    ("python", "tools/a", "#!/usr/bin/env python3\n# " + SPDX + "print(\n", "./tools/a:3:"),
]



def run(*command, **env):
    return subprocess.run(command, cwd=ROOT, env=os.environ | env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)


def write(root, files):
    for path, text in files.items():
        os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
        with open(os.path.join(root, path), "w", encoding="utf-8") as f:
            f.write(text)


@pytest.mark.parametrize(("name", "files", "wanted"), INCLUDES, ids=[row[0] for row in INCLUDES])
def test_includes(name, files, wanted, tmp_path):
    write(tmp_path, files)
    got = run("tools/check-includes", tmp_path)
    lines = got.stdout.splitlines()
    assert got.returncode == (1 if wanted else 0), got
    assert len(lines) == len(wanted) and all(line.startswith(want) for line, want in zip(lines, wanted)), (name, got)


def test_includes_of_the_project_itself():
    got = run("tools/check-includes")
    assert got.returncode == 0, got


def check_compose(*words):
    """Skips without network and cache: the schema is not to be had, which is no fault of the file."""
    got = run("tools/check-compose", *words)
    if got.returncode == CANNOT:
        pytest.skip(" ".join(got.stderr.split()))
    return got


@pytest.mark.parametrize(("name", "old", "new", "wanted"), COMPOSE, ids=[row[0] for row in COMPOSE])
def test_compose(name, old, new, wanted, tmp_path):
    assert old in GOOD, name
    path = tmp_path / "compose.yml"
    path.write_text(GOOD.replace(old, new, 1) if old else GOOD, encoding="utf-8")
    got = check_compose(path)
    assert got.returncode == (1 if wanted else 0) and (wanted or "") in got.stdout, got


def test_compose_has_a_service_for_each_daemon(tmp_path):
    write(tmp_path, {"src/common/model/consumers.h": '#define CONSUMERS(X) \\\n\tX(log, 9105, "q", KEYS("a")) \\\n\tX(greeter, 9201, "r", KEYS("a"))\n',
                     "src/producer/shop/main.c": "", "src/producer/shop/more.c": "",
                     "compose.yml": GOOD.replace("services:", "services:\n  onboard-log: {image: a, restart: 'no'}", 1)})
    got = check_compose(tmp_path / "compose.yml")
    assert got.returncode == 1 and "no service runs onboard-shop" in got.stdout and "onboard-log" not in got.stdout, got
    assert "  onboard-greeter:\n    <<: *onboard\n    command: [/usr/bin/onboard-greeter]\n" in got.stdout, got


def test_compose_of_the_project_itself():
    got = check_compose()
    assert got.returncode == 0, got


@pytest.mark.parametrize(("check", "path", "text", "wanted"), LINT, ids=[f"{row[0]}-{row[1]}" for row in LINT])
def test_lint_refuses(check, path, text, wanted, tmp_path):
    write(tmp_path, {path: text})
    got = run("tools/lint", check, LINT_ROOT=str(tmp_path))
    assert got.returncode == 1 and got.stdout.startswith(f"FAIL  {check}\n") and wanted in got.stdout, got


def test_lint_accepts_a_sound_file(tmp_path):
    write(tmp_path, {"src/a.c": "// " + SPDX + "int a;\n" * 599})
    got = run("tools/lint", "marks", "licence", "length", "python", LINT_ROOT=str(tmp_path))
    assert got.returncode == 0 and got.stdout.count("ok ") == 4, got
