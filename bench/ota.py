#!/usr/bin/env python3
"""What checks and downloads of devices cost Safeport, beside nginx, beside its own HTTP library without anything around it,
and beside aiohttp if it is there, in one run: the tables "Checks and downloads" of docs/benchmarks.md.

    cargo build --release -p safeport --bin safeport --example ota_floor && python3 bench/ota.py --build-aiohttp ~/.cache/safeport-bench

Safeport runs with its defaults: it logs and records what comes, and knows the devices. Runs alternate between the servers, each
figure is the median of its runs, and CPU is user + system time of all of a server's processes. The generator is `safeport
bench http`, a connection for each request. Files are asked for as a range of nearly all bytes, of every server alike: Safeport
ends an offer whose file was fetched as a whole for the third time. The rows of slow devices start each server afresh and warm
it up with 50 of them. A row in which other processes took more than 0.35 of a CPU in half of its runs is marked `busy`.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field

import brokers
import servers
from mqtt import BUSY, written
from servers import own_address
from start import busy_seconds, cpu_seconds, memory, own_seconds

SIZE = 2 << 20
# What a slow device reads, in bytes a second, and of which length. With the segments of a device the kernel holds some 50 kB
# of it, so that it is the server's business until shortly before its end.
RATE, SLOW_BYTES = 50_000, 600_000
WARM = 50
# One address may bring 64 new devices a minute.
DEVICES = 50

# What a board with firmware 2.4.2 sends; `{n}` is the number of the device.
CHECK = json.dumps({
    "version": 2, "language": "zh-CN", "flash_size": 16777216, "minimum_free_heap_size": "8318916",
    "mac_address": "020000{n}", "uuid": "7b94d69a-9808-4c59-9c9b-704333{n}", "chip_model_name": "esp32s3",
    "chip_info": {"model": 9, "cores": 2, "revision": 2, "features": 18},
    "application": {"name": "xiaozhi", "version": "2.4.2", "compile_time": "Aug  8 2026T10:00:00Z", "idf_version": "v6.0",
                    "elf_sha256": "c8a8ecb6" + "0" * 56},
    "partition_table": [{"label": label, "type": kind, "subtype": subtype, "address": address, "size": size}
                        for label, kind, subtype, address, size in (
                            ("nvs", 1, 2, 36864, 16384), ("otadata", 1, 0, 53248, 8192), ("phy_init", 1, 1, 61440, 4096),
                            ("ota_0", 0, 16, 131072, 4128768), ("ota_1", 0, 17, 4259840, 4128768),
                            ("assets", 1, 130, 8388608, 8388608))],
    "ota": {"label": "ota_0"}, "display": {"monochrome": False, "width": 240, "height": 240},
    "board": {"type": "bread-compact-wifi", "name": "bread-compact-wifi", "ssid": "home", "rssi": -55, "channel": 1,
              "ip": "192.168.1.20", "mac": "020000{n}"},
})
HEADERS = ["Device-Id: 020000{n}", "Client-Id: 7b94d69a-9808-4c59-9c9b-704333{n}", "Activation-Version: 1",
           "User-Agent: bread-compact-wifi/2.4.2", "Accept-Language: zh-CN"]


class Server(servers.Server):
    """`check` and `file` are the paths of the two loads."""

    check, file = "/xiaozhi/ota/", "/firmware.bin"

    def __init__(self, bench):
        super().__init__(bench.host)
        self.bench = bench

    def processes(self):
        """The first one and its children."""
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu(self):
        return sum(cpu_seconds(pid) for pid in self.processes())

    def resident(self):
        return sum(memory(pid)[0] for pid in self.processes())


class Safeport(Server):
    name = "safeport"

    def prepare(self):
        binds = dict(zip(("HTTP", "HTTPS", "MQTT", "MQTTS"), (self.port, *self.more_ports)))
        environment = {f"SAFEPORT__{name}__BIND": f"{self.host}:{port}" for name, port in binds.items()}
        # Devices are taken in as they come; that they are is not measured.
        return [self.bench.safeport, "serve", "--data", self.folder / "data"], {**environment, "SAFEPORT__XIAOZHI__ACTIVATION": "open"}

    def command(self, *arguments):
        command = [self.bench.safeport, "--json", *arguments, "--data", self.folder / "data"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=30, env=self.environment)
        if done.returncode:
            raise SystemExit(f"safeport {' '.join(map(str, arguments))}: {done.stderr or done.stdout}")
        return json.loads(done.stdout or "null")

    def ready(self):
        """An image is offered to a device that fetches by itself, which so finds it in its folder."""
        self.eventually("it does not say where it is", (self.folder / "data" / "local.json").exists)
        added = self.command("device", "add", "plain", "--name", "board", "--host", self.host)
        self.file = "/ota/" + added["firmware_url"].split("/ota/", 1)[1]
        self.command("device", "set", "board", "--chip", "esp32c3", "--flash-size", str(16 << 20), "--slot-size", str(4 << 20))
        self.command("firmware", "add", self.bench.image)
        self.command("firmware", "offer", self.bench.image.name, "--device", "board")
        self.eventually("the image does not become available", lambda: self.answers(self.file))
        # Each device comes once and is taken in; who comes again before that asks for another code.
        self.bench.check(self, "--clients=1", f"--requests={DEVICES}")
        time.sleep(1)

    def answers(self, path):
        request = urllib.request.Request(f"http://{self.host}:{self.port}{path}", method="HEAD")
        with contextlib.suppress(urllib.error.HTTPError):
            return urllib.request.urlopen(request, timeout=5).status == 200


class Floor(Server):
    """The least that a check costs with axum: nothing known, kept or logged."""
    name = "bare handler"

    def __init__(self, bench):
        super().__init__(bench)
        self.host = "127.0.0.1"

    def prepare(self):
        return [self.bench.safeport.parent / "examples" / "ota_floor", self.port, self.bench.answer], {}


class Nginx(Server):
    name = "nginx"

    def prepare(self):
        (self.folder / "www").mkdir()
        shutil.copy(self.bench.image, self.folder / "www" / "firmware.bin")
        folders = "".join(f" {kind}_temp_path {self.folder}/{kind};" for kind in
                          ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        # Its worker would give its rights up, and with them its folder.
        user = "user root;" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(
            f"daemon off; {user} pid {self.folder}/nginx.pid; worker_processes 1;\n"
            f"events {{ worker_connections 4096; }}\n"
            f"http {{ access_log off; sendfile on; tcp_nopush on;{folders}\n"
            f"server {{ listen {self.host}:{self.port} backlog=4096; root {self.folder}/www; }} }}\n")
        return [self.bench.nginx, "-p", self.folder, "-c", self.folder / "nginx.conf", "-e", self.folder / "nginx.log"], {}


class Aiohttp(Server):
    name = "aiohttp"

    def prepare(self):
        program = pathlib.Path(__file__).with_name("ota_aiohttp.py")
        return [self.bench.python, program, self.host, self.port, self.bench.answer, self.bench.image], {}


@dataclass
class Figure:
    """One line of a table. `goal` is relative to the row's first peer, `absolute` is not."""
    key: str
    table: str
    words: str
    goal: float | None = None
    absolute: str = ""
    digits: int = 0


