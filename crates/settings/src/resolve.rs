//! From sources to settings: for each key, the value of the highest rank.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::file::ParsedFile;
use crate::kind::{Check, Kind, Misfit, Raw};
use crate::nearest::nearest;
use crate::overlap;
use crate::table::{KeySpec, keys};
use crate::{Problem, Settings, Source, Sources};

/// What the names of our environment variables begin with.
const PREFIX: &str = "SAFEPORT__";

impl Settings {
    /// Merges the sources, checks every value (those that lost, too) and how
    /// they go together.
    ///
    /// # Errors
    /// All problems at once: files first, from top to bottom, then environment,
    /// then flags.
    pub fn parse(sources: &Sources<'_>) -> Result<Settings, Vec<Problem>> {
        let mut problems = Vec::new();
        let files: Vec<ParsedFile<'_>> = sources
            .files
            .iter()
            .filter_map(|file| ParsedFile::new(*file, &mut problems))
            .collect();
        let mut resolver = Resolver::new(problems);
        for file in &files {
            let candidates = &mut resolver.candidates;
            file.each_value(&mut resolver.problems, |index, raw, source| {
                candidates[index].push(Candidate { raw, source });
            });
        }
        resolver.read_env(&sources.env);
        resolver.read_flags(sources);
        let settings = Settings::build(&mut resolver);
        overlap::check(&settings, &resolver.failed, &mut resolver.problems);
        let mut problems = resolver.problems;
        if problems.is_empty() {
            return Ok(settings);
        }
        problems.sort_by_key(|problem| match &problem.source {
            Source::File { path, location } => {
                let file = sources.files.iter().position(|file| file.path == path);
                (problem.source.rank(), file, location.span.start)
            }
            source => (source.rank(), None, 0),
        });
        Err(problems)
    }

    /// Where the value of a key (`mqtt.bind`) was set; `None` for an unknown
    /// key.
    pub fn source(&self, key: &str) -> Option<&Source> {
        let index = keys().position(|spec| spec.full_name() == key)?;
        self.sources.get(index)
    }

    /// Every key with its value and origin, in the order of the example file.
    pub fn values(&self) -> impl Iterator<Item = Entry<'_>> {
        keys()
            .zip(self.shown())
            .zip(&self.sources)
            .map(|((spec, value), source)| Entry {
                key: spec.full_name(),
                value,
                default: spec.default,
                source,
                doc: spec
                    .doc
                    .iter()
                    .map(|line| line.trim())
                    .collect::<Vec<_>>()
                    .join(" "),
            })
    }
}

/// One key, its value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// `section.name`.
    pub key: String,
    /// The value as TOML.
    pub value: String,
    /// The default as plain text.
    pub default: &'static str,
    /// Where the value was set.
    pub source: &'a Source,
    /// What the key means.
    pub doc: String,
}

struct Candidate<'a> {
    raw: Raw<'a>,
    source: Source,
}

/// Collects what the sources say and hands it out key by key.
pub(crate) struct Resolver<'a> {
    /// Per key of the table, what was found, lowest rank first.
    candidates: Vec<Vec<Candidate<'a>>>,
    /// The key that [`Resolver::take`] hands out next.
    next: usize,
    sources: Vec<Source>,
    problems: Vec<Problem>,
    /// Full names of keys that had no usable value.
    failed: Vec<String>,
}

