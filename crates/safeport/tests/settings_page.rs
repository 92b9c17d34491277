//! `docs/settings.md` holds a table of every key. It is made from the same listing as
//! `safeport config example`, and this keeps it so.

use std::path::PathBuf;

use safeport_settings::{KeyInfo, sections};

const BEGIN: &str = "<!-- every key, by `cargo test -p safeport --test settings_page` -->\n";
const END: &str = "<!-- end of keys -->\n";

#[test]
fn the_page_about_settings_names_every_key_with_its_default_limits_and_meaning() {
    let path = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/settings.md"
    ));
    let page = std::fs::read_to_string(&path).expect("docs/settings.md");
    let (before, rest) = page.split_once(BEGIN).expect("the mark before the keys");
    let (keys, after) = rest.split_once(END).expect("the mark behind the keys");
    let wanted = tables();
    if keys == wanted {
        return;
    }
    if std::env::var_os("SAFEPORT_REWRITE").is_some() {
        let page = format!("{before}{BEGIN}{wanted}{END}{after}");
        return std::fs::write(&path, page).expect("docs/settings.md is written");
    }
    let differs = keys
        .lines()
        .zip(wanted.lines())
        .find(|(is, should)| is != should);
    panic!(
        "docs/settings.md differs from the keys that there are: {differs:?}\nwrite it anew with \
         SAFEPORT_REWRITE=1 cargo test -p safeport --test settings_page"
    );
}

/// One table for each section.
fn tables() -> String {
    let mut text = String::new();
    for section in sections() {
        text.push_str(&format!(
            "\n### `[{}]`\n\n{}\n\n| key | default | limits | meaning | policy |\n|---|---|---|---|---|\n",
            section.heading, section.doc
        ));
        for key in &section.keys {
            text.push_str(&row(key));
        }
    }
    text.push('\n');
    text
}

fn row(key: &KeyInfo) -> String {
    let name = key.key.rsplit('.').next().unwrap_or_default();
    let default = match key.default {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    let limits = match key.limits {
        Some((least, most)) => format!("{least} to {most}"),
        None => String::new(),
    };
    let meaning = key.doc.en.replace('|', "\\|");
    let policy = words(key).join(", ");
    format!("| `{name}` | {default} | {limits} | {meaning} | {policy} |\n")
}

/// The policy in the words that the page explains.
fn words(key: &KeyInfo) -> Vec<&'static str> {
    let policy = key.policy;
    [
        (!policy.live, "restart"),
        (policy.local, "local"),
        (policy.agree, "agree"),
        (policy.append, "append"),
        (policy.secret, "secret"),
        (policy.derived, "derived"),
        (policy.told, "per device"),
        (policy.lockout, "confirm"),
    ]
    .into_iter()
    .filter_map(|(holds, word)| holds.then_some(word))
    .collect()
}
