//! What the sources may say, who wins, and what is said about it.

use safeport_settings::{
    Audience, Fate, FileSource, FlagSource, HostName, Language, ManagedValue, Problem, Scope,
    Settings, Source, Sources, key_info, nearest_key, read_value, sections,
};

fn file(text: &str) -> FileSource<'_> {
    FileSource {
        path: "safeport.toml",
        text,
        drop_in: false,
    }
}

fn drop_in<'a>(path: &'a str, text: &'a str) -> FileSource<'a> {
    FileSource {
        path,
        text,
        drop_in: true,
    }
}

fn managed<'a>(scope: Scope, key: &'a str, value: &'a str, revision: u64) -> ManagedValue<'a> {
    ManagedValue {
        scope,
        key,
        value,
        revision,
        who: "cli:anna",
        at: 1_700_000_000,
    }
}

fn everyone<'a>(key: &'a str, value: &'a str) -> ManagedValue<'a> {
    managed(Scope::Everyone, key, value, 12)
}

fn tag<'a>(tag: &str, key: &'a str, value: &'a str) -> ManagedValue<'a> {
    managed(Scope::Tag(tag.to_owned()), key, value, 13)
}

fn device<'a>(device: &str, key: &'a str, value: &'a str) -> ManagedValue<'a> {
    managed(Scope::Device(device.to_owned()), key, value, 14)
}

fn parse(sources: &Sources<'_>) -> Settings {
    Settings::parse(sources).unwrap_or_else(|problems| panic!("{}", shown(&problems)))
}

fn problems(sources: &Sources<'_>) -> Vec<Problem> {
    Settings::parse(sources).expect_err("there is something wrong")
}

fn shown(problems: &[Problem]) -> String {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    all.join("\n")
}

/// The one problem there is, as text.
fn complaint(sources: &Sources<'_>) -> String {
    let problems = problems(sources);
    assert_eq!(problems.len(), 1, "{}", shown(&problems));
    shown(&problems)
}

fn fates(settings: &Settings, key: &str) -> Vec<(String, String, Fate)> {
    let explained = settings.explain(key).expect("a known key");
    explained
        .ladder
        .into_iter()
        .map(|rung| (rung.source.to_string(), rung.value, rung.fate))
        .collect()
}

#[test]
fn every_rank_beats_the_one_below_it_and_the_ladder_tells_the_whole_story() {
    let mut sources = Sources {
        managed: vec![
            device("plug-1", "advertise.host", "\"h50\""),
            tag("kitchen", "advertise.host", "\"h40\""),
            everyone("advertise.host", "\"h30\""),
        ],
        flags: vec![FlagSource {
            flag: "--host",
            key: "advertise.host",
            value: "h25",
        }],
        env: vec![("SAFEPORT__ADVERTISE__HOST", "h20")],
        files: vec![
            drop_in("conf.d/10.toml", "[advertise]\nhost = \"h12\"\n"),
            file("[advertise]\nhost = \"h10\"\n"),
        ],
        audience: Some(Audience {
            device: "plug-1",
            tags: vec!["kitchen"],
        }),
        ..Sources::default()
    };
    let settings = parse(&sources);
    let sources_of: Vec<(String, Fate)> = fates(&settings, "advertise.host")
        .into_iter()
        .map(|(source, _, fate)| (source, fate))
        .collect();
    let lost = Fate::Outranked;
    assert_eq!(
        sources_of,
        [
            ("default".to_owned(), lost),
            ("safeport.toml:2:8".to_owned(), lost),
            ("conf.d/10.toml:2:8".to_owned(), lost),
            ("SAFEPORT__ADVERTISE__HOST".to_owned(), lost),
            ("--host".to_owned(), lost),
            ("revision 12 by cli:anna".to_owned(), lost),
            ("tag kitchen, revision 13 by cli:anna".to_owned(), lost),
            (
                "device plug-1, revision 14 by cli:anna".to_owned(),
                Fate::Won
            ),
        ]
    );
    // Taking the winner away lets the next one win, down to the default.
    let mut expected = ["h50", "h40", "h30", "h25", "h20", "h12", "h10", "auto"].iter();
    let mut check = |sources: &Sources<'_>| {
        let explained = parse(sources).explain("advertise.host").unwrap();
        assert_eq!(explained.value, format!("\"{}\"", expected.next().unwrap()));
    };
    check(&sources);
    for _ in 0..3 {
        sources.managed.remove(0);
        check(&sources);
    }
    sources.flags.clear();
    check(&sources);
    sources.env.clear();
    check(&sources);
    for _ in 0..2 {
        sources.files.remove(0);
        check(&sources);
    }
}

