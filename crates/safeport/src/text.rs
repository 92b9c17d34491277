//! What people read, in the language they read it in.
//!
//! Every headline and next step of the command line comes from `i18n/*.ftl`, which is embedded in
//! the binary. Details that name a key, a file or an address come from the crate that met the
//! trouble and stay English, so that they can be searched for.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use unic_langid::LanguageIdentifier;

use crate::program;

const ENGLISH: &str = include_str!("../i18n/en.ftl");
const CHINESE: &str = include_str!("../i18n/zh-CN.ftl");

/// A language that Safeport speaks. English unless something says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Simplified Chinese (简体中文).
    Chinese,
}

impl Language {
    /// The language of this process's environment (`LC_ALL`, `LC_MESSAGES`, `LANG`).
    pub fn from_environment() -> Language {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        match safeport_settings::Language::Auto.resolve(&environment) {
            safeport_settings::Language::ZhCn => Language::Chinese,
            _ => Language::English,
        }
    }

    /// The tag that `--lang` and the settings take.
    pub fn tag(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Chinese => "zh-CN",
        }
    }
}

impl From<Language> for safeport_settings::Language {
    fn from(language: Language) -> safeport_settings::Language {
        match language {
            Language::English => safeport_settings::Language::En,
            Language::Chinese => safeport_settings::Language::ZhCn,
        }
    }
}

/// A word that names no language we speak.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no language `{0}`; there are `en` and `zh-CN`")]
pub struct UnknownLanguage(String);

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let primary = word.split(['-', '_', '.', '@']).next().unwrap_or(word);
        match primary.to_ascii_lowercase().as_str() {
            "en" | "c" | "posix" => Ok(Language::English),
            "zh" => Ok(Language::Chinese),
            _ => Err(UnknownLanguage(word.to_owned())),
        }
    }
}

/// The messages of one language. Costs nothing to make: they are parsed once.
pub struct Texts {
    language: Language,
    bundle: &'static FluentBundle<FluentResource>,
}

/// Parsed when they are first asked for; a request of the API may ask several times.
static PARSED_ENGLISH: OnceLock<FluentBundle<FluentResource>> = OnceLock::new();
static PARSED_CHINESE: OnceLock<FluentBundle<FluentResource>> = OnceLock::new();

impl Texts {
    /// The messages of `language`.
    ///
    /// # Panics
    /// Never in a build whose tests passed: the embedded files are parsed by one of them.
    pub fn new(language: Language) -> Texts {
        let (parsed, source) = match language {
            Language::English => (&PARSED_ENGLISH, ENGLISH),
            Language::Chinese => (&PARSED_CHINESE, CHINESE),
        };
        let bundle = parsed.get_or_init(|| Texts::parse(language, source));
        Texts { language, bundle }
    }

    fn parse(language: Language, source: &str) -> FluentBundle<FluentResource> {
        let tag: LanguageIdentifier = language.tag().parse().expect("a language tag");
        let resource = FluentResource::try_new(source.to_owned())
            .unwrap_or_else(|(_, errors)| panic!("embedded {language:?} messages: {errors:?}"));
        let mut bundle = FluentBundle::new_concurrent(vec![tag]);
        // Direction marks around arguments would end up inside pasted commands.
        bundle.set_use_isolating(false);
        bundle
            .add_resource(resource)
            .unwrap_or_else(|errors| panic!("embedded {language:?} messages: {errors:?}"));
        bundle
    }

    /// The language these messages are in.
    pub fn language(&self) -> Language {
        self.language
    }

    /// The message `id` with `arguments`; a message that does not exist shows as its id, since a
    /// missing word must not hide the news that it was to carry.
    pub fn get(&self, id: &str, arguments: &[(&str, &dyn fmt::Display)]) -> String {
        let Some(pattern) = self.bundle.get_message(id).and_then(|m| m.value()) else {
            return id.to_owned();
        };
        let mut values = FluentArgs::with_capacity(arguments.len() + 1);
        // For commands to type: `{ $program } user add me`.
        values.set("program", program::name());
        for (name, value) in arguments {
            values.set((*name).to_owned(), value.to_string());
        }
        let mut errors = Vec::new();
        self.bundle
            .format_pattern(pattern, Some(&values), &mut errors)
            .into_owned()
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts")
            .field("language", &self.language)
            .finish_non_exhaustive()
    }
}

/// Looks a message up: `say!(texts, "device-added", name = name, family = family)`.
#[macro_export]
macro_rules! say {
    ($texts:expr, $id:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $texts.get($id, &[$((stringify!($name), &$value as &dyn ::std::fmt::Display)),*])
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// Message id → names of the arguments it uses.
    fn messages(source: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut current = None;
        for line in source.lines() {
            if line.starts_with(|c: char| c.is_ascii_lowercase()) {
                let (id, _) = line.split_once(" =").expect("a message line has ` =`");
                assert!(
                    found.insert(id.to_owned(), BTreeSet::new()).is_none(),
                    "{id} is defined twice"
                );
                current = Some(id.to_owned());
            }
            let Some(id) = &current else { continue };
            for part in line.split("{ $").skip(1) {
                let name: String = part
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                found.get_mut(id).expect("just inserted").insert(name);
            }
        }
        found
    }

    #[test]
    fn both_languages_have_the_same_messages_with_the_same_arguments() {
        assert_eq!(messages(ENGLISH), messages(CHINESE));
    }

    #[test]
    fn every_message_that_the_code_says_exists_and_every_message_is_said() {
        let mut said = BTreeSet::new();
        let mut folders = vec![std::path::PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src"
        ))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("the sources") {
                let path = entry.expect("a source").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|name| name != "text.rs") {
                    let source = std::fs::read_to_string(&path).expect("a source");
                    said.extend(said_in(&source));
                }
            }
        }
        let known: BTreeSet<String> = messages(ENGLISH).into_keys().collect();
        assert_eq!(said, known);
    }

    fn said_in(source: &str) -> Vec<String> {
        source
            .split("say!(")
            .skip(1)
            .filter_map(|call| {
                let (_, rest) = call.split_once('"')?;
                let (id, _) = rest.split_once('"')?;
                Some(id.to_owned())
            })
            .collect()
    }

    #[test]
    fn every_message_formats_with_its_arguments_in_both_languages() {
        for (language, source) in [(Language::English, ENGLISH), (Language::Chinese, CHINESE)] {
            let texts = Texts::new(language);
            for (id, names) in messages(source) {
                let arguments: Vec<(&str, &dyn fmt::Display)> = names
                    .iter()
                    .map(|name| (name.as_str(), &"7x7" as &dyn fmt::Display))
                    .collect();
                let said = texts.get(&id, &arguments);
                assert!(!said.contains('{'), "{id}: {said}");
                assert_eq!(said.contains("7x7"), !names.is_empty(), "{id}: {said}");
            }
        }
    }

    #[test]
    fn a_language_is_named_by_its_tag_in_any_spelling() {
        for word in ["zh-CN", "zh", "zh_cn", "ZH-Hans"] {
            assert_eq!(word.parse(), Ok(Language::Chinese), "{word}");
        }
        for word in ["en", "en-GB", "C"] {
            assert_eq!(word.parse(), Ok(Language::English), "{word}");
        }
        assert!("de".parse::<Language>().is_err());
    }
}
