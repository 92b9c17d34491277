//! What is read from a hello, and what is refused.

use proptest::prelude::*;
use safeport_net::hello::{ClientHello, GREASE, HelloError, Part, TLS12, TLS13};
use safeport_net::limits::{HELLO_BYTES, HELLO_NAME, HELLO_PROTOCOLS, HELLO_RECORDS};

use crate::captured::{all, captured};
use crate::hello::{cut, message, read, record, round_trip};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_hello_reads_back_as_itself_however_it_is_cut(data in prop::collection::vec(any::<u8>(), 0..600)) {
        round_trip(&data);
    }

    #[test]
    fn no_bytes_make_reading_panic(mut data in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&data);
        // And behind a good start.
        let head = [22, 3, 1, 0, 200, 1, 0, 0, 196];
        data.splice(0..0, head);
        read(&data);
    }

    #[test]
    fn a_captured_hello_with_some_bytes_changed_never_makes_reading_panic(
        which in 0usize..27,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let names = all();
        let mut bytes = captured(&names[which % names.len()]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read(&bytes);
    }
}

#[test]
fn a_tasmota_hello_says_all_that_is_needed_to_serve_it() {
    let hello = ClientHello::read(&captured("bearssl-tasmota"))
        .unwrap()
        .unwrap();
    let expected = ClientHello {
        legacy_version: 0x0303,
        suites: vec![0xc02f],
        groups: vec![0x0017],
        signatures: vec![0x0401],
        extensions: vec![0xff01, 0, 1, 13, 10, 11],
        server_name: Some("hub.local".into()),
        max_fragment: Some(1024),
        secure_renegotiation: true,
        point_formats: vec![0],
        ..ClientHello::default()
    };
    assert_eq!(hello, expected);
    assert_eq!(hello.fragment(), Some(1024));
    assert!(hello.speaks(TLS12) && !hello.speaks(TLS13));
}

#[test]
fn a_chromium_hello_shows_its_grease_as_one_value() {
    let hello = ClientHello::read(&captured("chromium")).unwrap().unwrap();
    assert_eq!(hello.versions, [GREASE, TLS13, TLS12]);
    assert_eq!(hello.suites[0], GREASE);
    assert_eq!(hello.groups, [GREASE, 0x11ec, 0x001d, 0x0017, 0x0018]);
    assert_eq!(hello.key_shares, [GREASE, 0x11ec, 0x001d]);
    assert_eq!(hello.extensions.iter().filter(|e| **e == GREASE).count(), 2);
    assert_eq!(hello.alpn, ["h2", "http/1.1"]);
    assert_eq!(hello.highest_version(), TLS13);
}

#[test]
fn every_captured_hello_is_read_at_its_last_byte_and_not_before() {
    for name in all() {
        let bytes = captured(&name);
        for end in 0..bytes.len() {
            assert_eq!(ClientHello::read(&bytes[..end]), Ok(None), "{name}, {end}");
        }
        assert!(matches!(ClientHello::read(&bytes), Ok(Some(_))), "{name}");
    }
}

#[test]
fn a_hello_over_several_records_is_joined_even_inside_its_head() {
    let whole = captured("curl");
    let body = &whole[5..];
    for length in [1, 2, 3, 5, 100, 300] {
        let (first, rest) = body.split_at(length);
        let records: Vec<u8> = std::iter::once(first)
            .chain(rest.chunks(100))
            .flat_map(record)
            .collect();
        assert_eq!(
            ClientHello::read(&records),
            ClientHello::read(&whole),
            "{length}"
        );
    }
}

#[test]
fn the_smaller_of_two_wishes_for_short_records_counts() {
    let mut hello = ClientHello {
        legacy_version: TLS12,
        max_fragment: Some(2048),
        record_size_limit: Some(1025),
        ..ClientHello::default()
    };
    assert_eq!(hello.fragment(), Some(1025));
    // In TLS 1.3 one byte of it is the content type.
    hello.versions = vec![TLS13, TLS12];
    assert_eq!(hello.fragment(), Some(1024));
    hello.max_fragment = Some(512);
    assert_eq!(hello.fragment(), Some(512));
    let gnutls = ClientHello::read(&captured("gnutls")).unwrap().unwrap();
    assert_eq!(gnutls.fragment(), Some(16_384));
    assert_eq!(ClientHello::default().fragment(), None);
}

#[test]
fn a_hello_full_of_short_protocols_and_a_long_name_is_not_kept_as_a_whole() {
    let hello = ClientHello {
        legacy_version: TLS12,
        suites: vec![0xc02f],
        extensions: vec![0, 16],
        server_name: Some("h".repeat(4000)),
        alpn: vec!["h".into(); 5000],
        ..ClientHello::default()
    };
    let read = ClientHello::read(&cut(&message(&hello)))
        .expect("a hello")
        .expect("all of it");
    assert_eq!(read.alpn, vec!["h"; HELLO_PROTOCOLS]);
    assert_eq!(read.server_name, Some("h".repeat(HELLO_NAME)));
}

