use super::*;
use crate::limits::{MAX_MESSAGE, MAX_SAID, MAX_SUBTITLES};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

fn device(text: &str) -> Heard<'_, FromDevice<'_>> {
    FromDevice::read(text.as_bytes()).expect("a message")
}

fn server(text: &str) -> Heard<'_, ToDevice<'_>> {
    ToDevice::read(text.as_bytes()).expect("a message")
}

#[test]
fn the_hello_of_a_websocket_device_is_read_whole() {
    let heard = device(
        r#"{"type":"hello","version":1,"features":{"mcp":true,"glyph_push":true},
        "transport":"websocket","text_font":{"bundle":"b","charset":"common","size":20,"bpp":4},
        "audio_params":{"format":"opus","sample_rate":16000,"channels":1,"frame_duration":20}}"#,
    );
    assert_eq!(heard.wrong, [""; 0]);
    let FromDevice::Hello(hello) = heard.message else {
        panic!("{heard:?}");
    };
    assert_eq!(hello.version, Some(1));
    assert_eq!(hello.transport, Some(Transport::WebSocket));
    assert!(hello.features.mcp && hello.features.glyph_push && !hello.features.aec);
    assert_eq!(hello.audio().frame_duration, 20);
    let font = hello.text_font.expect("a font");
    assert_eq!(
        (font.charset.as_ref(), font.size, font.bpp),
        ("common", 20, 4)
    );
}

#[test]
fn the_hello_of_a_browser_says_nothing_of_audio_and_stands_for_the_usual() {
    let heard = device(
        r#"{"type":"hello","device_id":"AA:BB","device_name":"Web测试设备","device_mac":"AA:BB",
        "token":"t","features":{"mcp":true,"emoji":true}}"#,
    );
    assert_eq!(heard.wrong, [""; 0]);
    let FromDevice::Hello(hello) = heard.message else {
        panic!("{heard:?}");
    };
    assert_eq!(
        (hello.version, hello.transport, hello.audio),
        (None, None, None)
    );
    assert_eq!(hello.audio(), AudioParams::DEVICE);
    assert!(hello.features.mcp);
}

#[test]
fn fields_of_a_wrong_type_are_named_and_count_as_absent() {
    let heard = device(
        r#"{"type":"hello","session_id":7,"version":"one","transport":"pigeon","features":[],
        "audio_params":{"format":"mp3","sample_rate":0,"channels":1.5,"frame_duration":1e9}}"#,
    );
    assert_eq!(
        heard.wrong,
        [
            "session_id",
            "features",
            "version",
            "transport",
            "sample_rate",
            "channels",
            "frame_duration",
            "format"
        ]
    );
    assert_eq!(heard.session_id, None);
    let FromDevice::Hello(hello) = heard.message else {
        panic!("{heard:?}");
    };
    assert_eq!(hello.audio(), AudioParams::DEVICE);
    assert_eq!(hello.version, None);
}

#[test]
fn a_null_is_as_good_as_nothing_and_a_whole_double_is_a_number() {
    let heard = device(
        r#"{"type":"hello","version":3.0,"session_id":null,"audio_params":null,"features":null}"#,
    );
    assert_eq!(heard.wrong, [""; 0]);
    assert!(matches!(heard.message, FromDevice::Hello(hello) if hello.version == Some(3)));
}

