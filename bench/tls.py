#!/usr/bin/env python3
"""What TLS costs Safeport, beside Debian's mosquitto in one run: handshakes, memory, relayed messages, and what a storm of
handshakes does to clients that are connected.

    cargo build --release -p safeport && python3 bench/tls.py

Both brokers serve the same certificates on 127.0.0.1; the generator (`safeport bench mqtt`) offers one TLS version, X25519 and
P-256. A resumed row resumes every connection: each of 32 devices keeps its own session. CPU is user + system time of the
broker's process. The storm's generator runs at the lowest priority, since in a home it would be other machines; `elsewhere`
is the same storm at a second broker beside the one that is measured: what the machine itself does to the figure. Marks are
those of bench/mqtt.py, whose options this program shares.
"""

import json
import statistics
import subprocess
import time

import brokers
import mqtt
from mqtt import CPU, Figure, Row

HANDSHAKES = "CPU µs of the broker per connect, CONNACK and disconnect"
CONNECTS_RATE = "connects per second"
MEMORY = "bytes of the broker per idle TLS connection"
RELAY = "relayed over TLS 1.3, saturated"
STORM = "messages while 300 full handshakes per second run"

# What an established client may wait longer while the storm runs.
STORM_GOAL = 3
STORM_RATE = 300
PHASES = {"quiet": "no handshakes", "elsewhere": "handshakes at a second broker", "stormy": f"{STORM_RATE} handshakes/s"}


def connects(key, words, goal, *arguments, count=2000, rsa=False):
    """`goal` in microseconds: two thirds of the best of five brokers, or what the signature alone leaves room for."""
    figures = [Figure("broker_cpu_microseconds_per_connect", words, digits=0, table=HANDSHAKES, absolute=str(goal)),
               Figure("per_second", words, digits=0, table=CONNECTS_RATE)]
    more = ["--tls-rsa"] if rsa else []
    return Row(key, words, ["connects", f"--count={count}", "--concurrent=32", *arguments, *more], figures, tls=True, timed=False)


def idle(key, words, *arguments):
    figures = [Figure("rss_bytes_per_connection", words, digits=0, table=MEMORY, absolute="9,800")]
    return Row(key, words, ["idle", "--connections=9900", *arguments], figures, fresh=True, timed=False, tls=True, most_runs=1)


def relay(key, words, goal, *arguments):
    figures = [Figure(CPU, f"CPU s per million, {words}", table=RELAY, absolute=goal),
               Figure("per_second", f"thousand per second, {words}", scale=1e-3, table=RELAY)]
    return Row(key, words, ["fan-in", "--window=100", "--payload=256", *arguments], figures, tls=True)


def storm(key, words):
    figures = [Figure(f"{when}.{quantile}", f"{quantile}, µs, {words}, {said}", digits=0, table=STORM, compare=False)
               for quantile in ("p50", "p99") for when, said in PHASES.items()]
    figures.append(Figure("ratio", f"p99 in the storm by p99 without, {words}", table=STORM, absolute=str(STORM_GOAL), compare=False))
    figures.append(Figure("handshakes_per_second", "handshakes per second that were reached", digits=0, table=STORM, compare=False))
    figures.append(Figure("handshake_p99", "p99 of them, TCP connect to CONNACK, µs", digits=0, table=STORM, compare=False))
    return Row(key, words, ["latency", "--pairs=20", "--rate=2000", "--payload=64"], figures, tls=True, least_seconds=5)


ROWS = [
    connects("full-13", "TLS 1.3, P-256, full", 360),
    connects("full-12", "TLS 1.2, P-256, full", 230, "--tls-version=1.2"),
    connects("resumed-13", "TLS 1.3, P-256, resumed", 277, "--tls-resume"),
    connects("resumed-12", "TLS 1.2, P-256, resumed", 90, "--tls-version=1.2", "--tls-resume", count=5000),
    connects("rsa-12", "TLS 1.2, RSA-2048, full", 650, "--tls-version=1.2", rsa=True, count=1000),
    idle("idle-13", "TLS 1.3"),
    idle("idle-12", "TLS 1.2", "--tls-version=1.2"),
    relay("relay", "1 publisher, 256 B", "1.2", "--publishers=1"),
    relay("fan-in", "20 publishers, 256 B", "1.2", "--publishers=20"),
    storm("storm", "2,000 messages/s of 20 pairs over TLS 1.3"),
]


