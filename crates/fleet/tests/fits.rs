//! Which device can take which image.

#[path = "../../../fuzz/src/images.rs"]
#[allow(dead_code, unreachable_pub)]
mod images;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use images::{Descriptor, Esp32, arduino, gzip};
use safeport_fleet::image::{Image, Kind, Limits, Misfit, Target, Warning, fits, inspect};
use safeport_fleet::version::VersionError;
use safeport_fleet::{Chip, Family, Layout, Slot};

const SAFEBOOT: &[u8] = b"\0cmnd|stat|tele\0safeboot\0|MqttFingerprint|MqttHost|MqttPort|\0\0\0\0";
const MAIN: &[u8] = b"\0cmnd|stat|tele\0%s-safeboot%s\0\0\0";

fn tasmota(name: &str, literals: &[u8], chip_id: u16) -> Image {
    let mut data = literals.to_vec();
    data.resize(data.len().next_multiple_of(4), 0);
    let built = Esp32 {
        chip_id,
        descriptor: Some(Descriptor {
            version: "v4.4.7".into(),
            project: "arduino-lib-builder".into(),
            elf_sha256: [1; 32],
        }),
        segments: vec![(0x3C00_0120, data)],
        ..Esp32::default()
    }
    .build();
    inspect(name, &built, Limits::default()).unwrap()
}

fn xiaozhi(version: &str) -> Image {
    let built = Esp32 {
        chip_id: 9,
        descriptor: Some(Descriptor {
            version: version.into(),
            project: "xiaozhi".into(),
            elf_sha256: [7; 32],
        }),
        ..Esp32::default()
    }
    .build();
    inspect("xiaozhi.bin", &built, Limits::default()).unwrap()
}

/// A Tasmota device with an ESP32-C3, of which everything is known.
fn plug() -> Target {
    Target {
        family: Some(Family::Tasmota),
        chip: Some(Chip::Esp32C3),
        chip_rev: Some(4),
        slot_size: Some(2880 * 1024),
        flash_size: Some(4 << 20),
        layout: Some(Layout::Safeboot),
        version: Some("14.3.0(release-tasmota32)".into()),
        ..Target::default()
    }
}

fn box_() -> Target {
    Target {
        family: Some(Family::Xiaozhi),
        chip: Some(Chip::Esp32S3),
        chip_rev: Some(3),
        slot_size: Some(0x3F_0000),
        flash_size: Some(16 << 20),
        layout: Some(Layout::Dual),
        has_assets: Some(true),
        version: Some("2.4.1".into()),
        ..Target::default()
    }
}

#[test]
fn an_image_for_the_device_fits_without_a_word() {
    let image = tasmota("tasmota32c3-15.0.1.bin", MAIN, 5);
    assert_eq!(fits(&image, &plug()), Ok(vec![]));
    assert_eq!(fits(&xiaozhi("2.4.2"), &box_()), Ok(vec![]));
}

#[test]
fn another_chip_is_refused_by_both_names_and_an_unknown_one_with_the_way_out() {
    let image = tasmota("tasmota32s3.bin", MAIN, 9);
    let refused = fits(&image, &plug()).unwrap_err();
    assert_eq!(
        refused,
        Misfit::Chip {
            image: Chip::Esp32S3,
            device: Chip::Esp32C3
        }
    );
    let text = refused.to_string();
    assert!(
        text.contains("ESP32-S3") && text.contains("ESP32-C3"),
        "{text}"
    );
    let mut target = plug();
    target.chip = None;
    let refused = fits(&image, &target).unwrap_err();
    assert_eq!(refused, Misfit::ChipUnknown);
    assert!(refused.to_string().contains("--chip"));
}

