//! What each cause means and what to do about it, in both languages: `causes.toml`.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use safeport_settings::Said;
use toml_edit::{Array, DocumentMut, Item, TableLike};

use crate::{Cause, Facts};

const SOURCE: &str = include_str!("../causes.toml");

/// Where a family has no words of its own.
const ANY: &str = "any";

/// The texts of all causes. Made once and kept: it reads a file of about 100 kB.
#[derive(Debug, Clone)]
pub struct Texts(BTreeMap<Cause, Words>);

/// The texts of one cause. Of each list of templates the first whose facts are all known is taken.
#[derive(Debug, Clone, Default)]
struct Words {
    means: Templates,
    /// By family, or [`ANY`].
    fix: BTreeMap<String, Templates>,
    split: Templates,
}

#[derive(Debug, Clone, Default)]
struct Templates {
    en: Vec<String>,
    zh: Vec<String>,
}

impl Texts {
    /// Reads what is compiled in.
    pub fn new() -> Texts {
        // A test reads it; there is nothing to be done about it while running.
        let document: DocumentMut = SOURCE.parse().unwrap_or_default();
        let mut all = BTreeMap::new();
        for (code, item) in document.iter() {
            if let (Some(cause), Some(table)) = (Cause::of_code(code), item.as_table_like()) {
                all.insert(cause, Words::read(table));
            }
        }
        Texts(all)
    }

    /// What the cause means here.
    pub fn means(&self, cause: Cause, facts: &Facts) -> Said {
        match self.0.get(&cause) {
            Some(words) => words.means.fill(facts),
            None => Said::default(),
        }
    }

    /// The next action, in the words of the family's own settings where there are such.
    pub fn fix(&self, cause: Cause, facts: &Facts) -> Said {
        let Some(words) = self.0.get(&cause) else {
            return Said::default();
        };
        let family = facts.get("family").and_then(|family| words.fix.get(family));
        match family.or_else(|| words.fix.get(ANY)) {
            Some(templates) if facts.get("probed").is_some() => templates.fill_further(facts),
            Some(templates) => templates.fill(facts),
            None => Said::default(),
        }
    }

    /// The test that tells the cause from those it is mixed up with.
    pub fn split(&self, cause: Cause, facts: &Facts) -> Option<Said> {
        let said = self.0.get(&cause)?.split.fill(facts);
        (!said.en.is_empty()).then_some(said)
    }
}

impl Default for Texts {
    fn default() -> Texts {
        Texts::new()
    }
}

impl Words {
    fn read(table: &dyn TableLike) -> Words {
        let pair = |en: &str, zh: &str| Templates {
            en: lines(table.get(en)),
            zh: lines(table.get(zh)),
        };
        let mut fix: BTreeMap<String, Templates> = BTreeMap::new();
        for (family, item) in entries(table.get("fix")) {
            fix.entry(family.to_string()).or_default().en = lines(Some(item));
        }
        for (family, item) in entries(table.get("fix_zh")) {
            fix.entry(family.to_string()).or_default().zh = lines(Some(item));
        }
        Words {
            means: pair("means", "means_zh"),
            fix,
            split: pair("split", "split_zh"),
        }
    }
}

fn entries(item: Option<&Item>) -> impl Iterator<Item = (&str, &Item)> {
    item.and_then(Item::as_table_like)
        .into_iter()
        .flat_map(|table| table.iter())
}

/// One text, or several.
fn lines(item: Option<&Item>) -> Vec<String> {
    let Some(value) = item.and_then(Item::as_value) else {
        return Vec::new();
    };
    match value.as_array() {
        Some(array) => texts_of(array),
        None => value.as_str().map(str::to_string).into_iter().collect(),
    }
}

fn texts_of(array: &Array) -> Vec<String> {
    array
        .iter()
        .filter_map(|value| value.as_str())
        .map(str::to_string)
        .collect()
}

impl Templates {
    fn fill(&self, facts: &Facts) -> Said {
        Said::new(first(&self.en, facts), first(&self.zh, facts))
    }

    /// The same for who has probed already, without the advice to do that, if there is other advice.
    fn fill_further(&self, facts: &Facts) -> Said {
        let further = |all: &[String]| -> String {
            let mut left = all.iter().filter(|template| !is_done(template));
            let found = left.find_map(|template| fill(template, facts));
            found.unwrap_or_else(|| first(all, facts))
        };
        Said::new(further(&self.en), further(&self.zh))
    }
}

/// What sends people to look as the doctor did just now; other files and other devices are another look.
fn is_done(template: &str) -> bool {
    const PROBE: &str = "`safeport doctor ";
    let mut probes = template.match_indices(PROBE);
    probes.any(|(at, _)| !template[at + PROBE.len()..].starts_with("--"))
}

fn first(templates: &[String], facts: &Facts) -> String {
    templates
        .iter()
        .find_map(|template| fill(template, facts))
        .unwrap_or_default()
}

/// The template with its `{facts}` filled in; `None` when one is not known.
fn fill(template: &str, facts: &Facts) -> Option<String> {
    let mut filled = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        let Some(close) = rest[open..].find('}') else {
            break;
        };
        filled.push_str(facts.get(&rest[open + 1..open + close])?);
        rest = &rest[open + close + 1..];
    }
    filled.push_str(rest);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_templates_the_first_whose_facts_are_known_is_said() {
        let templates = Templates {
            en: [
                "{host}:{port} is silent",
                "{host} is silent",
                "it is silent",
            ]
            .map(str::to_string)
            .to_vec(),
            zh: ["{host} 没有回应", "没有回应"].map(str::to_string).to_vec(),
        };
        let mut facts = Facts::default();
        assert_eq!(
            templates.fill(&facts),
            Said::new("it is silent", "没有回应")
        );
        facts.note("host", "plug.lan");
        assert_eq!(
            templates.fill(&facts),
            Said::new("plug.lan is silent", "plug.lan 没有回应")
        );
        facts.note("port", "8883");
        assert_eq!(templates.fill(&facts).en, "plug.lan:8883 is silent");
    }

    #[test]
    fn who_has_probed_is_not_sent_to_probe_again() {
        let texts = Texts::new();
        let mut facts = Facts::default();
        for (name, value) in [
            ("host", "hub.lan"),
            ("port", "80"),
            ("url", "http://hub.lan/"),
        ] {
            facts.note(name, value);
        }
        let before = texts.fix(Cause::HttpFailed, &facts);
        assert!(is_done(&before.en), "{before:?}");
        facts.note("probed", "http://hub.lan/");
        for (cause, words) in &texts.0 {
            for family in words.fix.keys() {
                facts.0.insert("family", family.clone());
                // Of a device's log alone, or about a port that is still to be found.
                if matches!(
                    cause,
                    Cause::UrlWithoutPort | Cause::CertificateRefused | Cause::TcpConnectFailed
                ) {
                    continue;
                }
                let said = texts.fix(*cause, &facts);
                assert!(
                    !is_done(&said.en) && !is_done(&said.zh),
                    "{cause} {family}: {said:?}"
                );
            }
        }
    }

    #[test]
    fn a_fact_whose_value_looks_like_a_template_is_not_filled_again() {
        let mut facts = Facts::default();
        facts.note("host", "{port}");
        assert_eq!(fill("at {host}", &facts).as_deref(), Some("at {port}"));
    }
}
