use super::*;
use crate::{Headers, Network, Username, mqtt_password};
use alloc::vec::Vec;
use serde_json::Value;

fn check(version: &str) -> CheckRequest {
    let agent = format!("bread-compact-wifi/{version}");
    let headers = Headers {
        device_id: Some("aa:bb:cc:dd:ee:ff"),
        client_id: Some("7b94d69a-9808-4c59-9c9b-704333b38aff"),
        user_agent: Some(&agent),
        ..Headers::default()
    };
    CheckRequest::read(&headers, b"").expect("a check")
}

fn version(text: &str) -> Version {
    text.parse().expect(text)
}

fn image() -> FirmwareUrl {
    FirmwareUrl::parse("http://192.168.1.10:8002/ota/a0123456789abcdefghj/xiaozhi.bin")
        .expect("an address")
}

fn websocket() -> Way {
    Way::WebSocket(WebSocket {
        url: WebSocketUrl::parse("ws://192.168.1.10:8000/xiaozhi/v1/").expect("an address"),
        token: Text::new("t.1").expect("a text"),
        version: 1,
    })
}

fn mqtt() -> Way {
    let check = check("2.4.2");
    let client_id = ClientId::new(&check.board, check.mac, &check.client_id);
    let username = Username::text(None, 1_700_000_000);
    let password = mqtt_password(b"key", &client_id.to_string(), &username);
    Way::Mqtt(Mqtt {
        endpoint: Endpoint::new("192.168.1.10", 1883, false).expect("an endpoint"),
        client_id,
        username: Text::new(username).expect("a text"),
        password: Text::new(password).expect("a text"),
        keepalive: 60,
    })
}

fn reply(firmware: Firmware, way: Way, activation: bool) -> CheckReply {
    CheckReply {
        server_time: ServerTime {
            timestamp_ms: 1_767_312_000_000,
            offset_minutes: 480,
        },
        firmware,
        way,
        activation: activation.then(|| Activation {
            code: Code::of(482_913),
            message: "Safeport \"home\"\n482913".into(),
            challenge: Text::new("c").expect("a text"),
            timeout_ms: 30_000,
        }),
    }
}

/// Every kind of answer there is.
fn all() -> Vec<CheckReply> {
    let check = check("2.4.1");
    let mut all = Vec::new();
    for way in [Way::None, websocket(), mqtt()] {
        for activation in [false, true] {
            for firmware in [
                Firmware(Told::Omitted),
                Firmware::nothing(&check),
                Firmware::install(&check, version("2.4.2"), image(), false),
                Firmware::install(&check, version("2.3"), image(), true),
            ] {
                all.push(reply(firmware, way.clone(), activation));
            }
        }
    }
    all
}

fn read(reply: &CheckReply) -> Value {
    serde_json::from_str(&reply.to_json()).expect("JSON")
}

#[test]
fn an_answer_looks_as_the_firmware_reads_it() {
    let check = check("2.4.2");
    let reply = reply(Firmware::nothing(&check), websocket(), true);
    assert_eq!(
        reply.to_json(),
        "{\"server_time\":{\"timestamp\":1767312000000,\"timezone_offset\":480},\
         \"firmware\":{\"version\":\"2.4.2\",\"url\":\"\"},\
         \"websocket\":{\"url\":\"ws://192.168.1.10:8000/xiaozhi/v1/\",\"token\":\"t.1\",\"version\":1},\
         \"activation\":{\"code\":\"482913\",\"message\":\"Safeport \\\"home\\\"\\n482913\",\
         \"challenge\":\"c\",\"timeout_ms\":30000}}"
    );
}

#[test]
fn rule_2_no_answer_carries_two_ways() {
    for reply in all() {
        let json = read(&reply);
        let ways = ["mqtt", "websocket"];
        let there = ways.iter().filter(|way| json.get(**way).is_some()).count();
        assert_eq!(there, usize::from(reply.way != Way::None), "{json}");
    }
}

fn walk(json: &Value, each: &mut impl FnMut(&str, &Value)) {
    if let Value::Object(map) = json {
        for (key, value) in map {
            each(key, value);
            walk(value, each);
        }
    }
}

#[test]
fn rule_3_no_answer_carries_a_null() {
    for reply in all() {
        walk(&read(&reply), &mut |key, value| {
            assert!(!value.is_null(), "{key}");
        });
    }
}

#[test]
fn rule_4_keys_and_values_of_a_way_fit_into_flash() {
    for reply in all() {
        let json = read(&reply);
        for way in ["mqtt", "websocket"] {
            let Some(section) = json.get(way) else {
                continue;
            };
            walk(section, &mut |key, value| {
                assert!(key.len() <= crate::limits::MAX_KEY, "{key}");
                assert!(value.is_string() || value.is_u64(), "{key}: {value}");
            });
        }
    }
    assert!(Text::new("x".repeat(1024)).is_some());
    assert!(Text::new("x".repeat(1025)).is_none());
    assert!(Text::new("a\nb").is_none());
}

#[test]
fn rule_6_force_is_told_only_while_the_device_runs_something_newer() {
    let told = |running: &str, target: &str, force: bool| {
        let check = check(running);
        let firmware = Firmware::install(&check, version(target), image(), force);
        let json = read(&reply(firmware, Way::None, false));
        let firmware = &json["firmware"];
        let force = firmware.get("force").map(|force| {
            assert_eq!(*force, 1, "booleans are passed over");
        });
        (
            !firmware["url"].as_str().unwrap().is_empty(),
            force.is_some(),
        )
    };
    assert_eq!(told("2.4.1", "2.4.2", false), (true, false));
    assert_eq!(told("2.4.1", "2.4.2", true), (true, false));
    assert_eq!(told("2.4.2", "2.4.1", true), (true, true));
    assert_eq!(told("2.4.2", "2.4.1", false), (false, false));
    for force in [false, true] {
        assert_eq!(told("2.4.2", "2.4.2", force), (false, false));
        assert_eq!(told("2.4.2-dirty", "2.4.2", force), (false, false));
    }
    // The device takes the longer one for newer.
    assert_eq!(told("2.4", "2.4.0", false), (true, false));
}