#[test]
fn values_of_tags_and_devices_count_only_for_those_they_concern() {
    let mut sources = Sources {
        managed: vec![
            tag("kitchen", "advertise.tls", "true"),
            device("plug-1", "advertise.host", "\"10.0.0.9\""),
        ],
        ..Sources::default()
    };
    let told = |sources: &Sources<'_>| {
        let settings = parse(sources);
        let host = settings.explain("advertise.host").unwrap().value;
        (settings.advertise.tls, host)
    };
    assert_eq!(told(&sources), (false, "\"auto\"".to_owned()));
    sources.audience = Some(Audience {
        device: "plug-2",
        tags: vec!["kitchen"],
    });
    assert_eq!(told(&sources), (true, "\"auto\"".to_owned()));
    sources.audience = Some(Audience {
        device: "plug-1",
        tags: vec![],
    });
    assert_eq!(told(&sources), (false, "\"10.0.0.9\"".to_owned()));
}

#[test]
fn two_tags_that_disagree_need_an_order_and_then_the_later_wins() {
    let mut sources = Sources {
        managed: vec![
            tag("kitchen", "advertise.host", "\"10.0.0.1\""),
            tag("upstairs", "advertise.host", "\"10.0.0.2\""),
        ],
        audience: Some(Audience {
            device: "plug-1",
            tags: vec!["kitchen", "upstairs"],
        }),
        ..Sources::default()
    };
    let text = complaint(&sources);
    assert!(
        text.contains("tag kitchen") && text.contains("tag upstairs"),
        "{text}"
    );
    assert!(text.contains("tags.order = ["), "{text}");
    for (order, host) in [
        ("[tags]\norder = [\"kitchen\", \"upstairs\"]\n", "10.0.0.2"),
        ("[tags]\norder = [\"upstairs\", \"kitchen\"]\n", "10.0.0.1"),
    ] {
        sources.files = vec![file(order)];
        let explained = parse(&sources).explain("advertise.host").unwrap();
        assert_eq!(explained.value, format!("\"{host}\""));
    }
    // One of them in the order says nothing about the two.
    sources.files = vec![file("[tags]\norder = [\"kitchen\"]\n")];
    assert_eq!(problems(&sources).len(), 1);
    // Saying the same is no disagreement.
    sources.managed[1].value = "\"10.0.0.1\"";
    parse(&sources);
}

#[test]
fn conf_d_beats_the_settings_file_and_two_of_its_files_must_not_disagree() {
    let main = file("[log]\nlevel = \"info\"\nformat = \"json\"\n");
    let one = drop_in("conf.d/10.toml", "[log]\nlevel = \"warn\"\n");
    let two = drop_in("conf.d/20.toml", "[log]\nlevel = \"debug\"\n");
    let with = |files: &[FileSource<'static>]| Sources {
        files: files.to_vec(),
        ..Sources::default()
    };
    let settings = parse(&with(&[main, one]));
    assert_eq!(settings.log.level, "warn");
    assert_eq!(settings.explain("log.format").unwrap().value, "\"json\"");
    for files in [[main, one, two], [two, main, one]] {
        let text = complaint(&with(&files));
        assert!(text.contains("conf.d/10.toml:2:9"), "{text}");
        assert!(text.contains("conf.d/20.toml:2:9"), "{text}");
    }
}

