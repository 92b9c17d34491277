"""The stand-ins of `models.py` do what the tests that use them take for granted."""

import asyncio
import base64
import http.client
import json
import urllib.error
import urllib.request

import pytest
import websockets

import models as stand_ins
from conftest import eventually
from models import Call, Models


@pytest.fixture
def models():
    with Models() as running:
        yield running


def post(models, path, body, **headers):
    if isinstance(body, dict):
        body, kind = json.dumps(body).encode(), "application/json"
    else:
        body, kind = body
    headers = {"Authorization": f"Bearer {models.key}", "Content-Type": kind} | headers
    with urllib.request.urlopen(urllib.request.Request(models.api + path, body, headers), timeout=10) as answer:
        return answer.read()


def ask(models, *messages, **more):
    messages = [{"role": "user", "content": content} for content in messages]
    return post(models, "/chat/completions", {"model": "m", "messages": messages, "stream": True} | more).decode()


def events(stream):
    lines = [line.removeprefix("data: ") for line in stream.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line)["choices"][0] for line in lines]


def test_a_model_says_what_it_is_told_in_pieces(models):
    models.say("Good morning.", ["One moment. ", Call("light", {"on": True})], lambda body: body["model"] * 3)
    said = events(ask(models, "hello"))
    assert [choice["delta"].get("content", "") for choice in said] == ["", "Good", " mor", "ning", ".", ""]
    called = events(ask(models, "lamp on"))
    calls = [call for choice in called for call in choice["delta"].get("tool_calls", [])]
    assert calls[0]["function"]["name"] == "light" and len(calls) == 3
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"on": True}
    assert called[-1]["finish_reason"] == "tool_calls"
    whole = json.loads(ask(models, "?", stream=False))
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "mmm"}
    assert [request.body["messages"][0]["content"] for request in models.asked("chat")] == ["hello", "lamp on", "?"]
    assert {request.ended for request in models.requests} == {"done"}


def test_pictures_recordings_and_voices(models):
    models.hear("早上好")
    url = "data:image/jpeg;base64," + base64.b64encode(b"jpeg").decode()
    seen = json.loads(ask(models, [{"type": "image_url", "image_url": {"url": url}}], stream=False))
    assert seen["choices"][0]["message"]["content"] == "a red apple"
    assert models.asked("vision")[0].pictures == [("image/jpeg", b"jpeg")]

    form = (b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            + stand_ins.wav(0.5, 16000) + b"\r\n--b--\r\n")
    heard = post(models, "/audio/transcriptions", (form, "multipart/form-data; boundary=b"))
    assert json.loads(heard) == {"text": "早上好"}
    (request,) = models.asked("transcription")
    assert (request.body["model"], request.rate, request.seconds) == ("whisper", 16000, 0.5)

    text = "a sentence"
    pcm = post(models, "/audio/speech", {"input": text, "response_format": "pcm"})
    assert len(pcm) / 2 / 24000 == models.seconds_of(text)
    ogg = post(models, "/audio/speech", {"input": text, "response_format": "opus"})
    assert ogg.startswith(b"OggS") and b"OpusHead" in ogg[:60] and ogg.count(b"OggS") == 5


def test_what_goes_wrong_is_what_the_test_wants(models):
    for fault in (401, 500):
        models.fail("chat", fault)
        with pytest.raises(urllib.error.HTTPError, match=str(fault)):
            ask(models, "hello")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        post(models, "/chat/completions", {"messages": []}, Authorization="Bearer wrong")
    models.fail("chat", stand_ins.HTML)
    assert ask(models, "hello").startswith("<!doctype html>")
    models.fail("chat", stand_ins.CUT)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(models, "hello")
    models.patience = 0.3
    models.fail("chat", stand_ins.SLOW)
    events(ask(models, "hello"))
    models.fail("speech", stand_ins.STALL)
    with pytest.raises(TimeoutError):
        body = json.dumps({"input": "x", "response_format": "pcm"}).encode()
        headers = {"Authorization": f"Bearer {models.key}"}
        request = urllib.request.Request(models.api + "/audio/speech", body, headers)
        with urllib.request.urlopen(request, timeout=0.3) as answer:
            answer.read()
    assert eventually(lambda: models.asked("speech")[0].ended == "gone")
    assert not models.open_requests


async def recognise(models, seconds=2, mode="2pass"):
    async with websockets.connect(models.funasr) as socket:
        await socket.send(json.dumps({"mode": mode, "audio_fs": 16000, "is_speaking": True}))
        for _ in range(round(seconds / 0.06)):
            await socket.send(bytes(1920))
        await socket.send(json.dumps({"is_speaking": False}))
        answers = []
        while not answers or "online" in answers[-1]["mode"]:
            answers.append(json.loads(await asyncio.wait_for(socket.recv(), 10)))
        return answers


@pytest.mark.parametrize(("flavour", "online", "last"), [("cpp", False, True), ("python", True, False)])
def test_funasr_marks_its_answers_as_its_servers_do(models, flavour, online, last):
    models.flavour = flavour
    answers = asyncio.run(recognise(models))
    assert [answer["is_final"] for answer in answers] == [online] * (len(answers) - 1) + [last]
    assert len(answers) > 2 and answers[-1]["text"] == models.transcript
    assert models.asked("funasr")[0].seconds == pytest.approx(2, abs=0.06)


def test_a_voice_speaks_sentences_over_one_connection(models):
    async def speak(*texts):
        headers = {"Authorization": f"Bearer {models.key}"}
        async with websockets.connect(models.dashscope, additional_headers=headers) as socket:
            sounds = []
            for number, text in enumerate(texts):
                def command(action, payload, task=f"task-{number}"):
                    return json.dumps({"header": {"action": action, "task_id": task}, "payload": payload})
                run = {"model": "m", "parameters": {"sample_rate": 24000}, "input": {}}
                await socket.send(command("run-task", run))
                await socket.send(command("continue-task", {"input": {"text": text}}))
                await socket.send(command("finish-task", {"input": {}}))
                sounds.append(b"")
                while True:
                    said = await asyncio.wait_for(socket.recv(), 10)
                    if isinstance(said, bytes):
                        sounds[-1] += said
                    elif (event := json.loads(said)["header"])["event"] in ("task-finished", "task-failed"):
                        sounds[-1] = sounds[-1] or event["error_code"]
                        break
            return sounds

    texts = ["one", "a longer sentence"]
    sounds = asyncio.run(speak(*texts))
    assert [len(sound) / 48000 for sound in sounds] == [models.seconds_of(text) for text in texts]
    assert [request.body["text"] for request in models.asked("dashscope")] == texts
    models.fail("dashscope", "Throttling.RateQuota")
    assert asyncio.run(speak("one")) == ["Throttling.RateQuota"]
    models.fail("dashscope", 401)
    with pytest.raises(websockets.InvalidStatus, match="401"):
        asyncio.run(speak("one"))
