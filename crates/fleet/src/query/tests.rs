use alloc::string::ToString;
use alloc::vec;

use super::*;

struct Plug {
    fields: Vec<(Field, &'static str)>,
    tags: Vec<&'static str>,
}

impl Subject for Plug {
    fn values(&self, field: &Field, each: &mut dyn FnMut(&str)) {
        for tag in &self.tags {
            match field {
                Field::Tag(None) => each(tag),
                Field::Tag(Some(key)) => {
                    if let Some(rest) = tag.strip_prefix(&format!("{key}=")) {
                        each(rest);
                    }
                }
                _ => {}
            }
        }
        for (_, value) in self.fields.iter().filter(|(known, _)| known == field) {
            each(value);
        }
    }
}

fn plug() -> Plug {
    Plug {
        fields: vec![
            (Field::Name, "plug-1"),
            (Field::Family, "tasmota"),
            (Field::Chip, "esp32c3"),
            (Field::Version, "14.6.0"),
            (Field::Mac, "a0:b1:c2:d3:e4:f5"),
            (Field::Online, "true"),
            (Field::Seen, "90"),
        ],
        tags: vec!["kitchen", "room=hall"],
    }
}

fn meets(text: &str) -> bool {
    Where::parse(text).expect(text).matches(&plug())
}

#[test]
fn a_device_is_found_by_what_is_known_of_it() {
    for text in [
        "family==tasmota",
        "FAMILY==Tasmota",
        "family == 'tasmota'",
        "family!=espeasy",
        "chip==ESP32-C3",
        "mac==A0-B1-C2-D3-E4-F5",
        "mac==a0b1c2*",
        "name==plug-*",
        "name==*1",
        "tag==kitchen",
        "tag.room==hall",
        "tag.room=in=(cellar,hall)",
        "tag=out=(attic,cellar)",
        "version=lt=15.0",
        "version<15.0",
        "version=ge=14.6.0",
        "version=gt=9.5",
        "seen=lt=100",
        "seen>=90",
        "online==true;family==tasmota",
        "online==true and family==tasmota",
        "family==espeasy,online==true",
        "family==espeasy or online==true",
        "(family==espeasy,family==tasmota);version=lt=15.0;tag=in=(kitchen,hall)",
    ] {
        assert!(meets(text), "{text}");
    }
    for text in [
        "family==espeasy",
        "tag==hall",
        "tag.room==kitchen",
        "version=ge=15",
        "online==false",
        "name==plug",
        "family==tasmota;online==false",
        "tag=out=(attic,kitchen)",
        "family==espeasy;online==true,name==other",
    ] {
        assert!(!meets(text), "{text}");
    }
}

#[test]
fn and_binds_closer_than_or() {
    assert!(meets("name==plug-1,name==x;online==false"));
    assert!(!meets("(name==plug-1,name==x);online==false"));
}

#[test]
fn what_is_not_known_of_a_device_equals_nothing_and_has_no_place_in_an_order() {
    for text in [
        "safeboot==15.0",
        "safeboot=lt=99",
        "safeboot=ge=0",
        "board==*",
    ] {
        assert!(!meets(text), "{text}");
    }
    assert!(meets("safeboot!=15.0"));
    assert!(meets("safeboot=out=(15.0)"));
}

#[test]
fn versions_are_ordered_by_their_numbers() {
    for (one, other, order) in [
        ("9.5", "15.0", Ordering::Less),
        ("15.0", "15.0.1", Ordering::Less),
        ("15.01", "15.1", Ordering::Equal),
        ("15.1.0", "15.0.9", Ordering::Greater),
        ("2024.6.1", "2024.12.0", Ordering::Less),
        ("mega-20240822", "mega-20241002", Ordering::Less),
    ] {
        assert_eq!(natural(one, other), order, "{one} {other}");
        assert_eq!(natural(other, one), order.reverse(), "{other} {one}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, at, wrong) in [
        ("", 0, Wrong::NothingHere),
        ("familly==x", 0, Wrong::NoField("familly".into())),
        ("tag.==x", 0, Wrong::NoField("tag.".into())),
        ("online==true;", 13, Wrong::NothingHere),
        ("family", 6, Wrong::NoOperator("family".into())),
        ("family=x", 6, Wrong::NoOperator("family".into())),
        ("family==", 8, Wrong::NoValue),
        ("family=='x", 8, Wrong::NotClosed('\'')),
        ("(family==x", 0, Wrong::NotClosed('(')),
        ("tag=in=(a,b", 7, Wrong::NotClosed('(')),
        ("tag=in=(a,)", 10, Wrong::NoValue),
        ("name==my plug", 9, Wrong::Rest("plug".into())),
        ("family==x)", 9, Wrong::Rest(")".into())),
        ("family=lt=x", 6, Wrong::NoOrder("family")),
        ("tag.room=lt=x", 8, Wrong::NoOrder("tag")),
        ("online==yes", 8, Wrong::NoTruth("yes".into())),
        ("名字==x", 0, Wrong::NoField("名字".into())),
    ] {
        let error = Where::parse(text).expect_err(text);
        assert_eq!(error, QueryError { at, wrong }, "{text}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn long_and_deep_questions_are_refused_before_they_cost_anything() {
    let long = "name==x;".repeat(MAX_QUERY);
    assert_eq!(Where::parse(&long).unwrap_err().wrong, Wrong::TooLong);
    let deep = "(".repeat(MAX_QUERY_DEPTH + 1) + "name==x";
    assert_eq!(Where::parse(&deep).unwrap_err().wrong, Wrong::TooMuch);
    let wide = alloc::vec!["id==x"; MAX_QUERY_TERMS + 1].join(";");
    assert_eq!(Where::parse(&wide).unwrap_err().wrong, Wrong::TooMuch);
    // A star costs the length of the text each time it is met, not more.
    let stars = format!("name=={}b", "*a".repeat(400));
    assert!(!Where::parse(&stars).unwrap().matches(&plug()));
}

#[test]
fn several_questions_hold_together() {
    let parts = ["family==tasmota", "online==true"];
    let both: Where = parts
        .iter()
        .map(|text| Where::parse(text).unwrap())
        .collect();
    assert!(both.matches(&plug()));
    let both: Where = ["family==tasmota", "online==false"]
        .iter()
        .map(|text| Where::parse(text).unwrap())
        .collect();
    assert!(!both.matches(&plug()));
    assert!(
        core::iter::empty::<Where>()
            .collect::<Where>()
            .matches(&plug())
    );
}

#[test]
fn what_an_index_can_narrow_down_is_told() {
    let question =
        Where::parse("family==tasmota;name==plug-*;version<15;tag==hall;(chip==a,chip==b)");
    let question = question.unwrap();
    let must_be: Vec<(&Field, &str)> = question.must_be().collect();
    assert_eq!(
        must_be,
        [
            (&Field::Family, "tasmota"),
            (&Field::Name, "plug-*"),
            (&Field::Tag(None), "hall")
        ]
    );
    let one = Where::parse("online==true").unwrap();
    assert_eq!(one.must_be().count(), 1);
    assert_eq!(
        Where::parse("name==a,chip==b").unwrap().must_be().count(),
        0
    );
}

#[test]
fn case_is_no_difference_but_no_sign_becomes_a_letter() {
    for (text, pattern, meant) in [
        ("Küche", "KÜCHE", true),
        ("ЛАМПА-1", "лампа-*", true),
        ("厨房插座", "厨房*", true),
        ("lamp", "l*m*", true),
        ("lamp", "*a*a*", false),
        ("aab", "*ab", true),
        ("", "*", true),
        ("", "", true),
        ("a", "", false),
        ("a*b", "a*b", true),
        // The sign of the kelvin, and an I with a dot.
        ("\u{212a}1", "k1", false),
        ("\u{130}", "i*", false),
    ] {
        assert_eq!(like(text, pattern), meant, "{text} {pattern}");
    }
}
