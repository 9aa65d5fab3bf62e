# SPDX-License-Identifier: MIT
"""Certificates, and a TLS end in front of a server that speaks none: as RabbitMQ and MongoDB have it, or
asked for inside the protocol, as PostgreSQL has it."""
import select
import socket
import ssl
import struct
import subprocess
import threading

SSL_REQUEST = struct.pack("!II", 8, 80877103)


def certificate(folder, name, host, expired=False):
    """A self-signed one, which is its own authority; expired: since yesterday."""
    base = f"{folder}/{name}"
    request = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{base}.key", "-subj", f"/CN={host}",
               "-addext", f"subjectAltName=DNS:{host}"]
    if expired:
        subprocess.run([*request, "-out", f"{base}.csr"], check=True, stderr=subprocess.DEVNULL)
        sign = ["openssl", "x509", "-req", "-in", f"{base}.csr", "-signkey", f"{base}.key", "-copy_extensions", "copy",
                "-out", f"{base}.pem"]
        # OpenSSL 3.5 refuses days below 0, and 3.0 has no dates.
        if subprocess.run([*sign, "-not_before", "20250101000000Z", "-not_after", "20250102000000Z"], check=False,
                          stderr=subprocess.DEVNULL).returncode != 0:
            subprocess.run([*sign, "-days", "-1"], check=True, stderr=subprocess.DEVNULL)
    else:
        subprocess.run([*request, "-x509", "-days", "2", "-out", f"{base}.pem"], check=True,
                       stderr=subprocess.DEVNULL)
    return f"{base}.pem"


def context(pem):
    """A server's, with this certificate."""
    got = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    got.load_cert_chain(pem, pem[:-len("pem")] + "key")
    return got


class End:
    """TLS outside, the plain server inside; one thread a connection, which both directions share."""

    def __init__(self, pem, host, port, postgres=False):
        self.context = context(pem)
        self.target, self.postgres = (host, port), postgres
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client = self.listener.accept()[0]
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        server = None
        try:
            if self.postgres:
                if client.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
                    return
                client.sendall(b"S")
            client = self.context.wrap_socket(client, server_side=True)
            server = socket.create_connection(self.target)
            while True:
                ready = [client] if client.pending() else select.select([client, server], [], [])[0]
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)
        except OSError:
            pass
        finally:
            client.close()
            if server:
                server.close()
