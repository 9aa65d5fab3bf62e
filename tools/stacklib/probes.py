# SPDX-License-Identifier: MIT
"""Asks a server in its own protocol whether it is usable. Each probe returns None or raises
ProbeError (or OSError) with the reason. No probe waits longer than a few seconds."""
import base64
import http.client
import json
import smtplib
import socket
import ssl
import struct
from urllib.parse import unquote, urlsplit

TIMEOUT = 5


class ProbeError(Exception):
    pass


def _connect(url, default_port):
    parts = urlsplit(url.split(",")[0])
    host = parts.hostname or "127.0.0.1"
    return socket.create_connection((host, parts.port or default_port), TIMEOUT), parts


def _tls_only(url, default_port):
    """With TLS, the probe does only the handshake. It sends no password, because it cannot check the
    server's certificate here."""
    plain, parts = _connect(url, default_port)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(plain, server_hostname=parts.hostname):
        pass


def _exactly(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ProbeError("closed the connection")
        data += part
    return data


# --- AMQP 0-9-1: a handshake with authentication, as any client does it

def _amqp_method(sock):
    kind, _, size = struct.unpack(">BHI", _exactly(sock, 7))
    payload = _exactly(sock, size + 1)[:-1]
    if kind != 1:
        raise ProbeError(f"sent a frame of type {kind} in the handshake")
    return struct.unpack(">HH", payload[:4]), payload[4:]


def _amqp_send(sock, class_id, method, arguments):
    payload = struct.pack(">HH", class_id, method) + arguments
    sock.sendall(struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce")


def _amqp_expect(sock, method):
    got, arguments = _amqp_method(sock)
    if got == (10, 50):
        code, size = struct.unpack(">HB", arguments[:3])
        raise ProbeError(f"{code} {arguments[3:3 + size].decode(errors='replace')}")
    if got != (10, method):
        raise ProbeError(f"answered method {got}")
    return arguments


def amqp(url):
    if url.startswith("amqps:"):
        return _tls_only(url, 5671)
    sock, parts = _connect(url, 5672)
    user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
    vhost = unquote(parts.path[1:]).encode() if len(parts.path) > 1 else b"/"
    with sock:
        sock.sendall(b"AMQP\x00\x00\x09\x01")
        _amqp_expect(sock, 10)
        answer = b"\0" + user.encode() + b"\0" + password.encode()
        _amqp_send(sock, 10, 11, struct.pack(">I", 0) + b"\x05PLAIN"
                   + struct.pack(">I", len(answer)) + answer + b"\x05en_US")
        tune = _amqp_expect(sock, 30)
        _amqp_send(sock, 10, 31, tune[:6] + b"\0\0")
        _amqp_send(sock, 10, 40, bytes([len(vhost)]) + vhost + b"\0\0")
        _amqp_expect(sock, 41)
        _amqp_send(sock, 10, 50, struct.pack(">HBHH", 200, 0, 0, 0))
        _amqp_expect(sock, 51)
    return None


def http_get(host, port, path, user=None, password=None, timeout=TIMEOUT):
    """(status, body) of one GET."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        headers = {}
        if user is not None:
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ProbeError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()


# --- Redis

def redis(url):
    if url.startswith("rediss:"):
        return _tls_only(url, 6379)
    sock, parts = _connect(url, 6379)
    with sock, sock.makefile("rb") as answers:
        def ask(*words):
            sock.sendall(b"*%d\r\n" % len(words)
                         + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            return answers.readline().strip().decode(errors="replace")
        if parts.password:
            words = [unquote(w).encode() for w in (parts.username, parts.password) if w]
            answer = ask(b"AUTH", *words)
            if answer != "+OK":
                raise ProbeError(f"AUTH: {answer}")
        answer = ask(b"PING")
        if answer != "+PONG":
            raise ProbeError(f"PING: {answer or 'closed the connection'}")
    return None


# --- MongoDB: commands as OP_MSG, in the little BSON they need

def _bson(value):
    body = b""
    for key, item in value.items():
        name = key.encode() + b"\0"
        if isinstance(item, bool):
            body += b"\x08" + name + bytes([item])
        elif isinstance(item, int):
            body += b"\x10" + name + struct.pack("<i", item)
        elif isinstance(item, str):
            text = item.encode() + b"\0"
            body += b"\x02" + name + struct.pack("<i", len(text)) + text
        elif isinstance(item, list):
            body += b"\x04" + name + _bson({str(i): v for i, v in enumerate(item)})
        else:
            body += b"\x03" + name + _bson(item)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _mongo_ask(sock, document):
    """The raw answer to one command; raises if its bytes contain no `ok: 1`."""
    message = struct.pack("<iiiiI", 0, 1, 0, 2013, 0) + b"\0" + _bson(document)
    sock.sendall(struct.pack("<i", len(message)) + message[4:])
    size = struct.unpack("<i", _exactly(sock, 4))[0]
    answer = _exactly(sock, size - 4)
    fine = (b"\x01ok\0" + struct.pack("<d", 1.0), b"\x10ok\0" + struct.pack("<i", 1))
    if not any(mark in answer for mark in fine):
        where = answer.find(b"\x02errmsg\0")
        reason = answer[where + 12:].split(b"\0")[0] if where >= 0 else b"no ok in the answer"
        raise ProbeError(f"{next(iter(document))}: {reason.decode(errors='replace')}")
    return answer


def mongo(url, write=False):
    if url.startswith("mongodb+srv:"):
        return None  # needs DNS and always uses TLS: left to the clients
    sock, parts = _connect(url, 27017)
    with sock:
        if "tls=true" in parts.query or "ssl=true" in parts.query:
            sock.close()
            return _tls_only(url, 27017)
        _mongo_ask(sock, {"hello": 1, "$db": "admin"})
        _mongo_ask(sock, {"ping": 1, "$db": "admin"})
        if write:
            mark = {"_id": "probe", "n": 1}
            _mongo_ask(sock, {"update": "probe", "$db": "onboard_stack",
                              "updates": [{"q": {"_id": "probe"}, "u": mark, "upsert": True}]})
            answer = _mongo_ask(sock, {"find": "probe", "$db": "onboard_stack",
                                       "filter": {"_id": "probe"}, "limit": 1})
            if b"probe\0" not in answer.split(b"firstBatch")[-1]:
                raise ProbeError("what was written cannot be read")
    return None


# --- SMTP

def smtp(url):
    parts = urlsplit(url)
    if parts.scheme == "smtps":
        return _tls_only(url, 465)
    try:
        with smtplib.SMTP(parts.hostname, parts.port or 25, timeout=TIMEOUT) as client:
            code, text = client.ehlo()
            if code != 250:
                raise ProbeError(f"EHLO: {code} {text.decode(errors='replace')}")
    except smtplib.SMTPException as error:
        raise ProbeError(str(error)) from error
    return None


def health(address):
    """The state that a daemon's admin listener reports."""
    host, _, port = address.rpartition(":")
    status, body = http_get(host, int(port), "/health", timeout=2)
    if status != 200:
        raise ProbeError(f"/health: {status}")
    try:
        return str(json.loads(body).get("status", "ok"))
    except (ValueError, AttributeError):
        return "ok"