#[test]
fn local_keys_are_refused_from_far_away() {
    for key in [
        "server.data",
        "mqtt.enabled",
        "http.bind",
        "https.on_conflict",
        "http.standard_ports",
        "access.anonymous",
        "engine.loops",
        "storage.durability",
        "log.format",
        "config.pin",
        "config.confirm",
    ] {
        let settings = parse(&Sources::default());
        let default = settings.explain(key).unwrap().value;
        let refused = settings.may_manage(key).unwrap_err();
        assert!(
            refused.to_string().contains("on the machine itself"),
            "{refused}"
        );
        let sources = Sources {
            managed: vec![everyone(key, &default)],
            ..Sources::default()
        };
        let text = complaint(&sources);
        assert!(text.contains("on the machine itself"), "{text}");
        let (settings, _) = Settings::parse_lenient(&sources);
        assert_eq!(fates(&settings, key).last().unwrap().2, Fate::Refused);
    }
}

#[test]
fn all_other_keys_may_be_managed() {
    let settings = parse(&Sources::default());
    let mut count = 0;
    for entry in settings.values().filter(|entry| !entry.policy.local) {
        assert_eq!(settings.may_manage(&entry.key), Ok(()), "{}", entry.key);
        let sources = Sources {
            managed: vec![everyone(&entry.key, &entry.value)],
            ..Sources::default()
        };
        let managed = parse(&sources);
        assert!(matches!(
            managed.source(&entry.key),
            Some(Source::Managed { .. })
        ));
        count += 1;
    }
    assert!(count > 20, "{count}");
    assert_eq!(settings.may_manage("proxy.front.url"), Ok(()));
    assert!(
        settings
            .may_manage("mqtt.bnd")
            .unwrap_err()
            .to_string()
            .contains("mqtt.bind")
    );
}

#[test]
fn only_keys_that_devices_are_told_can_be_set_for_some_of_them() {
    let sources = Sources {
        managed: vec![device("plug-1", "limits.patience", "\"1s\"")],
        audience: Some(Audience {
            device: "plug-1",
            tags: vec![],
        }),
        ..Sources::default()
    };
    let text = complaint(&sources);
    assert!(text.contains("for the whole server"), "{text}");
    let told: Vec<String> = sections()
        .flat_map(|section| section.keys)
        .filter(|key| key.told)
        .map(|key| key.key)
        .collect();
    assert_eq!(
        told,
        [
            "xiaozhi.agent",
            "advertise.host",
            "advertise.tls",
            "advertise.xiaozhi"
        ]
    );
}

#[test]
fn a_pinned_key_ignores_what_is_set_from_far_away_and_says_so() {
    let pins = file(
        "[config]\npin = [\"limits.patience\", \"advertise.*\"]\n[limits]\npatience = \"2s\"\n",
    );
    let sources = Sources {
        files: vec![pins],
        managed: vec![
            everyone("limits.patience", "\"9s\""),
            everyone("limits.max_inflight", "9"),
            device("plug-1", "advertise.tls", "true"),
        ],
        audience: Some(Audience {
            device: "plug-1",
            tags: vec![],
        }),
        ..Sources::default()
    };
    let settings = parse(&sources);
    assert_eq!(settings.limits.patience.as_secs(), 2);
    assert_eq!(settings.limits.max_inflight, 9);
    assert!(!settings.advertise.tls);
    assert_eq!(
        fates(&settings, "limits.patience")
            .into_iter()
            .map(|(_, value, fate)| (value, fate))
            .collect::<Vec<_>>(),
        [
            ("\"10s\"".to_owned(), Fate::Outranked),
            ("\"2s\"".to_owned(), Fate::Won),
            ("\"9s\"".to_owned(), Fate::Pinned),
        ]
    );
    let notes: Vec<String> = settings.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("revision 12 by cli:anna: limits.patience"))
    );
    for key in ["limits.patience", "advertise.host"] {
        let refused = settings.may_manage(key).unwrap_err().to_string();
        assert!(refused.starts_with("safeport.toml:2:7: "), "{refused}");
    }
    assert_eq!(settings.may_manage("limits.max_inflight"), Ok(()));
}

