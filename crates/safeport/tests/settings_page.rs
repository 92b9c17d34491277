//! `docs/settings.md` holds a table of every key. It is made from the same listing as
//! `safeport config example`, and this keeps it so.

use std::path::PathBuf;

use safeport_settings::Settings;

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
    let wanted = tables(&Settings::example());
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

/// The example file as one table for each section.
fn tables(example: &str) -> String {
    let mut text = String::new();
    let mut remarks: Vec<&str> = Vec::new();
    for line in example.lines() {
        if let Some(remark) = line.strip_prefix("# ") {
            remarks.push(remark);
        } else if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            text.push_str(&format!(
                "\n### `[{section}]`\n\n{}\n\n| key | default | limits | meaning |\n|---|---|---|---|\n",
                remarks.join(" ")
            ));
            remarks.clear();
        } else if let Some((key, default)) =
            line.strip_prefix('#').and_then(|l| l.split_once(" = "))
        {
            let limits = remarks
                .pop_if(|last| last.starts_with("From "))
                .unwrap_or_default()
                .trim_end_matches('.');
            let limits = match limits
                .strip_prefix("From ")
                .and_then(|l| l.split_once(" to "))
            {
                Some((least, most)) => format!("{least} to {most}"),
                None => String::new(),
            };
            let meaning = remarks.join(" ").replace('|', "\\|");
            text.push_str(&format!(
                "| `{key}` | `{default}` | {limits} | {meaning} |\n"
            ));
            remarks.clear();
        } else {
            // The head of the file, and the line between two keys.
            remarks.clear();
        }
    }
    text.push('\n');
    text
}
