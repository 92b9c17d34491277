"""Certificates by ACME: the real server and a real authority that really validates (Let's Encrypt's `pebble`)."""

import json
import os
import signal
import socket
import ssl
import subprocess

import pytest

import wire
from conftest import eventually
from pebble import DAY, Authority, Clock
from server import client

NAME = "hub.example.com"
HOUR = 3600


@pytest.fixture
def authority(home, tmp_path):
    """Makes an authority, and the folder of a server that asks it: `authority(challenge=…)`."""
    made = []

    def make(*, clock: Clock | None = None, lifetime=90 * DAY, **acme):
        hub = home(environment=clock.environment if clock else None, open_to_all=True)
        it = Authority(tmp_path / f"authority-{len(made)}", hub.http_port, hub.https_port, lifetime)
        made.append(it)
        values = {"names": [NAME], "accept_terms": True, "directory": it.directory, "ca_file": str(it.ca_file)} | acme
        for key, value in values.items():
            values[key] = value(it) if callable(value) else value
        lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
        with open(hub.file, "a") as file:
            file.write(f"[acme]\n{lines}\n")
        return it.start(), hub

    yield make
    for each in made:
        each.close()


def acme(hub) -> dict:
    """What the server knows of its certificates: `state.json`."""
    path = hub.data / "pki" / "acme" / "state.json"
    return json.loads(path.read_text()) if path.exists() else {"certificates": []}


def certificate(hub, key="rsa") -> dict:
    return next((one for one in acme(hub)["certificates"] if one["key"] == key), {})


def settled(hub, key="rsa", seconds=30.0) -> dict:
    """The state once a certificate is there and nothing is being done."""
    done = eventually(lambda: certificate(hub, key).get("held") and not certificate(hub, key)["doing"], seconds)
    assert done, f"{certificate(hub, key)}\n{hub.log_text()[-3000:]}"
    return certificate(hub, key)


def trouble(hub, key="rsa", seconds=40.0) -> dict:
    """The state once an attempt has failed."""
    done = eventually(lambda: certificate(hub, key).get("trouble") and not certificate(hub, key)["doing"], seconds)
    assert done, f"{certificate(hub, key)}\n{hub.log_text()[-3000:]}"
    return certificate(hub, key)


def served(address, name: str | None = NAME, key="rsa") -> bytes:
    """The certificate (DER) that a client gets which asks for `name` and can verify signatures of `key` only."""
    with wrapped(address, name, key) as tls:
        return tls.getpeercert(binary_form=True)


def wrapped(address, name: str | None, key: str) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers({"rsa": "ECDHE-RSA-AES128-GCM-SHA256", "p256": "ECDHE-ECDSA-AES128-GCM-SHA256"}[key])
    return context.wrap_socket(socket.create_connection(address, 5), server_hostname=name)


def openssl(certificate: bytes, *what: str) -> str:
    command = [client("openssl"), "x509", "-inform", "DER", "-noout", *what]
    return subprocess.run(command, input=certificate, capture_output=True, check=True).stdout.decode()


def public_key(certificate: bytes) -> str:
    return openssl(certificate, "-pubkey")


def serial(certificate: bytes) -> str:
    return openssl(certificate, "-serial").strip()


def private(hub, key="rsa") -> bytes:
    """The certificate of the server's own authority."""
    return ssl.PEM_cert_to_DER_cert((hub.data / "pki" / f"server-{key}.pem").read_text())


def trusting(authority) -> ssl.SSLContext:
    """A client that knows the authority, and nothing of this server."""
    return ssl.create_default_context(cadata=authority.root())


def is_verified(hub, authority, address=None, name=NAME) -> bool:
    with socket.create_connection(address or hub.mqtts, 5) as sock:
        with trusting(authority).wrap_socket(sock, server_hostname=name):
            return True


