"""A server that offers firmware, and boards that fetch, check and boot real files: for the tests of offers."""

import json
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

import server as servers
from conftest import eventually
from nginx import own_address

ENDED = ("succeeded", "reverted", "failed", "skipped", "superseded", "cancelled", "expired")


class House:
    """A server whose HTTP address is proved, with a token for its API."""

    def __init__(self, here):
        self.here = here
        here.start()
        self.token = here.cli("token", "add", "e2e").stdout.strip().splitlines()[-1]
        url = f"http://{here.host}:{here.http_port}"
        proved = lambda: {row["url"]: row["state"] for row in here.json("ports")["advertised"]}.get(url) == "verified"
        assert eventually(proved, 20, 0.2), here.cli("ports").stdout

    def api(self, method, path, body=None, data=None):
        request = urllib.request.Request(
            f"http://{self.here.host}:{self.here.http_port}/api/v1{path}", method=method,
            data=data if data is not None else json.dumps(body).encode() if body is not None else None,
            headers={"authorization": f"Bearer {self.token}",
                     "content-type": "application/octet-stream" if data is not None else "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def device(self, family, name):
        """Adds a device; what to enter into it."""
        return self.here.json("device", "add", family, "--name", name, "--host", self.here.host)

    def login(self, said, port=None):
        """The options of a board that has been given this."""
        return ("--name", said["name"], "--host", self.here.host, "--port", str(port or self.here.mqtt_port),
                "--user", said["username"], "--password", said["password"], "--client-id", said["client_id"])

    def add(self, *paths):
        self.here.cli("firmware", "add", *paths)

    def release(self, name, *images):
        self.here.cli("firmware", "release", name, *images)

    def offer(self, what, device, kind="release", **more):
        status, said = self.api("POST", "/offers", {kind: what, "device": device, "soak": 2, **more})
        assert status in (200, 201, 422), said
        return said["devices"][0] if status < 300 else said

    def made(self, what, device, **more):
        """The number of an offer that was made."""
        said = self.offer(what, device, **more)
        assert said.get("offer"), said
        return said["offer"]["id"]

    def now(self, number):
        status, said = self.api("GET", f"/offers/{number}")
        assert status == 200, said
        return said.get("offer", said)

    def ends(self, number, seconds=90, seen=()):
        deadline = time.monotonic() + seconds
        while (now := self.now(number))["state"] not in ENDED:
            assert time.monotonic() < deadline, json.dumps(now, indent=1) + "\n" + "\n".join(map(str, seen))
            time.sleep(0.1)
        return now

    def states(self, number):
        return [line["state"] for line in self.now(number)["history"]]

    def knows(self, name, **wanted):
        """Waits until the fleet has seen the device as it is wanted."""
        def seen():
            said = self.here.json("device", "show", name)
            return all(str(value) in json.dumps(said) for value in wanted.values())
        assert eventually(seen, 15, 0.2), self.here.cli("device", "show", name).stdout


class Board:
    """`safeport simulate …` beside the test, twenty times faster than a real one."""

    def __init__(self, *arguments, scale="0.05"):
        self.seen = []
        self.process = subprocess.Popen(
            [str(servers.BINARY), "simulate", *arguments, "--events", "--time-scale", scale],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.seen.append(json.loads(line))

    def until(self, event, seconds=20, **fields):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for each in list(self.seen):
                if each["event"] == event and all(each.get(key) == value for key, value in fields.items()):
                    return each
            assert self.process.poll() is None, f"{self.process.stderr.read()}\n{self.seen}"
            time.sleep(0.02)
        raise AssertionError(f"no {event} {fields}; seen: {self.seen[-12:]}")

    def all(self, event, **fields):
        return [each for each in self.seen
                if each["event"] == event and all(each.get(key) == value for key, value in fields.items())]

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def house(home, request):
    """A server that waits for devices a twelfth of the usual time. `house` of the marker are more lines of
    `[firmware]`, instead of no backups."""
    marker = request.node.get_closest_marker("house")
    lines = marker.args[0] if marker else "backup_before = false"
    # No device is ever told a loopback address.
    return House(home(host=own_address(), settings={"firmware": f'patience = "5s"\n{lines}'}))


@pytest.fixture
def images(tmp_path):
    """Makes a file as the family's build names it."""
    def make(*options, folder="files"):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        command = [str(servers.BINARY), "simulate", "image", *options, "-o", f"{place}/"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        return done.stdout.strip()
    return make


@pytest.fixture
def board():
    made = []

    def start(*arguments, **options):
        made.append(Board(*arguments, **options))
        return made[-1]

    yield start
    for each in made:
        each.stop()


def plug(house, board, name, *more, tls=True, kind="tasmota32"):
    """A Tasmota that is enrolled, connected, and whose page is known to the server."""
    port = house.here.mqtts_port if tls else house.here.mqtt_port
    here = board(kind, *house.login(house.device("tasmota", name), port), *(["--insecure"] if tls else []), *more)
    web = here.until("web_listening")["port"]
    here.until("connected")
    house.here.cli("device", "set", name, "--web", f"127.0.0.1:{web}")
    return here


def tasmota(images, version, *more, chip="esp32c3", variant="main", folder="files"):
    return images("--family", "tasmota", "--chip", chip, "--version", version, "--variant", variant, *more,
                  folder=folder)
