use super::*;
use crate::DeviceName;

const FINGERPRINT: &str = "F5 42 76 B3 A7 D7 6F 94 CF 23 BB 82 67 D4 64 53 B2 50 83 15";
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const PASSWORD: &str = "7zzzzzzzzzzzzzzzzzzzzzzzzz";

fn device(name: &str, family: Family) -> Device {
    Device::new(DeviceName::new(name).unwrap(), family, None, 0).unwrap()
}

fn plain(host: &str) -> Endpoint<'_> {
    Endpoint {
        host,
        port: 1883,
        url: "mqtt://[fd00::1]:1883",
        tls: None,
        firmware: None,
    }
}

fn tls(host: &str) -> Endpoint<'_> {
    Endpoint {
        host,
        port: 8883,
        url: "mqtts://server.lan:8883",
        tls: Some(Trust {
            fingerprint: FINGERPRINT,
            ca_pem: PEM,
        }),
        firmware: None,
    }
}

fn text(endpoint: &Endpoint<'_>, name: &str, family: Family) -> String {
    setup(endpoint, &device(name, family), PASSWORD)
        .unwrap()
        .to_string()
}

#[test]
fn the_tasmota_line_sets_everything_that_the_devices_rights_are_built_on() {
    assert_eq!(
        text(&plain("192.168.1.10"), "plug-1", Family::Tasmota),
        "Backlog MqttHost 192.168.1.10; MqttPort 1883; SetOption103 0; MqttUser plug-1; \
         MqttPassword 7zzzzzzzzzzzzzzzzzzzzzzzzz; MqttClient plug-1; Topic plug-1; \
         FullTopic %prefix%/%topic%/\n"
    );
}

#[test]
fn the_tasmota_line_for_tls_pins_the_servers_key() {
    assert_eq!(
        text(&tls("192.168.1.10"), "plug-1", Family::Tasmota),
        "Backlog MqttHost 192.168.1.10; MqttPort 8883; SetOption103 1; SetOption132 1; \
         MqttFingerprint1 F5 42 76 B3 A7 D7 6F 94 CF 23 BB 82 67 D4 64 53 B2 50 83 15; \
         MqttUser plug-1; MqttPassword 7zzzzzzzzzzzzzzzzzzzzzzzzz; MqttClient plug-1; \
         Topic plug-1; FullTopic %prefix%/%topic%/\n"
    );
}

#[test]
fn the_longest_tasmota_line_fits_its_console_and_the_limit_of_commands() {
    let host = alloc::format!("{}.example.org", "a".repeat(50));
    let name = "a".repeat(limits::MAX_NAME);
    let line = text(&tls(&host), &name, Family::Tasmota);
    // The serial console takes 520 bytes, a Backlog 30 commands.
    assert!(line.len() < 520, "{}", line.len());
    assert!(line.split(';').count() <= 30);
}

#[test]
fn a_backlog_of_any_generated_password_splits_into_one_command_each() {
    for seed in 0..=255u8 {
        let password = crate::Password::from_entropy([seed.wrapping_mul(37); 16]);
        let line = tasmota_backlog(
            &plain("10.0.0.1"),
            &device("plug-1", Family::Tasmota),
            password.as_str(),
        )
        .unwrap();
        let commands: Vec<&str> = line
            .strip_prefix("Backlog ")
            .unwrap()
            .split(';')
            .map(str::trim)
            .collect();
        assert_eq!(commands.len(), 8);
        assert!(commands.contains(&alloc::format!("MqttPassword {}", password.as_str()).as_str()));
    }
}

#[test]
fn passwords_that_tasmota_would_change_are_refused() {
    let plug = device("plug-1", Family::Tasmota);
    for password in [
        "",
        "a;b",
        "0",
        "1",
        "\"",
        " a",
        "a ",
        "päss",
        "a\nb",
        &"a".repeat(64),
    ] {
        assert!(
            matches!(
                tasmota_backlog(&plain("10.0.0.1"), &plug, password),
                Err(SetupError::Password { .. })
            ),
            "{password:?}"
        );
    }
    // Others have no trouble with a semicolon.
    assert!(setup(&plain("10.0.0.1"), &device("node", Family::EspEasy), "a;b").is_ok());
}

