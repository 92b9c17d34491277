"""`kill -9` again and again: what was acknowledged is there, QoS 2 comes once, order holds, sessions, subscriptions and
retained messages are what their clients were told, and nobody who comes back is declared dead.

`SAFEPORT_KILL_ROUNDS=100` makes more rounds, `SAFEPORT_KILL_SEED=n` replays the choices of one run (not its timing).
"""

import collections
import itertools
import os
import random
import subprocess
import time

import pytest

import server as servers
import wire
from crowd import Crowd, Member
from wire import V311, V5

ROUNDS = int(os.environ.get("SAFEPORT_KILL_ROUNDS", "15"))
SEED = int(os.environ.get("SAFEPORT_KILL_SEED", random.randrange(1 << 30)))
FILTERS, RETAINED = 6, 12


def home_of(client_id: str, loops: int) -> int:
    """The loop where a client identifier lives."""
    value = 0xCBF29CE484222325
    for byte in client_id.encode():
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return (value ^ value >> 32) % loops


class Said:
    """What one publisher has published, by number."""

    def __init__(self):
        self.count, self.acked, self.sent = 0, set(), {}


class Cell:
    """Some clients, all of one event loop or dealt out to all in turn, and what they must be able to count on.

    Publishers number what they say. Most keep their session and send again what was not acknowledged; two start clean
    each time, so what a crash left open may be there or not. Subscribers come and go.
    """

    def __init__(self, number, loops, rnd, apart):
        self.prefix, self.rnd = f"cell{number}", rnd
        # Between loops, a QoS 2 publish that the crash left unanswered may come twice, as its publisher repeats it: the
        # loops' logs do not know of each other what they had kept of it.
        self.exact, self.twice = not apart, 0

        homes = itertools.cycle(range(loops) if apart else [number])

        def name(kind):
            home = next(homes)
            return next(n for n in (f"{kind}-{number}-{i}" for i in range(10_000)) if home_of(n, loops) == home)

        will = wire.Will(f"{self.prefix}/will", b"gone", 1)
        kinds = [(V311, 1, False), (V5, 1, False), (V311, 2, False), (V5, 2, False), (V5, 1, True), (V311, 2, True)]
        self.publishers = {}
        for at, (version, qos, clean) in enumerate(kinds):
            made = Member(name(f"pub{at}"), version, clean=clean, will=None if clean else will)
            made.topic, made.qos, made.said = f"{self.prefix}/said/{at}", qos, Said()
            made.window = rnd.choice([1, 4, 20, 60])
            made.acked = self.taken
            self.publishers[made.topic] = made
        kinds = [(V311, 2, 0, 0), (V5, 2, 50, 0), (V5, 1, 0, 7), (V311, 1, 0, 20), (V5, 2, 0, 5)]
        self.subscribers = []
        for at, (version, qos, receive_maximum, patient) in enumerate(kinds):
            made = Member(name(f"sub{at}"), version, receive_maximum=receive_maximum, patient=patient)
            if receive_maximum:
                made.patient = min(patient, receive_maximum)
            made.qos, made.heard, made.fresh = qos, collections.defaultdict(list), collections.Counter()
            made.hear = self.heard
            self.subscribers.append(made)
        self.watcher = Member(name("watcher"), V5)
        self.watcher.hear = self.declared_dead
        self.keeper = Member(name("keeper"), V5)
        self.keeper.acked = self.kept
        self.retained = {f"{self.prefix}/kept/{n}": (b"", []) for n in range(RETAINED)}
        self.fickle = [Member(name(f"fickle{version}"), version) for version in (V311, V5)]
        for member in self.fickle:
            member.wishes = {f"{self.prefix}/{member.name}/{n}": {False} for n in range(FILTERS)}
            member.wishes[f"{self.prefix}/{member.name}/end"] = {True}
            member.asked, member.probed = set(), set()
            member.answered, member.hear = self.granted, self.probe_heard
        self.prober = Member(name("prober"), V5, clean=True)
        self.checker = name("checker")
        self.deaths = self.duplicates = self.deliveries = 0
        self.serial = 0
        self.on_ack = lambda: None

    def everybody(self):
        return [*self.publishers.values(), *self.subscribers, self.watcher, self.keeper, *self.fickle]

    def settle(self, crowd, address):
        """The first connections, and the subscriptions that are there for good."""
        waiting = set()
        for member in [*self.subscribers, self.watcher, *self.fickle]:
            member.join(crowd, address)
            filters = [(f"{self.prefix}/said/#", member.qos)] if member in self.subscribers else \
                [(f"{self.prefix}/will", 1)] if member is self.watcher else [(f"{self.prefix}/{member.name}/end", 1)]
            assert crowd.run(lambda: member.up)
            previous, member.answered = member.answered, lambda m, *_: waiting.discard(m.name)
            waiting.add(member.name)
            member.request(wire.subscribe, filters, None)
            assert crowd.run(lambda: not waiting)
            member.answered = previous
            if member not in self.fickle:
                member.answered = lambda *_: None

    # publishing

    def say(self, member):
        """Fills the publisher's window."""
        while member.up and len(member.open) < member.window and not member.crowd.stopped:
            said = member.said
            number, said.count = said.count, said.count + 1
            padding = b"." * self.rnd.choice([0, 0, 0, 40, 3000])
            said.sent[number] = member.publish(member.topic, b"%d:%s" % (number, padding), member.qos, mark=number)

    def taken(self, member, entry):
        member.said.acked.add(entry[6])
        self.on_ack()

    def keep(self):
        """The keeper sets or removes retained messages."""
        while self.keeper.up and len(self.keeper.open) < 5:
            topic = self.rnd.choice(list(self.retained))
            self.serial += 1
            value = b"" if self.rnd.random() < 0.3 else b"%d" % self.serial
            self.retained[topic][1].append(value)
            # One QoS for each topic: there is no order between different ones.
            qos = 1 + int(topic.rsplit("/", 1)[1]) % 2
            self.keeper.publish(topic, value, qos, retain=True, mark=value)

    def kept(self, _, entry):
        topic, value = entry[0], entry[6]
        waiting = self.retained[topic][1]
        del waiting[:waiting.index(value) + 1]
        self.retained[topic] = (value, waiting)
        self.on_ack()

    # subscribing

    def waver(self, member):
        """Asks for a subscription or its end, now and then."""
        wanted = [f for f in member.wishes if f not in member.asked and not f.endswith("/end")]
        if not member.up or not wanted:
            return
        topic = self.rnd.choice(wanted)
        wish = not max(member.wishes[topic])
        member.asked.add(topic)
        member.wishes[topic] = member.wishes[topic] | {wish}
        if wish:
            member.request(wire.subscribe, [(topic, 1)], (topic, True))
        else:
            member.request(wire.unsubscribe, [topic], (topic, False))

    def granted(self, member, mark, codes):
        topic, wish = mark
        assert not codes or codes[0] < 0x80
        member.wishes[topic] = {wish}
        member.asked.discard(topic)
        self.on_ack()

    # hearing

    def heard(self, member, topic, payload, qos, dup, retain):
        number = int(payload.split(b":", 1)[0])
        publisher = self.publishers[topic]
        assert qos == min(publisher.qos, member.qos) and not retain
        heard = member.heard[topic]
        key = (topic, number)
        self.deliveries += 1
        member.fresh[key] += not dup
        if key in member.fresh and member.fresh[key] + dup > 1 or number in heard[-200:]:
            assert qos == 1 or not self.exact, f"{member.name}: {topic} {number} came twice at QoS 2"
            self.duplicates += qos == 1
            self.twice += qos == 2
        # Only what was sent twice comes twice, but for what the server repeats, marked DUP.
        assert member.fresh[key] <= publisher.said.sent[number][5], (member.name, topic, number)
        if not heard or number > heard[-1]:
            heard.append(number)
        else:
            at = number in heard[-2000:] or number in heard
            assert at, f"{member.name}: {topic} {number} came late, after {heard[-1]}"

    def declared_dead(self, member, topic, payload, *_):
        self.deaths += 1

    def probe_heard(self, member, topic, payload, *_):
        member.probed.add((topic, payload))

    # after a restart

    def return_all(self, crowd, address, away):
        for member in self.everybody():
            if member not in away:
                member.join(crowd, address)

    def check_retained(self, address):
        """As acknowledged, before anybody sends again."""
        with wire.Client(address, V5) as checker:
            checker.hello(self.checker)
            checker.send(wire.subscribe(V5, 1, [(f"{self.prefix}/kept/#", 0)]), wire.PING)
            found, ends = {}, {wire.SUBACK, wire.PINGRESP}
            while ends:
                got = checker.receive()
                ends.discard(got.kind)
                if got.kind == wire.PUBLISH:
                    assert got.retain and got.topic not in found
                    found[got.topic] = got.payload
        for topic, (acknowledged, waiting) in self.retained.items():
            assert found.get(topic, b"") in (acknowledged, *waiting), \
                f"{topic} is {found.get(topic)}, acknowledged was {acknowledged}, under way {waiting}"
        return sum(map(bool, found.values()))

    def check_subscriptions(self, crowd, address):
        """Each filter gets one message, and one at the end when all must have come."""
        prober = self.prober
        prober.join(crowd, address)
        assert crowd.run(lambda: prober.up)
        self.serial += 1
        mark = b"%d" % self.serial
        for member in self.fickle:
            for topic in sorted(member.wishes, key=lambda t: t.endswith("/end")):
                prober.publish(topic, mark, 1)
        ends = [(member, (f"{self.prefix}/{member.name}/end", mark)) for member in self.fickle]
        assert crowd.run(lambda: all(end in member.probed for member, end in ends) and not prober.open), \
            "the subscription to the end is gone"
        for member in self.fickle:
            for topic, wishes in member.wishes.items():
                there = (topic, mark) in member.probed
                assert there in wishes, f"{member.name}: {topic} is {there}, acknowledged was {wishes}"
                member.wishes[topic] = {there}
            member.asked.clear()
            member.probed.clear()
        prober.leave()

    def check_everything(self):
        for member in self.subscribers:
            for topic, publisher in self.publishers.items():
                lost = publisher.said.acked - set(member.heard[topic])
                assert not lost, f"{member.name} never got {len(lost)} of {topic}, {sorted(lost)[:5]} and so on"
        assert self.deaths == 0, "somebody who came back was declared dead"


