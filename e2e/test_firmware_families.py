"""Offers to devices that come by themselves, and what they report afterwards: xiaozhi, ESP-IDF."""

import json
import re
import urllib.request

import pytest

from conftest import eventually
from house import board, house, images  # noqa: F401


def image_of(images, family, chip, version, *more):
    return images("--family", family, "--chip", chip, "--version", version, *more, folder=f"{chip}-{version}")


def listed(house, version):
    """The file name under which the image of this version is kept."""
    status, said = house.api("GET", "/images")
    assert status == 200, said
    return next(each["id"] if "id" in each else each["sha256"] for each in said["images"] if each.get("version") == version)


# --- xiaozhi ------------------------------------------------------------------------------------------------------------

class Box:
    """A pretend xiaozhi whose flash outlives it."""

    def __init__(self, house, board, folder, version, mac="A2:76:4E:00:00:21"):
        self.house, self.board, self.folder = house, board, folder
        self.arguments = ("xiaozhi", "--ota-url", f"http://{house.here.host}:{house.here.http_port}/xiaozhi/ota/",
                          "--mac", mac, "--flash-dir", str(folder), "--firmware", version)

    def on(self):
        self.now = self.board(*self.arguments)
        return self.now

    def off(self):
        self.now.stop()


@pytest.mark.parametrize("version", ["1.5.8", "1.6.1", "2.4.0"])
def test_a_xiaozhi_is_found_taken_in_and_upgraded_by_its_checks(house, board, images, tmp_path, version):
    box = Box(house, board, tmp_path / "flash", version)
    shown = box.on().until("activation")
    # Found by its check, and not taken in yet.
    seen = house.api("GET", "/devices")[1]
    assert "xiaozhi" in json.dumps(seen) and version in json.dumps(seen), seen
    house.here.cli("device", "activate", shown["code"], "--name", "voice-1")
    box.now.until("protocol", 40)
    house.knows("voice-1", version=version, chip="esp32s3")
    box.off()
    newer = "2.5.0"
    house.add(image_of(images, "xiaozhi", "esp32s3", newer))
    house.release("voice", listed(house, newer))
    number = house.made("voice", "voice-1")
    assert eventually(lambda: house.now(number)["state"] == "offered", 5), house.now(number)
    device = box.on()
    device.until("booted", version=newer)
    device.until("confirmed", version=newer)
    ended = house.ends(number, seen=device.seen)
    assert ended["state"] == "succeeded", f"{json.dumps(ended, indent=1)}\n{device.seen[-12:]}"
    assert all(ended["evidence"][tick] for tick in ("build", "boot", "stays", "sane")), ended
    house.knows("voice-1", version=newer)
    told = [each["firmware"] for each in device.all("ota_check")]
    assert told[0]["version"] == newer and "/ota/a" in told[0]["url"], told
    assert told[1]["url"] == "", "the first check of a new build confirms it"
    # What it runs is not told to it again.
    box.off()
    again = box.on()
    again.until("protocol")
    assert not again.all("ota_request"), again.seen[-12:]


def test_a_xiaozhi_whose_new_image_cannot_check_goes_back_at_its_next_boot_and_the_offer_says_so(
        house, board, images, tmp_path):
    box = Box(house, board, tmp_path / "flash", "2.4.0")
    house.here.cli("device", "activate", box.on().until("activation")["code"], "--name", "voice-2")
    box.now.until("protocol", 40)
    box.off()
    house.add(image_of(images, "xiaozhi", "esp32s3", "2.5.0", "--behaves", "unconfirmed"))
    number = house.made(listed(house, "2.5.0"), "voice-2", kind="image")
    box.on().until("check_failed", 40)
    assert box.now.all("booted")[-1]["version"] == "2.5.0"
    box.off()
    device = box.on()
    device.until("rolled_back")
    device.until("booted", version="2.4.0")
    assert eventually(lambda: not any(state in ("verifying", "soaking") for state in house.states(number)), 5)
    assert eventually(lambda: "2.4.0" in house.now(number)["history"][-1]["what"], 10), house.now(number)


