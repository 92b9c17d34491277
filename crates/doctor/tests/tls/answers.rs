//! What servers answer to ClientHellos: recorded ones (`answers/`), and what is no TLS at all.

use safeport_doctor::profile::{Profile, Stack};
use safeport_doctor::tls::{
    Anchor, Answer, Flight, FlightReader, How, Offer, Outcome, Seen, Verdict, as_device, table,
};
use safeport_doctor::{Cause, Place, Strength};

use crate::lab::{Lab, b, b_ecdsa, certificate};

/// The bytes in a text of hexadecimal digits with remarks behind `#`.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.trim().chars())
        .collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// What a server of the lab answered: to which ClientHello, how it ended, and the bytes.
pub(crate) fn recorded(server: &str) -> Vec<(String, How, Vec<u8>)> {
    let path = format!(
        "{}/tests/tls/answers/{server}.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split(' ');
            let hello = words.next().unwrap().to_owned();
            let how = match words.next().unwrap() {
                "closed" => How::Closed,
                "reset" => How::Reset,
                _ => How::Silent,
            };
            (hello, how, bytes(words.next().unwrap_or_default()))
        })
        .collect()
}

fn read(bytes: &[u8], how: How) -> Flight {
    let mut reader = FlightReader::new();
    match reader.feed(bytes) {
        true => reader.end(How::Enough),
        false => reader.end(how),
    }
}

fn offer(name: &str) -> Offer {
    match name {
        "wide" => Offer::wide(),
        "unnamed" => Offer::wide().without_sni(),
        "legacy" => Offer::legacy(),
        "tls13" => Offer::only_tls13(),
        name => Offer::of(Profile::of(name).unwrap()),
    }
}

/// All that a server of the lab answered. What TLS 1.3 hides is what TLS 1.2 shows.
fn seen(server: &str) -> Seen {
    let mut seen = Seen::default();
    let answers = recorded(server);
    let flights = answers.iter().map(|(_, how, bytes)| read(bytes, *how));
    let flights: Vec<Flight> = flights.collect();
    let chain = flights.iter().find(|flight| !flight.chain.is_empty());
    let chain = chain.map_or(
        vec![certificate("leaf"), certificate("intermediate")],
        |flight| flight.chain.clone(),
    );
    for ((name, ..), mut flight) in answers.iter().zip(flights) {
        if flight.encrypted {
            flight.chain = chain.clone();
        }
        seen.note(offer(name), flight);
    }
    seen
}

/// What becomes of a device, as one line.
fn says(outcome: &Outcome) -> String {
    match &outcome.verdict {
        Verdict::Connects { with } => format!("connects: {with}"),
        Verdict::Stops { number, cause, .. } => match number {
            Some(number) => format!("{number} {cause}"),
            None => cause.to_string(),
        },
        Verdict::Unknown { because } => format!("unknown: {because}"),
    }
}

fn device(name: &str, server: &str) -> String {
    let lab = Lab::new();
    let profile = Profile::of(name).unwrap();
    says(&as_device(profile, &seen(server), &lab.circumstances()))
}

const FULL: &str = "connects: TLS 1.2, ECDHE-RSA-AES128-GCM-SHA256, P-256";

#[test]
fn row_1_devices_connect_to_a_good_server() {
    let lab = Lab::new();
    let profiles: Vec<&'static Profile> = Profile::ALL.iter().collect();
    for outcome in table(&seen("good"), &lab.circumstances(), &profiles) {
        assert!(
            says(&outcome).starts_with("connects: TLS 1."),
            "{}: {}",
            outcome.profile.name,
            says(&outcome)
        );
        assert!(outcome.clues.is_empty());
    }
    assert_eq!(device("tasmota-esp8266", "good"), FULL);
    assert_eq!(
        device("idf-6", "good"),
        "connects: TLS 1.3, TLS_AES_256_GCM_SHA384, X25519"
    );
}