#[test]
fn hosts_that_a_device_could_not_be_told_are_refused() {
    for host in [
        "",
        "mqtt://10.0.0.1",
        "10.0.0.1:1883",
        "a b",
        "a;Reset 1",
        "host\n",
        &"a".repeat(254),
    ] {
        // A xiaozhi is told the URL of its check, and the rest in answer to it.
        let told = |family: &Family| *family != Family::Xiaozhi;
        for family in Family::ALL.into_iter().filter(told) {
            let refused = setup(&plain(host), &device("node", family), PASSWORD);
            assert!(
                matches!(refused, Err(SetupError::Host { .. })),
                "{family} {host:?}"
            );
        }
    }
    assert!(setup(&plain("fd00::1"), &device("node", Family::Plain), PASSWORD).is_ok());
}

#[test]
fn tasmota_is_not_sent_to_a_name_that_it_cannot_resolve() {
    for host in ["server.local", "SERVER.LOCAL", "server.local."] {
        let refused = setup(&plain(host), &device("plug-1", Family::Tasmota), PASSWORD);
        assert!(
            matches!(refused, Err(SetupError::LocalName { .. })),
            "{host}"
        );
    }
    assert!(
        setup(
            &plain("local.lan"),
            &device("plug-1", Family::Tasmota),
            PASSWORD
        )
        .is_ok()
    );
    assert!(
        setup(
            &plain("server.local"),
            &device("node", Family::EspHome),
            PASSWORD
        )
        .is_ok()
    );
}

#[test]
fn fingerprints_are_taken_in_any_spelling_but_never_one_that_switches_checking_off() {
    let line = |fingerprint: &str| {
        let endpoint = Endpoint {
            tls: Some(Trust {
                fingerprint,
                ca_pem: PEM,
            }),
            ..plain("10.0.0.1")
        };
        tasmota_backlog(&endpoint, &device("plug-1", Family::Tasmota), PASSWORD)
    };
    let expected = line(FINGERPRINT).unwrap();
    assert_eq!(
        line(&FINGERPRINT.replace(' ', ":").to_lowercase()).unwrap(),
        expected
    );
    assert_eq!(line(&FINGERPRINT.replace(' ', "")).unwrap(), expected);
    for bad in [
        "",
        "F5 42",
        &"00 ".repeat(20),
        &"FF:".repeat(20),
        &"é".repeat(20),
        &"G".repeat(40),
    ] {
        assert_eq!(line(bad), Err(SetupError::Fingerprint), "{bad}");
    }
}

#[test]
fn espeasy_gets_the_fields_of_its_own_form_with_a_timeout_that_works() {
    let text = text(&plain("192.168.1.10"), "node", Family::EspEasy);
    for (label, value) in [
        ("Unit Name", "node"),
        ("Controller IP", "192.168.1.10"),
        ("Controller Port", "1883"),
        ("Client Timeout", "1000"),
        ("TLS option", "No TLS"),
        ("Controller User", "node"),
        ("Controller Password", PASSWORD),
        ("Controller Subscribe", "%sysname%/#"),
        ("Controller Publish", "%sysname%/%tskname%/%valname%"),
    ] {
        let found = text
            .lines()
            .find(|line| line.starts_with(label))
            .unwrap_or_else(|| panic!("{label} in {text}"));
        assert_eq!(found.trim_start_matches(label).trim(), value);
    }
    let by_name = self::text(&tls("server.lan"), "node", Family::EspEasy);
    assert!(by_name.contains("Use Hostname"), "{by_name}");
    assert!(by_name.contains("TLS No Checks (insecure)"), "{by_name}");
    assert!(by_name.contains("8883"), "{by_name}");
}

#[test]
fn an_espeasy_topic_of_its_own_replaces_the_sysname_everywhere() {
    let node = device("node", Family::EspEasy)
        .with_topic("home/node")
        .unwrap();
    let text = setup(&plain("10.0.0.1"), &node, PASSWORD)
        .unwrap()
        .to_string();
    assert!(!text.contains("%sysname%"), "{text}");
    assert!(text.contains("home/node/#"), "{text}");
}

