//! Lines in nobody's wording but ours.

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::{Cause, Strength, explain, read_log};

/// The cause of the first clue of the highest strength and the lowest layer.
fn cause_of(log: &str) -> Option<Cause> {
    let clues = read_log(log).evidence.clues;
    assert!(
        clues
            .iter()
            .all(|clue| clue.strength <= Strength::Class || clue.entry.is_some()),
        "only the catalogue and pairs of lines are specific: {clues:#?}"
    );
    let clue = clues
        .iter()
        .min_by_key(|clue| (core::cmp::Reverse(clue.strength), clue.layer.rank()))?;
    Some(clue.cause)
}

#[test]
fn lines_in_other_words_are_classed_by_their_form() {
    let cases = [
        (
            "E (900) net: peer 10.0.0.7:4000 actively refused us",
            Cause::NothingListens,
        ),
        (
            "E (900) net: dial 10.0.0.7:4000 timed out after 9 s",
            Cause::TcpTimeout,
        ),
        (
            "W (900) cloud: peer 10.1.1.1 is unreachable from here",
            Cause::HostUnreachable,
        ),
        (
            "E (900) cloud: link reset by remote end",
            Cause::ConnectionReset,
        ),
        (
            "E (900) cloud: lookup: no such host api.example",
            Cause::NameNotResolved,
        ),
        (
            "E (900) vendor_tls: server certificate expired on 2025-01-01",
            Cause::CertificateExpired,
        ),
        (
            "E (900) vendor_tls: certificate issuer unknown, not trusted",
            Cause::ChainNotTrusted,
        ),
        (
            "E (900) vendor_tls: certificate name mismatch",
            Cause::NameMismatch,
        ),
        ("E (900) vendor_tls: handshake timed out", Cause::TlsTimeout),
        (
            "E (900) vendor_tls: handshake failed in step 7",
            Cause::TlsFailed,
        ),
        (
            "E (900) my_mqtt: login denied by the broker",
            Cause::AuthFailed,
        ),
        (
            "W (900) radio: wifi password was rejected",
            Cause::WifiWrongPassword,
        ),
        ("W (900) radio: wifi network not found", Cause::WifiNotFound),
        (
            "W (900) radio: wifi dhcp gave no lease, failed",
            Cause::WifiNoAddress,
        ),
        (
            "E (900) fw: firmware image rejected by loader",
            Cause::OtaFailed,
        ),
        (
            "E (900) fetch: response code 418 for /x, http failed",
            Cause::HttpRefused,
        ),
        ("E (900) fetch: status=503", Cause::HttpServerError),
        (
            "E (900) app: failed to allocate 4096 bytes",
            Cause::OutOfMemory,
        ),
        // Numbers of no entry, by their block.
        (
            "E (900) vendor: mbedtls gave -0x2B80",
            Cause::CertificateRefused,
        ),
        ("E (900) vendor: mbedtls gave -0x7E80", Cause::TlsFailed),
        (
            "E (900) vendor: mbedtls gave -0x7F10",
            Cause::OutOfMemoryTls,
        ),
        ("E (900) vendor: call gave 0x300d", Cause::WifiFailed),
        ("E (900) vendor: call gave 0x7010", Cause::HttpFailed),
        (
            "E (900) vendor: call gave ESP_ERR_WIFI_NOT_CONNECT",
            Cause::WifiFailed,
        ),
        ("E (900) vendor: recv, errno: 103", Cause::WifiLost),
        (
            "00:01:00.000 MQT: TLS connection error: 61",
            Cause::CertificateRefused,
        ),
        (
            "00:01:00.000 MQT: TLS connection error: 30",
            Cause::TlsBroken,
        ),
        (
            "00:01:00.000 MQT: TLS connection error: 297",
            Cause::ClientCertRequired,
        ),
        (
            "00:01:00.000 MQT: TLS connection error: 560",
            Cause::CertificateRefused,
        ),
        (
            "E (900) my_mqtt: mqtt connack, reason code 0xA9",
            Cause::MqttRefused,
        ),
        (
            "E (900) my_ws: websocket closed with 4403",
            Cause::WebsocketClosed,
        ),
        // The other language.
        (
            "E (900) net: 连接被拒绝 10.0.0.7:4000",
            Cause::NothingListens,
        ),
        ("E (900) net: 连接服务器超时", Cause::TcpTimeout),
        (
            "E (900) net: 域名解析失败 api.example",
            Cause::NameNotResolved,
        ),
        ("E (900) net: 服务器证书已过期", Cause::CertificateExpired),
        ("E (900) net: TLS 握手失败", Cause::TlsFailed),
        ("W (900) net: 无线密码错误", Cause::WifiWrongPassword),
        ("E (900) net: MQTT 用户名或密码错误", Cause::AuthFailed),
        ("E (900) net: 网络不可达", Cause::HostUnreachable),
        ("E (900) sys: 内存不足，分配失败", Cause::OutOfMemory),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(line, cause)| cause_of(line) != Some(*cause))
        .map(|(line, cause)| format!("{line}: {:?} instead of {cause:?}", cause_of(line)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_number_is_read_by_who_printed_it() {
    // The same number, from a device and from a server on Linux.
    assert_eq!(
        cause_of("E (9) net: recv failed, errno: 113"),
        Some(Cause::WifiLost)
    );
    // It means another thing while the connection opens.
    assert_eq!(
        cause_of("E (9) net: connect failed, errno: 113"),
        Some(Cause::TcpTimeout)
    );
    assert_eq!(
        cause_of("Socket error on client x, errno: 113, failed"),
        Some(Cause::HostUnreachable)
    );
    // What an earlier call left behind is nobody's cause.
    assert_eq!(cause_of("I (9) net: errno: 119"), None);
    assert_eq!(cause_of("I (9) net: errno: 0"), None);
}

#[test]
fn words_of_failure_in_lines_that_tell_of_none_are_no_clue() {
    for line in [
        "I (900) net: no error",
        "I (900) net: timeout set to 5000 ms",
        "W (900) net: errors: 0, failed 0",
        "W (900) stats: ConnectFailures 0",
        "W (900) i2s: clock source not ideal",
        "E (900) camera: sensor probe failed",
        "00:01:00.000 RSL: SENSOR = {\"ENERGY\":{\"ErrorCode\":0}}",
        "1200: SYS  : errors 0",
        "I (10) net: retry after timeout of 3 s scheduled",
        "# I replaced the board, it failed before",
    ] {
        assert_eq!(cause_of(line), None, "{line}");
    }
}

#[test]
fn a_number_alone_is_explained_for_every_stack_that_has_it() {
    let stacks = |text: &str| -> Vec<String> {
        let all = explain(text);
        all.iter()
            .map(|one| format!("{} {}", one.stack.unwrap_or("-"), one.cause))
            .collect()
    };
    assert_eq!(
        stacks("-1002"),
        ["bearssl tcp_connect_failed_timeout_or_port"]
    );
    assert_eq!(stacks("62"), ["bearssl chain_not_trusted"]);
    assert_eq!(stacks("296"), ["bearssl no_common_cipher"]);
    assert_eq!(stacks("-0x7280"), ["mbedtls closes_in_handshake"]);
    assert_eq!(stacks("0x7280"), ["mbedtls closes_in_handshake"]);
    assert_eq!(stacks("rc 5"), ["pubsubclient auth_failed"]);
    assert_eq!(
        stacks("rc=-2"),
        ["pubsubclient tcp_connect_failed_timeout_or_port"]
    );
    assert_eq!(stacks("errno 118"), ["lwip-errno host_unreachable"]);
    assert_eq!(stacks("0x8006"), ["esp-tls tcp_timeout_filtered"]);
    let five = stacks("5");
    for stack in [
        "pubsubclient",
        "bearssl",
        "mqtt311",
        "lwip-errno",
        "esp-wifi",
    ] {
        assert!(
            five.iter().any(|one| one.starts_with(stack)),
            "{stack} in {five:?}"
        );
    }
    // No entry, but a block.
    assert_eq!(stacks("-0x2B80"), ["mbedtls certificate_refused"]);
    assert_eq!(
        stacks("61"),
        [
            "bearssl certificate_refused",
            "lwip-errno tcp_failed",
            "linux-errno tcp_failed"
        ]
    );
    assert!(stacks("what is the weather").is_empty());
    assert!(stacks("").is_empty());
}

#[test]
fn ids_words_symbols_and_lines_are_explained() {
    let one = |text: &str| {
        let all = explain(text);
        assert_eq!(all.len(), 1, "{text}");
        let one = &all[0];
        (one.code.clone(), one.cause)
    };
    assert_eq!(
        one("bearssl-54"),
        (String::from("bearssl-54"), Cause::CertificateExpired)
    );
    assert_eq!(one("chain_incomplete").1, Cause::ChainIncomplete);
    assert_eq!(one("ESP_ERR_OTA_VALIDATE_FAILED").1, Cause::ImageNotValid);
    assert_eq!(
        one("MQT: TLS connection error: 62").1,
        Cause::ChainNotTrusted
    );
    assert_eq!(one("E (9) my_tls: handshake failed").1, Cause::TlsFailed);
}

#[test]
fn modems_and_libraries_that_no_entry_knows_are_classed_by_their_numbers() {
    let cases = [
        ("+CME ERROR: 10", Cause::MobileNoNetwork),
        ("+CME ERROR: SIM not inserted", Cause::MobileNoNetwork),
        ("+CME ERROR: 565", Cause::NameNotResolved),
        ("W (9) AtUart: +CME ERROR: 30", Cause::MobileNoNetwork),
        ("+QIOPEN: 0,566", Cause::TcpConnectFailed),
        ("+QIOPEN: 0,569", Cause::TcpTimeout),
        ("+QMTCONN: 0,0,5", Cause::NotAuthorized),
        ("+QMTOPEN: 0,3", Cause::MobileNoNetwork),
        ("+CMQTTCONNECT: 0,25", Cause::NameNotResolved),
        ("+CMQTTCONNECT: 0,30", Cause::AuthFailed),
        ("+CMQTTCONNECT: 0,32", Cause::TlsFailed),
        ("+CIPOPEN: 0,11", Cause::NameNotResolved),
        ("+CEREG: 0,3", Cause::MobileNoNetwork),
        ("E (9) Ml307Tcp: +MIPOPEN: 0,570", Cause::MobileNoNetwork),
        (
            "wolfSSL_connect failed, error -151",
            Cause::CertificateExpired,
        ),
        ("E (9) wolfssl: error = -322", Cause::NameMismatch),
        (
            "E (9) wolfssl: returned -1, code: -501",
            Cause::NoCommonCipher,
        ),
        (
            "E (9) net: tcp_connect cb, err_t -14",
            Cause::ConnectionReset,
        ),
        ("tcp_write failed: ERR_MEM", Cause::OutOfMemory),
        ("tcp_err callback ERR_ABRT", Cause::ConnectionLost),
        (
            "espconn_connect failed, recon err: -9",
            Cause::ConnectionReset,
        ),
        ("OSError: -202", Cause::NameNotResolved),
        ("OSError: (-202, 'EAI_FAIL')", Cause::NameNotResolved),
        ("MQTTException: 5", Cause::AuthFailed),
        ("client.getLastSSLError() = 56", Cause::NameMismatch),
        ("E (9) app: tls alert, msg 70", Cause::TlsVersion),
        (
            "http: TLS handshake error: tls: no cipher suite supported by both client and server",
            Cause::NoCommonCipher,
        ),
        (
            "http: TLS handshake error: tls: first record does not look like a TLS handshake",
            Cause::PlainToTlsPort,
        ),
        (
            "E (9) net: can not create socket, failed",
            Cause::SocketsExhausted,
        ),
        (
            "E (9) Modem: modem failed: no service",
            Cause::MobileNoNetwork,
        ),
        ("E (9) Modem: 模组错误：未插卡", Cause::MobileNoNetwork),
        ("E (9) tls: 握手失败：协议版本不支持", Cause::TlsVersion),
        (
            "E (9) tls: 握手失败：没有共同的加密套件",
            Cause::NoCommonCipher,
        ),
        ("E (9) net: 连接 10.0.0.9:1883 超时", Cause::TcpTimeout),
        ("E (9) net: 主机不可达", Cause::HostUnreachable),
        ("E (9) ota: 固件校验失败", Cause::ImageChecksum),
        ("E (9) ota: 升级失败：空间不足", Cause::ImageTooLarge),
        ("UPGRADE = Failed, file not found", Cause::ImageNotFound),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(line, cause)| cause_of(line) != Some(*cause))
        .map(|(line, cause)| format!("{line}: {:?} instead of {cause:?}", cause_of(line)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn answers_of_success_are_no_clue() {
    for line in [
        "+QIOPEN: 0,0",
        "+QMTCONN: 0,0,0",
        "+CMQTTCONNECT: 0,0",
        "+CPIN: READY",
        "+CEREG: 0,1",
        "+CSQ: 27,99",
        "+CMQTTSTART: 0",
        "W (9) MQTT: Received audio packet with wrong sequence: 12, expected: 11",
    ] {
        assert_eq!(cause_of(line), None, "{line}");
    }
}