#[test]
fn a_pin_that_covers_nothing_is_a_mistake() {
    for (pin, expected) in [
        ("limits.patiense", "did you mean limits.patience?"),
        ("limitz.*", "there is no key limitz.* to pin"),
        ("*", "names no keys"),
        ("limits", "names no keys"),
    ] {
        let text = format!("[config]\npin = [\"{pin}\"]\n");
        let complaint = complaint(&Sources {
            files: vec![file(&text)],
            ..Sources::default()
        });
        assert!(complaint.contains(expected), "{complaint}");
    }
}

#[test]
fn sources_of_a_key_that_must_agree_are_not_ranked() {
    let text = "[storage]\ndurability = \"disk\"\n";
    let with = |value| Sources {
        files: vec![file(text)],
        env: vec![("SAFEPORT__STORAGE__DURABILITY", value)],
        ..Sources::default()
    };
    parse(&with("disk"));
    let text = complaint(&with("os"));
    assert!(text.contains("SAFEPORT__STORAGE__DURABILITY"), "{text}");
    assert!(
        text.contains("safeport.toml:2:14") && text.contains("must agree"),
        "{text}"
    );
}

#[test]
fn lists_of_several_sources_are_joined_until_one_drops_those_below() {
    let sources = |env: &'static str| Sources {
        files: vec![
            file("[advertise]\navoid = [\"10.8.0.0/16\", \"fd00::/8\"]\n"),
            drop_in("conf.d/10.toml", "[advertise]\navoid = [\"10.9.0.0/16\"]\n"),
            drop_in("conf.d/20.toml", "[advertise]\navoid = [\"10.8.0.0/16\"]\n"),
        ],
        env: vec![("SAFEPORT__ADVERTISE__AVOID", env)],
        managed: vec![everyone("advertise.avoid", "[\"10.1.2.3\"]")],
        ..Sources::default()
    };
    let joined = parse(&sources("100.64.0.0/10, 10.9.0.0/16"));
    assert_eq!(
        joined.explain("advertise.avoid").unwrap().value,
        "[\"10.8.0.0/16\", \"fd00::/8\", \"10.9.0.0/16\", \"100.64.0.0/10\", \"10.1.2.3/32\"]"
    );
    let all = fates(&joined, "advertise.avoid");
    assert_eq!(all[0].2, Fate::Outranked, "the default adds nothing");
    assert!(
        all[1..].iter().all(|(_, _, fate)| *fate == Fate::Joined),
        "{all:?}"
    );
    assert!(joined.advertise.avoid[0].contains("10.8.7.6".parse().unwrap()));
    assert!(joined.advertise.avoid[0].contains("::ffff:10.8.7.6".parse().unwrap()));
    assert!(!joined.advertise.avoid[0].contains("10.10.0.1".parse().unwrap()));

    let reset = parse(&sources("!reset, 192.168.9.0/24"));
    assert_eq!(
        reset.explain("advertise.avoid").unwrap().value,
        "[\"192.168.9.0/24\", \"10.1.2.3/32\"]"
    );
    let all = fates(&reset, "advertise.avoid");
    assert_eq!(all[4].1, "[\"!reset\", \"192.168.9.0/24\"]");
    assert!(
        all[..4].iter().all(|(_, _, fate)| *fate == Fate::Outranked),
        "{all:?}"
    );
    // Elsewhere the word means nothing.
    for text in [
        "[tags]\norder = [\"!reset\", \"a\"]\n",
        "[mqtt]\nbind = [\"!reset\", \"127.0.0.1:1\"]\n",
    ] {
        let text = complaint(&Sources {
            files: vec![file(text)],
            ..Sources::default()
        });
        assert!(text.contains("joined from several sources"), "{text}");
    }
}

