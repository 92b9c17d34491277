"""What a restart brings back, from a log as the server left it, and from one that is damaged."""

import contextlib
import pathlib
import re
import subprocess
import time

import pytest

import server as servers
import wire
from conftest import eventually
from wire import PUBACK, V311, V5

KEPT = {"session_expiry": 3600}


def back(server, name, version=V5, *, present=True, expiry=3600):
    """A client with a session, connected (again)."""
    made = wire.Client(server.mqtt, version)
    answer = made.hello(name, clean=False, props={"session_expiry": expiry} if version == V5 else ())
    assert (answer.code, answer.session_present) == (0, present), str(answer)
    return made


def subscriber(server, name, *filters, version=V5, expiry=3600):
    with back(server, name, version, present=False, expiry=expiry) as made:
        assert made.subscribe(*filters, qos=2) == [2] * len(filters)


def publish(server, topic, payloads, qos=1, **options):
    with wire.Client(server.mqtt, V5) as made:
        made.hello("")
        for payload in payloads:
            assert made.publish(topic, payload, qos, **options).code == 0


def waiting(server, name, version=V5, quiet=0.3):
    """Everything that waits for a client."""
    with back(server, name, version) as made:
        return until_quiet(made, quiet)


def until_quiet(client, quiet=0.3):
    got = []
    with contextlib.suppress(TimeoutError):
        while True:
            each = client.receive(quiet)
            if each.kind == wire.PUBLISH:
                got.append(each.payload.decode())
                if each.qos:
                    client.send(wire.ack(PUBACK if each.qos == 1 else wire.PUBREC, each.pid))
            else:
                assert each.kind == wire.PUBREL, str(each)
                client.send(wire.ack(wire.PUBCOMP, each.pid))
    return got


def again(server):
    server.kill()
    server.start()


def said(server):
    """What the log says since the last start."""
    return server.log_text().rsplit("file descriptors allow", 1)[-1]


# Written anew


@pytest.mark.parametrize("groups", [65, 80])
def test_a_log_that_is_written_anew_or_was_brings_everything_back(own_server, groups):
    """From 64 MiB on it is: killed before, within and after that."""
    server = own_server()
    subscriber(server, "away", "queue/#")
    subscriber(server, "other", "other/#", version=V311)
    numbers = [b"%d" % n for n in range(groups)]
    with wire.Client(server.mqtt, V311) as publisher:
        publisher.hello("publisher")
        body = b"." * 250_000
        for number in numbers:
            batch = [wire.publish(V311, f"state/{n}", number + body, 1, n + 1, True) for n in range(4)]
            publisher.send(*batch, wire.publish(V311, "queue/1", number, 1, 7), wire.publish(V311, "other/1", number, 2, 8),
                           wire.ack(wire.PUBREL, 8))
            kinds = sorted(publisher.receive().kind for _ in range(7))
            assert kinds == [PUBACK] * 5 + [wire.PUBREC, wire.PUBCOMP]
    if groups == 80:
        first = server.data / "log" / "1" / "0" / "0000000001.log"
        assert eventually(lambda: not first.exists()), "it was not written anew"
    again(server)
    assert waiting(server, "away") == [n.decode() for n in numbers]
    assert waiting(server, "other", V311) == [n.decode() for n in numbers]
    with wire.Client(server.mqtt, V5) as reader:
        reader.hello("")
        reader.subscribe("state/#")
        found = {m.topic: m.payload for m in reader.messages(4)}
        assert found == {f"state/{n}": numbers[-1] + body for n in range(4)}


# Time goes on


def test_expiry_and_delayed_wills_go_on_counting_while_the_server_is_away(own_server):
    server = own_server()
    subscriber(server, "watcher", "will/#", "mail/#")
    subscriber(server, "short", "nothing", expiry=2)
    subscriber(server, "long", "nothing", expiry=60)
    publish(server, "mail/short", ["gone"], props={"message_expiry": 2})
    publish(server, "mail/long", ["there"], props={"message_expiry": 60})
    publish(server, "kept/short", ["gone"], retain=True, props={"message_expiry": 2})
    publish(server, "kept/long", ["there"], retain=True, props={"message_expiry": 60})
    will = wire.Will("will/late", b"late", 1, props={"will_delay": 4})
    lost = wire.Client(server.mqtt, V5)
    lost.hello("lost", clean=False, props=KEPT, will=will)
    lost.close()
    lost_at = time.monotonic()
    time.sleep(0.2)
    again(server)
    with back(server, "watcher") as watcher:
        time.sleep(max(0.0, lost_at + 2.5 - time.monotonic()))
        # (What was sent before it expired may still be in flight: it is owed.)
        got = [m for m in until_quiet(watcher, 0.1) if m != "gone"]
        assert got == ["there"], "the will is not due yet"
        assert watcher.message(5).payload == b"late"
        assert 3.5 < time.monotonic() - lost_at < 6.5
    back(server, "short", present=False).close()
    back(server, "long").close()
    with wire.Client(server.mqtt, V5) as reader:
        reader.hello("")
        reader.subscribe("kept/#")
        kept = reader.message()
        assert kept.topic == "kept/long" and 50 < kept.props["message_expiry"] < 60
        reader.nothing()


