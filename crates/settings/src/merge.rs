//! Who wins: what all sources say about one key, made into one value.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::ladder::{Fate, Resolved, Rung};
use crate::place::Place;
use crate::said::said;
use crate::spec::KeySpec;
use crate::view::with_reset;
use crate::{Problem, Said, Scope, Source, Tag};

/// What one source says about a key.
pub(crate) struct Claim {
    /// The value as TOML; as it was written, where it is of no use.
    pub(crate) value: Result<String, String>,
    /// Whether its list drops what lower ranks have said.
    pub(crate) resets: bool,
    /// Who says it.
    pub(crate) source: Source,
}

/// What decides besides rank.
pub(crate) struct Rules<'a> {
    /// Whether what was set while the server runs loses.
    pub(crate) pinned: bool,
    /// Tags of which the later wins.
    pub(crate) tags: &'a [Tag],
}

/// What became of one key.
pub(crate) struct Merged {
    /// Its value and ladder.
    pub(crate) resolved: Resolved,
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
    /// What to know.
    pub(crate) notes: Vec<Problem>,
    /// Whether the value is not to be relied on: rules about several keys leave
    /// it out.
    pub(crate) failed: bool,
}

/// Makes one value of all claims. Their order does not matter.
pub(crate) fn merge(place: Place, mut claims: Vec<Claim>, rules: &Rules<'_>) -> Merged {
    let spec = place.spec();
    let mut merge = Merge {
        spec,
        key: place.name(),
        problems: Vec::new(),
        notes: Vec::new(),
        failed: claims.iter().any(|claim| claim.value.is_err()),
    };
    if let Some(default) = spec.default {
        claims.push(Claim {
            value: spec.default_value(default),
            resets: false,
            source: Source::Default,
        });
    }
    claims.sort_by(|a, b| order(&a.source, rules.tags).cmp(&order(&b.source, rules.tags)));
    let mut rungs: Vec<(Claim, Option<Fate>)> = claims
        .into_iter()
        .map(|claim| {
            let fate = merge.sift(&claim, rules);
            (claim, fate)
        })
        .collect();
    drop_older_revisions(&mut rungs);
    merge.find_quarrels(&rungs, rules);
    let (value, source) = if spec.policy.append {
        merge.join(&mut rungs)
    } else {
        win(&mut rungs)
    };
    let ladder = rungs
        .into_iter()
        .map(|(claim, fate)| merge.rung(claim, fate))
        .collect();
    Merged {
        resolved: Resolved {
            spec,
            entry: place.entry,
            value,
            source,
            ladder,
        },
        problems: merge.problems,
        notes: merge.notes,
        failed: merge.failed,
    }
}

struct Merge {
    spec: &'static KeySpec,
    key: String,
    problems: Vec<Problem>,
    notes: Vec<Problem>,
    failed: bool,
}

impl Merge {
    /// The fate of a claim that takes no part; `None` for one that does.
    fn sift(&mut self, claim: &Claim, rules: &Rules<'_>) -> Option<Fate> {
        let rank = claim.source.rank();
        let policy = self.spec.policy;
        let key = self.key.clone();
        if rank >= MANAGED && policy.local {
            self.problem(
                &claim.source,
                said!(
                    "{key} can only be set on the machine itself",
                    "{key} 只能在本机上设置"
                ),
                said!(
                    "set it in the settings file, in the environment or with a flag; `safeport \
                     config unset {key}` takes this value away",
                    "请在设置文件、环境变量或命令行参数中设置；`safeport config unset {key}` 可去掉此值"
                ),
            );
            return Some(Fate::Refused);
        }
        if rank > MANAGED && !policy.told {
            self.problem(
                &claim.source,
                said!(
                    "{key} holds for the whole server, not for some devices",
                    "{key} 对整个服务器生效，不能只针对部分设备"
                ),
                said!("set it without a tag or device", "请不带标签或设备来设置"),
            );
            return Some(Fate::Refused);
        }
        if claim.value.is_err() {
            return Some(Fate::Unusable);
        }
        if rank >= MANAGED && rules.pinned {
            self.notes.push(Problem {
                source: claim.source.clone(),
                key: Some(key.clone()),
                what: said!(
                    "this value is ignored, because {key} is pinned",
                    "此值被忽略，因为 {key} 已固定"
                ),
                help: said!(
                    "take {key} out of config.pin, or take this value away with `safeport config \
                     unset {key}`",
                    "请把 {key} 从 config.pin 中去掉，或用 `safeport config unset {key}` 去掉此值"
                ),
                related: None,
            });
            return Some(Fate::Pinned);
        }
        None
    }

