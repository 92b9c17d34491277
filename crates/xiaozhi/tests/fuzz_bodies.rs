//! The bodies of the fuzz targets on stable Rust: fixed seeds, then thousands of mutations of
//! them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/conversation.rs"]
#[allow(unreachable_pub)]
mod conversation;
#[path = "../../../fuzz/src/dice.rs"]
#[allow(dead_code, unreachable_pub)]
mod dice;
#[path = "../../../fuzz/src/xiaozhi.rs"]
#[allow(dead_code, unreachable_pub)]
mod xiaozhi;
#[path = "../../../fuzz/src/xiaozhi_voice.rs"]
#[allow(dead_code, unreachable_pub)]
mod xiaozhi_voice;

use dice::{each, rounds};

/// Runs `body` on the seeds and on mutations of them: about a second.
fn attack(body: fn(&[u8]), seeds: &[Vec<u8>], meaningful: &[u8]) {
    dice::attack(body, seeds, &each(meaningful), rounds(20_000));
}

#[test]
fn checks_of_mutated_bodies_are_answered_and_never_panic() {
    let body = r#"aa:bb:cc:dd:ee:ff
7b94d69a-9808-4c59-9c9b-704333b38aff
bread-compact-wifi/2.4.2
{"version":2,"flash_size":16777216,"minimum_free_heap_size":"8318916","mac_address":"aa:bb:cc:dd:ee:ff","uuid":"u","chip_model_name":"esp32s3","chip_info":{"model":9,"revision":2},"application":{"name":"xiaozhi","version":"2.4.2","elf_sha256":"c8a8"},"partition_table":[{"label":"ota_0","type":0,"subtype":16,"address":131072,"size":4128768}],"ota":{"label":"ota_0"},"display":{"width":240},"board":{"type":"b","ssid":"ho\"me","rssi":-55,"ip":"192.168.1.20"}}"#;
    let seeds = [
        body.as_bytes().to_vec(),
        b"AA-BB-CC-DD-EE-FF\nweb_test_client\nMozilla/5.0\n{}".to_vec(),
        b"x\n\nb/v2.0..1\n[[[{".to_vec(),
        b"\n\n\n".to_vec(),
    ];
    attack(
        xiaozhi::check,
        &seeds,
        b"{}[]\":,\\0129.-eE+tfnul/\n \xff\xc3",
    );
}

#[test]
fn texts_of_strangers_are_refused_or_read_back() {
    let seeds = [
        &b"GID_board@@@aa_bb_cc_dd_ee_ff@@@uuid"[..],
        b"ws://192.168.1.10:8000/xiaozhi/v1/",
        b"9dvI-eZgxgevdgsR_HeA-NWZin2aR7u3b_PdjUvEWVM.1700000000",
        b"eyJpcCI6ICJ1bmtub3duIn0=",
        b"{\"Payload\":{\"hmac\":\"00\",\"challenge\":\"c\",\"serial_number\":\"s\"}}",
        b"048 291",
        b"2.4.2-beta",
    ]
    .map(<[u8]>::to_vec);
    attack(xiaozhi::texts, &seeds, b"@_.:/=|0aA{}\"\\ -+%\xff");
}

#[test]
fn frames_of_strangers_are_read_within_their_bounds() {
    let seeds = [
        &b"\x00\x02\0\0\0\0\0\0\0\0\x03\xc0\0\0\0\x03\xf8\xff\xfe"[..],
        b"\0\0\0\x03\xf8\xff\xfe",
        b"\x01\0\0\x03\0\0\0\x07\0\0\x03\xc0\0\0\0\x03\xf8\xff\xfe",
        b"\x01\0\0\x02{}",
        b"\xf8\xff\xfe",
    ]
    .map(<[u8]>::to_vec);
    attack(conversation::frames, &seeds, b"\0\x01\x02\x03\x04\xff");
}

#[test]
fn messages_of_strangers_are_said_again_in_the_same_sense() {
    let seeds = [
        &br#"{"type":"hello","version":3,"transport":"udp","features":{"mcp":true},"audio_params":{"format":"opus","sample_rate":16000,"channels":1,"frame_duration":60}}"#[..],
        br#"{"type":"hello","transport":"udp","udp":{"server":"h","port":1,"key":"000102030405060708090a0b0c0d0e0f","nonce":"01000000123456780000000000000000"}}"#,
        br#"{"session_id":"s","type":"listen","state":"start","mode":"realtime"}"#,
        br#"{"type":"listen","state":"detect","text":"a\u4f60\"b"}"#,
        br#"{"type":"mcp","payload":{"jsonrpc":"2.0","id":1,"result":{}}}"#,
        br#"{"type":"tts","state":"sentence_start","text":"x"}"#,
        br#"{"type":"alert","status":"s","message":"m","emotion":"e"}"#,
        br#"{"type":"goodbye","session_id":"s"}"#,
        br#"{"type":"notify","audio_url":"http://h/a.ogg","subtitles":[{"start_ms":0,"text":"x"},{"start_ms":1.5e3,"text":"y"},7]}"#,
        br#"{"type":"speak_request","session_id":"s","text":"t","auto_listen":true}"#,
        br#"{"type":"speak_ready","session_id":"s","state":"ready"}"#,
    ]
    .map(<[u8]>::to_vec);
    attack(
        conversation::messages,
        &seeds,
        b"{}[]\":,\\0129.-eEtfnul/ \xff\xc3",
    );
}

