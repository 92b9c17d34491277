//! Offers as lists, the API and `firmware offer --watch` show them.

use serde_json::{Value, json};

use crate::say;
use crate::serve::upgrades::OfferView;
use crate::shown::wording;
use crate::text::{Language, Texts};
use crate::time::stamp;

/// Everything about one, with the four ticks of what counts as healthy.
pub fn json(view: &OfferView, language: Language) -> Value {
    let mut value = serde_json::to_value(view).unwrap_or_default();
    if let (Some(_), Some(reason)) = (view.advice, view.reason) {
        value["advice"] = json!(wording::advice(reason, language).or(view.advice));
    }
    let ticks = [
        ("build", view.evidence_build),
        ("boot", view.evidence_boot),
        ("stays", view.evidence_stays),
        ("sane", view.evidence_sane),
    ];
    if let Some(value) = value.as_object_mut() {
        for (name, _) in ticks {
            value.remove(&format!("evidence_{name}"));
        }
    }
    value["evidence"] = json!({});
    for (name, at) in ticks {
        value["evidence"][name] = json!(at);
    }
    value
}

/// One offer in one line: which, for whom, what, and where it stands in plain words.
pub fn line(offer: &Value, texts: &Texts) -> String {
    let text = |name: &str| offer[name].as_str().unwrap_or("-").to_owned();
    format!(
        "{}  {}  {}  {}  {}",
        stamp(offer["updated"].as_u64().unwrap_or_default()),
        text("id"),
        text("device"),
        text("what"),
        stands(offer, texts)
    )
}

/// Where an offer stands, in plain words.
pub fn stands(offer: &Value, texts: &Texts) -> String {
    let mut words = state(offer, texts);
    let (step, steps) = (
        offer["step"].as_u64().unwrap_or(1),
        offer["steps"].as_u64().unwrap_or(1),
    );
    if offer["open"] == true && steps > 1 {
        let part = match offer["part"].as_str() {
            Some("safeboot") => say!(texts, "offer-part-safeboot"),
            _ => say!(texts, "offer-part-main"),
        };
        words = say!(
            texts,
            "offer-step",
            step = step,
            steps = steps,
            part = part,
            words = words
        );
    }
    words
}

fn state(offer: &Value, texts: &Texts) -> String {
    let reason = offer["reason"].as_str().unwrap_or_default();
    match offer["state"].as_str().unwrap_or_default() {
        "waiting" => match reason {
            "offline" => say!(texts, "offer-waiting-offline"),
            "url_gate" => say!(texts, "offer-waiting-address"),
            "retry" => say!(texts, "offer-waiting-retry"),
            _ => say!(texts, "offer-waiting"),
        },
        "preparing" => say!(texts, "offer-preparing"),
        "offered" => say!(texts, "offer-offered"),
        "downloading" => {
            let bytes = offer["bytes"].as_u64().unwrap_or_default();
            let total = offer["total"].as_u64().unwrap_or_default().max(1);
            let percent = (bytes.min(total) * 100) / total;
            say!(texts, "offer-downloading", percent = percent)
        }
        "installing" => say!(texts, "offer-installing"),
        "proving" => say!(texts, "offer-proving"),
        "recovery" => say!(texts, "offer-recovery"),
        "verifying" => say!(texts, "offer-verifying"),
        "soaking" => say!(texts, "offer-soaking"),
        "restoring" => say!(texts, "offer-restoring"),
        "unreachable" => say!(texts, "offer-unreachable"),
        "succeeded" => say!(texts, "offer-succeeded"),
        "reverted" => say!(texts, "offer-reverted"),
        "failed" => say!(texts, "offer-failed", why = why(reason, texts)),
        "skipped" => say!(texts, "offer-skipped"),
        "superseded" => say!(texts, "offer-superseded"),
        "cancelled" => say!(texts, "offer-cancelled"),
        "expired" => say!(texts, "offer-expired"),
        other => other.to_owned(),
    }
}

fn why(reason: &str, texts: &Texts) -> String {
    match reason {
        "safeboot_without_tls" => say!(texts, "offer-why-safeboot-tls"),
        "stuck_in_safeboot" => say!(texts, "offer-why-stuck"),
        "wrong_file" => say!(texts, "offer-why-wrong-file"),
        "refused" => say!(texts, "offer-why-refused"),
        "install_loop" => say!(texts, "offer-why-install-loop"),
        "boot_loop" => say!(texts, "offer-why-boot-loop"),
        "crashed" => say!(texts, "offer-why-crashed"),
        "other_build" => say!(texts, "offer-why-other-build"),
        "not_proved" => say!(texts, "offer-why-not-proved"),
        "unstable" => say!(texts, "offer-why-unstable"),
        "backup_refused" => say!(texts, "offer-why-backup"),
        "url_too_long" => say!(texts, "offer-why-url"),
        "unreachable" => say!(texts, "offer-why-unreachable"),
        "interrupted" => say!(texts, "offer-why-interrupted"),
        other => other.to_owned(),
    }
}

/// Everything about one offer for a person: the ticks, what happened, and what to do.
pub fn sheet(offer: &Value, texts: &Texts) -> String {
    let mut lines = vec![line(offer, texts)];
    for (name, words) in [
        ("build", say!(texts, "offer-tick-build")),
        ("boot", say!(texts, "offer-tick-boot")),
        ("stays", say!(texts, "offer-tick-stays")),
        ("sane", say!(texts, "offer-tick-sane")),
    ] {
        let tick = if offer["evidence"][name].is_u64() {
            "[x]"
        } else {
            "[ ]"
        };
        lines.push(format!("  {tick} {words}"));
    }
    for entry in offer["history"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  {}  {}  {}",
            stamp(entry["at"].as_u64().unwrap_or_default()),
            entry["state"].as_str().unwrap_or_default(),
            entry["what"].as_str().unwrap_or_default()
        ));
    }
    if let Some(advice) = offer["advice"].as_str() {
        lines.push(format!("  → {advice}"));
    }
    lines.join("\n")
}