#[test]
fn what_must_be_known_of_a_device_is_asked_for_by_name() {
    let image = tasmota("tasmota32c3.bin", MAIN, 5);
    for (forget, misfit) in [
        (
            (|target| target.family = None) as fn(&mut Target),
            Misfit::FamilyUnknown,
        ),
        (|target| target.layout = None, Misfit::LayoutUnknown),
        (
            |target| {
                target.slot_size = None;
                target.flash_size = None;
            },
            Misfit::SlotSizeUnknown,
        ),
    ] {
        let mut target = plug();
        forget(&mut target);
        assert_eq!(fits(&image, &target), Err(misfit));
    }
    let mut target = plug();
    target.slot_size = None;
    let bytes = 2880 * 1024;
    assert!(
        fits(&image, &target)
            .unwrap()
            .contains(&Warning::SlotSizeAssumed { bytes })
    );
}

#[test]
fn chip_revisions_are_kept_within_what_the_image_was_built_for() {
    // Built for v0.3 to v1.99.
    let image = tasmota("tasmota32c3.bin", MAIN, 5);
    let with = |revision| Target {
        chip_rev: revision,
        ..plug()
    };
    assert_eq!(
        fits(&image, &with(Some(2))),
        Err(Misfit::RevisionTooLow { min: 3, device: 2 })
    );
    assert_eq!(
        fits(&image, &with(Some(200))),
        Err(Misfit::RevisionTooHigh {
            max: 199,
            device: 200
        })
    );
    assert!(
        fits(&image, &with(None))
            .unwrap()
            .contains(&Warning::RevisionUnknown { min: 3 })
    );
}

#[test]
fn safeboot_goes_to_its_own_slot_only_and_only_where_there_is_one() {
    let safeboot = tasmota("tasmota32c3-safeboot.bin", SAFEBOOT, 5);
    let main = tasmota("tasmota32c3.bin", MAIN, 5);
    let slot = |slot, size| Target {
        slot: Some(slot),
        slot_size: Some(size),
        ..plug()
    };
    assert_eq!(
        fits(&safeboot, &slot(Slot::Main, 2880 * 1024)),
        Err(Misfit::Slot {
            kind: Kind::Safeboot,
            slot: Slot::Main
        })
    );
    assert_eq!(
        fits(&main, &slot(Slot::Safeboot, 832 * 1024)),
        Err(Misfit::Slot {
            kind: Kind::App,
            slot: Slot::Safeboot
        })
    );
    assert!(fits(&safeboot, &slot(Slot::Safeboot, 832 * 1024)).is_ok());
    let dual = Target {
        layout: Some(Layout::Dual),
        ..slot(Slot::Safeboot, 832 * 1024)
    };
    assert_eq!(fits(&safeboot, &dual), Err(Misfit::NoSafeboot));
    let single = Target {
        layout: Some(Layout::Single),
        ..plug()
    };
    assert_eq!(fits(&main, &single), Err(Misfit::NoOta));
}

#[test]
fn an_image_that_is_one_byte_too_large_is_refused() {
    let image = tasmota("tasmota32c3.bin", MAIN, 5);
    let with = |size| Target {
        slot_size: Some(size),
        ..plug()
    };
    assert!(fits(&image, &with(image.size)).is_ok());
    assert_eq!(
        fits(&image, &with(image.size - 1)),
        Err(Misfit::TooLarge {
            size: image.size,
            space: image.size - 1
        })
    );
}

#[test]
fn an_esp8266_refuses_more_flash_than_it_has_and_old_tasmota_refuses_gzip() {
    let literals = b"\0cmnd|stat|tele\0%s-minimal%s\0";
    let plain = arduino(0x40, literals);
    let limits = Limits::default();
    let image = inspect("tasmota.bin", &plain, limits).unwrap();
    let packed = inspect("tasmota.bin.gz", &gzip(&plain), limits).unwrap();
    let target = |flash, version: &str| Target {
        family: Some(Family::Tasmota),
        chip: Some(Chip::Esp8266),
        flash_size: Some(flash),
        version: Some(version.into()),
        ..Target::default()
    };
    assert_eq!(
        fits(&image, &target(1 << 20, "14.3.0")),
        Err(Misfit::FlashSize {
            image: 4 << 20,
            device: 1 << 20
        })
    );
    assert!(fits(&packed, &target(4 << 20, "8.2.0")).is_ok());
    let version = "8.1.0".into();
    assert_eq!(
        fits(&packed, &target(4 << 20, "8.1.0")),
        Err(Misfit::GzipTooOld { version })
    );
    assert!(fits(&image, &target(4 << 20, "8.1.0")).is_ok());
    let minimal = arduino(0x20, b"\0cmnd|stat|tele\0minimal\0");
    let minimal = inspect("tasmota-minimal.bin", &minimal, limits).unwrap();
    assert!(
        fits(&minimal, &target(4 << 20, "14.3.0"))
            .unwrap()
            .contains(&Warning::MinimalAsMain)
    );
}

