"""Real TLS engines against the real server: each connects, verifies, and receives a retained message of 20 KB."""

import json
import ssl
import subprocess

import pytest

import chromium
import devices
import server as servers
from devices import LARGE, TOPIC

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])


@pytest.fixture(scope="module")
def server(kind):
    if kind is not servers.Safeport:
        pytest.skip("no TLS at this peer")
    with servers.serving(kind) as running:
        devices.retain(running)
        yield running
        assert running.alive(), f"the server died:\n{running.log_text()[-4000:]}"


@pytest.fixture(scope="module")
def pin(server):
    return devices.fingerprint(server.data / "pki" / "server-rsa.pem")


# ------------------------------------------------------- BearSSL, as Tasmota

@pytest.mark.parametrize("buffer", [1024, 2048, 4096])
@pytest.mark.parametrize("trust", ["fingerprint", "ca"])
def test_a_tasmota_receives_20_kb_through_its_small_buffer(server, pin, buffer, trust):
    how = {"fingerprint": pin} if trust == "fingerprint" else {"ca": server.ca}
    seen = devices.bearssl(server.mqtts_port, in_=buffer, topic=TOPIC, **how)
    assert seen.has(LARGE) and seen.error == "0" and (seen.version, seen.suite) == ("0303", "c02f"), seen


def test_a_buffer_of_512_bytes_is_served_because_the_client_asks_for_short_records(server, pin):
    """max_fragment_length of 512, which rustls does not know; the records are as short all the same."""
    seen = devices.bearssl(server.mqtts_port, in_=512, out=512, topic=TOPIC, fingerprint=pin)
    assert seen.has(LARGE), seen


def test_a_small_client_that_does_not_ask_gets_short_records_too(server, pin):
    """As a modem does: 1024 bytes are what every stack gets that is not known to have more room."""
    assert devices.bearssl(server.mqtts_port, topic=TOPIC, fingerprint=pin, no_fragments=True).has(LARGE)


def test_a_tasmota_that_knows_ecdsa_gets_the_p256_certificate(server):
    """SetOption165 offers c02b beside c02f."""
    seen = devices.bearssl(server.mqtts_port, topic=TOPIC, ca=server.ca, ecdsa=True)
    assert seen.has(LARGE) and seen.suite == "c02b", seen


def test_a_tasmota_pinned_to_the_rsa_key_stays_with_it(server, pin):
    """In fingerprint mode the firmware offers RSA only."""
    assert devices.bearssl(server.mqtts_port, topic=TOPIC, fingerprint=pin, in_=2048).has(LARGE)


def test_an_esp32_with_a_clock_at_1970_accepts_the_private_authority(server):
    """Before the first NTP answer a device believes it is 1970."""
    seen = devices.bearssl(server.mqtts_port, topic=TOPIC, ca=server.ca, time=0)
    assert seen.has(LARGE), seen


def test_an_espeasy_that_dials_an_address_sends_no_name_and_gets_a_certificate(server, pin):
    assert devices.bearssl(server.mqtts_port, topic=TOPIC, fingerprint=pin, no_sni=True).has(LARGE)


def test_a_tasmota_sends_its_address_as_a_name_and_the_pinned_key_is_served(server, pin):
    """SNI is always the text of MqttHost, even `192.168.1.10`, which no standard allows."""
    seen = devices.bearssl(server.mqtts_port, topic=TOPIC, fingerprint=pin, name="127.0.0.1")
    assert seen.has(LARGE), seen


def test_a_pinned_tasmota_may_call_the_server_by_any_name(server, pin):
    assert devices.bearssl(server.mqtts_port, topic=TOPIC, fingerprint=pin, name="somebody.else.example").has(LARGE)


def test_a_wrong_fingerprint_is_error_1(server):
    assert devices.bearssl(server.mqtts_port, topic=TOPIC, fingerprint="00" * 20).error == "1"


