//! ClientHellos against those that were captured from the real libraries.

use safeport_doctor::profile::Profile;
use safeport_doctor::target::Host;
use safeport_doctor::tls::{Offer, distinct_offers};

/// A captured ClientHello, record and all.
fn captured(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../net/tests/hello/captured/{name}.hex",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    crate::answers::bytes(&text)
}

/// The random in a ClientHello, which differs each time.
fn random(hello: &[u8]) -> [u8; 32] {
    hello[11..43].try_into().unwrap()
}

fn hello(profile: &str, host: &str, like: &[u8]) -> Vec<u8> {
    let offer = Offer::of(Profile::of(profile).unwrap());
    offer.bytes(&Host::of(host).unwrap(), random(like), &[])
}

#[test]
fn a_tasmota_says_byte_for_byte_what_bearssl_says() {
    for (profile, host, name) in [
        ("tasmota-esp8266", "hub.local", "bearssl-tasmota"),
        ("tasmota-esp8266", "192.168.1.20", "bearssl-tasmota-ip"),
        ("tasmota-esp32", "hub.local", "bearssl-tasmota-2048"),
    ] {
        let wanted = captured(name);
        assert_eq!(hello(profile, host, &wanted), wanted, "{name}");
    }
    // Captured with the buffer of an ESP8266; the published images with ECDSA are for ESP32.
    let wanted = captured("bearssl-tasmota-ecdsa");
    let offer = Offer {
        max_fragment: Some(1024),
        ..Offer::of(Profile::of("tasmota-ecdsa").unwrap())
    };
    let host = Host::of("hub.local").unwrap();
    assert_eq!(offer.bytes(&host, random(&wanted), &[]), wanted);
}

#[test]
fn esp_idf_5_says_byte_for_byte_what_mbedtls_3_says() {
    let wanted = captured("mbedtls-3-idf");
    for profile in ["idf-5-bundle", "esphome", "xiaozhi", "shelly-gen2"] {
        assert_eq!(hello(profile, "hub.local", &wanted), wanted, "{profile}");
    }
}

#[test]
fn esp_idf_6_has_the_form_of_mbedtls_with_tls_13() {
    let wanted = captured("mbedtls-3-tls13");
    let key = vec![9; 32];
    let offer = Offer {
        // The captured build has more suites and groups; its form is what is compared.
        suites: suites(&wanted),
        groups: vec![
            0x1d, 0x17, 0x18, 0x1e, 0x19, 0x1a, 0x1b, 0x1c, 0x100, 0x101, 0x102, 0x103, 0x104,
        ],
        ..Offer::of(Profile::of("idf-6").unwrap())
    };
    assert_eq!(offer.shares(), [0x1d]);
    let host = Host::of("hub.local").unwrap();
    let mut made = offer.bytes(&host, random(&wanted), &[(0x1d, key.clone())]);
    // The session is free to choose, and the key share is of one connection.
    made[44..76].copy_from_slice(&wanted[44..76]);
    let at = made.windows(32).position(|part| part == key).unwrap();
    made[at..at + 32].copy_from_slice(&wanted[at..at + 32]);
    assert_eq!(made, wanted);
}

fn suites(hello: &[u8]) -> Vec<u16> {
    let start = 44 + usize::from(hello[43]);
    let length = usize::from(u16::from_be_bytes([hello[start], hello[start + 1]]));
    hello[start + 2..start + 2 + length]
        .chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect()
}

#[test]
fn a_device_that_names_nobody_sends_no_name() {
    let host = Host::of("hub.example").unwrap();
    let has_name = |offer: &Offer| {
        let bytes = offer.bytes(&host, [1; 32], &[]);
        bytes.windows(11).any(|part| part == b"hub.example")
    };
    for profile in Profile::ALL {
        let named = !matches!(profile.name, "ml307" | "ec801e");
        assert_eq!(has_name(&Offer::of(profile)), named, "{}", profile.name);
    }
    assert!(has_name(&Offer::wide()));
    assert!(!has_name(&Offer::wide().without_sni()));
    // ESPEasy names hosts, and no addresses.
    let espeasy = Offer::of(Profile::of("espeasy").unwrap());
    let address = espeasy.bytes(&Host::of("192.168.1.20").unwrap(), [1; 32], &[]);
    assert!(!address.windows(12).any(|part| part == b"192.168.1.20"));
}

#[test]
fn few_connections_are_enough_for_all_profiles() {
    let all: Vec<&'static Profile> = Profile::ALL.iter().collect();
    let offers = distinct_offers(&all);
    assert_eq!(offers.len(), 5);
    let senders: usize = offers.iter().map(|(_, senders)| senders.len()).sum();
    assert_eq!(senders, all.len());
}

#[test]
fn every_profile_is_found_by_its_names() {
    for profile in Profile::ALL {
        for name in [profile.name].iter().chain(profile.aliases) {
            let found = Profile::of(&name.to_uppercase()).unwrap();
            assert_eq!(found.name, profile.name);
        }
        assert!(Profile::of_family(profile.family, None).is_some());
    }
    assert_eq!(Profile::of("toaster"), None);
    // Published images for ESP8266 have no TLS: who asks about Tasmota and TLS means an ESP32.
    for (chip, name) in [
        (None, "tasmota-esp32"),
        (Some("ESP32-S3"), "tasmota-esp32"),
        (Some("ESP8285"), "tasmota-esp8266"),
    ] {
        let profile = Profile::of_family("tasmota", chip).unwrap();
        assert_eq!(profile.name, name);
    }
    assert_eq!(Profile::of("tasmota").unwrap().name, "tasmota-esp32");
}
