//! What must hold of the sound and the tools of xiaozhi devices, for any bytes at all.

use std::net::SocketAddr;
use std::time::Duration;

use safeport_xiaozhi::{
    AudioChannel, AudioError, AudioKey, Caller, DeviceTools, McpEffect, McpHello, ModelNames,
    OpusPacket, Repacketizer, Time, is_plausible_opus, limits,
};

/// A packet: refused, or cut into frames that lie inside it and survive other packets.
pub fn opus(data: &[u8]) {
    let Ok(packet) = OpusPacket::parse(data) else {
        assert!(!is_plausible_opus(data));
        return;
    };
    let frames: Vec<&[u8]> = packet.frames().collect();
    let total: usize = frames.iter().map(|frame| frame.len()).sum();
    assert!(total + packet.padding() < data.len());
    assert!((2_500..=120_000).contains(&packet.duration_micros()));

    let wanted = Duration::from_millis(u64::from(data[0] % 120) + 1);
    let limit = 1276 + usize::from(data[data.len() - 1]);
    let mut machine = Repacketizer::new(wanted, limit);
    machine.push(data).expect("one packet always has room");
    let (mut out, mut again) = (Vec::new(), Vec::new());
    while machine.take(&mut out) || machine.flush(&mut out) {
        assert!(out.len() <= limit);
        let packet = OpusPacket::parse(&out).expect("what was made is a packet");
        again.extend(packet.frames().map(<[u8]>::to_vec));
    }
    assert_eq!(frames, again);
}

/// Datagrams, one after the other: two bytes of length and the bytes, the top bit of the length
/// for another address. Numbers only grow, and what is not accepted changes nothing, unless who was
/// found first turns out to be no device.
pub fn datagrams(mut data: &[u8]) {
    let key = AudioKey::new([7; 16], 0x0102_0304);
    let mut channel = AudioChannel::new(key, Time(0));
    let mut last = 0;
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let length = u16::from_be_bytes(*length);
        let from = SocketAddr::from(([192, 0, 2, (length >> 15) as u8], 9));
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(length & 0x7fff)));
        data = rest;
        let mut bytes = bytes.to_vec();
        let before = (channel.peer(), channel.counters().heard);
        match channel.receive(&mut bytes, from) {
            Ok(heard) => {
                assert!(heard.sequence > last && heard.missed < heard.sequence);
                assert!(is_plausible_opus(heard.packet));
                last = heard.sequence;
                assert_eq!(channel.peer(), Some(from));
            }
            Err(AudioError::NotOpus) if channel.peer().is_none() => {
                assert!(before.0.is_none_or(|peer| peer == from));
                last = 0;
            }
            Err(_) => assert_eq!((channel.peer(), channel.counters().heard), before),
        }
    }
    let mut out = Vec::new();
    let sent = channel.write(&[0x58], 0, &mut out, Time(1));
    assert_eq!(sent.is_ok(), channel.peer().is_some());
    assert_eq!(sent.is_ok(), last > 0);
}

/// Payloads of a device, one a line. What it tells stays within its limits, calls come to an end,
/// and whatever its tools are called, a model can call them.
pub fn tools(data: &[u8]) {
    let hello = McpHello {
        name: "safeport".into(),
        version: "0".into(),
        vision: None,
    };
    // Numbers from 1 on, so that the bytes can answer.
    let mut device = DeviceTools::new(hello, 1);
    device.start(Time(0));
    let mut waiting = 0;
    for (step, line) in data.split(|byte| *byte == b'\n').take(64).enumerate() {
        let now = Time(step as u64 * 997);
        device.handle(&String::from_utf8_lossy(line), now);
        let names: Vec<String> = device.model_tools().map(|(name, _)| name.into()).collect();
        for name in names.iter().take(2) {
            assert!((1..=64).contains(&name.len()));
            waiting += usize::from(device.call(Caller::Model, name, "{}", now).is_ok());
        }
        device.handle_timeout(now);
        while let Some(effect) = device.poll_effect() {
            match effect {
                McpEffect::Send(payload) => {
                    let payload = payload.as_str();
                    let value: serde_json::Value = serde_json::from_str(payload).expect("JSON");
                    assert_eq!(value["jsonrpc"], "2.0");
                }
                McpEffect::Done { outcome, .. } => {
                    waiting -= 1;
                    if let Ok(result) = outcome {
                        assert!(result.content.len() <= limits::MAX_RESULT_PARTS);
                    }
                }
                McpEffect::Listed | McpEffect::Unavailable(_) => {}
            }
        }
        assert!(device.tools().len() <= limits::MAX_TOOLS);
        assert_eq!(waiting, device.calls());
    }
    let names = ModelNames::new(device.tools().iter().map(|tool| &*tool.name));
    for tool in device.tools() {
        let model = names.to_model(&tool.name).expect("every tool has a name");
        assert_eq!(names.to_own(model), Some(&*tool.name));
    }
    device.close();
    let ended = std::iter::from_fn(|| device.poll_effect()).count();
    assert_eq!(ended, waiting);
}
