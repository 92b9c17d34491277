//! Changing one key of a settings file. Whatever else stands in the file stays
//! as it is, remarks and order included: values are replaced in the text itself.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;
use toml_edit::{Document, DocumentMut, Item, TableLike, Value};

use crate::place::Place;
use crate::said::said;
use crate::source::Location;
use crate::view::{argument, unknown_key};
use crate::{Problem, Said, Source, toml_words};

/// The text of a settings file in which `key` has the value `toml`.
///
/// A new value is written where the key stands, below its commented-out line,
/// at the end of its section, or in a new section at the end.
///
/// # Errors
/// The key is unknown, the value does not fit it, or the file has mistakes of
/// form.
#[expect(clippy::result_large_err, reason = "asked once for a command")]
pub fn set_in_file(text: &str, key: &str, toml: &str) -> Result<String, Problem> {
    let Some(place) = Place::named(key) else {
        return Err(unknown_key(argument("KEY"), key));
    };
    let toml = toml.trim();
    if let Err(misfit) = place.spec().judge(toml, &Source::Default) {
        return Err(problem(argument("VALUE"), key, misfit.what, misfit.help));
    }
    let path: Vec<&str> = key.split('.').collect();
    let document = read(text, key)?;
    if let Some((_, value)) = find(&document, &path)
        && let Some(span) = value.span()
    {
        return Ok(splice(text, span, toml));
    }
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let inserted = insert(text, &document, section, name, toml);
    if says(&inserted, &path, toml) {
        return Ok(inserted);
    }
    // The section is an inline table or a few dotted keys.
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error| unreadable(text, key, &error))?;
    let value: Value = toml
        .parse()
        .map_err(|error| unreadable(text, key, &error))?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for part in &path[..path.len() - 1] {
        let item = table.entry(part).or_insert_with(toml_edit::table);
        table = match item.as_table_like_mut() {
            Some(table) => table,
            None => return Err(no_section(text, key, part)),
        };
    }
    table.insert(name, Item::Value(value));
    Ok(document.to_string())
}

/// The text of a settings file in which `key` has no value. Remarks stay.
///
/// # Errors
/// The key is unknown, or the file has mistakes of form.
#[expect(clippy::result_large_err, reason = "asked once for a command")]
pub fn unset_in_file(text: &str, key: &str) -> Result<String, Problem> {
    if Place::named(key).is_none() {
        return Err(unknown_key(argument("KEY"), key));
    }
    let path: Vec<&str> = key.split('.').collect();
    let document = read(text, key)?;
    let Some((at, value)) = find(&document, &path) else {
        return Ok(text.to_string());
    };
    if let (Some(at), Some(value)) = (at, value.span()) {
        let lines = line_start(text, at.start)..line_end(text, value.end);
        let before = text[lines.start..at.start].trim();
        let behind = text[value.end..lines.end].trim();
        // Nothing else on its lines; a dotted key has its section in front.
        let alone = before
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ' ' | '"'))
            && (behind.is_empty() || behind.starts_with('#'));
        let shorter = splice(text, lines, "");
        if alone && read(&shorter, key).is_ok_and(|document| find(&document, &path).is_none()) {
            return Ok(shorter);
        }
    }
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error| unreadable(text, key, &error))?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for part in &path[..path.len() - 1] {
        table = match table.get_mut(part).and_then(Item::as_table_like_mut) {
            Some(table) => table,
            None => return Err(no_section(text, key, part)),
        };
    }
    table.remove(path[path.len() - 1]);
    Ok(document.to_string())
}

#[expect(clippy::result_large_err, reason = "asked once for a command")]
fn read(text: &str, key: &str) -> Result<Document<String>, Problem> {
    Document::parse(text.to_string()).map_err(|error| unreadable(text, key, &error))
}

/// The place of a key's name, and its value.
fn find<'d>(
    document: &'d Document<String>,
    path: &[&str],
) -> Option<(Option<Range<usize>>, &'d Value)> {
    let (name, sections) = path.split_last()?;
    let mut table: &dyn TableLike = document.as_table();
    for section in sections {
        table = table.get(section)?.as_table_like()?;
    }
    let value = table.get(name)?.as_value()?;
    let at = table.key(name).and_then(|key| key.span());
    Some((at, value))
}

