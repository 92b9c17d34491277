#!/usr/bin/env python3
"""What conversations cost Safeport, beside the bare codec and detector and a bare WebSocket server in Python, in one run: the
table "Voice" of docs/benchmarks.md.

    cargo build --release -p safeport && cargo bench --no-run -p safeport-voice --bench ear
    target/e2e-venv/bin/python bench/voice.py

Safeport runs with its defaults but takes devices in without a code. The generator is `safeport bench voice`: each device checks
first, opens a WebSocket with what it was told, says hello, and sends recorded speech in packets of 60 ms when a microphone would.
The agent is the one that says back what it heard, so no recogniser, model or voice is in these figures. CPU is user + system time of
the server's process. In one scene the agent has a recogniser and a voice that are services of OpenAI's kind, here a small server in Python
that answers at once: the voice gives samples, which Safeport encodes. The bare pieces are `cargo bench -p safeport-voice --bench ear`, and stand among 100 states in turn, as in a
server. The peer is the `websockets` library of the Python that runs this, if it is there: it answers the hello and throws sound away.
A row in which other processes took more than 0.35 of a CPU in half of its runs is marked `busy`.
"""

import argparse
import asyncio
import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import brokers
import servers
from mqtt import BUSY, written
from servers import own_address

# A device has so many milliseconds to switch from listening to speaking, on purpose.
SETTLE = 100
# Devices are told to come over MQTT, with sound in datagrams.
MQTT = {"SAFEPORT__ADVERTISE__XIAOZHI": "mqtt"}
# Devices talk with an agent whose voice gives samples; `services()` says where it is.
SAMPLES = {"SAFEPORT__AGENT__BENCH__RECOGNIZER": "ears", "SAFEPORT__AGENT__BENCH__VOICE": "mouth"}


class Server(servers.Server):
    """`url` is what the generator is given."""

    def __init__(self, asked, settings=None):
        # Who says by which way devices are to come needs an address that devices reach.
        super().__init__(own_address() if settings is MQTT else "127.0.0.1")
        self.asked, self.settings = asked, settings or {}

    def load(self, *arguments):
        """One run of the generator; what it said."""
        way = "mqtt" if self.settings is MQTT else "websocket"
        command = [self.asked.safeport, "--json", "bench", "voice", *arguments, self.url, f"--way={way}", f"--pid={self.process.pid}"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}\n{self.last_words()}")
        return json.loads(done.stdout)


class Safeport(Server):
    name = "safeport"

    def prepare(self):
        binds = dict(zip(("HTTP", "HTTPS", "MQTT", "MQTTS", "VOICE"), (self.port, *self.more_ports)))
        environment = {f"SAFEPORT__{name}__BIND": f"{self.host}:{port}" for name, port in binds.items()}
        self.url = f"http://{self.host}:{self.port}/xiaozhi/ota/"
        environment |= {"SAFEPORT__XIAOZHI__ACTIVATION": "open", **self.settings}
        if self.settings is SAMPLES:
            environment |= services(self.asked.services.port)
        return [self.asked.safeport, "serve", "--data", self.folder / "data"], environment


class Websockets(Server):
    name = "websockets"

    def prepare(self):
        self.url = f"ws://127.0.0.1:{self.port}/xiaozhi/v1/"
        return [sys.executable, pathlib.Path(__file__).resolve(), "--serve", self.port], {}


class Services(servers.Server):
    """A recogniser that always understands the same, and a voice that always says the sentence of the generator's devices."""

    name = "services"

    def __init__(self, samples):
        super().__init__("127.0.0.1")
        self.samples = samples

    def prepare(self):
        file = self.folder / "samples"
        file.write_bytes(self.samples)
        return [sys.executable, pathlib.Path(__file__).resolve(), "--serve", self.port, "--say", file], {}


def services(port):
    """The settings of who asks them."""
    kinds = {"EARS": {"KIND": "openai-transcription"}, "MOUTH": {"KIND": "openai-speech", "FORMAT": "pcm"}}
    return {f"SAFEPORT__PROVIDER__{name}__{key}": value for name, kind in kinds.items()
            for key, value in {**kind, "URL": f"http://127.0.0.1:{port}/v1", "MODEL": "bench"}.items()}


