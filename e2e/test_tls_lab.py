"""The fault lab: every way in which TLS is known to fail between a device and a listener, one row each.

A row is one of three. REFUSED: a certificate that would fail is not presented, and `safeport check` says why. RECORDED: the
fault is provoked with real engines, and `safeport attempts` names it. IMPOSSIBLE: no setting makes a listener do that; the
engine that fails elsewhere connects. What does not concern a listener of ours is in NOT_OURS. B is BearSSL as in a Tasmota, X
is mbedTLS 2.28; the numbers are what those devices print.
"""

import contextlib
import dataclasses
import re
import socket
import subprocess
import time
from collections.abc import Callable

import pytest

import client_hello as tls
import devices
import lab_pki
import server as servers
import wire
from conftest import eventually
from devices import LARGE, TOPIC, bearssl, mbedtls
from lab_pki import NAME

NOT_OURS = {
    23: "something else, such as SSH, listens where the device connects: nothing reaches us",
    30: "nothing listens where the device connects: nothing reaches us",
}
IN_2040 = 2_208_988_800
covered: set[int] = set()


def row(*numbers):
    """Says which rows of the lab a test covers."""
    covered.update(numbers)
    return lambda test: test


@pytest.fixture(scope="module", autouse=True)
def only_safeport(kind):
    if kind is not servers.Safeport:
        pytest.skip("no TLS at this peer")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return lab_pki.Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def server(kind):
    """One that presents the certificates of its own authority."""
    with servers.serving(kind, settings={"tls": 'handshake_timeout = "2s"'}) as running:
        devices.retain(running)
        yield running
        assert running.alive()


@pytest.fixture
def presenting(own_server):
    """A server that presents chains from files, with more lines in `[mqtts]`: `presenting(lab, [(chain, key)], "...")`."""
    def start(lab, pairs, mqtts='certificate = "files"', tls='handshake_timeout = "2s"'):
        settings = {"tls": tls_files(lab, pairs) + "\n" + tls, "mqtts": mqtts}
        started = own_server(settings=settings)
        devices.retain(started)
        return started
    return start


def tls_files(lab, pairs):
    chains, keys = ", ".join(f'"{chain}"' for chain, _ in pairs), ", ".join(f'"{key}"' for _, key in pairs)
    return f'chain_files = [{chains}]\nkey_files = [{keys}]\nca_file = "{lab.root.chain}"'


def attempts(server, **wanted):
    """What `safeport attempts --json` shows, and of it the rows in which all of `wanted` is so."""
    return [each for each in server.json("attempts", "--limit=1000") if all(each.get(key) == value for key, value in wanted.items())]


def told(each) -> set[str]:
    return {each["cause"], *each["candidates"]}


def recorded(server, cause, listener="mqtts", among_others=False, **wanted):
    """The attempt that names `cause`, or says what else it may be."""
    def look():
        return [each for each in attempts(server, listener=listener, **wanted)
                if (cause in told(each) if among_others else each["cause"] == cause)]
    found = eventually(look, seconds=10)
    assert found, f"no attempt says {cause}: {attempts(server)}"
    return found[0]


# ------------------------------------------------------------------- REFUSED

@dataclasses.dataclass
class Refused:
    number: int
    fault: str
    make: Callable  # lab -> (certificates of the chain file in their order, certificate whose key is named)
    says: str       # what `check` says, as a pattern


def chain_of(*certificates, key=None):
    return certificates, key or certificates[0]


def with_leaf(name, **options):
    return lambda lab: chain_of(lab.leaf(name, **options), lab.intermediate)


def other_key(lab):
    return chain_of(lab.leaf(), lab.intermediate, key=lab.leaf("another"))


