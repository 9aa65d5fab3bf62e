# SPDX-License-Identifier: MIT
"""A mail server that misbehaves as told: real SMTP over a real socket, and a list of what it accepted.

  server.answers[verb] = ["451 4.3.0 later", …]   the next answers to EHLO, STARTTLS, MAIL, RCPT, DATA, BODY ("." ended
                                                  it), taken one by one; then as a good server
  server.rules = lambda verb, line: "550 …"       or None; asked where no answer is listed
  Answers that are none: "close" (the connection ends there), "hang" (no answer ever)."""
import base64
import email
import email.policy
import socket
import threading

from ports import free_port


class Mail:
    def __init__(self, sender, to, data, tls, login):
        self.sender, self.to, self.data, self.tls, self.login = sender, to, data, tls, login
        self.message = email.message_from_bytes(data, policy=email.policy.default)


class Server:
    def __init__(self, tls=None, login=None, implicit=False):
        """tls: an ssl.SSLContext for STARTTLS, or from the start; login: (user, password) that it wants."""
        self.tls, self.login, self.implicit = tls, login, implicit
        self.answers, self.rules, self.delay_s = {}, lambda verb, line: None, 0.0
        self.lock, self.mails, self.seen, self.connections = threading.Lock(), [], [], 0
        self.clear = []  # the lines that came unencrypted
        self.listener, self.port, self.open_sockets = None, free_port(), set()
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"smtp{'s' if self.implicit else ''}://127.0.0.1:{self.port}"

    def start(self):
        """Listens, on the same port each time."""
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        """Refuses new connections and ends the open ones."""
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self.lock:
            sockets = list(self.open_sockets)
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def to(self, address):
        """The mails to this address."""
        with self.lock:
            return [m for m in self.mails if m.to == address]

    def verbs(self, verb):
        with self.lock:
            return sum(1 for line in self.seen if line.upper().startswith(verb))

    def _accept(self, listener):
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open_sockets.add(s)
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        session = Session(self, s)
        try:
            session.run()
        except (OSError, EOFError):
            pass
        finally:
            with self.lock:
                self.open_sockets.discard(session.sock)
            session.sock.close()

    def answer(self, verb, line):
        with self.lock:
            listed = self.answers.get(verb)
            return (listed.pop(0) if listed else None) or self.rules(verb, line)


class Session:
    def __init__(self, server, s):
        self.server, self.sock, self.input = server, s, None
        self.secure, self.user, self.sender, self.recipient = False, None, None, None

    def _wrap(self):
        plain = self.sock
        self.sock = self.server.tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with self.server.lock:  # the plain one is none any more
            self.server.open_sockets.discard(plain)
            self.server.open_sockets.add(self.sock)
        self.sock.do_handshake()
        self.input, self.secure = self.sock.makefile("rb"), True

    def say(self, text):
        self.sock.sendall(text.encode() + b"\r\n")

    def told(self, verb, line, good):
        """Says what is listed for it, or good; whether the mail goes on."""
        text = self.server.answer(verb, line) or good
        if text == "close":
            raise EOFError
        if text == "hang":
            self.sock.recv(1 << 20)
            while self.sock.recv(1 << 20):
                pass
            raise EOFError
        self.say(text)
        if text.startswith("421"):
            raise EOFError
        return text[0] in "23"

    def run(self):
        if self.server.implicit:
            self._wrap()
        else:
            self.input = self.sock.makefile("rb")
        self.told("GREETING", "", "220 mail.test ready")
        while True:
            line = self.input.readline(4096).decode("utf-8", "replace").rstrip("\r\n")
            if not line:
                return
            with self.server.lock:
                self.server.seen.append(line)
                if not self.secure:
                    self.server.clear.append(line)
            verb = line.split(" ")[0].split(":")[0].upper()
            if verb == "QUIT":
                self.say("221 2.0.0 bye")
                return
            getattr(self, f"do_{verb.lower()}", self.do_other)(line)

    def do_ehlo(self, line):
        words = ["mail.test", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 1000000"]
        if self.server.tls and not self.secure:
            words.append("STARTTLS")
        if self.server.login:
            words.append("AUTH PLAIN")
        self.told("EHLO", line, "\r\n".join(f"250{' ' if w is words[-1] else '-'}{w}" for w in words))

    def do_starttls(self, line):
        if self.told("STARTTLS", line, "220 go ahead"):
            self._wrap()

    def do_auth(self, line):
        words = line.split(" ")
        if len(words) < 3:
            self.say("334 ")
            words.append(self.input.readline(4096).decode().strip())
        _, user, password = base64.b64decode(words[2]).decode().split("\0")
        if (user, password) == self.server.login:
            self.user = user
            self.say("235 2.7.0 welcome")
        else:
            self.say("535 5.7.8 no such login")

    def do_mail(self, line):
        if self.server.login and not self.user:
            self.say("530 5.7.0 who are you?")
        elif self.told("MAIL", line, "250 2.1.0 ok"):
            self.sender, self.recipient = line[line.index("<") + 1:line.index(">")], None

    def do_rcpt(self, line):
        to = line[line.index("<") + 1:line.index(">")]
        if self.told("RCPT", line, "250 2.1.5 ok"):
            self.recipient = to

    def do_data(self, line):
        if not self.told("DATA", line, "354 go ahead"):
            return
        data = b""
        while (part := self.input.readline(1 << 16)) != b".\r\n":
            if not part:
                return
            data += part[1:] if part.startswith(b".") else part
            if self.server.answer("LINE", "") == "close":
                raise EOFError
        if self.server.delay_s:
            threading.Event().wait(self.server.delay_s)
        text = self.server.answer("BODY", "") or "250 2.0.0 taken"
        if text[0] == "2" or text in ("close", "hang"):  # the worst: it took it and says nothing
            with self.server.lock:
                self.server.mails.append(Mail(self.sender, self.recipient, data, self.secure, self.user))
        if text == "close":
            raise EOFError
        if text == "hang":
            self.sock.recv(1)
            raise EOFError
        self.say(text)

    def do_other(self, _line):
        self.say("250 2.0.0 ok")
