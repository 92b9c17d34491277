"""Firmware from the upload to the evidence, with boards that fetch, check and boot real files."""

import json
import re
import shutil
import urllib.request

import pytest

from conftest import eventually
from house import board, house, images, plug, tasmota  # noqa: F401


def test_a_device_over_tls_gets_its_safeboot_first_then_its_main_image_and_its_own_url_back(house, board, images):
    own = "http://ota.example.invalid/tasmota32c3.bin"
    device = plug(house, board, "plug-1", "--ota-url", own)
    house.add(tasmota(images, "15.1.0"), tasmota(images, "15.1.0", variant="safeboot"))
    house.release("tasmota-15.1", "tasmota32c3.bin", "tasmota32c3-safeboot.bin")
    number = house.made("tasmota-15.1", "plug-1")
    ended = house.ends(number)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    assert ended["own_ota_url"] == "restored"
    assert all(ended["evidence"][tick] for tick in ("build", "boot", "stays", "sane")), ended
    states = house.states(number)
    order = [states.index(state) for state in ("preparing", "proving", "soaking")]
    assert order == sorted(order), states
    installed = [each["slot"] for each in device.all("installed")]
    assert installed == ["safeboot", "main"], device.seen
    urls = [each["payload"] for each in device.all("command") if each["topic"].endswith("OtaUrl")]
    assert urls[-1] == own and all("/ota/a" in url and url.endswith("/tasmota32c3.bin") for url in urls[:-1]), urls


def test_a_safeboot_without_tls_is_found_out_and_the_main_image_stays_as_it_is(house, board, images):
    device = plug(house, board, "plug-2")
    house.add(tasmota(images, "15.1.0"), tasmota(images, "15.1.0", "--no-tls", variant="safeboot"))
    house.release("broken", "tasmota32c3.bin", "tasmota32c3-safeboot.bin")
    said = json.dumps(house.offer("broken", "plug-2"))
    if "safeboot-without-tls" in said:
        # The inspection has seen it in the file already.
        assert not device.all("ota_request")
        return
    number = json.loads(said)["offer"]["id"]
    ended = house.ends(number, seen=device.seen)
    assert (ended["state"], ended["reason"]) == ("failed", "safeboot_without_tls"), json.dumps(ended, indent=1)
    assert ended["advice"] and ended["own_ota_url"] in ("restored", "untouched")
    assert [each["slot"] for each in device.all("installed")] == ["safeboot"]
    assert eventually(lambda: device.seen[-1]["event"] != "restarting" and device.all("connected")[1:], 20)


@pytest.mark.parametrize("fault", ["power@download:50%", "drop@download:50%", "power@installed"])
def test_a_device_that_loses_power_or_network_in_the_middle_ends_up_whole(house, board, images, fault):
    device = plug(house, board, "plug-3", "--fault", fault, tls=False)
    house.add(tasmota(images, "15.1.0"))
    number = house.made("tasmota32c3.bin", "plug-3", kind="image")
    ended = house.ends(number)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    assert device.all("power_cut") or device.all("fault"), device.seen


def test_wrong_images_are_refused_with_words_and_the_device_hears_nothing(house, board, images):
    device = plug(house, board, "plug-4", tls=False)
    house.add(tasmota(images, "15.1.0", chip="esp32s3"))
    said = json.dumps(house.offer("tasmota32s3.bin", "plug-4", kind="image"))
    assert "ESP32-S3" in said and "ESP32-C3" in said, said
    house.add(images("--family", "espeasy", "--chip", "esp32c3", "--version", "20260101"))
    status, listed = house.api("GET", "/images")
    name = next(each["file_name"] for each in listed["images"] if "ESP_Easy" in each["file_name"])
    said = json.dumps(house.offer(name, "plug-4", kind="image"))
    assert "family" in said, said
    assert not [each for each in device.all("command") if "Upgrade" in each["topic"] or "OtaUrl" in each["topic"]]


def test_what_runs_already_is_not_offered_unless_it_is_wanted_again(house, board, images, tmp_path):
    # Tasmota's version is not in the file but in its name.
    path = shutil.move(tasmota(images, "15.1.0"), tmp_path / "tasmota32c3-15.1.0.bin")
    device = plug(house, board, "plug-5", "--image", str(path), tls=False)
    house.knows("plug-5", version="15.1.0")
    house.add(str(path))
    said = json.dumps(house.offer(path.name, "plug-5", kind="image"))
    assert "--reinstall" in said, said
    house.made(path.name, "plug-5", kind="image", reinstall=True)
    assert eventually(lambda: device.all("ota_request"), 30), device.seen


