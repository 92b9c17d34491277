"""The devices' own web pages: settings copied, compared and put back, passwords, and devices that behave badly."""

import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

import server as servers
from conftest import eventually

MAC = "A0:B1:C2:3D:5E:26"


class Board:
    """`safeport simulate …` without MQTT."""

    def __init__(self, *arguments):
        self.seen = []
        dead = servers.free_ports(1)[0]
        self.process = subprocess.Popen(
            [servers.BINARY, "simulate", *arguments, "--host", "127.0.0.1", "--port", str(dead), "--mac", MAC,
             "--events", "--time-scale", "0.05", "--for", "120"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        threading.Thread(target=self.read, daemon=True).start()
        self.port = self.until("web_listening")["port"]

    def read(self):
        for line in self.process.stdout:
            self.seen.append(json.loads(line))

    def all(self, event):
        return [each for each in self.seen if each["event"] == event]

    def until(self, event, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.all(event):
                return found[-1]
            time.sleep(0.02)
        raise AssertionError(f"no {event}; seen: {self.seen[-12:]}")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def board():
    made = []

    def start(*arguments):
        made.append(Board(*arguments))
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.fixture(scope="module")
def safeport():
    with servers.serving(servers.Safeport, open_to_all=False) as running:
        token = running.json("token", "add", "test", "--scope", "all:write")["token"]

        def ask(method, path, body=None):
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{running.http_port}/api/v1{path}", data, method=method,
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.status, json.loads(answer.read())
            except urllib.error.HTTPError as error:
                return error.code, json.loads(error.read())

        running.ask = ask
        running.devices = 0
        yield running


def device(safeport, family, port=None):
    """A device of this family with that MAC, its pages at that port."""
    safeport.devices += 1
    name = f"board-{safeport.devices}"
    # The MAC of the board passes on to each new device.
    for at in range(1, safeport.devices):
        safeport.ask("DELETE", f"/devices/board-{at}")
    status, answer = safeport.ask("POST", "/devices", {"family": family, "name": name, "mac": MAC})
    assert status == 201, answer
    if port:
        end = time.monotonic() + 5
        while (found := safeport.ask("PATCH", f"/devices/{name}", {"web": f"127.0.0.1:{port}"}))[0] == 404:
            assert time.monotonic() < end, found
            time.sleep(0.05)
        assert found[0] == 200, found
    return name


def test_settings_of_a_tasmota_are_copied_noted_compared_and_put_back(safeport, board):
    plug = board("tasmota32", "--name", "kitchen", "--check-referer")
    name = device(safeport, "tasmota", plug.port)
    status, first = safeport.ask("POST", f"/devices/{name}/backups", {"why": "a test"})
    assert status == 201, first
    assert not first["unchanged"] and first["backup"]["file_name"].endswith(".dmp")
    assert first["backup"]["version"].startswith("15.0.1")
    status, again = safeport.ask("POST", f"/devices/{name}/backups")
    assert status == 201 and again["unchanged"], again
    assert again["backup"]["id"] == first["backup"]["id"]

    with urllib.request.urlopen(urllib.request.Request(
            f"http://127.0.0.1:{plug.port}/cm?cmnd=TelePeriod%2077", headers={"Referer": "http://127.0.0.1/"})) as answer:
        assert answer.status == 200
    status, changed = safeport.ask("POST", f"/devices/{name}/backups")
    assert status == 201 and not changed["unchanged"], changed
    assert changed["compared"]["differing_bytes"] > 0 and changed["compared"]["with"] == first["backup"]["id"]

    old = first["backup"]["id"]
    status, would = safeport.ask("POST", f"/backups/{old}/restore", {"preview": True})
    assert status == 200 and would["said"] is None, would
    assert not plug.all("restored")
    status, done = safeport.ask("POST", f"/backups/{old}/restore")
    assert status == 200, done
    plug.until("restored")

    def asked():
        return [(each["method"], each["path"]) for each in plug.all("web_request")][-2:]

    # It tells of a request after it has answered, which may be a moment after it has restored.
    assert eventually(lambda: asked() == [("GET", "/rs"), ("POST", "/u2")]), asked()
    status, listed = safeport.ask("GET", f"/devices/{name}/backups")
    assert [each["id"] for each in listed["backups"]][-1] == old


def test_a_password_is_needed_and_then_used(safeport, board):
    plug = board("tasmota32", "--web-password", "open sesame")
    name = device(safeport, "tasmota", plug.port)
    status, refused = safeport.ask("POST", f"/devices/{name}/backups")
    assert status == 502 and "--web-password-stdin" in json.dumps(refused), refused
    for password, expected in (("wrong", 502), ("open sesame", 201)):
        status, answer = safeport.ask("PUT", f"/devices/{name}/web-password", {"password": password})
        assert status == 200, answer
        status, answer = safeport.ask("POST", f"/devices/{name}/backups")
        assert status == expected, answer
    assert "open sesame" not in safeport.log_text()


def test_settings_of_an_espeasy_are_copied_and_put_back(safeport, board):
    node = board("espeasy", "--name", "node")
    name = device(safeport, "espeasy", node.port)
    status, made = safeport.ask("POST", f"/devices/{name}/backups")
    assert status == 201, made
    status, done = safeport.ask("POST", f"/backups/{made['backup']['id']}/restore")
    assert status == 200 and "Upload OK!" in done["said"], done
    node.until("restored")
    assert ("POST", "/upload") in [(each["method"], each["path"]) for each in node.all("web_request")]


def test_a_copy_of_one_device_is_not_given_to_another_unless_that_is_meant(safeport, board):
    plug = board("tasmota32")
    name = device(safeport, "tasmota", plug.port)
    status, made = safeport.ask("POST", f"/devices/{name}/backups")
    assert status == 201, made
    status, other = safeport.ask("POST", "/devices", {"family": "tasmota", "name": "another"})
    assert status == 201, other
    place = f"/backups/{made['backup']['id']}/restore"
    end = time.monotonic() + 5
    while (found := safeport.ask("POST", place, {"to": "another", "preview": True}))[0] == 404 and time.monotonic() < end:
        time.sleep(0.05)
    assert found[0] == 409 and "other-device" in json.dumps(found[1]), found
    status, would = safeport.ask("POST", place, {"to": "another", "other_device": True, "preview": True})
    assert status == 200 and any("disturb each other" in each for each in would["warnings"]), would


def test_an_address_that_was_only_named_is_not_asked(safeport):
    name = device(safeport, "tasmota")
    status, refused = safeport.ask("POST", f"/devices/{name}/backups")
    assert status == 502 and "device-unreachable" in json.dumps(refused), refused


@pytest.mark.parametrize("answer, word", [
    (b"\x16\x03\x01\x00\x05hello", "not HTTP"),
    (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "does not follow"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n<html>Please log in</html>", "not JSON"),
    (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000, "more than"),
    (b"", "hung up"),
])
def test_pages_that_are_none_of_a_device_are_named(safeport, answer, word):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    try:
                        connection.sendall(answer)
                    except OSError:
                        pass
        threading.Thread(target=serve, daemon=True).start()
        name = device(safeport, "tasmota", listener.getsockname()[1])
        status, refused = safeport.ask("POST", f"/devices/{name}/backups")
        assert status == 502 and word in json.dumps(refused), refused


def test_a_device_that_never_ends_its_answer_is_given_up(safeport):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
                try:
                    while True:
                        connection.sendall(b"x")
                        time.sleep(0.1)
                except OSError:
                    pass
        threading.Thread(target=serve, daemon=True).start()
        name = device(safeport, "tasmota", listener.getsockname()[1])
        begun = time.monotonic()
        status, refused = safeport.ask("POST", f"/devices/{name}/backups")
        assert status == 502 and "within 10 s" in json.dumps(refused), refused
        assert 9 < time.monotonic() - begun < 15
