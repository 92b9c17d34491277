"""What the doctor makes of firmware that does not arrive: broken off, taken back, restarting without end."""

import json
import re
import socket
import time
import urllib.parse

from conftest import eventually
from house import board, house, images  # noqa: F401
from test_firmware_families import Box, image_of, listed, own


def finding(house, device, cause, seconds=15):
    """What the command says of the device, in the end."""
    deadline = time.monotonic() + seconds
    while True:
        said = house.here.cli("doctor", "--device", device, "--json", check=False)
        found = json.loads(said.stdout)["finding"]
        if found["cause"] == cause or time.monotonic() > deadline:
            assert found["cause"] == cause, json.dumps(found, indent=1, ensure_ascii=False)
            return found
        time.sleep(0.3)


def test_a_download_that_breaks_off_is_told_with_how_far_it_came_and_how_often(house, images):
    url = urllib.parse.urlsplit(own(house, "own-1"))
    house.add(image_of(images, "idf", "esp32c3", "2.0.0", "--size", "1500000"))
    number = house.made(listed(house, "2.0.0"), "own-1", kind="image")
    assert eventually(lambda: house.now(number)["state"] == "offered", 10), house.now(number)
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        link.settimeout(10)
        link.connect((url.hostname, url.port))
        link.sendall(f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
        got = 0
        while got < 400_000:
            piece = link.recv(65536)
            assert piece, got
            got += len(piece)
    found = finding(house, "own-1", "image_interrupted")
    quote = found["saw"][0]["quote"]
    assert re.search(r"broke off after \d+ of \d+ bytes", quote["en"]) and "1x broken off" in quote["en"], quote
    assert found["layer"] == "ota" and "中断 1 次" in quote["zh"], found


def test_an_image_that_restarts_again_and_again_is_told_by_the_doctor_too(house, board, images, tmp_path):
    box = Box(house, board, tmp_path / "flash", "2.4.0")
    house.here.cli("device", "activate", box.on().until("activation")["code"], "--name", "voice-4")
    box.now.until("protocol", 40)
    box.off()
    house.add(image_of(images, "xiaozhi", "esp32s3", "2.5.0", "--behaves", "crash"))
    number = house.made(listed(house, "2.5.0"), "voice-4", kind="image", soak=30)
    ended = house.ends(number, seen=box.on().seen[-12:])
    assert (ended["state"], ended["reason"]) == ("failed", "boot_loop"), json.dumps(ended, indent=1)
    found = finding(house, "voice-4", "restarts")
    assert house.api("GET", "/devices/voice-4")[1]["finding"]["cause"] == "restarts"
    assert found["confidence"] in ("medium", "high", "certain")
