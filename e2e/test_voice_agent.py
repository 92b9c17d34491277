"""A device talks with an agent: what is said is recognised, answered and spoken, over each transport; interrupted, failing
and slow services; tools of the device; what was said before."""

import asyncio
import json
import ssl
import time
from urllib.parse import urlsplit

import pytest

import models as stand_ins
import server as servers
from conftest import eventually
from models import Call
from nginx import own_address
from test_agents import sections
from test_voice import kinds, packets, talking, turn
from test_voice_mqtt import Box
from test_xiaozhi_ota import Device, sound

SPOKEN = packets("lamp.en.packets")


@pytest.fixture(scope="module")
def hub(services):
    own = sections(services)
    own["provider.asr"] = f'kind = "funasr"\nurl = "{services.funasr}"'
    own["provider.streamed"] = (f'kind = "dashscope-speech"\nurl = "{services.dashscope}"\nkey = "{services.key}"\nmodel = "cosy"\n'
                                'voice = "v"')
    own["provider.packed"] = own["provider.mouth"] + '\nformat = "opus"'
    own["agent.streams"] = 'prompt = "Be short."\nlanguage = "zh"\nrecognizer = "asr"\nmodel = "brain"\nvoice = "streamed"'
    own["agent.packs"] = 'recognizer = "ears"\nmodel = "brain"\nvoice = "packed"'
    own["xiaozhi"] = 'agent = "kitchen"'
    with servers.serving(servers.Safeport, open_to_all=False, settings=own, host=own_address()) as running:
        yield running
        assert running.process.poll() is None, running.log_text()[-4000:]


@pytest.fixture
def device(hub):
    one = Device(hub).taken_in()
    one.told = sound(one.check())["websocket"]
    return one


async def speak(socket, mode="manual", spoken=SPOKEN):
    await socket.send(json.dumps({"type": "listen", "state": "start", "mode": mode}))
    for packet in spoken:
        await socket.send(packet)
    if mode == "manual":
        await socket.send(json.dumps({"type": "listen", "state": "stop"}))


def sentences(said):
    return [message["text"] for message in said if message.get("state") == "sentence_start"]


def one_turn(device, mode="manual", **how):
    async def talk():
        async with talking(device, **how) as socket:
            await speak(socket, mode)
            return await turn(socket, 30)
    return asyncio.run(talk())


def test_what_is_said_is_recognised_answered_and_spoken(device, models):
    models.hear("what is this")
    models.say("It is a lamp 😉. It is on!")
    said, heard = one_turn(device)
    assert kinds(said) == ["stt", "tts:start", "llm", "tts:sentence_start", "tts:sentence_start", "tts:stop"], said
    assert said[0]["text"] == "what is this"
    assert said[2]["emotion"] == "winking" and sentences(said) == ["It is a lamp.", "It is on!"]
    # As long as the voice took for both sentences, in packets of 60 ms.
    spoken = sum(request.body and models.seconds_of(request.body["input"]) for request in models.asked("speech"))
    assert abs(len(heard) * 0.06 - spoken) < 0.3, (len(heard), spoken)
    (listened,) = models.asked("transcription")
    assert listened.rate == 16000 and abs(listened.seconds - len(SPOKEN) * 0.06) < 0.2
    (asked,) = models.asked("chat")
    assert asked.key == models.key and asked.body["temperature"] == 0.25
    roles = [message["role"] for message in asked.body["messages"]]
    assert roles[-1] == "user" and asked.body["messages"][-1]["content"] == "what is this"
    facts = json.dumps(asked.body["messages"][:-1])
    assert "Be short." in facts and time.strftime("%Y-") in facts


def test_the_server_notices_when_they_have_finished_and_leaves_the_silence_out(device, models):
    models.hear("turn on the lamp")
    said, heard = one_turn(device, "auto")
    assert said[0]["text"] == "turn on the lamp" and len(heard) > 2
    (listened,) = models.asked("transcription")
    assert 1.5 < listened.seconds < len(SPOKEN) * 0.06


