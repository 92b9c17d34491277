//! Devices, their identities, events, and contradictions.

use std::time::{Duration, Instant};

use safeport_store::{MemberEventRow, QuarantineRow, StoreError, limits};

use super::{BY, again, all, claimed, device, member, open, proved};

#[test]
fn devices_are_read_back_as_they_were_written_last_by_number() {
    let (folder, mut registry) = open();
    registry.write_members(&[member(7), member(2)]).unwrap();
    let mut changed = member(7);
    changed.last_at = 99;
    changed.body = "{\"id\":7,\"online\":true}".to_string();
    changed.identities = vec![claimed("uuid", "u"), proved("client_id", "DVES_NEW")];
    registry
        .write_members(&[changed.clone(), member(3)])
        .unwrap();
    registry.write_members(&[]).unwrap();
    // Identities come in the order of their kinds.
    changed.identities.reverse();
    let expected = [member(2), member(3), changed];
    assert_eq!(all(&again(&folder)), expected);
    assert_eq!(registry.member(7).unwrap().as_ref(), Some(&expected[2]));
    assert_eq!(registry.member(8).unwrap(), None);
}

#[test]
fn a_number_is_never_given_to_a_second_device() {
    let (folder, mut registry) = open();
    assert_eq!(registry.next_member_id().unwrap(), 1);
    registry.write_members(&[member(1), member(41)]).unwrap();
    assert_eq!(registry.next_member_id().unwrap(), 42);
    registry.remove_members(&[41, 1, 7]).unwrap();
    assert_eq!(all(&registry), []);
    assert_eq!(again(&folder).next_member_id().unwrap(), 42);
}

#[test]
fn a_proved_identity_belongs_to_who_was_written_last_and_a_claimed_one_to_several() {
    let (_folder, mut registry) = open();
    let mut one = member(1);
    one.identities = vec![claimed("mac", "a"), proved("topic", "plug")];
    let mut two = member(2);
    two.identities = vec![claimed("mac", "a"), claimed("topic", "plug")];
    registry.write_members(&[one.clone(), two.clone()]).unwrap();
    assert_eq!(all(&registry), [one.clone(), two.clone()]);

    two.identities[1] = proved("topic", "plug");
    registry.write_members(&[two.clone()]).unwrap();
    one.identities.remove(1);
    assert_eq!(all(&registry), [one.clone(), two.clone()]);

    // Written twice in one row: the proof counts.
    one.identities = vec![
        claimed("topic", "x"),
        proved("topic", "x"),
        claimed("topic", "x"),
    ];
    registry.write_members(&[one.clone()]).unwrap();
    let kept = registry.member(1).unwrap().unwrap().identities;
    assert_eq!(kept, [proved("topic", "x")]);
}

#[test]
fn an_enrolment_belongs_to_one_device_and_ends_when_the_enrolled_device_is_forgotten() {
    let (_folder, mut registry) = open();
    registry.add_device(&device("box"), BY).unwrap();
    registry.add_device(&device("lamp"), BY).unwrap();
    let enrolled = |id, name: &str| {
        let mut row = member(id);
        row.device = Some(name.to_string());
        row
    };
    let who = |registry: &safeport_store::Registry| -> Vec<Option<String>> {
        all(registry).into_iter().map(|row| row.device).collect()
    };
    registry
        .write_members(&[enrolled(1, "box"), enrolled(2, "lamp")])
        .unwrap();
    // Exchanged in one batch.
    registry
        .write_members(&[enrolled(1, "lamp"), enrolled(2, "box")])
        .unwrap();
    assert_eq!(
        who(&registry),
        [Some("lamp".to_string()), Some("box".to_string())]
    );
    registry.forget_device("lamp", BY).unwrap();
    assert_eq!(who(&registry), [None, Some("box".to_string())]);
    // The server does not know that yet, and loses nothing else by it.
    registry
        .write_members(&[enrolled(1, "lamp"), member(3)])
        .unwrap();
    assert_eq!(who(&registry), [None, Some("box".to_string()), None]);
}

#[test]
fn a_batch_that_is_too_much_changes_nothing() {
    let (_folder, mut registry) = open();
    let mut long = member(2);
    long.body = " ".repeat(limits::MAX_BODY_BYTES + 1);
    let error = registry.write_members(&[member(1), long]).unwrap_err();
    assert!(matches!(error, StoreError::TooLong { .. }), "{error}");
    let mut many = member(2);
    many.identities = (0..65).map(|n| claimed("topic", &n.to_string())).collect();
    let error = registry.write_members(&[member(1), many]).unwrap_err();
    assert!(matches!(error, StoreError::TooMany { .. }), "{error}");
    assert_eq!(all(&registry), []);
}

