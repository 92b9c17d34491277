use super::*;
use crate::{Facts, MacAddress, Member, Proof, Roster, RosterLimits, Sighting, Source};

const NOW: u64 = 1_800_000_000;

/// A Tasmota on an ESP32-C3 as it is known after `Status 0`.
fn facts() -> Facts {
    Facts {
        family: Some(Family::Tasmota),
        chip: Some(Chip::Esp32C3),
        flash_size: Some(4 * 1024 * 1024),
        layout: Some(Layout::Safeboot),
        tls: Some(true),
        online: Some(true),
        images: vec![(Slot::Main, running("14.0.0", "release-tasmota32"))],
        ..Facts::default()
    }
}

fn running(version: &str, variant: &str) -> Installed {
    Installed {
        version: Some(version.into()),
        variant: Some(variant.into()),
        ..Installed::default()
    }
}

fn member(facts: Facts) -> Member {
    member_from(facts, Some("10.0.0.9"))
}

fn member_from(facts: Facts, ip: Option<&str>) -> Member {
    let mut roster = Roster::new(RosterLimits::default(), 1);
    let mac = MacAddress([0xa0, 0xb1, 0xc2, 0x3d, 0x5e, 0x26]);
    let mut sighting = Sighting::new(NOW, Source::Message, Proof::Claim)
        .with(crate::Identity::Mac(mac))
        .from_peer(ip.map(|ip| ip.parse().expect("an address")));
    sighting.facts = facts;
    let id = roster.sight(&sighting).member.expect("a member");
    roster.get(id).expect("known").clone()
}

fn image(kind: Kind, chip: Chip, version: &str) -> Image {
    let number = version.bytes().map(usize::from).sum::<usize>() as u8;
    Image {
        sha256: [number ^ kind as u8; 32],
        md5: [number; 16],
        size: 800 * 1024,
        file_name: format!("tasmota32c3-{kind}-{version}.bin"),
        family: Some(Family::Tasmota),
        chip: Some(chip),
        kind,
        project: None,
        version: Some(version.into()),
        variant: None,
        idf_version: None,
        built: None,
        secure_version: None,
        elf_sha256: None,
        appended_sha256: None,
        flash_size: None,
        min_chip_rev: None,
        max_chip_rev: None,
        single_core: false,
        gzip: None,
        signed: false,
        tls: None,
        length: 800 * 1024,
        parts: Vec::new(),
        partitions: Vec::new(),
        warnings: Vec::new(),
    }
}

fn both() -> Vec<Image> {
    vec![
        image(Kind::App, Chip::Esp32C3, "15.0.0"),
        image(Kind::Safeboot, Chip::Esp32C3, "15.0.0"),
    ]
}

fn planned(member: &Member, images: &[Image]) -> Result<Plan, Refusal> {
    plan(member, images, &Options::default(), NOW).map(|(plan, _)| plan)
}

fn parts(plan: &Plan) -> Vec<Part> {
    plan.steps.iter().map(|step| step.part).collect()
}

#[test]
fn a_tls_device_gets_its_safeboot_before_its_main_image_and_has_to_prove_it() {
    let plan = planned(&member(facts()), &both()).expect("a plan");
    assert_eq!(parts(&plan), [Part::Safeboot, Part::Main]);
    assert!(plan.prove_safeboot && plan.over_tls && plan.web && plan.backup);
    assert_eq!(plan.steps[0].told_name, "tasmota32c3.bin");
    assert_eq!(plan.steps[0].files[0].name, "tasmota32c3-safeboot.bin");
    assert_eq!(plan.steps[1].files[0].name, "tasmota32c3.bin");
}

#[test]
fn a_safeboot_that_is_new_enough_is_left_alone() {
    let mut facts = facts();
    facts
        .images
        .push((Slot::Safeboot, running("15.0.0", "release-safeboot")));
    let plan = planned(&member(facts), &both()).expect("a plan");
    assert_eq!(parts(&plan), [Part::Main]);
}