REFUSED = [
    Refused(2, "missing intermediate", lambda lab: chain_of(lab.leaf()), r"not complete: the certificate of .*Lab intermediate.*missing"),
    Refused(3, "expired leaf", with_leaf("expired", start=-90, end=-1), r"ended on"),
    Refused(4, "not yet valid", with_leaf("early", start=30, end=90), r"good only from"),
    Refused(8, "self-signed", lambda lab: chain_of(lab.issue("alone")), r"signed itself"),
    Refused(12, "SHA-1 leaf", with_leaf("sha1", digest="sha1"), r"signed with SHA-1"),
    Refused(13, "chain order wrong: root before intermediate", lambda lab: chain_of(lab.leaf(), lab.root, lab.intermediate), r"out of order"),
    Refused(14, "clientAuth-only EKU", with_leaf("client", usage="clientAuth"), r"no serverAuth"),
    # Not in the lab, but as deadly.
    Refused(0, "leaf last", lambda lab: chain_of(lab.intermediate, lab.leaf(), key=lab.leaf()), r"begins with .*put that one first"),
    Refused(0, "a key of another certificate", other_key, r"belongs to no certificate"),
    Refused(0, "expired intermediate", lambda lab: chain_of(
        lab.leaf("below-old", old := lab.issue("old", lab.root, authority=True, start=-900, end=-1)), old), r"ended on"),
    Refused(0, "root of nobody", lambda lab: chain_of(
        lab.leaf("foreign", lab.issue("stranger", authority=True, start=-900, end=900))), r"not complete: .*Lab stranger"),
]
covered.update(each.number for each in REFUSED)


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: f"{fault.number} {fault.fault}")
def test_a_chain_that_devices_could_not_use_is_refused_with_the_reason(home, lab, fault):
    certificates, key = fault.make(lab)
    chain = lab.write(f"refused-{REFUSED.index(fault)}", *certificates)
    files = tls_files(lab, [(chain, key.key)])
    place = home(settings={"tls": files, "mqtts": 'certificate = "files"'}, open_to_all=True)
    checked = place.cli("check", check=False)
    said = checked.stdout + checked.stderr
    assert checked.returncode != 0 and re.search(fault.says, said), said
    assert chain.name in said, "the file is not named"
    # Where it is set nevertheless, the server runs, says so, and presents what it has.
    place.start_degraded()
    devices.retain(place)
    assert bearssl(place.mqtts_port, ca=place.ca, topic=TOPIC).has(LARGE)
    assert eventually(lambda: re.search(fault.says, place.log_text())), place.log_text()[-2000:]


def test_a_chain_without_faults_is_presented(presenting, lab):
    """The rows above are refused for their fault, not for coming from the lab."""
    server = presenting(lab, [(lab.write("good", lab.leaf(), lab.intermediate), lab.leaf().key)])
    assert server.cli("check", check=False).returncode == 0
    assert bearssl(server.mqtts_port, ca=lab.root.chain, name=NAME, topic=TOPIC).has(LARGE)
    assert mbedtls(server.mqtts_port, ca=lab.root.chain, name=NAME, topic=TOPIC).has(LARGE)


# ---------------------------------------------------------------- IMPOSSIBLE

@row(1)
def test_what_is_good_is_recorded_as_healthy(server):
    assert bearssl(server.mqtts_port, ca=server.ca, topic=TOPIC, id="good-b").has(LARGE)
    assert mbedtls(server.mqtts_port, ca=server.ca, topic=TOPIC, id="good-x").has(LARGE)
    for client_id, stack in [("good-b", "bearssl"), ("good-x", "mbedtls")]:
        assert recorded(server, "healthy", client_id=client_id)["stack"] == stack


@row(7)
def test_the_own_certificate_has_addresses_as_names_too(server):
    """B and X do not look at addresses in a certificate (B 56, X flags 0x4): so the address stands there as a DNS name."""
    assert bearssl(server.mqtts_port, ca=server.ca, name="127.0.0.1", topic=TOPIC).has(LARGE)
    assert mbedtls(server.mqtts_port, ca=server.ca, name="127.0.0.1", topic=TOPIC).has(LARGE)


