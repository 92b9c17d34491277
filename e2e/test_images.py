"""Firmware files: what `safeport firmware inspect` says must be what the chip maker's own tool says of them.

The judge is `esptool`, by its library: it loads each file, and its verdict, chip, checksum and hash are compared with
ours. Where we are stricter on purpose, `STRICTER` says so."""

from __future__ import annotations

import binascii
import contextlib
import gzip
import hashlib
import io
import json
import random
import struct
import subprocess
import sys

import esptool.bin_image
import esptool.cmds
import pytest
from esptool.bin_image import ESP8266V2FirmwareImage, ImageSegment, LoadFirmwareImage
from esptool.targets import CHIP_DEFS

import server as servers

CHIPS = {0: "esp32", 2: "esp32s2", 5: "esp32c3", 9: "esp32s3", 12: "esp32c2", 13: "esp32c6", 16: "esp32h2",
         18: "esp32p4", 20: "esp32c61", 23: "esp32c5", 25: "esp32h21", 28: "esp32h4", 31: "esp32e22", 32: "esp32s31"}

V1 = bytes.fromhex("e9020320000010400000104004000000010203040080fe3f08000000ff00ff00"
                   "100000000000000000000000000000fb")

# Codes with which we refuse what esptool loads without a complaint:
STRICTER = {
    # It takes a chip number that it does not know for an ESP8266, whose images have none; so it takes a length or a
    # byte 23 that no ESP32 has. We go by the entry address, and by whether an image is whole.
    "unknown-chip", "header", "segment-length", "segment-unaligned",
    # It counts no segments and finds nothing wrong with that; the boot loader does.
    "segments",
    # It does not look at the CRC of version 2 and Arduino's images.
    "crc",
    # It ignores what follows an image, so a signature for other contents.
    "signature",
    # It sees only the boot loader of a merged file: these are about the application behind.
    "no-app", "partition-table",
}


def inspect(folder, data: bytes, name="file.bin") -> tuple[int, dict]:
    """Exit code and answer of the command line."""
    path = folder / name
    path.write_bytes(data)
    ran = subprocess.run([servers.BINARY, "--json", "firmware", "inspect", path], capture_output=True, timeout=60)
    assert ran.returncode in (0, 1), ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def judge(data: bytes) -> dict:
    """What esptool says: chip, and whether checksum and hash are right; `valid` is all of it."""
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        try:
            chip = esptool.cmds._parse_image_info_header(data)
            image = LoadFirmwareImage(chip, data)
        except Exception as why:  # it raises whatever its parser met: struct.error, IndexError, FatalError
            return {"valid": False, "why": f"{type(why).__name__}: {why}"}
    checksum = image.checksum == image.calculate_checksum()
    digest = getattr(image, "append_digest", False)
    hash_right = not digest or image.stored_digest == image.calc_digest
    return {"valid": checksum and hash_right, "chip": chip.lower().replace("-", ""), "checksum": checksum,
            "hash": image.calc_digest.hex() if digest and hash_right else None,
            "why": f"checksum {checksum}, hash {hash_right}"}


def agree(ours: dict, theirs: dict, data: bytes):
    """Our answer and esptool's for one file. Returns the code if we were stricter."""
    refused = ours.get("refused") if "image" not in ours else None
    if refused:
        if theirs["valid"]:
            assert refused["code"] in STRICTER or as_another_chip(data, theirs), (refused, theirs)
            return refused["code"]
        return None
    image = ours["image"]
    if image["kind"] in ("factory", "partition-table"):
        return None
    if not theirs["valid"]:
        # It guessed the wrong family from bytes that an ESP8266 image has for data.
        assert image["chip"] == "esp8266" and entry(data) >> 16 == 0x4010, (image, theirs)
        return "esp8266"
    if image["chip"] == "esp8266":
        assert theirs["chip"] == "esp8266" or entry(data) >> 16 == 0x4010, theirs
        return None
    assert image["chip"] == theirs["chip"]
    assert image["appended_sha256"] == theirs["hash"]
    assert image["sha256"] == hashlib.sha256(data).hexdigest()
    return None


def entry(data: bytes) -> int:
    return struct.unpack_from("<I", data, 4)[0]


def as_another_chip(data: bytes, theirs: dict) -> bool:
    """Whether esptool took a damaged image for an ESP8266 because its extended header made no sense to it."""
    return theirs["chip"] == "esp8266" and entry(data) >> 16 != 0x4010


