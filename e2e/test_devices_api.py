"""Devices, enrolment, images and offers over the HTTP API and the command line, with every answer held against the
API's own description."""

from __future__ import annotations

import concurrent.futures
import gzip
import http.client
import json
import os
import pathlib
import re
import socket
import stat
import subprocess
import time
import urllib.parse

import jsonschema
import pytest

import server as servers
import wire
from conftest import eventually

DOCS = servers.ROOT / "docs"


class Api:
    """Asks the API, and holds every request and answer against `openapi.json`."""

    def __init__(self, server, token):
        self.server, self.token = server, token
        self.document = None
        self.document = self.call("GET", "/openapi.json")[1]

    def call(self, method, path, body=None, *, data=None, expect=None, token=None, language=None):
        headers = {"Authorization": f"Bearer {token or self.token}"}
        if language:
            headers["Accept-Language"] = language
        if body is not None:
            data = json.dumps(body).encode()
        link = http.client.HTTPConnection(*self.server.http, timeout=60)
        link.request(method, "/api/v1" + path, body=data, headers=headers)
        answer = link.getresponse()
        raw = answer.read()
        link.close()
        if answer.headers.get_content_type() != "application/json":
            found = raw
        else:
            found = json.loads(raw)
            if self.document:
                self.check(method, path, answer.status, found)
        if expect is not None:
            assert answer.status == expect, f"{method} {path}: {answer.status} {raw[:2000]!r}"
        return answer.status, found

    def schema(self, name):
        return {"$ref": f"#/components/schemas/{name}", "components": self.document["components"]}

    def operation(self, method, path):
        parts = path.split("?")[0].strip("/").split("/")
        for template, operations in self.document["paths"].items():
            known = template.strip("/").split("/")
            if len(known) == len(parts) and all(k == p or k.startswith("{") for k, p in zip(known, parts)):
                if method.lower() in operations and not ("{" in template and path.split("?")[0] in self.document["paths"]):
                    return operations[method.lower()]
        return None

    def check(self, method, path, status, found):
        if status >= 400:
            return jsonschema.validate(found, self.schema("Refusal"))
        operation = self.operation(method, path)
        assert operation, f"{method} {path} is not described"
        good = [answer for code, answer in operation["responses"].items() if code.startswith("2")]
        name = good[0]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        return jsonschema.validate(found, self.schema(name))

    def ok(self, method, path, body=None, **more):
        status, found = self.call(method, path, body, **more)
        assert status < 300, f"{method} {path}: {status} {found}"
        return found

    def refused(self, method, path, body=None, **more):
        """The status, the code and what else a refusal says."""
        status, found = self.call(method, path, body, **more)
        assert status >= 400, f"{method} {path}: {status} {found}"
        return status, found["error"]["code"], found["error"]


def token(server, name, *more):
    return server.cli("token", "add", name, *more).stdout.strip()


@pytest.fixture(scope="module")
def server(request):
    if request.config.getoption("--peer") != "safeport":
        pytest.skip("concerns safeport's own API")
    with servers.serving(servers.Safeport, open_to_all=False) as running:
        yield running


@pytest.fixture(scope="module")
def api(server):
    return Api(server, token(server, "tests"))


def simulated(folder, name, *more):
    """An image that devices would take, made by the simulator."""
    path = pathlib.Path(folder) / name
    subprocess.run([str(servers.BINARY), "simulate", "image", *more, "-o", str(path)], check=True, timeout=60,
                   capture_output=True)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return {
        "main": simulated(folder, "tasmota32c3.bin", "--family", "tasmota", "--chip", "esp32c3", "--version", "15.1.0"),
        "safeboot": simulated(folder, "tasmota32c3-safeboot.bin", "--family", "tasmota", "--chip", "esp32c3",
                              "--version", "15.1.0", "--variant", "safeboot"),
        "idf": simulated(folder, "own.bin", "--family", "idf", "--chip", "esp32", "--version", "1.2.3"),
        "truncated": simulated(folder, "short.bin", "--family", "idf", "--chip", "esp32", "--version", "1.2.3",
                               "--spoil", "truncated"),
    }


def upload(api, path, **more):
    name = urllib.parse.quote(path.name)
    return api.call("POST", f"/images?name={name}", data=path.read_bytes(), **more)


# -- the description ------------------------------------------------------------------------------------------------


def test_the_description_names_what_the_router_answers_and_nothing_else(api):
    for path, operations in api.document["paths"].items():
        asked = re.sub(r"\{\w+\}", "nobody-here", path)
        for method in ("get", "post", "patch", "put", "delete"):
            status, found = api.call(method.upper(), asked, data=b"{" if method != "get" else None)
            code = found["error"]["code"] if status >= 400 and isinstance(found, dict) else None
            if method in operations:
                assert code not in ("nothing-here", "wrong-method"), f"{method} {path}: {found}"
            else:
                assert (status, code) == (405, "wrong-method"), f"{method} {path}: {status} {found}"
    assert api.refused("GET", "/nothing")[:2] == (404, "nothing-here")