def test_a_message_that_expired_while_the_server_was_away_is_not_delivered(own_server):
    server = own_server()
    subscriber(server, "away", "mail/#")
    publish(server, "mail/1", ["gone"], props={"message_expiry": 1})
    publish(server, "mail/2", ["there"], props={"message_expiry": 100})
    server.kill()
    time.sleep(1.5)
    server.start()
    with back(server, "away") as away:
        got = away.message()
        assert got.payload == b"there" and 90 <= got.props["message_expiry"] <= 99
        away.nothing()


def test_a_client_whose_connection_the_crash_cut_is_not_declared_dead_at_once(own_server):
    server = own_server()
    subscriber(server, "watcher", "will/#")
    cut = [wire.Client(server.mqtt, version) for version in (V311, V5)]
    for client in cut:
        client.hello(f"cut{client.version}", clean=client.version == V311, will=wire.Will("will/cut", b"cut", 1))
    again(server)
    with back(server, "watcher") as watcher:
        watcher.nothing(1)


# Loops


def test_sessions_queues_and_retained_messages_survive_another_number_of_loops(own_server):
    server = own_server()
    names = [f"client{n}" for n in range(12)]
    for at, name in enumerate(names):
        subscriber(server, name, f"to/{name}", "all", version=V5 if at % 2 else V311)
    # An exchange of QoS 2 is open in either direction.
    half = back(server, "half", V311, present=False)
    half.subscribe("half", qos=2)
    half.send(wire.publish(V311, "half", b"x", 2, 9))
    got = min((half.receive() for _ in range(2)), key=lambda p: p.kind)
    assert got.kind == wire.PUBLISH
    half.send(wire.ack(wire.PUBREC, got.pid)).expect(wire.PUBREL)
    half.close()
    publish(server, "kept/1", ["one"], retain=True)
    publish(server, "kept/2", ["two"], 2, retain=True)
    mail = {name: [] for name in names}
    for loops in ("2", "3", "1"):
        for name in names:
            publish(server, f"to/{name}", [f"{name} {loops}"], 2)
            mail[name].append(f"{name} {loops}")
        publish(server, "all", [loops])
        for name in names:
            mail[name].append(loops)
        server.environment["SAFEPORT__ENGINE__LOOPS"] = loops
        again(server)
        with wire.Client(server.mqtt, V5) as reader:
            reader.hello("")
            reader.send(wire.subscribe(V5, 1, [("kept/#", 1)]))
            kept = [p for p in (reader.receive() for _ in range(3)) if p.kind == wire.PUBLISH]
            assert sorted(p.payload for p in kept) == [b"one", b"two"]
    for at, name in enumerate(names):
        assert waiting(server, name, V5 if at % 2 else V311, 0.1) == mail[name]
    with back(server, "half", V311) as half:
        assert half.expect(wire.PUBREL).pid == got.pid
        half.send(wire.ack(wire.PUBCOMP, got.pid))
        half.send(wire.publish(V311, "half", b"x", 2, 9, dup=True)).expect(wire.PUBREC)
        half.send(wire.ack(wire.PUBREL, 9)).expect(wire.PUBCOMP)
        half.nothing()
    assert len(list((server.data / "log").glob("[0-9]*"))) == 1, "old generations stay behind"


# Damage


def three_parts(own_server, **options):
    """A server, stopped, with a log of three segments that each have messages for `away`."""
    server = own_server(**options)
    subscriber(server, "away", "mail")
    for part in range(3):
        publish(server, "mail", [f"{part} {n}" for n in range(20)])
        assert server.stop() == 0
        if part < 2:
            server.start()
    files = sorted((server.data / "log").glob("*/0/*.log"))
    return server, [file for file in files if file.read_bytes()[:200].strip(b"\0")]


EVERYTHING = [f"{part} {n}" for part in range(3) for n in range(20)]


def refused(server):
    """The words of a server that does not start."""
    done = subprocess.run([str(servers.BINARY), "serve", "--open", "--data", str(server.data)], text=True, timeout=20,
                          capture_output=True, env=server.environment, cwd=server.folder, stdin=subprocess.DEVNULL)
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    return done.stderr


def flip(file: pathlib.Path, offset: int):
    data = bytearray(file.read_bytes())
    data[offset] ^= 0x10
    file.write_bytes(data)


def content(file):
    """Where a segment's content ends."""
    return len(file.read_bytes().rstrip(b"\0"))


