//! Ports that were chosen in place of wanted ones, and what happened to ports.

use std::net::SocketAddr;

use rusqlite::{Connection, OptionalExtension, params};

use crate::areas::Area;
use crate::columns::{signed, stored_as_words, unsigned};
use crate::{By, Registry, StoreError, audit, limits};

/// A listener that took another port than it wanted, and stays there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenPort {
    /// The listener.
    pub listener: String,
    /// The address that it wanted.
    pub wanted: SocketAddr,
    /// The port that it took.
    pub chosen: u16,
    /// Who decided.
    pub who: String,
    /// When, in seconds since 1970.
    pub at: u64,
}

stored_as_words! {
    /// What happened to a port.
    pub enum PortEventKind {
        /// A listener took it.
        Bound = "bound",
        /// A listener gave it back.
        Released = "released",
        /// It could not be had.
        Refused = "refused",
        /// A listener went to another one.
        Moved = "moved",
        /// A listener came back to the one that it wants.
        Returned = "returned",
    }
}

/// Something that happened to a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortEvent {
    /// What happened.
    pub kind: PortEventKind,
    /// The listener.
    pub listener: String,
    /// The address, with its port.
    pub address: String,
    /// Who holds the port, if it is somebody else and known.
    pub holder: Option<String>,
    /// More, in words.
    pub detail: Option<String>,
}

/// A [`PortEvent`] that was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortEventRow {
    /// Grows with every row and is never used twice.
    pub id: i64,
    /// Seconds since 1970.
    pub at: u64,
    /// Who did it.
    pub who: String,
    /// What happened.
    pub event: PortEvent,
}

impl Registry {
    /// The port that a listener has taken in place of a wanted address.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn chosen_port(
        &self,
        listener: &str,
        wanted: SocketAddr,
    ) -> Result<Option<u16>, StoreError> {
        self.connection
            .query_row(
                "SELECT chosen FROM chosen_ports WHERE listener = ?1 AND wanted = ?2",
                params![listener, wanted.to_string()],
                |row| row.get(0),
            )
            .optional()
            .map_err(|source| self.failed(source))
    }

    /// All ports that were chosen, by listener.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn chosen_ports(&self) -> Result<Vec<ChosenPort>, StoreError> {
        chosen(&self.connection).map_err(|source| self.failed(source))
    }

    /// Remembers a chosen port: it holds over restarts, until it is released.
    /// `chosen` is 1 to 65535.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn choose_port(
        &mut self,
        listener: &str,
        wanted: SocketAddr,
        chosen: u16,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            db.execute(
                "INSERT OR REPLACE INTO chosen_ports (listener, wanted, chosen, who, at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![listener, wanted.to_string(), chosen, by.who, signed(by.at)],
            )
            .map_err(failed)?;
            db.execute(
                "DELETE FROM chosen_ports WHERE (listener, wanted) IN (
                    SELECT listener, wanted FROM chosen_ports
                    ORDER BY at DESC, listener, wanted LIMIT -1 OFFSET ?1)",
                [limits::MAX_CHOSEN_PORTS],
            )
            .map_err(failed)?;
            let what = format!("listener {listener} uses port {chosen} instead of {wanted}");
            audit::write(db, by, &what).map_err(failed)
        })
    }

    /// Forgets the chosen ports of a listener, so that it tries what it wants
    /// again. Says whether there were any.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn release_port(&mut self, listener: &str, by: By<'_>) -> Result<bool, StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let gone = db
                .execute("DELETE FROM chosen_ports WHERE listener = ?1", [listener])
                .map_err(failed)?;
            if gone > 0 {
                let what = format!("listener {listener} gives up its chosen port");
                audit::write(db, by, &what).map_err(failed)?;
            }
            Ok(gone > 0)
        })
    }

    /// Writes down what happened to a port. The newest 10,000 events are kept.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn port_event(&mut self, event: &PortEvent, by: By<'_>) -> Result<(), StoreError> {
        self.port_events_happened(std::slice::from_ref(event), by)
    }

    /// As [`port_event`](Registry::port_event), for several at once: they wait
    /// for the disk once.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn port_events_happened(
        &mut self,
        events: &[PortEvent],
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            append(db, events, limits::MAX_PORT_EVENTS, by)
                .map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// The newest events of ports, newest first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn port_events(&self, limit: u32) -> Result<Vec<PortEventRow>, StoreError> {
        events(&self.connection, limit).map_err(|source| self.failed(source))
    }
}

fn chosen(db: &Connection) -> rusqlite::Result<Vec<ChosenPort>> {
    db.prepare_cached(
        "SELECT listener, wanted, chosen, who, at FROM chosen_ports ORDER BY listener, wanted",
    )?
    .query_map([], |row| {
        Ok(ChosenPort {
            listener: row.get(0)?,
            wanted: row.get::<_, String>(1)?.parse().map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(
                    1,
                    rusqlite::types::Type::Text,
                    Box::<std::net::AddrParseError>::new(error),
                )
            })?,
            chosen: row.get(2)?,
            who: row.get(3)?,
            at: unsigned(row, 4)?,
        })
    })?
    .collect()
}

fn append(db: &Connection, events: &[PortEvent], keep: u32, by: By<'_>) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO port_events (at, who, kind, listener, address, holder, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for event in events {
        insert.execute(params![
            signed(by.at),
            by.who,
            event.kind,
            event.listener,
            event.address,
            event.holder,
            event.detail
        ])?;
    }
    db.execute(
        "DELETE FROM port_events WHERE id <= (SELECT max(id) FROM port_events) - ?1",
        [keep],
    )
    .map(drop)
}

fn events(db: &Connection, limit: u32) -> rusqlite::Result<Vec<PortEventRow>> {
    db.prepare_cached(
        "SELECT id, at, who, kind, listener, address, holder, detail FROM port_events
         ORDER BY id DESC LIMIT ?1",
    )?
    .query_map([limit], |row| {
        Ok(PortEventRow {
            id: row.get(0)?,
            at: unsigned(row, 1)?,
            who: row.get(2)?,
            event: PortEvent {
                kind: row.get(3)?,
                listener: row.get(4)?,
                address: row.get(5)?,
                holder: row.get(6)?,
                detail: row.get(7)?,
            },
        })
    })?
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{PortEvent, PortEventKind, append, events};
    use crate::{By, DataFolder};

    #[test]
    fn the_oldest_events_of_ports_go_first() {
        let scratch = tempfile::tempdir().unwrap();
        let registry = DataFolder::open(scratch.path())
            .unwrap()
            .registry()
            .unwrap();
        let by = By { who: "test", at: 1 };
        for number in 0..7 {
            let event = PortEvent {
                kind: PortEventKind::Bound,
                listener: "mqtt".to_string(),
                address: number.to_string(),
                holder: None,
                detail: None,
            };
            append(&registry.connection, &[event], 5, by).unwrap();
        }
        let kept: Vec<String> = events(&registry.connection, 100)
            .unwrap()
            .into_iter()
            .map(|row| row.event.address)
            .collect();
        assert_eq!(kept, ["6", "5", "4", "3", "2"]);
    }
}
