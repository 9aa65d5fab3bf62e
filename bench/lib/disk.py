# SPDX-License-Identifier: MIT
"""What the disk below the servers lets a commit wait for, whoever writes to it: 4 KiB and fdatasync,
fifty times a second, while a load runs."""
import os
import threading
import time

from servers import ROOT

EVERY_SECONDS = 0.02
SIZE = 4096


class Watch(threading.Thread):
    """As a context: longest_ms, of all that began within it."""

    def __init__(self, folder=os.path.join(ROOT, "build/bench")):
        super().__init__(daemon=True)
        self.longest_ms, self._over = 0.0, threading.Event()
        self._file = os.open(os.path.join(folder, "disk"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def run(self):
        while not self._over.wait(EVERY_SECONDS):
            began = time.monotonic()
            os.pwrite(self._file, bytes(SIZE), 0)
            os.fdatasync(self._file)
            self.longest_ms = max(self.longest_ms, (time.monotonic() - began) * 1000)

    def __enter__(self):
        os.pwrite(self._file, bytes(SIZE), 0)
        os.fsync(self._file)  # what the file system notes down of a new file is not what is measured
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()
        os.close(self._file)
