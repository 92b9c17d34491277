"""Firmware from the upload to the evidence, with boards that fetch, check and boot real files."""

import json
import re
import shutil
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
def house(home):
    # No device is ever told a loopback address.
    return House(home(host=own_address(), settings={"firmware": "backup_before = false"}))


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


def test_a_device_over_tls_gets_its_safeboot_first_then_its_main_image_and_its_own_url_back(house, board, images):
    own = "http://ota.example.invalid/tasmota32c3.bin"
    device = plug(house, board, "plug-1", "--ota-url", own)
    house.add(tasmota(images, "15.1.0"), tasmota(images, "15.1.0", variant="safeboot"))
    house.release("tasmota-15.1", "tasmota32c3.bin", "tasmota32c3-safeboot.bin")
    number = house.made("tasmota-15.1", "plug-1")
    ended = house.ends(number)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    assert ended["own_ota_url"] == "restored"
    assert all(ended["evidence"][tick] for tick in ("build", "boot", "stays", "sane")), ended
    states = house.states(number)
    order = [states.index(state) for state in ("preparing", "proving", "soaking")]
    assert order == sorted(order), states
    installed = [each["slot"] for each in device.all("installed")]
    assert installed == ["safeboot", "main"], device.seen
    urls = [each["payload"] for each in device.all("command") if each["topic"].endswith("OtaUrl")]
    assert urls[-1] == own and all("/ota/a" in url and url.endswith("/tasmota32c3.bin") for url in urls[:-1]), urls


@pytest.mark.timeout(420)  # it has two minutes to show itself, and is then asked over its page
def test_a_safeboot_without_tls_is_found_out_and_the_main_image_stays_as_it_is(house, board, images):
    device = plug(house, board, "plug-2")
    house.add(tasmota(images, "15.1.0"), tasmota(images, "15.1.0", "--no-tls", variant="safeboot"))
    house.release("broken", "tasmota32c3.bin", "tasmota32c3-safeboot.bin")
    said = json.dumps(house.offer("broken", "plug-2"))
    if "safeboot-without-tls" in said:
        # The inspection has seen it in the file already.
        assert not device.all("ota_request")
        return
    number = json.loads(said)["offer"]["id"]
    ended = house.ends(number, 200, device.seen)
    assert (ended["state"], ended["reason"]) == ("failed", "safeboot_without_tls"), json.dumps(ended, indent=1)
    assert ended["advice"] and ended["own_ota_url"] in ("restored", "untouched")
    assert [each["slot"] for each in device.all("installed")] == ["safeboot"]
    assert eventually(lambda: device.seen[-1]["event"] != "restarting" and device.all("connected")[1:], 20)


@pytest.mark.timeout(480)  # a device that sits in its safeboot is told again after a minute or three
@pytest.mark.parametrize("fault", ["power@download:50%", "drop@download:50%", "power@installed"])
def test_a_device_that_loses_power_or_network_in_the_middle_ends_up_whole(house, board, images, fault):
    device = plug(house, board, "plug-3", "--fault", fault, tls=False)
    house.add(tasmota(images, "15.1.0"))
    number = house.made("tasmota32c3.bin", "plug-3", kind="image")
    # The ladder of a device that sits in its safeboot waits for three minutes before it acts.
    ended = house.ends(number, 420)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    assert device.all("power_cut") or device.all("fault"), device.seen


def test_wrong_images_are_refused_with_words_and_the_device_hears_nothing(house, board, images):
    device = plug(house, board, "plug-4", tls=False)
    house.add(tasmota(images, "15.1.0", chip="esp32s3"))
    said = json.dumps(house.offer("tasmota32s3.bin", "plug-4", kind="image"))
    assert "ESP32-S3" in said and "ESP32-C3" in said, said
    house.add(images("--family", "espeasy", "--chip", "esp32c3", "--version", "20260101"))
    status, listed = house.api("GET", "/images")
    name = next(each["file_name"] for each in listed["images"] if "ESP_Easy" in each["file_name"])
    said = json.dumps(house.offer(name, "plug-4", kind="image"))
    assert "family" in said, said
    assert not [each for each in device.all("command") if "Upgrade" in each["topic"] or "OtaUrl" in each["topic"]]


def test_what_runs_already_is_not_offered_unless_it_is_wanted_again(house, board, images, tmp_path):
    # Tasmota's version is not in the file but in its name.
    path = shutil.move(tasmota(images, "15.1.0"), tmp_path / "tasmota32c3-15.1.0.bin")
    device = plug(house, board, "plug-5", "--image", str(path), tls=False)
    house.knows("plug-5", version="15.1.0")
    house.add(str(path))
    said = json.dumps(house.offer(path.name, "plug-5", kind="image"))
    assert "--reinstall" in said, said
    house.made(path.name, "plug-5", kind="image", reinstall=True)
    assert eventually(lambda: device.all("ota_request"), 30), device.seen


