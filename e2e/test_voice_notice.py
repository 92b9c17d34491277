"""An idle device is told something: firmware 2.5 fetches it and speaks, all others show it, and who asked is told which."""

import concurrent.futures
import contextlib
import http.client
import json
import queue
import re
import struct
import threading
from urllib.parse import urlsplit

import pytest

import server as servers
from conftest import eventually
from nginx import own_address
from test_agents import sections
from test_voice_mqtt import Box
from test_voice_recordings import opened, plays
from test_voice_tools import api
from test_xiaozhi_ota import Device

WORDS = "Dinner is ready now. Please come to the kitchen."


@pytest.fixture(scope="module")
def hub(services):
    own = sections(services)
    own["provider.packed"] = own["provider.mouth"] + '\nformat = "opus"'
    own["agent.packs"] = 'model = "brain"\nvoice = "packed"'
    own["agent.mute"] = 'model = "brain"'
    own["xiaozhi"] = 'agent = "kitchen"'
    own["advertise"] = 'xiaozhi = "mqtt"'
    with servers.serving(servers.Safeport, open_to_all=False, settings=own, host=own_address()) as running:
        yield running
        assert running.process.poll() is None, running.log_text()[-4000:]


class Idle:
    """A device that does not talk: fetches what a `notify` names as firmware does, if it is not busy."""

    def __init__(self, hub, version="2.5.0", is_busy=False):
        self.hub, self.is_busy = hub, is_busy
        self.box = Box(hub, Device(hub, version=version).taken_in())
        self.name = f"xiaozhi-{self.box.device.mac.replace(':', '')[-6:]}"
        self.got, self.files = [], []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.live)
        self.thread.start()

    def live(self):
        while not self.stop.is_set():
            with contextlib.suppress(queue.Empty):
                message = self.box.next(0.2)
                if message["type"] == "mcp":
                    continue
                self.got.append(message)
                if message["type"] == "notify" and not self.is_busy:
                    self.files.append(fetch(message["audio_url"]))

    def kinds(self):
        return [message["type"] for message in self.got]

    def say(self, text=WORDS, language="en"):
        return self.hub.cli("--lang", language, "device", "say", self.name, text)

    def close(self):
        self.stop.set()
        self.thread.join()
        self.box.close()


