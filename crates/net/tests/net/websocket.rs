//! [`Layer::websocket`], byte by byte and against tungstenite as the client.

use std::io::{self, Cursor, Read, Write};

use safeport_net::{
    Certificates, Layer, LayerError, Message as Gathered, Messages, PrivateCa, Received,
    RecordSize, TlsProfile, TlsService, WebSocketError, limits,
};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};

use crate::folder::{Folder, june_2026};
use crate::peer::{Abilities, TLS13, feed, records};

const MASK: [u8; 4] = [0x11, 0x22, 0x44, 0x88];

/// A masked frame with this first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..=125 => frame.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((n as u16).to_be_bytes());
        }
        n => {
            frame.push(0x80 | 127);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// What one layer makes of `raw` in pieces of `step` bytes: plaintext, bytes back, outcome.
fn run(raw: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, Result<Received, String>) {
    let mut layer = Layer::websocket();
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    for piece in raw.chunks(step) {
        match layer.receive(piece, &mut plain, &mut out) {
            Ok(Received::Open) => {}
            Ok(Received::Closed) => return (plain, out, Ok(Received::Closed)),
            Err(error) => return (plain, out, Err(error.to_string())),
        }
    }
    (plain, out, Ok(Received::Open))
}

fn close(code: u16) -> Vec<u8> {
    let mut frame = vec![0x88, 2];
    frame.extend(code.to_be_bytes());
    frame
}

#[test]
fn packets_split_over_frames_or_joined_in_one_come_out_as_one_stream() {
    let mut raw = frame(0x82, b"\x10\x0e\x00\x04MQ");
    raw.extend(frame(0x82, b""));
    raw.extend(frame(0x82, b"TT\x04\x02\x00\x3c\x00\x02p1\xc0\x00\xc0"));
    raw.extend(frame(0x02, b"\x00"));
    raw.extend(frame(0x00, b"\xe0"));
    raw.extend(frame(0x80, b"\x00"));
    let expected = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02p1\xc0\x00\xc0\x00\xe0\x00";
    for step in 1..=raw.len() {
        let (plain, out, outcome) = run(&raw, step);
        assert_eq!(
            (&plain[..], out, outcome),
            (&expected[..], vec![], Ok(Received::Open))
        );
    }
}

#[test]
fn every_length_form_is_unmasked_right_however_it_is_cut() {
    for length in [0usize, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 70_001] {
        let payload: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let raw = frame(0x82, &payload);
        for step in [1, 3, 13, 4096, raw.len()] {
            assert_eq!(
                run(&raw, step).0,
                payload,
                "{length} bytes in steps of {step}"
            );
        }
    }
}

#[test]
fn payload_is_handed_on_before_its_frame_is_complete() {
    let raw = frame(0x82, &[7; 1000]);
    assert_eq!(run(&raw[..500], 500).0.len(), 500 - 8);
}

#[test]
fn a_ping_is_answered_with_its_own_payload_even_inside_a_message() {
    let mut raw = frame(0x02, b"ab");
    raw.extend(frame(0x89, b"are you there"));
    raw.extend(frame(0x89, b""));
    raw.extend(frame(0x8a, b"an unasked pong"));
    raw.extend(frame(0x80, b"cd"));
    let mut pongs = b"\x8a\x0dare you there".to_vec();
    pongs.extend([0x8a, 0]);
    for step in [1, 5, raw.len()] {
        assert_eq!(
            run(&raw, step),
            (b"abcd".to_vec(), pongs.clone(), Ok(Received::Open))
        );
    }
}

#[test]
fn a_close_is_answered_with_its_code_and_ends_the_reading() {
    let reason = [&1001u16.to_be_bytes()[..], b"bye"].concat();
    for (payload, answer) in [(&reason[..], close(1001)), (b"", vec![0x88, 0])] {
        let mut raw = frame(0x82, b"last");
        raw.extend(frame(0x88, payload));
        raw.extend(frame(0x82, b"ignored"));
        for step in [1, raw.len()] {
            assert_eq!(
                run(&raw, step),
                (b"last".to_vec(), answer.clone(), Ok(Received::Closed))
            );
        }
    }
}

#[test]
fn every_fault_is_named_at_its_byte_and_answered_with_its_close_code() {
    let announce = |first: u8, length: u64| {
        let mut raw = vec![first, 0x80 | 127];
        raw.extend(length.to_be_bytes());
        raw.extend(MASK);
        raw
    };
    let frame_limit = limits::WEBSOCKET_FRAME;
    let mut long_message = announce(0x02, 1);
    long_message.push(0);
    long_message.extend(announce(0x80, limits::WEBSOCKET_MESSAGE));
    let too_long = |part, size, limit| WebSocketError::TooLong { part, size, limit };
    let cases: Vec<(Vec<u8>, WebSocketError, u16)> = vec![
        (vec![0x81], WebSocketError::Text, 1003),
        (vec![0x01], WebSocketError::Text, 1003),
        (vec![0x82, 0x01], WebSocketError::Unmasked, 1002),
        (vec![0x89, 0x00], WebSocketError::Unmasked, 1002),
        (vec![0xc2], WebSocketError::ReservedBits, 1002),
        (vec![0xa2], WebSocketError::ReservedBits, 1002),
        (vec![0x92], WebSocketError::ReservedBits, 1002),
        (vec![0x83], WebSocketError::Opcode(3), 1002),
        (vec![0x87], WebSocketError::Opcode(7), 1002),
        (vec![0x8b], WebSocketError::Opcode(11), 1002),
        (vec![0x8f], WebSocketError::Opcode(15), 1002),
        (vec![0x09], WebSocketError::SplitControl, 1002),
        (vec![0x08], WebSocketError::SplitControl, 1002),
        (announce(0x89, 126), WebSocketError::LongControl(126), 1002),
        (vec![0x80], WebSocketError::NothingToContinue, 1002),
        (
            [frame(0x02, b""), vec![0x82]].concat(),
            WebSocketError::Unfinished,
            1002,
        ),
        (
            [frame(0x02, b""), vec![0x81]].concat(),
            WebSocketError::Unfinished,
            1002,
        ),
        (
            announce(0x82, frame_limit + 1),
            too_long("frame", frame_limit + 1, frame_limit),
            1009,
        ),
        (
            announce(0x82, u64::MAX),
            too_long("frame", u64::MAX, frame_limit),
            1009,
        ),
        (
            long_message,
            too_long(
                "message",
                limits::WEBSOCKET_MESSAGE + 1,
                limits::WEBSOCKET_MESSAGE,
            ),
            1009,
        ),
        (frame(0x88, &[3]), WebSocketError::CloseCode, 1002),
        (
            frame(0x88, &1005u16.to_be_bytes()),
            WebSocketError::CloseCode,
            1002,
        ),
        (
            frame(0x88, &999u16.to_be_bytes()),
            WebSocketError::CloseCode,
            1002,
        ),
        (
            frame(0x88, &[0x03, 0xe8, 0xff, 0xfe]),
            WebSocketError::CloseReason,
            1007,
        ),
    ];
    for (raw, fault, code) in cases {
        for step in [1, raw.len()] {
            let (_, out, outcome) = run(&raw, step);
            assert_eq!(
                (outcome, out),
                (Err(fault.to_string()), close(code)),
                "{raw:x?}"
            );
        }
        // Not one byte earlier.
        assert_eq!(
            run(&raw[..raw.len() - 1], 1).2,
            Ok(Received::Open),
            "{raw:x?}"
        );
        assert_eq!(fault.close_code(), code);
    }
}

#[test]
fn what_was_good_before_a_fault_is_delivered_and_nothing_after_it() {
    let mut layer = Layer::websocket();
    let mut raw = frame(0x82, b"good");
    raw.extend(frame(0x81, b"bad"));
    raw.extend(frame(0x82, b"late"));
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let error = layer.receive(&raw, &mut plain, &mut out).unwrap_err();
    assert!(matches!(error, LayerError::WebSocket(WebSocketError::Text)));
    assert_eq!((&plain[..], &out), (&b"good"[..], &close(1003)));
    let (received, out) = feed(&mut layer, &frame(0x82, b"late"));
    assert_eq!(
        (received.unwrap(), out),
        ((vec![], Received::Closed), vec![])
    );
    assert!(matches!(
        layer.send(b"x", &mut Vec::new()),
        Err(LayerError::Closed)
    ));
}

#[test]
fn each_send_is_one_unmasked_binary_frame_and_an_empty_one_is_none() {
    let mut layer = Layer::websocket();
    for (length, head) in [
        (0usize, vec![]),
        (1, vec![0x82, 1]),
        (125, vec![0x82, 125]),
        (126, vec![0x82, 126, 0, 126]),
        (65_535, vec![0x82, 126, 0xff, 0xff]),
        (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut out = Vec::new();
        layer.send(&vec![7; length], &mut out).unwrap();
        assert_eq!(out[..out.len() - length], head);
    }
}

#[test]
fn after_our_close_the_answer_is_awaited_and_everything_else_dropped() {
    let mut layer = Layer::websocket();
    let mut out = Vec::new();
    layer.close(&mut out);
    layer.close(&mut out);
    assert_eq!(out, close(1000));
    assert!(matches!(
        layer.send(b"x", &mut out),
        Err(LayerError::Closed)
    ));
    let mut raw = frame(0x82, b"crossed on the way");
    raw.extend(frame(0x89, b"ping"));
    let (received, out) = feed(&mut layer, &raw);
    assert_eq!((received.unwrap(), out), ((vec![], Received::Open), vec![]));
    let (received, out) = feed(&mut layer, &frame(0x88, &1000u16.to_be_bytes()));
    assert_eq!(
        (received.unwrap(), out),
        ((vec![], Received::Closed), vec![])
    );
}

#[test]
fn a_bare_websocket_never_handshakes() {
    assert!(!Layer::websocket().is_handshaking());
}

/// The stream of a tungstenite client: what it may read, what it has written.
#[derive(Default)]
struct Wire {
    inbound: Cursor<Vec<u8>>,
    outbound: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inbound.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.outbound.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wire_to(client: &mut WebSocket<Wire>, bytes: Vec<u8>) {
    client.get_mut().inbound = Cursor::new(bytes);
}

fn wire_from(client: &mut WebSocket<Wire>) -> Vec<u8> {
    std::mem::take(&mut client.get_mut().outbound)
}

#[test]
fn another_implementation_understands_us_and_is_understood() {
    let mut layer = Layer::websocket();
    let mut client = WebSocket::from_raw_socket(Wire::default(), Role::Client, None);
    for length in [0usize, 1, 125, 126, 1000, 65_535, 65_536, 100_000] {
        let payload: Vec<u8> = (0..length).map(|n| (n % 253) as u8).collect();
        client.send(Message::binary(payload.clone())).unwrap();
        let (received, _) = feed(&mut layer, &wire_from(&mut client));
        assert_eq!(received.unwrap(), (payload.clone(), Received::Open));
        if length > 0 {
            let mut out = Vec::new();
            layer.send(&payload, &mut out).unwrap();
            wire_to(&mut client, out);
            assert_eq!(client.read().unwrap(), Message::binary(payload));
        }
    }
    client.send(Message::Ping(b"p".to_vec().into())).unwrap();
    let (_, out) = feed(&mut layer, &wire_from(&mut client));
    wire_to(&mut client, out);
    assert_eq!(client.read().unwrap(), Message::Pong(b"p".to_vec().into()));

    let goodbye = CloseFrame {
        code: CloseCode::Away,
        reason: "tab closed".into(),
    };
    client.close(Some(goodbye)).unwrap();
    let (received, out) = feed(&mut layer, &wire_from(&mut client));
    assert_eq!(received.unwrap().1, Received::Closed);
    wire_to(&mut client, out);
    let Message::Close(Some(answer)) = client.read().unwrap() else {
        panic!("no close")
    };
    assert_eq!(answer.code, CloseCode::Away);
}

#[test]
fn any_frames_in_any_pieces_are_judged_as_another_implementation_judges_them() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    const FIRSTS: [u8; 14] = [
        0x82, 0x82, 0x82, 0x02, 0x02, 0x00, 0x00, 0x80, 0x89, 0x8a, 0x88, 0x09, 0x8b, 0xc2,
    ];
    let (mut good, mut bad, mut closed) = (0, 0, 0);
    for _ in 0..3000 {
        let mut raw = Vec::new();
        for _ in 0..1 + random(6) {
            let payload: Vec<u8> = (0..random(140)).map(|_| random(256) as u8).collect();
            raw.extend(frame(FIRSTS[random(FIRSTS.len())], &payload));
        }
        let whole = run(&raw, raw.len());
        assert_eq!(run(&raw, 1 + random(raw.len())), whole, "{raw:x?}");

        let small = WebSocketConfig::default().read_buffer_size(2048);
        let mut server = WebSocket::from_raw_socket(Wire::default(), Role::Server, Some(small));
        wire_to(&mut server, raw.clone());
        let mut messages = Vec::new();
        let theirs = loop {
            match server.read() {
                Ok(Message::Binary(payload)) => messages.extend(payload),
                Ok(_) => {}
                Err(tungstenite::Error::Io(_)) => break Ok(Received::Open),
                Err(tungstenite::Error::ConnectionClosed) => break Ok(Received::Closed),
                Err(_) => break Err(()),
            }
        };
        let (plain, _, ours) = whole;
        match &ours {
            Ok(Received::Open) => good += 1,
            Ok(Received::Closed) => closed += 1,
            Err(_) => bad += 1,
        }
        // They answer a forbidden close code politely, we call it the fault that it is.
        let forbidden_code = ours
            .as_ref()
            .is_err_and(|e| *e == WebSocketError::CloseCode.to_string());
        if !(forbidden_code && theirs == Ok(Received::Closed)) {
            assert_eq!(ours.map_err(drop), theirs, "{raw:x?}");
        }
        // They gather messages; we hand on what has come of the last.
        assert!(plain.starts_with(&messages), "{raw:x?}");
    }
    assert!(
        good > 300 && bad > 300 && closed > 3,
        "{good} good, {bad} bad, {closed} closed"
    );
}

#[test]
fn a_websocket_inside_tls_starts_with_bytes_already_decrypted_and_ends_with_both_goodbyes() {
    let folder = Folder::with_authority();
    let mut ca = PrivateCa::open_or_create(folder.path(), june_2026()).unwrap();
    ca.ensure_leaf(&["safeport.lan".to_owned()], june_2026())
        .unwrap();
    let certificates = Certificates::new();
    certificates.set_private(ca.chains());
    let profile = TlsProfile {
        record_size: RecordSize::Fixed(1024),
        ..TlsProfile::default()
    };
    let service = TlsService::new(&certificates, profile).unwrap();
    let mut server = Layer::tls(&service, None);
    let mut client = Abilities::of(TLS13).connect(&ca, "safeport.lan");
    client.shake_hands(&mut server).unwrap();
    // The first frames travel with the upgrade request, and the HTTP server has read what of them
    // could be decrypted; the rest of a record that is cut stays with TLS.
    let behind = [frame(0x82, b"first"), frame(0x82, b"second")].concat();
    let (whole, cut) = (client.write(&behind), client.write(&frame(0x82, b"third")));
    let (before, after) = cut.split_at(7);
    let (received, _) = feed(&mut server, &[whole.as_slice(), before].concat());
    let (early, _) = received.unwrap();
    assert_eq!(early, behind);
    let mut layer = Layer::websocket_over(server);
    assert!(!layer.is_handshaking() && layer.is_tls() && layer.facts().is_some());
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let received = layer.receive_early(&early, &mut plain, &mut out).unwrap();
    assert_eq!(
        (&plain[..], received),
        (&b"firstsecond"[..], Received::Open)
    );
    assert!(out.is_empty());
    assert_eq!(
        feed(&mut layer, after).0.unwrap(),
        (b"third".to_vec(), Received::Open)
    );

    let ping = client.write(&frame(0x89, b"hi"));
    let (received, out) = feed(&mut layer, &ping);
    assert_eq!(received.unwrap(), (vec![], Received::Open));
    assert_eq!(client.read(&out).unwrap(), b"\x8a\x02hi");

    let mut out = Vec::new();
    layer.send(&[9; 3000], &mut out).unwrap();
    let lengths: Vec<usize> = records(&out).iter().map(|(_, c)| c.len() - 17).collect();
    assert_eq!(lengths, [1024, 1024, 956]);
    let framed = client.read(&out).unwrap();
    assert_eq!(
        (&framed[..4], framed.len()),
        (&[0x82, 126, 0x0b, 0xb8][..], 3004)
    );

    let text = client.write(&frame(0x81, b"{}"));
    let (received, out) = feed(&mut layer, &text);
    assert!(matches!(
        received,
        Err(LayerError::WebSocket(WebSocketError::Text))
    ));
    assert_eq!(client.read(&out).unwrap(), close(1003));
    assert!(client.0.process_new_packets().unwrap().peer_has_closed());
}

/// What was gathered, whether it was text; what goes back; how it ended.
type Gathering = (
    Vec<(bool, Vec<u8>)>,
    Vec<u8>,
    Result<Received, WebSocketError>,
);

/// The messages in `raw`, fed in pieces of `step` bytes.
fn gathered(raw: &[u8], step: usize) -> Gathering {
    let mut messages = Messages::default();
    let (mut all, mut out) = (Vec::new(), Vec::new());
    let mut outcome = Ok(Received::Open);
    for piece in raw.chunks(step) {
        outcome = messages.receive(piece, &mut out, |message| match message {
            Gathered::Text(bytes) => all.push((true, bytes.to_vec())),
            Gathered::Binary(bytes) => all.push((false, bytes.to_vec())),
        });
        if outcome != Ok(Received::Open) {
            break;
        }
    }
    (all, out, outcome)
}

#[test]
fn messages_come_out_whole_text_apart_from_bytes_however_they_are_cut() {
    let long = vec![7; 4000];
    let mut raw = frame(0x81, b"{\"type\":\"hello\"}");
    raw.extend(frame(0x82, b""));
    raw.extend(frame(0x02, b"first"));
    raw.extend(frame(0x89, b"still there?"));
    raw.extend(frame(0x80, b" and second"));
    raw.extend(frame(0x01, b"split "));
    raw.extend(frame(0x00, b""));
    raw.extend(frame(0x80, b"text"));
    raw.extend(frame(0x82, &long));
    let expected = vec![
        (true, b"{\"type\":\"hello\"}".to_vec()),
        (false, Vec::new()),
        (false, b"first and second".to_vec()),
        (true, b"split text".to_vec()),
        (false, long),
    ];
    for step in [1, 2, 7, 64, raw.len()] {
        let (all, out, outcome) = gathered(&raw, step);
        assert_eq!(all, expected, "in pieces of {step}");
        assert_eq!(out, [&[0x8a, 12][..], b"still there?"].concat());
        assert_eq!(outcome, Ok(Received::Open));
    }
}

#[test]
fn a_message_that_would_be_gathered_beyond_the_limit_ends_the_connection_at_its_header() {
    let limit = limits::WEBSOCKET_GATHERED as usize;
    let (all, out, _) = gathered(&frame(0x82, &vec![1; limit]), 4096);
    assert_eq!((all.len(), out.len()), (1, 0));
    let header = &frame(0x82, &vec![1; limit + 1])[..14];
    let (all, out, outcome) = gathered(header, 1);
    assert!(
        matches!(outcome, Err(WebSocketError::TooLong { .. })),
        "{outcome:?}"
    );
    assert_eq!((all.len(), out), (0, close(1009)));
    // In many frames as well.
    let mut raw = frame(0x02, &vec![1; limit]);
    raw.extend(frame(0x80, b"x"));
    let (all, out, outcome) = gathered(&raw, 1000);
    assert!(
        matches!(outcome, Err(WebSocketError::TooLong { .. })),
        "{outcome:?}"
    );
    assert_eq!((all.len(), out), (0, close(1009)));
}

#[test]
fn what_is_sent_as_messages_another_implementation_reads_and_after_a_goodbye_nothing_is_sent() {
    let mut messages = Messages::default();
    let mut out = Vec::new();
    messages.send_text("{}", &mut out).expect("open");
    messages.send_binary(&[1, 2, 3], &mut out).expect("open");
    messages.close(&mut out);
    messages.close(&mut out);
    let expected = [&[0x81, 2][..], b"{}", &[0x82, 3, 1, 2, 3], &close(1000)].concat();
    assert_eq!(out, expected);
    assert!(matches!(
        messages.send_text("{}", &mut out),
        Err(LayerError::Closed)
    ));
}
