//! Offers: one image or release for one device, and how far it has come.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::members::fits;
use crate::{BlobHash, By, Kind, Registry, StoreError, audit, images};

/// An offer that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOffer {
    /// The number of the device that it is for.
    pub member: u64,
    /// The number of the release that is offered.
    pub release: Option<u64>,
    /// The image that is offered.
    pub image: Option<BlobHash>,
    /// The word for how far it is.
    pub state: String,
    /// Everything else, in the form of the caller's. At most 64 KiB.
    pub body: String,
}

/// What has become of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferChange {
    /// The offer.
    pub id: u64,
    /// The word for how far it is.
    pub state: String,
    /// Whether it goes on. The download tokens of one that has ended go.
    pub open: bool,
    /// Everything else, in the form of the caller's. At most 64 KiB.
    pub body: String,
    /// Seconds since 1970.
    pub updated: u64,
}

/// An offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferRow {
    /// Grows with every offer and is never used twice.
    pub id: u64,
    /// The number of the device that it is for.
    pub member: u64,
    /// The number of the release that is offered.
    pub release: Option<u64>,
    /// The image that is offered; it may be removed once the offer has ended.
    pub image: Option<BlobHash>,
    /// The word for how far it is.
    pub state: String,
    /// Whether it goes on.
    pub open: bool,
    /// Everything else, in the form of the caller's.
    pub body: String,
    /// Who made it.
    pub who: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it changed last, in seconds since 1970.
    pub updated: u64,
}

/// Which offers are asked for. The default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfferQuery<'a> {
    /// Only those for this device, by number.
    pub member: Option<u64>,
    /// Only those of this release, by number.
    pub release: Option<u64>,
    /// Only those that are so far.
    pub state: Option<&'a str>,
    /// Only those that go on, or only those that have ended.
    pub open: Option<bool>,
    /// Only those older than this offer.
    pub before: Option<u64>,
    /// At most so many; 0 means all.
    pub limit: u32,
}

const COLUMNS: &str =
    "SELECT id, member, release, image, state, open, body, who, created, updated FROM offers";

impl Registry {
    /// Makes an offer, open, and returns its number. Durable on return, and so is
    /// the device's row if it was written before, by whatever handle.
    ///
    /// # Errors
    /// [`StoreError::OfferOpen`]: a device has one open offer;
    /// [`StoreError::NotFound`] for the device (write its row first), the release
    /// or the image; [`StoreError::TooLong`].
    pub fn add_offer(&mut self, offer: &NewOffer, by: By<'_>) -> Result<u64, StoreError> {
        self.change(Area::Unwatched, |db, path| add(db, path, offer, by))
    }

    /// Makes many offers in one transaction. What is refused of them, as by
    /// [`add_offer`](Registry::add_offer), stays away from the others.
    ///
    /// # Errors
    /// The database could not be written; then none is made.
    pub fn add_offers(
        &mut self,
        offers: &[NewOffer],
        by: By<'_>,
    ) -> Result<Vec<Result<u64, StoreError>>, StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let mut made = Vec::with_capacity(offers.len());
            for offer in offers {
                made.push(match add(db, path, offer, by) {
                    Ok(id) => Ok(id),
                    Err(
                        refused @ (StoreError::OfferOpen { .. }
                        | StoreError::NotFound { .. }
                        | StoreError::TooLong { .. }),
                    ) => Err(refused),
                    Err(error) => return Err(error),
                });
            }
            Ok(made)
        })
    }

    /// Writes down what has become of offers, in one transaction. Those that are
    /// gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::OfferOpen`] if one is to go on again while its device has
    /// another; [`StoreError::TooLong`]. Then nothing is changed.
    pub fn write_offers(&mut self, changes: &[OfferChange]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        for change in changes {
            fits("what is known of an offer", &change.body)?;
        }
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            for change in changes {
                write(db, change).map_err(failed)??;
            }
            Ok(())
        })
    }

    /// One offer.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn offer(&self, id: u64) -> Result<Option<OfferRow>, StoreError> {
        self.row(&format!("{COLUMNS} WHERE id = ?1"), [signed(id)], read)
    }

    /// All offers that go on, in the order in which they were made.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn open_offers(&self) -> Result<Vec<OfferRow>, StoreError> {
        self.rows(&format!("{COLUMNS} WHERE open = 1 ORDER BY id"), [], read)
    }

    /// The offers that are asked for, the newest first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn offers(&self, query: &OfferQuery<'_>) -> Result<Vec<OfferRow>, StoreError> {
        let mut wanted = Vec::new();
        let mut values: Vec<Value> = Vec::new();
        let mut only = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                values.push(value);
                wanted.push(format!("{condition} ?{}", values.len()));
            }
        };
        only("member =", query.member.map(|id| signed(id).into()));
        only("release =", query.release.map(|id| signed(id).into()));
        only("state =", query.state.map(|word| word.to_string().into()));
        only("open =", query.open.map(|open| i64::from(open).into()));
        only("id <", query.before.map(|id| signed(id).into()));
        let wanted = match wanted.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", wanted.join(" AND ")),
        };
        let limit = match query.limit {
            0 => -1,
            limit => i64::from(limit),
        };
        self.rows(
            &format!("{COLUMNS} {wanted} ORDER BY id DESC LIMIT {limit}"),
            params_from_iter(values),
            read,
        )
    }
}

