//! The driver with a real registry and real files, and devices that are scripted.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use safeport_fleet::image::{Kind, inspect};
use safeport_fleet::{
    Chip, Enrolment, Facts, Identity, Layout, MacAddress, Proof, Roster, RosterLimits, Source,
};
use safeport_store::{DataFolder, ImageRow, MemberRow};

use super::*;
use crate::serve::http::download::{Content, End};
use crate::tasks::tasks;

const BASE: &str = "http://10.0.0.2:8002";
const OWN: &str = "http://ota.tasmota.com/tasmota32/release/tasmota32c3.bin";

/// A fleet of one.
struct OneDevice {
    roster: Mutex<Roster>,
    heard: Mutex<Vec<String>>,
}

impl Devices for OneDevice {
    fn member(&self, id: MemberId) -> Option<Member> {
        lock(&self.roster).get(id).cloned()
    }

    fn sight(&self, sighting: Sighting) {
        lock(&self.roster).sight(&sighting);
    }

    fn installed(&self, id: MemberId, slot: Slot, image: Installed) {
        lock(&self.roster).installed(id, slot, image, unix_now());
    }

    fn is_contested(&self, id: MemberId) -> bool {
        lock(&self.roster).is_contested(id)
    }

    fn note(&self, _: MemberId, text: &str) {
        lock(&self.heard).push(text.to_owned());
    }

    fn pin(&self, id: MemberId) {
        lock(&self.roster).pin(id);
    }

    fn unpin(&self, id: MemberId) {
        lock(&self.roster).unpin(id);
    }
}

/// What was published.
#[derive(Default)]
struct Wire(Mutex<Vec<(String, String)>>);

impl Publish for Wire {
    fn publish(&self, publication: Publication) {
        let payload = String::from_utf8(publication.payload).expect("text");
        lock(&self.0).push((publication.topic, payload));
    }
}

struct House {
    folder: PathBuf,
    member: MemberId,
    devices: Arc<OneDevice>,
    wire: Arc<Wire>,
    upgrades: Arc<Upgrades>,
}

