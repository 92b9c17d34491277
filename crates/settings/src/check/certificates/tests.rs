use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::{FileSource, Problem, Settings, Sources};

fn read(text: &str) -> Result<Settings, Vec<Problem>> {
    Settings::parse(&Sources {
        files: Vec::from([FileSource {
            path: "safeport.toml",
            text,
            drop_in: false,
        }]),
        ..Sources::default()
    })
}

/// The one mistake that there is: its key and the English of it.
fn mistake(text: &str) -> (String, String) {
    let problems = read(text).expect_err(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problem = &problems[0];
    assert!(!problem.what.zh.is_empty() && !problem.help.zh.is_empty());
    (
        problem.key.clone().unwrap_or_default(),
        format!("{}; {}", problem.what.en, problem.help.en),
    )
}

/// The keys of notes.
fn notes(text: &str) -> Vec<String> {
    let settings = read(text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let keys = settings.notes.iter();
    keys.filter_map(|note| note.key.clone()).collect()
}

const NAMED: &str = "[acme]\naccept_terms = true\nnames = [\"hub.example.com\"]\n";

#[test]
fn every_certificate_of_a_file_has_its_key() {
    let (key, said) =
        mistake("[tls]\nchain_files = [\"a.pem\", \"b.pem\"]\nkey_files = [\"a.key\"]");
    assert_eq!(key, "tls.key_files");
    assert!(said.contains("names 2 files and tls.key_files 1"), "{said}");
    let (key, _) = mistake("tls.key_files = [\"a.key\"]");
    assert_eq!(key, "tls.chain_files");
    assert!(read("[tls]\nchain_files = [\"a.pem\"]\nkey_files = [\"a.key\"]").is_ok());
}

#[test]
fn a_listener_cannot_present_what_there_is_not() {
    let (key, said) = mistake("mqtts.certificate = \"files\"");
    assert_eq!(key, "mqtts.certificate");
    assert!(
        said.contains("set tls.chain_files and tls.key_files"),
        "{said}"
    );
    let (key, said) = mistake("https.certificate = \"acme\"");
    assert_eq!(key, "https.certificate");
    assert!(said.contains("set acme.names"), "{said}");
    assert!(read("https.certificate = \"private\"").is_ok());
    let files = "https.certificate = \"files\"\ntls.chain_files = [\"a\"]\ntls.key_files = [\"b\"]";
    assert!(read(files).is_ok());
    assert!(read(&format!("mqtts.certificate = \"acme\"\n{NAMED}")).is_ok());
}

#[test]
fn certificates_are_asked_for_once_the_terms_are_accepted() {
    let (key, said) = mistake("acme.names = [\"hub.example.com\"]");
    assert_eq!(key, "acme.names");
    assert!(said.contains("acme.accept_terms = true"), "{said}");
}

#[test]
fn names_with_a_star_take_dns_01_and_that_takes_a_program() {
    let star = "[acme]\naccept_terms = true\nnames = [\"*.example.com\"]\n";
    let (key, said) = mistake(star);
    assert_eq!(key, "acme.names");
    assert!(said.contains("acme.challenge = \"dns-01\""), "{said}");
    let (key, said) = mistake(&format!("{star}challenge = \"dns-01\""));
    assert_eq!(key, "acme.challenge");
    assert!(said.contains("set acme.dns_hook"), "{said}");
    let whole = format!("{star}challenge = \"dns-01\"\ndns_hook = \"/etc/safeport/dns\"");
    assert!(notes(&whole).is_empty());
}

#[test]
fn a_challenge_needs_the_listener_that_answers_it() {
    let (key, said) = mistake(&format!("http.enabled = false\n{NAMED}"));
    assert_eq!(key, "acme.challenge");
    assert!(said.contains("set http.enabled = true"), "{said}");
    let (_, said) = mistake(&format!(
        "https.enabled = false\n{NAMED}challenge = \"tls-alpn-01\""
    ));
    assert!(said.contains("set https.enabled = true"), "{said}");
    // Without names nothing is asked.
    assert!(read("http.enabled = false").is_ok());
}

#[test]
fn the_port_that_an_authority_looks_at_is_open_forwarded_or_worth_a_note() {
    assert_eq!(notes(NAMED), ["acme.challenge"]);
    assert_eq!(
        notes(&format!("{NAMED}challenge = \"tls-alpn-01\"")),
        ["acme.challenge"]
    );
    for open in [
        "http.standard_ports = true\n",
        "http.bind = \"[::]:80\"\n",
        "[proxy.front]\nurl = \"http://hub.example.com\"\n",
    ] {
        let before: Vec<String> = notes(&format!("{open}{NAMED}"));
        assert!(!before.contains(&"acme.challenge".into()), "{open}");
    }
    assert!(
        notes(&format!(
            "https.standard_ports = true\n{NAMED}challenge = \"tls-alpn-01\""
        ))
        .is_empty()
    );
}

#[test]
fn a_key_of_an_account_comes_with_its_name() {
    let (key, said) = mistake("acme.eab_key_id = \"kid-1\"");
    assert_eq!(key, "acme.eab_key_id");
    assert!(said.contains("acme.eab_key is not"), "{said}");
    let (key, _) = mistake(
        "acme.eab_key = \"zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\"",
    );
    assert_eq!(key, "acme.eab_key");
    let (_, said) = mistake("[acme]\neab_key_id = \"kid-1\"\neab_key = \"no base64url: ÄÖÜ!!\"");
    assert!(
        !said.contains("base64url: "),
        "a secret is never shown: {said}"
    );
}

#[test]
fn who_must_show_a_certificate_is_not_let_in_without_tls() {
    let (key, said) = mistake("[mqtts]\naccept = \"both\"\nclient_ca_file = \"/etc/ca.pem\"");
    assert_eq!(key, "mqtts.accept");
    assert!(said.contains("set mqtts.accept = \"own\""), "{said}");
}

#[test]
fn one_port_for_both_forms_is_worth_a_note_while_its_listener_is_open() {
    assert_eq!(notes("mqtt.accept = \"both\""), ["mqtt.accept"]);
    assert_eq!(
        notes("mqtts.accept = \"both\"\nhttps.accept = \"both\""),
        ["mqtts.accept", "https.accept"]
    );
    assert!(notes("[mqtt]\nenabled = false\naccept = \"both\"").is_empty());
}

#[test]
fn nothing_is_concluded_from_a_value_that_is_wrong_itself() {
    for text in [
        "[acme]\nnames = [\"192.168.1.2\"]",
        "mqtts.certificate = \"file\"",
        "[acme]\naccept_terms = 1\nnames = [\"hub.example.com\"]",
        "acme.keys = []",
        "acme.directory = \"http://ca.lan/dir\"",
    ] {
        let problems = read(text).expect_err(text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
    }
}
