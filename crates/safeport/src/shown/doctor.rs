//! A diagnosis as one screen, and as JSON.

use safeport_doctor::{Cause, Diagnosis, Excluded, Explained, Finding, Layer, Texts as Causes};
use safeport_settings::Said;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthChar;

use crate::say;
use crate::text::{Language, Texts};

/// What it is about, for the first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A device by its name.
    Device(String),
    /// A URL or `host:port` that was probed.
    Target(String),
    /// A log or capture, and nothing else.
    Records,
    /// This server.
    Here,
}

/// How the screen is made.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// Columns of the terminal; lines are broken at words. At least 40.
    pub columns: usize,
    /// Whether colours may be used.
    pub colour: bool,
}

/// The label column: the longest label in both languages and a gap.
const INDENT: usize = 10;

/// The finding on top, then what it is not, then what else it could be.
pub fn screen(
    diagnosis: &Diagnosis,
    subject: &Subject,
    causes: &Causes,
    texts: &Texts,
    how: Screen,
) -> String {
    let mut page = Page {
        text: String::new(),
        texts,
        how,
    };
    let finding = &diagnosis.finding;
    page.headline(finding, subject);
    let healthy = finding.cause == Cause::Healthy;
    if !healthy {
        page.row(&say!(texts, "doctor-layer"), &page.layer(finding));
    }
    page.row(&say!(texts, "doctor-cause"), page.said(&finding.means));
    let quotes: Vec<&str> = finding
        .saw
        .iter()
        .map(|sight| page.said(&sight.quote))
        .collect();
    page.rows(&say!(texts, "doctor-proof"), &quotes);
    page.row(&say!(texts, "doctor-do"), page.said(&finding.fix));
    let excluded: Vec<String> = finding
        .excluded
        .iter()
        .map(|excluded| page.excluded(excluded))
        .collect();
    page.row(&say!(texts, "doctor-not"), &excluded.join(", "));
    if !diagnosis.alternatives.is_empty() {
        page.text.push('\n');
        if let Some(split) = causes.split(finding.cause, &diagnosis.evidence.facts) {
            page.row(&say!(texts, "doctor-split"), page.said(&split));
        }
        let others: Vec<String> = diagnosis
            .alternatives
            .iter()
            .map(|other| format!("{} → {}", page.said(&other.means), page.said(&other.fix)))
            .collect();
        page.rows(&say!(texts, "doctor-or"), &others);
    }
    if let Some(note) = &diagnosis.note {
        page.text.push('\n');
        page.row(&say!(texts, "doctor-note"), page.said(note));
    }
    page.text
}

/// The same as data. `steps` are the probes, where there were any.
pub fn diagnosis_json(diagnosis: &Diagnosis, steps: &Value) -> Value {
    let mut value = json!(diagnosis);
    value["steps"] = steps.clone();
    value["exit_code"] = json!(diagnosis.exit_code());
    value
}

/// What each of several meanings of a number, word or line is, and what to do about it.
pub fn explained(found: &[Explained], causes: &Causes, texts: &Texts, how: Screen) -> String {
    let mut page = Page {
        text: String::new(),
        texts,
        how,
    };
    for one in found {
        if !page.text.is_empty() {
            page.text.push('\n');
        }
        let symbol = one.entry.and_then(|entry| entry.symbol.as_deref());
        let title = [Some(one.code.as_str()), symbol, one.stack];
        let title: Vec<&str> = title.into_iter().flatten().collect();
        let (on, off) = page.ink("\u{1b}[1m");
        page.text
            .push_str(&format!("{on}{}{off}\n", title.join("  ")));
        page.row(&say!(texts, "doctor-layer"), &layer_word(one.layer, texts));
        let means = causes.means(one.cause, &one.facts);
        let meaning = if one.meaning.en.is_empty() {
            &means
        } else {
            &one.meaning
        };
        page.row(&say!(texts, "doctor-cause"), page.said(meaning));
        let lists = one.entry.map_or(Default::default(), |entry| {
            let said = |list: &[Said]| -> Vec<String> {
                list.iter().map(|one| page.said(one).to_owned()).collect()
            };
            [&entry.causes, &entry.fix_device, &entry.fix_server].map(|list| said(list))
        });
        let [because, device, server]: [Vec<String>; 3] = lists;
        page.rows(&say!(texts, "doctor-because"), &because);
        if device.is_empty() && server.is_empty() {
            let fix = causes.fix(one.cause, &one.facts);
            page.row(&say!(texts, "doctor-do"), page.said(&fix));
        }
        page.rows(&say!(texts, "doctor-fix-device"), &device);
        page.rows(&say!(texts, "doctor-fix-server"), &server);
    }
    page.text
}

