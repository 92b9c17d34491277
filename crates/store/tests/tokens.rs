//! Tokens of the HTTP API: kept as hashes, audited, and gone when removed.

use safeport_store::{
    By, Kind, Registry, ScopeLevel, Scopes, StoreError, Token, TokenHash, limits::MAX_TOKENS,
};

const BY: By<'static> = By {
    who: "test",
    at: 1_700_000_000,
};

const LOOK: Scopes = Scopes::all(ScopeLevel::Read);

fn hash(number: u8) -> TokenHash {
    TokenHash::new([number; 32])
}

#[test]
fn a_token_is_read_back_with_its_scope_until_it_is_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = Registry::open(&scratch.path().join("registry")).unwrap();
    registry
        .add_token("panel", hash(1), Scopes::all(ScopeLevel::Write), BY)
        .unwrap();
    registry.add_token("look", hash(2), LOOK, BY).unwrap();
    let look = Token {
        name: "look".to_string(),
        hash: hash(2),
        scopes: LOOK,
        created: BY.at,
        last_used: None,
    };
    let beside = Registry::open(&scratch.path().join("registry")).unwrap();
    let tokens = beside.tokens().unwrap();
    assert_eq!(tokens[0], look);
    assert_eq!((tokens[1].name.as_str(), tokens.len()), ("panel", 2));
    assert!(tokens[1].hash == hash(1) && tokens[1].hash != hash(2));

    registry.remove_token("panel", BY).unwrap();
    assert_eq!(beside.tokens().unwrap(), [look]);
    let gone = registry.remove_token("panel", BY).unwrap_err();
    assert!(matches!(
        gone,
        StoreError::NotFound {
            kind: Kind::Token,
            ..
        }
    ));
    let audit = beside.audit(10).unwrap();
    let audited: Vec<&str> = audit.iter().map(|row| row.what.as_str()).collect();
    assert_eq!(
        audited,
        [
            "token panel removed",
            "token look added (all:read)",
            "token panel added (all:write)"
        ]
    );
}

#[test]
fn a_name_is_given_once_and_no_more_than_a_hundred_are_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = Registry::open(&scratch.path().join("registry")).unwrap();
    for number in 0..u8::try_from(MAX_TOKENS).unwrap() {
        registry
            .add_token(&format!("t{number}"), hash(number), LOOK, BY)
            .unwrap();
    }
    let twice = registry
        .add_token("t7", hash(200), Scopes::all(ScopeLevel::Write), BY)
        .unwrap_err();
    assert_eq!(
        twice.to_string(),
        "the name \"t7\" belongs to a token already: choose another, or remove that one first"
    );
    let more = registry.add_token("more", hash(201), LOOK, BY).unwrap_err();
    assert!(matches!(more, StoreError::TooMany { .. }), "{more}");
}

#[test]
fn the_use_of_a_token_is_written_down_to_the_minute() {
    let scratch = tempfile::tempdir().unwrap();
    let mut registry = Registry::open(&scratch.path().join("registry")).unwrap();
    registry.add_token("look", hash(2), LOOK, BY).unwrap();
    let use_at = |registry: &mut Registry, at| {
        let token = registry.tokens().unwrap().remove(0);
        registry.note_token_use(&token, at).unwrap();
        registry.tokens().unwrap()[0].last_used
    };
    assert_eq!(use_at(&mut registry, 1000), Some(1000));
    assert_eq!(use_at(&mut registry, 1059), Some(1000));
    assert_eq!(use_at(&mut registry, 1060), Some(1060));
}
