"""What the doctor makes of what our own listeners saw: on the command line beside the server, over the API, and in the
list of devices, without anyone asking."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import time

import pytest

import wire
from conftest import eventually
from test_devices_api import Api, token
from test_xiaozhi_ota import Device

UPGRADE = (b"GET /xiaozhi/v1/ HTTP/1.1\r\nHost: voice.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")


def doctor(server, *arguments) -> tuple[int, dict]:
    done = server.cli("doctor", *arguments, "--json", check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def finding(server, device, cause, seconds=10) -> dict:
    """What the command says of a device, once the attempt is written down."""
    deadline = time.monotonic() + seconds
    while True:
        code, found = doctor(server, "--device", device)
        if found["finding"]["cause"] == cause or time.monotonic() > deadline:
            assert found["finding"]["cause"] == cause, json.dumps(found, indent=1, ensure_ascii=False)[:4000]
            assert code == found["exit_code"] == (0 if cause == "healthy" else code)
            for words in (found["finding"]["means"], found["finding"]["fix"], *(one["quote"] for one in found["finding"]["saw"])):
                assert words["en"] and re.search("[一-鿿]", words["zh"]), words
            return found
        time.sleep(0.2)


def say(address, words: bytes) -> bytes:
    with socket.create_connection(address, 5) as link:
        link.sendall(words)
        heard = b""
        with contextlib.suppress(OSError):
            while piece := link.recv(4096):
                heard += piece
        return heard


def enrolled(server, name):
    return json.loads(server.cli("device", "add", "tasmota", "--name", name, "--host", "127.0.0.1", "--json").stdout)


def login(server, device, password=None):
    """Connects as this device; the link is the caller's to close."""
    link = socket.create_connection(server.mqtt, 5)
    link.sendall(wire.connect(wire.V311, device["client_id"], username=device["username"],
                              password=password or device["password"]))
    answer = link.recv(4)
    return link, answer[3]


@pytest.fixture
def house(own_server):
    server = own_server(open_to_all=False)
    return server, Api(server, token(server, "tests"))


def test_a_wrong_password_is_named_everywhere_until_the_device_connects(house):
    server, api = house
    plug = enrolled(server, "plug")
    link, code = login(server, plug, "wrong")
    link.close()
    assert code in (4, 5)
    found = finding(server, "plug", "auth_failed")["finding"]
    assert found["layer"] == "mqtt" and found["confidence"] in ("high", "certain")
    assert "127.0.0.1" in found["saw"][0]["quote"]["en"]
    assert {one["layer"] for one in found["excluded"]} >= {"wifi", "tcp"}
    # The same over the API, and without anyone asking.
    assert api.ok("GET", "/doctor/devices/plug")["finding"]["cause"] == "auth_failed"
    row, = api.ok("GET", "/doctor/devices")["devices"]
    assert (row["device"], row["finding"]["cause"]) == ("plug", "auth_failed"), row
    listed, = api.ok("GET", "/devices?enrolled=true")["devices"]
    assert listed["finding"]["cause"] == "auth_failed"
    assert api.ok("GET", "/devices/plug")["finding"]["cause"] == "auth_failed"
    assert "! auth_failed" in server.cli("device", "list").stdout
    assert json.loads(server.cli("device", "list", "--json").stdout)[0]["finding"]["cause"] == "auth_failed"
    assert re.search(r"finding +auth_failed: .+\ndo +", server.cli("device", "show", "plug").stdout)
    # The words of a person: the device's name in the first line, and as a target.
    screen = server.cli("doctor", "plug", check=False)
    assert screen.stdout.startswith("Why plug cannot connect"), screen.stdout
    assert screen.returncode == found_exit(server, "plug")

    link, code = login(server, plug)
    with link:
        assert code == 0
        assert eventually(lambda: api.ok("GET", "/doctor/devices")["devices"] == [])
        assert api.ok("GET", "/doctor/devices/plug")["finding"]["cause"] == "healthy"
        assert api.ok("GET", "/devices/plug")["finding"] is None
        assert eventually(lambda: "auth_failed" not in server.cli("device", "list").stdout)


def failing(api) -> list[str]:
    return [one["finding"]["cause"] for one in api.ok("GET", "/doctor/devices")["devices"]]


def found_exit(server, device):
    return doctor(server, "--device", device)[0]


def test_a_healthy_device_is_healthy_and_certain(house):
    server, api = house
    plug = enrolled(server, "plug")
    link, code = login(server, plug)
    with link:
        assert code == 0
        found = finding(server, "plug", "healthy")
        assert found["finding"]["confidence"] == "certain" and found["exit_code"] == 0
        assert "CONNACK 0" in found["finding"]["saw"][0]["quote"]["en"]
        assert api.ok("GET", "/doctor/devices/plug")["finding"]["confidence"] == "certain"


