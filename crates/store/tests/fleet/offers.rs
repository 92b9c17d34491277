//! Images, releases, offers, and the tokens under which they are fetched.

use safeport_store::{
    DownloadFile, DownloadToken, DownloadUse, Kind, NewBackup, NewOffer, NewRelease, OfferChange,
    OfferQuery, Registry, ReleaseImage, StoreError,
};

use super::{BY, again, at, device, hash, image, member, open};

fn release(name: &str, images: &[u8]) -> NewRelease {
    NewRelease {
        name: name.to_string(),
        body: "{\"notes\":\"\"}".to_string(),
        images: images
            .iter()
            .zip(0..)
            .map(|(number, step)| ReleaseImage {
                class: "esp32".to_string(),
                step,
                hash: hash(*number),
            })
            .collect(),
    }
}

fn offer(member: u64) -> NewOffer {
    NewOffer {
        member,
        release: None,
        image: Some(hash(1)),
        state: "offered".to_string(),
        body: "{}".to_string(),
    }
}

fn ended(id: u64, updated: u64) -> OfferChange {
    OfferChange {
        id,
        state: "succeeded".to_string(),
        open: false,
        body: "{\"took\":9}".to_string(),
        updated,
    }
}

fn token(text: &str, offer: Option<u64>, files: &[(&str, u8)]) -> DownloadToken {
    DownloadToken {
        token: text.to_string(),
        offer,
        member: Some(1),
        created: 1_000,
        expires: 2_000,
        files: files
            .iter()
            .zip(0..)
            .map(|((name, number), step)| DownloadFile {
                file: (*name).to_string(),
                step,
                hash: hash(*number),
                gets: 0,
                bytes: 0,
                last_at: None,
            })
            .collect(),
    }
}

/// Two devices and two images.
fn prepared() -> (tempfile::TempDir, Registry) {
    let (folder, mut registry) = open();
    registry.write_members(&[member(1), member(2)]).unwrap();
    assert!(registry.add_image(&image(1), BY).unwrap());
    assert!(registry.add_image(&image(2), BY).unwrap());
    (folder, registry)
}

#[test]
fn an_image_is_added_once_and_stays_as_long_as_a_release_or_an_open_offer_needs_it() {
    let (folder, mut registry) = prepared();
    let mut twice = image(1);
    twice.file_name = "another.bin".to_string();
    assert!(!registry.add_image(&twice, BY).unwrap());
    assert_eq!(registry.images().unwrap(), [image(2), image(1)]);
    assert_eq!(again(&folder).image(&hash(1)).unwrap(), Some(image(1)));
    assert_eq!(registry.image(&hash(3)).unwrap(), None);

    registry.add_release(&release("15.0", &[2]), BY).unwrap();
    let used = registry.remove_image(&hash(2), BY).unwrap_err();
    assert_eq!(
        used.to_string(),
        format!(
            "the image {} is in use by the release 15.0; remove or end that first",
            hash(2)
        )
    );
    let open = registry.add_offer(&offer(1), BY).unwrap();
    let used = registry.remove_image(&hash(1), BY).unwrap_err();
    assert!(
        matches!(
            used,
            StoreError::InUse {
                kind: Kind::Image,
                ..
            }
        ),
        "{used}"
    );
    let without_offer = token("t", None, &[("a.bin", 1)]);
    registry.issue_download(&without_offer).unwrap();
    registry.write_offers(&[ended(open, 5)]).unwrap();
    assert!(registry.blob_is_used(&hash(1)).unwrap());
    registry.remove_image(&hash(1), BY).unwrap();
    assert!(!registry.blob_is_used(&hash(1)).unwrap());
    // Nothing is left to fetch, and the offer is still told of.
    assert_eq!(registry.download("t").unwrap().unwrap().files, []);
    assert_eq!(registry.offer(open).unwrap().unwrap().image, Some(hash(1)));
    let gone = registry.remove_image(&hash(1), BY).unwrap_err();
    assert!(matches!(
        gone,
        StoreError::NotFound {
            kind: Kind::Image,
            ..
        }
    ));
}

