"""Stand-ins for the services that a conversation needs: a model that answers, recognisers, voices, and an eye.

`Models` serves them all on ports of their own, from one thread, for as long as a `with` lasts:

| attribute | speaks |
|---|---|
| `models.api` | OpenAI's HTTP interface: `/chat/completions` (with pictures, too), `/audio/transcriptions`, `/audio/speech` |
| `models.funasr` | FunASR's WebSocket protocol |
| `models.dashscope` | DashScope's WebSocket protocol for CosyVoice |

What they answer is set by the test, before or while it runs (`say`, `hear`, `see`, `fail`); what they were asked is in
`models.requests`, in order, and `models.asked("chat")` of one service. All waits of a stand-in end when its client goes
away, and `Request.ended` says how it ended.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import dataclasses
import itertools
import json
import threading
import time

import websockets
from websockets.asyncio.server import serve as serve_websocket

from sounds import ogg_opus, samples_of, tone, wav

# What a service can do wrong; `fail` says for how many requests.
SLOW = "slow"          # its first byte comes after `models.patience` seconds
STALL = "stall"        # it begins, and nothing more comes
CUT = "cut"            # it begins, and the connection ends
HTML = "html"          # a page, as from a proxy that does not know it
NONSENSE = "nonsense"  # bytes that are neither JSON nor sound
SILENT = "silent"      # it takes everything and answers nothing


@dataclasses.dataclass
class Call:
    """A model's wish to call a tool."""
    name: str
    arguments: dict | str = dataclasses.field(default_factory=dict)
    id: str | None = None


@dataclasses.dataclass
class Request:
    """What a service was asked."""
    service: str
    path: str
    headers: dict[str, str]
    at: float
    body: dict = dataclasses.field(default_factory=dict)
    audio: bytes = b""
    """Raw samples, 16 bit mono, as far as they have come."""
    rate: int | None = None
    pictures: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    ended: str | None = None
    """`done`, `gone` (the client went away before the end), `failed` (as the test wanted); None: not yet."""

    @property
    def seconds(self):
        """How much sound there was."""
        return len(self.audio) / 2 / self.rate if self.rate else 0.0

    @property
    def key(self):
        return self.headers.get("authorization", "").removeprefix("Bearer ")