def test_a_name_gets_a_public_certificate_by_http_01_for_each_key_that_the_server_has(authority):
    ca, hub = authority(keys=["rsa", "p256"], contact="me@example.com")
    hub.start()
    for key in ("rsa", "p256"):
        settled(hub, key)
        assert public_key(served(hub.mqtts, key=key)) == public_key(private(hub, key))
        assert served(hub.mqtts, key=key) != private(hub, key)
    assert is_verified(hub, ca)
    assert is_verified(hub, ca, hub.https)
    # Whoever asks for a name of this network gets what he has always got.
    assert served(hub.mqtts, "localhost") == private(hub)
    assert certificate(hub)["alarm"] == "fine" and certificate(hub)["trouble"] is None
    pki = hub.data / "pki" / "acme"
    assert (pki / "account.json").stat().st_mode & 0o777 == 0o600
    assert not (pki / "order.json").exists()
    assert hub.get("/.well-known/acme-challenge/nothing")[0] == 404
    # What is there is served from the first moment of the next start, and nobody is asked.
    before = served(hub.mqtts)
    hub.stop()
    ca.stop()
    hub.start()
    assert served(hub.mqtts) == before


def test_a_name_is_proved_by_tls_alpn_01_while_clients_come_and_go(authority):
    ca, hub = authority(challenge="tls-alpn-01", names=[NAME, "www.example.com"])
    hub.start()
    settled(hub)
    assert is_verified(hub, ca) and is_verified(hub, ca, hub.https, "www.example.com")
    # The certificate that proves is shown to nobody but authorities.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(hub.https, 5) as sock, context.wrap_socket(sock, server_hostname=NAME) as tls:
        assert "acmeIdentifier" not in openssl(tls.getpeercert(binary_form=True), "-text")


def test_a_name_and_all_under_it_are_proved_by_records_that_a_hook_sets(authority):
    ca, hub = authority(challenge="dns-01", names=["example.com", "*.example.com"], dns_hook=lambda it: str(it.hook()))
    hub.start()
    settled(hub)
    assert is_verified(hub, ca, name="anything.example.com") and is_verified(hub, ca, name="example.com")
    calls = ca.hooked()
    assert [call[0] for call in calls] == ["present", "present", "cleanup", "cleanup"]
    assert {call[1] for call in calls} == {"_acme-challenge.example.com"}
    assert len({call[2] for call in calls}) == 2


def test_a_hook_that_fails_is_told_with_its_own_words_and_the_way_out(authority):
    _, hub = authority(challenge="dns-01", dns_hook=lambda it: str(it.hook("echo 'zone is locked' >&2; exit 7")))
    hub.start()
    said = trouble(hub)["trouble"]
    assert said["code"] == "dns_hook_failed"
    assert "zone is locked" in said["what"]["en"] and "_acme-challenge.hub.example.com" in said["what"]["zh"]
    assert "by hand" in said["next"]["en"]
    assert "zone is locked" in hub.log_text()


def test_a_name_that_does_not_lead_here_is_told_with_what_the_authority_saw(authority):
    ca, hub = authority()
    (ca.folder / "pebble.json").write_text(
        (ca.folder / "pebble.json").read_text().replace(f'"httpPort": {hub.http_port}', '"httpPort": 1'))
    ca.stop()
    ca.start()
    hub.start()
    state = trouble(hub)
    assert state["trouble"]["code"] == "not_proved"
    assert f"by http-01 that {NAME} is yours" in state["trouble"]["what"]["en"]
    assert "refused" in state["trouble"]["what"]["en"]
    assert f"port 80 of {NAME} must reach" in state["trouble"]["next"]["en"]
    assert 55 <= state["next_attempt"] - state["trouble"]["at"] <= 90
    assert state["alarm"] == "warning"
    shown = hub.cli("cert", "show").stdout
    assert "port 80" in shown, shown


def test_a_moved_clock_renews_the_certificate_for_the_same_key_and_drops_no_connection(authority, tmp_path):
    clock = Clock(tmp_path)
    ca, hub = authority(clock=clock)
    hub.start()
    settled(hub)
    old = served(hub.mqtts)
    with mqtt(hub) as stays:
        assert stays.hello("stays").code == 0
        stays.subscribe("news")
        clock.move(64 * DAY)
        assert eventually(lambda: served(hub.mqtts) != old, 30), hub.log_text()[-3000:]
        stays.publish("news", b"still here")
        assert stays.message().payload == b"still here"
        new = served(hub.mqtts)
        with mqtt(hub) as comes:
            assert comes.hello("comes").code == 0
            assert serial(comes.sock.getpeercert(binary_form=True)) == serial(new)
        stays.alive()
    assert public_key(new) == public_key(old) == public_key(private(hub))
    assert "it is time to renew it" in hub.log_text()
    # The clock is set right again: what was renewed is young, and nothing is asked for.
    clock.move(0)
    state = settled(hub)
    assert eventually(lambda: certificate(hub)["alarm"] == "fine", 15), certificate(hub)
    orders = ca.orders()
    assert not eventually(lambda: ca.orders() > orders, 6)
    assert state["trouble"] is None