def test_it_talks_over_tls(hub, device, models):
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    path = urlsplit(device.told["url"]).path
    said, heard = one_turn(device, url=f"wss://{hub.host}:{hub.https_port}{path}", ssl=trusting)
    assert sentences(said) == [models.answer] and heard


def test_it_talks_over_mqtt_and_udp(hub, models):
    hub.cli("config", "set", "advertise.xiaozhi", "mqtt")
    try:
        box = Box(hub)
    finally:
        hub.cli("config", "unset", "advertise.xiaozhi")
    try:
        models.hear("what is this")
        box.hello()
        box.listen(mode="manual")
        for packet in SPOKEN:
            box.send(packet)
            time.sleep(0.01)
        # What was sent last may still be under way; a device stops behind its sound, too.
        time.sleep(0.3)
        box.listen("stop")
        said, deadline = [], time.monotonic() + 20
        while not said or kinds(said)[-1] != "tts:stop":
            assert time.monotonic() < deadline, said
            message = box.next()
            if message["type"] != "mcp":
                said.append(message)
        assert said[0]["text"] == "what is this" and sentences(said) == [models.answer]
        heard = 0
        while heard < 10:
            box.hear()
            heard += 1
        (listened,) = models.asked("transcription")
        assert listened.seconds > 1.5
    finally:
        box.close()


def test_a_streaming_recogniser_hears_while_they_speak_and_a_streaming_voice_answers(hub, models):
    device = Device(hub).taken_in("streams")
    device.told = sound(device.check())["websocket"]
    hub.cli("config", "set", "--device", "streams", "xiaozhi.agent", "streams")
    models.hear("现在几点")
    models.say("现在是三点。还有什么吗？")
    said, heard = one_turn(device)
    assert said[0]["text"] == "现在几点" and sentences(said) == ["现在是三点。", "还有什么吗？"] and len(heard) > 4
    (listened,) = models.asked("funasr")
    assert listened.seconds > 1.5


def test_opus_of_a_voice_comes_in_packets_of_60_ms_without_being_coded_anew(hub, models):
    device = Device(hub).taken_in("packs")
    device.told = sound(device.check())["websocket"]
    hub.cli("config", "set", "--device", "packs", "xiaozhi.agent", "packs")
    said, heard = one_turn(device)
    assert sentences(said) == [models.answer] and len(heard) > 2


def test_an_answer_that_is_interrupted_falls_silent_and_what_was_under_way_ends(device, models):
    models.say("One. Two. Three. Four. Five. Six. Seven. Eight. Nine. Ten.")
    models.word_pause = 0.3

    async def talk():
        async with talking(device) as socket:
            await speak(socket)
            while not isinstance(await asyncio.wait_for(socket.recv(), 20), bytes):
                pass
            await socket.send(json.dumps({"type": "abort"}))
            await turn(socket)
            models.word_pause = 0.0
            models.hear("and now")
            models.say("Now something else.")
            await speak(socket)
            return await turn(socket)

    said, heard = asyncio.run(talk())
    assert said[0]["text"] == "and now" and sentences(said) == ["Now something else."] and heard
    first = models.asked("chat")[0]
    assert eventually(lambda: first.ended == "gone", seconds=5), first
    # The model knows how far it came.
    told = models.asked("chat")[1].body["messages"]
    answers = [message["content"] for message in told if message["role"] == "assistant"]
    assert len(answers) == 1 and answers[0].startswith("One.") and "Ten." not in answers[0]


@pytest.mark.parametrize("service, fault", [
    ("transcription", 500), ("transcription", 401), ("chat", 401), ("chat", stand_ins.HTML), ("chat", stand_ins.CUT),
    ("speech", 500), ("speech", stand_ins.NONSENSE), ("speech", stand_ins.CUT)])
def test_a_service_that_fails_becomes_words_and_sound_and_never_silence(device, models, service, fault):
    models.fail(service, fault, times=None)
    said, heard = one_turn(device)
    assert sentences(said) and heard, said
    models.heal(service)
    said, heard = one_turn(device)
    assert sentences(said)[-1] == models.answer and heard


