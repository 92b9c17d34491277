use super::*;
use alloc::format;
use alloc::string::String;

/// What firmware 2.4 sends, put together from its source.
pub(crate) const BODY_2_4: &str = r#"{"version":2,"language":"zh-CN","flash_size":16777216,"minimum_free_heap_size":"8318916","mac_address":"aa:bb:cc:dd:ee:ff","uuid":"7b94d69a-9808-4c59-9c9b-704333b38aff","chip_model_name":"esp32s3","chip_info":{"model":9,"cores":2,"revision":2,"features":18},"application":{"name":"xiaozhi","version":"2.4.2","compile_time":"Aug  8 2026T10:00:00Z","idf_version":"v6.0","elf_sha256":"c8a8ecb6d6fbcda682494d9675cd1ead240ecf38bdde75282a42365a0e396033"},"partition_table":[{"label":"nvs","type":1,"subtype":2,"address":36864,"size":16384},{"label":"otadata","type":1,"subtype":0,"address":53248,"size":8192},{"label":"ota_0","type":0,"subtype":16,"address":131072,"size":4128768},{"label":"ota_1","type":0,"subtype":17,"address":4259840,"size":4128768},{"label":"assets","type":1,"subtype":130,"address":8388608,"size":8388608}],"ota":{"label":"ota_0"},"display":{"monochrome":false,"width":240,"height":240},"board":{"type":"bread-compact-wifi","name":"bread-compact-wifi","ssid":"home","rssi":-55,"channel":1,"ip":"192.168.1.20","mac":"aa:bb:cc:dd:ee:ff"}}"#;

fn headers() -> Headers<'static> {
    Headers {
        device_id: Some("aa:bb:cc:dd:ee:ff"),
        client_id: Some("7b94d69a-9808-4c59-9c9b-704333b38aff"),
        user_agent: Some("bread-compact-wifi/2.4.2"),
        language: Some("zh-CN"),
        activation_version: Some("1"),
        ..Headers::default()
    }
}

fn check(body: &str) -> CheckRequest {
    CheckRequest::read(&headers(), body.as_bytes()).expect("a check")
}

#[test]
fn everything_that_firmware_2_4_says_is_taken_up() {
    let check = check(BODY_2_4);
    assert_eq!(check.mac, MacAddress([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]));
    assert_eq!((check.body, check.client), (Body::Whole, Client::Device));
    assert_eq!(check.board, "bread-compact-wifi");
    assert_eq!(check.version, "2.4.2".parse().ok());
    assert_eq!(check.network, Network::Lan);
    assert!(!check.signs);
    let info = &check.info;
    assert_eq!(info.flash_size, Some(16 << 20));
    assert_eq!(info.minimum_free_heap, Some(8_318_916));
    assert_eq!(info.chip.as_deref(), Some("esp32s3"));
    assert_eq!(info.chip_revision, Some(2));
    assert_eq!(info.application.as_deref(), Some("xiaozhi"));
    assert_eq!(info.compile_time.as_deref(), Some("Aug  8 2026T10:00:00Z"));
    assert_eq!(info.idf_version.as_deref(), Some("v6.0"));
    assert_eq!(info.elf_sha256.as_ref().map(String::len), Some(64));
    assert_eq!(info.partitions.len(), 5);
    assert_eq!(info.partitions[2].label, "ota_0");
    assert_eq!(info.running_slot.as_deref(), Some("ota_0"));
    assert_eq!(info.screen, Some((240, 240)));
    assert_eq!(
        (info.rssi, info.ip.as_deref()),
        (Some(-55), Some("192.168.1.20"))
    );
    assert_eq!(check.update_slot_size(), Some(4_128_768));
    assert_eq!(check.has_assets_partition(), Some(true));
}

#[test]
fn a_quote_in_the_name_of_a_network_leaves_what_stood_before_it() {
    let body = BODY_2_4.replace("\"home\"", "\"Bob\"s \"home\"");
    let check = check(&body);
    assert_eq!(check.body, Body::Broken);
    assert_eq!(check.version, "2.4.2".parse().ok());
    assert_eq!(check.board, "bread-compact-wifi");
    assert_eq!(check.info.elf_sha256.as_ref().map(String::len), Some(64));
    assert_eq!(check.update_slot_size(), Some(4_128_768));
    // The address stands behind the fault.
    assert_eq!(check.info.ip, None);
}

