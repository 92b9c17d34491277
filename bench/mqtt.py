#!/usr/bin/env python3
"""Safeport beside Debian's mosquitto, and rumqttd if it is there, in one run: the tables of docs/benchmarks.md.

    cargo build --release -p safeport && python3 bench/mqtt.py --build-rumqttd ~/.cache/safeport-bench

All brokers serve on 127.0.0.1 without logins, with TLS where a row says so (one P-256 certificate for all). Queues are
unlimited. Runs alternate between the brokers; each figure is the median of its runs. CPU is user + system time of the
broker's process, by its own accounting in /proc. A row in which other processes took more than 0.35 of a CPU in half of
its runs is marked `busy`: repeat it (`--only KEY`) when the machine is quiet. `!` marks runs that lost, doubled, reordered
or altered a message (the counts are in the JSON file), `g` a rate that the generator, one thread, did not let grow.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

import brokers

BUSY = 0.35
CPU, RATE = "broker_cpu_seconds_per_million", "per_second"


@dataclass
class Figure:
    """One line of a table: a key of the generator's report, the goal as ratio to mosquitto, and one in absolute terms."""
    key: str
    words: str
    goal: float | None = None
    absolute: str = ""
    scale: float = 1
    digits: int = 2
    compare: bool = True
    table: str = "CPU seconds of the broker per million deliveries"


@dataclass
class Row:
    """One load. `fresh` starts each broker anew for every run, since memory that an earlier one freed would hide the cost."""
    key: str
    words: str
    arguments: list
    figures: list
    tls: bool = False
    fresh: bool = False
    durable: bool = False
    timed: bool = True
    least_seconds: float = 0
    recover: bool = False
    most_runs: int = 99
    without: tuple = ()
    results: dict = field(default_factory=dict)
    notes: dict = field(default_factory=dict)


RATES = "thousand deliveries per second"
LATENCY = "latency"
CONNECTIONS = "connections and memory"
STORED = "what is kept"


def traffic(key, words, arguments, goal=None, **options):
    figures = [Figure(CPU, words, goal), Figure(RATE, words, scale=1e-3, table=RATES)]
    return Row(key, words, arguments, figures, **options)


def latency(qos):
    words = f"2,000 messages/s, 20 pairs, 64 B, QoS {qos}"
    figures = [Figure(f"latency_microseconds.{quantile}", f"{quantile}, µs, {words}", table=LATENCY,
                      digits=0, absolute="100 µs" if quantile == "p50" else "")
               for quantile in ("p50", "p99", "p99.9")]
    figures.append(Figure(CPU, f"CPU s per million, {words}", table=LATENCY))
    # Ten messages lie beyond the last quantile.
    return Row(f"latency-{qos}", words, ["latency", f"--qos={qos}"], figures, least_seconds=5, most_runs=2)


def recover(key, words, *arguments):
    figures = [
        Figure("acknowledged", f"acknowledged before kill -9, {words}", digits=0, compare=False, table=STORED),
        Figure("lost", "— of these lost", digits=0, absolute="0", compare=False, table=STORED),
        Figure("duplicated", "— of these doubled", digits=0, compare=False, table=STORED),
        Figure("publish_cpu_seconds_per_million", "— CPU s per million acknowledged", table=STORED),
        Figure("acknowledged_per_second", "— thousand acknowledged per second", scale=1e-3, table=STORED),
        # One that has forgotten everything is ready soon.
        Figure("ready_seconds", "— seconds until ready again", compare=False, table=STORED),
        Figure("receive_seconds", "— seconds until all has arrived", compare=False, table=STORED),
    ]
    return Row(key, words, ["recover", "--messages=100000", "--window=20", *arguments], figures, timed=False, recover=True,
               durable=True, most_runs=2)


def idle(key, words, goal, *arguments, connections=9000, most_runs=2, **options):
    figures = [Figure("rss_bytes_per_connection", words, goal, digits=0, table=CONNECTIONS)]
    return Row(key, words, ["idle", f"--connections={connections}", *arguments], figures, fresh=True, timed=False,
               most_runs=most_runs, **options)


def connects(key, words, goal, count, **options):
    figures = [Figure("broker_cpu_microseconds_per_connect", f"CPU µs per {words}", goal, digits=0, table=CONNECTIONS),
               Figure(RATE, f"{words}, per second", digits=0, table=CONNECTIONS)]
    return Row(key, words, ["connects", f"--count={count}"], figures, timed=False, **options)