#[test]
fn a_device_that_cannot_read_its_own_version_is_told_none() {
    let check = check("v2.0-custom");
    assert_eq!(check.version, None);
    for firmware in [
        Firmware::nothing(&check),
        Firmware::install(&check, version("2.4.2"), image(), true),
    ] {
        assert!(
            read(&reply(firmware, Way::None, false))
                .get("firmware")
                .is_none()
        );
    }
}

#[test]
fn firmware_up_to_1_5_9_always_gets_its_firmware_section() {
    for running in ["1.4.0", "1.5.9"] {
        let check = check(running);
        let reply = reply(Firmware::nothing(&check), Way::None, false);
        assert_eq!(reply.breaks(&Quirks::of(&check)), None);
        let json = read(&reply);
        assert_eq!(json["firmware"]["version"], running);
        assert_eq!(json["firmware"]["url"], "");
    }
    let old = Quirks::by(Some(&version("1.5.9")), Network::Lan, Client::Device);
    let without = reply(Firmware(Told::Omitted), Way::None, false);
    assert!(without.breaks(&old).is_some());
    assert!(
        reply(Firmware::nothing(&check("1.5.9")), websocket(), false)
            .breaks(&old)
            .is_some()
    );
    assert!(
        reply(Firmware::nothing(&check("1.5.9")), mqtt(), false)
            .breaks(&old)
            .is_some()
    );
}

#[test]
fn rule_12_an_address_always_carries_its_port_and_no_other_colon() {
    for (text, told) in [
        ("ws://hub", "ws://hub:80/"),
        (
            "wss://hub.example.com/x?a=b",
            "wss://hub.example.com:443/x?a=b",
        ),
        (
            "ws://192.168.1.10:8000/xiaozhi/v1/",
            "ws://192.168.1.10:8000/xiaozhi/v1/",
        ),
    ] {
        assert_eq!(WebSocketUrl::parse(text).expect(text).as_str(), told);
    }
    for (text, error) in [
        ("", UrlError::Scheme),
        ("hub:8000", UrlError::Scheme),
        ("WS://hub", UrlError::Scheme),
        ("http://hub", UrlError::Scheme),
        ("ws://", UrlError::Host),
        ("ws://:80/", UrlError::Host),
        ("ws://h ub/", UrlError::Host),
        ("ws://家/", UrlError::Host),
        ("ws://[fd00::1]:8000/", UrlError::Colon),
        ("ws://fd00::1/", UrlError::Colon),
        ("ws://a:b@hub/", UrlError::Colon),
        ("ws://hub/?device-id=aa:bb", UrlError::Colon),
        ("ws://hub:/", UrlError::Port),
        ("ws://hub:0/", UrlError::Port),
        ("ws://hub:65536/", UrlError::Port),
        ("ws://hub:+80/", UrlError::Port),
        ("ws://hub?x", UrlError::Path),
        ("ws://hub/a b", UrlError::Path),
        ("ws://hub/\"", UrlError::Path),
    ] {
        assert_eq!(WebSocketUrl::parse(text), Err(error), "{text}");
    }
    let long = format!("ws://hub/{}", "x".repeat(1100));
    assert_eq!(WebSocketUrl::parse(&long), Err(UrlError::TooLong));
    let url = WebSocketUrl::parse("wss://hub/x?y").expect("an address");
    assert!(url.is_tls());
    assert_eq!((url.host(), url.port(), url.path()), ("hub", 443, "/x?y"));
}

#[test]
fn mqtt_is_told_with_the_tls_that_the_device_will_speak_there() {
    for (port, tls, told) in [
        (1883, false, Ok("hub:1883")),
        (8883, true, Ok("hub")),
        (8883, false, Err(EndpointError::TlsPort)),
        (443, true, Err(EndpointError::TlsPort)),
        (0, false, Err(EndpointError::TlsPort)),
    ] {
        let endpoint = Endpoint::new("hub", port, tls).map(|endpoint| endpoint.to_string());
        assert_eq!(endpoint.as_deref(), told.as_ref().copied(), "{port} {tls}");
    }
    for host in ["", "mqtt://hub", "fd00::1", "[fd00::1]", "a b"] {
        assert_eq!(Endpoint::new(host, 1883, false), Err(EndpointError::Host));
    }
}

#[test]
fn a_login_in_an_answer_is_one_that_its_password_opens() {
    let json = read(&reply(Firmware(Told::Omitted), mqtt(), false));
    let field = |name: &str| json["mqtt"][name].as_str().expect(name);
    assert!(crate::verify_mqtt_password(
        b"key",
        field("client_id"),
        field("username"),
        field("password").as_bytes()
    ));
    assert_eq!(field("endpoint"), "192.168.1.10:1883");
    assert_eq!(field("publish_topic"), "device-server");
    assert_eq!(field("subscribe_topic"), "devices/p2p/aa_bb_cc_dd_ee_ff");
    assert_eq!(json["mqtt"]["keepalive"], 60);
}

#[test]
fn texts_of_people_cannot_break_an_answer() {
    let mut reply = reply(Firmware(Told::Omitted), Way::None, true);
    let message = "a\"b\\c\n\r\t\u{1}\u{7f}家\u{2028}</script>";
    if let Some(activation) = &mut reply.activation {
        activation.message = message.into();
    }
    assert_eq!(read(&reply)["activation"]["message"], message);
}