#[test]
fn a_body_that_is_no_json_falls_back_to_the_headers() {
    for (body, state) in [
        ("", Body::Empty),
        (" \r\n", Body::Empty),
        ("not json", Body::Broken),
        ("null", Body::Broken),
        ("[1,2]", Body::Broken),
        ("\"text\"", Body::Broken),
        ("{", Body::Broken),
        ("{}}", Body::Broken),
        ("{}", Body::Whole),
    ] {
        let check = check(body);
        assert_eq!(check.body, state, "{body}");
        assert_eq!(check.board, "bread-compact-wifi", "{body}");
        assert_eq!(check.version, "2.4.2".parse().ok(), "{body}");
    }
    // What is passed over takes no stack.
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    assert_eq!(check(&deep).body, Body::Whole);
    let latin = CheckRequest::read(
        &headers(),
        b"{\"board\":{\"ssid\":\"caf\xe9\",\"rssi\":-60}}",
    )
    .expect("a check");
    assert_eq!(
        latin.info.rssi,
        Some(-60),
        "names of networks are passed over"
    );
}

#[test]
fn fields_of_other_types_than_expected_are_passed_over() {
    let check = check(
        r#"{"flash_size":"4194304","minimum_free_heap_size":123.9,"mac_address":7,"uuid":null,
            "chip_info":"x","application":[{"version":"9"}],"partition_table":[1,"a",{"label":3,
            "type":"0","subtype":"16","size":-1},[[]]],"ota":true,"board":{"type":{},"rssi":"-70",
            "ip":false},"display":{"width":1e300,"height":"x"},"":{"":[]}}"#,
    );
    assert_eq!(check.body, Body::Whole);
    let info = &check.info;
    assert_eq!(info.flash_size, Some(4 << 20));
    assert_eq!(info.minimum_free_heap, Some(123));
    assert_eq!(
        (&info.mac, &info.uuid, &info.version),
        (&None, &None, &None)
    );
    assert_eq!(info.rssi, Some(-70));
    assert_eq!(check.update_slot_size(), Some(0));
    assert_eq!(check.version, "2.4.2".parse().ok());
}

#[test]
fn every_spelling_of_an_address_is_one_device_and_what_is_none_is_refused() {
    let read = |id: Option<&'static str>| {
        let headers = Headers {
            device_id: id,
            ..headers()
        };
        CheckRequest::read(&headers, b"").map(|check| check.mac)
    };
    let mac = MacAddress([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
    for id in ["AA:BB:CC:DD:EE:FF", "aa-bb-cc-dd-ee-ff", " aabbccddeeff "] {
        assert_eq!(read(Some(id)), Ok(mac), "{id}");
    }
    for id in [
        "plug-1",
        "../../etc",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
    ] {
        assert_eq!(read(Some(id)), Err(CheckError::NotAMac), "{id}");
    }
    for id in [None, Some(""), Some(" ")] {
        assert_eq!(read(id), Err(CheckError::NoDevice), "{id:?}");
    }
    // The letters stay, since tokens are made over them.
    let headers = Headers {
        device_id: Some("AA:BB:CC:DD:EE:FF"),
        ..headers()
    };
    let check = CheckRequest::read(&headers, b"").expect("a check");
    assert_eq!(check.device_id, "AA:BB:CC:DD:EE:FF");
}

#[test]
fn identity_may_stand_in_the_body_where_a_proxy_took_the_headers() {
    let check = CheckRequest::read(&Headers::default(), BODY_2_4.as_bytes()).expect("a check");
    assert_eq!(check.client_id, "7b94d69a-9808-4c59-9c9b-704333b38aff");
    assert_eq!(check.language.as_deref(), Some("zh-CN"));
    let read = |client_id: &'static str| {
        let headers = Headers {
            client_id: Some(client_id),
            ..headers()
        };
        CheckRequest::read(&headers, b"").err()
    };
    assert_eq!(read(""), Some(CheckError::NoClient));
    assert_eq!(read("a b"), Some(CheckError::BadClient));
    assert_eq!(
        read("0123456789012345678901234567890123456789012345678901234567890123x"),
        Some(CheckError::BadClient)
    );
    assert_eq!(read("web_test_client"), None);
}