@row(9, 10, 11)
@pytest.mark.parametrize("fault", ["ECDSA only", "P-384 intermediate", "SHA-384 leaf"])
def test_a_chain_that_some_devices_cannot_verify_never_keeps_them_from_the_handshake(presenting, lab, fault):
    """B 296 or 49 elsewhere. A Tasmota that pins the key gets the RSA key in its place; others get the chain."""
    if fault == "P-384 intermediate":
        above = lab.issue("p384", lab.root, key="p384", authority=True, start=-900, end=900)
        leaf = lab.leaf("below-p384", above, key="p256", digest="sha384")
    else:
        above = lab.intermediate
        leaf = lab.leaf("p256", key="p256") if fault == "ECDSA only" else lab.leaf("sha384", digest="sha384")
    server = presenting(lab, [(lab.write(fault.replace(" ", "-"), leaf, above), leaf.key)])
    pin = devices.fingerprint(server.data / "pki" / "server-rsa.pem")
    assert bearssl(server.mqtts_port, fingerprint=pin, name=NAME, topic=TOPIC).has(LARGE)
    assert mbedtls(server.mqtts_port, ca=lab.root.chain, name=NAME, topic=TOPIC).has(LARGE)


@row(15, 17, 18, 19)
@pytest.mark.parametrize("key", ["tls.min_version", "tls.versions", "tls.ciphers", "tls.suites", "tls.groups", "tls.curves",
                                 "mqtts.min_version", "mqtts.ciphers", "https.min_version", "https.ciphers"])
def test_no_setting_takes_a_version_a_suite_or_a_curve_away(home, key):
    """B 326 and 296, X -0x7780 elsewhere. TLS 1.2, c02f and P-256 are always there: test_tls_devices.py shows it."""
    section, _, name = key.partition(".")
    place = home(settings={section: f'{name} = "1.3"'})
    checked = place.cli("check", check=False)
    assert checked.returncode == 64 and name in checked.stderr, checked.stderr


@row(21)
def test_the_certificate_without_sni_is_the_one_with_it(presenting, lab):
    """B 62, X flags 0x8 at servers whose default is another one."""
    server = presenting(lab, [(lab.write("good", lab.leaf(), lab.intermediate), lab.leaf().key)])
    assert bearssl(server.mqtts_port, ca=lab.root.chain, no_sni=True, topic=TOPIC).has(LARGE)
    assert mbedtls(server.mqtts_port, ca=lab.root.chain, no_sni=True, topic=TOPIC).has(LARGE)


@row(35)
@pytest.mark.parametrize("options", [{}, {"max_fragment": 512}], ids=["whatever it asks", "asking for 512"])
def test_handshake_messages_are_never_split_over_records(presenting, lab, options):
    """X -0x7080 elsewhere, and a chain of two certificates is longer than any small record."""
    server = presenting(lab, [(lab.write("good", lab.leaf(), lab.intermediate), lab.leaf().key)],
                        mqtts='certificate = "files"\nrecord_size = "512B"')
    assert mbedtls(server.mqtts_port, ca=lab.root.chain, name=NAME, topic=TOPIC, **options).has(LARGE)


# ------------------------------------------------------------------ RECORDED

@row(5)
def test_a_name_that_is_not_in_the_certificate(server):
    assert bearssl(server.mqtts_port, ca=server.ca, name="wrong-b.example").error == "56"
    seen = mbedtls(server.mqtts_port, ca=server.ca, name="wrong-x.example")
    assert (seen.error, seen.flags) == ("-0x2700", "0x4")
    for name in ("wrong-b.example", "wrong-x.example"):
        recorded(server, "name_mismatch", server_name=name)


@row(6)
def test_a_name_in_cn_does_not_count_beside_alternative_names(presenting, lab):
    leaf = lab.leaf("cn-only", names=("other.example",))
    server = presenting(lab, [(lab.write("cn-only", leaf, lab.intermediate), leaf.key)])
    assert bearssl(server.mqtts_port, ca=lab.root.chain, name=NAME).error == "56"
    seen = mbedtls(server.mqtts_port, ca=lab.root.chain, name=NAME)
    assert (seen.error, seen.flags) == ("-0x2700", "0x4")
    recorded(server, "name_mismatch", server_name=NAME)


@row(7)
def test_an_address_that_is_not_in_a_certificate_from_files(presenting, lab):
    server = presenting(lab, [(lab.write("good", lab.leaf(), lab.intermediate), lab.leaf().key)])
    assert bearssl(server.mqtts_port, ca=lab.root.chain, name="127.0.0.1").error == "56"
    recorded(server, "name_mismatch", server_name="127.0.0.1")


