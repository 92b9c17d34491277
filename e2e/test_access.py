"""Who is let in and what each may do, set by the real command line and enforced on the wire."""

import contextlib
import re
import socket
import time

import pytest

import server as servers
import wire
from conftest import eventually
from wire import V31, V311, V5

SECRET = "correct horse"


@pytest.fixture(scope="module")
def closed():
    """A server without --open, with a person of few rights, one of all, and one of the default."""
    with servers.serving(servers.Safeport, open_to_all=False) as running:
        running.cli("user", "add", "anna", "--password-stdin", "--publish", "home/anna/#", "--publish", "shared/+",
                    "--subscribe", "home/#", stdin=SECRET + "\n")
        running.cli("user", "add", "root", "--password-stdin", "--admin", stdin=SECRET + "\n")
        running.cli("user", "add", "plain", "--password-stdin", stdin=SECRET + "\n")
        yield running


@pytest.fixture
def enter(closed, dial, name):
    """Connects with a login; the CONNACK is not judged."""
    def connect(username=None, password=SECRET, version=V5, source=None, **kwargs):
        client = dial(version, raw=True, to=closed.mqtt)
        client.connack = client.hello(kwargs.pop("client_id", f"{name}-{username}-{version}"), username=username,
                                      password=password if username else None, **kwargs)
        return client
    return connect


@pytest.mark.parametrize("version, codes", [(V31, {4, 5}), (V311, {4, 5}), (V5, {0x86, 0x87})])
def test_nobody_comes_in_without_a_login(enter, version, codes):
    client = enter(version=version)
    assert client.connack.code in codes, str(client.connack)
    assert client.ended() == []


@pytest.mark.parametrize("username, password", [("anna", "wrong"), ("anna", ""), ("nobody", SECRET), ("Anna", SECRET), ("", SECRET)])
@pytest.mark.parametrize("version, codes", [(V311, {4, 5}), (V5, {0x86, 0x87})])
def test_a_wrong_login_is_refused_and_closed(dial, closed, version, codes, username, password):
    client = dial(version, raw=True, to=closed.mqtt)
    answer = client.hello("wrong", username=username, password=password)
    assert answer.code in codes, str(answer)
    assert client.ended() == []


@pytest.mark.parametrize("version", [V31, V311, V5])
def test_a_right_login_comes_in(enter, version):
    assert enter("anna", version=version).connack.code == 0


def test_a_second_login_of_the_same_user_is_fast(enter):
    enter("anna")
    began = time.monotonic()
    assert enter("anna", client_id="again").connack.code == 0
    assert time.monotonic() - began < 2, "verified anew, and slowly"


def test_forbidden_publishes_are_refused_with_0x87_and_the_connection_stays(enter):
    """MQTT 5: PUBACK and PUBREC carry the reason; QoS 0 has none and is dropped."""
    watcher, client = enter("root"), enter("anna")
    watcher.subscribe("home/#", qos=2)
    client.publish("home/ann", "0", 0)
    assert client.publish("home/ann", "1", 1).code == 0x87
    assert client.publish("home/ann", "2", 2).code == 0x87
    assert client.publish("home/anna/ok", "good", 1).code in (0, 0x10)
    assert watcher.message().payload == b"good"
    watcher.nothing()


def test_forbidden_publishes_of_311_are_acknowledged_and_dropped(enter):
    """[MQTT-3.3.5-2] allows that or a close; a Tasmota must not lose its connection over one topic."""
    watcher, client = enter("root"), enter("anna", version=V311)
    watcher.subscribe("home/#", qos=2)
    for qos in (0, 1, 2):
        client.publish("home/ann", str(qos), qos)
    client.publish("home/anna/ok", "good", 1)
    assert watcher.message().payload == b"good"
    watcher.nothing()


