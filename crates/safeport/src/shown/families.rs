//! Which kinds of device can connect with what a listener presents, in words.

use std::time::{SystemTime, UNIX_EPOCH};

use safeport_net::pki::{Condition, FamilyVerdict, Reason, Route, WhyNot};
use serde_json::{Value, json};

use crate::say;
use crate::text::Texts;
use crate::time::stamp;

/// A verdict as data.
pub fn json(verdict: &FamilyVerdict, texts: &Texts) -> Value {
    let conditions = verdict.conditions.iter();
    json!({
        "family": verdict.route.code(),
        "name": name(verdict.route, texts),
        "can": verdict.can,
        "reason": verdict.why.code(),
        "why": why(&verdict.why, texts),
        "conditions": conditions.map(|condition| json!({
            "condition": condition.code(),
            "says": condition_words(*condition, texts),
        })).collect::<Vec<_>>(),
        "key": verdict.served.as_ref().map(|chain| chain.key().to_string()),
    })
}

/// A verdict as one line.
pub fn line(verdict: &FamilyVerdict, texts: &Texts) -> String {
    let name = name(verdict.route, texts);
    let why = why(&verdict.why, texts);
    let mut line = match verdict.can {
        true => say!(texts, "family-can", name = name, why = why),
        false => say!(texts, "family-cannot", name = name, why = why),
    };
    for condition in &verdict.conditions {
        line.push_str("; ");
        line.push_str(&condition_words(*condition, texts));
    }
    line
}

/// The kind of device and how it is set up.
pub fn name(route: Route, texts: &Texts) -> String {
    match route {
        Route::TasmotaEsp32Fingerprint => say!(texts, "family-tasmota-esp32-fingerprint"),
        Route::TasmotaEsp32Roots => say!(texts, "family-tasmota-esp32-roots"),
        Route::TasmotaEsp32Ecdsa => say!(texts, "family-tasmota-esp32-ecdsa"),
        Route::TasmotaEsp8266Fingerprint => say!(texts, "family-tasmota-esp8266-fingerprint"),
        Route::TasmotaEsp8266Roots => say!(texts, "family-tasmota-esp8266-roots"),
        Route::EspEasyRoots => say!(texts, "family-espeasy-roots"),
        Route::EspEasyUnchecked => say!(texts, "family-espeasy-unchecked"),
        Route::EspIdfOwnRoot => say!(texts, "family-esp-idf-own-root"),
        Route::EspIdfBundle => say!(texts, "family-esp-idf-bundle"),
        Route::XiaozhiWifi => say!(texts, "family-xiaozhi-wifi"),
        Route::XiaozhiModem => say!(texts, "family-xiaozhi-modem"),
        Route::ShellyUnchecked => say!(texts, "family-shelly-unchecked"),
        Route::ShellyBuiltIn => say!(texts, "family-shelly-built-in"),
        Route::ShellyOwnRoot => say!(texts, "family-shelly-own-root"),
        Route::Browser => say!(texts, "family-browser"),
        Route::Phone => say!(texts, "family-phone"),
        Route::MqttTools => say!(texts, "family-mqtt-tools"),
    }
}

fn why(why: &Reason, texts: &Texts) -> String {
    match why {
        Reason::PinsKey(fingerprint) => say!(texts, "reason-pins-key", fingerprint = fingerprint),
        Reason::KnowsRoot(root) => say!(texts, "reason-knows-root", root = root),
        Reason::IsGivenRoot(root) => say!(texts, "reason-is-given-root", root = root),
        Reason::ChecksNothing => say!(texts, "reason-checks-nothing"),
        Reason::NoCertificate => say!(texts, "reason-no-certificate"),
        Reason::PinsRsaOnly(key) => say!(texts, "reason-pins-rsa-only", key = key),
        Reason::CannotVerify(WhyNot::Key(key)) => say!(texts, "reason-cannot-use-key", key = key),
        Reason::CannotVerify(WhyNot::Suites(key)) => {
            say!(texts, "reason-no-common-suite", key = key)
        }
        Reason::CannotVerify(WhyNot::Curve { key, position }) => say!(
            texts,
            "reason-unknown-curve",
            key = key,
            number = position + 1
        ),
        Reason::CannotVerify(WhyNot::Signature {
            signature,
            position,
        }) => say!(
            texts,
            "reason-unknown-signature",
            signature = signature,
            number = position + 1
        ),
        Reason::KeyTooLong { key, most } => {
            say!(texts, "reason-key-too-long", key = key, most = most)
        }
        Reason::PrivateRoot(root) => say!(texts, "reason-private-root", root = root),
        Reason::UnknownRoot { ends_at, .. } => {
            say!(texts, "reason-unknown-root", roots = listed(ends_at))
        }
        Reason::RootNotAtHand => say!(texts, "reason-root-not-at-hand"),
        Reason::NameMissing(name) => say!(texts, "reason-name-missing", name = name),
        Reason::AddressMissing(address) => say!(texts, "reason-address-missing", address = address),
        Reason::NeedsName(address) => say!(texts, "reason-needs-name", address = address),
        Reason::Ended(at) => say!(texts, "reason-ended", at = stamp(seconds(*at))),
        Reason::NotBegun(at) => say!(texts, "reason-not-begun", at = stamp(seconds(*at))),
        Reason::TooLongLived(days) => say!(texts, "reason-too-long-lived", days = days),
    }
}

fn condition_words(condition: Condition, texts: &Texts) -> String {
    match condition {
        Condition::ClockSet => say!(texts, "condition-clock-set"),
        Condition::ClockSetIfChecked => say!(texts, "condition-clock-set-if-checked"),
        Condition::NameUnknown => say!(texts, "condition-name-unknown"),
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        names => names.join(", "),
    }
}

fn seconds(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
