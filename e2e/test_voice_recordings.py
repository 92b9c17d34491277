"""The sound of conversations: kept only where an agent is told to, playable, fetched and saved by whom it may concern, and
gone with its turn, its device or its time."""

import asyncio
import json
import shutil
import stat
import struct
import subprocess
import time
import urllib.error
import urllib.request

import pytest

import server as servers
from conftest import eventually
from nginx import own_address
from sounds import ogg_sum
from test_agents import sections
from test_full_disk import small_disk
from test_voice import kinds, packets, talking, turn
from test_voice_agent import speak
from test_voice_mqtt import Box
from test_xiaozhi_ota import Device, sound

SPOKEN = packets("lamp.en.packets")
SECRET = "the code is 4711"


def kept(services, **agent):
    return sections(services, **({"recordings": '"1h"'} | agent))


@pytest.fixture(scope="module")
def hub(services):
    own = kept(services)
    own["agent.discreet"] = 'recognizer = "ears"\nmodel = "brain"\nvoice = "mouth"'
    own["xiaozhi"] = 'agent = "kitchen"'
    with servers.serving(servers.Safeport, open_to_all=False, settings=own, host=own_address()) as running:
        yield running
        assert running.process.poll() is None, running.log_text()[-4000:]


def taken_in(hub, *arguments):
    one = Device(hub).taken_in(*arguments)
    one.told = sound(one.check())["websocket"]
    return one


def one_turn(device, mode="manual", spoken=SPOKEN):
    async def talk():
        async with talking(device) as socket:
            await speak(socket, mode, spoken)
            return await turn(socket, 30)
    return asyncio.run(talk())


def kept_of(hub, name):
    return hub.json("device", "talks", name)


def first_talk(hub, name):
    """The turn, as soon as it is written down."""
    assert eventually(lambda: kept_of(hub, name), seconds=15), hub.log_text()[-2000:]
    return kept_of(hub, name)[0]


def files(hub):
    """Every file with sound."""
    return sorted((hub.data / "recordings").rglob("*.ogg"))


def opened(file):
    """Packets of a file, every page of it looked at: `(packets, seconds)`."""
    found, number, granule, last = [], 0, 0, False
    while file:
        assert file[:5] == b"OggS\0" and not last
        flags, granule, _serial, at, signed, segments = struct.unpack("<BqIIIB", file[5:27])
        table = file[27:27 + segments]
        length = 27 + segments + sum(table)
        page = file[:length]
        assert at == number and ogg_sum(page[:22] + bytes(4) + page[26:]) == signed
        assert (flags & 2 != 0) == (number == 0)
        last = flags & 4 != 0
        body, packet = page[27 + segments:], b""
        for size in table:
            packet, body = packet + body[:size], body[size:]
            if size < 255:
                found.append(packet)
                packet = b""
        assert packet == b""
        file, number = file[length:], number + 1
    assert last and found[0].startswith(b"OpusHead\1\1") and found[1].startswith(b"OpusTags")
    return found[2:], granule / 48000