#[test]
fn the_bytes_of_a_backup_are_needed_too() {
    let (_folder, mut registry) = prepared();
    let backup = NewBackup {
        member: 1,
        kind: "settings".to_string(),
        version: None,
        file_name: "plug.dmp".to_string(),
        hash: hash(9),
        bytes: 4096,
        why: "asked for".to_string(),
    };
    assert!(!registry.blob_is_used(&hash(9)).unwrap());
    let id = registry.add_backup(&backup, 10, BY).unwrap();
    assert!(registry.blob_is_used(&hash(9)).unwrap());
    registry.remove_backup(id, BY).unwrap();
    assert!(!registry.blob_is_used(&hash(9)).unwrap());
}

#[test]
fn a_removed_release_is_still_told_of_and_frees_its_name_and_its_images() {
    let (_folder, mut registry) = prepared();
    let first = registry.add_release(&release("15.0", &[1, 2]), BY).unwrap();
    let taken = registry
        .add_release(&release("15.0", &[1]), BY)
        .unwrap_err();
    assert_eq!(
        taken.to_string(),
        "the name \"15.0\" belongs to a release already: choose another, or remove that one first"
    );
    let missing = registry.add_release(&release("16", &[3]), BY).unwrap_err();
    assert!(matches!(
        missing,
        StoreError::NotFound {
            kind: Kind::Image,
            ..
        }
    ));

    let mut of_release = offer(1);
    (of_release.release, of_release.image) = (Some(first), None);
    let open = registry.add_offer(&of_release, BY).unwrap();
    let used = registry.remove_release("15.0", BY).unwrap_err();
    assert!(
        used.to_string().contains(&format!("the open offer {open}")),
        "{used}"
    );
    registry.write_offers(&[ended(open, 5)]).unwrap();
    registry.remove_release("15.0", at(77)).unwrap();

    let told = registry.release_by_id(first).unwrap().unwrap();
    assert_eq!((told.removed, told.images.len()), (Some(77), 0));
    assert_eq!(registry.release("15.0").unwrap(), None);
    registry.remove_image(&hash(1), BY).unwrap();
    let second = registry.add_release(&release("15.0", &[2]), BY).unwrap();
    assert!(second > first);
    let all = registry.releases().unwrap();
    assert_eq!((all.len(), all[0].id), (1, second));
    assert_eq!(all[0].images, release("", &[2]).images);
    of_release.release = Some(first);
    let gone = registry.add_offer(&of_release, BY).unwrap_err();
    assert!(matches!(
        gone,
        StoreError::NotFound {
            kind: Kind::Release,
            ..
        }
    ));
}

#[test]
fn a_device_has_one_open_offer() {
    let (folder, mut registry) = prepared();
    let first = registry.add_offer(&offer(1), BY).unwrap();
    let second = registry.add_offer(&offer(1), BY).unwrap_err();
    assert!(
        matches!(second, StoreError::OfferOpen { member: 1, offer } if offer == first),
        "{second}"
    );
    let other = registry.add_offer(&offer(2), BY).unwrap();
    registry.write_offers(&[ended(first, 50)]).unwrap();
    let second = registry.add_offer(&offer(1), at(60)).unwrap();
    // One that has ended does not come back beside another.
    let mut back = ended(first, 70);
    back.open = true;
    let error = registry
        .write_offers(&[ended(other, 70), back.clone()])
        .unwrap_err();
    assert!(
        matches!(error, StoreError::OfferOpen { member: 1, .. }),
        "{error}"
    );
    assert!(
        registry.offer(other).unwrap().unwrap().open,
        "all or nothing"
    );
    registry.write_offers(&[ended(second, 80), back]).unwrap();
    let open: Vec<u64> = again(&folder)
        .open_offers()
        .unwrap()
        .iter()
        .map(|offer| offer.id)
        .collect();
    assert_eq!(open, [first, other]);
    let missing = registry.add_offer(&offer(9), BY).unwrap_err();
    assert!(matches!(
        missing,
        StoreError::NotFound {
            kind: Kind::Member,
            ..
        }
    ));
}

