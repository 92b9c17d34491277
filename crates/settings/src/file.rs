//! Reading one settings file: its form first, then its keys.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;
use toml_edit::{Document, Item, TableLike, TomlError, Value};

use crate::kind::Raw;
use crate::nearest::{either, nearest};
use crate::source::{FileSource, Location, Source};
use crate::table::{SECTIONS, SectionSpec, keys};
use crate::{Problem, limits};

/// A file whose form could be read, at least in part.
pub(crate) struct ParsedFile<'a> {
    file: FileSource<'a>,
    document: Document<String>,
}

impl<'a> ParsedFile<'a> {
    /// Reads the form of a file. A line that is no TOML becomes a problem and is
    /// left out, so that the rest is still judged.
    pub(crate) fn new(file: FileSource<'a>, problems: &mut Vec<Problem>) -> Option<ParsedFile<'a>> {
        if file.text.len() > limits::MAX_FILE {
            problems.push(place(
                &file,
                0..0,
                None,
                format!("the file has {} bytes", file.text.len()),
                "a settings file has at most 1 MiB: check that this is the right file".to_string(),
            ));
            return None;
        }
        // Same length as the file at every step, so that spans stay true.
        let mut text = file.text.to_string();
        for _ in 0..limits::MAX_FORM_PROBLEMS {
            match Document::parse(text.clone()) {
                Ok(document) => return Some(ParsedFile { file, document }),
                Err(error) => {
                    let span = error.span().unwrap_or(0..text.len());
                    problems.push(form_problem(&file, &error, span.clone()));
                    blank_line(&mut text, span.start)?;
                }
            }
        }
        problems.push(place(
            &file,
            file.text.len()..file.text.len(),
            None,
            "there are more mistakes of form than are shown".to_string(),
            "correct those above and check again".to_string(),
        ));
        None
    }

    /// Calls `set` with the table index, value and origin of every known key;
    /// everything else becomes a problem.
    pub(crate) fn each_value<'b>(
        &'b self,
        problems: &mut Vec<Problem>,
        mut set: impl FnMut(usize, Raw<'b>, Source),
    ) {
        let root = self.document.as_table();
        for (name, item) in root.iter() {
            let at = key_span(root, name, item);
            let Some(section) = SECTIONS.iter().find(|section| section.name == name) else {
                problems.push(self.unknown_section(name, item, at));
                continue;
            };
            let Some(table) = item.as_table_like() else {
                problems.push(self.problem(
                    at,
                    name,
                    format!("{name} is a section, not a value"),
                    section_help(section),
                ));
                continue;
            };
            for (key, item) in table.iter() {
                let at = key_span(table, key, item);
                let full_name = format!("{name}.{key}");
                let index = keys().position(|spec| spec.section == name && spec.name == key);
                match (index, item) {
                    (Some(index), Item::Value(value)) => {
                        let span = value.span().unwrap_or(at);
                        set(index, Raw::Toml(value), self.source(span));
                    }
                    (Some(_), _) => problems.push(self.problem(
                        at,
                        &full_name,
                        format!("{full_name} is a value, not a section"),
                        format!("write `{key} = …` below [{name}]"),
                    )),
                    (None, item) => {
                        problems.push(self.unknown_key(section, key, item, at));
                    }
                }
            }
        }
    }

    fn unknown_section(&self, name: &str, item: &Item, at: Range<usize>) -> Problem {
        if item.is_table_like() || item.is_array_of_tables() {
            let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
            let help = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean [{near}]?"),
                None => format!("known sections are {}", either(&names)),
            };
            return self.problem(at, name, format!("there is no section [{name}]"), help);
        }
        let help = match homes(name) {
            homes if !homes.is_empty() => {
                format!(
                    "every key belongs to a section: did you mean {}?",
                    either_names(&homes)
                )
            }
            _ => "every key belongs to a section: write a line such as [mqtt] above it".to_string(),
        };
        self.problem(
            at,
            name,
            "this key stands outside any section".to_string(),
            help,
        )
    }

