//! Captures built packet by packet: what each shows, and that no bytes do harm.

#[allow(unreachable_pub, reason = "the fuzz crate makes it public")]
#[path = "../../../fuzz/src/doctor_capture.rs"]
mod doctor_capture;

use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;
use safeport_doctor::dns::{Kind, question};
use safeport_doctor::profile::Profile;
use safeport_doctor::target::Host;
use safeport_doctor::tls::Offer;
use safeport_doctor::{
    CaptureReading, Cause, Confidence, Place, Strength, Texts, judge, read_capture, read_log,
};

const DEVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 7), 50_000);
const BROKER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 2), 8883);

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const FIN: u8 = 1;

/// A capture in the making: pcap, little endian, microseconds, Ethernet.
struct Capture {
    frames: Vec<(u64, Vec<u8>)>,
    /// In microseconds.
    now: u64,
}

impl Capture {
    fn new() -> Capture {
        Capture {
            frames: Vec::new(),
            now: 1_760_000_000_000_000,
        }
    }

    fn wait(&mut self, milliseconds: u64) -> &mut Capture {
        self.now += milliseconds * 1000;
        self
    }

    fn frame(&mut self, from: SocketAddrV4, to: SocketAddrV4, protocol: u8, body: &[u8]) {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((20 + body.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend(from.ip().octets());
        frame.extend(to.ip().octets());
        frame.extend(body);
        self.now += 200;
        self.frames.push((self.now, frame));
    }

    fn tcp(
        &mut self,
        from: SocketAddrV4,
        to: SocketAddrV4,
        flags: u8,
        sequence: u32,
        acknowledged: u32,
        data: &[u8],
    ) -> &mut Capture {
        let mut body = from.port().to_be_bytes().to_vec();
        body.extend(to.port().to_be_bytes());
        body.extend(sequence.to_be_bytes());
        body.extend(acknowledged.to_be_bytes());
        body.extend([0x50, flags, 0x10, 0, 0, 0, 0, 0]);
        body.extend(data);
        self.frame(from, to, 6, &body);
        self
    }

    fn udp(&mut self, from: SocketAddrV4, to: SocketAddrV4, data: &[u8]) -> &mut Capture {
        let mut body = from.port().to_be_bytes().to_vec();
        body.extend(to.port().to_be_bytes());
        body.extend((8 + data.len() as u16).to_be_bytes());
        body.extend([0, 0]);
        body.extend(data);
        self.frame(from, to, 17, &body);
        self
    }

    /// The three packets that open a connection; both sides count from 100 and 900.
    fn open(&mut self) -> &mut Capture {
        self.tcp(DEVICE, BROKER, SYN, 99, 0, &[])
            .tcp(BROKER, DEVICE, SYN | ACK, 899, 100, &[])
            .tcp(DEVICE, BROKER, ACK, 100, 900, &[])
    }

    fn file(&self) -> Vec<u8> {
        self.in_order(u32::to_le_bytes, 0xa1b2_c3d4, 1)
    }

    fn in_order(&self, bytes: fn(u32) -> [u8; 4], magic: u32, per_microsecond: u32) -> Vec<u8> {
        let mut file = bytes(magic).to_vec();
        let version = match bytes(1)[0] {
            1 => [2, 0, 4, 0],
            _ => [0, 2, 0, 4],
        };
        file.extend(version);
        for word in [0, 0, 65_535, 1] {
            file.extend(bytes(word));
        }
        for (at, frame) in &self.frames {
            let part = (at % 1_000_000) as u32 * per_microsecond;
            for word in [
                (at / 1_000_000) as u32,
                part,
                frame.len() as u32,
                frame.len() as u32,
            ] {
                file.extend(bytes(word));
            }
            file.extend(frame);
        }
        file
    }

    /// The same as pcapng with one interface.
    fn next_generation(&self) -> Vec<u8> {
        let block = |kind: u32, body: &[u8]| {
            let padding = body.len().next_multiple_of(4) - body.len();
            let length = (12 + body.len() + padding) as u32;
            let mut block = kind.to_le_bytes().to_vec();
            block.extend(length.to_le_bytes());
            block.extend(body);
            block.extend(vec![0; padding]);
            block.extend(length.to_le_bytes());
            block
        };
        let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        section.extend([1, 0, 0, 0]);
        section.extend(u64::MAX.to_le_bytes());
        let mut file = block(0x0a0d_0d0a, &section);
        file.extend(block(1, &[1, 0, 0, 0, 0xff, 0xff, 0, 0]));
        for (at, frame) in &self.frames {
            let mut body = Vec::new();
            for word in [
                0,
                (at >> 32) as u32,
                *at as u32,
                frame.len() as u32,
                frame.len() as u32,
            ] {
                body.extend(word.to_le_bytes());
            }
            body.extend(frame);
            file.extend(block(6, &body));
        }
        file
    }

    fn read(&self) -> CaptureReading {
        read_capture(&self.file())
    }

    fn cause(&self) -> Cause {
        judge(self.read().evidence, &Texts::new()).finding.cause
    }
}

fn hello(profile: &str) -> Vec<u8> {
    let host = Host::of("hub.example.org").unwrap();
    Offer::of(Profile::of(profile).unwrap()).bytes(&host, [7; 32], &[])
}

/// CONNECT of MQTT 3.1.1 as the client `plug`.
const CONNECT: &[u8] = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04plug";

#[test]
fn a_syn_that_nobody_answers_is_quoted_with_its_packet_and_how_often_it_was_sent() {
    let mut capture = Capture::new();
    for wait in [0, 1000, 2000, 4000, 8000] {
        capture.wait(wait).tcp(DEVICE, BROKER, SYN, 99, 0, &[]);
    }
    let reading = capture.read();
    let clue = &reading.evidence.clues[0];
    assert_eq!(clue.cause, Cause::TcpTimeout);
    assert_eq!(clue.place, Place::Capture { packet: 1 });
    assert!(
        clue.quote
            .en
            .starts_with("packet 1: 192.168.1.7 → 192.168.1.2:8883 SYN, sent 5 ×"),
        "{}",
        clue.quote.en
    );
    let facts = &reading.evidence.facts;
    assert_eq!(facts.get("device_address"), Some("192.168.1.7"));
    assert_eq!(facts.get("port"), Some("8883"));
}

#[test]
fn a_syn_answered_with_a_reset_means_that_nothing_listens() {
    let mut capture = Capture::new();
    capture
        .tcp(DEVICE, BROKER, SYN, 99, 0, &[])
        .tcp(BROKER, DEVICE, RST | ACK, 0, 100, &[]);
    let diagnosis = judge(capture.read().evidence, &Texts::new());
    assert_eq!(diagnosis.finding.cause, Cause::NothingListens);
    assert_eq!(diagnosis.finding.confidence, Confidence::High);
}

#[test]
fn a_device_that_gives_up_before_the_answer_comes_has_too_short_a_timeout() {
    let mut capture = Capture::new();
    capture
        .tcp(DEVICE, BROKER, SYN, 99, 0, &[])
        .wait(140)
        .tcp(BROKER, DEVICE, SYN | ACK, 899, 100, &[])
        .tcp(DEVICE, BROKER, RST, 100, 0, &[]);
    let reading = capture.read();
    assert_eq!(reading.evidence.clues[0].cause, Cause::TimeoutTooShort);
    assert_eq!(reading.evidence.facts.get("rtt_ms"), Some("140"));
    assert_eq!(capture.cause(), Cause::TimeoutTooShort);
}

#[test]
fn log_and_capture_of_one_incident_give_one_verdict_that_is_surer_than_either() {
    let texts = Texts::new();
    let log = include_str!("logs/story-2-espeasy-1002.log");
    let mut capture = Capture::new();
    capture
        .tcp(DEVICE, BROKER, SYN, 99, 0, &[])
        .wait(180)
        .tcp(BROKER, DEVICE, SYN | ACK, 899, 100, &[])
        .tcp(DEVICE, BROKER, RST, 100, 0, &[]);
    let read = |sources: &[safeport_doctor::Evidence]| {
        let mut all = safeport_doctor::Evidence::default();
        for source in sources {
            all.join(source.clone());
        }
        judge(all, &texts)
    };
    let (logged, captured) = (read_log(log).evidence, capture.read().evidence);
    let by_log = read(std::slice::from_ref(&logged)).finding;
    let by_capture = read(std::slice::from_ref(&captured)).finding;
    assert_eq!(by_log.cause, Cause::TcpConnectFailed);
    assert_eq!(by_log.confidence, Confidence::Medium);
    assert_eq!(by_capture.cause, Cause::TimeoutTooShort);
    assert_eq!(by_capture.confidence, Confidence::High);
    for sources in [[logged.clone(), captured.clone()], [captured, logged]] {
        let together = read(&sources);
        assert_eq!(together.finding.cause, Cause::TimeoutTooShort);
        assert_eq!(together.finding.confidence, Confidence::Certain);
        assert_eq!(together.alternatives, []);
        let places: Vec<Place> = together
            .finding
            .saw
            .iter()
            .map(|sight| sight.place)
            .collect();
        assert!(
            places
                .iter()
                .any(|place| matches!(place, Place::Capture { .. }))
        );
        assert!(
            places
                .iter()
                .any(|place| matches!(place, Place::DeviceLog { .. }))
        );
        let fix = &together.finding.fix.en;
        assert!(fix.contains("Client Timeout"), "{fix}");
    }
}

#[test]
fn a_reset_before_a_byte_was_read_is_told_from_one_after_a_client_hello() {
    let mut capture = Capture::new();
    capture.open().tcp(BROKER, DEVICE, RST | ACK, 900, 100, &[]);
    assert_eq!(capture.cause(), Cause::ResetOnAccept);

    let mut capture = Capture::new();
    let hello = hello("tasmota-esp8266");
    let end = 100 + hello.len() as u32;
    capture
        .open()
        .tcp(DEVICE, BROKER, ACK, 100, 900, &hello)
        .tcp(BROKER, DEVICE, ACK, 900, end, &[])
        .tcp(BROKER, DEVICE, RST | ACK, 900, end, &[]);
    assert_eq!(capture.cause(), Cause::TlsToPlainPort);
}

#[test]
fn a_server_that_says_nothing_to_a_client_hello_is_silent() {
    let mut capture = Capture::new();
    let hello = hello("tasmota-esp8266");
    let end = 100 + hello.len() as u32;
    capture
        .open()
        .tcp(DEVICE, BROKER, ACK, 100, 900, &hello)
        .tcp(BROKER, DEVICE, ACK, 900, end, &[])
        .wait(10_000)
        .tcp(DEVICE, BROKER, FIN | ACK, end, 900, &[]);
    let reading = capture.read();
    assert_eq!(reading.evidence.clues[0].cause, Cause::AcceptsThenSilent);
    assert_eq!(reading.evidence.clues[0].strength, Strength::Proof);
    assert_eq!(reading.evidence.facts.get("family"), Some("tasmota"));
    assert_eq!(reading.evidence.facts.get("host"), Some("hub.example.org"));
}

#[test]
fn an_alert_of_the_server_says_why_it_refuses_the_client_hello_of_each_kind_of_device() {
    for (profile, alert, cause) in [
        ("tasmota-esp8266", 40, Cause::NoCommonCipherEcdsaOnly),
        ("tasmota-esp8266", 70, Cause::TlsVersion),
        ("idf-5-bundle", 40, Cause::NoCommonCipher),
        ("idf-5-bundle", 112, Cause::SniNeeded),
    ] {
        let mut capture = Capture::new();
        let hello = hello(profile);
        let end = 100 + hello.len() as u32;
        capture
            .open()
            .tcp(DEVICE, BROKER, ACK, 100, 900, &hello)
            .tcp(BROKER, DEVICE, ACK, 900, end, &[21, 3, 3, 0, 2, 2, alert])
            .tcp(BROKER, DEVICE, FIN | ACK, 907, end, &[]);
        assert_eq!(capture.cause(), cause, "{profile} {alert}");
    }
}

/// One login, and what the server answers.
fn login(answer: &[u8]) -> Capture {
    let mut capture = Capture::new();
    let end = 100 + CONNECT.len() as u32;
    capture
        .open()
        .tcp(DEVICE, BROKER, ACK, 100, 900, CONNECT)
        .tcp(BROKER, DEVICE, ACK, 900, end, answer)
        .tcp(
            BROKER,
            DEVICE,
            FIN | ACK,
            900 + answer.len() as u32,
            end,
            &[],
        );
    capture
}

#[test]
fn each_code_of_a_connack_has_its_cause() {
    for (code, cause) in [
        (1, Cause::ProtocolVersion),
        (2, Cause::ClientIdRefused),
        (3, Cause::ServerBusy),
        (4, Cause::AuthFailed),
        (5, Cause::AuthFailed),
    ] {
        assert_eq!(login(&[0x20, 2, 0, code]).cause(), cause, "{code}");
    }
    assert_eq!(login(&[0x20, 2, 0, 0]).cause(), Cause::Healthy);
    let facts = login(&[0x20, 2, 0, 5]).read().evidence.facts;
    assert_eq!(facts.get("reason"), Some("5"));
    assert_eq!(facts.get("client_id"), Some("plug"));
}

#[test]
fn clear_text_at_a_port_of_tls_is_told_from_its_alert_and_from_its_silence() {
    assert_eq!(
        login(&[21, 3, 3, 0, 2, 2, 10]).cause(),
        Cause::PlainToTlsPort
    );
    assert_eq!(login(&[]).cause(), Cause::PlainToTlsPort);
}

#[test]
fn two_that_take_each_others_connection_over_share_a_client_identifier() {
    let mut capture = Capture::new();
    let end = 100 + CONNECT.len() as u32;
    let mut last: Option<SocketAddrV4> = None;
    for round in 0..4 {
        let device = SocketAddrV4::new(
            Ipv4Addr::new(192, 168, 1, 7 + round % 2),
            50_000 + u16::from(round),
        );
        capture
            .wait(500)
            .tcp(device, BROKER, SYN, 99, 0, &[])
            .tcp(BROKER, device, SYN | ACK, 899, 100, &[])
            .tcp(device, BROKER, ACK, 100, 900, CONNECT);
        if let Some(last) = last {
            capture.tcp(BROKER, last, FIN | ACK, 904, end, &[]);
        }
        capture.tcp(BROKER, device, ACK, 900, end, &[0x20, 2, 0, 0]);
        last = Some(device);
    }
    let reading = capture.read();
    let clue = reading.evidence.clues.last().unwrap();
    assert_eq!(clue.cause, Cause::DuplicateClientId, "{clue:?}");
    assert_eq!(reading.evidence.facts.get("client_id"), Some("plug"));
}

#[test]
fn large_segments_sent_again_and_again_while_small_ones_pass_fall_into_a_black_hole() {
    let mut capture = Capture::new();
    let hello = hello("idf-5-bundle");
    let end = 100 + hello.len() as u32;
    capture.open().tcp(DEVICE, BROKER, ACK, 100, 900, &hello);
    // The start of a record of 8 KiB.
    let mut segment = [7; 1400];
    segment[..5].copy_from_slice(&[22, 3, 3, 32, 0]);
    for wait in [0, 300, 600, 1200, 2400] {
        capture
            .wait(wait)
            .tcp(BROKER, DEVICE, ACK, 900, end, &segment);
    }
    assert_eq!(capture.cause(), Cause::MtuBlackHole);
}

#[test]
fn answers_of_http_have_their_causes() {
    let server = SocketAddrV4::new(*BROKER.ip(), 8002);
    for (request, answer, cause) in [
        (
            "POST /xiaozhi/ota/",
            "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            Cause::BackendDown,
        ),
        (
            "POST /xiaozhi/ota/",
            "HTTP/1.1 404 Not Found\r\n\r\n",
            Cause::PathMissing,
        ),
        (
            "GET /firmware.bin",
            "HTTP/1.1 404 Not Found\r\n\r\n",
            Cause::ImageNotFound,
        ),
        (
            "GET /xiaozhi/ota/",
            "HTTP/1.1 302 Found\r\nLocation: http://login.hotspot.example/\r\n\r\n",
            Cause::CaptivePortal,
        ),
        (
            "GET /xiaozhi/ota/",
            "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>Hi</html>",
            Cause::WrongServiceOrPortal,
        ),
        (
            "GET /xiaozhi/ota/",
            "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"server_time\":1}",
            Cause::ReplyWithoutProtocol,
        ),
        (
            "GET /xiaozhi/ota/",
            "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"websocket\":{}}",
            Cause::Healthy,
        ),
    ] {
        let text = format!("{request} HTTP/1.1\r\nHost: hub.example.org:8002\r\n\r\n");
        let end = 100 + text.len() as u32;
        let mut capture = Capture::new();
        capture
            .tcp(DEVICE, server, SYN, 99, 0, &[])
            .tcp(server, DEVICE, SYN | ACK, 899, 100, &[])
            .tcp(DEVICE, server, ACK, 100, 900, text.as_bytes())
            .tcp(server, DEVICE, ACK, 900, end, answer.as_bytes());
        assert_eq!(capture.cause(), cause, "{request}: {answer}");
    }
}

#[test]
fn an_upgrade_that_lost_its_header_on_the_way_was_dropped_by_a_proxy() {
    let text = b"GET /mqtt HTTP/1.1\r\nHost: hub\r\nSec-WebSocket-Key: eA==\r\n\r\n";
    let mut capture = Capture::new();
    capture.open().tcp(DEVICE, BROKER, ACK, 100, 900, text);
    assert_eq!(capture.cause(), Cause::ProxyDropsUpgrade);
}

#[test]
fn names_that_do_not_exist_and_name_servers_that_are_silent_are_told_apart() {
    let server = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 1), 53);
    let asked = question("hub.example.org", Kind::A, 7).unwrap();
    let mut no = asked.clone();
    no[2..4].copy_from_slice(&[0x81, 0x83]);
    let mut capture = Capture::new();
    capture.udp(DEVICE, server, &asked).udp(server, DEVICE, &no);
    let reading = capture.read();
    assert_eq!(capture.cause(), Cause::NameNotResolved);
    assert_eq!(reading.evidence.facts.get("host"), Some("hub.example.org"));