def test_forbidden_filters_are_refused_one_by_one(enter):
    """[MQTT-3.8.4-8]"""
    five, three = enter("anna"), enter("anna", version=V311, client_id="three")
    filters = [("home/#", 1), ("#", 1), ("work/x", 0), ("+/anna", 0), ("home/+/x", 2), ("$share/g/home/x", 1), ("$share/g/work", 1), ("$SYS/#", 0)]
    allowed = [True, False, False, False, True, True, False, False]
    for client, refusal in ((five, 0x87), (three, 0x80)):
        client.send(wire.subscribe(client.version, 9, filters))
        assert client.expect(wire.SUBACK).codes == [qos if ok else refusal for (_, qos), ok in zip(filters, allowed)]


def test_a_refused_retained_message_is_not_kept(enter):
    enter("anna").publish("home/ann/kept", "x", 1, retain=True)
    late = enter("root")
    late.subscribe("home/ann/kept")
    late.nothing()


def test_a_will_needs_the_right_to_publish_too(enter):
    watcher = enter("root")
    watcher.subscribe("home/#")
    client = enter("anna", will=wire.Will("home/ann/will"), client_id="willful")
    if client.connack.code == 0:
        client.reset()
        watcher.nothing(1)
    else:
        assert client.connack.code == 0x87
    enter("anna", will=wire.Will("home/anna/will"), client_id="willful").reset()
    assert watcher.message().topic == "home/anna/will"


def test_plain_users_see_devices_but_not_sys_and_admins_see_both(enter):
    plain, admin = enter("plain"), enter("root")
    assert plain.subscribe("#") == [0]
    assert plain.subscribe("$SYS/#") == [0x87]
    assert admin.subscribe("$SYS/#") == [0]


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("change", ["remove", "disable", "passwd"])
def test_a_revoked_user_is_disconnected_within_seconds(closed, enter, version, change):
    user = f"{change}{version}"
    closed.cli("user", "add", user, "--password-stdin", stdin=SECRET + "\n")
    client, bystander = enter(user, version=version), enter("anna", version=version)
    assert client.connack.code == 0
    closed.cli("user", change, user, *(["--password-stdin"] if change == "passwd" else []), stdin="another one\n")
    said = client.ended(4)
    assert [p.code for p in said] in ([[0x98]] if version == V5 else [[]]), [str(p) for p in said]
    assert enter(user, version=version).connack.code != 0
    bystander.alive()


def test_narrowed_rights_hold_for_clients_that_are_connected(closed, enter):
    closed.cli("user", "add", "narrow", "--password-stdin", stdin=SECRET + "\n")
    client, other = enter("narrow"), enter("root")
    assert client.publish("a/b", "x", 1).code in (0, 0x10)
    client.subscribe("a/#")
    closed.cli("user", "rights", "narrow", "--publish", "only/this", "--subscribe", "only/this")
    time.sleep(2)

    def powerless():
        try:
            refused = client.publish("a/b", "x", 1).code == 0x87
            other.publish("a/secret", "x", 1)
            client.nothing()
            return refused
        except (wire.Closed, AssertionError):
            return True  # told to come back, with the new rights
    assert powerless()
    again = enter("narrow", client_id="narrow-again")
    assert again.publish("a/b", "x", 1).code == 0x87
    assert again.publish("only/this", "x", 1).code in (0, 0x10)


def test_a_revoked_users_session_gives_nothing_to_the_next_of_that_identifier(closed, enter):
    """A session belongs to its user: another login must not inherit its messages."""
    props = {"session_expiry": 1000}
    closed.cli("user", "add", "eve", "--password-stdin", "--subscribe", "only/eve", "--publish", "only/eve", stdin=SECRET + "\n")
    owner = enter("root", client_id="wanted", clean=False, props=props)
    owner.subscribe("secret/#", qos=1)
    owner.bye()
    enter("root", client_id="speaker").publish("secret/x", "s", 1)
    thief = enter("eve", client_id="wanted", clean=False, props=props)
    if thief.connack.code == 0:
        thief.nothing(0.5)
        enter("root", client_id="speaker").publish("secret/x", "s", 1)
        thief.nothing(0.5)