#[test]
fn unknown_types_and_fields_mean_nothing_and_are_no_error() {
    for text in [
        r#"{"type":"friend_request","x":[1,{"y":null}]}"#,
        r#"{"type":"listen","state":"dance"}"#,
        r#"{"type":"listen"}"#,
        r#"{"type":"mcp"}"#,
        r#"{"type":"server"}"#,
        r#"{"type":""}"#,
    ] {
        let message = device(text).message;
        assert!(matches!(message, FromDevice::Unknown { .. }), "{text}");
    }
    for text in [
        r#"{"type":"party"}"#,
        r#"{"type":"tts","state":"pause"}"#,
        r#"{"type":"system","command":"explode"}"#,
        r#"{"type":"alert","status":"s","message":"m"}"#,
    ] {
        let message = server(text).message;
        assert!(matches!(message, ToDevice::Unknown { .. }), "{text}");
    }
    let heard = device(r#"{"zzz":1,"type":"abort","reason":"wake_word_detected","type":"hello"}"#);
    assert_eq!(heard.message.kind(), "abort");
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    for text in ["", "hello", "[]", "7", "null", "{", r#"{"type":"abort"} x"#] {
        let error = FromDevice::read(text.as_bytes());
        assert_eq!(error, Err(MessageError::NotAnObject), "{text}");
    }
    assert_eq!(
        FromDevice::read(b"\xff\xfe"),
        Err(MessageError::NotAnObject)
    );
    for text in ["{}", r#"{"type":1}"#, r#"{"type":null}"#] {
        let error = FromDevice::read(text.as_bytes());
        assert_eq!(error, Err(MessageError::NoType), "{text}");
    }
    let long = format!(
        r#"{{"type":"mcp","payload":"{}"}}"#,
        "x".repeat(MAX_MESSAGE)
    );
    let bytes = long.len();
    assert_eq!(
        FromDevice::read(long.as_bytes()),
        Err(MessageError::Long { bytes })
    );
    let deep = format!(r#"{{"type":"mcp","payload":{}"#, "[".repeat(60_000));
    assert_eq!(
        FromDevice::read(deep.as_bytes()),
        Err(MessageError::NotAnObject)
    );
}

#[test]
fn typed_texts_come_without_their_escapes_and_cut_at_a_letter() {
    let heard = device(r#"{"type":"listen","state":"detect","text":"a\"b\u4f60\ud83d\ude00"}"#);
    let FromDevice::Listen(Listen::Detect { text }) = heard.message else {
        panic!("{heard:?}");
    };
    assert_eq!(text, "a\"b你😀");
    let long = format!(
        r#"{{"type":"listen","state":"detect","text":"{}"}}"#,
        "你".repeat(4000)
    );
    let FromDevice::Listen(Listen::Detect { text }) = device(&long).message else {
        panic!("a text");
    };
    assert_eq!(text.len(), MAX_SAID - MAX_SAID % 3);
    // Half of a pair of code units is no letter.
    let heard = device(r#"{"type":"listen","state":"detect","text":"\ud83d"}"#);
    assert_eq!(heard.wrong, ["text"]);
}

#[test]
fn the_session_id_may_be_empty_or_missing() {
    let text = r#"{"session_id":"","type":"listen","state":"start","mode":"auto"}"#;
    assert_eq!(device(text).session_id.as_deref(), Some(""));
    let text = r#"{"type":"listen","state":"stop"}"#;
    assert_eq!(device(text).session_id, None);
}

#[test]
fn a_payload_is_handed_on_as_it_was_written() {
    let text = r#"{"type":"mcp","payload":{"jsonrpc":"2.0", "id":1,"result":{"n":1e400}}}"#;
    let FromDevice::Mcp { payload } = device(text).message else {
        panic!("mcp");
    };
    assert_eq!(
        payload.as_str(),
        r#"{"jsonrpc":"2.0", "id":1,"result":{"n":1e400}}"#
    );
    assert!(Json::parse("{\"a\":1").is_none());
    assert!(Json::parse("1,2").is_none());
}

#[test]
fn hellos_of_a_server_are_what_the_firmware_reads() {
    let hello = ToDevice::Hello(ServerHello {
        way: HelloWay::WebSocket,
        audio: AudioParams::SERVER,
    });
    assert_eq!(
        hello.to_json(Some("d0f1")),
        r#"{"type":"hello","session_id":"d0f1","version":1,"transport":"websocket","audio_params":{"format":"opus","sample_rate":24000,"channels":1,"frame_duration":60}}"#
    );
    let hello = ToDevice::Hello(ServerHello {
        way: HelloWay::Udp(Box::new(UdpOffer {
            server: "203.0.113.7".into(),
            port: 8884,
            key: core::array::from_fn(|at| at as u8),
            nonce: [1, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0, 0, 0, 0],
        })),
        audio: AudioParams::SERVER,
    });
    assert_eq!(
        hello.to_json(Some("9c0e")),
        r#"{"type":"hello","session_id":"9c0e","version":3,"transport":"udp","udp":{"server":"203.0.113.7","port":8884,"encryption":"aes-128-ctr","key":"000102030405060708090a0b0c0d0e0f","nonce":"01000000123456780000000000000000"},"audio_params":{"format":"opus","sample_rate":24000,"channels":1,"frame_duration":60}}"#
    );
    let ToDevice::Hello(hello) = hello else {
        panic!("a hello");
    };
    assert!(!format!("{hello:?}").contains("12, 13"), "a key in a log");
}

#[test]
fn a_device_refuses_an_offer_of_datagrams_that_it_could_not_use() {
    let offer = |server, port, key, nonce| {
        format!(
            r#"{{"type":"hello","transport":"udp","udp":{{"server":"{server}","port":{port},"key":"{key}","nonce":"{nonce}"}}}}"#
        )
    };
    let key = "000102030405060708090a0b0c0d0e0f";
    assert_eq!(server(&offer("h", 1, key, key)).message.kind(), "hello");
    for (bad, field) in [
        (offer("", 1, key, key), "server"),
        (offer("h", 0, key, key), "port"),
        (offer("h", 65536, key, key), "port"),
        (offer("h", 1, "00", key), "key"),
        (
            offer("h", 1, key, "+00102030405060708090a0b0c0d0e0f"),
            "nonce",
        ),
    ] {
        let heard = server(&bad);
        assert!(matches!(heard.message, ToDevice::Unknown { .. }), "{bad}");
        assert_eq!(heard.wrong, [field], "{bad}");
    }
}

#[test]
fn a_text_never_carries_the_zero_at_which_the_devices_parser_ends() {
    let text = "a\0b".into();
    let json = ToDevice::Stt { text }.to_json(None);
    assert_eq!(json, r#"{"type":"stt","text":"ab"}"#);
}

#[test]
fn faces_are_found_in_texts_by_their_first_emoji() {
    assert_eq!(Emotion::first_in("hm 🤔, 😂"), Some(Emotion::Thinking));
    assert_eq!(Emotion::first_in("plain 🦀"), None);
    for emotion in Emotion::ALL {
        let text = format!("x{}", emotion.emoji());
        assert_eq!(Emotion::first_in(&text), Some(emotion));
    }
}

/// Every message that a device can send, with `text` in its texts.
fn every_from_device(text: &str, number: u64) -> Vec<FromDevice<'static>> {
    let owned = || Cow::<'static, str>::Owned(String::from(text));
    let json = || Json::of(&serde_json::json!({ text: [number, null] }));
    let hello = DeviceHello {
        version: Some(number),
        transport: Some(Transport::Udp),
        features: Features {
            mcp: true,
            aec: true,
            glyph_push: true,
        },
        audio: Some(AudioParams {
            format: AudioFormat::G711,
            sample_rate: 48_000,
            channels: 2,
            frame_duration: 20,
        }),
        text_font: Some(TextFont {
            bundle: "b".into(),
            charset: "basic".into(),
            size: 14,
            bpp: 1,
        }),
    };
    let mut all = vec![
        FromDevice::Hello(hello),
        FromDevice::Hello(DeviceHello::default()),
        FromDevice::Listen(Listen::Stop),
        FromDevice::Listen(Listen::Detect { text: owned() }),
        FromDevice::Abort { reason: None },
        FromDevice::Abort {
            reason: Some(owned()),
        },
        FromDevice::Mcp { payload: json() },
        FromDevice::Goodbye,
        FromDevice::Iot {
            descriptors: Some(json()),
            states: None,
        },
        FromDevice::Iot {
            descriptors: None,
            states: Some(json()),
        },
        FromDevice::Ping,
        FromDevice::UdpTimeout,
        FromDevice::SpeakReady { ready: true },
        FromDevice::Server { action: owned() },
        FromDevice::Unknown {
            kind: "friend".into(),
        },
    ];
    for mode in [Mode::Auto, Mode::Manual, Mode::Realtime] {
        all.push(FromDevice::Listen(Listen::Start { mode }));
    }
    all
}

/// Every message that a server can send.
fn every_to_device(text: &str, number: u64) -> Vec<ToDevice<'static>> {
    let owned = || Cow::<'static, str>::Owned(String::from(text));
    let json = || Json::of(&serde_json::json!({ "x": text, "n": number }));
    let key = u128::from(number).to_be_bytes();
    vec![
        ToDevice::Hello(ServerHello {
            way: HelloWay::WebSocket,
            audio: AudioParams::SERVER,
        }),
        ToDevice::Hello(ServerHello {
            way: HelloWay::Udp(Box::new(UdpOffer {
                server: "hub".into(),
                port: 8884,
                key,
                nonce: key,
            })),
            audio: AudioParams::DEVICE,
        }),
        ToDevice::Stt { text: owned() },
        ToDevice::Llm {
            emotion: Emotion::Cool.name().into(),
            text: owned(),
        },
        ToDevice::Tts(Tts::Start),
        ToDevice::Tts(Tts::SentenceStart { text: owned() }),
        ToDevice::Tts(Tts::SentenceEnd),
        ToDevice::Tts(Tts::Stop),
        ToDevice::Mcp { payload: json() },
        ToDevice::Reboot,
        ToDevice::Alert {
            status: owned(),
            message: owned(),
            emotion: "warning".into(),
        },
        ToDevice::Custom { payload: json() },
        ToDevice::Goodbye,
        ToDevice::Pong { timestamp: None },
        ToDevice::Pong {
            timestamp: Some("2026-11-23 08:00:00".into()),
        },
        ToDevice::Notify {
            audio_url: format!("http://hub/{text}").into(),
            subtitles: vec![],
        },
        ToDevice::Notify {
            audio_url: "https://hub/a.ogg".into(),
            subtitles: [0, number as u32, u32::MAX]
                .map(|start_ms| Subtitle {
                    start_ms,
                    text: owned(),
                })
                .into(),
        },
        ToDevice::SpeakRequest {
            text: owned(),
            auto_listen: Some(true),
        },
        ToDevice::CallAccepted,
        ToDevice::Error { message: owned() },
        ToDevice::Unknown {
            kind: "party".into(),
        },
    ]
}

/// As the firmware's own page about it has it (78/xiaozhi-esp32, docs/notify.md).
#[test]
fn a_notice_is_read_as_firmware_2_5_reads_it() {
    let heard = server(
        r#"{"type":"notify","audio_url":"https://cdn.example.com/audio/task-complete.ogg",
        "subtitles":[{"start_ms":0,"text":"Your task is complete."},
        {"start_ms":1800.0,"text":"The result has been saved."}]}"#,
    );
    assert_eq!(heard.wrong, [""; 0]);
    let line = |start_ms, text: &'static str| Subtitle {
        start_ms,
        text: text.into(),
    };
    let told = ToDevice::Notify {
        audio_url: "https://cdn.example.com/audio/task-complete.ogg".into(),
        subtitles: vec![
            line(0, "Your task is complete."),
            line(1800, "The result has been saved."),
        ],
    };
    assert_eq!(heard.message, told);
    assert_eq!(
        told.to_json(None),
        r#"{"type":"notify","audio_url":"https://cdn.example.com/audio/task-complete.ogg","subtitles":[{"start_ms":0,"text":"Your task is complete."},{"start_ms":1800,"text":"The result has been saved."}]}"#
    );

    let heard = server(
        r#"{"type":"notify","audio_url":"u","subtitles":[7,{"start_ms":-1,"text":"x"},
        {"start_ms":5000000000,"text":"x"},{"start_ms":1},{"start_ms":2,"text":"good"}]}"#,
    );
    let ToDevice::Notify { subtitles, .. } = &heard.message else {
        panic!("{heard:?}");
    };
    assert_eq!(subtitles, &[line(2, "good")]);
    assert_eq!(heard.wrong, ["subtitles", "start_ms"]);

    for nothing in [
        r#"{"type":"notify"}"#,
        r#"{"type":"notify","audio_url":""}"#,
        r#"{"type":"notify","audio_url":"u","subtitles":{"start_ms":1,"text":"x"}}"#,
    ] {
        let kind = "notify".into();
        assert_eq!(server(nothing).message, ToDevice::Unknown { kind });
    }
}

