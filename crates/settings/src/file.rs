//! Reading one settings file: its form first, then its keys.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;
use toml_edit::{Document, Item, TableLike, TomlError, Value};

use crate::kind::Raw;
use crate::nearest::{did_you_mean, either, nearest};
use crate::place::{Place, fits_entry};
use crate::said::said;
use crate::source::{FileSource, Location, Source};
use crate::spec::SectionSpec;
use crate::table::{SECTIONS, keys};
use crate::{Problem, Said, limits, toml_words};

/// A file whose form could be read, at least in part.
pub(crate) struct ParsedFile<'a> {
    file: FileSource<'a>,
    document: Document<String>,
}

/// What a file holds, in the order of its text.
pub(crate) trait Reader {
    /// A value of a known key.
    fn value(&mut self, place: Place, raw: Raw<'_>, source: Source);
    /// A named entry, whether it has keys or not.
    fn entry(&mut self, section: &'static str, entry: &str, source: Source);
    /// Something that is wrong.
    fn problem(&mut self, problem: Problem);
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
                said!("the file has {} bytes", "文件有 {} 字节", file.text.len()),
                said!(
                    "a settings file has at most 1 MiB: check that this is the right file",
                    "设置文件最大 1 MiB：请检查是否选对了文件"
                ),
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
            said!(
                "there are more mistakes of form than are shown",
                "格式错误太多，未全部列出"
            ),
            said!(
                "correct those above and check again",
                "请先改正以上错误，再检查一次"
            ),
        ));
        None
    }

    /// Tells every known key with its value and origin; everything else becomes
    /// a problem.
    pub(crate) fn tell(&self, reader: &mut impl Reader) {
        let root = self.document.as_table();
        for (name, item) in root.iter() {
            let at = key_span(root, name, item);
            let Some(section) = SECTIONS.iter().find(|section| section.name == name) else {
                reader.problem(self.unknown_section(name, item, at));
                continue;
            };
            let Some(table) = item.as_table_like() else {
                reader.problem(self.problem(
                    at,
                    name,
                    said!("{name} is a section, not a value", "{name} 是节，不是值"),
                    section_help(section),
                ));
                continue;
            };
            if section.named {
                self.tell_entries(section, table, reader);
            } else {
                self.tell_keys(section, None, table, reader);
            }
        }
    }

    fn tell_entries(
        &self,
        section: &'static SectionSpec,
        table: &dyn TableLike,
        reader: &mut impl Reader,
    ) {
        let kind = section.name;
        for (entry, item) in table.iter() {
            let at = key_span(table, entry, item);
            let name = format!("{kind}.{entry}");
            let Some(keys) = item.as_table_like() else {
                reader.problem(self.problem(
                    at,
                    &name,
                    said!(
                        "[{kind}] holds sections with a name of their own",
                        "[{kind}] 下面是各自有名字的小节"
                    ),
                    said!("write [{kind}.NAME] above it", "请在上面写 [{kind}.名字]"),
                ));
                continue;
            };
            if !fits_entry(entry) {
                reader.problem(self.problem(
                    at,
                    &name,
                    said!(
                        "{entry:?} cannot be a name here",
                        "{entry:?} 不能用作这里的名字"
                    ),
                    said!(
                        "write 1 to 32 of the signs a-z, 0-9 and -",
                        "请用 1 到 32 个 a-z、0-9 和 - 组成的字符"
                    ),
                ));
                continue;
            }
            reader.entry(kind, entry, self.source(at));
            self.tell_keys(section, Some(entry), keys, reader);
        }
    }

    fn tell_keys(
        &self,
        section: &'static SectionSpec,
        entry: Option<&str>,
        table: &dyn TableLike,
        reader: &mut impl Reader,
    ) {
        let heading = match entry {
            Some(entry) => format!("{}.{entry}", section.name),
            None => section.name.to_string(),
        };
        for (key, item) in table.iter() {
            let at = key_span(table, key, item);
            let full_name = format!("{heading}.{key}");
            match (Place::of(section.name, entry, key), item) {
                (Some(place), Item::Value(value)) => {
                    let span = value.span().unwrap_or(at);
                    reader.value(place, Raw::Toml(value), self.source(span));
                }
                (Some(_), _) => reader.problem(self.problem(
                    at,
                    &full_name,
                    said!(
                        "{full_name} is a value, not a section",
                        "{full_name} 是值，不是节"
                    ),
                    said!(
                        "write `{key} = …` below [{heading}]",
                        "请在 [{heading}] 下面写 `{key} = …`"
                    ),
                )),
                (None, item) => {
                    reader.problem(self.unknown_key(section, &heading, key, item, at));
                }
            }
        }
    }

    fn unknown_section(&self, name: &str, item: &Item, at: Range<usize>) -> Problem {
        if item.is_table_like() || item.is_array_of_tables() {
            let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
            let help = match nearest(name, names.iter().copied()) {
                Some(near) => did_you_mean(&format!("[{near}]")),
                None => said!("known sections are {}", "已知的节有 {}", either(&names)),
            };
            let what = said!("there is no section [{name}]", "没有 [{name}] 这一节");
            return self.problem(at, name, what, help);
        }
        let homes = homes(name);
        let help = if homes.is_empty() {
            said!(
                "every key belongs to a section: write a line such as [mqtt] above it",
                "每个键都属于某一节：请在上面写一行，例如 [mqtt]"
            )
        } else {
            said!(
                "every key belongs to a section: did you mean {}?",
                "每个键都属于某一节：您是指 {} 吗？",
                either(&homes)
            )
        };
        let what = said!("this key stands outside any section", "此键不在任何节之内");
        self.problem(at, name, what, help)
    }

    fn unknown_key(
        &self,
        section: &SectionSpec,
        heading: &str,
        key: &str,
        item: &Item,
        at: Range<usize>,
    ) -> Problem {
        let names = || section.keys.iter().map(|spec| spec.name);
        let homes = homes(key);
        let help = if let Some(near) = nearest(key, names()) {
            did_you_mean(near)
        } else if !homes.is_empty() {
            said!("did you mean {}?", "您是指 {} 吗？", either(&homes))
        } else if item.as_value().is_some_and(Value::is_inline_table) || item.is_table_like() {
            said!(
                "[{heading}] has no sections of its own",
                "[{heading}] 没有下级小节"
            )
        } else {
            section_help(section)
        };
        self.problem(
            at,
            &format!("{heading}.{key}"),
            said!(
                "[{heading}] has no key {key:?}",
                "[{heading}] 没有键 {key:?}"
            ),
            help,
        )
    }

    fn source(&self, span: Range<usize>) -> Source {
        file_source(&self.file, span)
    }

    fn problem(&self, span: Range<usize>, key: &str, what: Said, help: Said) -> Problem {
        place(&self.file, span, Some(key.to_string()), what, help)
    }
}

