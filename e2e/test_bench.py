"""`safeport bench mqtt` against the real server: every scenario in small, and brokers that do not keep what they promise."""

import json
import os
import pathlib
import shlex
import subprocess

import pytest

import server as servers
from conftest import eventually


def bench(*arguments, code=0, seconds=60):
    """The report of one run, which has to end with `code`."""
    done = subprocess.run([str(servers.BINARY), "--json", "bench", "mqtt", *map(str, arguments)], capture_output=True, text=True,
                          timeout=seconds, env={k: v for k, v in os.environ.items() if not k.startswith("SAFEPORT")})
    assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def load(server, *arguments, **options):
    report = bench(*arguments, f"--port={server.mqtt_port}", f"--pid={server.process.pid}", **options)
    assert report["exact"], report
    return report


FAN_IN = ["fan-in", "--publishers=3"]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("shape", [
    FAN_IN,
    ["fan-out", "--subscribers=3"],
    ["pairs", "--pairs=3"],
    [*FAN_IN, "--durable"],
    [*FAN_IN, "--mqtt=5"],
    [*FAN_IN, "--mqtt=5", "--durable"],
], ids=" ".join)
def test_all_traffic_arrives_exactly_once(server, shape, qos):
    report = load(server, *shape, f"--qos={qos}", "--window=8", "--seconds=0.1")
    assert report["expected"] > 50 and report["lost"] == 0


def test_cpu_time_of_broker_and_generator_is_told(server):
    report = load(server, "fan-in", "--publishers=5", "--qos=2", "--window=20", "--seconds=0.8")
    assert report["broker_cpu_seconds"] > 0 and report["generator_cpu_share"] > 0
    assert report["broker_cpu_seconds_per_million"] == pytest.approx(report["broker_cpu_seconds"] * 1e6 / report["deliveries"])


def test_durable_sessions_of_a_run_are_ended_after_it(own_server):
    server = own_server()
    load(server, "fan-out", "--subscribers=5", "--qos=1", "--seconds=0.1", "--durable")
    assert eventually(lambda: server.metric("safeport_mqtt_sessions") == 0)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_traffic_idle_connections_and_connects_run_over_tls(own_server, version):
    server = own_server()
    tls = ["--tls", f"--ca={server.ca}", f"--tls-version={version}", f"--port={server.mqtts_port}", f"--pid={server.process.pid}"]
    report = bench("fan-in", "--publishers=3", "--qos=1", "--window=50", "--payload=4096", "--seconds=0.2", *tls)
    assert report["exact"] and report["expected"] > 50
    assert f"TLS {version}" in report["scenario"]
    assert bench("connects", "--count=30", "--concurrent=5", *tls)["connects"] == 30
    assert bench("idle", "--connections=50", *tls)["dropped"] == 0
    assert bench("connects", "--count=30", "--concurrent=5", "--tls-rsa", *tls)["resumed"] == 0
    resumed = bench("connects", "--count=30", "--concurrent=5", "--tls-resume", *tls)
    assert resumed["resumed"] == 30 and ", resumed" in resumed["scenario"]


def test_connects_come_at_the_rate_that_was_asked_for(server):
    report = load(server, "connects", "--count=100", "--rate=200")
    assert 190 <= report["per_second"] <= 205 and report["latency_microseconds"]["p50"] > 0


def test_tls_with_the_wrong_authority_is_refused_and_says_so(own_server, tmp_path):
    server, other = own_server(), own_server()
    done = subprocess.run([str(servers.BINARY), "bench", "mqtt", "connects", "--count=1", "--tls", f"--ca={other.ca}",
                           f"--port={server.mqtts_port}"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "TLS with the broker" in done.stderr and "CA file" in done.stderr, done.stderr


def test_wildcard_filters_are_matched_exactly(server):
    report = load(server, "wildcards", "--filters=2000", "--connections=10", "--publishers=3", "--qos=1", "--window=10",
                  "--seconds=0.2")
    assert report["filters"] == 2000 and report["expected"] > 50
    assert report["rss_bytes"] > 1e6


def test_retained_messages_are_set_received_and_deleted(own_server):
    server = own_server()
    report = load(server, "retained", "--messages=500", "--qos=2")
    assert report["received"] == 500
    # The server's own, below $SYS, are fewer than a hundred.
    assert eventually(lambda: server.metric("safeport_mqtt_retained_messages") < 100)


def test_latency_is_measured_at_the_rate_that_was_asked_for(server):
    report = load(server, "latency", "--rate=500", "--pairs=4", "--seconds=1")
    assert 450 <= report["per_second"] <= 550
    times = report["latency_microseconds"]
    assert 0 < times["p50"] <= times["p99"] <= times["p99.9"]


def test_idle_connections_and_connects_are_counted(server):
    assert load(server, "idle", "--connections=100", "--subscribe", "--mqtt=5")["connections"] == 100
    assert load(server, "connects", "--count=100", "--mqtt=5")["connects"] == 100


def test_mosquitto_without_a_save_loses_what_it_acknowledged_and_the_bench_says_so(tmp_path):
    port, = servers.free_ports(1)
    config = tmp_path / "mosquitto.conf"
    user = "user root\n" if os.geteuid() == 0 else ""
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {tmp_path}/\n{user}")
    command = f"{shlex.quote(servers.client('mosquitto'))} -c {shlex.quote(str(config))}"
    for options in ([], ["--retained"]):
        report = bench("recover", f"--port={port}", f"--broker-command={command}", "--messages=50", *options, code=1)
        assert (report["acknowledged"], report["lost"], report["exact"]) == (50, 50, False)


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("moment", [[], ["--kill-after=150"], ["--retained"], ["--retained", "--kill-after=150"]])
def test_a_killed_server_still_has_all_that_it_acknowledged(tmp_path: pathlib.Path, qos, moment):
    port, = servers.free_ports(1)
    settings = {"MQTT__BIND": f"127.0.0.1:{port}", "MQTTS__ENABLED": "false", "HTTP__ENABLED": "false"}
    command = shlex.join(["env", *(f"SAFEPORT__{key}={value}" for key, value in settings.items()), str(servers.BINARY), "serve",
                          "--open", "--data", str(tmp_path / "data")])
    report = bench("recover", f"--port={port}", f"--broker-command={command}", "--messages=400", f"--qos={qos}", *moment)
    assert report["exact"] and report["lost"] == 0
    assert report["session_present"] is (None if "--retained" in moment else True)
    assert report["acknowledged"] >= (150 if "--kill-after=150" in moment else 400)
