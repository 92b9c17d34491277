"""The fault lab (doctor_lab.py): of every fault the doctor gives the verdict that stands in the lab's row."""

import contextlib
import json
import os
import socket
import subprocess
import time

import pytest

import doctor_lab
from doctor_lab import BINARY, ROWS, Bench, ask
from lab_pki import Lab
from nginx import own_address
from server import free_ports, serving


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("doctor-lab"))


@contextlib.contextmanager
def possible(row):
    try:
        questions = row.__enter__()
    except doctor_lab.Impossible as why:
        pytest.skip(str(why))
    try:
        yield questions
    finally:
        row.__exit__(None, None, None)


@pytest.mark.parametrize("number", sorted(ROWS), ids=lambda number: f"{number:02}-{ROWS[number].fault.replace(' ', '-')}")
def test_a_fault_of_the_lab_gets_its_verdict(kind, number, lab, tmp_path):
    if kind.name != "safeport":
        pytest.skip("asks Safeport's own command line")
    with Bench(tmp_path, lab) as bench, possible(ROWS[number].set_up(bench)) as questions:
        for question in questions:
            done = ask(question)
            shown = f"safeport doctor {' '.join(question.arguments)}\n{done.stdout}\n{done.stderr}"
            assert done.stdout.startswith("{"), shown
            diagnosis = json.loads(done.stdout)
            finding = diagnosis["finding"]
            if question.cause == "healthy":
                assert finding["cause"] == "healthy" and done.returncode == 0, shown
                continue
            if question.cause == "healthy_tls":
                assert finding["cause"] == "healthy" or finding["layer"] in ("mqtt", "http", "ota"), shown
                continue
            assert finding["cause"] == question.cause, shown
            assert done.returncode == diagnosis["exit_code"] != 0, shown
            assert finding["means"]["en"] and finding["means"]["zh"] and finding["fix"]["en"] and finding["fix"]["zh"], shown
            assert finding["saw"], shown
            for word in question.says:
                assert word in json.dumps(finding), f"{word} is not named\n{shown}"


def test_every_row_of_the_lab_is_here():
    assert sorted(ROWS) == list(range(1, 53))


def test_a_server_that_streams_garbage_for_ever_costs_what_the_stages_may_cost(kind, lab, tmp_path):
    def garbage(connection):
        connection.settimeout(30)
        while True:
            connection.sendall(os.urandom(65536))
    with Bench(tmp_path, lab) as bench:
        began = time.monotonic()
        done = ask(doctor_lab.Question(bench.at("mqtts", bench.listen(garbage)), "wrong_service"), timeout=60)
        assert time.monotonic() - began < 45
        assert 10 <= done.returncode <= 19, done.stdout + done.stderr


def test_a_healthy_server_is_examined_while_somebody_waits(kind, lab, tmp_path):
    # Not the wall clock of a busy machine: the sum of what the stages themselves waited and worked.
    with Bench(tmp_path, lab) as bench:
        done = ask(doctor_lab.Question(bench.at("mqtts", bench.mosquitto(tls=True)) + ["--as", doctor_lab.BEARSSL], "healthy"))
        assert done.returncode == 0, done.stdout + done.stderr
        steps = json.loads(done.stdout)["steps"]
        assert {"3", "5", "6", "8"} <= {step["stage"] for step in steps}, steps


def examined(server, *more):
    done = subprocess.run([str(BINARY), "doctor", "--json", "--data", str(server.data), *more], text=True, capture_output=True, timeout=30,
                          cwd=server.folder, env=server.environment, stdin=subprocess.DEVNULL)
    assert done.stdout.startswith("{"), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_without_a_target_the_server_itself_is_examined(kind, tmp_path):
    with serving() as server:
        # Bound to 127.0.0.1, as all servers of these tests: no device would reach it, and that is all that is wrong.
        code, told = examined(server)
        assert code == 12 and told["finding"]["cause"] == "not_reachable_from_lan", told["finding"]
        own = next(step for step in told["steps"] if step["stage"] == "0")
        assert all(str(port) in own["came"]["en"] for port in (server.mqtt_port, server.mqtts_port, server.http_port)), own
        assert [step["stage"] for step in told["steps"]] == ["1", "0", "7"]
        server.stop()
        code, told = examined(server)
        assert code == 12 and told["finding"]["cause"] == "nothing_listens" and "safeport serve" in told["finding"]["fix"]["en"], told
        with socket.create_server(server.mqtt):
            code, told = examined(server)
            assert code == 12 and told["finding"]["cause"] == "port_in_use", told
            assert str(os.getpid()) in json.dumps(told["finding"]), told


def test_a_voice_server_that_devices_are_told_and_nobody_runs_is_named(kind, tmp_path):
    free, = free_ports(1)
    with serving() as server:
        environment = server.environment | {"SAFEPORT__XIAOZHI__WEBSOCKET_URL": f"ws://{own_address()}:{free}/xiaozhi/v1/"}
        done = subprocess.run([str(BINARY), "doctor", "--json", "--data", str(server.data)], text=True, capture_output=True, timeout=30,
                              cwd=server.folder, env=environment, stdin=subprocess.DEVNULL)
        told = json.loads(done.stdout)
        assert any(clue["cause"] == "handed_out_mismatch" and str(free) in clue["quote"]["en"] for clue in told["evidence"]["clues"]), told


def test_what_is_asked_wrongly_is_usage(kind, tmp_path):
    for arguments in (["--long=2h"], ["mqtts://hub.example", "--as", "toaster"], ["--log", str(tmp_path / "nothing.log")]):
        done = subprocess.run([str(BINARY), "doctor", *arguments], text=True, capture_output=True, timeout=20)
        assert done.returncode in (1, 64) and done.stderr, (arguments, done)
        assert not done.stdout
