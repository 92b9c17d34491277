"""A full disk: what would have to be kept is refused where its sender hears it, everything else goes on, and nothing
that was acknowledged goes. The log lies on a small tmpfs of its own."""

import contextlib
import os
import re
import subprocess

import pytest

import wire
from conftest import eventually
from test_restart import KEPT, again, back, said, subscriber, waiting
from wire import CONNACK, PUBACK, PUBREC, V311, V5

MIB = 1 << 20
LIMITS = {"SAFEPORT__LIMITS__MAX_QUEUED_MESSAGES": "1000000", "SAFEPORT__LIMITS__MAX_QUEUED_BYTES": "1GiB",
          "SAFEPORT__LIMITS__MAX_STORED_BYTES": "4GiB"}


@contextlib.contextmanager
def small_disk(folder, mebibytes):
    folder.mkdir(parents=True, mode=0o700)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "none", str(folder)],
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a full disk needs a tmpfs, and root to mount it: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def crowded(own_server, monkeypatch, request):
    """A server whose log has 26 MiB, until the file `ballast` goes."""
    import server as servers
    start = servers.Safeport.start
    with contextlib.ExitStack() as stack:
        def start_on_tmpfs(self):
            if not self.data.exists():
                self.data.mkdir(mode=0o700)
                stack.enter_context(small_disk(self.data / "log", 60))
                (self.data / "log" / "ballast").write_bytes(b"." * 34 * MIB)
            return start(self)
        monkeypatch.setattr(servers.Safeport, "start", start_on_tmpfs)
        made = own_server(environment={**LIMITS, **getattr(request, "param", {})})
        yield made
        made.kill()


def fill(server, topic="mail"):
    """Publishes until one is refused; how many were taken."""
    with wire.Client(server.mqtt, V5, timeout=20) as publisher:
        publisher.hello("filler", clean=True)
        for number in range(2000):
            code = publisher.publish(topic, f"{number}:" + "." * 50_000, 1).code
            if code:
                assert code == 0x97
                return number
    raise AssertionError("the disk never got full")


def numbers(payloads):
    return [int(payload.split(":")[0]) for payload in payloads]


def lines(server):
    return [line for line in said(server).splitlines() if re.search(r"ERROR|WARN|safeport::log", line) and "anonymous" not in line]


def refused_everywhere(server):
    """What has to be kept and cannot be."""
    with wire.Client(server.mqtt, V5) as five:
        five.hello("five")
        assert five.publish("mail", "x", 1).code == 0x97
        assert five.publish("mail", "x", 2).code == 0x97
        assert five.publish("kept", "x", 1, retain=True).code == 0x97
        five.alive()
    with wire.Client(server.mqtt, V311) as three:
        three.hello("three")
        three.send(wire.publish(V311, "mail", b"x", 1, 1))
        three.send(wire.publish(V311, "mail", b"x", 2, 2))
        three.send(wire.publish(V311, "kept", b"x", 1, 3, retain=True))
        three.nothing()
        three.alive()
    with wire.Client(server.mqtt, V5) as five:
        assert five.hello("new", clean=False, props=KEPT).code == 0x97
    with wire.Client(server.mqtt, V311) as three:
        assert three.hello("new", clean=False).code == 3


def goes_on(server):
    """What nobody has to keep."""
    with wire.Client(server.mqtt, V5) as listener, wire.Client(server.mqtt, V311) as talker:
        assert listener.hello("listener").code == 0
        assert listener.subscribe("talk/#", qos=2) == [2]
        assert talker.hello("talker").code == 0
        for number in range(50):
            talker.publish("talk/0", b"%d" % number, 0)
            assert talker.publish("talk/1", b"%d" % number, 1).code == 0
            assert talker.publish("talk/2", b"%d" % number, 2).code == 0
        heard = listener.messages(150)
        for qos in range(3):
            assert [int(m.payload) for m in heard if m.topic == f"talk/{qos}"] == list(range(50))
        listener.alive()