fn add(db: &Connection, path: &Path, offer: &NewOffer, by: By<'_>) -> Result<u64, StoreError> {
    let failed = |source| StoreError::sqlite(path, source);
    fits("what is known of an offer", &offer.body)?;
    if let Some((kind, name)) = missing(db, offer).map_err(failed)? {
        return Err(StoreError::NotFound { kind, name });
    }
    if let Some(open) = open_of(db, offer.member, 0).map_err(failed)? {
        return Err(StoreError::OfferOpen {
            member: offer.member,
            offer: open,
        });
    }
    db.prepare_cached(
        "INSERT INTO offers (member, release, image, state, open, body, who, created, updated)
         VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?7)",
    )
    .and_then(|mut insert| {
        insert.execute(params![
            signed(offer.member),
            offer.release.map(signed),
            offer.image,
            offer.state,
            offer.body,
            by.who,
            signed(by.at)
        ])
    })
    .map_err(failed)?;
    let id = u64::try_from(db.last_insert_rowid()).unwrap_or_default();
    let what = format!("offer {id} made for device {}", offer.member);
    audit::write(db, by, &what).map_err(failed)?;
    Ok(id)
}

/// What an offer refers to and is not there.
fn missing(db: &Connection, offer: &NewOffer) -> rusqlite::Result<Option<(Kind, String)>> {
    let known = |query: &str, id: u64| db.prepare_cached(query)?.exists([signed(id)]);
    if !known("SELECT 1 FROM members WHERE id = ?1", offer.member)? {
        return Ok(Some((Kind::Member, offer.member.to_string())));
    }
    if let Some(id) = offer.release
        && !known(
            "SELECT 1 FROM releases WHERE id = ?1 AND removed IS NULL",
            id,
        )?
    {
        return Ok(Some((Kind::Release, id.to_string())));
    }
    if let Some(hash) = &offer.image
        && !images::exists(db, hash)?
    {
        return Ok(Some((Kind::Image, hash.to_string())));
    }
    Ok(None)
}

/// The offer of a device that goes on, if it is another than `own`.
fn open_of(db: &Connection, member: u64, own: u64) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached("SELECT id FROM offers WHERE member = ?1 AND open = 1 AND id <> ?2")?
        .query_row([signed(member), signed(own)], |row| unsigned(row, 0))
        .optional()
}

fn write(db: &Connection, change: &OfferChange) -> rusqlite::Result<Result<(), StoreError>> {
    if change.open {
        let member = db
            .prepare_cached("SELECT member FROM offers WHERE id = ?1")?
            .query_row([signed(change.id)], |row| unsigned(row, 0))
            .optional()?;
        let Some(member) = member else {
            return Ok(Ok(()));
        };
        if let Some(offer) = open_of(db, member, change.id)? {
            return Ok(Err(StoreError::OfferOpen { member, offer }));
        }
    }
    db.prepare_cached(
        "UPDATE offers SET state = ?2, open = ?3, body = ?4, updated = ?5 WHERE id = ?1",
    )?
    .execute(params![
        signed(change.id),
        change.state,
        change.open,
        change.body,
        signed(change.updated)
    ])?;
    if !change.open {
        db.prepare_cached("DELETE FROM downloads WHERE offer = ?1")?
            .execute([signed(change.id)])?;
    }
    Ok(Ok(()))
}

fn read(row: &Row<'_>) -> rusqlite::Result<OfferRow> {
    Ok(OfferRow {
        id: unsigned(row, 0)?,
        member: unsigned(row, 1)?,
        release: maybe_unsigned(row, 2)?,
        image: row.get(3)?,
        state: row.get(4)?,
        open: row.get(5)?,
        body: row.get(6)?,
        who: row.get(7)?,
        created: unsigned(row, 8)?,
        updated: unsigned(row, 9)?,
    })
}
