//! From sources to settings: collects what each source says and has it merged
//! key by key.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::check::{CHOICE, scoped_choice};
use crate::file::{ParsedFile, Reader};
use crate::kind::Raw;
use crate::ladder::Resolved;
use crate::limits::MAX_ENTRIES;
use crate::merge::{Claim, Rules, merge};
use crate::nearest::{did_you_mean, nearest};
use crate::place::Place;
use crate::said::said;
use crate::spec::read_back;
use crate::table::keys;
use crate::view::unknown_key;
use crate::{ManagedValue, Pin, Problem, Scope, Settings, Source, Sources, Tag};

/// What the names of our environment variables begin with.
const PREFIX: &str = "SAFEPORT__";

impl Settings {
    /// Merges the sources, checks every value (those that lost, too) and how
    /// they go together.
    ///
    /// # Errors
    /// All problems at once: files first, from top to bottom, then environment,
    /// then flags, then what was set while the server ran.
    pub fn parse(sources: &Sources<'_>) -> Result<Settings, Vec<Problem>> {
        let (settings, problems) = Settings::parse_lenient(sources);
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(problems)
        }
    }

    /// The same, with the next lower value, in the end the default, wherever one
    /// is of no use: enough to find the data folder that a broken file names.
    /// Nothing is to be served with settings that have problems.
    pub fn parse_lenient(sources: &Sources<'_>) -> (Settings, Vec<Problem>) {
        let mut claims = Claims::new();
        for file in &sources.files {
            if let Some(file) = ParsedFile::new(*file, &mut claims.problems) {
                file.tell(&mut claims);
            }
        }
        claims.read_env(&sources.env);
        claims.read_flags(sources);
        claims.read_managed(sources);
        claims.check_entries();
        let agents = core::mem::take(&mut claims.agents);
        let (mut settings, failed, mut problems) = claims.settle();
        crate::check::together(&mut settings, &sources.names, &failed, &mut problems);
        for (agent, source) in agents {
            problems.extend(scoped_choice(&settings, &agent, source));
        }
        sort(&mut problems, sources);
        let mut notes = core::mem::take(&mut settings.notes);
        sort(&mut notes, sources);
        settings.notes = notes;
        (settings, problems)
    }
}

/// In the order of the sources, and within a file from top to bottom.
fn sort(problems: &mut [Problem], sources: &Sources<'_>) {
    problems.sort_by_key(|problem| match &problem.source {
        Source::File { path, location, .. } => {
            let file = sources.files.iter().position(|file| file.path == path);
            (problem.source.rank(), file, location.span.start)
        }
        source => (source.rank(), None, 0),
    });
}

/// What the sources say, key by key.
struct Claims {
    claims: BTreeMap<Place, Vec<Claim>>,
    /// Named entries (`[proxy.NAME]`) and where each was first spoken of.
    entries: BTreeMap<(&'static str, String), Source>,
    /// Agents that tags and devices are given, where the settings of the whole server are asked for.
    agents: Vec<(String, Source)>,
    problems: Vec<Problem>,
}

impl Reader for Claims {
    fn value(&mut self, place: Place, raw: Raw<'_>, source: Source) {
        if let Some(entry) = &place.entry {
            let entry = (place.section().name, entry.clone());
            self.entries.entry(entry).or_insert_with(|| source.clone());
        }
        let spec = place.spec();
        let value = match spec.judge_raw(raw, &source) {
            Ok(value) => Ok(value),
            Err(misfit) => {
                self.problems.push(Problem {
                    source: source.clone(),
                    key: Some(place.name()),
                    what: misfit.what,
                    help: misfit.help,
                    related: None,
                });
                Err(spec.shown(&raw.seen()))
            }
        };
        let claim = Claim {
            value,
            resets: spec.policy.append && raw.resets(),
            source,
        };
        self.claims.entry(place).or_default().push(claim);
    }

