"""bench/mqtt.py, bench/tls.py, bench/ota.py and bench/doctor.py: the tables say what the reports say, and the command measures what it names and leaves nothing behind."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import server as servers

BENCH = servers.ROOT / "bench"
sys.path.insert(0, str(BENCH))
import mqtt  # noqa: E402
import ota  # noqa: E402
import tls as tls_bench  # noqa: E402


def row(*, exact=True, others=0.0, generator=0.2, theirs=20.0):
    made = mqtt.traffic("fan-in", "fan-in of a test", [], 0.4)
    report = {"exact": exact, "other_cpu_share": others, "generator_cpu_share": generator}
    made.results = {
        "safeport": [{**report, mqtt.CPU: cpu, mqtt.RATE: 100_000} for cpu in (5.0, 4.0, 9.0)],
        "mosquitto": [{**report, mqtt.CPU: theirs, mqtt.RATE: 50_000, "exact": True}],
    }
    return made


def line(made, table=0):
    return mqtt.line(made, made.figures[table], ["safeport", "mosquitto"])


def test_a_line_shows_median_range_ratio_and_goal():
    assert line(row()) == "| fan-in of a test | 5.00 (4.00–9.00) | 20.00 | 0.25 | 0.40 |"
    assert line(row(), table=1) == "| fan-in of a test | 100 | 50.00 | 2.00 |  |"


def test_runs_that_lost_something_or_were_disturbed_are_marked():
    assert "5.00 (4.00–9.00)! | 20.00 |" in line(row(exact=False))
    assert "`busy`" in line(row(others=0.5)) and "`busy`" not in line(row(others=0.3))
    assert "| 100 g |" in line(row(generator=0.97), table=1)
    assert " g |" not in line(row(generator=0.97), table=0), "it concerns the rate only"


def test_a_broker_that_could_not_has_a_dash_and_its_reason():
    made = row()
    made.results["mosquitto"], made.notes["mosquitto"] = [], "it closed a connection"
    assert line(made) == "| fan-in of a test | 5.00 (4.00–9.00) | – | – | 0.40 |"
    assert "mosquitto gave up: it closed a connection" in mqtt.tables([made], ["safeport", "mosquitto"])


def test_the_cost_of_durability_is_told_beside_the_row_without_it():
    plain, durable = row(), row()
    plain.key, durable.key = "qos1", "qos1-durable"
    durable.results["safeport"] = [{mqtt.CPU: 7.0}]
    assert any("1.40 times" in text for text in mqtt.against_itself([plain, durable]))


def run(*arguments, temporary="/tmp", seconds=120, program="mqtt.py"):
    return subprocess.run([sys.executable, str(BENCH / program), "--safeport", str(servers.BINARY), *arguments],
                          capture_output=True, text=True, timeout=seconds, env={**os.environ, "TMPDIR": str(temporary)})


def test_the_command_fills_a_table_and_stops_what_it_started(tmp_path: pathlib.Path):
    reports, text = tmp_path / "reports.json", tmp_path / "tables.md"
    done = run("--only=fan-in-tls,qos1,recover-1", "--runs=1", "--seconds=0.1", f"--json={reports}", f"--markdown={text}",
               "--brokers=safeport,mosquitto", "--set=limits.max_inflight=100", temporary=tmp_path)
    assert done.returncode == 0, done.stderr
    assert text.read_text() in done.stdout
    rows = {row["key"]: row for row in json.loads(reports.read_text())["rows"]}
    assert set(rows) == {"fan-in-tls", "qos1", "recover-1"}
    for made in rows.values():
        assert not made["notes"] and set(made["runs"]) == {"safeport", "mosquitto"}
        assert all(report["exact"] for report in made["runs"]["safeport"]), made
    assert "TLS 1.3" in rows["fan-in-tls"]["runs"]["mosquitto"][0]["scenario"]
    assert rows["recover-1"]["runs"]["mosquitto"][0]["lost"] == 100_000
    assert "| — of these lost | 0 | 100,000 | – | 0 |" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {reports.name, text.name}, "files are left behind"
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert not left, "still running"


def test_the_cost_of_tls_is_measured_for_each_kind_of_handshake(tmp_path: pathlib.Path):
    reports = tmp_path / "reports.json"
    done = run("--only=full-12,resumed-12,resumed-13,rsa-12,storm", "--runs=1", "--seconds=0.1", f"--json={reports}", temporary=tmp_path,
               program="tls.py")
    assert done.returncode == 0, done.stderr
    rows = {row["key"]: row for row in json.loads(reports.read_text())["rows"]}
    for key, made in rows.items():
        assert not made["notes"] and set(made["runs"]) == {"safeport", "mosquitto"}, (key, made["notes"])
        for report, in made["runs"].values():
            if key == "storm":
                assert 200 < report["handshakes_per_second"] <= tls_bench.STORM_RATE + 5 and report["quiet"]["p99"] > 0
            else:
                assert report["resumed"] == (report["connects"] if key.startswith("resumed") else 0), (key, report)
    assert "resumed-12: mosquitto resumed 100% of the connections" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {reports.name}, "files are left behind"


def test_a_line_of_downloads_is_compared_with_the_peer_of_its_row():
    figure = ota.Figure("cpu_seconds_per_gib", ota.DOWNLOADS, "full speed", 1.3, "0.15", digits=3)
    made = ota.Row("downloads", "", [ota.Safeport, ota.Nginx, ota.Aiohttp], [figure], None)
    made.results = {name: [{figure.key: cpu, "other_cpu_share": others} for cpu in costs]
                    for name, costs, others in (("safeport", (0.14, 0.12, 0.16), 0.1), ("nginx", (0.1,), 0.9))}
    assert ota.tables([made]).splitlines() == [
        f"| {ota.DOWNLOADS} | safeport | nginx | ratio to nginx | goal |", "|---|---:|---:|---:|---:|",
        "| full speed | 0.140 (0.120–0.160) | 0.100 | 1.40 | 1.30; 0.15 |"]
    made.results["safeport"] = made.results["nginx"]
    assert "| full speed `busy` |" in ota.tables([made])


def test_checks_and_downloads_are_measured_beside_nginx(tmp_path: pathlib.Path):
    reports = tmp_path / "reports.json"
    done = run("--runs=1", "--seconds=0.2", "--slow=20", f"--json={reports}", temporary=tmp_path, program="ota.py")
    assert done.returncode == 0, done.stderr
    rows = {row["key"]: row["runs"] for row in json.loads(reports.read_text())["rows"]}
    assert {"safeport", "nginx"} == set(rows["downloads"]) == set(rows["slow"]) and "safeport" in rows["checks"], rows
    for runs in rows.values():
        for report, in runs.values():
            assert report["answered"] > 0 and report["failed"] == 0, report
    for report, in rows["slow"].values():
        assert report["answered"] == 20 and report["seconds"] > 10, "they are slow"
    assert {path.name for path in tmp_path.iterdir()} == {reports.name}, "files are left behind"
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert not left, "still running"


def test_the_doctor_is_measured_beside_the_same_questions_by_hand(tmp_path: pathlib.Path):
    reports, text = tmp_path / "reports.json", tmp_path / "table.md"
    done = run("--runs=1", f"--json={reports}", f"--markdown={text}", temporary=tmp_path, program="doctor.py")
    assert done.returncode == 0, done.stderr
    assert text.read_text() in done.stdout
    rows = {row["key"]: row["runs"] for row in json.loads(reports.read_text())["rows"]}
    assert set(rows) == {"mqtts", "wss", "ota"}
    for runs in rows.values():
        assert set(runs) == {"doctor", "by hand"}
        for (one,) in runs.values():
            assert 0 < one["first_word_ms"] <= one["wall_ms"] and one["cpu_ms"] > 0, one
    assert {path.name for path in tmp_path.iterdir()} == {reports.name, text.name}, "files are left behind"


@pytest.mark.parametrize("wrong, says", [
    (["--only=fan-inn"], "no row is called fan-inn"),
    (["--set=durability=disk"], "give section.key=value"),
    (["--safeport=/nowhere/safeport"], "build it first"),
])
def test_a_wrong_option_is_refused_with_the_way_out(wrong, says):
    done = run(*wrong)
    assert done.returncode != 0 and says in done.stderr, done.stderr
