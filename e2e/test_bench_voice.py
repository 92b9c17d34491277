"""`safeport bench voice` against the real server: every scene in small, by either way, and servers that are none."""

import json
import socket
import subprocess
import threading

import pytest

import server as servers
from conftest import eventually
from nginx import own_address


@pytest.fixture(scope="module", params=["websocket", "mqtt"])
def hub(request):
    environment = {"SAFEPORT__XIAOZHI__ACTIVATION": "open", "SAFEPORT__ADVERTISE__XIAOZHI": request.param}
    # Who says which way has to be told wants an address that devices reach.
    with servers.serving(servers.Safeport, open_to_all=False, environment=environment, host=own_address()) as running:
        running.way = request.param
        yield running
        assert running.process.poll() is None, running.log_text()[-4000:]


def bench(*arguments, code=0, seconds=90):
    done = subprocess.run([str(servers.BINARY), "--json", "bench", "voice", *map(str, arguments)], capture_output=True, text=True,
                          timeout=seconds)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def play(hub, *arguments):
    found = bench(*arguments, f"http://{hub.host}:{hub.http_port}/xiaozhi/ota/", f"--way={hub.way}", f"--pid={hub.process.pid}")
    assert found["failed"] == 0, found
    return found


def test_sessions_that_wait_have_no_threads_and_are_all_there_at_the_end(hub):
    found = play(hub, "idle", "--sessions=60")
    assert found["sessions"] == 60 and found["threads"] < 10, found
    assert found["rss_bytes_per_session"] is not None


def test_every_session_that_opens_is_counted(hub):
    found = play(hub, "opens", "--count=60", "--concurrent=4")
    assert found["opened"] == 60 and found["wait_ms"]["p50"] <= found["wait_ms"]["p99"] <= found["wait_ms"]["most"]
    assert play(hub, "storm", "--sessions=40")["opened"] == 40


@pytest.mark.parametrize("mode", ["manual", "auto"])
def test_a_quiet_room_is_heard_and_not_answered(hub, mode):
    found = play(hub, "uplink", "--sessions=4", f"--mode={mode}", "--seconds=2")
    # Sixteen packets a second of each, as far as the machine keeps up.
    assert 60 < found["up"] <= 4 * 2 * 17 + 8 and found["down"] == 0 and found["turns"] == 0, found


@pytest.mark.parametrize("mode", ["manual", "auto", "realtime"])
def test_sentences_are_answered_and_their_waits_told(hub, mode):
    found = play(hub, "talk", "--sessions=3", f"--mode={mode}", "--seconds=9")
    assert found["turns"] >= 3 and found["up"] > 100 and found["down"] > 100, found
    assert 0 <= found["understood_ms"]["p50"] <= found["answered_ms"]["p50"] < 2000, found


def test_who_serves_no_conversations_is_told_apart():
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]

        def refuse():
            for _ in range(2):
                one, _ = nobody.accept()
                one.recv(4096)
                one.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                one.close()

        threading.Thread(target=refuse, daemon=True).start()
        found = bench("storm", "--sessions=2", f"ws://127.0.0.1:{port}/", code=1)
        assert found["failed"] == 2 and "404" in found["first_failure"]
    assert eventually(lambda: "listening" in bench("storm", "--sessions=1", f"http://127.0.0.1:{port}/xiaozhi/ota/", code=1))


@pytest.mark.parametrize("arguments, says", [
    (["idle", "wss://127.0.0.1/"], "write http://"),
    (["storm", "--sessions=0", "ws://127.0.0.1:9/"], "choose 1 to"),
    (["uplink", "--seconds=60", "ws://127.0.0.1:9/"], "choose at most 25"),
])
def test_what_cannot_be_played_says_what_can(arguments, says):
    assert says in bench(*arguments, code=1)