def mqtt(hub) -> wire.Client:
    """A client of MQTT over TLS, with RSA, that asks for the public name."""
    return wire.Client(hub.mqtts, sock=wrapped(hub.mqtts, NAME, "rsa"))


def test_a_server_that_is_killed_in_the_middle_of_an_order_goes_on_with_the_same_order(authority, tmp_path):
    hung = tmp_path / "hung"
    hang = f'echo $$ > $(dirname $0)/hook.pid; [ $1 = present ] && [ ! -e {hung} ] && touch {hung} && sleep 600'
    ca, hub = authority(challenge="dns-01", dns_hook=lambda it: str(it.hook(hang)))
    hub.start()
    assert eventually(hung.exists, 20), hub.log_text()[-3000:]
    note = json.loads((hub.data / "pki" / "acme" / "order.json").read_text())
    assert note["step"] == "proving" and len(note["records"]) == 1
    hub.kill()
    end_hook(ca)
    hub.start()
    settled(hub)
    assert f"going on with the order {note['url']}" in hub.log_text()
    assert ca.orders() == 1
    # What the attempt before the crash may have left at the name server is taken away.
    assert [call[0] for call in ca.hooked()] == ["cleanup", "present", "cleanup"]
    assert is_verified(hub, ca)


def end_hook(ca):
    """The hook of a killed server lives on, with what it started: it leads a process group, and left its id in a file."""
    os.killpg(int((ca.folder / "hook.pid").read_text()), signal.SIGKILL)


def test_an_outage_of_the_authority_is_outlived_with_the_old_certificate_an_alarm_and_a_renewal(authority, tmp_path):
    clock = Clock(tmp_path)
    ca, hub = authority(clock=clock)
    hub.start()
    settled(hub)
    old = served(hub.mqtts)
    ca.stop()
    clock.move(65 * DAY)
    state = trouble(hub)
    assert state["trouble"]["code"] == "authority_unreachable"
    assert state["alarm"] == "warning"
    assert served(hub.mqtts) == old
    # Ten days of the ninety are left.
    clock.move(80 * DAY)
    assert eventually(lambda: certificate(hub)["alarm"] == "alarm", 20), certificate(hub)
    assert served(hub.mqtts) == old
    assert eventually(lambda: "ALARM" in hub.log_text(), 10)
    # An authority that has lost all it knew, our account as well.
    ca.start()
    clock.move(80 * DAY + 13 * HOUR)
    assert eventually(lambda: served(hub.mqtts) != old, 40), hub.log_text()[-3000:]
    clock.move(0)
    assert settled(hub)["trouble"] is None
    assert eventually(lambda: certificate(hub)["alarm"] == "fine", 15), certificate(hub)
    assert public_key(served(hub.mqtts)) == public_key(old)
    assert is_verified(hub, ca)


def test_other_names_in_the_settings_get_another_certificate_while_the_server_runs(authority):
    ca, hub = authority()
    hub.start()
    settled(hub)
    hub.cli("config", "set", "acme.names", f'["{NAME}", "iot.example.com"]')
    assert eventually(lambda: certificate(hub)["held"]["names"] == [NAME, "iot.example.com"], 30), acme(hub)
    assert is_verified(hub, ca, name="iot.example.com")
    first = served(hub.mqtts)
    hub.cli("cert", "renew")
    assert eventually(lambda: served(hub.mqtts) != first, 30), hub.log_text()[-3000:]
    # Switched off, the private certificate is presented again.
    hub.cli("config", "set", "acme.names", "[]")
    assert eventually(lambda: served(hub.mqtts) == private(hub), 10)


def test_an_authority_that_nobody_vouches_for_is_not_asked_for_anything(authority):
    ca, hub = authority(ca_file="")
    hub.start()
    said = trouble(hub)["trouble"]
    assert said["code"] == "authority_untrusted"
    assert "acme.ca_file" in said["next"]["en"]
    assert ca.orders() == 0
