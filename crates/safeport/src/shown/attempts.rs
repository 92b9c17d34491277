//! Attempts to connect: as data, as a table, and those of one device.

use std::collections::BTreeSet;

use safeport_net::attempt::Cause;
use safeport_net::hello::Stack;
use safeport_store::{AttemptQuery, AttemptRow, Registry, StoreError};
use serde_json::{Value, json};

use super::causes::{meaning, next, of_code};
use crate::serve::attempts::Seen;
use crate::text::Texts;
use crate::time::stamp;

/// Attempts that were counted together.
pub fn row_json(row: &AttemptRow, texts: &Texts) -> Value {
    let last = &row.last;
    let candidates: Vec<&str> = last.candidates.split_whitespace().collect();
    let mut value = json!({
        "address": row.key.address,
        "listener": row.key.listener,
        "cause": row.key.cause,
        "failure": last.failure,
        "certainty": last.certainty,
        "candidates": candidates,
        "count": row.count,
        "first_at": row.first_at,
        "last_at": row.last_at,
        "took_ms": last.took_ms,
        "client_id": given(&row.key.client_id),
        "user": given(&row.key.user),
        "stack": given(&last.stack),
        "hello": given(&row.key.hello),
        "server_name": last.server_name,
        "tls_version": last.version.map(version_name),
        "cipher_suite": last.suite.map(suite_name),
        "alert": last.alert,
        "saw": given(&last.why),
    });
    explain(&mut value, of_code(&row.key.cause), texts);
    value
}

/// One attempt.
pub fn seen_json(seen: &Seen, texts: &Texts) -> Value {
    let candidates: Vec<&str> = seen.others.iter().map(|cause| cause.code()).collect();
    let hello = seen.hello.as_ref();
    let mut value = json!({
        "at": seen.at.as_secs_f64(),
        "took_ms": u64::try_from(seen.took.as_millis()).unwrap_or(u64::MAX),
        "address": seen.address().to_string(),
        "port": seen.peer.port(),
        "listener": &*seen.listener,
        "cause": seen.cause.code(),
        "failure": seen.cause.is_failure(),
        "certainty": seen.certainty.code(),
        "candidates": candidates,
        "client_id": seen.client_id,
        "user": seen.user,
        "stack": hello.map(|hello| hello.stack.code()),
        "hello": hello.map(|hello| hello.fingerprint.as_str()),
        "server_name": seen.server_name,
        "tls_version": seen.version.map(version_name),
        "cipher_suite": seen.suite.map(suite_name),
        "resumed": seen.resumed,
        "record_size": seen.record_size,
        "alert": seen.alert,
        "saw": given(&seen.why),
    });
    explain(&mut value, Some(seen.cause), texts);
    value
}

fn explain(value: &mut Value, cause: Option<Cause>, texts: &Texts) {
    let said = |words: fn(Cause, &Texts) -> String| cause.map(|cause| words(cause, texts));
    value["means"] = json!(said(meaning));
    value["next"] = json!(said(next));
}