def test_a_device_of_which_nothing_came_is_told_where_to_go(house):
    server, api = house
    enrolled(server, "plug")
    found = finding(server, "plug", "nothing_arrived")["finding"]
    assert found["confidence"] == "low"
    assert api.ok("GET", "/doctor/devices/198.51.100.7")["finding"]["cause"] == "nothing_arrived"
    assert api.refused("GET", "/doctor/devices/plgu")[:2] == (404, "unknown-device")
    # Nobody has to look at devices that only sleep.
    assert api.ok("GET", "/devices/plug")["finding"] is None


def test_protocols_on_the_wrong_port_are_told_apart_by_address(house):
    server, api = house
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError), socket.create_connection(server.mqtt, 5) as raw:
        tls.wrap_socket(raw)
    assert finding(server, "127.0.0.1", "tls_to_plain_port")["finding"]["layer"] == "tls"
    say(server.mqtts, wire.connect(wire.V311, "sensor"))
    assert eventually(lambda: sorted(failing(api)) == ["plain_to_tls_port", "tls_to_plain_port"]), failing(api)
    def causes():
        found = api.ok("GET", "/doctor/devices/127.0.0.1")
        return {one["cause"] for one in [found["finding"], *found["alternatives"]]}
    assert eventually(lambda: causes() >= {"tls_to_plain_port", "plain_to_tls_port"}), causes()


def test_a_request_in_clear_on_the_tls_port_is_the_modem(house):
    server, api = house
    say(server.https, UPGRADE)
    found = finding(server, "127.0.0.1", "modem_component_no_tls_off_443")
    assert "443" in found["finding"]["fix"]["en"]
    # That it says more exactly what HTTP on a TLS port is, leaves nothing else open.
    assert "http_to_tls" not in [one["cause"] for one in found["alternatives"]]
    assert failing(api) == ["modem_component_no_tls_off_443"]


def test_a_version_of_mqtt_that_is_none_is_named(house):
    server, _ = house
    say(server.mqtt, wire.connect(wire.V311, "old", level=9))
    found = finding(server, "127.0.0.1", "protocol_version")["finding"]
    assert found["layer"] == "mqtt"


def test_two_clients_with_one_identifier_are_told_from_one_that_came_back(own_server):
    server = own_server()
    api = Api(server, token(server, "tests"))
    with contextlib.ExitStack() as stack:
        def connect(name):
            link = stack.enter_context(socket.create_connection(server.mqtt, 5))
            link.sendall(wire.connect(wire.V311, name))
            assert link.recv(4)[3] == 0
        for _ in range(2):
            connect("once")
        for _ in range(5):
            connect("livingroom")
        found = finding(server, "livingroom", "duplicate_client_id")["finding"]
        assert "livingroom" in found["means"]["en"] and "127.0.0.1" in found["saw"][0]["quote"]["en"]
        assert api.ok("GET", "/doctor/devices/livingroom")["finding"]["cause"] == "duplicate_client_id"
        assert finding(server, "once", "healthy")["exit_code"] == 0


def test_a_device_that_connects_again_and_again_does_not_stay_connected(house):
    server, api = house
    plug = enrolled(server, "plug")
    for _ in range(7):
        link, code = login(server, plug)
        assert code == 0
        link.sendall(wire.disconnect(wire.V311))
        link.close()
        time.sleep(0.05)
    assert eventually(lambda: failing(api) == ["connection_lost"]), failing(api)
    found = finding(server, "plug", "connection_lost")["finding"]
    assert re.search(r"connected \d+ times within 10 minutes", found["saw"][0]["quote"]["en"]), found
    assert found["confidence"] != "certain"


def test_logs_lines_and_probes_are_answered_over_the_api(house):
    server, api = house
    log = b"1795: MQT: Attempting connection...\n1797: MQT: Connect failed to broker.example:8883, rc 5. Retry in 10 sec\n"
    status, found = api.call("POST", "/doctor/log", data=log, expect=200)
    assert found["finding"]["cause"] != "healthy" and found["exit_code"] >= 10, found["finding"]
    status, refused = api.call("POST", "/doctor/log", data=b"x" * (1024 * 1024 + 1))
    assert (status, refused["error"]["code"]) == (413, "too-large")
    meanings = api.ok("POST", "/doctor/explain", {"text": "-1002"})["meanings"]
    assert meanings and all(one["fix"]["en"] and one["fix"]["zh"] for one in meanings)
    assert api.ok("POST", "/doctor/explain", {"text": "zxqv"})["meanings"] == []

    narrow = token(server, "narrow", "--scope", "settings:read")
    ours = f"http://127.0.0.1:{server.http_port}/healthz"
    found = api.ok("POST", "/doctor/probe", {"target": ours}, token=narrow)
    assert found["steps"], found
    elsewhere = [f"http://127.0.0.1:{server.http_port + 1}/", "http://169.254.169.254/latest/", "198.51.100.7:22",
                 f"http://127.0.0.1:{server.http_port}@198.51.100.7/", f"http://198.51.100.7\\@127.0.0.1:{server.http_port}/"]
    for target in elsewhere:
        assert api.refused("POST", "/doctor/probe", {"target": target}, token=narrow)[:2] == (403, "not-ours"), target
    assert api.refused("POST", "/doctor/probe", {"target": ours}, token=token(server, "none", "--scope", "devices:read"))[0] == 403
    # Who may do everything may also look elsewhere.
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        assert api.call("POST", "/doctor/probe", {"target": f"mqtt://127.0.0.1:{port}"}, expect=200)


