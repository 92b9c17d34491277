"""Settings of other servers: the same file starts mosquitto, and imported it starts Safeport, to the same clients."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess

import pytest

import server as servers
import wire
from conftest import eventually

CHINESE = re.compile(r"[\u4e00-\u9fff]")


@contextlib.contextmanager
def mosquitto(config):
    program = subprocess.Popen([servers.client("mosquitto"), "-c", str(config)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield program
    finally:
        program.terminate()
        program.wait(10)


def talks(port: int, **login) -> int:
    """What CONNACK says at a port; 0 is welcome, and then a message comes back."""
    client = wire.Client(("127.0.0.1", port), wire.V311)
    try:
        code = client.hello("importer", **login).code
        if code == 0:
            assert client.subscribe("import/test", qos=1) == [1]
            client.send(wire.publish(wire.V311, "import/test", b"yes", 1, client.pid()))
            assert b"yes" in {client.receive().payload, client.receive().payload}
        return code
    finally:
        client.close()


def opens(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


@pytest.mark.parametrize("open_to_all", [True, False], ids=["open to all", "with logins"])
def test_a_mosquitto_conf_that_mosquitto_runs_with_runs_safeport_on_the_same_ports_for_the_same_clients(home, open_to_all):
    here = home(environment={"SAFEPORT__HTTPS__BIND": "127.0.0.1:0"})
    plain, websocket, https = servers.free_ports(3)
    config = here.folder / "mosquitto.conf"
    config.write_text(f"""# as a distribution has it
persistence false
listener {plain} 127.0.0.1
listener {websocket} 127.0.0.1
protocol websockets
allow_anonymous {str(open_to_all).lower()}
max_inflight_messages 33
max_keepalive 120
""")
    with mosquitto(config):
        assert eventually(lambda: opens(plain) and opens(websocket))
        before = talks(plain)
    assert before == (0 if open_to_all else 5)

    del here.environment["SAFEPORT__HTTPS__BIND"]
    here.file.unlink()
    run_import(here, "mosquitto", "mosquitto.conf", "--out", "safeport.toml")
    text = here.file.read_text()
    assert f'bind = "127.0.0.1:{plain}"' in text and "max_inflight = 33" in text and "mosquitto.conf:" in text, text
    here.cli("check")
    if "[https]" not in text:
        here.environment["SAFEPORT__HTTPS__BIND"] = f"127.0.0.1:{https}"
    if "[mqtts]" not in text:
        here.environment["SAFEPORT__MQTTS__ENABLED"] = "false"
    here.mqtt_port, here.http_port = plain, websocket
    here.start()
    assert talks(plain) == before
    assert here.json("config", "explain", "limits.max_inflight")["value"] == "33"


def run_import(here, *arguments, check=True):
    done = subprocess.run([str(servers.BINARY), "import", *arguments], text=True, capture_output=True, cwd=here.folder,
                          env=here.environment, timeout=30)
    if check:
        assert done.returncode == 0, done.stderr
    return done


BRIDGED = """listener 21884 127.0.0.1
cafile /etc/mosquitto/ca.crt
certfile /etc/mosquitto/server.crt
keyfile /etc/mosquitto/server.key
allow_anonymous false
password_file /etc/mosquitto/passwd
connection hub
address 10.0.0.5:1883
remote_password hush-hush
topic # both
frobnicate hush-too
"""


def test_what_does_not_map_is_listed_with_line_and_reason_and_nothing_is_guessed(home):
    here = home()
    (here.folder / "mosquitto.conf").write_text(BRIDGED)
    shown = run_import(here, "mosquitto", "mosquitto.conf")
    for line, option in enumerate(("cafile", "certfile", "keyfile"), 2):
        assert f"mosquitto.conf:{line}: {option}" in shown.stderr, shown.stderr
    for word in ("mosquitto.conf:6: password_file", "user add", "mosquitto.conf:7: connection", "bridge",
                 "mosquitto.conf:11: frobnicate"):
        assert word in shown.stderr, shown.stderr
    assert "[mqtts]" in shown.stdout and '"127.0.0.1:21884"' in shown.stdout and "anonymous = false" in shown.stdout
    listed = json.loads(run_import(here, "mosquitto", "mosquitto.conf", "--json").stdout)
    assert all(entry["why"] for entry in listed["not_mapped"])
    assert {entry["name"] for entry in listed["not_mapped"]} >= {"certfile", "password_file", "connection", "frobnicate"}
    chinese = run_import(here, "mosquitto", "mosquitto.conf", "--lang", "zh-CN")
    assert CHINESE.search(chinese.stderr) and "mosquitto.conf:7" in chinese.stderr
    for said in (shown, chinese):
        assert "hush" not in said.stdout + said.stderr, "passwords of the old file are not shown"
    assert "hush" not in json.dumps(listed)


def test_no_imported_listener_is_open_wider_than_the_server_of_before(home):
    here = home()
    (here.folder / "mosquitto.conf").write_text("listener 21884 127.0.0.1\nallow_anonymous true\n")
    here.file.unlink()
    run_import(here, "mosquitto", "mosquitto.conf", "--out", "safeport.toml")
    values = {row["key"]: row["value"].strip('"') for row in here.json("config", "show")}
    wide = {name: values[f"{name}.bind"] for name in servers.LISTENERS
            if values[f"{name}.enabled"] == "true" and "127.0.0.1" not in values[f"{name}.bind"]}
    assert not wide, f"open to every network:\n{wide}\n{here.file.read_text()}"


XIAOZHI = """server:
  ip: 0.0.0.0
  port: 18000
  http_port: 18003
  websocket: ws://192.168.1.20:18000/xiaozhi/v1/
  vision_explain: http://192.168.1.20:18003/mcp/vision/explain
  auth_key: hush-hush
log:
  log_level: WARNING
selected_module:
  LLM: ChatGLMLLM
LLM:
  ChatGLMLLM:
    api_key: hush-hush
"""


def test_a_xiaozhi_config_gives_ports_and_the_address_that_devices_knew(home):
    here = home()
    (here.folder / "config.yaml").write_text(XIAOZHI)
    here.file.unlink()
    shown = run_import(here, "xiaozhi", "config.yaml", "--out", "safeport.toml")
    text = here.file.read_text()
    for word in ("0.0.0.0:18000", "0.0.0.0:18003", 'host = "192.168.1.20"', 'level = "warn"', "config.yaml:3"):
        assert word in text, f"{word} is missing:\n{text}"
    assert "LLM" in shown.stderr and "hush" not in shown.stderr + shown.stdout + text
    here.cli("check")
    again = run_import(here, "xiaozhi", "config.yaml", "--out", "safeport.toml", check=False)
    assert again.returncode == 1 and "safeport.toml" in again.stderr, "a file that is there is not written over"
    assert here.file.read_text() == text
    assert CHINESE.search(run_import(here, "xiaozhi", "config.yaml", "--lang", "zh-CN").stderr)


def test_a_file_that_cannot_be_read_is_named(home):
    here = home()
    for kind in ("mosquitto", "xiaozhi"):
        done = run_import(here, kind, "nowhere.conf", check=False)
        assert done.returncode == 1 and "nowhere.conf" in done.stderr, done
    (here.folder / "broken.yaml").write_text("server:\n\tip: [\n")
    done = run_import(here, "xiaozhi", "broken.yaml", check=False)
    assert done.returncode != 0 and "broken.yaml" in done.stderr, done