#[test]
fn programs_and_modems_are_told_from_boards() {
    let browser = Headers {
        client_id: Some("web_test_client"),
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        ..headers()
    };
    let body = r#"{"version":0,"application":{"name":"xiaozhi-web-test","version":"1.0.0"},"board":{"type":"Web测试设备"}}"#;
    let check = CheckRequest::read(&browser, body.as_bytes()).expect("a check");
    assert_eq!(
        (check.client, check.board.as_str()),
        (Client::Browser, "Web测试设备")
    );
    let agent = CheckRequest::read(&browser, b"").expect("a check");
    assert_eq!((agent.board.as_str(), agent.version_text), ("", None));
    for (board, network) in [
        (
            r#"{"type":"bread-compact-ml307"}"#,
            Network::Cellular(Modem::Ml307),
        ),
        (
            r#"{"type":"x","revision":"ML307R-DL-MBRH0S00","csq":"31"}"#,
            Network::Cellular(Modem::Ml307),
        ),
        (
            r#"{"type":"x","revision":"EC801ECNLD"}"#,
            Network::Cellular(Modem::Ec801),
        ),
        (
            r#"{"type":"x","iccid":"8986"}"#,
            Network::Cellular(Modem::Other),
        ),
        (r#"{"type":"x-nt26","imei":"86"}"#, Network::Lan),
        (r#"{"type":"x","rssi":-40}"#, Network::Lan),
        (r#"{"type":"x"}"#, Network::Unknown),
    ] {
        let body = format!("{{\"board\":{board}}}");
        let check = CheckRequest::read(&headers(), body.as_bytes()).expect("a check");
        assert_eq!(check.network, network, "{board}");
    }
}

#[test]
fn a_chip_signs_only_if_it_has_a_serial_number() {
    let signs = |version: &'static str, serial: Option<&'static str>| {
        let headers = Headers {
            activation_version: Some(version),
            serial_number: serial,
            ..headers()
        };
        CheckRequest::read(&headers, b"").expect("a check").signs
    };
    assert!(signs("2", Some("SN-1")));
    assert!(
        signs("2.1.1", Some("SN-1")),
        "py-xiaozhi sends the version of its program"
    );
    assert!(!signs("1", Some("SN-1")));
    assert!(!signs("2", None), "1.5.x sends Ota-Version: 2 and has none");
}

#[test]
fn one_build_is_told_from_another_by_its_hash_or_else_by_version_and_time() {
    let before = check(BODY_2_4);
    let other_hash = BODY_2_4.replace("c8a8ecb6", "00000000");
    let later = BODY_2_4.replace("10:00:00Z", "11:00:00Z");
    assert!(check(BODY_2_4).runs_the_same_build(&before));
    assert!(!check(&other_hash).runs_the_same_build(&before));
    assert!(
        check(&later).runs_the_same_build(&before),
        "the hash decides"
    );
    assert!(!check("").runs_the_same_build(&before));
}

#[test]
fn long_values_are_cut_and_long_lists_end() {
    let rows = r#"{"label":"x","type":0},"#.repeat(200);
    let body = format!(
        "{{\"chip_model_name\":\"{}\",\"partition_table\":[{rows}{{}}],\"language\":\"en\"}}",
        "家".repeat(300)
    );
    let check = check(&body);
    assert_eq!(check.body, Body::Whole);
    assert_eq!(check.info.chip.as_ref().map(String::len), Some(126));
    assert_eq!(check.info.partitions.len(), crate::limits::MAX_PARTITIONS);
    assert_eq!(check.info.language.as_deref(), Some("en"));
}

#[test]
fn nothing_that_a_stranger_says_moves_a_cursor_ends_a_line_or_turns_the_writing() {
    let body = r#"{"application": {"version": "1.0\u001b]0;t\u0007"},
        "board": {"type": "\u001b[31mred\r\nonline", "name": "a\u202eb\u0085"}}"#;
    let headers = Headers {
        language: Some("zh\tCN"),
        ..headers()
    };
    let check = CheckRequest::read(&headers, body.as_bytes()).unwrap();
    assert_eq!(check.board, "[31mred  online");
    assert_eq!(check.version_text.as_deref(), Some("1.0 ]0;t"));
    assert_eq!(check.info.board_name.as_deref(), Some("a b"));
    assert_eq!(check.language.as_deref(), Some("zh CN"));
}
