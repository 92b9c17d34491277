use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use std::println;

use super::*;
use crate::log::speaker::listen;

/// Stacks whose numbers a line of another stack brings along: the carrier is the line's own entry,
/// and what it carries decides.
const CARRIED: &[(&str, &str)] = &[
    ("xz-espssl", "esp-tls"),
    ("xz-esptcp", "lwip-errno"),
    ("xz-ota-open", "esp-tls"),
    ("esphome-espt", "esp-tls"),
    ("tb-neterr", "lwip-errno"),
    ("mqttc-write", "lwip-errno"),
    ("xz-ota-status", "http"),
    ("xz-fwstatus", "http"),
    ("ard-verify", "mbedtls-flags"),
];

fn found_in(line: &str, admits: impl Fn(&Entry) -> bool) -> Vec<Hit> {
    find_all(line, &mut String::new(), admits)
}

#[test]
fn every_pattern_finds_its_own_sample_by_its_words() {
    let lost: Vec<&str> = catalogue()
        .entries()
        .iter()
        .filter(|entry| {
            let hits = found_in(&entry.sample, |other| core::ptr::eq(other, *entry));
            entry.find(&entry.sample).is_none() || hits.len() != 1
        })
        .map(|entry| &entry.id[..])
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn every_sample_is_first_of_all_its_own_entry() {
    let mut wrong = Vec::new();
    for entry in catalogue().entries() {
        let speaker = listen(crate::log::peeled(&entry.sample)).speaker;
        let hits = found_in(&entry.sample, |other| speaker.speaks(&other.stack));
        if !hits
            .first()
            .is_some_and(|hit| core::ptr::eq(hit.entry, entry))
        {
            let ids: Vec<&str> = hits.iter().map(|hit| &hit.entry.id[..]).collect();
            wrong.push(format!("{} ({speaker:?}): {ids:?}", entry.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_pattern_finds_a_sample_of_another_stack() {
    let mut crossed = Vec::new();
    for entry in catalogue().entries() {
        for hit in found_in(&entry.sample, |other| other.stack != entry.stack) {
            let pair = (&entry.id[..], &hit.entry.stack[..]);
            if !CARRIED.contains(&pair) {
                crossed.push(format!("{}: {}", entry.id, hit.entry.id));
            }
        }
    }
    assert!(
        crossed.is_empty(),
        "{}:\n{}",
        crossed.len(),
        crossed.join("\n")
    );
}

#[test]
fn one_number_of_a_stack_has_one_entry() {
    let mut seen = Vec::new();
    for entry in catalogue().entries() {
        if let Some(code) = entry.code {
            let key = (&entry.stack[..], code);
            assert!(!seen.contains(&key), "{key:?}");
            seen.push(key);
        }
    }
    assert!(seen.len() > 300);
}

#[test]
fn a_number_means_what_the_stack_that_printed_it_says() {
    let cause = |stack, number| {
        let entry = catalogue().number(stack, number);
        entry.map(|entry| entry.cause.code())
    };
    assert_eq!(cause("bearssl", 62), Some("chain_not_trusted"));
    assert_eq!(cause("pubsubclient", 62), None);
    assert_eq!(
        cause("pubsubclient", -2),
        Some("tcp_connect_failed_timeout_or_port")
    );
    assert_eq!(cause("arduino-httpclient", -2), Some("connection_lost"));
    assert_eq!(cause("bearssl", -2), None);
    assert_eq!(cause("lwip-errno", 118), Some("host_unreachable"));
    assert!(catalogue().numbers(5).count() >= 3);
}

#[test]
fn every_text_is_there_in_chinese() {
    let missing: Vec<&str> = catalogue()
        .entries()
        .iter()
        .filter(|entry| !entry.chinese)
        .map(|entry| &entry.id[..])
        .collect();
    println!(
        "without Chinese: {} of {}",
        missing.len(),
        catalogue().entries().len()
    );
    assert!(missing.is_empty(), "{missing:?}");
}
