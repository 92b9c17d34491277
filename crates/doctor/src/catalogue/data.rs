//! From the files in `catalogue/` to entries.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use once_cell::race::OnceBox;
use safeport_settings::Said;
use serde::Deserialize;

use super::needles::Needles;
use super::{Entry, Severity};
use crate::{Cause, Layer, Strength};

macro_rules! groups {
    ($($name:literal)*) => {
        /// Name, entries and Chinese texts of each group.
        const GROUPS: &[(&str, &str, &str)] = &[$((
            $name,
            include_str!(concat!("../../catalogue/", $name, ".toml")),
            include_str!(concat!("../../catalogue/zh/", $name, ".toml")),
        ),)*];
    };
}

groups! {
    "tasmota" "espeasy" "esphome" "xiaozhi" "bearssl" "mbedtls" "esp-idf" "mqtt" "http" "network"
    "servers"
}

#[derive(Deserialize)]
struct Group {
    error: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    stack: String,
    firmware: Vec<String>,
    code: Option<i64>,
    symbol: Option<String>,
    regex: String,
    sample: String,
    layer: String,
    severity: String,
    cause: String,
    strength: Option<String>,
    #[serde(default)]
    or: Vec<String>,
    meaning: String,
    causes: Vec<String>,
    fix_device: Vec<String>,
    fix_server: Vec<String>,
    source: String,
    verified: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Chinese {
    meaning: Option<String>,
    causes: Vec<String>,
    fix_device: Vec<String>,
    fix_server: Vec<String>,
}

/// Every entry, group by group. The data is part of the program and tested with it: a mistake in it
/// is one in the program.
pub(super) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for &(name, rows, chinese) in GROUPS {
        let group: Group = toml_edit::de::from_str(rows)
            .unwrap_or_else(|error| panic!("catalogue/{name}.toml: {error}"));
        let mut chinese: BTreeMap<String, Chinese> = toml_edit::de::from_str(chinese)
            .unwrap_or_else(|error| panic!("catalogue/zh/{name}.toml: {error}"));
        for row in group.error {
            let chinese = chinese.remove(&row.id).unwrap_or_default();
            entries.push(entry(name, row, chinese));
        }
    }
    entries
}

fn entry(group: &'static str, row: Row, chinese: Chinese) -> Entry {
    let wrong = |key: &str| -> ! { panic!("catalogue/{group}.toml: {}: {key}", row.id) };
    let cause = Cause::of_code(&row.cause).unwrap_or_else(|| wrong("cause"));
    let strength = match row.strength.as_deref() {
        Some("carrier") => Strength::Carrier,
        Some("class") => Strength::Class,
        Some("specific") => Strength::Specific,
        Some(_) => wrong("strength"),
        None if names_a_class(cause) => Strength::Class,
        None => Strength::Specific,
    };
    Entry {
        layer: Layer::of_code(&row.layer).unwrap_or_else(|| wrong("layer")),
        or: row
            .or
            .iter()
            .map(|word| Cause::of_code(word).unwrap_or_else(|| wrong("or")))
            .collect(),
        severity: match &row.severity[..] {
            "info" => Severity::Info,
            "warning" => Severity::Warning,
            "fatal" => Severity::Fatal,
            _ => wrong("severity"),
        },
        needles: Needles::of(&row.regex).unwrap_or_else(|| wrong("regex")),
        chinese: chinese.meaning.is_some()
            && chinese.causes.len() == row.causes.len()
            && chinese.fix_device.len() == row.fix_device.len()
            && chinese.fix_server.len() == row.fix_server.len(),
        meaning: Said::new(
            &row.meaning[..],
            chinese.meaning.unwrap_or_else(|| row.meaning.to_string()),
        ),
        causes: said(row.causes, chinese.causes),
        fix_device: said(row.fix_device, chinese.fix_device),
        fix_server: said(row.fix_server, chinese.fix_server),
        cause,
        strength,
        group,
        id: row.id,
        stack: row.stack,
        firmware: row.firmware,
        code: row.code,
        symbol: row.symbol,
        sample: row.sample,
        source: row.source,
        verified: row.verified,
        pattern: row.regex,
        regex: OnceBox::new(),
    }
}

fn said(english: Vec<String>, chinese: Vec<String>) -> Vec<Said> {
    let mut chinese = chinese.into_iter();
    english
        .into_iter()
        .map(|en| match chinese.next() {
            Some(zh) => Said { en, zh },
            None => Said::same(en),
        })
        .collect()
}

/// Causes that leave open why: a line that says no more than this says a class.
fn names_a_class(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::TcpConnectFailed
            | Cause::TcpFailed
            | Cause::ConnectionLost
            | Cause::ConnectionReset
            | Cause::TlsFailed
            | Cause::TlsTimeout
            | Cause::ClosesInHandshake
            | Cause::CertificateRefused
            | Cause::DnsFailed
            | Cause::WifiFailed
            | Cause::WifiLost
            | Cause::MqttFailed
            | Cause::MqttRefused
            | Cause::NoConnack
            | Cause::WebsocketFailed
            | Cause::WebsocketClosed
            | Cause::UpgradeRefused
            | Cause::HttpFailed
            | Cause::HttpRefused
            | Cause::HttpTimeout
            | Cause::OtaFailed
            | Cause::DeviceFault
    )
}
