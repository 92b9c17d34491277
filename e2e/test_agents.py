"""Agents from the user's side: set up in the file, tried before any device is there, given to one device, and what was
said shown and forgotten."""

from __future__ import annotations

import asyncio
import json
import struct
import urllib.error
import urllib.request
import wave

import pytest

import models as stand_ins
from conftest import eventually
from models import Models
from test_voice import HELLO, talking
from test_xiaozhi_ota import Device, sound


@pytest.fixture
def models():
    with Models() as running:
        yield running


def sections(models, **agent):
    """Providers of the stand-ins, and one agent of them."""
    lines = {"prompt": '"Be short."', "recognizer": '"ears"', "model": '"brain"', "voice": '"mouth"'} | agent
    return {
        "provider.brain": f'kind = "openai-chat"\nurl = "{models.api}"\nkey = "{models.key}"\nmodel = "small"\n'
                          'extra = \'{"temperature": 0.25}\'',
        "provider.ears": f'kind = "openai-transcription"\nurl = "{models.api}"\nkey = "{models.key}"\nmodel = "hears"',
        "provider.mouth": f'kind = "openai-speech"\nurl = "{models.api}"\nkey = "{models.key}"\nmodel = "speaks"\nvoice = "v"',
        "agent.kitchen": "\n".join(f"{name} = {value}" for name, value in lines.items() if value),
    }


def recording(path, seconds=1.0, rate=16000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack("<h", 900) * int(seconds * rate))
    return path


# ------------------------------------------------------------ before any device is there

def test_an_agent_is_tried_with_a_text_and_asks_its_model_what_the_settings_say(home, models):
    here = home(settings=sections(models))
    models.answer = "It is a lamp."
    done = here.cli("agent", "try", "kitchen", "What is this?")
    assert done.stdout.strip() == "It is a lamp."
    assert "kitchen works" in done.stderr and "ms" in done.stderr
    (asked,) = models.asked("chat")
    assert asked.key == models.key
    assert asked.body["model"] == "small" and asked.body["temperature"] == 0.25
    assert asked.body["messages"][0]["content"].startswith("Be short.")
    assert asked.body["messages"][-1]["content"] == "What is this?"
    shown = here.json("agent", "try", "kitchen", "And this?")
    assert shown["answer"] == "It is a lamp." and shown["failures"] == []
    assert shown["packets"] > 0 and shown["stages"]["first_audio_ms"] is not None


def test_an_agent_hears_a_recording_and_its_answer_is_written_to_a_file(home, models, tmp_path):
    here = home(settings=sections(models))
    models.hear("turn on the lamp")
    models.answer = "The lamp is on."
    answer = tmp_path / "answer.wav"
    shown = here.json("agent", "try", "kitchen", "--voice", str(recording(tmp_path / "heard.wav")), "--answer", str(answer))
    assert shown["heard"] == "turn on the lamp" and shown["answer"] == "The lamp is on."
    (asked,) = models.asked("transcription")
    assert asked.rate == 16000 and asked.seconds == pytest.approx(1.0, abs=0.2)
    with wave.open(str(answer)) as spoken:
        seconds = spoken.getnframes() / spoken.getframerate()
    assert seconds == pytest.approx(Models.seconds_of("The lamp is on."), abs=0.3)
    wrong = here.cli("agent", "try", "kitchen", "--voice", str(recording(tmp_path / "fast.wav", rate=44100)), check=False)
    assert wrong.returncode == 64 and "ffmpeg" in wrong.stderr


@pytest.mark.parametrize("language, words", [("en", ("does not let this server in", "provider.brain.key")),
                                             ("zh-CN", ("不让本服务器使用", "provider.brain.key"))])
def test_a_wrong_key_is_told_with_layer_cause_and_next_step_in_both_languages(home, models, language, words):
    wrong = sections(models)
    wrong["provider.brain"] = wrong["provider.brain"].replace(models.key, "sk-wrong")
    here = home(settings=wrong)
    done = here.cli("agent", "try", "kitchen", "Hello", "--lang", language, check=False)
    assert done.returncode == 1
    for word in words + ("[provider.brain]",):
        assert word in done.stderr, done.stderr
    assert "sk-wrong" not in done.stderr + done.stdout


@pytest.mark.parametrize("stage, fault, kind", [("chat", 500, "failed"), ("chat", stand_ins.HTML, "misunderstood"),
                                                ("chat", 429, "exhausted"), ("speech", 404, "refused")])
