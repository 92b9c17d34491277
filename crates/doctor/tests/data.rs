//! The data of the doctor is whole: every entry names its cause and a way out, every cause has its
//! texts, and both languages say the same.

use std::collections::{BTreeMap, BTreeSet};

use safeport_doctor::{Cause, Facts, Layer, Texts};
use toml_edit::{DocumentMut, Item, Table, TableLike};

macro_rules! groups {
    ($($name:literal)*) => {
        [$((
            $name,
            include_str!(concat!("../catalogue/", $name, ".toml")),
            include_str!(concat!("../catalogue/zh/", $name, ".toml")),
        ),)*]
    };
}

const GROUPS: [(&str, &str, &str); 11] = groups!(
    "bearssl" "esp-idf" "espeasy" "esphome" "http" "mbedtls" "mqtt" "network" "servers" "tasmota"
    "xiaozhi"
);

/// The lists that an entry has in both languages.
const LISTS: [&str; 3] = ["causes", "fix_device", "fix_server"];

#[test]
fn every_entry_has_an_id_of_its_own() {
    let mut seen = BTreeSet::new();
    for (group, entry) in entries() {
        let id = text(&entry, "id");
        assert!(
            !id.is_empty() && seen.insert(id.clone()),
            "{group}: {id} twice"
        );
    }
    assert_eq!(seen.len(), 465, "entries came or went: change the number");
}

#[test]
fn every_entry_names_its_layer_and_a_cause_that_is_known() {
    for (group, entry) in entries() {
        let id = text(&entry, "id");
        let cause = text(&entry, "cause");
        assert!(
            Cause::of_code(&cause).is_some(),
            "{group}: {id}: cause {cause}"
        );
        assert!(
            Layer::of_code(&text(&entry, "layer")).is_some(),
            "{group}: {id}: layer"
        );
        let mut said = BTreeSet::from([cause]);
        for other in list(&entry, "or") {
            assert!(
                Cause::of_code(&other).is_some(),
                "{group}: {id}: or {other}"
            );
            assert!(said.insert(other.clone()), "{group}: {id}: {other} twice");
        }
    }
}

#[test]
fn what_is_only_news_is_no_fault_and_what_is_fatal_is_one() {
    for (group, entry) in entries() {
        let id = text(&entry, "id");
        let healthy = text(&entry, "cause") == "healthy";
        match text(&entry, "severity").as_str() {
            "info" => assert!(healthy, "{group}: {id} is news and names a cause"),
            "warning" => {}
            "fatal" => assert!(!healthy, "{group}: {id} is fatal and names none"),
            other => panic!("{group}: {id}: severity {other}"),
        }
    }
}

#[test]
fn every_entry_has_a_way_out() {
    for (group, entry) in entries() {
        let fixes = list(&entry, "fix_device").len() + list(&entry, "fix_server").len();
        assert!(fixes > 0, "{group}: {}: no fix", text(&entry, "id"));
    }
}

#[test]
fn every_entry_says_the_same_in_chinese() {
    for (group, english, chinese) in GROUPS {
        let chinese = read(group, chinese);
        let mut left: BTreeSet<&str> = chinese.iter().map(|(id, _)| id).collect();
        for entry in entries_of(group, english) {
            let id = text(&entry, "id");
            let there = chinese
                .get(&id)
                .and_then(Item::as_table)
                .unwrap_or_else(|| panic!("zh/{group}: {id} is missing"));
            left.remove(id.as_str());
            let place = format!("zh/{group}: {id}");
            check_pair(&place, &text(&entry, "meaning"), &text(there, "meaning"));
            for key in LISTS {
                let (en, zh) = (list(&entry, key), list(there, key));
                assert_eq!(en.len(), zh.len(), "{place}: {key}");
                for (en, zh) in en.iter().zip(&zh) {
                    check_pair(&format!("{place}: {key}"), en, zh);
                }
            }
        }
        assert!(left.is_empty(), "zh/{group}: no such entries: {left:?}");
    }
}