def test_a_tasmota_resumes_its_session(server, pin):
    seen = devices.bearssl(server.mqtts_port, topic=TOPIC, fingerprint=pin, again=True)
    assert seen.has(LARGE) and seen.resumed == "1", seen


@pytest.mark.parametrize("protocol", ["mqtt", "x-amzn-mqtt-ca"])
def test_a_tasmota_may_ask_for_any_application_protocol(server, pin, protocol):
    """On port 443 of some hosts it asks for one of theirs; a server that refuses it gives error 376."""
    seen = devices.bearssl(server.mqtts_port, topic=TOPIC, fingerprint=pin, alpn=protocol)
    assert seen.has(LARGE), seen


# ------------------------------------------------------- mbedTLS, as ESP-IDF

@pytest.mark.parametrize("options", [
    {}, {"no_sni": True}, {"alpn": "mqtt"}, {"alpn": "x-amzn-mqtt-ca"}, {"max_fragment": 512}, {"max_fragment": 4096},
], ids=["plain", "no name", "mqtt", "foreign protocol", "fragment 512", "fragment 4096"])
def test_an_esp_idf_device_verifies_and_receives_20_kb(server, options):
    seen = devices.mbedtls(server.mqtts_port, topic=TOPIC, ca=server.ca, **options)
    assert seen.has(LARGE) and seen.error == "0", seen


@pytest.mark.parametrize("tickets", [True, False], ids=["ticket", "session id"])
def test_an_esp_idf_device_resumes_its_session(server, tickets):
    seen = devices.mbedtls(server.mqtts_port, topic=TOPIC, ca=server.ca, again=True, no_tickets=not tickets)
    assert seen.has(LARGE) and seen.resumed == "1", seen


def test_an_esp_idf_device_refuses_a_stranger(server):
    assert devices.mbedtls(server.mqtts_port, ca=server.ca, name="somebody.else.example").error == "-0x2700"


# --------------------------------------------------------- the same over HTTPS

@pytest.mark.parametrize("buffer", [1024, 2048])
@pytest.mark.parametrize("asks", [True, False], ids=["asks for short records", "does not ask"])
def test_a_small_buffer_takes_a_long_page_over_https(server, pin, buffer, asks):
    seen = devices.bearssl(server.https_port, fingerprint=pin, get="/metrics", in_=buffer, no_fragments=not asks)
    assert seen.status == "200" and int(seen.received) > 5000 and seen.error == "0", seen


@pytest.mark.parametrize("options", [{}, {"no_sni": True}, {"alpn": "http/1.1"}, {"alpn": "something-else"}, {"max_fragment": 512}],
                         ids=["plain", "no name", "http/1.1", "foreign protocol", "fragment 512"])
def test_an_esp_idf_device_takes_a_long_page_over_https(server, options):
    seen = devices.mbedtls(server.https_port, ca=server.ca, get="/metrics", **options)
    assert seen.status == "200" and int(seen.received) > 5000, seen


# ------------------------------------------------------------ OpenSSL, GnuTLS

@VERSIONS
@pytest.mark.parametrize("arguments, name", [([], "localhost"), ([], None), (["-alpn", "mqtt"], "localhost"),
                                             (["-alpn", "x-amzn-mqtt-ca"], "localhost"), (["-maxfraglen", "1024"], "localhost")],
                         ids=["name", "no name", "mqtt", "foreign protocol", "fragment 1024"])
def test_openssl_receives_20_kb(server, version, arguments, name):
    only = {V12: "-tls1_2", V13: "-tls1_3"}[version]
    found, errors = devices.openssl(server, only, *arguments, name=name)
    assert found == LARGE, errors


@VERSIONS
@pytest.mark.parametrize("arguments", [[], ["--alpn", "mqtt"], ["--alpn", "x-amzn-mqtt-ca"], ["--recordsize", "1024"]],
                         ids=["plain", "mqtt", "foreign protocol", "record size 1024"])