#[test]
fn row_9_a_key_with_ecdsa_only() {
    let only = "296 no_common_cipher_ecdsa_only";
    assert_eq!(device("tasmota-esp8266", "ecdsa"), only);
    assert_eq!(device("espeasy", "ecdsa"), only);
    assert!(device("tasmota-ecdsa", "ecdsa").starts_with("connects"));
    assert!(device("xiaozhi", "ecdsa").starts_with("connects"));
}

#[test]
fn row_15_tls_13_only() {
    assert_eq!(device("tasmota-esp8266", "tls13-only"), "326 tls_version");
    assert_eq!(device("idf-5-bundle", "tls13-only"), "-0x7780 tls_version");
    assert_eq!(device("ml307", "tls13-only"), "tls_version");
    assert!(device("idf-6", "tls13-only").starts_with("connects: TLS 1.3"));
}

#[test]
fn row_16_tls_11_only() {
    assert_eq!(device("tasmota-esp8266", "tls11-only"), "296 tls_version");
    // mbedTLS 2.28 connects; mbedTLS 3 has no TLS 1.1 any more.
    assert_eq!(device("idf-5-bundle", "tls11-only"), "-0x6E80 tls_version");
    assert_eq!(device("idf-6", "tls11-only"), "-0x7780 tls_version");
}

#[test]
fn row_17_aes_256_only() {
    assert_eq!(
        device("tasmota-esp8266", "aes256-only"),
        "296 no_common_cipher"
    );
    assert!(device("idf-5-bundle", "aes256-only").starts_with("connects"));
    let outcome = as_device(b(), &seen("aes256-only"), &Lab::new().circumstances());
    assert!(
        outcome.clues[0]
            .quote
            .en
            .contains("ECDHE-RSA-AES256-GCM-SHA384"),
        "{}",
        outcome.clues[0].quote.en
    );
    assert_eq!(outcome.facts.get("number"), Some("296"));
}

#[test]
fn row_18_static_rsa_only() {
    assert_eq!(
        device("tasmota-esp8266", "static-rsa-only"),
        "296 no_common_cipher"
    );
    assert!(device("idf-5-bundle", "static-rsa-only").starts_with("connects"));
    // mbedTLS 4 has given that up.
    assert_eq!(
        device("idf-6", "static-rsa-only"),
        "-0x7780 no_common_cipher"
    );
}

#[test]
fn row_19_x25519_only() {
    assert_eq!(
        device("tasmota-esp8266", "x25519-only"),
        "296 no_common_group"
    );
    assert!(device("idf-5-bundle", "x25519-only").starts_with("connects"));
}

#[test]
fn row_20_a_client_certificate_is_demanded() {
    let wanted = "296 client_cert_required";
    assert_eq!(device("tasmota-esp8266", "client-certificate"), wanted);
    assert_eq!(
        device("idf-5-bundle", "client-certificate"),
        "-0x7780 client_cert_required"
    );
    // Whether it is demanded or only asked for, a whole handshake shows.
    let mut seen = seen("client-certificate");
    let lab = Lab::new();
    let strength = |seen: &Seen| {
        let outcome = as_device(b(), seen, &lab.circumstances());
        outcome.clues.first().map(|clue| clue.strength)
    };
    assert_eq!(strength(&seen), Some(Strength::Class));
    seen.without_certificate = Some(false);
    assert_eq!(strength(&seen), Some(Strength::Proof));
    seen.without_certificate = Some(true);
    assert_eq!(says(&as_device(b(), &seen, &lab.circumstances())), FULL);
}