#[test]
fn every_cause_has_its_texts_and_no_text_is_of_no_cause() {
    let causes = causes();
    let known: BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.code()).collect();
    let told: BTreeSet<&str> = causes.iter().map(|(code, _)| code).collect();
    assert_eq!(known, told);
    let nothing = Facts::default();
    let texts = Texts::new();
    for &cause in Cause::ALL {
        for said in [texts.means(cause, &nothing), texts.fix(cause, &nothing)] {
            assert!(
                !said.en.is_empty() && !said.zh.is_empty(),
                "{cause} says nothing when no fact is known"
            );
        }
    }
}

#[test]
fn every_text_of_a_cause_says_the_same_in_both_languages_with_facts_that_exist() {
    let names = names_of_facts();
    for (code, item) in causes().iter() {
        let words = item
            .as_table()
            .unwrap_or_else(|| panic!("{code} is no table"));
        check_templates(&format!("{code}.means"), words, "means", "means_zh", &names);
        let fix = sub_table(words, code, "fix");
        let fix_zh = sub_table(words, code, "fix_zh");
        let keys = |table: &dyn TableLike| -> BTreeSet<String> {
            table.iter().map(|(key, _)| key.to_string()).collect()
        };
        assert_eq!(keys(fix), keys(fix_zh), "{code}: families");
        for key in keys(fix) {
            assert!(
                [
                    "any", "tasmota", "espeasy", "esphome", "xiaozhi", "idf", "shelly"
                ]
                .contains(&key.as_str()),
                "{code}: family {key}"
            );
            check_lists(
                &format!("{code}.fix.{key}"),
                &lines(fix.get(&key)),
                &lines(fix_zh.get(&key)),
                &names,
            );
        }
        assert!(fix.contains_key("any"), "{code}: no fix for any device");
        if words.contains_key("split") || words.contains_key("split_zh") {
            check_templates(&format!("{code}.split"), words, "split", "split_zh", &names);
        }
        for (key, _) in words.iter() {
            assert!(
                ["means", "means_zh", "fix", "fix_zh", "split", "split_zh"].contains(&key),
                "{code}: {key}"
            );
        }
    }
}

#[test]
fn every_setting_that_a_text_names_exists() {
    let settings = include_str!("../../../docs/settings.md");
    let sections: BTreeSet<&str> = settings
        .lines()
        .filter_map(|line| line.strip_prefix("### `[")?.strip_suffix("]`"))
        .collect();
    let keys = keys_of(settings);
    let mut named = 0;
    for (code, item) in causes().iter() {
        for quoted in quoted_in(&item.to_string()) {
            let key = quoted.split([' ', '=']).next().unwrap_or_default();
            let Some((section, name)) = key.split_once('.') else {
                continue;
            };
            // `server.websocket` and `server.auth_key` are settings of xiaozhi-esp32-server.
            if !sections.contains(section) || section == "server" {
                continue;
            }
            named += 1;
            assert!(
                keys.get(section).is_some_and(|keys| keys.contains(name)),
                "{code} names {key}, which is no setting"
            );
        }
    }
    assert!(named > 20, "only {named} settings are named");
}

/// Both texts are there, in their own language, and end alike.
fn check_pair(place: &str, en: &str, zh: &str) {
    assert!(!en.is_empty() && !zh.is_empty(), "{place}: empty");
    assert!(!en.chars().any(is_chinese), "{place}: Chinese in {en:?}");
    let only_code = !en.contains(' ');
    assert!(
        only_code || zh.chars().any(is_chinese),
        "{place}: not translated: {zh:?}"
    );
    assert!(
        !has_half_width(zh),
        "{place}: ASCII punctuation beside Chinese: {zh:?}"
    );
    assert_eq!(
        en.ends_with('.'),
        zh.ends_with('。'),
        "{place}: {en:?} and {zh:?} end differently"
    );
    // Commands and settings stay as they are.
    assert_eq!(
        quoted_in(en).len(),
        quoted_in(zh).len(),
        "{place}: {en:?} and {zh:?} quote differently"
    );
}

fn check_templates(place: &str, words: &Table, en: &str, zh: &str, names: &BTreeSet<String>) {
    check_lists(place, &lines(words.get(en)), &lines(words.get(zh)), names);
}

