use super::*;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use safeport_net::PrivateCa;
use safeport_settings::{FileSource, Sources};
use safeport_store::{By, DataFolder};
use safeport_xiaozhi::Headers;
use serde_json::Value;

use crate::probe::{Proofs, Trust};

/// Offers 2.4.2 to everybody while it is switched on.
#[derive(Default)]
struct Always {
    forced: AtomicBool,
}

impl Offers for Always {
    fn firmware_for(&self, _: Option<MemberId>, _: &CheckRequest) -> FirmwareAnswer {
        FirmwareAnswer::Install {
            version: "2.4.2".parse().expect("a version"),
            url: FirmwareUrl::parse("http://hub:8002/ota/x/xiaozhi.bin").expect("an address"),
            force: self.forced.load(Ordering::Relaxed),
        }
    }
}

/// What was noted of checks.
#[derive(Default)]
struct Noted(Mutex<Vec<Attempt>>);

impl Witness for Noted {
    fn saw(&self, attempt: Attempt) {
        self.0.lock().expect("not poisoned").push(attempt);
    }
}

impl Noted {
    fn last(&self) -> Option<Attempt> {
        self.0.lock().expect("not poisoned").last().cloned()
    }
}

struct Home {
    _folder: tempfile::TempDir,
    data: DataFolder,
    access: Arc<Access>,
    offers: Arc<Always>,
    noted: Arc<Noted>,
    xiaozhi: Xiaozhi,
}

fn settings(text: &str) -> Settings {
    let sources = Sources {
        files: vec![FileSource {
            path: "safeport.toml",
            text,
            drop_in: false,
        }],
        ..Sources::default()
    };
    Settings::parse(&sources).expect("settings")
}

impl Home {
    /// A server with these settings that has been up for a while, and no address that is proved.
    fn new(text: &str) -> Home {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataFolder::open(folder.path()).expect("a data folder");
        let mut registry = data.registry().expect("a registry");
        let settings = settings(text);
        let (tasks, _ends) = crate::tasks::tasks();
        let proofs = Arc::new(Proofs::new([7; 32]));
        let snapshot = registry.load().expect("a snapshot");
        let access = Access::start(snapshot, false, 30, proofs.clone(), &tasks).expect("a gate");
        let ca = PrivateCa::open_or_create(&folder.path().join("pki"), SystemTime::now())
            .expect("an authority");
        let trust = Trust::new(ca.ca_pem()).expect("trust");
        let gate = Arc::new(GateDriver::new(&settings, proofs, trust, &registry, || {}));
        let offers = Arc::new(Always::default());
        let noted = Arc::new(Noted::default());
        let parts = Parts {
            registry,
            access: access.clone(),
            gate,
            instance_key: [7; 32],
            roll: Arc::new(NoRoll),
            offers: offers.clone(),
            witness: noted.clone(),
        };
        let long_ago = Instant::now()
            .checked_sub(Duration::from_secs(60))
            .expect("a machine that has been up for a minute");
        Home {
            xiaozhi: Xiaozhi::new(parts, &settings, &[], long_ago).expect("the service"),
            _folder: folder,
            data,
            access,
            offers,
            noted,
        }
    }

    async fn check(&self, check: &CheckRequest) -> Value {
        let json = self.xiaozhi.check(check, asker()).await;
        serde_json::from_str(&json.expect("an answer")).expect("JSON")
    }

    /// Enters the code, as a person does, and lets the registry's news arrive.
    fn take_in(&self, code: &str) {
        let mut registry = self.data.registry().expect("a registry");
        let by = By {
            who: "test",
            at: unix_now(),
        };
        activate(&mut registry, code, None, by).expect("taken in");
        self.access.replace(registry.load().expect("a snapshot"));
    }
}

fn asker() -> Asker {
    Asker {
        peer: SocketAddr::from(([192, 168, 1, 20], 50_000)),
        local: Some(SocketAddr::from(([192, 168, 1, 10], 8002))),
        listener: "http",
    }
}

fn check(version: &str, hash: &str) -> CheckRequest {
    let headers = Headers {
        device_id: Some("02:00:00:00:00:01"),
        client_id: Some("uuid-1"),
        ..Headers::default()
    };
    let body = format!(
        "{{\"application\":{{\"version\":\"{version}\",\"elf_sha256\":\"{hash}\"}},\
         \"board\":{{\"type\":\"b\",\"rssi\":-40}}}}"
    );
    CheckRequest::read(&headers, body.as_bytes()).expect("a check")
}

fn url(reply: &Value) -> &str {
    reply["firmware"]["url"].as_str().expect("an address")
}

