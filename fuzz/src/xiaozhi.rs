//! What must hold of the check of xiaozhi devices and of the other texts that they send, for any
//! bytes at all.

use safeport_xiaozhi::{
    ActivateRequest, Body, CheckReply, CheckRequest, ClientId, Code, Firmware, FirmwareUrl,
    Headers, Quirks, ServerTime, Username, Version, Way, WebSocketUrl, decode_base64,
    verify_mqtt_password, verify_websocket_token,
};

/// A body and headers from a stranger: the first lines are headers, the rest is the body.
///
/// Reading never panics and keeps little; whatever was read can be answered, with an object in
/// which the device finds a version that its own parser survives, and no null.
pub fn check(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut line = || std::str::from_utf8(lines.next().unwrap_or_default()).ok();
    let (device_id, client_id, user_agent) = (line(), line(), line());
    let body = lines.next().unwrap_or_default();
    let headers = Headers {
        device_id,
        client_id,
        user_agent,
        ..Headers::default()
    };
    let usual = Headers {
        device_id: Some("aa:bb:cc:dd:ee:ff"),
        client_id: Some("7b94d69a-9808-4c59-9c9b-704333b38aff"),
        user_agent,
        ..Headers::default()
    };
    // Whatever the body is, headers are enough.
    let by_headers = CheckRequest::read(&usual, body).expect("the headers tell enough");
    let checks = CheckRequest::read(&headers, body).ok();
    for check in checks.into_iter().chain([by_headers]) {
        assert!(check.client_id.len() <= 64 && check.client_id.is_ascii());
        assert!(check.board.len() <= safeport_xiaozhi::limits::MAX_FIELD);
        assert!(check.info.partitions.len() <= safeport_xiaozhi::limits::MAX_PARTITIONS);
        if body.trim_ascii().is_empty() {
            assert_eq!(check.body, Body::Empty);
        }
        answer(&check);
        let id = ClientId::new(&check.board, check.mac, &check.client_id);
        assert_eq!(id.to_string().parse().as_ref(), Ok(&id));
    }
}

fn answer(check: &CheckRequest) {
    let url = FirmwareUrl::parse("http://hub:8002/ota/x/y.bin").expect("an address");
    let target: Version = "2.4.2".parse().expect("a version");
    for firmware in [
        Firmware::nothing(check),
        Firmware::install(check, target.clone(), url.clone(), false),
        Firmware::install(check, target, url, true),
    ] {
        if let Some((version, _)) = firmware.installs() {
            assert_ne!(Some(version), check.version.as_ref());
        }
        let reply = CheckReply {
            server_time: ServerTime {
                timestamp_ms: 1,
                offset_minutes: -1,
            },
            firmware,
            way: Way::None,
            activation: None,
        };
        assert_eq!(reply.breaks(&Quirks::of(check)), None);
        let json: serde_json::Value = serde_json::from_str(&reply.to_json()).expect("JSON");
        if let Some(version) = json["firmware"]["version"].as_str() {
            assert!(version.parse::<Version>().is_ok(), "{version:?}");
        }
    }
}

/// One text for everything that a device or a person sends: nothing panics, and what is accepted
/// shows itself again.
pub fn texts(data: &[u8]) {
    let _ = ActivateRequest::read(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = decode_base64(text);
    let _ = text.parse::<Username>();
    if let Ok(id) = text.parse::<ClientId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(code) = text.parse::<Code>() {
        assert_eq!(code.to_string().parse(), Ok(code));
    }
    if let Ok(version) = text.parse::<Version>() {
        assert_eq!(version.to_string().parse(), Ok(version));
    }
    if let Ok(url) = WebSocketUrl::parse(text) {
        assert!(url.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(WebSocketUrl::parse(url.as_str()), Ok(url));
    }
    assert!(verify_websocket_token(b"key", "client", "device", text, u64::MAX, u64::MAX).is_err());
    assert!(!verify_mqtt_password(b"key", "client", "user", data));
}
