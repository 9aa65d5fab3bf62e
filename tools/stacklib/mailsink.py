#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The mail sink: takes every message by SMTP and writes it to one complete file.
Usage: mailsink.py PORT DIR. Runs inside the stack's root file system.

Each message is DIR/<nanoseconds>-<n>.eml: the envelope as X-Envelope headers, then the message as it
came. SMTP by hand rather than by a library, and a thread rather than a task for each client, since the
load of a benchmark goes through here: it takes a third of the time over a mail."""
import contextlib
import itertools
import os
import re
import signal
import socket
import socketserver
import struct
import sys
import threading
import time

MESSAGE_MAX = 32 << 20
COMMAND_MAX = 4096
RECIPIENTS_MAX = 100
CLIENTS_MAX = 200
IDLE_SECONDS = 300
HELLO = ["mail.localhost", f"SIZE {MESSAGE_MAX}", "8BITMIME", "PIPELINING", "SMTPUTF8"]
PATH = re.compile(r"(FROM|TO):\s*<([^<>\r\n]*)>((?: [^ ]+)*)\s*", re.IGNORECASE)


class Refused(Exception):
    """An answer that ends no more than the command; .last: the connection too."""

    def __init__(self, answer, last=False):
        super().__init__(answer)
        self.last = last


class Client(socketserver.BaseRequestHandler):
    """One connection, in a thread of its own."""

    def setup(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", IDLE_SECONDS, 0))
        self.bytes, self.hello = bytearray(), False
        self.reset()

    def reset(self):
        self.sender, self.utf8, self.recipients = None, False, []

    def say(self, *lines):
        code, *texts = lines
        self.request.sendall("".join(f"{code}{' ' if number == len(texts) else '-'}{text}\r\n"
                                     for number, text in enumerate(texts, 1)).encode("utf-8", "backslashreplace"))

    def until(self, mark, most, too_long):
        """Takes the bytes before the mark, and drops the mark."""
        looked = 0
        while (at := self.bytes.find(mark, max(0, looked - len(mark)))) < 0:
            if len(self.bytes) > most:
                raise Refused(too_long, last=True)
            looked = len(self.bytes)
            more = self.request.recv(1 << 16)
            if not more:
                raise EOFError
            self.bytes += more
        found = bytes(self.bytes[:at])
        del self.bytes[:at + len(mark)]
        return found

    def path(self, word, rest):
        match = PATH.fullmatch(rest)
        if not match or match[1].upper() != word:
            raise Refused(f"501 5.5.4 want {word}:<address>")
        options = [option.upper() for option in match[3].split()]
        for option in options:
            name, _, value = option.partition("=")
            if word == "TO" or name not in ("SIZE", "BODY", "SMTPUTF8"):
                raise Refused(f"555 5.5.4 {name} is not known")
            if name == "SIZE" and (not value.isdecimal() or int(value) > MESSAGE_MAX):
                raise Refused(f"552 5.3.4 more than {MESSAGE_MAX} bytes")
        return match[2], options

    def mail(self, rest):
        if not self.hello or self.sender is not None:
            raise Refused("503 5.5.1 not now")
        sender, options = self.path("FROM", rest)
        self.utf8 = "SMTPUTF8" in options
        self.sender = self.addressed(sender)
        self.say(250, "2.1.0 OK")

    def rcpt(self, rest):
        if self.sender is None:
            raise Refused("503 5.5.1 MAIL comes first")
        address, _ = self.path("TO", rest)
        if not address:
            raise Refused("553 5.1.3 an empty address")
        if len(self.recipients) == RECIPIENTS_MAX:
            raise Refused("452 4.5.3 too many recipients")
        self.recipients.append(self.addressed(address))
        self.say(250, "2.1.5 OK")

    def addressed(self, address):
        if not address.isascii() and not self.utf8:
            raise Refused("553 5.6.7 an address of other characters wants SMTPUTF8")
        return address

    def data(self, rest):
        if rest or not self.recipients:
            raise Refused("501 5.5.4 DATA stands alone" if rest else "503 5.5.1 RCPT comes first")
        self.say(354, "ends with a dot alone in its line")
        self.bytes[:0] = b"\r\n"  # then the first line is like any other
        message = self.until(b"\r\n.\r\n", MESSAGE_MAX, "552 5.3.4 too much mail")
        if message:
            message = message.replace(b"\r\n..", b"\r\n.")[2:] + b"\r\n"
        try:
            kept = self.keep(message)
        except OSError as error:
            print(f"cannot keep a message: {error}", flush=True)
            raise Refused("451 4.3.0 cannot keep the message") from error
        finally:
            self.reset()
        self.say(250, f"2.0.0 kept as {kept}")

    count = itertools.count(1)

    def keep(self, message):
        """Returns the file's name. Renames a complete file. Does not sync: a power cut may lose a test's mail."""
        name = f"{time.time_ns():020d}-{next(self.count):06d}.eml"
        head = f"X-Envelope-From: <{self.sender}>\r\n" + "".join(
            f"X-Envelope-To: <{one}>\r\n" for one in self.recipients)
        part = os.path.join(self.server.folder, f".{name}.part")
        try:
            with open(part, "wb") as out:
                out.write(head.encode("utf-8", "surrogateescape") + message)
            os.rename(part, os.path.join(self.server.folder, name))
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
        return name

    def command(self):
        """False: it was the last one."""
        line = self.until(b"\r\n", COMMAND_MAX, "500 5.5.2 too long a line").decode("utf-8", "surrogateescape")
        word, _, rest = line.strip().partition(" ")
        word = word.upper()
        if word in ("EHLO", "HELO"):
            self.hello = True
            self.reset()
            self.say(250, *(HELLO if word == "EHLO" else HELLO[:1]))
        elif word in ("MAIL", "RCPT"):
            (self.mail if word == "MAIL" else self.rcpt)(rest)
        elif word == "DATA":
            self.data(rest)
        elif word in ("RSET", "NOOP"):
            if word == "RSET":
                self.reset()
            self.say(250, "2.0.0 OK")
        elif word == "QUIT":
            self.say(221, "2.0.0 bye")
            return False
        else:
            raise Refused("502 5.5.1 not known here")
        return True

    def handle(self):
        with contextlib.suppress(EOFError, OSError):  # BlockingIOError among them: nothing came for IDLE_SECONDS
            self.say(220, "mail.localhost ESMTP")
            going = True
            while going:
                try:
                    going = self.command()
                except Refused as why:
                    code, _, text = str(why).partition(" ")
                    self.say(code, text)
                    going = not why.last


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, folder):
        self.folder, self.places = folder, threading.BoundedSemaphore(CLIENTS_MAX)
        super().__init__(("127.0.0.1", port), Client)

    def verify_request(self, request, client_address):
        room = self.places.acquire(blocking=False)
        if not room:
            with contextlib.suppress(OSError):
                request.sendall(b"421 4.3.2 too many connections\r\n")
        return room

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()


def main(port, folder):
    with Server(port, folder) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
        print(f"listening on 127.0.0.1:{port}, messages to {folder}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
