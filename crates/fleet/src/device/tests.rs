use super::*;
use alloc::vec;

const MAC: MacAddress = MacAddress([0xa0, 0xb1, 0xc2, 0x3d, 0x5e, 0x26]);

fn device(name: &str, family: Family) -> Device {
    Device::new(DeviceName::new(name).unwrap(), family, None, 0).unwrap()
}

fn with_mac(name: &str, family: Family) -> Device {
    Device::new(DeviceName::new(name).unwrap(), family, Some(MAC), 0).unwrap()
}

/// Whether a topic, or a filter for a subscription, lies within a list of
/// filters. Written plainly, to judge the patterns by the specification.
fn within(filters: &[String], wanted: &str) -> bool {
    filters.iter().any(|filter| {
        let mut wanted = wanted.split('/');
        for level in filter.split('/') {
            match (level, wanted.next()) {
                ("#", Some(_)) => return true,
                // `a/#` includes `a` [MQTT-4.7.1-2, non-normative part].
                ("#", None) => return true,
                ("+", Some(level)) if level != "#" => {}
                (level, Some(found)) if level == found => {}
                _ => return false,
            }
        }
        wanted.next().is_none()
    })
}

fn may_publish(device: &Device, topic: &str) -> bool {
    within(&device.grant().publish, topic)
}

fn may_subscribe(device: &Device, filter: &str) -> bool {
    within(&device.grant().subscribe, filter)
}

#[test]
fn a_tasmota_device_may_do_all_that_it_does_on_its_first_connect() {
    let plug = device("plug-1", Family::Tasmota);
    assert_eq!(plug.client_id, "plug-1");
    for topic in [
        "tele/plug-1/LWT",
        "cmnd/plug-1/POWER",
        "tele/plug-1/INFO1",
        "stat/plug-1/RESULT",
        "stat/plug-1/POWER1",
        "tele/plug-1/SENSOR",
        "stat/plug-1/LOGGING",
        "stat/plug-1/STATUS11",
        "tasmota/discovery/A0B1C23D5E26/config",
        "tasmota/discovery/A0B1C23D5E26/sensors",
    ] {
        assert!(may_publish(&plug, topic), "{topic}");
    }
    for filter in ["cmnd/plug-1/#", "cmnd/tasmotas/#", "cmnd/plug-1_fb/#"] {
        assert!(may_subscribe(&plug, filter), "{filter}");
    }
}

#[test]
fn a_tasmota_device_may_neither_command_nor_overhear_another() {
    let plug = device("plug-1", Family::Tasmota);
    for topic in [
        "cmnd/plug-2/POWER",
        "cmnd/plug-1/Upgrade",
        "cmnd/tasmotas/POWER",
        "tele/plug-2/LWT",
        "stat/plug-1x/RESULT",
        "homeassistant/switch/x/config",
        "tasmota/discovery/A0B1C23D5E26",
        "$SYS/broker/version",
    ] {
        assert!(!may_publish(&plug, topic), "{topic}");
    }
    for filter in [
        "#",
        "cmnd/#",
        "cmnd/+/#",
        "cmnd/plug-2/#",
        "tele/#",
        "stat/plug-1/#",
        "$SYS/#",
    ] {
        assert!(!may_subscribe(&plug, filter), "{filter}");
    }
}

#[test]
fn a_known_hardware_address_narrows_discovery_and_opens_the_factory_fallback() {
    let plug = with_mac("plug-1", Family::Tasmota);
    assert!(may_publish(&plug, "tasmota/discovery/A0B1C23D5E26/config"));
    assert!(!may_publish(&plug, "tasmota/discovery/A0B1C23D5E27/config"));
    assert!(may_subscribe(&plug, "cmnd/DVES_3D5E26_fb/#"));
    assert!(!may_subscribe(
        &device("plug-1", Family::Tasmota),
        "cmnd/DVES_3D5E26_fb/#"
    ));
}

#[test]
fn an_espeasy_device_owns_its_own_branch_both_ways() {
    let node = device("node", Family::EspEasy);
    for topic in ["node/bme/temperature", "node/status/LWT", "node/status"] {
        assert!(may_publish(&node, topic), "{topic}");
    }
    assert!(may_subscribe(&node, "node/#"));
    assert!(!may_subscribe(&node, "#"));
    assert!(!may_publish(&node, "node2/bme/temperature"));
}

#[test]
fn an_esphome_device_has_its_prefix_discovery_and_the_topics_it_uses_regardless() {
    let node = device("node", Family::EspHome)
        .with_topic("home/kitchen")
        .unwrap();
    for topic in [
        "home/kitchen/status",
        "home/kitchen/sensor/temperature/state",
        "homeassistant/sensor/node/temperature/config",
        "esphome/discover/node",
        "esphome/ping/node",
    ] {
        assert!(may_publish(&node, topic), "{topic}");
    }
    for filter in [
        "home/kitchen/switch/relay/command",
        "esphome/discover",
        "esphome/discover/node",
        "esphome/ping/node",
    ] {
        assert!(may_subscribe(&node, filter), "{filter}");
    }
    for topic in [
        "homeassistant/sensor/other/temperature/config",
        "esphome/discover/other",
        "home/bath/status",
    ] {
        assert!(!may_publish(&node, topic), "{topic}");
    }
}

