# SPDX-License-Identifier: MIT
"""A campaign: steady signups, one fault after another with recovery between, and the ledger."""
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit

import daemon
import faults
import load
import servers
import stores
from proxy import Proxy
from tap import wait_until

CTL = os.path.join(servers.ROOT, "tools/stack")
BACK_SECONDS, SETTLE_SECONDS = 40, 60
RESULT = os.path.join(servers.ROOT, "build/chaos/ledger.json")


def say(text):
    print(f"chaos: {text}", file=sys.stderr, flush=True)


class Rig:
    """The API behind proxies on a place of its own. Its daemon must be started by the main thread:
    it dies with the thread that started it."""

    def __init__(self, env, folder):
        self.folder = folder
        self.log_path = os.path.join(os.path.dirname(RESULT), os.path.basename(folder) + "-api.log")
        self.place = servers.Place(env, "chaos", 14)
        self.proxies, self.urls = {}, {}
        for name in ("postgres", "rabbitmq", "mongo", "redis"):
            url = urlsplit(getattr(self.place, name))
            self.proxies[name] = Proxy(url.hostname, url.port)
            user = "".join(url.netloc.rpartition("@")[:2])
            self.urls[name] = url._replace(netloc=f"{user}127.0.0.1:{self.proxies[name].port}").geturl()
        self.port, self.api, self.ended = daemon.free_port(), None, []
        self.consumers = {}
        self.mail = {name: env[name] for name in ("ONBOARD_SMTP_URL", "ONBOARD_MAIL_DIR")}
        self.wait, self.doing = time.sleep, "start"

    def migrate(self):
        subprocess.run([os.path.join(daemon.BUILD, "bin/onboardctl"), "db", "migrate", "up"], check=True,
                       cwd=servers.ROOT, env=os.environ | {"ONBOARD_POSTGRES_URL": self.place.postgres},
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def ctl(self, action, name):
        subprocess.run([CTL, "--run", self.folder, "ctl", action, name], check=True, timeout=120,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def _start(self, program, more):
        return daemon.Daemon(
            shutil.which("setpriv"), "--pdeathsig", "KILL", os.path.join(daemon.BUILD, f"bin/{program}"),
            env={"ONBOARD_POSTGRES_URL": self.urls["postgres"], "ONBOARD_RABBITMQ_URL": self.urls["rabbitmq"],
                 "ONBOARD_REDIS_URL": self.urls["redis"], "ONBOARD_MONGO_URL": self.urls["mongo"],
                 "ONBOARD_LOG_LEVEL": "warn"} | more)

    def api_start(self, points=""):
        self.api = self._start("onboard-api", {"ONBOARD_API_LISTEN": f"127.0.0.1:{self.port}", "ONBOARD_FAULTS": points})

    def api_end(self, how):
        self._end(self.api, "the API", how)

    def consumer_start(self, name, points=""):
        self.consumers[name] = self._start(f"onboard-{name}", {
            "ONBOARD_SMTP_URL": self.mail["ONBOARD_SMTP_URL"], "ONBOARD_MAIL_RATE": "0", "ONBOARD_FAULTS": points})

    def consumer_end(self, name, how):
        self._end(self.consumers[name], f"onboard-{name}", how)

    def _end(self, one, who, how):
        """By this signal; what does not end in time is killed, and said."""
        process, trouble = one.process, None
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(15)
                if how == signal.SIGTERM and process.returncode != 0:
                    trouble = f"{who} ended with {process.returncode} after SIGTERM"
            except subprocess.TimeoutExpired:
                trouble = f"{who} did not end within 15 s of SIGTERM"
        os.makedirs(os.path.dirname(self.log_path), exist_ok=True)
        with open(self.log_path, "a", encoding="utf-8") as log:
            log.write(one.log())
        one.__exit__(None, None, None)
        if trouble:
            self.ended.append(f"{self.doing}: {trouble}")

    def ready(self):
        return all(one.process.poll() is None and one.ask("/ready")[0] == 200
                   for one in (self.api, *self.consumers.values()))

    def close(self):
        if self.api and self.api.process.poll() is None:
            self.api_end(signal.SIGTERM)
        for name, one in self.consumers.items():
            if one.process.poll() is None:
                self.consumer_end(name, signal.SIGTERM)
        for one in self.proxies.values():
            one.flow()
            one.close()


class Campaign:
    def __init__(self, rig, seed, words=(), clients=8, rate=80):
        self.rig, self.seed, self.random = rig, seed, random.Random(seed)
        self.load = load.Load(rig.port, seed, clients, rate)
        self.stores = [kind(rig.place) for kind in stores.STORES] + [stores.Mails(rig.place, rig.mail["ONBOARD_MAIL_DIR"])]
        self.names = [name for name in faults.SCENARIOS if not words or any(word in name for word in words)]
        self.rounds, self.trouble = [], []

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.rig.log_path)
        self.rig.migrate()
        self.rig.api_start()
        self.rig.api.wait_ready(30)
        for name in faults.CONSUMERS:
            self.rig.consumer_start(name)
        for one in self.rig.consumers.values():
            one.wait_ready(30)
        for store in self.stores:
            store.start()
        self.load.start()
        self.recovered("the start")

    def recovered(self, what):
        """Ready, and a signup that is acknowledged: the seconds until then."""
        began, before = time.monotonic(), self.load.acknowledged()
        try:
            wait_until(self.rig.ready, BACK_SECONDS, "ready")
            wait_until(lambda: self.load.acknowledged() > before, BACK_SECONDS, "a signup is acknowledged")
        except AssertionError as why:
            self.trouble.append(f"not recovered after {what}: {why}")
            say(self.trouble[-1])
            return None
        return time.monotonic() - began

    def once(self, name, hold=None):
        hold = self.random.uniform(*faults.HOLD) if hold is None else hold
        began, before, self.rig.doing = time.monotonic(), self.load.acknowledged(), name
        mend = faults.SCENARIOS[name](self.rig, self.random)
        self.rig.wait(hold)
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

    def finish(self):
        """Stops the load and closes the ledger."""
        self.load.stop()
        self.settle()
        book = stores.Book(self.load.signups(), self.stores)
        with servers.Sql(self.rig.place.postgres) as sql:
            book.close(sql)
        self.rig.api_end(signal.SIGTERM)
        for name in self.rig.consumers:
            self.rig.consumer_end(name, signal.SIGTERM)
        self.trouble += self.rig.ended
        return book

    def stop(self):
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
              f"{'dead letters':<44}{size['dead']:>8}"]
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
                   "signups": dict(book.words), "stored_untold": book.silent(),
                   "stores": {store.name: store.size() for store in book.stores},
                   "published_twice": book.store(stores.Queue).again, "lost": book.count("lost"),
                   "doubled": book.count("doubled"), "wrong": dict(book.faults), "trouble": campaign.trouble},
                  f, indent=1)
        f.write("\n")
