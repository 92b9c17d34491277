"""The time for devices: a real client and the very packets of devices get it, everybody else gets nothing, and its port
is planned, shown, refused and changed like those of other listeners."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import time

import ntplib

import server as servers
from conftest import eventually

FROM_1900 = 2_208_988_800
# lwIP (ESP-IDF, Arduino's configTime, ESPHome): version 4, client, nothing else.
LWIP = bytes([0x23]) + bytes(47)
# Tasmota and ESPEasy: as Arduino's first example had it.
ARDUINO = bytes([0xE3, 0, 6, 0xEC]) + bytes(8) + b"1N14" + bytes(32)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]


def with_time(home, port: int, host="127.0.0.1"):
    return home(settings={"ntp": f'enabled = true\nbind = "{host}:{port}"'}, open_to_all=True)


def ask(port: int, packet: bytes, host="127.0.0.1", patience=2.0) -> bytes | None:
    """The answer, from nobody but who was asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.settimeout(patience)
        device.connect((host, port))
        device.send(packet)
        try:
            return device.recv(512)
        except (TimeoutError, ConnectionRefusedError):
            return None


def seconds(answer: bytes) -> float:
    """The time in an answer, as devices read it."""
    whole, part = struct.unpack(">II", answer[40:48])
    return whole - FROM_1900 + part / 2**32


@contextlib.contextmanager
def udp_taken(port: int):
    """Another process that has the UDP port."""
    program = subprocess.Popen([sys.executable, "-c", f"""
import socket
held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
held.bind(("127.0.0.1", {port}))
print("ready", flush=True)
input()
"""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout.readline() == "ready\n"
        yield program
    finally:
        program.communicate("\n", timeout=10)


def test_a_real_client_and_the_packets_of_devices_get_this_machines_time(home):
    port = free_udp_port()
    here = with_time(home, port, host="0.0.0.0").start()
    client = ntplib.NTPClient()
    for version in (1, 2, 3, 4):
        answer = client.request("127.0.0.1", version=version, port=port, timeout=2)
        assert abs(answer.offset) < 0.25 and answer.delay < 0.25, (answer.offset, answer.delay)
        assert (answer.version, answer.mode, answer.leap, answer.stratum) == (version, 4, 0, 10)
    for packet in (LWIP, ARDUINO):
        # Also from another address of this machine than the one it would choose itself.
        for host in ("127.0.0.1", "127.0.0.7"):
            answer = ask(port, packet, host)
            assert answer and len(answer) == 48, host
            assert answer[0] == 0x24 and answer[24:32] == packet[40:48]
            assert abs(seconds(answer) - time.time()) < 0.25
    assert here.metric("safeport_ntp_packets_total") >= 8
    # The greeting comes once addresses are proved, a moment after the first answer.
    assert eventually(lambda: f"ntp    0.0.0.0:{port}" in here.log_text()), here.log_text()


def test_what_is_no_clients_question_gets_no_answer_at_all(home):
    port = free_udp_port()
    here = with_time(home, port).start()
    monlist = bytes([0x17, 0, 3, 0x2A]) + bytes(188)
    others = [bytes([version << 3 | mode]) + bytes(47)
              for version in range(8) for mode in range(8) if (mode, version) not in ((3, 1), (3, 2), (3, 3), (3, 4), (0, 1))]
    for packet in [b"", b"\n", LWIP[:47], LWIP + bytes(3), monlist, *others]:
        assert ask(port, packet, patience=0.02) is None, packet
    answer = ask(port, LWIP)
    assert answer and len(answer) == 48
    assert here.alive()


def test_who_floods_is_told_to_slow_down_and_then_gets_nothing_while_others_are_served(home):
    port = free_udp_port()
    here = with_time(home, port).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.bind(("127.0.0.2", 0))
        flood.settimeout(0.3)
        for _ in range(200):
            flood.sendto(LWIP, ("127.0.0.1", port))
        answers = []
        with contextlib.suppress(TimeoutError):
            while True:
                answers.append(flood.recv(512))
    kisses = [answer for answer in answers if answer[1] == 0]
    assert [kiss[12:16] for kiss in kisses] == [b"RATE"]
    assert 16 <= len(answers) - 1 <= 20, len(answers)
    answer = ask(port, LWIP)
    assert answer and answer[1] == 10
    assert here.alive()


def test_a_udp_port_that_another_program_holds_is_refused_and_its_holder_named(home):
    # The same number of TCP is another port, and held all the time.
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        port = tcp.getsockname()[1]
        here = with_time(home, port)
        with udp_taken(port) as program:
            for language in ("en", "zh-CN"):
                done = here.cli("serve", "--lang", language, check=False)
                assert done.returncode == 1
                for word in (str(port), "ntp.bind", "safeport.toml:", str(program.pid), "python"):
                    assert word in done.stderr, f"{word} is missing:\n{done.stderr}"
            row = next(row for row in here.json("ports")["ports"] if row["listener"] == "ntp")
            assert (row["protocol"], row["state"]) == ("udp", "held"), row
        here.start()
        assert ask(port, LWIP)
        row = next(row for row in here.json("ports")["ports"] if row["listener"] == "ntp")
        assert (row["protocol"], row["state"]) == ("udp", "bound"), row
        assert f"udp  127.0.0.1:{port}" in here.cli("ports").stdout


def test_the_time_is_switched_on_moved_and_switched_off_while_the_server_runs(home):
    here = home(settings={"ntp": "enabled = false"}, open_to_all=True).start()
    first, second = free_udp_port(), free_udp_port()
    assert ask(first, LWIP, patience=0.2) is None
    text = here.file.read_text()

    def change(ntp: str) -> subprocess.CompletedProcess:
        here.file.write_text(text.replace("enabled = false", ntp))
        return here.cli("config", "reload", check=False)

    for port in (first, second):
        done = change(f'enabled = true\nbind = "127.0.0.1:{port}"')
        assert done.returncode == 0, done.stderr
        assert ask(port, LWIP)
    assert ask(first, LWIP, patience=0.2) is None, "where it was before, nobody answers"
    # To all addresses on the same port: the old socket is in the way of the new one.
    done = change(f'enabled = true\nbind = "0.0.0.0:{second}"')
    assert done.returncode == 0, done.stderr
    assert ask(second, LWIP, host="127.0.0.9")
    with udp_taken(first) as program:
        done = change(f'enabled = true\nbind = "127.0.0.1:{first}"')
        assert done.returncode == 1 and str(program.pid) in done.stderr + done.stdout, done
    assert ask(second, LWIP), "a change that cannot be made changes nothing"
    done = change("enabled = false")
    assert done.returncode == 0, done.stderr
    assert eventually(lambda: ask(second, LWIP, patience=0.2) is None, 5)
    assert here.get("/healthz")[0] == 200
