# SPDX-License-Identifier: MIT
"""What a test does to the servers of its stack."""
import contextlib
import os
import subprocess
import urllib.parse

from daemon import ROOT


def stack(*words):
    subprocess.run([f"{ROOT}/tools/stack", "--run", os.environ["ONBOARD_STACK_DIR"], *words],
                   check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120)


@contextlib.contextmanager
def stopped(server):
    stack("ctl", "stop", server)
    try:
        yield
    finally:
        stack("ctl", "start", server)


@contextlib.contextmanager
def read_only():
    """PostgreSQL refuses writes, also from sessions that are open already."""
    port = urllib.parse.urlsplit(os.environ["ONBOARD_POSTGRES_URL"]).port

    def say(change):
        stack("exec", "postgres", "/usr/lib/postgresql/18/bin/psql", "-XqtA", "-o", "/dev/null", "-h", "/run/data",
              "-p", str(port), "-U", "postgres", "-d", "postgres", "-c", f"ALTER SYSTEM {change}",
              "-c", "SELECT pg_reload_conf()")

    say("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        say("RESET default_transaction_read_only")


@contextlib.contextmanager
def alarm():
    """RabbitMQ raises its memory alarm: it accepts no messages."""
    def mark(share):
        stack("exec", "rabbitmq", "/usr/lib/rabbitmq/bin/rabbitmqctl", "-n", "onboard@localhost", "-q",
              "set_vm_memory_high_watermark", share)

    mark("0.00001")
    try:
        yield
    finally:
        mark("0.6")


@contextlib.contextmanager
def busy(url, queue):
    """The leader of the quorum queue does not answer. RabbitMQ then reports a depth of 0."""
    vhost = urllib.parse.unquote(urllib.parse.urlsplit(url).path[1:])
    find = f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>)), ' \
           "{Name, _} = amqqueue:get_pid(Q)"

    def tell(verb):
        stack("exec", "rabbitmq", "/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", "onboard@localhost", "eval",
              f"{find}, sys:{verb}(Name).")

    tell("suspend")
    try:
        yield
    finally:
        tell("resume")