class Bench(mqtt.Bench):
    def __init__(self, asked):
        super().__init__(asked)
        self.rsa = brokers.Certificate(asked.safeport, "rsa") if any(self.is_rsa(row) for row in asked.rows) else None
        self.second = brokers.Certificate(asked.safeport) if any(row.key == "storm" for row in asked.rows) else None

    @staticmethod
    def is_rsa(row):
        return "--tls-rsa" in row.arguments

    def broker(self, row, kind, program):
        return kind(program, certificate=self.rsa if self.is_rsa(row) else self.certificate, durable=row.durable)

    def load(self, row, broker, more):
        if row.key != "storm":
            super().load(row, broker, more)
        elif not row.notes.get(broker.name):
            self.storm(row, broker, more)

    def storm(self, row, broker, more):
        """Latency without a storm, with one at a second broker, and with one at the broker itself, right after each other."""
        seconds = max(self.asked.seconds, row.least_seconds)
        measure = [*row.arguments, *more, *self.tls(broker), f"--seconds={seconds}"]
        seen, handshakes = {"quiet": self.report(row, broker, measure)}, None
        with type(broker)(broker.program, certificate=self.second) as second:
            for phase, target in (("elsewhere", second), ("stormy", broker)):
                count = int(STORM_RATE * (seconds + 2))
                arguments = ["connects", *self.tls(target), f"--rate={STORM_RATE}", f"--count={count}", "--concurrent=200"]
                beside = subprocess.Popen(["nice", "-n", "19", *self.command(arguments)], stdout=subprocess.PIPE,
                                          stderr=subprocess.PIPE, text=True)
                time.sleep(1)
                seen[phase] = self.report(row, broker, measure)
                said, failed = beside.communicate(timeout=self.asked.timeout)
                if not (seen[phase] and said):
                    row.notes.setdefault(broker.name, failed.strip() or "a run failed")
                    return
                handshakes = json.loads(said)
        if not seen["quiet"]:
            return
        p99 = {phase: report["latency_microseconds"]["p99"] for phase, report in seen.items()}
        row.results.setdefault(broker.name, []).append({
            **{phase: report["latency_microseconds"] for phase, report in seen.items()}, "ratio": p99["stormy"] / p99["quiet"],
            "handshakes_per_second": handshakes["per_second"], "handshake_p99": handshakes["latency_microseconds"]["p99"],
            "exact": all(report["exact"] for report in seen.values()), "other_cpu_share": seen["quiet"]["other_cpu_share"],
            "generator_cpu_share": seen["quiet"]["generator_cpu_share"],
        })

    @staticmethod
    def tls(broker):
        return [f"--port={broker.tls_port}", "--tls", f"--ca={broker.certificate.ca}"]

    def command(self, arguments):
        return [self.asked.safeport, "--json", "bench", "mqtt", *arguments]

    def report(self, row, broker, arguments):
        done = subprocess.run(self.command(arguments), capture_output=True, text=True, timeout=self.asked.timeout)
        if not done.stdout:
            row.notes[broker.name] = done.stderr.strip()
            return None
        return json.loads(done.stdout)


def resumed(rows):
    """A row of resumed handshakes counts only if they were."""
    lines = []
    for row in rows:
        for name, reports in row.results.items() if "--tls-resume" in row.arguments else ():
            share = statistics.median(report["resumed"] / report["connects"] for report in reports)
            lines.append(f"{row.key}: {name} resumed {share:.0%} of the connections\n")
    return "\n".join(lines)


if __name__ == "__main__":
    mqtt.measure(Bench(mqtt.parse(ROWS, __doc__)), resumed)
