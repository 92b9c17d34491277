use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use safeport_net::PrivateCa;
use safeport_net::pki::{Certificates, Choice};
use safeport_settings::{FileSource, Listener, Settings, Sources};
use safeport_store::{By, DataFolder, DeviceRecord, Registry, Rights, Secret};
use tempfile::TempDir;

use super::presented::Looked;
use super::{Prepared, Presented, Rotation, Strand, on_disk, pinned, rotate, stranded, strangers};

/// A folder that goes with its test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn data(&self) -> DataFolder {
        DataFolder::open(self.path("data")).expect("a data folder")
    }

    /// An authority with certificates for `hub.lan`.
    fn authority(&self, name: &str) -> PrivateCa {
        let now = SystemTime::now();
        let mut ca = PrivateCa::open_or_create(&self.path(name), now).expect("an authority");
        ca.ensure_leaf(&["hub.lan".to_owned()], now)
            .expect("certificates");
        ca
    }

    /// Puts the RSA certificate of an authority, with its root behind, where the settings look.
    fn provide(&self, authority: &str) {
        let from = self.path(authority);
        let read = |name: &str| fs::read_to_string(from.join(name)).expect("a file");
        let chain = read("server-rsa.pem") + &read("ca.pem");
        fs::write(self.path("chain.pem"), chain).expect("a chain");
        fs::write(self.path("key.pem"), read("server-rsa.key")).expect("a key");
    }

    fn settings(&self) -> Settings {
        let text = format!(
            "[tls]\nchain_files = [{:?}]\nkey_files = [{:?}]\n",
            self.path("chain.pem"),
            self.path("key.pem")
        );
        settings(&text)
    }

    fn present(&self, ca: &PrivateCa, registry: &Registry) -> Presented {
        let own = Certificates::new();
        own.set_private(ca.chains());
        let prepared = Prepared::new(&self.settings(), ca.ca_der(), SystemTime::now());
        let pins = pinned(registry).expect("pins");
        Presented::start(own, prepared.expect("files"), &pins).expect("listeners")
    }
}

fn settings(text: &str) -> Settings {
    let file = FileSource {
        path: "test.toml",
        text,
        drop_in: false,
    };
    let sources = Sources {
        files: vec![file],
        ..Sources::default()
    };
    Settings::parse(&sources).expect("settings without mistakes")
}

/// A registry in which the device `plug-1` knows the key with this fingerprint.
fn registry_with_pin(folder: &DataFolder, fingerprint: &str) -> Registry {
    let mut registry = folder.registry().expect("a registry");
    let by = By { who: "test", at: 1 };
    let device = DeviceRecord {
        name: "plug-1".to_owned(),
        family: "tasmota".to_owned(),
        topic: "plug-1".to_owned(),
        client_id: "plug-1".to_owned(),
        username: "plug-1".to_owned(),
        mac: None,
        password_hash: Secret::new("x".to_owned()),
        extra: Rights::default(),
        tags: Vec::new(),
        created: 1,
    };
    registry.add_device(&device, by).expect("a device");
    registry.pin("plug-1", fingerprint, 1).expect("a pin");
    registry
}

fn shown(presented: &Presented) -> String {
    let chain = presented
        .certificates()
        .for_tasmota(Choice::Auto, Some("hub.lan"));
    chain
        .and_then(|chain| chain.tasmota_fingerprints())
        .expect("an RSA key")
        .v2
        .hex()
}

#[test]
fn replaced_files_are_presented_and_broken_ones_leave_the_old_in_force() {
    let folder = Folder::new();
    let [own, old, new] = ["own", "old", "new"].map(|name| folder.authority(name));
    folder.provide("old");
    let registry = folder.data().registry().expect("a registry");
    let presented = folder.present(&own, &registry);
    assert_eq!(shown(&presented), old.fingerprints().v2.hex());
    let look = || presented.look(own.ca_der(), SystemTime::now(), &[]);
    assert!(look().is_none(), "nothing has changed");

    let chain = folder.path("chain.pem");
    let whole = fs::read_to_string(&chain).expect("a chain");
    fs::write(&chain, "half a fi").expect("a file");
    assert!(matches!(look(), Some(Looked::Refused(why)) if why.len() == 1));
    assert_eq!(shown(&presented), old.fingerprints().v2.hex());
    assert_eq!(presented.refused().len(), 1);

    fs::write(&chain, whole).expect("a file");
    folder.provide("new");
    assert!(matches!(look(), Some(Looked::Exchanged)));
    assert_eq!(shown(&presented), new.fingerprints().v2.hex());
    assert!(presented.refused().is_empty());
}

