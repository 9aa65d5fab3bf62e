#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The mail sink: takes every message by SMTP and drops it as one file, whole or not at all.
Usage: mailsink.py PORT DIR. Runs inside the stack's root file system (python3-aiosmtpd)."""
import asyncio
import os
import signal
import sys
import time

from aiosmtpd.smtp import SMTP


class Drop:
    """Each message is DIR/<nanoseconds>-<n>.eml: the envelope as X-Envelope headers, then the
    message as it came."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    async def handle_DATA(self, _server, _session, envelope):
        self.count += 1
        name = f"{time.time_ns():020d}-{self.count:06d}.eml"
        head = f"X-Envelope-From: <{envelope.mail_from or ''}>\r\n" + "".join(
            f"X-Envelope-To: <{one}>\r\n" for one in envelope.rcpt_tos)
        temp = os.path.join(self.folder, f".{name}.part")
        try:
            with open(temp, "wb") as out:
                out.write(head.encode("utf-8", "surrogateescape") + envelope.content)
                out.flush()
                os.fsync(out.fileno())
            os.rename(temp, os.path.join(self.folder, name))
        except OSError as error:
            print(f"cannot keep a message: {error}", flush=True)
            return "451 4.3.0 cannot keep the message"
        return f"250 2.0.0 kept as {name}"


async def main(port, folder):
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    drop = Drop(folder)
    server = await loop.create_server(
        lambda: SMTP(drop, enable_SMTPUTF8=True, hostname="mail.localhost", loop=loop,
                     data_size_limit=32 << 20), "127.0.0.1", port)
    print(f"listening on 127.0.0.1:{port}, messages to {folder}", flush=True)
    await done.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
