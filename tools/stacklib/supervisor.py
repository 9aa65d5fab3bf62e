# SPDX-License-Identifier: MIT
"""The supervisor: one process, the parent of all servers, in a session of its own.

It holds the run folder's lock as long as it lives. Its control socket takes one JSON object per
line and answers in the same way. It inherits the connection of the process that starts it (a socket
pair). During the start, or in the foreground, the end of that connection ends the stack, so a
killed starter leaves nothing behind.
"""
import errno
import json
import os
import signal
import socket
import sys
import threading
import time

from . import daemons, fetch, ports, sandbox, servers
from .keeper import Keeper
from .layout import (EX_CONFIG, EX_UNAVAILABLE, EX_USAGE, ROOT, StackError, disk_room, load_secrets,
                     read_json, try_lock, write_atomic, write_env)

LEAST_ROOM = 300  # megabytes that a first start writes


def external(environ):
    """The services that run elsewhere: name → URL."""
    found = {}
    for word in environ.get("ONBOARD_EXTERNAL", "").replace(",", " ").split():
        name = {"smtp": "mail"}.get(word, word)
        if name not in servers.SERVICES:
            raise StackError(f"ONBOARD_EXTERNAL={word}: no such server (there are "
                             f"{', '.join(servers.SERVICES)})", EX_CONFIG)
        variable = servers.SERVICES[name][0]
        if not environ.get(variable):
            raise StackError(f"ONBOARD_EXTERNAL names {name}, so {variable} must say where it is",
                             EX_CONFIG)
        found[name] = environ[variable]
    return found


def classes(outside):
    return [one for name, (_, group) in servers.SERVICES.items() if name not in outside for one in group]


class Link:
    """A connection: lines of JSON both ways."""

    def __init__(self, sock):
        self.sock, self.lock = sock, threading.Lock()
        self.reader = sock.makefile("r", encoding="utf-8")

    def send(self, **message):
        try:
            with self.lock:
                self.sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass

    def receive(self):
        try:
            line = self.reader.readline()
            return json.loads(line) if line else None
        except (OSError, ValueError):
            return None


