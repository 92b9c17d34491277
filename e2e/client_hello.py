"""ClientHellos byte by byte, for what no TLS library says: old versions, foreign suites, lengths that lie."""

from __future__ import annotations

import os
import struct

HANDSHAKE, ALERT, CHANGE_CIPHER_SPEC, DATA, HEARTBEAT = 22, 21, 20, 23, 24
SSL30, TLS10, TLS11, TLS12, TLS13 = 0x0300, 0x0301, 0x0302, 0x0303, 0x0304

ECDHE_RSA_AES128_GCM, ECDHE_ECDSA_AES128_GCM, RSA_AES128_CBC, RSA_AES256_GCM = 0xC02F, 0xC02B, 0x002F, 0x009D
FALLBACK_SCSV = 0x5600
P256, P521, X25519 = 0x0017, 0x0019, 0x001D
RSA_PKCS1_SHA1, RSA_PKCS1_SHA256, ECDSA_SHA1 = 0x0201, 0x0401, 0x0203

# Fatal alerts by name.
UNEXPECTED_MESSAGE, HANDSHAKE_FAILURE, PROTOCOL_VERSION, INAPPROPRIATE_FALLBACK = 10, 40, 70, 86


def record(kind: int, payload: bytes, version=TLS10, length: int | None = None) -> bytes:
    return struct.pack(">BHH", kind, version, len(payload) if length is None else length) + payload


def list16(*numbers: int) -> bytes:
    return struct.pack(f">H{len(numbers)}H", 2 * len(numbers), *numbers)


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack(">HH", kind, len(body)) + body


def name(server_name: str) -> bytes:
    raw = server_name.encode()
    return extension(0, struct.pack(">HBH", len(raw) + 3, 0, len(raw)) + raw)


def message(*, version=TLS12, suites=(ECDHE_RSA_AES128_GCM,), groups=(P256,), signatures=(RSA_PKCS1_SHA256,),
            server_name: str | None = "localhost", extensions=b"", length: int | None = None) -> bytes:
    """The handshake message, as a Tasmota says it unless told otherwise."""
    all_of_them = b""
    if server_name:
        all_of_them += name(server_name)
    if signatures:
        all_of_them += extension(13, list16(*signatures))
    if groups:
        all_of_them += extension(10, list16(*groups)) + extension(11, b"\1\0")
    all_of_them += extensions
    body = struct.pack(">H", version) + os.urandom(32) + b"\0" + list16(*suites) + b"\1\0"
    body += struct.pack(">H", len(all_of_them)) + all_of_them
    return b"\1" + (len(body) if length is None else length).to_bytes(3, "big") + body


def hello(**options) -> bytes:
    """One record with the message."""
    return record(HANDSHAKE, message(**options))


def in_records(body: bytes, size=16_384) -> bytes:
    return b"".join(record(HANDSHAKE, body[at:at + size]) for at in range(0, len(body), size))


def alerts_in(received: bytes) -> list[tuple[int, int]]:
    """(level, description) of the clear alerts among the records that a server sent."""
    found, at = [], 0
    while at + 5 <= len(received):
        length = int.from_bytes(received[at + 3:at + 5], "big")
        if received[at] == ALERT and length == 2:
            found.append((received[at + 5], received[at + 6]))
        at += 5 + length
    return found


def random_of(received: bytes) -> bytes:
    """The random of the ServerHello that a server's answer begins with."""
    assert received[0] == HANDSHAKE and received[5] == 2, received[:12].hex()
    return received[11:43]
