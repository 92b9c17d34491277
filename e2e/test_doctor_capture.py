"""Captures of the fault lab, made with tcpdump while a device runs into the fault, and read by the doctor: each gives the
verdict of its row.

The devices are the BearSSL and mbedTLS clients in e2e/clients, and plain sockets. TLS 1.3 encrypts the chain, and of alerts
a capture shows no more than sizes then, so the rows with certificates are played over TLS 1.2, as most devices speak it.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import time

import pytest

import doctor_lab
import wire
from doctor_lab import HOST, Bench, Question, ask
from lab_pki import NAME, Lab

CLIENTS = pathlib.Path(__file__).resolve().parent.parent / "target" / "e2e-clients"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("pki"))


@contextlib.contextmanager
def capturing(file: pathlib.Path, port: int):
    if shutil.which("tcpdump") is None:
        pytest.skip("no tcpdump")
    command = ["tcpdump", "-i", "lo", "-U", "--immediate-mode", "-s", "0", "-w", str(file), f"port {port}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    first = process.stderr.readline()
    if "listening" not in first:
        first += process.stderr.read()
    if "permission" in first:
        pytest.skip("no right to capture")
    assert "listening" in first, first
    try:
        yield
        time.sleep(0.3)
    finally:
        process.terminate()
        process.communicate(timeout=10)


def port_of(question: Question) -> int:
    return int(question.arguments[0].split("://")[1].split("/")[0].rsplit(":", 1)[1])


def device(lab: Lab, kind: str, port: int):
    """One try of a device with TLS, which fails."""
    program = CLIENTS / f"{kind}_mqtt"
    command = [str(program), "--port", str(port), "--name", NAME, "--ca", str(lab.root.chain), "--timeout", "4000", "--host", HOST]
    subprocess.run(command, capture_output=True, timeout=30)


def says(port: int, *messages: bytes, wait=4.0):
    """A plain device: connects, says each after the answer to the one before, and goes."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 5) as plug:
        plug.settimeout(wait)
        time.sleep(0.05)
        for message in messages:
            plug.sendall(message)
            plug.recv(65536)


def request(path: str, **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\n{lines}\r\n".encode()


UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
           "Sec_WebSocket_Version": "13"}

PLAYED = {
    2: lambda lab, port: device(lab, "bearssl", port),
    3: lambda lab, port: device(lab, "bearssl", port),
    5: lambda lab, port: device(lab, "mbedtls", port),
    9: lambda lab, port: device(lab, "bearssl", port),
    13: lambda lab, port: device(lab, "bearssl", port),
    15: lambda lab, port: device(lab, "mbedtls", port),
    22: lambda lab, port: device(lab, "mbedtls", port),
    24: lambda lab, port: device(lab, "bearssl", port),
    25: lambda lab, port: says(port, wire.connect(client_id="plug")),
    26: lambda lab, port: says(port, request("/xiaozhi/ota/")),
    27: lambda lab, port: says(port),
    28: lambda lab, port: device(lab, "bearssl", port),
    29: lambda lab, port: device(lab, "bearssl", port),
    30: lambda lab, port: says(port),
    36: lambda lab, port: says(port, wire.connect(client_id="plug", username="plug", password=b"wrong")),
    41: lambda lab, port: says(port, request("/mqtt", **UPGRADE)),
    43: lambda lab, port: says(port, request("/xiaozhi/ota/")),
    46: lambda lab, port: says(port, request("/xiaozhi/ota/")),
}


@pytest.mark.parametrize("number", sorted(PLAYED))
def test_a_capture_of_the_row_gives_its_verdict(number, lab, tmp_path):
    row, file = doctor_lab.ROWS[number], tmp_path / "lab.pcap"
    with Bench(tmp_path, lab) as bench, row.set_up(bench) as questions:
        port = port_of(questions[0])
        with capturing(file, port):
            PLAYED[number](lab, port)
    expected = questions[0].cause
    asked = ask(Question(["--capture", str(file), "--ca", str(lab.root.chain)], expected))
    told = json.loads(asked.stdout)
    assert told["finding"]["cause"] == expected, json.dumps(told["finding"], indent=1, ensure_ascii=False)
    assert "packet" in told["finding"]["saw"][0]["quote"]["en"]
    assert asked.returncode >= 10


def test_a_log_and_a_capture_of_one_incident_are_judged_together(lab, tmp_path):
    file, log = tmp_path / "lab.pcap", tmp_path / "plug.log"
    with Bench(tmp_path, lab) as bench, doctor_lab.ROWS[2].set_up(bench) as questions:
        port = port_of(questions[0])
        with capturing(file, port):
            PLAYED[2](lab, port)
    log.write_text(f"00:00:04.912 WIF: Connected\n00:00:09.100 MQT: Attempting connection...\n00:00:09.700 MQT: TLS connection error: 62\n"
                   f"00:00:09.701 MQT: Connect failed to {NAME}:{port}, rc -2. Retry in 10 sec\n")
    found = {}
    for name, sources in {"log": ["--log", log], "capture": ["--capture", file], "both": ["--log", log, "--capture", file]}.items():
        done = ask(Question([*map(str, sources), "--ca", str(lab.root.chain)], "chain_incomplete"))
        found[name] = json.loads(done.stdout)["finding"]
    assert found["log"]["cause"] == "chain_not_trusted" and found["log"]["confidence"] != "certain", found["log"]
    assert found["capture"]["cause"] == "chain_incomplete" and found["capture"]["confidence"] == "high", found["capture"]
    both = found["both"]
    assert both["cause"] == "chain_incomplete" and both["confidence"] == "certain", both
    assert NAME in both["fix"]["en"] and "Tasmota" not in both["fix"]["en"], both["fix"]
    assert {"device_log" if "62" in sight["quote"]["en"] else "capture" for sight in both["saw"]} == {"device_log", "capture"}, both["saw"]
