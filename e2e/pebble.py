"""Let's Encrypt's test authority `pebble` on free ports of 127.0.0.1, with a name server for the names it looks up.

It really validates: names lead to 127.0.0.1, at the ports of the server under test.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import ssl
import subprocess
import time
import urllib.request

from server import client, free_ports

DAY = 24 * 3600


class Authority:
    """`http` and `tls` are the ports at which names are proved: those of the server under test."""

    def __init__(self, folder: pathlib.Path, http: int, tls: int, lifetime=90 * DAY):
        folder.mkdir()
        self.folder = folder
        self.api, self.roots, self.dns, self.names = free_ports(4)
        self.log_path = folder / "pebble.log"
        self.ca_file = folder / "api.pem"
        subprocess.run([client("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "3650", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-addext", "basicConstraints=critical,CA:FALSE",
                        "-keyout", folder / "api.key", "-out", self.ca_file], check=True, capture_output=True)
        (folder / "pebble.json").write_text(json.dumps({"pebble": {
            "listenAddress": f"127.0.0.1:{self.api}", "managementListenAddress": f"127.0.0.1:{self.roots}",
            "certificate": str(self.ca_file), "privateKey": str(folder / "api.key"),
            "httpPort": http, "tlsPort": tls, "ocspResponderURL": "", "certificateValidityPeriod": lifetime}}))
        self.directory = f"https://127.0.0.1:{self.api}/dir"
        self.log = open(self.log_path, "ab")
        self.process = None
        self.resolver = subprocess.Popen(
            [client("pebble-challtestsrv"), "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "",
             "-dns01", f"127.0.0.1:{self.dns}", "-management", f"127.0.0.1:{self.names}"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def start(self) -> "Authority":
        self.process = subprocess.Popen(
            [client("pebble"), "-config", str(self.folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{self.dns}"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env=os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"})
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.root()
                return self
            time.sleep(0.05)
        raise AssertionError(f"pebble is not up:\n{self.log_text()}")

    def stop(self):
        """As an outage: everything it knew is gone, accounts and its own keys too."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self):
        self.stop()
        self.resolver.kill()
        self.resolver.wait()
        self.log.close()

    def root(self) -> str:
        """The root certificate of what it issues, as PEM."""
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(f"https://127.0.0.1:{self.roots}/roots/0", timeout=5, context=trust) as answer:
            return answer.read().decode()

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace")

    def orders(self) -> int:
        """How many orders were placed."""
        return self.log_text().count("Added order")

    def hook(self, before="") -> pathlib.Path:
        """A program for `acme.dns_hook`; `before` is shell that it runs first. What it does is in `hook.log`."""
        path = self.folder / "hook.sh"
        path.write_text(f"""#!/bin/bash
{before}
echo "$1 $2 $3" >> {self.folder}/hook.log
case $1 in
    present) curl -sf -d '{{"host":"'$2'.","value":"'$3'"}}' http://127.0.0.1:{self.names}/set-txt ;;
    cleanup) curl -sf -d '{{"host":"'$2'."}}' http://127.0.0.1:{self.names}/clear-txt ;;
esac
""")
        path.chmod(0o755)
        return path

    def hooked(self) -> list[list[str]]:
        """The words of every call of the hook."""
        log = self.folder / "hook.log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


class Clock:
    """The wall clock of the server under test, which a test moves while it runs (libfaketime). Waiting is not affected."""

    def __init__(self, folder: pathlib.Path):
        self.path = folder / "clock"
        self.move(0)
        found = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert found, "libfaketime is not installed; `./check` installs it, or, on Debian, `apt-get install faketime`"
        self.environment = {"LD_PRELOAD": str(found[0]), "FAKETIME_TIMESTAMP_FILE": str(self.path),
                            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_CACHE_DURATION": "1"}

    def move(self, seconds: float):
        """To so much before or after the true time."""
        new = self.path.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}s\n")
        new.replace(self.path)
