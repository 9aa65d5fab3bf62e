# SPDX-License-Identifier: MIT
"""A TCP proxy in front of a server that can be cut, stalled, slowed and closed from a test."""
import contextlib
import re
import socket
import struct
import threading
import time
import urllib.parse

from ports import free_port


class Proxy:
    def __init__(self, host, port):
        self.target = (host, port)
        self.lock = threading.Lock()
        self.pairs = set()
        self.delay_s = 0.0
        self.flowing = threading.Event()
        self.flowing.set()
        self.deaf = False
        self.listener = None
        self.port = free_port()
        self.accepted = 0
        self.open()

    def open(self):
        """Listens, on the same port each time."""
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self):
        """Refuses new connections and resets the open ones: a server that is away."""
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.reset()

    def reset(self):
        """Ends every connection by RST."""
        with self.lock:
            pairs, self.pairs = self.pairs, set()
        for pair in pairs:
            for s in pair:
                try:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    s.shutdown(socket.SHUT_RD)
                except OSError:
                    pass
                s.close()
        return len(pairs)

    def stall(self):
        """Keeps connections open and passes nothing on: a frozen server or a cut cable."""
        self.flowing.clear()

    def swallow(self):
        """Passes on what clients send and drops every answer: the cable is cut between the two."""
        self.deaf = True

    def flow(self):
        self.deaf = False
        self.flowing.set()

    def connections(self):
        with self.lock:
            return len(self.pairs)

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        self.flowing.wait()
        try:
            server = socket.create_connection(self.target, 5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for s in (client, server):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (client, server)
        with self.lock:
            self.pairs.add(pair)
        back = threading.Thread(target=self._pump, args=(server, client, pair), daemon=True)
        back.start()
        self._pump(client, server, pair)

    def _pump(self, source, sink, pair):
        try:
            while data := source.recv(65536):
                self.flowing.wait()
                if self.deaf and source is pair[1]:
                    continue
                if self.delay_s:
                    time.sleep(self.delay_s)
                sink.sendall(data)
        except OSError:
            pass
        with self.lock:
            self.pairs.discard(pair)
        for s in pair:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()


def through(url, proxy):
    """The server's URL with the proxy's port."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=re.sub(r":\d+$", f":{proxy.port}", parts.netloc)).geturl()


@contextlib.contextmanager
def behind(url):
    """A proxy in front of the server of this URL, and the URL that leads through the proxy."""
    parts = urllib.parse.urlsplit(url)
    proxy = Proxy(parts.hostname, parts.port)
    try:
        yield proxy, through(url, proxy)
    finally:
        proxy.flow()
        proxy.close()