#[test]
fn a_plain_device_keeps_its_safeboot_unless_it_is_asked_for() {
    let plain = member(Facts {
        tls: Some(false),
        ..facts()
    });
    let plan_of = |safeboot| {
        let options = Options {
            safeboot,
            ..Options::default()
        };
        plan(&plain, &both(), &options, NOW).expect("a plan").0
    };
    assert_eq!(parts(&plan_of(Safeboot::Auto)), [Part::Main]);
    let ensured = plan_of(Safeboot::Ensure);
    assert_eq!(parts(&ensured), [Part::Safeboot, Part::Main]);
    assert!(!ensured.prove_safeboot);
}

#[test]
fn a_tls_device_is_refused_a_main_image_alone_while_its_safeboot_is_not_known_to_do() {
    let main = [image(Kind::App, Chip::Esp32C3, "15.0.0")];
    let refusal = planned(&member(facts()), &main).expect_err("refused");
    assert_eq!(refusal.code(), "safeboot-missing");
    assert!(refusal.to_string().contains("ESP32-C3"), "{refusal}");
    let off = Options {
        safeboot: Safeboot::Off,
        ..Options::default()
    };
    let (plan, _) = plan(&member(facts()), &main, &off, NOW).expect("a plan");
    assert_eq!(parts(&plan), [Part::Main]);
}

#[test]
fn a_safeboot_that_cannot_do_tls_is_never_written_to_a_tls_device() {
    let mut images = both();
    images[1].tls = Some(false);
    let refusal = planned(&member(facts()), &images).expect_err("refused");
    assert_eq!(refusal.code(), "safeboot-without-tls");
    // Unknown, and nobody could bring the device back.
    let unreachable = member_from(facts(), None);
    let refusal = planned(&unreachable, &both()).expect_err("refused");
    assert_eq!(refusal.code(), "safeboot-unprovable");
    images[1].tls = Some(true);
    let plan = planned(&unreachable, &images).expect("a plan");
    assert!(!plan.prove_safeboot);
}

#[test]
fn of_a_release_for_many_boards_each_device_gets_what_is_for_it() {
    let mut images = both();
    images.push(image(Kind::App, Chip::Esp32S3, "15.0.0"));
    images.push(image(Kind::Safeboot, Chip::Esp32S3, "15.0.0"));
    let plan = planned(&member(facts()), &images).expect("a plan");
    assert_eq!(parts(&plan), [Part::Safeboot, Part::Main]);
    let other = member(Facts {
        chip: Some(Chip::Esp32C6),
        ..facts()
    });
    let refusal = planned(&other, &images).expect_err("refused");
    assert_eq!(refusal.code(), "no-image");
}

#[test]
fn of_several_builds_the_one_that_runs_now_is_taken() {
    let mut images = both();
    let mut bluetooth = image(Kind::App, Chip::Esp32C3, "15.0.0");
    bluetooth.variant = Some("bluetooth".into());
    bluetooth.sha256 = [9; 32];
    images.push(bluetooth.clone());
    let plan = planned(&member(facts()), &images).expect("a plan");
    assert_ne!(plan.steps[1].image.sha256, hex(&bluetooth.sha256));
    let with_bluetooth = member(Facts {
        images: vec![(Slot::Main, running("14.0.0", "release-bluetooth"))],
        ..facts()
    });
    let plan = planned(&with_bluetooth, &images).expect("a plan");
    assert_eq!(plan.steps[1].image.sha256, hex(&bluetooth.sha256));
}

#[test]
fn a_wrong_single_image_is_refused_in_the_words_of_the_inspection() {
    let wrong = [image(Kind::App, Chip::Esp32S3, "15.0.0")];
    let off = Options {
        safeboot: Safeboot::Off,
        ..Options::default()
    };
    let refusal = plan(&member(facts()), &wrong, &off, NOW).expect_err("refused");
    assert_eq!(
        refusal,
        Refusal::Misfit(Misfit::Chip {
            image: Chip::Esp32S3,
            device: Chip::Esp32C3
        })
    );
}

#[test]
fn what_runs_already_is_refused_with_the_way_to_install_it_again() {
    let current = member(Facts {
        tls: Some(false),
        images: vec![(Slot::Main, running("15.0.0", "release-tasmota32"))],
        ..facts()
    });
    let refusal = planned(&current, &both()).expect_err("refused");
    assert_eq!(refusal.code(), "already-installed");
    let again = Options {
        reinstall: true,
        ..Options::default()
    };
    assert!(plan(&current, &both(), &again, NOW).is_ok());
}