    let mut capture = Capture::new();
    capture
        .udp(DEVICE, server, &asked)
        .wait(5000)
        .udp(DEVICE, server, &asked);
    assert_eq!(capture.cause(), Cause::DnsSilent);
}

#[test]
fn segments_that_come_twice_late_and_out_of_order_are_put_together() {
    let answer = [0x20_u8, 2, 0, 5];
    let end = 100 + CONNECT.len() as u32;
    let mut capture = Capture::new();
    capture
        .open()
        .tcp(DEVICE, BROKER, ACK, 110, 900, &CONNECT[10..])
        .tcp(DEVICE, BROKER, ACK, 100, 900, &CONNECT[..6])
        .tcp(DEVICE, BROKER, ACK, 100, 900, &CONNECT[..6])
        .tcp(DEVICE, BROKER, ACK, 104, 900, &CONNECT[4..12])
        .tcp(BROKER, DEVICE, ACK, 902, end, &answer[2..])
        .tcp(BROKER, DEVICE, ACK, 900, end, &answer);
    assert_eq!(capture.cause(), Cause::AuthFailed);
}

#[test]
fn a_failure_that_a_later_try_overcame_is_no_trouble() {
    let mut capture = Capture::new();
    let again = SocketAddrV4::new(*DEVICE.ip(), 50_001);
    capture
        .tcp(DEVICE, BROKER, SYN, 99, 0, &[])
        .tcp(BROKER, DEVICE, RST | ACK, 0, 100, &[])
        .wait(1000)
        .tcp(again, BROKER, SYN, 99, 0, &[])
        .tcp(BROKER, again, SYN | ACK, 899, 100, &[])
        .tcp(again, BROKER, ACK, 100, 900, CONNECT)
        .tcp(BROKER, again, ACK, 900, 118, &[0x20, 2, 0, 0]);
    assert_eq!(capture.cause(), Cause::Healthy);
}

