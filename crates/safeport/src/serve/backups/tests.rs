//! Backups of devices that answer what a test says.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use safeport_fleet::{
    Chip, Enrolment, Family, Identity, Installed, MacAddress, Member, MemberId, Proof, Roster,
    RosterLimits, Set, Sighting, Slot, Source,
};
use safeport_store::{DataFolder, MemberRow};

use super::form::{self, Form};
use super::{BackupError, BackupId, Backups, Parts, Restore};
use crate::serve::device_web::tests::{Asked, Pretend, page};
use crate::serve::upgrades::{DeviceWeb, Devices, WebError};

const MAC: MacAddress = MacAddress([0xa0, 0xb1, 0xc2, 0x3d, 0x5e, 0x26]);

struct Fleet(Mutex<Roster>);

impl Devices for Fleet {
    fn member(&self, id: MemberId) -> Option<Member> {
        self.0.lock().expect("a roster").get(id).cloned()
    }
    fn sight(&self, sighting: Sighting) {
        self.0.lock().expect("a roster").sight(&sighting);
    }
    fn installed(&self, _: MemberId, _: Slot, _: Installed) {}
    fn is_contested(&self, _: MemberId) -> bool {
        false
    }
    fn note(&self, id: MemberId, text: &str) {
        self.0.lock().expect("a roster").note(id, text, 5);
    }
    fn pin(&self, _: MemberId) {}
    fn unpin(&self, _: MemberId) {}
}

struct House {
    folder: PathBuf,
    fleet: Arc<Fleet>,
    backups: Arc<Backups>,
    plug: MemberId,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn house(family: Family) -> House {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("safeport-backups-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    let data = DataFolder::open(&folder).expect("a data folder");
    let fleet = Arc::new(Fleet(Mutex::new(Roster::new(RosterLimits::default(), 1))));
    let backups = Backups::new(Parts {
        registry: data.registry().expect("a registry"),
        blobs: data.blobs().expect("blobs"),
        devices: fleet.clone(),
        keep: 2,
    });
    let mut house = House {
        folder,
        fleet,
        backups,
        plug: MemberId(0),
    };
    house.plug = house.add("plug-1", family, MAC);
    house
}

impl House {
    fn add(&self, name: &str, family: Family, mac: MacAddress) -> MemberId {
        let id = self.fleet.0.lock().expect("a roster").enrol(
            &Enrolment {
                name: name.parse().expect("a name"),
                family,
                mac: Some(mac),
                client_id: name.into(),
                topic: name.into(),
                tags: Vec::new(),
                created: 1,
            },
            1,
        );
        let data = DataFolder::open(&self.folder).expect("a data folder");
        let row = MemberRow {
            id: id.0,
            device: None,
            family: family.as_str().to_owned(),
            first_at: 1,
            last_at: 1,
            body: "{}".to_owned(),
            identities: Vec::new(),
        };
        let mut registry = data.registry().expect("a registry");
        registry.write_members(&[row]).expect("a row");
        id
    }

    fn set(&self, member: MemberId, set: Set) {
        self.fleet.0.lock().expect("a roster").set(member, set);
    }

    fn at(&self, member: MemberId, server: &Pretend) {
        self.set(
            member,
            Set {
                web: Some(server.address.to_string().into()),
                ..Set::default()
            },
        );
    }
}

/// Settings of Tasmota as the firmware writes them: a block of 4096 bytes with these changes.
fn dmp(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut block = vec![0; 4096];
    block[0] = 0x12;
    block[2..4].copy_from_slice(&4096_u16.to_le_bytes());
    block[8..12].copy_from_slice(&0x0F00_0100_u32.to_le_bytes());
    block[0xF36] = 4;
    for (place, byte) in changes {
        block[*place] = *byte;
    }
    let crc = form::crc32(&block[..4092]);
    block[4092..].copy_from_slice(&crc.to_le_bytes());
    scramble(block, 2)
}

fn scramble(mut bytes: Vec<u8>, from: usize) -> Vec<u8> {
    for (place, byte) in bytes.iter_mut().enumerate().skip(from) {
        *byte ^= (0x5A + place) as u8;
    }
    bytes
}

/// The newer form, with a file of a driver behind.
fn dmp_with_driver(byte: u8) -> Vec<u8> {
    let mut bytes = b"/.settings\0\0\0\0\0\0".to_vec();
    bytes.extend(scramble(dmp(&[]), 2));
    bytes.extend(b"/.drvset012\0\0\0");
    bytes.extend([2, 0, byte, 1]);
    bytes.resize(bytes.len() + 14, 0);
    let size = bytes.len() as u16;
    bytes[14..16].copy_from_slice(&size.to_le_bytes());
    scramble(bytes, 18)
}

fn status(mac: &str) -> String {
    format!(
        "{{\"StatusFWR\":{{\"Version\":\"15.0.1(release-tasmota32)\",\"Hardware\":\"ESP32-C3 v0.4\"}},\
         \"StatusNET\":{{\"Hostname\":\"plug-1-7718\",\"IPAddress\":\"127.0.0.1\",\"Mac\":\"{mac}\"}}}}"
    )
}

fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Disposition: attachment; \
         filename={name}\r\n\r\n",
        bytes.len()
    )
    .into_bytes();
    answer.extend_from_slice(bytes);
    answer
}

