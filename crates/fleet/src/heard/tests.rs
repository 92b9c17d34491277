use core::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::tasmota::{RestartReply, TasmotaTopic, TasmotaVersion, UpgradeReply};
use crate::{Chip, Family, Layout, Slot};

const AT: u64 = 1_800_000_000;

fn hear(topic: &str, payload: &str) -> Heard {
    read(topic, payload.as_bytes(), AT).unwrap_or_else(|| panic!("{topic} tells nothing"))
}

fn mac(text: &str) -> Identity {
    Identity::Mac(text.parse().expect("a MAC address"))
}

fn web(text: &str) -> Option<SocketAddr> {
    Some(text.parse().expect("an address"))
}

const DISCOVERY: &str = r#"{"ip":"192.168.1.31","dn":"Kitchen","fn":["Kitchen",null],"hn":"tasmota-3D5E26-7718","mac":"A0B1C23D5E26","md":"Athom Plug","ty":0,"if":0,"cam":0,"ofln":"Offline","onln":"Online","state":["OFF","ON","TOGGLE","HOLD"],"sw":"15.0.1","t":"plug-1","ft":"%prefix%/%topic%/","tp":["cmnd","stat","tele"],"rl":[1,0],"so":{"4":0},"dslp":0,"ver":1}"#;

#[test]
fn discovery_tells_name_address_version_and_topics() {
    let heard = hear("tasmota/discovery/A0B1C23D5E26/config", DISCOVERY);
    assert_eq!(
        heard.identities,
        [mac("a0:b1:c2:3d:5e:26"), Identity::Topic("plug-1".into())]
    );
    let facts = &heard.facts;
    assert_eq!(facts.family, Some(Family::Tasmota));
    assert_eq!(facts.label.as_deref(), Some("Kitchen"));
    assert_eq!(facts.board.as_deref(), Some("Athom Plug"));
    assert_eq!(facts.version(), Some("15.0.1"));
    assert_eq!(
        facts.image(Slot::Main).and_then(|i| i.variant.as_deref()),
        None
    );
    assert_eq!(facts.web, web("192.168.1.31:80"));
    assert_eq!(facts.command_topic.as_deref(), Some("cmnd/plug-1/"));
    assert_eq!(facts.sleeps, Some(false));
}

#[test]
fn a_discovery_message_for_another_address_than_its_topic_names_is_none() {
    let topic = "tasmota/discovery/A0B1C23D5E27/config";
    assert_eq!(read(topic, DISCOVERY.as_bytes(), AT), None);
}

#[test]
fn every_full_topic_leads_to_the_same_path_that_its_messages_have() {
    for (template, command, path, lwt) in [
        (
            "%prefix%/%topic%/",
            "cmnd/plug-1/",
            "plug-1",
            "tele/plug-1/LWT",
        ),
        (
            "%topic%/%prefix%/",
            "plug-1/cmnd/",
            "plug-1",
            "plug-1/tele/LWT",
        ),
        (
            "home/%prefix%/%topic%",
            "home/cmnd/plug-1/",
            "home/plug-1",
            "home/tele/plug-1/LWT",
        ),
        (
            "home/%topic%/%id%/%prefix%/#",
            "home/plug-1/A0B1C23D5E26/cmnd/",
            "home/plug-1/A0B1C23D5E26",
            "home/plug-1/A0B1C23D5E26/tele/LWT",
        ),
    ] {
        let payload = DISCOVERY.replace("%prefix%/%topic%/", template);
        let heard = hear("tasmota/discovery/A0B1C23D5E26/config", &payload);
        assert_eq!(
            heard.identities[1],
            Identity::Topic(path.into()),
            "{template}"
        );
        assert_eq!(heard.facts.command_topic.as_deref(), Some(command));
        let birth = hear(lwt, "Online");
        assert_eq!(birth.identities, [Identity::Topic(path.into())]);
        assert_eq!(birth.facts.command_topic.as_deref(), Some(command));
        assert_eq!(birth.facts.online, Some(true));
    }
    // Without a prefix only commands get one, behind.
    let payload = DISCOVERY.replace("%prefix%/%topic%/", "home/%topic%/");
    let heard = hear("tasmota/discovery/A0B1C23D5E26/config", &payload);
    assert_eq!(
        heard.facts.command_topic.as_deref(),
        Some("home/plug-1/cmnd/")
    );
}