class Models:
    def __init__(self):
        self.requests: list[Request] = []
        self.key = "sk-e2e"
        """All but FunASR, which asks for none, answer 401 without it."""
        self.answer = "All right."
        """What the model says when nothing else is scripted: text, a `Call`, a list of both, or a function that makes
        one of these of the request's body."""
        self.transcript = "turn on the lamp"
        self.sight = "a red apple"
        self.patience = 1.0
        """Seconds that a service waits that is `SLOW`."""
        self.word_pause = 0.0
        """Seconds between the pieces of an answer."""
        self.sound_pace = 0.0
        """Seconds that a voice takes for each second of sound."""
        self.flavour = "cpp"
        """Which FunASR server it is: `cpp` marks its last answer, `python` says with each answer whether somebody
        speaks, `files` answers once, whatever the mode, and never says that this is all."""
        self._scripts = {"chat": collections.deque(), "transcript": collections.deque(), "sight": collections.deque()}
        self._faults = collections.defaultdict(collections.deque)
        self._always = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="models", daemon=True)

    # --- what a test says ---

    def say(self, *answers):
        """What the model answers next, one for each request."""
        self._scripts["chat"].extend(answers)

    def hear(self, *transcripts):
        """What is understood next."""
        self._scripts["transcript"].extend(transcripts)

    def see(self, *sights):
        """What is seen next."""
        self._scripts["sight"].extend(sights)

    def fail(self, service, fault, times=1):
        """Lets `chat`, `vision`, `transcription`, `speech`, `funasr` or `dashscope` go wrong: one of the faults above, a
        status (`401`, `500`), or for `dashscope` an error code as text. With `times=None` always, until `heal`."""
        if times is None:
            self._always[service] = fault
        else:
            self._faults[service].extend([fault] * times)

    def heal(self, service):
        self._always.pop(service, None)
        self._faults.pop(service, None)

    def heal_all(self):
        """As if it was new, but for what it was asked."""
        self._always.clear()
        self._faults.clear()
        for script in self._scripts.values():
            script.clear()
        self.answer, self.word_pause, self.sound_pace = "All right.", 0.0, 0.0

    # --- what a test asks ---

    def asked(self, service):
        return [request for request in self.requests if request.service == service]

    @property
    def open_requests(self):
        return [request for request in self.requests if request.ended is None]

    @staticmethod
    def seconds_of(text):
        """How long a voice takes for a text."""
        return max(0.24, 0.06 * len(text))

    # --- serving ---

    def __enter__(self):
        self._thread.start()
        try:
            self._run(self._open())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        self._run(self._close())
        self._stop()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def _stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _open(self):
        self._http = await asyncio.start_server(self._serve_http, "127.0.0.1", 0, limit=1 << 20)
        options = dict(compression=None, max_size=1 << 22, process_request=self._upgrade)
        self._ears = await serve_websocket(self._listen, "127.0.0.1", 0, **options)
        self._voices = await serve_websocket(self._speak, "127.0.0.1", 0, **options)
        self.api = f"http://127.0.0.1:{port_of(self._http)}/v1"
        self.funasr = f"ws://127.0.0.1:{port_of(self._ears)}"
        self.dashscope = f"ws://127.0.0.1:{port_of(self._voices)}/api-ws/v1/inference"

    async def _close(self):
        self._http.close()
        for server in (self._ears, self._voices):
            server.close(close_connections=True)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _note(self, service, path, headers, **more):
        headers = {name.lower(): value for name, value in headers.items()}
        request = Request(service, path, headers, time.monotonic(), **more)
        self.requests.append(request)
        return request

    def _fault(self, service):
        waiting = self._faults[service]
        return waiting.popleft() if waiting else self._always.get(service)

    def _next(self, script, otherwise):
        waiting = self._scripts[script]
        return waiting.popleft() if waiting else otherwise

    # --- OpenAI's interface ---

    async def _serve_http(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while head := await read_head(reader):
                await self._answer_http(Exchange(reader, writer), *head)

    async def _answer_http(self, exchange, method, path, headers, body):
        handlers = {"/v1/chat/completions": self._chat, "/v1/audio/transcriptions": self._transcribe,
                    "/v1/audio/speech": self._make_speech}
        handler = handlers.get(path)
        if method != "POST" or handler is None:
            self._note("unknown", f"{method} {path}", headers).ended = "done"
            await exchange.error(404, f"nothing at {method} {path}")
            return
        request, respond = handler(path, headers, body)
        exchange.request = request
        fault = self._fault(request.service) if request.key == self.key else 401
        request.ended = await self._with_fault(exchange, fault, respond)

    async def _with_fault(self, exchange, fault, respond):
        try:
            if fault == SLOW:
                await exchange.sleep(self.patience)
            elif fault == SILENT:
                await exchange.until_gone()
            elif fault == HTML:
                await exchange.whole(200, "text/html", b"<!doctype html><title>Welcome</title><h1>It works!</h1>")
                return "failed"
            elif fault == NONSENSE:
                await exchange.whole(200, "application/json", b'{"choi\xff\x00')
                return "failed"
            elif isinstance(fault, int):
                await exchange.error(fault, f"this is what a {fault} looks like")
                return "failed"
            exchange.fault = fault
            await respond(exchange)
            return "done"
        except Cut:
            exchange.writer.transport.abort()
            return "failed"
        except (Gone, ConnectionError):
            return "gone"
        except asyncio.CancelledError:
            return "gone"

    def _chat(self, path, headers, body):
        body = json.loads(body)
        pictures = [picture_of(part) for message in body["messages"] if isinstance(message.get("content"), list)
                    for part in message["content"] if part.get("type") == "image_url"]
        request = self._note("vision" if pictures else "chat", path, headers, body=body, pictures=pictures)
        answer = self._next("sight", self.sight) if pictures else self._next("chat", self.answer)
        if callable(answer):
            answer = answer(body)
        parts = answer if isinstance(answer, list) else [answer]

        async def respond(exchange):
            if body.get("stream"):
                await self._stream_chat(exchange, parts)
            else:
                await exchange.json(completion(parts))

        return request, respond

    async def _stream_chat(self, exchange, parts):
        await exchange.begin("text/event-stream")
        pieces = list(deltas(parts))
        for number, delta in enumerate(pieces):
            # Something has been said already when it goes wrong.
            await exchange.halt_at(number, min(3, len(pieces) - 1))
            await exchange.event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            await exchange.sleep(self.word_pause)
        reason = "tool_calls" if any(isinstance(part, Call) for part in parts) else "stop"
        await exchange.event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        await exchange.piece(b"data: [DONE]\n\n")
        await exchange.end()

    def _transcribe(self, path, headers, body):
        fields, file = multipart(headers.get("content-type", ""), body)
        request = self._note("transcription", path, headers, body=fields)
        if file is not None:
            request.rate, request.audio = samples_of(file)
        text = self._next("transcript", self.transcript)

        async def respond(exchange):
            await exchange.halt_at(0, 0)
            if fields.get("response_format") == "text":
                await exchange.whole(200, "text/plain", text.encode())
            else:
                await exchange.json({"text": text})

        return request, respond

    def _make_speech(self, path, headers, body):
        body = json.loads(body)
        request = self._note("speech", path, headers, body=body)
        seconds = self.seconds_of(body["input"])
        kind = body.get("response_format", "mp3")
        makers = {"pcm": ("audio/pcm", lambda: tone(seconds, 24000)),
                  "wav": ("audio/wav", lambda: wav(seconds, 24000)),
                  "opus": ("audio/ogg", lambda: ogg_opus(seconds))}

        async def respond(exchange):
            if kind not in makers:
                await exchange.error(400, f"this voice does not make {kind}")
                return
            content, make = makers[kind]
            sound = make()
            await exchange.begin(content)
            size = max(1, len(sound) // 8 + 1)
            for number, start in enumerate(range(0, len(sound), size)):
                await exchange.halt_at(number, 2)
                await exchange.piece(sound[start:start + size])
                await exchange.sleep(self.sound_pace * seconds / 8)
            await exchange.end()

        return request, respond

    # --- WebSockets ---

    def _upgrade(self, connection, request):
        """Refuses where the test wants a status; otherwise goes on."""
        service = "dashscope" if request.path.startswith("/api-ws") else "funasr"
        connection.noted = self._note(service, request.path, dict(request.headers.raw_items()))
        wrong = service == "dashscope" and connection.noted.key != self.key
        connection.fault = 401 if wrong else self._fault(service)
        if isinstance(connection.fault, int):
            connection.noted.ended = "failed"
            return connection.respond(connection.fault, f"this is what a {connection.fault} looks like\n")
        return None

    async def _listen(self, connection):
        """FunASR: one utterance."""
        request, fault = connection.noted, connection.fault
        request.ended = await self._with_socket_fault(connection, self._one_utterance(connection, request, fault))

    async def _one_utterance(self, connection, request, fault):
        request.body = json.loads(await connection.recv())
        request.rate = request.body.get("audio_fs", 16000)
        two_pass = request.body["mode"] == "2pass" and self.flavour != "files"
        words, heard = self._next("transcript", self.transcript), 0
        if fault == SLOW:
            await asyncio.sleep(self.patience)
        if fault == NONSENSE:
            await connection.send("<html>It works!</html>")

        def answer(text, mode, last):
            return json.dumps({"mode": f"2pass-{mode}" if two_pass else "offline", "wav_name":
                               request.body.get("wav_name"), "text": text, "is_final": last}, ensure_ascii=False)

        async for message in connection:
            if isinstance(message, str):
                break
            request.audio += message
            if fault == CUT and request.seconds > 0.3:
                raise Cut
            # Every 600 ms a part, as if it understood at an even pace.
            if two_pass and request.seconds >= 0.6 * (heard + 1) and heard < len(words) // 4:
                await connection.send(answer(words[heard * 4:heard * 4 + 4], "online", self.flavour == "python"))
                heard += 1
        else:
            raise Gone
        if fault in (STALL, SILENT):
            await connection.wait_closed()
            raise Gone
        request.ended = "done"
        await connection.send(answer(words, "offline", self.flavour == "cpp"))
        # A server of FunASR leaves it to its client to close.
        await connection.wait_closed()

    async def _speak(self, connection):
        """DashScope: one sentence after the other. The first is noted with the connection, each further one by
        itself."""
        request, fault, headers = connection.noted, connection.fault, connection.noted.headers
        while True:
            try:
                run = json.loads(await connection.recv())
            except websockets.ConnectionClosed:
                if request is not None:
                    request.ended = "gone"
                return
            if request is None:
                request = self._note("dashscope", connection.request.path, headers)
                fault = self._fault("dashscope")
            request.body = dict(run["payload"]["parameters"], model=run["payload"]["model"])
            conversation = self._one_sentence(connection, request, run, fault)
            request.ended = await self._with_socket_fault(connection, conversation)
            if request.ended != "done":
                return
            request = None

    async def _one_sentence(self, connection, request, run, fault):
        task, rate = run["header"]["task_id"], run["payload"]["parameters"]["sample_rate"]

        async def event(name, **more):
            header = {"task_id": task, "event": name, "attributes": {}} | more
            await connection.send(json.dumps({"header": header, "payload": {}}))

        if fault == SLOW:
            await asyncio.sleep(self.patience)
        if fault == SILENT:
            await connection.wait_closed()
            raise Gone
        if fault == NONSENSE:
            await connection.send("<html>It works!</html>")
        await event("task-started")
        text = ""
        while (said := json.loads(await connection.recv()))["header"]["action"] != "finish-task":
            assert said["header"]["task_id"] == task, said
            text += said["payload"]["input"]["text"]
        request.body["text"] = text
        if isinstance(fault, str) and fault not in (SLOW, STALL, CUT, NONSENSE):
            await event("task-failed", error_code=fault, error_message="as the test wants it")
            raise Cut
        sound, seconds = tone(self.seconds_of(text), rate), self.seconds_of(text)
        size = len(sound) // 8 // 2 * 2 + 2
        for number, start in enumerate(range(0, len(sound), size)):
            if number == 2 and fault == STALL:
                await connection.wait_closed()
                raise Gone
            if number == 2 and fault == CUT:
                raise Cut
            await event("result-generated")
            await connection.send(sound[start:start + size])
            await asyncio.sleep(self.sound_pace * seconds / 8)
        request.ended = "done"
        await event("task-finished")

    @staticmethod
    async def _with_socket_fault(connection, conversation):
        try:
            await conversation
            return "done"
        except Cut:
            connection.transport.abort()
            return "failed"
        except (Gone, websockets.ConnectionClosed, asyncio.CancelledError):
            return "gone"


class Cut(Exception):
    """The test wants the connection to end here."""


class Gone(Exception):
    """The client has gone away."""


class Exchange:
    """One HTTP request that is being answered, and the fault that it meets on the way."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.fault, self.request = reader, writer, None, None

    async def whole(self, status, kind, body):
        self._ends()
        head = f"HTTP/1.1 {status} As-Told\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    async def json(self, value):
        await self.whole(200, "application/json", json.dumps(value, ensure_ascii=False).encode())

    async def error(self, status, message):
        value = {"error": {"message": message, "type": "e2e", "code": None}}
        await self.whole(status, "application/json", json.dumps(value).encode())

    async def begin(self, kind):
        self.writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        await self.writer.drain()

    async def piece(self, data):
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self.writer.drain()

    async def event(self, value):
        value = {"id": "chatcmpl-e2e", "object": "chat.completion.chunk", "created": 0, "model": "e2e"} | value
        await self.piece(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    async def end(self):
        self._ends()
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    def _ends(self):
        """Noted before the client can know."""
        if self.request is not None:
            self.request.ended = "done"

    async def halt_at(self, number, place):
        """Where a fault happens in the middle, it happens at this place."""
        if number == place and self.fault == STALL:
            await self.until_gone()
        if number == place and self.fault == CUT:
            raise Cut

    async def sleep(self, seconds):
        if seconds > 0:
            await self._watch(seconds)

    async def until_gone(self):
        await self._watch(None)

    async def _watch(self, seconds):
        """Waits, but not longer than the client does. Nobody sends a second request before the first is answered."""
        try:
            data = await asyncio.wait_for(self.reader.read(1), seconds)
        except asyncio.TimeoutError:
            return
        assert not data, "a request before the answer to the last one"
        raise Gone


# --- reading ---

async def read_head(reader):
    """A whole request: method, path, headers, body; None when the client is gone."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, path, _ = lines[0].split(" ")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return method, path.split("?")[0], headers, body


def multipart(kind, body):
    """The fields of a form, and the bytes of its file."""
    boundary = b"--" + kind.split("boundary=")[1].strip('"').encode()
    fields, file = {}, None
    for part in body.split(boundary)[1:-1]:
        head, _, content = part[2:-2].partition(b"\r\n\r\n")
        name = head.split(b'name="')[1].split(b'"')[0].decode()
        if b"filename=" in head:
            file = content
            fields["filename"] = head.split(b'filename="')[1].split(b'"')[0].decode()
        else:
            fields[name] = content.decode()
    return fields, file


def picture_of(part):
    """Kind and bytes of a picture in a message."""
    kind, _, data = part["image_url"]["url"].removeprefix("data:").partition(";base64,")
    return kind, base64.b64decode(data)


def port_of(server):
    return next(iter(server.sockets)).getsockname()[1]


# --- answering ---

def deltas(parts):
    """The pieces in which a model says these, as services cut them: within words, and calls in three."""
    yield {"role": "assistant", "content": ""}
    calls = itertools.count()
    for part in parts:
        if not isinstance(part, Call):
            yield from ({"content": part[start:start + 4]} for start in range(0, len(part), 4))
            continue
        number = next(calls)
        name, arguments, middle = call_of(part, number)
        yield {"tool_calls": [{"index": number, "id": part.id or f"call_{number}", "type": "function",
                               "function": {"name": name, "arguments": ""}}]}
        for piece in (arguments[:middle], arguments[middle:]):
            yield {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}


def completion(parts):
    """The same, in one piece."""
    calls = [part for part in parts if isinstance(part, Call)]
    message = {"role": "assistant", "content": "".join(part for part in parts if not isinstance(part, Call))}
    if calls:
        message["tool_calls"] = [
            {"id": call.id or f"call_{number}", "type": "function",
             "function": dict(zip(("name", "arguments"), call_of(call, number)))} for number, call in enumerate(calls)]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return {"id": "chatcmpl-e2e", "object": "chat.completion", "created": 0, "model": "e2e", "choices": [choice]}


def call_of(call, number):
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)
    return call.name, arguments, len(arguments) // 2