def fetch(hub, path, token=None):
    request = urllib.request.Request(f"http://{hub.host}:{hub.http_port}/api/v1{path}",
                                     headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.fixture(scope="module")
def reader(hub):
    return hub.json("token", "add", "reader", "--scope", "devices:read")["token"]


# ------------------------------------------------------------ what is kept

def test_both_voices_of_a_turn_are_kept_as_they_were_and_play(hub, models, reader, tmp_path):
    device = taken_in(hub, "both")
    models.hear(SECRET)
    models.say("I shall tell nobody. Good night.")
    said, played = one_turn(device)
    played = [packet for _, packet in played]
    talk = first_talk(hub, "both")
    assert talk["heard"] == SECRET
    assert talk["sound"]["until"] <= talk["at"] + 3600 and talk["sound"]["until"] > time.time()
    for side, packets_of_it in (("heard", SPOKEN), ("said", played)):
        status, headers, file = fetch(hub, f"/devices/both/talks/{talk['id']}/{side}.ogg", reader)
        assert status == 200 and headers["Content-Type"] == "audio/ogg" and headers["Cache-Control"] == "no-store"
        inside, seconds = opened(file)
        assert inside == packets_of_it and seconds == pytest.approx(len(inside) * 0.06)
        assert talk["sound"][side] == {"bytes": len(file), "ms": len(inside) * 60}
        assert SECRET.encode() not in file and b"both" not in file and device.mac.encode() not in file
        plays(file, seconds, tmp_path)
    shown = hub.cli("device", "talks", "both").stdout
    assert f"sound of turn {talk['id']}: " in shown and f"{len(SPOKEN) * 0.06:.1f} s heard" in shown


def plays(file, seconds, folder):
    """A decoder of somebody else makes as much sound of it, and finds nothing to complain about."""
    if not shutil.which("ffmpeg"):
        return
    path = folder / "sound.ogg"
    path.write_bytes(file)
    done = subprocess.run(["ffmpeg", "-v", "warning", "-xerror", "-i", str(path), "-f", "s16le", "-ar", "48000", "-ac", "1", "-"],
                          capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    # But for what an encoder puts before the first sound.
    assert len(done.stdout) / 2 / 48000 == pytest.approx(seconds - 312 / 48000, abs=0.001)


def test_where_the_server_notices_who_speaks_the_silence_before_it_is_not_kept(hub, models, reader):
    device = taken_in(hub, "notices")
    spoken = packets("lamp.zh.packets")
    silence = spoken[:4] * 40
    one_turn(device, "auto", silence + spoken)
    talk = first_talk(hub, "notices")
    _, _, file = fetch(hub, f"/devices/notices/talks/{talk['id']}/heard.ogg", reader)
    inside, _ = opened(file)
    # The sentence, with a moment before it.
    assert 40 < len(inside) < len(spoken)
    whole = silence + spoken
    at = whole.index(inside[-1], len(silence))
    assert whole[at + 1 - len(inside):at + 1] == inside


def test_sound_that_came_over_udp_is_kept_as_well(hub, models, reader):
    hub.cli("config", "set", "advertise.xiaozhi", "mqtt")
    try:
        box = Box(hub, Device(hub).taken_in("udp"))
    finally:
        hub.cli("config", "unset", "advertise.xiaozhi")
    try:
        said, played = box.hello().speak(SPOKEN)
        assert kinds(said)[0] == "stt"
    finally:
        box.close()
    talk = first_talk(hub, "udp")
    _, _, heard = fetch(hub, f"/devices/udp/talks/{talk['id']}/heard.ogg", reader)
    _, _, answer = fetch(hub, f"/devices/udp/talks/{talk['id']}/said.ogg", reader)
    # Datagrams may be lost or come late, even here.
    inside, _ = opened(heard)
    assert len(inside) > 20 and set(inside) <= set(SPOKEN)
    assert set(played) <= set(opened(answer)[0]) and len(played) > 5


def test_an_answer_that_is_broken_off_is_kept_as_far_as_it_was_said(hub, models, reader):
    device = taken_in(hub, "broken")
    models.say("One. Two. Three. Four. Five. Six. Seven. Eight. Nine. Ten.")

    async def talk():
        async with talking(device) as socket:
            await speak(socket)
            heard = 0
            while heard < 10:
                heard += isinstance(await asyncio.wait_for(socket.recv(), 20), bytes)
            # Gone in the middle of a word.
    asyncio.run(talk())
    talk = first_talk(hub, "broken")
    assert talk["interrupted"]
    inside, _ = opened(fetch(hub, f"/devices/broken/talks/{talk['id']}/said.ogg", reader)[2])
    assert 10 <= len(inside) < 30


def test_of_an_agent_that_keeps_none_there_is_not_a_byte(services, tmp_path):
    services.heal_all()
    with servers.serving(servers.Safeport, open_to_all=False, settings=sections(services)) as here:
        device = taken_in(here, "quiet")
        one_turn(device)
        talk = first_talk(here, "quiet")
        assert talk["sound"] is None and "sound of turn" not in here.cli("device", "talks", "quiet").stdout
        assert not (here.data / "recordings").exists()
        everything = [path for path in here.data.rglob("*") if path.is_file()]
        for path in everything:
            data = path.read_bytes()
            assert not any(packet in data for packet in SPOKEN if len(packet) > 40), path
        saved = here.cli("device", "talks", "quiet", "--save", str(tmp_path / "none"))
        assert "recordings is 0" in saved.stderr and list((tmp_path / "none").iterdir()) == []
        assert "keeps the sound" not in here.log_text()


def test_of_two_agents_only_the_one_that_is_told_to_keeps_sound(hub, models):
    device = taken_in(hub, "two")
    hub.cli("config", "set", "--device", "two", "xiaozhi.agent", "discreet")
    before = files(hub)
    one_turn(device)
    assert first_talk(hub, "two")["sound"] is None and files(hub) == before


def test_nothing_is_kept_of_a_turn_in_which_nothing_was_understood(hub, models):
    device = taken_in(hub, "mumbles")
    models.hear("")
    before = files(hub)

    async def talk():
        async with talking(device) as socket:
            await speak(socket)
            assert await asyncio.to_thread(eventually, lambda: len(models.asked("transcription")) == 1, 15)
            models.hear("again")
            await speak(socket)
            await turn(socket, 30)
    asyncio.run(talk())
    assert first_talk(hub, "mumbles")["heard"] == "again"
    assert len(kept_of(hub, "mumbles")) == 1 and len(files(hub)) == len(before) + 2


def test_keeping_sound_ends_at_once_where_it_is_switched_off_in_the_middle_of_a_conversation(home, models):
    here = home(open_to_all=False, settings=kept(models) | {"agent.kitchen": kept(models, recordings=None)["agent.kitchen"]})
    here.start()
    device = taken_in(here, "switched")
    here.cli("config", "set", "agent.kitchen.recordings", "1d")
    assert eventually(lambda: "keeps the sound" in here.log_text())

    async def talk():
        async with talking(device) as socket:
            await speak(socket)
            await turn(socket, 30)
            await asyncio.to_thread(here.cli, "config", "set", "agent.kitchen.recordings", "0s")
            await speak(socket)
            await turn(socket, 30)
    asyncio.run(talk())
    assert eventually(lambda: len(kept_of(here, "switched")) == 2, seconds=15)
    assert [talk["sound"] is None for talk in kept_of(here, "switched")] == [True, False]
    assert len(files(here)) == 2


# ------------------------------------------------------------ who is told of it

def test_whoever_runs_the_server_is_told_that_sound_is_kept(hub):
    assert "keeps the sound" in hub.log_text()
    listed = hub.cli("agent", "list")
    assert "Agent kitchen keeps the sound of what is said to it and of what it says, for 1h." in listed.stderr
    assert "discreet keeps" not in listed.stderr
    rows = {row["name"]: row["recordings_s"] for row in hub.json("agent", "list")}
    assert rows == {"kitchen": 3600, "discreet": 0}
    assert "会保存对它说的话" in hub.cli("--lang", "zh-CN", "agent", "list").stderr
    checked = hub.cli("check")
    assert "agent.kitchen.recordings" in checked.stdout + checked.stderr
    refused = hub.cli("config", "set", "agent.kitchen.recordings", "8d", check=False)
    assert refused.returncode == 64 and "agent.kitchen.history" in refused.stderr


# ------------------------------------------------------------ who may have it

def test_only_who_may_look_at_the_device_gets_its_sound_and_no_path_leads_elsewhere(hub, models, reader):
    one_turn(taken_in(hub, "owner"))
    one_turn(taken_in(hub, "other"))
    number = first_talk(hub, "owner")["id"]
    first_talk(hub, "other")
    place = f"/devices/owner/talks/{number}"
    assert fetch(hub, f"{place}/heard.ogg", reader)[0] == 200
    assert fetch(hub, f"{place}/heard.ogg")[0] == 401
    settings_only = hub.json("token", "add", "settings-only", "--scope", "settings:read")["token"]
    assert fetch(hub, f"{place}/heard.ogg", settings_only)[0] == 403
    for path in (f"/devices/other/talks/{number}/heard.ogg", f"{place}/meant.ogg", f"{place}/heard.wav", f"{place}/",
                 f"{place}/..%2f..%2fsafeport.db", f"/devices/owner/talks/..%2f{number}/heard.ogg",
                 "/devices/owner/talks/%2e%2e%2f%2e%2e%2fsafeport.db/heard.ogg", "/devices/..%2fowner/talks/1/heard.ogg",
                 f"/devices/owner/talks/0{number}x/heard.ogg", f"/devices/owner/talks/-{number}/heard.ogg",
                 f"/devices/owner/talks/{2 ** 64}/heard.ogg", f"/devices/owner/talks/{2 ** 63}/said.ogg",
                 f"/devices/nobody/talks/{number}/heard.ogg"):
        status, _, body = fetch(hub, path, reader)
        assert status == 404 and b"OggS" not in body and b"SQLite" not in body, (path, status, body[:200])


def test_files_are_for_the_server_alone_and_saved_ones_for_who_saved_them(hub, models, tmp_path):
    one_turn(taken_in(hub, "saved"))
    talk = first_talk(hub, "saved")
    for path in files(hub):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert "saved" not in str(path.relative_to(hub.data))
    folder = tmp_path / "new" / "folder"
    done = hub.cli("device", "talks", "saved", "--save", str(folder))
    assert ": 2" in done.stderr
    assert {path.name for path in folder.iterdir()} == {f"{talk['id']}-heard.ogg", f"{talk['id']}-said.ogg"}
    assert opened((folder / f"{talk['id']}-heard.ogg").read_bytes())[0] == SPOKEN
    assert stat.S_IMODE((folder / f"{talk['id']}-heard.ogg").stat().st_mode) == 0o600
    # Once more: they are there.
    assert ": 0" in hub.cli("device", "talks", "saved", "--save", str(folder)).stderr
    # Of something else with that name nothing is written over.
    (folder / f"{talk['id']}-said.ogg").write_text("mine")
    refused = hub.cli("device", "talks", "saved", "--save", str(folder), check=False)
    assert refused.returncode == 64 and (folder / f"{talk['id']}-said.ogg").read_text() == "mine"


# ------------------------------------------------------------ how it goes

def test_sound_goes_with_its_turns_and_with_its_device(hub, models):
    one_turn(taken_in(hub, "first"))
    one_turn(taken_in(hub, "second"))
    first_talk(hub, "first"), first_talk(hub, "second")
    before = len(files(hub))
    hub.cli("device", "talks", "first", "--forget")
    assert len(files(hub)) == before - 2 and kept_of(hub, "first") == []
    hub.cli("device", "forget", "second")
    assert eventually(lambda: len(files(hub)) == before - 4)


def test_sound_is_saved_and_forgotten_where_no_server_runs_too(home, models, tmp_path):
    here = home(open_to_all=False, settings=kept(models)).start()
    for name in ("first", "second"):
        one_turn(taken_in(here, name))
        first_talk(here, name)
    assert here.stop() == 0
    number = kept_of(here, "first")[0]["id"]
    here.cli("device", "talks", "first", "--save", str(tmp_path / "saved"))
    assert opened((tmp_path / "saved" / f"{number}-heard.ogg").read_bytes())[0] == SPOKEN
    here.cli("device", "talks", "first", "--forget")
    assert len(files(here)) == 2
    here.cli("device", "forget", "second")
    assert files(here) == []


def test_what_was_said_last_before_the_server_stops_is_kept_with_its_sound(home, models):
    here = home(open_to_all=False, settings=kept(models)).start()
    one_turn(taken_in(here, "last"))
    assert here.stop() == 0
    (talk,) = kept_of(here, "last")
    assert talk["sound"]["heard"]["ms"] == len(SPOKEN) * 60 and len(files(here)) == 2


def test_sound_goes_when_its_time_is_over_and_what_was_said_stays(home, models):
    here = home(open_to_all=False, settings=kept(models, recordings='"3s"')).start()
    one_turn(taken_in(here, "brief"))
    talk = first_talk(here, "brief")
    assert eventually(lambda: kept_of(here, "brief")[0]["sound"] is None, seconds=20)
    assert kept_of(here, "brief")[0]["heard"] == talk["heard"]
    here.stop()
    here.start()
    assert eventually(lambda: files(here) == [], seconds=20)


def test_what_a_crash_leaves_of_sound_goes_at_the_next_start_and_what_is_whole_stays(home, models):
    here = home(open_to_all=False, settings=kept(models)).start()
    device = taken_in(here, "crash")
    one_turn(device)
    first_talk(here, "crash")
    (one, other) = files(here)
    here.kill()
    orphan = one.parent / ("0" * 16 + ".heard.ogg")
    orphan.write_bytes(one.read_bytes())
    here.start()
    assert eventually(lambda: not orphan.exists(), seconds=20)
    assert files(here) == [one, other] and kept_of(here, "crash")[0]["sound"] is not None
    here.kill()
    one.write_bytes(one.read_bytes()[:100])
    here.start()
    assert eventually(lambda: files(here) == [], seconds=20)
    assert kept_of(here, "crash")[0]["sound"] is None


def test_where_sound_cannot_be_written_the_talk_goes_on_and_is_kept(home, models):
    here = home(open_to_all=False, settings=kept(models))
    here.data.mkdir()
    (here.data / "recordings").write_text("in the way")
    here.start()
    device = taken_in(here, "full")
    for _ in range(2):
        said, heard = one_turn(device)
        assert kinds(said)[-1] == "tts:stop" and heard
    assert eventually(lambda: len(kept_of(here, "full")) == 2, seconds=15)
    assert all(talk["sound"] is None and talk["heard"] for talk in kept_of(here, "full"))
    assert here.log_text().count("is not kept until this is mended") == 1
    assert here.metric("safeport_voice_recordings_failed_total") == 2
    (here.data / "recordings").unlink()
    one_turn(device)
    assert eventually(lambda: len(files(here)) == 2, seconds=15)
    assert "is kept again" in here.log_text()


def test_a_disk_that_is_nearly_full_is_left_to_what_needs_it_more(home, models):
    here = home(open_to_all=False, settings=kept(models))
    with small_disk(here.data / "recordings", 20):
        ballast = here.data / "recordings" / "ballast"
        ballast.write_bytes(b"." * (19 << 20))
        here.start()
        device = taken_in(here, "nearly")
        for _ in range(2):
            said, heard = one_turn(device)
            assert kinds(said)[-1] == "tts:stop" and heard
        assert eventually(lambda: len(kept_of(here, "nearly")) == 2, seconds=15)
        assert files(here) == [] and all(talk["heard"] for talk in kept_of(here, "nearly"))
        assert here.log_text().count("no space is left") == 1
        ballast.unlink()
        one_turn(device)
        assert eventually(lambda: len(files(here)) == 2, seconds=15)
        here.stop()


def test_somebody_who_talks_for_ten_minutes_is_answered_and_kept_only_so_long(hub, models, reader):
    device = taken_in(hub, "endless")
    spoken = (SPOKEN * 1000)[:10_000]

    async def talk():
        async with talking(device) as socket:
            await socket.send(json.dumps({"type": "listen", "state": "start", "mode": "manual"}))

            async def pour():
                for packet in spoken:
                    await socket.send(packet)
            pouring = asyncio.create_task(pour())
            said = await turn(socket, 120)
            await pouring
            return said

    said, heard = asyncio.run(talk())
    assert kinds(said)[0] == "stt" and heard
    talk = first_talk(hub, "endless")
    assert 60_000 <= talk["sound"]["heard"]["ms"] <= 180_000 and talk["sound"]["heard"]["bytes"] <= 1 << 20
    inside, _ = opened(fetch(hub, f"/devices/endless/talks/{talk['id']}/heard.ogg", reader)[2])
    assert inside == spoken[:len(inside)]
