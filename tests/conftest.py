# SPDX-License-Identifier: MIT
"""What every test run shares: its options, a stack of servers for each worker, C programs as tests, and
the sum at the end.

A worker starts its stack (.run/test/RUN-WORKER) when its first test asks for servers. No other worker uses
it, so a test may stop, freeze or fill a server. The files of one worker run one after the other; each
makes its own database, virtual host and Redis number there (tests/lib/servers.py)."""
import os
import shutil
import signal
import subprocess

import programs
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUNS = os.path.join(ROOT, ".run/test")
SERVERS = ("integration", "fault", "systemd", "web", "prog")  # folders of tests that need servers
BUILD = os.environ.setdefault("ONBOARD_BUILD", "build/debug")
# own: a stack for each worker; given: the environment (.run/env) names the servers; none: no test may ask for any
MODE = os.environ.setdefault("ONBOARD_TEST_SERVERS", "own")
VALGRIND = bool(os.environ.get("ONBOARD_TEST_VALGRIND"))
REDIS_NUMBER = 9  # the Redis database of the file that a worker runs
STACK = pytest.StashKey()
OURS = ("ONBOARD_BUILD", "ONBOARD_TEST_SERVERS", "ONBOARD_TEST_VALGRIND")


def is_worker(config):
    return hasattr(config, "workerinput")


def runs_stacks(config):
    """Whether this process cleans up after the workers' stacks."""
    return not is_worker(config) and MODE == "own"


def pytest_configure(config):
    os.chdir(ROOT)
    # a shell's background jobs ignore SIGINT, and everything that the tests start would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if MODE != "given":
        for name in [n for n in os.environ if n.startswith("ONBOARD_") and n not in OURS]:
            del os.environ[name]  # a test sees only what it sets itself
    os.environ |= {"CMOCKA_MESSAGE_OUTPUT": "TAP", "LC_ALL": "C.UTF-8",
                   "ASAN_OPTIONS": "detect_leaks=1", "PYTHONDONTWRITEBYTECODE": "1",
                   "TSAN_OPTIONS": f"halt_on_error=1 suppressions={ROOT}/tests/lib/tsan.supp"}
    if runs_stacks(config):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        os.environ["TEST_RUN"] = str(os.getpid())
        for run in {name.split("-")[0] for name in stacks()}:
            if not os.path.exists(f"/proc/{run}"):  # a run that was killed
                stacks_end(run)
    config.stash[STACK] = Stack(config)
    config.stash[programs.SERVERS] = config.stash[STACK].environment


def pytest_ignore_collect(collection_path):
    """Under valgrind, C programs alone."""
    return True if VALGRIND and collection_path.suffix == ".py" and collection_path.name.startswith("test_") else None


def pytest_collect_file(file_path, parent):
    return programs.collect(file_path, parent, BUILD, VALGRIND)


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left with one at the end."""
    def seconds(item):
        mark = item.get_closest_marker("seconds")
        return mark.args[0] if mark else 10 if item.path.parent.name in SERVERS else 1
    items.sort(key=seconds, reverse=True)  # stable: the order within a file stays


class Stack:
    """This worker's servers, started at first use. The run's main process stops them (stacks_end)."""

    def __init__(self, config):
        self.name = f"{os.environ.get('TEST_RUN')}-{config.workerinput['workerid'] if is_worker(config) else 'main'}"
        self.env = None

    def environment(self):
        if MODE == "own" and self.env is None:
            self.env = {}
            self.start()
        if MODE == "none" or self.env == {}:
            pytest.fail("this worker has no servers")
        os.environ |= self.env or {}
        return os.environ

    def start(self):
        folder = os.path.join(RUNS, self.name)
        for verb in ("reset", "up"):
            subprocess.run([f"{ROOT}/tools/stack", "--run", folder, verb], stdin=subprocess.DEVNULL, check=True,
                           stdout=subprocess.DEVNULL)
        out = subprocess.run(["env", "-i", "sh", "-c", '. "$1/env" && env -0', "sh", folder], stdout=subprocess.PIPE,
                             check=True).stdout
        pairs = (pair.split("=", 1) for pair in out.decode().split("\0") if pair)
        self.env = {k: v for k, v in pairs if k.startswith("ONBOARD_")}
        # a test's use of onboardctl does not belong in the machine's own audit log
        self.env["ONBOARD_CTL_AUDIT_LOG"] = f"{folder}/audit.log"

    def hide(self):
        """Removes the servers from the environment, for tests without servers."""
        for name in self.env or {}:
            os.environ.pop(name, None)

    def show(self):
        """Puts them back: a session's fixture is not asked again after a test without servers."""
        os.environ |= self.env or {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    stack = item.config.stash[STACK]
    if item.path.parent.name in SERVERS:
        stack.show()
    else:
        stack.hide()


def stacks():
    """RUN-WORKER of each stack."""
    return [name for name in sorted(os.listdir(RUNS)) if "-" in name] if os.path.isdir(RUNS) else []


def stacks_end(run):
    for name in stacks():
        if name.startswith(f"{run}-"):
            subprocess.run([f"{ROOT}/tools/stack", "--run", f"{RUNS}/{name}", "reset"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, check=False)
            shutil.rmtree(f"{RUNS}/{name}", ignore_errors=True)


@pytest.fixture(scope="session")
def servers(request):
    """The servers of this worker: their addresses stand in os.environ from now on."""
    return request.config.stash[programs.SERVERS]()


def of_module(request):
    """A name for a test file's own database, virtual host and so on."""
    return f"{request.path.stem.removeprefix('test_')}_{os.getpid()}"


@pytest.fixture(scope="module")
def pipe(request, servers):
    """Empty stores and queues of this test file's own, for consumers (tests/lib/pipeline.py)."""
    from pipeline import Pipeline
    with Pipeline(of_module(request), REDIS_NUMBER) as it:
        yield it


@pytest.fixture(scope="module")
def world(request, servers):
    """Empty stores and queues of this test file's own, for onboard-api (tests/lib/api.py)."""
    from api import World
    with World(of_module(request), REDIS_NUMBER) as it:
        yield it


@pytest.fixture(scope="module")
def api(world):
    """A running onboard-api that is ready, for tests that do it no harm."""
    return world.shared()


@pytest.fixture(scope="module")
def management(servers):
    """RabbitMQ's management API."""
    from rabbit import Management
    return Management()


@pytest.fixture
def vhost(servers):
    """An empty virtual host of this test's own."""
    from rabbit import Vhost
    with Vhost() as it:
        yield it


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    if is_worker(config):
        return
    if runs_stacks(config):
        stacks_end(os.getpid())
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter and not config.option.collectonly:
        count = {word: len(reporter.stats.get(word, ())) for word in ("passed", "failed", "error", "skipped")}
        skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
        print(f"{count['passed']} passed, {count['failed'] + count['error']} failed{skipped}", flush=True)
