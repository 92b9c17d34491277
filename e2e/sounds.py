"""Sounds for the stand-ins of `models.py`: a tone as samples or WAV, a recording as Ogg/Opus."""

from __future__ import annotations

import io
import math
import struct
import wave
from pathlib import Path

SPEECH = Path(__file__).parents[1] / "crates/voice/tests/speech"


def samples_of(file):
    """Rate and samples of a WAV; other files stay as they are."""
    if not file.startswith(b"RIFF"):
        return None, file
    with wave.open(io.BytesIO(file)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth()) == (1, 2), sound.getparams()
        return sound.getframerate(), sound.readframes(sound.getnframes())


def tone(seconds, rate):
    """A' for so long, 16 bit mono."""
    count = round(seconds * rate)
    return struct.pack(f"<{count}h", *(round(8000 * math.sin(2 * math.pi * 440 * at / rate)) for at in range(count)))


def wav(seconds, rate):
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", ""))
        sound.writeframes(tone(seconds, rate))
    return file.getvalue()


def ogg_opus(seconds):
    """A recording over and over, in packets of 60 ms, in the container of RFC 7845."""
    packets = recorded(SPEECH / "lamp.zh.packets")
    count = math.ceil(seconds / 0.06)
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 16000, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 3) + b"e2e" + struct.pack("<I", 0)
    pages = [page([head], 0, 0, first=True), page([tags], 0, 1)]
    for number, group in enumerate(range(0, count, 4)):
        group = [packets[at % len(packets)] for at in range(group, min(group + 4, count))]
        played = min((number + 1) * 4, count) * 2880
        pages.append(page(group, played, number + 2, last=played == count * 2880))
    return b"".join(pages)


def recorded(file):
    """Packets that lie behind their lengths."""
    data, packets = file.read_bytes(), []
    while data:
        (length,) = struct.unpack(">H", data[:2])
        packets.append(data[2:2 + length])
        data = data[2 + length:]
    return packets


def page(packets, granule, number, *, first=False, last=False):
    """A page of Ogg (RFC 3533)."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    flags = (2 if first else 0) | (4 if last else 0)
    head = struct.pack("<4sBBqIII", b"OggS", 0, flags, granule, 0x65326532, number, 0) + bytes([len(lacing)]) + lacing
    whole = head + b"".join(packets)
    return whole[:22] + struct.pack("<I", ogg_sum(whole)) + whole[26:]


def ogg_sum(data):
    value = 0
    for byte in data:
        value = ((value << 8) & 0xffffffff) ^ OGG_TABLE[(value >> 24) ^ byte]
    return value


def _ogg_table():
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = ((value << 1) ^ 0x04c11db7 if value & 0x80000000 else value << 1) & 0xffffffff
        yield value


OGG_TABLE = list(_ogg_table())
