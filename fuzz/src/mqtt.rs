//! What must hold of the codec for any bytes at all.

use safeport_mqtt::{
    DecodeErrorKind, Decoded, Packet, TopicFilter, TopicName, Version, decode, limits,
};

use crate::packets::{topic_filter as make_filter, topic_name as make_name, with_packet};
use crate::source::Source;

/// Bytes from a stranger. The first byte chooses the version, the second the packet limit; the
/// rest is the stream.
///
/// No version panics; what is decoded can be encoded and is the same when it is decoded again;
/// what is incomplete says so truthfully; every refusal can be shown.
pub fn decode_stream(data: &[u8]) {
    let mut source = Source::new(data);
    let version = source.pick(&[Version::V5, Version::V311, Version::V31]);
    let max_packet = source.pick(&[limits::MAX_PACKET, 128, 4096]);
    let mut stream = data.get(2..).unwrap_or_default();
    loop {
        match decode(stream, version, max_packet) {
            Ok(Decoded::Packet(packet, used)) => {
                assert!((2..=stream.len()).contains(&used), "took {used} bytes");
                assert!(used <= max_packet as usize, "took more than the limit");
                check_decoded(version, &packet);
                stream = &stream[used..];
            }
            Ok(Decoded::Incomplete(needed)) => {
                assert!(needed == 0 || needed > stream.len(), "needs {needed} bytes");
                assert!(needed <= max_packet as usize);
                return;
            }
            Err(error) => {
                assert!(error.reason().is_error());
                assert!(!error.to_string().is_empty());
                return;
            }
        }
    }
}

/// What was accepted can be sent on and means the same there.
fn check_decoded(version: Version, packet: &Packet<'_>) {
    let version = match packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    let mut bytes = Vec::new();
    packet
        .encode(version, &mut bytes)
        .unwrap_or_else(|error| panic!("{error}: {packet:?}"));
    assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
    let again = decode(&bytes, version, limits::MAX_PACKET);
    assert_eq!(again, Ok(Decoded::Packet(*packet, bytes.len())));
    touch(packet);
}

/// Walks through everything that is read on demand.
fn touch(packet: &Packet<'_>) {
    match packet {
        Packet::Subscribe(subscribe) => {
            assert!(!subscribe.filters.is_empty());
            for (filter, _) in subscribe.filters.iter() {
                TopicFilter::new(filter).expect("a decoded filter is well-formed");
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert!(!unsubscribe.filters.is_empty());
            for filter in unsubscribe.filters.iter() {
                TopicFilter::new(filter).expect("a decoded filter is well-formed");
            }
        }
        Packet::SubAck(ack) => assert_eq!(ack.reason_codes().count(), ack.codes.len()),
        Packet::UnsubAck(ack) => assert_eq!(ack.reason_codes().count(), ack.codes.len()),
        Packet::Publish(publish) => {
            let _ = publish.check_payload_format();
            match publish.topic.is_empty() {
                true => assert!(publish.properties.topic_alias().is_some()),
                false => drop(TopicName::new(publish.topic).expect("a decoded topic is a name")),
            }
        }
        Packet::Connect(connect) => {
            if let Some(will) = connect.will {
                TopicName::new(will.topic).expect("a decoded will topic is a name");
            }
        }
        _ => {}
    }
    // Debug walks over properties and filters.
    assert!(!format!("{packet:?}").is_empty());
}

/// Any valid packet, made from `data`, survives encoding and decoding, and every part of it that
/// is not all of it is incomplete.
pub fn round_trip(data: &[u8]) {
    with_packet(&mut Source::new(data), |version, packet| {
        let mut bytes = vec![0xEE; 3];
        packet
            .encode(version, &mut bytes)
            .unwrap_or_else(|error| panic!("{error}: {packet:?}"));
        assert_eq!(bytes[..3], [0xEE; 3], "encode appends");
        let bytes = &bytes[3..];
        assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
        let whole = decode(bytes, version, limits::MAX_PACKET);
        assert_eq!(whole, Ok(Decoded::Packet(packet, bytes.len())));
        // All of the head, and a few cuts through a long body.
        for cut in (0..bytes.len().min(200)).chain((200..bytes.len()).step_by(4099)) {
            match decode(&bytes[..cut], version, limits::MAX_PACKET) {
                Ok(Decoded::Incomplete(needed)) => assert!(needed == 0 || needed == bytes.len()),
                other => panic!("{cut} of {} bytes gave {other:?}", bytes.len()),
            }
        }
        let limit = bytes.len() as u32;
        assert!(decode(bytes, version, limit).is_ok());
        let error = decode(bytes, version, limit - 1).expect_err("one byte above the limit");
        assert_eq!(error.kind, DecodeErrorKind::PacketTooLarge);
    });
}

/// `matches` and `covers` against a slow reading of section 4.7, on filters and names made from
/// `data`; and no text makes a constructor panic.
pub fn topic_filter(data: &[u8]) {
    if let Ok(text) = core::str::from_utf8(data) {
        let _ = TopicName::new(text);
        if let Ok(filter) = TopicFilter::new(text) {
            assert!(filter.covers(&filter), "{text} covers itself");
            assert!(text.ends_with(filter.filter()));
        }
    }
    let mut source = Source::new(data);
    let (wide, narrow) = (make_filter(&mut source), make_filter(&mut source));
    let wide = TopicFilter::new(&wide).expect("a made filter is well-formed");
    let narrow = TopicFilter::new(&narrow).expect("a made filter is well-formed");
    while !source.is_empty() {
        let name = make_name(&mut source);
        TopicName::new(&name).expect("a made name is well-formed");
        for filter in [&wide, &narrow] {
            assert_eq!(
                filter.matches(&name),
                slow_match(filter.filter(), &name),
                "{} against {name}",
                filter.as_str()
            );
        }
        if wide.covers(&narrow) && narrow.matches(&name) {
            assert!(
                wide.matches(&name),
                "{wide:?} covers {narrow:?} but not {name}"
            );
        }
    }
}

/// Section 4.7 read word by word, level by level from the left.
pub fn slow_match(filter: &str, name: &str) -> bool {
    fn levels(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            (["#"], _) => true,
            ([], []) => true,
            ([first, filter @ ..], [level, name @ ..]) => {
                (*first == "+" || first == level) && levels(filter, name)
            }
            _ => false,
        }
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    let hidden = name[0].starts_with('$') && (filter[0] == "+" || filter[0] == "#");
    !hidden && levels(&filter, &name)
}