ROWS = [
    traffic("fan-in", "fan-in 100 publishers, 256 B, QoS 0, 1 in flight", ["fan-in", "--publishers=100"], 0.40),
    traffic("fan-in-tls", "the same over TLS 1.3", ["fan-in", "--publishers=100"], 0.58, tls=True),
    traffic("fan-in-v5", "the same, MQTT 5", ["fan-in", "--publishers=100", "--mqtt=5"], without=("rumqttd",)),
    traffic("sat-16", "fan-in 20, 16 B, QoS 0, saturated", ["fan-in", "--publishers=20", "--payload=16", "--window=100"], 0.12),
    traffic("sat-256", "fan-in 20, 256 B, QoS 0, saturated", ["fan-in", "--publishers=20", "--window=100"], 0.12),
    traffic("sat-256-tls", "the same over TLS 1.3", ["fan-in", "--publishers=20", "--window=100"], tls=True),
    traffic("sat-4096", "fan-in 20, 4096 B, QoS 0, saturated",
            ["fan-in", "--publishers=20", "--payload=4096", "--window=20"], 0.30),
    traffic("qos1", "fan-in 50, 256 B, QoS 1", ["fan-in", "--publishers=50", "--qos=1", "--window=20"], 0.10),
    traffic("qos1-durable", "the same to a durable session",
            ["fan-in", "--publishers=50", "--qos=1", "--window=20", "--durable"], durable=True),
    traffic("qos2", "fan-in 50, 256 B, QoS 2", ["fan-in", "--publishers=50", "--qos=2", "--window=20"], 0.08),
    traffic("qos2-durable", "the same to a durable session",
            ["fan-in", "--publishers=50", "--qos=2", "--window=20", "--durable"], durable=True),
    traffic("fan-out", "fan-out 1 to 1000, 64 B, QoS 0", ["fan-out", "--subscribers=1000", "--payload=64"], 0.35),
    traffic("pairs", "500 pairs, 64 B, QoS 0, 1 in flight", ["pairs", "--pairs=500", "--payload=64"], 0.67),
    traffic("pairs-qos1", "500 pairs, 64 B, QoS 1, 1 in flight", ["pairs", "--pairs=500", "--payload=64", "--qos=1"], 0.52),
    Row("wildcards", "100,000 wildcard filters, 10 publishers", ["wildcards", "--window=20"], [
        Figure(CPU, "100,000 wildcard filters, 10 publishers", 0.25),
        Figure(RATE, "100,000 wildcard filters, 10 publishers", scale=1e-3, table=RATES),
        Figure("rss_bytes", "MB with 100,000 filters on 100 connections", scale=1e-6, table=CONNECTIONS),
    ], fresh=True, most_runs=2, without=("rumqttd",)),
    recover("recover-1", "100,000 messages, QoS 1, 256 B", "--qos=1"),
    recover("recover-2", "100,000 messages, QoS 2, 256 B", "--qos=2"),
    recover("recover-retained", "100,000 retained messages, QoS 1, 256 B", "--retained"),
    Row("recover-million", "1,000,000 messages, QoS 1, 256 B", ["recover", "--messages=1000000", "--window=100"], [
        Figure("lost", "lost of 1,000,000 acknowledged", digits=0, absolute="0", table=STORED),
        Figure("ready_seconds", "— seconds until ready again", table=STORED),
        Figure("receive_seconds", "— seconds until all has arrived", table=STORED),
        Figure("rss_bytes", "— MB resident then", scale=1e-6, digits=0, table=STORED),
    ], timed=False, recover=True, durable=True, most_runs=1, without=("mosquitto", "rumqttd")),
    Row("retained", "100,000 retained messages, 256 B, QoS 1", ["retained"], [
        Figure("rss_bytes_per_message", "bytes per retained message (256 B payload)", 0.62, digits=0, table=STORED),
        Figure("set_cpu_seconds_per_million", "CPU s per million retained messages set", table=STORED),
        Figure("receive_seconds", "seconds until `#` has received 100,000", table=STORED),
        Figure("receive_cpu_seconds_per_million", "CPU s per million retained messages received", table=STORED),
    ], fresh=True, timed=False, most_runs=2, without=("rumqttd",)),
    latency(0),
    latency(1),
    idle("idle", "bytes per idle connection", 0.67),
    idle("idle-subscribed", "bytes per idle connection with one subscription", 0.67, "--subscribe"),
    idle("idle-tls", "bytes per idle connection, TLS 1.3", 0.66, connections=5000, tls=True, most_runs=1),
    connects("connects", "connect, CONNACK and disconnect", 0.67, 5000),
    connects("connects-tls", "connect, CONNACK and disconnect, TLS 1.3 in full", None, 2000, tls=True),
]


