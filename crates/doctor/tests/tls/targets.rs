//! What people type, and what devices make of it.

use safeport_doctor::target::{Dialect, Host, Scheme, Service, Target};
use safeport_doctor::{Cause, Strength};

fn read(typed: &str) -> Target {
    Target::read(typed).unwrap_or_else(|clues| panic!("{typed}: {clues:?}"))
}

/// What is meant, in its proper form.
fn meant(typed: &str) -> String {
    read(typed).url()
}

fn dials(typed: &str, dialect: Dialect) -> String {
    match read(typed).dialled(dialect) {
        Ok(dialled) => {
            let tls = if dialled.tls { " with TLS" } else { "" };
            format!("{}:{}{}{tls}", dialled.host, dialled.port, dialled.path)
        }
        Err(why) => {
            assert!(!why.zh.is_empty());
            format!("refused: {why}")
        }
    }
}

/// The causes that at least name a class, with their strength.
fn clues(typed: &str, dialect: Dialect) -> Vec<(Cause, Strength)> {
    let clues = read(typed).clues(dialect);
    let told = clues
        .iter()
        .filter(|clue| clue.strength > Strength::Carrier);
    told.map(|clue| (clue.cause, clue.strength)).collect()
}

#[test]
fn what_is_typed_well_stays_as_it_is() {
    for typed in [
        "http://192.168.1.5:8002/xiaozhi/ota/",
        "wss://voice.example/xiaozhi/v1/",
        "mqtt://hub.example:1883",
        "hub.example",
        "192.168.1.5:8883",
        "https://[fd00::5]:8443/firmware.bin?a=b",
    ] {
        assert_eq!(meant(typed), typed);
        assert_eq!(
            read(typed).proposal(Dialect::EspIdf).is_some(),
            !typed.contains("://")
        );
    }
    assert_eq!(read("fd00::5").host, Host::of("fd00::5").unwrap());
}

#[test]
fn slips_are_mended() {
    for (typed, wanted) in [
        (
            "http：//192.168.1.5：8002/xiaozhi/ota/",
            "http://192.168.1.5:8002/xiaozhi/ota/",
        ),
        ("  “http://hub.example:8002/”  ", "http://hub.example:8002/"),
        (
            "http://hub.example :8002/ota",
            "http://hub.example:8002/ota",
        ),
        ("http:/hub.example:8002/ota", "http://hub.example:8002/ota"),
        ("http//hub.example:8002/ota", "http://hub.example:8002/ota"),
        ("http;//hub.example:8002/ota", "http://hub.example:8002/ota"),
        (
            "http:\\\\hub.example:8002\\ota",
            "http://hub.example:8002/ota",
        ),
        ("htpp://hub.example/", "http://hub.example/"),
        ("HTTP://Hub.Example/", "http://hub.example/"),
        ("ssl://hub.example:8883", "mqtts://hub.example:8883"),
        ("http://192.168.1.5.8002/ota", "http://192.168.1.5:8002/ota"),
        ("hub.example;8002", "hub.example:8002"),
        ("hub.example 8002", "hub.example:8002"),
        (
            "ws://hub.example/xiaozhi/v1/:8000",
            "ws://hub.example:8000/xiaozhi/v1/",
        ),
        (
            "mqtt://user:secret@hub.example:1883",
            "mqtt://hub.example:1883",
        ),
        ("http://hub.example:/ota", "http://hub.example/ota"),
        ("http://hub.example:80o2/ota", "http://hub.example/ota"),
        ("http://fd00::5/ota", "http://[fd00::5]/ota"),
        ("http://1９2.168.1.5:8002", "http://192.168.1.5:8002"),
        ("hub.example.", "hub.example"),
    ] {
        assert_eq!(meant(typed), wanted, "{typed}");
    }
}

