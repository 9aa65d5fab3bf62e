# SPDX-License-Identifier: MIT
"""The verbs of tools/stack as a person types them."""
import argparse
import os
import re
import select
import shutil
import subprocess
import sys
import time

from . import client, fetch, servers, supervisor
from .layout import (EX_CONFIG, EX_FAILED, EX_NOT_UP, EX_USAGE, ROOT, Layout, StackError, tail)

HELP = """\
Local servers for onboard: PostgreSQL, RabbitMQ, a MongoDB server, Redis and a mail sink.

  up [--daemons]     start them in the background (and onboard's daemons), write DIR/env; again: restart
                     the daemons that were built anew since
  run                the same with the daemons, in the foreground; Ctrl-C stops what it started
  down               stop them, keep the data
  reset              stop them, remove data, passwords and ports
  status [--json]    what runs, where, how it feels
  logs [SERVER]      the end of one log, or of all
  env                what DIR/env holds
  ctl ACTION SERVER  stop, start, restart, kill, freeze or thaw one server (for fault tests);
                     what was stopped or killed by ctl stays down until `ctl start`
  exec SERVER PROGRAM [ARG…]
                     a program of the server's own file system on its data, such as
                     `exec redis redis-server --version`
"""
EPILOG = """\
environment: ONBOARD_EXTERNAL=postgres,redis (not started; their ONBOARD_…_URL must be set),
ONBOARD_STACK_PORT_POSTGRES=… and so on, XDG_CACHE_HOME.
exit: 0 done, 1 failed, 2 usage, 3 not running, 69 a server cannot be started or reached,
78 configuration."""


def say(text):
    print(f"stack: {text}", flush=True)


def parser():
    top = argparse.ArgumentParser(prog="tools/stack", description=HELP, epilog=EPILOG,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--run", metavar="DIR", default=str(ROOT / ".run"),
                     help="the run folder (.run in the checkout)")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in ("up", "run"):
        one = verbs.add_parser(name)
        one.add_argument("--daemons", action="store_true", help="onboard's own daemons, too")
        one.add_argument("--foreground", action="store_true", help="stay; Ctrl-C stops all")
    verbs.add_parser("down")
    verbs.add_parser("reset")
    verbs.add_parser("status").add_argument("--json", action="store_true")
    verbs.add_parser("logs").add_argument("server", nargs="?")
    verbs.add_parser("env")
    one = verbs.add_parser("ctl")
    one.add_argument("action", choices=["stop", "start", "restart", "kill", "freeze", "thaw"])
    one.add_argument("server")
    one = verbs.add_parser("exec")
    one.add_argument("server")
    one.add_argument("argv", nargs=argparse.REMAINDER, metavar="PROGRAM")
    one = verbs.add_parser("supervise")  # the supervisor itself: `up` starts it
    one.add_argument("fd", type=int)
    one.add_argument("--daemons", action="store_true")
    return top


def do_up(layout, args):
    foreground = args.foreground or args.verb == "run"
    with_daemons = args.daemons or args.verb == "run"
    outside = supervisor.external(os.environ)  # report a bad configuration before any download
    layout.make()
    if client.connect(layout) is None:
        group = supervisor.classes(outside)
        if group or "postgres" in outside:
            fetch.check_tools()
            fetch.rootfs()
        if servers.Ferretdb in group:
            fetch.ferretdb()
    began = time.monotonic()
    link, own, answer = client.up(layout, with_daemons, say)
    if own:
        say(f"up after {time.monotonic() - began:.1f} s")
    else:
        say("was up already")
    show_urls(layout)
    if not foreground:
        if own:
            link.send(verb="release")
        return 0
    try:
        watch(layout)
    except KeyboardInterrupt:
        print(flush=True)
        if own:
            say("stopping")
            client.leave(link, own)
            say("stopped")
        elif answer.get("started"):
            say("stopping the daemons; the servers were up before and stay")
            client.ask(layout, verb="undaemon")
    return 0


def show_urls(layout):
    """Where everything is; passwords stay in the file."""
    for line in layout.env.read_text().splitlines():
        found = re.match(r"export (ONBOARD_\w+_URL|ONBOARD_MAIL_DIR)='(.*)'$", line)
        if found:
            print(f"  {found.group(1):<32} {re.sub(r':[^:/@]+@', ':…@', found.group(2))}")
    print(f"  source {os.path.relpath(layout.env)} to have them all", flush=True)


