"""Boards that fetch, check and boot real files, against the real server and a plain file server of Python."""

import functools
import http.server
import json
import subprocess
import threading
import time

import pytest

import server as servers


@pytest.fixture
def images(tmp_path):
    """A folder served over HTTP, and a maker of images in it."""
    folder = tmp_path / "files"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        asked = []

        def log_message(self, *_):
            self.asked.append((self.requestline, dict(self.headers)))

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()

        def make(*options):
            command = [str(servers.BINARY), "simulate", "image", *options, "-o", f"{folder}/"]
            return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

        make.url = f"http://127.0.0.1:{running.server_port}"
        make.asked = Quiet.asked
        make.folder = folder
        yield make
        running.shutdown()


class Board:
    """`safeport simulate …` beside the test."""

    def __init__(self, program, *arguments):
        self.seen = []
        self.process = subprocess.Popen([program, "simulate", *arguments, "--events", "--time-scale", "0.05"],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.seen.append(json.loads(line))

    def until(self, event, seconds=20, after=0, **fields):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for at, each in enumerate(self.seen[after:], after):
                if each["event"] == event and all(each.get(key) == value for key, value in fields.items()):
                    self.last = at + 1
                    return each
            assert self.process.poll() is None, f"{self.process.stderr.read()}\n{self.seen}"
            time.sleep(0.02)
        raise AssertionError(f"no {event} {fields}; seen: {self.seen[-12:]}")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def board():
    made = []

    def start(*arguments):
        made.append(Board(str(servers.BINARY), *arguments))
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.mark.parametrize("tls", [False, True])
def test_an_upgrade_commanded_over_mqtt_ends_in_the_new_image_over_the_safeboot(server, board, images, topic, tls):
    import paho.mqtt.client as mqtt
    images("--family", "tasmota", "--chip", "esp32c3", "--version", "15.1.0")
    name = topic.strip("/").replace("/", "-") + ("-tls" if tls else "")
    port = server.mqtts_port if tls else server.mqtt_port
    secure = ["--insecure"] if tls else []
    plug = board("tasmota32", "--name", name, "--topic", name, "--port", str(port), *secure)
    plug.until("connected")
    watcher = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    heard = []
    watcher.on_message = lambda _client, _data, message: heard.append((message.topic, message.payload.decode()))
    watcher.connect("127.0.0.1", server.mqtt_port)
    watcher.subscribe(f"tele/{name}/INFO1")
    watcher.loop_start()
    try:
        watcher.publish(f"cmnd/{name}/OtaUrl", f"{images.url}/tasmota32c3.bin")
        plug.until("command", payload=f"{images.url}/tasmota32c3.bin")
        watcher.publish(f"cmnd/{name}/Upgrade", "1")
        plug.until("booted", slot="safeboot")
        plug.until("booted", slot="main", version="15.1.0")
        plug.until("connected", after=plug.last)
        end = time.monotonic() + 10
        while not any("15.1.0(release-tasmota32c3)" in payload for _, payload in heard):
            assert time.monotonic() < end, heard
            time.sleep(0.05)
    finally:
        watcher.loop_stop()
        watcher.disconnect()
    request, headers = images.asked[-1]
    assert request == "GET /tasmota32c3.bin HTTP/1.0"
    assert headers["x-ESP32-version"].endswith("(release-safeboot)")


def test_a_flash_folder_brings_a_board_back_as_it_was_left(board, images, tmp_path):
    images("--family", "tasmota", "--chip", "esp32c3", "--version", "15.1.0")
    arguments = ["tasmota32", "--flash-dir", str(tmp_path / "flash"), "--host", "127.0.0.1", "--port", "9"]
    first = board(*arguments)
    booted = first.until("booted")
    first.stop()
    second = board(*arguments, "--image", str(images.folder / "tasmota32c3.bin"))
    again = second.until("booted")
    assert again["boot"] == booted["boot"] + 1
    assert again["sha256"] == booted["sha256"], "what is in the flash stays there"


def test_a_board_stops_by_itself_and_a_fault_that_cannot_be_is_named():
    def run(*arguments):
        command = [str(servers.BINARY), "simulate", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    ran = run("tasmota8266", "--port", "9", "--for", "0.5", "--events")
    events = [json.loads(line)["event"] for line in ran.stdout.splitlines()]
    assert events[-1] == "stopped" and "booted" in events
    ran = run("tasmota32", "--fault", "fire@boot")
    assert ran.returncode == 64 and "power@download:50%" in ran.stderr


@pytest.mark.parametrize("spoilt", ["truncated", "checksum", "hash", "html", "elf", "factory", "bootloader", "encrypted"])
def test_every_spoilt_file_is_written_under_the_name_it_would_have(images, spoilt):
    path = images("--family", "espeasy", "--chip", "esp32", "--version", "20260101", "--spoil", spoilt)
    assert path.endswith("ESP_Easy_mega_20260101_normal_ESP32_4M316k.bin")


@pytest.fixture
def watcher(server):
    """Everything that is retained or said from now on, by topic."""
    import paho.mqtt.client as mqtt
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.heard = {}
    client.on_message = lambda _client, _data, message: client.heard.setdefault(message.topic, message.payload.decode())
    client.connect("127.0.0.1", server.mqtt_port)
    client.subscribe("#")
    client.loop_start()
    yield client
    client.loop_stop()
    client.disconnect()


def heard(watcher, topic, seconds=10):
    end = time.monotonic() + seconds
    while topic not in watcher.heard:
        assert time.monotonic() < end, sorted(watcher.heard)
        time.sleep(0.05)
    return watcher.heard[topic]


@pytest.mark.parametrize("secure", [[], ["--insecure"]])
def test_espeasy_and_esphome_say_who_they_are_over_mqtt(server, board, watcher, topic, secure):
    name = topic.strip("/").replace("/", "-")
    port = str(server.mqtts_port if secure else server.mqtt_port)
    node = board("espeasy", "--name", f"{name}-easy", "--port", port, *secure)
    node.until("connected", client_id=f"{name}-easy_1")
    assert heard(watcher, f"{name}-easy/status/LWT") == "Connected"
    # The subscription follows LWT; what is said before it is not for the node.
    for _ in range(20):
        watcher.publish(f"{name}-easy/cmd", "gpio,14,1")
        time.sleep(0.2)
        if any(each["event"] == "command" for each in node.seen):
            break
    node.until("command", command="gpio,14,1")
    lamp = board("esphome", "--name", f"{name}-home", "--port", port, *secure)
    lamp.until("connected")
    assert heard(watcher, f"{name}-home/status") == "online"
    said = json.loads(heard(watcher, f"esphome/discover/{name}-home"))
    assert said["mac"] == "a2764e000001" and said["project_version"] == "1.0.0"


def test_a_xiaozhi_logs_in_with_what_it_was_told(server, board):
    reply = json.dumps({
        "server_time": {"timestamp": 1767312000000, "timezone_offset": 480},
        "firmware": {"version": "2.4.0", "url": ""},
        "mqtt": {"endpoint": f"127.0.0.1:{server.mqtt_port}", "client_id": "GID_x@@@aa@@@bb", "username": "u",
                 "password": "p", "publish_topic": "device-server", "keepalive": 240},
    }).encode()

    class Check(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Check) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        box = board("xiaozhi", "--ota-url", f"http://127.0.0.1:{running.server_port}/xiaozhi/ota/")
        box.until("told", key="publish_topic", value="device-server")
        box.until("protocol", transport="mqtt")
        box.until("connected", client_id="GID_x@@@aa@@@bb")
        box.until("ready")
        running.shutdown()
