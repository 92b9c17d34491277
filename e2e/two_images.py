#!/usr/bin/env python3
"""Prints a run of a Tasmota over TLS that gets its two images: first with a safeboot that cannot do TLS, which is found
out before the main image is touched, then with a sound one. For people; the tests are in test_firmware.py.

    target/e2e-venv/bin/python e2e/two_images.py
"""

import json
import pathlib
import subprocess
import tempfile
import time

import server as servers
from house import Board, House
from nginx import own_address

TOLD = {
    "booted": lambda each: f"boots {each['slot']} {each['version']}",
    "connected": lambda each: "is connected" + (" over TLS" if each.get("tls") else ""),
    "no_mqtt": lambda each: f"does not connect: {each.get('why')}",
    "command": lambda each: f"hears {order(each)} (by {each['by']})",
    "ota_request": lambda each: f"fetches {each['url']} into {each['slot']}",
    "installed": lambda each: f"has written {each['slot']}",
    "switching": lambda each: f"switches to {each.get('to')}",
    "restarting": lambda each: f"restarts ({each['reason']})",
}


def order(each):
    return each["command"] if "command" in each else f"{each['topic'].rsplit('/', 1)[-1]} {each['payload']}"


def say(here, *arguments, expected=0):
    """Runs a command and prints it with its output."""
    print(f"\n$ safeport {' '.join(arguments)}")
    done = subprocess.run([str(servers.BINARY), *arguments, "--data", str(here.data), "--lang", "en"], text=True,
                          timeout=120, capture_output=True, env=here.environment, cwd=here.folder)
    print((done.stdout + done.stderr).rstrip().replace(str(servers.BINARY), "safeport"))
    assert done.returncode == expected, f"exit code {done.returncode}"


def image(folder, *options):
    made = subprocess.run([str(servers.BINARY), "simulate", "image", "--family", "tasmota", "--chip", "esp32c3",
                           "--version", "15.1.0", *options, "-o", f"{folder}/"], check=True, capture_output=True, text=True)
    return made.stdout.strip()


def offer(here, house, device, release, state):
    """Offers a release, waits for the end, and tells both sides of it."""
    began = len(device.seen)
    say(here, "firmware", "offer", release, "--device", "plug-1", "--soak", "3")
    number = house.api("GET", "/offers")[1]["offers"][0]["id"]
    ended = house.ends(number)
    say(here, "firmware", "offers", number)
    print("\n  what the device did meanwhile:")
    for each in device.seen[began:]:
        if each["event"] in TOLD and not (each["event"] == "command" and "Status" in order(each)):
            print(f"    {each['at']:8.2f} s  {TOLD[each['event']](each)}")
    assert ended["state"] == state, json.dumps(ended, indent=1)
    # People take a moment, too.
    time.sleep(1)


def main():
    with tempfile.TemporaryDirectory(prefix="two-images-") as folder:
        folder = pathlib.Path(folder)
        (folder / "home").mkdir()
        for name in ("sound", "old"):
            (folder / name).mkdir()
        here = servers.Safeport(folder / "home", settings={"firmware": 'patience = "5s"\nbackup_before = true'},
                                open_to_all=False, host=own_address())
        house = House(here)
        login = house.login(house.device("tasmota", "plug-1"), here.mqtts_port)
        own = "http://ota.example.invalid/tasmota32c3.bin"
        device = Board("tasmota32", *login, "--insecure", "--ota-url", own)
        try:
            web = device.until("web_listening")["port"]
            device.until("connected")
            print("A Tasmota on an ESP32-C3, 15.0.1, over TLS (SetOption103); a second of the device is 0.05 s here, and\n"
                  'the server waits a twelfth of the usual time (firmware.patience = "5s").')
            say(here, "device", "set", "plug-1", "--web", f"127.0.0.1:{web}")
            say(here, "firmware", "add", image(folder / "sound"), image(folder / "sound", "--variant", "safeboot"))
            old = pathlib.Path(image(folder / "old", "--variant", "safeboot", "--no-tls"))
            # Kept under the same name, so that a release finds it by its hash.
            said = json.loads(here.cli("firmware", "add", str(old), "--json").stdout)
            rows = house.api("GET", "/images")[1]["images"]
            main_image, sound = (next(row["sha256"] for row in rows if row["file_name"] == name
                                      and row["sha256"] not in json.dumps(said))
                                 for name in ("tasmota32c3.bin", "tasmota32c3-safeboot.bin"))
            bad = next(row["sha256"] for row in rows if row["sha256"] not in (main_image, sound))
            say(here, "firmware", "release", "without-tls", main_image[:12], bad[:12])
            say(here, "firmware", "release", "tasmota-15.1", main_image[:12], sound[:12])
            print("\n--- a safeboot that cannot do TLS ---")
            offer(here, house, device, "without-tls", "failed")
            print("\n--- a sound one ---")
            offer(here, house, device, "tasmota-15.1", "succeeded")
            say(here, "device", "show", "plug-1")
            say(here, "device", "backups", "plug-1")
        finally:
            device.stop()
            here.stop()


if __name__ == "__main__":
    main()