def works(server):
    subscriber(server, "fresh", "fresh")
    with wire.Client(server.mqtt, V311) as three:
        three.hello("three")
        assert three.publish("fresh", b"again", 2).kind == PUBREC
        assert three.publish("kept", b"again", 1, retain=True).kind == PUBACK
    assert waiting(server, "fresh") == ["again"]


@pytest.mark.parametrize("crowded", [{"SAFEPORT__STORAGE__DURABILITY": kind} for kind in ("os", "disk")], indirect=True,
                         ids=["os", "disk"])
def test_a_full_disk_refuses_what_has_to_be_kept_and_serves_the_rest(crowded):
    server = crowded
    subscriber(server, "away", "mail")
    taken = fill(server)
    assert taken > 100, "a small part of the disk is enough to be full"
    refused_everywhere(server)
    goes_on(server)
    full = [line for line in lines(server) if "safeport::log" in line]
    assert len(full) == 1 and "ERROR" in full[0] and "room" in full[0], "one line for one cause:\n" + "\n".join(lines(server))
    # Dies now: nothing acknowledged is lost, and a full disk is no reason not to start.
    again(server)
    refused_everywhere(server)
    goes_on(server)
    # Somebody makes room.
    (server.data / "log" / "ballast").unlink()
    assert eventually(lambda: "has room again" in said(server), 10), said(server)
    works(server)
    again(server)
    assert numbers(waiting(server, "away", quiet=1)) == list(range(taken))
    with wire.Client(server.mqtt, V5) as reader:
        reader.hello("")
        reader.subscribe("kept")
        assert reader.message().payload == b"again"


def test_on_a_full_disk_a_queue_that_is_emptied_makes_room(crowded):
    """Nobody frees anything: the subscriber comes and takes its messages, and their place is used anew."""
    server = crowded
    subscriber(server, "away", "mail")
    subscriber(server, "sleeper", "other")
    taken = fill(server)
    with back(server, "away") as away:
        away.send()
        got = []
        while len(got) < taken:
            got += numbers([m.payload.decode() for m in away.messages(1, 20)])
        assert got == list(range(taken))
    assert eventually(lambda: publishes(server, "other"), 15, 0.2), lines(server)
    works(server)
    again(server)
    assert waiting(server, "sleeper")[-1] == "there"
    back(server, "away").nothing()


def publishes(server, topic):
    with wire.Client(server.mqtt, V5) as publisher:
        publisher.hello("")
        return publisher.publish(topic, "there", 1).code == 0


def test_killed_again_and_again_on_a_full_disk_it_keeps_what_it_acknowledged(crowded):
    server = crowded
    subscriber(server, "away", "mail")
    taken = fill(server)
    for _ in range(4):
        again(server)
        with back(server, "away") as away:
            # Takes some and dies.
            for each in (away.receive() for _ in range(20)):
                away.send(wire.ack(PUBACK, each.pid))
        taken_before = taken
    again(server)
    got = numbers(waiting(server, "away", quiet=1))
    assert got == list(range(got[0], taken_before)) and got[0] <= 80, (got[:3], got[-3:], taken)


@pytest.mark.timeout(900)  # on a machine where the unit tests have not run, it is built first
def test_images_and_rows_of_the_registry_meet_a_full_disk(tmp_path):
    """The store's own test, on a disk of 2 MiB: an upload and a row are refused whole, and work again once there is
    room."""
    import server as servers
    small = tmp_path / "small"
    with small_disk(small, 2):
        # With --workspace the features are those of the unit tests, so nothing is built anew.
        done = subprocess.run([servers.client("cargo"), "test", "--locked", "--quiet", "--workspace", "--test", "full_disk",
                               "--", "--ignored"], cwd=servers.ROOT, capture_output=True, text=True, timeout=850,
                              env=os.environ | {"SAFEPORT_TEST_SMALL_DISK": str(small)})
        assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
        assert any(small.iterdir()), "it was on this disk"