def restart(server, rnd):
    """Sometimes the server dies again while it reads back its log."""
    if rnd.random() < 0.25:
        log = open(server.log_path, "ab")
        process = subprocess.Popen([str(servers.BINARY), "serve", "--open", "--data", str(server.data)], stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, env=server.environment, cwd=server.folder)
        time.sleep(rnd.uniform(0, 0.3))
        process.kill()
        process.wait()
        log.close()
    server.start()


@pytest.mark.slow
@pytest.mark.timeout(60 + 8 * ROUNDS)
@pytest.mark.parametrize(("durability", "loops", "share"), [
    ("os", 1, 1.0), ("disk", 1, 0.5), ("os", 2, 0.3), ("disk", 2, 0.3), ("os", "2 apart", 0.4)])
def test_nothing_acknowledged_is_lost_over_kill_9(own_server, capsys, durability, loops, share):
    rnd = random.Random(f"{SEED} {durability} {loops}")
    apart, loops = loops == "2 apart", int(str(loops)[0])
    server = own_server(environment={
        "SAFEPORT__STORAGE__DURABILITY": durability, "SAFEPORT__ENGINE__LOOPS": str(loops),
        "SAFEPORT__LIMITS__MAX_QUEUED_MESSAGES": "1000000", "SAFEPORT__LIMITS__MAX_QUEUED_BYTES": "1GiB",
        "SAFEPORT__LIMITS__MAX_STORED_BYTES": "4GiB"})
    crowd, cells = Crowd(), [Cell(n, loops, rnd, apart) for n in range(1 if apart else loops)]
    for cell in cells:
        cell.settle(crowd, server.mqtt)
    rounds, acknowledged, kills, retained = max(3, round(ROUNDS * share)), 0, collections.Counter(), 0
    began = time.monotonic()
    try:
        for round_ in range(rounds + 1):
            last = round_ == rounds
            crowd.stopped = False
            for cell in cells:
                away = set() if last else {m for m in cell.subscribers if rnd.random() < 0.35}
                for member in cell.everybody():
                    member.leave()
                cell.return_all(crowd, server.mqtt, away)
            for cell in cells:
                assert crowd.run(lambda: all(m.up for m in cell.fickle))
                cell.check_subscriptions(crowd, server.mqtt)
            if last:
                finish(crowd, cells)
                break
            how = rnd.choice(["time", "ack", "ack", "last ack", "last ack", "at once"])
            kills[how] += 1
            acks = load(server, crowd, cells, rnd, how)
            crowd.cut()
            acknowledged += acks()
            rest(crowd, cells)
            restart(server, rnd)
            for cell in cells:
                retained += cell.check_retained(server.mqtt)
        for cell in cells:
            cell.check_everything()
    finally:
        seconds = time.monotonic() - began
        with capsys.disabled():
            print(f"\nkill -9, durability {durability}, {loops} loop(s){' apart' * apart}, seed {SEED}: {round_} rounds in {seconds:.0f} s "
                  f"({', '.join(f'{count} {how}' for how, count in kills.items())}); {acknowledged} acknowledged, "
                  f"{sum(c.deliveries for c in cells)} delivered, {sum(c.duplicates for c in cells)} repeated at QoS 1 "
                  f"(allowed), {sum(c.twice for c in cells)} at QoS 2; {retained} retained messages compared")