impl<'a> Resolver<'a> {
    fn new(problems: Vec<Problem>) -> Resolver<'a> {
        let mut candidates = Vec::new();
        candidates.resize_with(keys().count(), Vec::new);
        Resolver {
            candidates,
            next: 0,
            sources: Vec::new(),
            problems,
            failed: Vec::new(),
        }
    }

    fn read_env(&mut self, env: &[(&'a str, &'a str)]) {
        for &(variable, value) in env {
            let source = Source::Env {
                variable: variable.to_string(),
            };
            if let Some(index) = keys().position(|spec| spec.variable() == variable) {
                let raw = Raw::Text(value);
                self.candidates[index].push(Candidate { raw, source });
                continue;
            }
            // One underscore where two belong: clearly meant for us, and
            // without a word it would be ignored.
            let meant = keys()
                .map(KeySpec::variable)
                .find(|known| known.replace("__", "_") == variable);
            if !variable.starts_with(PREFIX) && meant.is_none() {
                continue;
            }
            let known: Vec<String> = keys().map(KeySpec::variable).collect();
            let near = meant
                .as_deref()
                .or_else(|| nearest(variable, known.iter().map(String::as_str)));
            let help = match near {
                Some(near) => format!("did you mean {near}?"),
                None => "the form is SAFEPORT__SECTION__KEY, for example SAFEPORT__MQTT__BIND; unset it if it is for another program".to_string(),
            };
            self.problems.push(Problem {
                source,
                key: None,
                what: "this variable sets no known key".to_string(),
                help,
                related: None,
            });
        }
    }

    fn read_flags(&mut self, sources: &Sources<'a>) {
        for flag in &sources.flags {
            let source = Source::Flag {
                flag: flag.flag.to_string(),
            };
            let known: Vec<String> = keys().map(KeySpec::full_name).collect();
            match known.iter().position(|name| name == flag.key) {
                Some(index) => {
                    let raw = Raw::Text(flag.value);
                    self.candidates[index].push(Candidate { raw, source });
                }
                None => {
                    let help = match nearest(flag.key, known.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean {near}?"),
                        None => "keys are written section.key, for example mqtt.bind".to_string(),
                    };
                    self.problems.push(Problem {
                        source,
                        key: Some(flag.key.to_string()),
                        what: "there is no such key".to_string(),
                        help,
                        related: None,
                    });
                }
            }
        }
    }

    /// The value of the next key of the table; its default after a problem.
    pub(crate) fn take<T: Kind>(&mut self, check: Option<Check<T>>) -> T {
        let index = self.next;
        self.next += 1;
        let spec = keys()
            .nth(index)
            .expect("one call for each key of the table");
        let mut winner = (default::<T>(spec), Source::Default);
        let mut failed = false;
        for candidate in core::mem::take(&mut self.candidates[index]) {
            let read = T::read(candidate.raw).and_then(|value| {
                within(spec, &value)?;
                check.map_or(Ok(()), |check| check(&value))?;
                Ok(value)
            });
            match read {
                Err(Misfit { what, help }) => {
                    failed = true;
                    self.problems.push(Problem {
                        source: candidate.source,
                        key: Some(spec.full_name()),
                        what,
                        help,
                        related: None,
                    });
                }
                Ok(value) => {
                    let same_rank = candidate.source.rank() == winner.1.rank();
                    if same_rank && value.show() != winner.0.show() {
                        failed = true;
                        self.problems.push(Problem {
                            what: format!(
                                "this sets {}, and another place of the same rank sets {}",
                                value.show(),
                                winner.0.show()
                            ),
                            help: "keep one of the two".to_string(),
                            source: candidate.source.clone(),
                            key: Some(spec.full_name()),
                            related: Some((spec.full_name(), winner.1.clone())),
                        });
                    }
                    winner = (value, candidate.source);
                }
            }
        }
        if failed {
            self.failed.push(spec.full_name());
        }
        self.sources.push(winner.1);
        winner.0
    }

    /// The origins of all values taken.
    pub(crate) fn take_sources(&mut self) -> Vec<Source> {
        core::mem::take(&mut self.sources)
    }
}

fn default<T: Kind>(spec: &KeySpec) -> T {
    match T::read(Raw::Text(spec.default)) {
        Ok(value) => value,
        // The table is part of this program; a test reads every default.
        Err(misfit) => unreachable!("default of {}: {}", spec.full_name(), misfit.what),
    }
}

/// Holds a value against the limits in the table.
fn within<T: Kind>(spec: &KeySpec, value: &T) -> Result<(), Misfit> {
    let Some((least, most)) = spec.range else {
        return Ok(());
    };
    let bound = |text| {
        T::read(Raw::Text(text))
            .ok()
            .and_then(|value| value.measure())
    };
    let (Some(least_value), Some(most_value), Some(measured)) =
        (bound(least), bound(most), value.measure())
    else {
        return Ok(());
    };
    if (least_value..=most_value).contains(&measured) {
        return Ok(());
    }
    let side = if measured < least_value {
        "too small"
    } else {
        "too big"
    };
    Err(Misfit {
        what: format!("{} is {side}", value.show()),
        help: format!("use a value from {least} to {most}"),
    })
}

#[cfg(test)]
mod tests;
