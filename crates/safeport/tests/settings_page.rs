//! `docs/settings.md` holds a table of every key. It is made from the same listing as
//! `safeport config example`, and this keeps it so.

use std::path::PathBuf;

use safeport_settings::{KeyInfo, Language, Settings, Sources, read_value, sections};

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

#[test]
fn the_example_files_are_what_config_example_prints_in_each_language() {
    for (name, language) in [
        ("safeport.example.toml", Language::En),
        ("safeport.example.zh-CN.toml", Language::ZhCn),
    ] {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).join(name);
        let wanted = Settings::example_in(language);
        if std::fs::read_to_string(&path).is_ok_and(|text| text == wanted) {
            continue;
        }
        if std::env::var_os("SAFEPORT_REWRITE").is_some() {
            std::fs::write(&path, wanted).expect("the example file is written");
            continue;
        }
        panic!(
            "docs/{name} differs from the keys that there are; write it anew with \
             SAFEPORT_REWRITE=1 cargo test -p safeport --test settings_page"
        );
    }
}

/// What the words in the last column mean, and one table for each section.
fn tables() -> String {
    let defaults = Settings::parse(&Sources::default()).expect("the defaults are fine");
    let mut text = String::from(LEGEND);
    for section in sections() {
        text.push_str(&format!(
            "\n### `[{}]`\n\n{}\n\n| key | default | limits | meaning | policy |\n|---|---|---|---|---|\n",
            section.heading, section.doc
        ));
        for key in &section.keys {
            text.push_str(&row(key, &defaults));
        }
    }
    text.push('\n');
    text
}

fn row(key: &KeyInfo, defaults: &Settings) -> String {
    let name = key.key.rsplit('.').next().unwrap_or_default();
    let default = match defaults.explain(&key.key) {
        Some(explained) => format!("`{}`", explained.value),
        None if key.required => "required".to_owned(),
        None => {
            let read = read_value(&key.key.replace("NAME", "x"), key.default);
            format!("`{}`", read.expect("a default that its key takes"))
        }
    };
    let limits = match key.limits {
        Some((least, most)) => format!("{least} to {most}"),
        None => String::new(),
    };
    let meaning = key.doc.en.replace('|', "\\|");
    let policy = words(key).join(", ");
    format!("| `{name}` | {default} | {limits} | {meaning} | {policy} |\n")
}

const LEGEND: &str = "
Words in the last column, for keys that are not ordinary. An ordinary key may be set by every source, the highest one holds
alone, and a change takes effect at once.

- restart: a change takes effect at the next start.
- local: only the settings file, `conf.d`, the environment and flags may set it.
- agree: sources that name different values are a mistake.
- append: the lists of all sources are joined; `\"!reset\"` as the first entry drops what lower sources said.
- secret: its value is never shown.
- derived: `auto` is worked out by the server.
- per device: it may be set for a tag or for one device, too.
- confirm: a change is taken back unless it is confirmed.
";

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
