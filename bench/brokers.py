"""The brokers that bench/mqtt.py and bench/tls.py measure: each starts on free ports of 127.0.0.1, with files of its own, and ends with its context."""

import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_ports(count):
    """Ports that were free a moment ago. All are held until all are chosen, so none repeats."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


class Certificate:
    """Safeport's own authority and certificate for 127.0.0.1, which every broker serves: the same work for all. Safeport
    itself has both keys always, and takes the one that the client asks for."""

    def __init__(self, safeport, key="p256"):
        self.folder = tempfile.TemporaryDirectory(prefix="bench-pki-")
        data = pathlib.Path(self.folder.name)
        self.data = data
        # The server issues its certificates before it listens.
        with Safeport(safeport, certificate=self):
            pass
        self.ca = data / "pki" / "ca.pem"
        self.chain = data / "pki" / f"server-{key}.pem"
        self.key = data / "pki" / f"server-{key}.key"


class Broker:
    """A broker that runs while it is used as a context. `port` is plain MQTT, `tls_port` MQTT over TLS where there is a certificate."""

    environment = {}

    def __init__(self, program, certificate=None, durable=False):
        self.program, self.certificate, self.durable = program, certificate, durable
        self.temporary = tempfile.TemporaryDirectory(prefix=f"bench-{self.name}-")
        self.folder = pathlib.Path(self.temporary.name)
        self.port, self.tls_port, self.spare_port = free_ports(3)
        self.process = None

    def prepare(self):
        """Writes what the command needs, and returns the command and its additional environment."""
        raise NotImplementedError

    def command_line(self):
        """For a program that starts the broker itself: one line for a shell, behind `exec`."""
        command, environment = self.prepare()
        return shlex.join(["env", *(f"{key}={value}" for key, value in environment.items()), *map(str, command)])

    def __enter__(self):
        command, environment = self.prepare()
        self.log = open(self.folder / "output.log", "wb")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SAFEPORT__")}
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env={**inherited, **environment}, cwd=self.folder)
        ports = [self.port] + [self.tls_port] * (self.certificate is not None)
        deadline = time.monotonic() + 20
        while ports and time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", ports[0]), 1).close()
                ports.pop(0)
            except OSError:
                time.sleep(0.02)
        if ports:
            self.__exit__()
            raise SystemExit(f"{self.name} does not listen: {shlex.join(map(str, command))}\n{self.last_words}")
        time.sleep(0.3)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.last_words = (self.folder / "output.log").read_text(errors="replace")[-2000:]
        self.close()

    def close(self):
        self.temporary.cleanup()


class Safeport(Broker):
    name = "safeport"
    loops = 1
    settings = {}

    def prepare(self):
        environment = {
            "SAFEPORT__MQTT__BIND": f"127.0.0.1:{self.port}",
            "SAFEPORT__MQTTS__ENABLED": "true" if self.certificate else "false",
            "SAFEPORT__MQTTS__BIND": f"127.0.0.1:{self.tls_port}",
            "SAFEPORT__HTTP__ENABLED": "false",
            "SAFEPORT__HTTPS__ENABLED": "false",
            "SAFEPORT__ENGINE__LOOPS": str(self.loops),
            "SAFEPORT__LOG__LEVEL": "warn",
            # As mosquitto's `max_queued_messages 0`.
            "SAFEPORT__LIMITS__MAX_QUEUED_MESSAGES": "10000000",
            "SAFEPORT__LIMITS__MAX_QUEUED_BYTES": "16GiB",
            "SAFEPORT__LIMITS__MAX_STORED_BYTES": "16GiB",
            "SAFEPORT__LIMITS__MAX_RETAINED_MESSAGES": "10000000",
            "SAFEPORT__LIMITS__MAX_RETAINED_BYTES": "16GiB",
            "SAFEPORT__LIMITS__MAX_SUBSCRIPTIONS_PER_CLIENT": "1000000",
            **self.settings,
        }
        data = self.folder / "data"
        if self.certificate:
            # The folder with the certificate's authority serves one broker at a time.
            data = self.certificate.data
        return [self.program, "serve", "--open", "--data", data], environment


class Mosquitto(Broker):
    name = "mosquitto"

    def prepare(self):
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "set_tcp_nodelay true", "max_queued_messages 0",
                 "log_type error"]
        if os.geteuid() == 0:
            # It would give its rights up, and with them its folder.
            lines.append("user root")
        if self.durable:
            lines += ["persistence true", f"persistence_location {self.folder}/"]
        if self.certificate:
            lines += [f"listener {self.tls_port} 127.0.0.1", f"certfile {self.certificate.chain}",
                      f"keyfile {self.certificate.key}"]
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        return [self.program, "-c", config], {}


class Rumqttd(Broker):
    name = "rumqttd"

    def prepare(self):
        connections = ("connection_timeout_ms = 60000\nmax_payload_size = 2097152\nmax_inflight_count = 100\n"
                       "dynamic_filters = true\n")
        text = ("id = 0\n[router]\nid = 0\nmax_connections = 20000\nmax_outgoing_packet_count = 200\n"
                "max_segment_size = 104857600\nmax_segment_count = 10\n")
        for kind, number, port in [("v4", 1, self.port), ("v5", 1, self.spare_port)] + [("v4", 2, self.tls_port)] * bool(self.certificate):
            text += (f"[{kind}.{number}]\nname = \"{kind}-{number}\"\nlisten = \"127.0.0.1:{port}\"\n"
                     f"next_connection_delay_ms = 0\n")
            if number == 2:
                text += f"[{kind}.2.tls]\ncertpath = \"{self.certificate.chain}\"\nkeypath = \"{self.certificate.key}\"\n"
            text += f"[{kind}.{number}.connections]\n{connections}"
        config = self.folder / "rumqttd.toml"
        config.write_text(text)
        return [self.program, "--config", config, "--quiet"], {}


def build_rumqttd(folder):
    """rumqttd 0.20.0 from its crate, built once with one job into `folder`."""
    folder = pathlib.Path(folder).resolve()
    program = folder / "bin" / "rumqttd"
    if not program.exists():
        print(f"building rumqttd 0.20.0 in {folder}; some minutes, once", file=sys.stderr)
        subprocess.run(["cargo", "install", "rumqttd", "--version", "0.20.0", "--root", folder, "-j", "1"], check=True,
                       env={**os.environ, "CARGO_TARGET_DIR": str(folder / "target")})
    return program
