use super::*;
use crate::{ByteSize, DataPath, Language, LogFormat};
use crate::{Entry, FileSource, FlagSource};
use alloc::vec;
use core::time::Duration;
use proptest::prelude::*;

fn file(text: &str) -> Sources<'_> {
    Sources {
        files: vec![FileSource {
            path: "safeport.toml",
            text,
            drop_in: false,
        }],
        ..Sources::default()
    }
}

fn shown_values(settings: &Settings) -> Vec<(String, String)> {
    settings
        .values()
        .map(|entry| (entry.key, entry.value))
        .collect()
}

fn parse(text: &str) -> Settings {
    Settings::parse(&file(text)).unwrap_or_else(|problems| panic!("{}", shown(&problems)))
}

fn problems(sources: &Sources<'_>) -> Vec<Problem> {
    Settings::parse(sources).expect_err("there is something wrong")
}

fn shown(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The one problem of a file, as text.
fn complaint(text: &str) -> String {
    let problems = problems(&file(text));
    assert_eq!(problems.len(), 1, "{}", shown(&problems));
    problems[0].to_string()
}

#[test]
fn nothing_set_gives_the_defaults() {
    let settings = Settings::parse(&Sources::default()).unwrap();
    assert_eq!(settings.server.data, DataPath::Auto);
    assert_eq!(settings.mqtt.bind.to_string(), "[::]:1883");
    assert_eq!(settings.mqtts.bind.to_string(), "[::]:8883");
    assert_eq!(settings.http.bind.to_string(), "[::]:8002");
    assert_eq!(settings.mqtt.max_packet, ByteSize(1 << 20));
    assert_eq!(settings.limits.connect_timeout, Duration::from_secs(10));
    assert!(!settings.access.anonymous);
    assert!(
        settings
            .values()
            .all(|entry| *entry.source == Source::Default)
    );
}

#[test]
fn every_kind_of_value_is_read_from_a_file() {
    let settings = parse(
        "[server]\ndata = '/srv/safeport'\nname = \"家\"\nlanguage = \"zh-CN\"\n\
         [mqtt]\nbind = \"[::1]:1\"\nmax_connections = 5_000\nmax_packet = 65536\nenabled = true\n\
         [limits]\nconnect_timeout = 5\nsession_expiry_max = \"2w\"\nmax_keep_alive = \"90s\"\n\
         [access]\nanonymous = true\n[log]\nformat = \"json\"\nlevel = \"info,safeport::engine=debug\"\n",
    );
    assert_eq!(
        settings.server.data,
        DataPath::Folder("/srv/safeport".to_string())
    );
    assert_eq!(settings.server.name, "家");
    assert_eq!(settings.server.language, Language::ZhCn);
    assert_eq!(settings.mqtt.bind.to_string(), "[::1]:1");
    assert_eq!(settings.mqtt.max_connections, 5000);
    assert_eq!(settings.mqtt.max_packet, ByteSize(65536));
    assert_eq!(settings.limits.connect_timeout, Duration::from_secs(5));
    assert_eq!(
        settings.limits.session_expiry_max,
        Duration::from_secs(14 * 86_400)
    );
    assert!(settings.access.anonymous);
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn dotted_keys_and_inline_tables_set_the_same_keys_as_sections() {
    let expected = parse("[mqtt]\nbind = \"127.0.0.1:1\"").mqtt;
    assert_eq!(parse("mqtt.bind = \"127.0.0.1:1\"").mqtt, expected);
    assert_eq!(parse("mqtt = { bind = \"127.0.0.1:1\" }").mqtt, expected);
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let text = "[server]\nname = 'file'\ndata = 'file'\nlanguage = 'en'\n";
    let mut sources = file(text);
    sources.env = vec![
        ("SAFEPORT__SERVER__NAME", "env"),
        ("SAFEPORT__SERVER__DATA", "env"),
        ("PATH", "/bin"),
    ];
    sources.flags = vec![FlagSource {
        flag: "--data",
        key: "server.data",
        value: "flag",
    }];
    let settings = Settings::parse(&sources).unwrap();
    assert_eq!(settings.server.data, DataPath::Folder("flag".to_string()));
    assert_eq!(settings.server.name, "env");
    assert_eq!(settings.server.language, Language::En);
    assert_eq!(
        settings.source("server.data").unwrap().to_string(),
        "--data"
    );
    assert_eq!(
        settings.source("server.name").unwrap().to_string(),
        "SAFEPORT__SERVER__NAME"
    );
    assert_eq!(
        settings.source("server.language").unwrap().to_string(),
        "safeport.toml:4:12"
    );
    assert_eq!(settings.source("mqtt.bind"), Some(&Source::Default));
    assert_eq!(settings.source("mqtt.nothing"), None);
}

#[test]
fn every_key_can_be_set_by_its_environment_variable() {
    let defaults = Settings::parse(&Sources::default()).unwrap();
    let pairs: Vec<(String, &str)> = keys()
        .map(|spec| (spec.variable(None), spec.default.unwrap()))
        .collect();
    let sources = Sources {
        env: pairs
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect(),
        ..Sources::default()
    };
    let settings = Settings::parse(&sources).unwrap();
    assert_eq!(shown_values(&settings), shown_values(&defaults));
    assert!(
        settings
            .values()
            .all(|entry| matches!(entry.source, Source::Env { .. }))
    );
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "\
[mqtt]
bind = 1883
max_packet = \"1 furlong\"
enabled = \"yes\"

[mqqts]
bind = \"x\"

[limits]
connect_timeout = \"2h\"
max_inflight = 70000
retained = 3
";
    let mut sources = file(text);
    sources.env = vec![("SAFEPORT__LOG__LEVEL", "verbose")];
    sources.flags = vec![FlagSource {
        flag: "--data",
        key: "server.data",
        value: "",
    }];
    let found = problems(&sources);
    let places: Vec<String> = found
        .iter()
        .map(|problem| problem.source.to_string())
        .collect();
    assert_eq!(
        places,
        [
            "safeport.toml:2:8",
            "safeport.toml:3:14",
            "safeport.toml:4:11",
            "safeport.toml:6:2",
            "safeport.toml:10:19",
            "safeport.toml:11:16",
            "safeport.toml:12:1",
            "SAFEPORT__LOG__LEVEL",
            "--data",
        ],
        "{}",
        shown(&found)
    );
    assert!(
        found
            .iter()
            .all(|problem| !problem.help.en.is_empty() && !problem.help.zh.is_empty())
    );
    // Spans point into the text, at what is meant.
    let spans: Vec<&str> = found
        .iter()
        .filter_map(|problem| match &problem.source {
            Source::File { location, .. } => Some(&text[location.span.clone()]),
            _ => None,
        })
        .collect();
    assert_eq!(
        spans,
        [
            "1883",
            "\"1 furlong\"",
            "\"yes\"",
            "mqqts",
            "\"2h\"",
            "70000",
            "retained"
        ]
    );
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_known_one_or_its_home() {
    for (text, expected) in [
        ("[mqtt]\nbnid = \"x\"", "did you mean bind?"),
        ("[mqtt]\nmax-packet = 1", "did you mean max_packet?"),
        ("[mqtt]\nlevel = \"info\"", "did you mean log.level?"),
        ("[mqtt]\ncolour = 1", "below [mqtt] you can set enabled"),
        ("[limit]\nx = 1", "did you mean [limits]?"),
        ("[[mqtt]]\nbind = \"x\"", "below [mqtt] you can set"),
        ("[cluster]\nx = 1", "known sections are server"),
        (
            "bind = \"127.0.0.1:1\"",
            "did you mean mqtt.bind, mqtts.bind, http.bind, https.bind, ntp.bind or voice.bind?",
        ),
        ("colour = 1", "a line such as [mqtt] above it"),
        ("mqtt = 1883", "below [mqtt] you can set"),
        ("[mqtt.bind]\nx = 1", "write `bind = …` below [mqtt]"),
        ("[mqtt.front]\nx = 1", "[mqtt] has no sections of its own"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(expected), "{text}\n{complaint}");
    }
}

#[test]
fn a_value_that_does_not_fit_says_what_was_seen_and_what_would_fit() {
    for (text, seen, help) in [
        (
            "[mqtt]\nbind = 1883",
            "1883 has no address",
            "\"0.0.0.0:1883\"",
        ),
        (
            "[mqtt]\nbind = \":1883\"",
            "has no address",
            "\"0.0.0.0:1883\"",
        ),
        (
            "[mqtt]\nbind = \"::1:1883\"",
            "without brackets",
            "\"[::1]:1883\"",
        ),
        (
            "[mqtt]\nbind = \"1.2.3.4\"",
            "not an address with a port",
            "every network",
        ),
        (
            "[mqtt]\nbind = \"1.2.3.4:99999\"",
            "port 99999, which does not exist",
            "65535",
        ),
        (
            "[mqtt]\nbind = \"mqtt://127.0.0.1:1883\"",
            "begins with mqtt://",
            "write \"127.0.0.1:1883\"",
        ),
        (
            "[http]\nbind = \"127.0.0.1:8002/ui\"",
            "has a path, /ui",
            "write \"127.0.0.1:8002\"",
        ),
        (
            "[mqtt]\nbind = \"127.0.0.1：1883\"",
            "full-width",
            "127.0.0.1:1883",
        ),
        (
            "[mqtt]\nbind = \"192.168.1.300:1883\"",
            "192.168.1.300",
            "for this machine only",
        ),
        (
            "[mqtt]\nbind = [\"a\"]",
            "\"a\" is not an address with a port",
            "every network",
        ),
        (
            "[mqtt]\nenabled = 1",
            "neither true nor false",
            "without quotes",
        ),
        (
            "[mqtt]\nmax_connections = \"many\"",
            "not a whole number",
            "1000",
        ),
        (
            "[mqtt]\nmax_connections = 0",
            "0 is too small",
            "from 1 to 1000000",
        ),
        (
            "[mqtt]\nmax_packet = \"1GiB\"",
            "is too big",
            "from 1KiB to 256MiB",
        ),
        ("[mqtt]\nmax_packet = 1.5", "is a fraction", "64KiB"),
        ("[limits]\nmax_inflight = 70000", "out of range", "65535"),
        ("[limits]\nmax_inflight = -1", "out of range", "65535"),
        (
            "[limits]\nconnect_timeout = \"10 apples\"",
            "\"apples\" is no unit",
            "10s",
        ),
        (
            "[limits]\nconnect_timeout = \"500ms\"",
            "\"500ms\" is too small",
            "from 1s to 60s",
        ),
        (
            "[log]\nlevel = \"verbose\"",
            "is no log level",
            "off, error, warn, info, debug or trace",
        ),
        (
            "[log]\nlevel = \"dbug\"",
            "is no log level",
            "did you mean \"debug\"?",
        ),
        (
            "[log]\nformat = \"jsn\"",
            "not one of the known words",
            "did you mean \"json\"?",
        ),
        (
            "[server]\nlanguage = \"zh\"",
            "not one of the known words",
            "auto, en or zh-CN",
        ),
        ("[server]\nname = \" \"", "cannot be the name", "1 to 64"),
        ("[server]\ndata = \"\"", "names no folder", "auto"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(seen), "{text}\n{complaint}");
        let (_, rest) = complaint.split_once("help: ").unwrap();
        assert!(rest.contains(help), "{text}\n{complaint}");
    }
}

#[test]
fn missing_quotes_are_recognised_and_the_rest_of_the_file_is_still_judged() {
    let text = "[mqtt]\nbind = 0.0.0.0:1883\nmax_conections = 5\n[http]\nenabled = maybe\n";
    let found = problems(&file(text));
    let text = shown(&found);
    assert_eq!(found.len(), 3, "{text}");
    assert!(text.contains("bind = \"0.0.0.0:1883\""), "{text}");
    assert!(text.contains("max_connections"), "{text}");
    assert!(text.contains("enabled = \"maybe\""), "{text}");
    assert!(text.contains("safeport.toml:5:"), "{text}");
}

#[test]
fn a_broken_heading_takes_its_own_keys_along_and_not_those_of_the_next_section() {
    let found = problems(&file(
        "[mqtt\nbind = \"127.0.0.1:1\"\nx = 1\n[http]\ny = 2\n",
    ));
    let text = shown(&found);
    assert_eq!(found.len(), 2, "{text}");
    assert!(text.contains("not TOML"), "{text}");
    assert!(text.contains("http.y"), "{text}");
}

#[test]
fn a_key_written_twice_is_a_mistake_of_form_at_the_second_place() {
    let complaint = complaint("[mqtt]\nenabled = true\nenabled = false\n");
    assert!(complaint.starts_with("safeport.toml:3:1: "), "{complaint}");
    assert!(complaint.contains("duplicate"), "{complaint}");
}

#[test]
fn a_file_that_is_something_else_gives_a_bounded_list_of_problems() {
    let text = "{\"json\": [1, 2]}\n".repeat(1000);
    let found = problems(&file(&text));
    assert!(
        found.len() <= crate::limits::MAX_FORM_PROBLEMS + 1,
        "{}",
        found.len()
    );
    let huge = "#".repeat(crate::limits::MAX_FILE + 1);
    assert!(complaint(&huge).contains("1 MiB"));
}

#[test]
fn deep_nesting_is_a_problem_and_no_stack_overflow() {
    let deep = alloc::format!("x = {}", "[".repeat(100_000));
    assert!(!problems(&file(&deep)).is_empty());
    let deep = alloc::format!("{}x = 1", "a.".repeat(20_000));
    assert!(!problems(&file(&deep)).is_empty());
}

#[test]
fn a_broken_value_is_reported_even_where_a_higher_source_wins() {
    let mut sources = file("[mqtt]\nmax_connections = \"many\"\n");
    sources.env = vec![("SAFEPORT__MQTT__MAX_CONNECTIONS", "7")];
    assert_eq!(problems(&sources).len(), 1);
}

#[test]
fn an_empty_variable_is_a_value_and_not_the_default() {
    let sources = Sources {
        env: vec![("SAFEPORT__MQTT__MAX_CONNECTIONS", "")],
        ..Sources::default()
    };
    assert_eq!(problems(&sources).len(), 1);
}

#[test]
fn variables_that_are_nearly_ours_are_named_and_others_left_alone() {
    let with = |variable| Sources {
        env: vec![(variable, "127.0.0.1:1")],
        ..Sources::default()
    };
    for (variable, near) in [
        ("SAFEPORT__MQTT__BNID", "did you mean SAFEPORT__MQTT__BIND?"),
        ("SAFEPORT__mqtt__bind", "did you mean SAFEPORT__MQTT__BIND?"),
        ("SAFEPORT_MQTT_BIND", "did you mean SAFEPORT__MQTT__BIND?"),
        ("SAFEPORT__X", "the form is SAFEPORT__SECTION__KEY"),
    ] {
        let found = problems(&with(variable));
        assert_eq!(
            found[0]
                .help
                .en
                .split(';')
                .next()
                .unwrap()
                .split(", for")
                .next(),
            Some(near)
        );
    }
    for variable in ["SAFEPORT_PORT", "SAFEPORTS__MQTT__BIND", "HOME"] {
        assert!(Settings::parse(&with(variable)).is_ok(), "{variable}");
    }
}

#[test]
fn two_files_that_disagree_are_a_problem_naming_both_places() {
    let both = |other| Sources {
        files: vec![
            FileSource {
                path: "conf.d/05-log.toml",
                drop_in: true,
                text: "[log]\nlevel = 'info'",
            },
            FileSource {
                path: "conf.d/10-log.toml",
                drop_in: true,
                text: other,
            },
        ],
        ..Sources::default()
    };
    let found = problems(&both("[log]\nlevel = 'debug'"));
    let text = shown(&found);
    assert_eq!(found.len(), 1, "{text}");
    assert!(
        text.contains("conf.d/05-log.toml:2:9") && text.contains("conf.d/10-log.toml:2:9"),
        "{text}"
    );
    // The same value twice is no quarrel, and other keys are simply merged.
    assert!(Settings::parse(&both("[log]\nlevel = 'info'")).is_ok());
    let merged = Settings::parse(&both("[log]\nformat = 'json'")).unwrap();
    assert_eq!(merged.log.format, LogFormat::Json);
}

#[test]
fn listeners_that_want_one_port_are_refused_naming_both_keys() {
    let problem = &problems(&file("[http]\nbind = \"127.0.0.1:1883\"\n"))[0];
    let text = problem.to_string();
    assert_eq!(problem.key.as_deref(), Some("http.bind"));
    assert_eq!(problem.source.to_string(), "safeport.toml:2:8");
    assert_eq!(
        problem.related,
        Some(("mqtt.bind".to_string(), Source::Default))
    );
    assert!(text.contains("http.bind = \"127.0.0.1:1884\""), "{text}");
    // Switched off, a listener takes no port.
    parse("[http]\nbind = \"127.0.0.1:1883\"\n[mqtt]\nenabled = false\n");
    // The key set by hand is the one pointed at, whichever comes first.
    let problem = &problems(&file("[mqtt]\nbind = \"0.0.0.0:8883\"\n"))[0];
    assert_eq!(problem.key.as_deref(), Some("mqtt.bind"));
    // Three at one place are three pairs.
    let all = "[mqtt]\nbind='[::]:1'\n[mqtts]\nbind='0.0.0.0:1'\n[http]\nbind='127.0.0.1:1'\n";
    assert_eq!(problems(&file(all)).len(), 3);
}

#[test]
fn a_broken_bind_address_is_not_blamed_for_a_clash_as_well() {
    let found = problems(&file(
        "[mqtt]\nbind = \"x\"\n[http]\nbind = \"0.0.0.0:1883\"\n",
    ));
    assert_eq!(found.len(), 1, "{}", shown(&found));
}

#[test]
fn a_server_without_any_listener_is_refused() {
    let off = "[mqtt]\nenabled = false\n[mqtts]\nenabled = false\n[http]\nenabled = false\n\
               [https]\nenabled = false\n";
    let complaint = complaint(off);
    assert!(complaint.contains("nobody could connect"), "{complaint}");
}

#[test]
fn values_list_every_key_with_its_meaning_and_toml_text() {
    let settings = parse("[http]\nbind = \"127.0.0.1:80\"\n");
    let entries: Vec<Entry<'_>> = settings.values().collect();
    assert_eq!(entries.len(), keys().count());
    let bind = entries
        .iter()
        .find(|entry| entry.key == "http.bind")
        .unwrap();
    assert_eq!(bind.value, "\"127.0.0.1:80\"");
    assert_eq!(bind.default, "[::]:8002");
    assert_eq!(bind.source.to_string(), "safeport.toml:2:8");
    assert!(
        entries.iter().all(|entry| !entry.doc.is_empty()),
        "every key is explained"
    );
    // What is shown can be written into a file again.
    let mut text = String::new();
    for entry in &entries {
        text.push_str(&alloc::format!("{} = {}\n", entry.key, entry.value));
    }
    assert_eq!(shown_values(&parse(&text)), shown_values(&settings));
}

#[test]
fn the_example_file_gives_the_defaults_with_and_without_its_hash_marks() {
    let defaults = Settings::parse(&Sources::default()).unwrap();
    for language in [Language::En, Language::ZhCn] {
        let example = Settings::example_in(language);
        assert_eq!(parse(&example), defaults);
        let filled: String = example
            .lines()
            .map(|line| alloc::format!("{}\n", uncommented(line).unwrap_or(line)))
            .collect();
        let filled_in = parse(&filled);
        let known = shown_values(&defaults);
        assert_eq!(shown_values(&filled_in)[..known.len()], known);
        assert_eq!(filled_in.proxy.len(), 1);
        assert_eq!((filled_in.provider.len(), filled_in.agent.len()), (1, 1));
        assert!(
            filled_in
                .values()
                .all(|entry| matches!(entry.source, Source::File { .. })),
            "every key stands in the example"
        );
        assert!(example.lines().all(|line| line.chars().count() <= 100));
    }
}

/// A line of the example without the mark that keeps it from counting.
fn uncommented(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| !rest.starts_with(' '))
}

#[test]
fn any_one_line_of_the_example_counts_once_its_hash_mark_is_gone() {
    let example = Settings::example();
    let lines: Vec<&str> = example.lines().collect();
    let mut counted = 0;
    for (index, line) in lines.iter().enumerate() {
        let Some(setting) = uncommented(line) else {
            continue;
        };
        let mut text: Vec<&str> = lines.clone();
        text[index] = setting;
        // A named entry needs its heading and what has no default, too.
        let heading = lines[..=index]
            .iter()
            .rposition(|line| line.starts_with('[') || line.starts_with("#["));
        if let Some(heading) = heading
            && lines[heading].starts_with('#')
        {
            text[heading] = &lines[heading][1..];
            let needed = lines[heading..].iter().position(|line| {
                let key = if lines[heading] == "#[proxy.front]" {
                    "#url"
                } else {
                    "#kind"
                };
                line.starts_with(key) && !lines[heading].starts_with("#[agent")
            });
            if let Some(needed) = needed {
                text[heading + needed] = &lines[heading + needed][1..];
            }
        }
        parse(&text.join("\n"));
        counted += 1;
    }
    // The headings of the named sections have a mark, too.
    assert_eq!(counted, crate::table::all_keys().count() + 3);
}

#[test]
fn the_limits_of_the_table_enclose_its_defaults() {
    for spec in keys() {
        if let Some((least, most)) = spec.range {
            for value in [least, most, spec.default.unwrap()] {
                let variable = spec.variable(None);
                let sources = Sources {
                    env: vec![(variable.as_str(), value)],
                    ..Sources::default()
                };
                if let Err(problems) = Settings::parse(&sources) {
                    panic!("{value}: {}", shown(&problems));
                }
            }
        }
    }
}

/// Lines that look like settings, to get past the reader of TOML.
fn nearly_toml() -> impl Strategy<Value = String> {
    let names: Vec<String> = keys()
        .flat_map(|spec| {
            [
                spec.name.to_string(),
                spec.section.to_string(),
                spec.full_name(None),
            ]
        })
        .collect();
    let name = prop_oneof![
        4 => proptest::sample::select(names),
        1 => "[a-z_.\"]{0,8}",
    ];
    let value = prop_oneof![
        "[0-9]{1,25}",
        "\"[^\"\\n]{0,12}\"",
        "\"[0-9]{1,21}(s|ms|w|KiB|GiB|x)\"",
        Just("true".to_string()),
        Just("[1, {a = 2}]".to_string()),
        Just("1979-05-27".to_string()),
        ".{0,6}",
    ];
    let line = (name, value, 0..4u8).prop_map(|(name, value, shape)| match shape {
        0 => alloc::format!("[{name}]"),
        1 => alloc::format!("[[{name}]]"),
        _ => alloc::format!("{name} = {value}"),
    });
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

fn judge(text: &str) -> Result<(), TestCaseError> {
    if let Err(problems) = Settings::parse(&file(text)) {
        prop_assert!(!problems.is_empty());
        for problem in problems {
            prop_assert!(!problem.what.en.is_empty() && !problem.help.en.is_empty());
            if let Source::File { location, .. } = &problem.source {
                prop_assert!(text.get(location.span.clone()).is_some());
                let line = text.split('\n').nth(location.line - 1).unwrap();
                prop_assert!(location.column <= line.chars().count() + 1);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic_and_every_problem_points_into_it(text: String) {
        judge(&text)?;
    }

    #[test]
    fn nothing_that_looks_like_settings_does_either(text in nearly_toml()) {
        judge(&text)?;
    }

    #[test]
    fn no_value_in_a_variable_or_flag_does_either(index in 0..1000usize, value: String, name: String) {
        let spec = keys().nth(index % keys().count()).unwrap();
        let (variable, key) = (spec.variable(None), spec.full_name(None));
        let odd = alloc::format!("SAFEPORT__{name}");
        let _ = Settings::parse(&Sources {
            env: vec![(&variable, &value), (&odd, &value)],
            flags: vec![
                FlagSource { flag: "--set", key: &key, value: &value },
                FlagSource { flag: "--set", key: &name, value: &value },
            ],
            ..Sources::default()
        });
    }
}
