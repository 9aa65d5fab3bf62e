# SPDX-License-Identifier: MIT
"""A campaign: steady signups and changes, one fault after another with recovery between, and the ledger."""
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import chains
import daemon
import faults
import load
import servers
import stores
from proxy import Proxy
from wait import wait_until

PREFETCH = 200      # of each consumer: a few seconds of the load
ENDING = 10         # deliveries beyond it, which a consumer that ends gets one by one to see whether more come
STOP_SECONDS = 15   # from SIGTERM to the end
CTL = os.path.join(servers.ROOT, "tools/stack")
BACK_SECONDS, SETTLE_SECONDS = 40, 60
RESULT = os.path.join(servers.ROOT, "build/chaos/ledger.json")


def say(text):
    print(f"chaos: {text}", file=sys.stderr, flush=True)


# A port that was free when it was chosen and is a client's by now: the daemon is started again.
PORT_TAKEN = "is taken by another process"
# In a daemon's log: a sanitizer's report, a must() that does not hold.
REPORT = re.compile(r"ERROR: (?:Address|Leak)Sanitizer.*|WARNING: ThreadSanitizer.*|FATAL: ThreadSanitizer.*"
                    r"|.*runtime error: .*|bug: .*")
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1",
              "UBSAN_OPTIONS": "print_stacktrace=1",
              "TSAN_OPTIONS": f"halt_on_error=0 suppressions={servers.ROOT}/tests/lib/tsan.supp"}


def reports(log):
    """What a daemon's log says of its own bugs, each once."""
    return list(dict.fromkeys(REPORT.findall(log)))