@row(8)
def test_a_root_that_the_device_does_not_know(server, lab):
    """B 62, X flags 0x8: the lab's root is no root of this server."""
    assert bearssl(server.mqtts_port, ca=lab.root.chain, source="127.0.6.1").error == "62"
    recorded(server, "untrusted", among_others=True, address="127.0.6.1", stack="bearssl")
    seen = mbedtls(server.mqtts_port, ca=lab.root.chain, source="127.0.6.1")
    assert (seen.error, seen.flags) == ("-0x2700", "0x8")
    recorded(server, "untrusted", address="127.0.6.1", stack="mbedtls")


def test_a_pinned_key_that_is_another(server):
    assert bearssl(server.mqtts_port, fingerprint="11" * 20, source="127.0.6.2").error == "1"
    recorded(server, "fingerprint_mismatch", among_others=True, address="127.0.6.2")


@row(16)
def test_a_client_of_tls_1_1_and_older(server):
    for version in (tls.TLS11, tls.TLS10):
        with socket.create_connection(server.mqtts, 5) as sock:
            sock.sendall(tls.hello(version=version, signatures=(), suites=[tls.RSA_AES128_CBC, 0xC013]))
            assert tls.alerts_in(sock.recv(100)) == [(2, tls.PROTOCOL_VERSION)]
    recorded(server, "tls_version")


@row(17, 18)
def test_a_client_without_a_suite_of_ours(server):
    with socket.create_connection(server.mqtts, 5) as sock:
        sock.sendall(tls.hello(suites=[tls.RSA_AES256_GCM, tls.RSA_AES128_CBC]))
        assert tls.alerts_in(sock.recv(100)) == [(2, tls.HANDSHAKE_FAILURE)]
    recorded(server, "no_common_cipher")


@row(17)
def test_a_client_of_aes_256_alone_is_served(server):
    found, errors = devices.openssl(server, "-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384")
    assert found == LARGE, errors


@row(19)
def test_a_client_without_a_curve_of_ours(server):
    with socket.create_connection(server.mqtts, 5) as sock:
        sock.sendall(tls.hello(groups=[tls.P521, 0x0009]))
        assert tls.alerts_in(sock.recv(100)) == [(2, tls.HANDSHAKE_FAILURE)]
    recorded(server, "no_common_group")


def test_a_client_that_verifies_sha_1_alone(server):
    with socket.create_connection(server.mqtts, 5) as sock:
        sock.sendall(tls.hello(signatures=[tls.RSA_PKCS1_SHA1, tls.ECDSA_SHA1]))
        assert tls.alerts_in(sock.recv(100)) == [(2, tls.HANDSHAKE_FAILURE)]
    recorded(server, "no_common_signature")


@row(20)
def test_a_client_certificate_is_demanded_where_a_listener_says_so(own_server, lab):
    """B 256 + the alert, X -0x7780. Whoever has one comes in."""
    server = own_server(settings={"mqtts": f'client_ca_file = "{lab.root.chain}"'})
    assert int(bearssl(server.mqtts_port, ca=server.ca).error) in (296, 256 + 116)
    assert mbedtls(server.mqtts_port, ca=server.ca).error == "-0x7780"
    recorded(server, "client_cert_required")
    mine = lab.leaf("mine", lab.root, usage="clientAuth")
    context = server.tls_context()
    context.load_cert_chain(mine.chain, mine.key)
    with wire.Client(server.mqtts, wire.V311, tls=context) as one:
        assert one.hello("").code == 0


@row(22)
def test_tls_to_the_plain_web_port(server):
    """B 266: its fatal alert says unexpected message, which nothing else here does."""
    assert bearssl(server.http_port, ca=server.ca).error == str(256 + tls.UNEXPECTED_MESSAGE)
    assert mbedtls(server.http_port, ca=server.ca).error == "-0x7780"
    recorded(server, "tls_to_plain_port", listener="http")


