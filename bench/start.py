#!/usr/bin/env python3
"""How long a start takes, and what it costs: Safeport beside Debian's mosquitto. The table "Starting" of docs/benchmarks.md.

    cargo build --release -p safeport && python3 bench/start.py

A start is counted from before fork and exec to the first CONNACK, to the first 200 of /healthz, and to the greeting, which
names the addresses that were proved. Settings are the defaults with free ports of 127.0.0.1, and nobody logs in. Programs
and data lie in the page cache, as after a restart; a start after boot also waits for the disk. Starts alternate between the
brokers. CPU is what the process's own clock says at the moment of the last of the three, and memory what is resident then.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

import brokers
from mqtt import written

CONNACK, HEALTHY, GREETED = "ms until CONNACK", "ms until /healthz says 200", "ms until the greeting"
CPU, RESIDENT, PRIVATE = "ms of CPU until then", "MB resident then", "— of these not shared with files"
ALL = [CONNACK, HEALTHY, GREETED, CPU, RESIDENT, PRIVATE]

# Time between two attempts to connect: what a figure is too large by, at most. Shorter ones would take a core from the start.
PAUSE = 0.0005
DEADLINE = 60
# Milliseconds that a start with keys may take until each of the three.
GOAL = 100


class Client:
    """Just enough of MQTT 3.1.1 to fill a broker."""

    def __init__(self, port, client_id, clean=True):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.reader = self.socket.makefile("rb")
        identifier = client_id.encode()
        body = b"\x00\x04MQTT\x04" + bytes([2 if clean else 0]) + b"\x00\x3c" + len(identifier).to_bytes(2, "big") + identifier
        self.send(0x10, body)
        kind, answer = self.receive()
        if kind != 0x20 or answer[1] != 0:
            raise SystemExit(f"{client_id} is not let in: {kind:#x} {answer.hex()}")

    def send(self, kind, body):
        length, rest = b"", len(body)
        while True:
            rest, digit = divmod(rest, 128)
            length += bytes([digit | (0x80 if rest else 0)])
            if not rest:
                break
        self.socket.sendall(bytes([kind]) + length + body)

    def receive(self):
        kind, length = self.reader.read(2)
        if length > 127:
            raise SystemExit("an answer longer than any that is expected")
        return kind, self.reader.read(length)

    def subscribe(self, topic):
        self.send(0x82, b"\x00\x01" + len(topic).to_bytes(2, "big") + topic.encode() + b"\x01")
        assert self.receive()[0] == 0x90, "no SUBACK"

    def retain(self, topic, payload):
        """At QoS 1; the acknowledgement is read later."""
        self.send(0x33, len(topic).to_bytes(2, "big") + topic.encode() + b"\x00\x01" + payload)

    def close(self):
        self.send(0xE0, b"")
        self.socket.close()


def fill(port, retained, sessions):
    """Retained messages of 256 B, and sessions that are kept, each with one subscription."""
    client = Client(port, "filler")
    for begun in range(0, retained, 20):
        burst = range(begun, min(begun + 20, retained))
        for number in burst:
            client.retain(f"kept/{number % 100}/{number}", f"{number:>256}".encode())
        for _ in burst:
            assert client.receive()[0] == 0x40, "no PUBACK"
    client.close()
    for number in range(sessions):
        session = Client(port, f"kept-{number}", clean=False)
        session.subscribe(f"to/{number}/#")
        session.close()


class Starting:
    """One broker with a folder of its own, which is started again and again."""

    def __init__(self, program):
        self.program = program
        self.temporary = tempfile.TemporaryDirectory(prefix=f"bench-start-{self.name}-")
        self.folder = pathlib.Path(self.temporary.name)
        self.port, self.http, *self.others = brokers.free_ports(4)

    def start(self):
        """Starts it and returns the process and what was measured."""
        command, environment = self.prepare()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SAFEPORT_")}
        watchers = {CONNACK: self.connack}
        if self.has_http:
            watchers |= {HEALTHY: self.healthy, GREETED: self.greeted}
        done, failed = {}, []
        with open(self.folder / "output.log", "wb") as log:
            begun = time.monotonic()
            process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                       env={**inherited, **environment}, cwd=self.folder)

        def watch(name, watcher):
            try:
                watcher(process, begun + DEADLINE)
                done[name] = (time.monotonic() - begun) * 1e3
            except (OSError, ValueError) as error:
                failed.append(f"{name}: {error}")

        threads = [threading.Thread(target=watch, args=pair) for pair in watchers.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            self.stop(process)
            words = (self.folder / "output.log").read_text(errors="replace")[-2000:]
            raise SystemExit(f"{self.name} did not start: {'; '.join(failed)}\n{words}")
        done[CPU] = cpu_seconds(process.pid) * 1e3
        resident, private = memory(process.pid)
        done[RESIDENT], done[PRIVATE] = resident / 1e6, private / 1e6
        return process, done

    def stop(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def once(self):
        process, done = self.start()
        self.stop(process)
        return done

    def keep(self, retained, sessions):
        process, _ = self.start()
        try:
            fill(self.port, retained, sessions)
        finally:
            self.stop(process)

    def forget(self):
        """The next start is the first one."""
        self.temporary.cleanup()
        self.folder.mkdir()

    def close(self):
        self.temporary.cleanup()

    def connack(self, process, deadline):
        hello = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04look"
        answer = ask(self.port, hello, 4, process, deadline)
        if answer[:1] != b"\x20" or answer[3:4] != b"\x00":
            raise ValueError(f"answered CONNECT with {answer.hex()}")

    def healthy(self, process, deadline):
        request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        while not (answer := ask(self.http, request, 12, process, deadline)).endswith(b" 200"):
            if time.monotonic() > deadline:
                raise ValueError(f"answers with {answer!r}")
            time.sleep(PAUSE)

    def greeted(self, process, _):
        """The greeting is one JSON document on stdout; `}` at the start of a line ends it."""
        for line in process.stdout:
            if line.startswith(b"}"):
                return
        raise ValueError("no greeting")


def ask(port, request, length, process, deadline):
    """Connects as soon as something listens, and reads `length` bytes of the answer."""
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), DEADLINE)
            break
        except ConnectionRefusedError:
            if process.poll() is not None:
                raise ValueError(f"it ended with {process.returncode}")
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
    with connection:
        connection.sendall(request)
        answer = b""
        while len(answer) < length:
            more = connection.recv(length - len(answer))
            if not more:
                break
            answer += more
        return answer


class Safeport(Starting):
    name = "safeport"
    has_http = True
    host = "127.0.0.1"

    def prepare(self):
        mqtts, https = self.others
        environment = {
            "SAFEPORT__MQTT__BIND": f"{self.host}:{self.port}",
            "SAFEPORT__MQTTS__BIND": f"{self.host}:{mqtts}",
            "SAFEPORT__HTTP__BIND": f"{self.host}:{self.http}",
            "SAFEPORT__HTTPS__BIND": f"{self.host}:{https}",
        }
        return [self.program, "--json", "serve", "--open", "--data", self.folder / "data"], environment

    def add_devices(self, count):
        """With the commands that people use."""
        for number in range(count):
            command = [self.program, "--json", "device", "add", "tasmota", "--name", f"plug-{number}", "--data",
                       self.folder / "data", "--host", "192.0.2.1"]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=DEADLINE)
            if done.returncode:
                raise SystemExit(f"device add: {done.stderr}")


class Everywhere(Safeport):
    """On every address of the machine, as the defaults are: each is proved."""
    host = "[::]"


class Mosquitto(Starting):
    name = "mosquitto"
    has_http = False
    persistence = False

    def prepare(self):
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "log_type error"]
        if os.geteuid() == 0:
            # It would give its rights up, and with them its folder.
            lines.append("user root")
        if self.persistence:
            lines += ["persistence true", f"persistence_location {self.folder}/"]
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        return [self.program, "-c", config], {}


class Persistent(Mosquitto):
    persistence = True


def cpu_seconds(pid):
    """All threads, those that have ended too, to the nanosecond: the kernel's clock of another process (clock_getcpuclockid)."""
    return time.clock_gettime((~pid << 3) | 2)