def watch(layout):
    """Shows one live line on a terminal, and elsewhere a line for each change, until the stack ends."""
    live, shown = sys.stdout.isatty(), None
    while True:
        try:
            answer = client.status(layout)
        except StackError:
            answer = None
        if answer is None:
            raise StackError("the supervisor is gone: see tools/stack logs supervisor")
        rows = answer["servers"]
        text = "  ".join(f"{row['name'].removeprefix('onboard-')} "
                         f"{row['health'] if row['health'] else row['state']}" for row in rows)
        if live:
            megabytes = sum(row["memory_kib"] for row in rows) >> 10
            width = shutil.get_terminal_size().columns - 1
            line = f"{time.strftime('%H:%M:%S')}  {text}  {megabytes} MB"
            print(f"\r{line[:width]:<{width}}", end="", flush=True)
        elif text != shown:
            say(text)
        shown = text
        select.select([], [], [], 1)


def do_down(layout, _args):
    say("stopped, data kept" if client.down(layout, False, say) else "was not running")
    return 0


def do_reset(layout, _args):
    client.down(layout, True, say)
    if layout.dir.is_dir():
        known = (layout.data, layout.log, layout.mail, layout.env, layout.secrets, layout.ports,
                 layout.lock, layout.pid)
        for path in known:  # remove our own files and leave all others
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if not any(layout.dir.iterdir()):
            layout.dir.rmdir()
    say("stopped, data removed")
    return 0


def do_status(layout, args):
    answer = client.status(layout)
    if args.json:
        print(client.as_json(answer or {"dir": str(layout.dir), "ready": False, "servers": []}))
    elif answer is None:
        say(f"not running (in {layout.dir})")
    else:
        print(f"{'SERVER':<18} {'STATE':<9} {'PID':>7} {'PORT':>6}  {'VERSION':<15} {'MEMORY':>8}  "
              f"{'SINCE':<8} {'RESTARTS':>8}")
        for row in answer["servers"]:
            since = time.strftime("%H:%M:%S", time.localtime(row["since"])) if row["since"] else "-"
            print(f"{row['name']:<18} {row['state']:<9} {row['pid'] or '-':>7} {row['port'] or '-':>6}  "
                  f"{row['version']:<15} {row['memory_kib'] >> 10:>5} MB  {since:<8} "
                  f"{row['restarts']:>8}  {row['health'] or row['failure']}".rstrip())
    if answer is None:
        return EX_NOT_UP
    return 0 if answer["ready"] else EX_FAILED


def do_logs(layout, args):
    if args.server:
        path = layout.log / f"{args.server}.log"
        if "/" in args.server or not path.is_file():
            known = ", ".join(sorted(one.stem for one in layout.log.glob("*.log"))) or "none"
            raise StackError(f"no log of {args.server} (there are: {known})", EX_USAGE)
        with open(path, "rb") as log:
            shutil.copyfileobj(log, sys.stdout.buffer)
        return 0
    for path in sorted(layout.log.glob("*.log")):
        print(f"==> {path.stem}")
        print("\n".join(tail(path, 10)))
    return 0


def do_env(layout, _args):
    try:
        sys.stdout.write(layout.env.read_text())
    except FileNotFoundError:
        raise StackError(f"no {layout.env}: run tools/stack up first", EX_NOT_UP) from None
    return 0


def do_ctl(layout, args):
    answer = client.ask(layout, verb="ctl", action=args.action, server=args.server)
    say(f"{args.server} is {answer['state']}")
    return 0


def do_exec(layout, args):
    if not args.argv:
        raise StackError("exec wants a program: tools/stack exec SERVER PROGRAM [ARG…]", EX_USAGE)
    command = client.ask(layout, verb="exec", server=args.server, argv=args.argv)["command"]
    return subprocess.run(command, check=False).returncode


def do_supervise(layout, args):
    supervisor.main(layout, args.fd, args.daemons)


def main():
    args = parser().parse_args()
    layout = Layout(args.run)
    verbs = {"up": do_up, "run": do_up, "down": do_down, "reset": do_reset, "status": do_status,
             "logs": do_logs, "env": do_env, "ctl": do_ctl, "exec": do_exec, "supervise": do_supervise}
    try:
        return verbs[args.verb](layout, args)
    except StackError as error:
        failed = error
    except KeyboardInterrupt:
        print("\nstack: stopped by Ctrl-C", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return EX_FAILED
    except PermissionError as error:
        failed = StackError(f"{error.filename}: {error.strerror}", EX_CONFIG)
    except OSError as error:
        failed = supervisor.disk_full(layout, error) or StackError(str(error))
    print(f"stack: {failed}", file=sys.stderr)
    for line in failed.detail:
        print(f"  | {line}", file=sys.stderr)
    return failed.code