#[test]
fn esphome_gets_yaml_with_every_text_quoted_and_the_ca_indented() {
    let node = device("node", Family::EspHome);
    let text = setup(&tls("server.lan"), &node, "a\"b\\c: #d")
        .unwrap()
        .to_string();
    assert_eq!(
        text,
        "esphome:\n  name: \"node\"\n\nmqtt:\n  broker: \"server.lan\"\n  port: 8883\n  \
         username: \"node\"\n  password: \"a\\\"b\\\\c: #d\"\n  client_id: \"node\"\n  \
         topic_prefix: \"node\"\n  skip_cert_cn_check: false\n  certificate_authority: |\n    \
         -----BEGIN CERTIFICATE-----\n    MIIB\n    -----END CERTIFICATE-----\n"
    );
    let by_address = self::text(&tls("10.0.0.1"), "node", Family::EspHome);
    assert!(
        by_address.contains("skip_cert_cn_check: true"),
        "{by_address}"
    );
    assert!(!self::text(&plain("10.0.0.1"), "node", Family::EspHome).contains("cert"));
}

#[test]
fn plain_firmware_gets_an_address_to_copy_with_brackets_around_ipv6() {
    let text = text(&plain("fd00::1"), "own", Family::Plain);
    assert!(text.contains("mqtt://[fd00::1]:1883"), "{text}");
    let text = self::text(&tls("server.lan"), "own", Family::Plain);
    assert!(text.contains("mqtts://server.lan:8883"), "{text}");
    assert!(text.contains("BEGIN CERTIFICATE"), "{text}");
}

fn with_firmware<'a>(endpoint: Endpoint<'a>, url: &'a str) -> Endpoint<'a> {
    Endpoint {
        firmware: Some(url),
        ..endpoint
    }
}

#[test]
fn a_xiaozhi_is_given_the_address_of_its_check_and_nothing_else() {
    let voice = device("voice", Family::Xiaozhi);
    let url = "http://192.168.1.10:8002/xiaozhi/ota/";
    // No password: what it logs in with comes with the answer to its check.
    let fields = setup(&with_firmware(plain("192.168.1.10"), url), &voice, "");
    assert_eq!(
        fields,
        Ok(Setup::Fields(vec![Field {
            label: "OTA URL",
            value: url.to_string()
        }]))
    );
    assert!(matches!(
        setup(&plain("192.168.1.10"), &voice, PASSWORD),
        Err(SetupError::NoCheckAddress { .. })
    ));
}

#[test]
fn an_esphome_device_finds_its_updates_in_the_manifest_behind_its_own_token() {
    let url = "http://192.168.1.10:8002/ota/dabcdefghijklmnopqrs/manifest.json";
    let text = text(
        &with_firmware(plain("192.168.1.10"), url),
        "node",
        Family::EspHome,
    );
    for part in [
        "\nhttp_request:\n  verify_ssl: false\n",
        "\nota:\n  - platform: http_request\n",
        "\nupdate:\n  - platform: http_request\n    name: Firmware\n    source: \"http://192.168.1.10:8002/ota/",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let without = self::text(&plain("192.168.1.10"), "node", Family::EspHome);
    assert!(!without.contains("http_request"), "{without}");
}

#[test]
fn own_firmware_is_told_where_its_image_is() {
    let url = "http://192.168.1.10:8002/ota/dabcdefghijklmnopqrs/firmware.bin";
    let text = text(
        &with_firmware(plain("192.168.1.10"), url),
        "own",
        Family::Plain,
    );
    assert!(
        text.contains(&alloc::format!("firmware_url  {url}\n")),
        "{text}"
    );
}

#[test]
fn errors_never_repeat_the_password() {
    let error = tasmota_backlog(
        &plain("10.0.0.1"),
        &device("plug-1", Family::Tasmota),
        "secret;secret",
    )
    .unwrap_err();
    assert!(!alloc::format!("{error} {error:?}").contains("secret"));
}
