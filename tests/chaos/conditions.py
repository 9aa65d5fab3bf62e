# SPDX-License-Identifier: MIT
"""Scenarios that are more than one blow at one process: stores that answer pings and no calls, a
report that reads for long, a database that takes no writes, a clock that is wrong."""
import signal


# ---- stores that answer pings, and calls not ----

def locked(*tables, piled=()):
    """A bystander's transaction holds the tables. piled: consumers that find a pile of events then."""
    def harm(rig, random):
        for name in piled:
            rig.consumers[name].process.send_signal(signal.SIGSTOP)
        if piled:
            rig.wait(random.uniform(1, 2))
        bystander = rig.sql()
        bystander.ask("BEGIN")
        for table in tables:
            bystander.ask(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        for name in piled:
            rig.consumers[name].process.send_signal(signal.SIGCONT)
        return bystander.close
    return harm


def documents_locked(rig, _random):
    """FerretDB answers, and every call that touches a document of ours waits."""
    bystander = rig.docstore()
    tables = bystander.ask("SELECT collection_id FROM documentdb_api_catalog.collections"
                           f" WHERE database_name = '{rig.place.name}'")
    bystander.ask("BEGIN")
    for table in tables:
        bystander.ask(f"LOCK TABLE documentdb_data.documents_{table} IN ACCESS EXCLUSIVE MODE")
    return bystander.close


# ---- a Redis that refuses writes, or lets them wait ----

def redis(harm, mend):
    """Two commands that the server is given from outside."""
    def both(rig, _random):
        rig.redis(*harm)
        return lambda: rig.redis(*mend)
    return both


def redis_denied(*words):
    """The APIs' user lacks rights, and no onboard-cache mends in Redis what they cannot."""
    def harm(rig, _random):
        rig.consumer_end("cache", signal.SIGTERM)
        rig.redis("ACL", "SETUSER", rig.redis_name, *words)

        def mend():
            rig.redis("ACL", "SETUSER", rig.redis_name, "+@all")
            rig.consumer_start("cache")
        return mend
    return harm


def one_writes(harm):
    """Meanwhile one instance alone gets the changes: the other hears of them by Redis, or not at all."""
    def alone(rig, random):
        rig.pool.writers = [random.randrange(len(rig.apis))]
        mend = harm(rig, random)

        def both():
            mend()
            rig.pool.writers = None
        return both
    return alone


# ---- a report that reads for long ----

def day_drop(sql, table, days):
    """Tomorrow's partition, or today's, is missing, as after a restore or a clock that was wrong. Its rows
    go to the default one."""
    name = sql.ask(f"SELECT '{table}_' || to_char(now() AT TIME ZONE 'UTC' + interval '{days} day', 'YYYYMMDD')")[0]
    if sql.ask(f"SELECT to_regclass('{name}') IS NULL")[0] == "t":
        return
    sql.ask(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; ALTER TABLE {table} DETACH PARTITION {name};"
            f" INSERT INTO {table} SELECT * FROM {name}; DROP TABLE {name}; COMMIT")


def partitioned(sql):
    return sql.ask("SELECT partrelid::regclass FROM pg_partitioned_table ORDER BY 1")


def long_ago(table):
    return f"{table}_20200101"


def days_disturb(sql, tables, missing):
    for table in tables:
        sql.ask(f"CREATE TABLE IF NOT EXISTS {long_ago(table)} PARTITION OF {table}"
                " FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')")
        for days in missing:
            day_drop(sql, table, days)


def days_whole(rig, tables):
    """Every table has tomorrow's partition, and the one of long ago no more."""
    with rig.sql() as sql:
        return all(sql.ask(f"SELECT to_regclass('{long_ago(table)}') IS NULL AND to_regclass('{table}_' || "
                           "to_char(now() AT TIME ZONE 'UTC' + interval '1 day', 'YYYYMMDD')) IS NOT NULL")[0] == "t"
                   for table in tables)


def published(rig):
    """All that is unpublished now, once it is published: a question to ask later."""
    with rig.sql() as sql:
        batches = sql.ask("SELECT batch_id FROM outbox_unpublished")

    def all_gone():
        with rig.sql() as sql:
            return sql.number("SELECT count(*) FROM outbox_unpublished WHERE batch_id = ANY ('{"
                              + ",".join(batches) + "}')") == 0
    return all_gone


def long_reader(rig, random):
    """pg_dump, or a report, reads every partitioned table; some partitions are missing and one is due for
    dropping; then the machine restarts. Signups, the sweeper and the consumers must go on meanwhile."""
    with rig.sql() as sql:
        tables = partitioned(sql)
        days_disturb(sql, tables, random.choice(((), (1,), (0, 1))))
    reader = rig.sql()
    reader.ask("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    for table in tables:
        reader.ask(f"SELECT count(*) FROM {table}")
    rig.all_end(signal.SIGKILL)
    rig.all_start("signup_committed=fail@1")  # what the first transaction stores is left to the sweeper
    rig.expect(rig.ready, "ready while a report reads")
    before = rig.acknowledged()
    rig.expect(lambda: rig.acknowledged() > before, "a signup is acknowledged while a report reads", 10)
    rig.expect(published(rig), "what was left behind is published while a report reads")
    signups_flow(rig)

    def mend():
        reader.close()
        rig.checks.append((lambda: days_whole(rig, tables), "partitions are made and dropped"))
    return mend


def signups_flow(rig, seconds=5, least=0.5):
    """At least half of what the clients ask for."""
    before = rig.acknowledged()
    rig.wait(seconds)
    made = rig.acknowledged() - before
    if made < least * seconds * rig.rate:
        rig.fault(f"{made} signups in {seconds} s while a report reads, {rig.rate} a second are asked for")


# ---- a database that takes no writes ----

def read_only(on, off):
    """It answers pings, as a standby or a full disk does, and no write; the API must say so. Statements of the
    superuser that make it so, and that end it."""
    def harm(rig, _random):
        def tell(statements):
            rig.superuser(*(one.format(database=rig.place.name) for one in statements))

        tell(on)
        rig.expect(lambda: all(one.ask("/ready")[0] == 503 for one in rig.apis),
                   "/ready of a read-only database is 503", 20)
        return lambda: tell(off)
    return harm


SERVER_READ_ONLY = (("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"),
                    ("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"))
# Sessions keep what they began with: those that began meanwhile stay read-only.
SESSIONS_READ_ONLY = (("ALTER DATABASE {database} SET default_transaction_read_only = on",
                       "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"),
                      ("ALTER DATABASE {database} RESET default_transaction_read_only",))


# ---- a clock that is wrong ----

def clock_ahead(rig, random):
    """The API's clock is ahead and the broker away; the API is killed, and its clock is right again. One
    instance alone: nobody else publishes what it leaves."""
    ahead_ms = random.choice((2, 24)) * 3600 * 1000
    rig.api_end(signal.SIGTERM, 1)
    rig.api_end(signal.SIGTERM)
    rig.api_start(f"clock_wall=ahead:{ahead_ms}")
    before = rig.acknowledged()
    rig.expect(lambda: rig.acknowledged() > before, "a signup is acknowledged by a clock that is ahead", 20)
    rig.ctl("stop", "rabbitmq")
    before = rig.acknowledged()
    rig.expect(lambda: rig.acknowledged() > before + 20, "signups are acknowledged while the broker is away", 20)
    rig.api_end(signal.SIGKILL)
    rig.api_start()

    def mend():
        rig.ctl("start", "rabbitmq")
        rig.expect(published(rig), "what was made by a clock that was ahead is published")
        rig.api_start(number=1)
    return mend