#[test]
fn many_offers_are_made_at_once_and_what_is_refused_stays_away_from_the_others() {
    let (_folder, mut registry) = prepared();
    let made = registry
        .add_offers(&[offer(1), offer(1), offer(9), offer(2)], BY)
        .unwrap();
    assert!(matches!(
        made[1],
        Err(StoreError::OfferOpen { member: 1, .. })
    ));
    assert!(matches!(
        made[2],
        Err(StoreError::NotFound {
            kind: Kind::Member,
            ..
        })
    ));
    let open: Vec<u64> = registry
        .open_offers()
        .unwrap()
        .iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(
        open,
        [*made[0].as_ref().unwrap(), *made[3].as_ref().unwrap()]
    );

    let one = token("one", Some(open[0]), &[("main.bin", 1)]);
    let two = token("two", Some(open[1]), &[("main.bin", 9)]);
    assert!(registry.issue_downloads(&[one.clone(), two]).is_err());
    assert_eq!(registry.download("one").unwrap(), None, "all or none");
    registry
        .issue_downloads(std::slice::from_ref(&one))
        .unwrap();
    assert_eq!(registry.download("one").unwrap(), Some(one));
}

#[test]
fn offers_are_found_by_what_is_asked_for() {
    let (_folder, mut registry) = prepared();
    let of = registry.add_release(&release("15.0", &[2]), BY).unwrap();
    let mut ids = Vec::new();
    for turn in 0..4 {
        let mut of_release = offer(1);
        if turn % 2 == 0 {
            (of_release.release, of_release.image) = (Some(of), None);
        }
        let id = registry.add_offer(&of_release, BY).unwrap();
        registry.write_offers(&[ended(id, 5)]).unwrap();
        ids.push(id);
    }
    ids.push(registry.add_offer(&offer(2), BY).unwrap());
    let found = |query: OfferQuery<'_>| -> Vec<usize> {
        let rows = registry.offers(&query).unwrap();
        let place = |id| ids.iter().position(|other| *other == id).unwrap();
        rows.iter().map(|row| place(row.id)).collect()
    };
    let all = OfferQuery::default();
    assert_eq!(found(all.clone()), [4, 3, 2, 1, 0]);
    assert_eq!(
        found(OfferQuery {
            member: Some(2),
            ..all.clone()
        }),
        [4]
    );
    assert_eq!(
        found(OfferQuery {
            release: Some(of),
            ..all.clone()
        }),
        [2, 0]
    );
    assert_eq!(
        found(OfferQuery {
            open: Some(false),
            limit: 2,
            ..all.clone()
        }),
        [3, 2]
    );
    assert_eq!(
        found(OfferQuery {
            state: Some("offered"),
            ..all.clone()
        }),
        [4]
    );
    let page = OfferQuery {
        before: Some(ids[2]),
        member: Some(1),
        ..all
    };
    assert_eq!(found(page), [1, 0]);
}

#[test]
fn a_token_lists_its_files_counts_fetches_and_ends_with_its_offer() {
    let (folder, mut registry) = prepared();
    let open = registry.add_offer(&offer(1), BY).unwrap();
    let issued = token(
        "atoken",
        Some(open),
        &[("main.bin", 1), ("main-safeboot.bin", 2)],
    );
    registry.issue_download(&issued).unwrap();
    let twice = registry.issue_download(&issued).unwrap_err();
    assert!(matches!(twice, StoreError::NameTaken { .. }), "{twice}");

    let found = again(&folder).download("atoken").unwrap().unwrap();
    assert_eq!(found.files.len(), 2);
    let used = |file: &str, at| DownloadUse {
        token: "atoken".to_string(),
        file: file.to_string(),
        gets: 1,
        bytes: 500,
        at,
    };
    registry
        .note_downloads(&[
            used("main.bin", 1100),
            used("main.bin", 1090),
            used("no.bin", 1),
        ])
        .unwrap();
    let found = registry.downloads_of_offer(open).unwrap().remove(0);
    let main = found
        .files
        .iter()
        .find(|file| file.file == "main.bin")
        .unwrap();
    assert_eq!((main.gets, main.bytes, main.last_at), (2, 1000, Some(1100)));
    assert_eq!(registry.live_downloads(1_999).unwrap().len(), 1);
    assert_eq!(registry.live_downloads(2_000).unwrap(), []);

    registry.write_offers(&[ended(open, 5)]).unwrap();
    assert_eq!(registry.download("atoken").unwrap(), None);
    let late = registry.issue_download(&issued).unwrap_err();
    assert!(matches!(
        late,
        StoreError::NotFound {
            kind: Kind::Offer,
            ..
        }
    ));
    let free = token("free", None, &[("main.bin", 1)]);
    registry.issue_download(&free).unwrap();
    registry.revoke_downloads(&["free", "unknown"]).unwrap();
    assert_eq!(registry.download("free").unwrap(), None);
}

