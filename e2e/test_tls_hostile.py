"""What strangers send to TLS listeners: the server neither dies nor grows, says each thing once, and goes on serving others."""

import contextlib
import os
import re
import resource
import selectors
import socket
import ssl
import subprocess
import threading
import time

import pytest

import client_hello as tls
import devices
import server as servers
import wire
from conftest import eventually

HANDSHAKE_SECONDS = 3


@pytest.fixture(scope="module")
def server(kind):
    if kind is not servers.Safeport:
        pytest.skip("no TLS at this peer")
    settings = {"tls": f'handshake_timeout = "{HANDSHAKE_SECONDS}s"\nmax_handshakes = 2000\nmax_handshakes_per_address = 500'}
    with servers.serving(kind, settings=settings) as running:
        devices.retain(running)
        yield running
        assert running.alive(), f"the server died:\n{running.log_text()[-4000:]}"


@pytest.fixture(autouse=True)
def serves_afterwards(server):
    """Whatever a test did: a device still gets its message, and the server has not grown much."""
    before = resident(server)
    yield
    assert server.alive(), server.log_text()[-4000:]
    assert devices.bearssl(server.mqtts_port, ca=server.ca, topic=devices.TOPIC).has(devices.LARGE)
    assert resident(server) < before + 48 * 1024 * 1024, "memory is not bounded"


def resident(server) -> int:
    with open(f"/proc/{server.process.pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def port_of(server, listener):
    return {"mqtts": server.mqtts_port, "https": server.https_port}[listener]


def dial(server, listener="mqtts", source="127.0.0.1", timeout=HANDSHAKE_SECONDS + 4) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(server, listener)), timeout, source_address=(source, 0))


def answer(sock) -> bytes:
    """All that the server says until it closes; a server that does not close is a failure."""
    said = b""
    try:
        while got := sock.recv(65536):
            said += got
    except ConnectionError:
        pass
    return said


def lines_about(server, address: str) -> list[str]:
    return [line for line in server.log_text().splitlines() if re.search(rf"\b{re.escape(address)}\b", line)]


@contextlib.contextmanager
def established(server):
    """A client over TLS that is served all along: the list holds the seconds that each of its pings took."""
    took, over = [], threading.Event()
    client = wire.Client(server.mqtts, wire.V311, tls=server.tls_context(), timeout=20)
    client.hello(f"established-{os.getpid()}")

    def ping():
        while not over.wait(0.02):
            began = time.monotonic()
            client.alive()
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()
        client.close()


GARBAGE = {
    "random bytes": os.urandom(600),
    "zeros": bytes(600),
    "a record of no bytes": tls.record(tls.HANDSHAKE, b"") * 40,
    "a record longer than any": tls.record(tls.HANDSHAKE, b"\1" * 400, length=0xFFFF),
    "data before the handshake": tls.record(tls.DATA, b"x" * 400),
    "an alert before the handshake": tls.record(tls.ALERT, b"\2\x28"),
    "a change of ciphers before the handshake": tls.record(tls.CHANGE_CIPHER_SPEC, b"\1") * 40,
    "a heartbeat before the handshake": tls.record(tls.HEARTBEAT, b"\1\xff\xff" + b"x" * 16),
    "a Finished at once": tls.record(tls.HANDSHAKE, b"\x14\0\0\x0c" + bytes(12)),
    "a hello of one byte": tls.record(tls.HANDSHAKE, b"\1"),
    "a hello whose length lies": tls.record(tls.HANDSHAKE, tls.message(length=20)),
    "a hello without suites": tls.hello(suites=()),
    "a hello with an extension that runs past its end": tls.hello(extensions=b"\0\x10\xff\xff\0"),
    "the same extension twice": tls.hello(extensions=tls.name("localhost")),
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + os.urandom(37),
    "a good hello, then random bytes": tls.hello() + os.urandom(2000),
    "a good hello twice": tls.hello() * 2,
}


@pytest.mark.parametrize("listener", ["mqtts", "https"])
@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_closed(server, listener, what):
    """At once, or when the handshake's time is over if it could still become something."""
    with dial(server, listener) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(GARBAGE[what])
        answer(sock)