/// The templates of both languages pair up, so that the same one is taken for the same facts; the
/// last needs no fact, and each one can be reached.
fn check_lists(place: &str, en: &[String], zh: &[String], names: &BTreeSet<String>) {
    assert!(!en.is_empty(), "{place}: nothing is said");
    assert_eq!(en.len(), zh.len(), "{place}: not as many in Chinese");
    for (index, (en, zh)) in en.iter().zip(zh).enumerate() {
        check_pair(&format!("{place}[{index}]"), en, zh);
        assert_eq!(facts_in(en), facts_in(zh), "{place}[{index}]: facts");
        for fact in facts_in(en) {
            assert!(names.contains(&fact), "{place}[{index}]: no fact {fact}");
        }
    }
    for (index, template) in en.iter().enumerate() {
        for earlier in &en[..index] {
            assert!(
                !facts_in(earlier).is_subset(&facts_in(template)),
                "{place}[{index}] is never said"
            );
        }
    }
    assert!(
        en.last().is_some_and(|last| facts_in(last).is_empty()),
        "{place}: the last one needs a fact"
    );
}

fn facts_in(template: &str) -> BTreeSet<String> {
    template
        .split('{')
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('}')?.0.to_string()))
        .collect()
}

/// What stands between backquotes.
fn quoted_in(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The names that the documentation of `Facts` lists.
fn names_of_facts() -> BTreeSet<String> {
    let source = include_str!("../src/evidence.rs");
    let from = source.find("/// Names:").expect("Facts names its facts");
    let to = source.find("pub struct Facts").expect("Facts is there");
    quoted_in(&source[from..to])
        .into_iter()
        .map(str::to_string)
        .collect()
}

/// The keys of each section of `docs/settings.md`.
fn keys_of(settings: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut section = "";
    for line in settings.lines() {
        if let Some(name) = line
            .strip_prefix("### `[")
            .and_then(|rest| rest.strip_suffix("]`"))
        {
            section = name;
        } else if let Some((key, _)) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split_once('`'))
        {
            keys.entry(section).or_default().insert(key);
        }
    }
    keys
}

fn is_chinese(character: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&character)
}

/// A comma, colon, semicolon or the like of ASCII next to a Chinese character, outside of quotes.
fn has_half_width(text: &str) -> bool {
    let spoken: String = text.split('`').step_by(2).collect::<Vec<_>>().join("``");
    let spoken: String = spoken.split('\'').step_by(2).collect::<Vec<_>>().join("''");
    let characters: Vec<char> = spoken.chars().collect();
    characters.windows(2).any(|pair| {
        (is_chinese(pair[0]) && ",;:!?.()".contains(pair[1]))
            || (is_chinese(pair[1]) && ",;:!?()".contains(pair[0]))
    })
}

fn read(name: &str, source: &str) -> DocumentMut {
    source
        .parse()
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn causes() -> DocumentMut {
    read("causes.toml", include_str!("../causes.toml"))
}

fn entries() -> impl Iterator<Item = (&'static str, Table)> {
    GROUPS.into_iter().flat_map(|(group, english, _)| {
        entries_of(group, english)
            .into_iter()
            .map(move |entry| (group, entry))
    })
}

fn entries_of(group: &str, source: &str) -> Vec<Table> {
    read(group, source)
        .get("error")
        .and_then(Item::as_array_of_tables)
        .unwrap_or_else(|| panic!("{group} has no entries"))
        .iter()
        .cloned()
        .collect()
}

fn sub_table<'a>(words: &'a Table, code: &str, key: &str) -> &'a dyn TableLike {
    words
        .get(key)
        .and_then(Item::as_table_like)
        .unwrap_or_else(|| panic!("{code}: no {key}"))
}

fn text(table: &Table, key: &str) -> String {
    table
        .get(key)
        .and_then(Item::as_str)
        .unwrap_or_default()
        .to_string()
}

fn list(table: &Table, key: &str) -> Vec<String> {
    lines(table.get(key))
}

/// One text, or several.
fn lines(item: Option<&Item>) -> Vec<String> {
    match item.and_then(Item::as_array) {
        Some(array) => array
            .iter()
            .filter_map(|value| Some(value.as_str()?.to_string()))
            .collect(),
        None => item
            .and_then(Item::as_str)
            .map(str::to_string)
            .into_iter()
            .collect(),
    }
}
