//! Merging as a whole: it depends on what is said and by whom, on nothing else.

use proptest::prelude::*;
use safeport_settings::{
    Audience, Entry, Fate, FileSource, FlagSource, ManagedValue, Scope, Settings, Source, Sources,
    key_info, read_value,
};

/// Keys of every policy, with values that differ.
const KEYS: &[(&str, [&str; 3])] = &[
    ("limits.patience", ["\"1s\"", "\"2s\"", "\"3s\""]),
    ("limits.max_inflight", ["1", "2", "3"]),
    ("server.name", ["\"a\"", "\"b\"", "\"家\""]),
    (
        "advertise.host",
        ["\"auto\"", "\"10.0.0.1\"", "\"hub.lan\""],
    ),
    ("advertise.tls", ["true", "false", "true"]),
    (
        "advertise.avoid",
        [
            "[\"10.0.0.0/8\"]",
            "[\"10.0.0.0/8\", \"fd00::/8\"]",
            "[\"!reset\", \"192.168.0.0/16\"]",
        ],
    ),
    ("mqtt.max_connections", ["10", "20", "30"]),
];

/// Where a claim is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Main,
    DropIn,
    Env,
    Flag,
    Everyone,
    Tag,
    Device,
}

const RANKS: [Rank; 7] = [
    Rank::Main,
    Rank::DropIn,
    Rank::Env,
    Rank::Flag,
    Rank::Everyone,
    Rank::Tag,
    Rank::Device,
];

#[derive(Debug, Clone)]
struct Claim {
    key: &'static str,
    value: &'static str,
    rank: Rank,
}

/// At most one claim for each rank and key, so that none can quarrel.
fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let one = (0..KEYS.len(), 0..3usize, 0..RANKS.len()).prop_map(|(key, value, rank)| Claim {
        key: KEYS[key].0,
        value: KEYS[key].1[value],
        rank: RANKS[rank],
    });
    proptest::collection::vec(one, 0..30).prop_map(|mut claims| {
        let mut kept: Vec<Claim> = Vec::new();
        claims.retain(|claim| {
            let told = key_info(claim.key).is_some_and(|info| info.told);
            let fits = claim.rank < Rank::Tag || told;
            let new = !kept
                .iter()
                .any(|known| (known.key, known.rank) == (claim.key, claim.rank));
            if fits && new {
                kept.push(claim.clone());
            }
            fits && new
        });
        claims
    })
}

/// Claims as the texts that make them. `order` shuffles what may be shuffled;
/// the drop-ins are spread over that many files.
struct Texts {
    main: String,
    drop_ins: Vec<(String, String)>,
    env: Vec<(String, String)>,
    flags: Vec<(String, String)>,
    managed: Vec<Claim>,
}

impl Texts {
    fn new(claims: &[Claim], files: usize) -> Texts {
        let mut texts = Texts {
            main: String::new(),
            drop_ins: (0..files)
                .map(|n| (format!("conf.d/{n}.toml"), String::new()))
                .collect(),
            env: Vec::new(),
            flags: Vec::new(),
            managed: Vec::new(),
        };
        for (index, claim) in claims.iter().enumerate() {
            let line = format!("{} = {}\n", claim.key, claim.value);
            match claim.rank {
                Rank::Main => texts.main.push_str(&line),
                Rank::DropIn => texts.drop_ins[index % files].1.push_str(&line),
                Rank::Env => {
                    let name = claim.key.replace('.', "__").to_uppercase();
                    texts
                        .env
                        .push((format!("SAFEPORT__{name}"), as_text(claim.value)));
                }
                Rank::Flag => texts
                    .flags
                    .push((claim.key.to_owned(), as_text(claim.value))),
                _ => texts.managed.push(claim.clone()),
            }
        }
        texts
    }

    fn sources(&self) -> Sources<'_> {
        let main = FileSource {
            path: "safeport.toml",
            text: &self.main,
            drop_in: false,
        };
        let drop_ins = self.drop_ins.iter().map(|(path, text)| FileSource {
            path,
            text,
            drop_in: true,
        });
        Sources {
            files: std::iter::once(main).chain(drop_ins).collect(),
            env: self
                .env
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            flags: self
                .flags
                .iter()
                .map(|(key, value)| FlagSource {
                    flag: "--set",
                    key,
                    value,
                })
                .collect(),
            managed: self
                .managed
                .iter()
                .map(|claim| ManagedValue {
                    scope: match claim.rank {
                        Rank::Tag => Scope::Tag("kitchen".to_owned()),
                        Rank::Device => Scope::Device("plug-1".to_owned()),
                        _ => Scope::Everyone,
                    },
                    key: claim.key,
                    value: claim.value,
                    revision: 7,
                    who: "cli:anna",
                    at: 0,
                })
                .collect(),
            audience: Some(Audience {
                device: "plug-1",
                tags: vec!["kitchen"],
            }),
            ..Sources::default()
        }
    }
}