class Bench:
    def __init__(self, asked):
        self.asked = asked
        self.deadline = time.monotonic() + asked.minutes * 60
        self.kinds = [(brokers.Safeport, asked.safeport)]
        mosquitto = shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
        if mosquitto and "mosquitto" in asked.brokers:
            self.kinds.append((brokers.Mosquitto, mosquitto))
        rumqttd = asked.rumqttd or (asked.build_rumqttd and brokers.build_rumqttd(asked.build_rumqttd))
        if rumqttd and "rumqttd" in asked.brokers:
            self.kinds.append((brokers.Rumqttd, pathlib.Path(rumqttd).resolve()))
        self.names = [kind.name for kind, _ in self.kinds]
        self.certificate = brokers.Certificate(asked.safeport) if any(row.tls for row in asked.rows) else None

    def run(self):
        for row in self.asked.rows:
            if time.monotonic() > self.deadline:
                print(f"{row.key}: not run, {self.asked.minutes} minutes are over", file=sys.stderr)
                continue
            begun = time.monotonic()
            print(f"{row.key}: {row.words} …", end="", file=sys.stderr, flush=True)
            self.row(row)
            print(f" {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)

    def row(self, row):
        kinds = [(kind, program) for kind, program in self.kinds if kind.name not in row.without]
        runs = min(self.asked.runs, row.most_runs)
        if row.fresh or row.recover:
            for _ in range(runs):
                for kind, program in kinds:
                    broker = self.broker(row, kind, program)
                    if row.recover:
                        self.load(row, broker, [f"--broker-command={broker.command_line()}"])
                        broker.close()
                    else:
                        with broker:
                            self.load(row, broker, [f"--pid={broker.process.pid}"])
            return
        running = []
        try:
            for kind, program in kinds:
                running.append(self.broker(row, kind, program).__enter__())
            for _ in range(runs):
                for broker in running:
                    self.load(row, broker, [f"--pid={broker.process.pid}"])
        finally:
            for broker in running:
                broker.__exit__()

    def broker(self, row, kind, program):
        return kind(program, certificate=self.certificate if row.tls else None, durable=row.durable)

    def load(self, row, broker, more):
        if row.notes.get(broker.name):
            return
        arguments = [*row.arguments, *more, f"--port={broker.tls_port if row.tls else broker.port}"]
        if row.tls:
            arguments += ["--tls", f"--ca={broker.certificate.ca}"]
        if row.timed:
            arguments.append(f"--seconds={max(self.asked.seconds, row.least_seconds)}")
        try:
            done = subprocess.run([self.asked.safeport, "--json", "bench", "mqtt", *arguments], capture_output=True,
                                  text=True, timeout=self.asked.timeout)
        except subprocess.TimeoutExpired:
            row.notes[broker.name] = f"more than {self.asked.timeout} s"
            return
        if not done.stdout:
            # What a broker cannot do is a result, not the end of the run.
            error = json.loads(done.stderr.strip().splitlines()[-1])["error"]
            row.notes[broker.name] = error["detail"] or error["headline"]
            return
        row.results.setdefault(broker.name, []).append(json.loads(done.stdout))


def value(report, key):
    for part in key.split(".", 1):
        report = report.get(part) if report else None
    return report


def values(row, name, figure):
    found = (value(report, figure.key) for report in row.results.get(name, []))
    return [number * figure.scale for number in found if number is not None]


def written(numbers, digits):
    """Median and range."""
    if not numbers:
        return "–"
    form = "{:,.0f}" if max(numbers) >= 100 else f"{{:.{digits}f}}"
    low, high = form.format(min(numbers)), form.format(max(numbers))
    middle = form.format(statistics.median(numbers))
    return middle if low == high else f"{middle} ({low}–{high})"


def limited(row, name, figure):
    """The generator was as busy as one thread can be: the broker might do more."""
    shares = [report.get("generator_cpu_share") or 0 for report in row.results.get(name, [])]
    return figure.table == RATES and bool(shares) and statistics.median(shares) > 0.9


def line(row, figure, names):
    columns = {name: values(row, name, figure) for name in names}
    reports = [report for reports in row.results.values() for report in reports]
    busy = sum((report.get("other_cpu_share") or 0) > BUSY for report in reports) * 2 > len(reports)
    # Of a recovery the counts are the result.
    inexact = [name for name in names if not row.recover and not all(r["exact"] for r in row.results.get(name, []))]
    cells = [written(columns[name], figure.digits) + "!" * (name in inexact) + " g" * limited(row, name, figure)
             for name in names]
    ratio = "–"
    ours, theirs = columns["safeport"], columns.get("mosquitto")
    if figure.compare and ours and theirs and statistics.median(theirs) > 0:
        ratio = f"{statistics.median(ours) / statistics.median(theirs):.2f}"
    goal = figure.absolute or (f"{figure.goal:.2f}" if figure.goal else "")
    return f"| {figure.words}{' `busy`' if busy else ''} | " + " | ".join([*cells, ratio, goal]) + " |"


def tables(rows, names):
    text = []
    for table in dict.fromkeys(figure.table for row in rows for figure in row.figures):
        text.append(f"| {table} | " + " | ".join([*names, "ratio to mosquitto", "goal"]) + " |")
        text.append("|---|" + "---:|" * (len(names) + 2))
        for row in rows:
            text += [line(row, figure, names) for figure in row.figures if figure.table == table and row.results]
        text.append("")
    text += against_itself(rows)
    for row in rows:
        text += [f"{row.key}, {row.words}: {name} gave up: {note}\n" for name, note in row.notes.items()]
    return "\n".join(text)


def against_itself(rows):
    """A durable row's goal is relative to Safeport's own row without durability."""
    by_key = {row.key: row for row in rows}
    text = []
    for key in ("qos1", "qos2"):
        pair = [by_key[k] for k in (key, f"{key}-durable") if k in by_key]
        if len(pair) == 2:
            plain, durable = (values(row, "safeport", row.figures[0]) for row in pair)
            if plain and durable:
                ratio = statistics.median(durable) / statistics.median(plain)
                text.append(f"{pair[0].words}: durable costs {ratio:.2f} times the non-durable row (goal: at most 1.5)\n")
    return text


def parse(known, description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each load and broker; dear ones take 2 at most (default 3)")
    parser.add_argument("--seconds", type=float, default=2, help="measured seconds of one run (default 2)")
    parser.add_argument("--minutes", type=float, default=14, help="after these no further row is begun (default 14)")
    parser.add_argument("--timeout", type=float, default=90, help="seconds that one load may take (default 90)")
    parser.add_argument("--only", default="", metavar="KEYS", help="rows to run, with commas between; see --list")
    parser.add_argument("--list", action="store_true", help="print the keys of all rows and end")
    parser.add_argument("--brokers", default="safeport,mosquitto,rumqttd", help="which, with commas between")
    parser.add_argument("--safeport", type=pathlib.Path, default=brokers.ROOT / "target" / "release" / "safeport",
                        help="the binary to measure and to measure with")
    parser.add_argument("--loops", type=int, default=1, help="event loops of Safeport (default 1)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of Safeport, such as storage.durability=disk")
    parser.add_argument("--rumqttd", metavar="PATH", help="the binary of rumqttd")
    parser.add_argument("--build-rumqttd", metavar="FOLDER", help="build rumqttd 0.20.0 with cargo into FOLDER, if it is not there")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every report of every run there")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{row.key:16}{row.words}" for row in known))
        sys.exit()
    keys = asked.only.split(",") if asked.only else [row.key for row in known]
    unknown = set(keys) - {row.key for row in known}
    if unknown:
        parser.error(f"no row is called {', '.join(sorted(unknown))}; --list names them all")
    if not asked.safeport.exists():
        parser.error(f"{asked.safeport} is missing; build it first: cargo build --release -p safeport")
    asked.safeport = asked.safeport.resolve()
    asked.brokers = asked.brokers.split(",")
    asked.rows = [row for row in known if row.key in keys]
    for setting in asked.set:
        key, separator, setting_value = setting.partition("=")
        if not separator or "." not in key:
            parser.error(f"--set {setting}: give section.key=value")
        brokers.Safeport.settings[f"SAFEPORT__{key.replace('.', '__').upper()}"] = setting_value
    brokers.Safeport.loops = asked.loops
    return asked


def measure(bench, remarks=lambda rows: ""):
    """Runs all rows, and tells what was measured however that ends."""
    asked = bench.asked
    begun = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        bench.run()
    finally:
        text = tables(asked.rows, bench.names) + remarks(asked.rows)
        print(text)
        if asked.markdown:
            asked.markdown.write_text(text)
        if asked.json:
            rows = [{"key": row.key, "words": row.words, "arguments": row.arguments, "notes": row.notes, "runs": row.results}
                    for row in asked.rows]
            asked.json.write_text(json.dumps({"begun": begun, "seconds": asked.seconds, "rows": rows}, indent=1))


if __name__ == "__main__":
    measure(Bench(parse(ROWS, __doc__)))
