//! Topic names and filters: section 4.7 and 4.8 of MQTT 5.

#[path = "../../../fuzz/src/mqtt.rs"]
#[allow(dead_code, unreachable_pub)]
mod mqtt;
#[path = "../../../fuzz/src/packets.rs"]
#[allow(dead_code, unreachable_pub)]
mod packets;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use proptest::prelude::*;
use safeport_mqtt::{TopicError, TopicFilter, TopicName, limits::MAX_TOPIC_LEVELS};

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_examples_of_the_specification_match_as_it_says() {
    let cases = [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/ranking",
            true,
        ),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
            true,
        ),
        ("sport/#", "sport", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/broker", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/broker", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("ACCOUNTS", "Accounts", false),
        ("/finance", "finance", false),
        ("a b", "a b", true),
        ("a/#", "a/$SYS", true),
        ("a/#", "ab", false),
        ("a", "a/b", false),
        ("a/b", "a", false),
        ("$share/g/a/+", "a/b", true),
        ("$share/g/a/+", "$share/g/a/b", false),
    ];
    for (pattern, name, expected) in cases {
        assert_eq!(
            filter(pattern).matches(name),
            expected,
            "{pattern} and {name}"
        );
    }
}

#[test]
fn a_filter_covers_what_it_leaves_nothing_of() {
    let cases = [
        ("#", "#", true),
        ("#", "+", true),
        ("#", "a/b", true),
        ("#", "/", true),
        ("#", "$SYS/#", false),
        ("+/#", "$SYS/#", false),
        ("$SYS/#", "$SYS/a", true),
        // Every topic has a first level, and `#` stands for its parent too.
        ("+/#", "#", true),
        ("+/+/#", "#", false),
        ("+/+", "#", false),
        ("a/#", "a", true),
        ("a/#", "a/#", true),
        ("a/#", "a/+/b", true),
        ("a/#", "#", false),
        ("a/+", "a/#", false),
        ("a/+/#", "a/#", false),
        ("a/+", "a/+", true),
        ("a/+", "a/b", true),
        ("a/b", "a/+", false),
        ("+/b", "a/b", true),
        ("+/b", "a/+", false),
        ("a", "a/b", false),
        ("plug/#", "$share/g/plug/1", true),
        ("$share/g/plug/#", "plug/1", true),
    ];
    for (wide, narrow, expected) in cases {
        assert_eq!(
            filter(wide).covers(&filter(narrow)),
            expected,
            "{wide} over {narrow}"
        );
    }
}

#[test]
fn a_shared_filter_is_taken_apart() {
    let shared = filter("$share/workers/tele/+/STATE");
    assert_eq!(shared.share_group(), Some("workers"));
    assert_eq!(shared.filter(), "tele/+/STATE");
    assert_eq!(shared.as_str(), "$share/workers/tele/+/STATE");
    assert_eq!(shared.levels().collect::<Vec<_>>(), ["tele", "+", "STATE"]);
    // The filter behind the group may begin with a slash.
    assert_eq!(filter("$share/g//a").filter(), "/a");
    for plain in [
        "$share",
        "$shared/g/a",
        "share/g/a",
        "$SHARE/g/a",
        "/$share/g/a",
    ] {
        assert_eq!(filter(plain).share_group(), None, "{plain}");
        assert_eq!(filter(plain).filter(), plain);
    }
}