def memory(pid):
    """Bytes resident, and those of them that are of no file."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return tuple(int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "RssAnon"))


@dataclass
class Row:
    """One state in which brokers are started: `make` brings it about, once, or before each start where it is `fresh`."""
    key: str
    words: str
    safeport: type = Safeport
    mosquitto: type | None = Mosquitto
    make: object = None
    fresh: bool = False


def rows(asked):
    kept = f"{asked.retained:,} retained messages and {asked.sessions:,} sessions kept"
    return [
        Row("keys", "keys exist, nothing else"),
        Row("everywhere", "the same, on every address of the machine", Everywhere, None),
        Row("kept", kept, Safeport, Persistent, lambda broker: broker.keep(asked.retained, asked.sessions)),
        Row("devices", f"{asked.devices:,} devices", Safeport, None, lambda broker: broker.add_devices(asked.devices)),
        Row("first", "first start: folder, keys and certificates are made", Safeport, None, fresh=True),
    ]


def measure(row, asked, mosquitto):
    kinds = [(row.safeport, asked.safeport)]
    if row.mosquitto and mosquitto:
        kinds.append((row.mosquitto, mosquitto))
    running = [kind(program) for kind, program in kinds]
    results = {broker.name: [] for broker in running}
    before, begun = busy_seconds(), time.monotonic()
    own = 0
    try:
        for broker in running:
            if not row.fresh:
                # The start that makes the keys is not counted.
                broker.once()
            if row.make:
                row.make(broker)
        before, begun, own = busy_seconds(), time.monotonic(), own_seconds()
        for _ in range(min(asked.runs, 5) if row.fresh else asked.runs):
            for broker in running:
                if row.fresh:
                    broker.forget()
                results[broker.name].append(broker.once())
    finally:
        for broker in running:
            broker.close()
    took = time.monotonic() - begun
    others = max(0, busy_seconds() - before - (own_seconds() - own)) / took
    return {"key": row.key, "words": row.words, "other_cpu_share": others, "runs": results}


def own_seconds():
    """CPU seconds of this process and of the ended ones that it started."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def busy_seconds():
    """CPU seconds of the whole machine so far, without idling, waiting, and what a guest or the host takes."""
    user, nice, system, _, _, irq, soft, *_ = map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def table(reports, names):
    text = [f"| starting | | {' | '.join(names)} | goal |", "|---|---|" + "---:|" * (len(names) + 1)]
    for report in reports:
        words = report["words"] + (" `busy`" if report["other_cpu_share"] > 0.35 else "")
        for figure in ALL:
            columns = [[run[figure] for run in report["runs"].get(name, []) if figure in run] for name in names]
            if any(columns):
                cells = " | ".join(written(column, 1) for column in columns)
                goal = f"{GOAL} ms" if figure in (CONNACK, HEALTHY, GREETED) and report["key"] != "first" else ""
                text.append(f"| {words} | {figure} | {cells} | {goal} |")
                words = ""
    return "\n".join(text)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="starts of each broker in each row; first starts 5 at most (default 20)")
    parser.add_argument("--only", default="", metavar="KEYS", help="rows to run, with commas between; see --list")
    parser.add_argument("--list", action="store_true", help="print the keys of all rows and end")
    parser.add_argument("--retained", type=int, default=10_000, help="retained messages of the row `kept` (default 10000)")
    parser.add_argument("--sessions", type=int, default=1000, help="sessions of the row `kept` (default 1000)")
    parser.add_argument("--devices", type=int, default=1000, help="devices of the row `devices` (default 1000)")
    parser.add_argument("--safeport", type=pathlib.Path, default=brokers.ROOT / "target" / "release" / "safeport",
                        help="the binary to measure")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every figure of every start there")
    asked = parser.parse_args()
    asked.rows = rows(asked)
    if asked.list:
        print("\n".join(f"{row.key:12}{row.words}" for row in asked.rows))
        sys.exit()
    keys = asked.only.split(",") if asked.only else [row.key for row in asked.rows]
    unknown = set(keys) - {row.key for row in asked.rows}
    if unknown:
        parser.error(f"no row is called {', '.join(sorted(unknown))}; --list names them all")
    if not asked.safeport.exists():
        parser.error(f"{asked.safeport} is missing; build it first: cargo build --release -p safeport")
    asked.safeport = asked.safeport.resolve()
    asked.rows = [row for row in asked.rows if row.key in keys]
    return asked


def main():
    asked = parse()
    mosquitto = shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    names = ["safeport"] + ["mosquitto"] * bool(mosquitto)
    begun = time.strftime("%Y-%m-%d %H:%M:%S")
    reports = []
    try:
        for row in asked.rows:
            print(f"{row.key}: {row.words} …", file=sys.stderr, flush=True)
            reports.append(measure(row, asked, mosquitto))
    finally:
        text = table(reports, names)
        print(text)
        if asked.markdown:
            asked.markdown.write_text(text + "\n")
        if asked.json:
            asked.json.write_text(json.dumps({"begun": begun, "rows": reports}, indent=1))


if __name__ == "__main__":
    main()
