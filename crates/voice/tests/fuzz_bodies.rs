//! The bodies of the fuzz targets on stable Rust: fixed seeds, then thousands of mutations of
//! them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/dice.rs"]
#[allow(dead_code, unreachable_pub)]
mod dice;
#[path = "../../../fuzz/src/voice.rs"]
#[allow(unreachable_pub)]
mod voice;

use dice::{attack, rounds};

/// Mutations of each target: some seconds.
const ROUNDS: usize = 20_000;

/// What stands in the JSON of models.
const WORDS: [&[u8]; 24] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"data: ",
    b"[DONE]",
    b"event: error\n",
    b"null",
    b"\\u4f60",
    b"<think>",
    b"</think>",
    b"\"length\"",
    b"\"id\":\"\",",
    b"\"index\":1,",
    b"\xef\xbb\xbf",
    b"\xff",
    b"<",
    b"0",
];

#[test]
fn mutated_answers_of_models_are_the_same_however_they_are_cut() {
    let seeds = [
        "\x03data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"The lamp <think>hm</think> is\"}}]}\n\n\
         data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" on\"},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\n\n",
        "\x05: hello\n\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\"\"}}]}}]}\n\n\
         data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}},{\"index\":1,\"id\":\"c00000701\",\"function\":{\"name\":\"g\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n",
        "\x01{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"hi\"}],\"tool_calls\":[{\"id\":\"c00000701\",\"function\":{\"name\":\"f\",\"arguments\":{}}},{\"function\":{\"name\":\"g\"}}]},\"finish_reason\":\"stop\"}]}",
        "\x02{\"error\":{\"message\":\"no\",\"code\":401}}",
        "\x02event: error\ndata: {\"code\":\"x\",\"message\":\"y\"}\n\n",
        "\x07<html><title>x</title></html>",
        "\x04data:{\"base_resp\":{\"status_code\":1008,\"status_msg\":\"m\"},\"choices\":null}\n\n",
    ]
    .map(|text| text.as_bytes().to_vec());
    attack(voice::answers, &seeds, &WORDS, rounds(ROUNDS));
}

/// A WAV, whatever its parts say.
fn wav(format: [u16; 8], chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0".to_vec();
    bytes.extend(format.iter().flat_map(|word| word.to_le_bytes()));
    for (name, body) in chunks {
        bytes.extend_from_slice(*name);
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(body);
    }
    bytes
}

/// A page of Ogg.
fn page(flags: u8, serial: u8, segments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"OggS\0".to_vec();
    bytes.push(flags);
    bytes.extend([0; 8]);
    bytes.extend([serial, 0, 0, 0]);
    bytes.extend([0; 8]);
    bytes.push(segments.len() as u8);
    bytes.extend(segments.iter().map(|segment| segment.len() as u8));
    bytes.extend(segments.concat());
    bytes
}

#[test]
fn mutated_sound_of_services_is_the_same_however_it_is_cut() {
    let mono = [1, 1, 24_000, 0, 0, 0, 2, 16];
    let stereo = [1, 2, 48_000, 0, 0, 0, 4, 16];
    let head = page(2, 7, &[b"OpusHead\x01\x01\0\0\x80\x3e\0\0\0\0\0"]);
    let tags = page(0, 7, &[b"OpusTags\0\0\0\0\0\0\0\0"]);
    let full = [0x58; 255];
    let ogg = [
        &b"\x05"[..],
        &head,
        &tags,
        &page(0, 7, &[&[0x58, 1], &full]),
        &page(1, 7, &[&[3; 9]]),
        &page(0, 9, &[&[4; 9]]),
        &page(4, 7, &[&[0x58, 2]]),
    ];
    let with = |first: u8, bytes: Vec<u8>| [vec![first], bytes].concat();
    let seeds = [
        with(4, wav(mono, &[(b"data", &[1, 2, 3, 4, 5])])),
        with(
            7,
            wav(
                stereo,
                &[(b"LIST", b"abc"), (b"data", &[9; 16]), (b"id3 ", b"x")],
            ),
        ),
        with(9, wav(mono, &[(b"data", &[])])),
        ogg.concat(),
        b"\x03\x01\x02\x03\x04\x05\x06\x07".to_vec(),
        b"\x01ID3\x03\0\0".to_vec(),
        b"\x02\xff\xfb\x90\0".to_vec(),
    ];
    let meaningful: [&[u8]; 12] = [
        b"RIFF",
        b"WAVE",
        b"fmt ",
        b"data",
        b"OggS",
        b"OpusHead",
        b"\0",
        b"\x01",
        b"\x02",
        b"\x10",
        b"\xff",
        b"\xfe\xff",
    ];
    attack(voice::sounds, &seeds, &meaningful, rounds(ROUNDS));
}

#[test]
fn mutated_texts_of_models_become_the_same_sentences_however_they_are_cut() {
    let seeds = [
        "Hello there! It is 3.5 degrees, e.g. cold... **Bold** [link](http://x.y/a_b).\n- one\n1. two",
        "你好！今天天气很好，我们去公园吧。「真的？」他说……好的😀👨‍👩‍👧",
        "```rust\nlet x = 1;\n```\n# Title\n> quote _a_ `b` ~~c~~ | t | u |",
        "![p](q) <think> a&amp;b https://a.b/c?d=e. Mr. Smith vs. U.S. …?! \u{200d}\u{fe0f}",
    ]
    .map(|text| text.as_bytes().to_vec());
    let long = "word, ".repeat(80).into_bytes();
    let meaningful: [&[u8]; 20] = [
        b".",
        b"!",
        b"?",
        b"*",
        b"_",
        b"`",
        b"[",
        b"](",
        b")",
        b"\n",
        b"#",
        b" ",
        "。".as_bytes(),
        "，".as_bytes(),
        "😀".as_bytes(),
        "\u{200d}".as_bytes(),
        "\u{301}".as_bytes(),
        b"~~",
        b"|",
        b"http://",
    ];
    let seeds: Vec<_> = seeds.into_iter().chain([long]).collect();
    attack(voice::sentences, &seeds, &meaningful, rounds(ROUNDS));
}

#[test]
fn mutated_packets_of_microphones_never_disturb_what_follows() {
    let recorded = include_bytes!("speech/lamp.en.packets");
    let mut packets = &recorded[..];
    let mut seed = Vec::new();
    while let Some((length, rest)) = packets.split_first_chunk::<2>() {
        let (packet, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        packets = rest;
        if let (Ok(length), true) = (u8::try_from(packet.len()), seed.len() < 1500) {
            seed.push(length);
            seed.extend_from_slice(packet);
        }
    }
    assert!(seed.len() > 500);
    let seeds = [
        seed,
        b"\x01\x58\x03\xf8\xff\xfe\x04\x5b\x03\x01\x02".to_vec(),
    ];
    let meaningful: [&[u8]; 6] = [b"\0", b"\x01", b"\x5b", b"\xff", b"\xfc\x41", b"\x0b\x83"];
    // Each decodes a second of sound.
    attack(voice::packets, &seeds, &meaningful, rounds(ROUNDS) / 20);
}