#[test]
fn row_21_another_certificate_for_those_who_name_nobody() {
    // That of the name comes without its intermediate, as openssl has it; here the device knows that.
    let (server, mut lab) = (seen("sni"), Lab::new());
    let intermediate = Anchor::of_certificate(&certificate("intermediate"));
    lab.own.extend(intermediate);
    let named = as_device(b(), &server, &lab.circumstances());
    assert_eq!(says(&named), FULL);
    // A Tasmota that named nobody would get 62; ESPEasy names no addresses, and does not compare them.
    let unnamed = server
        .answers
        .iter()
        .find(|(offer, _)| *offer == self::offer("unnamed"))
        .unwrap();
    // (openssl sends the intermediate behind it, where it does not belong.)
    let alone = &unnamed.1.chain[..1];
    let judged = safeport_doctor::tls::judge_chain(b(), alone, &lab.circumstances());
    assert_eq!(crate::lab::said(&judged), "62 untrusted_self_signed");
    // Modules name nobody, and look at no certificate: they end up at the default site.
    let module = Profile::of("ec801e").unwrap();
    let outcome = as_device(module, &server, &lab.circumstances());
    assert_eq!(says(&outcome), "sni_needed");
    assert!(outcome.clues[0].quote.en.contains("signed itself"));
    let clue = server.default_certificate(&lab.circumstances()).unwrap();
    assert_eq!(clue.cause, Cause::SniNeeded);
    assert_eq!(seen("good").default_certificate(&lab.circumstances()), None);
}

#[test]
fn row_35_handshake_messages_in_pieces() {
    assert_eq!(
        device("idf-5-bundle", "split"),
        "-0x7080 handshake_fragmented"
    );
    assert_eq!(device("tasmota-esp8266", "split"), FULL);
    assert!(device("idf-6", "split").starts_with("connects"));
    let flight = read(&recorded("split")[5].2, How::Silent);
    assert!(flight.split_handshake && flight.largest_record() <= 512 + 64);
    let whole = read(&recorded("good")[5].2, How::Silent);
    assert!(!whole.split_handshake);
}

#[test]
fn a_flight_says_what_was_agreed_on() {
    let flight = read(&recorded("good")[0].2, How::Silent);
    assert!(flight.whole && flight.accepted() && !flight.damaged);
    assert_eq!(flight.answer, Answer::Tls);
    assert_eq!((flight.version, flight.suite), (Some(0x0303), Some(0xc02f)));
    assert_eq!((flight.group, flight.signature), (Some(0x17), Some(0x0401)));
    assert_eq!(flight.chain, crate::lab::chain(&["leaf", "intermediate"]));
    assert!(
        flight.max_fragment,
        "openssl keeps records short when asked"
    );
    let tls13 = read(&recorded("good")[8].2, How::Silent);
    assert!(tls13.encrypted && tls13.chain.is_empty());
    assert_eq!((tls13.version, tls13.group), (Some(0x0304), Some(0x1d)));
}

#[test]
fn a_flight_reads_the_same_however_it_is_cut() {
    for server in ["good", "split", "client-certificate", "tls13-only"] {
        for (_, how, bytes) in recorded(server) {
            let whole = read(&bytes, how);
            for step in [1, 3, 7, 1000] {
                let mut reader = FlightReader::new();
                let over = bytes.chunks(step).any(|part| reader.feed(part));
                let flight = reader.end(if over { How::Enough } else { how });
                let without = |flight: &Flight| Flight {
                    bytes: 0,
                    ..flight.clone()
                };
                assert_eq!(without(&flight), without(&whole), "{server} by {step}");
            }
        }
    }
}

