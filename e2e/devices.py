"""The TLS engines that devices and desktops have, as programs that fetch one retained message over `mqtts`.

BearSSL and mbedTLS are C programs of ours (clients/), built from Debian's packages; the others are installed."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import pathlib
import re
import select
import socket
import ssl
import subprocess
import time
import zlib

import server as servers
import wire

HERE = pathlib.Path(__file__).parent
BUILD = servers.ROOT / "target" / "e2e-clients"

# A retained message that no small buffer holds: 20 KB, no run of equal bytes.
TOPIC = "e2e/tls/large"
LARGE = bytes(at * 7 % 251 for at in range(20_480))


@functools.cache
def built() -> pathlib.Path:
    """The folder of our C clients, which make has brought up to date."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as lock:
        # One worker builds, the others find it built.
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = subprocess.run(["make", "--silent", "-C", HERE / "clients", f"BUILD={BUILD}"], capture_output=True, text=True)
    assert made.returncode == 0, f"the C clients do not build (./check installs what they need):\n{made.stdout}{made.stderr}"
    return BUILD


def retain(server, topic=TOPIC, payload=LARGE):
    with wire.Client(server.mqtt, wire.V311) as one:
        one.hello("")
        one.publish(topic, payload, 1, retain=True)


def fingerprint(certificate: pathlib.Path) -> str:
    """Tasmota's digest, version 2, of the first certificate's RSA key (computed apart from the server)."""
    shown = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-modulus"], text=True, capture_output=True, check=True)
    modulus = bytes.fromhex(shown.stdout.strip().split("=")[1])
    parts = [b"ssh-rsa", b"\x01\x00\x01", modulus]
    return hashlib.sha1(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).hexdigest()


class Seen:
    """What a C client printed: `error` as the device shows it, and every other word by attribute (of the last round)."""

    def __init__(self, done: subprocess.CompletedProcess):
        assert done.returncode in (0, 1), (done.args, done.returncode, done.stderr)
        self.text, self.succeeded = done.stdout, done.returncode == 0
        self.words = dict(line.split(" ", 1) for line in done.stdout.splitlines())

    def __getattr__(self, word):
        if word not in self.words:
            raise AttributeError(f"the client printed no `{word}`:\n{self.text}")
        return self.words[word]

    def has(self, payload: bytes) -> bool:
        return self.succeeded and self.words.get("received") == str(len(payload)) \
            and self.words.get("crc32") == f"{zlib.crc32(payload):08x}"

    def __repr__(self):
        return self.text


def run(program, port, *arguments, timeout=30, **options) -> Seen:
    words = [str(built() / program), "--port", str(port)]
    for option, value in options.items():
        option = "--" + option.replace("_", "-").strip("-")
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, str(value)]
    return Seen(subprocess.run([*words, *map(str, arguments)], text=True, capture_output=True, timeout=timeout))


def bearssl(port, *arguments, **options) -> Seen:
    """A Tasmota: see clients/bearssl_mqtt.c. `in_=2048` is its receive buffer."""
    return run("bearssl_mqtt", port, *arguments, **options)


def mbedtls(port, *arguments, **options) -> Seen:
    """An ESP-IDF device: see clients/mbedtls_mqtt.c."""
    return run("mbedtls_mqtt", port, *arguments, **options)


HELLO = wire.connect(wire.V311, "")


def fetch(topic=TOPIC) -> bytes:
    return HELLO + wire.subscribe(wire.V311, 1, [(topic, 0)])


def payload_in(received: bytes) -> bytes | None:
    """The payload of the first PUBLISH among the packets that a server sent, once it is whole."""
    at = 0
    while at + 2 <= len(received):
        read = wire.Reader(received[at:])
        try:
            first, length = read.u8(), read.varint()
            body = read.take(length)
        except wire.Bad:
            return None
        if first >> 4 == wire.PUBLISH:
            return wire.parse(wire.V311, first, body).payload
        at += read.at
    return None


def piped(command, topic=TOPIC, seconds=10.0, skip=b"") -> tuple[bytes | None, str]:
    """Runs a program that carries bytes over TLS, and speaks MQTT through it: the retained payload, and the
    program's standard error. `skip` is what stands before the first byte of MQTT on its standard output."""
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    received, deadline, found = b"", time.monotonic() + seconds, None
    try:
        process.stdin.write(fetch(topic))
        process.stdin.flush()
        while found is None and time.monotonic() < deadline:
            if not select.select([process.stdout], [], [], 0.1)[0]:
                continue
            got = os.read(process.stdout.fileno(), 65536)
            if not got:
                break
            received += got
            found = payload_in(received.partition(skip)[2] if skip else received)
    except BrokenPipeError:
        pass
    finally:
        process.kill()
        errors = process.communicate()[1]
    return found, errors.decode(errors="replace")


def openssl(server, *arguments, ca=None, name="localhost", topic=TOPIC):
    """OpenSSL's s_client, which verifies."""
    with_name = ["-servername", name, "-verify_hostname", name] if name else ["-noservername"]
    return piped([servers.client("openssl"), "s_client", "-connect", f"127.0.0.1:{server.mqtts_port}", "-quiet",
                  "-CAfile", ca or server.ca, "-verify_return_error", *with_name, *arguments], topic)


def gnutls(server, *arguments, priority="NORMAL", log=None, topic=TOPIC):
    """GnuTLS's client, which verifies the certificate for `localhost`."""
    log = log or server.folder / "gnutls.log"
    found, errors = piped([servers.client("gnutls-cli"), "--port", server.mqtts_port, "--x509cafile", server.ca, "--no-ocsp",
                           "--priority", priority, "--logfile", log, *arguments, "localhost"], topic)
    return found, (log.read_text(errors="replace") if log.exists() else "") + errors


class Python:
    """A connection by Python's ssl module, OpenSSL with everything within reach."""

    def __init__(self, server, context: ssl.SSLContext, name="localhost", session=None):
        raw = socket.create_connection(server.mqtts, 5)
        raw.settimeout(5)
        self.sock = context.wrap_socket(raw, server_hostname=name, session=session)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def fetch(self, topic=TOPIC):
        self.sock.sendall(fetch(topic))
        received = b""
        while (found := payload_in(received)) is None:
            got = self.sock.recv(65536)
            assert got, f"closed after {len(received)} bytes"
            received += got
        return found


def context(server, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    made = server.tls_context()
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def words_of(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in:\n{text}"
    return found[1]
