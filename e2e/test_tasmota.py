"""A pretend Tasmota plug (`safeport simulate tasmota`) on the real server, as a newcomer meets it."""

import json
import re
import signal
import subprocess
import time

import pytest

import server as servers
import wire
from conftest import eventually
from wire import V311


class Plug:
    def __init__(self, server, *arguments):
        self.log = open(server.folder / f"plug-{time.monotonic_ns()}.log", "w+")
        self.process = subprocess.Popen([str(servers.BINARY), "simulate", "tasmota", *(["--port", str(server.mqtt_port)] if "--port" not in arguments else []), *arguments],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=server.environment)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(5)
        self.log.close()


class Watcher:
    """Everything that is said, by topic."""

    def __init__(self, server, version=V311, **login):
        self.client = wire.Client(server.mqtt, version)
        assert self.client.hello("", keep_alive=0, **login).code == 0
        self.client.subscribe("#", qos=1)
        self.seen: list = []

    def forget(self):
        """Takes what has arrived so far as seen."""
        try:
            while True:
                self.client.message(0.5)
        except TimeoutError:
            self.seen = []

    def until(self, topic, payload=None, seconds=8.0):
        """The first message on `topic` (with `payload`, if given) that has not been returned before."""
        deadline = time.monotonic() + seconds
        while True:
            for message in self.seen:
                if re.fullmatch(topic, message.topic) and payload in (None, message.payload.decode()):
                    self.seen.remove(message)
                    return message
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"nothing on {topic}; seen: {[m.topic for m in self.seen]}")
            try:
                self.seen.append(self.client.message(left))
            except TimeoutError:
                pass


def test_a_plug_comes_up_obeys_and_is_missed(own_server):
    server = own_server()
    watcher = Watcher(server)
    with Plug(server) as plug:
        lwt = watcher.until(r"tele/[^/]+/LWT", "Online")
        device = lwt.topic.split("/")[1]
        infos = [json.loads(watcher.until(f"tele/{device}/INFO{n}").payload) for n in (1, 2, 3)]
        assert re.match(r"\d+\.\d+\.\d+.*\(", infos[0]["Info1"]["Version"])
        assert infos[0]["Info1"]["FallbackTopic"].startswith("cmnd/DVES_")
        assert {"Hostname", "IPAddress"} <= set(infos[1]["Info2"]) and "BootCount" in infos[2]["Info3"]

        assert json.loads(watcher.until(f"tele/{device}/STATE", seconds=12).payload)["POWER"] in ("ON", "OFF")
        assert "ENERGY" in json.loads(watcher.until(f"tele/{device}/SENSOR", seconds=12).payload)

        before = server_power(watcher, device)
        watcher.client.publish(f"cmnd/{device}/POWER", "TOGGLE")
        after = {"ON": "OFF", "OFF": "ON"}[before]
        watcher.until(f"stat/{device}/RESULT", json.dumps({"POWER": after}, separators=(",", ":")))
        watcher.until(f"stat/{device}/POWER", after)

        fallback = infos[0]["Info1"]["FallbackTopic"]
        watcher.client.publish(f"{fallback}Status", "2")
        assert "Version" in json.loads(watcher.until(r"stat/[^/]+/STATUS2").payload)["StatusFWR"]
        watcher.client.publish("cmnd/tasmotas/POWER", "OFF")
        watcher.until(f"stat/{device}/POWER", "OFF")

        config = watcher.until(r"tasmota/discovery/[0-9A-F]{12}/config", seconds=15)
        assert json.loads(config.payload)["t"] == device
        watcher.until(r"tasmota/discovery/[0-9A-F]{12}/sensors")
        late = Watcher(server)
        assert late.until(config.topic).retain and late.until(f"tele/{device}/LWT", "Online").retain

        plug.process.kill()
        plug.process.wait()
        watcher.until(f"tele/{device}/LWT", "Offline", 3)
        late = Watcher(server)
        assert late.until(f"tele/{device}/LWT").payload == b"Offline"


def server_power(watcher, device):
    watcher.forget()
    watcher.client.publish(f"cmnd/{device}/POWER", "")
    return json.loads(watcher.until(f"stat/{device}/RESULT").payload)["POWER"]


def test_a_hundred_plugs_all_report(own_server):
    server = own_server()
    watcher = Watcher(server)
    with Plug(server, "--count", "100") as plug:
        online = set()
        while len(online) < 100:
            online.add(watcher.until(r"tele/[^/]+/LWT", "Online", 15).topic)
        assert plug.process.poll() is None
        assert eventually(lambda: server.metric("safeport_mqtt_connections") == 101)


def backlog(text):
    """The commands of the `Backlog` line that `device add tasmota` prints."""
    line = next(line for line in text.splitlines() if line.startswith("Backlog"))
    return dict(command.strip().split(" ", 1) for command in line.split(" ", 1)[1].split(";") if " " in command.strip())


def test_the_printed_backlog_line_lets_a_plug_in_with_its_own_rights(own_server):
    server = own_server(open_to_all=False)
    done = server.cli("device", "add", "tasmota", "--name", "plug-1", "--host", "127.0.0.1")
    settings = backlog(done.stdout)
    assert settings["MqttHost"] == "127.0.0.1" and settings["MqttPort"] == str(server.mqtt_port), settings
    server.cli("user", "add", "owner", "--password-stdin", stdin="pw\n")
    watcher = Watcher(server, username="owner", password="pw")
    topic = settings.get("Topic", "plug-1")
    with Plug(server, "--username", settings["MqttUser"], "--password", settings["MqttPassword"],
              *(["--topic", settings["Topic"]] if "Topic" in settings else []),
              *(["--client-id", settings["MqttClient"]] if "MqttClient" in settings else [])) as plug:
        watcher.until(f"tele/{topic}/LWT", "Online")
        watcher.until(f"tele/{topic}/INFO1")
        watcher.client.publish(f"cmnd/{topic}/POWER", "ON")
        watcher.until(f"stat/{topic}/RESULT", '{"POWER":"ON"}')
        watcher.until(r"tasmota/discovery/[0-9A-F]{12}/config", seconds=15)
        # what the plug's login may not do
        with wire.Client(server.mqtt, wire.V5) as thief:
            answer = thief.hello("thief", username=settings["MqttUser"], password=settings["MqttPassword"])
            if answer.code == 0:
                assert thief.publish("cmnd/other/POWER", "ON", 1).code == 0x87
                assert thief.subscribe("#")[0] >= 0x80 and thief.subscribe("tele/other/#")[0] >= 0x80
        server.cli("device", "forget", "plug-1")
        watcher.until(f"tele/{topic}/LWT", "Offline", 5)
        assert plug.process.poll() is None, plug.said()
    assert "plug-1" not in server.cli("device", "list").stdout


@pytest.mark.parametrize("how", ["--fingerprint", "--ca"])
def test_a_plug_connects_by_tls(own_server, how):
    server = own_server()
    watcher = Watcher(server)
    if how == "--fingerprint":
        said = server.cli("cert", "fingerprint").stdout
        trust = re.search(r"(?:[0-9A-Fa-f]{2}[ :]){19}[0-9A-Fa-f]{2}", said)[0]
    else:
        trust = str(server.ca)
    with Plug(server, "--port", str(server.mqtts_port), "--host", "localhost", how, trust):
        watcher.until(r"tele/[^/]+/LWT", "Online")