@pytest.mark.parametrize("listener", ["mqtts", "https"])
def test_a_hello_that_comes_byte_by_byte_ends_with_the_handshakes_time(server, listener):
    """Each byte keeps no clock running but the one that began at the connect."""
    began = time.monotonic()
    with dial(server, listener) as sock, contextlib.suppress(ConnectionError):
        for byte in tls.hello():
            sock.sendall(bytes([byte]))
            time.sleep(0.2)
            assert time.monotonic() - began < HANDSHAKE_SECONDS + 2, "it is still open"


@pytest.mark.parametrize("listener", ["mqtts", "https"])
def test_a_hello_of_64_kb_is_refused_and_a_hundred_of_them_take_no_memory(server, listener):
    large = tls.in_records(tls.message(extensions=tls.extension(21, bytes(65_000))))
    before = resident(server)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(dial(server, listener)) for _ in range(100)]
        for sock in opened:
            with contextlib.suppress(ConnectionError):
                sock.sendall(large[:-10])
        assert resident(server) < before + 16 * 1024 * 1024
        began = time.monotonic()
        for sock in opened:
            answer(sock)
        assert time.monotonic() - began < HANDSHAKE_SECONDS + 3


def open_halves(server, count, sources, first: bytes):
    """`count` connections from `sources` that say `first` and no more, without waiting for any."""
    opened = []
    for number in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((sources[number % len(sources)], 0))
        sock.connect_ex(server.mqtts)
        opened.append(sock)
        if number % 100 == 99:
            # The listener's backlog is not what is tried here.
            selector = selectors.DefaultSelector()
            for each in opened[-100:]:
                selector.register(each, selectors.EVENT_WRITE)
            for key, _ in selector.select(2):
                with contextlib.suppress(OSError):
                    key.fileobj.send(first)
            selector.close()
    return opened


@pytest.mark.parametrize("first", [b"", tls.hello()[:60], tls.hello()], ids=["not a byte", "half a hello", "a whole hello"])
def test_ten_thousand_half_open_handshakes_are_bounded_and_others_are_served(server, first):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 1000)
    assert count == 10_000, f"only {hard} descriptors: raise the hard limit of `ulimit -n`"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 1000), hard))
    sources = [f"127.0.1.{number}" for number in range(1, 41)]
    before, opened = resident(server), []
    try:
        with established(server) as took:
            opened = open_halves(server, count, sources, first)
            during = resident(server)
            # New clients come in beside them, from an address that is not among them.
            seen = devices.bearssl(server.mqtts_port, ca=server.ca, topic=devices.TOPIC, timeout=9000)
            assert seen.has(devices.LARGE), seen
        assert during < before + 96 * 1024 * 1024, f"{(during - before) / 1e6:.0f} MB for half-open handshakes"
        assert len(took) > 10 and max(took) < 1.5, f"an established client waited {max(took):.2f} s"
    finally:
        for sock in opened:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    said = [line for line in server.log_text().splitlines() if "127.0.1." in line]
    # Of each address: pushed out, one too many, too slow, closed without a word; each once.
    assert len(said) <= 4 * len(sources), f"{len(said)} lines:\n" + "\n".join(said[:8])


def test_one_address_has_its_own_bound_and_others_come_in(server):
    opened = open_halves(server, 700, ["127.0.2.1"], tls.hello()[:60])
    try:
        time.sleep(0.3)
        closed = 0
        for sock in opened:
            with contextlib.suppress(BlockingIOError):
                try:
                    closed += sock.recv(10) == b""
                except ConnectionError:
                    closed += 1
        assert 150 <= closed <= 250, f"{closed} of 700 were closed; 500 are allowed"
        assert devices.mbedtls(server.mqtts_port, ca=server.ca, topic=devices.TOPIC).has(devices.LARGE)
    finally:
        for sock in opened:
            sock.close()
    assert eventually(lambda: lines_about(server, "127.0.2.1"))
    assert len(lines_about(server, "127.0.2.1")) <= 2


