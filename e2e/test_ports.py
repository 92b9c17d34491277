"""Ports that another program holds: who is named, where a listener moves, what stays put for the sake of devices."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys

import pytest

import server as servers
import wire
from conftest import eventually


@contextlib.contextmanager
def taken(port: int, host="127.0.0.1"):
    """Another process that listens on the port, as a test's name in the process list."""
    program = subprocess.Popen([sys.executable, "-c", f"""
import socket
held = socket.create_server(({host!r}, {port}))
print("ready", flush=True)
input()
"""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout.readline() == "ready\n"
        yield program
    finally:
        program.communicate("\n", timeout=10)


def free_range(count=5) -> str:
    """Ports beside each other that are free, none of them given out by the system at this moment."""
    for first in range(20000 + random.randrange(9000), 32000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return f"{first}-{first + count - 1}"
    raise AssertionError("no free ports")


def inside(port: int, span: str) -> bool:
    first, last = map(int, span.split("-"))
    return first <= port <= last


def port_of(here, listener="http") -> dict:
    return next(row for row in here.json("ports")["ports"] if row["listener"] == listener)


def bound_port(here, listener="http") -> int:
    row = port_of(here, listener)
    assert row["state"] == "bound", row
    return int((row["moved_to"] or row["address"]).rsplit(":", 1)[1])


def advertised(here, scheme: str) -> dict[str, str]:
    return {row["url"]: row["state"] for row in here.json("ports")["advertised"] if row["url"].startswith(scheme + "://")}


def test_serve_refuses_a_port_that_another_program_holds_and_names_program_pid_and_key(home):
    here = home()
    with taken(here.http_port) as program:
        for language in ("en", "zh-CN"):
            done = here.cli("serve", "--lang", language, check=False)
            assert done.returncode == 1
            for word in (str(here.http_port), "http.bind", "safeport.toml:", str(program.pid), "python"):
                assert word in done.stderr, f"{word} is missing:\n{done.stderr}"
        assert any("一" <= letter <= "鿿" for letter in done.stderr), done.stderr
        # Nothing else was left bound.
        socket.create_server(here.mqtt).close()
        shown = here.cli("ports").stdout
        assert str(program.pid) in shown and "http.bind" in shown, shown
        row = port_of(here)
        assert str(program.pid) in json.dumps(row["holder"]) and "python" in json.dumps(row["holder"]), row


def test_with_a_range_the_listener_moves_and_devices_would_be_told_the_proved_new_port(home):
    span = free_range()
    here = home(settings={"http": f'on_conflict = "{span}"'})
    with taken(here.http_port):
        here.http_port = moved_port(here)
        assert inside(here.http_port, span)
        url = f"ws://127.0.0.1:{here.http_port}"
        assert eventually(lambda: advertised(here, "ws").get(url) == "verified", 10), advertised(here, "ws")
        assert list(advertised(here, "ws")) == [url], "the port that somebody else holds is told to nobody"
        here.stop()
    # The other program is gone; the port that was told stays.
    here.start()
    assert bound_port(here) == here.http_port
    history = here.json("ports", "--history")
    assert any("mov" in json.dumps(row) for row in history), history
    shown = here.cli("ports", "--history").stdout
    assert str(here.http_port) in shown, shown
    here.stop()
    here.cli("ports", "--release", "http")
    here.http_port = original(here)
    here.start()
    assert bound_port(here) == here.http_port, "given back, the listener takes what its settings say"


def original(here) -> int:
    return int(here.file.read_text().split("[http]")[1].split('"')[1].rsplit(":", 1)[1])


def moved_port(here) -> int:
    """Starts a server whose HTTP port will not be the one of its settings; where it went."""
    here.wait_ready = lambda healthy=True: None
    here.start()
    del here.wait_ready

    def listening():
        assert here.alive(), here.log_text()
        row = port_of(here)
        return row["state"] == "bound" and row["moved_to"]
    where = eventually(listening, 20, 0.2)
    assert where, here.json("ports")
    return int(str(where).rsplit(":", 1)[1])


def test_a_listener_does_not_leave_a_port_that_a_device_was_told_unless_the_device_is_named(home):
    span = free_range()
    here = home(settings={"mqtt": f'on_conflict = "{span}"'}).start()
    here.cli("device", "add", "plain", "--name", "lamp")
    password = here.json("device", "passwd", "lamp")["password"]
    device = wire.Client(here.mqtt, wire.V311)
    assert device.hello("lamp", username="lamp", password=password).code == 0
    device.close()
    here.stop()
    with taken(here.mqtt_port):
        for language in ("en", "zh-CN"):
            done = here.cli("serve", "--lang", language, check=False)
            assert done.returncode == 1
            assert "lamp" in done.stderr and str(here.mqtt_port) in done.stderr, done.stderr
            assert "--strand" in done.stderr, done.stderr
        other = here.cli("serve", "--strand", "another", check=False)
        assert other.returncode != 0 and "lamp" in other.stderr, other.stderr
        here.arguments = ["--strand", "lamp"]
        here.start()
        assert inside(bound_port(here, "mqtt"), span)


def test_a_range_that_is_taken_as_a_whole_is_refused(home):
    first = int(free_range(2).split("-")[0])
    here = home(settings={"http": f'on_conflict = "{first}-{first + 1}"'})
    with taken(here.http_port), taken(first), taken(first + 1):
        done = here.cli("serve", check=False)
        assert done.returncode == 1
        assert str(first) in done.stderr and "http.on_conflict" in done.stderr, done.stderr


def test_a_udp_socket_on_the_same_number_is_in_nobodys_way(home):
    here = home()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(here.mqtt)
        here.start()
        assert bound_port(here, "mqtt") == here.mqtt_port


# Two binds, and whether they want one and the same port.
PAIRS = [("127.0.0.1", "0.0.0.0", True), ("0.0.0.0", "[::]", True), ("127.0.0.1", "[::]", True), ("[::1]", "[::]", True),
         ("127.0.0.1", "127.0.0.2", False), ("127.0.0.1", "[::1]", False), ("[::1]", "0.0.0.0", False),
         ("[::ffff:127.0.0.1]", "127.0.0.1", True), ("localhost", "127.0.0.1", True)]


@pytest.mark.parametrize("first, second, clash", PAIRS)
def test_check_knows_which_binds_are_in_each_others_way(home, first, second, clash):
    port = 18830
    here = home(settings={"mqtt": f'bind = "{first}:{port}"', "http": f'bind = "{second}:{port}"'})
    done = here.cli("check", check=False)
    assert done.returncode == (64 if clash else 0), done.stderr
    if clash:
        assert "mqtt.bind" in done.stderr and "http.bind" in done.stderr and str(port) in done.stderr, done.stderr


def test_one_listener_serves_on_several_addresses_of_both_families(home):
    here = home()
    here.cli("config", "set", "mqtt.bind", f"127.0.0.1:{here.mqtt_port},[::1]:{here.mqtt_port},127.0.0.2:{here.mqtt_port}")
    here.cli("user", "add", "me", "--password-stdin", stdin="a long password\n")
    here.start()
    for host in ("127.0.0.1", "::1", "127.0.0.2"):
        device = wire.Client((host, here.mqtt_port), wire.V311)
        assert device.hello(f"at-{host}", username="me", password="a long password").code == 0
        device.close()


def test_the_dual_stack_default_serves_ipv4_and_ipv6(home):
    here = home()
    here.cli("config", "set", "http.bind", f"[::]:{here.http_port}")
    here.start()
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, here.http_port), 5) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert plain.recv(100).startswith(b"HTTP/1.1 200 ")


def permitted_and_free(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_server(("127.0.0.1", port)).close()
        return True
    return False


def healthy(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return plain.recv(100).startswith(b"HTTP/1.1 200 ")


def test_standard_ports_are_served_too_where_they_are_free_and_permitted_and_stop_nothing_otherwise(home):
    free = permitted_and_free(80)
    here = home(settings={"http": "standard_ports = true"}).start()
    states = {row["address"]: row["state"] for row in here.json("ports")["ports"] if row["listener"] == "http"}
    assert states[f"127.0.0.1:{here.http_port}"] == "bound", states
    if free:
        assert states["127.0.0.1:80"] == "bound" and healthy(80), states
        here.stop()
        with taken(80) as program:
            here.start()
            assert healthy(here.http_port)
            assert eventually(lambda: str(program.pid) in here.log_text()), "who holds port 80 is said"
    else:
        assert states.get("127.0.0.1:80") != "bound" and "80" in here.log_text(), states