    fn entry(&mut self, section: &'static str, entry: &str, source: Source) {
        let entry = (section, entry.to_string());
        self.entries.entry(entry).or_insert(source);
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

impl Claims {
    fn new() -> Claims {
        Claims {
            claims: Place::all().map(|place| (place, Vec::new())).collect(),
            entries: BTreeMap::new(),
            agents: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn read_env(&mut self, env: &[(&str, &str)]) {
        for &(variable, value) in env {
            let source = Source::Env {
                variable: variable.to_string(),
            };
            if let Some(place) = Place::of_variable(variable) {
                self.value(place, Raw::Text(value), source);
                continue;
            }
            // One underscore where two belong: clearly meant for us, and
            // without a word it would be ignored.
            let meant = keys()
                .map(|spec| spec.variable(None))
                .find(|known| known.replace("__", "_") == variable);
            if !variable.starts_with(PREFIX) && meant.is_none() {
                continue;
            }
            let known: Vec<String> = keys().map(|spec| spec.variable(None)).collect();
            let near = meant
                .as_deref()
                .or_else(|| nearest(variable, known.iter().map(String::as_str)));
            let help = match near {
                Some(near) => did_you_mean(near),
                None => said!(
                    "the form is SAFEPORT__SECTION__KEY, for example SAFEPORT__MQTT__BIND; unset \
                     it if it is for another program",
                    "形式是 SAFEPORT__节__键，例如 SAFEPORT__MQTT__BIND；若属于别的程序，请取消它"
                ),
            };
            self.problems.push(Problem {
                source,
                key: None,
                what: said!(
                    "this variable sets no known key",
                    "此变量不对应任何已知的键"
                ),
                help,
                related: None,
            });
        }
    }

    fn read_flags(&mut self, sources: &Sources<'_>) {
        for flag in &sources.flags {
            let source = Source::Flag {
                flag: flag.flag.to_string(),
            };
            match Place::named(flag.key) {
                Some(place) => self.value(place, Raw::Text(flag.value), source),
                None => self.problems.push(unknown_key(source, flag.key)),
            }
        }
    }

    /// Reads what was set while the server ran, as far as it concerns the
    /// audience.
    fn read_managed(&mut self, sources: &Sources<'_>) {
        for managed in &sources.managed {
            let concerns = match (&managed.scope, &sources.audience) {
                (Scope::Everyone, _) => true,
                (Scope::Tag(tag), Some(audience)) => audience.tags.iter().any(|has| has == tag),
                (Scope::Device(device), Some(audience)) => audience.device == device,
                (_, None) => false,
            };
            let source = source_of(managed);
            if !concerns {
                if sources.audience.is_none() && managed.key == CHOICE {
                    self.agents.push((managed.value.to_string(), source));
                }
                continue;
            }
            let Some(place) = Place::named(managed.key) else {
                self.problems.push(unknown_key(source, managed.key));
                continue;
            };
            match managed.value.parse::<toml_edit::Value>() {
                Ok(value) => self.value(place, Raw::Toml(&value), source),
                Err(_) => {
                    let misfit = place.spec().judge(managed.value, &source);
                    if let Err(misfit) = misfit {
                        self.problems.push(Problem {
                            source,
                            key: Some(place.name()),
                            what: misfit.what,
                            help: misfit.help,
                            related: None,
                        });
                    }
                }
            }
        }
    }

    /// Gives every named entry all its keys, and looks for those that lack what
    /// they cannot do without.
    fn check_entries(&mut self) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for ((section, entry), source) in &self.entries {
            let count = counts.entry(section).or_default();
            *count += 1;
            // Said once, of the first that is too many.
            if *count == MAX_ENTRIES + 1 {
                self.problems.push(Problem {
                    source: source.clone(),
                    key: Some(alloc::format!("{section}.{entry}")),
                    what: said!(
                        "there are more than {MAX_ENTRIES} sections [{section}.NAME]",
                        "[{section}.名字] 超过 {MAX_ENTRIES} 节"
                    ),
                    help: said!("take some away", "请去掉一些"),
                    related: None,
                });
            }
            for place in Place::of_entry(section, entry) {
                let claims = self.claims.entry(place.clone()).or_default();
                if claims.is_empty() && place.spec().default.is_none() {
                    let name = place.spec().name;
                    let example = place.spec().example.unwrap_or_default();
                    self.problems.push(Problem {
                        source: source.clone(),
                        key: Some(place.name()),
                        what: said!(
                            "[{section}.{entry}] has no {name}",
                            "[{section}.{entry}] 缺少 {name}"
                        ),
                        help: said!(
                            "add it, for example {name} = \"{example}\", or take the section away",
                            "请补上，例如 {name} = \"{example}\"，或去掉这一节"
                        ),
                        related: None,
                    });
                }
            }
        }
    }

    /// Merges key by key; pins and the order of tags first, since the others
    /// follow them. Gives the settings, the keys without a value to rely on, and
    /// all problems.
    fn settle(mut self) -> (Settings, Vec<String>, Vec<Problem>) {
        let mut settled: BTreeMap<Place, Resolved> = BTreeMap::new();
        let (mut notes, mut failed) = (Vec::new(), Vec::new());
        let (mut pins, mut tags): (Vec<Pin>, Vec<Tag>) = (Vec::new(), Vec::new());
        let first: Vec<Place> = ["config.pin", "tags.order"]
            .into_iter()
            .filter_map(Place::named)
            .collect();
        let rest: Vec<Place> = self
            .claims
            .keys()
            .filter(|place| !first.contains(place))
            .cloned()
            .collect();
        for place in first.into_iter().chain(rest) {
            let name = place.name();
            let claims = self.claims.remove(&place).unwrap_or_default();
            let rules = Rules {
                pinned: pins.iter().any(|pin| pin.covers(&name)),
                tags: &tags,
            };
            let merged = merge(place.clone(), claims, &rules);
            self.problems.extend(merged.problems);
            notes.extend(merged.notes);
            match name.as_str() {
                "config.pin" => pins = read_back(&merged.resolved.value),
                "tags.order" => tags = read_back(&merged.resolved.value),
                _ => {}
            }
            if merged.failed {
                failed.push(name);
            }
            settled.insert(place, merged.resolved);
        }
        let mut settings = Settings::build(settled.into_values().collect());
        settings.notes = notes;
        (settings, failed, self.problems)
    }
}

/// The origin of a managed value.
fn source_of(managed: &ManagedValue<'_>) -> Source {
    Source::Managed {
        scope: managed.scope.clone(),
        revision: managed.revision,
        who: managed.who.to_string(),
        at: managed.at,
    }
}

#[cfg(test)]
mod tests;
