"""A xiaozhi device talks over MQTT and UDP: it logs in with what its check told it, says hello, and hears its own sound
back in datagrams. It never subscribes to anything, as firmware does not."""

import contextlib
import json
import queue
import secrets
import socket
import ssl
import struct
import time

import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import server as servers
from conftest import eventually
from nginx import own_address
from test_voice import kinds, packets
from test_xiaozhi_ota import Device, credentials, sound

HELLO = {"type": "hello", "version": 3, "transport": "udp", "features": {"mcp": False},
         "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60}}
SPOKEN = packets("lamp.en.packets")


@pytest.fixture(scope="module")
def hub():
    with servers.serving(servers.Safeport, open_to_all=False, settings={"advertise": 'xiaozhi = "mqtt"'},
                         host=own_address()) as running:
        yield running
        assert running.process.poll() is None, running.log_text()[-4000:]


def crypt(key: bytes, header: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(header)).encryptor().update(data)


class Box:
    """A device with its MQTT connection, and a socket for its sound."""

    def __init__(self, hub, device=None, port=None, tls=None):
        self.hub = hub
        self.device = device or Device(hub).taken_in()
        self.told = sound(self.device.check())
        client_id, username, password = credentials(self.told)
        self.said, self.codes = queue.Queue(), []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv311)
        self.client.username_pw_set(username, password)
        if tls:
            self.client.tls_set_context(tls)
        self.client.on_connect = lambda *arguments: self.codes.append(arguments[3].value)
        self.client.on_message = lambda _client, _data, message: self.said.put(message)
        self.client.connect(hub.host, port or hub.mqtt_port, keepalive=60)
        self.client.loop_start()
        assert eventually(lambda: self.codes, seconds=10) and self.codes == [0]
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sequence, self.heard = 0, []

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
        self.socket.close()

    def say(self, message, **more):
        message = message if isinstance(message, (str, bytes)) else json.dumps(message | more)
        self.client.publish(self.told["mqtt"]["publish_topic"], message)

    def next(self, seconds=10):
        message = self.said.get(timeout=seconds)
        own = self.device.mac.replace(":", "_")
        assert message.topic == f"devices/p2p/{own}" and message.qos == 0 and not message.retain
        return json.loads(message.payload)

    def hello(self, seconds=15):
        self.say(HELLO)
        self.answer = self.next(seconds)
        assert self.answer["type"] == "hello" and self.answer["version"] == 3
        assert self.answer["transport"] == "udp" and self.answer["session_id"]
        udp = self.answer["udp"]
        assert udp["encryption"] == "aes-128-ctr" and len(udp["key"]) == len(udp["nonce"]) == 32
        self.key, self.nonce = bytes.fromhex(udp["key"]), bytes.fromhex(udp["nonce"])
        assert self.nonce[:4] == b"\1\0\0\0" and self.nonce[8:] == bytes(8)
        self.ssrc = int.from_bytes(self.nonce[4:8])
        self.server = (udp["server"], udp["port"])
        self.sequence, self.heard, self.session = 0, [], self.answer["session_id"]
        return self

    def listen(self, state="start", **more):
        self.say({"session_id": self.session, "type": "listen", "state": state}, **more)

    def datagram(self, packet, sequence=None, ssrc=None, length=None, key=None, kind=1) -> bytes:
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        header = struct.pack(">BBHIII", kind, 0, len(packet) if length is None else length,
                             self.ssrc if ssrc is None else ssrc, 0, sequence)
        return header + crypt(key or self.key, header, packet)

    def send(self, packet, **how):
        self.socket.sendto(self.datagram(packet, **how), self.server)

    def hear(self, seconds=5.0, from_socket=None):
        """The next packet with its header, decrypted as firmware does."""
        (from_socket or self.socket).settimeout(seconds)
        datagram, peer = (from_socket or self.socket).recvfrom(1500)
        kind, flags, length, ssrc, timestamp, sequence = struct.unpack(">BBHIII", datagram[:16])
        assert (kind, flags, ssrc) == (1, 0, self.ssrc) and len(datagram) == 16 + length
        assert peer == self.server
        self.heard.append((sequence, timestamp))
        return crypt(self.key, datagram[:16], datagram[16:])

    def speak(self, spoken):
        """Lets the button go after these packets, and hears the answer: messages and packets, until `tts stop`."""
        self.listen(mode="manual")
        # The two ways are two: nothing says which message comes first, and a device begins to speak a moment later.
        time.sleep(0.3)
        for packet in spoken:
            self.send(packet)
        time.sleep(0.3)
        self.listen("stop")
        return self.turn()

    def turn(self, seconds=20):
        said, heard = [], []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                heard.append(self.hear(0.1))
            with contextlib.suppress(queue.Empty):
                said.append(json.loads(self.said.get_nowait().payload))
            if kinds(said)[-1:] == ["tts:stop"]:
                with contextlib.suppress(TimeoutError):
                    while True:
                        heard.append(self.hear(0.2))
                return said, heard
        raise AssertionError(f"no end within {seconds} s: {said}, {len(heard)} packets")


