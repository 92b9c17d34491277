use super::*;
use crate::table::keys;
use crate::{FileSource, Settings, Sources};
use alloc::format;
use alloc::vec;
use proptest::prelude::*;

fn set(text: &str, key: &str, toml: &str) -> String {
    set_in_file(text, key, toml).unwrap_or_else(|problem| panic!("{problem}"))
}

fn parsed(text: &str) -> Settings {
    let sources = Sources {
        files: vec![FileSource {
            path: "safeport.toml",
            text,
            drop_in: false,
        }],
        ..Sources::default()
    };
    Settings::parse_lenient(&sources).0
}

fn value(text: &str, key: &str) -> Option<String> {
    let settings = parsed(text);
    let entry = settings.values().find(|entry| entry.key == key)?;
    matches!(entry.source, Source::File { .. }).then_some(entry.value)
}

#[test]
fn a_value_is_replaced_where_it_stands_and_nothing_else_changes() {
    let text = "# head\n\n[mqtt] # plain\nbind =   \"127.0.0.1:1\"  # old\nmax_connections = 5\n";
    assert_eq!(
        set(text, "mqtt.bind", "[\"127.0.0.1:2\", \"[::1]:2\"]"),
        "# head\n\n[mqtt] # plain\nbind =   [\"127.0.0.1:2\", \"[::1]:2\"]  # old\nmax_connections = 5\n"
    );
    assert_eq!(
        set(
            "mqtt = { bind = \"127.0.0.1:1\" }\n",
            "mqtt.bind",
            "\"127.0.0.1:2\""
        ),
        "mqtt = { bind = \"127.0.0.1:2\" }\n"
    );
    assert_eq!(
        set(
            "mqtt.bind = \"127.0.0.1:1\"\n",
            "mqtt.bind",
            "\"127.0.0.1:2\""
        ),
        "mqtt.bind = \"127.0.0.1:2\"\n"
    );
}

#[test]
fn a_new_key_goes_to_the_end_of_its_section_or_below_its_remark() {
    assert_eq!(
        set(
            "[mqtt]\nmax_connections = 5\n\n# about http\n[http]\n",
            "mqtt.enabled",
            "false"
        ),
        "[mqtt]\nmax_connections = 5\nenabled = false\n\n# about http\n[http]\n"
    );
    assert_eq!(
        set(
            "[mqtt]\n# which place\n#bind = \"[::]:1883\"\n\n# how many\n#max_connections = 10000\n",
            "mqtt.bind",
            "\"127.0.0.1:2\""
        ),
        "[mqtt]\n# which place\n#bind = \"[::]:1883\"\nbind = \"127.0.0.1:2\"\n\n\
         # how many\n#max_connections = 10000\n"
    );
    // The same line in another section is none of this key's business.
    assert_eq!(
        set("[mqtt]\n[http]\n#enabled = true", "mqtt.enabled", "false"),
        "[mqtt]\nenabled = false\n[http]\n#enabled = true"
    );
    assert_eq!(
        set("[mqtt]", "mqtt.enabled", "false"),
        "[mqtt]\nenabled = false\n"
    );
}

#[test]
fn a_missing_section_is_added_at_the_end() {
    assert_eq!(
        set("", "log.level", "\"warn\""),
        "[log]\nlevel = \"warn\"\n"
    );
    assert_eq!(
        set("[mqtt]\nenabled = false", "log.level", "\"warn\""),
        "[mqtt]\nenabled = false\n\n[log]\nlevel = \"warn\"\n"
    );
    let text = set(
        "[mqtt]\r\nenabled = false\r\n",
        "proxy.front.url",
        "\"https://a.example\"",
    );
    assert_eq!(
        text,
        "[mqtt]\r\nenabled = false\r\n\r\n[proxy.front]\r\nurl = \"https://a.example\"\r\n"
    );
    let text = set(&text, "proxy.back.url", "\"https://b.example\"");
    let text = set(&text, "proxy.front.to", "\"mqtt\"");
    assert_eq!(parsed(&text).proxy.len(), 2);
    assert_eq!(value(&text, "proxy.front.to").as_deref(), Some("\"mqtt\""));
}

#[test]
fn sections_in_one_line_and_dotted_keys_take_new_keys_too() {
    for text in [
        "mqtt = { bind = \"127.0.0.1:1\" } # inline\n",
        "mqtt.bind = \"127.0.0.1:1\" # dotted\n[http]\n",
        "mqtt = {}\n",
        "[mqtt]\nbind = [ # many\n  \"127.0.0.1:1\", # one\n  \"[::1]:1\"\n]\n[http]\n",
    ] {
        let new = set(text, "mqtt.max_connections", "7");
        assert_eq!(
            value(&new, "mqtt.max_connections").as_deref(),
            Some("7"),
            "{new}"
        );
        assert_eq!(value(&new, "mqtt.bind"), value(text, "mqtt.bind"), "{new}");
        for remark in text.split('#').skip(1) {
            let remark = remark.lines().next().unwrap();
            assert!(new.contains(remark), "{new}");
        }
    }
}