class Rig:
    """Two instances of the API and the consumers, behind proxies, on a place of their own. Daemons must be
    started by the main thread: they die with the thread that started them."""

    def __init__(self, env, folder):
        self.folder = folder
        self.logs = os.path.dirname(RESULT)
        self.place = servers.Place(env, "chaos", 14)
        self.proxies, self.urls = {}, {}
        for name in ("postgres", "rabbitmq", "mongo", "redis"):
            url = urlsplit(getattr(self.place, name))
            self.proxies[name] = Proxy(url.hostname, url.port)
            user = "".join(url.netloc.rpartition("@")[:2])
            self.urls[name] = url._replace(netloc=f"{user}127.0.0.1:{self.proxies[name].port}").geturl()
        self.ports, self.apis, self.ended = [daemon.free_port(), daemon.free_port()], [None, None], []
        self.consumers = {}
        self.mail = {name: env[name] for name in ("ONBOARD_SMTP_URL", "ONBOARD_MAIL_DIR")}
        self.wait, self.doing = time.sleep, "start"
        self.acknowledged = lambda: 0   # signups by now, of the campaign's load
        self.rate, self.pool = 0, None  # signups a second that it asks for; the users that it changes
        self.checks = []                # (what must be so within BACK_SECONDS of the mending, its description)
        self.redis_name = "chaos-api"
        self.redis_user()

    @property
    def api(self):
        return self.apis[0]

    def redis_user(self):
        """The APIs have a user of their own, whose rights a fault can take away. Redis forgets it when it stops."""
        url = urlsplit(self.place.redis)
        with servers.Redis(self.place.redis) as kv:
            kv.ask("ACL", "SETUSER", self.redis_name, "reset", "on", f">{self.redis_name}", "~*", "&*", "+@all")
        self.api_redis = url._replace(
            netloc=f"{self.redis_name}:{self.redis_name}@127.0.0.1:{self.proxies['redis'].port}").geturl()

    def migrate(self):
        subprocess.run([os.path.join(daemon.BUILD, "bin/onboardctl"), "db", "migrate", "up"], check=True,
                       cwd=servers.ROOT, env=os.environ | SANITIZERS | {"ONBOARD_POSTGRES_URL": self.place.postgres},
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def ctl(self, action, name):
        subprocess.run([CTL, "--run", self.folder, "ctl", action, name], check=True, timeout=120,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if (action, name) == ("start", "redis"):
            self.redis_user()

    def sql(self):
        """A session of a bystander, past the proxy."""
        return servers.Sql(self.place.postgres)

    def redis(self, *words):
        with servers.Redis(self.place.redis) as kv:
            kv.ask(*words)

    def superuser(self, *statements):
        """PostgreSQL's own superuser, for settings of the server."""
        with open(os.path.join(self.folder, "ports"), encoding="ascii") as f:
            port = json.load(f)["ports"]["postgres"]
        words = [word for one in statements for word in ("-c", one)]
        subprocess.run([CTL, "--run", self.folder, "exec", "postgres", "/usr/lib/postgresql/18/bin/psql", "-XqtA", "-o",
                        "/dev/null", "-h", "/run/data", "-p", str(port), "-U", "postgres", "-d", "postgres", *words],
                       check=True, timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def docstore(self):
        """A session of the database behind FerretDB."""
        with open(os.path.join(self.folder, "data/mongo/postgresql-url"), encoding="ascii") as f:
            return servers.Sql(f.read().strip())

    def _start(self, program, more):
        return daemon.Daemon(
            shutil.which("setpriv"), "--pdeathsig", "KILL", os.path.join(daemon.BUILD, f"bin/{program}"),
            env={"ONBOARD_POSTGRES_URL": self.urls["postgres"], "ONBOARD_RABBITMQ_URL": self.urls["rabbitmq"],
                 "ONBOARD_REDIS_URL": self.urls["redis"], "ONBOARD_MONGO_URL": self.urls["mongo"],
                 "ONBOARD_LOG_LEVEL": "warn"} | SANITIZERS | more)

    def api_start(self, points="", number=0):
        self.apis[number] = self._start("onboard-api", {
            "ONBOARD_API_LISTEN": f"127.0.0.1:{self.ports[number]}", "ONBOARD_REDIS_URL": self.api_redis,
            "ONBOARD_FAULTS": points})
        self.apis[number].points = points

    def api_end(self, how, number=0):
        self._end(self.apis[number], "api" if number == 0 else f"api-{number + 1}", how)

    def consumer_start(self, name, points=""):
        self.consumers[name] = self._start(f"onboard-{name}", {
            "ONBOARD_SMTP_URL": self.mail["ONBOARD_SMTP_URL"], "ONBOARD_MAIL_RATE": "0", "ONBOARD_FAULTS": points,
            "ONBOARD_CONSUMER_PREFETCH": str(PREFETCH)})
        self.consumers[name].points = points

    def consumer_end(self, name, how):
        self._end(self.consumers[name], name, how)

    def all_end(self, how):
        for number in range(len(self.apis)):
            self.api_end(how, number)
        for name in self.consumers:
            self.consumer_end(name, how)

    def all_start(self, points=""):
        for number in range(len(self.apis)):
            self.api_start(points, number)
        for name in self.consumers:
            self.consumer_start(name)

    def fault(self, text):
        self.ended.append(f"{self.doing}: {text}")
        say(self.ended[-1])

    def expect(self, what, description, seconds=BACK_SECONDS):
        """Now, while the fault lasts."""
        try:
            wait_until(what, seconds, description)
        except AssertionError as why:
            self.fault(str(why))

    def _end(self, one, who, how):
        """By this signal. What does not end in time is killed; that, an end of its own and what a sanitizer
        said are faults."""
        process, log = one.process, one.log()
        may_die = re.search("kill|abort", one.points)  # at a fault point, also while it drains
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(STOP_SECONDS)
                if how == signal.SIGTERM and process.returncode != 0 and not may_die:
                    self.fault(f"{who} ended with {process.returncode} after SIGTERM")
            except subprocess.TimeoutExpired:
                self.fault(f"{who} did not end within {STOP_SECONDS} s of SIGTERM")
        elif not may_die and PORT_TAKEN not in log:
            self.fault(f"{who} ended by itself, with {process.returncode}")
        log = one.log()
        os.makedirs(self.logs, exist_ok=True)
        with open(self.log_path(who), "a", encoding="utf-8") as out:
            out.write(log)
        for line in reports(log):
            self.fault(f"{who}: {line}")
        one.__exit__(None, None, None)

    def log_path(self, who):
        return os.path.join(self.logs, f"{os.path.basename(self.folder)}-{who}.log")

    def logs_remove(self):
        for who in ("api", "api-2", *faults.CONSUMERS):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.log_path(who))

    def revive(self):
        """A daemon that has ended by itself is a fault; the campaign goes on with a new one."""
        for number, one in enumerate(self.apis):
            if one.process.poll() is not None:
                self.api_end(signal.SIGKILL, number)
                self.api_start(number=number)
        for name, one in list(self.consumers.items()):
            if one.process.poll() is not None:
                self.consumer_end(name, signal.SIGKILL)
                self.consumer_start(name)

    def ready(self):
        return all(one.process.poll() is None and one.ask("/ready")[0] == 200
                   for one in (*self.apis, *self.consumers.values()))

    def close(self):
        for number, one in enumerate(self.apis):
            if one and one.process.poll() is None:
                self.api_end(signal.SIGTERM, number)
        for name, one in self.consumers.items():
            if one.process.poll() is None:
                self.consumer_end(name, signal.SIGTERM)
        for one in self.proxies.values():
            one.flow()
            one.close()


class Held(threading.Thread):
    """Looks how many deliveries each consumer holds, at most."""

    def __init__(self, rig):
        super().__init__(daemon=True, name="held")
        self.rig, self.most, self.ending = rig, {}, threading.Event()

    def run(self):
        while not self.ending.wait(0.1):
            for name, one in list(self.rig.consumers.items()):
                self.note(name, one.ask("/metrics", 1)[1])

    def note(self, name, text):
        for held in re.findall(r"^onboard_consumer_held\{[^}]*\} (\d+)$", text, re.M):
            self.most[name] = max(self.most.get(name, 0), int(held))

    def now(self):
        """Of all consumers together, -1: one does not say."""
        found = [re.search(r"^onboard_consumer_held\{[^}]*\} (\d+)$", one.ask("/metrics")[1], re.M)
                 for one in self.rig.consumers.values()]
        return sum(int(one[1]) for one in found) if all(found) else -1

    def faults(self, most):
        return [f"onboard-{name} held {held} deliveries, its prefetch is {most}"
                for name, held in sorted(self.most.items()) if held > most + ENDING]


class Campaign:
    def __init__(self, rig, seed, words=(), clients=8, rate=80, changers=4, changes=20):
        self.rig, self.seed, self.random = rig, seed, random.Random(seed)
        self.load = load.Load(rig.ports, seed, clients, rate, changers, changes)
        self.changers = changers
        rig.acknowledged, rig.rate, rig.pool = self.load.acknowledged, rate, self.load.pool
        self.stores = [kind(rig.place) for kind in (*stores.STORES, chains.Changes)]
        self.stores.append(stores.Mails(rig.place, rig.mail["ONBOARD_MAIL_DIR"]))
        self.names = [name for name in faults.SCENARIOS if not words or any(word in name for word in words)]
        self.rounds, self.trouble, self.held = [], [], Held(rig)

    def start(self):
        self.rig.logs_remove()
        self.rig.migrate()
        for number in range(len(self.rig.apis)):
            self.rig.api_start(number=number)
        for name in faults.CONSUMERS:
            self.rig.consumer_start(name)
        self._wait(self.rig.ready, 60, "every daemon is ready")
        for store in self.stores:
            store.start()
        self.load.start()
        self.held.start()
        self.recovered("the start")
        self.rig.wait(2)  # every daemon has done its work a few times before the first fault

    def _wait(self, what, seconds, description):
        wait_until(lambda: self.rig.revive() or what(), seconds, description)

    def recovered(self, what):
        """Ready, a signup that is acknowledged, a change at each instance, and what the scenario wants besides:
        the seconds until then."""
        began, before, checks = time.monotonic(), self.load.acknowledged(), self.rig.checks
        told, self.rig.checks = dict(self.load.pool.acknowledged), []
        try:
            self._wait(self.rig.ready, BACK_SECONDS, "ready")
            self._wait(lambda: self.load.acknowledged() > before, BACK_SECONDS, "a signup is acknowledged")
            if self.changers:
                for where in range(len(self.rig.apis)):
                    checks.append((lambda n=where: self.load.pool.acknowledged[n] > told.get(n, 0),
                                   f"a change is acknowledged by instance {where + 1}"))
            for check, description in checks:
                self._wait(check, max(1, round(began + BACK_SECONDS - time.monotonic())), description)
        except AssertionError as why:
            self.trouble.append(f"not recovered after {what}: {why}")
            say(self.trouble[-1])
            return None
        return time.monotonic() - began

    def once(self, name, hold=None):
        hold = self.random.uniform(*faults.HOLDS.get(name, faults.HOLD)) if hold is None else hold
        began, before, self.rig.doing = time.monotonic(), self.load.acknowledged(), name
        mend = faults.SCENARIOS[name](self.rig, self.random)
        try:
            self.rig.wait(hold)
        finally:
            mend()
        held = time.monotonic() - began
        back = self.recovered(name)
        self.rounds.append({"fault": name, "held": round(held, 1), "back": back and round(back, 1),
                            "acknowledged": self.load.acknowledged() - before})
        say(f"{name:<24} {held:5.1f} s, back after {'never' if back is None else f'{back:.1f} s'}")
        self.rig.wait(self.random.uniform(0.5, 2))
        self.rig.doing = "end"

    def run(self, seconds):
        """Every scenario once before any comes again."""
        until, bag = time.monotonic() + seconds, []
        while time.monotonic() < until:
            if not bag:
                bag = self.random.sample(self.names, len(self.names))
            self.once(bag.pop())

    def settle(self):
        with servers.Sql(self.rig.place.postgres) as sql:
            for store in self.stores:
                try:
                    wait_until(lambda s=store: s.settled(sql), SETTLE_SECONDS, f"{store.name} is settled")
                except AssertionError as why:
                    self.trouble.append(str(why))
        try:
            wait_until(lambda: self.held.now() == 0, SETTLE_SECONDS, "no consumer holds a delivery")
        except AssertionError as why:
            self.trouble.append(str(why))

    def finish(self):
        """Stops the load and closes the ledger."""
        self.load.stop()
        self.rig.revive()
        self.settle()
        book = stores.Book(self.load.signups(), self.stores, self.load.pool.changes())
        book.store(chains.Changes).subjects = self.load.pool.all
        with servers.Sql(self.rig.place.postgres) as sql:
            book.close(sql)
        self.held.ending.set()
        self.rig.all_end(signal.SIGTERM)
        self.trouble += self.rig.ended + self.held.faults(PREFETCH)
        return book

    def stop(self):
        self.held.ending.set()
        self.load.stopping.set()
        for store in self.stores:
            store.stop()
        self.rig.close()


def table(campaign, book):
    """What a person reads, at most 80 columns."""
    lines = [f"{'fault':<26}{'times':>6}{'held':>9}{'back after, worst':>20}{'acknowledged':>15}"]
    for name in dict.fromkeys(one["fault"] for one in campaign.rounds):
        of = [one for one in campaign.rounds if one["fault"] == name]
        back = "never" if any(one["back"] is None for one in of) else f"{max(one['back'] for one in of):.1f} s"
        lines.append(f"{name:<26}{len(of):>6}{sum(one['held'] for one in of):>7.1f} s{back:>20}"
                     f"{sum(one['acknowledged'] for one in of):>15}")
    lines += ["", f"seed {campaign.seed}: {len(book.signups)} signups, "
              + ", ".join(f"{book.words[word]} {word}" for word in
                          ("acknowledged", "refused", "away", "unclear", "unreached"))]
    lines += [f"changes of the same users: {sum(book.changes.values())}, "
              + ", ".join(f"{book.changes[word]} {word}" for word in
                          ("acknowledged", "refused", "away", "unclear", "unreached"))]
    size = {store.name: store.size() for store in book.stores}
    lines += [f"{'stored: users':<44}{size['users']:>8}",
              f"{'  of them the client was not told':<44}{book.silent():>8}",
              f"{'events stored: outbox':<44}{size['outbox']:>8}",
              f"{'left unpublished':<44}{size['unpublished']:>8}"]
    lines += [f"{'events in ' + store.name:<44}{store.size():>8}" for store in book.stores
              if isinstance(store, stores.Events)]
    lines += [f"{'profiles in Redis':<44}{size['profiles']:>8}", f"{'states in MongoDB':<44}{size['states']:>8}",
              f"{'events counted':<44}{size['counted']:>8}",
              f"{'mails sent':<44}{size['mails']:>8}",
              f"{'  of killed mailers, unknown (allowed)':<44}{book.store(stores.Mails).unknown():>8}",
              f"{'dead letters':<44}{size['dead']:>8}",
              f"{'deliveries held by one consumer, at most':<44}{max(campaign.held.most.values(), default=0):>8}"]
    lines += [f"{'  published twice (allowed)':<44}{book.store(stores.Queue).again:>8}",
              f"{'lost':<44}{book.count('lost'):>8}", f"{'doubled':<44}{book.count('doubled'):>8}"]
    for what, whose in sorted(book.faults.items()):
        lines.append(f"FAULT {what}: {len(whose)}"[:80])
        lines += [f"  {one}"[:80] for one in whose[:5]]
    lines += [f"FAULT {one}"[:80] for one in campaign.trouble]
    return "\n".join(lines)


def write(campaign, book, path=RESULT):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"seed": campaign.seed, "scenarios": campaign.names, "faults": campaign.rounds,
                   "signups": dict(book.words), "changes": dict(book.changes), "held": campaign.held.most,
                   "stored_untold": book.silent(),
                   "stores": {store.name: store.size() for store in book.stores},
                   "published_twice": book.store(stores.Queue).again, "lost": book.count("lost"),
                   "doubled": book.count("doubled"), "wrong": dict(book.faults), "trouble": campaign.trouble},
                  f, indent=1)
        f.write("\n")
