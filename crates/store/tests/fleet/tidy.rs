//! What goes by itself, and when.

use safeport_store::{
    ActivationRow, DownloadToken, MemberEventRow, NewOffer, OfferChange, QuarantineRow, Retention,
    Tidied, limits,
};

use super::{BY, hash, image, member, open};

const DAY: u64 = 24 * 3_600;

#[test]
fn what_is_too_old_goes_and_what_is_not_stays() {
    let (_folder, mut registry) = open();
    registry.write_members(&[member(1)]).unwrap();
    registry.add_image(&image(1), BY).unwrap();
    let event = |at| MemberEventRow {
        id: 0,
        member: 1,
        at,
        kind: "seen".to_string(),
        body: String::new(),
    };
    registry
        .add_member_events(&[event(0), event(DAY), event(DAY + 1)])
        .unwrap();
    for (key, last_at) in [("old", DAY), ("new", DAY + 1)] {
        let row = QuarantineRow {
            key: key.to_string(),
            member: Some(1),
            first_at: 0,
            last_at,
            count: 1,
            body: String::new(),
        };
        registry.write_quarantine(&[row]).unwrap();
    }
    let mut offers = Vec::new();
    for updated in [DAY, DAY + 1] {
        let offer = NewOffer {
            member: 1,
            release: None,
            image: Some(hash(1)),
            state: "offered".to_string(),
            body: String::new(),
        };
        let id = registry.add_offer(&offer, BY).unwrap();
        let ended = OfferChange {
            id,
            state: "failed".to_string(),
            open: false,
            body: String::new(),
            updated,
        };
        registry.write_offers(&[ended]).unwrap();
        offers.push(id);
    }
    for (token, expires) in [("old", 31 * DAY), ("new", 31 * DAY + 1)] {
        let token = DownloadToken {
            token: token.to_string(),
            offer: None,
            member: Some(1),
            created: 0,
            expires,
            files: Vec::new(),
        };
        registry.issue_download(&token).unwrap();
    }
    for (mac, expires) in [("old", 31 * DAY), ("new", 31 * DAY + 1)] {
        let row = ActivationRow {
            code: mac.to_string(),
            mac: mac.to_string(),
            uuid: None,
            body: String::new(),
            created: 0,
            expires,
        };
        assert!(registry.add_activation(&row, 0).unwrap());
    }

    let retention = Retention {
        offers: 30 * DAY,
        ..Retention::default()
    };
    let tidied = registry.tidy(31 * DAY, &retention).unwrap();
    let expected = Tidied {
        events: 2,
        downloads: 1,
        activations: 1,
        offers: 1,
        quarantine: 1,
        talks: 0,
        recordings: 0,
        more: false,
    };
    assert_eq!(tidied, expected);
    assert_eq!(registry.member_events(1, None, 10).unwrap()[0].at, DAY + 1);
    assert_eq!(registry.quarantine().unwrap()[0].key, "new");
    assert_eq!(registry.offer(offers[0]).unwrap(), None);
    assert!(registry.offer(offers[1]).unwrap().is_some());
    assert_eq!(registry.download("old").unwrap(), None);
    assert!(registry.download("new").unwrap().is_some());
    assert_eq!(registry.activations(0).unwrap()[0].mac, "new");
    let again = registry.tidy(31 * DAY, &retention).unwrap();
    assert_eq!(again, Tidied::default());
}

#[test]
fn an_open_offer_is_never_too_old() {
    let (_folder, mut registry) = open();
    registry.write_members(&[member(1)]).unwrap();
    let offer = NewOffer {
        member: 1,
        release: None,
        image: None,
        state: "waiting".to_string(),
        body: String::new(),
    };
    let id = registry.add_offer(&offer, BY).unwrap();
    let tidied = registry.tidy(10_000 * DAY, &Retention::default()).unwrap();
    assert_eq!(tidied, Tidied::default());
    assert!(registry.offer(id).unwrap().unwrap().open);
}

#[test]
fn much_goes_in_several_turns() {
    let (_folder, registry) = open();
    let mut registry = registry.without_waiting().unwrap();
    let members = u64::from(limits::TIDY_ROWS) / 100 + 1;
    let rows: Vec<_> = (1..=members).map(member).collect();
    registry.write_members(&rows).unwrap();
    for member in 1..=members {
        let events: Vec<_> = (0..100)
            .map(|at| MemberEventRow {
                id: 0,
                member,
                at,
                kind: "seen".to_string(),
                body: String::new(),
            })
            .collect();
        registry.add_member_events(&events).unwrap();
    }
    let retention = Retention::default();
    let first = registry.tidy(100 * DAY, &retention).unwrap();
    assert_eq!(
        (first.events, first.more),
        (u64::from(limits::TIDY_ROWS), true)
    );
    let second = registry.tidy(100 * DAY, &retention).unwrap();
    assert_eq!((second.events, second.more), (100, false));
}
