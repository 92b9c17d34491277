//! What is wrong with settings, shown to people and to programs.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use safeport_settings::{Problem, Source};

use super::{ReadError, TextFile};
use crate::console::{Exit, Failure};
use crate::limits::CONF_D_FILES;
use crate::say;
use crate::text::Texts;

impl ReadError {
    /// The failure to end with: exit code 64.
    pub fn failure(&self, texts: &Texts, color: bool) -> Failure {
        match self {
            ReadError::File { path, error } => {
                Failure::usage(say!(texts, "config-unreadable", path = path.display()))
                    .detail(error)
                    .next(say!(texts, "config-unreadable-next"))
            }
            ReadError::TooManyFiles(folder) => Failure::usage(say!(
                texts,
                "config-too-many",
                path = folder.display(),
                most = CONF_D_FILES
            )),
            ReadError::Flag(flag) => Failure::usage(say!(texts, "flag-not-text", flag = *flag)),
            ReadError::Managed(error) => {
                Failure::new(say!(texts, "managed-unreadable")).detail(error)
            }
            ReadError::Problems { files, problems } => {
                let shown: Vec<String> = problems
                    .iter()
                    .map(|problem| show(problem, files, texts.language().into(), color))
                    .collect();
                Failure {
                    exit: Exit::Usage,
                    headline: say!(texts, "settings-bad", count = problems.len()),
                    detail: Some(shown.join("\n")),
                    next: Some(say!(texts, "settings-bad-next")),
                }
            }
        }
    }

    /// The problems as data, for `check --json`.
    pub fn problems(&self, texts: &Texts) -> Vec<serde_json::Value> {
        let ReadError::Problems { problems, .. } = self else {
            return Vec::new();
        };
        problems
            .iter()
            .map(|problem| problem_json(problem, texts))
            .collect()
    }

    /// Whether files are to blame, so that the last good ones could stand in.
    pub fn is_about_files(&self) -> bool {
        match self {
            ReadError::Problems { problems, .. } => problems
                .iter()
                .any(|problem| matches!(problem.source, Source::File { .. })),
            _ => false,
        }
    }
}

/// One problem as data.
pub fn problem_json(problem: &Problem, texts: &Texts) -> serde_json::Value {
    let language = texts.language().into();
    serde_json::json!({
        "key": problem.key,
        "source": source_json(&problem.source),
        "what": problem.what.in_language(language),
        "help": problem.help.in_language(language),
        "related": problem.related.as_ref().map(|(key, source)| serde_json::json!({
            "key": key,
            "source": source.to_string(),
        })),
    })
}

/// Where a value came from, as data.
pub fn source_json(source: &Source) -> serde_json::Value {
    match source {
        Source::File { path, location, .. } => serde_json::json!({
            "file": path,
            "line": location.line,
            "column": location.column,
        }),
        other => serde_json::json!(other.to_string()),
    }
}

/// Something to know that is no mistake, pointing into its file where it can.
pub fn show_note(
    note: &Problem,
    files: &[TextFile],
    language: safeport_settings::Language,
    color: bool,
) -> String {
    point(note, files, language, color, (Level::WARNING, "注意"))
}

/// One problem, pointing into its file where it can.
pub fn show(
    problem: &Problem,
    files: &[TextFile],
    language: safeport_settings::Language,
    color: bool,
) -> String {
    point(problem, files, language, color, (Level::ERROR, "错误"))
}

fn point(
    problem: &Problem,
    files: &[TextFile],
    language: safeport_settings::Language,
    color: bool,
    (kind, in_chinese): (Level<'static>, &'static str),
) -> String {
    // Of the same length, so that what points into the text stays true.
    let masked: Vec<(Option<&str>, String)> = files
        .iter()
        .map(|file| {
            let text = safeport_settings::mask_secrets(&file.text);
            (file.path.to_str(), text)
        })
        .collect();
    let text_of = |path: &str| {
        masked
            .iter()
            .find(|(known, _)| *known == Some(path))
            .map(|(_, text)| text.as_str())
    };
    let (path, location, text) = match &problem.source {
        Source::File { path, location, .. } => match text_of(path) {
            Some(text) => (path, location, text),
            None => return problem.text(language),
        },
        _ => return problem.text(language),
    };
    let chinese = language == safeport_settings::Language::ZhCn;
    let level = |level: Level<'static>, word: &'static str| match chinese {
        true => level.with_name(word),
        false => level,
    };
    let what = problem.what.in_language(language);
    let title = match &problem.key {
        Some(key) => format!("{key}: {what}"),
        None => what.to_owned(),
    };
    let span = visible(text, location.span.clone());
    let mut snippet = Snippet::source(text)
        .path(path.as_str())
        .annotation(AnnotationKind::Primary.span(span));
    let mut second = None;
    let mut notes = Vec::new();
    if let Some((key, source)) = &problem.related {
        match source {
            Source::File {
                path: other,
                location,
                ..
            } if other == path => {
                let span = visible(text, location.span.clone());
                snippet =
                    snippet.annotation(AnnotationKind::Context.span(span).label(key.as_str()));
            }
            Source::File {
                path: other,
                location,
                ..
            } if text_of(other).is_some() => {
                let text = text_of(other).unwrap_or_default();
                let span = visible(text, location.span.clone());
                second = Some(
                    Snippet::source(text)
                        .path(other.as_str())
                        .annotation(AnnotationKind::Context.span(span).label(key.as_str())),
                );
            }
            other => notes.push(format!("{key} ({other})")),
        }
    }
    let mut group = level(kind, in_chinese)
        .primary_title(title)
        .element(snippet);
    if let Some(second) = second {
        group = group.element(second);
    }
    for note in notes {
        group = group.element(level(Level::NOTE, "相关").message(note));
    }
    let group =
        group.element(level(Level::HELP, "办法").message(problem.help.in_language(language)));
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// A span to underline: within the text, and at least one byte wide where there is one.
fn visible(text: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let start = span.start.min(text.len());
    let end = span.end.clamp(start, text.len());
    if start == end
        && let Some(next) = text[start..].chars().next()
    {
        return start..start + next.len_utf8();
    }
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_at_the_end_of_a_file_can_be_pointed_at() {
        for (text, span) in [("", 0..0), ("a = 家", 4..4), ("a", 1..9)] {
            let visible = visible(text, span);
            assert!(text.get(visible.clone()).is_some(), "{text:?} {visible:?}");
        }
    }
}
