#!/usr/bin/env python3
"""Safeport beside Debian's mosquitto, in one run: the table of docs/benchmarks.md.

    cargo build --release -p safeport && python3 bench/mqtt.py [--runs 5] [--seconds 3] [--loops 1]

Both brokers serve on 127.0.0.1 without TLS, without logins and without persistence, mosquitto with `set_tcp_nodelay true`
and `max_queued_messages 0`. Runs alternate between the brokers. CPU is user + system of the broker's process. A row in
which other processes took more than 0.35 of a CPU in half of the runs is marked `busy`: repeat it when it is quiet.
"""

import argparse
import json
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAFEPORT = ROOT / "target" / "release" / "safeport"

TRAFFIC = [
    ("fan-in 100 publishers, 256 B, QoS 0, 1 in flight", ["fan-in", "--publishers=100"]),
    ("fan-in 20, 16 B, QoS 0, saturated", ["fan-in", "--publishers=20", "--payload=16", "--window=100"]),
    ("fan-in 20, 256 B, QoS 0, saturated", ["fan-in", "--publishers=20", "--window=100"]),
    ("fan-in 20, 4096 B, QoS 0, saturated", ["fan-in", "--publishers=20", "--payload=4096", "--window=20"]),
    ("fan-in 50, 256 B, QoS 1", ["fan-in", "--publishers=50", "--qos=1", "--window=20"]),
    ("fan-in 50, 256 B, QoS 2", ["fan-in", "--publishers=50", "--qos=2", "--window=20"]),
    ("fan-out 1 to 1000, 64 B, QoS 0", ["fan-out", "--subscribers=1000", "--payload=64", "--window=1"]),
    ("500 pairs, 64 B, QoS 0, 1 in flight", ["pairs", "--pairs=500", "--payload=64"]),
    ("500 pairs, 64 B, QoS 1, 1 in flight", ["pairs", "--pairs=500", "--payload=64", "--qos=1"]),
]
IDLE = [
    ("bytes per idle connection", ["idle", "--connections=9000"]),
    ("bytes per idle connection with one subscription", ["idle", "--connections=9000", "--subscribe"]),
]
CONNECTS = ("CPU µs per connect and disconnect", ["connects", "--count=5000"])


class Broker:
    """A broker that runs while it is used as a context."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env={"PATH": "/usr/bin:/bin", **self.environment()})
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                time.sleep(0.3)
                return self
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"{self.name} does not answer: {' '.join(map(str, self.command()))}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.folder.cleanup()

    def environment(self):
        return {}

    def load(self, arguments):
        out = subprocess.run([SAFEPORT, "--json", "bench", "mqtt", *arguments, f"--port={self.port}",
                              f"--pid={self.process.pid}"], capture_output=True, text=True)
        if not out.stdout:
            raise SystemExit(f"{self.name}, {' '.join(arguments)}: {out.stderr}")
        return json.loads(out.stdout)


class Safeport(Broker):
    name = "safeport"
    loops = 1

    def command(self):
        return [SAFEPORT, "serve", "--open", "--data", self.folder.name]

    def environment(self):
        return {
            "SAFEPORT__MQTT__BIND": f"127.0.0.1:{self.port}",
            "SAFEPORT__MQTTS__ENABLED": "false",
            "SAFEPORT__HTTP__ENABLED": "false",
            "SAFEPORT__ENGINE__LOOPS": str(self.loops),
            "SAFEPORT__LOG__LEVEL": "warn",
        }


class Mosquitto(Broker):
    name = "mosquitto"

    def command(self):
        config = pathlib.Path(self.folder.name) / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
                          "max_queued_messages 0\nlog_type none\n")
        return [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", config]


def median(values):
    return statistics.median(values)


def spread(values):
    return f"{min(values):.2f}–{max(values):.2f}" if max(values) < 100 else f"{min(values):.0f}–{max(values):.0f}"


def row(title, figures, busy=False, exact=True):
    ours, theirs = figures["safeport"], figures["mosquitto"]
    digits = 2 if max(median(ours), median(theirs)) < 100 else 0
    marks = (" busy" if busy else "") + ("" if exact else " **not exact**")
    print(f"| {title}{marks} | {median(ours):.{digits}f} ({spread(ours)}) | {median(theirs):.{digits}f} ({spread(theirs)}) "
          f"| {median(ours) / median(theirs):.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--loops", type=int, default=1, help="event loops of Safeport")
    parser.add_argument("--only", default="", help="rows whose title contains this")
    asked = parser.parse_args()
    Safeport.loops = asked.loops
    if not SAFEPORT.exists():
        sys.exit("build it first: cargo build --release -p safeport")
    print("| | safeport, median (min–max) | mosquitto | ratio |\n|---|---:|---:|---:|")
    for title, arguments in TRAFFIC:
        if asked.only not in title:
            continue
        figures, rates, busy, exact = {}, {}, 0, True
        with Safeport() as ours, Mosquitto() as theirs:
            for _ in range(asked.runs):
                for broker in (ours, theirs):
                    report = broker.load([*arguments, f"--seconds={asked.seconds}"])
                    figures.setdefault(broker.name, []).append(report["broker_cpu_seconds_per_million"])
                    rates.setdefault(broker.name, []).append(report["per_second"] / 1000)
                    busy += report["other_cpu_share"] > 0.35
                    exact &= report["exact"]
        row(f"CPU s per million, {title}", figures, busy > asked.runs, exact)
        row(f"thousand messages/s, {title}", rates, busy > asked.runs, exact)
    if asked.only in CONNECTS[0]:
        figures = {}
        with Safeport() as ours, Mosquitto() as theirs:
            for _ in range(asked.runs):
                for broker in (ours, theirs):
                    report = broker.load(CONNECTS[1])
                    figures.setdefault(broker.name, []).append(report["broker_cpu_microseconds_per_connect"])
        row(CONNECTS[0], figures)
    for title, arguments in IDLE:
        if asked.only not in title:
            continue
        figures = {}
        for _ in range(min(asked.runs, 3)):
            for kind in (Safeport, Mosquitto):
                # A fresh process each time: freed memory of an earlier load would hide the cost.
                with kind() as broker:
                    report = broker.load(arguments)
                    figures.setdefault(broker.name, []).append(report["rss_bytes_per_connection"])
        row(title, figures)


if __name__ == "__main__":
    main()
