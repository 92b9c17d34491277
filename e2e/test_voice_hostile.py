"""Who means harm, or is broken, at the WebSocket of conversations: refused or passed over, bounded, and nobody else notices."""

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import struct
import subprocess
import threading
import time
from urllib.parse import urlsplit

import pytest

import server as servers
from conftest import eventually
from test_voice import headers, packets, talking, turn
from test_xiaozhi_ota import Device, exchange, sound

SOUND = packets("lamp.en.packets")[10:20]


@pytest.fixture(scope="module")
def hub():
    with servers.serving(servers.Safeport, open_to_all=False, environment={"SAFEPORT__XIAOZHI__ACTIVATION": "open"}) as running:
        yield running
        assert running.process.poll() is None, running.log_text()[-4000:]


def taken_in(hub):
    """A device that the open server knows by now: it is told where to talk a moment before that."""
    one = Device(hub)
    told = eventually(lambda: sound(one.check()).get("websocket"), seconds=20)
    assert told, "an open server tells a device where to talk"
    one.told = told
    assert eventually(lambda: upgrade(one).status == 101, seconds=20)
    return one


def upgrade(device, **changed):
    """The answer to a request for a conversation, which ends at once if it is opened."""
    place = urlsplit(device.told["url"])
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers(device, **changed).items())
    return exchange((place.hostname, place.port), (
        f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n{lines}Connection: Upgrade, close\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n").encode() + frame(8, b""))


@pytest.fixture
def device(hub):
    return taken_in(hub)


def resident(hub) -> int:
    return int(re.search(r"VmRSS:\s+(\d+) kB", open(f"/proc/{hub.process.pid}/status").read()).group(1)) * 1024


def descriptors(hub) -> int:
    return len(os.listdir(f"/proc/{hub.process.pid}/fd"))


def answers(hub, device):
    """Somebody else is still answered, and soon."""
    async def ask():
        async with talking(device) as line:
            await line.send(json.dumps({"type": "listen", "state": "detect", "text": "still here"}))
            said, _ = await turn(line)
            return said[0]["text"]

    assert asyncio.run(ask()) == "still here"


def raw_line(device, protocol_version="1") -> socket.socket:
    """An open WebSocket without a library that would keep to the rules."""
    place = urlsplit(device.told["url"])
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers(device, **{"Protocol-Version": protocol_version}).items())
    line = socket.create_connection((place.hostname, place.port), 10)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    line.sendall(f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n{lines}Connection: Upgrade\r\nUpgrade: websocket\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += line.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return line


def until_closed(line, seconds=10.0) -> bytes:
    """What comes until the server closes; fails when it does not."""
    line.settimeout(seconds)
    got = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while more := line.recv(65536):
            got += more
    return got


def frame(opcode: int, payload: bytes, length=None, final=True) -> bytes:
    """Masked with nothing; `length` is what it claims."""
    claimed = len(payload) if length is None else length
    first = bytes([opcode | (0x80 if final else 0)])
    if claimed < 126:
        return first + bytes([0x80 | claimed]) + b"\0\0\0\0" + payload
    if claimed < 65536:
        return first + struct.pack(">BH", 0x80 | 126, claimed) + b"\0\0\0\0" + payload
    return first + struct.pack(">BQ", 0x80 | 127, claimed) + b"\0\0\0\0" + payload


# --- frames ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("claims", [200_000, 1 << 31, 1 << 62, (1 << 64) - 1])
def test_a_frame_that_claims_to_be_huge_ends_its_conversation_before_its_bytes_come(hub, device, claims):
    before = resident(hub)
    with raw_line(device) as line:
        line.sendall(frame(2, b"x" * 100, claims))
        assert struct.pack(">H", 1009) in until_closed(line)
    assert resident(hub) - before < 8 << 20
    answers(hub, device)


def test_a_message_in_endlessly_many_pieces_ends_at_its_limit(hub, device):
    before = resident(hub)
    with raw_line(device) as line:
        line.settimeout(10)
        with contextlib.suppress(ConnectionError, TimeoutError):
            line.sendall(frame(2, b"x" * 1000, final=False))
            for _ in range(1000):
                line.sendall(frame(0, b"x" * 1000, final=False))
        until_closed(line)
    assert resident(hub) - before < 8 << 20
    answers(hub, device)


@pytest.mark.parametrize("broken", [
    b"\x82\x05hello",                      # Not masked.
    b"\xc2\x80\0\0\0\0",                   # A reserved bit.
    b"\x83\x80\0\0\0\0",                   # No opcode.
    b"\x80\x80\0\0\0\0",                   # Continues nothing.
    frame(9, b"x" * 126),                  # A long ping.
    frame(8, b"x"),                        # Half a code.
    frame(1, b"{", final=False) + frame(2, b"x"),
], ids=["unmasked", "reserved", "opcode", "continuation", "ping", "close", "interleaved"])
def test_frames_that_break_the_rules_end_their_conversation_and_no_other(hub, device, broken):
    with raw_line(device) as line:
        line.sendall(broken)
        until_closed(line)
    answers(hub, device)


@pytest.mark.parametrize("version", [2, 3])
def test_audio_headers_with_wrong_sizes_are_passed_over(hub, device, version):
    chance = random.Random(version)

    def framed(packet, claims):
        if version == 2:
            return struct.pack(">HHIII", 2, 0, 0, 0, claims & 0xffff_ffff) + packet
        return struct.pack(">BBH", 0, 0, claims & 0xffff) + packet

    def wrong():
        packet = chance.choice(SOUND)
        kind = chance.randrange(5)
        if kind == 0:
            return framed(packet, chance.choice([0, 1, len(packet) - 1, len(packet) + 1, 0xffff, 0x7fff_ffff, 0xffff_ffff]))
        if kind == 1:
            return framed(packet, len(packet))[:chance.randrange(1, 16 if version == 2 else 4)]
        if kind == 2:
            return chance.randbytes(chance.randrange(0, 64))
        if kind == 3:
            return b"\xff" * 16 + packet
        return framed(packet, len(packet)) + b"more"

    async def talk():
        told = headers(device, **{"Protocol-Version": str(version)})
        hello = {"type": "hello", "version": version, "transport": "websocket"}
        async with talking(device, hello, additional_headers=told) as line:
            await line.send(json.dumps({"type": "listen", "state": "start", "mode": "manual"}))
            for _ in range(1500):
                await line.send(wrong())
            for packet in SOUND:
                await line.send(framed(packet, len(packet)))
            await line.send(json.dumps({"type": "listen", "state": "stop"}))
            return await turn(line, 60)

    said, heard = asyncio.run(talk())
    length = 16 if version == 2 else 4
    # Garbage that happens to be a good frame is said back as well; what was said comes last.
    assert [packet[length:] for _, packet in heard][-len(SOUND):] == SOUND, said


# --- who ------------------------------------------------------------------------------------------------------------

def test_no_token_but_the_devices_own_opens_anything(hub, device):
    other = taken_in(hub)
    token = device.told["token"]
    mac, _, at = token.partition(".")
    chance = random.Random(1)

    def flipped():
        where = chance.randrange(len(mac) - 1)
        return mac[:where] + ("A" if mac[where] != "A" else "B") + mac[where + 1:] + "." + at

    tokens = [flipped() for _ in range(40)] + [
        other.told["token"], mac, f"{mac}.", f".{at}", f"{mac}.0{at}", f"{mac}.{int(at) - 1}", f"{mac}.{int(at) + 1}", f"{mac}.{at}.{at}",
        f"{mac}.9{at}", f"{mac}.-{at}", f"{mac}.{'9' * 30}", "." * 100, "a" * 5000, "\x7f", "null", f"{mac} .{at}",
        f"{mac}.{at}x",
    ]
    for forged in tokens:
        answer = upgrade(device, Authorization=f"Bearer {forged}")
        assert 400 <= answer.status < 500, (forged, answer.line)
        assert token not in answer.body.decode(errors="replace")
    assert token not in hub.log_text() and mac not in hub.log_text(), "tokens are in no log"
    answers(hub, device)


def test_a_token_of_before_the_device_was_forgotten_opens_nothing(hub, device):
    name = "xiaozhi-" + device.mac.replace(":", "")[-6:]
    hub.cli("device", "forget", name)

    assert eventually(lambda: upgrade(device).status in (401, 403), seconds=10)
    # Taken in again a second later, by which the new enrolment is younger than the token.
    time.sleep(1.1)
    again = eventually(lambda: sound(device.check()).get("websocket"), seconds=20)
    assert again and again["token"] != device.told["token"]
    assert eventually(lambda: upgrade(device).status == 401, seconds=10)
    device.told = again
    assert eventually(lambda: upgrade(device).status == 101, seconds=20)
    answers(hub, device)


# --- how many -------------------------------------------------------------------------------------------------------

def crowd(hub, *arguments):
    """`safeport bench voice`, whose devices come from addresses of their own."""
    command = [str(servers.BINARY), "--json", "bench", "voice", *arguments, f"http://127.0.0.1:{hub.http_port}/xiaozhi/ota/",
               "--way=websocket", f"--pid={hub.process.pid}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_ten_thousand_hellos_without_a_sound_leave_nothing_behind(hub, device):
    crowd(hub, "opens", "--count=500", "--concurrent=8")
    before, open_before = resident(hub), descriptors(hub)
    found = crowd(hub, "opens", "--count=10000", "--concurrent=8")
    assert found["opened"] == 10_000 and found["failed"] == 0, found
    # A thousandth part of it is more than a session takes.
    assert resident(hub) - before < 10 << 20
    assert eventually(lambda: descriptors(hub) <= open_before + 16, seconds=20)
    answers(hub, device)


def test_hundreds_that_open_in_the_same_instant_all_get_their_hello(hub, device):
    found = crowd(hub, "storm", "--sessions=300")
    assert found["opened"] == 300 and found["failed"] == 0, found
    assert eventually(lambda: descriptors(hub) < 200, seconds=20)
    answers(hub, device)


# --- who does not read ----------------------------------------------------------------------------------------------

def test_who_asks_and_never_reads_is_put_out_and_nobody_waits_for_it(hub, device):
    other = taken_in(hub)
    before = resident(hub)
    with raw_line(device) as line:
        line.sendall(frame(1, json.dumps({"type": "hello", "version": 1, "transport": "websocket"}).encode()))
        pings, ended = frame(9, b"x" * 125) * 500, threading.Event()

        def flood():
            with contextlib.suppress(OSError):
                line.settimeout(60)
                while True:
                    line.sendall(pings)
            ended.set()

        began = time.monotonic()
        threading.Thread(target=flood, daemon=True).start()
        answers(hub, other)
        # Ten seconds for what it was sent, and what the kernel has taken before.
        assert ended.wait(45), "it is still there"
        assert time.monotonic() - began > 5
    assert resident(hub) - before < 16 << 20
    answers(hub, other)