def test_a_small_esp8266_goes_by_way_of_its_minimal_image(house, board, images):
    device = plug(house, board, "plug-6", "--flash", "1M", tls=False, kind="tasmota8266")
    house.add(tasmota(images, "15.1.0", "--size", "600000", "--gzip", chip="esp8266"),
              tasmota(images, "15.1.0", "--gzip", chip="esp8266", variant="minimal"))
    status, listed = house.api("GET", "/images")
    names = [each["file_name"] for each in listed["images"]]
    house.release("small", *names)
    ended = house.ends(house.made("small", "plug-6"))
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)


def test_a_cancelled_offer_leaves_the_device_as_it_was(house, board, images):
    own = "http://ota.example.invalid/tasmota32c3.bin"
    device = plug(house, board, "plug-7", "--ota-url", own, tls=False)
    house.add(tasmota(images, "15.1.0"))
    device.stop()
    house.here.cli("device", "set", "plug-7", "--chip", "esp32c3", "--flash-size", str(4 << 20), "--layout", "safeboot")
    number = house.made("tasmota32c3.bin", "plug-7", kind="image")
    assert eventually(lambda: house.now(number)["state"] == "waiting", 10), house.now(number)
    house.here.cli("firmware", "cancel", number)
    assert house.ends(number, 30)["state"] == "cancelled"
    assert house.now(number)["own_ota_url"] == "untouched"


def test_an_espeasy_is_brought_its_image_over_its_page(house, board, images):
    device = board("espeasy", *house.login(house.device("espeasy", "node-1")))
    web = device.until("web_listening")["port"]
    device.until("connected")
    house.here.cli("device", "set", "node-1", "--web", f"127.0.0.1:{web}", "--chip", "esp32", "--layout", "dual",
                   "--flash-size", str(4 << 20))
    house.add(images("--family", "espeasy", "--chip", "esp32", "--version", "20260601"))
    name = house.api("GET", "/images")[1]["images"][0]["file_name"]
    ended = house.ends(house.made(name, "node-1", kind="image"), 120)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    assert device.all("installed"), device.seen


def test_an_esphome_reads_its_manifest_and_installs_when_it_is_told(house, board, images):
    said = house.device("esphome", "lamp-1")
    token = re.search(r"/ota/(d[a-z2-7]{19})/manifest.json$", said["firmware_url"]).group(1)
    manifest = f"http://{house.here.host}:{house.here.http_port}/ota/{token}/manifest.json"
    device = board("esphome", *house.login(said), "--manifest", manifest, "--install", "command", "--every", "3")
    device.until("connected")
    house.here.cli("device", "set", "lamp-1", "--chip", "esp32c3", "--flash-size", str(4 << 20))
    house.add(images("--family", "esphome", "--chip", "esp32c3", "--version", "2026.2.0"))
    name = house.api("GET", "/images")[1]["images"][0]["file_name"]
    ended = house.ends(house.made(name, "lamp-1", kind="image"), 90, device.seen)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
    with urllib.request.urlopen(manifest, timeout=5) as answer:
        assert json.loads(answer.read())["version"] == "2026.2.0", "it stays there to be compared with"


def test_an_esp_idf_program_that_compares_nothing_is_stopped_at_the_third_download(house, board, images):
    said = house.device("plain", "own-1")
    token = re.search(r"/ota/(d[a-z2-7]{19})/firmware.bin$", said["firmware_url"]).group(1)
    house.here.cli("device", "set", "own-1", "--chip", "esp32c3", "--flash-size", str(4 << 20))
    house.add(images("--family", "idf", "--chip", "esp32c3", "--version", "2.0.0", "--size", "1500000"))
    name = house.api("GET", "/images")[1]["images"][0]["file_name"]
    number = house.made(name, "own-1", kind="image")
    device = board("idf", "--name", "own-1", "--every", "2", "--blindly",
                   "--url", f"http://{house.here.host}:{house.here.http_port}/ota/{token}/firmware.bin")
    device.until("installed")
    ended = house.ends(number, 90, device.seen)
    assert (ended["state"], ended["reason"]) == ("failed", "install_loop"), f"{json.dumps(ended)}\n{device.seen}"
    assert eventually(lambda: device.all("ota_answer", status=404), 15), "nothing lies there any more"
    assert len(device.all("installed")) == 3, device.seen


def test_the_server_goes_on_with_an_offer_after_it_was_killed(house, board, images):
    plug(house, board, "plug-8", tls=False)
    house.add(tasmota(images, "15.1.0", "--size", "400000"))
    number = house.made("tasmota32c3.bin", "plug-8", kind="image", soak=5)
    assert eventually(lambda: house.now(number)["state"] in ("soaking", "verifying", "installing"), 60)
    house.here.kill()
    house.here.start()
    ended = house.ends(number)
    assert ended["state"] == "succeeded", json.dumps(ended, indent=1)