#[test]
fn a_secret_is_shown_nowhere() {
    const SECRET: &str = "correct-horse-battery";
    let text = format!("[http]\nmetrics_token = \"{SECRET}\"\n");
    let quoted = format!("\"{SECRET}2\"");
    let sources = Sources {
        files: vec![
            file(&text),
            drop_in("conf.d/1.toml", "[http]\nmetrics_token = \"short\"\n"),
        ],
        managed: vec![everyone("http.metrics_token", &quoted)],
        ..Sources::default()
    };
    let (settings, problems) = Settings::parse_lenient(&sources);
    assert_eq!(settings.http.metrics_token.reveal(), format!("{SECRET}2"));
    let explained = settings.explain("http.metrics_token").unwrap();
    assert_eq!(explained.value, "\"(secret)\"");
    let everything = format!(
        "{settings:?} {explained:?} {} {:?}",
        shown(&problems),
        settings.values().collect::<Vec<_>>()
    );
    assert!(
        !everything.contains("horse") && !everything.contains("short"),
        "{everything}"
    );
    // Not even where it is written wrongly, or twice.
    for text in [
        format!("[http]\nmetrics_token = {SECRET}\n"),
        format!("[http]\nmetrics_token = \"{SECRET} with spaces\"\n"),
        format!("[http]\nmetrics_token = [\"{SECRET}\"]\n"),
    ] {
        let found = problems_of(&text);
        assert!(!found.contains("horse"), "{found}");
    }
    let twice = Sources {
        files: vec![
            drop_in(
                "conf.d/1.toml",
                "[http]\nmetrics_token = \"correct-horse-battery\"\n",
            ),
            drop_in(
                "conf.d/2.toml",
                "[http]\nmetrics_token = \"incorrect-horse-battery\"\n",
            ),
        ],
        ..Sources::default()
    };
    assert!(!complaint(&twice).contains("horse"));
    // None at all can be told apart from some.
    let none = parse(&Sources::default());
    assert_eq!(none.explain("http.metrics_token").unwrap().value, "\"\"");
}

fn problems_of(text: &str) -> String {
    shown(&problems(&Sources {
        files: vec![file(text)],
        ..Sources::default()
    }))
}

#[test]
fn proxies_are_merged_by_name_and_key() {
    let sources = Sources {
        files: vec![file(
            "[proxy.front]\nurl = \"https://hub.example.com\"\n[proxy.a-2]\nurl = \"mqtt://a.example:1884\"\nto = \"mqtt\"\n",
        )],
        env: vec![
            ("SAFEPORT__PROXY__FRONT__URL", "https://other.example:8443"),
            ("SAFEPORT__PROXY__A_2__TO", "mqtts"),
            ("SAFEPORT__PROXY__FROM_ENV__URL", "http://c.example"),
        ],
        managed: vec![everyone("proxy.front.to", "\"https\"")],
        ..Sources::default()
    };
    let settings = parse(&sources);
    let proxies: Vec<(String, String, &str)> = settings
        .proxy
        .iter()
        .map(|proxy| (proxy.name.clone(), proxy.url.to_string(), proxy.to.name()))
        .collect();
    let own = |name: &str, url: &str, to| (name.to_owned(), url.to_owned(), to);
    assert_eq!(
        proxies,
        [
            own("a-2", "mqtt://a.example:1884", "mqtts"),
            own("from-env", "http://c.example:80", "http"),
            own("front", "https://other.example:8443", "https"),
        ]
    );
    assert_eq!(
        settings.source("proxy.front.url").unwrap().to_string(),
        "SAFEPORT__PROXY__FRONT__URL"
    );
    assert_eq!(settings.explain("proxy.front.to").unwrap().ladder.len(), 2);
    assert_eq!(settings.explain("proxy.nobody.url"), None);
}