    fn unknown_key(
        &self,
        section: &SectionSpec,
        key: &str,
        item: &Item,
        at: Range<usize>,
    ) -> Problem {
        let names = || section.keys.iter().map(|spec| spec.name);
        let homes = homes(key);
        let help = if let Some(near) = nearest(key, names()) {
            format!("did you mean {near}?")
        } else if !homes.is_empty() {
            format!("did you mean {}?", either_names(&homes))
        } else if item.as_value().is_some_and(Value::is_inline_table) || item.is_table_like() {
            format!("[{}] has no sections of its own", section.name)
        } else {
            section_help(section)
        };
        self.problem(
            at,
            &format!("{}.{key}", section.name),
            format!("[{}] has no key {key:?}", section.name),
            help,
        )
    }

    fn source(&self, span: Range<usize>) -> Source {
        file_source(&self.file, span)
    }

    fn problem(&self, span: Range<usize>, key: &str, what: String, help: String) -> Problem {
        place(&self.file, span, Some(key.to_string()), what, help)
    }
}

/// Full names of the keys called `name` in any section.
fn homes(name: &str) -> Vec<String> {
    keys()
        .filter(|spec| spec.name == name)
        .map(|spec| spec.full_name())
        .collect()
}

fn either_names(names: &[String]) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    either(&names)
}

fn section_help(section: &SectionSpec) -> String {
    let names: Vec<&str> = section.keys.iter().map(|spec| spec.name).collect();
    format!("below [{}] you can set {}", section.name, either(&names))
}

fn key_span(table: &dyn TableLike, name: &str, item: &Item) -> Range<usize> {
    table
        .key(name)
        .and_then(|key| key.span())
        .or_else(|| item.span())
        .unwrap_or(0..0)
}

fn file_source(file: &FileSource<'_>, span: Range<usize>) -> Source {
    Source::File {
        path: file.path.to_string(),
        location: Location::of(file.text, span),
    }
}

fn place(
    file: &FileSource<'_>,
    span: Range<usize>,
    key: Option<String>,
    what: String,
    help: String,
) -> Problem {
    Problem {
        source: file_source(file, span),
        key,
        what,
        help,
        related: None,
    }
}

fn form_problem(file: &FileSource<'_>, error: &TomlError, span: Range<usize>) -> Problem {
    let line = line_around(file.text, span.start);
    let help = file
        .text
        .get(line)
        .and_then(missing_quotes)
        .unwrap_or_else(|| {
            "a line is `[section]`, `key = value` or `# a remark`; texts stand in double quotes"
                .to_string()
        });
    place(
        file,
        span,
        None,
        format!(
            "this is not TOML: {}",
            error.message().trim().replace('\n', ", ")
        ),
        help,
    )
}

/// `bind = 0.0.0.0:1883` is the slip that TOML explains worst.
fn missing_quotes(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.split('#').next()?.trim());
    let bare_key = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let unquoted = !value.is_empty() && !value.contains(['"', '\'', '\\', '[', '{', '=']);
    (bare_key && unquoted).then(|| format!("texts stand in double quotes: {key} = \"{value}\""))
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..]
        .find('\n')
        .map_or(text.len(), |length| at + length);
    start..end
}

/// Blanks the line at `at`, or the whole section if it is a section's heading:
/// its keys would otherwise be taken for those of the section before. `None`
/// when nothing was left to blank.
fn blank_line(text: &mut String, at: usize) -> Option<()> {
    let mut range = line_around(text, at);
    // An error reported at the end of a line may sit on an empty one.
    while text[range.clone()].trim().is_empty() && range.start > 0 {
        range = line_around(text, range.start - 1);
    }
    if text[range.clone()].trim().is_empty() {
        return None;
    }
    if text[range.clone()].trim_start().starts_with('[') {
        range.end = text[range.end..]
            .find("\n[")
            .map_or(text.len(), |length| range.end + length);
    }
    let blanks: String = text[range.clone()]
        .bytes()
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
        .collect();
    text.replace_range(range, &blanks);
    Some(())
}