impl Drop for House {
    fn drop(&mut self) {
        self.upgrades.finish(Duration::from_secs(5));
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn fresh() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("safeport-upgrades-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn house(family: Family) -> House {
    let folder = fresh();
    let data = DataFolder::open(&folder).expect("a data folder");
    let mac = MacAddress([0xa0, 0xb1, 0xc2, 0x3d, 0x5e, 0x26]);
    let mut roster = Roster::new(RosterLimits::default(), 1);
    let member = roster.enrol(
        &Enrolment {
            name: "plug-1".parse().expect("a name"),
            family,
            mac: Some(mac),
            client_id: "DVES_3D5E26".into(),
            topic: "plug-1".into(),
            tags: Vec::new(),
            created: 1,
        },
        1,
    );
    let name = "plug-1".parse().expect("a name");
    let mut seen =
        Sighting::new(unix_now(), Source::Message, Proof::Login(name)).with(Identity::Mac(mac));
    seen.facts = Facts {
        chip: Some(Chip::Esp32C3),
        flash_size: Some(4 << 20),
        layout: Some(if family == Family::Tasmota {
            Layout::Safeboot
        } else {
            Layout::Dual
        }),
        room: vec![(Slot::Main, 1 << 20)],
        tls: Some(false),
        online: Some(true),
        images: vec![(
            Slot::Main,
            Installed {
                version: Some("14.0.0".into()),
                ..Installed::default()
            },
        )],
        command_topic: Some("cmnd/plug-1/".into()),
        update_topic: Some("plug-1/update/firmware/command".into()),
        ..Facts::default()
    };
    roster.sight(&seen);
    let mut registry = data.registry().expect("a registry");
    let row = MemberRow {
        id: member.0,
        device: None,
        family: family.as_str().to_owned(),
        first_at: 1,
        last_at: 1,
        body: "{}".to_owned(),
        identities: Vec::new(),
    };
    registry.write_members(&[row]).expect("a member");
    let devices = Arc::new(OneDevice {
        roster: Mutex::new(roster),
        heard: Mutex::default(),
    });
    let wire = Arc::new(Wire::default());
    let upgrades = start(&folder, &devices, &wire);
    House {
        folder,
        member,
        devices,
        wire,
        upgrades,
    }
}

fn start(folder: &std::path::Path, devices: &Arc<OneDevice>, wire: &Arc<Wire>) -> Arc<Upgrades> {
    let data = DataFolder::open(folder).expect("a data folder");
    let (tasks, ends) = tasks();
    // Nobody watches them in a test.
    std::mem::forget(ends);
    let parts = Parts {
        registry: data.registry().expect("a registry"),
        blobs: data.blobs().expect("blobs"),
        devices: devices.clone(),
        publish: wire.clone(),
        web: Arc::new(NoWeb),
        base: Arc::new(|| Ok(BASE.to_owned())),
        settings: UpgradeSettings {
            backup_before: false,
            soak: Duration::from_secs(1),
            patience: Duration::from_secs(60),
            ..UpgradeSettings::default()
        },
    };
    Upgrades::start(parts, &tasks).expect("offers")
}

/// An ESP32-C3 image as esptool accepts it, with `version`.
fn image_bytes(version: &str) -> Vec<u8> {
    let mut bytes = b"\xe9\x01\x02\x20".to_vec();
    bytes.extend([0, 0, 0x38, 0x40, 0xee, 0, 0, 0, 5, 0, 0, 0, 0, 0xff, 0xff]);
    bytes.extend([0, 0, 0, 0, 1]);
    let mut descriptor = vec![0u8; 0x100];
    descriptor[..4].copy_from_slice(&0xABCD_5432_u32.to_le_bytes());
    descriptor[16..16 + version.len()].copy_from_slice(version.as_bytes());
    descriptor[48..52].copy_from_slice(b"test");
    bytes.extend(0x3C00_0020_u32.to_le_bytes());
    bytes.extend(0x100_u32.to_le_bytes());
    let checksum = descriptor.iter().fold(0xEF, |sum, byte| sum ^ byte);
    bytes.extend(&descriptor);
    while bytes.len() % 16 != 15 {
        bytes.push(0);
    }
    bytes.push(checksum);
    let hash = sha256(&bytes);
    bytes.extend(hash);
    bytes
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    // The blob store computes the same hash, so it serves as one.
    let folder = fresh();
    let data = DataFolder::open(&folder).expect("a data folder");
    let mut writer = data.blobs().expect("blobs").begin(1 << 20).expect("a blob");
    writer.write(bytes).expect("written");
    let blob = writer.finish(None).expect("kept");
    let _ = std::fs::remove_dir_all(&folder);
    *blob.hash.bytes()
}

impl House {
    fn add_image(&self, family: Family, version: &str) -> BlobHash {
        let bytes = image_bytes(version);
        let data = DataFolder::open(&self.folder).expect("a data folder");
        let blobs = data.blobs().expect("blobs");
        let mut writer = blobs.begin(1 << 20).expect("a blob");
        writer.write(&bytes).expect("written");
        let blob = writer.finish(None).expect("kept");
        let limits = safeport_fleet::image::Limits {
            max_size: 1 << 20,
            max_unpacked: 1 << 20,
        };
        let mut image = inspect("firmware.bin", &bytes, limits).expect("an image");
        image.family = Some(family);
        image.kind = Kind::App;
        image.version = Some(version.to_owned());
        let row = ImageRow {
            hash: blob.hash,
            bytes: blob.bytes,
            file_name: "firmware.bin".to_owned(),
            family: Some(family.as_str().to_owned()),
            body: serde_json::to_string(&image).expect("JSON"),
            created: 1,
            who: "test".to_owned(),
        };
        let by = By { who: "test", at: 1 };
        data.registry()
            .expect("a registry")
            .add_image(&row, by)
            .expect("added");
        blob.hash
    }

    fn offer(&self, image: BlobHash) -> Result<OfferView, OfferError> {
        let wanted = Wanted {
            members: vec![self.member],
            what: What::Image(image),
            reinstall: false,
            safeboot: None,
            soak: None,
            dry_run: false,
        };
        let (_, came) = self.upgrades.offer(&wanted, "test").remove(0);
        match came? {
            Offered::Made(view) => Ok(*view),
            Offered::Would { .. } => panic!("not asked"),
        }
    }

    fn saw(&self, facts: Facts, source: Source) {
        let name = "plug-1".parse().expect("a name");
        let mut sighting = Sighting::new(unix_now(), source, Proof::Login(name));
        sighting.facts = facts;
        sighting = sighting.with(Identity::topic("plug-1"));
        let sighted = lock(&self.devices.roster).sight(&sighting);
        assert_eq!(sighted.member, Some(self.member));
        self.upgrades.sighted(&sighting, &sighted);
    }

    fn status(&self, version: &str, count: u32, ota_url: &str) {
        let image = Installed {
            version: Some(version.into()),
            ..Installed::default()
        };
        self.saw(
            Facts {
                running: Some(Slot::Main),
                images: vec![(Slot::Main, image)],
                boot_count: Some(count),
                ota_url: Some(ota_url.into()),
                ..Facts::default()
            },
            Source::Message,
        );
    }

    /// Waits for a command and takes it.
    fn command(&self, topic: &str) -> String {
        for _ in 0..500 {
            let mut wire = lock(&self.wire.0);
            if let Some(place) = wire.iter().position(|(to, _)| to == topic) {
                return wire.remove(place).1;
            }
            drop(wire);
            thread::sleep(Duration::from_millis(10));
        }
        panic!("nothing to {topic}: {:?}", lock(&self.wire.0));
    }

    fn until(&self, offer: &str, state: &str) -> OfferView {
        let id = offer.parse().expect("a number");
        for _ in 0..800 {
            let view = self.upgrades.get(id).expect("read").expect("known");
            if view.state == state {
                return view;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{:?}", self.upgrades.get(id));
    }

    fn fetch(&self, url: &str, headers: &[(String, String)]) -> Result<Served, NotServed> {
        let path = url.strip_prefix(BASE).expect("our address");
        let (token, file) = path
            .strip_prefix("/ota/")
            .and_then(|rest| rest.split_once('/'))
            .expect("a folder");
        self.upgrades.find(&Asked {
            token,
            file,
            headers,
            peer: SocketAddr::from(([10, 0, 0, 9], 4711)),
            tls: false,
            is_head: false,
        })
    }

    fn take_all(&self, served: &Served) {
        self.upgrades.progress(
            served.ticket,
            Sent {
                start: 0,
                bytes: served.length,
                of: served.length,
                ended: Some(End::Complete),
            },
        );
    }
}

/// Asked, saved, told, ordered: up to the address.
fn ordered(house: &House) -> String {
    assert_eq!(house.command("cmnd/plug-1/Status"), "0");
    house.status("14.0.0", 7, OWN);
    let url = house.command("cmnd/plug-1/OtaUrl");
    let said = format!(r#"{{"OtaUrl":"{url}"}}"#);
    house
        .upgrades
        .heard(house.member, "stat/plug-1/RESULT", said.as_bytes());
    assert_eq!(house.command("cmnd/plug-1/Upgrade"), "1");
    url
}

#[test]
fn an_offer_goes_from_the_order_over_the_download_to_success_and_gives_the_url_back() {
    let house = house(Family::Tasmota);
    let image = house.add_image(Family::Tasmota, "15.0.0");
    let view = house.offer(image).expect("offered");
    assert!(view.id.starts_with("off_"), "{view:?}");
    let url = ordered(&house);
    assert!(url.ends_with("/tasmota32c3.bin"), "{url}");
    let served = house.fetch(&url, &[]).expect("a file");
    assert!(matches!(served.content, Content::File(_)));
    assert!(served.md5.is_some());
    house.take_all(&served);
    house.until(&view.id, "installing");
    house.status("15.0.0", 8, &url);
    assert_eq!(house.command("cmnd/plug-1/OtaUrl"), OWN);
    let said = format!(r#"{{"OtaUrl":"{OWN}"}}"#);
    house
        .upgrades
        .heard(house.member, "stat/plug-1/RESULT", said.as_bytes());
    let view = house.until(&view.id, "succeeded");
    assert_eq!(view.own_ota_url, "restored");
    assert!(view.evidence_stays.is_some());
    let member = house.devices.member(house.member).expect("known");
    let main = member.facts.image(Slot::Main).expect("an image");
    assert_eq!(main.version.as_deref(), Some("15.0.0"));
    // What is over is not served any more.
    for _ in 0..100 {
        if house.fetch(&url, &[]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("still served");
}

#[test]
fn a_device_has_one_open_offer_and_a_cancelled_one_makes_room() {
    let house = house(Family::Tasmota);
    let image = house.add_image(Family::Tasmota, "15.0.0");
    let view = house.offer(image).expect("offered");
    let refused = house.offer(image).expect_err("refused");
    assert_eq!(refused.code(), "offer-open");
    assert!(refused.to_string().contains(&view.id), "{refused}");
    let id = view.id.parse().expect("a number");
    house.upgrades.cancel(id, "test").expect("cancelled");
    house.until(&view.id, "cancelled");
    for _ in 0..100 {
        if house.upgrades.of_member(house.member).is_none() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(matches!(
        house.upgrades.cancel(id, "test"),
        Err(CancelError::Ended(..))
    ));
    house.offer(image).expect("offered again");
}

#[test]
fn a_device_is_counted_on_from_its_offer_to_the_end_of_it_over_a_restart_too() {
    let mut house = house(Family::Tasmota);
    let is_pinned = |house: &House| lock(&house.devices.roster).is_pinned(house.member);
    assert!(!is_pinned(&house));
    let image = house.add_image(Family::Tasmota, "15.0.0");
    let view = house.offer(image).expect("offered");
    house.offer(image).expect_err("one is open");
    assert!(is_pinned(&house));
    house.upgrades.finish(Duration::from_secs(5));
    // As a roster that was just loaded.
    lock(&house.devices.roster).unpin(house.member);
    assert!(!is_pinned(&house));
    house.upgrades = start(&house.folder, &house.devices, &house.wire);
    assert!(is_pinned(&house));
    let id = view.id.parse().expect("a number");
    house.upgrades.cancel(id, "test").expect("cancelled");
    let until = Instant::now() + Duration::from_secs(10);
    while is_pinned(&house) {
        assert!(Instant::now() < until, "still counted on");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_restart_of_ours_finds_the_offer_and_its_folder_where_they_were() {
    let mut house = house(Family::Tasmota);
    let image = house.add_image(Family::Tasmota, "15.0.0");
    let view = house.offer(image).expect("offered");
    let url = ordered(&house);
    house.until(&view.id, "offered");
    house.upgrades.finish(Duration::from_secs(5));
    house.upgrades = start(&house.folder, &house.devices, &house.wire);
    let view = house.until(&view.id, "offered");
    let served = house.fetch(&url, &[]).expect("still there");
    house.take_all(&served);
    house.until(&view.id, "installing");
}

#[test]
fn a_wrong_image_is_refused_with_words_and_nothing_is_sent() {
    let house = house(Family::Tasmota);
    let image = house.add_image(Family::Xiaozhi, "15.0.0");
    let refused = house.offer(image).expect_err("refused");
    assert_eq!(refused.code(), "family");
    assert!(lock(&house.wire.0).is_empty());
    assert!(
        house
            .upgrades
            .list(&OffersOf::default())
            .expect("a list")
            .is_empty()
    );
}

#[test]
fn a_xiaozhi_check_is_answered_with_the_image_until_the_device_runs_it() {
    let house = house(Family::Xiaozhi);
    let image = house.add_image(Family::Xiaozhi, "15.0.0");
    let view = house.offer(image).expect("offered");
    house.until(&view.id, "offered");
    let check = |version: &str| {
        let image = Installed {
            version: Some(version.into()),
            ..Installed::default()
        };
        house.saw(
            Facts {
                images: vec![(Slot::Main, image)],
                ..Facts::default()
            },
            Source::Check,
        );
        house.upgrades.lease(house.member)
    };
    let lease = check("14.0.0").expect("a lease");
    assert_eq!(lease.version, "15.0.0");
    let served = house.fetch(&lease.url, &[]).expect("a file");
    house.take_all(&served);
    house.until(&view.id, "installing");
    assert_eq!(check("15.0.0"), None);
    house.until(&view.id, "succeeded");
}

#[test]
fn an_esphome_device_finds_its_manifest_below_its_token_and_keeps_finding_it_afterwards() {
    let house = house(Family::EspHome);
    let data = DataFolder::open(&house.folder).expect("a data folder");
    add_device(&data);
    let image = house.add_image(Family::EspHome, "15.0.0");
    let view = house.offer(image).expect("offered");
    assert_eq!(house.command("plug-1/update/firmware/command"), "INSTALL");
    let token = house
        .upgrades
        .device_token("plug-1", "test")
        .expect("a token");
    let manifest = format!("{BASE}/ota/{token}/manifest.json");
    let served = house.fetch(&manifest, &[]).expect("a manifest");
    let Content::Bytes(bytes) = served.content else {
        panic!("a file");
    };
    let read: HashMap<String, serde_json::Value> = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(read["version"], "15.0.0");
    assert_eq!(read["builds"][0]["chipFamily"], "ESP32-C3");
    assert_eq!(read["builds"][0]["ota"]["path"], "firmware.ota.bin");
    let url = format!("{BASE}/ota/{token}/firmware.ota.bin");
    let served = house.fetch(&url, &[]).expect("a file");
    house.take_all(&served);
    house.until(&view.id, "installing");
    house.saw(Facts::default(), Source::Login);
    house.status("15.0.0", 8, "");
    house.until(&view.id, "succeeded");
    house.fetch(&manifest, &[]).expect("still a manifest");
}

fn add_device(data: &DataFolder) {
    let device = safeport_store::DeviceRecord {
        name: "plug-1".to_owned(),
        family: "esphome".to_owned(),
        topic: "plug-1".to_owned(),
        client_id: "plug-1".to_owned(),
        username: "plug-1".to_owned(),
        mac: None,
        password_hash: safeport_store::Secret::new("none"),
        extra: safeport_store::Rights::default(),
        tags: Vec::new(),
        created: 1,
    };
    let by = By { who: "test", at: 1 };
    data.registry()
        .expect("a registry")
        .add_device(&device, by)
        .expect("added");
}

#[test]
fn whoever_has_no_page_file_or_token_reads_why() {
    let house = house(Family::Tasmota);
    let unknown = format!("{BASE}/ota/aaaaaaaaaaaaaaaaaaaa/tasmota32c3.bin");
    let refused = house.fetch(&unknown, &[]).expect_err("refused");
    assert_eq!(refused.status, 404);
    assert!(refused.why.contains("offer"), "{refused:?}");
    assert!(File::open(&house.folder).is_ok());
}

#[test]
fn what_a_stranger_says_of_a_device_moves_no_offer() {
    let house = house(Family::Tasmota);
    let image = house.add_image(Family::Tasmota, "15.0.0");
    let view = house.offer(image).expect("offered");
    house.until(&view.id, "preparing");
    let mut lie =
        Sighting::new(unix_now(), Source::Message, Proof::Claim).with(Identity::topic("plug-1"));
    lie.facts = Facts {
        running: Some(Slot::Main),
        images: vec![(Slot::Main, Installed::reported("15.0.0", 1))],
        boot_count: Some(99),
        ota_url: Some("http://10.0.0.66/evil.bin".into()),
        ..Facts::default()
    };
    let sighted = lock(&house.devices.roster).sight(&lie);
    assert_eq!(
        sighted.member,
        Some(house.member),
        "it is known by its topic"
    );
    house.upgrades.sighted(&lie, &sighted);
    std::thread::sleep(Duration::from_millis(300));
    let id = view.id.parse().expect("a number");
    let view = house.upgrades.get(id).expect("read").expect("there");
    assert_eq!(view.state, "preparing", "{view:?}");
    assert_eq!(
        lock(&house.upgrades.machines).open[&id]
            .body
            .upgrade
            .own_ota_url(),
        None
    );
}

#[test]
fn a_login_that_two_boards_use_gets_no_firmware_until_a_person_has_decided() {
    let house = house(Family::Tasmota);
    let image = house.add_image(Family::Tasmota, "15.0.0");
    let name = "plug-1".parse().expect("a name");
    let other = MacAddress([0xa0, 0xb1, 0xc2, 0, 0, 0x40]);
    let board =
        Sighting::new(unix_now(), Source::Message, Proof::Login(name)).with(Identity::Mac(other));
    let conflict = lock(&house.devices.roster)
        .sight(&board)
        .conflict
        .expect("shown");
    assert_eq!(house.offer(image).expect_err("refused").code(), "contested");
    lock(&house.devices.roster)
        .settle(conflict, safeport_fleet::Settle::Keep, unix_now())
        .expect("settled");
    house.offer(image).expect("offered");
}

#[test]
fn a_cancelled_offer_is_written_down_before_anybody_is_told() {
    let house = house(Family::Tasmota);
    let image = house.add_image(Family::Tasmota, "15.0.0");
    let view = house.offer(image).expect("offered");
    let id: OfferId = view.id.parse().expect("a number");
    house.upgrades.cancel(id, "test").expect("cancelled");
    let data = DataFolder::open(&house.folder).expect("a data folder");
    let row = data
        .registry()
        .expect("a registry")
        .offer(id.0)
        .expect("read")
        .expect("there");
    assert!(!row.open, "{}", row.state);
}