#[test]
fn rows_22_to_24_and_26_what_answers_is_not_tls() {
    for (bytes, cause, number) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n"[..],
            Cause::TlsToPlainHttp,
            "3 -0x7200",
        ),
        (
            b"<html>\r\n<head><title>400</title>",
            Cause::TlsToPlainHttp,
            "3 -0x7200",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
            Cause::WrongService,
            "3 -0x7200",
        ),
        (
            b"220 mail.example ESMTP Postfix\r\n",
            Cause::WrongService,
            "3 -0x7200",
        ),
        (b"RFB 003.008\n", Cause::WrongService, "3 -0x7200"),
        (
            b"\x4a\x00\x00\x00\x0a8.0.36\x00",
            Cause::WrongService,
            "3 -0x7200",
        ),
        (b"\x20\x02\x00\x01", Cause::TlsToPlainPort, "3 -0x7200"),
        (
            b"\xfe\xed\xfa\xce\x00\x01",
            Cause::WrongService,
            "3 -0x7200",
        ),
    ] {
        let flight = read(bytes, How::Closed);
        let clues = flight.clues(Place::Probe { stage: 4 });
        assert_eq!(clues[0].cause, cause, "{:?}", flight.answer);
        let numbers = [Stack::BearSsl, Stack::MbedTls].map(|stack| {
            let number = flight.number(stack);
            number.map_or(String::new(), |number| number.to_string())
        });
        assert_eq!(numbers.join(" "), number);
    }
    let flight = read(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", How::Closed);
    let quote = &flight.clues(Place::Probe { stage: 4 })[0].quote;
    assert!(quote.en.contains("SSH-2.0-OpenSSH_9.2p1"), "{}", quote.en);
    assert!(quote.zh.contains("SSH-2.0-OpenSSH_9.2p1"));
}

#[test]
fn rows_27_to_31_answers_that_do_not_come() {
    let (_, _, good) = recorded("good").swap_remove(0);
    for (bytes, how, cause, numbers) in [
        (&b""[..], How::Reset, "tls_to_plain_port", "0 -0x0050"),
        (b"", How::Silent, "accepts_then_silent", "-1005 -0x6800"),
        (b"", How::Closed, "closes_in_handshake", "0 -0x7280"),
        (&good[..800], How::Silent, "mtu_black_hole", "-1005 -0x6800"),
        (
            &good[..800],
            How::Closed,
            "closes_in_handshake",
            "0 -0x7280",
        ),
    ] {
        let flight = read(bytes, how);
        let clues = flight.clues(Place::Probe { stage: 4 });
        assert_eq!(clues[0].cause.code(), cause);
        let printed =
            [Stack::BearSsl, Stack::MbedTls].map(|stack| flight.number(stack).unwrap().to_string());
        assert_eq!(printed.join(" "), numbers);
    }
}

#[test]
fn every_device_stops_where_no_tls_is() {
    let mut seen = Seen::default();
    seen.note(
        Offer::wide(),
        read(b"HTTP/1.1 400 Bad Request\r\n", How::Closed),
    );
    let lab = Lab::new();
    for profile in Profile::ALL {
        let outcome = as_device(profile, &seen, &lab.circumstances());
        assert_eq!(outcome.cause(), Some(Cause::TlsToPlainHttp));
    }
    let nothing = as_device(b(), &Seen::default(), &lab.circumstances());
    assert!(matches!(nothing.verdict, Verdict::Unknown { .. }));
}

#[test]
fn a_server_that_knows_only_names_refuses_those_who_name_nobody() {
    let mut seen = Seen::default();
    let good = recorded("good");
    seen.note(Offer::wide(), read(&good[5].2, How::Silent));
    // unrecognized_name.
    let alert = read(&[21, 3, 3, 0, 2, 2, 112], How::Closed);
    seen.note(Offer::wide().without_sni(), alert.clone());
    seen.note(Offer::of(Profile::of("ml307").unwrap()), alert);
    seen.note(Offer::of(b_ecdsa()), read(&good[1].2, How::Silent));
    let module = Profile::of("ml307").unwrap();
    let lab = Lab::new();
    let outcome = as_device(module, &seen, &lab.circumstances());
    assert_eq!(outcome.cause(), Some(Cause::SniNeeded));
    let outcome = as_device(b_ecdsa(), &seen, &lab.circumstances());
    assert!(says(&outcome).starts_with("connects"), "{}", says(&outcome));
}

#[test]
fn more_than_is_ever_sent_is_not_kept() {
    let mut reader = FlightReader::new();
    let record = [&[22, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat();
    let mut fed = 0;
    while !reader.feed(&record) {
        fed += 1;
        assert!(fed < 10);
    }
    let flight = reader.end(How::Enough);
    assert!(flight.bytes <= safeport_doctor::limits::FLIGHT_BYTES);
}