    /// Looks for claims that must not differ and do.
    fn find_quarrels(&mut self, rungs: &[(Claim, Option<Fate>)], rules: &Rules<'_>) {
        let standing: Vec<(&Source, &String)> = rungs
            .iter()
            .filter(|(_, fate)| fate.is_none())
            .filter_map(|(claim, _)| Some((&claim.source, claim.value.as_ref().ok()?)))
            .collect();
        for (index, (source, value)) in standing.iter().enumerate() {
            let differing = |(other, said): &&(&Source, &String)| {
                said != value && other.rank() > 0 && !ordered(other, source, rules.tags)
            };
            let earlier = &standing[..index];
            let quarrel = if self.spec.policy.append {
                None
            } else {
                earlier
                    .iter()
                    .filter(|(other, _)| self.spec.policy.agree || other.rank() == source.rank())
                    .find(differing)
            };
            let Some((other, said)) = quarrel else {
                continue;
            };
            let (mine, theirs) = (self.spec.shown(value), self.spec.shown(said));
            let what = if other.rank() == source.rank() {
                said!(
                    "this sets {mine}, and another place of the same rank sets {theirs}",
                    "此处设为 {mine}，而同级的另一处设为 {theirs}"
                )
            } else {
                said!(
                    "this sets {mine}, another source sets {theirs}, and all sources of this key \
                     must agree",
                    "此处设为 {mine}，另一来源设为 {theirs}，而此键的所有来源必须一致"
                )
            };
            let help = match (other, source) {
                (
                    Source::Managed {
                        scope: Scope::Tag(one),
                        ..
                    },
                    Source::Managed {
                        scope: Scope::Tag(two),
                        ..
                    },
                ) => said!(
                    "say which tag wins: tags.order = [\"{one}\", \"{two}\"] lets {two} win",
                    "请指明哪个标签优先：tags.order = [\"{one}\", \"{two}\"] 表示 {two} 优先"
                ),
                _ => said!("keep one of the two", "请只保留其中一个"),
            };
            self.failed = true;
            self.problems.push(Problem {
                source: (*source).clone(),
                key: Some(self.key.clone()),
                what,
                help,
                related: Some((self.key.clone(), (*other).clone())),
            });
        }
    }

    /// Joins lists, from the last that drops those below it.
    fn join(&mut self, rungs: &mut [(Claim, Option<Fate>)]) -> (String, Source) {
        let from = rungs
            .iter()
            .rposition(|(claim, fate)| fate.is_none() && claim.resets)
            .unwrap_or(0);
        let mut joined: Vec<String> = Vec::new();
        let mut parts = 0;
        for (index, (claim, fate)) in rungs.iter_mut().enumerate() {
            let (None, Ok(value)) = (&fate, &claim.value) else {
                continue;
            };
            let items = items(value);
            if index < from || (items.is_empty() && !claim.resets) {
                *fate = Some(Fate::Outranked);
                continue;
            }
            parts += 1;
            for item in items {
                if !joined.contains(&item) {
                    joined.push(item);
                }
            }
        }
        let value = alloc::format!("[{}]", joined.join(", "));
        let fate = if parts > 1 { Fate::Joined } else { Fate::Won };
        let mut source = Source::Default;
        for (claim, open) in rungs.iter_mut() {
            if open.is_none() {
                *open = Some(fate);
                source = claim.source.clone();
            }
        }
        if parts == 0
            && let Some((claim, fate)) = rungs
                .iter_mut()
                .rfind(|(_, fate)| *fate == Some(Fate::Outranked))
        {
            // Several empty lists: the highest stands for them.
            *fate = Some(Fate::Won);
            source = claim.source.clone();
        }
        if let Err(misfit) = self.spec.judge(&value, &source) {
            self.failed = true;
            let what = said!(
                "joined from all sources, {}",
                "合并所有来源后，{}",
                misfit.what
            );
            self.problem(&source, what, misfit.help);
            return (String::from("[]"), Source::Default);
        }
        (value, source)
    }

