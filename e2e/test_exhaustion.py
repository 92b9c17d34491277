"""Running out of file descriptors, starting, stopping and being started wrongly."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time

import pytest

import server as servers
import wire
from conftest import eventually
from wire import V311, V5


def test_a_low_descriptor_limit_is_survived_with_one_clear_line(own_server):
    """`ulimit -n 96` and 100 devices: those inside stay served, those outside wait or are refused, and when some
    leave, new ones come in. One line in the log says what happened and what to do; other listeners and probes of
    our own addresses, which find no descriptor either, have theirs."""
    server = own_server(before="ulimit -n 96")
    first = wire.Client(server.mqtt, V311)
    assert first.hello("first").code == 0
    crowd = []
    for _ in range(100):
        with contextlib.suppress(OSError):
            crowd.append(socket.create_connection(server.mqtt, 2))
            crowd[-1].sendall(wire.connect(V311, ""))
    time.sleep(3)
    first.alive()
    assert server.alive()
    lines = [line for line in server.log_text().splitlines() if "safeport::mqtt" in line
             and re.search(r"file descriptor|open files|ulimit|RLIMIT", line, re.I)]
    about = [line for line in lines if re.search(r"full|exhaust|no more|ran out|out of|limit .*reached|cannot accept|too many", line, re.I)]
    assert 1 <= len(about) <= 2, "wanted one line about the exhaustion, got:\n" + "\n".join(about or server.log_text().splitlines()[-20:])
    cpu_before = cpu_seconds(server)
    time.sleep(1)
    assert cpu_seconds(server) - cpu_before < 0.5, "the server spins while it cannot accept"
    for sock in crowd:
        sock.close()

    def comes_in():
        with contextlib.suppress(OSError, wire.Closed, TimeoutError):
            with wire.Client(server.mqtt, V311, timeout=2) as late:
                return late.hello("late").code == 0

    assert eventually(comes_in, 15), server.log_text()[-2000:]
    first.alive()
    first.close()


def cpu_seconds(server) -> float:
    with open(f"/proc/{server.process.pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_server_sleeps(own_server):
    server = own_server()
    with wire.Client(server.mqtt, V5) as client:
        client.hello("idle", keep_alive=0)
        time.sleep(1)
        before = cpu_seconds(server)
        time.sleep(3)
        assert cpu_seconds(server) - before < 1


def test_shutdown_tells_mqtt5_clients_and_ends_with_0(own_server):
    """DISCONNECT 0x8B [section 3.14.2.1]; 3.1.1 clients see an orderly close."""
    server = own_server()
    with wire.Client(server.mqtt, V5) as five, wire.Client(server.mqtt, V311) as three:
        five.hello("five")
        three.hello("three")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
        assert [p.code for p in five.ended()] == [0x8B]
        assert three.ended() == []


def test_what_was_acknowledged_before_shutdown_reaches_the_subscriber(own_server):
    server = own_server()
    with wire.Client(server.mqtt, V5) as client, wire.Client(server.mqtt, V5) as other:
        client.hello("sub")
        client.subscribe("t", qos=1)
        other.hello("pub")
        for number in range(100):
            other.publish("t", str(number), 1)
        server.process.send_signal(signal.SIGTERM)
        got = [p for p in client.ended(10) if p.kind == wire.PUBLISH]
        assert [p.payload for p in got][:20] == [b"%d" % n for n in range(len(got))][:20] and got
        server.stop()


def run_serve(folder, *arguments, env=None, seconds=10):
    """Runs `serve` that should refuse to start; its exit code and words."""
    done = subprocess.run([str(servers.BINARY), "serve", *arguments], cwd=folder, text=True, capture_output=True,
                          timeout=seconds, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def elsewhere():
    """Environment with free ports, for a server that should not start."""
    ports = servers.free_ports(3)
    return {f"SAFEPORT__{name}__BIND": f"127.0.0.1:{port}" for name, port in zip(("MQTT", "MQTTS", "HTTP"), ports)}


def test_a_taken_port_is_named_with_its_holder_and_a_way_out(tmp_path, elsewhere):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        code, said = run_serve(tmp_path, "--open", "--data", str(tmp_path / "d"),
                               env={**elsewhere, "SAFEPORT__MQTT__BIND": f"127.0.0.1:{port}"})
    assert code in (1, 64) and str(port) in said and "mqtt" in said.lower(), (code, said)


def test_bad_settings_are_refused_with_64_and_all_errors_at_once(tmp_path, elsewhere):
    config = tmp_path / "safeport.toml"
    config.write_text('[mqtt]\nbind = "not an address"\n\n[http]\nbin = "127.0.0.1:1"\n')
    code, said = run_serve(tmp_path, "--config", str(config), "--data", str(tmp_path / "d"),
                           env={k: v for k, v in elsewhere.items() if "MQTTS" in k})
    assert code == 64, (code, said)
    assert "not an address" in said and "bin" in said and "safeport.toml" in said, said


def test_settings_that_are_not_toml_are_refused_with_64_and_their_line(tmp_path, elsewhere):
    config = tmp_path / "safeport.toml"
    config.write_text("[mqtt]\nbind = \n")
    code, said = run_serve(tmp_path, "--config", str(config), "--data", str(tmp_path / "d"), env=elsewhere)
    assert code == 64 and "safeport.toml:2" in said.replace(" ", "") or "2 |" in said, (code, said)


def test_an_unknown_environment_setting_is_refused_by_name(tmp_path, elsewhere):
    code, said = run_serve(tmp_path, "--open", "--data", str(tmp_path / "d"), env={**elsewhere, "SAFEPORT__MQTT__BNID": "x"})
    assert code == 64 and "BNID" in said.upper(), (code, said)


def test_a_missing_settings_file_is_named(tmp_path, elsewhere):
    code, said = run_serve(tmp_path, "--config", str(tmp_path / "none.toml"), "--data", str(tmp_path / "d"), env=elsewhere)
    assert code in (1, 64) and "none.toml" in said, (code, said)


def test_an_unwritable_data_folder_is_named(tmp_path, elsewhere):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    code, said = run_serve(tmp_path, "--open", "--data", str(blocker / "data"), env=elsewhere)
    assert code in (1, 64) and "file" in said, (code, said)


def test_a_second_instance_on_the_same_folder_is_refused(own_server, elsewhere):
    server = own_server()
    code, said = run_serve(server.folder, "--open", "--data", str(server.data), env=elsewhere)
    assert code in (1, 64) and str(server.data) in said, (code, said)
    assert server.alive()


def test_an_unknown_command_and_flag_exit_64(tmp_path):
    for arguments in (["--no-such-flag"], ["--data"]):
        assert run_serve(tmp_path, *arguments)[0] == 64


def test_the_same_folder_serves_again_after_a_kill(own_server):
    server = own_server()
    ca = server.ca.read_text()
    server.kill()
    server.start()
    assert server.ca.read_text() == ca  # devices trust or pin what they were given
    with wire.Client(server.mqtt, V5) as client:
        assert client.hello("again").code == 0


def test_the_first_screen_tells_where_it_listens_and_that_it_is_open(own_server):
    server = own_server()
    eventually(lambda: "mosquitto_" in server.log_text(), 3)
    said = server.log_text()
    for port in (server.mqtt_port, server.mqtts_port, server.http_port):
        assert str(port) in said, said
    assert "open" in said.lower() and "mosquitto_" in said, said
    assert "\x1b[" not in said, "colour codes in a file"


def test_open_refuses_other_addresses_unless_told(tmp_path, elsewhere):
    """`--open` binds loopback unless a setting says otherwise."""
    port = servers.free_ports(1)[0]
    server_env = {**os.environ, **elsewhere, "SAFEPORT__MQTT__BIND": f"127.0.0.1:{port}"}
    process = subprocess.Popen([str(servers.BINARY), "serve", "--open", "--data", str(tmp_path / "d")], env=server_env,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def up():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
        assert eventually(up, 15)
        inodes = {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")
                  if os.path.islink(f"/proc/{process.pid}/fd/{fd}")}
        ours = set()
        for table in ("tcp", "tcp6"):
            for line in open(f"/proc/net/{table}").read().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                    ours.add(fields[1].split(":")[0])
        assert ours and all(a in ("0100007F", "00000000000000000000000001000000") for a in ours), ours
    finally:
        process.terminate()
        process.wait(15)


def test_metrics_follow_the_conventions_of_prometheus(own_server):
    server = own_server()
    with wire.Client(server.mqtt, V5) as client:
        client.hello("m")
        client.subscribe("t")
        client.publish("t", "x")
        client.message()
        status, body = server.get("/metrics")
        assert status == 200 and body.endswith("# EOF\n") or body.endswith("\n")
        typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", body, re.M))
        assert typed and all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in typed)
        ours = {name: kind for name, kind in typed.items() if name.startswith("safeport_")}
        assert ours, sorted(typed)
        for name, kind in ours.items():
            if kind == "counter":
                # One that counts by labels has no line before the first of them.
                lines = re.findall(rf"^({name}\w*)[ {{]", body, re.M)
                assert all(line.endswith("_total") for line in lines), (name, lines)
        # the numbers are gathered at intervals, so a scrape may be a moment behind
        assert eventually(lambda: server.metric("safeport_mqtt_connections") == 1)
        assert eventually(lambda: server.metric("safeport_mqtt_subscriptions") == 1)


def test_healthz_answers_ok(own_server):
    server = own_server()
    assert server.get("/healthz")[0] == 200
    assert server.get("/no/such/page")[0] == 404