#[test]
fn proxies_that_lack_something_are_refused() {
    let many: String = (0..33)
        .map(|n| format!("[proxy.p{n}]\nurl = \"https://p{n}.example\"\n"))
        .collect();
    for (text, expected) in [
        ("[proxy.front]\nto = \"mqtt\"\n", "[proxy.front] has no url"),
        ("[proxy.front]\n", "[proxy.front] has no url"),
        (
            "[proxy.Front]\nurl = \"https://a.example\"\n",
            "cannot be a name here",
        ),
        (
            "[proxy]\nurl = \"https://a.example\"\n",
            "write [proxy.NAME] above it",
        ),
        (
            "[proxy.front]\nurl = \"https://a.example\"\nurk = 1\n",
            "did you mean url?",
        ),
        (
            "[proxy.front]\nurl = \"https://a.example\"\nto = \"htp\"\n",
            "did you mean \"http\"?",
        ),
        (
            "[proxy.front.url]\nx = 1\n",
            "write `url = …` below [proxy.front]",
        ),
        (
            "[[proxy]]\nurl = \"https://a.example\"\n",
            "below [proxy.NAME] you can set url or to",
        ),
        (&many, "more than 32"),
    ] {
        let found = problems_of(text);
        assert!(found.contains(expected), "{text}\n{found}");
    }
    for variable in ["SAFEPORT__PROXY__FRONT__URK", "SAFEPORT__PROXY____URL"] {
        let sources = Sources {
            env: vec![(variable, "https://a.example")],
            ..Sources::default()
        };
        assert_eq!(problems(&sources).len(), 1, "{variable}");
    }
}

#[test]
fn port_0_is_for_flags_only() {
    let flag = Sources {
        flags: vec![FlagSource {
            flag: "--bind",
            key: "mqtt.bind",
            value: "127.0.0.1:0",
        }],
        ..Sources::default()
    };
    assert_eq!(parse(&flag).mqtt.bind.first().port, 0);
    let env = Sources {
        env: vec![("SAFEPORT__MQTT__BIND", "127.0.0.1:0")],
        ..Sources::default()
    };
    let in_file = Sources {
        files: vec![file("[mqtt]\nbind = [\"127.0.0.1:1\", \"127.0.0.1:0\"]\n")],
        ..Sources::default()
    };
    for sources in [env, in_file] {
        let text = complaint(&sources);
        assert!(text.contains("another port at every start"), "{text}");
        assert!(text.contains("write 1 to 65535"), "{text}");
    }
}

#[test]
fn binds_are_one_text_or_a_list_with_addresses_and_names() {
    let settings = parse(&Sources {
        files: vec![file(
            "[mqtt]\nbind = [\"127.0.0.1:1883\", \"[::1]:1883\", \"Hub.lan:1884\"]\non_conflict = \"18883 - 18892\"\n",
        )],
        env: vec![("SAFEPORT__HTTP__BIND", "127.0.0.1:80, [::1]:80")],
        ..Sources::default()
    });
    assert_eq!(
        settings.mqtt.bind.to_string(),
        "127.0.0.1:1883, [::1]:1883, hub.lan:1884"
    );
    assert_eq!(settings.mqtt.bind.len(), 3);
    assert!(matches!(
        settings.mqtt.bind.iter().last().unwrap().host,
        HostName::Name(_)
    ));
    assert_eq!(settings.http.bind.len(), 2);
    assert_eq!(settings.names(), ["hub.lan"]);
    assert_eq!(
        settings.explain("mqtt.on_conflict").unwrap().value,
        "\"18883-18892\""
    );
    let many = format!("[mqtt]\nbind = [{}]\n", "\"127.0.0.1:1\", ".repeat(9));
    for (text, expected) in [
        ("[mqtt]\nbind = []\n", "write 1 to 8 addresses"),
        (&many, "write 1 to 8 addresses"),
        (
            "[mqtt]\nbind = \"1.2.3.4:70000\"\n",
            "port 70000, which does not exist",
        ),
        ("[mqtt]\nbind = 1883\n", "\"[::]:1883\""),
        ("[mqtt]\non_conflict = \"2-1\"\n", "ends before it begins"),
        ("[mqtt]\non_conflict = \"0-10\"\n", "begins at port 0"),
        ("[mqtt]\non_conflict = \"1-1001\"\n", "has 1001 ports"),
        (
            "[mqtt]\non_conflict = \"1-70000\"\n",
            "beyond the last port",
        ),
        (
            "[mqtt]\non_conflict = \"fial\"\n",
            "neither \"fail\" nor a range",
        ),
        ("[mqtt]\non_conflict = 18883\n", "18883-18892"),
    ] {
        let found = problems_of(text);
        assert!(found.contains(expected), "{text}\n{found}");
    }
    parse(&Sources {
        files: vec![file("[mqtt]\non_conflict = \"1-1000\"\n")],
        ..Sources::default()
    });
}