#[test]
fn a_key_is_taken_away_with_its_line_and_its_remarks_stay() {
    let text = "[mqtt]\n# which place\nbind = [\n  \"127.0.0.1:1\",\n]  # here\n# how many\nmax_connections = 5\n";
    let without = unset_in_file(text, "mqtt.bind").unwrap();
    assert_eq!(
        without,
        "[mqtt]\n# which place\n# how many\nmax_connections = 5\n"
    );
    assert_eq!(unset_in_file(&without, "mqtt.bind").unwrap(), without);
    for (text, expected) in [
        (
            "mqtt = { enabled = true, bind = \"127.0.0.1:1\" }\n",
            "mqtt = { enabled = true}\n",
        ),
        (
            "mqtt.bind = \"127.0.0.1:1\"\nmqtt.enabled = true\n",
            "mqtt.enabled = true\n",
        ),
        ("", ""),
    ] {
        assert_eq!(unset_in_file(text, "mqtt.bind").unwrap(), expected);
    }
}

#[test]
fn what_cannot_be_written_is_refused_and_says_why() {
    for (text, key, toml, expected) in [
        ("", "mqtt.bnid", "\"x\"", "did you mean mqtt.bind?"),
        ("", "mqtt.enabled", "1", "neither true nor false"),
        ("", "mqtt.enabled", "tr ue", "this is not TOML"),
        (
            "",
            "mqtt.bind",
            "\"127.0.0.1:0\"",
            "another port at every start",
        ),
        ("[mqtt\n", "mqtt.enabled", "true", "safeport.toml:1:"),
        ("mqtt = 3\n", "mqtt.enabled", "true", "mqtt is a section"),
    ] {
        let problem = set_in_file(text, key, toml).unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
    }
    assert!(unset_in_file("[mqtt\n", "mqtt.enabled").is_err());
    assert!(unset_in_file("", "mqtt.bnid").is_err());
}

#[test]
fn every_key_can_be_set_in_the_example_file_and_taken_out_again() {
    let example = Settings::example();
    for spec in keys() {
        let key = spec.full_name(None);
        let default = parsed("").find(&key).unwrap().value.clone();
        let text = set(&example, &key, &default);
        assert!(value(&text, &key).is_some(), "{key}");
        let line = format!("{} = {default}\n", spec.name);
        assert!(
            text.contains(&format!("#{line}{line}")),
            "{key} stands below its remark"
        );
        assert_eq!(unset_in_file(&text, &key).unwrap(), example, "{key}");
    }
}

/// Files as people write them: sections in any order and form, remarks, blanks.
fn a_file() -> impl Strategy<Value = String> {
    let remark = prop_oneof![Just(String::new()), "# [a-z =\\[\\]\"]{0,12}"];
    let line = (0..keys().count(), remark, 0..3u8);
    (proptest::collection::vec(line, 0..14), any::<bool>()).prop_map(|(lines, windows)| {
        let mut sections: Vec<(String, String)> = Vec::new();
        for (index, remark, form) in lines {
            let spec = keys().nth(index).unwrap();
            let default = parsed("")
                .find(&spec.full_name(None))
                .unwrap()
                .value
                .clone();
            let at = match sections.iter().position(|(name, _)| name == spec.section) {
                Some(at) => at,
                None => {
                    sections.push((spec.section.to_string(), String::new()));
                    sections.len() - 1
                }
            };
            let body = &mut sections[at].1;
            let setting = format!("{} = {default}", spec.name);
            if body.contains(&setting) {
                continue;
            }
            body.push_str(&match form {
                0 => format!("{remark}\n#{setting}\n"),
                1 => format!("{setting} {remark}\n"),
                _ => format!("{remark}\n\n{setting}\n"),
            });
        }
        let mut text = String::new();
        for (name, body) in sections {
            text.push_str(&format!("[{name}]\n{body}\n"));
        }
        if windows {
            text.replace('\n', "\r\n")
        } else {
            text
        }
    })
}

proptest! {
    #[test]
    fn setting_a_key_gives_the_value_and_leaves_all_else(
        text in a_file(), index in 0..keys().count(),
    ) {
        let spec = keys().nth(index).unwrap();
        let key = spec.full_name(None);
        let toml = match spec.range {
            Some((_, most)) if most.bytes().all(|byte| byte.is_ascii_digit()) => most.to_string(),
            Some((_, most)) => format!("\"{most}\""),
            None => parsed("").find(&key).unwrap().value.clone(),
        };
        let before = parsed(&text);
        let new = set_in_file(&text, &key, &toml).unwrap();
        let after = parsed(&new);
        prop_assert!(value(&new, &key).is_some(), "{}", new);
        for (old, new_entry) in before.values().zip(after.values()) {
            if old.key != key {
                prop_assert_eq!(&old.value, &new_entry.value, "{}", old.key);
            }
        }
        // Line by line, only one was added or changed.
        let mut old: Vec<&str> = text.lines().collect();
        for line in new.lines() {
            if let Some(at) = old.iter().position(|known| *known == line) {
                old.remove(at);
            }
        }
        prop_assert!(old.len() <= 1, "{:?} is gone from\n{}", old, new);
        prop_assert!(old.iter().all(|line| line.contains(spec.name)));
        // And the other way.
        let without = unset_in_file(&new, &key).unwrap();
        prop_assert!(value(&without, &key).is_none());
        for line in text.lines().filter(|line| line.trim_start().starts_with('#')) {
            prop_assert!(without.contains(line), "{} is gone", line);
        }
    }

    #[test]
    fn no_text_makes_the_editor_panic(text: String, toml: String) {
        let _ = set_in_file(&text, "mqtt.bind", &toml);
        let _ = set_in_file(&text, "log.level", "\"info\"");
        let _ = unset_in_file(&text, "mqtt.bind");
    }
}