#[test]
fn what_names_no_host_is_refused_with_the_reason() {
    for (typed, cause) in [
        ("", Cause::UrlMalformed),
        ("http://", Cause::UrlMalformed),
        ("http:///ota", Cause::UrlMalformed),
        ("192.168.1.300", Cause::UrlMalformed),
        ("gopher://hub.example/", Cause::WrongScheme),
        ("what is this?!", Cause::UrlMalformed),
    ] {
        // `http:///ota` names a host by accident.
        match Target::read(typed) {
            Err(clues) => assert_eq!(clues[0].cause, cause, "{typed}"),
            Ok(target) => assert_eq!(typed, "http:///ota", "{target:?}"),
        }
    }
    let long = format!("http://{}", "a".repeat(5000));
    assert!(Target::read(&long).is_err());
}

#[test]
fn a_voice_box_takes_the_first_colon_for_the_one_before_the_port() {
    use Dialect::{XiaozhiOta as Ota, XiaozhiWebsocket as Ws};
    assert_eq!(
        dials("http://192.168.1.5/xiaozhi/ota/", Ota),
        "192.168.1.5:80/xiaozhi/ota/"
    );
    assert_eq!(
        dials("https://hub.example/ota/", Ota),
        "hub.example:443/ota/ with TLS"
    );
    assert_eq!(
        dials("HTTPS://hub.example/ota/", Ota),
        "hub.example:443/ota/ with TLS"
    );
    // The WebSocket compares in small letters.
    assert_eq!(dials("WSS://hub.example/v1/", Ws), "hub.example:80/v1/");
    assert_eq!(
        dials("http://192.168.1.5：8002/xiaozhi/ota/", Ota),
        "192.168.1.5：8002:80/xiaozhi/ota/"
    );
    assert_eq!(
        dials("wss://hub.example:8000/v1/", Ws),
        "hub.example:8000/v1/ with TLS"
    );
    assert_eq!(
        dials("wss://hub.example/v1/", Ws),
        "hub.example:443/v1/ with TLS"
    );
    // A colon in the query is the first one, too, and what follows it is no number.
    assert!(dials("ws://hub.example/v1/?device-id=aa:bb", Ws).contains("restarts"));
    assert!(dials("ws://[fd00::5]:8000/v1/", Ws).starts_with("refused"));
    assert!(dials("http://hub.example:80o2/ota/", Ota).starts_with("refused"));
    assert!(dials("192.168.1.5:8002/xiaozhi/ota/", Ota).starts_with("refused"));
    assert!(dials("http://a", Ota).contains("258"));
    // `stoi` reads as far as there are digits.
    assert_eq!(
        dials("ws://hub.example:8000x/v1/", Ws),
        "hub.example:8000/v1/"
    );
}

#[test]
fn a_voice_box_speaks_mqtt_with_tls_on_port_8883_and_nowhere_else() {
    use Dialect::XiaozhiMqtt as Mqtt;
    assert_eq!(dials("hub.example", Mqtt), "hub.example:8883 with TLS");
    assert_eq!(dials("hub.example:1883", Mqtt), "hub.example:1883");
    assert_eq!(dials("hub.example:8884", Mqtt), "hub.example:8884");
    assert!(dials("mqtt://hub.example:1883", Mqtt).contains("restarts"));
    let certain = [(Cause::WrongScheme, Strength::Specific)];
    assert_eq!(clues("mqtts://hub.example:8884", Mqtt), certain);
    assert_eq!(clues("mqtt://hub.example:8883", Mqtt), certain);
    assert_eq!(clues("mqtts://hub.example:8883", Mqtt), []);
    assert_eq!(clues("hub.example:1883", Mqtt), []);
}

#[test]
fn a_program_on_esp_idf_wants_a_strict_url() {
    use Dialect::EspIdf as Idf;
    assert_eq!(
        dials("https://[fd00::5]:8443/a.bin", Idf),
        "fd00::5:8443/a.bin with TLS"
    );
    assert_eq!(
        dials("mqtts://hub.example", Idf),
        "hub.example:8883/ with TLS"
    );
    assert_eq!(
        dials("http://user:pw@hub.example:8080/a", Idf),
        "hub.example:8080/a"
    );
    assert!(dials("http://hub.example /a", Idf).contains("U+0020"));
    assert!(dials("http://hub.example：8080/a", Idf).contains("no host"));
    assert!(dials("hub.example:8080/a", Idf).starts_with("refused"));
    assert!(dials("ssl://hub.example:8883", Idf).starts_with("refused"));
}

