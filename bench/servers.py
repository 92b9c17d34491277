"""Servers of HTTP that bench/ota.py and bench/voice.py measure: each starts on free ports, with files of its own, and ends with its
context."""

import contextlib
import os
import pathlib
import socket
import subprocess
import tempfile
import time

import brokers


def own_address():
    """An address by which devices could reach this machine, since none is ever told a loopback one. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError as error:
            raise SystemExit(f"this machine has no network, and Safeport tells devices no loopback address: {error}")
        return probe.getsockname()[0]


class Server:
    """Runs while it is used as a context."""

    def __init__(self, host):
        self.host = host
        self.temporary = tempfile.TemporaryDirectory(prefix=f"bench-{self.name.replace(' ', '-')}-")
        self.folder = pathlib.Path(self.temporary.name)
        self.port, *self.more_ports = brokers.free_ports(5)
        self.process = None

    def prepare(self):
        """The command and its additional environment."""
        raise NotImplementedError

    def ready(self):
        """Sets up what the loads need, once it listens."""

    def __enter__(self):
        command, environment = self.prepare()
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("SAFEPORT_")} | environment
        with open(self.folder / "output.log", "wb") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment, cwd=self.folder)
        try:
            self.eventually("it does not listen", self.listens)
            self.ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.temporary.cleanup()

    def listens(self):
        with contextlib.suppress(OSError):
            socket.create_connection((self.host, self.port), 1).close()
            return True

    def eventually(self, otherwise, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"{self.name}: {otherwise}\n{self.last_words()}")
            time.sleep(0.05)
        return found

    def last_words(self):
        return (self.folder / "output.log").read_text(errors="replace")[-2000:]