@row(24)
def test_tls_to_the_plain_mqtt_port(server):
    assert bearssl(server.mqtt_port, ca=server.ca).error == str(256 + tls.UNEXPECTED_MESSAGE)
    assert mbedtls(server.mqtt_port, ca=server.ca).error == "-0x7780"
    recorded(server, "tls_to_plain_port", listener="mqtt")


@row(25)
@pytest.mark.parametrize("version, code", [(wire.V311, 3), (wire.V5, 0x9C)], ids=["3.1.1", "5"])
def test_mqtt_in_clear_to_the_tls_port(server, version, code):
    with wire.Client(server.mqtts, version) as one:
        answer = one.hello("clear")
        assert answer.code == code
        if version == wire.V5:
            assert str(server.mqtt_port) in answer.props["reason_string"], answer
        one.ended()
    recorded(server, "plain_to_tls_port")


def spoken(address, request, timeout=5) -> bytes:
    with socket.create_connection(address, timeout) as sock:
        sock.sendall(request)
        said = b""
        with contextlib.suppress(ConnectionError):
            while got := sock.recv(4096):
                said += got
        return said


GET = b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n"
UPGRADE = (b"GET /mqtt HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")


@row(26)
@pytest.mark.parametrize("listener", ["mqtts", "https"])
def test_http_in_clear_to_a_tls_port(server, listener):
    said = spoken(getattr(server, listener), GET)
    assert said.startswith(b"HTTP/1.1 400 ") and b"port" in said.partition(b"\r\n\r\n")[2], said
    recorded(server, "http_to_tls", listener=listener)


def test_http_to_the_mqtt_port(server):
    assert spoken(server.mqtt, GET).startswith(b"HTTP/1.1 400 ")
    recorded(server, "wrong_service", listener="mqtt")


def test_a_websocket_in_clear_to_the_tls_port(server):
    """Row 48: 4G firmware with the modem driver 1.9.1 to 2.x speaks TLS on port 443 only."""
    assert re.match(rb"HTTP/1.1 4(00|26) ", spoken(server.https, UPGRADE))
    recorded(server, "wss_in_clear", listener="https")


def test_one_port_takes_both_where_it_says_so(own_server):
    """`accept = "both"`: what is a fault above is served here."""
    server = own_server(settings={name: 'accept = "both"' for name in ("mqtt", "mqtts", "http", "https")})
    devices.retain(server)
    for port in (server.mqtt_port, server.mqtts_port):
        assert bearssl(port, ca=server.ca, topic=TOPIC).has(LARGE)
        with wire.Client(("127.0.0.1", port), wire.V311) as one:
            assert one.hello("").code == 0
    for port in (server.http_port, server.https_port):
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(UPGRADE)
            assert sock.recv(100).startswith(b"HTTP/1.1 101 ")


@row(27, 29)
def test_a_connection_that_is_one_too_many_is_closed_and_recorded(own_server):
    """B 0, X -0x0050 or -0x7280: the device cannot tell, the record can."""
    server = own_server(settings={"tls": "max_handshakes_per_address = 1"})
    with socket.create_connection(server.mqtts):
        time.sleep(0.3)
        assert bearssl(server.mqtts_port, ca=server.ca).error in ("0", "31")
    recorded(server, "too_many_from_address")


@row(28)
def test_a_client_that_says_nothing(server):
    began = time.monotonic()
    with socket.create_connection(server.mqtts, 10) as sock:
        assert sock.recv(1) == b""
    assert 1.5 < time.monotonic() - began < 4
    recorded(server, "silent")


def test_a_client_that_stops_in_the_middle_of_its_hello(server):
    with socket.create_connection(server.mqtts, 10) as sock:
        sock.sendall(tls.hello()[:40])
        assert tls.alerts_in(sock.recv(100)) in ([], [(2, 40)], [(1, 0)])
    recorded(server, "hello_incomplete")


@row(29)
def test_a_client_that_closes_in_the_middle_of_the_handshake(server):
    """Behind our certificate, as B does for every certificate that it does not want: the candidates are told."""
    with socket.create_connection(server.mqtts, 10) as sock:
        sock.sendall(tls.hello(suites=[tls.ECDHE_RSA_AES128_GCM, 0xC030]))
        assert sock.recv(10)
    seen = eventually(lambda: [each for each in attempts(server, listener="mqtts")
                               if told(each) & {"closes_in_handshake", "certificate_refused"}], 10)
    assert seen, attempts(server)