#[test]
fn what_is_no_topic_is_refused_by_name() {
    let long = "x".repeat(65_536);
    let deep = "/".repeat(MAX_TOPIC_LEVELS);
    for (text, error) in [
        ("", TopicError::Empty),
        ("a\0", TopicError::NullCharacter),
        (long.as_str(), TopicError::TooLong { len: 65_536 }),
        (deep.as_str(), TopicError::TooDeep),
    ] {
        assert_eq!(TopicName::new(text), Err(error));
        assert_eq!(TopicFilter::new(text), Err(error));
    }
    assert_eq!(TopicName::new("a/+"), Err(TopicError::Wildcard));
    assert_eq!(TopicName::new("a#"), Err(TopicError::Wildcard));
    assert_eq!(
        TopicFilter::new("a/#/b"),
        Err(TopicError::MisplacedWildcard)
    );
    assert_eq!(
        TopicFilter::new("$share/g"),
        Err(TopicError::MalformedShare)
    );
    // The longest and the deepest that are allowed.
    assert!(TopicName::new(&long[1..]).is_ok());
    assert!(TopicName::new(&deep[1..]).is_ok());
    assert!(TopicFilter::new(&format!("$share/g/{}", &deep[1..])).is_ok());
    assert_eq!(TopicName::new("/a/").expect("valid").levels().count(), 3);
}

#[test]
fn a_bad_character_is_found_wherever_it_stands_in_a_name_of_any_length() {
    for len in 1..40 {
        for at in 0..len {
            for bad in [b'+', b'#', 0] {
                // 0x01, `"`, `*` and `,` are neighbours of the bad ones, 0xC3 0xA9 is not ASCII.
                for fill in ["a", "\u{1}", "\"", "*", ",", "é"] {
                    let mut name = fill.repeat(len);
                    name.truncate(at * fill.len());
                    name.push(char::from(bad));
                    name.extend(std::iter::repeat_n(fill, len - at - 1));
                    assert!(TopicName::new(&name).is_err(), "{name:?}");
                    let name = name.replace(char::from(bad), fill);
                    assert!(TopicName::new(&name).is_ok(), "{name:?}");
                }
            }
        }
    }
}

/// Filters of up to three levels over a small alphabet: few enough to try every topic.
fn small_filter() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["+", "+", "#", "a", "b", "$a", ""]);
    prop::collection::vec(level, 1..=3).prop_map(|mut levels| {
        if let Some(end) = levels.iter().position(|level| *level == "#") {
            levels.truncate(end + 1);
        }
        match levels.join("/") {
            text if text.is_empty() => String::from("a"),
            text => text,
        }
    })
}

/// Every topic of up to five levels over that alphabet and a word of which no filter knows.
fn small_topics() -> Vec<String> {
    let alphabet = ["a", "b", "$a", "", "z"];
    let mut all: Vec<String> = alphabet.map(String::from).into();
    let mut longest = all.clone();
    for _ in 1..5 {
        longest = longest
            .iter()
            .flat_map(|name| alphabet.map(|level| format!("{name}/{level}")))
            .collect();
        all.extend(longest.iter().cloned());
    }
    all.retain(|name| !name.is_empty());
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn covers_means_exactly_that_every_topic_is_matched(
        wide in small_filter(),
        narrow in small_filter(),
    ) {
        let (wide, narrow) = (filter(&wide), filter(&narrow));
        let all_matched = small_topics()
            .iter()
            .filter(|name| mqtt::slow_match(narrow.as_str(), name))
            .all(|name| mqtt::slow_match(wide.as_str(), name));
        prop_assert_eq!(wide.covers(&narrow), all_matched);
    }

    #[test]
    fn matching_agrees_with_a_slow_reading(pattern in small_filter()) {
        let pattern = filter(&pattern);
        for name in small_topics() {
            prop_assert_eq!(
                pattern.matches(&name),
                mqtt::slow_match(pattern.as_str(), &name),
                "{}", name
            );
        }
    }

    #[test]
    fn any_text_is_either_a_topic_or_refused(text in "[a+#/$\\x00é]{0,12}") {
        let legal = !text.is_empty() && !text.contains('\0');
        let wildcard = text.contains(['+', '#']);
        prop_assert_eq!(TopicName::new(&text).is_ok(), legal && !wildcard);
        let levels: Vec<&str> = text.split('/').collect();
        let placed = levels.iter().enumerate().all(|(index, level)| match *level {
            "+" => true,
            "#" => index + 1 == levels.len(),
            other => !other.contains(['+', '#']),
        });
        prop_assert_eq!(TopicFilter::new(&text).is_ok(), legal && placed);
    }
}
