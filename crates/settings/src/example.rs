//! The example settings file, made from the table of keys.

use alloc::string::String;
use alloc::vec::Vec;

use crate::said::said;
use crate::{KeyInfo, Language, Said, Settings, Sources, sections};

impl Settings {
    /// `safeport.toml` with every key, its meaning and its default, in English.
    /// The values are commented out: a line counts once its `#` is removed.
    pub fn example() -> String {
        Settings::example_in(Language::En)
    }

    /// The same with its remarks in a language.
    pub fn example_in(language: Language) -> String {
        let defaults = match Settings::parse(&Sources::default()) {
            Ok(settings) => settings,
            Err(problems) => unreachable!("the defaults are valid: {problems:?}"),
        };
        let mut text = String::new();
        remark(&mut text, &head(), language);
        for section in sections() {
            text.push('\n');
            remark(&mut text, &section.doc, language);
            // A section of named entries is none until somebody gives it a name.
            let named = section.heading.contains('.');
            let mark = if named { "#" } else { "" };
            text.push_str(&alloc::format!("{mark}[{}]\n", section.example));
            for key in &section.keys {
                text.push('\n');
                remark(&mut text, &key.doc, language);
                if let Some(policy) = policy(key) {
                    remark(&mut text, &policy, language);
                }
                if let Some((least, most)) = key.limits {
                    let limits = said!("From {least} to {most}.", "从 {least} 到 {most}。");
                    remark(&mut text, &limits, language);
                }
                let value = match defaults.find(&key.key) {
                    Some(default) => default.value.clone(),
                    None => of_entry(key),
                };
                let name = key.key.rsplit('.').next().unwrap_or_default();
                text.push_str(&alloc::format!("#{name} = {value}\n"));
            }
        }
        text
    }
}

fn head() -> Said {
    said!(
        "Settings of Safeport. Every value below is the default; to change one, remove the # in \
         front of its key. Files in conf.d beside this one win over it, then the environment \
         (SAFEPORT__MQTT__BIND), flags, and what is set while the server runs.",
        "Safeport 的设置。以下都是默认值；要更改某项，请去掉键前面的 #。旁边 conf.d 里的文件优先于本文件，\
         其后依次是环境变量（SAFEPORT__MQTT__BIND）、命令行参数和服务器运行时的设置。"
    )
}

/// The value of a named entry's key: what it is by default, or an example of it.
fn of_entry(key: &KeyInfo) -> String {
    let text = key.example.unwrap_or(key.default);
    let place = crate::place::Place::named(&key.key.replace("NAME", "x"));
    let read = place.map(|place| place.spec().default_value(text));
    match read {
        Some(Ok(value)) => value,
        _ => unreachable!("the table holds what its keys take: {} = {text}", key.key),
    }
}

/// What is out of the ordinary with a key, in one paragraph.
fn policy(key: &KeyInfo) -> Option<Said> {
    let remarks = key.policy.remarks();
    let join = |language, between: &str| {
        let texts: Vec<&str> = remarks
            .iter()
            .map(|remark| remark.in_language(language))
            .collect();
        texts.join(between)
    };
    (!remarks.is_empty()).then(|| Said::new(join(Language::En, " "), join(Language::ZhCn, "")))
}

/// Writes a remark, broken into lines.
fn remark(text: &mut String, said: &Said, language: Language) {
    let mut line = String::new();
    let mut columns = 0;
    for word in words(said.in_language(language)) {
        let wide = width(word.trim_end());
        if columns > 0 && columns + wide > COLUMNS {
            push_line(text, &line);
            line.clear();
            columns = 0;
        }
        line.push_str(word);
        columns += width(word);
    }
    push_line(text, &line);
}

fn push_line(text: &mut String, line: &str) {
    text.push_str("# ");
    text.push_str(line.trim());
    text.push('\n');
}

/// Pieces between which a line may end: behind a space, and behind a Chinese
/// character or sign that no other sign follows.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut before = None;
    for (at, next) in text.char_indices() {
        let may_end = before.is_some_and(|c| (c == ' ' || is_wide(c)) && !OPENING.contains(c));
        if may_end && next != ' ' && !CLOSING.contains(next) {
            words.push(&text[start..at]);
            start = at;
        }
        before = Some(next);
    }
    words.push(&text[start..]);
    words
}

/// Columns on a screen: Chinese takes two for each character.
fn width(text: &str) -> usize {
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

fn is_wide(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{A4CF}' | '\u{F900}'..='\u{FAFF}' | '\u{FE30}'..='\u{FE4F}' | '\u{FF00}'..='\u{FF60}')
}

/// Widest line behind its `# `.
const COLUMNS: usize = 94;
/// What may not begin a line.
const CLOSING: &str = "，。；：、）”》";
/// What may not end one.
const OPENING: &str = "（“《";
