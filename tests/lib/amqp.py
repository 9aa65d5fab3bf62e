# SPDX-License-Identifier: MIT
"""As much AMQP 0-9-1 as tests and benchmark need: how many messages a queue holds, by a passive
declare (the management API's figures are up to five seconds old), a consumer of one queue, and many
messages for one."""
import socket
import struct
from urllib.parse import unquote, urlsplit

SECONDS = 30
CONNECTION, CHANNEL, QUEUE, BASIC = 10, 20, 50, 60


class AmqpError(Exception):
    pass


def short(text):
    data = text.encode()
    return bytes([len(data)]) + data


class Broker:
    def __init__(self, url, seconds=SECONDS):
        parts = urlsplit(url)
        self.sock = socket.create_connection((parts.hostname, parts.port or 5672), seconds)
        self.input = self.sock.makefile("rb")
        self.sock.sendall(b"AMQP\x00\x00\x09\x01")
        self._expect(CONNECTION, 10)
        secret = b"\0" + unquote(parts.username or "guest").encode() + b"\0" + unquote(parts.password or "guest").encode()
        self._send(0, CONNECTION, 11, struct.pack(">I", 0) + short("PLAIN") + struct.pack(">I", len(secret)) + secret
                   + short("en_US"))
        tune = self._expect(CONNECTION, 30)
        self._send(0, CONNECTION, 31, tune[:6] + b"\0\0")  # no heartbeats: connections are short
        self._send(0, CONNECTION, 40, short(unquote(parts.path[1:]) or "/") + b"\0\0")
        self._expect(CONNECTION, 41)
        self._send(1, CHANNEL, 10, b"\0")
        self._expect(CHANNEL, 11)

    def close(self):
        self.input.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def depth(self, queue):
        """The number of messages that wait in a queue, without those that a consumer holds."""
        self._send(1, QUEUE, 10, b"\0\0" + short(queue) + b"\x01" + struct.pack(">I", 0))
        answer = self._expect(QUEUE, 11)
        return struct.unpack(">I", answer[1 + answer[0]:][:4])[0]

    def purge(self, queue):
        self._send(1, QUEUE, 30, b"\0\0" + short(queue) + b"\0")
        return struct.unpack(">I", self._expect(QUEUE, 31)[:4])[0]

    def declare_quorum(self, queue):
        table = short("x-queue-type") + b"S" + struct.pack(">I", 6) + b"quorum"
        self._send(1, QUEUE, 10, b"\0\0" + short(queue) + b"\x02" + struct.pack(">I", len(table)) + table)
        self._expect(QUEUE, 11)

    def bind(self, queue, exchange, key):
        self._send(1, QUEUE, 20, b"\0\0" + short(queue) + short(exchange) + short(key) + b"\0" + struct.pack(">I", 0))
        self._expect(QUEUE, 21)

    def consume(self, queue, prefetch):
        self._send(1, BASIC, 10, struct.pack(">IHB", 0, prefetch, 0))
        self._expect(BASIC, 11)
        self._send(1, BASIC, 20, b"\0\0" + short(queue) + short("") + b"\0" + struct.pack(">I", 0))
        self._expect(BASIC, 21)

    def publish(self, queue, messages):
        """Publishes persistent messages in this order, without confirms. messages: (body, id, type, seconds)."""
        method = struct.pack(">HHH", BASIC, 40, 0) + short("") + short(queue) + b"\0"
        retried = short("x-retry-count") + b"I" + struct.pack(">i", 0)
        fixed = short("application/json") + struct.pack(">I", len(retried)) + retried + b"\x02"
        frames, length = [], 0
        for body, number, kind, seconds in messages:
            # content type, headers, delivery mode, message id, timestamp, type
            head = struct.pack(">HHQH", BASIC, 0, len(body), 0xb0e0) + fixed + short(number) \
                + struct.pack(">Q", seconds) + short(kind)
            for form, payload in ((1, method), (2, head), (3, body)):
                frames.append(struct.pack(">BHI", form, 1, len(payload)) + payload + b"\xce")
            length += len(body)
            if length > 1 << 16:
                self.sock.sendall(b"".join(frames))
                frames, length = [], 0
        self.sock.sendall(b"".join(frames))

    def deliver(self):
        """The next message: (tag, redelivered, body)."""
        method = self._expect(BASIC, 60)
        tag, again = struct.unpack(">Q?", method[1 + method[0]:][:9])
        left, body = struct.unpack(">Q", self._frame()[1][4:12])[0], b""
        while len(body) < left:
            body += self._frame()[1]
        return tag, again, body

    def ack(self, tag):
        self._send(1, BASIC, 80, struct.pack(">Q?", tag, False))

    def _frame(self):
        kind, _, size = struct.unpack(">BHI", self._read(7))
        return kind, self._read(size + 1)[:-1]

    def _send(self, channel, class_id, method, arguments):
        payload = struct.pack(">HH", class_id, method) + arguments
        self.sock.sendall(struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce")

    def _read(self, count):
        data = self.input.read(count)
        if len(data) < count:
            raise AmqpError("the broker closed the connection")
        return data

    def _expect(self, class_id, method):
        while True:
            kind, payload = self._frame()
            if kind == 8:  # a heartbeat
                continue
            got = struct.unpack(">HH", payload[:4]) if kind == 1 else None
            if got == (class_id, method):
                return payload[4:]
            if got == (BASIC, 30):
                raise AmqpError("the broker has cancelled the consumer")
            if got in ((CONNECTION, 50), (CHANNEL, 40)):
                code, length = struct.unpack(">HB", payload[4:7])
                raise AmqpError(f"{code} {payload[7:7 + length].decode(errors='replace')}")
            raise AmqpError(f"the broker sent {got} where ({class_id}, {method}) was due")