#[test]
fn a_xiaozhi_device_publishes_to_the_shared_topic_and_hears_its_own_only() {
    let voice = with_mac("voice", Family::Xiaozhi);
    assert_eq!(
        voice.client_id,
        "GID_default@@@a0_b1_c2_3d_5e_26@@@a0_b1_c2_3d_5e_26"
    );
    assert!(may_publish(&voice, "device-server"));
    assert!(may_subscribe(&voice, "devices/p2p/a0_b1_c2_3d_5e_26"));
    assert!(!may_subscribe(&voice, "devices/p2p/a0_b1_c2_3d_5e_27"));
    assert!(!may_publish(&voice, "devices/p2p/a0_b1_c2_3d_5e_26"));
}

#[test]
fn extra_rights_come_on_top_of_the_pattern() {
    let mut plug = device("plug-1", Family::Tasmota);
    let before = plug.grant();
    plug.extra = Grant {
        publish: vec!["cmnd/lamp/POWER".to_string(), "stat/plug-1/#".to_string()],
        subscribe: vec!["stat/lamp/#".to_string()],
    };
    assert!(may_publish(&plug, "cmnd/lamp/POWER"));
    assert!(may_subscribe(&plug, "stat/lamp/POWER"));
    assert_eq!(
        plug.grant().publish.len(),
        before.publish.len() + 1,
        "no doubles"
    );
}

#[test]
fn every_pattern_of_every_family_is_made_of_legal_filters() {
    for family in Family::ALL {
        for device in [device("node", family), with_mac("node", family)] {
            assert_eq!(device.grant().check(), Ok(()), "{family}");
        }
    }
}

#[test]
fn names_that_the_firmware_cannot_store_are_refused_for_that_family() {
    let name = |length| DeviceName::new(&"a".repeat(length)).unwrap();
    for (family, longest) in [
        (Family::EspEasy, 24),
        (Family::EspHome, 31),
        (Family::Tasmota, 32),
        (Family::Plain, 32),
    ] {
        assert!(
            Device::new(name(longest), family, None, 0).is_ok(),
            "{family}"
        );
        if longest < 32 {
            let error = Device::new(name(longest + 1), family, None, 0).unwrap_err();
            assert!(matches!(error, NameError::TooLong { limit, .. } if limit == longest));
        }
    }
}

#[test]
fn a_device_owns_the_client_identifiers_that_its_firmware_forms() {
    for (device, own, foreign) in [
        (
            with_mac("plug-1", Family::Tasmota),
            vec!["plug-1", "DVES_3D5E26"],
            vec![
                "plug-2",
                "plug-1_fb",
                "DVES_3D5E27",
                "DVES_3d5e26",
                "DVES_",
                "",
            ],
        ),
        (
            device("plug-1", Family::Tasmota),
            vec!["plug-1"],
            vec!["DVES_3D5E26", "DVES_"],
        ),
        (
            device("node", Family::EspEasy),
            vec!["node", "node_1", "node_1_20"],
            vec!["node_", "node_x", "node1", "node_1_", "nodes_1", "node__1"],
        ),
        (
            device("node", Family::EspHome),
            vec!["node", "node-a0b1c23d5e26"],
            vec!["node-2", "node-", "nodea0b1c23d5e26"],
        ),
        (
            with_mac("node", Family::EspHome),
            vec!["node-a0b1c23d5e26"],
            vec!["node-a0b1c23d5e27"],
        ),
        (
            with_mac("voice", Family::Xiaozhi),
            vec![
                "voice",
                "GID_x@@@A0_B1_C2_3D_5E_26@@@uuid",
                "g@@@a0_b1_c2_3d_5e_26",
            ],
            vec!["g@@@a0_b1_c2_3d_5e_27@@@u", "a0_b1_c2_3d_5e_26"],
        ),
        (
            with_mac("own", Family::Plain),
            vec!["own", "ESP32_3D5E26"],
            vec!["own-2", "ESP32_000000"],
        ),
    ] {
        for id in own {
            assert!(device.owns_client_id(id), "{} {id}", device.family);
        }
        for id in foreign {
            assert!(!device.owns_client_id(id), "{} {id}", device.family);
        }
    }
}

#[test]
fn devices_whose_topics_nest_clash_and_others_do_not() {
    let under = |topic| device("node", Family::Plain).with_topic(topic).unwrap();
    assert!(under("home").clashes_with(&under("home/kitchen")));
    assert!(under("home/kitchen").clashes_with(&under("home")));
    assert!(under("home").clashes_with(&under("home")));
    assert!(!under("home").clashes_with(&under("homes")));
    assert!(!under("home/a").clashes_with(&under("home/b")));
    let plug = device("plug", Family::Tasmota);
    assert!(
        plug.clashes_with(
            &device("other", Family::Tasmota)
                .with_topic("plug/2")
                .unwrap()
        )
    );
    assert!(!plug.clashes_with(&device("plug", Family::EspEasy)));
    assert!(!plug.clashes_with(&device("plug-2", Family::Tasmota)));
}

#[test]
fn no_two_devices_of_any_family_can_command_each_other_by_accident_of_names() {
    let names = [
        "a", "plug", "plug-1", "plug_1", "fb", "a-fb", "power", "config",
    ];
    for family in Family::ALL {
        for other_family in Family::ALL {
            for name in names {
                for other_name in names.into_iter().filter(|other| *other != name) {
                    let device = device(name, family);
                    let other = self::device(other_name, other_family);
                    assert!(!device.clashes_with(&other));
                    for root in other.roots() {
                        let inside = format!("{root}/x");
                        assert!(!may_publish(&device, &inside), "{family} {name}: {inside}");
                        assert!(
                            !may_subscribe(&device, &format!("{root}/#")),
                            "{family} {name}: {root}/#"
                        );
                    }
                }
            }
        }
    }
}