    fn rung(&self, claim: Claim, fate: Option<Fate>) -> Rung {
        let mut value = match claim.value {
            Ok(value) => self.spec.shown(&value),
            Err(written) => written,
        };
        if claim.resets && fate != Some(Fate::Unusable) {
            value = with_reset(&value);
        }
        Rung {
            value,
            source: claim.source,
            fate: fate.unwrap_or(Fate::Outranked),
        }
    }

    fn problem(&mut self, source: &Source, what: Said, help: Said) {
        self.problems.push(Problem {
            source: source.clone(),
            key: Some(self.key.clone()),
            what,
            help,
            related: None,
        });
    }
}

/// The highest wins; those that say the same are told apart from those that
/// lost.
fn win(rungs: &mut [(Claim, Option<Fate>)]) -> (String, Source) {
    let Some(winner) = rungs.iter().rposition(|(_, fate)| fate.is_none()) else {
        return (String::new(), Source::Default);
    };
    let value = rungs[winner].0.value.clone().unwrap_or_default();
    for (index, (claim, fate)) in rungs.iter_mut().enumerate() {
        if fate.is_none() {
            *fate = Some(if index == winner {
                Fate::Won
            } else if claim.value.as_ref() == Ok(&value) {
                Fate::SameAsWinner
            } else {
                Fate::Outranked
            });
        }
    }
    (value, rungs[winner].0.source.clone())
}

/// Of several revisions of one scope, the highest holds.
fn drop_older_revisions(rungs: &mut [(Claim, Option<Fate>)]) {
    for index in 1..rungs.len() {
        let (earlier, later) = rungs.split_at_mut(index);
        let (Some(before), Some((after, None))) = (earlier.last_mut(), later.first()) else {
            continue;
        };
        if let (
            Source::Managed {
                scope: one,
                revision: older,
                ..
            },
            Source::Managed {
                scope: two,
                revision: newer,
                ..
            },
        ) = (&before.0.source, &after.source)
            && one == two
            && older < newer
            && before.1.is_none()
        {
            before.1 = Some(Fate::Outranked);
        }
    }
}

/// Lowest first; the rest keeps the outcome apart from the order in which the
/// sources were handed over.
fn order<'s>(source: &'s Source, tags: &[Tag]) -> (u8, usize, &'s str, u64) {
    let (tag, text, number) = match source {
        Source::Default => (0, "", 0),
        Source::File { path, location, .. } => (0, path.as_str(), location.span.start as u64),
        Source::Env { variable } => (0, variable.as_str(), 0),
        Source::Flag { flag } => (0, flag.as_str(), 0),
        Source::Managed {
            scope, revision, ..
        } => match scope {
            Scope::Everyone => (0, "", *revision),
            Scope::Tag(tag) => (
                tag_position(tag, tags).map_or(0, |at| at + 1),
                tag.as_str(),
                *revision,
            ),
            Scope::Device(device) => (0, device.as_str(), *revision),
        },
    };
    (source.rank(), tag, text, number)
}

/// Whether `tags.order` says which of two tags wins.
fn ordered(one: &Source, two: &Source, tags: &[Tag]) -> bool {
    let position = |source: &Source| match source {
        Source::Managed {
            scope: Scope::Tag(tag),
            ..
        } => tag_position(tag, tags),
        _ => None,
    };
    position(one).is_some() && position(two).is_some()
}

fn tag_position(tag: &str, tags: &[Tag]) -> Option<usize> {
    tags.iter().position(|known| known.as_str() == tag)
}

/// What stands in a list, each as TOML.
fn items(list: &str) -> Vec<String> {
    match list.parse::<toml_edit::Value>() {
        Ok(toml_edit::Value::Array(list)) => list
            .iter()
            .map(|item| item.to_string().trim().to_string())
            .collect(),
        _ => Vec::new(),
    }
}

/// The rank from which on values are set while the server runs.
const MANAGED: u8 = 30;
