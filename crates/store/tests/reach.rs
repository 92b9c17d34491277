//! What the server notes of itself: what it uses, its ports, its addresses, who
//! was told which; and the tags of devices.

use safeport_store::{
    AddressRow, By, DataFolder, DeviceRecord, Draft, Kind, Live, LiveValue, PortEvent,
    PortEventKind, Registry, RevisionKind, Rights, Secret, StoreError, Told, VerifiedAddress,
};
use std::net::SocketAddr;
use tempfile::TempDir;

const BY: By<'static> = By {
    who: "serve",
    at: 1_000,
};

fn open(scratch: &TempDir) -> Registry {
    DataFolder::open(scratch.path().join("data"))
        .unwrap()
        .registry()
        .unwrap()
}

fn device(name: &str) -> DeviceRecord {
    DeviceRecord {
        name: name.to_string(),
        family: "tasmota".to_string(),
        topic: name.to_string(),
        client_id: name.to_string(),
        // Not its name: what belongs to a device must not hang on its login.
        username: format!("{name}-login"),
        mac: None,
        password_hash: Secret::new("hash"),
        extra: Rights::default(),
        tags: vec![],
        created: 1,
    }
}

fn told(device: &str, listener: &str, port: u16, at: u64) -> Told {
    Told {
        device: device.to_string(),
        listener: listener.to_string(),
        host: "192.168.1.20".to_string(),
        port,
        url: format!("mqtt://192.168.1.20:{port}"),
        at,
    }
}

fn names(told: &[Told]) -> Vec<&str> {
    told.iter().map(|told| told.device.as_str()).collect()
}

#[test]
fn what_a_server_uses_is_seen_by_others_and_replaced_as_a_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let mut server = open(&scratch);
    let command = open(&scratch);
    assert_eq!(command.live().unwrap(), None);
    let value = |key: &str| LiveValue {
        key: key.to_string(),
        value: "1".to_string(),
        source: "safeport.toml:4:12".to_string(),
    };
    let mut live = Live {
        values: vec![value("a.a"), value("b.b")],
        file: Some("/etc/safeport.toml".to_string()),
        degraded: Some("safeport.toml:3: no key is called …".to_string()),
        pid: 41,
        at: 1_000,
    };
    server.set_live(&live).unwrap();
    assert_eq!(command.live().unwrap(), Some(live.clone()));
    live.values.remove(0);
    live.degraded = None;
    server.set_live(&live).unwrap();
    drop(server);
    assert_eq!(open(&scratch).live().unwrap(), Some(live.clone()));
    live.values = (0..10_001)
        .map(|number| value(&format!("k{number}")))
        .collect();
    let error = open(&scratch).set_live(&live).unwrap_err();
    assert!(
        matches!(error, StoreError::TooMany { limit: 10_000, .. }),
        "{error}"
    );
}

#[test]
fn the_key_of_a_folder_is_made_once_whoever_asks_first_and_differs_from_all_others() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(scratch.path()).unwrap();
    drop(folder.registry().unwrap());
    let keys: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| folder.registry().unwrap().instance_key().unwrap()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
    let again = folder.registry().unwrap().instance_key().unwrap();
    assert_eq!(again, keys[0]);
    let other = open(&tempfile::tempdir().unwrap()).instance_key().unwrap();
    assert_ne!(other.expose(), again.expose());
    assert_ne!(again.expose(), &[0; 32]);
    assert_eq!(format!("{again:?}"), "InstanceKey(…)");
}