#[test]
fn files_that_would_strand_a_device_wait_until_a_person_lets_them_in() {
    let folder = Folder::new();
    let [own, old, new] = ["own", "old", "new"].map(|name| folder.authority(name));
    folder.provide("old");
    let data = folder.data();
    let mut registry = registry_with_pin(&data, &old.fingerprints().v2.hex());
    let presented = folder.present(&own, &registry);
    folder.provide("new");
    let pins = pinned(&registry).expect("pins");
    let looked = presented.look(own.ca_der(), SystemTime::now(), &pins);
    assert!(matches!(looked, Some(Looked::HeldBack(devices)) if devices == ["plug-1"]));
    assert_eq!(shown(&presented), old.fingerprints().v2.hex());

    let by = By { who: "test", at: 2 };
    registry.strand(&["plug-1".to_owned()], by).expect("a word");
    assert!(pinned(&registry).expect("pins").is_empty());
    assert!(presented.release());
    assert_eq!(shown(&presented), new.fingerprints().v2.hex());
    assert!(!presented.release());
}

#[test]
fn at_a_start_files_give_way_to_the_key_that_a_device_knows() {
    let folder = Folder::new();
    let own = folder.authority("own");
    folder.authority("old");
    folder.provide("old");
    let registry = registry_with_pin(&folder.data(), &own.fingerprints().v2.hex());
    let presented = folder.present(&own, &registry);
    assert_eq!(shown(&presented), own.fingerprints().v2.hex());
    assert_eq!(
        presented.held_back().map(|held| held.devices),
        Some(vec!["plug-1".to_owned()])
    );
}

#[test]
fn a_change_of_other_settings_leaves_files_and_those_that_wait_alone() {
    let folder = Folder::new();
    let [own, old, new] = ["own", "old", "new"].map(|name| folder.authority(name));
    folder.provide("old");
    let data = folder.data();
    let registry = registry_with_pin(&data, &old.fingerprints().v2.hex());
    let presented = folder.present(&own, &registry);
    let pins = pinned(&registry).expect("pins");
    let look = || presented.look(own.ca_der(), SystemTime::now(), &pins);
    let prepare = || {
        let prepared = Prepared::new(&folder.settings(), own.ca_der(), SystemTime::now());
        prepared.expect("files")
    };

    fs::write(folder.path("chain.pem"), "half a fi").expect("a file");
    assert!(matches!(look(), Some(Looked::Refused(_))));
    let prepared = prepare();
    assert!(presented.news(&prepared).is_empty());
    assert!(presented.would_strand(&prepared, &pins).is_empty());
    presented.apply(prepared).expect("listeners");
    assert_eq!(shown(&presented), old.fingerprints().v2.hex());
    assert_eq!(presented.refused().len(), 1);

    folder.provide("new");
    assert!(matches!(look(), Some(Looked::HeldBack(_))));
    let prepared = prepare();
    assert!(presented.would_strand(&prepared, &pins).is_empty());
    presented.apply(prepared).expect("listeners");
    assert_eq!(shown(&presented), old.fingerprints().v2.hex());
    assert!(presented.release());
    assert_eq!(shown(&presented), new.fingerprints().v2.hex());
}

#[test]
fn files_wait_no_longer_than_a_device_stands_in_their_way() {
    let folder = Folder::new();
    let [own, old, new] = ["own", "old", "new"].map(|name| folder.authority(name));
    folder.provide("old");
    let registry = registry_with_pin(&folder.data(), &old.fingerprints().v2.hex());
    let presented = folder.present(&own, &registry);
    folder.provide("new");
    let pins = pinned(&registry).expect("pins");
    let look = |pins: &[_]| presented.look(own.ca_der(), SystemTime::now(), pins);
    assert!(matches!(look(&pins), Some(Looked::HeldBack(_))));
    assert!(look(&pins).is_none());
    assert_eq!(shown(&presented), old.fingerprints().v2.hex());
    // The device was forgotten.
    assert!(matches!(look(&[]), Some(Looked::Exchanged)));
    assert_eq!(shown(&presented), new.fingerprints().v2.hex());
    assert!(presented.held_back().is_none());
}

#[test]
fn files_that_were_refused_for_their_dates_are_judged_again_once_the_clock_is_set() {
    let folder = Folder::new();
    let [own, given] = ["own", "given"].map(|name| folder.authority(name));
    let from = folder.path("given");
    let read = |name: &str| fs::read_to_string(from.join(name)).expect("a file");
    // This one has a beginning: a year before it was made.
    let chain = read("server-p256.pem") + &read("ca.pem");
    fs::write(folder.path("chain.pem"), chain).expect("a chain");
    fs::write(folder.path("key.pem"), read("server-p256.key")).expect("a key");
    let own_chains = Certificates::new();
    own_chains.set_private(own.chains());
    let now = SystemTime::now();
    let far = now + Duration::from_secs(3 * 365 * 86_400);
    let prepared = Prepared::new(&folder.settings(), own.ca_der(), far).expect("files");
    let presented = Presented::start(own_chains, prepared, &[]).expect("listeners");
    assert_eq!(presented.refused().len(), 1);
    let look = |at| presented.look(own.ca_der(), at, &[]);
    assert!(
        look(far + Duration::from_secs(2)).is_none(),
        "nothing is new"
    );
    assert!(look(far + Duration::from_secs(4000)).is_none(), "nor then");
    assert!(matches!(look(now), Some(Looked::Exchanged)));
    assert!(presented.refused().is_empty());
    let files = presented.certificates().presented(Choice::Files);
    let leaf = given.chains()[0].der()[0].clone();
    assert!(files.iter().any(|chain| chain.der()[0] == leaf));
}