def descriptor(version=b"1.2.3", project=b"test") -> bytes:
    return struct.pack("<IIII32s32s16s16s32s32sHHB", 0xABCD5432, 0, 0, 0, version, project, b"12:34:56",
                       b"Jan  2 2025", b"v5.3.1", b"\xAA" * 32, 0, 0xFFFF, 16).ljust(256, b"\0")


def segments(*parts: tuple[int, bytes]) -> tuple[bytes, int]:
    checksum = 0xEF
    body = b""
    for address, data in parts:
        body += struct.pack("<II", address, len(data)) + data
        for byte in data:
            checksum ^= byte
    return body, checksum


def closed(head: bytes, *parts: tuple[int, bytes]) -> bytes:
    body, checksum = segments(*parts)
    image = head + body
    return image + bytes(15 - len(image) % 16) + bytes([checksum])


def esp32(chip: int, *parts: tuple[int, bytes], digest=True, flash=0x20, revisions=(0, 0xFFFF), first=None) -> bytes:
    parts = ((0x3C000020, descriptor() if first is None else first), *parts)
    image = closed(struct.pack("<BBBBIBBBBHBHHIB", 0xE9, len(parts), 2, flash, 0x40380000, 0xEE, 0, 0, 0, chip, 0,
                               *revisions, 0, digest), *parts)
    return image + hashlib.sha256(image).digest() if digest else image


def esp8266(*parts: tuple[int, bytes], flash=0x20) -> bytes:
    return closed(struct.pack("<BBBBI", 0xE9, len(parts), 3, flash, 0x40100000), *parts)


def crc_of_arduino(data: bytes) -> int:
    """CRC-32, highest bit first, never inverted: the other one with every byte and the result turned around."""
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
    return int(f"{binascii.crc32(turned) ^ 0xFFFFFFFF:032b}"[::-1], 2)


def arduino(code: bytes) -> bytes:
    """Boot loader, application at 0x1000, then length and CRC written into its first words."""
    boot = closed(struct.pack("<BBBBI", 0xE9, 1, 2, 0x40, 0x4010F000), (0x4010F000, b"\7" * 64))
    app = esp8266((0x40201010, bytes(8) + code), (0x40100000, b"\t" * 32), flash=0x40)
    image = bytearray(boot.ljust(0x1000, b"\xAA") + app)
    struct.pack_into("<II", image, 0x1010, len(image), crc_of_arduino(bytes(image)))
    return bytes(image)


def named(address: int, data: bytes) -> ImageSegment:
    """A segment as it comes from the linker's output, which names it."""
    segment = ImageSegment(address, data)
    segment.name = ".text"
    return segment


def saved_by_esptool() -> dict[str, bytes]:
    """Images that esptool's own writer makes, as `elf2image` does after it has read the linker's output."""
    made = {}
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        for name in CHIPS.values():
            image = CHIP_DEFS[name].BOOTLOADER_IMAGE()
            image.entrypoint = 0x40380000
            image.flash_mode, image.flash_size_freq = 2, 0x2F
            image.min_rev_full, image.max_rev_full = 1, 199
            memory = next(start for start, _, kind in CHIP_DEFS[name].MEMORY_MAP if kind == "DRAM")
            image.segments = [named(memory + 0x1000 * number, bytes([number]) * (32 + 4 * number))
                              for number in range(3)]
            made[name] = image.save(None)
        v2 = ESP8266V2FirmwareImage()
        v2.entrypoint, v2.flash_mode, v2.flash_size_freq = 0x40100000, 2, 0x40
        v2.segments = [named(0x40210010, b"\6" * 64), named(0x3FFE8000, b"\1\2\3\4")]
        made["esp8266-v2"] = v2.save(None)
    return made


def test_the_vectors_are_what_esptool_takes_them_for(tmp_path):
    v3 = esp32(9, first=descriptor(b"15.0.1", b"tasmota32s3"), flash=0x3F)
    assert hashlib.sha256(v3).hexdigest() == "05156da119f76901ff1e84bd30ddde52fd5d7df06c79057057708cd284a1dd86"
    for data, chip in ((V1, "esp8266"), (v3, "esp32s3")):
        code, ours = inspect(tmp_path, data)
        assert code == 0 and ours["image"]["chip"] == chip
        assert ours["image"]["md5"] == hashlib.md5(data).hexdigest()
    assert judge(v3)["valid"] and ours["image"]["version"] == "15.0.1"