#[test]
fn a_chosen_port_holds_over_restarts_until_it_is_released() {
    let scratch = tempfile::tempdir().unwrap();
    let v6: SocketAddr = "[::]:1883".parse().unwrap();
    let v4: SocketAddr = "0.0.0.0:1883".parse().unwrap();
    {
        let mut registry = open(&scratch);
        registry.choose_port("mqtt", v6, 18_883, BY).unwrap();
        registry.choose_port("mqtt", v6, 18_884, BY).unwrap();
        registry.choose_port("mqtts", v6, 18_885, BY).unwrap();
    }
    let mut registry = open(&scratch);
    assert_eq!(registry.chosen_port("mqtt", v6).unwrap(), Some(18_884));
    // Another wish is another choice.
    assert_eq!(registry.chosen_port("mqtt", v4).unwrap(), None);
    let all = registry.chosen_ports().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].wanted, all[0].chosen), (v6, 18_884));
    assert_eq!((all[0].who.as_str(), all[0].at), ("serve", 1_000));

    assert!(registry.release_port("mqtt", BY).unwrap());
    assert!(!registry.release_port("mqtt", BY).unwrap());
    assert_eq!(registry.chosen_port("mqtt", v6).unwrap(), None);
    assert_eq!(registry.chosen_port("mqtts", v6).unwrap(), Some(18_885));
    let audit: Vec<String> = registry
        .audit(9)
        .unwrap()
        .into_iter()
        .map(|row| row.what)
        .collect();
    assert_eq!(audit.len(), 4, "a release of nothing is no news: {audit:?}");
    assert_eq!(audit[0], "listener mqtt gives up its chosen port");
    assert_eq!(
        audit[2],
        "listener mqtt uses port 18884 instead of [::]:1883"
    );
    // Nobody listens on port 0.
    assert!(registry.choose_port("mqtt", v6, 0, BY).is_err());
}

#[test]
fn what_happened_to_ports_is_told_newest_first() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let event = |kind, holder: Option<&str>| PortEvent {
        kind,
        listener: "mqtt".to_string(),
        address: "[::]:1883".to_string(),
        holder: holder.map(str::to_string),
        detail: None,
    };
    let refused = event(PortEventKind::Refused, Some("mosquitto (pid 7)"));
    registry.port_event(&refused, BY).unwrap();
    let others = [
        PortEventKind::Moved,
        PortEventKind::Bound,
        PortEventKind::Returned,
        PortEventKind::Released,
    ]
    .map(|kind| event(kind, None));
    registry.port_events_happened(&others, BY).unwrap();
    drop(registry);
    let told = open(&scratch).port_events(100).unwrap();
    let events: Vec<&PortEvent> = told.iter().rev().map(|row| &row.event).collect();
    assert_eq!(events[0], &refused);
    assert_eq!(events[1..], others.iter().collect::<Vec<_>>());
    assert_eq!((told[0].who.as_str(), told[0].at), ("serve", 1_000));
    assert_eq!(open(&scratch).port_events(2).unwrap().len(), 2);
}

#[test]
fn a_device_holds_the_newest_address_of_each_listener() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    for name in ["plug-2", "plug-1"] {
        registry.add_device(&device(name), BY).unwrap();
        registry.tell(&told(name, "mqtt", 1883, 10)).unwrap();
    }
    registry.tell(&told("plug-1", "http", 8002, 10)).unwrap();
    let held = registry.holders("mqtt", 1883).unwrap();
    assert_eq!(names(&held), ["plug-1", "plug-2"]);
    assert_eq!(held[0], told("plug-1", "mqtt", 1883, 10));
    registry.tell(&told("plug-1", "mqtt", 18_883, 11)).unwrap();
    assert_eq!(names(&registry.holders("mqtt", 1883).unwrap()), ["plug-2"]);
    assert_eq!(
        names(&registry.holders("mqtt", 18_883).unwrap()),
        ["plug-1"]
    );
    assert_eq!(registry.holders("http", 1883).unwrap(), []);
    assert_eq!(registry.told().unwrap().len(), 3);
    assert_eq!(
        registry.told().unwrap()[0],
        told("plug-1", "http", 8002, 10)
    );
}

#[test]
fn a_device_that_is_forgotten_holds_nothing_and_an_unknown_one_is_told_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    registry.add_device(&device("plug-1"), BY).unwrap();
    registry.tell(&told("plug-1", "mqtt", 1883, 10)).unwrap();
    registry.forget_device("plug-1", BY).unwrap();
    assert_eq!(registry.holders("mqtt", 1883).unwrap(), []);
    let error = registry
        .tell(&told("plug-1", "mqtt", 1883, 10))
        .unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NotFound {
                kind: Kind::Device,
                ..
            }
        ),
        "{error}"
    );
    registry.add_device(&device("plug-1"), BY).unwrap();
    assert_eq!(registry.told().unwrap(), []);
}