/// The same as data.
pub fn explained_json(found: &[Explained], causes: &Causes) -> Value {
    let both = |said: &Said| json!({"en": said.en, "zh": said.zh});
    let all = |list: &[Said]| Value::from_iter(list.iter().map(both));
    let one = |one: &Explained| {
        let means = causes.means(one.cause, &one.facts);
        let meaning = if one.meaning.en.is_empty() {
            &means
        } else {
            &one.meaning
        };
        json!({
            "code": one.code,
            "stack": one.stack,
            "symbol": one.entry.and_then(|entry| entry.symbol.as_deref()),
            "layer": one.layer,
            "cause": one.cause,
            "means": both(meaning),
            "fix": both(&causes.fix(one.cause, &one.facts)),
            "causes": one.entry.map(|entry| all(&entry.causes)),
            "fix_device": one.entry.map(|entry| all(&entry.fix_device)),
            "fix_server": one.entry.map(|entry| all(&entry.fix_server)),
        })
    };
    Value::from_iter(found.iter().map(one))
}

/// The word of a layer as people read it.
pub fn layer_word(layer: Layer, texts: &Texts) -> String {
    match layer {
        Layer::Wifi => "Wi-Fi".to_owned(),
        Layer::Dns => "DNS".to_owned(),
        Layer::Tcp => "TCP".to_owned(),
        Layer::Tls => "TLS".to_owned(),
        Layer::Mqtt => "MQTT".to_owned(),
        Layer::Websocket => "WebSocket".to_owned(),
        Layer::Http => "HTTP".to_owned(),
        Layer::Clock => say!(texts, "doctor-layer-clock"),
        Layer::Certificate => say!(texts, "doctor-layer-certificate"),
        Layer::Ota => say!(texts, "doctor-layer-ota"),
        Layer::Memory => say!(texts, "doctor-layer-memory"),
    }
}

struct Page<'a> {
    text: String,
    texts: &'a Texts,
    how: Screen,
}