class Supervisor:
    def __init__(self, layout, owner):
        self.layout, self.owner = layout, Link(owner)
        self.links = [self.owner]
        self.end = threading.Event()
        self.settled = threading.Event()  # ready, or failed
        self.failure = None
        self.fast = False
        self.keepers = {}
        self.outside = {}
        self.env = {}
        self.context = None
        self.daemons_lock = threading.Lock()

    def say(self, text):
        try:
            print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)
        except OSError:
            pass  # a full disk must not stop the supervisor
        for link in list(self.links):
            link.send(say=text)

    def run(self, with_daemons):
        layout = self.layout
        lock = try_lock(layout.lock)
        if lock is None:
            self.owner.send(busy=True)
            return 0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.end.set())
        threading.Thread(target=self._own, daemon=True).start()
        try:
            write_atomic(layout.pid, f"{os.getpid()}\n")
            threading.Thread(target=self._accept, args=(self._listen(),), daemon=True).start()
            self._start(with_daemons)
        except StackError as error:
            self.failure = error
        except OSError as error:
            self.failure = disk_full(layout, error) or StackError(f"supervisor: {error}")
        if self.failure is None and not self.end.is_set():
            self.settled.set()
            self.owner.send(ready=True)
            mine = os.fstat(lock).st_ino
            while not self.end.wait(1):
                try:
                    if os.stat(layout.lock).st_ino != mine:
                        break
                except OSError:
                    break  # the run folder was removed: nobody could reach this stack any more
        self._stop()
        if self.failure is not None:
            self.owner.send(failed=str(self.failure), code=self.failure.code,
                            detail=self.failure.detail)
        self.settled.set()
        for name in (layout.socket(), layout.pid):
            try:
                name.unlink(missing_ok=True)
            except OSError:
                pass
        return 0

    def _own(self):
        """Ends the stack when the starter ends before it has sent `release`."""
        while True:
            message = self.owner.receive()
            if message is None:
                self.say("the starter went away: stopping")
                self.end.set()
                return
            if message.get("verb") == "release":
                self.links.remove(self.owner)
                return

    def _start(self, with_daemons):
        layout, environ = self.layout, os.environ
        self.outside = external(environ)
        group = classes(self.outside)
        needed = [one.name for one in group]
        if "rabbitmq" in needed:
            needed += ["rabbitmq_management", "rabbitmq_dist", "rabbitmq_epmd"]
        numbers, self.claim = ports.choose(layout, needed, environ, self.say)
        passwords = load_secrets(layout, servers.WITH_PASSWORD)
        free, total = disk_room(layout.dir)
        if group and free < LEAST_ROOM and not (layout.data / group[0].name).exists():
            raise StackError(f"the disk that holds {layout.dir} is full: {free} of {total} MB free, the "
                             f"servers need {LEAST_ROOM} to start with. Fix: make room, or give another "
                             "folder (tools/stack --run DIR)", EX_UNAVAILABLE)
        rootfs = fetch.rootfs()
        engine = fetch.ferretdb() if servers.Ferretdb in group else None
        versions = read_json(rootfs / "versions.json", {})
        self.context = servers.Context(layout, numbers, passwords, rootfs, engine, versions)
        for one in group:
            server = one(self.context)
            keeper = Keeper(server, self.say, self.keepers.get(server.after))
            if keeper.after is not None:
                keeper.after.before.append(keeper)
            self.keepers[server.name] = keeper
        for keeper in list(self.keepers.values()):
            keeper.start()
        for name, url in self.outside.items():
            servers.ask_external(name, url, rootfs)
            self.say(f"{name} answers, elsewhere")
        self._await(self.keepers.values())
        if self.end.is_set():
            return
        self._write_env(numbers)
        if with_daemons:
            self.start_daemons()

    def _await(self, keepers):
        """Waits until all keepers are ready. Raises the first failure."""
        keepers = list(keepers)
        while not self.end.is_set():
            for keeper in keepers:
                if keeper.failure is not None:
                    raise keeper.failure
            if all(keeper.state == "ready" for keeper in keepers):
                return
            self.end.wait(0.05)

    def _write_env(self, numbers):
        env = {}
        for name, (variable, group) in servers.SERVICES.items():
            env[variable] = self.outside.get(name) or self.keepers[group[-1].name].server.url()
        for name in ("gateway", "api", "orders", "payments"):
            env[f"ONBOARD_{name.upper()}_URL"] = f"http://127.0.0.1:{numbers[name]}"
            env[f"ONBOARD_{name.upper()}_LISTEN"] = f"127.0.0.1:{numbers[name]}"
        if "rabbitmq" in self.keepers:
            env["ONBOARD_RABBITMQ_MANAGEMENT_URL"] = (
                f"http://onboard:{self.context.passwords['rabbitmq']}@127.0.0.1:"
                f"{numbers['rabbitmq_management']}")
        env["ONBOARD_MAIL_DIR"] = str(self.layout.mail)
        env["ONBOARD_ADMIN_BASE"] = str(numbers["admin_base"])
        env["ONBOARD_STACK_DIR"] = str(self.layout.dir)
        self.env = env
        write_env(self.layout, env)

    # --- our own daemons

    def start_daemons(self):
        """Starts the daemons that are built and do not run yet, and tries again those that have failed.
        Restarts those whose program was built anew. True when any was started for the first time."""
        with self.daemons_lock:
            built = daemons.built(self.context, self.env)
            fresh = [Keeper(one, self.say) for one in built if one.name not in self.keepers]
            known = [self.keepers[one.name] for one in built if one.name in self.keepers]
            failed = [keeper for keeper in known if keeper.state == "failed"]
            old = [keeper for keeper in known if keeper.wanted and keeper.server.built_anew()]
            if not fresh + failed + old:
                self.say("the daemons are up already" if known
                         else f"no daemon to start in {daemons.BIN.relative_to(ROOT)}")
                return False
            daemons.migrate(self.env, self.say)
            for keeper in old:
                self.say(f"{keeper.server.name} was built anew: restarting it")
                keeper.want(False)
            for keeper in old:
                keeper.await_state(("stopped", "failed"), None)
            for keeper in failed + old:
                keeper.want(True)
            for keeper in fresh:
                self.keepers[keeper.server.name] = keeper
                keeper.start()
            self._await(fresh + failed + old)
            return bool(fresh)

    def stop_daemons(self):
        with self.daemons_lock:
            names = [name for name, one in self.keepers.items() if not one.server.sandboxed]
            for name in names:
                self.keepers[name].close(False)
            for name in names:
                self.keepers.pop(name).join()

    # --- control

    def _listen(self):
        path = self.layout.socket()
        path.unlink(missing_ok=True)
        control = socket.socket(socket.AF_UNIX)
        control.bind(os.fspath(path))
        os.chmod(path, 0o600)
        control.listen(16)
        return control

    def _accept(self, control):
        while True:
            sock, _ = control.accept()
            threading.Thread(target=self._serve, args=(Link(sock),), daemon=True).start()

    def _serve(self, link):
        message = link.receive()
        if message is None:
            return
        try:
            handler = getattr(self, f"_do_{message.get('verb')}")
            handler(link, message)
        except StackError as error:
            link.send(failed=str(error), code=error.code, detail=error.detail)
        except Exception as error:
            link.send(failed=f"supervisor: {error!r}", code=1, detail=[])
        finally:
            if link in self.links:
                self.links.remove(link)
            link.sock.close()

    def _do_attach(self, link, message):
        """A second `up`: waits until the first is done."""
        self.links.append(link)
        self.settled.wait()
        if self.failure is not None or self.end.is_set():
            raise self.failure or StackError("the stack was stopped meanwhile")
        started = self.start_daemons() if message.get("daemons") else False
        link.send(ready=True, started=started)

    def _do_undaemon(self, link, _message):
        self.stop_daemons()
        link.send(ready=True)

    def _do_down(self, link, message):
        self.fast = bool(message.get("fast"))
        self.links.append(link)
        self.end.set()
        link.send(ready=True)
        threading.Event().wait()  # the connection ends with us: that is the answer

    def _do_status(self, link, _message):
        table = sandbox.process_table()
        rows = []
        for name, keeper in list(self.keepers.items()):
            process, server = keeper.process, keeper.server
            pids = process.pids(table) if process is not None else []
            rows.append({
                "name": name, "state": keeper.state, "pid": keeper.pid if pids else None,
                "port": server.port, "version": server.version(), "memory_kib": sandbox.memory_kib(pids),
                "since": int(keeper.since), "restarts": keeper.restarts,
                "health": server.feels() if keeper.state == "ready" else "",
                "failure": str(keeper.failure) if keeper.failure else ""})
        for name in self.outside:
            rows.append({"name": name, "state": "external", "pid": None, "port": None, "version": "",
                         "memory_kib": 0, "since": None, "restarts": 0, "health": "", "failure": ""})
        fine = self.settled.is_set() and all(row["state"] in ("ready", "external") for row in rows)
        link.send(dir=str(self.layout.dir), pid=os.getpid(), ready=fine, servers=rows)

    def _keeper(self, name):
        keeper = self.keepers.get(name)
        if keeper is None:
            raise StackError(f"no server {name} here (there are {', '.join(self.keepers)})", EX_USAGE)
        return keeper

    def _do_exec(self, link, message):
        """Answers the command line that runs a program beside a server. The client runs it."""
        server = self._keeper(message["server"]).server
        if not server.sandboxed:
            raise StackError(f"{server.name} runs in no sandbox", EX_USAGE)
        link.send(command=server.command(message["argv"]))

    def _do_ctl(self, link, message):
        action = message["action"]
        keeper = self._keeper(message["server"])
        if action in ("stop", "restart"):
            keeper.want(False)
            keeper.await_state(("stopped", "failed"), None)
        if action in ("start", "restart"):
            if keeper.state == "frozen":
                keeper.thaw()
            keeper.want(True)
            keeper.await_state(("ready", "failed"), None)
            if keeper.failure is not None:
                raise keeper.failure
        elif action == "kill":
            keeper.kill_now()
            keeper.await_state(("stopped", "failed"), None)
        elif action == "freeze":
            keeper.freeze()
        elif action == "thaw":
            keeper.thaw()
        link.send(ready=True, state=keeper.state)

    def _stop(self):
        """Stops the daemons first, so that they can return their messages, then all servers at once."""
        if self.keepers:
            self.say("stopping")
        self.stop_daemons()
        for keeper in self.keepers.values():
            keeper.close(self.fast)
        for keeper in self.keepers.values():
            if keeper.is_alive():
                keeper.join()


def disk_full(layout, error):
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    free, total = disk_room(layout.dir)
    return StackError(f"the disk that holds {layout.dir} is full ({free} of {total} MB free). Fix: make "
                      "room, or give another folder (tools/stack --run DIR)", EX_UNAVAILABLE)


def main(layout, fd, with_daemons):
    owner = socket.socket(fileno=fd)
    owner.set_inheritable(False)
    code = Supervisor(layout, owner).run(with_daemons)
    sys.stdout.flush()
    os._exit(code)  # threads that serve a connection are not waited for