def test_a_xiaozhi_whose_new_image_restarts_again_and_again_is_no_success(house, board, images, tmp_path):
    box = Box(house, board, tmp_path / "flash", "2.4.0")
    house.here.cli("device", "activate", box.on().until("activation")["code"], "--name", "voice-4")
    box.now.until("protocol", 40)
    box.off()
    house.add(image_of(images, "xiaozhi", "esp32s3", "2.5.0", "--behaves", "crash"))
    number = house.made(listed(house, "2.5.0"), "voice-4", kind="image", soak=30)
    device = box.on()
    ended = house.ends(number, seen=device.seen[-12:])
    assert (ended["state"], ended["reason"]) == ("failed", "boot_loop"), json.dumps(ended, indent=1)


def test_wrong_images_are_refused_by_name_before_a_xiaozhi_hears_of_them(house, board, images, tmp_path):
    box = Box(house, board, tmp_path / "flash", "2.4.0")
    house.here.cli("device", "activate", box.on().until("activation")["code"], "--name", "voice-3")
    box.now.until("protocol", 40)
    box.off()
    for family, chip, version, words in [
        ("xiaozhi", "esp32c3", "2.6.0", ["ESP32-C3", "ESP32-S3"]),
        ("espeasy", "esp32s3", "20260101", ["ESPEasy", "xiaozhi"]),
        ("esphome", "esp32s3", "2026.2.0", ["ESPHome", "xiaozhi"]),
        ("xiaozhi", "esp32s3", "2.4.0", ["2.4.0"]),
    ]:
        house.add(image_of(images, family, chip, version))
        chosen = [each for each in house.api("GET", "/images")[1]["images"] if each["version"] == version]
        refused = house.offer(chosen[-1]["sha256"], "voice-3", kind="image")
        said = json.dumps(refused, ensure_ascii=False)
        assert "offer" not in refused or not refused["offer"], said
        assert all(word.lower() in said.lower() for word in words), said
    device = box.on()
    device.until("protocol", 40)
    assert all(each["firmware"]["url"] == "" for each in device.all("ota_check")), device.seen[-12:]
    assert not device.all("ota_request"), device.seen[-12:]


# --- ESP-IDF ------------------------------------------------------------------------------------------------------------

def own(house, name):
    """Adds a device with firmware of its owner's; where it fetches."""
    said = house.device("plain", name)
    token = re.search(r"/ota/(d[a-z2-7]{19})/firmware.bin$", said["firmware_url"]).group(1)
    house.here.cli("device", "set", name, "--chip", "esp32c3", "--flash-size", str(4 << 20))
    return f"http://{house.here.host}:{house.here.http_port}/ota/{token}/firmware.bin"


@pytest.mark.parametrize("mode", ["plain", "partial", "resume"])
def test_an_esp_idf_program_fetches_restarts_and_puts_the_file_down_the_next_time(house, board, images, mode):
    url = own(house, "own-1")
    house.add(image_of(images, "idf", "esp32c3", "2.0.0", "--size", "1500000"))
    device = board("idf", "--url", url, "--every", "1", "--mode", mode)
    assert eventually(lambda: device.all("ota_answer", status=404), 15), "there is something only while an offer is open"
    number = house.made(listed(house, "2.0.0"), "own-1", kind="image")
    device.until("booted", version="2.0.0")
    device.until("up_to_date")
    ended = house.ends(number, seen=device.seen)
    assert ended["state"] == "succeeded", f"{json.dumps(ended, indent=1)}\n{device.seen[-12:]}"
    assert len(device.all("downloaded")) == 1, "it was fetched once"
    house.knows("own-1", version="2.0.0")


@pytest.mark.parametrize("mode", ["plain", "partial"])
def test_an_esp_idf_program_that_runs_the_version_already_is_left_alone(house, board, images, mode):
    url = own(house, "own-2")
    path = image_of(images, "idf", "esp32c3", "2.0.0", "--size", "1500000")
    house.add(path)
    number = house.made(listed(house, "2.0.0"), "own-2", kind="image")
    device = board("idf", "--url", url, "--every", "1", "--mode", mode, "--image", path)
    ended = house.ends(number, seen=device.seen)
    assert ended["state"] == "skipped", f"{json.dumps(ended, indent=1)}\n{device.seen[-12:]}"
    assert not device.all("downloaded"), device.seen[-12:]
    status = [each["status"] for each in device.all("ota_answer")]
    assert eventually(lambda: device.all("ota_answer", status=404), 15), status