#[test]
fn an_esp32_with_one_core_takes_only_builds_for_one() {
    let both = tasmota("tasmota32.bin", MAIN, 0);
    let solo = tasmota("tasmota32solo1.bin", MAIN, 0);
    let target = |single_core| Target {
        chip: Some(Chip::Esp32),
        chip_rev: Some(100),
        single_core,
        ..plug()
    };
    assert_eq!(fits(&both, &target(Some(true))), Err(Misfit::OneCore));
    assert!(fits(&solo, &target(Some(true))).is_ok());
    assert!(fits(&both, &target(Some(false))).is_ok());
    assert!(
        fits(&both, &target(None))
            .unwrap()
            .contains(&Warning::CoresUnknown)
    );
}

#[test]
fn what_runs_already_is_known_by_any_hash_that_a_device_reports() {
    let image = xiaozhi("2.4.2");
    for sha256 in [Some(image.sha256), image.appended_sha256, image.elf_sha256] {
        let target = Target {
            running_sha256: sha256,
            ..box_()
        };
        assert_eq!(fits(&image, &target), Err(Misfit::AlreadyInstalled));
    }
    let target = Target {
        running_md5: Some(image.md5),
        ..box_()
    };
    assert_eq!(fits(&image, &target), Err(Misfit::AlreadyInstalled));
    let other = Target {
        running_sha256: Some([0; 32]),
        running_md5: Some([0; 16]),
        ..box_()
    };
    assert!(fits(&image, &other).is_ok());
}

#[test]
fn xiaozhi_versions_are_told_apart_by_their_partition_tables_and_must_be_numbers() {
    let without = Target {
        has_assets: Some(false),
        ..box_()
    };
    let version = "2.4.2".to_owned();
    assert_eq!(
        fits(&xiaozhi("2.4.2"), &without),
        Err(Misfit::XiaozhiLayout { version })
    );
    assert!(fits(&xiaozhi("1.9.4"), &without).is_ok());
    assert_eq!(
        fits(&xiaozhi("2.4.2-rc1"), &box_()),
        Err(Misfit::Version {
            version: "2.4.2-rc1".into(),
            why: VersionError::Xiaozhi
        })
    );
    assert_eq!(
        fits(&xiaozhi("2.4.0"), &box_()).unwrap(),
        [Warning::Older {
            from: "2.4.1".into(),
            to: "2.4.0".into()
        }]
    );
    let same = fits(&xiaozhi("2.4.1"), &box_()).unwrap();
    assert_eq!(same[0].code(), "same-version");
}

#[test]
fn another_firmware_is_refused_and_an_unknown_one_is_noted() {
    let refused = fits(
        &xiaozhi("2.4.2"),
        &Target {
            chip: Some(Chip::Esp32S3),
            ..plug()
        },
    );
    assert_eq!(
        refused,
        Err(Misfit::Family {
            image: Family::Xiaozhi,
            device: Family::Tasmota
        })
    );
    let own = inspect(
        "own-1.0.0.bin",
        &Esp32::default().build(),
        Limits::default(),
    )
    .unwrap();
    let target = Target {
        version: None,
        ..plug()
    };
    assert!(fits(&own, &target).is_ok_and(|warnings| warnings.contains(&Warning::FamilyUnknown)));
    let plain = Target {
        family: Some(Family::Plain),
        ..target
    };
    assert_eq!(fits(&own, &plain), Ok(vec![]));
}

