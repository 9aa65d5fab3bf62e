#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The mail sink: takes every message by SMTP and drops it as one file, whole or not at all.
Usage: mailsink.py PORT DIR. Runs inside the stack's root file system.

Each message is DIR/<nanoseconds>-<n>.eml: the envelope as X-Envelope headers, then the message as it
came. SMTP by hand rather than by a library, since the load of a benchmark goes through here: one that
reads a message line by line takes several times as long over it."""
import asyncio
import os
import re
import signal
import sys
import time

MESSAGE_MAX = 32 << 20
COMMAND_MAX = 4096
RECIPIENTS_MAX = 100
IDLE_SECONDS = 300
HELLO = ["mail.localhost", f"SIZE {MESSAGE_MAX}", "8BITMIME", "PIPELINING", "SMTPUTF8"]
PATH = re.compile(r"(FROM|TO):\s*<([^<>\r\n]*)>((?: [^ ]+)*)\s*", re.IGNORECASE)


class Refused(Exception):
    """An answer that ends no more than the command; .last: the connection too."""

    def __init__(self, answer, last=False):
        super().__init__(answer)
        self.last = last


class Client:
    """One connection."""

    def __init__(self, folder, reader, writer):
        self.folder, self.reader, self.writer = folder, reader, writer
        self.bytes, self.hello = bytearray(), False
        self.reset()

    def reset(self):
        self.sender, self.utf8, self.recipients = None, False, []

    def say(self, *lines):
        code, *texts = lines
        for number, text in enumerate(texts, 1):
            self.writer.write(f"{code}{' ' if number == len(texts) else '-'}{text}\r\n".encode())

    async def until(self, mark, most, too_long):
        """What comes before the mark, which goes with it."""
        looked = 0
        while (at := self.bytes.find(mark, max(0, looked - len(mark)))) < 0:
            if len(self.bytes) > most:
                raise Refused(too_long, last=True)
            looked = len(self.bytes)
            async with asyncio.timeout(IDLE_SECONDS):
                more = await self.reader.read(1 << 16)
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

    async def data(self, rest):
        if rest or not self.recipients:
            raise Refused("501 5.5.4 DATA stands alone" if rest else "503 5.5.1 RCPT comes first")
        self.say(354, "ends with a dot alone in its line")
        self.bytes[:0] = b"\r\n"  # so that the first line is like any other
        message = await self.until(b"\r\n.\r\n", MESSAGE_MAX, "552 5.3.4 too much mail")
        if message:
            message = message.replace(b"\r\n..", b"\r\n.")[2:] + b"\r\n"
        try:
            self.say(250, f"2.0.0 kept as {self.keep(message)}")
        except OSError as error:
            print(f"cannot keep a message: {error}", flush=True)
            raise Refused("451 4.3.0 cannot keep the message") from error
        finally:
            self.reset()

    count = 0

    def keep(self, message):
        Client.count += 1
        name = f"{time.time_ns():020d}-{Client.count:06d}.eml"
        head = f"X-Envelope-From: <{self.sender}>\r\n" + "".join(
            f"X-Envelope-To: <{one}>\r\n" for one in self.recipients)
        part = os.path.join(self.folder, f".{name}.part")
        with open(part, "wb") as out:
            out.write(head.encode("utf-8", "surrogateescape") + message)
            out.flush()
            os.fsync(out.fileno())
        os.rename(part, os.path.join(self.folder, name))
        return name

    async def command(self):
        """False: it was the last one."""
        line = (await self.until(b"\r\n", COMMAND_MAX, "500 5.5.2 too long a line")).decode("utf-8", "surrogateescape")
        word, _, rest = line.strip().partition(" ")
        word = word.upper()
        if word in ("EHLO", "HELO"):
            self.hello = True
            self.reset()
            self.say(250, *(HELLO if word == "EHLO" else HELLO[:1]))
        elif word in ("MAIL", "RCPT"):
            (self.mail if word == "MAIL" else self.rcpt)(rest)
        elif word == "DATA":
            await self.data(rest)
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

    async def serve(self):
        self.say(220, "mail.localhost ESMTP")
        going = True
        try:
            while going:
                try:
                    going = await self.command()
                except Refused as why:
                    self.writer.write(f"{why}\r\n".encode("utf-8", "backslashreplace"))
                    going = not why.last
                await self.writer.drain()
        except (EOFError, ConnectionError, TimeoutError):
            pass
        finally:
            self.writer.close()


async def main(port, folder):
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    server = await asyncio.start_server(lambda *ends: Client(folder, *ends).serve(), "127.0.0.1", port)
    print(f"listening on 127.0.0.1:{port}, messages to {folder}", flush=True)
    await done.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