@pytest.mark.parametrize("where", ["segment header", "group header", "payload"])
def test_a_damaged_segment_is_refused_by_file_and_offset(own_server, where):
    server, files = three_parts(own_server)
    middle = files[1]
    end = content(middle)
    offset = {"segment header": 20, "group header": 50, "payload": end // 2}
    flip(middle, offset[where])
    words = refused(server)
    assert str(middle) in words and "storage.skip_damaged" in words, words
    assert int(re.search(r"byte (\d+)", words)[1]) <= offset[where], words
    # Nothing was changed by looking at it.
    flip(middle, offset[where])
    server.start()
    assert waiting(server, "away") == EVERYTHING


def test_with_skip_damaged_it_starts_and_says_what_it_left_out(own_server):
    server, files = three_parts(own_server)
    end = content(files[1])
    flip(files[1], end // 2)
    words = refused(server)
    assert "SAFEPORT__STORAGE__SKIP_DAMAGED=true" in words, words
    server.environment["SAFEPORT__STORAGE__SKIP_DAMAGED"] = "true"
    server.start()
    assert str(files[1]) in said(server) and "left out" in said(server), said(server)
    got = waiting(server, "away")
    assert got == [m for m in EVERYTHING if m in got] and 50 <= len(got) < 60, got
    assert set(EVERYTHING) - set(got) <= {f"1 {n}" for n in range(20)}


def test_with_skip_damaged_what_lost_its_session_is_counted_too(own_server):
    """The session was made in the damaged part: everything for it is void, and the log says so."""
    server, files = three_parts(own_server)
    data = files[0].read_bytes()
    flip(files[0], data.index(b"away") + 1)
    server.environment["SAFEPORT__STORAGE__SKIP_DAMAGED"] = "true"
    server.start()
    words = said(server)
    assert str(files[0]) in words and "left out" in words, words
    assert "refer to something that was left out" in words, words
    publish(server, "fresh", ["x"], retain=True)
    # Written anew, which is done at once, it is whole again.
    assert eventually(lambda: "written anew" in said(server)), said(server)
    del server.environment["SAFEPORT__STORAGE__SKIP_DAMAGED"]
    assert server.stop() == 0
    server.start()
    back(server, "away", present=False).close()
    with wire.Client(server.mqtt, V5) as reader:
        reader.hello("")
        reader.subscribe("fresh")
        assert reader.message().payload == b"x"


def test_a_torn_end_is_dropped_with_a_word_and_nothing_else(own_server):
    server, files = three_parts(own_server)
    last = files[-1]
    end = content(last)
    with open(last, "r+b") as file:
        file.truncate(end - 2)
    server.start()
    words = said(server)
    assert str(last) in words and "in the middle of a group" in words, words
    assert waiting(server, "away") in (EVERYTHING[:-1], EVERYTHING)  # the last group may be something else
    # It is said once: the next start finds a whole log.
    again(server)
    assert "in the middle of a group" not in said(server), said(server)


def test_rubbish_behind_the_end_is_dropped_with_a_word(own_server):
    server, files = three_parts(own_server)
    last = files[-1]
    data = bytearray(last.read_bytes())
    end = content(last)
    data[end + 40:end + 90] = b"never written by a server" * 2
    last.write_bytes(data)
    server.start()
    assert waiting(server, "away") == EVERYTHING


def test_a_missing_segment_and_a_missing_current_are_refused_with_advice(own_server):
    server, files = three_parts(own_server)
    for file in (files[1], server.data / "log" / "CURRENT"):
        aside = server.folder / "aside"
        file.rename(aside)
        words = refused(server)
        assert file.name in words and re.search("restore|backup|put it back|move", words), words
        aside.rename(file)
    server.start()
    assert waiting(server, "away") == EVERYTHING


def test_a_damaged_current_is_refused(own_server):
    server, _ = three_parts(own_server)
    current = server.data / "log" / "CURRENT"
    good = current.read_bytes()
    for at in (0, len(good) - 3):
        flip(current, at)
        words = refused(server)
        assert "CURRENT" in words, words
        current.write_bytes(good)
    server.start()
    assert waiting(server, "away") == EVERYTHING


def test_with_durability_none_nothing_is_written_and_nothing_comes_back(own_server):
    server = own_server(environment={"SAFEPORT__STORAGE__DURABILITY": "none"})
    subscriber(server, "away", "mail")
    publish(server, "mail", ["x"])
    assert not list((server.data / "log").glob("**/*.log"))
    again(server)
    back(server, "away", present=False).close()


def test_a_log_of_an_earlier_run_is_not_lost_by_a_run_without_one(own_server):
    server = own_server()
    subscriber(server, "away", "mail")
    publish(server, "mail", ["x"])
    server.environment["SAFEPORT__STORAGE__DURABILITY"] = "none"
    again(server)
    assert eventually(lambda: server.alive())
    server.environment["SAFEPORT__STORAGE__DURABILITY"] = "os"
    again(server)
    assert waiting(server, "away") == ["x"]