#[test]
fn conversations_of_any_events_keep_to_one_turn_at_a_time() {
    let seeds = [
        &b"\x00\x00\x04\x00\x05\x00\x06\x98\x06\x98\x08\x00\x0a\xff\x0a\xff"[..],
        b"\x00\x01\x01\x00\x06\x00\x0a\xc8\x03\x00\x00\x01\x06\x00",
        b"\x00\x02\x04\x00\x06\x18\x0a\x64\x07\x00\x04\x00\x08\x00",
        b"\x02\x00\x00\x00\x06\x18\x08\x00\x0b\xff\x08\x00\x09\x00\x0b\x82",
    ]
    .map(<[u8]>::to_vec);
    attack(
        conversation::turns,
        &seeds,
        b"\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x18\x98\xff",
    );
}

#[test]
fn mutated_opus_packets_are_refused_or_survive_other_packets() {
    let mut padded = vec![0x4b, 0xc3, 255, 3, 2, 1];
    padded.extend([5; 8]);
    padded.resize(padded.len() + 257, 0);
    let seeds = [
        vec![0x58, 1, 2, 3],
        vec![0x49, 1, 2, 3, 4],
        vec![0x4a, 1, 9, 7, 7],
        vec![0x4b, 6, 1, 2, 3, 4, 5, 6],
        vec![0x4b, 0x83, 0, 2, 5, 6, 7],
        padded,
    ];
    attack(
        xiaozhi_voice::opus,
        &seeds,
        &[0, 1, 3, 0x41, 0x83, 251, 252, 255],
    );
}

#[test]
fn mutated_datagrams_are_dropped_or_heard_in_their_order() {
    let key = safeport_xiaozhi::AudioKey::new([7; 16], 0x0102_0304);
    let datagram = |sequence, packet: &[u8]| {
        let header = safeport_xiaozhi::AudioHeader {
            length: packet.len() as u16,
            ssrc: key.ssrc(),
            timestamp: 0,
            sequence,
        };
        let mut bytes = (16 + packet.len() as u16).to_be_bytes().to_vec();
        bytes.extend(header.write());
        let start = bytes.len();
        bytes.extend_from_slice(packet);
        key.apply(&header.write(), &mut bytes[start..]);
        bytes
    };
    let talk = [1u32, 2, 4, 3, 5, 5, 70, 71];
    let talk: Vec<u8> = talk
        .iter()
        .flat_map(|sequence| datagram(*sequence, &[0x58, 1, 2, 3]))
        .collect();
    let mut moved = talk.clone();
    let last = moved.len() - 22;
    moved[last] |= 0x80;
    let mut followed = Vec::new();
    for sequence in 1..14 {
        let at = followed.len();
        followed.extend(datagram(sequence, &[0x58, 1, 2, 3]));
        followed[at] |= if sequence > 6 { 0x80 } else { 0 };
    }
    let seeds = [talk, moved, followed, datagram(1, &[0xf8, 0xff, 0xfe])];
    attack(
        xiaozhi_voice::datagrams,
        &seeds,
        &[0, 1, 2, 4, 19, 0x80, 255],
    );
}

#[test]
fn mutated_answers_of_tools_stay_within_limits_and_every_call_ends() {
    let seeds = [
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2024-11-05"}}
{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"self.a","description":"d","inputSchema":{"type":"object","properties":{"v":{"type":"integer"}}}},{"name":"self_a"}],"nextCursor":"self.b"}}
{"jsonrpc":"2.0","id":3,"result":{"tools":[{"name":"self.b","annotations":{"audience":["user"]}}]}}
{"jsonrpc":"2.0","id":4,"result":{"content":[{"type":"text","text":"true"}],"isError":false}}
{"jsonrpc":"2.0","id":5,"error":{"message":"no"}}
{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        r#"{"id":1,"result":{}}
{"id":2,"result":{"tools":[{"name":"t"}]}}
{"id":3,"result":{"content":[{"type":"image","image":"{\"mimeType\":\"a/b\",\"data\":\"AA\"}"}]}}
{"id":9,"method":"ping"}
{"id":"x","method":"roots/list"}"#,
        r#"{"id":1,"error":"no"}"#,
    ]
    .map(|text| text.as_bytes().to_vec());
    attack(
        xiaozhi_voice::tools,
        &seeds,
        b"{}[]\":,\\0123456789.-eEtfnul/\n \xff\xc3",
    );
}
