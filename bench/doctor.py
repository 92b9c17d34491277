#!/usr/bin/env python3
"""What a whole run of `safeport doctor` against a healthy server costs, beside the same questions asked by hand in the same run.

    cargo build --release -p safeport && python3 bench/doctor.py

All servers are on this machine: Safeport for MQTT over TLS, and a voice server of this program's own (WebSocket over TLS, and the check
for updates that hands its address out). By hand means what one would type: `openssl s_client` with everything it can and as a Tasmota,
then `mosquitto_pub`; for the voice server `openssl s_client` and `curl` with the upgrade; for the check `curl` twice. They run one after
the other, as a person's would. CPU is user + system time of the programs that ask. `first word` is the time until anything is printed.
"""

import argparse
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

import brokers
from mqtt import written

WALL, CPU, FIRST = "wall_ms", "cpu_ms", "first_word_ms"
GOALS = {WALL: "3,000", FIRST: "200"}
WORDS = {WALL: "the whole run, ms", CPU: "CPU, ms", FIRST: "first word, ms"}
TASMOTA = ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "-curves", "P-256"]
UPGRADE = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
           "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]


class VoiceServer:
    """A voice server as far as a device sees it before anybody speaks; the check for updates on a port of its own."""

    def __init__(self, certificate):
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate.chain, certificate.key)
        self.listeners = []

    def __enter__(self):
        self.port = self.serve(self.talk)
        self.told = f"wss://localhost:{self.port}/xiaozhi/v1/"
        self.check_port = self.serve(self.answer_check)
        self.check = f"http://localhost:{self.check_port}/xiaozhi/ota/"
        return self

    def __exit__(self, *_):
        for listener in self.listeners:
            listener.close()

    def serve(self, each):
        listener = socket.create_server(("127.0.0.1", 0))
        self.listeners.append(listener)

        def one(connection):
            with contextlib.suppress(OSError), connection:
                connection.settimeout(20)
                each(connection)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    def talk(self, connection):
        with self.tls.wrap_socket(connection, server_side=True) as stream:
            head = request(stream)
            keys = [line.split(":", 1)[1].strip() for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key:")]
            if not keys:
                stream.sendall(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            accept = base64.b64encode(hashlib.sha1(keys[0].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
            stream.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Accept: {accept}\r\n\r\n").encode())
            hello = b'{"type":"hello","transport":"websocket","session_id":"1"}'
            while stream.recv(4096):
                stream.sendall(bytes([0x81, len(hello)]) + hello)

    def answer_check(self, connection):
        request(connection)
        body = json.dumps({"websocket": {"url": self.told}, "server_time": {"timestamp": int(time.time() * 1000)}})
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                           f"Connection: close\r\n\r\n{body}".encode())


def request(stream):
    """The head of a request; its body, if any, is read with it."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = stream.recv(65536)
        if not more:
            break
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    wanted = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while wanted and len(body) < wanted[0]:
        body += stream.recv(65536)
    return head.decode(errors="replace")


def timed(commands, allowed):
    """Runs them one after the other; what they took together. Their first word counts, on whatever it comes."""
    begun, first, cpu = time.monotonic(), None, 0.0
    for command in commands:
        reader, writer = os.pipe()
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
        os.close(writer)
        said = b""
        while more := os.read(reader, 65536):
            if first is None:
                first = time.monotonic() - begun
            said += more
        os.close(reader)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu += usage.ru_utime + usage.ru_stime
        if process.returncode not in allowed:
            raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{said.decode(errors='replace')[-2000:]}")
    return {WALL: (time.monotonic() - begun) * 1000, CPU: cpu * 1000, FIRST: (first or 0) * 1000}


def rows(asked, broker, voice, ca):
    """Words, and the commands of both columns."""
    doctor = [asked.safeport, "doctor", "--ca", ca, "--data", ca.parent / "none"]
    tls = ["openssl", "s_client", "-CAfile", ca, "-verify_return_error", "-servername", "localhost"]
    mqtts, wss = f"localhost:{broker.tls_port}", f"localhost:{voice.port}"
    curl = ["curl", "-sS", "--http1.1", "--cacert", ca]
    upgrade = [*curl, "-i", "--max-time", "0.3", *UPGRADE, f"https://{wss}/xiaozhi/v1/"]
    by_hand = {
        "mqtts": [[*tls, "-showcerts", "-connect", mqtts], [*tls, *TASMOTA, "-connect", mqtts],
                  ["mosquitto_pub", "-h", "localhost", "-p", broker.tls_port, "--cafile", ca, "-t", "doctor", "-m", "x"]],
        "wss": [[*tls, "-showcerts", "-connect", wss], [*tls, "-tls1_2", "-connect", wss], upgrade],
        "ota": [[*curl, "-H", "Content-Type: application/json", "-d", "{}", voice.check], upgrade],
    }
    targets = {"mqtts": ("MQTT over TLS, as a Tasmota", f"mqtts://{mqtts}", "tasmota-esp32"),
               "wss": ("WebSocket over TLS, as a xiaozhi", voice.told, "xiaozhi"),
               "ota": ("the check for updates, as a xiaozhi", voice.check, "xiaozhi")}
    return [(key, words, {"doctor": [[*doctor, target, "--as", profile]], "by hand": by_hand[key]})
            for key, (words, target, profile) in targets.items()]


def table(reports):
    text = ["| a healthy server | | doctor | by hand | goal |", "|---|---|---:|---:|---:|"]
    for report in reports:
        words = report["words"]
        for figure in (WALL, FIRST, CPU):
            cells = " | ".join(written([run[figure] for run in report["runs"][name]], 0) for name in ("doctor", "by hand"))
            text.append(f"| {words} | {WORDS[figure]} | {cells} | {GOALS.get(figure, '')} |")
            words = ""
    return "\n".join(text)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="runs of each (default 10)")
    parser.add_argument("--safeport", type=pathlib.Path, default=brokers.ROOT / "target" / "release" / "safeport",
                        help="the binary to measure")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every figure of every run there")
    asked = parser.parse_args()
    if not asked.safeport.exists():
        parser.error(f"{asked.safeport} is missing; build it first: cargo build --release -p safeport")
    asked.safeport = asked.safeport.resolve()
    missing = [program for program in ("openssl", "curl", "mosquitto_pub") if not shutil.which(program)]
    if missing:
        parser.error(f"missing: {', '.join(missing)} (Debian: openssl, curl, mosquitto-clients)")
    return asked


def main():
    asked = parse()
    reports = []
    # The key is RSA, for which the suite of a Tasmota is made.
    certificate = brokers.Certificate(asked.safeport, "rsa")
    with brokers.Safeport(asked.safeport, certificate=certificate) as broker, VoiceServer(certificate) as voice:
        for key, words, columns in rows(asked, broker, voice, pathlib.Path(certificate.ca)):
            print(f"{key}: {words} …", file=sys.stderr, flush=True)
            runs = {name: [] for name in columns}
            for _ in range(asked.runs):
                for name, commands in columns.items():
                    # curl ends an upgrade only by its time (28); what the doctor finds wrong has another code than 0.
                    runs[name].append(timed(commands, {0} if name == "doctor" else {0, 28}))
            reports.append({"key": key, "words": words, "runs": runs})
    text = table(reports)
    print(text)
    if asked.markdown:
        asked.markdown.write_text(text + "\n")
    if asked.json:
        asked.json.write_text(json.dumps({"rows": reports}, indent=1))


if __name__ == "__main__":
    main()
