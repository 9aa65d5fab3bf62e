# SPDX-License-Identifier: MIT
"""The Makefile's own promises: nothing is built twice, wrong variants are named."""
import os
import re
import shutil
import tempfile
import time

from tree import ROOT, VARIANT, make


def test_a_second_build_does_nothing():
    make(f"V={VARIANT}", "all")
    done = make(f"V={VARIANT}", "all")
    assert done.returncode == 0 and "Nothing to be done" in done.stdout, done.stdout


def test_the_migrations_table_follows_the_files():
    """With a file added, changed, renamed or gone, `make` writes the table of onboardctl anew."""
    with tempfile.TemporaryDirectory(prefix="onboard-make-") as tree:
        for name in ("Makefile", "VERSION", "migrations", "tools", "src"):
            os.symlink(os.path.join(ROOT, name), os.path.join(tree, name))
        os.unlink(f"{tree}/migrations")
        shutil.copytree(f"{ROOT}/migrations", f"{tree}/migrations")
        table = "build/debug/gen/migrations.c"

        def names(folder="onboard"):
            done = make("-C", tree, table)
            assert done.returncode == 0, done.stdout
            with open(f"{tree}/{table}", encoding="utf-8") as f:
                rows = re.findall(r'^\{ "(\S+)", "(\S+)", ""$', f.read(), re.M)
            assert rows == sorted((f, name) for f in os.listdir(f"{tree}/migrations")
                                  for name in os.listdir(f"{tree}/migrations/{f}")), rows
            found = [name for f, name in rows if f == folder]
            with open(f"{tree}/build/debug/gen/version.h", encoding="utf-8") as f:
                assert f"#define ONBOARD_SCHEMA_{folder} {len(found) // 2}\n" in f.read()
            return found

        count = len(names())
        assert "is up to date" in make("-C", tree, table).stdout
        for ending in ("up", "down"):
            with open(f"{tree}/migrations/onboard/9999_last.{ending}.sql", "w", encoding="utf-8") as f:
                f.write("SELECT 1;\n")
        assert len(names()) == count + 2
        for ending in ("up", "down"):
            os.rename(f"{tree}/migrations/onboard/9999_last.{ending}.sql", f"{tree}/migrations/onboard/9998_last.{ending}.sql")
        assert names()[-1] == "9998_last.up.sql"
        for ending in ("up", "down"):
            os.unlink(f"{tree}/migrations/onboard/9998_last.{ending}.sql")
        with open(f"{tree}/migrations/onboard/0001_people.up.sql", "a", encoding="utf-8") as f:
            f.write("-- é?\n")
        os.utime(f.name, (time.time() + 5,) * 2)
        assert len(names()) == count
        with open(f"{tree}/{table}", encoding="utf-8") as f:
            assert "\\303\\251\\077\\012" in f.read()
        os.mkdir(f"{tree}/migrations/second")  # another database, with numbers of its own
        for ending in ("up", "down"):
            with open(f"{tree}/migrations/second/0001_people.{ending}.sql", "w", encoding="utf-8") as f:
                f.write("SELECT 1;\n")
        assert len(names("second")) == 2 and len(names()) == count


def test_each_folder_of_migrations_is_a_database_that_the_programs_know():
    with open(f"{ROOT}/src/common/model/databases.c", encoding="utf-8") as f:
        rows = re.findall(r'^\t\{ "(\w+)", ', f.read(), re.M)
    assert rows and sorted(rows) == sorted(os.listdir(f"{ROOT}/migrations")), rows


def test_a_variant_that_does_not_exist_is_named():
    done = make("V=fast")
    assert done.returncode != 0 and "want debug, release, asan, tsan, cov or fuzz" in done.stdout, done.stdout


def test_missing_packages_are_named_with_the_way_out():
    done = make("all", "PKGS=libpq no-such-library")
    assert done.returncode != 0, done.stdout
    assert "missing packages: no-such-library" in done.stdout and "tools/setup build" in done.stdout, done.stdout


def test_every_target_asks_set_up_for_groups_that_there_are():
    def read(name):
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            return f.read()

    asked = set(" ".join(re.findall(r"^\t@?\$\(SETUP\)((?: [a-z]+)+)$", read("Makefile"), re.M)).split())
    there = set(re.findall(r"^([a-z]+) {2,}\S", read("tools/setup").split("'")[1], re.M))
    assert len(asked) > 4 and asked <= there, asked - there
