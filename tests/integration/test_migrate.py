# SPDX-License-Identifier: MIT
"""P5: onboardctl db migrate on a real PostgreSQL: each file whole or not at all, changed files refused."""
import json
import os
import shutil
import subprocess
import tempfile
import threading
import urllib.parse

import psycopg2
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CTL = os.path.join(ROOT, os.environ.get("ONBOARD_BUILD", "build/debug"), "bin/onboardctl")

@pytest.fixture(scope="module", autouse=True)
def here(servers):
    global MAIN_URL
    MAIN_URL = os.environ["ONBOARD_POSTGRES_URL"]


class Database:
    """A database of one test's own, and a copy of the migrations to spoil."""

    count = 0

    def __enter__(self):
        Database.count += 1
        self.name = f"migrate_{os.getpid()}_{Database.count}"
        self.admin("CREATE DATABASE " + self.name)
        self.url = urllib.parse.urlunsplit(urllib.parse.urlsplit(MAIN_URL)._replace(path="/" + self.name))
        self.folder = tempfile.mkdtemp(prefix="onboard-migrations-")
        for f in os.listdir(f"{ROOT}/migrations/onboard"):
            shutil.copy(f"{ROOT}/migrations/onboard/{f}", self.folder)
        self.last = max(int(f[:4]) for f in os.listdir(self.folder))
        return self

    def __exit__(self, *_):
        self.admin(f"DROP DATABASE {self.name} WITH (FORCE)")
        shutil.rmtree(self.folder)

    def admin(self, sql):
        connection = psycopg2.connect(MAIN_URL)
        connection.autocommit = True
        connection.cursor().execute(sql)
        connection.close()

    def write(self, name, up, down="SELECT 1;\n"):
        for ending, text in (("up", up), ("down", down)):
            with open(f"{self.folder}/{name}.{ending}.sql", "w") as f:
                f.write(text)

    def next(self, name, up, down="SELECT 1;\n"):
        self.last += 1
        self.write(f"{self.last:04d}_{name}", up, down)
        return f"{self.last:04d}_{name}"

    def migrate(self, *words, url=None):
        return subprocess.run([CTL, "db", "migrate", *words, "--dir", self.folder], text=True, timeout=60,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=os.environ | {"ONBOARD_POSTGRES_URL": url or self.url})

    def migrate_own(self, *words):
        """With the program's own migrations, from a folder that holds others."""
        with tempfile.TemporaryDirectory(prefix="onboard-stranger-") as stranger:
            shutil.copytree(self.folder, f"{stranger}/migrations")
            return subprocess.run([CTL, "db", "migrate", *words], text=True, timeout=60, cwd=stranger,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=os.environ | {"ONBOARD_POSTGRES_URL": self.url})

    def ask(self, sql):
        connection = psycopg2.connect(self.url)
        cursor = connection.cursor()
        cursor.execute(sql)
        answer = cursor.fetchall()
        connection.close()
        return answer


def check(done, code, *texts):
    assert done.returncode == code, f"exit {done.returncode}, want {code}: {done.stdout}{done.stderr}"
    for text in texts:
        assert text in done.stdout + done.stderr, f"no {text!r} in: {done.stdout}{done.stderr}"
    if code:
        assert len(done.stderr.splitlines()) == 1, f"want one line: {done.stderr}"


