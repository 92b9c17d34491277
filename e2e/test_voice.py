"""A xiaozhi device talks: the check tells it where, it opens a WebSocket, says something, and hears it said back."""

import asyncio
import contextlib
import json
import ssl
import struct
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import websockets

import server as servers
from test_xiaozhi_ota import Device, exchange, sound

SPEECH = Path(__file__).parents[1] / "crates/voice/tests/speech"
HELLO = {"type": "hello", "version": 1, "features": {"mcp": True}, "transport": "websocket",
         "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60}}


def packets(name):
    """A recording: packets of 60 ms behind their lengths."""
    data, found = (SPEECH / name).read_bytes(), []
    while data:
        (length,) = struct.unpack(">H", data[:2])
        found.append(data[2:2 + length])
        data = data[2 + length:]
    return found


@pytest.fixture(scope="module")
def hub():
    with servers.serving(servers.Safeport, open_to_all=False) as running:
        yield running
        assert running.process.poll() is None, running.log_text()[-4000:]


@pytest.fixture
def device(hub):
    """A device that was taken in, and what it was told."""
    one = Device(hub).taken_in()
    one.told = sound(one.check())["websocket"]
    return one


def headers(device, **changed):
    all_of_them = {"Authorization": f"Bearer {device.told['token']}", "Protocol-Version": "1", "Device-Id": device.mac,
                   "Client-Id": device.client_id} | changed
    return {name: value for name, value in all_of_them.items() if value is not None}


@contextlib.asynccontextmanager
async def talking(device, hello=HELLO, url=None, **more):
    more.setdefault("additional_headers", headers(device))
    async with websockets.connect(url or device.told["url"], compression=None, **more) as socket:
        await socket.send(json.dumps(hello))
        answer = json.loads(await asyncio.wait_for(socket.recv(), 5))
        assert answer["type"] == "hello" and answer["transport"] == "websocket" and answer["session_id"]
        assert answer["audio_params"]["format"] == "opus" and answer["audio_params"]["frame_duration"] == 60
        yield socket


async def turn(socket, seconds=20):
    """Everything until `tts stop`: messages, and packets with the moment at which they came."""
    said, heard = [], []
    async with asyncio.timeout(seconds):
        while True:
            frame = await socket.recv()
            if isinstance(frame, bytes):
                heard.append((time.monotonic(), frame))
                continue
            message = json.loads(frame)
            if message["type"] == "mcp":
                # This device says that it has tools, and does not answer when it is asked for them.
                continue
            said.append(message)
            if message["type"] == "tts" and message["state"] == "stop":
                return said, heard


def kinds(said):
    return [message["type"] + (":" + message["state"] if message["type"] == "tts" else "") for message in said]


def test_what_is_said_is_said_back_when_the_button_is_let_go(device):
    spoken = packets("lamp.en.packets")[:20]

    async def talk():
        async with talking(device) as socket:
            await socket.send(json.dumps({"session_id": "", "type": "listen", "state": "start", "mode": "manual"}))
            for packet in spoken:
                await socket.send(packet)
            await socket.send(json.dumps({"type": "listen", "state": "stop"}))
            return await turn(socket)

    said, heard = asyncio.run(talk())
    assert kinds(said)[:2] == ["stt", "tts:start"] and kinds(said)[-1] == "tts:stop", said
    assert "1.2 s" in said[0]["text"] and "tts:sentence_start" in kinds(said)
    assert [packet for _, packet in heard] == spoken
    # No faster than it is played, but for the few that fill the device's queue first.
    took = heard[-1][0] - heard[0][0]
    assert 0.5 < took < 2.5, took
    assert all(message["session_id"] == said[0]["session_id"] for message in said)


def test_a_device_that_lets_the_server_decide_is_heard_to_the_end_of_its_sentence(device):
    spoken = packets("lamp.zh.packets")

    async def talk():
        async with talking(device) as socket:
            await socket.send(json.dumps({"type": "listen", "state": "start", "mode": "auto"}))
            for packet in spoken:
                await socket.send(packet)
            return await turn(socket, 30)

    said, heard = asyncio.run(talk())
    assert kinds(said)[0] == "stt"
    back = [packet for _, packet in heard]
    assert 40 < len(back) < len(spoken), "the silence before the sentence was left out"
    at = spoken.index(back[0])
    assert spoken[at:at + len(back)] == back


def test_who_speaks_into_an_answer_in_realtime_mode_interrupts_it_and_is_heard(device):
    spoken = packets("lamp.en.packets")

    async def talk():
        async with talking(device) as socket:
            await socket.send(json.dumps({"type": "listen", "state": "start", "mode": "realtime"}))
            for packet in spoken:
                await socket.send(packet)
            while not isinstance(await asyncio.wait_for(socket.recv(), 5), bytes):
                pass
            for packet in spoken:
                await socket.send(packet)
            return await turn(socket), await turn(socket)

    (_, cut_off), (said, heard) = asyncio.run(talk())
    assert len(cut_off) < 20, "the answer was interrupted"
    assert kinds(said)[:2] == ["stt", "tts:start"] and len(heard) > 20


def test_an_abort_ends_the_answer_and_the_next_turn_is_heard_alone(device):
    spoken = packets("lamp.en.packets")

    async def talk():
        async with talking(device) as socket:
            await socket.send(json.dumps({"type": "listen", "state": "start", "mode": "manual"}))
            for packet in spoken:
                await socket.send(packet)
            await socket.send(json.dumps({"type": "listen", "state": "stop"}))
            while not isinstance(await asyncio.wait_for(socket.recv(), 5), bytes):
                pass
            await socket.send(json.dumps({"type": "abort", "reason": "wake_word_detected"}))
            await turn(socket)
            await socket.send(json.dumps({"type": "listen", "state": "start", "mode": "manual"}))
            for packet in spoken[10:13]:
                await socket.send(packet)
            await socket.send(json.dumps({"type": "listen", "state": "stop"}))
            return await turn(socket)

    said, heard = asyncio.run(talk())
    assert [packet for _, packet in heard] == spoken[10:13]
    assert kinds(said)[0] == "stt"


def test_a_button_that_is_never_let_go_is_answered_after_half_a_minute_of_sound(device):
    spoken = packets("lamp.en.packets")[10:40]

    async def talk():
        async with talking(device) as socket:
            await socket.send(json.dumps({"type": "listen", "state": "start", "mode": "manual"}))
            for _ in range(20):
                for packet in spoken:
                    await socket.send(packet)
            message = {"type": "mcp"}
            while message["type"] == "mcp":
                message = json.loads(await asyncio.wait_for(socket.recv(), 5))
            await socket.send(json.dumps({"type": "abort"}))
            return message

    message = asyncio.run(talk())
    assert message["type"] == "stt" and "30.0 s" in message["text"], message


def test_typed_text_is_answered_with_the_time(device):
    async def talk():
        async with talking(device) as socket:
            await socket.send(json.dumps({"type": "listen", "state": "detect", "text": "What time is it?"}))
            return await turn(socket)

    said, heard = asyncio.run(talk())
    assert said[0] == {"type": "stt", "text": "What time is it?", "session_id": said[0]["session_id"]}
    sentence = next(message for message in said if message.get("state") == "sentence_start")
    assert ":" in sentence["text"] and not heard


@pytest.mark.parametrize("version", [2, 3])
def test_binary_frames_of_versions_2_and_3_are_read_and_written(device, version):
    spoken = packets("lamp.en.packets")[5:10]

    def framed(packet):
        if version == 2:
            return struct.pack(">HHIII", 2, 0, 0, 0, len(packet)) + packet
        return struct.pack(">BBH", 0, 0, len(packet)) + packet

    def unframed(frame):
        if version == 2:
            two, kind, _, _, length = struct.unpack(">HHIII", frame[:16])
            assert (two, kind, length) == (2, 0, len(frame) - 16)
            return frame[16:]
        kind, _, length = struct.unpack(">BBH", frame[:4])
        assert (kind, length) == (0, len(frame) - 4)
        return frame[4:]

    async def talk():
        told = headers(device, **{"Protocol-Version": str(version)})
        async with talking(device, HELLO | {"version": version}, additional_headers=told) as socket:
            await socket.send(json.dumps({"type": "listen", "state": "start", "mode": "manual"}))
            for packet in spoken:
                await socket.send(framed(packet))
            # Frames that lie about their length are passed over.
            await socket.send(framed(b"x" * 40)[:-7])
            await socket.send(b"")
            await socket.send(json.dumps({"type": "listen", "state": "stop"}))
            return await turn(socket)

    _, heard = asyncio.run(talk())
    assert [unframed(frame) for _, frame in heard] == spoken


def test_a_page_in_a_browser_says_who_it_is_in_the_query_and_sends_no_audio_params(hub, device):
    token = quote(f"Bearer {device.told['token']}")
    url = f"{device.told['url']}?device-id={quote(device.mac)}&client-id={device.client_id}&authorization={token}"

    async def talk():
        hello = {"type": "hello", "version": 1, "transport": "websocket"}
        async with talking(device, hello, url, additional_headers={}, origin="http://page.example") as socket:
            await socket.send(json.dumps({"type": "listen", "state": "detect", "text": "hi"}))
            return await turn(socket)

    said, _ = asyncio.run(talk())
    assert kinds(said)[0] == "stt"


def test_the_upgrade_is_answered_as_firmware_reads_it(hub, device):
    request = (f"GET /xiaozhi/v1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {device.told['token']}\r\n"
               f"Client-Id: {device.client_id}\r\nConnection: keep-alive, Upgrade\r\nDevice-Id: {device.mac}\r\n"
               "Protocol-Version: 1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
               "Upgrade: websocket\r\n\r\n").encode()
    # The close frame, so that the server closes.
    answer = exchange(hub.http, request + b"\x88\x80\0\0\0\0")
    assert answer.line.startswith("HTTP/1.1 101")
    assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert "sec-websocket-extensions" not in answer.headers and "sec-websocket-protocol" not in answer.headers


@pytest.mark.parametrize("changed, status, says", [
    ({"Authorization": None}, 401, "no token"),
    ({"Authorization": "Bearer x.1"}, 401, "token"),
    ({"Device-Id": "02:00:00:00:00:99"}, 403, "enrolled"),
    ({"Client-Id": "somebody-else"}, 403, "enrolled"),
    ({"Device-Id": "none"}, 400, "MAC address"),
    ({"Device-Id": None}, 400, "Device-Id"),
    ({"Client-Id": None}, 400, "Client-Id"),
])
def test_who_may_not_talk_is_told_so_before_the_upgrade(hub, device, changed, status, says):
    given = headers(device, **changed)
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    lines += "Connection: Upgrade, close\r\nUpgrade: websocket\r\n"
    lines += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    answer = exchange(hub.http, f"GET /xiaozhi/v1/ HTTP/1.1\r\nHost: hub\r\n{lines}\r\n".encode())
    assert answer.status == status, answer.body
    assert says in answer.body.decode(), answer.body


def test_a_token_of_another_device_opens_nothing(hub, device):
    other = Device(hub).taken_in()
    other.told = dict(device.told)

    async def talk():
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with talking(other):
                pass
        assert refused.value.response.status_code == 401

    asyncio.run(talk())


def test_a_forgotten_device_is_gone_at_once_and_a_second_connection_ends_the_first(hub, device):
    name = "xiaozhi-" + device.mac.replace(":", "")[-6:]

    async def talk():
        async with talking(device) as first:
            async with talking(device) as second:
                with pytest.raises(websockets.ConnectionClosed):
                    while True:
                        await asyncio.wait_for(first.recv(), 5)
                await second.send(json.dumps({"type": "listen", "state": "detect", "text": "still here"}))
                await turn(second)
                await asyncio.to_thread(hub.cli, "device", "forget", name)
                with pytest.raises(websockets.ConnectionClosed):
                    while True:
                        await asyncio.wait_for(second.recv(), 5)
        with pytest.raises(websockets.InvalidStatus):
            async with talking(device):
                pass

    asyncio.run(talk())


def test_many_devices_that_open_in_the_same_instant_are_all_answered(hub):
    devices = [Device(hub).taken_in() for _ in range(12)]
    for each in devices:
        each.told = sound(each.check())["websocket"]

    async def crowd():
        async def talk(each):
            async with talking(each) as socket:
                await socket.send(json.dumps({"type": "listen", "state": "detect", "text": each.mac}))
                said, _ = await turn(socket)
                return said[0]["text"]

        return await asyncio.gather(*[talk(each) for each in devices])

    assert asyncio.run(crowd()) == [each.mac for each in devices]


def test_it_talks_over_tls_as_well(hub, device):
    url = f"wss://127.0.0.1:{hub.https_port}/xiaozhi/v1/"
    trust = ssl.create_default_context(cafile=str(hub.data / "pki" / "ca.pem"))
    trust.check_hostname = False

    async def talk():
        async with talking(device, url=url, ssl=trust) as socket:
            await socket.send(json.dumps({"type": "listen", "state": "detect", "text": "hi"}))
            return await turn(socket)

    said, _ = asyncio.run(talk())
    assert said[0]["text"] == "hi"


def test_garbage_is_passed_over_and_the_conversation_goes_on(device):
    async def talk():
        async with talking(device) as socket:
            for garbage in ["", "[]", "{", '{"type":7}', '{"type":"listen","state":"dance"}', '{"type":"weather"}', "\0" * 100,
                            b"\xff" * 3000, b"", '{"type":"mcp","payload":' + "[" * 2000]:
                await socket.send(garbage)
            await socket.send(json.dumps({"type": "listen", "state": "detect", "text": "still here"}))
            return await turn(socket)

    said, _ = asyncio.run(talk())
    assert said[0]["text"] == "still here"


def test_a_message_that_is_far_too_long_ends_the_connection(device):
    async def talk():
        async with talking(device) as socket:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.send("x" * 200_000)
                while True:
                    await asyncio.wait_for(socket.recv(), 5)
            return closed.value.rcvd

    received = asyncio.run(talk())
    assert received is None or received.code == 1009


def test_who_opens_and_says_nothing_is_gone_after_ten_seconds(device):
    async def wait():
        async with websockets.connect(device.told["url"], additional_headers=headers(device), compression=None) as socket:
            began = time.monotonic()
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 15)
            return time.monotonic() - began

    assert 8 < asyncio.run(wait()) < 13
