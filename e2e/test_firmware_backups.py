"""The settings of a device are saved before its firmware changes, by the offer itself."""

import datetime
import hashlib
import json
import pathlib
import urllib.request

import pytest

from house import board, house, images, plug, tasmota  # noqa: F401


def backups(house, name):
    status, said = house.api("GET", f"/devices/{name}/backups")
    assert status == 200, said
    return said["backups"]


def is_saved_first(house, number):
    """Whether the copy was made before the device was told anything of firmware."""
    what = [line["what"] for line in house.now(number)["history"]]
    saved = next(at for at, words in enumerate(what) if "settings are saved" in words)
    states = house.states(number)
    return all(state not in ("downloading", "installing", "offered") for state in states[:saved])


def compared(house, first, last):
    """What `device compare` says to a person, and the number of bytes."""
    text = house.here.cli("device", "compare", last["id"], first["id"]).stdout
    return text, house.here.json("device", "compare", last["id"], first["id"])


@pytest.mark.house("backup_before = true")
def test_an_offer_to_a_tasmota_saves_its_settings_first(house, board, images):
    device = plug(house, board, "plug-1", tls=False)
    for version in ("15.1.0", "15.2.0"):
        path = pathlib.Path(tasmota(images, version, folder=version))
        house.add(str(path))
        number = house.made(hashlib.sha256(path.read_bytes()).hexdigest(), "plug-1", kind="image", reinstall=True)
        ended = house.ends(number, seen=device.seen[-12:])
        assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
        assert is_saved_first(house, number), ended["history"]
        assert ("GET", "/dl") in [(each["method"], each["path"]) for each in device.all("web_request")]
        # A copy that differs in nothing is not kept twice.
        page = urllib.request.Request(f"http://127.0.0.1:{device.until('web_listening')['port']}/cm?cmnd=TelePeriod%2077",
                                      headers={"Referer": "http://127.0.0.1/"})
        with urllib.request.urlopen(page, timeout=5) as answer:
            assert answer.status == 200
    last, first = backups(house, "plug-1")
    # Of what ran before each of them, and of today.
    assert first["version"].startswith("15.0.1") and last["version"].startswith("15.1.0"), (first, last)
    today = datetime.datetime.now(datetime.timezone.utc)
    for each in (first, last):
        assert abs(each["at"] - today.timestamp()) < 120 and each["file_name"].endswith(".dmp"), each
    shown = house.here.cli("device", "backups", "plug-1").stdout
    assert all(word in shown for word in (first["id"], last["id"], "15.0.1", "15.1.0", f"{today:%Y-%m-%d}")), shown
    text, differs = compared(house, first, last)
    assert "differing_bytes" in json.dumps(differs) and text.strip(), (text, differs)


@pytest.mark.house("backup_before = true")
def test_an_offer_to_an_espeasy_saves_its_settings_first(house, board, images):
    device = board("espeasy", *house.login(house.device("espeasy", "node-1")))
    web = device.until("web_listening")["port"]
    device.until("connected")
    house.here.cli("device", "set", "node-1", "--web", f"127.0.0.1:{web}", "--chip", "esp32", "--layout", "dual",
                   "--flash-size", str(4 << 20))
    house.add(images("--family", "espeasy", "--chip", "esp32", "--version", "20260601"))
    image = house.api("GET", "/images")[1]["images"][0]
    number = house.made(image["sha256"], "node-1", kind="image")
    ended = house.ends(number, seen=device.seen[-12:])
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    assert is_saved_first(house, number), ended["history"]
    asked = [(each["method"], each["path"].split("?")[0]) for each in device.all("web_request")]
    assert asked.index(("GET", "/download")) < asked.index(("POST", "/update")), asked
    (kept,) = backups(house, "node-1")
    assert kept["version"] and kept["size"] > 0, kept
    house.here.cli("device", "backup", "node-1")
    assert kept["id"] in house.here.cli("device", "backups", "node-1").stdout


@pytest.mark.house("backup_before = true")
def test_a_page_that_wants_a_password_stops_the_offer_before_anything_is_changed(house, board, images):
    device = plug(house, board, "plug-2", "--web-password", "open sesame", tls=False)
    house.add(tasmota(images, "15.1.0"))
    number = house.made("tasmota32c3.bin", "plug-2", kind="image")
    ended = house.ends(number, seen=device.seen[-12:])
    assert (ended["state"], ended["reason"]) == ("failed", "backup_refused"), json.dumps(ended, indent=1)
    assert "password" in ended["advice"] and not device.all("ota_request")
    house.here.cli("device", "set", "plug-2", "--web-password-stdin", stdin="open sesame\n")
    ended = house.ends(house.made("tasmota32c3.bin", "plug-2", kind="image"), seen=device.seen[-12:])
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    assert len(backups(house, "plug-2")) == 1
