# SPDX-License-Identifier: MIT
"""The short form of `make chaos`, on the tests' own stack: a fixed seed, a few faults, the whole ledger."""
import os

import pytest
import campaign

pytestmark = pytest.mark.seconds(150)
FAULTS = (("api-kill", 0.5), ("postgres-freeze", 4), ("rabbitmq-stop", 1), ("postgres-reset", 0),
          ("rabbitmq-reset", 0), ("point-committed-kill", 2), ("eventlog-kill", 0.5), ("mongo-freeze", 3),
          ("cache-term", 0.5), ("redis-cut", 2), ("segments-kill", 0.5), ("redis-full", 2), ("redis-denies-eval", 2),
          ("postgres-counts-locked", 5), ("postgres-sessions-read-only", 1), ("long-reader", 0), ("clock-ahead", 0))
# What `make chaos LONG=1` does: an operator's bad day.
LONG_FAULTS = (*[("api-kill", 0.5)] * 20, ("rabbitmq-stop", 60), ("rabbitmq-freeze", 30), ("postgres-kill", 5),
               ("postgres-stop", 60), ("postgres-freeze", 30), ("mongo-stop", 60), ("redis-stop", 60), ("smtp-stop", 60),
               ("postgres-users-locked", 60), ("mongo-documents-locked", 60), ("redis-writes-paused", 60))


def test_nothing_is_lost_or_doubled(servers):
    rig = campaign.Rig(os.environ, os.environ["ONBOARD_STACK_DIR"])
    one = campaign.Campaign(rig, seed=1, clients=4, rate=60)
    try:
        one.start()
        for name, hold in LONG_FAULTS if os.environ.get("LONG") else FAULTS:
            one.once(name, hold)
        book = one.finish()
    finally:
        one.stop()
    print("\n".join(f"# {line}" for line in campaign.table(one, book).splitlines()))
    assert not book.faults and not one.trouble, (dict(book.faults), one.trouble)
    assert book.words["acknowledged"] > 200, book.words
    assert book.changes["acknowledged"] > 50, book.changes
