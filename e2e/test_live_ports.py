"""Listeners that change their port while a thousand clients of other listeners exchange messages: nobody is dropped,
nothing acknowledged is lost, and a port that cannot be had changes nothing."""

from __future__ import annotations

import re
import socket
import subprocess

import pytest

import crowd
import server as servers
import wire
from test_ports import taken

CLIENTS, PUBLISHERS = 1000, 250


class Ring:
    """Clients of which each publishes to the next one, QoS 1, one message at a time, until told to stop."""

    def __init__(self, address):
        self.crowd, self.publishing = crowd.Crowd(), True
        self.sent = [0] * CLIENTS
        self.acknowledged = [0] * CLIENTS
        self.heard = [[] for _ in range(CLIENTS)]
        self.members = []
        subscribed = set()
        for number in range(CLIENTS):
            member = crowd.Member(f"ring-{number}", wire.V5 if number % 2 else wire.V311, clean=True)
            member.number = number
            member.hear = self.hear
            member.acked = self.acked
            member.answered = lambda who, mark, codes: subscribed.add(who.number)
            member.join(self.crowd, address)
            member.request(wire.subscribe, [(f"ring/{number}", 1)], None)
            self.members.append(member)
        assert self.crowd.run(lambda: len(subscribed) == CLIENTS, 30), f"only {len(subscribed)} could subscribe"
        for member in self.members[:PUBLISHERS]:
            self.publish(member)

    def publish(self, member):
        self.sent[member.number] += 1
        member.publish(f"ring/{(member.number + 1) % CLIENTS}", b"%d" % self.sent[member.number])

    def acked(self, member, entry):
        self.acknowledged[member.number] = int(entry[1])
        if self.publishing:
            self.publish(member)

    def hear(self, member, topic, payload, *_):
        self.heard[member.number].append(int(payload))

    def run_while(self, command: list[str], here) -> tuple[int, str]:
        """Messages flow while a command runs; its exit code and what it said."""
        with subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=here.environment, cwd=here.folder) as program:
            assert self.crowd.run(lambda: program.poll() is not None, 30), "the command did not end"
            return program.returncode, program.stdout.read()

    def finish(self):
        """Nobody was dropped (`Crowd.run` raises then), and every acknowledged message arrived once, in order."""
        self.publishing = False
        assert self.crowd.run(lambda: self.acknowledged == self.sent, 20), "unanswered messages"
        everything = lambda: all(len(self.heard[(n + 1) % CLIENTS]) == self.sent[n] for n in range(CLIENTS))
        assert self.crowd.run(everything, 20), "acknowledged messages are missing"
        for number in range(CLIENTS):
            assert self.heard[(number + 1) % CLIENTS] == list(range(1, self.sent[number] + 1))
        assert all(member.up for member in self.members)
        for member in self.members:
            member.leave()


def says_hello(port: int, tls=None) -> bool:
    """A listener on the port lets an MQTT client in."""
    try:
        client = wire.Client(("127.0.0.1", port), wire.V5, tls=tls)
    except OSError:
        return False
    try:
        return client.hello("visitor").code == 0
    except (OSError, AssertionError):
        return False
    finally:
        client.close()


@pytest.mark.slow
def test_ports_of_other_listeners_change_under_a_thousand_clients_and_nobody_notices(home):
    here = home(settings={"access": "anonymous = true"}, open_to_all=True).start()
    ring = Ring(here.mqtt)
    order = lambda *words: [str(servers.BINARY), "config", *words, "--data", str(here.data)]
    tls = here.tls_context()
    # Connections that came by a listener stay when it moves.
    residents = [wire.Client(here.mqtts, wire.V5, tls=tls) for _ in range(5)]
    assert all(resident.hello(f"resident-{n}").code == 0 for n, resident in enumerate(residents))
    for listener in ("http", "mqtts", "https", "http", "mqtts", "http"):
        old, new = getattr(here, f"{listener}_port"), servers.free_ports(1)[0]
        before = sum(ring.acknowledged)
        confirm = ["--confirm"] if listener.startswith("http") else []
        code, said = ring.run_while(order("set", f"{listener}.bind", f"127.0.0.1:{new}", *confirm), here)
        assert code == 0, said
        assert sum(ring.acknowledged) > before, "messages flow meanwhile"
        if listener == "mqtts":
            assert says_hello(new, tls) and not says_hello(old, tls)
        else:
            socket.create_connection(("127.0.0.1", new), 5).close()
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", old), 5)
        setattr(here, f"{listener}_port", new)
    assert here.get("/healthz")[0] == 200
    ring.finish()
    for resident in residents:
        resident.alive()
        resident.close()
    changed = here.json("config", "history")[:6]
    assert [(entry["kind"], entry["state"]) for entry in changed] == [("set", "live")] * 6, changed


@pytest.mark.slow
def test_a_port_that_cannot_be_had_changes_nothing_and_its_holder_is_named(home):
    here = home(settings={"access": "anonymous = true"}, open_to_all=True).start()
    ring = Ring(here.mqtt)
    before = here.file.read_text()
    free, = servers.free_ports(1)
    with taken(free) as program:
        for listener in ("mqtts", "http"):
            for language in ("en", "zh-CN"):
                code, said = ring.run_while(
                    [str(servers.BINARY), "config", "set", f"{listener}.bind", f"127.0.0.1:{free}", "--data",
                     str(here.data), "--lang", language], here)
                assert code == 1, said
                for word in (str(free), f"{listener}.bind", str(program.pid), "python"):
                    assert word in said, f"{word} is missing:\n{said}"
            assert re.search("[\u4e00-\u9fff]", said), said
            assert here.file.read_text() == before
        # By hand in the file, and read again: the same.
        here.file.write_text(before.replace(f":{here.mqtts_port}", f":{free}"))
        code, said = ring.run_while([str(servers.BINARY), "config", "reload", "--data", str(here.data)], here)
        assert code == 1 and str(program.pid) in said, said
    assert says_hello(here.mqtts_port, here.tls_context()), "the old listener serves"
    assert here.get("/healthz")[0] == 200
    ring.finish()