/// A table, newest first, and below it what each failure in it means and what to do.
pub fn table(rows: &[AttemptRow], texts: &Texts) -> String {
    let cells: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let width = |column: usize| {
        let lengths = cells.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &cells {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let failures: BTreeSet<Cause> = rows
        .iter()
        .filter_map(|row| of_code(&row.key.cause))
        .filter(|cause| cause.is_failure())
        .collect();
    for cause in failures {
        let code = cause.code();
        let (means, next) = (meaning(cause, texts), next(cause, texts));
        text.push_str(&format!("\n{code}: {means}\n  → {next}\n"));
    }
    text
}

/// The same of rows that came as data, from a server elsewhere.
pub fn table_of_json(rows: &[Value]) -> String {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let mut lines = Vec::new();
    let mut failures: Vec<String> = Vec::new();
    for row in rows {
        let who = [text(row, "user"), text(row, "client_id"), "-".to_owned()];
        let who = who.into_iter().find(|who| !who.is_empty());
        lines.push(format!(
            "{}  {}x  {}  {}  {}  {}",
            stamp(row["last_at"].as_u64().unwrap_or_default()),
            row["count"],
            text(row, "address"),
            text(row, "listener"),
            who.unwrap_or_default(),
            text(row, "cause"),
        ));
        if row["failure"] == true {
            let what = format!(
                "\n{}: {}\n  → {}",
                text(row, "cause"),
                text(row, "means"),
                text(row, "next")
            );
            if !failures.contains(&what) {
                failures.push(what);
            }
        }
    }
    lines.extend(failures);
    lines.join("\n")
}

/// When, how often, from where, to which listener, who, and what became of it.
fn cells(row: &AttemptRow) -> [String; 6] {
    let who = [&row.key.user, &row.key.client_id]
        .into_iter()
        .find(|name| !name.is_empty());
    let stack = Stack::ALL
        .into_iter()
        .find(|stack| stack.code() == row.last.stack && *stack != Stack::Unknown)
        .map(Stack::name);
    let who = match (who, stack) {
        (Some(who), Some(stack)) => format!("{who}, {stack}"),
        (Some(who), None) => who.clone(),
        (None, stack) => stack.unwrap_or("-").to_owned(),
    };
    let mut cause = row.key.cause.clone();
    for candidate in row.last.candidates.split_whitespace() {
        cause.push_str(" / ");
        cause.push_str(candidate);
    }
    if !row.last.why.is_empty() {
        cause.push_str(&format!(" ({})", row.last.why));
    }
    [
        stamp(row.last_at),
        format!("{}x", row.count),
        row.key.address.clone(),
        row.key.listener.clone(),
        who,
        cause,
    ]
}

/// The attempts of one device: those that told its login name or client identifier, and those that
/// told none but came from an address where only this device lives, or that looked the same.
///
/// # Errors
/// The registry could not be read.
pub fn of_device(
    registry: &Registry,
    (user, client_id): (&str, &str),
    query: &AttemptQuery<'_>,
) -> Result<Vec<AttemptRow>, StoreError> {
    let named = |row: &AttemptRow| {
        row.key.user == user || (!row.key.client_id.is_empty() && row.key.client_id == client_id)
    };
    // Who it is may have been told before the time that is asked for.
    let own = registry.attempts(&AttemptQuery {
        who: Some((user, client_id)),
        ..AttemptQuery::default()
    })?;
    let mut addresses: Vec<&str> = Vec::new();
    for row in &own {
        if !addresses.contains(&row.key.address.as_str()) && addresses.len() < MOST_ADDRESSES {
            addresses.push(&row.key.address);
        }
    }
    let mut found = registry.attempts(&AttemptQuery {
        who: Some((user, client_id)),
        limit: 0,
        ..query.clone()
    })?;
    for address in addresses {
        let all = registry.attempts(&AttemptQuery {
            address: Some(address),
            ..AttemptQuery::default()
        })?;
        let is_nameless =
            |row: &&AttemptRow| row.key.user.is_empty() && row.key.client_id.is_empty();
        let lives_alone = all.iter().all(|row| is_nameless(&row) || named(row));
        let looks_so = |row: &AttemptRow| {
            all.iter()
                .any(|known| named(known) && known.key.hello == row.key.hello)
        };
        found.extend(
            all.iter()
                .filter(is_nameless)
                .filter(|row| lives_alone || (!row.key.hello.is_empty() && looks_so(row)))
                .filter(|row| row.last_at >= query.since && (row.last.failure || !query.failed))
                .cloned(),
        );
    }
    found.sort_by_key(|row| std::cmp::Reverse(row.last_at));
    if query.limit > 0 {
        found.truncate(query.limit as usize);
    }
    Ok(found)
}

/// Addresses that one device may have had lately; of more, the oldest are not looked at.
const MOST_ADDRESSES: usize = 8;

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// A version of TLS as people write it.
pub fn version_name(version: u16) -> String {
    match version {
        0x0300 => "SSL 3.0".to_owned(),
        0x0301 => "TLS 1.0".to_owned(),
        0x0302 => "TLS 1.1".to_owned(),
        0x0303 => "TLS 1.2".to_owned(),
        0x0304 => "TLS 1.3".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

/// A cipher suite by its IANA name, where it is one that this server speaks.
pub fn suite_name(suite: u16) -> String {
    match suite {
        0x1301 => "TLS_AES_128_GCM_SHA256",
        0x1302 => "TLS_AES_256_GCM_SHA384",
        0x1303 => "TLS_CHACHA20_POLY1305_SHA256",
        0xc02b => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        0xc02c => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        0xc02f => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        0xc030 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        0xcca8 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        0xcca9 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        other => return format!("0x{other:04x}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Language;
    use safeport_store::{AttemptDetails, AttemptKey, DataFolder};

    fn row(address: &str, user: &str, hello: &str, cause: Cause, at: u64) -> AttemptRow {
        AttemptRow {
            key: AttemptKey {
                address: address.to_owned(),
                listener: "mqtts".to_owned(),
                cause: cause.code().to_owned(),
                hello: hello.to_owned(),
                client_id: String::new(),
                user: user.to_owned(),
            },
            count: 3,
            first_at: at,
            last_at: at,
            last: AttemptDetails {
                failure: cause.is_failure(),
                stack: "bearssl".to_owned(),
                suite: Some(0xc02f),
                version: Some(0x0303),
                candidates: "untrusted".to_owned(),
                ..AttemptDetails::default()
            },
        }
    }

    #[test]
    fn a_table_tells_each_cause_once_with_what_to_do() {
        let texts = Texts::new(Language::English);
        let rows = [
            row(
                "192.168.1.40",
                "",
                "h",
                Cause::CertificateRefused,
                1_795_366_800,
            ),
            row(
                "192.168.1.41",
                "plug-1",
                "h",
                Cause::CertificateRefused,
                1_795_366_700,
            ),
            row("192.168.1.41", "plug-1", "h", Cause::Healthy, 1_795_366_600),
        ];
        let said = table(&rows, &texts);
        let first = said.lines().next().expect("a line");
        assert!(
            first.starts_with("2026-11-22 17:00:00Z  3x  192.168.1.40"),
            "{first}"
        );
        assert!(first.contains("BearSSL (Tasmota, ESPEasy)"), "{first}");
        assert!(
            first.ends_with("certificate_refused / untrusted"),
            "{first}"
        );
        assert_eq!(said.matches("certificate_refused: ").count(), 1, "{said}");
        assert!(said.contains("cert fingerprint"), "{said}");
        assert!(!said.contains("healthy: "), "{said}");
    }

    #[test]
    fn as_data_an_attempt_says_what_it_means_in_the_readers_language() {
        let row = row("192.168.1.40", "", "h", Cause::PlainToTlsPort, 7);
        let english = row_json(&row, &Texts::new(Language::English));
        assert_eq!(
            english["cipher_suite"],
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
        );
        assert_eq!(english["tls_version"], "TLS 1.2");
        assert_eq!(english["user"], Value::Null);
        assert!(
            english["next"]
                .as_str()
                .is_some_and(|next| next.contains("SetOption103 1"))
        );
        let chinese = row_json(&row, &Texts::new(Language::Chinese));
        assert_ne!(english["means"], chinese["means"]);
    }

    #[test]
    fn handshakes_that_failed_without_a_name_are_those_of_the_device_that_lives_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut registry = DataFolder::open(folder.path())
            .expect("a folder")
            .registry()
            .expect("a registry");
        let refused = Cause::CertificateRefused;
        registry
            .add_attempts(&[
                row("192.168.1.40", "plug-1", "h", Cause::Healthy, 10),
                row("192.168.1.40", "", "h", refused, 20),
                row("192.168.1.40", "", "other", refused, 21),
                // A router, with two devices behind it.
                row("192.168.1.1", "plug-1", "h", Cause::Healthy, 11),
                row("192.168.1.1", "plug-2", "i", Cause::Healthy, 12),
                row("192.168.1.1", "", "h", refused, 22),
                row("192.168.1.1", "", "i", refused, 23),
                row("192.168.1.9", "", "h", refused, 24),
            ])
            .expect("written");
        let found = |query: AttemptQuery<'_>| -> Vec<u64> {
            of_device(&registry, ("plug-1", "DVES_1"), &query)
                .expect("rows")
                .iter()
                .map(|row| row.last_at)
                .collect()
        };
        let all = AttemptQuery::default();
        assert_eq!(found(all.clone()), [22, 21, 20, 11, 10]);
        let failed = AttemptQuery {
            failed: true,
            since: 21,
            ..all.clone()
        };
        assert_eq!(found(failed), [22, 21]);
        let newest = AttemptQuery { limit: 1, ..all };
        assert_eq!(found(newest), [22]);
        let none = of_device(&registry, ("plug-9", ""), &AttemptQuery::default());
        assert!(none.expect("rows").is_empty());
    }
}