/// Whether a file gives a key this value.
fn says(text: &str, path: &[&str], toml: &str) -> bool {
    Document::parse(text.to_string()).is_ok_and(|document| {
        find(&document, path).is_some_and(|(_, value)| value.to_string().trim() == toml)
    })
}

/// Writes a line into the section's text, or a new section at the end.
fn insert(
    text: &str,
    document: &Document<String>,
    section: &str,
    name: &str,
    toml: &str,
) -> String {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let line = alloc::format!("{name} = {toml}");
    let Some(heading) = heading(document, section).filter(|heading| heading.end <= text.len())
    else {
        let mut text = text.to_string();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push_str(newline);
        }
        if !text.is_empty() {
            text.push_str(newline);
        }
        text.push_str(&alloc::format!("[{section}]{newline}{line}{newline}"));
        return text;
    };
    let begin = line_end(text, heading.end);
    let mut at = begin;
    let mut last_value = begin;
    let mut commented = None;
    while at < text.len() {
        let end = line_end(text, at);
        let content = text[at..end].trim();
        if content.starts_with('[') && heads(document, at + text[at..end].find('[').unwrap_or(0)) {
            break;
        }
        if !content.is_empty() && !content.starts_with('#') {
            last_value = end;
        }
        let of_this = content
            .strip_prefix('#')
            .and_then(|rest| rest.split_once('='))
            .is_some_and(|(key, _)| key.trim() == name);
        if of_this && commented.is_none() {
            commented = Some(end);
        }
        at = end;
    }
    let at = commented.unwrap_or(last_value);
    let mut new = text[..at].to_string();
    if !new.ends_with('\n') {
        new.push_str(newline);
    }
    new.push_str(&line);
    new.push_str(newline);
    new.push_str(&text[at..]);
    new
}

/// Where `[section]` stands.
fn heading(document: &Document<String>, section: &str) -> Option<Range<usize>> {
    let mut item = document.as_item();
    for part in section.split('.') {
        item = item.as_table_like()?.get(part)?;
    }
    let table = item.as_table()?;
    if table.is_implicit() || table.is_dotted() {
        return None;
    }
    table.span()
}

/// Whether the heading of a section begins at this byte, and not a list that
/// goes over several lines.
fn heads(document: &Document<String>, at: usize) -> bool {
    fn within(table: &dyn TableLike, at: usize) -> bool {
        table.iter().any(|(_, item)| match item {
            Item::Table(table) => {
                table.span().is_some_and(|span| span.start == at) || within(table, at)
            }
            Item::ArrayOfTables(tables) => tables
                .iter()
                .any(|table| table.span().is_some_and(|span| span.start == at)),
            _ => false,
        })
    }
    within(document.as_table(), at)
}

fn splice(text: &str, range: Range<usize>, new: &str) -> String {
    let mut text = text.to_string();
    text.replace_range(range, new);
    text
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Behind the line break of the line.
fn line_end(text: &str, at: usize) -> usize {
    text[at..]
        .find('\n')
        .map_or(text.len(), |length| at + length + 1)
}

fn unreadable(text: &str, key: &str, error: &toml_edit::TomlError) -> Problem {
    let why = toml_words::said(error);
    problem(
        in_text(text, error.span().unwrap_or(0..0)),
        key,
        said!("this is not TOML: {}", "这不是 TOML：{}", why),
        said!(
            "correct it first; `safeport check` shows every mistake",
            "请先改正；`safeport check` 会列出所有错误"
        ),
    )
}

fn no_section(text: &str, key: &str, section: &str) -> Problem {
    problem(
        in_text(text, 0..0),
        key,
        said!(
            "{section} is a section, and the file has a value there",
            "{section} 是节，而文件里写成了值"
        ),
        said!(
            "correct it first; `safeport check` shows every mistake",
            "请先改正；`safeport check` 会列出所有错误"
        ),
    )
}

fn in_text(text: &str, span: Range<usize>) -> Source {
    Source::File {
        path: String::from("safeport.toml"),
        location: Location::of(text, span),
        drop_in: false,
    }
}

fn problem(source: Source, key: &str, what: Said, help: Said) -> Problem {
    Problem {
        source,
        key: Some(key.to_string()),
        what,
        help,
        related: None,
    }
}

#[cfg(test)]
mod tests;
