//! Which stack a hello looks like.

use std::collections::HashMap;
use std::sync::Arc;

use safeport_net::hello::{ClientHello, Stack};
use safeport_net::rustls::{self, ClientConfig, ClientConnection, RootCertStore};

use crate::captured::{all, captured};

fn read(bytes: &[u8]) -> ClientHello {
    ClientHello::read(bytes).unwrap().expect("it is whole")
}

#[test]
fn every_captured_hello_is_recognised() {
    for name in all() {
        let stack = match name.split('-').next().unwrap() {
            "bearssl" if name.contains("tasmota") => Stack::BearSsl,
            "bearssl" => Stack::BearSslOther,
            "mbedtls" if name.contains("-2") => Stack::MbedTls,
            "mbedtls" => Stack::EspIdf,
            "wolfssl" => Stack::WolfSsl,
            "openssl" | "curl" | "python" | "mosquitto_sub" | "node" => Stack::OpenSsl,
            "gnutls" | "wget" => Stack::GnuTls,
            "nss" => Stack::Nss,
            "java" => Stack::Java,
            "go" => Stack::Go,
            "chromium" => Stack::Chromium,
            other => panic!("what is {other}?"),
        };
        assert_eq!(read(&captured(&name)).stack(), stack, "{name}");
    }
}

#[test]
fn rustls_is_recognised_however_it_shuffles() {
    for versions in [
        &[&rustls::version::TLS12, &rustls::version::TLS13][..],
        &[&rustls::version::TLS13],
        &[&rustls::version::TLS12],
    ] {
        for alpn in [vec![], vec![b"http/1.1".to_vec()]] {
            for _ in 0..20 {
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let mut config = ClientConfig::builder_with_provider(provider)
                    .with_protocol_versions(versions)
                    .unwrap()
                    .with_root_certificates(RootCertStore::empty())
                    .with_no_client_auth();
                config.alpn_protocols = alpn.clone();
                let name = "hub.local".try_into().unwrap();
                let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
                let mut bytes = Vec::new();
                client.write_tls(&mut bytes).unwrap();
                let hello = read(&bytes);
                assert_eq!(hello.stack(), Stack::Rustls, "{hello:?}");
                assert_eq!(hello.server_name.as_deref(), Some("hub.local"));
            }
        }
    }
}

#[test]
fn only_a_stack_that_no_device_cuts_down_has_large_buffers() {
    for name in all() {
        let device = ["bearssl", "mbedtls", "wolfssl"];
        let device = device.iter().any(|stack| name.starts_with(stack));
        let stack = read(&captured(&name)).stack();
        assert_eq!(stack.has_large_buffers(), !device, "{name}");
    }
    assert!(!Stack::Unknown.has_large_buffers());
    assert!(!Stack::Modem.has_large_buffers());
}

#[test]
fn a_hello_without_a_name_and_with_rc4_looks_like_a_modem() {
    let hello = ClientHello {
        legacy_version: 0x0303,
        suites: vec![0x0035, 0x002f, 0x000a, 0x0005, 0x0004],
        ..ClientHello::default()
    };
    assert_eq!(hello.stack(), Stack::Modem);
    let named = ClientHello {
        server_name: Some("hub.local".into()),
        ..hello
    };
    assert_eq!(named.stack(), Stack::Unknown);
}

#[test]
fn the_name_in_a_hello_does_not_change_its_fingerprint_and_the_buffer_does() {
    let fingerprint = |name| read(&captured(name)).fingerprint();
    assert_eq!(fingerprint("bearssl-tasmota"), "12-s1-x5-b5fa505908");
    assert_eq!(
        fingerprint("bearssl-tasmota-ip"),
        fingerprint("bearssl-tasmota")
    );
    assert_ne!(
        fingerprint("bearssl-tasmota-2048"),
        fingerprint("bearssl-tasmota")
    );
    assert_eq!(
        fingerprint("openssl-s_client"),
        fingerprint("openssl-noname")
    );
}

#[test]
fn programs_have_fingerprints_of_their_own() {
    let mut seen: HashMap<String, Vec<String>> = HashMap::new();
    for name in all() {
        let hello = read(&captured(&name));
        seen.entry(hello.fingerprint()).or_default().push(name);
    }
    let mut shared: Vec<Vec<String>> = seen.into_values().filter(|names| names.len() > 1).collect();
    shared.sort();
    // The same program, once without a name and once with an address as the name.
    let same = [
        ["bearssl-tasmota", "bearssl-tasmota-ip"],
        ["openssl-noname", "openssl-s_client"],
    ];
    assert_eq!(shared, same);
}

#[test]
fn codes_and_names_tell_all_stacks_apart() {
    let codes: std::collections::HashSet<_> = Stack::ALL.iter().map(|stack| stack.code()).collect();
    let names: std::collections::HashSet<_> = Stack::ALL.iter().map(|stack| stack.name()).collect();
    assert_eq!(
        (codes.len(), names.len()),
        (Stack::ALL.len(), Stack::ALL.len())
    );
}
