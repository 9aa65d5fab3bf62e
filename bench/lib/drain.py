# SPDX-License-Identifier: MIT
"""One consumer's throughput: fills its queue with COUNT events, starts it, and counts in its store from
the first event to the last. Run by a Python that has pymongo; prints one line of JSON.

  drain.py QUEUE COUNT FIRST_USER WATCH PROGRAM [ARG...]

WATCH: a collection's name, or "redis" (two keys an event), or "queue", which must be empty."""
import json
import os
import subprocess
import sys
import time
import uuid

import procs

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/lib"))
import amqp  # noqa: E402
import servers  # noqa: E402

SECONDS = 300
KEYS_PER_USER = 2


def events(count, first):
    now = time.time()
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + ".000000+00:00"
    for user in range(first, first + count):
        number = str(uuid.uuid4())
        body = {"id": number, "type": "user.created", "timestamp": text,
                "payload": {"user_id": user, "username": f"d{user}", "email": f"d{user}@example.com"}}
        yield json.dumps(body).encode(), number, body["type"], int(now)


def counter(watch):
    """A function that counts what is stored; None where the queue alone is watched."""
    if watch == "queue":
        return None
    if watch == "redis":
        kv = servers.Redis(os.environ["REDIS_URL"])
        return lambda: kv.ask("DBSIZE") // KEYS_PER_USER
    import pymongo  # pylint: disable=import-outside-toplevel
    documents = pymongo.MongoClient(os.environ["MONGO_URL"])[os.environ["MONGO_DB"]][watch]
    return lambda: documents.count_documents({})


def wait_filled(broker, queue, count):
    limit = time.monotonic() + SECONDS
    while (there := broker.depth(queue)) < count:
        if time.monotonic() > limit:
            sys.exit(f"{queue}: {there} of {count} events are there")
        time.sleep(0.05)
    time.sleep(2)  # what the filling has left to do in the servers


def measure(broker, queue, count, stored, process):
    """(seconds, events, processor seconds) from the first event to the last, as closely as a look finds them."""
    began, first, cpu, before = None, 0, 0, stored() if stored else 0
    done = lambda left: stored() - before if stored else count - left
    limit = time.monotonic() + SECONDS
    while time.monotonic() < limit and process.poll() is None:
        left = broker.depth(queue)
        if began is None:
            if left < count and (first := done(left)) > 0:
                began, cpu = time.monotonic(), procs.cpu_seconds([process.pid])
        elif left == 0 and done(left) >= count:
            return time.monotonic() - began, count - first, procs.cpu_seconds([process.pid]) - cpu
        time.sleep(0.02 if began is None or left < count / 10 else 0.2)
    sys.exit(f"{queue}: {broker.depth(queue)} left, the consumer's exit code: {process.poll()}")


def main():
    queue, count, first, watch, *command = sys.argv[1:]
    count, stored = int(count), counter(watch)
    with amqp.Broker(os.environ["ONBOARD_RABBITMQ_URL"]) as broker:
        if broker.depth(queue) != 0:
            sys.exit(f"{queue} is not empty")
        broker.publish(queue, events(count, int(first)))
        wait_filled(broker, queue, count)
        process = subprocess.Popen(command)
        try:
            seconds, handled, cpu = measure(broker, queue, count, stored, process)
        finally:
            process.terminate()
            process.wait(15)
    print(json.dumps({"events_per_s": round(handled / seconds), "cpu_s_per_1000": round(cpu * 1000 / count, 3)}))


main()
