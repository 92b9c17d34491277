"""Every attempt to connect is written down with what it means: on the command line, over the API, in the log."""

import json
import re
import socket
import ssl
import time

import pytest

import wire

CONNECT = wire.connect(wire.V311, "stranger")


def say_in_clear(port: int, words: bytes) -> bytes:
    """Sends something and returns what comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        link.sendall(words)
        heard = b""
        link.settimeout(10)
        while piece := link.recv(4096):
            heard += piece
        return heard


def attempts(server, *arguments, until=lambda rows: rows, seconds=10) -> list[dict]:
    """What the command prints, once it is what the test waits for."""
    deadline = time.monotonic() + seconds
    while True:
        rows = json.loads(server.cli("attempts", "--json", *arguments).stdout)
        if until(rows) or time.monotonic() > deadline:
            return rows
        time.sleep(0.1)


def cause(rows: list[dict], code: str) -> dict:
    found = [row for row in rows if row["cause"] == code]
    assert found, f"no {code} among {[row['cause'] for row in rows]}"
    return found[0]


def has(code: str, count=1):
    return lambda rows: sum(row["count"] for row in rows if row["cause"] == code) >= count


@pytest.fixture(scope="module")
def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_mqtt_in_clear_on_the_tls_port_is_counted_and_explained(own_server):
    server = own_server()
    for _ in range(3):
        say_in_clear(server.mqtts_port, CONNECT)
    rows = attempts(server, "--failed", until=has("plain_to_tls_port", 3))
    row = cause(rows, "plain_to_tls_port")
    assert (row["count"], row["address"], row["listener"]) == (3, "127.0.0.1", "mqtts"), row
    assert "SetOption103 1" in row["next"] and row["certainty"] == "certain", row
    text = server.cli("attempts", "--failed").stdout
    assert "plain_to_tls_port" in text and "→" in text, text
    chinese = json.loads(server.cli("--lang", "zh-CN", "attempts", "--json").stdout)
    assert cause(chinese, "plain_to_tls_port")["means"] != row["means"]
    assert not attempts(server, "--address", "192.0.2.1", seconds=0)
    # One line for the cause and address, whatever the count.
    assert server.log_text().count("plain_to_tls_port") == 1, server.log_text()


def test_attempts_outlive_the_server_and_can_be_read_without_it(own_server):
    server = own_server()
    say_in_clear(server.mqtt_port, bytes.fromhex("16030100050100000100"))
    server.stop()
    row = cause(attempts(server, seconds=0), "tls_to_plain_port")
    assert row["failure"] and "MqttPort 8883" in row["next"], row


def test_a_handshake_that_succeeds_is_an_attempt_too_with_what_it_agreed_on(own_server, tls):
    server = own_server()
    raw = socket.create_connection(("127.0.0.1", server.mqtts_port), timeout=10)
    with tls.wrap_socket(raw, server_hostname="localhost") as link:
        link.sendall(CONNECT)
        assert link.recv(100)[0] >> 4 == 2
    # The test's own looks at /healthz are attempts as well.
    rows = attempts(server, until=lambda rows: any(row["listener"] == "mqtts" for row in rows))
    row = cause([row for row in rows if row["listener"] == "mqtts"], "healthy")
    assert row["tls_version"] == "TLS 1.3" and row["server_name"] == "localhost", row
    assert row["stack"] == "openssl" and row["hello"] and row["client_id"] == "stranger", row
    assert server.metric("safeport_attempts_total") >= 1


def test_a_device_is_shown_with_its_last_attempts_and_what_to_do(own_server):
    server = own_server(open_to_all=False)
    server.cli("device", "add", "tasmota", "--name", "plug-1", "--host", "127.0.0.1")
    wrong = wire.connect(wire.V311, "plug-1", username="plug-1", password="wrong")
    say_in_clear(server.mqtt_port, wrong)
    rows = attempts(server, "--device", "plug-1", until=has("auth_failed"))
    assert cause(rows, "auth_failed")["user"] == "plug-1"
    shown = server.cli("device", "show", "plug-1").stdout
    assert "auth_failed" in shown and "device passwd" in shown, shown


def test_programs_ask_over_the_api(own_server):
    server = own_server()
    token = server.cli("token", "add", "panel", "--read-only").stdout.strip()
    say_in_clear(server.mqtts_port, CONNECT)
    attempts(server, until=has("plain_to_tls_port"))

    def ask(path: str) -> tuple[int, dict]:
        import urllib.error
        import urllib.request
        request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/api/v1/{path}",
                                         headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    status, body = ask("attempts?failed=true&cause=plain_to_tls_port")
    assert status == 200 and [row["listener"] for row in body["attempts"]] == ["mqtts"], body
    assert body["attempts"][0]["port"] and body["dropped"] == 0
    status, body = ask("attempts/counted?address=127.0.0.1&failed=true")
    assert status == 200 and cause(body["attempts"], "plain_to_tls_port")["count"] == 1, body
    assert ask("attempts?cause=weather")[0] == 400
    assert ask("attempts?limit=0")[0] == 400
    assert ask("attempts?device=nobody")[0] == 404
    status, body = ask("certificates")
    assert status == 200 and [row["listener"] for row in body["listeners"]] == ["mqtts", "https"], body
    assert "PRIVATE" not in json.dumps(body)


def test_a_running_server_renews_and_rotates_when_it_is_asked(own_server):
    server = own_server()

    def served() -> dict:
        return json.loads(server.cli("cert", "show", "--json").stdout)

    def in_use(shown: dict) -> bool:
        return all(chain["in_use"] in (True, None) for row in shown["listeners"] for chain in row["presents"])

    before = served()
    server.cli("cert", "renew")
    after = served()
    serials = [shown["listeners"][0]["presents"][0]["certificates"][0]["serial"] for shown in (before, after)]
    assert serials[0] != serials[1]
    assert before["tasmota_fingerprint"] == after["tasmota_fingerprint"] and in_use(after)

    line = server.cli("device", "add", "tasmota", "--name", "plug-1", "--host", "127.0.0.1", "--tls").stdout
    pinned = re.search(r"MqttFingerprint1 ((?:[0-9A-F]{2} ?){20})", line)[1].strip()
    assert pinned == after["tasmota_fingerprint"]
    refused = server.cli("cert", "rotate", check=False)
    assert refused.returncode == 1 and "plug-1" in refused.stderr, refused
    server.cli("cert", "rotate", "--prepare")
    following = json.loads(server.cli("cert", "fingerprint", "--json").stdout)
    server.cli("cert", "rotate", "--strand", "plug-1")
    rotated = served()
    assert rotated["tasmota_fingerprint"] == following["next"]["v2"] != pinned