#[test]
fn a_thousand_changed_devices_are_written_in_far_less_than_fifty_milliseconds() {
    let (_folder, registry) = open();
    let mut registry = registry.without_waiting().unwrap();
    let mut rows: Vec<_> = (1..=20_000).map(member).collect();
    for row in &mut rows {
        row.identities
            .push(claimed("topic", &format!("plug-{}", row.id)));
        row.body = format!("{{\"facts\":\"{}\"}}", "x".repeat(800));
    }
    for batch in rows.chunks(1000) {
        registry.write_members(batch).unwrap();
    }
    // Spread over the table, as they come. The best of some: others use the machine too.
    let mut took: Vec<Duration> = (0..9_u64)
        .map(|turn| {
            let mut batch: Vec<_> = rows
                .iter()
                .skip(turn as usize)
                .step_by(20)
                .cloned()
                .collect();
            for row in &mut batch {
                row.last_at += turn + 1;
            }
            assert_eq!(batch.len(), 1000);
            let started = Instant::now();
            registry.write_members(&batch).unwrap();
            started.elapsed()
        })
        .collect();
    took.sort_unstable();
    println!("1000 rows in {took:?}");
    assert!(took[0] < Duration::from_millis(50), "{took:?}");
    let started = Instant::now();
    assert_eq!(all(&registry).len(), 20_000);
    println!("20000 rows read in {:?}", started.elapsed());
}

fn event(member: u64, at: u64) -> MemberEventRow {
    MemberEventRow {
        id: 0,
        member,
        at,
        kind: "restarted".to_string(),
        body: format!("{{\"at\":{at}}}"),
    }
}

#[test]
fn the_newest_two_hundred_events_of_each_device_are_kept() {
    let (_folder, mut registry) = open();
    registry.write_members(&[member(1), member(2)]).unwrap();
    registry.add_member_events(&[event(2, 5)]).unwrap();
    let many: Vec<_> = (0..205).map(|at| event(1, at)).collect();
    // Those of a device that is not known are nobody's.
    registry.add_member_events(&[event(9, 5)]).unwrap();
    registry.add_member_events(&many[..100]).unwrap();
    registry.add_member_events(&many[100..]).unwrap();
    let kept = registry.member_events(1, None, 1000).unwrap();
    let times: Vec<u64> = kept.iter().map(|event| event.at).collect();
    assert_eq!(times, (5..205).rev().collect::<Vec<_>>());
    assert_eq!(kept[0].body, "{\"at\":204}");
    let page = registry.member_events(1, Some(kept[9].id), 3).unwrap();
    assert_eq!(page, kept[10..13]);
    assert_eq!(registry.member_events(2, None, 10).unwrap().len(), 1);
    assert_eq!(registry.member_events(9, None, 10).unwrap(), []);
    registry.remove_members(&[1]).unwrap();
    assert_eq!(registry.member_events(1, None, 10).unwrap(), []);
}

#[test]
fn contradictions_are_kept_until_they_are_settled_and_the_oldest_go_first() {
    let (_folder, mut registry) = open();
    registry.write_members(&[member(1)]).unwrap();
    let row = |number: u64, count| QuarantineRow {
        key: format!("mac {number:04}"),
        member: number.is_multiple_of(2).then_some(1),
        first_at: 1,
        last_at: 10 + number,
        count,
        body: "{}".to_string(),
    };
    let many: Vec<_> = (0..1003).map(|number| row(number, 1)).collect();
    registry.write_quarantine(&many).unwrap();
    registry.write_quarantine(&[row(1000, 8)]).unwrap();
    let kept = registry.quarantine().unwrap();
    assert_eq!(kept.len(), 1000);
    assert_eq!(kept[0], row(1002, 1));
    assert_eq!(kept[2], row(1000, 8));
    assert_eq!(kept[999], row(3, 1));
    registry
        .remove_quarantine(&["mac 1002", "mac 1001"])
        .unwrap();
    assert_eq!(registry.quarantine().unwrap()[0], row(1000, 8));
    // The contradiction stays when its device is forgotten.
    registry.remove_members(&[1]).unwrap();
    assert_eq!(registry.quarantine().unwrap()[0].member, None);
    let mut unknown = row(5000, 1);
    unknown.member = Some(77);
    registry.write_quarantine(&[unknown]).unwrap();
    assert_eq!(registry.quarantine().unwrap()[0].member, None);
}