async def answer_services(port, samples):
    async def exchanges(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                lengths = [line.split(":")[1] for line in head.splitlines() if line.startswith("content-length:")]
                if lengths:
                    await reader.readexactly(int(lengths[0]))
                else:
                    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                        await reader.readexactly(size + 2)
                    await reader.readuntil(b"\r\n")
                kind, body = ("audio/pcm", samples) if "/speech" in head.splitlines()[0] else ("application/json", b'{"text": "lamp on"}')
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(exchanges, "127.0.0.1", port, backlog=4096):
        await asyncio.Future()


async def serve(port):
    """The peer: answers the hello and throws sound away."""
    import websockets
    answer = json.dumps({"type": "hello", "transport": "websocket", "session_id": "0" * 32,
                         "audio_params": {"format": "opus", "sample_rate": 24000, "channels": 1, "frame_duration": 60}})

    async def talk(socket):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in socket:
                if isinstance(message, str) and json.loads(message).get("type") == "hello":
                    await socket.send(answer)

    async with websockets.serve(talk, "127.0.0.1", port, compression=None, backlog=4096):
        await asyncio.Future()


class Row:
    """A line of the table: what the generator does, and which of its figures is told."""

    def __init__(self, key, words, unit, arguments, figure, goal, digits=1, peer=True, settings=None):
        self.key, self.words, self.unit, self.arguments, self.figure = key, words, unit, arguments, figure
        self.goal, self.digits, self.peer, self.settings = goal, digits, peer, settings or {}
        self.found, self.reports = {}, []


def rows(asked):
    seconds = [f"--seconds={asked.seconds:g}"]
    idle = ["idle", f"--sessions={asked.idle}"]
    opens = ["opens", "--count=2000", "--concurrent=4"]
    storm = ["storm", f"--sessions={asked.storm}"]
    uplink = ["uplink", "--sessions=100", *seconds]
    talk = ["talk", f"--sessions={asked.talk}", "--mode=auto", *seconds]
    both = ["talk", "--sessions=100", "--mode=realtime", *seconds]
    samples = ["talk", "--sessions=100", "--mode=auto", *seconds]
    per_second = "cpu_microseconds_per_session_second"

    def transcoded(report, pieces):
        """Beside decoding and scoring each packet that was heard, and encoding each that was said."""
        bare = report["up"] * pieces["ear"]["among_100"] + report["down"] * pieces["encode"]["among_100"]
        return report["cpu_seconds"] * 1e6 / bare

    def our_own(report, pieces):
        """What is left when decoding and scoring is taken off, for each packet of either direction."""
        rest = report["cpu_seconds"] * 1e6 - report["up"] * pieces["ear"]["among_100"]
        return rest / (report["up"] + report["down"])

    return [
        Row("idle", f"{asked.idle:,} idle sessions: memory", "kB each", idle, lambda r, _: r["rss_bytes_per_session"] / 1e3, 13),
        Row("idle", "threads of their own", "", idle, lambda r, _: r["threads"], 0, 0),
        Row("idle", "CPU", "µs per session-second", idle, lambda r, _: r[per_second], 40),
        Row("opens", "connect, hello, close", "µs CPU", opens, lambda r, _: r["cpu_microseconds_per_session"], 700, 0),
        Row("storm", f"{asked.storm:,} sessions open in the same instant: opened", "", storm, lambda r, _: r["opened"], asked.storm, 0),
        Row("storm", "until the last hello is answered", "ms", storm, lambda r, _: r["wait_ms"]["most"], 10_000, 0),
        Row("uplink", "a frame passed on (`manual`), 100 sessions", "µs CPU", uplink + ["--mode=manual"],
            lambda r, _: r["cpu_microseconds_per_packet"], 30),
        Row("heard", "a frame decoded and scored (`auto`), 100 sessions", "µs CPU", uplink + ["--mode=auto"],
            lambda r, _: r["cpu_microseconds_per_packet"], None, peer=False),
        Row("talk", f"{asked.talk} sessions talk (`auto`): beside the bare pieces of two-way talk", "times", talk, transcoded, 1.25, 2,
            peer=False),
        Row("talk", "what is left without decoding and scoring, a packet heard or said", "µs CPU", talk, our_own, 30, peer=False),
        Row("talk", "end of speech until understood, half of all", "ms", talk, lambda r, _: r["understood_ms"]["p50"], None, peer=False),
        Row("talk", "end of speech until understood, 99 % of all", "ms", talk, lambda r, _: r["understood_ms"]["p99"], 20, peer=False),
        Row("talk", f"until the first packet, beyond {SETTLE} ms in which the device gets ready, 99 % of all", "ms", talk,
            lambda r, _: r["answered_ms"]["p99"] - SETTLE, 20, peer=False),
        Row("talk", "packets that came too late to be played", "of 1,000", talk,
            lambda r, _: 1000 * r["late"] / max(1, r["down"]), 0, peer=False),
        Row("both", "100 sessions hear and speak at once (`realtime`): beside the bare pieces", "times", both, transcoded, 1.25, 2,
            peer=False),
        Row("both", "what is left without decoding and scoring, a packet heard or said", "µs CPU", both, our_own, 30, peer=False),
        Row("samples", "100 sessions talk with a voice that gives samples: beside the bare pieces", "times", samples, transcoded, 1.25, 2,
            peer=False, settings=SAMPLES),
        Row("samples", "packets that came too late to be played", "of 1,000", samples,
            lambda r, _: 1000 * r["late"] / max(1, r["down"]), 0, peer=False, settings=SAMPLES),
        Row("datagrams", "a datagram passed on (`manual`, MQTT and UDP), 100 sessions", "µs CPU", uplink + ["--mode=manual"],
            lambda r, _: r["cpu_microseconds_per_packet"], 20, peer=False, settings=MQTT),
        Row("mqtt", f"{asked.idle:,} idle sessions over MQTT: memory, the broker's included", "kB each", idle,
            lambda r, _: r["rss_bytes_per_session"] / 1e3, 13, peer=False, settings=MQTT),
    ]


def pieces():
    """The bare codec and detector, and what was encoded."""
    with tempfile.NamedTemporaryFile(prefix="bench-voice-") as samples:
        command = ["cargo", "bench", "-q", "-p", "safeport-voice", "--bench", "ear", "--", "--json", f"--samples={samples.name}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=brokers.ROOT, timeout=1800)
        if done.returncode:
            raise SystemExit(f"the bare pieces are not there: {done.stderr[-2000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1]), samples.read()


def has_websockets():
    try:
        import websockets  # noqa: F401
    except ImportError:
        print("websockets is not there and not measured", file=sys.stderr)
        return False
    return True


def run(asked):
    """Every scene once for each run and server; rows of one scene share it."""
    kinds = [Safeport] + [Websockets] * has_websockets()
    found, sentence = pieces()
    with Services(sentence) as asked.services:
        play(asked, kinds, found)
    return found


def play(asked, kinds, found):
    for number in range(asked.runs):
        for kind in kinds:
            for key in dict.fromkeys(row.key for row in asked.rows):
                about = [row for row in asked.rows if row.key == key and (kind is Safeport or row.peer)]
                if not about:
                    continue
                print(f"{number + 1}: {kind.name} {key} …", file=sys.stderr, flush=True)
                # Each scene has a server of its own: what another left in its memory would flatter it.
                with kind(asked, about[0].settings) as server:
                    report = server.load(*about[0].arguments)
                for row in about:
                    row.reports.append(report)
                    row.found.setdefault(kind.name, []).append(row.figure(report, found))


def table(asked, found):
    text = ["| conversations | | safeport | websockets | goal |", "|---|---|---:|---:|---:|"]
    for row in asked.rows:
        shares = [report.get("other_cpu_share") or 0 for report in row.reports]
        busy = sum(share > BUSY for share in shares) * 2 > len(shares)
        cells = [written(row.found.get(name, []), row.digits) for name in ("safeport", "websockets")]
        goal = "" if row.goal is None else f"{row.goal:,}"
        text.append(f"| {row.words}{' `busy`' if busy else ''} | {row.unit} | {cells[0]} | {cells[1]} | {goal} |")
    text += ["", "| the bare pieces, µs for 60 ms | alone | among 100 |", "|---|---:|---:|"]
    words = {"decode": "libopus decodes to 16 kHz", "vad": "earshot scores it", "ear": "both, and the end of speech",
             "encode": "libopus encodes 24 kHz at complexity 5"}
    text += [f"| {words[key]} | {each['alone']:.0f} | {each['among_100']:.0f} |" for key, each in found.items()]
    return "\n".join(text) + "\n"


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="runs of each scene and server (default 1: some two minutes)")
    parser.add_argument("--seconds", type=float, default=8, help="measured seconds of sound (default 8)")
    parser.add_argument("--idle", type=int, default=1000, metavar="COUNT", help="idle sessions (default 1000)")
    parser.add_argument("--storm", type=int, default=1000, metavar="COUNT", help="sessions that open at once (default 1000)")
    parser.add_argument("--talk", type=int, default=200, metavar="COUNT", help="talking sessions (default 200)")
    parser.add_argument("--only", default="", metavar="KEYS", help="scenes to play, with commas between: idle, opens, storm, uplink, "
                        "heard, talk, both, samples, datagrams, mqtt")
    parser.add_argument("--safeport", type=pathlib.Path, default=brokers.ROOT / "target" / "release" / "safeport",
                        help="the binary to measure and to measure with")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every report of every run there")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--say", type=pathlib.Path, metavar="FILE", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        return asked
    known = rows(asked)
    keys = asked.only.split(",") if asked.only else [row.key for row in known]
    if unknown := set(keys) - {row.key for row in known}:
        parser.error(f"no scene is called {', '.join(sorted(unknown))}")
    if not asked.safeport.exists():
        parser.error(f"{asked.safeport} is missing; build it first: cargo build --release -p safeport")
    asked.safeport = asked.safeport.resolve()
    asked.rows = [row for row in known if row.key in keys]
    return asked


def main():
    asked = parse()
    if asked.serve:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(answer_services(asked.serve, asked.say.read_bytes()) if asked.say else serve(asked.serve))
        return
    begun = time.strftime("%Y-%m-%d %H:%M:%S")
    found = run(asked)
    text = table(asked, found)
    print(text)
    if asked.markdown:
        asked.markdown.write_text(text)
    if asked.json:
        reports = [{"key": row.key, "words": row.words, "found": row.found} for row in asked.rows]
        asked.json.write_text(json.dumps({"begun": begun, "pieces": found, "rows": reports}, indent=1))


if __name__ == "__main__":
    main()