#[test]
fn what_devices_are_told_is_looked_at_closely() {
    for (host, expected) in [
        ("http://hub.lan", "hub.lan"),
        ("hub.lan:1883", "hub.lan"),
        ("hub.lan/mqtt", "/mqtt"),
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("0.0.0.0", "0.0.0.0"),
        ("172.17.0.2", "172.17.0.2"),
        ("", ""),
    ] {
        let text = format!("[advertise]\nhost = \"{host}\"\n");
        let found = problems_of(&text);
        assert!(found.contains(expected), "{host}\n{found}");
    }
    for (avoid, expected) in [
        ("10.8.0.0/33", "length from 0 to 32"),
        ("10.8.0.1/16", "write \"10.8.0.0/16\""),
        ("ten", "is no network"),
        ("fd00::/129", "length from 0 to 128"),
    ] {
        let text = format!("[advertise]\navoid = [\"{avoid}\"]\n");
        let found = problems_of(&text);
        assert!(found.contains(expected), "{avoid}\n{found}");
    }
}

#[test]
fn of_two_revisions_for_one_scope_the_higher_holds() {
    for order in [[0, 1], [1, 0]] {
        let rows = [
            managed(Scope::Everyone, "limits.patience", "\"1s\"", 3),
            managed(Scope::Everyone, "limits.patience", "\"2s\"", 10),
        ];
        let settings = parse(&Sources {
            managed: order
                .iter()
                .map(|index: &usize| rows[*index].clone())
                .collect(),
            ..Sources::default()
        });
        assert_eq!(settings.limits.patience.as_secs(), 2);
    }
}