@row(31)
def test_a_flight_that_is_lost_on_the_way(server):
    """A client that takes no bytes: what we send is never acknowledged."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.bind(("127.0.5.1", 0))
        sock.connect(server.mqtts)
        sock.sendall(tls.hello())
        time.sleep(3)
    recorded(server, "mtu_black_hole", address="127.0.5.1")


@row(32)
def test_a_device_whose_clock_stands_at_1970(presenting, server, lab):
    """B 54 with any certificate but those of our own authority, which are good from 1970 on."""
    assert bearssl(server.mqtts_port, ca=server.ca, time=0, topic=TOPIC).has(LARGE)
    other = presenting(lab, [(lab.write("good", lab.leaf(), lab.intermediate), lab.leaf().key)])
    assert bearssl(other.mqtts_port, ca=lab.root.chain, name=NAME, time=0).error == "54"
    recorded(other, "device_clock_unset", among_others=True, stack="bearssl")


@row(33)
def test_a_device_whose_clock_stands_in_2040(server):
    """B 54; with a fingerprint no clock is looked at."""
    assert bearssl(server.mqtts_port, ca=server.ca, time=IN_2040, source="127.0.6.3").error == "54"
    recorded(server, "device_clock_wrong", among_others=True, address="127.0.6.3")
    pin = devices.fingerprint(server.data / "pki" / "server-rsa.pem")
    assert bearssl(server.mqtts_port, fingerprint=pin, time=IN_2040, topic=TOPIC).has(LARGE)


@row(34)
def test_records_that_are_larger_than_the_devices_buffer(own_server):
    """B 6. Only a setting brings that about; by itself the server keeps below 1024 bytes."""
    server = own_server(settings={"mqtts": 'record_size = "16KiB"'})
    devices.retain(server)
    pin = devices.fingerprint(server.data / "pki" / "server-rsa.pem")
    # A client that asks for records that fit gets them all the same.
    assert bearssl(server.mqtts_port, fingerprint=pin, topic=TOPIC).has(LARGE)
    assert mbedtls(server.mqtts_port, ca=server.ca, topic=TOPIC).has(LARGE)
    # One that does not ask, such as a modem, does not survive it.
    assert bearssl(server.mqtts_port, fingerprint=pin, topic=TOPIC, no_fragments=True, id="small").error == "6"
    recorded(server, "record_too_large", client_id="small", among_others=True)


@row(36)
def test_a_wrong_password(own_server):
    server = own_server(open_to_all=False)
    server.cli("user", "add", "plug", "--password-stdin", stdin="right-password\n")
    seen = bearssl(server.mqtts_port, ca=server.ca, user="plug", password="wrong-password", id="plug-1")
    assert seen.connack in ("4", "5")
    recorded(server, "auth_failed", client_id="plug-1")


@row(37)
def test_two_devices_with_one_client_identifier(server):
    for _ in range(5):
        one = wire.Client(server.mqtts, wire.V311, tls=server.tls_context())
        one.hello("twin")
        two = wire.Client(server.mqtts, wire.V311, tls=server.tls_context())
        two.hello("twin")
        one.ended()
        one.close()
        two.close()
    recorded(server, "duplicate_client_id", client_id="twin")


@row(38)
def test_a_version_of_mqtt_that_nobody_knows(server):
    with wire.Client(server.mqtts, wire.V311, tls=server.tls_context()) as one:
        one.send(wire.connect(wire.V311, "nine", level=9))
        one.fill(time.monotonic() + 5)
        # Code 1 of MQTT 3.1.1, or the same in the words of MQTT 5.
        assert one.buffer[0] == 0x20 and one.buffer[3] in (1, 0x84), one.buffer
    recorded(server, "protocol_version")


def test_every_row_of_the_lab_is_here():
    assert covered - {0} | set(NOT_OURS) == set(range(1, 39))
    assert not covered & set(NOT_OURS)