#[test]
fn devices_that_know_another_key_than_they_are_shown_are_found() {
    let folder = Folder::new();
    let own = folder.authority("own");
    let certificates = Certificates::new();
    certificates.set_private(own.chains());
    let pins = |fingerprint: &str, place: &str| {
        let data = DataFolder::open(folder.path(place)).expect("a data folder");
        pinned(&registry_with_pin(&data, fingerprint)).expect("pins")
    };
    let known = pins(&own.fingerprints().v2.hex(), "one");
    assert!(strangers(&known, &certificates, Choice::Auto).is_empty());
    let unknown = pins("00", "two");
    assert_eq!(strangers(&unknown, &certificates, Choice::Auto), ["plug-1"]);
}

#[test]
fn a_change_of_settings_names_the_devices_that_it_would_strand() {
    let folder = Folder::new();
    let own = folder.authority("own");
    folder.authority("old");
    folder.provide("old");
    let registry = registry_with_pin(&folder.data(), &own.fingerprints().v2.hex());
    let certificates = Certificates::new();
    certificates.set_private(own.chains());
    let before = Prepared::new(&settings(""), own.ca_der(), SystemTime::now()).expect("nothing");
    let pins = pinned(&registry).expect("pins");
    let presented = Presented::start(certificates, before, &pins).expect("listeners");
    let next = Prepared::new(&folder.settings(), own.ca_der(), SystemTime::now()).expect("files");
    assert_eq!(presented.would_strand(&next, &pins), ["plug-1"]);

    let mut kept = folder.settings();
    kept.mqtts.certificate = safeport_settings::CertificateChoice::Private;
    let next = Prepared::new(&kept, own.ca_der(), SystemTime::now()).expect("files");
    assert!(presented.would_strand(&next, &pins).is_empty());
    presented.apply(next).expect("listeners");
    assert_eq!(presented.service(Listener::Mqtts).choice(), Choice::Private);
}

#[test]
fn a_key_that_a_device_knows_is_rotated_only_once_its_loss_is_accepted() {
    let folder = Folder::new();
    let mut ca = folder.authority("own");
    let old = ca.fingerprints();
    let mut registry = registry_with_pin(&folder.data(), &old.v2.hex());
    let by = By { who: "test", at: 2 };
    let nobody = Strand {
        devices: &[],
        all: false,
    };
    let refused = rotate(&mut ca, &mut registry, &nobody, by).expect("an answer");
    assert_eq!(refused, Rotation::Stranded(vec!["plug-1".to_owned()]));
    assert_eq!(ca.fingerprints(), old);

    let before = Certificates::new();
    before.set_private(ca.chains());
    let named = ["plug-1".to_owned()];
    let strand = Strand {
        devices: &named,
        all: false,
    };
    let Rotation::Done(now) = rotate(&mut ca, &mut registry, &strand, by).expect("an answer")
    else {
        panic!("refused although the device was named");
    };
    assert_ne!(now, old);
    assert_eq!(ca.fingerprints(), now);
    assert!(pinned(&registry).expect("pins").is_empty());
    let after = Certificates::new();
    after.set_private(ca.chains());
    registry.pin("plug-1", &now.v2.hex(), 3).expect("a pin");
    let pins = pinned(&registry).expect("pins");
    assert!(stranded(&pins, (&before, Choice::Auto), (&after, Choice::Auto)).is_empty());
}

#[test]
fn commands_see_what_a_server_would_present() {
    let folder = Folder::new();
    let own = folder.authority("own");
    folder.authority("old");
    folder.provide("old");
    let (certificates, refused) = on_disk(&folder.data(), &folder.settings(), &own);
    assert!(refused.is_empty());
    assert_eq!(certificates.presented(Choice::Auto).len(), 3);
    fs::write(folder.path("key.pem"), "no key").expect("a file");
    let (certificates, refused) = on_disk(&folder.data(), &folder.settings(), &own);
    assert_eq!(certificates.presented(Choice::Auto).len(), 2);
    assert_eq!(refused.len(), 1);
    assert!(refused[0].why.en.contains("key.pem"), "{:?}", refused[0]);
}

#[test]
fn it_is_time_again_after_a_day_and_when_the_clock_was_set() {
    let day = Duration::from_secs(86_400);
    let now = SystemTime::UNIX_EPOCH + 20_000 * day;
    let due = |last| super::keeper::is_due(last, now, day);
    assert!(due(None));
    assert!(!due(Some(now - day / 2)));
    assert!(due(Some(now - day)));
    assert!(due(Some(now + day)), "the clock was set back");
}