@pytest.mark.parametrize("chip", CHIPS)
def test_images_of_every_chip_are_read_as_esptool_reads_them(tmp_path, chip):
    for digest in (True, False):
        for bulk in (0, 4, 70_000):
            data = esp32(chip, (0x40380000, bytes(range(256)) + bytes(bulk)), digest=digest, revisions=(3, 199))
            theirs = judge(data)
            assert theirs["valid"] and theirs["chip"] == CHIPS[chip], theirs
            code, ours = inspect(tmp_path, data)
            assert code == 0 and ours["image"]["chip"] == CHIPS[chip]
            assert agree(ours, theirs, data) is None
            assert (ours["image"]["min_chip_rev"], ours["image"]["max_chip_rev"]) == (3, 199)


def test_what_esptool_writes_itself_is_whole(tmp_path):
    for name, data in saved_by_esptool().items():
        theirs = judge(data)
        if name != "esp8266-v2":
            assert theirs["valid"], (name, theirs)
        _, ours = inspect(tmp_path, data)
        image = ours.get("image")
        assert image, (name, ours)
        assert image["chip"] == name.removesuffix("-v2"), name
        assert image["length"] == len(data), name


def test_a_merged_file_is_told_from_its_boot_loader_and_its_application_is_taken_out(tmp_path):
    boot = esp32(5, first=b"\x50" + bytes(79))
    app = esp32(5, (0x40380000, bytes(40_000)))
    table = struct.pack("<2sBBII16sI", b"\xAA\x50", 1, 2, 0x9000, 0x5000, b"nvs", 0)
    table += struct.pack("<2sBBII16sI", b"\xAA\x50", 0, 0x10, 0x10000, 0x100000, b"ota_0", 0)
    table += b"\xEB\xEB" + b"\xFF" * 14 + hashlib.md5(table).digest()
    parts = {"0x0": boot, "0x8000": table, "0x10000": app}
    command = [sys.executable, "-m", "esptool", "--chip", "esp32c3", "merge-bin", "-o", str(tmp_path / "merged.bin")]
    for offset, data in parts.items():
        (tmp_path / f"{offset}.bin").write_bytes(data)
        command += [offset, str(tmp_path / f"{offset}.bin")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    merged = (tmp_path / "merged.bin").read_bytes()
    # The trap: the maker's tool sees the boot loader and is content.
    assert judge(merged)["valid"]
    code, ours = inspect(tmp_path, merged)
    assert code == 1 and ours["refused"]["code"] == "factory"
    part = ours["image"]["parts"][0]
    taken = merged[part["offset"]:part["offset"] + part["length"]]
    assert taken == app
    assert inspect(tmp_path, taken)[0] == 0


def espsecure(*arguments):
    subprocess.run([sys.executable, "-m", "espsecure", *map(str, arguments)], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("scheme", ["rsa3072", "ecdsa256"])
def test_a_signature_of_the_makers_tool_is_seen_and_belongs_to_its_image(tmp_path, scheme):
    app = esp32(5, (0x40380000, bytes(5_000)))
    (tmp_path / "app.bin").write_bytes(app)
    espsecure("generate-signing-key", "--version", "2", "--scheme", scheme, tmp_path / "key.pem")
    espsecure("sign-data", "--version", "2", "--keyfile", tmp_path / "key.pem", "--output", tmp_path / "signed.bin",
              tmp_path / "app.bin")
    signed = (tmp_path / "signed.bin").read_bytes()
    code, ours = inspect(tmp_path, signed)
    assert code == 0 and ours["image"]["signed"] and ours["image"]["length"] == len(signed)
    assert inspect(tmp_path, app)[1]["image"]["signed"] is False
    # The same signature behind another image.
    other = bytearray(esp32(5, (0x40380000, b"\1" * 5_000)).ljust(len(signed) - 4096, b"\xFF") + signed[-4096:])
    assert inspect(tmp_path, bytes(other))[1]["refused"]["code"] == "signature"


def test_files_that_are_no_images_are_refused_in_both_languages(tmp_path):
    page = ("web page", "网页")
    for data, words in ((b"<!DOCTYPE html><html>404", page), (b"\x7fELF" + bytes(60), ("ELF", ".elf")),
                        (b"UF2\n" + bytes(60), ("UF2", "UF2")), (b"PK\3\4" + bytes(60), ("ZIP", "压缩")), (b"", ("empty", "空")),
                        (V1[:40], ("cut short", "下载中断")), (gzip.compress(b"<html>"), page),
                        (gzip.compress(bytes(64 << 20)), ("unpacks to more", "解压"))):
        assert inspect(tmp_path, data)[0] == 1
        for language, word in zip(("en", "zh-CN"), words):
            ran = subprocess.run([servers.BINARY, "--lang", language, "firmware", "inspect", tmp_path / "file.bin"],
                                 capture_output=True, text=True, timeout=60)
            assert ran.returncode == 1 and word in ran.stderr, ran.stderr
            assert ran.stdout == ""


def test_gzip_is_for_esp8266_and_says_how_to_unpack_it(tmp_path):
    packed = gzip.compress(arduino(bytes(range(256)) * 40))
    code, ours = inspect(tmp_path, packed, "tasmota.bin.gz")
    assert code == 0 and ours["image"]["gzip"]["size"] == len(gzip.decompress(packed))
    code, ours = inspect(tmp_path, gzip.compress(esp32(5)), "x.bin.gz")
    assert code == 1 and ours["refused"]["code"] == "gzip"
    ran = subprocess.run([servers.BINARY, "firmware", "inspect", tmp_path / "x.bin.gz"], capture_output=True, text=True)
    assert "gunzip" in ran.stderr and "ESP32-C3" in ran.stdout


def mutated(data: bytes, dice: random.Random) -> bytes:
    data = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(min(len(data), dice.choice((24, 48, 400, len(data)))) or 1)
        match dice.randrange(6):
            case 0 | 1:
                data[at] = dice.choice((0, 1, 2, 0x10, 0x7F, 0x80, 0xE9, 0xFF, dice.randrange(256)))
            case 2:
                data[at] ^= 1 << dice.randrange(8)
            case 3 if len(data) > 64:
                del data[len(data) - dice.randrange(1, 40):]
            case 4:
                data += dice.randbytes(dice.randrange(1, 64))
            case 5 if len(data) > 64:
                del data[at]
    return bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_mutations_of_images_get_the_verdict_that_esptool_gives(tmp_path, seed):
    dice = random.Random(f"images {seed}")
    whole = [esp32(chip, (0x40380000, dice.randbytes(64)), digest=digest)
             for chip in CHIPS for digest in (True, False)]
    whole += [V1, esp8266((0x40100000, dice.randbytes(200)), (0x3FFE8000, dice.randbytes(40)))]
    valid = stricter = 0
    for _ in range(60):
        data = mutated(dice.choice(whole), dice)
        theirs = judge(data)
        _, ours = inspect(tmp_path, data)
        valid += theirs["valid"]
        stricter += agree(ours, theirs, data) is not None
    # Both sides of the line were walked, and being stricter is the exception.
    assert 3 < valid < 57
    assert stricter < 10


def arduino_is_right(data: bytes) -> bool:
    """As the boot loader of Arduino's core sees it, which esptool does not know: its own part, the application's
    segments, then the CRC of as many bytes as the image says that it has."""
    if not judge(data)["valid"] or data[0x1000:0x1001] != b"\xE9" or judge(data[0x1000:]).get("checksum") is None:
        return False
    length, crc = struct.unpack_from("<II", data, 0x1010)
    return length <= len(data) and crc == crc_of_arduino(data[:0x1010] + bytes(8) + data[0x1018:length])


def test_mutations_of_arduino_images_are_found_behind_their_boot_loader(tmp_path):
    dice = random.Random("arduino")
    right = 0
    for _ in range(120):
        data = mutated(arduino(dice.randbytes(200)), dice)
        _, ours = inspect(tmp_path, data)
        image = ours.get("image")
        if arduino_is_right(data):
            right += 1
            assert image and image["chip"] == "esp8266" and image["length"] > 0x1000, ours
        elif image:
            # Nothing is at 0x1000 any more, or what is left is the boot loader by itself.
            assert data[0x1000:0x1001] != b"\xE9" and judge(data)["valid"], ours
    assert 3 < right < 117