#[test]
fn a_device_that_asks_often_is_written_down_once_an_hour() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    registry.add_device(&device("plug-1"), BY).unwrap();
    registry.tell(&told("plug-1", "mqtt", 1883, 10)).unwrap();
    registry.tell(&told("plug-1", "mqtt", 1883, 3_609)).unwrap();
    assert_eq!(registry.told().unwrap()[0].at, 10);
    registry.tell(&told("plug-1", "mqtt", 1883, 3_610)).unwrap();
    assert_eq!(registry.told().unwrap()[0].at, 3_610);
    // Another address is news at once.
    let mut moved = told("plug-1", "mqtt", 1883, 3_611);
    moved.host = "hub".to_string();
    registry.tell(&moved).unwrap();
    assert_eq!(registry.told().unwrap(), [moved]);
}

#[test]
fn states_of_addresses_are_replaced_in_the_order_given() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let row = |url: &str, until: Option<u64>| AddressRow {
        listener: "http".to_string(),
        url: url.to_string(),
        via: "proxy front".to_string(),
        state: "verified".to_string(),
        since: 5,
        until,
        detail_en: "answered".to_string(),
        detail_zh: "已应答".to_string(),
        vantage: until.map(|_| "phone".to_string()),
    };
    let both = [row("http://z:8002", Some(9)), row("http://a:8002", None)];
    registry.set_addresses(&both).unwrap();
    assert_eq!(open(&scratch).addresses().unwrap(), both);
    registry.set_addresses(&both[1..]).unwrap();
    assert_eq!(open(&scratch).addresses().unwrap(), both[1..]);
    registry.set_addresses(&[]).unwrap();
    assert_eq!(registry.addresses().unwrap(), []);
    let many: Vec<AddressRow> = (0..1_001).map(|_| row("http://a:1", None)).collect();
    assert!(matches!(
        registry.set_addresses(&many),
        Err(StoreError::TooMany { limit: 1_000, .. })
    ));
}

#[test]
fn the_last_proved_address_outlives_states_and_restarts_until_it_is_somebody_elses() {
    let scratch = tempfile::tempdir().unwrap();
    let proved = |scheme: &str, url: &str, at| VerifiedAddress {
        listener: "http".to_string(),
        scheme: scheme.to_string(),
        url: url.to_string(),
        at,
    };
    {
        let mut registry = open(&scratch);
        registry
            .remember_verified(&proved("ws", "ws://old:8002", 1))
            .unwrap();
        registry
            .remember_verified(&proved("ws", "ws://hub:8002", 2))
            .unwrap();
        registry
            .remember_verified(&proved("http", "http://hub:8002", 2))
            .unwrap();
        registry.set_addresses(&[]).unwrap();
    }
    let mut registry = open(&scratch);
    assert_eq!(
        registry.last_verified("http", "ws").unwrap(),
        Some(proved("ws", "ws://hub:8002", 2))
    );
    assert_eq!(registry.last_verified("mqtt", "ws").unwrap(), None);
    assert_eq!(registry.all_last_verified().unwrap().len(), 2);
    assert!(!registry.forget_verified("ws://old:8002").unwrap());
    assert!(registry.forget_verified("ws://hub:8002").unwrap());
    assert_eq!(registry.last_verified("http", "ws").unwrap(), None);
    assert_eq!(registry.all_last_verified().unwrap().len(), 1);
}

