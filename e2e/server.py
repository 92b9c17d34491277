"""Starts and stops the real server for a test, on free ports of 127.0.0.1 and its own data folder."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
LISTENERS = ("mqtt", "mqtts", "http", "https", "voice")
BINARY = pathlib.Path(os.environ.get("SAFEPORT_BINARY", ROOT / "target" / "debug" / "safeport"))


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago. All are held until all are chosen, so none repeats. Workers of pytest-xdist
    have ports of their own, below those that the kernel gives to connections: they cannot take each other's."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    holders = []
    while len(holders) < count:
        port = random.randrange(20000, 23000) + 3000 * (int(worker[2:]) % 4) if worker else 0
        try:
            # Of all addresses: some servers of tests listen at another one.
            holders.append(socket.create_server(("", port)))
        except OSError:
            if not worker:
                raise
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def client(name: str) -> str:
    """The path of a real client program. Missing is a failure: these tests exist to meet real clients."""
    found = shutil.which(name)
    assert found, f"{name} is not installed; `./check` installs it, or, on Debian, apt-get does"
    return found


class Safeport:
    """The real binary. `user` and friends run its command line against the same data folder."""

    name = "safeport"

    def __init__(self, folder: pathlib.Path, *, open_to_all=True, environment=None, arguments=(), before="",
                 settings: dict[str, str] | None = None, host="127.0.0.1"):
        """`settings`: sections and their lines. The listeners are then bound in a `safeport.toml` and not by
        variables, so that a test can change them while the server runs."""
        self.folder, self.host = folder, host
        self.data = folder / "data"
        self.mqtt_port, self.mqtts_port, self.http_port, self.https_port, self.voice_port = free_ports(5)
        self.mqtt, self.mqtts, self.http, self.https = (
            (host, port) for port in (self.mqtt_port, self.mqtts_port, self.http_port, self.https_port))
        self.open_to_all, self.arguments, self.before = open_to_all, list(arguments), before
        binds = {listener: f"{host}:{getattr(self, listener + '_port')}" for listener in LISTENERS}
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFEPORT__")}
        if settings is None:
            self.environment |= {f"SAFEPORT__{name.upper()}__BIND": bind for name, bind in binds.items()}
        else:
            self.write_settings(settings, binds)
        self.environment |= environment or {}
        self.process: subprocess.Popen | None = None
        self.log_path = folder / "server.log"
        self.has_websocket = self.has_tls = True

    @property
    def file(self) -> pathlib.Path:
        return self.folder / "safeport.toml"

    def write_settings(self, settings: dict[str, str], binds: dict[str, str]):
        """A listener's section gets its bind, unless it says `bind` itself."""
        sections = {name: f'bind = "{bind}"' for name, bind in binds.items()}
        for name, lines in settings.items():
            bind = sections.get(name)
            sections[name] = f"{bind}\n{lines}" if bind and "bind =" not in lines else lines
        self.file.write_text("".join(f"[{name}]\n{lines}\n\n" for name, lines in sections.items()))

    def start_degraded(self) -> "Safeport":
        """As `start`, for a server that is expected to serve with settings of before."""
        return self.start(healthy=False)

    def start(self, healthy=True) -> "Safeport":
        assert BINARY.exists(), f"{BINARY} is missing: run `cargo build -p safeport` first"
        command = [str(BINARY), "serve", "--data", str(self.data)] + ["--open"] * self.open_to_all + self.arguments
        if self.before:
            command = ["bash", "-c", f"{self.before}; exec \"$@\"", "serve", *command]
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=self.environment, cwd=self.folder)
        self.wait_ready(healthy)
        return self

    def wait_ready(self, healthy=True, seconds=20.0):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log_text()}")
            with contextlib.suppress(OSError):
                if self.get("/healthz", timeout=1)[0] == 200 or not healthy:
                    return
            time.sleep(0.05)
        raise AssertionError(f"the server was not ready after {seconds} s:\n{self.log_text()}")

    def get(self, path: str, timeout=5.0) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.http_port}{path}", timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """Sum over all label sets of one metric."""
        status, body = self.get("/metrics")
        assert status == 200
        rows = [line for line in body.splitlines() if line.split("{")[0].split(" ")[0] == name]
        assert rows, f"no metric {name} in /metrics; there are: " + " ".join(
            sorted({line.split('{')[0].split(' ')[0] for line in body.splitlines() if not line.startswith('#')}))
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def cli(self, *arguments: str, check=True, stdin=None, **variables: str) -> subprocess.CompletedProcess:
        """Runs `safeport ARGUMENTS --data DIR`, with more variables in its environment."""
        done = subprocess.run([str(BINARY), *arguments, "--data", str(self.data)], text=True, timeout=30,
                              input=stdin, capture_output=True, env=self.environment | variables, cwd=self.folder)
        if check:
            assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str):
        """What a command prints with `--json`."""
        return json.loads(self.cli(*arguments, "--json").stdout)

    def tls_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    @property
    def ca(self) -> pathlib.Path:
        return self.data / "pki" / "ca.pem"

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, seconds=15.0) -> int:
        """SIGTERM to our own child, then its exit code. A server that does not end is a failure."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not end within {seconds} s of SIGTERM:\n{self.log_text()[-3000:]}")
        finally:
            self.log.close()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


class Mosquitto(Safeport):
    """Debian's mosquitto in the server's place (`pytest --peer mosquitto`): shows whether a failing test is
    our reading of the specification or our bug. Tests of our own command line are left out then."""

    name = "mosquitto"

    def __init__(self, folder: pathlib.Path, **_):
        super().__init__(folder)
        self.has_tls = False

    def start(self):
        config = self.folder / "mosquitto.conf"
        config.write_text(f"listener {self.mqtt_port} 127.0.0.1\nallow_anonymous true\nmax_topic_alias 10\n"
                          f"listener {self.http_port} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n"
                          "sys_interval 1\n")
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen([client("mosquitto"), "-c", str(config)], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(self.mqtt, 1).close()
                return self
            time.sleep(0.05)
        raise AssertionError(self.log_text())


@contextlib.contextmanager
def serving(kind=Safeport, **options):
    """A server for one `with` block; its log is shown when the block fails."""
    with tempfile.TemporaryDirectory(prefix="safeport-e2e-") as folder:
        server = kind(pathlib.Path(folder), **options)
        try:
            server.start()
            yield server
        except BaseException:
            print(f"--- log of the {server.name} that served this test ---\n{server.log_text()[-4000:]}")
            raise
        finally:
            server.stop()