def test_a_small_esp8266_goes_by_way_of_its_minimal_image(house, board, images):
    device = plug(house, board, "plug-6", "--flash", "1M", tls=False, kind="tasmota8266")
    house.add(tasmota(images, "15.1.0", "--size", "600000", "--gzip", chip="esp8266"),
              tasmota(images, "15.1.0", "--gzip", chip="esp8266", variant="minimal"))
    status, listed = house.api("GET", "/images")
    names = [each["file_name"] for each in listed["images"]]
    house.release("small", *names)
    ended = house.ends(house.made("small", "plug-6"), 240)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)


def test_a_cancelled_offer_leaves_the_device_as_it_was(house, board, images):
    own = "http://ota.example.invalid/tasmota32c3.bin"
    device = plug(house, board, "plug-7", "--ota-url", own, tls=False)
    house.add(tasmota(images, "15.1.0"))
    device.stop()
    house.here.cli("device", "set", "plug-7", "--chip", "esp32c3", "--flash-size", str(4 << 20), "--layout", "safeboot")
    number = house.made("tasmota32c3.bin", "plug-7", kind="image")
    assert eventually(lambda: house.now(number)["state"] == "waiting", 10), house.now(number)
    house.here.cli("firmware", "cancel", number)
    assert house.ends(number, 30)["state"] == "cancelled"
    assert house.now(number)["own_ota_url"] == "untouched"


def test_an_espeasy_is_brought_its_image_over_its_page(house, board, images):
    device = board("espeasy", *house.login(house.device("espeasy", "node-1")))
    web = device.until("web_listening")["port"]
    device.until("connected")
    house.here.cli("device", "set", "node-1", "--web", f"127.0.0.1:{web}", "--chip", "esp32", "--layout", "dual",
                   "--flash-size", str(4 << 20))
    house.add(images("--family", "espeasy", "--chip", "esp32", "--version", "20260601"))
    name = house.api("GET", "/images")[1]["images"][0]["file_name"]
    ended = house.ends(house.made(name, "node-1", kind="image"), 120)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    assert device.all("installed"), device.seen


def test_an_esphome_reads_its_manifest_and_installs_when_it_is_told(house, board, images):
    said = house.device("esphome", "lamp-1")
    token = re.search(r"/ota/(d[a-z2-7]{19})/manifest.json$", said["firmware_url"]).group(1)
    manifest = f"http://{house.here.host}:{house.here.http_port}/ota/{token}/manifest.json"
    device = board("esphome", *house.login(said), "--manifest", manifest, "--install", "command", "--every", "3")
    device.until("connected")
    house.here.cli("device", "set", "lamp-1", "--chip", "esp32c3", "--flash-size", str(4 << 20))
    house.add(images("--family", "esphome", "--chip", "esp32c3", "--version", "2026.2.0"))
    name = house.api("GET", "/images")[1]["images"][0]["file_name"]
    ended = house.ends(house.made(name, "lamp-1", kind="image"), 90, device.seen)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    with urllib.request.urlopen(manifest, timeout=5) as answer:
        assert json.loads(answer.read())["version"] == "2026.2.0", "it stays there to be compared with"


def test_an_esp_idf_program_that_reads_the_whole_file_each_time_is_stopped_at_the_third(house, board, images):
    said = house.device("plain", "own-1")
    token = re.search(r"/ota/(d[a-z2-7]{19})/firmware.bin$", said["firmware_url"]).group(1)
    house.here.cli("device", "set", "own-1", "--chip", "esp32c3", "--flash-size", str(4 << 20))
    house.add(images("--family", "idf", "--chip", "esp32c3", "--version", "2.0.0", "--size", "1500000"))
    name = house.api("GET", "/images")[1]["images"][0]["file_name"]
    number = house.made(name, "own-1", kind="image")
    device = board("idf", "--name", "own-1", "--every", "2",
                   "--url", f"http://{house.here.host}:{house.here.http_port}/ota/{token}/firmware.bin")
    device.until("installed")
    ended = house.ends(number, 90, device.seen)
    assert (ended["state"], ended["reason"]) == ("failed", "install_loop"), f"{json.dumps(ended)}\n{device.seen}"
    assert eventually(lambda: device.all("ota_answer", status=404), 15), "nothing lies there any more"
    assert len(device.all("installed")) == 1, device.seen


@pytest.mark.timeout(300)
def test_the_server_goes_on_with_an_offer_after_it_was_killed(house, board, images):
    plug(house, board, "plug-8", tls=False)
    house.add(tasmota(images, "15.1.0", "--size", "400000"))
    number = house.made("tasmota32c3.bin", "plug-8", kind="image", soak=5)
    assert eventually(lambda: house.now(number)["state"] in ("soaking", "verifying", "installing"), 60)
    house.here.kill()
    house.here.start()
    ended = house.ends(number, 240)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
