# SPDX-License-Identifier: MIT
"""onboard-mailer killed, ended, and with its servers going and coming under load: each user has exactly
one mail, or is unknown, and nothing lies in the DLQ."""
import os
import time

import mailing
import pytest
import smtp
from mailing import QUEUE, SECONDS, address, created, dead, ended, mailer, rows
from pipeline import Load, metric
from proxy import behind
from wait import wait_until

pytestmark = pytest.mark.seconds(130)

# make chaos LONG=1: the long form
AWAY_S, KILLS, TERMS, RESETS = (60, 20, 20, 100) if os.environ.get("LONG") else (5, 3, 3, 10)


@pytest.fixture(scope="module", autouse=True)
def here(pipe):
    with mailing.place(pipe):
        yield


def each_has_one(server, load, daemon, seconds=180):
    load.stop()
    wait_until(lambda: mailing.PIPE.depth(QUEUE) == 0 and metric(daemon, "onboard_consumer_held") == 0, seconds, "all settled")
    retries = [f"{QUEUE}.retry.{n}" for n in (1, 2, 3)]
    wait_until(lambda: not any(mailing.PIPE.depth(q) for q in retries), seconds, "no retry waits")
    wait_until(lambda: mailing.PIPE.depth(QUEUE) == 0 and metric(daemon, "onboard_consumer_held") == 0, seconds, "all settled")
    assert mailing.PIPE.depth("user.dlq") == 0, dead()
    got = {}
    for m in server.mails:
        got[m.to] = got.get(m.to, 0) + 1
    states = dict(rows("SELECT user_id, state FROM mail_log"))
    unknown = 0
    for e in load.sent:
        mails, said = got.get(address(e), 0), states.get(e["payload"]["user_id"])
        assert (mails == 1 and said == "sent") or (mails <= 1 and said == "unknown"), (mails, said)
        unknown += said == "unknown"
    print(f"# {len(load.sent)} users, {unknown} unknown")
    return unknown


def make(_n):
    return created()


def test_killed_under_load():
    with smtp.Server() as server, Load(mailing.PIPE, make, 200) as load:
        for _ in range(KILLS):
            with mailer(server) as daemon:
                daemon.wait_ready()
                wait_until(lambda d=daemon: metric(d, "onboard_mails_total", result="sent") > 50, 20, "it works")
                daemon.process.kill()
                daemon.process.wait()
        with mailer(server) as daemon:
            daemon.wait_ready()
            assert each_has_one(server, load, daemon) <= KILLS * 8
            ended(daemon)


def test_sigterm_under_load():
    with smtp.Server() as server, Load(mailing.PIPE, make, 200) as load:
        for _ in range(TERMS):
            with mailer(server) as daemon:
                daemon.wait_ready()
                wait_until(lambda d=daemon: metric(d, "onboard_mails_total", result="sent") > 50, 20, "it works")
                ended(daemon)
        with mailer(server) as daemon:
            daemon.wait_ready()
            assert each_has_one(server, load, daemon) == 0
            ended(daemon)


def test_mail_server_stopped_under_load():
    with smtp.Server() as server, mailer(server) as daemon:
        daemon.wait_ready()
        with Load(mailing.PIPE, make, 200) as load:
            wait_until(lambda: len(server.mails) > 100, 20, "it works")
            server.stop()
            daemon.wait_status("/ready", 503, SECONDS)
            time.sleep(AWAY_S)
            server.start()
            daemon.wait_status("/ready", 200, 15)
            wait_until(lambda n=len(server.mails): len(server.mails) > n + 100, 20, "it works again")
            each_has_one(server, load, daemon)
        ended(daemon)


def through_proxy(variable, harm):
    """Under load, with a proxy before that server; harm(proxy, server, daemon)."""
    with behind(mailing.PIPE.env[variable]) as (proxy, way), smtp.Server() as server, mailer(server, **{variable: way}) as daemon:
        daemon.wait_ready()
        with Load(mailing.PIPE, make, 200) as load:
            wait_until(lambda: len(server.mails) > 100, 20, "it works")
            harm(proxy, server, daemon)
            daemon.wait_status("/ready", 200, 15)
            wait_until(lambda n=len(server.mails): len(server.mails) > n + 50, 20, "it works again")
            unknown = each_has_one(server, load, daemon)
        ended(daemon)
        return unknown


def test_log_away_under_load():
    """What the mail server answered meanwhile is kept and written later: nothing is unknown."""
    def harm(proxy, _server, daemon):
        for away, back in ((proxy.close, proxy.open), (proxy.stall, proxy.flow)):
            away()
            wait_until(lambda: metric(daemon, "onboard_consumer_away") == 1, SECONDS, "away")
            time.sleep(2)
            back()
            daemon.wait_status("/ready", 200, 15)
        for _ in range(10):
            time.sleep(0.2)
            proxy.reset()
    assert through_proxy("ONBOARD_POSTGRES_URL", harm) == 0


def test_broker_connection_reset():
    def harm(proxy, _server, daemon):
        for n in range(RESETS):
            wait_until(proxy.connections, SECONDS, "connected")
            done = metric(daemon, "onboard_consumer_deliveries_total")
            proxy.reset()
            wait_until(lambda d=done: metric(daemon, "onboard_consumer_deliveries_total") > d, SECONDS, f"goes on after reset {n}")
    assert through_proxy("ONBOARD_RABBITMQ_URL", harm) == 0