def test_what_fails_is_named_by_stage_and_kind(home, models, stage, fault, kind):
    here = home(settings=sections(models))
    models.fail(stage, fault, times=None)
    done = here.cli("agent", "try", "kitchen", "Hello", "--json", check=False)
    assert done.returncode == 1
    (failure,) = json.loads(done.stdout)["failures"][:1]
    assert failure["provider"] == {"chat": "brain", "speech": "mouth"}[stage]
    assert failure["kind"] == kind, failure
    assert json.loads(done.stderr)["error"]["next"]


def test_nobody_there_and_no_such_agent_are_told(home, models):
    away = sections(models)
    away["provider.brain"] = away["provider.brain"].replace(models.api, "http://127.0.0.1:9/v1")
    here = home(settings=away)
    done = here.cli("agent", "try", "kitchen", "Hello", check=False)
    assert done.returncode == 1 and "cannot be reached" in done.stderr and "provider.brain.url" in done.stderr
    done = here.cli("agent", "try", "kitchn", "Hello", check=False)
    assert done.returncode == 64 and "kitchen" in done.stderr
    done = here.cli("agent", "try", "echo", "Hello", check=False)
    assert done.returncode == 64


def test_agents_are_listed_with_what_is_known_to_be_wrong(home, models):
    some = sections(models, vision='"eye"')
    some["provider.eye"] = 'kind = "openai-vision"'
    some["agent.bath"] = 'voice = "program"'
    some["provider.program"] = 'kind = "command-speech"\ncommand = ["/no/such/program"]'
    here = home(settings=some)
    rows = {row["name"]: row for row in here.json("agent", "list")}
    assert rows["kitchen"]["model"] == "brain"
    assert [trouble["provider"] for trouble in rows["kitchen"]["trouble"]] == ["eye"]
    assert [trouble["kind"] for trouble in rows["bath"]["trouble"]] == ["missing"]
    shown = here.cli("agent", "list")
    assert "model=brain (openai-chat)" in shown.stdout and "/no/such/program" in shown.stderr
    assert models.requests == []


# ------------------------------------------------------------ settings

def test_a_device_is_given_an_agent_and_config_explain_tells_by_whom(home, models):
    here = home(settings=sections(models))
    here.cli("device", "add", "xiaozhi", "--name", "box", "--tag", "home")
    here.cli("config", "set", "--tag", "home", "xiaozhi.agent", "echo")
    here.cli("config", "set", "--device", "box", "xiaozhi.agent", "kitchen")
    explained = here.json("config", "explain", "xiaozhi.agent", "--device", "box")
    assert explained["value"] == '"kitchen"' and explained["per_device"]
    sources = [(rung["value"], rung["fate"]) for rung in explained["ladder"]]
    assert ('"echo"', "outranked") in sources and ('"kitchen"', "won") in sources
    refused = here.cli("config", "set", "--device", "box", "xiaozhi.agent", "kitchn", check=False)
    assert refused.returncode == 64 and "did you mean kitchen" in refused.stderr


def test_a_provider_is_set_key_by_key_and_its_key_is_never_shown(home):
    here = home()
    here.cli("config", "set", "provider.brain.kind", "openai-chat")
    here.cli("config", "set", "provider.brain.url", "https://api.example.com/v1")
    here.cli("config", "set", "provider.brain.key", "sk-very-secret")
    here.cli("config", "set", "agent.kitchen.model", "brain")
    wrong = here.cli("config", "set", "agent.kitchen.voice", "brain", check=False)
    assert wrong.returncode == 64 and "cannot be the voice" in wrong.stderr
    gone = here.cli("config", "unset", "provider.brain.kind", check=False)
    assert gone.returncode == 64
    for shown in (here.cli("config", "explain", "provider.brain.key"),
                  here.cli("config", "history", check=False), here.cli("agent", "list")):
        assert "sk-very-secret" not in shown.stdout + shown.stderr


# ------------------------------------------------------------ what was said

def ask(hub, device, text):
    """One turn of typed text over WebSocket; what was said."""
    async def turn():
        said = []
        async with talking(device, HELLO) as socket:
            await socket.send(json.dumps({"type": "listen", "state": "detect", "text": text}))
            while True:
                message = await asyncio.wait_for(socket.recv(), 20)
                if isinstance(message, bytes):
                    continue
                message = json.loads(message)
                if message["type"] == "tts" and message["state"] == "sentence_start":
                    said.append(message["text"])
                if message["type"] == "tts" and message["state"] == "stop":
                    return said
    return asyncio.run(turn())