/// A Tasmota with these settings.
fn tasmota(settings: Arc<Mutex<Vec<u8>>>) -> Pretend {
    Pretend::new(move |asked| {
        let path = asked
            .path()
            .split('?')
            .next()
            .unwrap_or_default()
            .to_owned();
        match path.as_str() {
            _ if asked.header("referer") != Some("http://127.0.0.1/") => Vec::new(),
            "/cm" => page("200 OK", status("A0:B1:C2:3D:5E:26")),
            "/dl" => file(
                "Config_plug_15.0.1.dmp",
                &settings.lock().expect("settings"),
            ),
            "/rs" => page("200 OK", "<form>"),
            "/u2" => page("200 OK", "Upload <font color='#008000'>Successful</font>"),
            _ => page("404 Not Found", ""),
        }
    })
}

fn refused<T: std::fmt::Debug>(result: Result<T, WebError>) -> String {
    match result {
        Err(WebError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn settings_are_saved_once_noted_again_and_compared_with_the_last_ones() {
    let house = house(Family::Tasmota);
    let settings = Arc::new(Mutex::new(dmp(&[])));
    let server = tasmota(settings.clone());
    house.at(house.plug, &server);
    let first = house
        .backups
        .make(house.plug, "a test", "ada")
        .expect("a backup");
    assert!(!first.unchanged && first.compared.is_none());
    assert_eq!(first.backup.version.as_deref(), Some("15.0.1"));
    assert_eq!(first.backup.file_name, "Config_plug_15.0.1.dmp");
    assert_eq!((first.backup.size, &*first.backup.why), (4096, "a test"));

    let again = house
        .backups
        .make(house.plug, "a test", "ada")
        .expect("a backup");
    assert!(again.unchanged);
    assert_eq!(again.backup.id, first.backup.id);
    assert!(again.backup.again_at.is_some());
    assert_eq!(house.backups.list(house.plug).expect("a list").len(), 1);

    // Saved once more by the device itself, with nothing else changed.
    *settings.lock().expect("settings") = dmp(&[(4, 9), (12, 1), (0xFF8, 3)]);
    let saved = house
        .backups
        .make(house.plug, "a test", "ada")
        .expect("a backup");
    let compared = saved.compared.expect("a comparison");
    assert!(
        !saved.unchanged && compared.difference.identical,
        "{compared:?}"
    );
    assert_eq!(compared.with, first.backup.id);

    // Two letters of a text, and a pin.
    *settings.lock().expect("settings") = dmp(&[(0x20, b'x'), (0x21, b'y'), (0x3B0, 7)]);
    let changed = house
        .backups
        .make(house.plug, "a test", "ada")
        .expect("a backup");
    let difference = changed.compared.expect("a comparison").difference;
    assert_eq!(
        (difference.identical, difference.differing_bytes),
        (false, 3)
    );
    let places: Vec<_> = difference
        .ranges
        .iter()
        .map(|r| (r.from, r.to, r.means))
        .collect();
    assert_eq!(
        places,
        [
            (0x20, 0x22, Some("texts: names, networks, MQTT, passwords")),
            (0x3B0, 0x3B1, Some("pins and template"))
        ]
    );
    // Two are kept.
    let kept = house.backups.list(house.plug).expect("a list");
    let ids: Vec<_> = kept.iter().map(|row| row.id.clone()).collect();
    assert_eq!(ids, [changed.backup.id.clone(), saved.backup.id.clone()]);
    let oldest: BackupId = saved.backup.id.parse().expect("a number");
    let newest: BackupId = changed.backup.id.parse().expect("a number");
    let alone = house
        .backups
        .compare(oldest, None)
        .expect_err("nothing before");
    assert!(matches!(alone, BackupError::NothingBefore(_)));
    let compared = house
        .backups
        .compare(newest, Some(oldest))
        .expect("a comparison");
    assert_eq!(compared.difference.differing_bytes, 3);
    let (_, mut file) = house.backups.bytes(newest).expect("a file");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).expect("its bytes");
    assert_eq!(bytes, dmp(&[(0x20, b'x'), (0x21, b'y'), (0x3B0, 7)]));
    house.backups.remove(newest, "ada").expect("removed");
    assert!(matches!(
        house.backups.get(newest),
        Err(BackupError::Unknown(_))
    ));
}

#[test]
fn settings_are_put_back_after_what_is_there_was_saved() {
    let house = house(Family::Tasmota);
    let settings = Arc::new(Mutex::new(dmp(&[])));
    let server = tasmota(settings.clone());
    house.at(house.plug, &server);
    let first = house
        .backups
        .make(house.plug, "a test", "ada")
        .expect("a backup");
    let id: BackupId = first.backup.id.parse().expect("a number");
    *settings.lock().expect("settings") = dmp(&[(0x20, 1)]);

    let dry = Restore {
        dry_run: true,
        ..Restore::default()
    };
    let before = server.asked().len();
    let would = house.backups.restore(id, dry, "ada").expect("it would");
    assert_eq!((would.saved, would.said), (None, None));
    assert_eq!(would.warnings, Vec::<String>::new());
    assert_eq!(server.asked().len(), before);

    let done = house
        .backups
        .restore(id, Restore::default(), "ada")
        .expect("restored");
    assert!(done.saved.is_some_and(|saved| saved != first.backup.id));
    assert_eq!(done.said.as_deref(), Some("Upload Successful"));
    let asked = server.asked();
    let paths: Vec<_> = asked[before..].iter().map(Asked::path).collect();
    assert_eq!(paths, ["/cm?cmnd=Status%200", "/dl", "/rs", "/u2?fsz=4096"]);
    let body = &asked[asked.len() - 1].body;
    assert!(body.windows(4096).any(|window| window == dmp(&[])));
    let told = String::from_utf8_lossy(body);
    assert!(told.contains("name=\"u2\"; filename=\"Config_plug_15.0.1.dmp\""));
}

#[test]
fn settings_of_another_device_family_or_chip_are_not_put_back() {
    let house = house(Family::Tasmota);
    let server = tasmota(Arc::new(Mutex::new(dmp(&[]))));
    house.at(house.plug, &server);
    let made = house
        .backups
        .make(house.plug, "a test", "ada")
        .expect("a backup");
    let id: BackupId = made.backup.id.parse().expect("a number");
    let other = house.add("plug-2", Family::Tasmota, MacAddress([2, 0, 0, 0, 0, 2]));
    let node = house.add("node", Family::EspEasy, MacAddress([2, 0, 0, 0, 0, 3]));
    let to = |to, other_device| Restore {
        to: Some(to),
        other_device,
        dry_run: true,
    };
    let error = house
        .backups
        .restore(id, to(other, false), "ada")
        .expect_err("another");
    assert!(matches!(error, BackupError::OtherDevice { .. }), "{error}");
    let error = house
        .backups
        .restore(id, to(node, true), "ada")
        .expect_err("another");
    assert!(matches!(error, BackupError::OtherFamily { .. }), "{error}");
    let meant = house
        .backups
        .restore(id, to(other, true), "ada")
        .expect("meant so");
    assert!(
        meant
            .warnings
            .iter()
            .any(|text| text.contains("disturb each other"))
    );
    let chip = |chip| Set {
        chip: Some(chip),
        ..Set::default()
    };
    house.set(other, chip(Chip::Esp32S3));
    let error = house
        .backups
        .restore(id, to(other, true), "ada")
        .expect_err("another chip");
    assert!(matches!(error, BackupError::OtherChip { .. }), "{error}");
    house.set(other, chip(Chip::Esp32C3));
    house
        .backups
        .restore(id, to(other, true), "ada")
        .expect("its chip");
}

#[test]
fn a_login_page_or_half_a_file_is_no_backup() {
    let house = house(Family::Tasmota);
    let login = b"<!DOCTYPE html><html><form>Password</form></html>".to_vec();
    for bad in [
        login,
        b"{\"WARNING\":\"x\"}".to_vec(),
        Vec::new(),
        dmp(&[])[..4000].to_vec(),
    ] {
        let server = tasmota(Arc::new(Mutex::new(bad)));
        house.at(house.plug, &server);
        let error = house
            .backups
            .make(house.plug, "a test", "ada")
            .expect_err("no backup");
        assert!(matches!(error, BackupError::NotSettings { .. }), "{error}");
    }
    assert!(house.backups.list(house.plug).expect("a list").is_empty());
}

#[test]
fn the_password_goes_to_the_device_and_nowhere_else() {
    let house = house(Family::Tasmota);
    let server = Pretend::new(|asked| match asked.header("authorization") {
        // admin:open sesame
        Some("Basic YWRtaW46b3BlbiBzZXNhbWU=") => page("200 OK", status("A0:B1:C2:3D:5E:26")),
        _ => page(
            "401 Unauthorized",
            "{\"WARNING\":\"Need user=<username>&password=<password>\"}",
        ),
    });
    house.at(house.plug, &server);
    let why = refused(house.backups.command(house.plug, "Status 2"));
    assert!(why.contains("--web-password"), "{why}");
    assert!(!house.backups.has_password(house.plug).expect("known"));
    house
        .backups
        .set_password(house.plug, Some("wrong"), "ada")
        .expect("set");
    let why = refused(house.backups.command(house.plug, "Status 2"));
    assert!(
        why.contains("does not take the password") && !why.contains("wrong"),
        "{why}"
    );
    house
        .backups
        .set_password(house.plug, Some("open sesame"), "ada")
        .expect("set");
    house
        .backups
        .command(house.plug, "Status 2")
        .expect("an answer");
    let error = house
        .backups
        .set_password(house.plug, Some("a\r\nb"), "ada");
    assert!(matches!(error, Err(BackupError::BadPassword)));
}

#[test]
fn another_device_behind_the_address_gets_nothing() {
    let house = house(Family::Tasmota);
    let server = Pretend::new(|_| page("200 OK", status("02:00:00:00:00:99")));
    house.at(house.plug, &server);
    let why = refused(house.backups.command(house.plug, "Upgrade 1"));
    assert!(why.contains("another device answers"), "{why}");
    refused(house.backups.look(house.plug));
    let error = house
        .backups
        .make(house.plug, "a test", "ada")
        .expect_err("no backup");
    assert_eq!(error.code(), "device-refused");
    assert!(
        server
            .asked()
            .iter()
            .all(|asked| asked.path() == "/cm?cmnd=Status%200")
    );
}

#[test]
fn an_address_that_was_only_named_is_never_asked() {
    let house = house(Family::Tasmota);
    let server = Pretend::new(|_| page("200 OK", status("A0:B1:C2:3D:5E:26")));
    // A message names an address; nobody has come from there.
    let mut named = Sighting::new(
        2,
        Source::Message,
        Proof::Login("plug-1".parse().expect("a name")),
    )
    .with(Identity::Mac(MAC));
    named.facts.web = Some(server.address);
    house.fleet.sight(named.clone());
    let error = house
        .backups
        .command(house.plug, "Status 0")
        .expect_err("no address");
    assert!(matches!(error, WebError::Unreachable(_)), "{error}");
    // It came through a proxy on this machine, whose own pages are none of the device's.
    house
        .fleet
        .sight(named.from_peer("127.0.0.1".parse::<std::net::IpAddr>().expect("an address")));
    let error = house
        .backups
        .command(house.plug, "Status 0")
        .expect_err("no address");
    assert!(error.to_string().contains("this machine"), "{error}");
    assert!(server.asked().is_empty());
}

#[test]
fn a_tasmota_that_knows_itself_by_its_name_only_is_asked_by_that() {
    let house = house(Family::Tasmota);
    let server = Pretend::new(|asked| match asked.header("referer") {
        Some("http://plug-1-7718/") => page("200 OK", status("A0:B1:C2:3D:5E:26")),
        _ => Vec::new(),
    });
    house.at(house.plug, &server);
    let error = house.backups.look(house.plug).expect_err("hung up");
    assert!(error.to_string().contains("SetOption128"), "{error}");
    let mut said = Sighting::new(
        2,
        Source::Message,
        Proof::Login("plug-1".parse().expect("a name")),
    )
    .with(Identity::Mac(MAC));
    said.facts.hostname = Some("plug-1-7718".into());
    house.fleet.sight(said);
    let seen = house.backups.look(house.plug).expect("an answer");
    assert_eq!(seen.facts.version(), Some("15.0.1"));
    assert_eq!(seen.facts.chip, Some(Chip::Esp32C3));
}

#[test]
fn redirects_are_not_followed_and_other_pages_are_told() {
    let house = house(Family::Tasmota);
    let elsewhere = Pretend::new(|_| page("200 OK", "{}"));
    let to = elsewhere.address;
    let server = Pretend::new(move |_| {
        format!("HTTP/1.1 302 Found\r\nLocation: http://{to}/\r\nContent-Length: 0\r\n\r\n").into()
    });
    house.at(house.plug, &server);
    let why = refused(house.backups.command(house.plug, "Status 0"));
    assert!(why.contains("does not follow"), "{why}");
    assert!(elsewhere.asked().is_empty());
    let server = Pretend::new(|_| page("200 OK", "<html>router</html>"));
    house.at(house.plug, &server);
    let why = refused(house.backups.command(house.plug, "Status 0"));
    assert!(why.contains("not JSON: router"), "{why}");
}

#[test]
fn firmware_is_pushed_to_an_espeasy_and_its_words_are_understood() {
    const JSON: &str = "{\"System\":{\"Unit Name\":\"node\",\"Build\":20241019},\
                        \"WiFi\":{\"STA MAC\":\"a0:b1:c2:3d:5e:26\"}}";
    let house = house(Family::EspEasy);
    let server = Pretend::new(|asked| match asked.path() {
        "/json" => page("200 OK", JSON),
        "/update" if asked.body.windows(4).any(|four| four == b"good") => page(
            "200 OK",
            "<META http-equiv=\"refresh\">Update Success! Rebooting...",
        ),
        "/update" => page("200 OK", "Update error: Wrong Magic Byte"),
        _ => page("404 Not Found", ""),
    });
    house.at(house.plug, &server);
    let push = |text: &str| {
        let path = house.folder.join(text);
        std::fs::write(&path, text).expect("a file");
        let file = std::fs::File::open(&path).expect("a file");
        let mut sent = 0;
        let length = text.len() as u64;
        let done = house
            .backups
            .upload(house.plug, &file, length, "a\"b.bin", &mut |n| sent = n);
        assert_eq!(sent, length);
        done
    };
    assert_eq!(push("good").as_deref(), Ok("Update Success! Rebooting..."));
    assert!(refused(push("bad!")).ends_with("Wrong Magic Byte"));
    let asked = server.asked();
    let form = String::from_utf8_lossy(&asked[asked.len() - 1].body).into_owned();
    assert!(
        form.contains("name=\"firmware\"; filename=\"ab.bin\""),
        "{form}"
    );
}

#[test]
fn settings_files_are_told_from_others_and_by_their_checksums() {
    let old = form::recognise(Family::Tasmota, &dmp(&[])).expect("settings");
    assert_eq!(
        old,
        Form::Tasmota {
            version: "15.0.1.0".to_owned(),
            layout: 4,
            has_drivers: false
        }
    );
    let new = form::recognise(Family::Tasmota, &dmp_with_driver(1)).expect("settings");
    assert!(
        matches!(
            new,
            Form::Tasmota {
                has_drivers: true,
                ..
            }
        ),
        "{new}"
    );
    let mut spoilt = dmp(&[]);
    spoilt[100] ^= 1;
    assert_eq!(form::recognise(Family::Tasmota, &spoilt), Ok(Form::Unknown));
    let mut config = 2_016_110_801_u32.to_le_bytes().to_vec();
    config.resize(4096, 0);
    let is_tar = |bytes: &[u8]| form::recognise(Family::EspEasy, bytes);
    assert_eq!(is_tar(&config), Ok(Form::EspEasy { is_tar: false }));
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    tar[0] = b'c';
    assert_eq!(is_tar(&tar), Ok(Form::EspEasy { is_tar: true }));
    assert_eq!(is_tar(b"\x01\x02\x03"), Ok(Form::Unknown));
    assert!(is_tar(b"  <HTML>").is_err());
}

#[test]
fn what_cannot_be_unscrambled_is_compared_as_it_is() {
    let same = form::compare(Family::EspEasy, b"abcdef", b"abcdef");
    assert!(same.identical && same.ranges.is_empty());
    let other = form::compare(Family::EspEasy, b"abcdef", b"aXYdefgh");
    assert_eq!((other.identical, other.differing_bytes), (false, 4));
    let places: Vec<_> = other.ranges.iter().map(|r| (r.from, r.to)).collect();
    assert_eq!(places, [(1, 3), (6, 8)]);
    let (one, two): (Vec<u8>, Vec<u8>) = ((0..200).collect(), vec![0; 200]);
    let mut striped = two.clone();
    (0..200).step_by(2).for_each(|at| striped[at] = 1);
    assert_eq!(
        form::compare(Family::EspEasy, &two, &striped).differing_bytes,
        100
    );
    assert_eq!(
        form::compare(Family::EspEasy, &two, &striped).ranges.len(),
        form::MOST_RANGES
    );
    assert_eq!(form::compare(Family::EspEasy, &one, &two).ranges.len(), 1);
    let drivers = form::compare(Family::Tasmota, &dmp_with_driver(1), &dmp_with_driver(2));
    assert_eq!(drivers.differing_bytes, 1);
    assert_eq!(drivers.ranges[0].means, Some("files of drivers"));
}