impl Page<'_> {
    fn said<'s>(&self, said: &'s Said) -> &'s str {
        match self.texts.language() {
            Language::English => &said.en,
            Language::Chinese => &said.zh,
        }
    }

    fn headline(&mut self, finding: &Finding, subject: &Subject) {
        let texts = self.texts;
        let healthy = finding.cause == Cause::Healthy;
        let title = match (subject, healthy) {
            (_, true) => say!(texts, "doctor-healthy"),
            (Subject::Device(name), false) => say!(texts, "doctor-device", name = name),
            (Subject::Target(target), false) => say!(texts, "doctor-target", target = target),
            (Subject::Records, false) => say!(texts, "doctor-records"),
            (Subject::Here, false) => say!(texts, "doctor-here"),
        };
        let sure = match finding.confidence {
            safeport_doctor::Confidence::Certain => say!(texts, "doctor-certain"),
            safeport_doctor::Confidence::High => say!(texts, "doctor-high"),
            safeport_doctor::Confidence::Medium => say!(texts, "doctor-medium"),
            safeport_doctor::Confidence::Low => say!(texts, "doctor-low"),
        };
        let gap = self
            .how
            .columns
            .saturating_sub(width(&title) + width(&sure))
            .clamp(2, 24);
        let colour = if healthy {
            "\u{1b}[1;32m"
        } else {
            "\u{1b}[1;31m"
        };
        let (on, off) = self.ink(colour);
        self.text
            .push_str(&format!("{on}{title}{off}{:gap$}{sure}\n", ""));
    }

    /// The broken layer, and those that were seen to work below it.
    fn layer(&self, finding: &Finding) -> String {
        let word = layer_word(finding.layer, self.texts);
        let fine: Vec<String> = finding
            .excluded
            .iter()
            .filter(|excluded| excluded.layer.rank() < finding.layer.rank())
            .map(|excluded| {
                let layer = layer_word(excluded.layer, self.texts);
                say!(self.texts, "doctor-layer-fine", layer = layer)
            })
            .collect();
        if fine.is_empty() {
            word
        } else {
            let between = say!(self.texts, "doctor-between");
            format!("{word} ({})", fine.join(&between))
        }
    }

    fn excluded(&self, excluded: &Excluded) -> String {
        let layer = layer_word(excluded.layer, self.texts);
        format!("{layer} ({})", self.said(&excluded.because))
    }

    /// A label and one text; nothing where the text is empty.
    fn row(&mut self, label: &str, text: &str) {
        self.rows(label, &[text]);
    }

    /// A label and its texts, each on lines of its own.
    fn rows<T: AsRef<str>>(&mut self, label: &str, texts: &[T]) {
        let (on, off) = self.ink("\u{1b}[1m");
        let mut label = Some(label);
        for text in texts.iter().map(T::as_ref).filter(|text| !text.is_empty()) {
            for line in broken(text, self.how.columns.max(40) - INDENT - 2) {
                let (shown, pad) = match label.take() {
                    Some(label) => (format!("{on}{label}{off}"), width(label)),
                    None => (String::new(), 0),
                };
                let pad = INDENT.saturating_sub(pad);
                self.text.push_str(&format!("  {shown}{:pad$}{line}\n", ""));
            }
        }
    }

    fn ink(&self, code: &'static str) -> (&'static str, &'static str) {
        if self.how.colour {
            (code, "\u{1b}[0m")
        } else {
            ("", "")
        }
    }
}

/// Columns that a text takes on a terminal.
fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(char: char) -> usize {
    char.width().unwrap_or(0)
}

/// The text in lines of at most `most` columns: broken at spaces, and between Chinese characters.
/// A word that is longer (a URL) stays whole, so that it can be copied.
fn broken(text: &str, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for piece in pieces(text) {
        let fits = width(&line) + width(piece.trim_end()) <= most;
        if !fits && !line.trim_end().is_empty() {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        line.push_str(piece);
    }
    if !line.trim_end().is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// Where a line may end: after a space, and after a wide character unless punctuation follows.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut chars = rest.char_indices().peekable();
        let end = loop {
            let (_, char) = chars.next()?;
            let Some(&(next_at, next)) = chars.peek() else {
                break rest.len();
            };
            let wide = columns(char) == 2 && !closes(next);
            let before_wide = columns(next) == 2 && !closes(next) && char != ' ';
            if (char == ' ' && next != ' ') || wide || before_wide {
                break next_at;
            }
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// Punctuation that does not begin a line.
fn closes(char: char) -> bool {
    "，。；：！？、）》」』”’,.;:!?)".contains(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_words_and_between_chinese_characters_and_urls_stay_whole() {
        assert_eq!(broken("one two three", 8), ["one two", "three"]);
        assert_eq!(
            broken("see http://voice.example:8002/xiaozhi/ota/ now", 12),
            ["see", "http://voice.example:8002/xiaozhi/ota/", "now"]
        );
        assert_eq!(
            broken("设备的时钟没有校准。", 8),
            ["设备的时", "钟没有校", "准。"]
        );
        assert_eq!(broken("", 8), Vec::<String>::new());
        for text in [
            "请写 SetOption103 1，然后重启",
            "a  b",
            "长",
            "，，，，，，",
        ] {
            assert_eq!(
                broken(text, 6).concat().replace(' ', ""),
                text.replace(' ', ""),
                "{text}"
            );
        }
    }
}