def test_gnutls_receives_20_kb(server, version, arguments):
    only = {V12: "NORMAL:-VERS-ALL:+VERS-TLS1.2", V13: "NORMAL:-VERS-ALL:+VERS-TLS1.3"}[version]
    found, said = devices.gnutls(server, *arguments, priority=only)
    assert found == LARGE, said


# ---------------------------------------------------------------- resumption

@pytest.mark.parametrize("version, tickets", [(V12, False), (V12, True), (V13, True)], ids=["1.2 session id", "1.2 ticket", "1.3 ticket"])
def test_openssl_resumes(server, version, tickets):
    context = devices.context(server, version)
    if not tickets:
        context.options |= ssl.OP_NO_TICKET
    with devices.Python(server, context) as first:
        assert first.fetch() == LARGE
        session = first.sock.session
        assert session is not None and session.has_ticket == tickets
    with devices.Python(server, context, session=session) as second:
        assert second.sock.session_reused and second.fetch() == LARGE


# --------------------------------------------------- programs and libraries

@VERSIONS
def test_mosquitto_sub_receives_20_kb(server, version):
    only = {V12: "tlsv1.2", V13: "tlsv1.3"}[version]
    done = subprocess.run([servers.client("mosquitto_sub"), "-h", "localhost", "-p", str(server.mqtts_port), "--cafile", server.ca,
                           "--tls-version", only, "-t", TOPIC, "-C", "1", "-N", "-W", "10"], capture_output=True, timeout=15)
    assert done.stdout == LARGE, done.stderr


@VERSIONS
@pytest.mark.parametrize("protocols", [None, ["mqtt"], ["h2"]], ids=["no protocol", "mqtt", "foreign protocol"])
def test_paho_receives_20_kb(server, version, protocols):
    import queue

    import paho.mqtt.client as paho
    context = devices.context(server, version)
    if protocols:
        context.set_alpn_protocols(protocols)
    messages: queue.Queue = queue.Queue()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.tls_set_context(context)
    client.on_message = lambda _client, _data, message: messages.put(message.payload)
    client.on_connect = lambda *_: client.subscribe(TOPIC)
    client.connect("localhost", server.mqtts_port)
    client.loop_start()
    try:
        assert messages.get(timeout=10) == LARGE
    finally:
        client.disconnect()
        client.loop_stop()


@VERSIONS
def test_mqttjs_receives_20_kb(server, version):
    only = {V12: "TLSv1.2", V13: "TLSv1.3"}[version]
    done = subprocess.run([servers.client("node"), "node/fetch.mjs"], input=json.dumps({
        "url": f"mqtts://localhost:{server.mqtts_port}", "ca": str(server.ca), "topic": TOPIC, "minVersion": only, "maxVersion": only,
    }), cwd=devices.HERE, text=True, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert bytes.fromhex(seen["payload"]) == LARGE and seen["version"] == only


# ------------------------------------------------------------------- Chromium

@pytest.mark.parametrize("version", ["tls1.2", "tls1.3"])
def test_chromium_receives_20_kb_over_wss_once_it_trusts_the_private_root(server, tmp_path, version):
    arguments = ["--ssl-version-max=tls1.2"] if version == "tls1.2" else []
    with chromium.Chromium(tmp_path, trust=server.ca, arguments=arguments) as browser:
        # The start page lets no script connect anywhere; this one is of the same origin and forbids nothing.
        page = browser.open(f"https://localhost:{server.https_port}/healthz")
        assert page["protocol"].lower().replace("tls ", "tls") == version and page["state"] == "secure", page
        assert browser.fetch_by_mqttjs(f"wss://localhost:{server.https_port}/mqtt", TOPIC) == LARGE


def test_chromium_refuses_an_authority_that_it_was_not_given(server, tmp_path):
    with chromium.Chromium(tmp_path) as browser:
        with pytest.raises(chromium.Refused, match="ERR_CERT_AUTHORITY_INVALID"):
            browser.open(f"https://localhost:{server.https_port}/")