/// TOML as it is written where all is text.
fn as_text(toml: &str) -> String {
    toml.replace(['[', ']', '"'], "")
}

fn parse(sources: &Sources<'_>) -> Settings {
    match Settings::parse(sources) {
        Ok(settings) => settings,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn values(settings: &Settings) -> Vec<(String, String, String)> {
    settings
        .values()
        .map(|entry| (entry.key, entry.value, entry.source.to_string()))
        .collect()
}

/// The rule in its plainest form: of one key's claims from the lowest rank up,
/// the last holds; lists add what is new to them unless they drop what was.
fn model(claims: &[Claim], key: &str, default: &str) -> String {
    let mut of_key: Vec<&Claim> = claims.iter().filter(|claim| claim.key == key).collect();
    of_key.sort_by_key(|claim| claim.rank);
    if key != "advertise.avoid" {
        return of_key
            .last()
            .map_or(default, |claim| claim.value)
            .to_owned();
    }
    let mut list: Vec<String> = Vec::new();
    for claim in of_key {
        for item in as_text(claim.value).split(", ") {
            match item {
                "!reset" => list.clear(),
                item if list.iter().any(|known| known == item) => {}
                item => list.push(item.to_owned()),
            }
        }
    }
    let quoted: Vec<String> = list.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// Takes the value from the place that is named, by other means than the
/// parser's.
fn at_the_source(sources: &Sources<'_>, entry: &Entry<'_>, source: &Source) -> Option<String> {
    let read = |text: &str| read_value(&entry.key, text).ok();
    match source {
        Source::Default => Some(entry.default).and_then(read),
        Source::File { path, location, .. } => {
            let file = sources.files.iter().find(|file| file.path == path)?;
            let line = file.text.lines().nth(location.line - 1)?;
            let written: String = line.chars().skip(location.column - 1).collect();
            assert_eq!(written, &file.text[location.span.clone()]);
            assert!(
                line.starts_with(&entry.key),
                "{line} is about {}",
                entry.key
            );
            read(&written)
        }
        Source::Env { variable } => sources
            .env
            .iter()
            .find(|(name, _)| name == variable)
            .and_then(|(_, value)| read(value)),
        Source::Flag { .. } => sources
            .flags
            .iter()
            .find(|flag| flag.key == entry.key)
            .and_then(|flag| read(flag.value)),
        Source::Managed {
            scope, revision, ..
        } => sources
            .managed
            .iter()
            .find(|row| row.key == entry.key && row.scope == *scope && row.revision == *revision)
            .and_then(|row| read(row.value)),
    }
}

proptest! {
    #[test]
    fn the_highest_rank_wins_and_lists_are_joined(claims in claims()) {
        let texts = Texts::new(&claims, 1);
        let settings = parse(&texts.sources());
        let defaults = parse(&Sources::default());
        for (key, _) in KEYS {
            let default = defaults.explain(key).unwrap().value;
            let value = settings.explain(key).unwrap().value;
            prop_assert_eq!(value, model(&claims, key, &default), "{}", key);
        }
    }

    #[test]
    fn the_order_in_which_sources_are_handed_over_means_nothing(
        claims in claims(), turn in 0..30usize, files in 1..4usize,
    ) {
        let texts = Texts::new(&claims, files);
        let mut sources = texts.sources();
        let expected = parse(&sources);
        let turn_around = |length: usize| if length == 0 { 0 } else { turn % length };
        let by = turn_around(sources.files.len());
        sources.files.rotate_left(by);
        let by = turn_around(sources.env.len());
        sources.env.rotate_left(by);
        let by = turn_around(sources.flags.len());
        sources.flags.rotate_left(by);
        sources.managed.reverse();
        prop_assert_eq!(parse(&sources), expected);
    }

    #[test]
    fn claims_may_be_merged_in_parts(claims in claims(), split in 1..7usize) {
        // What the lower ranks give can be written as one file below the others.
        let whole = Texts::new(&claims, 1);
        let whole = parse(&whole.sources());
        let (low, high): (Vec<Claim>, Vec<Claim>) =
            claims.iter().cloned().partition(|claim| claim.rank < RANKS[split]);
        let low_texts = Texts::new(&low, 1);
        let merged = parse(&low_texts.sources());
        let file: String = merged
            .values()
            .filter(|entry| *entry.source != Source::Default)
            .map(|entry| format!("{} = {}\n", entry.key, entry.value))
            .collect();
        let high_texts = Texts::new(&high, 1);
        let mut sources = high_texts.sources();
        sources.files[0].text = &file;
        let parts: Vec<_> = values(&parse(&sources)).into_iter().map(|(k, v, _)| (k, v)).collect();
        let whole: Vec<_> = values(&whole).into_iter().map(|(k, v, _)| (k, v)).collect();
        prop_assert_eq!(parts, whole);
    }

    #[test]
    fn every_rung_names_a_place_that_says_what_it_is_said_to_say(claims in claims()) {
        let texts = Texts::new(&claims, 2);
        let sources = texts.sources();
        let settings = parse(&sources);
        for entry in settings.values() {
            let mut holding = 0;
            for rung in entry.ladder {
                let there = at_the_source(&sources, &entry, &rung.source);
                prop_assert_eq!(there.as_ref(), Some(&rung.value), "{} {}", entry.key, rung.source);
                match rung.fate {
                    Fate::Won => {
                        holding += 1;
                        prop_assert_eq!(&rung.source, entry.source);
                        let plain = rung.value.replace("\"!reset\", ", "");
                        prop_assert_eq!(&plain, &entry.value);
                    }
                    Fate::Joined => holding += 1,
                    Fate::SameAsWinner => prop_assert_eq!(&rung.value, &entry.value),
                    Fate::Outranked => {}
                    fate => prop_assert!(false, "{:?}", fate),
                }
            }
            prop_assert!(holding >= 1, "{} has a value from nowhere", entry.key);
            let ranks: Vec<u8> = entry.ladder.iter().map(|rung| rung.source.rank()).collect();
            prop_assert!(ranks.is_sorted(), "{:?}", ranks);
        }
    }

    #[test]
    fn what_is_shown_can_be_written_into_a_file_again(claims in claims()) {
        let texts = Texts::new(&claims, 1);
        let settings = parse(&texts.sources());
        let text: String = settings
            .values()
            .map(|entry| format!("{} = {}\n", entry.key, entry.value))
            .collect();
        let again = parse(&Sources {
            files: vec![FileSource { path: "again.toml", text: &text, drop_in: false }],
            ..Sources::default()
        });
        let plain = |settings: &Settings| -> Vec<(String, String)> {
            settings.values().map(|entry| (entry.key, entry.value)).collect()
        };
        prop_assert_eq!(plain(&again), plain(&settings));
    }

    #[test]
    fn two_places_of_one_rank_that_differ_are_always_reported_whatever_lies_above(
        key in 0..KEYS.len(), above in claims(), swapped: bool,
    ) {
        let (key, [one, two, _]) = KEYS[key];
        prop_assume!(key != "advertise.avoid");
        let above: Vec<Claim> = above.into_iter().filter(|claim| claim.rank > Rank::DropIn).collect();
        let texts = Texts::new(&above, 1);
        let mut sources = texts.sources();
        let lines = [format!("{key} = {one}\n"), format!("{key} = {two}\n")];
        let paths = ["conf.d/a.toml", "conf.d/b.toml"];
        let mut files: Vec<FileSource<'_>> = paths
            .iter()
            .zip(&lines)
            .map(|(path, text)| FileSource { path, text, drop_in: true })
            .collect();
        if swapped {
            files.reverse();
        }
        sources.files = files;
        let problems = Settings::parse(&sources).unwrap_err();
        prop_assert_eq!(problems.len(), 1);
        let text = problems[0].to_string();
        prop_assert!(paths.iter().all(|path| text.contains(path)), "{}", text);
        prop_assert!(problems[0].source.to_string().starts_with(paths[1]));
    }

    #[test]
    fn no_managed_value_makes_the_parser_panic(key: String, value: String, pick in 0..KEYS.len()) {
        for key in [key.as_str(), KEYS[pick].0] {
            let row = ManagedValue {
                scope: Scope::Everyone,
                key,
                value: &value,
                revision: 1,
                who: "api:x",
                at: 0,
            };
            let sources = Sources { managed: vec![row], ..Sources::default() };
            let (_, problems) = Settings::parse_lenient(&sources);
            prop_assert!(problems.iter().all(|problem| problem.source.rank() == 30));
        }
        let _ = read_value(KEYS[pick].0, &value);
        let _ = read_value(&key, &value);
    }
}