#[test]
fn info_messages_tell_the_image_that_runs_and_the_fallback_topic() {
    let info1 = r#"{"Info1":{"Module":"Generic","Version":"14.3.0(release-safeboot)","FallbackTopic":"cmnd/DVES_3D5E26_fb/","GroupTopic":"cmnd/tasmotas/"}}"#;
    let heard = hear("tele/plug-1/INFO1", info1);
    assert_eq!(heard.facts.running, Some(Slot::Safeboot));
    let image = heard.facts.image(Slot::Safeboot).expect("an image");
    assert_eq!(image.version.as_deref(), Some("14.3.0"));
    assert_eq!(image.variant.as_deref(), Some("safeboot"));
    assert!(heard.facts.image(Slot::Main).is_none());
    assert_eq!(
        heard.facts.fallback_topic.as_deref(),
        Some("cmnd/DVES_3D5E26_fb/")
    );
    assert!(
        heard
            .identities
            .contains(&Identity::ClientId("DVES_3D5E26".into()))
    );

    let info2 = r#"{"Info2":{"WebServerMode":"Admin","Hostname":"plug","IPAddress":"0.0.0.0","Ethernet":{"Hostname":"e","IPAddress":"192.168.1.40"}}}"#;
    assert_eq!(
        hear("tele/plug-1/INFO2", info2).facts.web,
        web("192.168.1.40:80")
    );

    let info3 = r#"{"Info3":{"RestartReason":"Software reset CPU","BootCount":12}}"#;
    let heard = hear("tele/plug-1/INFO3", info3);
    assert_eq!(heard.facts.boot_count, Some(12));
    assert_eq!(heard.facts.crashed, Some(false));
    let crash = r#"{"Info3":{"RestartReason":{"Exception":28,"Reason":"Exception","EPC":["40201"]},"BootCount":13}}"#;
    assert_eq!(hear("tele/plug-1/INFO3", crash).facts.crashed, Some(true));
}

#[test]
fn status_0_tells_chip_flash_tls_and_ota_url() {
    let status = r#"{"Status":{"Module":1,"DeviceName":"Kitchen","Topic":"plug-1"},
        "StatusPRM":{"OtaUrl":"http://ota.tasmota.com/tasmota32/release/tasmota32c3.bin","RestartReason":"Vbat power on reset","BootCount":7},
        "StatusFWR":{"Version":"15.0.1(release-tasmota32)","BuildDateTime":"2025-06-20T10:00:00","Core":"3_1_3","SDK":"5.3.3","Hardware":"ESP32-C3 v0.4","CR":"370/699"},
        "StatusLOG":{"SetOption":["00008009","2805C80001000600003C5A0A002800000000","00000080","00606000","00004000","00000000"]},
        "StatusMEM":{"ProgramSize":2000,"Free":880,"FlashSize":4096,"ProgramFlashSize":4096},
        "StatusNET":{"Hostname":"plug","IPAddress":"192.168.1.31","Mac":"A0:B1:C2:3D:5E:26","Ethernet":{"Hostname":"","IPAddress":"0.0.0.0","Mac":"00:00:00:00:00:00"}},
        "StatusMQT":{"MqttHost":"home.example","MqttPort":8883,"MqttClient":"DVES_3D5E26","MqttCount":1},
        "StatusSTS":{"UptimeSec":3600,"MqttCount":2,"Wifi":{"AP":1,"BSSId":"10:20:30:40:50:60","RSSI":76,"Signal":-62}}}"#;
    let heard = hear("stat/plug-1/STATUS0", status);
    let facts = &heard.facts;
    assert_eq!(facts.chip, Some(Chip::Esp32C3));
    assert_eq!(facts.chip_rev, Some(4));
    assert_eq!(facts.flash_size, Some(4 << 20));
    assert_eq!(facts.tls, Some(true), "SetOption103 is bit 21 of 00606000");
    assert_eq!(facts.boot_count, Some(7));
    assert_eq!(facts.started_at, Some(AT - 3600));
    assert_eq!(facts.mqtt_port, Some(8883));
    assert_eq!(facts.mqtt_count, Some(2));
    assert_eq!(facts.rssi, Some(-62));
    assert!(
        facts
            .ota_url
            .as_deref()
            .is_some_and(|url| url.ends_with("c3.bin"))
    );
    assert_eq!(facts.running, Some(Slot::Main));
    let image = facts.image(Slot::Main).expect("an image");
    assert_eq!(image.built.as_deref(), Some("2025-06-20T10:00:00"));
    assert_eq!(image.sdk.as_deref(), Some("5.3.3"));
    assert_eq!(
        heard.identities,
        [
            mac("a0:b1:c2:3d:5e:26"),
            Identity::ClientId("DVES_3D5E26".into()),
            Identity::Topic("plug-1".into())
        ]
    );
    let old = r#"{"StatusFWR":{"Version":"9.5.0(sensors)","Hardware":"ESP8266EX"}}"#;
    let heard = hear("stat/plug-1/STATUS2", old);
    assert_eq!(heard.facts.chip, Some(Chip::Esp8266));
    assert_eq!(heard.facts.layout, Some(Layout::Single));
}