#[test]
fn a_notice_has_no_more_lines_than_the_limit() {
    let line = Subtitle {
        start_ms: 1,
        text: "x".into(),
    };
    let told = ToDevice::Notify {
        audio_url: "u".into(),
        subtitles: vec![line; MAX_SUBTITLES + 1],
    };
    let lines = |json: &str| match server(json).message {
        ToDevice::Notify { subtitles, .. } => subtitles.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(lines(&told.to_json(None)), MAX_SUBTITLES);
    let many = ",{\"start_ms\":1,\"text\":\"x\"}".repeat(1000);
    let json = format!(
        "{{\"type\":\"notify\",\"audio_url\":\"u\",\"subtitles\":[{}]}}",
        &many[1..]
    );
    assert_eq!(lines(&json), MAX_SUBTITLES);
}

#[test]
fn a_request_to_speak_needs_no_text_and_is_answered_with_ready() {
    let heard = server(r#"{"session_id":"a","type":"speak_request"}"#);
    assert_eq!(heard.session_id.as_deref(), Some("a"));
    let request = ToDevice::SpeakRequest {
        text: "".into(),
        auto_listen: None,
    };
    assert_eq!(heard.message, request);
    let answer = |json| device(json).message;
    let ready = |ready| FromDevice::SpeakReady { ready };
    assert_eq!(
        answer(r#"{"session_id":"a","type":"speak_ready","state":"ready"}"#),
        ready(true)
    );
    assert_eq!(
        answer(r#"{"type":"speak_ready","state":"busy"}"#),
        ready(false)
    );
}

proptest! {
    #[test]
    fn every_message_comes_back_as_it_went(text in "[^\0]{0,40}", number in 0..1u64 << 53) {
        for message in every_from_device(&text, number) {
            let json = message.to_json(Some("id"));
            let heard = device(&json);
            prop_assert_eq!(&heard.message, &message, "{}", json);
            prop_assert_eq!(heard.session_id.as_deref(), Some("id"));
            prop_assert!(heard.wrong.is_empty(), "{} {:?}", json, heard.wrong);
        }
        for message in every_to_device(&text, number) {
            let json = message.to_json(None);
            let heard = server(&json);
            prop_assert_eq!(&heard.message, &message, "{}", json);
            prop_assert_eq!(heard.session_id, None);
            prop_assert!(heard.wrong.is_empty(), "{} {:?}", json, heard.wrong);
        }
    }
}
