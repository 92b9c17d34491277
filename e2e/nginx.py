"""Debian's nginx as the reverse proxy in front of a server, in the foreground and with everything in one folder."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time

from server import client

CONFIG = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx.log info;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {listen};
{tls}
        location / {{
            proxy_pass {backend};
            proxy_set_header Host $http_host;
            proxy_read_timeout 3600s;
{upgrade}
        }}
    }}
}}
"""

# What nginx's own documentation asks for WebSockets; without it they do not get through.
UPGRADE = """            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
"""


class Nginx:
    def __init__(self, folder: pathlib.Path, host: str, port: int, backend: str, *, certificate=None):
        self.folder, self.host, self.port = folder, host, port
        self.file = folder / "nginx.conf"
        self.certificate = certificate
        folder.mkdir()
        self.write(backend)
        self.process = None

    def write(self, backend: str, upgrade=True):
        tls = "" if self.certificate is None else (
            f"        ssl_certificate {self.certificate[0]};\n        ssl_certificate_key {self.certificate[1]};\n")
        self.file.write_text(CONFIG.format(
            # Its workers keep the rights of the test, or they could not enter the test's folder.
            user="user root;" if os.geteuid() == 0 else "", folder=self.folder, backend=backend, tls=tls,
            listen=f"{self.host}:{self.port}{' ssl' if tls else ''}", upgrade=UPGRADE if upgrade else ""))

    def start(self) -> "Nginx":
        self.process = subprocess.Popen([client("nginx"), "-p", str(self.folder), "-c", str(self.file), "-e",
                                         str(self.folder / "nginx.log")], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection((self.host, self.port), 1).close()
                return self
            time.sleep(0.05)
        raise AssertionError((self.folder / "nginx.log").read_text())

    def change(self, backend: str, upgrade=True):
        """Another configuration, taken over as an administrator would: SIGHUP. Its old workers end."""
        self.write(backend, upgrade)
        old = self.workers()
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            new = self.workers()
            if new and not new & old:
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "nginx.log").read_text())

    def workers(self) -> set[str]:
        """Those that take connections; one that shuts down says so in its title."""
        found = set()
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in children:
            with contextlib.suppress(OSError):
                if b"shutting down" not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.add(pid)
        return found

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def own_address() -> str:
    """An IPv4 address of this machine that devices could reach. Asking for the way to an address of documentation
    sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
            address = probe.getsockname()[0]
        except OSError as error:
            raise AssertionError(f"this machine has no network, and the gate proves addresses only on one: {error}")
    assert not address.startswith("127."), address
    return address