#[tokio::test]
async fn rule_15_nothing_is_offered_in_the_first_check_of_a_new_build() {
    let home = Home::new("");
    let old = check("2.4.1", "aa");
    let waits = home.check(&old).await;
    assert_eq!(url(&waits), "", "nobody has taken it in");
    home.take_in(waits["activation"]["code"].as_str().expect("a code"));
    assert_eq!(home.xiaozhi.poll(&old, b"{}"), Ok(Polled::Done));
    assert_eq!(
        url(&home.check(&old).await),
        "",
        "the first check of this build"
    );
    assert!(url(&home.check(&old).await).ends_with("xiaozhi.bin"));
    // It came back with another build of the same version: a new build again.
    let other = check("2.4.1", "bb");
    assert_eq!(url(&home.check(&other).await), "");
    assert!(url(&home.check(&other).await).ends_with("xiaozhi.bin"));
    // What was offered is installed: nothing more, with force or without.
    let new = check("2.4.2", "cc");
    for _ in 0..3 {
        assert_eq!(url(&home.check(&new).await), "");
        home.offers.forced.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn rule_6_force_goes_out_only_to_a_device_that_is_to_go_back() {
    let home = Home::new("");
    home.offers.forced.store(true, Ordering::Relaxed);
    let newer = check("2.5", "aa");
    let waits = home.check(&newer).await;
    home.take_in(waits["activation"]["code"].as_str().expect("a code"));
    home.check(&newer).await;
    assert_eq!(home.check(&newer).await["firmware"]["force"], 1);
    home.offers.forced.store(false, Ordering::Relaxed);
    assert_eq!(url(&home.check(&newer).await), "");
}

#[tokio::test]
async fn a_device_is_told_no_way_rather_than_one_that_is_not_proved() {
    let home = Home::new("xiaozhi.websocket_url = 'ws://192.168.1.30:8000/xiaozhi/v1/'");
    let device = check("2.4.2", "aa");
    let waits = home.check(&device).await;
    home.take_in(waits["activation"]["code"].as_str().expect("a code"));
    let reply = home.check(&device).await;
    assert!(reply.get("websocket").is_none() && reply.get("mqtt").is_none());
    let standing = home.xiaozhi.standing();
    assert_eq!(standing.told, None);
    assert!(standing.no_mqtt.is_some());
}

#[tokio::test]
async fn a_code_is_in_the_registry_before_the_device_shows_it() {
    let home = Home::new("");
    let waits = home.check(&check("2.4.2", "aa")).await;
    let code = waits["activation"]["code"].as_str().expect("a code");
    let registry = home.data.registry().expect("a registry");
    let row = registry.activation(code, unix_now()).expect("read");
    let row = row.expect("there");
    assert_eq!(row.mac, "02:00:00:00:00:01");
    assert_eq!(row.uuid.as_deref(), Some("uuid-1"));
    assert_eq!(home.xiaozhi.waiting(), 1);
}

#[tokio::test]
async fn a_call_without_a_code_has_nothing_to_wait_for() {
    let home = Home::new("");
    let device = check("2.4.2", "aa");
    let poll = |body: &[u8]| home.xiaozhi.poll(&device, body);
    assert_eq!(poll(b"{}"), Err(Refused::NothingWaits));
    home.check(&device).await;
    assert_eq!(poll(b"{}"), Ok(Polled::Waits));
    assert_eq!(poll(b"nonsense"), Err(Refused::Unreadable));
    let off = Home::new("xiaozhi.enabled = false");
    assert_eq!(off.xiaozhi.mode(), Mode::Off);
    let answer = off.xiaozhi.check(&device, asker()).await;
    assert_eq!(answer, Err(Refused::Disabled));
}

#[tokio::test]
async fn what_comes_of_checks_is_noted_for_the_doctor() {
    let home = Home::new("xiaozhi.websocket_url = 'ws://192.168.1.30:8000/xiaozhi/v1/'");
    let device = check("2.4.2", "aa");
    let noted = || {
        let last = home.noted.last().expect("noted");
        let Ending::Noted { cause, why } = last.ending else {
            panic!("an ending of a connection");
        };
        (cause, why, last.client_id, last.user)
    };
    let waits = home.check(&device).await;
    let (cause, _, client_id, user) = noted();
    assert_eq!((cause, user), (Cause::NotActivated, None));
    let id = ClientId::new(&device.board, device.mac, &device.client_id);
    assert_eq!(client_id, Some(id.to_string()));
    home.take_in(waits["activation"]["code"].as_str().expect("a code"));
    // The voice server is not proved.
    home.check(&device).await;
    let (cause, why, _, user) = noted();
    assert_eq!(cause, Cause::NoVoiceServer);
    assert!(user.is_some() && why.starts_with("it was told no voice server"));
    home.xiaozhi.unreadable(asker(), &"no Device-Id");
    let (cause, why, client_id, _) = noted();
    assert_eq!((cause, client_id), (Cause::CheckRefused, None));
    assert!(why.ends_with("no Device-Id"), "{why}");
}