#[test]
fn both_byte_orders_both_precisions_and_pcapng_read_the_same() {
    let capture = login(&[0x20, 2, 0, 4]);
    let plain = capture.read();
    assert_eq!(plain.packets, 6);
    assert_eq!(plain.conversations, 1);
    assert!(plain.left_out.is_empty());
    for file in [
        capture.in_order(u32::to_be_bytes, 0xa1b2_c3d4, 1),
        capture.in_order(u32::to_le_bytes, 0xa1b2_3c4d, 1000),
        capture.in_order(u32::to_be_bytes, 0xa1b2_3c4d, 1000),
        capture.next_generation(),
    ] {
        assert_eq!(read_capture(&file), plain);
    }
}

#[test]
fn what_is_no_capture_and_what_breaks_off_is_said() {
    let said = |bytes: &[u8]| read_capture(bytes).left_out[0].en.clone();
    assert!(said(b"hello").contains("neither pcap nor pcapng"));
    let file = login(&[0x20, 2, 0, 4]).file();
    assert!(said(&file[..file.len() - 3]).contains("breaks off behind packet 5"));
    let mut wifi = file;
    wifi[20] = 127;
    assert!(said(&wifi).contains("802.11"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        doctor_capture::read(&bytes);
    }

    #[test]
    fn a_damaged_capture_is_read_without_harm(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        next_generation: bool,
        profile in 0..Profile::ALL.len(),
    ) {
        let mut capture = login(&[0x20, 2, 0, 4]);
        let hello = hello(Profile::ALL[profile].name);
        capture.open().tcp(DEVICE, BROKER, ACK, 100, 900, &hello);
        let server = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 1), 53);
        capture.udp(DEVICE, server, &question("hub.example.org", Kind::A, 7).unwrap());
        let mut file = if next_generation { capture.next_generation() } else { capture.file() };
        for (at, byte) in hits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        doctor_capture::read(&file);
    }
}
