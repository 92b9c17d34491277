"""Speech without a network, from end to end: a sentence is spoken by an engine of this machine, sent as a device sends it,
recognised by another, answered, and what is heard of the answer is recognised again.

Needs a server with the feature `voice-local` and the models of speech_models.py; says so where they are not there."""

import asyncio
import json
import os
import re
import ssl
from urllib.parse import urlsplit

import pytest

import server as servers
from nginx import own_address
from test_voice import kinds, talking, turn
from test_voice_mqtt import Box
from test_xiaozhi_ota import Device, sound

RECOGNIZER, VOICE = (os.environ.get(name) for name in ("SAFEPORT_TEST_RECOGNIZER", "SAFEPORT_TEST_VOICE"))
pytestmark = pytest.mark.skipif(not (RECOGNIZER and VOICE), reason="left out here: it wants models, and a build of its own; `local_speech` in ./check runs it")
SENTENCE = "Please turn on the light in the kitchen."


@pytest.fixture(scope="module")
def hub():
    settings = {
        "provider.ears": f'kind = "local-recognizer"\nfolder = "{RECOGNIZER}"\ntimeout = "60s"',
        "provider.mouth": f'kind = "local-speech"\nfolder = "{VOICE}"\ntimeout = "60s"',
        "agent.parrot": 'language = "en"\nrecognizer = "ears"\nvoice = "mouth"',
    }
    with servers.serving(servers.Safeport, open_to_all=False, settings=settings, host=own_address()) as running:
        yield running
        assert running.process.poll() is None, running.log_text()[-4000:]


def words(text):
    return re.sub(r"[^a-z ]", "", text.lower()).split()


def contains(text, sentence):
    said, wanted = words(text), words(sentence)
    return any(said[at:at + len(wanted)] == wanted for at in range(len(said)))


@pytest.fixture(scope="module")
def device(hub):
    one = Device(hub).taken_in("parrot")
    one.told = sound(one.check())["websocket"]
    return one


@pytest.fixture(scope="module")
def spoken(hub, device):
    """The sentence as packets of sound: what a device plays when a person has it say something."""
    async def say():
        async with talking(device) as socket:
            saying = asyncio.create_task(asyncio.to_thread(hub.cli, "device", "say", "parrot", SENTENCE))
            _, heard = await turn(socket, 60)
            await saying
            return [packet for _, packet in heard]

    packets = asyncio.run(say())
    assert 1.0 < len(packets) * 0.06 < 6.0
    return packets


async def ask(device, packets, **how):
    """What was understood, and the sound of the answer."""
    async with talking(device, **how) as socket:
        await socket.send(json.dumps({"type": "listen", "state": "start", "mode": "manual"}))
        for packet in packets:
            await socket.send(packet)
        await socket.send(json.dumps({"type": "listen", "state": "stop"}))
        said, heard = await turn(socket, 60)
        assert kinds(said)[:2] == ["stt", "tts:start"], said
        return said[0]["text"], [packet for _, packet in heard]


def there_and_back(device, spoken, **how):
    understood, answer = asyncio.run(ask(device, spoken, **how))
    assert contains(understood, SENTENCE), understood
    # The parrot says it again, in a sentence of its own, with the time behind it.
    again, _ = asyncio.run(ask(device, answer, **how))
    assert contains(again, SENTENCE), again


def test_a_spoken_sentence_is_recognised_answered_and_the_answer_recognised_over_ws(device, spoken):
    there_and_back(device, spoken)


def test_the_same_over_wss(hub, device, spoken):
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    url = f"wss://{hub.host}:{hub.https_port}{urlsplit(device.told['url']).path}"
    there_and_back(device, spoken, url=url, ssl=trusting)


def test_the_same_over_mqtt_and_udp(hub, spoken):
    hub.cli("config", "set", "advertise.xiaozhi", "mqtt")
    try:
        box = Box(hub)
    finally:
        hub.cli("config", "unset", "advertise.xiaozhi")

    def ask(packets):
        said, heard = box.speak(packets)
        understood = [message["text"] for message in said if message["type"] == "stt"]
        assert understood, said
        return understood[0], heard

    try:
        box.hello()
        understood, answer = ask(spoken)
        assert contains(understood, SENTENCE), understood
        again, _ = ask(answer)
        assert contains(again, SENTENCE), again
    finally:
        box.close()