#[test]
fn versions_of_tasmota_are_told_from_their_image_names() {
    let read = |text: &str| text.parse::<TasmotaVersion>();
    let version = read("15.0.1.3(release-solo1)").expect("a version");
    assert_eq!(&*version.number, "15.0.1.3");
    assert_eq!(version.image.as_deref(), Some("solo1"));
    assert!(version.release && version.single_core);
    assert_eq!(
        read("14.3.0(safeboot)").map(|v| v.slot()),
        Ok(Slot::Safeboot)
    );
    assert_eq!(read("14.3.0(minimal)").map(|v| v.slot()), Ok(Slot::Minimal));
    assert_eq!(
        read("14.3.0").map(|v| (v.slot(), v.image)),
        Ok((Slot::Main, None))
    );
    for wrong in [
        "",
        "x",
        "14",
        "14.",
        "14..3",
        "1.2.3.4.5",
        "14.3.0b",
        "(safeboot)",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_answers_to_upgrade_and_restart_are_told_apart() {
    let upgrade = |text: &str| UpgradeReply::read(text.as_bytes());
    let words = |text: &str| text.into();
    for (payload, expected) in [
        (
            r#"{"Upgrade":"Version 14.3.0 from http://x/t.bin"}"#,
            Some(UpgradeReply::Started(words(
                "Version 14.3.0 from http://x/t.bin",
            ))),
        ),
        (r#"{"Upgrade":"Safeboot"}"#, Some(UpgradeReply::Safeboot)),
        (
            r#"{"Upgrade":"Successful. Restarting"}"#,
            Some(UpgradeReply::Successful),
        ),
        (
            r#"{"Upgrade":"Failed Wrong MD5"}"#,
            Some(UpgradeReply::Failed(words("Wrong MD5"))),
        ),
        (
            r#"{"Upgrade":"Failed "}"#,
            Some(UpgradeReply::Failed(words(""))),
        ),
        (
            r#"{"Upgrade":"1 or >14.3.0 to upgrade"}"#,
            Some(UpgradeReply::NotNewer(words("1 or >14.3.0 to upgrade"))),
        ),
        (r#"{"POWER":"ON"}"#, None),
        ("Upgrade", None),
    ] {
        assert_eq!(upgrade(payload), expected, "{payload}");
    }
    let restart = RestartReply::read(br#"{"Restart":"Switching"}"#);
    assert_eq!(restart, Some(RestartReply::Switching));
}

#[test]
fn the_server_header_of_a_tasmota_tells_version_and_chip() {
    let (version, chip) = tasmota::server_header("Tasmota/14.3.0 (ESP32-C3)").expect("a header");
    assert_eq!((&*version.number, chip), ("14.3.0", Some(Chip::Esp32C3)));
    assert!(tasmota::server_header("nginx/1.2").is_none());
}

#[test]
fn espeasy_says_when_it_comes_and_goes_and_what_it_is_on_its_pages() {
    let heard = hear("lamp/status/LWT", "Connected");
    assert_eq!(heard.identities, [Identity::Topic("lamp".into())]);
    assert_eq!(heard.facts.online, Some(true));
    let heard = hear("sensors/espeasy/lamp/status/LWT", "Connection Lost");
    assert_eq!(
        heard.identities,
        [Identity::Topic("sensors/espeasy/lamp".into())]
    );
    assert_eq!(heard.facts.online, Some(false));

    let json = r#"{"System":{"Build":20116,"Git Build":"mega-20241019","Binary Filename":"ESP_Easy_mega_20241019_normal_ESP32_4M316k","Unit Number":1,"Unit Name":"lamp","Uptime":90,"Reset Reason":"Software Watchdog","ESP Chip Model":"ESP32-D0WDQ6","ESP Chip Revision":"100","Flash Chip Real Size":4096},"WiFi":{"Hostname":"lamp-1","IP Address":"192.168.1.50","STA MAC":"A0:B1:C2:3D:5E:26","RSSI":-70},"Sensors":[]}"#;
    let heard = espeasy::json(json.as_bytes(), AT).expect("facts");
    assert_eq!(heard.identities, [mac("a0:b1:c2:3d:5e:26")]);
    assert_eq!(heard.facts.chip, Some(Chip::Esp32));
    assert_eq!(heard.facts.chip_rev, Some(100));
    assert_eq!(heard.facts.flash_size, Some(4 << 20));
    assert_eq!(heard.facts.version(), Some("20116"));
    assert_eq!(heard.facts.started_at, Some(AT - 5400));
    assert_eq!(heard.facts.crashed, Some(true));
    let sysinfo = r#"{"boot":{"counter":5,"reset_reason":"Power on"},"wifi":{"ip":"192.168.1.50","sta_mac":"A0:B1:C2:3D:5E:26"},"firmware":{"build":"20116","filename":"ESP_Easy_mega","build_time":"x"}}"#;
    let heard = espeasy::sysinfo(sysinfo.as_bytes(), AT).expect("facts");
    assert_eq!(heard.facts.boot_count, Some(5));
}

#[test]
fn esphome_says_what_it_is_in_its_discovery_message_and_to_home_assistant() {
    let payload = r#"{"ip":"192.168.1.60","name":"door","friendly_name":"Front Door","port":6053,"version":"2024.6.1","mac":"a0b1c23d5e26","platform":"ESP32","board":"esp32dev","network":"wifi","project_name":"home.door","project_version":"1.4"}"#;
    let heard = hear("esphome/discover/door", payload);
    assert_eq!(heard.identities, [mac("a0:b1:c2:3d:5e:26")]);
    assert_eq!(heard.facts.version(), Some("1.4"));
    let image = heard.facts.image(Slot::Main).expect("an image");
    assert_eq!(image.sdk.as_deref(), Some("2024.6.1"));
    assert_eq!(heard.facts.chip, Some(Chip::Esp32));

    let update = r#"{"name":"Firmware","stat_t":"~/state","cmd_t":"~/command","~":"door/update/firmware","dev":{"ids":"a0b1c23d5e26","name":"door","sw":"esphome v2024.6.1 Jun 20 2024, 10:00:00","mdl":"esp32dev","mf":"espressif"}}"#;
    let heard = hear("homeassistant/update/door/firmware/config", update);
    assert_eq!(
        heard.facts.update_topic.as_deref(),
        Some("door/update/firmware/command")
    );
    let state = r#"{"installed_version":"1.4","latest_version":"1.5","title":""}"#;
    let heard = hear("door/update/firmware/state", state);
    assert!(heard.vague);
    assert_eq!(heard.facts.version(), Some("1.4"));
    let birth = hear("door/status", "online");
    assert!(birth.vague && birth.facts.online == Some(true));
    // Other programs announce to Home Assistant, too.
    let other = r#"{"dev":{"ids":["zigbee2mqtt_0x1"],"sw":"Zigbee2MQTT 1.40"}}"#;
    let topic = "homeassistant/sensor/0x1/battery/config";
    assert_eq!(read(topic, other.as_bytes(), AT), None);
}

#[test]
fn a_message_that_says_nothing_is_none() {
    for (topic, payload) in [
        ("tele/plug-1/LWT", ""),
        ("tele/plug-1/LWT", "maybe"),
        ("tele/LWT", "Online"),
        ("tele/plug-1/INFO1", "{"),
        ("tele/plug-1/INFO1", r#"{"Info2":{}}"#),
        ("tele/plug-1/SENSOR", r#"{"Time":"x"}"#),
        ("stat/plug-1/STATUS2", r#"{"a":1}"#),
        ("tasmota/discovery/A0B1C23D5E26/sensors", "{}"),
        ("tasmota/discovery/x/config", "{}"),
        ("esphome/discover/door", "{}"),
        ("", "x"),
        ("/", "Online"),
    ] {
        assert_eq!(
            read(topic, payload.as_bytes(), AT),
            None,
            "{topic} {payload}"
        );
    }
}

#[test]
fn names_with_bytes_that_are_no_text_do_not_hide_the_rest() {
    let mut payload = DISCOVERY.as_bytes().to_vec();
    let at = DISCOVERY.find("Kitchen").expect("there");
    payload[at] = 0xff;
    let heard = read("tasmota/discovery/A0B1C23D5E26/config", &payload, AT);
    assert_eq!(heard.expect("facts").facts.version(), Some("15.0.1"));
}

#[test]
fn the_topics_that_are_observed_are_those_that_tell_something() {
    let filters = filters();
    for filter in &filters {
        assert!(safeport_mqtt::TopicFilter::new(filter).is_ok(), "{filter}");
    }
    let observed = |topic: &str| {
        filters.iter().any(|filter| {
            safeport_mqtt::TopicFilter::new(filter).is_ok_and(|filter| filter.matches(topic))
        })
    };
    for topic in [
        "tele/plug-1/LWT",
        "home/tele/plug-1/INFO1",
        "plug-1/stat/STATUS2",
        "stat/plug-1/UPGRADE",
        "tasmota/discovery/A0B1C23D5E26/config",
        "lamp/status/LWT",
        "door/status",
        "esphome/discover/door",
        "homeassistant/update/door/firmware/config",
    ] {
        assert!(observed(topic), "{topic}");
    }
    for topic in [
        "tele/plug-1/SENSOR",
        "tele/plug-1/STATE",
        "lamp/bme280/Temperature",
    ] {
        assert!(!observed(topic), "{topic}");
    }
}

#[test]
fn a_topic_is_taken_apart_and_put_together_again() {
    let topic = TasmotaTopic::split("home/tele/plug/LWT").expect("a topic");
    assert_eq!(topic.with_prefix("cmnd"), "home/cmnd/plug/");
    // A device that is called like a prefix.
    let topic = TasmotaTopic::split("tele/stat/LWT").expect("a topic");
    assert_eq!((topic.prefix, &*topic.path()), ("tele", "stat"));
    assert_eq!(topic.with_prefix("cmnd"), "cmnd/stat/");
}

proptest! {
    #[test]
    fn garbage_is_read_without_harm_and_what_is_kept_is_short(
        topic in prop_oneof![
            "[a-z/+#%]{0,40}",
            Just("tele/x/INFO1".into()), Just("stat/x/STATUS0".into()),
            Just("tasmota/discovery/A0B1C23D5E26/config".into()),
            Just("esphome/discover/x".into()),
            Just("homeassistant/update/x/y/config".into()),
        ],
        payload in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            ".{0,300}".prop_map(String::into_bytes),
            "\\{\"(Info1|StatusFWR|dev|ip|mac|Version)\":.{0,100}\\}".prop_map(String::into_bytes),
        ]
    ) {
        if let Some(heard) = read(&topic, &payload, AT) {
            for identity in &heard.identities {
                prop_assert!(identity.value().len() <= limits::MAX_IDENTITY);
            }
        }
    }
}