#[test]
fn an_address_too_long_for_tasmota_is_found_before_anything_is_sent() {
    let options = Options {
        base_length: Some(70),
        ..Options::default()
    };
    let refusal = plan(&member(facts()), &both(), &options, NOW).expect_err("refused");
    assert_eq!(
        refusal,
        Refusal::UrlTooLong {
            length: 70 + 26 + "tasmota32c3.bin".len(),
            limit: 100
        }
    );
}

fn esp8266(version: &str, flash: u32) -> Member {
    member(Facts {
        chip: Some(Chip::Esp8266),
        flash_size: Some(flash),
        layout: None,
        tls: Some(false),
        images: vec![(Slot::Main, running(version, "tasmota"))],
        ..facts()
    })
}

#[test]
fn an_old_tasmota_goes_from_station_to_station_and_a_missing_one_is_named() {
    let old = esp8266("6.7.1", 4 * 1024 * 1024);
    let mut images = vec![image(Kind::App, Chip::Esp8266, "15.0.0")];
    let refusal = planned(&old, &images).expect_err("refused");
    assert_eq!(
        refusal,
        Refusal::HopMissing {
            from: "6.7.1".into(),
            hop: "7.2.0".into()
        }
    );
    for hop in ["9.1.0", "7.2.0", "8.5.1"] {
        images.push(image(Kind::App, Chip::Esp8266, hop));
    }
    let plan = planned(&old, &images).expect("a plan");
    let way: Vec<_> = plan
        .steps
        .iter()
        .map(|step| step.image.identity.version.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(way, ["7.2.0", "8.5.1", "9.1.0", "15.0.0"]);
}

#[test]
fn a_small_esp8266_needs_the_minimal_image_and_finds_it_under_both_its_names() {
    let small = esp8266("14.0.0", 1024 * 1024);
    let mut images = vec![image(Kind::App, Chip::Esp8266, "15.0.0")];
    let refusal = planned(&small, &images).expect_err("refused");
    assert_eq!(refusal.code(), "minimal-missing");
    images.push(image(Kind::Minimal, Chip::Esp8266, "15.0.0"));
    let plan = planned(&small, &images).expect("a plan");
    let names: Vec<_> = plan.steps[0]
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "tasmota.bin",
            "tasmota.bin.gz",
            "tasmota-minimal.bin",
            "tasmota-minimal.bin.gz"
        ]
    );
}

#[test]
fn a_xiaozhi_device_is_forced_only_to_older_versions_and_never_to_its_own() {
    let device = member(Facts {
        family: Some(Family::Xiaozhi),
        room: vec![(Slot::Main, 4032 * 1024)],
        layout: Some(Layout::Dual),
        images: vec![(Slot::Main, running("2.1.0", "xiaozhi"))],
        ..facts()
    });
    let of = |version: &str| Image {
        family: Some(Family::Xiaozhi),
        ..image(Kind::App, Chip::Esp32C3, version)
    };
    assert!(!planned(&device, &[of("2.2.0")]).expect("a plan").downgrade);
    assert!(planned(&device, &[of("2.0.9")]).expect("a plan").downgrade);
    let same = planned(&device, &[of("2.1.0")]).expect_err("refused");
    assert_eq!(same.code(), "same-version");
}

#[test]
fn a_device_that_never_tells_its_slots_is_kept_to_half_of_its_flash() {
    let device = member(Facts {
        family: Some(Family::EspHome),
        layout: None,
        flash_size: Some(1024 * 1024),
        ..facts()
    });
    let mut image = Image {
        family: Some(Family::EspHome),
        size: 512 * 1024,
        ..image(Kind::App, Chip::Esp32C3, "15.0.0")
    };
    assert!(planned(&device, &[image.clone()]).is_ok());
    image.size += 1;
    let refusal = planned(&device, &[image]).expect_err("refused");
    assert_eq!(refusal.code(), "too-large");
}

#[test]
fn the_version_of_an_espeasy_is_the_day_in_the_name_of_its_file() {
    let installed = running("20116", "ESP_Easy_mega_20240822_normal_ESP32_4M316k");
    assert_eq!(version_of(&installed), Some("20240822"));
    assert_eq!(version_of(&running("15.0.0", "tasmota32")), Some("15.0.0"));
}
