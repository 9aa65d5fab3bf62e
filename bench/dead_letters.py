# SPDX-License-Identifier: MIT
"""The dead-letter queue as an operator uses it: import, list, stats, replay. Ours alone.

20,000 entries; a million with FULL=1; DEAD=N sets another number."""
import json
import os
import subprocess
import threading
import time
import uuid

import servers
from lib import bench as frame
from lib import ours, procs
from lib.table import Row

CTL = os.path.join(ours.BIN, "onboardctl")
QUEUE = "user_mail_queue"
SECONDS = 900


def start(bench):
    place = bench.place("dead")
    count = int(os.environ.get("DEAD") or (1_000_000 if bench.full else 20_000))
    group = Dlq(place, count)
    group.run("topology", "declare")
    group.fill()
    yield group


class Dlq:
    def __init__(self, place, count):
        self.place, self.count = place, count
        self.env = os.environ | {"ONBOARD_RABBITMQ_URL": place.rabbitmq, "TMPDIR": frame.LOGS, "ONBOARD_LOG_LEVEL": "warn",
                                 "ONBOARD_CTL_AUDIT_LOG": os.path.join(frame.LOGS, "dead_letters-audit.log")}

    def run(self, *words):
        """(seconds, peak of private dirty memory, the last line) of one command."""
        began, most = time.monotonic(), 0.0
        with open(os.path.join(frame.LOGS, "dead_letters.log"), "ab") as log:
            with subprocess.Popen(["setpriv", "--pdeathsig", "KILL", CTL, *words], env=self.env, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as child:
                lines = []
                reader = threading.Thread(target=lambda: lines.extend(child.stdout), daemon=True)
                reader.start()
                while child.poll() is None and time.monotonic() - began < SECONDS:
                    most = max(most, procs.memory_mib([child.pid])[0])
                    time.sleep(0.02)
                took = time.monotonic() - began
                if child.poll() is None:
                    child.kill()
                reader.join(5)
        if child.returncode != 0:
            raise servers.ServerError(f"onboardctl {' '.join(words)}: exit {child.returncode}")
        frame.say(f"  onboardctl {' '.join(words)}: {took:.1f} s, {most:.1f} MiB private dirty")
        return took, most, lines

    def fill(self):
        """Fills the queue as consumers would, by importing so many lines."""
        path = os.path.join(frame.LOGS, "dead_letters.ndjson")
        with open(path, "w", encoding="utf-8") as f:
            for n in range(self.count):
                event = str(uuid.uuid4())
                body = json.dumps({"id": event, "type": "user.created", "timestamp": "2026-11-20T12:00:00Z", "payload": {
                    "user_id": 8 * 10**15 + n, "username": f"d{n}", "email": f"d{n}@example.com", "version": 1}})
                text = {"x-dead-id": str(uuid.uuid4()), "x-consumer": "mailer", "x-original-queue": QUEUE,
                        "x-original-routing-key": "user.created", "x-error-class": "exhausted",
                        "x-error": f"the server answered 451 4.3.0 to the recipient, {n % 7}",
                        "x-first-failed-at": "2026-11-20T12:00:00.000000Z",
                        "x-failed-at": f"2026-11-20T12:{n // 60 % 60:02}:{n % 60:02}.{n * 7919 % 10**6:06}Z"}
                headers = [{"name": name, "type": "S", "value": value} for name, value in text.items()]
                headers.append({"name": "x-retry-count", "type": "l", "value": 3})
                f.write(json.dumps({"exchange": "dlx", "routing_key": "user.failed", "headers": headers, "body": body,
                                    "properties": {"content_type": "application/json", "delivery_mode": 2,
                                                   "message_id": event, "type": "user.created"}}) + "\n")
        try:
            self.filled = self.run("dlq", "import", path)[0]
        finally:
            os.remove(path)
        if self.place.depth("user.dlq") != self.count:
            raise servers.ServerError(f"user.dlq holds {self.place.depth('user.dlq')}, not {self.count}")


def looked(bench, group):
    """import, list --limit 20, list, stats: seconds and memory."""
    short, memory, lines = group.run("dlq", "list", "--limit", "20", "--json")
    whole = group.run("dlq", "list", "--json")
    stats = group.run("dlq", "stats")
    held = group.place.depth("user.dlq") == group.count and len(lines) == 20 and len(whole[2]) == group.count
    thousands = f"{group.count:,} dead"
    return [
        Row(f"{thousands}, list --limit 20", "s", ours=short, more=False, goal="< 60", met=lambda row: held and row.ours < 60,
            note="" if held else "the look took something, or showed less than there is"),
        Row(f"{thousands}, list --limit 20, memory", "MiB", ours=memory, more=False, goal="< 32",
            met=lambda row: row.ours < 32),
        Row(f"{thousands}, list of all, sorted", "s", ours=whole[0], more=False),
        Row(f"{thousands}, list of all, memory", "MiB", ours=whole[1], more=False, goal="< 32",
            met=lambda row: row.ours < 32),
        Row(f"{thousands}, stats", "s", ours=stats[0], more=False),
        Row("dead letters imported, confirmed", "/s", ours=group.count / group.filled),
    ]


def replayed(bench, group):
    """replay --all: confirmed entries per second, and memory."""
    took, memory, _ = group.run("dlq", "replay", "--all", "--why", "a benchmark")
    back = group.place.depth(QUEUE)
    return [
        Row("dead letters replayed, confirmed", "/s", ours=group.count / took, goal=">= 5,000/s",
            met=lambda row: back == group.count and row.ours >= 5000,
            note="" if back == group.count else f"{back} of {group.count} came back"),
        Row("replay, memory", "MiB", ours=memory, more=False),
    ]


PARTS = {"looked": looked, "replayed": replayed}
