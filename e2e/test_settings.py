"""Settings from the user's side: every mistake told at once in both languages, who wins and who loses, changing,
undoing, and what a broken file does to a running and to a starting server."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.request

import pytest

import server as servers
from conftest import eventually

CHINESE = re.compile(r"[\u4e00-\u9fff]")

# ------------------------------------------------------------ mistakes

TEN = '''[mqtt]
bnd = "127.0.0.1:1884"
max_connections = "many"

[mqtts]
bind = "0.0.0.0:70000"

[http]
bind = ["0.0.0.0:8002", "127.0.0.1:8002"]
on_conflict = "9-3"

[https]
bind = "127.0.0.1:0"

[advertise]
host = "172.17.0.2"
verify_every = "1s"

[proxy.front]
url = "ws://192.168.1:4"

[storage]
durability = "maybe"
'''

# Line and column of each mistake above, its key, and a word of its way out.
TEN_PLACES = [(2, 1, "mqtt.bnd", "bind"), (3, 19, "mqtt.max_connections", "1000"), (6, 8, "mqtts.bind", "65535"),
              (9, 8, "http.bind", "0.0.0.0:8002"), (10, 15, "http.on_conflict", "18883-18892"),
              (13, 8, "https.bind", "1 to 65535"), (16, 8, "advertise.host", "container"),
              (17, 16, "advertise.verify_every", "10s"), (20, 7, "proxy.front.url", "192.168.1.4"),
              (23, 14, "storage.durability", "disk")]


def test_check_tells_ten_mistakes_of_one_file_at_once_with_their_places_and_exits_64(home):
    here = home()
    here.file.write_text(TEN)
    done = here.cli("check", check=False)
    assert done.returncode == 64
    assert "mistakes (10)" in done.stderr
    places = [(int(line), int(column)) for line, column in re.findall(r"--> safeport\.toml:(\d+):(\d+)", done.stderr)]
    assert places == [(line, column) for line, column, _, _ in TEN_PLACES]
    blocks = re.split(r"^  error: ", done.stderr, flags=re.M)[1:]
    for block, (line, _, key, way_out) in zip(blocks, TEN_PLACES, strict=True):
        assert block.startswith(f"{key}: "), block
        assert TEN.splitlines()[line - 1] in block, f"the line itself is not shown:\n{block}"
        assert "^" in block and way_out in block.split("help:")[1], block

    chinese = here.cli("check", "--lang", "zh-CN", check=False)
    assert chinese.returncode == 64
    assert [(int(line), int(column)) for line, column in
            re.findall(r"--> safeport\.toml:(\d+):(\d+)", chinese.stderr)] == places
    for _, _, key, _ in TEN_PLACES:
        said = re.search(rf"{re.escape(key)}: (.*)", chinese.stderr)
        assert said and CHINESE.search(said[1]), f"{key}: {chinese.stderr}"

    listed = json.loads(here.cli("check", "--json", check=False).stdout)
    assert listed["fine"] is False
    assert [(p["source"]["line"], p["source"]["column"], p["key"]) for p in listed["problems"]] == \
        [place[:3] for place in TEN_PLACES]
    assert all(p["what"] and p["help"] for p in listed["problems"])


def test_serve_refuses_the_same_file_with_the_same_words_and_makes_no_data_folder(home):
    here = home()
    here.file.write_text(TEN)
    done = here.cli("serve", check=False)
    assert done.returncode == 64
    told = here.cli("check", check=False).stderr
    assert [line for line in done.stderr.splitlines() if "-->" in line] == \
        [line for line in told.splitlines() if "-->" in line]
    assert not here.data.exists()


# What is written, its key, a word in what is said, a word of the way out; the last two in English and Chinese.
BAD_INPUT = {
    "syntax error": ('[mqtt\nbind = "127.0.0.1:1884"', None, "not TOML", "[section]", "不是 TOML", "[节]"),
    "a whole number that is a word": ('[limits]\nmax_inflight = "many"', "limits.max_inflight",
                                      "not a whole number", "digits", "不是整数", "数字"),
    "a truth value that is a word": ('[mqtt]\nenabled = "perhaps"', "mqtt.enabled", "perhaps", "true", "perhaps", "true"),
    "a time without a known unit": ('[limits]\npatience = "3 parsec"', "limits.patience", "parsec", "10s", "parsec", "10s"),
    "a bind that is only a number": ("[mqtt]\nbind = 5", "mqtt.bind", "no address", "[::]:5", "没有地址", "[::]:5"),
    "one listener twice": ('[mqtt]\nbind = "127.0.0.1:18830"\n[mqtt]\nbind = "127.0.0.1:18831"', None,
                           "duplicate key", "[section]", "TOML", "[节]"),
    "two listeners on one port": ('[mqtt]\nbind = "127.0.0.1:18830"\n[http]\nbind = "0.0.0.0:18830"', "http.bind",
                                  "mqtt.bind", "port", "mqtt.bind", "端口"),
    "port 0": ('[mqtt]\nbind = "127.0.0.1:0"', "mqtt.bind", "port 0", "1 to 65535", "端口是 0", "1 到 65535"),
    "port 70000": ('[mqtt]\nbind = "127.0.0.1:70000"', "mqtt.bind", "70000, which does not exist", "65535",
                   "70000 不存在", "65535"),
    "a host with a scheme": ('[advertise]\nhost = "http://192.168.1.5"', "advertise.host", "http://", '"192.168.1.5"',
                             "http://", '"192.168.1.5"'),
    "a host with a port": ('[advertise]\nhost = "192.168.1.5:8002"', "advertise.host", "8002", "192.168.1.5", "8002",
                           "192.168.1.5"),
    "an address that is too short": ('[proxy.front]\nurl = "ws://192.168.1:4"', "proxy.front.url", "192.168.1",
                                     "192.168.1.4", "IPv4", "192.168.1.4"),
    "a URL without its port": ('[proxy.front]\nurl = "ws://192.168.1.4"', "proxy.front.url", "no port", "8002",
                               "端口", "8002"),
    "a loopback address": ('[advertise]\nhost = "127.0.0.1"', "advertise.host", "the device itself", "auto",
                           "127.0.0.1", "auto"),
    "the name of loopback": ('[proxy.front]\nurl = "http://localhost:80"', "proxy.front.url", "the device itself",
                             "network", "localhost", "网络"),
    "an address inside a container": ('[advertise]\nhost = "172.17.0.2"', "advertise.host", "Docker", "-p", "Docker", "-p"),
    "no address at all": ('[advertise]\nhost = "0.0.0.0"', "advertise.host", "0.0.0.0", "", "0.0.0.0", ""),
    "a certificate path that is a folder": ('[advertise]\nca_file = "/tmp"', "advertise.ca_file", "/tmp is a folder",
                                            "PEM", "文件夹", "PEM"),
    "a certificate path that is nothing": ('[advertise]\nca_file = "/nowhere/ca.pem"', "advertise.ca_file",
                                           "/nowhere/ca.pem", "PEM", "/nowhere/ca.pem", "PEM"),
    "an unknown key": ("[limits]\nmax_inflght = 3", "limits.max_inflght", "no key", "max_inflight", "没有键", "max_inflight"),
    "xiaozhi over TLS on another port": ('[mqtts]\nbind = "0.0.0.0:18884"\n[advertise]\nxiaozhi = "mqtts"',
                                         "advertise.xiaozhi", "8883", "8883", "8883", "8883"),
    "no listener at all": ("".join(f"[{name}]\nenabled = false\n" for name in servers.LISTENERS),
                           "mqtt.enabled", "no listener",
                           "mqtt.enabled", "没有", "mqtt.enabled"),
}


@pytest.mark.parametrize("kind_of_mistake", BAD_INPUT)
def test_each_bad_input_names_its_key_and_the_way_out_in_both_languages(home, kind_of_mistake):
    text, key, said, way_out, said_zh, way_out_zh = BAD_INPUT[kind_of_mistake]
    here = home()
    here.file.write_text(text + "\n")
    for language, said, way_out in (("en", said, way_out), ("zh-CN", said_zh, way_out_zh)):
        done = here.cli("check", "--lang", language, check=False)
        assert done.returncode == 64, done.stdout + done.stderr
        assert done.stderr.count("safeport.toml:") >= 1, f"no place:\n{done.stderr}"
        assert (key or "") in done.stderr and said in done.stderr and way_out in done.stderr, done.stderr
        listed = json.loads(here.cli("check", "--lang", language, "--json", check=False).stdout)["problems"]
        assert len(listed) == 1, listed
        assert (listed[0]["key"] or None) == key and said in listed[0]["what"] and way_out in listed[0]["help"], listed
        chinese = bool(CHINESE.search(listed[0]["what"]) and CHINESE.search(listed[0]["help"]))
        assert chinese == (language == "zh-CN"), listed


def test_a_folder_where_a_certificate_should_be_is_told_together_with_the_other_mistakes(home):
    here = home()
    here.file.write_text('[advertise]\nca_file = "/tmp"\n[limits]\nmax_inflight = "many"\n')
    done = here.cli("check", check=False)
    assert done.returncode == 64
    assert "advertise.ca_file" in done.stderr and "limits.max_inflight" in done.stderr, done.stderr


def test_mistakes_in_variables_are_told_beside_those_of_the_file(home):
    here = home(settings={"limits": "max_inflight = 0"}, environment={
        "SAFEPORT__LIMITS__PATIENCE": "for ever", "SAFEPORT__MQTT__BND": "1", "SAFEPORT__HTTP__BIND": "127.0.0.1:0"})
    done = here.cli("check", check=False)
    assert done.returncode == 64
    for word in ("safeport.toml:", "limits.max_inflight", "SAFEPORT__LIMITS__PATIENCE", "SAFEPORT__MQTT__BIND",
                 "SAFEPORT__HTTP__BIND", "mistakes (4)"):
        assert word in done.stderr, f"{word} is missing:\n{done.stderr}"


def test_a_data_folder_in_use_is_refused_and_the_pid_of_its_user_named(home):
    here = home().start()
    other = servers.Safeport(here.folder, open_to_all=False)
    done = other.cli("serve", check=False)
    assert done.returncode == 1
    assert str(here.data) in done.stderr and str(here.process.pid) in done.stderr, done.stderr
    chinese = other.cli("serve", "--lang", "zh-CN", check=False)
    assert chinese.returncode == 1
    assert str(here.process.pid) in chinese.stderr and CHINESE.search(chinese.stderr), chinese.stderr
    assert here.get("/healthz")[0] == 200


# ------------------------------------------------------------ who wins

def test_explain_shows_winner_and_losers_of_a_key_that_four_sources_set(home):
    here = home(settings={"limits": "max_inflight = 10"}, environment={"SAFEPORT__LIMITS__MAX_INFLIGHT": "30"})
    (here.folder / "conf.d").mkdir()
    (here.folder / "conf.d" / "20-limits.toml").write_text("[limits]\nmax_inflight = 20\n")
    here.cli("config", "set", "limits.max_inflight", "40", USER="anna")
    line = here.file.read_text().splitlines().index("max_inflight = 10") + 1

    shown = here.cli("config", "explain", "limits.max_inflight").stdout
    rungs = [line for line in shown.splitlines() if re.match(r"[* ] \d+ ", line)]
    expected = [("*", "40", "revision 1 by cli:anna"), (" ", "30", "SAFEPORT__LIMITS__MAX_INFLIGHT"),
                (" ", "20", "conf.d/20-limits.toml:2:16"), (" ", "10", f"safeport.toml:{line}:16"), (" ", "64", "default")]
    assert len(rungs) == 5, shown
    for rung, (mark, value, source) in zip(rungs, expected):
        assert rung.startswith(f"{mark} {value} ") and source in rung, shown
    assert "wins" in rungs[0] and all("loses" in rung for rung in rungs[1:]), shown

    told = here.json("config", "explain", "limits.max_inflight")
    assert told["value"] == "40" and told["default"] == "64"
    assert [(rung["value"], rung["fate"]) for rung in told["ladder"]] == [
        ("64", "outranked"), ("10", "outranked"), ("20", "outranked"), ("30", "outranked"), ("40", "won")]
    assert all(source in json.dumps(rung["source"]) for rung, (_, _, source) in zip(reversed(told["ladder"]), expected)
               if ":" not in source or "revision" in source)

    chinese = here.cli("config", "explain", "limits.max_inflight", "--lang", "zh-CN").stdout
    assert CHINESE.search(chinese) and "SAFEPORT__LIMITS__MAX_INFLIGHT" in chinese and "loses" not in chinese, chinese

    delta = here.cli("config", "delta").stdout
    assert re.search(r"limits\.max_inflight.*40", delta) and "max_topic_levels" not in delta, delta


def test_explain_names_the_nearest_key_when_there_is_none(home):
    done = home().cli("config", "explain", "limits.max_inflite", check=False)
    assert done.returncode == 64 and "limits.max_inflight" in done.stderr, done.stderr


def test_two_files_of_conf_d_that_disagree_are_a_mistake_that_names_both_places(home):
    here = home()
    (here.folder / "conf.d").mkdir()
    (here.folder / "conf.d" / "10-a.toml").write_text("[limits]\nmax_inflight = 20\n")
    (here.folder / "conf.d" / "20-b.toml").write_text("[limits]\n\nmax_inflight = 21\n")
    done = here.cli("check", check=False)
    assert done.returncode == 64
    assert "limits.max_inflight" in done.stderr, done.stderr
    assert "conf.d/10-a.toml:2" in done.stderr and "conf.d/20-b.toml:3" in done.stderr, done.stderr
    (here.folder / "conf.d" / "20-b.toml").write_text("[limits]\n\nmax_inflight = 20\n")
    here.cli("check")


def test_sources_that_name_different_durabilities_are_a_mistake(home):
    here = home(settings={"storage": 'durability = "disk"'}, environment={"SAFEPORT__STORAGE__DURABILITY": "os"})
    done = here.cli("check", check=False)
    assert done.returncode == 64
    assert "storage.durability" in done.stderr and "SAFEPORT__STORAGE__DURABILITY" in done.stderr \
        and "safeport.toml:" in done.stderr, done.stderr


def test_a_pinned_key_cannot_be_managed_and_what_was_managed_before_loses_visibly(home):
    here = home()
    here.cli("config", "set", "limits.max_inflight", "40")
    here.file.write_text(here.file.read_text() + '[limits]\nmax_inflight = 10\n[config]\npin = ["limits.max_inflight"]\n')
    shown = here.cli("config", "explain", "limits.max_inflight").stdout
    assert re.search(r"^\* 10 ", shown, re.M) and re.search(r"^  40 .*pin", shown, re.M), shown
    assert here.json("config", "explain", "limits.max_inflight")["value"] == "10"
    done = here.cli("config", "set", "limits.max_inflight", "50", check=False)
    assert done.returncode == 64
    assert "config.pin" in done.stderr and "limits.max_inflight" in done.stderr, done.stderr


def test_a_device_is_told_what_is_set_for_it_else_for_its_tags_else_for_everyone(home):
    here = home()
    here.cli("device", "add", "plain", "--name", "lamp")
    here.cli("config", "set", "advertise.host", "192.0.2.10")
    here.cli("config", "set", "advertise.host", "192.0.2.11", "--device", "lamp")
    everyone = here.json("config", "explain", "advertise.host")
    lamp = here.json("config", "explain", "advertise.host", "--device", "lamp")
    assert "192.0.2.10" in everyone["value"] and "192.0.2.11" in lamp["value"], (everyone, lamp)
    assert [rung["fate"] for rung in lamp["ladder"]] == ["outranked", "outranked", "won"]
    done = here.cli("config", "set", "limits.max_inflight", "3", "--device", "lamp", check=False)
    assert done.returncode == 64 and "limits.max_inflight" in done.stderr, done.stderr
    here.cli("config", "unset", "advertise.host", "--device", "lamp")
    assert "192.0.2.10" in here.json("config", "explain", "advertise.host", "--device", "lamp")["value"]


def test_two_tags_of_a_device_that_disagree_are_a_mistake_until_their_order_is_said(home):
    here = home(host="0.0.0.0")
    here.cli("device", "add", "plain", "--name", "lamp")
    here.cli("device", "tag", "lamp", "kitchen", "hall")
    here.cli("config", "set", "advertise.host", "192.0.2.9", "--tag", "kitchen", USER="anna")
    host = lambda: here.json("config", "explain", "advertise.host", "--device", "lamp")["value"]
    assert "192.0.2.9" in host()
    here.cli("config", "set", "advertise.host", "192.0.2.8", "--tag", "hall", USER="bert")
    for language in ("en", "zh-CN"):
        done = here.cli("config", "explain", "advertise.host", "--device", "lamp", "--lang", language, check=False)
        assert done.returncode == 64
        for word in ("kitchen", "hall", "cli:anna", "cli:bert", "tags.order"):
            assert word in done.stderr, f"{word} is missing:\n{done.stderr}"
    assert CHINESE.search(done.stderr)
    told = here.cli("device", "passwd", "lamp", check=False)
    assert told.returncode == 64 and "tags.order" in told.stderr and not told.stdout, told
    here.cli("config", "set", "tags.order", "kitchen,hall")
    assert "192.0.2.8" in host()
    here.cli("config", "set", "tags.order", "hall,kitchen")
    assert "192.0.2.9" in host()
    assert "192.0.2.9" in here.cli("device", "passwd", "lamp").stdout


SECRET = "hush-hush-0123456789"


def test_a_secret_is_in_no_output_no_log_and_no_history_wherever_it_comes_from(home):
    here = home(settings={"http": f'metrics_token = "{SECRET}-file"', "config": 'confirm = "10s"'},
                environment={"SAFEPORT_LOG": "debug"})
    here.start()
    said = []

    def run(*arguments, **variables):
        done = here.cli(*arguments, check=False, **variables)
        said.append(done.stdout + done.stderr)
        return done

    assert run("config", "set", "http.metrics_token", f"{SECRET}-managed").returncode == 0
    assert run("config", "set", "http.metrics_token", f"{SECRET}-second").returncode == 0
    request = urllib.request.Request(f"http://{here.host}:{here.http_port}/metrics",
                                     headers={"Authorization": f"Bearer {SECRET}-second"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200, "the token works"
    assert here.get("/metrics")[0] == 401
    assert SECRET not in here.get("/metrics")[1]
    for command in (["show"], ["delta"], ["explain", "http.metrics_token"], ["history"], ["diff", "1"], ["diff", "2..3"],
                    ["rollback", "2"], ["reload"], ["set", "http.metrics_token", "short"]):
        run("config", *command)
        run("config", *command, "--json")
    run("ports")
    run("check")
    # A mistake in a secret is told without the secret.
    for wrong in (f"{SECRET} with spaces and ünïcode", SECRET * 20):
        bad = run("check", SAFEPORT__HTTP__METRICS_TOKEN=wrong)
        assert bad.returncode == 64 and "http.metrics_token" in bad.stderr, bad.stderr
        assert run("config", "set", "http.metrics_token", wrong).returncode == 64
    here.stop()
    for text in (*said, here.log_text()):
        assert "hush" not in text, text


# ------------------------------------------------------------ changing

def test_set_of_a_local_key_keeps_comments_and_order_of_the_file(home):
    here = home()
    here.file.write_text('# mine\n[http]   # the web\nbind = "127.0.0.1:18002" # keep me\n\n# last\n[mqtt]\nmax_packet = "2MiB"\n')
    here.cli("config", "set", "http.bind", "127.0.0.1:18003")
    here.cli("config", "set", "mqtt.bind", "127.0.0.1:18830,[::1]:18830")
    here.cli("config", "set", "storage.durability", "disk")
    assert here.file.read_text() == ('# mine\n[http]   # the web\nbind = "127.0.0.1:18003" # keep me\n\n# last\n[mqtt]\n'
                                     'max_packet = "2MiB"\nbind = ["127.0.0.1:18830", "[::1]:18830"]\n\n'
                                     '[storage]\ndurability = "disk"\n')
    here.cli("config", "unset", "storage.durability")
    assert "durability" not in here.file.read_text()
    bad = here.cli("config", "set", "http.bind", "127.0.0.1:70000", check=False)
    assert bad.returncode == 64 and "70000" in bad.stderr
    clash = here.cli("config", "set", "http.bind", "127.0.0.1:18830", check=False)
    assert clash.returncode == 64 and "mqtt.bind" in clash.stderr, clash.stderr
    assert "18003" in here.file.read_text(), "a refused change changes nothing"


@pytest.mark.parametrize("running", [True, False], ids=["while a server runs", "while none runs"])
def test_set_unset_history_diff_and_rollback_of_managed_values(home, running):
    here = home()
    if running:
        here.start()
    untouched = here.file.read_text()
    here.cli("config", "set", "limits.max_inflight", "70", "--reason", "slow plugs", USER="anna")
    here.cli("config", "set", "limits.max_topic_levels", "20", USER="bert")
    here.cli("config", "unset", "limits.max_inflight", USER="bert")
    value = lambda key: here.json("config", "explain", key)["value"]
    assert (value("limits.max_inflight"), value("limits.max_topic_levels")) == ("64", "20")
    history = [entry for entry in here.json("config", "history") if entry["kind"] != "start"]
    assert [entry["who"] for entry in history] == ["cli:bert", "cli:bert", "cli:anna"]
    assert history[2]["reason"] == "slow plugs"
    assert history[2]["changes"][0]["key"] == "limits.max_inflight" and history[2]["changes"][0]["new"] == "70"
    shown = here.cli("config", "history").stdout
    assert "slow plugs" in shown and "cli:anna" in shown and "limits.max_inflight" in shown
    first, second = history[2]["revision"], history[1]["revision"]
    diff = here.json("config", "diff", f"{first}..{second}")["differences"]
    assert [(each["key"], each["old"], each["new"]) for each in diff] == [("limits.max_topic_levels", "128", "20")]
    here.cli("config", "rollback", str(first), "--reason", "was better")
    assert (value("limits.max_inflight"), value("limits.max_topic_levels")) == ("70", "128")
    assert here.json("config", "history")[0]["kind"] == "rollback"
    missing = here.cli("config", "rollback", "999", check=False)
    assert missing.returncode != 0 and "999" in missing.stderr
    assert here.file.read_text() == untouched


def test_a_change_against_an_old_revision_is_refused_and_both_authors_are_named(home):
    here = home().start()
    here.cli("config", "set", "limits.max_inflight", "70", USER="anna")
    base = here.json("config", "history")[0]["revision"]
    here.cli("config", "set", "limits.max_inflight", "71", "--base", str(base), USER="bert")
    late = ("config", "set", "limits.max_inflight", "72", "--base", str(base))
    done = here.cli(*late, check=False, USER="carl")
    assert done.returncode == 1
    assert "limits.max_inflight" in done.stderr and "bert" in done.stderr and "carl" in done.stderr, done.stderr
    assert f"diff {base}..{base + 1}" in done.stderr, done.stderr
    chinese = here.cli(*late, "--lang", "zh-CN", check=False, USER="carl")
    assert CHINESE.search(chinese.stderr) and "bert" in chinese.stderr and "carl" in chinese.stderr, chinese.stderr
    assert here.json("config", "explain", "limits.max_inflight")["value"] == "71"
    # Another key has not moved, so an old base is fine.
    here.cli("config", "set", "limits.max_topic_levels", "20", "--base", str(base), USER="carl")


def at_once(here, orders: list[list[str]]) -> list[tuple[int, str]]:
    """Runs commands at the same time; exit code and words of each."""
    running = [subprocess.Popen([str(servers.BINARY), *order, "--data", str(here.data)], text=True, cwd=here.folder,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                env=here.environment) for order in orders]
    said = [each.communicate(timeout=60)[0] for each in running]
    return [(each.returncode, words) for each, words in zip(running, said)]


@pytest.mark.parametrize("running", [True, False], ids=["while a server runs", "while none runs"])
def test_of_many_changes_at_once_none_is_lost_and_of_those_that_build_on_one_revision_one_wins(home, running):
    here = home()
    here.cli("config", "set", "limits.max_inflight", "10")
    if running:
        here.start()
    keys = {"limits.max_inflight": 11, "limits.max_topic_levels": 12, "limits.receive_maximum": 13,
            "limits.topic_alias_maximum": 14, "mqtt.max_connections": 15, "mqtts.max_connections": 16}
    done = at_once(here, [["config", "set", key, str(value)] for key, value in keys.items()])
    values = {row["key"]: row["value"] for row in here.json("config", "show")}
    # Each is done, or says that another change is on its way; what is done stays.
    for (key, value), (code, said) in zip(keys.items(), done):
        assert (code == 0 and values[key] == str(value)) or (code == 1 and values[key] != str(value) and said), done
    assert any(code == 0 for code, _ in done), done
    base = here.json("config", "history")[0]["revision"]
    done = at_once(here, [["config", "set", "limits.max_inflight", str(20 + n), "--base", str(base)] for n in range(4)])
    assert sorted(code for code, _ in done) == [0, 1, 1, 1], done
    winner = next(n for n, (code, _) in enumerate(done) if code == 0)
    assert here.json("config", "explain", "limits.max_inflight")["value"] == str(20 + winner)


def test_of_changes_of_the_file_at_once_none_is_lost(home):
    here = home().start()
    keys = {f"{name}.on_conflict": f"{first}-{first + 5}" for name, first in
            zip(servers.LISTENERS, range(21000, 25000, 1000))}
    done = at_once(here, [["config", "set", key, value] for key, value in keys.items()])
    # Each is done, or says that another change is on its way; what is done stays.
    values = {row["key"]: row["value"] for row in here.json("config", "show")}
    for (key, value), (code, said) in zip(keys.items(), done):
        assert code == 0 and values[key] == f'"{value}"' or code == 1 and values[key] == '"fail"' and said, (key, done)
    assert any(code == 0 for code, _ in done), done


def test_rollback_brings_the_files_of_a_revision_back_too(home):
    here = home(settings={"config": 'confirm = "10s"'}).start()
    before = here.file.read_text()
    # The start writes its own revision a moment after it serves.
    start = eventually(lambda: here.json("config", "history"))[0]["revision"]
    here.cli("config", "set", "mqtt.on_conflict", "18883-18892")
    assert here.file.read_text() != before
    here.cli("config", "rollback", str(start))
    assert here.file.read_text() == before
    assert here.json("config", "explain", "mqtt.on_conflict")["running"] == '"fail"'


def limit_in_force(here) -> str:
    return here.json("config", "explain", "limits.max_inflight")["running"]


@pytest.mark.parametrize("by", ["command", "SIGHUP"])
def test_files_are_read_again_by_command_and_by_sighup_and_a_broken_one_changes_nothing(home, by):
    here = home(settings={"limits": "max_inflight = 10"}).start()

    def reload(check=True):
        if by == "command":
            return here.cli("config", "reload", check=check)
        here.process.send_signal(signal.SIGHUP)

    fine = here.file.read_text()
    here.file.write_text(fine.replace("max_inflight = 10", "max_inflight = 11"))
    reload()
    assert eventually(lambda: limit_in_force(here) == "11")

    here.file.write_text(fine.replace("max_inflight = 10", "max_inflight = 12\nmax_infl = 1"))
    mark = len(here.log_text())
    done = reload(check=False)
    if done is not None:
        assert done.returncode == 64 and "limits.max_infl" in done.stderr and "safeport.toml:" in done.stderr
    else:
        assert eventually(lambda: "limits.max_infl" in here.log_text()[mark:]), "the log says what is wrong"
    assert here.alive() and here.get("/metrics")[0] == 200
    here.file.write_text(fine.replace("max_inflight = 10", "max_inflight = 13"))
    reload()
    assert eventually(lambda: limit_in_force(here) == "13")


def test_a_broken_file_at_start_gives_the_last_good_settings_and_says_so_loudly(home):
    here = home(settings={"limits": "max_inflight = 10"}).start()
    here.cli("config", "set", "limits.max_topic_levels", "20")
    here.stop()
    fine = here.file.read_text()
    here.file.write_text(fine.replace("max_inflight = 10", "max_inflight = 12\nmax_infl = 1"))
    mark = len(here.log_text())
    here.start_degraded()
    log = here.log_text()[mark:]
    assert "DEGRADED" in log and "limits.max_infl" in log and "safeport.toml:" in log, log
    status, body = here.get("/healthz")
    assert body.startswith("degraded"), (status, body)
    shown = here.cli("config", "show", check=False)
    assert "last good" in shown.stderr and "limits.max_infl" in shown.stderr, shown
    assert re.search(r"^limits.max_inflight = 10", shown.stdout, re.M), "the value in force is shown"
    assert re.search(r"^limits.max_topic_levels = 20", shown.stdout, re.M), shown.stdout

    here.file.write_text(fine)
    here.cli("config", "reload")
    assert here.get("/healthz") == (200, "ok\n")
    assert limit_in_force(here) == "10"


def test_a_broken_file_at_the_very_first_start_is_refused(home):
    here = home(settings={"limits": "max_infl = 10"})
    done = here.cli("serve", check=False)
    assert done.returncode == 64 and "limits.max_infl" in done.stderr


# ------------------------------------------------------------ changes that could lock one out

def answers(here, port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{here.host}:{port}/healthz", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def changed_http_port(home):
    """A server whose HTTP port was just changed; the new port, the file of before, what `config set` said."""
    here = home(settings={"config": 'confirm = "10s"'}).start()
    before, new = here.file.read_text(), servers.free_ports(1)[0]
    done = here.cli("config", "set", "http.bind", f"127.0.0.1:{new}")
    assert re.search(r"undone in \d+ s", done.stderr) and f"127.0.0.1:{new}/" in done.stderr, done.stderr
    assert answers(here, new)
    return here, new, before, done.stderr


def state_of_last_change(here):
    return here.json("config", "history")[0]["state"]


@pytest.mark.slow
def test_a_change_of_the_http_port_that_nobody_confirms_is_undone_in_file_and_on_the_port(home):
    here, new, before, _ = changed_http_port(home)
    assert here.file.read_text() != before
    assert state_of_last_change(here) == "unconfirmed"
    assert eventually(lambda: here.file.read_text() == before, 20, 0.25), "the file is as before"
    assert eventually(lambda: answers(here, here.http_port) and not answers(here, new), 5)
    assert state_of_last_change(here) == "reverted"
    assert "confirmed" in here.log_text()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["the page", "config confirm"])
def test_a_change_of_the_http_port_stays_when_it_is_confirmed_over_the_new_address(home, by):
    here, new, before, said = changed_http_port(home)
    if by == "the page":
        url = re.search(rf"http://127\.0\.0\.1:{new}\S*/confirm/\S+", said)[0]
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": "text/html"}), timeout=5) as page:
            assert "<form" in page.read().decode().lower(), "looking at the page confirms nothing: link previews do that"
        assert state_of_last_change(here) == "unconfirmed"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5) as answer:
            assert answer.status == 200
    else:
        here.cli("config", "confirm")
    assert state_of_last_change(here) == "live"
    deadline = here.json("config", "history")[0]["confirm_by"]
    assert deadline is None
    # Past the end of the window it still holds; the old port is given back.
    assert not eventually(lambda: not answers(here, new), 11, 0.5)
    assert not answers(here, here.http_port)
    assert str(new) in here.file.read_text() and here.file.read_text() != before


@pytest.mark.slow
def test_a_change_that_nobody_confirmed_is_undone_by_the_start_after_a_kill(home):
    here, new, before, _ = changed_http_port(home)
    here.kill()
    # Start looks at the port of before.
    here.start()
    assert here.file.read_text() == before and not answers(here, new)
    assert state_of_last_change_but_start(here) == "reverted"


def state_of_last_change_but_start(here):
    return next(entry for entry in here.json("config", "history") if entry["kind"] == "set")["state"]


def test_confirming_when_there_is_nothing_to_confirm_says_so(home):
    here = home().start()
    done = here.cli("config", "confirm", check=False)
    assert done.returncode == 1 and done.stderr.strip(), done