def test_renegotiation_is_refused_and_hurts_nobody_else(server):
    """`R` makes OpenSSL's client ask for it."""
    with established(server) as took:
        process = subprocess.Popen([servers.client("openssl"), "s_client", "-connect", f"127.0.0.1:{server.mqtts_port}", "-tls1_2",
                                    "-CAfile", str(server.ca), "-servername", "localhost"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(0.5)
        process.stdin.write("R\n")
        process.stdin.flush()
        time.sleep(1)
        process.kill()
        said = process.communicate()[0]
        assert "RENEGOTIATING" in said, said
        assert "verify return:1" not in said.partition("RENEGOTIATING")[2], "it renegotiated"
    assert max(took) < 1


def test_a_heartbeat_is_answered_with_nothing_of_our_memory(server):
    """CVE-2014-0160 asked for 65,535 bytes and sent one; nobody here answers any."""
    request = tls.record(tls.HEARTBEAT, b"\1\xff\xff" + b"x")
    for first in (request, tls.hello(extensions=tls.extension(15, b"\1")) + request):
        with dial(server) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(first)
            said = answer(sock)
        at = 0
        while at + 5 <= len(said):
            assert said[at] in (tls.HANDSHAKE, tls.ALERT), said[at]
            at += 5 + int.from_bytes(said[at + 3:at + 5], "big")


@pytest.mark.parametrize("version", [tls.SSL30, tls.TLS10, tls.TLS11], ids=["SSL 3", "TLS 1.0", "TLS 1.1"])
@pytest.mark.parametrize("listener", ["mqtts", "https"])
def test_old_versions_are_refused_by_name(server, listener, version):
    with dial(server, listener) as sock:
        sock.sendall(tls.hello(version=version, signatures=()))
        assert tls.alerts_in(answer(sock)) == [(2, tls.PROTOCOL_VERSION)]


@pytest.mark.parametrize("suites", [[tls.RSA_AES128_CBC, tls.RSA_AES256_GCM], [0x0001, 0x0002], [0x0018, 0x0034], [0x0003, 0x0008]],
                         ids=["static RSA", "no encryption", "nobody's certificate", "export"])
def test_weak_suites_are_refused(server, suites):
    with dial(server) as sock:
        sock.sendall(tls.hello(suites=suites))
        assert tls.alerts_in(answer(sock)) == [(2, tls.HANDSHAKE_FAILURE)]


def test_a_client_that_fell_back_is_told_that_it_need_not(server):
    """RFC 7507: the suite that is none says that a better version was tried before, and it is spoken here."""
    with dial(server) as sock:
        sock.sendall(tls.hello(suites=[tls.ECDHE_RSA_AES128_GCM, tls.FALLBACK_SCSV]))
        assert tls.alerts_in(answer(sock)) == [(2, tls.INAPPROPRIATE_FALLBACK)]


def test_a_client_of_tls_1_2_is_told_that_more_was_possible(server):
    """RFC 8446 section 4.1.3: a client of 1.3 that reads this in the random knows that somebody took 1.3 out of its hello."""
    with dial(server) as sock:
        sock.sendall(tls.hello())
        assert tls.random_of(sock.recv(65536))[-8:] == b"DOWNGRD\1"


def test_established_clients_are_served_while_strangers_storm(server):
    """A second of everything that is in this module, from many addresses."""
    deadline, tried = time.monotonic() + 3, 0
    with established(server) as took:
        while time.monotonic() < deadline:
            opened = []
            for number, bytes_of in enumerate([*GARBAGE.values(), tls.hello(), tls.hello()[:50]]):
                with contextlib.suppress(OSError):
                    sock = dial(server, ["mqtts", "https"][number % 2], source=f"127.0.3.{number + 1}")
                    opened.append(sock)
                    sock.sendall(bytes_of)
            tried += len(opened)
            for sock in opened:
                sock.close()
    assert tried > 200 and max(took) < 1, (tried, max(took))
    said = [line for line in server.log_text().splitlines() if "127.0.3." in line]
    assert len(said) <= 5 * len(GARBAGE), f"{len(said)} lines for {tried} connections:\n" + "\n".join(said[:10])


def test_two_hundred_failures_of_one_address_are_one_line(server):
    for _ in range(200):
        with dial(server, source="127.0.4.1") as sock:
            sock.sendall(tls.hello(suites=[tls.RSA_AES128_CBC]))
            answer(sock)
    assert eventually(lambda: lines_about(server, "127.0.4.1"))
    assert len(lines_about(server, "127.0.4.1")) == 1, lines_about(server, "127.0.4.1")


def test_a_handshake_that_ends_with_a_foreign_certificate_check_is_counted_once(server):
    """A client that trusts nobody, thirty times."""
    context = ssl.create_default_context()
    for _ in range(30):
        with dial(server, source="127.0.4.2") as raw, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(raw, server_hostname="localhost")
    assert eventually(lambda: lines_about(server, "127.0.4.2"))
    assert len(lines_about(server, "127.0.4.2")) == 1, lines_about(server, "127.0.4.2")