@pytest.fixture
def boxes(hub):
    made = []

    def make(*arguments, **options):
        made.append(Box(hub, *arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def box(boxes):
    return boxes().hello()


def datagrams(hub, outcome) -> int:
    line = f'safeport_voice_datagrams_total{{outcome="{outcome}"}} '
    rows = [row for row in hub.get("/metrics")[1].splitlines() if row.startswith(line)]
    return int(rows[0][len(line):])


def test_what_is_said_comes_back_in_datagrams_and_goodbye_ends_it(hub, box):
    assert box.server == (hub.host, hub.voice_port)
    said, heard = box.speak(SPOKEN[:20])
    assert kinds(said)[:2] == ["stt", "tts:start"] and kinds(said)[-1] == "tts:stop", said
    assert heard == SPOKEN[:20]
    assert all(message["session_id"] == box.session for message in said)
    sequences, timestamps = zip(*box.heard)
    assert list(sequences) == list(range(1, 21))
    assert len(set(timestamps)) == 20 and 0 not in timestamps, "equal timestamps would repeat the key stream"
    box.say({"type": "goodbye", "session_id": box.session})
    assert eventually(lambda: box.session in hub.log_text()), "its end is logged"
    # The connection stays, and a new conversation has a new key.
    first = (box.key, box.ssrc, box.session)
    box.hello()
    assert box.key != first[0] and box.session != first[2]
    assert box.speak(SPOKEN[:3])[1] == SPOKEN[:3]


def test_over_tls_it_is_the_same(hub, boxes):
    context = ssl.create_default_context(cafile=str(hub.ca))
    context.check_hostname = False
    one = boxes(port=hub.mqtts_port, tls=context).hello()
    assert one.speak(SPOKEN[:5])[1] == SPOKEN[:5]


def test_an_abort_ends_the_answer_and_the_next_turn_is_heard_alone(box):
    box.listen(mode="manual")
    time.sleep(0.3)
    for packet in SPOKEN:
        box.send(packet)
    time.sleep(0.3)
    box.listen("stop")
    box.hear()
    box.say({"type": "abort", "session_id": box.session, "reason": "wake_word_detected"})
    _, cut_off = box.turn()
    assert len(cut_off) < len(SPOKEN) - 5
    assert box.speak(SPOKEN[10:13])[1] == SPOKEN[10:13]


def test_an_answer_waits_for_a_device_that_was_not_heard_yet(box):
    """After a wake word, its text comes over MQTT before anything over UDP."""
    box.say({"session_id": box.session, "type": "listen", "state": "detect", "text": "What time is it?"})
    said, heard = box.turn()
    assert said[0]["text"] == "What time is it?" and not heard


def test_two_devices_talk_at_once_and_neither_hears_the_other(boxes):
    one, other = boxes().hello(), boxes().hello()
    assert one.key != other.key and one.ssrc != other.ssrc
    for box in (one, other):
        box.listen(mode="manual")
    time.sleep(0.3)
    for here, there in zip(SPOKEN[:10], SPOKEN[20:30]):
        one.send(here)
        other.send(there)
    time.sleep(0.3)
    for box in (one, other):
        box.listen("stop")
    assert one.turn()[1] == SPOKEN[:10]
    assert other.turn()[1] == SPOKEN[20:30]


def test_forged_repeated_old_and_cut_datagrams_are_dropped_and_counted(hub, box):
    box.listen(mode="manual")
    time.sleep(0.3)
    good = [box.datagram(packet) for packet in SPOKEN[:6]]
    for datagram in (good[0], good[1], good[3]):
        box.socket.sendto(datagram, box.server)
    assert eventually(lambda: datagrams(hub, "heard") >= 3)
    before = {name: datagrams(hub, name) for name in
              ("heard", "late", "repeated", "wrong_length", "no_conversation", "implausible", "no_audio")}
    box.socket.sendto(good[3], box.server)
    box.socket.sendto(good[2], box.server)
    box.send(SPOKEN[6], sequence=20, length=len(SPOKEN[6]) + 1)
    box.socket.sendto(good[4][:-1], box.server)
    box.send(SPOKEN[6], sequence=20, ssrc=box.ssrc ^ 1)
    box.send(SPOKEN[6], sequence=20, kind=2)
    box.send(SPOKEN[6], sequence=2_000_000)
    box.socket.sendto(b"", box.server)
    box.socket.sendto(b"\1\0", box.server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for number in range(100):
            stranger.sendto(box.datagram(b"\xff" + secrets.token_bytes(60), sequence=21), box.server)
    expected = {"heard": 0, "late": 1, "repeated": 1, "wrong_length": 2, "no_conversation": 1, "implausible": 100}
    for name, more in expected.items():
        assert eventually(lambda: datagrams(hub, name) - before[name] >= more), name
    box.socket.sendto(good[4], box.server)
    assert eventually(lambda: datagrams(hub, "heard") > before["heard"])
    box.listen("stop")
    said, heard = box.turn()
    assert heard == [SPOKEN[0], SPOKEN[1], SPOKEN[3], SPOKEN[4]]


def test_the_key_of_one_device_is_of_no_use_with_the_session_of_another(hub, boxes):
    one, other = boxes().hello(), boxes().hello()
    for box in (one, other):
        box.listen(mode="manual")
    time.sleep(0.3)
    expected = datagrams(hub, "implausible")
    for packet in SPOKEN[:6]:
        one.send(packet)
        for ahead in range(1, 51):
            forged = other.datagram(SPOKEN[30], sequence=one.sequence + ahead, ssrc=one.ssrc)
            other.socket.sendto(forged, one.server)
        # All are read before there are so many that the kernel drops some.
        expected += 50
        assert eventually(lambda: datagrams(hub, "implausible") >= expected)
    for box in (one, other):
        box.listen("stop")
    assert one.turn()[1] == SPOKEN[:6]
    other.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        other.socket.recvfrom(1500)


def test_forged_datagrams_from_other_addresses_cost_a_device_nothing(hub, box):
    """Noise with the number of its session, in reach: a few in a hundred sound like this device."""
    box.listen(mode="manual")
    time.sleep(0.3)
    expected = datagrams(hub, "implausible")
    with contextlib.ExitStack() as opened:
        strangers = [opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(10)]
        for packet in SPOKEN[:20]:
            box.send(packet)
            for ahead in range(1, 4):
                for stranger in strangers:
                    noise = box.datagram(secrets.token_bytes(90), sequence=box.sequence + ahead, key=bytes(16))
                    stranger.sendto(noise, box.server)
            expected += 30
            assert eventually(lambda: datagrams(hub, "implausible") >= expected)
        box.listen("stop")
        assert box.turn()[1] == SPOKEN[:20]
        for stranger in strangers:
            stranger.setblocking(False)
            with pytest.raises(BlockingIOError):
                stranger.recvfrom(1500)


def test_sound_follows_a_device_to_its_new_port(box):
    """A router gives it another one between two turns. The first three packets from there are not believed yet."""
    assert box.speak(SPOKEN[:6])[1] == SPOKEN[:6]
    box.socket.close()
    box.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert box.speak(SPOKEN[6:14])[1] == SPOKEN[9:14]
    assert box.speak(SPOKEN[:4])[1] == SPOKEN[:4]


def test_a_device_that_moves_in_the_middle_of_its_speech_loses_three_packets(box):
    box.listen(mode="manual")
    time.sleep(0.3)
    for packet in SPOKEN[:10]:
        box.send(packet)
    box.socket.close()
    box.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for packet in SPOKEN[10:24]:
        box.send(packet)
    time.sleep(0.3)
    box.listen("stop")
    assert box.turn()[1] == SPOKEN[:10] + SPOKEN[13:24]


def test_a_new_hello_renews_key_and_session_and_the_old_ones_are_of_no_use(hub, box):
    old = box.datagram(SPOKEN[0])
    before = box.key, box.ssrc, box.session
    box.hello()
    assert (box.key, box.ssrc, box.session) != before
    strays = datagrams(hub, "no_conversation")
    box.socket.sendto(old, box.server)
    assert eventually(lambda: datagrams(hub, "no_conversation") > strays)
    assert box.speak(SPOKEN[:3])[1] == SPOKEN[:3]


def test_who_speaks_without_a_hello_is_told_goodbye(boxes):
    one = boxes()
    one.say({"session_id": "gone", "type": "listen", "state": "start", "mode": "auto"})
    assert one.next() == {"type": "goodbye", "session_id": "gone"}
    # Devices answer a goodbye with one, and that is the end of it.
    one.say({"session_id": "gone", "type": "goodbye"})
    one.say("no json")
    one.say({"type": "mcp", "payload": {"jsonrpc": "2.0", "id": 1, "result": {}}})
    with pytest.raises(queue.Empty):
        one.said.get(timeout=0.7)


def test_what_others_publish_to_the_topic_is_no_word_of_a_device(hub, box):
    """An identity in a payload is no identity. And what devices say reaches nobody else."""
    hub.cli("user", "add", "nosy", "--password-stdin", stdin="a-long-password-77\n")
    overheard = []
    user = paho.Client(paho.CallbackAPIVersion.VERSION2, "nosy-client", protocol=paho.MQTTv311)
    user.username_pw_set("nosy", "a-long-password-77")
    user.on_message = lambda _client, _data, message: overheard.append(message.payload)
    user.connect(hub.host, hub.mqtt_port)
    user.loop_start()
    try:
        assert eventually(user.is_connected, seconds=10), hub.log_text()[-2000:]
        user.subscribe("#")
        time.sleep(0.3)
        claimed = HELLO | {"device_id": box.device.mac, "client_id": credentials(box.told)[0]}
        user.publish("device-server", json.dumps(claimed))
        user.publish("device-server", json.dumps({"type": "goodbye", "session_id": box.session}))
        assert eventually(lambda: len(overheard) == 2), "of others, it is a message like any other"
        with pytest.raises(queue.Empty):
            box.said.get(timeout=0.5)
        assert box.speak(SPOKEN[:3])[1] == SPOKEN[:3]
        assert len(overheard) == 2
    finally:
        user.loop_stop()
        user.disconnect()


def test_a_connection_that_ends_ends_its_conversation(hub, box):
    box.listen(mode="manual")
    time.sleep(0.2)
    box.send(SPOKEN[0])
    box.client.disconnect()
    box.client.loop_stop()
    assert eventually(lambda: box.session in hub.log_text(), seconds=10), "its end is logged"
    strays = datagrams(hub, "no_conversation")
    box.send(SPOKEN[1])
    assert eventually(lambda: datagrams(hub, "no_conversation") > strays)


def test_a_device_that_is_forgotten_is_heard_no_more(hub, boxes):
    one = boxes(Device(hub).taken_in("attic-voice")).hello()
    hub.cli("device", "forget", "attic-voice")
    assert eventually(lambda: one.session in hub.log_text(), seconds=10)
    strays = datagrams(hub, "no_conversation")
    one.send(SPOKEN[1])
    assert eventually(lambda: datagrams(hub, "no_conversation") > strays)


def test_10_000_hellos_without_sound_leave_one_conversation(hub, boxes):
    one = boxes()
    for _ in range(10_000):
        one.say(HELLO)
    answers = 0
    with contextlib.suppress(queue.Empty):
        while True:
            answers += json.loads(one.said.get(timeout=3).payload)["type"] == "hello"
    assert answers > 0
    one.hello()
    assert one.speak(SPOKEN[:3])[1] == SPOKEN[:3]


def test_a_server_without_sockets_for_sound_says_goodbye_and_why(home):
    server = home(settings={"advertise": 'xiaozhi = "mqtt"', "voice": "enabled = false"}, host=own_address()).start()
    one = Box(server)
    try:
        one.say(HELLO)
        assert one.next(15)["type"] == "goodbye"
        assert "voice.enabled = true" in server.log_text()
    finally:
        one.close()


def test_a_server_that_stops_says_goodbye(home):
    server = home(settings={"advertise": 'xiaozhi = "mqtt"'}, host=own_address()).start()
    one = Box(server).hello()
    try:
        server.stop()
        assert one.next() == {"type": "goodbye", "session_id": one.session}
    finally:
        one.close()


def test_the_port_of_sound_moves_while_the_server_serves(home):
    server = home(settings={"advertise": 'xiaozhi = "mqtt"'}, host=own_address()).start()
    one = Box(server).hello()
    try:
        assert one.speak(SPOKEN[:2])[1] == SPOKEN[:2]
        (port,) = servers.free_ports(1)
        server.cli("config", "set", "voice.bind", f"{server.host}:{port}")
        one.hello()
        assert one.server == (server.host, port)
        assert one.speak(SPOKEN[:2])[1] == SPOKEN[:2]
    finally:
        one.close()
