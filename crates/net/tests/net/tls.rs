//! [`Layer::tls`] and the TLS profile of [`PrivateCa`].

use std::sync::LazyLock;

use safeport_net::attempt::{Ending, Stage};
use safeport_net::rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use safeport_net::rustls::{AlertDescription, CertificateError, Error, SignatureScheme};
use safeport_net::{
    Certificates, Layer, LayerError, PrivateCa, Received, RecordSize, TlsProfile, TlsService,
};

use crate::folder::{Folder, june_2026};
use crate::peer::{Abilities, Client, Failure, TLS12, TLS13, feed, records};

struct Served {
    ca: PrivateCa,
    service: TlsService,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let folder = Folder::with_authority();
    let mut ca = PrivateCa::open_or_create(folder.path(), june_2026()).unwrap();
    let names = ["safeport.lan".to_owned(), "192.168.1.5".to_owned()];
    ca.ensure_leaf(&names, june_2026()).unwrap();
    let service = service_of(&ca);
    Served { ca, service }
});

fn server() -> Layer {
    Layer::tls(&SERVED.service, None)
}

fn service_of(ca: &PrivateCa) -> TlsService {
    let certificates = Certificates::new();
    certificates.set_private(ca.chains());
    TlsService::new(&certificates, TlsProfile::default()).unwrap()
}

fn client(abilities: Abilities) -> Client {
    abilities.connect(&SERVED.ca, "safeport.lan")
}

fn connected(abilities: Abilities) -> (Client, Layer) {
    let (mut client, mut server) = (client(abilities), server());
    client.shake_hands(&mut server).unwrap();
    (client, server)
}

fn send(server: &mut Layer, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    server.send(plain, &mut out).unwrap();
    out
}

#[test]
fn bytes_pass_both_ways_over_tls_1_2_and_1_3() {
    for version in [TLS12, TLS13] {
        let (mut client, mut server) = connected(Abilities::of(version));
        let (received, out) = feed(&mut server, &client.write(b"CONNECT"));
        assert_eq!(received.unwrap(), (b"CONNECT".to_vec(), Received::Open));
        assert!(out.is_empty());
        assert_eq!(
            client.read(&send(&mut server, b"CONNACK")).unwrap(),
            b"CONNACK"
        );
    }
}