@pytest.fixture
def idle(hub):
    made = []

    def make(**options):
        made.append(Idle(hub, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def fetch(url, method="GET"):
    """Status, headers and body: no login, no redirection."""
    parts = urlsplit(url)
    assert parts.scheme == "http"
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    with contextlib.closing(connection):
        connection.request(method, parts.path, headers={"Accept": "audio/ogg, application/ogg"})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


@pytest.mark.parametrize("agent", ["kitchen", "packs"])
def test_a_device_of_version_2_5_fetches_the_words_and_they_are_spoken(hub, models, idle, tmp_path, agent):
    device = idle()
    hub.cli("config", "set", "--device", device.name, "xiaozhi.agent", agent)
    status, answer = api(hub, "POST", f"/devices/{device.name}/say", {"text": WORDS})
    assert (status, answer) == (200, {"name": device.name, "done": "spoken"})
    assert device.kinds() == ["notify"]
    notify = device.got[0]
    url = urlsplit(notify["audio_url"])
    assert (url.hostname, url.port) == (hub.host, hub.http_port)
    assert re.fullmatch(r"/xiaozhi/notice/[a-z2-7]{20}\.ogg", url.path), url.path
    assert eventually(lambda: device.files, seconds=10)
    status, headers, file = device.files[0]
    assert status == 200 and headers["Content-Type"] == "audio/ogg" and int(headers["Content-Length"]) == len(file)
    inside, seconds = opened(file)
    assert struct.unpack("<I", file[file.index(b"OpusHead") + 12:][:4]) == (24000,)
    assert all(0 < len(packet) <= 2048 for packet in inside)
    sentences = [line["text"] for line in notify["subtitles"]]
    assert " ".join(sentences) == WORDS
    # As long as the voice takes for each, up to whole packets.
    lengths = [models.seconds_of(sentence) for sentence in sentences]
    assert seconds == pytest.approx(sum(lengths), abs=0.07 * len(lengths)) and seconds > 1
    assert len(inside) == pytest.approx(seconds / 0.06, abs=len(lengths))
    starts = [line["start_ms"] for line in notify["subtitles"]]
    assert starts == pytest.approx([1000 * sum(lengths[:number]) for number in range(len(lengths))], abs=70 * len(lengths))
    plays(file, seconds, tmp_path)
    # When it was played, it is nobody's any more.
    assert eventually(lambda: fetch(notify["audio_url"])[0] == 404, seconds=seconds + 20)
    said = device.say("Again.")
    assert "says it" in said.stderr and eventually(lambda: len(device.files) == 2, seconds=5)


def test_older_firmware_shows_the_words_and_who_asked_is_told_why_in_their_language(hub, models, idle):
    device = idle(version="2.4.2")
    said = device.say()
    assert "shows it" in said.stderr and "2.4.2" in said.stderr and "2.5" in said.stderr
    assert "固件 2.4.2" in device.say(language="zh-CN").stderr
    assert eventually(lambda: len(device.got) == 2, seconds=10) and device.kinds() == ["alert", "alert"]
    assert device.got[0]["message"] == WORDS
    assert models.asked("speech") == []


def test_a_busy_device_fetches_nothing_and_is_shown_the_words(hub, models, idle):
    device = idle(is_busy=True)
    status, answer = api(hub, "POST", f"/devices/{device.name}/say", {"text": WORDS})
    assert status == 200 and answer["done"] == "shown" and "did not fetch" in answer["why"], answer
    assert eventually(lambda: device.kinds() == ["notify", "alert"], seconds=5), device.kinds()
    # It does not begin to speak behind what it has shown.
    assert fetch(device.got[0]["audio_url"])[0] == 404


def test_a_voice_that_fails_or_is_not_there_leaves_the_words_shown(hub, models, idle):
    device = idle()
    models.fail("speech", 401, times=None)
    # Words that were never spoken before: those that were need no voice any more.
    _, answer = api(hub, "POST", f"/devices/{device.name}/say", {"text": "Nobody has ever said this."})
    assert answer["done"] == "shown" and "mouth" in answer["why"], answer
    models.heal_all()
    for agent in ("mute", "echo"):
        hub.cli("config", "set", "--device", device.name, "xiaozhi.agent", agent)
        _, answer = api(hub, "POST", f"/devices/{device.name}/say", {"text": WORDS})
        assert answer["done"] == "shown" and "no voice" in answer["why"], answer
    assert eventually(lambda: len(device.got) == 3, seconds=5) and device.kinds() == ["alert"] * 3


def test_names_that_were_given_to_nobody_lead_nowhere(hub, models, idle):
    place = f"http://{hub.host}:{hub.http_port}/xiaozhi/notice/"
    for name in ("", "d" + 19 * "a" + ".ogg", ".ogg", "..%2f..%2fsafeport.db", "%00.ogg", "x" * 5000 + ".ogg"):
        status, _, body = fetch(place + name)
        assert status in (404, 414, 431) and b"OggS" not in body, (name, status)
    # The head alone is no receipt: nothing was played.
    device = idle(is_busy=True)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(api, hub, "POST", f"/devices/{device.name}/say", {"text": WORDS})
        assert eventually(lambda: device.got, seconds=20)
        url = device.got[0]["audio_url"]
        status, headers, body = fetch(url, "HEAD")
        assert status == 200 and headers["Content-Type"] == "audio/ogg" and body == b""
        assert fetch(url.removesuffix(".ogg"))[0] == 404 and fetch(url, "POST")[0] == 405
        assert asked.result()[1]["done"] == "shown"


def test_a_flood_of_words_is_said_one_after_the_other_and_the_rest_refused(hub, models, idle):
    device = idle()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(api, hub, "POST", f"/devices/{device.name}/say", {"text": f"No {number}."}) for number in range(20)]
        answers = [each.result() for each in asked]
    spoken = [answer for status, answer in answers if status == 200]
    refused = [status for status, _ in answers if status != 200]
    # One that is being said, and four that wait.
    assert 1 <= len(spoken) <= 6 and set(refused) <= {502, 503}, json.dumps(answers)
    assert all(answer["done"] == "spoken" for answer in spoken)
    assert len(device.files) == len(spoken) and device.kinds() == ["notify"] * len(spoken)