#[test]
fn a_hello_of_64_kb_is_refused_at_its_head() {
    let head = [1, 0, 0xff, 0xff];
    let error = Err(HelloError::TooLarge);
    assert_eq!(ClientHello::read(&record(&head)), error);
    let whole = [&head[..], &[0; 65_535]].concat();
    assert_eq!(ClientHello::read(&cut(&whole)), error);
    // The longest that is allowed is waited for; one byte more is not.
    let most = u32::try_from(HELLO_BYTES).unwrap().to_be_bytes();
    assert_eq!(
        ClientHello::read(&record(&[1, most[1], most[2], most[3]])),
        Ok(None)
    );
    let more = u32::try_from(HELLO_BYTES + 1).unwrap().to_be_bytes();
    assert_eq!(
        ClientHello::read(&record(&[1, more[1], more[2], more[3]])),
        error
    );
}

#[test]
fn a_hello_in_crumbs_is_refused() {
    let crumbs: Vec<u8> = captured("curl")[5..].chunks(1).flat_map(record).collect();
    assert_eq!(ClientHello::read(&crumbs), Err(HelloError::TooLarge));
    assert_eq!(ClientHello::read(&crumbs[..6 * HELLO_RECORDS]), Ok(None));
}

#[test]
fn what_is_no_hello_is_named() {
    let refused = |bytes: &[u8]| ClientHello::read(bytes).unwrap_err();
    // SSL 2.0 with the offer of TLS 1.0 in it, and of SSL 2.0 itself.
    assert_eq!(refused(&[0x80, 0x2e, 1, 3, 1, 0, 0x15]), HelloError::Ssl2);
    assert_eq!(refused(&[0x80, 0x2e, 1, 0, 2]), HelloError::Ssl2);
    assert_eq!(
        refused(b"\x10\x0c\0\x04MQTT"),
        HelloError::NotTls { first: 0x10 }
    );
    assert_eq!(
        refused(b"GET / HTTP/1.1"),
        HelloError::NotTls { first: b'G' }
    );
    assert_eq!(refused(&[22, 2, 0]), HelloError::NotTls { first: 22 });
    assert_eq!(refused(&[0xff; 4]), HelloError::NotTls { first: 0xff });
    assert_eq!(
        refused(&[21, 3, 1, 0, 2, 2, 40]),
        HelloError::NotHandshake { content: 21 }
    );
    assert_eq!(refused(&[23, 3]), HelloError::NotHandshake { content: 23 });
    assert_eq!(
        refused(&record(&[2])),
        HelloError::NotClientHello { message: 2 }
    );
    assert_eq!(
        refused(&[22, 3, 1, 0, 0]),
        HelloError::Malformed { at: Part::Record }
    );
    let other = [record(&[1]), vec![20, 3, 3, 0, 1, 1]].concat();
    assert_eq!(refused(&other), HelloError::NotHandshake { content: 20 });
}

#[test]
fn an_ssl_3_hello_without_extensions_is_read_and_shows_its_version() {
    let hello = ClientHello {
        legacy_version: 0x0300,
        suites: vec![0x0005, 0x000a],
        ..ClientHello::default()
    };
    let read = ClientHello::read(&cut(&message(&hello))).unwrap().unwrap();
    assert_eq!(read, hello);
    assert_eq!(read.highest_version(), 0x0300);
    assert!(!read.speaks(TLS12));
    assert!(
        read.fingerprint().starts_with("30-s2-x0-"),
        "{}",
        read.fingerprint()
    );
}

#[test]
fn lengths_that_lie_are_named_with_their_place() {
    let good = captured("bearssl-tasmota");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        ClientHello::read(&bytes).unwrap_err()
    };
    let at = |at| HelloError::Malformed { at };
    // The session identifier, the suites (half a suite; too many), the compressions, the
    // extensions, and inside one.
    assert_eq!(with(43, 200), at(Part::Start));
    assert_eq!(with(45, 3), at(Part::Suites));
    assert_eq!(with(44, 9), at(Part::Suites));
    assert_eq!(with(48, 250), at(Part::Compressions));
    assert_eq!(with(51, 0x31), at(Part::Extensions));
    assert_eq!(with(51, 0x33), at(Part::Extensions));
    assert_eq!(with(62, 0x0d), at(Part::Extension(0)));
}

#[test]
fn an_extension_that_stands_there_twice_is_refused_and_unknown_ones_are_kept() {
    let mut hello = ClientHello {
        legacy_version: TLS12,
        suites: vec![0xc02f],
        extensions: vec![0x1234, GREASE, 0x4321, GREASE],
        ..ClientHello::default()
    };
    let read = |hello: &ClientHello| ClientHello::read(&cut(&message(hello)));
    assert_eq!(read(&hello), Ok(Some(hello.clone())));
    hello.extensions.push(0x1234);
    assert_eq!(read(&hello), Err(HelloError::Twice { extension: 0x1234 }));
}

#[test]
fn a_name_from_a_stranger_cannot_write_into_a_log() {
    let hello = ClientHello {
        legacy_version: TLS12,
        extensions: vec![0],
        server_name: Some("hub\n\x1b[31m小智".into()),
        ..ClientHello::default()
    };
    let read = ClientHello::read(&cut(&message(&hello))).unwrap().unwrap();
    assert_eq!(
        read.server_name.as_deref(),
        Some("hub\u{fffd}\u{fffd}[31m小智")
    );
}