def load(server, crowd, cells, rnd, how):
    """Clients at work until the server is killed: at any moment, at an acknowledgement, after the last one."""
    acks = 0
    target = rnd.choice([1, 30, 300, 1200])

    def kill():
        server.kill()
        crowd.stopped = True

    def on_ack():
        nonlocal acks
        acks += 1
        if how == "ack" and acks == target and not crowd.stopped:
            kill()

    def completed(member):
        if crowd.stopped:
            return
        for cell in cells:
            if cell.publishers.get(getattr(member, "topic", None)) is member:
                if how != "last ack" or acks < target:
                    cell.say(member)
            elif member is cell.keeper and (how != "last ack" or acks < target):
                cell.keep()
        if how == "last ack" and acks >= target and not any(m.open for c in cells for m in c.everybody()):
            kill()

    for cell in cells:
        cell.on_ack = on_ack
    crowd.completed = completed
    if how == "at once":
        # While clients are being let in.
        kill_at = time.monotonic() + rnd.uniform(0, 0.01)
    elif how == "time":
        kill_at = time.monotonic() + rnd.uniform(0.02, 0.5)
    else:
        kill_at = time.monotonic() + 30
    for cell in cells:
        for member in cell.publishers.values():
            cell.say(member)
        cell.keep()
    waver_at = time.monotonic()

    def turn():
        nonlocal waver_at
        now = time.monotonic()
        if now >= waver_at:
            waver_at = now + 0.01
            for cell in cells:
                for member in cell.publishers.values():
                    if how != "last ack" or acks < target:
                        cell.say(member)
                if how != "last ack" or acks < target:
                    cell.keep()
                    for member in cell.fickle:
                        cell.waver(member)
                member = rnd.choice(cell.subscribers)
                if rnd.random() < 0.1:
                    if member.sock is None:
                        member.join(crowd, server.mqtt)
                    elif member.up:
                        member.leave()
        return now >= kill_at

    crowd.run(turn, 60)
    if not crowd.stopped:
        assert how != "ack" and how != "last ack", f"only {acks} acknowledgements in 30 s"
        kill()
    return lambda: acks


def rest(crowd, cells):
    """Acknowledgements cause nothing from now on."""
    crowd.completed = lambda _: None
    for cell in cells:
        cell.on_ack = lambda: None


def finish(crowd, cells):
    """Nothing new: what is open is completed, what waits is delivered."""
    def complete():
        return not any(p.open for c in cells for p in c.publishers.values()) and all(
            p.said.acked <= set(m.heard[t]) for c in cells for m in c.subscribers for t, p in c.publishers.items())

    delivered = -1
    while not crowd.run(complete, 5) and delivered != (delivered := sum(c.deliveries for c in cells)):
        pass
    crowd.run(seconds=0.5)