/// Full names of the keys called `name` in any section.
fn homes(name: &str) -> Vec<String> {
    keys()
        .filter(|spec| spec.name == name)
        .map(|spec| spec.full_name(None))
        .collect()
}

fn section_help(section: &SectionSpec) -> Said {
    let names: Vec<&str> = section.keys.iter().map(|spec| spec.name).collect();
    let heading = match section.named {
        true => format!("{}.NAME", section.name),
        false => section.name.to_string(),
    };
    said!(
        "below [{heading}] you can set {}",
        "[{heading}] 下面可以设置 {}",
        either(&names)
    )
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
        drop_in: file.drop_in,
    }
}

fn place(
    file: &FileSource<'_>,
    span: Range<usize>,
    key: Option<String>,
    what: Said,
    help: Said,
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
            said!(
                "a line is `[section]`, `key = value` or `# a remark`; texts stand in double quotes",
                "每行是 `[节]`、`键 = 值` 或 `# 注释`；文字写在双引号里"
            )
        });
    let why = toml_words::said(error);
    let what = said!("this is not TOML: {}", "这不是 TOML：{}", why);
    place(file, span, None, what, help)
}

/// `bind = 0.0.0.0:1883` is the slip that TOML explains worst.
fn missing_quotes(line: &str) -> Option<Said> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.split('#').next()?.trim());
    let bare_key = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let unquoted = !value.is_empty() && !value.contains(['"', '\'', '\\', '[', '{', '=']);
    if !bare_key || !unquoted {
        return None;
    }
    // A secret is not repeated.
    let secret = keys().any(|spec| spec.policy.secret && spec.name == key);
    let value = if secret { "…" } else { value };
    Some(said!(
        "texts stand in double quotes: {key} = \"{value}\"",
        "文字写在双引号里：{key} = \"{value}\""
    ))
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