def api(hub, method, path, token):
    request = urllib.request.Request(f"http://{hub.host}:{hub.http_port}/api/v1{path}", method=method,
                                     headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_what_a_device_and_its_agent_said_is_shown_timed_and_forgotten(home, models):
    here = home(settings=sections(models)).start()
    device = Device(here).taken_in("box")
    device.told = sound(device.check())["websocket"]
    models.say("It is a lamp.", "It is a cat.")
    assert ask(here, device, "What is this?") == ["It is a lamp."]
    assert ask(here, device, "And that?") == ["It is a cat."]
    talks = eventually(lambda: (rows := here.json("device", "talks", "box")) and len(rows) == 2 and rows, seconds=20)
    assert talks, here.log_text()[-2000:]
    assert [(row["heard"], row["said"], row["agent"]) for row in talks] == [
        ("And that?", "It is a cat.", "kitchen"), ("What is this?", "It is a lamp.", "kitchen")]
    assert talks[0]["first_token_ms"] is not None and talks[0]["first_audio_ms"] >= talks[0]["first_token_ms"]
    shown = here.cli("device", "talks", "box").stdout
    assert shown.index("What is this?") < shown.index("And that?") and "first sound after" in shown
    assert "first sound after" in here.cli("device", "show", "box").stdout
    assert here.metric("safeport_voice_turns_total") == 2
    assert here.metric("safeport_voice_stage_seconds_count") >= 4
    # The same over the API, for who may.
    reader = here.json("token", "add", "reader", "--scope", "devices:read")["token"]
    status, answer = api(here, "GET", "/devices/box/talks?limit=1", reader)
    assert status == 200 and [row["said"] for row in answer["talks"]] == ["It is a cat."]
    status, answer = api(here, "GET", f"/devices/box/talks?before={answer['talks'][0]['id']}", reader)
    assert [row["said"] for row in answer["talks"]] == ["It is a lamp."]
    assert api(here, "DELETE", "/devices/box/talks", reader)[0] == 403
    other = here.json("token", "add", "other", "--scope", "settings:read")["token"]
    assert api(here, "GET", "/devices/box/talks", other)[0] == 403
    here.cli("device", "talks", "box", "--forget")
    assert here.json("device", "talks", "box") == []


def test_what_was_said_in_the_last_second_before_the_server_is_stopped_is_written_down(home, models):
    here = home(settings=sections(models)).start()
    device = Device(here).taken_in("box")
    device.told = sound(device.check())["websocket"]
    models.say("It is a lamp.", "It is a very long story.")

    async def talk():
        async with talking(device, HELLO) as socket:
            async def said(state):
                while True:
                    message = await asyncio.wait_for(socket.recv(), 20)
                    if isinstance(message, str) and json.loads(message).get("state") == state:
                        return

            await socket.send(json.dumps({"type": "listen", "state": "detect", "text": "What is this?"}))
            await said("stop")
            # The second one is still being answered.
            await socket.send(json.dumps({"type": "listen", "state": "detect", "text": "Tell me more"}))
            await said("sentence_start")
            await asyncio.to_thread(here.stop)

    asyncio.run(talk())
    here.start()
    assert [(row["heard"], row["interrupted"]) for row in here.json("device", "talks", "box")] == [
        ("Tell me more", True), ("What is this?", False)], here.log_text()[-2000:]


def test_an_agent_without_history_keeps_nothing_and_is_timed_all_the_same(home, models):
    here = home(settings=sections(models, history='"0s"')).start()
    device = Device(here).taken_in("box")
    device.told = sound(device.check())["websocket"]
    assert ask(here, device, "What is this?") == [models.answer]
    assert eventually(lambda: here.metric("safeport_voice_turns_total") == 1, seconds=20)
    assert here.json("device", "talks", "box") == []


def test_a_change_of_settings_holds_for_the_next_conversation(home, models):
    here = home(settings=sections(models)).start()
    device = Device(here).taken_in("box")
    device.told = sound(device.check())["websocket"]
    models.say("One.", "Two.")
    assert ask(here, device, "Hello") == ["One."]
    here.cli("config", "set", "agent.kitchen.prompt", "Be long.")
    assert ask(here, device, "Hello") == ["Two."]
    prompts = [request.body["messages"][0]["content"] for request in models.asked("chat")]
    assert prompts[0].startswith("Be short.") and prompts[1].startswith("Be long.")
    here.cli("config", "set", "--device", "box", "xiaozhi.agent", "echo")
    said = ask(here, device, "Hello")
    assert said and said != ["Two."] and len(models.asked("chat")) == 2
