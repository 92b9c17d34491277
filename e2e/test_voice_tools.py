"""Tools: a device's, called by people; those of programs at the access point; and pictures that a device sends."""

import asyncio
import base64
import contextlib
import http.server
import json
import queue
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
import websockets

import server as servers
from conftest import eventually
from nginx import own_address
from test_voice import talking
from test_voice_mqtt import HELLO as mqtt_hello
from test_voice_mqtt import Box
from test_xiaozhi_ota import Answer, Device, sound

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
LONG = 60


class Eye(http.server.BaseHTTPRequestHandler):
    """A model that looks at pictures: says the question and how large the picture is."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = asked["messages"][-1]["content"]
        question = next(part["text"] for part in parts if part["type"] == "text")
        url = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
        kind, _, data = url.partition(";base64,")
        text = f"{question} {kind.removeprefix('data:')} {len(base64.b64decode(data))}"
        if asked.get("stream"):
            body = "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + "\n\n"
            body += "data: [DONE]\n\n"
            kind = "text/event-stream"
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            body, kind = json.dumps({"choices": [choice]}), "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def eye():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Eye)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


@pytest.fixture(scope="module")
def hub(eye):
    settings = {
        "provider.eye": f'kind = "openai-vision"\nurl = "{eye}"\nkey = "k"\nmodel = "m"',
        "agent.default": 'vision = "eye"',
    }
    with servers.serving(servers.Safeport, open_to_all=False, settings=settings) as running:
        yield running
        assert running.process.poll() is None, running.log_text()[-4000:]


@pytest.fixture
def device(hub):
    one = Device(hub).taken_in()
    one.told = sound(one.check())["websocket"]
    one.name = f"xiaozhi-{one.mac.replace(':', '')[-6:]}"
    return one


TOOLS = [
    {"name": "self.audio_speaker.set_volume", "description": "Sets the volume",
     "inputSchema": {"type": "object", "properties": {"volume": {"type": "integer"}}, "required": ["volume"]}},
    {"name": "self.silent", "description": "Never answers", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "self.huge", "description": "Answers 10 MB", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "self.reboot", "description": "Restarts", "inputSchema": {"type": "object", "properties": {}},
     "annotations": {"audience": ["user"]}},
]


def tool_answer(request):
    """What firmware answers to one request; the tools come in two pages."""
    method, params = request["method"], request.get("params", {})
    if method == "initialize":
        return {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "b", "version": "1"}}
    if method == "tools/list":
        return {"tools": TOOLS[2:]} if params["cursor"] else {"tools": TOOLS[:2], "nextCursor": TOOLS[2]["name"]}
    if params["name"] == "self.silent":
        return None
    text = "x" * 10_000_000 if params["name"] == "self.huge" else f"done {json.dumps(params['arguments'])}"
    return {"content": [{"type": "text", "text": text}], "isError": False}


async def answer_tools(socket_, seen=None):
    """Answers as firmware does, until cancelled or closed."""
    with contextlib.suppress(websockets.ConnectionClosed):
        async for frame in socket_:
            if isinstance(frame, bytes):
                continue
            message = json.loads(frame)
            if seen is not None:
                seen.append(message)
            if message["type"] != "mcp" or "id" not in message["payload"]:
                continue
            result = tool_answer(message["payload"])
            if result is not None:
                payload = {"jsonrpc": "2.0", "id": message["payload"]["id"], "result": result}
                await socket_.send(json.dumps({"type": "mcp", "payload": payload}))


@contextlib.asynccontextmanager
async def answering(device):
    seen = []
    async with talking(device) as socket_:
        task = asyncio.create_task(answer_tools(socket_, seen))
        yield socket_, seen
        task.cancel()


def api(hub, method, path, body=None):
    token = api.tokens.setdefault(hub, None) or hub.cli("token", "add", f"tools-{time.monotonic_ns()}", "--scope",
                                                       "devices:write,settings:write").stdout.strip()
    api.tokens[hub] = token
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{hub.host}:{hub.http_port}/api/v1{path}", data, method=method,
                                     headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=LONG) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


api.tokens = {}


async def ask(hub, *arguments):
    return await asyncio.to_thread(api, hub, *arguments)


def test_people_see_and_call_every_tool_of_a_device_that_talks(hub, device):
    async def talk():
        async with answering(device):
            status, listed = await ask(hub, "GET", f"/devices/{device.name}/tools")
            assert status == 200, listed
            rows = {row["name"]: row["for_people_only"] for row in listed["tools"]}
            assert rows == {tool["name"]: tool["name"] == "self.reboot" for tool in TOOLS}
            place = f"/devices/{device.name}/tools/self.audio_speaker.set_volume"
            status, answer = await ask(hub, "POST", place, {"volume": "50"})
            assert status == 200 and answer["content"] == [{"type": "text", "text": 'done {"volume": 50}'}], answer
            status, refused = await ask(hub, "POST", f"/devices/{device.name}/tools/self.nothing", {})
            assert status == 422 and "self.nothing" in refused["error"]["next"], refused
            called = await asyncio.to_thread(hub.cli, "device", "call", device.name, "self.reboot")
            assert called.stdout.strip() == "done {}"
            tools = await asyncio.to_thread(hub.cli, "device", "tools", device.name)
            assert "self.audio_speaker.set_volume {volume}" in tools.stdout

    asyncio.run(talk())


def test_a_device_that_goes_in_the_middle_of_a_call_fails_it_at_once(hub, device):
    async def talk():
        async with answering(device) as (socket_, seen):
            calls = asyncio.create_task(ask(hub, "POST", f"/devices/{device.name}/tools/self.silent", {}))
            async with asyncio.timeout(20):
                while not any(m["type"] == "mcp" and m["payload"].get("method") == "tools/call" for m in seen):
                    await asyncio.sleep(0.02)
            await socket_.close()
            began = time.monotonic()
            status, failed = await calls
            assert status == 502 and "disconnected" in failed["error"]["next"], failed
            assert time.monotonic() - began < 15, "it did not wait for the 30 s of the tool"

    asyncio.run(talk())
    status, failed = api(hub, "GET", f"/devices/{device.name}/tools")
    assert status == 409 and failed["error"]["code"] == "not-there", failed


def test_an_answer_of_10_mb_is_not_taken_and_the_server_goes_on(hub, device):
    async def talk():
        async with answering(device):
            status, failed = await ask(hub, "POST", f"/devices/{device.name}/tools/self.huge", {})
            assert status == 502, failed

    asyncio.run(talk())

    async def again():
        async with answering(device):
            assert (await ask(hub, "GET", f"/devices/{device.name}/tools"))[0] == 200

    asyncio.run(again())


def form(picture=JPEG, question=b"What is this?", boundary=b"----ESP32_CAMERA_BOUNDARY", end=True):
    return b"".join([
        b"--", boundary, b"\r\nContent-Disposition: form-data; name=\"question\"\r\n\r\n", question, b"\r\n",
        b"--", boundary, b"\r\nContent-Disposition: form-data; name=\"file\"; filename=\"camera.jpg\"\r\n",
        b"Content-Type: image/jpeg\r\n\r\n", picture, b"\r\n--", boundary, b"--\r\n" if end else b"",
    ])


def vision_of(device):
    """What the device is told of where to send pictures."""
    async def talk():
        async with talking(device) as socket_:
            async with asyncio.timeout(20):
                while True:
                    message = json.loads(await socket_.recv())
                    if message["type"] == "mcp" and message["payload"]["method"] == "initialize":
                        return message["payload"]["params"]["capabilities"]["vision"]

    return asyncio.run(talk())


def test_a_device_that_talks_over_mqtt_is_told_to_send_pictures_to_where_it_came(eye):
    settings = {"provider.eye": f'kind = "openai-vision"\nurl = "{eye}"\nkey = "k"\nmodel = "m"',
                "agent.default": 'vision = "eye"', "advertise": 'xiaozhi = "mqtt"'}
    with servers.serving(servers.Safeport, open_to_all=False, settings=settings, host=own_address()) as hub:
        box = Box(hub)
        try:
            box.say(mqtt_hello | {"features": {"mcp": True}})
            told = None
            while told is None:
                message = box.next(15)
                if message["type"] == "mcp" and message["payload"]["method"] == "initialize":
                    told = message["payload"]["params"]["capabilities"]["vision"]
            assert told["url"] == f"http://{hub.host}:{hub.http_port}/xiaozhi/vision/explain"
            assert send_picture(hub, box.device, told["token"], form()).status == 200
        finally:
            box.close()


def send_picture(hub, device, token, body, chunks=4096, tail=b"", stop_after=None, **changed):
    """As the camera does it: chunked, without a length."""
    values = {"Host": f"{hub.host}:{hub.http_port}", "Device-Id": device.mac, "Client-Id": device.client_id,
              "Authorization": f"Bearer {token}", "Transfer-Encoding": "chunked", "Connection": "close",
              "Content-Type": "multipart/form-data; boundary=----ESP32_CAMERA_BOUNDARY"} | changed
    head = "POST /xiaozhi/vision/explain HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in values.items() if value is not None) + "\r\n"
    with socket.create_connection(hub.http, timeout=LONG) as stream:
        received = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            stream.sendall(head.encode())
            for at in range(0, len(body), chunks):
                piece = body[at:at + chunks]
                stream.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            if tail:
                stream.sendall(f"{len(tail):x}\r\n".encode() + tail + b"\r\n")
            stream.sendall(b"0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while block := stream.recv(65536):
                received += block
    return Answer(received)


def test_a_picture_is_looked_at_whatever_its_chunks_are(hub, device):
    told = vision_of(device)
    assert told["url"] == f"http://{hub.host}:{hub.http_port}/xiaozhi/vision/explain"
    for chunks, tail in ((4096, b""), (100, b""), (10**6, b"\r\n")):
        answer = send_picture(hub, device, told["token"], form(), chunks, tail)
        assert answer.status == 200, answer.body
        expected = f"What is this? image/jpeg {len(JPEG)}"
        body = json.loads(answer.body if "transfer-encoding" not in answer.headers else answer.body.split(b"\r\n")[1])
        assert body == {"success": True, "action": "RESPONSE", "response": expected}
    png = b"\x89PNG\r\n\x1a\n" + bytes(100)
    answer = send_picture(hub, device, told["token"], form(png))
    assert answer.status == 200 and b"image/png" in answer.body


def test_a_browser_sends_a_picture_with_curls_form_and_its_own_boundary(hub, device, tmp_path):
    told = vision_of(device)
    (tmp_path / "camera.jpg").write_bytes(JPEG)
    answered = subprocess.run(
        ["curl", "-sS", "-m", "60", "-F", "question=who?", "-F", f"file=@{tmp_path}/camera.jpg", "-H", f"Device-Id: {device.mac}",
         "-H", f"Client-Id: {device.client_id}", "-H", f"Authorization: Bearer {told['token']}", "-H",
         "Origin: http://page.example", "-D", "-", told["url"]], capture_output=True, text=True, check=True).stdout
    assert answered.startswith("HTTP/1.1 200") and "access-control-allow-origin: *" in answered.lower()
    assert f"who? image/jpeg {len(JPEG)}" in answered


def test_pictures_of_others_too_large_ones_and_what_is_none_are_refused(hub, device):
    token = vision_of(device)["token"]
    other = Device(hub).taken_in()
    mac, made = token.split(".")
    aged = f"{mac}.{int(made) - 30 * 86400}"
    for status, tried in [
        (401, lambda: send_picture(hub, device, "wrong", form())),
        (401, lambda: send_picture(hub, device, aged, form())),
        (401, lambda: send_picture(hub, device, device.told["token"], form())),
        (401, lambda: send_picture(hub, other, token, form())),
        (401, lambda: send_picture(hub, device, token, form(), Authorization=None)),
        (403, lambda: send_picture(hub, device, token, form(), **{"Client-Id": "web_test_client"})),
        (400, lambda: send_picture(hub, device, token, form(), **{"Device-Id": None})),
        (415, lambda: send_picture(hub, device, token, form(b"<svg/>"))),
        (415, lambda: send_picture(hub, device, token, form(), **{"Content-Type": "image/jpeg"})),
        (400, lambda: send_picture(hub, device, token, form(end=False)[:-20])),
        (413, lambda: send_picture(hub, device, token, form(JPEG + bytes(5 * 1024 * 1024)), 65536)),
        (413, lambda: send_picture(hub, device, token, form(JPEG + bytes(12 * 1024 * 1024)), 65536)),
    ]:
        answer = tried()
        assert answer.status == status, (status, answer.status, answer.body[:300])
    assert send_picture(hub, device, token, form()).status == 200


async def bring_tools(url, names, ready, calls=None):
    """A program that comes to the access point with tools."""
    async with websockets.connect(url, compression=None) as socket_:
        async for text in socket_:
            request = json.loads(text)
            if "id" not in request or "method" not in request:
                continue
            if request["method"] == "initialize":
                result = {"protocolVersion": request["params"]["protocolVersion"], "capabilities": {"tools": {}},
                          "serverInfo": {"name": "program", "version": "1"}}
            elif request["method"] == "tools/list":
                result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
                asyncio.get_running_loop().call_later(0.1, ready.set)
            elif request["method"] == "tools/call":
                result = {"content": [{"type": "text", "text": json.dumps(request["params"].get("arguments"))}]}
            else:
                result = {}
            await socket_.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}))


def test_a_program_at_the_access_point_gives_its_tools_to_who_has_the_token(hub):
    status, point = api(hub, "POST", "/agents/default/programs", {"name": "calculator"})
    assert status == 201 and (point["agent"], point["name"]) == ("default", "calculator"), point
    url = f"ws://{hub.host}:{hub.http_port}/mcp_endpoint/mcp/?token={point['token']}"
    assert url in point["urls"]
    assert api(hub, "POST", "/agents/nobody/programs", {"name": "calculator"})[0] == 404

    async def talk():
        ready = asyncio.Event()
        program = asyncio.create_task(bring_tools(url, ["add", "sub"], ready))
        await asyncio.wait_for(ready.wait(), 20)
        async with websockets.connect(url.replace("/mcp/", "/call/"), compression=None) as robot:
            async def rpc(number, method, **params):
                await robot.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
                answer = json.loads(await asyncio.wait_for(robot.recv(), 20))
                assert answer["id"] == number
                return answer

            assert (await rpc(1, "initialize", protocolVersion="2024-11-05"))["result"]["protocolVersion"] == "2024-11-05"
            await robot.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            tools = (await rpc(2, "tools/list"))["result"]["tools"]
            assert [tool["name"] for tool in tools] == ["add", "sub"]
            called = await rpc(3, "tools/call", name="add", arguments={"a": 1})
            assert called["result"]["content"][0]["text"] == '{"a": 1}'
            assert (await rpc(4, "tools/call", name="mul"))["error"]["code"] == -32602
            assert (await rpc(5, "resources/list"))["error"]["code"] == -32601
            _, health = await asyncio.to_thread(hub.get, f"/mcp_endpoint/health?key={point['token']}")
            counts = json.loads(health)["result"]["connections"]
            assert counts == {"tool_connections": 1, "robot_connections": 1, "total_connections": 2}
        program.cancel()

    asyncio.run(talk())
    status, health = hub.get("/mcp_endpoint/health")
    assert status == 200 and json.loads(health)["result"] == {"status": "success"}


def test_the_access_point_opens_to_nobody_without_the_token_of_a_program(hub):
    token = api(hub, "POST", "/agents/default/programs", {"name": "guessed"})[1]["token"]
    for wrong in ("", "?token=", "?token=x", f"?token=default.{token}", f"?token={token[:-1]}"):
        async def come():
            url = f"ws://{hub.host}:{hub.http_port}/mcp_endpoint/mcp/{wrong}"
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(url, compression=None)
            return refused.value.response.status_code

        assert asyncio.run(come()) == 401, wrong


def test_only_so_many_programs_come_for_one_agent(hub):
    token = api(hub, "POST", "/agents/default/programs", {"name": "many"})[1]["token"]
    url = f"ws://{hub.host}:{hub.http_port}/mcp_endpoint/mcp/?token={token}"

    async def come():
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(8):
                # Each stays silent: it has its place all the same.
                connected = await stack.enter_async_context(websockets.connect(url, compression=None))
                await asyncio.wait_for(connected.recv(), 20)
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(url, compression=None)
            assert refused.value.response.status_code == 503

    asyncio.run(come())


def test_an_idle_device_is_asked_over_mqtt_and_shows_what_it_is_to_say_until_it_has_gone():
    with servers.serving(servers.Safeport, open_to_all=False, settings={"advertise": 'xiaozhi = "mqtt"'},
                         host=own_address()) as hub:
        box = Box(hub)
        name = f"xiaozhi-{box.device.mac.replace(':', '')[-6:]}"
        shown, stop = [], threading.Event()

        def answer():
            while not stop.is_set():
                with contextlib.suppress(queue.Empty):
                    message = box.next(0.2)
                    if message["type"] != "mcp":
                        shown.append(message)
                    elif "id" in message["payload"] and (result := tool_answer(message["payload"])) is not None:
                        box.say({"type": "mcp", "payload": {"jsonrpc": "2.0", "id": message["payload"]["id"],
                                                            "result": result}})

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            place = f"/devices/{name}/tools/self.audio_speaker.set_volume"
            status, answered = api(hub, "POST", place, {"volume": 7})
            assert status == 200 and answered["content"][0]["text"] == 'done {"volume": 7}', answered
            assert hub.cli("device", "call", name, "self.reboot").stdout.strip() == "done {}"
            hub.cli("device", "say", name, "dinner is ready")
            assert eventually(lambda: shown, seconds=10)
            assert shown[0]["type"] == "alert" and shown[0]["message"] == "dinner is ready", shown
        finally:
            stop.set()
            thread.join()
            box.close()
        gone = lambda: api(hub, "GET", f"/devices/{name}/tools")[1].get("error", {}).get("code")
        assert eventually(lambda: gone() == "not-there", seconds=20), gone()