def test_every_operation_says_which_scope_it_needs(api):
    for path, operations in api.document["paths"].items():
        for method, operation in operations.items():
            scope = operation["x-safeport-scope"]
            if path == "/openapi.json":
                assert scope is None
                continue
            area, level = scope.split(":")
            assert area in ("settings", "devices", "firmware", "attempts", "certificates"), path
            # The doctor is asked with a body and changes nothing.
            if method != "get" and not path.startswith("/doctor/"):
                assert level == "write", f"{method} {path}"


def examples():
    """Blocks of JSON in the pages of docs/ that say of which operation they are: `<!-- POST /devices 201 -->`."""
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        for method, path, status, block in re.findall(
                r"<!-- (GET|POST|PATCH|PUT|DELETE) (\S+) (request|\d+) -->\s*```json\n(.*?)```", text, re.S):
            yield page.name, method, path, status, block


def test_every_example_in_the_pages_fits_the_description(api):
    found = list(examples())
    assert len(found) >= 6, "the pages have examples"
    for page, method, path, status, block in found:
        value = json.loads(block)
        operation = api.operation(method, path)
        assert operation, f"{page}: {method} {path}"
        if status == "request":
            content = operation["requestBody"]["content"]
        else:
            content = operation["responses"].get(status, api.document["components"]["responses"]["Refusal"])["content"]
        schema = content["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        try:
            jsonschema.validate(value, api.schema(schema))
        except jsonschema.ValidationError as error:
            raise AssertionError(f"{page}: {method} {path} {status}: {error.message}\n{block}") from error


# -- who may -------------------------------------------------------------------------------------------------------------


def test_a_token_is_good_for_its_scopes_and_a_refusal_names_the_missing_one(api, server):
    only = token(server, "scoped", "--scope", "devices:read,firmware:write")
    assert api.call("GET", "/devices", token=only)[0] == 200
    assert api.call("GET", "/openapi.json", token=only)[0] == 200
    assert api.call("GET", "/images", token=only)[0] == 200
    for method, path, scope in [("POST", "/devices", "devices:write"), ("DELETE", "/devices/x", "devices:write"),
                                ("GET", "/settings", "settings:read"), ("PATCH", "/settings", "settings:write"),
                                ("GET", "/certificates", "certificates:read"), ("GET", "/attempts", "attempts:read"),
                                ("POST", "/quarantine/x", "devices:write")]:
        status, code, error = api.refused(method, path, {} if method != "GET" else None, token=only)
        assert (status, code) == (403, "missing-scope"), (path, error)
        assert error["scope"] == scope and scope in error["what"] and scope in error["next"], error
        assert error["held"] == "devices:read,firmware:write"
    reader = token(server, "reader", "--read-only")
    assert api.refused("POST", "/devices", {}, token=reader)[1] == "read-only-token"
    bad = server.cli("token", "add", "odd", "--scope", "devices:admin", check=False)
    assert bad.returncode != 0 and "devices:admin" in bad.stderr


def test_the_local_token_lies_where_only_the_servers_user_reads_it_and_goes_with_the_server(home):
    here = home()
    file = here.data / "local.json"
    here.start()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    access = json.loads(file.read_text())
    assert access["http"] == [f"127.0.0.1:{here.http_port}"], "known before anybody was answered"
    assert eventually(lambda: json.loads(file.read_text())["https"] == [f"127.0.0.1:{here.https_port}"])
    api = Api(here, access["token"])
    assert api.ok("GET", "/devices")["devices"] == []
    listed = here.json("token", "list")
    assert all(row["name"] != "local" for row in listed), "it is in no list"
    here.stop()
    assert here.json("device", "list") == [], "what a server left behind is not believed"
    here.start()
    assert json.loads(file.read_text())["token"] != access["token"], "each start draws its own"
    assert api.call("GET", "/devices")[0] == 401, "that of an earlier server is good for nothing"


def test_the_command_line_finds_its_server_over_https_where_http_is_off(home):
    here = home(settings={"http": "enabled = false"})

    def wait_ready(*_):
        deadline = time.monotonic() + 20
        while "is serving" not in here.log_text() and time.monotonic() < deadline:
            time.sleep(0.05)

    here.wait_ready = wait_ready
    here.start()
    added = here.json("device", "add", "plain", "--name", "lamp", "--host", "127.0.0.1")
    assert added["name"] == "lamp"
    assert [row["name"] for row in here.json("device", "list")] == ["lamp"]


def test_a_server_elsewhere_is_asked_with_its_token(server, api, tmp_path):
    other = servers.Safeport(tmp_path, open_to_all=False)
    url = f"http://127.0.0.1:{server.http_port}"
    away = token(server, "away", "--scope", "devices:read")
    listed = other.cli("device", "list", "--server", url, "--json", SAFEPORT_TOKEN=away)
    assert isinstance(json.loads(listed.stdout), list)
    refused = other.cli("device", "forget", "x", "--server", url, check=False, SAFEPORT_TOKEN=away)
    assert refused.returncode == 1 and "devices:write" in refused.stderr
    wrong = other.cli("device", "list", "--server", url, "--token", "sp_00", check=False)
    assert wrong.returncode == 1 and "token" in wrong.stderr
    nobody = other.cli("device", "list", "--server", f"http://127.0.0.1:{servers.free_ports(1)[0]}", "--token", "x",
                       check=False)
    assert nobody.returncode == 1 and "does not answer" in nobody.stderr
    assert other.cli("firmware", "list", check=False).returncode == 1, "nobody serves there"
    assert "no server runs" in other.cli("firmware", "list", check=False).stderr
    assert "没有服务器" in other.cli("firmware", "list", "--lang", "zh-CN", check=False).stderr


# -- enrolment -----------------------------------------------------------------------------------------------------------


def shape(value):
    """A value without what is drawn anew each time."""
    drawn = {"password", "setup", "fields", "firmware_url", "port", "address", "created", "remarks", "first_seen",
             "last_seen", "id", "attempts", "told", "identities"}
    return {key: value for key, value in value.items() if key not in drawn}


def test_commands_print_the_same_beside_a_server_and_without_one(home):
    with_server, without = home(), home()
    with_server.start()
    for here in (with_server, without):
        here.added = here.json("device", "add", "tasmota", "--name", "plug-1", "--mac", "a0:b1:c2:d3:e4:f5",
                               "--tag", "kitchen", "--host", "192.168.1.10", "--publish", "site/#")
        here.shown = here.json("device", "show", "plug-1")
        here.listed = here.json("device", "list")
        here.text = here.cli("device", "list").stdout
        here.tagged = here.json("device", "tag", "plug-1", "hall")
        here.renewed = here.json("device", "passwd", "plug-1", "--host", "192.168.1.10")
        here.taken = here.cli("device", "add", "plain", "--name", "plug-1", check=False)
        here.unknown = here.cli("device", "show", "nobody", check=False)
        here.bad = here.cli("device", "add", "plain", "--name", "Plug 1", check=False)
        here.gone = here.json("device", "forget", "plug-1")
        here.left = here.json("device", "list")
    for name in ("added", "shown", "renewed"):
        assert shape(getattr(with_server, name)) == shape(getattr(without, name)), name
        assert getattr(with_server, name).keys() == getattr(without, name).keys(), name
    assert [shape(row) for row in with_server.listed] == [shape(row) for row in without.listed]
    for name in ("text", "tagged", "gone", "left"):
        assert getattr(with_server, name) == getattr(without, name), name
    for name, code in (("taken", 1), ("unknown", 1), ("bad", 64)):
        one, other = getattr(with_server, name), getattr(without, name)
        assert one.returncode == other.returncode == code, (name, one.stderr, other.stderr)
        assert one.stderr.splitlines()[0] == other.stderr.splitlines()[0], name


def test_each_family_gets_what_its_device_can_be_told(api, server):
    http = f"http://192.168.1.10:{server.http_port}"

    def add(family, name, **more):
        return api.call("POST", "/devices", {"family": family, "name": name, "host": "192.168.1.10", **more}, expect=201)[1]

    tasmota = add("tasmota", "fam-tasmota", tls=True)
    assert tasmota["setup"].startswith("Backlog MqttHost 192.168.1.10; ")
    assert f"MqttPassword {tasmota['password']};" in tasmota["setup"] and "MqttFingerprint1 " in tasmota["setup"]
    espeasy = {field["label"]: field["value"] for field in add("espeasy", "fam-espeasy")["fields"]}
    assert espeasy["Client Timeout"] == "1000" and espeasy["Controller Port"] == str(server.mqtt_port)
    esphome = add("esphome", "fam-esphome")
    assert re.fullmatch(rf"{http}/ota/d[a-z2-7]{{19}}/manifest\.json", esphome["firmware_url"])
    assert f'source: "{esphome["firmware_url"]}"' in esphome["setup"] and "platform: http_request" in esphome["setup"]
    xiaozhi = add("xiaozhi", "fam-xiaozhi")
    assert xiaozhi["fields"] == [{"label": "OTA URL", "value": f"{http}/xiaozhi/ota/"}]
    idf = add("idf", "fam-idf")
    assert idf["family"] == "plain" and idf["firmware_url"].endswith("/firmware.bin")
    for language, word in (("en", "1.6.1"), ("zh-CN", "热点")):
        told = server.cli("device", "add", "xiaozhi", "--name", f"fam-voice-{language[:2]}", "--host", "192.168.1.10",
                          "--lang", language)
        assert word in told.stderr and told.stdout.strip() == f"OTA URL  {http}/xiaozhi/ota/"
    with_qr = server.cli("device", "passwd", "fam-tasmota", "--host", "192.168.1.10", "--qr")
    assert "▀" in with_qr.stderr and with_qr.stdout.startswith("Backlog ") and with_qr.stdout.count("\n") == 1


def test_a_device_that_cannot_be_added_is_refused_by_name(api):
    api.ok("POST", "/devices", {"family": "plain", "name": "held", "host": "h.lan", "topic": "house/held",
                                "mac": "02:00:00:00:00:01"})
    for body, status, code in [
        ({"family": "plain", "name": "held"}, 409, "taken"),
        ({"family": "plain", "name": "other", "mac": "02:00:00:00:00:01"}, 409, "taken"),
        ({"family": "espeasy", "name": "other", "topic": "house/held"}, 409, "not-done"),
        ({"family": "toaster", "name": "other"}, 422, "unfit"),
        ({"family": "plain", "name": "../other"}, 422, "unfit"),
        ({"family": "plain", "name": "other", "topic": "a/+/b"}, 422, "unfit"),
        ({"family": "plain", "name": "other", "mac": "ff:ff"}, 422, "unfit"),
        ({"family": "plain", "name": "other", "tags": ["No"]}, 422, "unfit"),
        ({"family": "tasmota", "name": "other", "host": "hub.local"}, 422, "unfit"),
        ({"family": "plain", "name": "other", "host": "http://x/y"}, 422, "unfit"),
        ({"family": "plain", "name": "other", "publish": ["#/x"]}, 422, "unfit"),
        ({"family": "plain"}, 400, "bad-request"),
        ({"family": "plain", "name": "other", "colour": "red"}, 400, "bad-request"),
    ]:
        found = api.refused("POST", "/devices", {"host": "h.lan", **body})
        assert found[:2] == (status, code), (body, found)
    assert api.refused("GET", "/devices/other")[:2] == (404, "unknown-device")


def test_a_table_is_added_whole_or_not_at_all_with_all_its_mistakes_at_once(home):
    here = home()
    here.start()
    here.cli("device", "add", "plain", "--name", "lamp", "--host", "h.lan")
    table = here.folder / "devices.csv"
    table.write_text("family,name,mac,topic,tags\n"
                     "tasmota,plug-1,a0:b1:c2:d3:e4:f5,,kitchen hall\n"
                     "toaster,plug-2,,,\n"
                     "tasmota,plug-1,,,\n"
                     "plain,lamp,,,\n"
                     "plain,sensor,zz,,\n"
                     "plain,meter,a0-b1-c2-d3-e4-f5,,\n"
                     "plain,deep,,lamp/deep,\n"
                     "esphome,node,,,Bad_Tag\n")
    refused = here.cli("device", "add", "--csv", str(table), "--host", "192.168.1.10", check=False)
    assert refused.returncode == 64
    lines = re.findall(r"^\s*(\d+): ", refused.stderr, re.M)
    assert lines == ["3", "4", "5", "6", "7", "8", "9"], refused.stderr
    assert [row["name"] for row in here.json("device", "list")] == ["lamp"], "nobody was added"
    table.write_text("Name;Family;Tags\n" + "".join(f"plug-{n};tasmota;kitchen\n" for n in range(200)))
    added = json.loads(here.cli("device", "add", "--csv", str(table), "--host", "192.168.1.10", "--json").stdout)
    assert len(added) == 200 and len({one["password"] for one in added}) == 200
    assert len(here.json("device", "list", "--where", "tag==kitchen;family==tasmota")) == 200
    with wire.Client(here.mqtt, wire.V311) as one:
        assert one.hello("plug-7", username="plug-7", password=added[7]["password"]).code == 0
    table.write_text("family,name\nplain,a-1\nesphome,a-2\n")
    printed = here.cli("device", "add", "--csv", "-", "--host", "192.168.1.10", stdin=table.read_text())
    assert printed.stdout.startswith("name,family,username,password,address,setup\na-1,plain,a-1,")
    strange = here.cli("device", "add", "--csv", "-", stdin="family,nane\nplain,x\n", check=False)
    assert strange.returncode == 64 and '"nane"' in strange.stderr and "name" in strange.stderr
    here.stop()
    offline = here.cli("device", "add", "--csv", "-", "--host", "192.168.1.10", stdin="family,name\nplain,a-1\nplain,b-1\n",
                       check=False)
    assert offline.returncode == 64 and "2: " in offline.stderr
    assert "b-1" not in here.cli("device", "list").stdout


def test_new_credentials_and_forgetting_end_connections_and_downloads_at_once(api, server):
    name = "revoked"
    added = api.ok("POST", "/devices", {"family": "esphome", "name": name, "host": "127.0.0.1"})
    manifest = urllib.parse.urlparse(added["firmware_url"]).path
    assert server.get(manifest)[0] in (200, 404)
    before = server.get(manifest)

    def connected(password):
        one = wire.Client(server.mqtt, wire.V5)
        assert one.hello(name, username=name, password=password).code == 0
        return one

    with connected(added["password"]) as one:
        renewed = api.ok("POST", f"/devices/{name}/password", {"host": "127.0.0.1"})
        began = time.monotonic()
        one.ended(5)
        assert time.monotonic() - began < 2
    assert renewed["firmware_url"] != added["firmware_url"]
    assert server.get(manifest)[0] == 404
    with connected(renewed["password"]) as one:
        assert api.ok("DELETE", f"/devices/{name}")["done"] == "forgotten"
        began = time.monotonic()
        one.ended(5)
        assert time.monotonic() - began < 2
    assert server.get(urllib.parse.urlparse(renewed["firmware_url"]).path)[0] == 404
    assert before is not None


# -- what is known -------------------------------------------------------------------------------------------------------


def test_devices_are_listed_by_pages_and_found_by_questions(home):
    here = home()
    here.start()
    api = Api(here, token(here, "tests"))
    devices = [{"family": "tasmota" if n % 2 else "plain", "name": f"dev-{n:03}", "tags": ["odd"] if n % 2 else []}
               for n in range(60)]
    api.ok("POST", "/enrolments", {"devices": devices, "host": "192.168.1.10"})
    seen, after = [], ""
    while True:
        page = api.ok("GET", f"/devices?limit=25{after}")
        seen += [row["name"] for row in page["devices"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert sorted(seen) == [device["name"] for device in devices] and page["known"] == 60

    def found(question):
        return [row["name"] for row in api.ok("GET", f"/devices?where={urllib.parse.quote(question)}")["devices"]]

    assert len(found("family==tasmota")) == 30
    assert found("name==dev-007,name==dev-008") == ["dev-007", "dev-008"]
    assert len(found("tag==odd;name==dev-00*")) == 5
    assert found("online==true") == []
    status, code, error = api.refused("GET", "/devices?where=family%3D%3Dtasmota%3Bcolour%3D%3Dred")
    assert (status, code, error["at"]) == (400, "bad-query", 16) and "colour" in error["detail"]
    assert api.refused("GET", "/devices?limit=0")[0] == 400
    assert api.refused("GET", "/devices?after=dev_1")[0] == 400
    assert api.refused("GET", "/devices?colour=red")[0] == 400
    by_id = api.ok("GET", "/devices?text=dev-033")["devices"][0]["id"]
    assert api.ok("GET", f"/devices/{by_id}")["name"] == "dev-033"
    bad = here.cli("device", "list", "--where", "family=tasmota", check=False)
    assert bad.returncode == 64 and "character 7" in bad.stderr


def test_what_an_operator_sets_holds_until_it_is_taken_back(api, server):
    api.ok("POST", "/devices", {"family": "plain", "name": "settable", "host": "h.lan"})
    set_ = api.ok("PATCH", "/devices/settable", {"web": "192.168.1.77:8080", "chip": "ESP32-C3", "layout": "dual",
                                                 "tags": ["hall", "lab"], "note": "behind the door"})
    assert set_["chip"] == "esp32c3" and set_["layout"] == "dual" and set_["tags"] == ["hall", "lab"]
    assert set_["web"] == {"address": "192.168.1.77:8080", "set": True, "proved": True}
    assert api.ok("PATCH", "/devices/settable", {"chip": None})["chip"] is None
    for body in ({"web": "http://x/y"}, {"web": "user@host"}, {"chip": "z80"}, {"colour": "red"}, {"flash_size": "big"},
                 {"tags": "hall"}):
        assert api.refused("PATCH", "/devices/settable", body)[0] == 400, body
    assert api.refused("PATCH", "/devices/settable", {"tags": ["Not a tag"]})[0] == 422
    server.cli("device", "set", "settable", "--board", "own", "--web", "")
    shown = server.json("device", "show", "settable")
    assert shown["board"] == "own" and shown["web"] is None
    events = api.ok("GET", "/devices/settable/events")["events"]
    assert any(event["what"] == "enrolled" for event in events), events
    assert api.ok("GET", "/quarantine")["conflicts"] == []
    assert api.refused("POST", "/quarantine/x", {"decision": "keep"})[0] == 400


# -- images --------------------------------------------------------------------------------------------------------------


def test_an_image_is_looked_into_kept_and_handed_back_byte_by_byte(api, images):
    status, kept = upload(api, images["main"])
    assert status == 201 and kept["family"] == "tasmota" and kept["chip"] == "esp32c3" and kept["offerable"]
    assert upload(api, images["main"])[0] == 200, "the same bytes are kept once"
    assert api.ok("GET", "/images/tasmota32c3.bin")["id"] == kept["id"]
    assert api.ok("GET", f"/images/{kept['sha256'][:10]}")["id"] == kept["id"]
    status, raw = api.call("GET", f"/images/{kept['id']}/bytes")
    assert status == 200 and raw == images["main"].read_bytes()
    assert kept["id"] in [row["id"] for row in api.ok("GET", "/images")["images"]]


def test_a_version_that_no_image_tells_may_be_named_and_one_that_it_tells_may_not(api, images, tmp_path):
    other = simulated(tmp_path, "named.bin", "--family", "tasmota", "--chip", "esp32", "--version", "15.0.1")
    for version, status in (("15", 400), ("", 400), ("15.0.1", 201)):
        assert api.call("POST", f"/images?name=named.bin&version={version}", data=other.read_bytes())[0] == status, version
    kept = api.ok("GET", "/images/named.bin")
    assert kept["version"] == "15.0.1" and all(warning["code"] != "no-version" for warning in kept["warnings"])
    assert api.refused("POST", "/images?name=own.bin&version=9.9.9", data=images["idf"].read_bytes())[0] == 400


def test_files_that_are_no_images_are_refused_by_name_and_leave_nothing(api, server, images, tmp_path):
    before = len(api.ok("GET", "/images")["images"])
    bomb = gzip.compress(bytes(64 << 20), 9)
    for data, why in [(b"", "empty"), (b"<!DOCTYPE html><html>", "not-an-image"), (images["truncated"].read_bytes(), None),
                      (b"\x7fELF" + bytes(5000), "not-an-image"), (bytes(5000), None), (bomb, None),
                      (gzip.compress(b"hello" * 1000), None), (b"\xff" * 70000, None)]:
        status, code, error = api.refused("POST", "/images?name=x.bin", data=data)
        assert (status, code) == (422, "image-refused") and error["detail"], (data[:20], error)
        assert why in (None, error["why"]), error
    for name in ("../x.bin", "a/b.bin", "a%5Cb.bin", "", ".hidden", "x%00.bin", "x%0a.bin", "a" * 130, "x?.bin&y"):
        status, code, _ = api.refused("POST", f"/images?name={name}", data=b"\xe9")
        assert status == 400, name
    assert api.refused("POST", "/images", data=b"\xe9")[0] == 400
    assert len(api.ok("GET", "/images")["images"]) == before
    left = [path for path in (server.data / "blobs").rglob("*") if path.is_file() and "new" in path.parts]
    assert left == []


def test_a_file_that_is_too_large_is_refused_by_its_length_before_any_of_it_is_read(server, api):
    with socket.create_connection(server.http, 10) as link:
        link.sendall(f"POST /api/v1/images?name=x.bin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
                     f"Content-Length: {4 << 30}\r\n\r\n".encode())
        link.settimeout(10)
        answer = link.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413 ") and "too-large" in answer
    # Without a length it is counted on the way.
    process = subprocess.run(
        f"head -c 40000000 /dev/zero | tr '\\0' '\\351' | curl -sS -m 60 -H 'Authorization: Bearer {api.token}' "
        f"-H 'Transfer-Encoding: chunked' -X POST --data-binary @- -w '%{{http_code}}' "
        f"'http://127.0.0.1:{server.http_port}/api/v1/images?name=x.bin'", shell=True, capture_output=True, text=True)
    assert process.stdout.endswith(("413", "422")), (process.stdout, process.stderr)


def test_an_upload_that_breaks_off_leaves_nothing(server, api, images):
    data = images["idf"].read_bytes()
    with socket.create_connection(server.http, 10) as link:
        link.sendall(f"POST /api/v1/images?name=own.bin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
                     f"Content-Length: {len(data)}\r\n\r\n".encode() + data[:len(data) // 2])
        time.sleep(0.3)
    deadline = time.monotonic() + 5
    new = server.data / "blobs" / "new"
    while any(new.rglob("*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(path.is_file() for path in new.rglob("*"))
    assert "own.bin" not in [row["file_name"] for row in api.ok("GET", "/images")["images"]]


def test_releases_hold_their_images_until_they_are_removed(api, images):
    main = upload(api, images["main"])[1]
    safeboot = upload(api, images["safeboot"])[1]
    made = api.call("POST", "/releases", {"name": "tasmota-15.1", "notes": "safer", "images": [main["id"], safeboot["sha256"]]},
                    expect=201)[1]
    assert [image["step"] for image in made["images"]] in ([0, 1], [1, 0])
    assert api.ok("GET", "/releases/tasmota-15.1") == made and made in api.ok("GET", "/releases")["releases"]
    assert api.refused("POST", "/releases", {"name": "tasmota-15.1", "images": [main["id"]]})[:2] == (409, "taken")
    assert api.refused("DELETE", f"/images/{main['id']}")[:2] == (409, "in-use")
    for body, status in [({"name": "../x", "images": [main["id"]]}, 400), ({"name": "x", "images": []}, 400),
                         ({"name": "x", "images": ["nobody.bin"]}, 404), ({"name": "x"}, 400)]:
        assert api.refused("POST", "/releases", body)[0] == status, body
    assert api.ok("DELETE", "/releases/tasmota-15.1")["done"] == "removed"
    assert api.refused("GET", "/releases/tasmota-15.1")[:2] == (404, "unknown-release")
    assert api.ok("DELETE", f"/images/{safeboot['id']}")["done"] == "removed"
    assert api.refused("GET", f"/images/{safeboot['id']}")[:2] == (404, "unknown-image")


# -- offers --------------------------------------------------------------------------------------------------------------


def test_an_offer_that_fits_nobody_says_why_for_each_and_a_preview_changes_nothing(api, images):
    image = upload(api, images["idf"])[1]["id"]
    api.ok("POST", "/enrolments", {"devices": [{"family": "tasmota", "name": f"of-{n}", "tags": ["of-lab"]} for n in range(3)],
                                   "host": "192.168.1.10"})
    time.sleep(1.5)
    for body in ({"image": image, "device": "of-0"}, {"image": image, "tag": "of-lab", "preview": True},
                 {"image": image, "where": "name==of-*"}):
        status, code, error = api.refused("POST", "/offers", body)
        assert (status, code) == (422, "not-offered"), error
        assert all(row["refused"]["why"] for row in error["devices"]), error
        assert len(error["devices"]) == (1 if "device" in body else 3)
    for body, status in [({"image": image}, 400), ({"device": "of-0"}, 400), ({"image": image, "release": "x", "device": "of-0"}, 400),
                         ({"image": image, "device": "nobody"}, 404), ({"image": "nothing.bin", "device": "of-0"}, 404),
                         ({"release": "nothing", "device": "of-0"}, 404), ({"image": image, "where": "name="}, 400),
                         ({"image": image, "tag": "nobody-has-it"}, 422)]:
        assert api.refused("POST", "/offers", body)[0] == status, body
    assert api.ok("GET", "/offers")["offers"] == []
    for path in ("/offers/off_b", "/offers/off_b/cancel"):
        assert api.refused("GET" if path.endswith("b") else "POST", path, None if path.endswith("b") else {})[0] == 404
    assert api.refused("GET", "/offers/1")[0] == 400


def test_an_offer_is_made_shown_in_words_and_taken_back(api, server, images):
    added = api.ok("POST", "/devices", {"family": "plain", "name": "own-1", "host": "127.0.0.1"})
    api.ok("PATCH", "/devices/own-1", {"chip": "esp32"})
    image = upload(api, images["idf"])[1]
    time.sleep(1.2)
    preview = api.call("POST", "/offers", {"image": image["id"], "device": "own-1", "preview": True}, expect=200)[1]
    assert preview["fine"] == 1 and preview["devices"][0]["would"]["steps"] == 1
    offer = api.call("POST", "/offers", {"image": image["id"], "device": "own-1"}, expect=201)[1]["devices"][0]["offer"]
    assert offer["open"] and offer["evidence"] == {"build": None, "boot": None, "stays": None, "sane": None}
    status, code, error = api.refused("DELETE", f"/images/{image['id']}")
    assert (status, code) == (409, "in-use") and offer["id"] in error["what"], error
    again = api.refused("POST", "/offers", {"image": image["id"], "device": "own-1"})
    assert again[2]["devices"][0]["refused"]["code"] == "offer-open"
    listed = server.cli("firmware", "offers", "--device", "own-1").stdout
    assert offer["id"] in listed and "own-1" in listed
    assert re.search(r"[一-鿿]", server.cli("firmware", "offers", offer["id"], "--lang", "zh-CN").stdout)
    assert server.cli("firmware", "cancel", offer["id"]).returncode == 0
    deadline = time.monotonic() + 10
    while api.ok("GET", f"/offers/{offer['id']}")["open"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert api.ok("GET", f"/offers/{offer['id']}")["state"] == "cancelled"
    status, again = api.call("POST", f"/offers/{offer['id']}/cancel", {})
    assert (status, again.get("state")) == (200, "cancelled") or again["error"]["code"] == "offer-over"
    assert added["firmware_url"]


def test_the_command_line_keeps_images_and_offers_them(home, images):
    here = home()
    here.start()
    added = here.cli("firmware", "add", str(images["main"]), str(images["safeboot"]))
    assert added.stdout.count("img_") == 2
    refused = here.cli("firmware", "add", str(images["truncated"]), check=False)
    assert refused.returncode == 64 and "short.bin" in refused.stderr
    assert {row["file_name"] for row in here.json("firmware", "list")} == {"tasmota32c3.bin", "tasmota32c3-safeboot.bin"}
    assert here.json("firmware", "show", "tasmota32c3.bin")["chip"] == "esp32c3"
    here.cli("firmware", "release", "t-15.1", "tasmota32c3.bin", "tasmota32c3-safeboot.bin", "--notes", "both")
    assert here.json("firmware", "releases")[0]["notes"] == "both"
    assert "t-15.1" in here.cli("firmware", "releases").stdout
    nobody = here.cli("firmware", "offer", "t-15.1", "--device", "nobody", check=False)
    assert nobody.returncode == 1 and "nobody" in nobody.stderr
    here.cli("firmware", "release", "t-15.1", "--remove")
    here.cli("firmware", "remove", "tasmota32c3.bin")
    assert [row["file_name"] for row in here.json("firmware", "list")] == ["tasmota32c3-safeboot.bin"]


# -- bad input -----------------------------------------------------------------------------------------------------------


TRAVERSALS = ["..%2f..%2fetc%2fpasswd", "%2e%2e", "..%5c..%5cx", "%00", "a%0d%0aX-Evil:%201", "%ff%fe", "'%3bDROP TABLE devices".replace(" ", "%20"),
              "x" * 3000, "dev_zzzzzzzzzzzzzzzzzzzzzz", "img_..", "%F0%9F%92%A9"]


def test_nothing_in_an_address_leads_anywhere_else(api, server):
    for path, operations in api.document["paths"].items():
        if "{" not in path:
            continue
        for bad in TRAVERSALS:
            asked = re.sub(r"\{\w+\}", lambda _: bad, path)
            for method in operations:
                body = b"{}" if method != "get" else None
                status, found = api.call(method.upper(), asked, data=body)
                assert 400 <= status < 500, f"{method} {asked[:80]}: {status} {found}"
                assert "error" in found, f"{method} {asked[:80]}: {found}"
    assert server.process.poll() is None


def test_bodies_that_are_too_large_or_no_json_are_refused_in_words(api):
    for path in ("/devices", "/offers", "/releases", "/activations"):
        assert api.refused("POST", path, data=b"{" + b" " * 70_000)[:2] == (413, "too-large"), path
        for data in (b"", b"null", b"[]", b"{\"a\":", b"\xff\xfe", b"{\"name\": {\"a\": [[[[]]]]}}", b"[" * 60_000):
            assert api.refused("POST", path, data=data)[:2] == (400, "bad-request"), (path, data[:20])
    assert api.refused("POST", "/enrolments", data=b"{" + b" " * (5 << 20))[:2] == (413, "too-large")
    many = {"devices": [{"family": "plain", "name": f"m-{n}"} for n in range(10_001)], "host": "h.lan"}
    assert api.refused("POST", "/enrolments", many)[0] == 422


def test_refusals_are_in_the_language_of_who_asks(api):
    for language, word in (("en", "there is no"), ("zh-CN", "没有")):
        error = api.refused("GET", "/images/nothing.bin", language=language)[2]
        assert word in error["what"], error


def test_why_an_image_or_an_offer_is_refused_is_said_in_the_language_of_who_asks(api, images):
    api.ok("POST", "/devices", {"family": "plain", "name": "reads", "host": "127.0.0.1"})
    api.ok("PATCH", "/devices/reads", {"chip": "esp32c3"})
    image = upload(api, images["idf"])[1]["id"]
    for language, is_chinese in (("en", False), ("zh-CN", True)):
        refused = api.refused("POST", "/offers", {"image": image, "device": "reads"}, language=language)[2]
        why = refused["devices"][0]["refused"]["why"]
        cut = upload(api, images["truncated"], language=language)[1]["error"]["detail"]
        for words in (why, refused["detail"], cut):
            assert bool(re.search(r"[一-鿿]", words)) == is_chinese, words
        assert "ESP32-C3" in why, why
    api.ok("DELETE", "/devices/reads")


def test_a_device_is_asked_anew_or_it_is_said_why_it_cannot_be(api, server):
    api.ok("POST", "/devices", {"family": "plain", "name": "mute", "host": "127.0.0.1"})
    status, _, error = api.refused("POST", "/devices/mute/refresh")
    assert status in (409, 422, 502) and "mute" in error["what"], (status, error)
    assert api.refused("POST", "/devices/nobody/refresh")[:2] == (404, "unknown-device")
    api.ok("DELETE", "/devices/mute")
    plug = api.ok("POST", "/devices", {"family": "tasmota", "name": "asked", "host": "127.0.0.1"})
    with wire.Client(server.mqtt, wire.V5) as one:
        assert one.hello("asked", username=plug["username"], password=plug["password"]).code == 0
        one.subscribe("cmnd/asked/#")
        one.publish("tele/asked/LWT", b"Online", retain=True)
        eventually(lambda: api.ok("GET", "/devices/asked")["online"] is True, 10)
        assert api.ok("POST", "/devices/asked/refresh")["done"] == "asked"
        heard = one.expect(wire.PUBLISH, 5)
        assert (heard.topic, heard.payload) == ("cmnd/asked/Status", b"0")
    api.ok("DELETE", "/devices/asked")


def test_an_image_that_is_removed_and_added_at_once_is_whole_or_gone(api, images):
    name = "race.bin"
    data = simulated(images["idf"].parent, name, "--family", "idf", "--chip", "esp32", "--version", "7.7.7").read_bytes()
    image = api.call("POST", f"/images?name={name}", data=data)[1]["id"]
    for _ in range(30):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(api.call, "POST", f"/images?name={name}", data=data) for _ in range(2)]
            jobs += [pool.submit(api.call, "DELETE", f"/images/{image}") for _ in range(2)]
            came = [job.result() for job in jobs]
        assert all(status in (200, 201, 404) for status, _ in came), came
        status = api.call("GET", f"/images/{image}")[0]
        if status == 200:
            assert api.call("GET", f"/images/{image}/bytes")[1] == data
    api.call("DELETE", f"/images/{image}")


def test_the_address_for_firmware_of_a_renewed_or_forgotten_device_is_nobodys_while_firmware_lies_there(api, server, images):
    added = api.ok("POST", "/devices", {"family": "plain", "name": "leaves", "host": "127.0.0.1"})
    api.ok("PATCH", "/devices/leaves", {"chip": "esp32"})
    image = upload(api, images["idf"])[1]
    offer = api.call("POST", "/offers", {"image": image["id"], "device": "leaves"}, expect=201)[1]["devices"][0]["offer"]
    path = lambda told: urllib.parse.urlparse(told["firmware_url"]).path  # noqa: E731

    def head(told):
        link = http.client.HTTPConnection(*server.http, timeout=10)
        link.request("HEAD", path(told))
        status = link.getresponse().status
        link.close()
        return status

    eventually(lambda: head(added) == 200, 20)
    renewed = api.ok("POST", "/devices/leaves/password", {"host": "127.0.0.1"})
    assert (head(added), head(renewed)) == (404, 200)
    api.ok("DELETE", "/devices/leaves")
    assert head(renewed) == 404
    again = api.ok("POST", "/devices", {"family": "plain", "name": "leaves", "host": "127.0.0.1"})
    assert path(again) != path(renewed) and head(renewed) == 404
    api.call("POST", f"/offers/{offer['id']}/cancel", {})
    api.ok("DELETE", "/devices/leaves")