@dataclass
class Row:
    key: str
    words: str
    servers: list
    figures: list
    load: object
    fresh: bool = False
    most_runs: int = 99
    results: dict = field(default_factory=dict)


def checks(bench, server):
    report = bench.check(server, f"--seconds={bench.asked.seconds}")
    return report | {"per_cpu_second": report["answered"] / report["cpu_seconds"]}


def downloads(bench, server):
    return per_gib(bench.load(server, server.file, f"--header=Range: bytes=0-{SIZE - 101}", f"--seconds={bench.asked.seconds}"))


def slow_downloads(bench, server):
    def fetch(count, length):
        return bench.load(server, server.file, f"--header=Range: bytes=0-{length - 1}", f"--rate={RATE}", f"--clients={count}",
                          f"--requests={count}")
    fetch(WARM, SLOW_BYTES // 10)
    time.sleep(0.5)
    report = per_gib(fetch(bench.asked.slow, SLOW_BYTES))
    return report | {"bytes_each": (report["resident_most"] - report["resident_before"]) / bench.asked.slow}


def per_gib(report):
    return report | {"cpu_seconds_per_gib": report["cpu_seconds"] / (report["bytes"] / (1 << 30))}


CHECKS = "xiaozhi checks per CPU second of the server, `Connection: close`"
DOWNLOADS = "CPU seconds of the server per GiB"
MEMORY = "bytes of the server for each slow download"


def rows(asked):
    slow = f"{asked.slow:,} devices at {RATE // 1000} KB/s each"
    return [
        Row("checks", "checks of known devices", [Safeport, Floor, Aiohttp],
            [Figure("per_cpu_second", CHECKS, f"{DEVICES} known devices, as shipped", 0.60, "12,600")], checks),
        Row("downloads", "downloads at full speed", [Safeport, Nginx, Aiohttp],
            [Figure("cpu_seconds_per_gib", DOWNLOADS, "2 MiB, 4 at once, full speed", 1.3, digits=3)], downloads),
        Row("slow", f"downloads of {slow}", [Safeport, Nginx, Aiohttp],
            [Figure("cpu_seconds_per_gib", DOWNLOADS, slow, 1.0, digits=2),
             Figure("bytes_each", MEMORY, slow, 1.0, "4,096")], slow_downloads, fresh=True, most_runs=2),
    ]


class Bench:
    def __init__(self, asked, folder):
        self.asked, self.safeport, self.host = asked, asked.safeport, own_address()
        self.nginx = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
        self.python = asked.aiohttp or asked.build_aiohttp and build_aiohttp(asked.build_aiohttp)
        floor = self.safeport.parent / "examples" / "ota_floor"
        there = {Nginx: self.nginx, Aiohttp: self.python, Floor: floor.exists()}
        self.kinds = [kind for kind in (Safeport, Floor, Nginx, Aiohttp) if there.get(kind, True)]
        for kind in set(there) - set(self.kinds):
            print(f"{kind.name} is not there and not measured", file=sys.stderr)
        self.body, self.answer = folder / "check.json", folder / "answer.json"
        self.body.write_text(CHECK)
        made = subprocess.run([self.safeport, "simulate", "image", "--family", "idf", "--chip", "esp32c3", "--version", "2.0.0",
                               "--size", str(SIZE), "-o", f"{folder}/"], check=True, capture_output=True, text=True)
        self.image = pathlib.Path(made.stdout.strip())
        with Safeport(self) as server:
            self.answer.write_text(self.one_check(server))

    def one_check(self, server):
        """What a device is told, for those that only tell it."""
        headers = dict(line.replace("{n}", "000000").split(": ", 1) for line in HEADERS)
        request = urllib.request.Request(f"http://{server.host}:{server.port}{server.check}", CHECK.replace("{n}", "000000").encode(),
                                         {**headers, "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def run(self):
        for row in self.asked.rows:
            begun = time.monotonic()
            print(f"{row.key}: {row.words} …", end="", file=sys.stderr, flush=True)
            kinds = [kind for kind in row.servers if kind in self.kinds]
            with contextlib.ExitStack() as running:
                servers = [] if row.fresh else [running.enter_context(kind(self)) for kind in kinds]
                for server in servers:
                    # A first one for the devices to be known, and for code and data to be in memory.
                    row.load(self, server)
                for _ in range(min(self.asked.runs, row.most_runs)):
                    for server in servers:
                        row.results.setdefault(server.name, []).append(row.load(self, server))
                    for kind in kinds if row.fresh else ():
                        with kind(self) as server:
                            row.results.setdefault(kind.name, []).append(row.load(self, server))
            print(f" {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)

    def check(self, server, *arguments):
        headers = [f"--header={line}" for line in HEADERS]
        return self.load(server, server.check, f"--body={self.body}", *headers, f"--names={DEVICES}", *arguments)

    def load(self, server, path, *arguments):
        """One run of the generator; what it said, and what the server took."""
        command = [self.safeport, "--json", "bench", "http", f"http://{server.host}:{server.port}{path}", *arguments]
        resident, stop = [server.resident()], threading.Event()

        def watch():
            while not stop.wait(0.2):
                resident.append(server.resident())

        watching = threading.Thread(target=watch)
        begun, cpu, own, busy = time.monotonic(), server.cpu(), own_seconds(), busy_seconds()
        watching.start()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        finally:
            stop.set()
            watching.join()
        took, cpu = time.monotonic() - begun, server.cpu() - cpu
        others = busy_seconds() - busy - (own_seconds() - own) - cpu
        if done.returncode:
            raise SystemExit(f"{server.name}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout) | {"cpu_seconds": cpu, "resident_before": resident[0], "resident_most": max(resident),
                                          "other_cpu_share": max(0, others) / took}


def build_aiohttp(folder):
    """aiohttp in an environment of its own below `folder`, made once; the Python that has it."""
    python = pathlib.Path(folder).expanduser().resolve() / "aiohttp" / "bin" / "python"
    if not python.exists():
        print(f"installing aiohttp 3.13.2 in {python.parent.parent}, once", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "aiohttp==3.13.2"], check=True)
    return python


def line(row, figure, names):
    columns = {name: [report[figure.key] for report in row.results.get(name, [])] for name in names}
    reports = [report for reports in row.results.values() for report in reports]
    busy = sum(report["other_cpu_share"] > BUSY for report in reports) * 2 > len(reports)
    ours, peer = columns["safeport"], columns.get(row.servers[1].name)
    ratio = f"{statistics.median(ours) / statistics.median(peer):.2f}" if ours and peer and statistics.median(peer) else "–"
    goal = "; ".join(filter(None, [f"{figure.goal:.2f}" if figure.goal else "", figure.absolute]))
    cells = [written(columns[name], figure.digits) for name in names]
    return f"| {figure.words}{' `busy`' if busy else ''} | " + " | ".join([*cells, ratio, goal]) + " |"


def tables(rows):
    text = []
    for table in dict.fromkeys(figure.table for row in rows for figure in row.figures):
        about = [row for row in rows if any(figure.table == table for figure in row.figures)]
        names = [kind.name for kind in about[0].servers if kind.name == "safeport" or any(kind.name in row.results for row in about)]
        text.append(f"| {table} | " + " | ".join([*names, f"ratio to {about[0].servers[1].name}", "goal"]) + " |")
        text.append("|---|" + "---:|" * (len(names) + 2))
        text += [line(row, figure, names) for row in about for figure in row.figures if figure.table == table]
        text.append("")
    return "\n".join(text)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each load and server; those of slow devices 2 at most (default 5)")
    parser.add_argument("--seconds", type=float, default=2, help="measured seconds of one run (default 2)")
    parser.add_argument("--slow", type=int, default=1000, metavar="COUNT", help="slow devices (default 1000)")
    parser.add_argument("--only", default="", metavar="KEYS", help="rows to run, with commas between; see --list")
    parser.add_argument("--list", action="store_true", help="print the keys of all rows and end")
    parser.add_argument("--safeport", type=pathlib.Path, default=brokers.ROOT / "target" / "release" / "safeport",
                        help="the binary to measure and to measure with; examples/ota_floor is looked for beside it")
    parser.add_argument("--aiohttp", metavar="PYTHON", help="a Python that has aiohttp")
    parser.add_argument("--build-aiohttp", metavar="FOLDER", help="install aiohttp 3.13.2 in FOLDER, if it is not there")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every report of every run there")
    asked = parser.parse_args()
    known = rows(asked)
    if asked.list:
        print("\n".join(f"{row.key:12}{row.words}" for row in known))
        sys.exit()
    keys = asked.only.split(",") if asked.only else [row.key for row in known]
    unknown = set(keys) - {row.key for row in known}
    if unknown:
        parser.error(f"no row is called {', '.join(sorted(unknown))}; --list names them all")
    if not asked.safeport.exists():
        parser.error(f"{asked.safeport} is missing; build it first: cargo build --release -p safeport --bin safeport --example ota_floor")
    asked.safeport = asked.safeport.resolve()
    asked.rows = [row for row in known if row.key in keys]
    return asked


def main():
    asked = parse()
    begun = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        with tempfile.TemporaryDirectory(prefix="bench-ota-") as folder:
            Bench(asked, pathlib.Path(folder)).run()
    finally:
        text = tables([row for row in asked.rows if row.results])
        print(text)
        if asked.markdown:
            asked.markdown.write_text(text)
        if asked.json:
            reports = [{"key": row.key, "words": row.words, "runs": row.results} for row in asked.rows]
            asked.json.write_text(json.dumps({"begun": begun, "seconds": asked.seconds, "rows": reports}, indent=1))


if __name__ == "__main__":
    main()