#[test]
fn a_tasmota_keeps_100_characters_of_its_update_address() {
    use Dialect::TasmotaOta as Ota;
    let file = "http://hub.example:8080/tasmota32.bin.gz";
    assert_eq!(dials(file, Ota), "hub.example:8080/tasmota32.bin.gz");
    let long = format!("http://hub.example/{}.bin", "a".repeat(90));
    assert_eq!(
        clues(&long, Ota),
        [(Cause::UrlMalformed, Strength::Specific)]
    );
    let wanted = "Backlog MqttHost hub.example; MqttPort 8883; SetOption103 1";
    let target = read("mqtts://hub.example:8883");
    assert_eq!(
        target.proposal(Dialect::TasmotaMqtt).as_deref(),
        Some(wanted)
    );
    assert_eq!(clues("mqtts://hub.example:8883", Dialect::TasmotaMqtt), []);
}

#[test]
fn a_missing_port_is_a_suspicion_until_a_port_was_looked_at() {
    let suspicion = [(Cause::UrlWithoutPort, Strength::Class)];
    for typed in [
        "http://192.168.1.5/xiaozhi/ota/",
        "http://hub.example/xiaozhi/ota/",
        "ws://192.168.1.5/xiaozhi/v1/",
    ] {
        assert_eq!(clues(typed, Dialect::XiaozhiOta), suspicion, "{typed}");
    }
    for typed in [
        "https://hub.example/xiaozhi/ota/",
        "http://hub.example:8002/xiaozhi/ota/",
    ] {
        assert_eq!(clues(typed, Dialect::XiaozhiOta), [], "{typed}");
    }
    let public = "wss://hub.example/xiaozhi/v1/";
    assert_eq!(clues(public, Dialect::XiaozhiWebsocket), []);
    let quote = &read("http://192.168.1.5/ota/").clues(Dialect::XiaozhiOta)[0].quote;
    assert!(quote.en.contains("port 80"), "{}", quote.en);
    assert!(quote.zh.contains("80 端口"));
}

#[test]
fn slips_that_the_device_falls_over_are_told_with_the_proper_form() {
    for typed in [
        "http://192.168.1.5：8002/xiaozhi/ota/",
        "http://192.168.1.5 :8002/xiaozhi/ota/",
        "http:/192.168.1.5:8002/xiaozhi/ota/",
        "http://192.168.1.5;8002/xiaozhi/ota/",
        "http://192.168.1.5.8002/xiaozhi/ota/",
        "htpp//192.168.1.5:8002/xiaozhi/ota/",
    ] {
        let target = read(typed);
        let clues = target.clues(Dialect::XiaozhiOta);
        assert_eq!(clues[0].cause, Cause::UrlMalformed, "{typed}");
        assert_eq!(clues[0].strength, Strength::Specific, "{typed}");
        let proper = "http://192.168.1.5:8002/xiaozhi/ota/";
        assert!(clues[0].quote.en.contains(proper), "{}", clues[0].quote.en);
        assert!(clues[0].quote.zh.contains(proper));
        assert_eq!(
            target.proposal(Dialect::XiaozhiOta).as_deref(),
            Some(proper)
        );
    }
}

#[test]
fn scheme_and_port_that_contradict_each_other_are_a_suspicion() {
    let suspicion = [(Cause::WrongScheme, Strength::Class)];
    for typed in [
        "http://hub.example:443/ota/",
        "https://hub.example:80/ota/",
        "mqtt://hub.example:8883",
        "mqtts://hub.example:1883",
    ] {
        assert_eq!(clues(typed, Dialect::EspIdf), suspicion, "{typed}");
    }
}