#[test]
fn a_tasmota_gets_the_rsa_certificate_with_its_only_suite() {
    let (mut client, mut server) = connected(Abilities::of_tasmota());
    assert!(client.has_rsa_certificate_of_server());
    assert_eq!(
        client.0.negotiated_cipher_suite(),
        Some(cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
    );
    assert_eq!(client.read(&send(&mut server, b"hello")).unwrap(), b"hello");
}

#[test]
fn the_client_hello_captured_from_tasmota_is_answered_with_whole_messages_of_the_rsa_profile() {
    let (received, flight) = feed(&mut server(), &tasmota_client_hello("plug.lan"));
    assert_eq!(received.unwrap(), (Vec::new(), Received::Open));
    let mut kinds = Vec::new();
    for (kind, content) in records(&flight) {
        assert_eq!(kind, HANDSHAKE);
        let mut rest = content;
        // A message that ran over the end of its record would fail this slice.
        while !rest.is_empty() {
            let length = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
            kinds.push(rest[0]);
            if rest[0] == SERVER_HELLO {
                let suite_at = 4 + 2 + 32 + 1 + usize::from(rest[4 + 2 + 32]);
                assert_eq!(rest[4..6], [3, 3]);
                assert_eq!(rest[suite_at..suite_at + 2], [0xc0, 0x2f]);
            }
            rest = &rest[4 + length..];
        }
    }
    assert_eq!(
        kinds,
        [
            SERVER_HELLO,
            CERTIFICATE,
            SERVER_KEY_EXCHANGE,
            SERVER_HELLO_DONE
        ]
    );
}

const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const SERVER_HELLO_DONE: u8 = 14;

/// The hello of the classic profile, as captured from a Tasmota-like BearSSL client.
fn tasmota_client_hello(sni: &str) -> Vec<u8> {
    let name = sni.as_bytes();
    let length = |n: usize| (n as u16).to_be_bytes();
    let mut extensions = vec![0xff, 0x01, 0, 1, 0];
    extensions.extend([0, 0]);
    extensions.extend(length(name.len() + 5));
    extensions.extend(length(name.len() + 3));
    extensions.push(0);
    extensions.extend(length(name.len()));
    extensions.extend(name);
    extensions.extend([0, 1, 0, 1, 2]); // at most 1024 bytes a record, please
    extensions.extend([0, 0x0d, 0, 4, 0, 2, 0x04, 0x01]); // rsa_pkcs1_sha256
    extensions.extend([0, 0x0a, 0, 4, 0, 2, 0, 0x17]); // secp256r1
    extensions.extend([0, 0x0b, 0, 2, 1, 0]);
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    body.extend(length(extensions.len()));
    body.extend(extensions);
    let mut hello = vec![HANDSHAKE, 3, 1];
    hello.extend(length(body.len() + 4));
    hello.extend([1, 0]);
    hello.extend(length(body.len()));
    hello.extend(body);
    hello
}

#[test]
fn an_ip_literal_as_server_name_is_served_as_well() {
    // Tasmota puts its MqttHost there whatever it is.
    let (received, flight) = feed(&mut server(), &tasmota_client_hello("192.168.1.5"));
    assert!(received.is_ok());
    assert_eq!(records(&flight)[0].0, HANDSHAKE);
}

#[test]
fn clients_that_know_ecdsa_get_the_cheaper_p256_certificate() {
    for version in [TLS12, TLS13] {
        let (client, _) = connected(Abilities::of(version));
        assert!(!client.has_rsa_certificate_of_server(), "{version:?}");
    }
    let both = Abilities {
        versions: vec![TLS13, TLS12],
        ..Abilities::of(TLS12)
    };
    assert!(!connected(both).0.has_rsa_certificate_of_server());
}

#[test]
fn a_client_of_tls_1_3_alone_gets_p256_although_its_suites_name_no_signature() {
    let abilities = Abilities {
        suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..Abilities::of(TLS13)
    };
    assert!(!connected(abilities).0.has_rsa_certificate_of_server());
}

#[test]
fn an_ecdsa_signature_without_a_matching_suite_or_curve_leads_to_the_rsa_certificate() {
    let rsa_suite_only = Abilities {
        suites: vec![cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384],
        ..Abilities::of(TLS12)
    };
    let other_curve = Abilities {
        groups: vec![kx_group::X25519],
        ..Abilities::of(TLS12)
    };
    for abilities in [rsa_suite_only, other_curve] {
        assert!(connected(abilities).0.has_rsa_certificate_of_server());
    }
    // Both versions in the hello: 1.3 is what will be spoken, whatever it could do in 1.2.
    let rsa_in_12 = Abilities {
        versions: vec![TLS13, TLS12],
        suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
        ..Abilities::of(TLS12)
    };
    assert!(!connected(rsa_in_12).0.has_rsa_certificate_of_server());
}

#[test]
fn a_client_that_offers_no_rsa_signature_gets_p256_whatever_its_curves() {
    let abilities = Abilities {
        groups: vec![kx_group::X25519],
        schemes: Some(vec![SignatureScheme::ECDSA_NISTP256_SHA256]),
        ..Abilities::of(TLS13)
    };
    assert!(!connected(abilities).0.has_rsa_certificate_of_server());
}

#[test]
fn a_long_write_leaves_in_records_of_the_size_that_was_set_and_whole_to_who_has_room() {
    let plain: Vec<u8> = (0..9000u32).map(|n| n as u8).collect();
    let small = &[1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 808][..];
    for (version, overhead, size, expected) in [
        (TLS12, 8 + 16, RecordSize::Fixed(1024), small),
        (TLS13, 1 + 16, RecordSize::Fixed(1024), small),
        (TLS13, 1 + 16, RecordSize::Fixed(4096), &[4096, 4096, 808]),
        // rustls is known to have room.
        (TLS12, 8 + 16, RecordSize::Auto, &[9000]),
    ] {
        let abilities = Abilities {
            suites: Abilities::of(version)
                .suites
                .into_iter()
                .filter(|s| format!("{:?}", s.suite()).contains("GCM"))
                .collect(),
            ..Abilities::of(version)
        };
        let profile = TlsProfile {
            record_size: size,
            ..TlsProfile::default()
        };
        let service = TlsService::new(SERVED.service.certificates(), profile).unwrap();
        let (mut client, mut server) = (client(abilities), Layer::tls(&service, None));
        client.shake_hands(&mut server).unwrap();
        let raw = send(&mut server, &plain);
        let lengths: Vec<usize> = records(&raw)
            .iter()
            .map(|(_, c)| c.len() - overhead)
            .collect();
        assert_eq!(lengths, expected);
        assert_eq!(client.read(&raw).unwrap(), plain);
    }
}

#[test]
fn tls_1_3_ends_with_one_ticket_and_tls_1_2_offers_one() {
    let (mut client, mut server) = (client(Abilities::of(TLS13)), server());
    let flights = client.shake_hands(&mut server).unwrap();
    // The last flight of the server follows the client's Finished and is nothing but tickets.
    assert_eq!(records(flights.last().unwrap()).len(), 1);
    assert_eq!(client.0.tls13_tickets_received(), 1);

    // Without a ticket the server's last flight of 1.2 is ChangeCipherSpec and Finished.
    let (mut client, mut server) = (self::client(Abilities::of(TLS12)), self::server());
    let flights = client.shake_hands(&mut server).unwrap();
    assert_eq!(records(flights.last().unwrap()).len(), 3);
}

#[test]
fn every_split_of_the_client_bytes_gives_the_same_connection() {
    let (mut client, mut server) = (client(Abilities::of(TLS13)), server());
    while client.0.is_handshaking() || server.is_handshaking() {
        let mut answer = Vec::new();
        for byte in client.flight() {
            let (received, out) = feed(&mut server, &[byte]);
            received.unwrap();
            answer.extend(out);
        }
        client.read(&answer).unwrap();
    }
    let mut plain = Vec::new();
    for byte in client.write(b"PUBLISH") {
        plain.extend(feed(&mut server, &[byte]).0.unwrap().0);
    }
    assert_eq!(plain, b"PUBLISH");
}

#[test]
fn many_records_in_one_read_are_all_delivered() {
    // More than rustls holds for a reader, so it must be emptied on the way.
    let (mut client, mut server) = connected(Abilities::of(TLS12));
    let mut raw = Vec::new();
    let mut sent = Vec::new();
    for n in 0..40u8 {
        let piece = [n; 5000];
        raw.extend(client.write(&piece));
        sent.extend(piece);
    }
    assert_eq!(feed(&mut server, &raw).0.unwrap(), (sent, Received::Open));
}

#[test]
fn alpn_mqtt_and_http_are_agreed_and_none_or_a_foreign_one_is_fine() {
    for (offered, agreed) in [
        (vec![b"mqtt".to_vec()], Some(&b"mqtt"[..])),
        (
            vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Some(&b"http/1.1"[..]),
        ),
        (vec![], None),
        (vec![b"h2".to_vec()], None),
    ] {
        let (client, _) = connected(Abilities {
            alpn: offered,
            ..Abilities::of(TLS12)
        });
        assert_eq!(client.0.alpn_protocol(), agreed);
    }
}

#[test]
fn the_smallest_record_that_a_client_asks_for_goes_before_every_setting() {
    // The captured hello asks for 1024; with 512 in its place it gets 512.
    for (asked, code) in [(1024, 2), (512, 1)] {
        let mut hello = tasmota_client_hello("plug.lan");
        let at = hello.windows(5).position(|w| w == [0, 1, 0, 1, 2]).unwrap();
        hello[at + 4] = code;
        let profile = TlsProfile {
            record_size: RecordSize::Fixed(16384),
            ..TlsProfile::default()
        };
        let service = TlsService::new(SERVED.service.certificates(), profile).unwrap();
        let mut server = Layer::tls(&service, None);
        assert_eq!(server.stage(), Stage::Silent);
        assert!(feed(&mut server, &hello[..40]).1.is_empty());
        assert_eq!((server.stage(), server.record_size()), (Stage::Hello, None));
        feed(&mut server, &hello[40..]).0.unwrap();
        assert_eq!(server.record_size(), Some(asked));
        assert_eq!(server.stage(), Stage::Certificate);
        let facts = server.take_facts().unwrap();
        assert_eq!(facts.record_size, asked);
        assert_eq!(facts.suite, Some(0xc02f));
        let served = facts.served.unwrap();
        assert!(served.tasmota_fingerprints().is_some());
    }
}

#[test]
fn a_client_that_is_asked_for_another_share_has_seen_no_certificate_yet() {
    // The share of its first group is for a group that the server does not have first.
    let provider = Abilities::of(TLS13);
    let (mut client, mut server) = (client(provider), server());
    let hello = client.flight();
    let shares = hello.windows(2).rposition(|w| w == [0, 51]).unwrap();
    let mut unknown = hello.clone();
    // Every share is of a group that nobody knows; the groups that are offered stay.
    let end = shares + 4 + usize::from(u16::from_be_bytes([hello[shares + 2], hello[shares + 3]]));
    let mut at = shares + 6;
    while at < end {
        let length = usize::from(u16::from_be_bytes([hello[at + 2], hello[at + 3]]));
        unknown[at] = 0x7a;
        at += 4 + length;
    }
    let (received, out) = feed(&mut server, &unknown);
    received.unwrap();
    assert_eq!(records(&out)[0].1[0], SERVER_HELLO);
    assert!(out.len() < 200, "no certificate in {} bytes", out.len());
    assert_eq!(server.stage(), Stage::Hello);
    let retried = client.read(&out).is_ok();
    if retried {
        feed(&mut server, &client.flight()).0.unwrap();
        assert_eq!(server.stage(), Stage::Certificate);
    }
}

const ALERT: u8 = 21;

#[test]
fn who_knows_no_newer_version_or_hides_it_is_refused_with_the_alert_for_that() {
    let good = tasmota_client_hello("plug.lan");
    let suite = good.windows(2).position(|w| w == [0xc0, 0x2f]).unwrap();
    // TLS 1.1, with and without the extension that only newer versions have.
    let mut old = good.clone();
    old[10] = 2;
    let mut older = old.clone();
    let signatures = older.windows(4).position(|w| w == [0, 0x0d, 0, 4]).unwrap();
    older[signatures + 1] = 0x7d;
    // TLS_FALLBACK_SCSV in place of the suite: it is judged before the suites are.
    let mut fallen = good.clone();
    fallen[suite..suite + 2].copy_from_slice(&[0x56, 0]);
    for (hello, alert) in [(old, 70), (older, 70), (fallen, 86)] {
        let mut server = server();
        let (received, out) = feed(&mut server, &hello);
        let error = received.unwrap_err();
        assert_eq!(records(&out), [(ALERT, &[2, alert][..])], "{error}");
        let ending = server.ending(&error);
        assert!(matches!(ending, Ending::Failed { alert: Some(told), .. } if told == alert));
        assert!(server.take_facts().unwrap().hello.is_some());
    }
}

#[test]
fn what_is_no_hello_is_refused_with_an_alert() {
    // A record that says handshake and holds none; a heartbeat that asks for more than it sends.
    for (raw, alert) in [
        (&b"\x16\x03\x01\0\x05hello"[..], 50),
        (b"\x18\x03\x03\0\x03\x01\x40\0", 50),
    ] {
        let mut server = server();
        let (received, out) = feed(&mut server, raw);
        let error = received.unwrap_err();
        assert_eq!(records(&out), [(ALERT, &[2, alert][..])], "{error}");
        let ending = server.ending(&error);
        assert!(
            matches!(ending, Ending::Failed { alert: Some(told), .. } if told == alert),
            "{ending:?}"
        );
    }
}

#[test]
fn a_client_without_a_shared_suite_is_told_so_before_the_close() {
    let mut hello = tasmota_client_hello("plug.lan");
    let suite_at = hello.windows(2).position(|w| w == [0xc0, 0x2f]).unwrap();
    hello[suite_at..suite_at + 2].copy_from_slice(&[0x00, 0x2f]); // static RSA
    let mut server = server();
    let (received, out) = feed(&mut server, &hello);
    let error = received.unwrap_err().to_string();
    assert!(error.contains("ECDHE"), "{error}");
    assert_eq!(records(&out), [(ALERT, &[2, 40][..])]);
    // The connection is over; what still arrives changes nothing.
    let (received, out) = feed(&mut server, &hello);
    assert_eq!((received.unwrap().1, out), (Received::Closed, Vec::new()));
}

#[test]
fn messages_behind_a_refused_one_do_not_disturb_the_alert() {
    let mut hello = tasmota_client_hello("plug.lan");
    let suite_at = hello.windows(2).position(|w| w == [0xc0, 0x2f]).unwrap();
    hello[suite_at..suite_at + 2].copy_from_slice(&[0x00, 0x2f]);
    let message = hello[5..].to_vec();
    let both = ((message.len() * 2) as u16).to_be_bytes();
    let mut raw = vec![HANDSHAKE, 3, 1, both[0], both[1]];
    raw.extend(message.repeat(2));
    let (received, out) = feed(&mut server(), &raw);
    assert!(received.is_err());
    assert_eq!(records(&out)[0].0, ALERT);
}

#[test]
fn damaged_hellos_in_any_pieces_end_in_an_error_or_an_answer_but_never_worse() {
    let good = tasmota_client_hello("plug.lan");
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut refused = 0;
    for _ in 0..2000 {
        let mut raw = good.repeat(1 + random(2));
        for _ in 0..1 + random(4) {
            let at = random(raw.len());
            raw[at] = random(256) as u8;
        }
        if random(4) == 0 {
            raw.truncate(1 + random(raw.len()));
        }
        let step = 1 + random(raw.len());
        let mut server = server();
        for piece in raw.chunks(step) {
            let (received, out) = feed(&mut server, piece);
            if let Err(error) = received {
                refused += 1;
                // The one fault for which rustls prepares no alert; we do for a first message.
                let silent = error.to_string().contains("HandshakePayloadTooLarge");
                let last = records(&out).last().map(|(kind, _)| *kind);
                assert!(silent || last == Some(ALERT), "{error}: {raw:x?}");
                break;
            }
        }
    }
    assert!(refused > 500, "only {refused} of 2000 were refused");
}

#[test]
fn plain_mqtt_on_a_tls_connection_is_answered_with_an_alert() {
    let connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02p1";
    let (received, out) = feed(&mut server(), connect);
    assert!(received.is_err());
    assert_eq!(records(&out)[0].0, ALERT);
}

#[test]
fn the_alert_of_a_client_that_distrusts_us_is_reported_with_the_way_out() {
    let stranger = Folder::empty();
    let other = PrivateCa::open_or_create(stranger.path(), june_2026()).unwrap();
    let (mut client, mut server) = (
        Abilities::of(TLS12).connect(&other, "safeport.lan"),
        server(),
    );
    let failure = client.shake_hands(&mut server).unwrap_err();
    assert!(
        matches!(failure, Failure::Client(Error::InvalidCertificate(_))),
        "{failure:?}"
    );
    let error = feed(&mut server, &client.flight()).0.unwrap_err();
    assert!(matches!(
        error,
        LayerError::Tls(Error::AlertReceived(AlertDescription::UnknownCA))
    ));
    assert!(error.to_string().contains("pki/ca.pem"), "{error}");
}

#[test]
fn names_and_addresses_of_the_certificate_are_accepted_and_others_are_not() {
    for name in ["safeport.lan", "192.168.1.5"] {
        let mut client = Abilities::of(TLS13).connect(&SERVED.ca, name);
        client.shake_hands(&mut server()).unwrap();
    }
    let mut client = Abilities::of(TLS13).connect(&SERVED.ca, "other.lan");
    let failure = client.shake_hands(&mut server()).unwrap_err();
    assert!(matches!(
        failure,
        Failure::Client(Error::InvalidCertificate(
            CertificateError::NotValidForNameContext { .. }
        ))
    ));
}

#[test]
fn a_small_device_whose_clock_stands_at_1970_accepts_the_rsa_certificate() {
    let mut client = client(Abilities {
        clock: 1,
        ..Abilities::of_tasmota()
    });
    client.shake_hands(&mut server()).unwrap();
}

#[test]
fn close_notify_of_the_client_is_answered_after_its_last_bytes() {
    for version in [TLS12, TLS13] {
        let (mut client, mut server) = connected(Abilities::of(version));
        let mut raw = client.write(b"DISCONNECT");
        client.0.send_close_notify();
        raw.extend(client.flight());
        let (received, out) = feed(&mut server, &raw);
        assert_eq!(
            received.unwrap(),
            (b"DISCONNECT".to_vec(), Received::Closed)
        );
        client.read(&out).unwrap();
        assert!(client.0.process_new_packets().unwrap().peer_has_closed());
        let sent = server.send(b"late", &mut Vec::new());
        assert!(matches!(sent, Err(LayerError::Closed)));
    }
}

#[test]
fn our_close_is_a_close_notify_said_once() {
    let (mut client, mut server) = connected(Abilities::of(TLS13));
    let mut out = Vec::new();
    server.close(&mut out);
    let length = out.len();
    server.close(&mut out);
    assert_eq!(out.len(), length);
    client.read(&out).unwrap();
    assert!(client.0.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn nothing_can_be_sent_before_the_handshake_is_finished() {
    let (mut client, mut server) = (client(Abilities::of(TLS12)), server());
    let mut out = Vec::new();
    assert!(matches!(
        server.send(b"early", &mut out),
        Err(LayerError::TooEarly)
    ));
    feed(&mut server, &client.flight()).0.unwrap();
    assert!(matches!(
        server.send(b"early", &mut out),
        Err(LayerError::TooEarly)
    ));
    server.close(&mut out);
    assert!(out.is_empty());
}

#[test]
fn a_client_hello_split_over_many_records_is_joined() {
    for step in [1, 7, usize::MAX] {
        let hello = tasmota_client_hello("plug.lan");
        let mut raw = Vec::new();
        for piece in hello[5..].chunks(9) {
            raw.extend([HANDSHAKE, 3, 1, 0, piece.len() as u8]);
            raw.extend(piece);
        }
        let mut server = server();
        let mut flight = Vec::new();
        for piece in raw.chunks(step.min(raw.len())) {
            let (received, out) = feed(&mut server, piece);
            received.unwrap();
            flight.extend(out);
        }
        assert_eq!(records(&flight)[0].1[0], SERVER_HELLO);
    }
}

#[test]
fn a_handshake_message_without_end_is_refused_within_the_limit() {
    let mut server = server();
    // A ClientHello that announces 60 000 bytes, in records of one byte each.
    let mut raw = vec![HANDSHAKE, 3, 1, 0, 4, 1, 0, 0xea, 0x60];
    for _ in 0..59_000 {
        raw.extend([HANDSHAKE, 3, 1, 0, 1, 0]);
    }
    let failed_at = raw
        .chunks(1000)
        .position(|piece| feed(&mut server, piece).0.is_err());
    let held = failed_at.unwrap() * 1000;
    assert!(held <= safeport_net::limits::TLS_UNFINISHED, "{held}");
}

#[test]
fn damage_to_a_record_is_answered_with_an_alert() {
    for version in [TLS12, TLS13] {
        let (mut client, mut server) = connected(Abilities::of(version));
        let mut raw = client.write(b"good");
        let good = raw.len();
        raw.extend(client.write(b"bad"));
        raw[good + 8] ^= 1;
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let error = server.receive(&raw, &mut plain, &mut out).unwrap_err();
        assert!(
            matches!(error, LayerError::Tls(Error::DecryptError)),
            "{error}"
        );
        assert_eq!(plain, b"good");
        let told = client.read(&out).unwrap_err();
        assert_eq!(told, Error::AlertReceived(AlertDescription::BadRecordMac));
    }
}

#[test]
fn new_certificates_are_served_by_listeners_that_already_run() {
    let folder = Folder::with_authority();
    let mut ca = PrivateCa::open_or_create(folder.path(), june_2026()).unwrap();
    ca.ensure_leaf(&["old.lan".to_owned()], june_2026())
        .unwrap();
    let service = service_of(&ca);
    ca.ensure_leaf(&["new.lan".to_owned()], june_2026())
        .unwrap();
    service.certificates().set_private(ca.chains());
    let mut client = Abilities::of(TLS13).connect(&ca, "new.lan");
    client.shake_hands(&mut Layer::tls(&service, None)).unwrap();
}