#[test]
fn no_more_than_sixteen_tokens_of_one_offer_one_device_or_nobody_are_valid() {
    let (_folder, mut registry) = prepared();
    let open = registry.add_offer(&offer(1), BY).unwrap();
    let nobody = |text: &str| DownloadToken {
        member: None,
        ..token(text, None, &[("main.bin", 1)])
    };
    for number in 0..20_u64 {
        for mut issued in [
            token(&format!("o{number}"), Some(open), &[("main.bin", 1)]),
            token(&format!("m{number}"), None, &[("main.bin", 1)]),
            nobody(&format!("n{number}")),
        ] {
            issued.created += number;
            registry.issue_download(&issued).unwrap();
        }
    }
    for kind in ["o", "m", "n"] {
        for number in 0..20 {
            let found = registry.download(&format!("{kind}{number}")).unwrap();
            assert_eq!(found.is_some(), number >= 4, "{kind}{number}");
        }
    }
    // A clock that was set back does not make the new one the first to go.
    registry.issue_download(&token("early", None, &[])).unwrap();
    assert!(registry.download("early").unwrap().is_some());
}

#[test]
fn a_device_has_one_token_until_it_is_revoked_or_the_device_forgotten() {
    let (_folder, mut registry) = prepared();
    registry.add_device(&device("box"), BY).unwrap();
    registry.add_device(&device("lamp"), BY).unwrap();
    registry.set_device_token("box", "dfirst", BY).unwrap();
    registry.set_device_token("box", "dsecond", at(9)).unwrap();
    assert_eq!(registry.device_token_holder("dfirst").unwrap(), None);
    assert_eq!(
        registry.device_token_holder("dsecond").unwrap().as_deref(),
        Some("box")
    );
    let taken = registry
        .set_device_token("lamp", "dsecond", BY)
        .unwrap_err();
    assert!(matches!(taken, StoreError::NameTaken { .. }), "{taken}");
    registry
        .note_device_tokens(&[("dsecond", 2, 70), ("dsecond", 1, 60), ("dgone", 1, 1)])
        .unwrap();
    let found = registry.device_token("box").unwrap().unwrap();
    assert_eq!((found.gets, found.last_at, found.created), (3, Some(70), 9));
    assert!(registry.revoke_device_token("box", BY).unwrap());
    assert!(!registry.revoke_device_token("box", BY).unwrap());
    registry.set_device_token("lamp", "dlamp", BY).unwrap();
    registry.forget_device("lamp", BY).unwrap();
    assert_eq!(registry.device_tokens().unwrap(), []);
    let gone = registry.set_device_token("lamp", "dlamp", BY).unwrap_err();
    assert!(matches!(
        gone,
        StoreError::NotFound {
            kind: Kind::Device,
            ..
        }
    ));
}

#[test]
fn whoever_is_forgotten_leaves_no_offer_no_token_and_no_backup() {
    let (_folder, mut registry) = prepared();
    let open = registry.add_offer(&offer(1), BY).unwrap();
    registry
        .issue_download(&token("atoken", Some(open), &[("main.bin", 1)]))
        .unwrap();
    registry.remove_members(&[1]).unwrap();
    assert_eq!(registry.offer(open).unwrap(), None);
    assert_eq!(registry.download("atoken").unwrap(), None);
    registry.remove_image(&hash(1), BY).unwrap();
}