def test_P5_up_makes_the_documented_tables_and_a_second_up_does_nothing():
    with Database() as db:
        check(db.migrate("up"), 0, "applied    0001_people")
        tables = {r[0] for r in db.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        assert {"countries", "cities", "addresses", "users"} <= tables, tables
        assert db.ask("SELECT count(*) FROM countries") == [(249,)]
        assert db.ask("SELECT name FROM countries WHERE code = 'LV'") == [("Latvia",)]
        check(db.migrate("up"), 0, "nothing to apply")


def test_P1_uniques_and_foreign_keys_hold():
    with Database() as db:
        check(db.migrate("up"), 0)
        connection = psycopg2.connect(db.url)
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("INSERT INTO users (username, email) VALUES ('Ann', 'ann@example.com')")
        for bad in ("INSERT INTO users (username, email) VALUES ('aNN', 'b@example.com')",
                    "INSERT INTO users (username, email) VALUES ('bob', 'ann@example.com')",
                    "INSERT INTO users (username, email) VALUES ('bob', 'Bob@example.com')",
                    "INSERT INTO users (username, email, address_id) VALUES ('bob', 'b@example.com', 1)",
                    "INSERT INTO countries (name, code) VALUES ('Latvia', 'XX')"):
            try:
                cursor.execute(bad)
            except psycopg2.IntegrityError:
                continue
            raise AssertionError(f"accepted: {bad}")
        cursor.execute("INSERT INTO cities (name, country_id) SELECT 'Riga', id FROM countries WHERE code = 'LV'")
        try:
            cursor.execute("INSERT INTO cities (name, country_id) SELECT 'RIGA', id FROM countries WHERE code = 'LV'")
            raise AssertionError("one city twice")
        except psycopg2.IntegrityError:
            pass
        connection.close()


def test_P1_the_place_beside_the_user_is_filled_in():
    with Database() as db:
        check(db.migrate("up"), 0)
        places = "SELECT username, country, (SELECT name FROM cities WHERE id = city_id) FROM users ORDER BY 1"
        check(db.migrate("down", str(db.last - 9)), 0, "taken back 0010_user_places")
        connection = psycopg2.connect(db.url)
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("INSERT INTO cities (name, country_id) SELECT 'Riga', id FROM countries WHERE code = 'LV';"
                       "INSERT INTO addresses (street, city_id) SELECT 'Brivibas 1', id FROM cities;"
                       "INSERT INTO users (username, email, address_id) SELECT 'ann', 'ann@example.com', id FROM addresses;"
                       "INSERT INTO users (username, email) VALUES ('bob', 'bob@example.com')")
        check(db.migrate("up"), 0, "applied    0010_user_places")
        assert db.ask(places) == [("ann", "LV", "Riga"), ("bob", None, None)]
        connection.close()


def test_P5_down_takes_back_in_order_and_up_again_works():
    with Database() as db:
        check(db.migrate("up"), 0)
        check(db.migrate("down"), 0, f"taken back {db.last:04d}_")
        check(db.migrate("down", str(db.last)), 0, "taken back 0001_people")
        assert db.ask("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(1,)]
        check(db.migrate("down"), 0, "nothing is applied")
        check(db.migrate("up"), 0, "applied    0001_people")


def test_P5_the_program_applies_its_own_migrations_and_not_those_of_the_working_folder():
    with Database() as db:
        newest = db.last
        stranger = db.next("stranger", "CREATE TABLE of_a_stranger (id int);\n", "DROP TABLE of_a_stranger;\n")
        check(db.migrate_own("up"), 0, "applied    0001_people")
        assert db.ask("SELECT to_regclass('of_a_stranger')") == [(None,)]
        assert db.ask("SELECT max(number) FROM schema_migrations") == [(newest,)]
        # the embedded files equal the checkout's byte for byte: otherwise the state would be "changed"
        status = [json.loads(line) for line in db.migrate("status", "--json").stdout.splitlines()]
        assert [s["state"] for s in status] == ["applied"] * newest + ["pending"], status
        check(db.migrate("up"), 0, f"applied    {stranger}")


def test_P5_a_failing_statement_leaves_nothing():
    with Database() as db:
        bad = db.next("bad", "CREATE TABLE half (id int);\nINSERT INTO half VALUES (1);\nSELECT 1/0;\n")
        check(db.migrate("up"), 1, f"{bad}.up.sql", "division by zero")
        assert db.ask("SELECT to_regclass('half')") == [(None,)]
        status = [json.loads(line) for line in db.migrate("status", "--json").stdout.splitlines()]
        assert status[-1]["state"] == "pending" and status[0]["state"] == "applied", status
        db.write(bad, "CREATE TABLE half (id int);\n", "DROP TABLE half;\n")
        check(db.migrate("up"), 0, f"applied    {bad}")


def test_P5_a_changed_file_is_refused():
    with Database() as db:
        check(db.migrate("up"), 0)
        with open(f"{db.folder}/0001_people.up.sql", "a") as f:
            f.write("-- a later thought\n")
        db.next("more", "CREATE TABLE more (id int);\n")
        check(db.migrate("up"), 1, "0001_people.up.sql was changed after it was applied")
        check(db.migrate("status"), 1, "changed    0001_people")
        assert db.ask("SELECT to_regclass('more')") == [(None,)]


def test_P5_gaps_doubles_strays_and_transactions_are_refused():
    with Database() as db:
        def spoil(name, text, want):
            path = f"{db.folder}/{name}"
            with open(path, "w") as f:
                f.write(text)
            check(db.migrate("up"), 1, want)
            os.unlink(path)

        after = db.last + 2
        spoil(f"{after:04d}_far.up.sql", "SELECT 1;", f"{db.last + 1:04d} is missing")
        spoil("0001_other.up.sql", "SELECT 1;", "0001 is there twice")
        spoil(f"{db.last + 1:04d}_half.up.sql", "SELECT 1;", "has no .down.sql file")
        spoil("first.sql", "SELECT 1;", "want NNNN_name.up.sql")
        spoil(f"{db.last + 1:04d}_own.up.sql", "SELECT 1;\nCOMMIT;\n", ":2: \"commit;\" in a migration")
        spoil(f"{db.last + 1:04d}_empty.up.sql", "", "is empty")
        assert db.ask("SELECT to_regclass('users')") == [(None,)]
        sneaky = db.next("sneaky", "CREATE TABLE sneaky (id int); COMMIT; BEGIN;\n")
        check(db.migrate("up"), 1, sneaky)


def test_P5_a_database_of_a_newer_version_is_refused():
    with Database() as db:
        check(db.migrate("up"), 0)
        newest = db.next("newest", "CREATE TABLE newest (id int);\n")
        check(db.migrate("up"), 0)
        for ending in ("up", "down"):
            os.unlink(f"{db.folder}/{newest}.{ending}.sql")
        check(db.migrate("up"), 78, f"the database has {newest}", "newer version")
        check(db.migrate("down"), 78, f"the database has {newest}")


def test_P5_a_file_slipped_in_below_applied_ones_is_refused():
    with Database() as db:
        check(db.migrate("up"), 0)
        connection = psycopg2.connect(db.url)
        connection.autocommit = True
        connection.cursor().execute("DELETE FROM schema_migrations WHERE number = 1")
        connection.close()
        check(db.migrate("up"), 1, "0001_people before it is not")


def test_two_at_once_apply_each_file_once():
    with Database() as db:
        slow = db.next("slow", "CREATE TABLE slow (id int);\nSELECT pg_sleep(0.5);\n", "DROP TABLE slow;\n")
        ended = []
        threads = [threading.Thread(target=lambda: ended.append(db.migrate("up"))) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for done in ended:
            assert done.returncode == 0, done.stderr
        assert sum(d.stdout.count(f"applied    {slow}") for d in ended) == 1
        assert db.ask("SELECT count(*) FROM schema_migrations") == [(db.last,)]


def test_usage_and_away_have_their_exit_codes():
    with Database() as db:
        check(db.migrate("sideways"), 2, "want: db migrate up")
        check(db.migrate("down", "0"), 2, "not \"0\"")
        check(db.migrate("up", url="postgresql://onboard@127.0.0.1:1/onboard"), 69)
        db.folder, kept = "/nonexistent", db.folder
        check(db.migrate("up"), 1, "cannot read the migrations' folder")
        db.folder = kept