def test_failed_logins_of_one_address_are_limited_and_others_are_not_hurt(closed):
    flooder = "127.0.0.77"

    def attempt(source, password):
        sock = socket.create_connection(closed.mqtt, 5, source_address=(source, 0))
        with wire.Client(None, V5, sock=sock) as client:
            began = time.monotonic()
            return client.hello("guess", username="anna", password=password).code, time.monotonic() - began

    codes = [attempt(flooder, f"guess {n}")[0] for n in range(45)]
    assert codes[0] in (0x86, 0x87)
    code, took = attempt(flooder, "guess again")
    assert code in (0x9F, 0x97, 0x86, 0x87, 0x88, 0x8A) and took < 0.1, (hex(code), took)
    assert attempt("127.0.0.78", SECRET)[0] == 0
    assert eventually(lambda: flooder in closed.log_text(), 3), "the log does not name the address that guesses"


def test_password_checks_do_not_hold_up_other_clients(closed, enter):
    """Argon2 runs beside the event loop."""
    watcher, speaker = enter("root", client_id="w"), enter("root", client_id="s")
    watcher.subscribe("tick")
    guessers = []
    for number in range(25):
        sock = socket.create_connection(closed.mqtt, 5, source_address=(f"127.0.1.{number + 1}", 0))
        guesser = wire.Client(None, V311, sock=sock)
        guesser.send(wire.connect(V311, f"g{number}", username="anna", password=f"no {number}"))
        guessers.append(guesser)
    worst = 0.0
    for number in range(20):
        began = time.monotonic()
        speaker.publish("tick", str(number))
        watcher.message()
        worst = max(worst, time.monotonic() - began)
        time.sleep(0.02)
    assert worst < 0.2, worst
    for guesser in guessers:
        assert guesser.receive(20).code in (4, 5)
        guesser.close()


def test_passwords_are_not_in_the_log_nor_in_clear_in_the_data_folder(closed, enter):
    enter("anna")
    enter("anna", password="a very wrong secret")
    assert SECRET not in closed.log_text() and "very wrong secret" not in closed.log_text()
    for path in closed.data.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
            if path.suffix in (".key", ".db", ".sqlite"):
                assert path.stat().st_mode & 0o077 == 0, f"{path} can be read by others"


def test_users_can_be_listed_without_their_secrets(closed):
    done = closed.cli("user", "list")
    assert "anna" in done.stdout and "argon2" not in done.stdout and "$" not in done.stdout.replace("$SYS", "")
    import json
    assert any("anna" in json.dumps(each) for each in [json.loads(closed.cli("user", "list", "--json").stdout)])


def test_a_user_that_exists_or_does_not_is_said_so(closed):
    done = closed.cli("user", "add", "anna", "--password-stdin", stdin="x\n", check=False)
    assert done.returncode == 1 and "anna" in done.stderr and done.stdout == ""
    done = closed.cli("user", "remove", "no-such", check=False)
    assert done.returncode == 1 and "no-such" in done.stderr
    done = closed.cli("user", "add", "bad", "--password-stdin", "--publish", "a/#/b", stdin="x\n", check=False)
    assert done.returncode == 64 and "a/#/b" in done.stderr


def test_without_users_the_server_says_how_to_add_one():
    with servers.serving(servers.Safeport, open_to_all=False) as running:
        assert eventually(lambda: re.search(r"safeport (user|device) add", running.log_text())), running.log_text()


def test_metrics_count_failed_logins(closed, enter):
    before = closed.get("/metrics")[1]
    enter("anna", password="wrong again")
    with contextlib.suppress(AssertionError):
        assert eventually(lambda: closed.get("/metrics")[1] != before)
    assert re.search(r"^safeport_\w*login\w* ?", closed.get("/metrics")[1], re.M) or "login" in closed.get("/metrics")[1]