#[test]
fn espeasy_builds_may_differ_in_what_they_hold_but_not_in_flash_and_file_system() {
    let build = |environment: &str| {
        let name = format!("ESP_Easy_mega_20240822_{environment}");
        tasmota(&format!("{name}.bin"), format!("\0{name}\0").as_bytes(), 5)
    };
    let target = |variant: &str| Target {
        family: Some(Family::EspEasy),
        layout: Some(Layout::Dual),
        version: Some("20230101".into()),
        variant: Some(variant.into()),
        ..plug()
    };
    let image = build("normal_ESP32c3_4M316k");
    let runs = target("ESP_Easy_mega_20230101_normal_ESP32c3_4M316k");
    assert_eq!(fits(&image, &runs), Ok(vec![]));
    let other = fits(&image, &target("max_ESP32c3_4M316k")).unwrap();
    assert_eq!(other[0].code(), "other-variant");
    for runs in ["normal_ESP32c3_4M316k_LittleFS", "normal_ESP32c3_8M1M"] {
        let refused = fits(&image, &target(runs)).unwrap_err();
        assert_eq!(refused.code(), "variant", "{runs}");
    }
}

#[test]
fn every_refusal_says_what_to_do_and_has_a_word_of_its_own() {
    let version = || "1.0".to_owned();
    let all = [
        Misfit::Factory {
            offset: 1,
            length: 1,
        },
        Misfit::Bootloader,
        Misfit::PartitionTable,
        Misfit::Gzip { chip: Chip::Esp32 },
        Misfit::GzipTooOld { version: version() },
        Misfit::ChipUnknown,
        Misfit::Chip {
            image: Chip::Esp32,
            device: Chip::Esp32S2,
        },
        Misfit::RevisionTooLow { min: 3, device: 2 },
        Misfit::RevisionTooHigh { max: 3, device: 4 },
        Misfit::OneCore,
        Misfit::FamilyUnknown,
        Misfit::Family {
            image: Family::Tasmota,
            device: Family::Plain,
        },
        Misfit::NoDescriptor,
        Misfit::Slot {
            kind: Kind::App,
            slot: Slot::Safeboot,
        },
        Misfit::NoSafeboot,
        Misfit::NoOta,
        Misfit::LayoutUnknown,
        Misfit::SlotSizeUnknown,
        Misfit::TooLarge { size: 2, space: 1 },
        Misfit::FlashSize {
            image: 2,
            device: 1,
        },
        Misfit::Version {
            version: version(),
            why: VersionError::Tasmota,
        },
        Misfit::VersionUnknown,
        Misfit::XiaozhiLayout { version: version() },
        Misfit::Variant {
            image: version(),
            device: version(),
        },
        Misfit::AlreadyInstalled,
    ];
    let mut words: Vec<&str> = all.iter().map(Misfit::code).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), all.len());
    for misfit in &all {
        let text = misfit.to_string();
        assert!(text.contains(": "), "{text}");
    }
}

#[test]
fn a_slot_that_nobody_has_told_is_never_taken_for_more_than_half_of_the_flash() {
    let mut image = xiaozhi("1.0.0");
    image.family = None;
    let mut target = Target {
        family: Some(Family::Plain),
        slot_size: None,
        flash_size: None,
        has_assets: None,
        version: None,
        ..box_()
    };
    // Of the flash that it was built for, where the device's is not known.
    image.flash_size = Some(4 << 20);
    let bytes = 2 << 20;
    let assumed = Warning::SlotSizeAssumed { bytes };
    assert!(fits(&image, &target).unwrap().contains(&assumed));
    image.size = bytes + 1;
    let refused = Misfit::TooLarge {
        size: bytes + 1,
        space: bytes,
    };
    assert_eq!(fits(&image, &target), Err(refused));
    // Of the smaller of the two.
    target.flash_size = Some(2 << 20);
    image.size = (1 << 20) + 1;
    assert_eq!(fits(&image, &target).unwrap_err().code(), "too-large");
    target.slot_size = Some(3 << 19);
    assert!(fits(&image, &target).is_ok(), "what is known counts");
    (target.slot_size, target.flash_size, image.flash_size) = (None, None, None);
    assert_eq!(fits(&image, &target), Err(Misfit::SlotSizeUnknown));
}
