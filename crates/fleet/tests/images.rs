//! Files of every kind, and what is said of them.

#[path = "../../../fuzz/src/images.rs"]
#[allow(dead_code, unreachable_pub)]
mod images;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use images::{Descriptor, Esp32, arduino, esp8266, esp8266_v2, factory, gzip, sha256, table};
use safeport_fleet::image::{
    GzipError, Image, ImageError, Inspector, Kind, Limits, Looks, Misfit, Warning, extract_app,
};
use safeport_fleet::{Chip, Family};

fn look(name: &str, bytes: &[u8]) -> Result<Image, ImageError> {
    safeport_fleet::image::inspect(name, bytes, Limits::default())
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// An image of an ESP32-C3 that holds `literals`.
fn holding(literals: &[u8]) -> Vec<u8> {
    let mut data = literals.to_vec();
    data.resize(data.len().next_multiple_of(4), 0);
    Esp32 {
        descriptor: Some(Descriptor {
            version: "v4.4.7".into(),
            project: "arduino-lib-builder".into(),
            elf_sha256: [1; 32],
        }),
        segments: vec![(0x3C00_0120, data)],
        ..Esp32::default()
    }
    .build()
}

const SAFEBOOT: &[u8] =
    b"\0cmnd|stat|tele\0safeboot\0|MqttFingerprint|MqttUser|MqttHost|MqttPort|\0";
const MAIN: &[u8] = b"\0cmnd|stat|tele\0%s-safeboot%s\0|MqttFingerprint|MqttHost|MqttPort|\0";

#[test]
fn vector_1_is_an_esp8266_image() {
    let bytes = hex(
        "e9020320000010400000104004000000010203040080fe3f08000000ff00ff00100000000000000000000000000000fb",
    );
    assert_eq!(bytes.len(), 48);
    let image = look("v1.bin", &bytes).unwrap();
    assert_eq!(image.chip, Some(Chip::Esp8266));
    assert_eq!(image.kind, Kind::App);
    assert_eq!(image.flash_size, Some(1024 * 1024));
    assert_eq!((image.size, image.length), (48, 48));
    assert_eq!(
        image.sha256[..],
        hex("04fec7ebc1e2ff3c6eda0e8098e039ac90755f2b06dee0397726e0134939d09e")
    );
    assert_eq!(image.md5[..], hex("ea052c969ab3bcd26500b9c233969d16"));
    assert_eq!(image.offerable(), Ok(()));
}

#[test]
fn vector_2_is_an_esp32_c3_image_with_description_and_hash() {
    let mut bytes = hex("e902022000003840ee0000000500000300c7000000000001 2000003c00010000");
    bytes.extend(hex("3254cdab 00000000 00000000 00000000"));
    let mut field = |text: &str, len: usize| {
        let mut text = text.as_bytes().to_vec();
        text.resize(len, 0);
        bytes.extend(text);
    };
    field("1.2.3-test", 32);
    field("\x68\x6f\x6d\x65\x70\x6f\x72\x74\x5f\x74\x76", 32);
    field("12:34:56", 16);
    field("Jan  2 2025", 16);
    field("v5.3.1", 32);
    bytes.extend([0xAA; 32]);
    bytes.extend(hex("0000 ffff 10"));
    bytes.resize(32 + 256, 0);
    bytes.extend(hex("00003840 10000000 000102030405060708090a0b0c0d0e0f"));
    bytes.resize(319, 0);
    bytes.push(0xAB);
    let trailer = hex("3e7a7941984b0e6fc5a369ffb75b7da06bd7153406797063f7bb280e5ba68bda");
    bytes.extend(&trailer);
    assert_eq!(bytes.len(), 352);
    let image = look("v2.bin", &bytes).unwrap();
    assert_eq!(image.chip, Some(Chip::Esp32C3));
    assert_eq!(image.version.as_deref(), Some("1.2.3-test"));
    assert_eq!(image.built.as_deref(), Some("Jan  2 2025 12:34:56"));
    assert_eq!(image.idf_version.as_deref(), Some("v5.3.1"));
    assert_eq!(image.elf_sha256, Some([0xAA; 32]));
    assert_eq!(image.appended_sha256.unwrap()[..], trailer);
    assert_eq!(
        (image.min_chip_rev, image.max_chip_rev),
        (Some(3), Some(199))
    );
    assert_eq!(image.flash_size, Some(4 << 20));
    assert_eq!(
        image.sha256[..],
        hex("e39893863493239d99a6cf55c69dca66b29adad2e32047e940bd116115f5e83c")
    );
    assert_eq!(image.md5[..], hex("97183c200e8b38040972953eab63b5fb"));
}

#[test]
fn vector_3_is_an_esp32_s3_image_of_tasmota() {
    let mut bytes = hex("e901023f00003840ee0000000900000000ffff0000000001 2000003c00010000");
    bytes.extend(hex("3254cdab 00000000 00000000 00000000"));
    let mut field = |text: &str, len: usize| {
        let mut text = text.as_bytes().to_vec();
        text.resize(len, 0);
        bytes.extend(text);
    };
    field("15.0.1", 32);
    field("tasmota32s3", 32);
    field("12:34:56", 16);
    field("Jan  2 2025", 16);
    field("v5.3.1", 32);
    bytes.extend([0xAA; 32]);
    bytes.extend(hex("0000 ffff 10"));
    bytes.resize(32 + 256, 0);
    bytes.resize(303, 0);
    bytes.push(0xDE);
    bytes.extend(hex(
        "4d78e3819357b1ded1b81ccbe11d744547b088380f9cd6dc3a99f9545790887e",
    ));
    assert_eq!(bytes.len(), 336);
    let image = look("v3.bin", &bytes).unwrap();
    assert_eq!(image.chip, Some(Chip::Esp32S3));
    assert_eq!(image.family, Some(Family::Tasmota));
    assert_eq!(image.version.as_deref(), Some("15.0.1"));
    assert_eq!(image.flash_size, Some(8 << 20));
    assert_eq!(image.max_chip_rev, None);
    assert_eq!(
        image.sha256[..],
        hex("05156da119f76901ff1e84bd30ddde52fd5d7df06c79057057708cd284a1dd86")
    );
    assert_eq!(image.md5[..], hex("0a9df9a76aa04c36dc9015d2fbd86a25"));
}

#[test]
fn images_of_every_chip_are_built_and_read_back() {
    for chip in Chip::ALL {
        let Some(chip_id) = chip.image_id() else {
            continue;
        };
        for (hash, bulk) in [(true, 0), (false, 4), (true, 70_000), (true, 16_384 - 300)] {
            let built = Esp32 {
                chip_id,
                hash,
                bulk,
                ..Esp32::default()
            }
            .build();
            let image = look("x-1.2.3.bin", &built).unwrap();
            assert_eq!((image.chip, image.kind), (Some(chip), Kind::App), "{chip}");
            assert_eq!(image.length, built.len() as u64);
            assert_eq!(image.appended_sha256.is_some(), hash);
            assert_eq!(image.warnings.contains(&Warning::NoHash), !hash);
        }
    }
}

#[test]
fn esp8266_images_are_known_in_each_of_their_three_forms() {
    let v1 = esp8266(
        0x30,
        &[(0x4010_0000, vec![1; 40]), (0x3FFE_8000, vec![2; 21])],
    );
    let eboot = arduino(0x30, &[3; 50_000]);
    let v2 = esp8266_v2(&[4; 160], &[(0x3FFE_8000, vec![1, 2, 3, 4])]);
    for (form, bytes) in [("v1", v1), ("arduino", eboot), ("v2", v2)] {
        let image = look("x.bin", &bytes).unwrap();
        assert_eq!(image.chip, Some(Chip::Esp8266), "{form}");
        assert_eq!(image.kind, Kind::App, "{form}");
        assert_eq!(image.length, bytes.len() as u64, "{form}");
        let mut longer = bytes.clone();
        longer.extend([0; 7]);
        let image = look("x.bin", &longer).unwrap();
        assert!(
            image.warnings.contains(&Warning::Trailing { bytes: 7 }),
            "{form}"
        );
        // Addresses of segments are under no checksum in the first form.
        for at in [20, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let refused = look("x.bin", &damaged).unwrap_err();
            assert!(
                matches!(
                    refused.code(),
                    "checksum" | "crc" | "truncated" | "segment-length" | "segments"
                ),
                "{form} at {at}: {refused}"
            );
        }
        let cut = look("x.bin", &bytes[..bytes.len() - 1]).unwrap_err();
        assert!(matches!(cut.code(), "truncated" | "crc"), "{form}: {cut}");
    }
}

#[test]
fn one_wrong_bit_anywhere_in_an_image_with_a_hash_is_found() {
    let built = Esp32::default().build();
    for at in 0..built.len() {
        for bit in 0..8 {
            let mut damaged = built.clone();
            damaged[at] ^= 1 << bit;
            match look("x.bin", &damaged) {
                Err(_) => {}
                // The bit that says that a hash follows: then 32 bytes follow for nothing.
                Ok(image) => {
                    assert_eq!((at, bit), (23, 0));
                    assert!(image.warnings.contains(&Warning::NoHash));
                    assert!(image.warnings.contains(&Warning::Trailing { bytes: 32 }));
                }
            }
        }
    }
}

#[test]
fn a_download_that_was_cut_short_is_told_from_one_that_is_corrupt() {
    let built = Esp32::default().build();
    for len in 1..built.len() {
        let error = look("x.bin", &built[..len]).unwrap_err();
        let ImageError::Truncated { size, needs } = error else {
            panic!("{len}: {error}");
        };
        assert_eq!(size, len as u64);
        assert!(
            needs > size && needs <= built.len() as u64,
            "{len}: {needs}"
        );
    }
    // Arduino's form says how long the whole is.
    let eboot = arduino(0x40, &[3; 5_000]);
    let needs = eboot.len() as u64;
    let size = needs - 200;
    let cut = look("x.bin", &eboot[..size as usize]);
    assert_eq!(cut, Err(ImageError::Truncated { size, needs }));
    let mut corrupt = built.clone();
    corrupt[330] ^= 1;
    assert!(matches!(
        look("x.bin", &corrupt),
        Err(ImageError::Checksum { .. } | ImageError::Hash)
    ));
    let end = built.len() - 1;
    let mut corrupt = built;
    corrupt[end] ^= 1;
    assert_eq!(look("x.bin", &corrupt), Err(ImageError::Hash));
}

#[test]
fn files_that_are_no_images_are_called_by_what_they_are() {
    let mut state = 1_u32;
    let mut random: Vec<u8> = (0..40_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    random[0] = 0;
    let mut littlefs = vec![1, 0, 0, 0, 0xF0, 0x0F, 0xFF, 0xF7];
    littlefs.extend(b"littlefs/\xE0\0\x10");
    for (bytes, looks) in [
        (&b"<!DOCTYPE html><html>404"[..], Looks::Html),
        (b"\n <HTML><body>", Looks::Html),
        (b"{\"error\":\"not found\"}", Looks::Markup),
        (b"<?xml version=\"1.0\"?>", Looks::Markup),
        (b"Not Found", Looks::Text),
        (b"\x7FELF\x01\x01\x01", Looks::Elf),
        (b"UF2\nWQ]\x9E", Looks::Uf2),
        (b"PK\x03\x04", Looks::Zip),
        (b"7z\xBC\xAF\x27\x1C", Looks::Archive),
        (
            b":100000000C9434000C943E000C943E000C943E0082",
            Looks::IntelHex,
        ),
        (&littlefs, Looks::FileSystem),
        (&[0xFF; 5000], Looks::Erased),
        (&random, Looks::Random),
        (&[0; 100], Looks::Other(0)),
        (&[0xE8, 3, 2, 1], Looks::Other(0xE8)),
    ] {
        let error = look("x.bin", bytes).unwrap_err();
        assert_eq!(error, ImageError::NotAnImage(looks));
        assert_eq!(error.code(), "not-an-image");
    }
    assert_eq!(look("x.bin", b""), Err(ImageError::Empty));
}

#[test]
fn a_factory_file_is_refused_with_the_place_of_the_application_inside() {
    let app = Esp32 {
        bulk: 30_000,
        ..Esp32::default()
    }
    .build();
    let boot = Esp32 {
        descriptor: None,
        ..Esp32::default()
    }
    .build();
    let partitions = table(&[
        ("nvs", 1, 2, 0x9000, 0x5000),
        ("otadata", 1, 0, 0xE000, 0x2000),
        ("app0", 0, 0x10, 0x10000, 0x1D_0000),
        ("app1", 0, 0x11, 0x1E_0000, 0x1D_0000),
    ]);
    // The boot loader at the start for a C3, after empty flash for an ESP32.
    for boot_at in [0, 0x1000, 0x2000] {
        let merged = factory((boot_at, &boot), &partitions, &[(0x10000, &app)]);
        let image = look("x.factory.bin", &merged).unwrap();
        assert_eq!(image.kind, Kind::Factory);
        assert_eq!(image.chip, Some(Chip::Esp32C3));
        assert_eq!(image.partitions.len(), 4);
        let part = extract_app(&image).unwrap();
        assert_eq!((part.offset, part.length), (0x10000, app.len() as u64));
        assert_eq!(
            image.offerable(),
            Err(Misfit::Factory {
                offset: 0x10000,
                length: app.len() as u64
            })
        );
        let taken = &merged[part.offset as usize..][..part.length as usize];
        assert_eq!(taken, app);
    }
    let mut damaged = factory((0, &boot), &partitions, &[(0x10000, &app)]);
    damaged[0x10000 + 400] ^= 1;
    assert!(look("x.bin", &damaged).is_err());
    let empty = factory((0, &boot), &partitions, &[]);
    assert_eq!(look("x.bin", &empty), Err(ImageError::NoApp));
}

#[test]
fn of_a_tasmota_factory_file_the_main_image_is_taken_not_the_safeboot() {
    let partitions = table(&[
        ("nvs", 1, 2, 0x9000, 0x5000),
        ("safeboot", 0, 0, 0x10000, 0xD_0000),
        ("app0", 0, 0x10, 0xE_0000, 0x2D_0000),
    ]);
    let (safeboot, main) = (holding(SAFEBOOT), holding(MAIN));
    let boot = Esp32 {
        descriptor: None,
        ..Esp32::default()
    }
    .build();
    let merged = factory(
        (0, &boot),
        &partitions,
        &[(0x10000, &safeboot), (0xE_0000, &main)],
    );
    let image = look("tasmota32c3.factory.bin", &merged).unwrap();
    let kinds: Vec<Kind> = image.parts.iter().map(|part| part.kind).collect();
    assert_eq!(kinds, [Kind::Safeboot, Kind::App]);
    let part = extract_app(&image).unwrap();
    assert_eq!((part.offset, part.kind), (0xE_0000, Kind::App));
    assert_eq!(image.family, Some(Family::Tasmota));
}

#[test]
fn an_application_with_the_first_word_of_a_table_at_0x8000_stays_an_application() {
    let data: Vec<u8> = (0..60_000_u32).map(|at| (at * 7) as u8).collect();
    let mut app = Esp32 {
        segments: vec![(0x4200_0020, data)],
        ..Esp32::default()
    };
    // Offset 0x8000 in the file, less what stands before the segment's data.
    let at = 0x8000 - 24 - 8 - 256 - 8;
    app.segments[0].1[at..at + 2].copy_from_slice(&[0xAA, 0x50]);
    let built = app.build();
    assert_eq!(built[0x8000..0x8002], [0xAA, 0x50]);
    assert_eq!(look("x.bin", &built).unwrap().kind, Kind::App);
    // Even a whole table, as a program that writes partition tables holds it.
    let whole = table(&[("app", 0, 0x10, 0x10000, 0x1000)]);
    app.segments[0].1[at..at + whole.len()].copy_from_slice(&whole);
    assert_eq!(look("x.bin", &app.build()).unwrap().kind, Kind::App);
}

#[test]
fn boot_loaders_and_partition_tables_are_told_and_not_offered() {
    let boot = Esp32 {
        descriptor: None,
        bulk: 20_000,
        ..Esp32::default()
    }
    .build();
    let image = look("bootloader.bin", &boot).unwrap();
    assert_eq!(image.kind, Kind::Bootloader);
    assert_eq!(image.offerable(), Err(Misfit::Bootloader));
    let large = Esp32 {
        descriptor: None,
        bulk: 70_000,
        ..Esp32::default()
    }
    .build();
    let image = look("old.bin", &large).unwrap();
    assert_eq!(image.kind, Kind::App);
    assert!(image.warnings.contains(&Warning::NoDescriptor));
    let partitions = table(&[("nvs", 1, 2, 0x9000, 0x5000)]);
    let image = look("partitions.bin", &partitions).unwrap();
    assert_eq!(image.kind, Kind::PartitionTable);
    assert_eq!(image.offerable(), Err(Misfit::PartitionTable));
}

#[test]
fn gzip_is_unpacked_for_its_contents_and_offered_to_esp8266_only() {
    let inner = arduino(0x40, &[3; 100_000]);
    let image = look("tasmota.bin.gz", &gzip(&inner)).unwrap();
    assert_eq!(image.chip, Some(Chip::Esp8266));
    let unpacked = image.gzip.clone().unwrap();
    assert_eq!(unpacked.size, inner.len() as u64);
    assert_eq!(unpacked.sha256, sha256(&inner));
    assert_eq!(image.offerable(), Ok(()));
    let image = look("x.bin.gz", &gzip(&Esp32::default().build())).unwrap();
    let chip = Chip::Esp32C3;
    assert_eq!(image.offerable(), Err(Misfit::Gzip { chip }));
    let page = look("x.bin.gz", &gzip(b"<html>")).unwrap_err();
    assert_eq!(
        page,
        ImageError::Inside(Box::new(ImageError::NotAnImage(Looks::Html)))
    );
    assert_eq!(look("x.gz", &gzip(b"")).unwrap_err().code(), "empty");
}

#[test]
fn a_real_deflate_stream_is_unpacked_and_its_trailer_is_checked() {
    // With every optional part of the header.
    let packed = miniz_oxide::deflate::compress_to_vec(&[0xE9; 3000], 9);
    let mut file = vec![0x1F, 0x8B, 8, 0b1_1110, 0, 0, 0, 0, 2, 3];
    file.extend([3, 0, 1, 2, 3]);
    file.extend(b"name.bin\0comment\0");
    file.extend([0, 0]);
    file.extend(&packed);
    let body = file.len();
    let crc = gzip(&[0xE9; 3000]);
    file.extend(&crc[crc.len() - 8..]);
    let error = look("x.gz", &file).unwrap_err();
    assert!(matches!(error, ImageError::Inside(_)), "{error}");
    let wrong = |at: usize, bytes: &[u8]| {
        let mut damaged = file.clone();
        damaged.splice(at.., bytes.iter().copied());
        look("x.gz", &damaged).unwrap_err()
    };
    let tail = &file[body..];
    assert_eq!(
        wrong(
            body,
            &[
                tail[0] ^ 1,
                tail[1],
                tail[2],
                tail[3],
                tail[4],
                tail[5],
                0,
                0
            ]
        ),
        ImageError::Gzip(GzipError::Crc)
    );
    assert_eq!(
        wrong(body + 4, &[0, 0, 0, 0]),
        ImageError::Gzip(GzipError::Length)
    );
    assert_eq!(wrong(body + 3, &[]), ImageError::Gzip(GzipError::Truncated));
    assert_eq!(
        wrong(body + 4, &[tail[4], tail[5], 0, 0, 0]),
        ImageError::Gzip(GzipError::Trailing)
    );
    assert_eq!(wrong(3, &[0xE0; 30]), ImageError::Gzip(GzipError::Header));
    assert_eq!(
        wrong(body - packed.len(), &[0xFF; 40]),
        ImageError::Gzip(GzipError::Data)
    );
}

#[test]
fn a_gzip_bomb_ends_at_the_limit() {
    let bomb = miniz_oxide::deflate::compress_to_vec(&vec![0; 64 << 20], 9);
    let mut file = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3];
    file.extend(&bomb);
    assert!(file.len() < 100_000);
    let limit = 4 << 20;
    assert_eq!(
        look("bomb.gz", &file),
        Err(ImageError::UnpackedTooLarge { limit })
    );
}

#[test]
fn a_file_larger_than_the_limit_is_refused_on_the_way() {
    let limits = Limits {
        max_size: 100_000,
        ..Limits::default()
    };
    let mut inspector = Inspector::new("x.bin", limits);
    let limit = 100_000;
    assert_eq!(inspector.feed(&[0xE9; 100_000]), Ok(()));
    assert_eq!(inspector.feed(&[0]), Err(ImageError::TooLarge { limit }));
    assert_eq!(inspector.feed(&[]), Err(ImageError::TooLarge { limit }));
    assert_eq!(inspector.finish(), Err(ImageError::TooLarge { limit }));
}

#[test]
fn a_secure_boot_signature_is_told_and_must_be_for_the_contents() {
    let mut signed = Esp32::default().build();
    signed.resize(0x1000, 0xFF);
    let hash = sha256(&signed);
    signed.extend([0xE7, 2, 0, 0]);
    signed.extend(hash);
    signed.resize(0x2000, 0xFF);
    let image = look("x.bin", &signed).unwrap();
    assert!(image.signed);
    assert_eq!(image.length, 0x2000);
    assert_eq!(image.warnings, [Warning::FamilyUnknown]);
    let mut other = signed.clone();
    other[0x1004] ^= 1;
    assert_eq!(look("x.bin", &other), Err(ImageError::Signature));
    let mut padding = signed.clone();
    padding[0xFFF] = 0;
    assert_eq!(look("x.bin", &padding), Err(ImageError::Signature));
    let cut = look("x.bin", &signed[..0x1800]).unwrap();
    assert!(!cut.signed);
    assert!(matches!(cut.warnings[0], Warning::Trailing { .. }));
}

#[test]
fn chips_that_nobody_sells_are_refused_by_number() {
    for id in [4, 6, 7, 10, 14, 0xFFFF] {
        let built = Esp32 {
            chip_id: id,
            ..Esp32::default()
        }
        .build();
        assert_eq!(look("x.bin", &built), Err(ImageError::UnknownChip { id }));
    }
}

#[test]
fn tasmota_images_are_told_apart_by_what_they_hold_and_the_name_is_checked_against_it() {
    let main = look("tasmota32c3-15.0.1.bin", &holding(MAIN)).unwrap();
    assert_eq!((main.family, main.kind), (Some(Family::Tasmota), Kind::App));
    // What the prebuilt core says of itself is not the firmware's version.
    assert_eq!(main.version.as_deref(), Some("15.0.1"));
    assert_eq!(main.project, None);
    assert!(main.warnings.is_empty(), "{:?}", main.warnings);

    let safeboot = look("tasmota32c3-safeboot.bin", &holding(SAFEBOOT)).unwrap();
    assert_eq!(safeboot.kind, Kind::Safeboot);
    assert_eq!(safeboot.variant.as_deref(), Some("safeboot"));
    assert_eq!(safeboot.tls, Some(true));
    assert_eq!(safeboot.warnings.len(), 1, "{:?}", safeboot.warnings);
    assert_eq!(safeboot.warnings[0].code(), "no-version");

    let plain = b"\0cmnd|stat|tele\0safeboot\0|MqttNoRetain|MqttUser|MqttHost|MqttPort|\0";
    let plain = look("tasmota32c3-safeboot.bin", &holding(plain)).unwrap();
    assert_eq!(plain.tls, Some(false));
    assert!(plain.warnings.contains(&Warning::NoMqttTls));

    // Before options had a second name, a list without TLS says nothing.
    let old = b"\0cmnd|stat|tele\0safeboot\0|MqttUser|MqttHost|MqttPort|\0";
    let old = look("tasmota32c3-safeboot.bin", &holding(old)).unwrap();
    assert_eq!(old.tls, None);
    assert!(old.warnings.contains(&Warning::MqttTlsUnknown));

    let mislabelled = look("tasmota32c3-safeboot.bin", &holding(MAIN)).unwrap();
    assert_eq!(mislabelled.kind, Kind::App);
    assert!(mislabelled.warnings.contains(&Warning::NameKind {
        name: Kind::Safeboot,
        inside: Kind::App
    }));
    let renamed = look("tasmota32c3.bin", &holding(SAFEBOOT)).unwrap();
    assert_eq!(renamed.kind, Kind::Safeboot);
    assert!(renamed.warnings.contains(&Warning::NameKind {
        name: Kind::App,
        inside: Kind::Safeboot
    }));
    let unsure = look("tasmota32c3-safeboot.bin", &holding(b"\0cmnd|stat|tele\0")).unwrap();
    assert_eq!(unsure.kind, Kind::Safeboot);
    assert_eq!(unsure.tls, None);
    let kind = Kind::Safeboot;
    assert!(unsure.warnings.contains(&Warning::KindByName { kind }));
}

#[test]
fn esp8266_minimal_images_and_solo_builds_are_told() {
    let minimal = arduino(0x20, b"\0cmnd|stat|tele\0minimal\0");
    let image = look("tasmota-minimal.bin", &minimal).unwrap();
    assert_eq!(image.kind, Kind::Minimal);
    let full = arduino(0x20, b"\0cmnd|stat|tele\0%s-minimal%s\0");
    assert_eq!(look("tasmota.bin", &full).unwrap().kind, Kind::App);
    let mut esp32 = Esp32 {
        chip_id: 0,
        ..Esp32::default()
    };
    esp32
        .segments
        .push((0x3F40_0020, b"cmnd|stat|tele\0\0".to_vec()));
    let image = look("tasmota32solo1.bin", &esp32.build()).unwrap();
    assert!(image.single_core);
}

#[test]
fn espeasy_esphome_and_xiaozhi_are_known_by_their_own_marks() {
    let image = look(
        "ESP_Easy_mega_20240822_normal_ESP32c3_4M316k.bin",
        &holding(b"Tasmota\0ESP_Easy_mega_20240822_normal_ESP32c3_4M316k\0"),
    )
    .unwrap();
    assert_eq!(image.family, Some(Family::EspEasy));
    assert_eq!(image.version.as_deref(), Some("20240822"));
    assert_eq!(image.variant.as_deref(), Some("normal_ESP32c3_4M316k"));
    assert!(image.warnings.is_empty(), "{:?}", image.warnings);

    let image = look(
        "kitchen.bin",
        &holding(b"ESPHome version 2024.6.1 compiled"),
    )
    .unwrap();
    assert_eq!(image.family, Some(Family::EspHome));
    assert_eq!(image.version.as_deref(), Some("2024.6.1"));

    let xiaozhi = Esp32 {
        descriptor: Some(Descriptor {
            version: "2.4.2".into(),
            project: "xiaozhi".into(),
            elf_sha256: [2; 32],
        }),
        ..Esp32::default()
    }
    .build();
    let image = look("bread-compact-wifi_2.4.0.bin", &xiaozhi).unwrap();
    assert_eq!(image.family, Some(Family::Xiaozhi));
    assert_eq!(image.version.as_deref(), Some("2.4.2"));
    assert_eq!(
        image.warnings,
        [Warning::NameVersion {
            name: "2.4.0".into(),
            inside: "2.4.2".into()
        }]
    );
}

#[test]
fn assets_of_a_xiaozhi_device_are_told_by_their_own_sum() {
    let body: Vec<u8> = (0..20_000_u32).map(|at| (at * 31) as u8).collect();
    let sum: u32 = body.iter().map(|byte| u32::from(*byte)).sum();
    let mut file = 3_u32.to_le_bytes().to_vec();
    file.extend((sum & 0xFFFF).to_le_bytes());
    file.extend((body.len() as u32).to_le_bytes());
    file.extend(&body);
    let image = look("assets.bin", &file).unwrap();
    assert_eq!((image.kind, image.chip), (Kind::Assets, None));
    file[500] ^= 1;
    assert!(look("assets.bin", &file).is_err());
}

#[test]
fn an_image_survives_being_stored_as_json() {
    let safeboot = look("tasmota32c3-safeboot.bin", &holding(SAFEBOOT)).unwrap();
    let packed = look("x.bin.gz", &gzip(&arduino(0x40, &[1; 50]))).unwrap();
    for image in [safeboot, packed] {
        let json = serde_json::to_string(&image).unwrap();
        assert_eq!(serde_json::from_str::<Image>(&json).unwrap(), image);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["sha256"].as_str().unwrap().len(), 64);
        for (warning, stored) in image
            .warnings
            .iter()
            .zip(value["warnings"].as_array().unwrap())
        {
            assert_eq!(stored["code"], warning.code());
        }
    }
}

#[test]
fn only_the_last_part_of_a_name_is_kept() {
    let built = Esp32::default().build();
    for name in ["/tmp/x.bin", "C:\\Users\\x.bin", "a/b\\x.bin", "x.\nbin"] {
        assert_eq!(look(name, &built).unwrap().file_name, "x.bin");
    }
    let long = "x".repeat(400);
    assert_eq!(look(&long, &built).unwrap().file_name.len(), 255);
}