#[test]
fn hosts_that_a_device_cannot_use() {
    use Dialect::{EspIdf, Ml307Ota, XiaozhiOta};
    let own = (Cause::HandedOutUnreachable, Strength::Class);
    assert!(clues("http://127.0.0.1:8002/xiaozhi/ota/", XiaozhiOta).contains(&own));
    assert!(clues("http://localhost:8002/xiaozhi/ota/", XiaozhiOta).contains(&own));
    let name = |strength| (Cause::NameNotResolved, strength);
    assert_eq!(
        clues("http://hub.local:8002/a", EspIdf),
        [name(Strength::Class)]
    );
    assert_eq!(
        clues("http://hub.local:8002/a", Ml307Ota),
        [name(Strength::Specific)]
    );
}

#[test]
fn passwords_and_tokens_are_never_shown() {
    for typed in [
        "mqtt://plug:hunter2@hub.example:1883",
        "http://plug：hunter2＠hub.example/ota?token=hunter2",
        "ws://hub.example/v1/?token=hunter2&device-id=aa:bb",
        "http://plug:hunter2@",
        "mqtt://plug:hunter2@hub.example:hunter2",
    ] {
        let dialects = [
            Dialect::XiaozhiOta,
            Dialect::XiaozhiWebsocket,
            Dialect::XiaozhiMqtt,
            Dialect::Ml307Ota,
            Dialect::EspIdf,
            Dialect::TasmotaMqtt,
            Dialect::TasmotaOta,
            Dialect::EspEasy,
            Dialect::EspHome,
            Dialect::Shelly,
        ];
        let quotes: Vec<String> = match Target::read(typed) {
            Ok(target) => {
                assert!(!target.typed.contains("hunter2"), "{}", target.typed);
                let clues = dialects.iter().flat_map(|dialect| target.clues(*dialect));
                clues.map(|clue| clue.quote.en + &clue.quote.zh).collect()
            }
            Err(clues) => clues.iter().map(|clue| clue.quote.en.clone()).collect(),
        };
        assert!(
            quotes.iter().all(|quote| !quote.contains("hunter2")),
            "{quotes:#?}"
        );
    }
}

#[test]
fn what_stands_there_is_told_by_scheme_port_and_path() {
    for (typed, service) in [
        ("mqtts://hub.example", Service::Mqtt),
        ("hub.example:8883", Service::Mqtt),
        ("wss://hub.example/", Service::Websocket),
        ("http://hub.example:8002/xiaozhi/ota/", Service::Ota),
        ("http://hub.example/firmware/tasmota32.bin", Service::Http),
        ("hub.example", Service::Unknown),
    ] {
        assert_eq!(read(typed).service(), service, "{typed}");
    }
    let target = read("wss://hub.example/xiaozhi/v1/");
    assert_eq!(
        (target.wants_tls(), target.likely_port()),
        (Some(true), Some(443))
    );
    assert_eq!(
        target.with_port(8443).url(),
        "wss://hub.example:8443/xiaozhi/v1/"
    );
    assert_eq!(
        target.with_scheme(Scheme::Ws).url(),
        "ws://hub.example/xiaozhi/v1/"
    );
    assert_eq!(target.facts().get("port"), Some("443"));
}

#[test]
fn what_is_typed_for_us_is_not_held_against_the_device() {
    // Nobody types a scheme into the field of a device that wants none, or a URL into MqttHost.
    for (typed, dialect) in [
        ("mqtt://hub.example:1883", Dialect::XiaozhiMqtt),
        ("mqtt://hub.example:1883", Dialect::TasmotaMqtt),
        ("mqtts://hub.example:8883", Dialect::Shelly),
        ("hub.example:8002", Dialect::XiaozhiOta),
        ("192.168.1.5", Dialect::EspIdf),
    ] {
        assert_eq!(read(typed).clues(dialect), [], "{typed}");
    }
    // With a slip in it, it was pasted from somewhere, and may stand in the device like that.
    let pasted = clues("hub.example：1883", Dialect::TasmotaMqtt);
    assert_eq!(pasted, [(Cause::UrlMalformed, Strength::Class)]);
    let pasted = clues("192.168.1.5：8002", Dialect::XiaozhiOta);
    assert_eq!(pasted, [(Cause::UrlMalformed, Strength::Specific)]);
}
