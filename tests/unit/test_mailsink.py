# SPDX-License-Identifier: MIT
"""The local stack's mail sink: what it keeps, and what it refuses."""
import contextlib
import glob
import os
import resource
import smtplib
import socket
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import daemon
from wait import wait_until

HELLO = b"EHLO x\r\n"
ENVELOPE = b"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\n"


class Sink:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.port = daemon.free_port()
        self.process = subprocess.Popen([sys.executable, os.path.join(ROOT, "tools/stacklib/mailsink.py"), str(self.port),
                                         self.folder.name], stdout=subprocess.PIPE, text=True)
        assert "listening" in self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(10)
        self.process.stdout.close()
        self.folder.cleanup()
        assert code == 0, code

    def kept(self):
        """Of all messages, oldest first, the bytes."""
        found = []
        for name in sorted(glob.glob(os.path.join(self.folder.name, "*.eml"))):
            with open(name, "rb") as message:
                found.append(message.read())
        assert not glob.glob(os.path.join(self.folder.name, ".*"))
        return found

    def talk(self, *parts):
        """All that is answered to these parts, each sent in a write of its own, until the end."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in parts:
                client.sendall(part)
            said = b""
            while more := client.recv(1 << 16):
                said += more
        return said.decode().split("\r\n")


def test_keeps_the_envelope_and_the_message():
    with Sink() as sink:
        with smtplib.SMTP("127.0.0.1", sink.port) as client:
            client.sendmail("a@b.c", ["x@y.z", "q@r.s"], "Subject: x\r\n\r\n.dot\r\n..two\r\n.\r\nend")
            client.sendmail("", ["x@y.z"], "second")
            client.sendmail("ä@b.c", ["x@y.z"], "third", mail_options=["SMTPUTF8"])
        assert sink.kept() == [
            b"X-Envelope-From: <a@b.c>\r\nX-Envelope-To: <x@y.z>\r\nX-Envelope-To: <q@r.s>\r\n"
            b"Subject: x\r\n\r\n.dot\r\n..two\r\n.\r\nend\r\n",
            b"X-Envelope-From: <>\r\nX-Envelope-To: <x@y.z>\r\nsecond\r\n",
            "X-Envelope-From: <ä@b.c>\r\nX-Envelope-To: <x@y.z>\r\nthird\r\n".encode()]


def test_a_message_in_any_pieces_and_many_in_one():
    whole = HELLO + 2 * (ENVELOPE + b"DATA\r\n.\r\n" + ENVELOPE + b"DATA\r\nA: b\r\n\r\n..c\r\n.\r\n") + b"QUIT\r\n"
    kept = 2 * [b"", b"A: b\r\n\r\n.c\r\n"]
    for parts in ([whole], [whole[:90], whole[90:]], [whole[i:i + 7] for i in range(0, len(whole), 7)]):
        with Sink() as sink:
            said = sink.talk(*parts)
            assert [line[:3] for line in said if line.startswith(("354", "221"))] == 4 * ["354"] + ["221"], said
            assert [one.split(b"<d@e.f>\r\n")[1] for one in sink.kept()] == kept


def test_what_it_refuses():
    rows = [(b"NONSENSE\r\n", "502"), (b"MAIL FROM:<a@b.c>\r\n", "503"), (HELLO + b"RCPT TO:<a@b.c>\r\n", "503"),
            (HELLO + b"MAIL FROM:a@b.c\r\n", "501"), (HELLO + b"MAIL FROM:<a@b.c> SIZE=99999999999\r\n", "552"),
            (HELLO + b"MAIL FROM:<a@b.c> HOW=so\xff\r\n", "555"), (HELLO + "MAIL FROM:<ä@b.c>\r\n".encode(), "553"),
            (HELLO + b"MAIL FROM:<a@b.c>\r\nMAIL FROM:<a@b.c>\r\n", "503"),
            (HELLO + b"MAIL FROM:<a@b.c>\r\nRCPT TO:<>\r\n", "553"),
            (HELLO + b"MAIL FROM:<a@b.c>\r\nDATA\r\n", "503"), (HELLO + ENVELOPE + b"DATA now\r\n", "501"),
            (HELLO + b"MAIL FROM:<a@b.c>\r\n" + 101 * b"RCPT TO:<d@e.f>\r\n", "452"), (5000 * b"x", "500")]
    with Sink() as sink:
        for sent, code in rows:
            said = sink.talk(sent + (b"QUIT\r\n" if code != "500" else b""))
            last = said[-3] if code != "500" else said[-2]
            assert last[:3] == code, (sent[-60:], said)
        assert not sink.kept()


def test_no_room_is_said_and_leaves_the_next_one_its_turn():
    with Sink() as sink:
        os.rmdir(sink.folder.name)
        said = sink.talk(HELLO + ENVELOPE + b"DATA\r\nA: b\r\n.\r\n" + b"QUIT\r\n")
        assert [line[:9] for line in said[-3:-1]] == ["451 4.3.0", "221 2.0.0"], said
        os.mkdir(sink.folder.name)
        sink.talk(HELLO + ENVELOPE + b"DATA\r\nA: b\r\n.\r\n" + b"QUIT\r\n")
        assert len(sink.kept()) == 1


def test_a_message_that_fits_in_part_is_not_kept():
    with Sink() as sink:
        resource.prlimit(sink.process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
        said = sink.talk(HELLO + ENVELOPE + b"DATA\r\n" + 5000 * b"x" + b"\r\n.\r\nQUIT\r\n")
        assert [line[:9] for line in said[-3:-1]] == ["451 4.3.0", "221 2.0.0"], said
        assert not sink.kept()


def test_one_client_too_many_is_told_so():
    with Sink() as sink, contextlib.ExitStack() as clients:
        def connect():
            client = clients.enter_context(socket.create_connection(("127.0.0.1", sink.port), 10))
            return client, client.recv(100)

        first, said = connect()
        assert said.startswith(b"220"), said
        assert all(connect()[1].startswith(b"220") for _ in range(199))
        assert connect()[1].startswith(b"421")
        first.sendall(b"QUIT\r\n")
        first.recv(100)
        assert first.recv(100) == b""
        wait_until(lambda: connect()[1].startswith(b"220"), 10, "a free place")
