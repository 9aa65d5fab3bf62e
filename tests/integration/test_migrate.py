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
from wait import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ONBOARD_BUILD", "build/debug")
CTL = os.path.join(ROOT, BUILD, "bin/onboardctl")

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


def test_a_migration_that_waits_for_a_table_lets_other_queries_pass():
    with Database() as db:
        check(db.migrate("up"), 0)
        busy = db.next("busy", "ALTER TABLE users ADD COLUMN busy int;\n", "ALTER TABLE users DROP COLUMN busy;\n")
        holder, other = psycopg2.connect(db.url), psycopg2.connect(db.url)
        holder.cursor().execute("SELECT count(*) FROM users")  # reads, and keeps its transaction open
        ended = []
        thread = threading.Thread(target=lambda: ended.append(db.migrate("up")))
        thread.start()
        wait_until(lambda: db.ask("SELECT 1 FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted"), 20,
                   "the migration waits for the table")
        cursor = other.cursor()
        cursor.execute("SET statement_timeout = '20s'")
        cursor.execute("SELECT count(*) FROM users")  # queues behind the migration
        other.rollback()
        assert not ended, "the reader still holds the table"
        holder.rollback()
        thread.join()
        check(ended[0], 0, f"applied    {busy}", f"{busy} waits for a table that another session has locked")
        holder.close()
        other.close()


def test_a_migration_gives_up_when_a_table_stays_locked():
    with Database() as db:
        check(db.migrate("up"), 0)
        busy = db.next("busy", "CREATE TABLE first (id int);\nALTER TABLE users ADD COLUMN busy int;\n")
        holder = psycopg2.connect(db.url)
        holder.cursor().execute("SELECT count(*) FROM users")
        check(db.migrate("up", "--lock-wait", "0"), 69, f"{busy}.up.sql", "has held the lock of a table", "nothing is changed")
        assert db.ask("SELECT to_regclass('first'), (SELECT max(number) FROM schema_migrations)") == [(None, db.last - 1)]
        holder.close()
        check(db.migrate("up", "--lock-wait", "0"), 0, f"applied    {busy}")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """onboardctl of a copy of the tree that has one more database: a folder, a key, and a row."""
    tree = tmp_path_factory.mktemp("two")
    for name in ("Makefile", "VERSION", "tools"):
        os.symlink(f"{ROOT}/{name}", tree / name)
    for name in ("src", "migrations", BUILD):
        (tree / name).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", f"{ROOT}/{name}", tree / name], check=True)
    (tree / "migrations/second").mkdir()
    (tree / "migrations/second/0001_orders.up.sql").write_text("CREATE TABLE orders (id int);\n")
    (tree / "migrations/second/0001_orders.down.sql").write_text("DROP TABLE orders;\n")

    def put(name, before, lines):
        text = (tree / name).read_text()
        assert text.count(before) == 1, name
        (tree / name).write_text(text.replace(before, lines + before))

    put("src/common/model/databases.c", "\t{ 0 },\n",
        '\t{ "second", "second", "postgres_url", "schema_migrations_second", ONBOARD_SCHEMA_second },\n')
    put("src/common/base/conf_keys.c", '\t{ "rabbitmq", "url"',
        '\t{ "second", "postgres_url", CONF_URL_POSTGRES, "", .choices = "postgres.url",\n'
        '\t\t.help = "Where the second is.", .flags = CONF_SECRET | CONF_FALLBACK },\n')
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "V")}
    done = subprocess.run(["make", f"V={os.path.basename(BUILD)}", f"{BUILD}/bin/onboardctl"], cwd=tree, env=env, text=True,
                          timeout=300, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-2000:]
    return tree / BUILD / "bin/onboardctl"


def test_each_database_has_its_own_folder_and_its_own_memory(two):
    with Database() as db, Database() as far:
        def migrate(*words, **env):
            return subprocess.run([two, "db", "migrate", *words], text=True, timeout=60, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=os.environ | {"ONBOARD_POSTGRES_URL": db.url} | env)

        # the second's URL is unset, so both are one and the same on the server
        check(migrate("up"), 0, "applied    onboard/0001_people", "applied    second/0001_orders")
        assert db.ask("SELECT max(number) FROM schema_migrations") == [(db.last,)]
        assert db.ask("SELECT number, name FROM schema_migrations_second") == [(1, "0001_orders")]
        check(migrate("up"), 0, "onboard: nothing to apply", "second: nothing to apply")
        status = [json.loads(line) for line in migrate("status", "--json").stdout.splitlines()]
        assert [s["database"] for s in status] == ["onboard"] * db.last + ["second"], status
        # a step back and a folder are about one database: which one has to be said
        check(migrate("down"), 2, "name it with --database")
        check(migrate("up", "--dir", db.folder), 2, "name it with --database")
        check(migrate("up", "--database", "third"), 2, 'there is no database "third"')
        check(migrate("down", "--database", "second"), 0, "taken back 0001_orders")
        assert db.ask("SELECT to_regclass('orders'), to_regclass('users') IS NOT NULL") == [(None, True)]
        check(migrate("status"), 0, "pending    second/0001_orders", "second: 1 to apply")
        # what is chosen alone looks as it does where there is but one
        one = migrate("status", "--database", "onboard", "--json").stdout
        assert one == db.migrate("status", "--json").stdout and one
        # a database of its own; one that is away keeps the other from nothing
        check(migrate("up", ONBOARD_SECOND_POSTGRES_URL=far.url), 0, "applied    second/0001_orders")
        assert far.ask("SELECT to_regclass('orders') IS NOT NULL, to_regclass('users')") == [(True, None)]
        check(migrate("down", "--database", "second", ONBOARD_SECOND_POSTGRES_URL=far.url), 0)
        away = migrate("up", ONBOARD_POSTGRES_URL="postgresql://onboard@127.0.0.1:1/onboard",
                       ONBOARD_SECOND_POSTGRES_URL=far.url)
        check(away, 69, "onboard: ", "applied    second/0001_orders")


def test_usage_and_away_have_their_exit_codes():
    with Database() as db:
        check(db.migrate("sideways"), 2, "want: db migrate up")
        check(db.migrate("down", "0"), 2, "not \"0\"")
        check(db.migrate("up", "--lock-wait", "soon"), 2, "not \"soon\"")
        check(db.migrate("up", url="postgresql://onboard@127.0.0.1:1/onboard"), 69)
        db.folder, kept = "/nonexistent", db.folder
        check(db.migrate("up"), 1, "cannot read the migrations' folder")
        db.folder = kept