def test_a_log_and_our_own_listeners_together_are_certain(house, tmp_path):
    server, _ = house
    plug = enrolled(server, "plug")
    link, _ = login(server, plug, "wrong")
    link.close()
    finding(server, "plug", "auth_failed")
    log = tmp_path / "plug.log"
    log.write_text("00:00:08.231 MQT: Connect failed to hub.lan:1883, rc 5. Retry in 10 sec\n")
    code, found = doctor(server, "--device", "plug", "--log", str(log))
    assert (found["finding"]["cause"], found["finding"]["confidence"]) in [("auth_failed", "certain"), ("not_authorized", "certain")], found["finding"]


def test_checks_of_xiaozhi_devices_are_evidence(own_server):
    """A stranger is told its code, a device without a voice server that there is none, a broken check why, and one that
    checks again and again restarts."""
    server = own_server(open_to_all=False)
    api = Api(server, token(server, "tests"))
    box = Device(server)
    address = box.mac
    code = box.check().json()["activation"]["code"]
    found = finding(server, address, "not_activated")["finding"]
    assert found["layer"] == "http" and "device activate" in found["fix"]["en"]
    assert "not_activated" in failing(api)
    server.cli("device", "activate", code, "--name", "box")
    assert eventually(lambda: box.activate().status == 200)
    for _ in range(4):
        assert box.check().status == 200
    found = finding(server, "box", "restarts")["finding"]
    assert re.search(r"started [45] times within 10 minutes", found["saw"][0]["quote"]["en"]), found["saw"]
    assert "restarts" in failing(api)
    row = next(one for one in api.ok("GET", "/devices")["devices"] if one["name"] == "box")
    assert row["finding"]["cause"] == "restarts", row
    # What nobody can read is told by its address.
    nobody = Device(server, headers={"Device-Id": None, "Client-Id": None}, body=b"{}")
    assert nobody.check().status == 400
    assert eventually(lambda: "http_refused" in failing(api)), failing(api)
    found = api.ok("GET", "/doctor/devices")["devices"]
    quote = next(one for one in found if one["finding"]["cause"] == "http_refused")["finding"]["saw"][0]["quote"]["en"]
    assert "its check was refused" in quote, quote


def test_connections_that_end_by_keep_alive_are_told_so(own_server):
    server = own_server()
    api = Api(server, token(server, "tests"))
    for _ in range(6):
        with socket.create_connection(server.mqtt, 10) as link:
            link.sendall(wire.connect(wire.V311, "weak", keep_alive=1))
            assert link.recv(4)[3] == 0
            while link.recv(64):
                pass
    with socket.create_connection(server.mqtt, 5) as link:
        link.sendall(wire.connect(wire.V311, "weak", keep_alive=60))
        assert link.recv(4)[3] == 0
        found = finding(server, "weak", "keep_alive_timeout")["finding"]
        assert "one and a half keep alives" in found["saw"][0]["quote"]["en"], found["saw"]
        assert failing(api) == ["keep_alive_timeout"]


def test_a_device_that_says_why_it_starts_is_a_restart_loop_with_its_reason(house):
    server, api = house
    plug = enrolled(server, "plug")
    topic = f"tele/{plug.get('topic', 'plug')}/INFO3"
    for count in range(3, 7):
        link, code = login(server, plug)
        assert code == 0
        with link:
            said = json.dumps({"Info3": {"RestartReason": "Brownout", "BootCount": count}}).encode()
            link.sendall(wire.publish(wire.V311, topic, said))
            link.sendall(wire.disconnect(wire.V311))
            time.sleep(0.3)
    # At once, and when the server has written down what it noticed itself.
    for _ in range(2):
        found = finding(server, "plug", "restarts")["finding"]
        assert "Brownout" in found["means"]["en"] and "supply" in found["fix"]["en"], json.dumps(found, indent=1)
        time.sleep(1.5)
    assert eventually(lambda: "restarts" in failing(api)), failing(api)


def test_without_a_server_the_list_of_devices_says_that_nothing_is_known_of_failures(home):
    away = home()
    away.cli("device", "add", "tasmota", "--name", "plug", "--host", "127.0.0.1")
    listed = away.cli("device", "list")
    assert "plug" in listed.stdout and "No server runs here" in listed.stderr