#[test]
fn a_managed_value_of_no_use_is_a_problem_that_names_its_revision() {
    for (key, value, expected) in [
        ("limits.patience", "\"9h\"", "too big"),
        ("limits.patience", "= [", "not TOML"),
        ("limits.patiense", "\"1s\"", "did you mean limits.patience?"),
    ] {
        let text = complaint(&Sources {
            managed: vec![everyone(key, value)],
            ..Sources::default()
        });
        assert!(text.starts_with("revision 12 by cli:anna: "), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_broken_file_still_tells_where_the_data_lies() {
    let (settings, problems) = Settings::parse_lenient(&Sources {
        files: vec![file(
            "[server]\ndata = \"/srv/hub\"\n[mqtt]\nmax_connections = \"many\"\nbind = 0.0.0.0:1\n[limits\npatience = 1\n",
        )],
        ..Sources::default()
    });
    assert_eq!(problems.len(), 3, "{}", shown(&problems));
    assert_eq!(
        settings.server.data.resolve(&[], false).as_deref(),
        Some("/srv/hub")
    );
    assert_eq!(settings.mqtt.max_connections, 10_000);
    let rungs = fates(&settings, "mqtt.max_connections");
    assert_eq!(rungs[0].2, Fate::Won);
    assert_eq!(
        (rungs[1].1.as_str(), rungs[1].2),
        ("\"many\"", Fate::Unusable)
    );
}

#[test]
fn every_problem_is_said_in_chinese_too() {
    let sources = Sources {
        files: vec![
            file("[mqtt]\nbnd = 1\nbind = \"x\"\n[proxy.front]\n[limits]\npatience = \"1 h 3\"\n"),
            drop_in("conf.d/1.toml", "[log]\nlevel = \"loud\"\nformat = 3\n"),
        ],
        env: vec![("SAFEPORT__MQTT__BNID", "x")],
        managed: vec![everyone("server.data", "\"/x\"")],
        ..Sources::default()
    };
    let problems = problems(&sources);
    assert!(problems.len() >= 8, "{}", shown(&problems));
    for problem in problems {
        let text = problem.text(Language::ZhCn);
        assert!(text.contains("办法: "), "{text}");
        for said in [&problem.what, &problem.help] {
            assert!(
                said.zh
                    .chars()
                    .any(|c| ('\u{4e00}'..'\u{9fff}').contains(&c)),
                "{said:?}"
            );
        }
    }
}

#[test]
fn a_value_typed_at_a_shell_is_read_as_the_key_wants_it() {
    for (key, typed, toml) in [
        ("limits.patience", "5s", "\"5s\""),
        ("limits.patience", "\"5s\"", "\"5s\""),
        ("limits.max_inflight", "1_000", "1000"),
        ("advertise.tls", "true", "true"),
        ("mqtt.bind", "[::]:1883", "\"[::]:1883\""),
        (
            "mqtt.bind",
            "[::]:1883,0.0.0.0:1884",
            "[\"[::]:1883\", \"0.0.0.0:1884\"]",
        ),
        ("mqtt.bind", "[\"[::]:1883\"]", "\"[::]:1883\""),
        (
            "advertise.avoid",
            "10.8.0.0/16,10.9.0.0/16",
            "[\"10.8.0.0/16\", \"10.9.0.0/16\"]",
        ),
        (
            "advertise.avoid",
            "!reset, 10.8.0.0/16",
            "[\"!reset\", \"10.8.0.0/16\"]",
        ),
        ("advertise.avoid", "[\"!reset\"]", "[\"!reset\"]"),
        ("advertise.avoid", "", "[]"),
        ("server.name", "我家", "\"我家\""),
        (
            "proxy.front.url",
            "https://hub.example.com",
            "\"https://hub.example.com:443\"",
        ),
        (
            "http.metrics_token",
            "0123456789abcdef",
            "\"0123456789abcdef\"",
        ),
    ] {
        assert_eq!(read_value(key, typed).as_deref(), Ok(toml), "{key} {typed}");
    }
    for (key, typed, expected) in [
        ("limits.patience", "5 apples", "no unit"),
        ("limits.patiense", "5s", "did you mean limits.patience?"),
        ("mqtt.bind", "0.0.0.0:0", "another port"),
        ("advertise.avoid", "[\"ten\"]", "is no network"),
    ] {
        let problem = read_value(key, typed).unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
        assert!(
            problem.starts_with("VALUE: ") || problem.starts_with("KEY: "),
            "{problem}"
        );
    }
}

#[test]
fn keys_are_known_with_all_there_is_to_know_and_found_by_nearly_their_name() {
    let info = key_info("limits.patience").unwrap();
    assert_eq!((info.default, info.limits), ("10s", Some(("0s", "600s"))));
    assert!(info.live && !info.local && !info.told && !info.secret && !info.lockout);
    assert!(key_info("http.bind").unwrap().lockout && key_info("https.enabled").unwrap().lockout);
    assert!(!key_info("mqtt.bind").unwrap().lockout);
    assert!(key_info("http.metrics_token").unwrap().secret);
    assert_eq!(key_info("proxy.any-name.url").unwrap().default, "");
    assert_eq!(key_info("proxy.url"), None);
    assert_eq!(key_info("proxy.No.url"), None);
    assert_eq!(key_info("limits"), None);
    for (typed, near) in [
        ("limits.patiense", Some("limits.patience")),
        ("max_inflight", Some("limits.max_inflight")),
        // Two keys end so: naming one of them would be a guess.
        ("patience", None),
        ("limits.max-inflight", Some("limits.max_inflight")),
        ("quite.something.else", None),
    ] {
        assert_eq!(nearest_key(typed).as_deref(), near, "{typed}");
    }
    // What holds only after a restart is what cannot be changed in a running process.
    let restart: Vec<String> = sections()
        .flat_map(|section| section.keys)
        .filter(|key| !key.live)
        .map(|key| key.key)
        .collect();
    assert_eq!(
        restart,
        [
            "server.data",
            "engine.loops",
            "storage.durability",
            "storage.skip_damaged",
            "log.format"
        ]
    );
}