def test_services_that_are_slow_are_waited_for(device, models):
    for service in ("transcription", "chat", "speech"):
        models.fail(service, stand_ins.SLOW)
    said, heard = one_turn(device)
    assert said[0]["text"] == models.transcript and sentences(said) == [models.answer] and heard


def test_a_model_that_says_nothing_for_long_is_given_up_with_words(home, models):
    own = sections(models)
    own["provider.brain"] += '\ntimeout = "1s"'
    here = home(settings=own).start()
    device = Device(here).taken_in()
    device.told = sound(device.check())["websocket"]
    models.fail("chat", stand_ins.SILENT, times=None)
    said, heard = one_turn(device)
    assert sentences(said) and heard


def test_a_tool_of_the_device_is_called_and_its_answer_told_to_the_model(device, models):
    models.say(Call("self_audio_speaker_set_volume", {"volume": 30}), "It is quieter now.")

    async def talk():
        calls, said = [], []
        async with talking(device) as socket:
            asked = False
            async with asyncio.timeout(30):
                while True:
                    frame = await socket.recv()
                    if isinstance(frame, bytes):
                        continue
                    message = json.loads(frame)
                    if message["type"] == "mcp":
                        request = message["payload"]
                        result = {}
                        if request["method"] == "initialize":
                            result = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
                                      "serverInfo": {"name": "box", "version": "2.4.2"}}
                        elif request["method"] == "tools/list":
                            result = {"tools": [{"name": "self.audio_speaker.set_volume", "description": "Sets the volume.",
                                                 "inputSchema": {"type": "object", "properties": {
                                                     "volume": {"type": "integer", "minimum": 0, "maximum": 100}}}}]}
                        elif request["method"] == "tools/call":
                            calls.append(request["params"])
                            result = {"content": [{"type": "text", "text": "true"}], "isError": False}
                        if "id" in request:
                            answer = {"jsonrpc": "2.0", "id": request["id"], "result": result}
                            await socket.send(json.dumps({"type": "mcp", "payload": answer}))
                        if request["method"] == "tools/list" and not asked:
                            asked = True
                            await socket.send(json.dumps({"type": "listen", "state": "detect", "text": "quieter please"}))
                        continue
                    said.append(message)
                    if message.get("state") == "stop":
                        return calls, said

    calls, said = asyncio.run(talk())
    assert calls == [{"name": "self.audio_speaker.set_volume", "arguments": {"volume": 30}}]
    assert sentences(said) == ["It is quieter now."]
    first, second = models.asked("chat")
    offered = [tool["function"]["name"] for tool in first.body["tools"]]
    assert "self_audio_speaker_set_volume" in offered
    assert second.body["messages"][-1]["role"] == "tool" and "true" in second.body["messages"][-1]["content"]


def test_a_device_that_is_woken_again_goes_on_where_it_was_and_another_one_knows_nothing_of_it(hub, device, models):
    models.hear("my name is Ada", "what is my name", "what is my name")
    models.say("Hello Ada.", "Ada.", "I do not know.")
    one_turn(device)
    one_turn(device)
    other = Device(hub).taken_in()
    other.told = sound(other.check())["websocket"]
    one_turn(other)
    asked = [json.dumps(request.body["messages"]) for request in models.asked("chat")]
    assert "my name is Ada" in asked[1] and "Hello Ada." in asked[1] and "Ada" not in asked[2]


def test_sixteen_devices_talk_at_once_and_each_hears_its_own_answer(hub, models):
    devices = []
    for _ in range(16):
        one = Device(hub).taken_in()
        one.told = sound(one.check())["websocket"]
        devices.append(one)

    def echo(body):
        return f"You said {body['messages'][-1]['content']}."

    models.answer = echo

    async def ask(device, number):
        async with talking(device) as socket:
            await socket.send(json.dumps({"type": "listen", "state": "detect", "text": f"number {number}"}))
            said, heard = await turn(socket, 40)
            return sentences(said), len(heard)

    async def all_of_them():
        return await asyncio.gather(*(ask(device, number) for number, device in enumerate(devices)))

    try:
        for number, (said, heard) in enumerate(asyncio.run(all_of_them())):
            assert said == [f"You said number {number}."] and heard
    finally:
        models.answer = "All right."
