# SPDX-License-Identifier: MIT
"""What is done to the API and its servers. Each scenario is a function of the rig and of a number
generator; it returns what mends it, after `hold` seconds."""
import signal

import conditions

CONSUMERS = ("eventlog", "cache", "segments", "mailer", "analytics")
HOLD = (1.0, 6.0)   # seconds that a fault lasts
TRIED_OUT = (16.0, 20.0)  # an event that were tried again meanwhile would be dead
HOLDS = {  # those that last otherwise
    "postgres-users-locked": TRIED_OUT,
    "postgres-counts-locked": TRIED_OUT,
    "mongo-documents-locked": TRIED_OUT,
    "redis-writes-paused": TRIED_OUT,
    **dict.fromkeys(("redis-full", "redis-denies-write", "redis-denies-eval", "redis-denies-publish", "redis-denies-del"),
                    (4.0, 8.0)),
    # these wait for things themselves
    "long-reader": (0.0, 1.0),
    "postgres-read-only": (1.0, 3.0),
    "postgres-sessions-read-only": (1.0, 3.0),
    "clock-ahead": (0.0, 1.0),
}


def nothing():
    pass


def api(how):
    def harm(rig, _random):
        rig.api_end(how)
        return rig.api_start
    return harm


def consumer(name, how):
    def harm(rig, _random):
        rig.consumer_end(name, how)
        return lambda: rig.consumer_start(name)
    return harm


def server(name, action):
    def harm(rig, _random):
        rig.ctl(action, name)
        return lambda: rig.ctl("thaw" if action == "freeze" else "start", name)
    return harm


def reset(name):
    """Every connection ends by RST, a few times."""
    def harm(rig, random):
        for _ in range(random.randint(1, 4)):
            rig.proxies[name].reset()
            rig.wait(random.uniform(0.05, 0.6))
        return nothing
    return harm


def stall(name, cut):
    """Nothing flows; then it flows on (a slow cable) or what was on its way is gone (a cut one)."""
    def harm(rig, _random):
        rig.proxies[name].stall()

        def mend():
            if cut:
                rig.proxies[name].reset()
            rig.proxies[name].flow()
        return mend
    return harm


def refuse(name):
    def harm(rig, _random):
        rig.proxies[name].close()
        return rig.proxies[name].open
    return harm


def point(name, action, most, who="api"):
    """A daemon runs with a fault point for a while; where that kills it, it stays dead until mended."""
    def harm(rig, random):
        def again(points=""):
            if who == "api":
                rig.api_end(signal.SIGTERM)
                rig.api_start(points)
            else:
                rig.consumer_end(who, signal.SIGTERM)
                rig.consumer_start(who, points)

        again(f"{name}={action}@{random.randint(1, most)}" + ("" if action in ("kill", "abort") else "+"))
        return again
    return harm


def both(outer, inner):
    """The second fault comes and goes while the first lasts."""
    def harm(rig, random):
        mend_outer = outer(rig, random)
        rig.wait(random.uniform(0.3, 2))
        mend_inner = inner(rig, random)
        rig.wait(random.uniform(0.3, 2))
        mend_inner()
        return mend_outer
    return harm


SCENARIOS = {
    "api-kill": api(signal.SIGKILL),
    "api-term": api(signal.SIGTERM),
    "postgres-stop": server("postgres", "stop"),
    "postgres-freeze": server("postgres", "freeze"),
    "postgres-kill": server("postgres", "kill"),
    "postgres-reset": reset("postgres"),
    "postgres-stall": stall("postgres", cut=False),
    "postgres-cut": stall("postgres", cut=True),
    "postgres-refuse": refuse("postgres"),
    "rabbitmq-stop": server("rabbitmq", "stop"),
    "rabbitmq-freeze": server("rabbitmq", "freeze"),
    "rabbitmq-kill": server("rabbitmq", "kill"),
    "rabbitmq-reset": reset("rabbitmq"),
    "rabbitmq-stall": stall("rabbitmq", cut=False),
    "rabbitmq-cut": stall("rabbitmq", cut=True),
    "redis-stop": server("redis", "stop"),
    "redis-freeze": server("redis", "freeze"),
    "redis-reset": reset("redis"),
    "redis-cut": stall("redis", cut=True),
    "mongo-stop": server("mongo", "stop"),
    "mongo-freeze": server("mongo", "freeze"),
    "mongo-engine-stop": server("docstore", "stop"),
    "mongo-reset": reset("mongo"),
    "mongo-cut": stall("mongo", cut=True),
    **{f"{name}-{word}": consumer(name, how) for name in CONSUMERS
       for word, how in (("kill", signal.SIGKILL), ("term", signal.SIGTERM))},
    "mongo-away-eventlog-kill": both(stall("mongo", cut=True), consumer("eventlog", signal.SIGKILL)),
    "mongo-away-eventlog-term": both(server("mongo", "freeze"), consumer("eventlog", signal.SIGTERM)),
    "redis-away-segments-kill": both(stall("redis", cut=True), consumer("segments", signal.SIGKILL)),
    "redis-away-cache-kill": both(stall("redis", cut=True), consumer("cache", signal.SIGKILL)),
    "postgres-cut-analytics-kill": both(stall("postgres", cut=True), consumer("analytics", signal.SIGKILL)),
    "broker-away-api-kill": both(server("rabbitmq", "stop"), api(signal.SIGKILL)),
    "broker-stall-api-term": both(stall("rabbitmq", cut=True), api(signal.SIGTERM)),
    "postgres-stall-api-kill": both(stall("postgres", cut=False), api(signal.SIGKILL)),
    "point-committed-kill": point("signup_committed", "kill", 60),
    "point-committed-fail": point("signup_committed", "fail", 60),
    "point-confirmed-kill": point("publisher_confirmed", "kill", 60),
    "point-confirmed-fail": point("publisher_confirmed", "fail", 60),
    "point-forget-kill": point("outbox_forget", "kill", 10),
    "point-forget-fail": point("outbox_forget", "fail", 10),
    "point-answered-kill": point("mailer_answered", "kill", 60, "mailer"),
    "smtp-stop": server("mail", "stop"),
    "smtp-freeze": server("mail", "freeze"),
    "postgres-users-locked": conditions.locked("users", piled=("cache",)),
    "postgres-counts-locked": conditions.locked("event_counts", "mail_log"),
    "postgres-read-only": conditions.read_only(*conditions.SERVER_READ_ONLY),
    "postgres-sessions-read-only": conditions.read_only(*conditions.SESSIONS_READ_ONLY),
    "mongo-documents-locked": conditions.documents_locked,
    "redis-writes-paused": conditions.redis(("CLIENT", "PAUSE", "120000", "WRITE"), ("CLIENT", "UNPAUSE")),
    "redis-full": conditions.one_writes(conditions.redis(
        ("CONFIG", "SET", "maxmemory", "1mb"), ("CONFIG", "SET", "maxmemory", "0"))),
    **{f"redis-denies-{word}": conditions.one_writes(conditions.redis_denied(*rights)) for word, rights in (
        ("write", ("-@write",)), ("eval", ("-eval", "-evalsha")), ("publish", ("-publish",)), ("del", ("-del",)))},
    "long-reader": conditions.long_reader,
    "clock-ahead": conditions.clock_ahead,
    "postgres-cut-mailer-kill": both(stall("postgres", cut=True), consumer("mailer", signal.SIGKILL)),
}