#[test]
fn tags_of_a_device_are_a_set_that_goes_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    let mut lamp = device("lamp");
    lamp.tags = vec!["living-room".to_string()];
    registry.add_device(&lamp, BY).unwrap();
    assert_eq!(registry.device("lamp").unwrap(), Some(lamp));
    registry
        .set_device_tags("lamp", &["upstairs", "kitchen", "upstairs"], BY)
        .unwrap();
    assert_eq!(
        registry.device_tags("lamp").unwrap(),
        ["kitchen", "upstairs"]
    );
    let snapshot = registry.load().unwrap();
    assert_eq!(snapshot.devices[0].tags, ["kitchen", "upstairs"]);
    let audit = &registry.audit(1).unwrap()[0].what;
    assert_eq!(audit, "device lamp tags set to upstairs, kitchen, upstairs");
    registry.set_device_tags::<&str>("lamp", &[], BY).unwrap();
    assert!(registry.device_tags("lamp").unwrap().is_empty());
    registry.set_device_tags("lamp", &["a"], BY).unwrap();
    registry.forget_device("lamp", BY).unwrap();
    assert!(registry.device_tags("lamp").unwrap().is_empty());
    registry.add_device(&device("lamp"), BY).unwrap();
    assert!(registry.device("lamp").unwrap().unwrap().tags.is_empty());
    assert!(matches!(
        registry.set_device_tags("nobody", &["a"], BY),
        Err(StoreError::NotFound {
            kind: Kind::Device,
            ..
        })
    ));
}

#[test]
fn tags_of_other_characters_or_lengths_and_too_many_are_refused_and_change_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = open(&scratch);
    registry.add_device(&device("lamp"), BY).unwrap();
    registry.set_device_tags("lamp", &["kept"], BY).unwrap();
    let long = "a".repeat(33);
    for bad in ["", "Kitchen", "a b", "küche", "a_b", "a,b", &long] {
        let error = registry
            .set_device_tags("lamp", &["fine", bad], BY)
            .unwrap_err();
        assert!(
            matches!(&error, StoreError::BadTag { tag } if tag == bad),
            "{error}"
        );
        assert!(error.to_string().contains("a-z"), "{error}");
    }
    let many: Vec<String> = (0..17).map(|number| format!("t{number}")).collect();
    let error = registry.set_device_tags("lamp", &many, BY).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::TooMany {
                found: 17,
                limit: 16,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(registry.device_tags("lamp").unwrap(), ["kept"]);
    registry.set_device_tags("lamp", &many[1..], BY).unwrap();
    let mut other = device("other");
    other.tags = vec!["Not a tag".to_string()];
    assert!(registry.add_device(&other, BY).is_err());
    assert_eq!(registry.device("other").unwrap(), None);
}

#[test]
fn each_poll_wakes_only_for_its_own_area() {
    let scratch = tempfile::tempdir().unwrap();
    let mut server = open(&scratch);
    let mut other = open(&scratch);
    other.add_device(&device("plug-1"), BY).unwrap();
    let seen = |server: &Registry| {
        (
            server.version().unwrap(),
            server.settings_version().unwrap(),
        )
    };

    let before = seen(&server);
    other.tell(&told("plug-1", "mqtt", 1883, 10)).unwrap();
    other.note(BY, "noted").unwrap();
    other
        .choose_port("mqtt", "[::]:1883".parse().unwrap(), 2, BY)
        .unwrap();
    other.instance_key().unwrap();
    assert_eq!(seen(&server), before, "nobody waits for these");

    other.set_device_tags("plug-1", &["a"], BY).unwrap();
    let after = seen(&server);
    assert_ne!(after.0, before.0);
    assert_eq!(after.1, before.1);
    assert_eq!(server.load().unwrap().version, after.0);

    let draft = Draft {
        reason: String::new(),
        kind: RevisionKind::Set,
        base: None,
        changes: vec![],
        files: vec![],
    };
    other.stage(&draft, BY).unwrap();
    let staged = seen(&server);
    assert_eq!(staged.0, after.0);
    assert_ne!(staged.1, after.1);
    // What was refused has not happened.
    assert!(other.stage(&draft, BY).is_err());
    assert!(other.set_device_tags("nobody", &["a"], BY).is_err());
    assert_eq!(seen(&server), staged);
}
