//! The registry: one SQLite file, read by people's questions and by the server
//! when it changes.

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{DeviceRecord, StoreError, User, limits, schema};

/// An open registry. Several may be open on one file, in any number of
/// processes; each change is one durable transaction (write-ahead log, fsync on
/// every commit).
///
/// `Send` but not `Sync`: one per thread, or one behind a mutex.
#[derive(Debug)]
pub struct Registry {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    handle: u64,
}

/// The state of the registry as of one look. Two equal versions mean that
/// nothing was changed in between, by anyone. Those of two [`Registry`] values
/// are never equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Which [`Registry`] looked: the figures of two do not compare.
    handle: u64,
    /// `PRAGMA data_version`: moves when another connection has committed.
    others: i64,
    /// Rows that this connection has changed.
    own: u64,
}

/// Everything the gatekeeper needs, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The state it was taken from.
    pub version: Version,
    /// All users, by name.
    pub users: Vec<User>,
    /// All devices, by name.
    pub devices: Vec<DeviceRecord>,
}

impl Registry {
    /// Opens or makes the database and brings its schema up to date.
    ///
    /// # Errors
    /// The file cannot be opened or written, is damaged, belongs to another
    /// program or to a newer Safeport.
    pub fn open(path: &Path) -> Result<Registry, StoreError> {
        make_private(path)?;
        // The step to a write-ahead log does not wait for another process that
        // is making the same step: SQLite answers "busy" at once.
        let deadline = Instant::now() + limits::BUSY_TIMEOUT;
        loop {
            match Registry::try_open(path) {
                Err(StoreError::Busy { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                done => return done,
            }
        }
    }

    fn try_open(path: &Path) -> Result<Registry, StoreError> {
        let failed = |source| StoreError::sqlite(path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection
            .busy_timeout(limits::BUSY_TIMEOUT)
            .map_err(failed)?;
        // Before anything is changed: the file may belong to another program.
        let look = connection.transaction().map_err(failed)?;
        let version = schema::recognise(&look, path)?;
        look.commit().map_err(failed)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(failed)?;
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(failed)?;
        connection
            .pragma_update(None, "foreign_keys", true)
            .map_err(failed)?;
        if version < schema::NEWEST {
            schema::migrate(&mut connection, path)?;
        }
        static NEXT_HANDLE: AtomicU64 = AtomicU64::new(0);
        Ok(Registry {
            connection,
            path: path.to_path_buf(),
            handle: NEXT_HANDLE.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The state of the registry now. Takes microseconds: poll it.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn version(&mut self) -> Result<Version, StoreError> {
        version(&self.connection, self.handle).map_err(|source| self.failed(source))
    }

    /// All users and devices as of one moment.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn load(&mut self) -> Result<Snapshot, StoreError> {
        let path = self.path.clone();
        let failed = |source| StoreError::sqlite(&path, source);
        // Looked at before the rows: a change that slips in between is in the
        // rows already and makes the next poll load once more than needed.
        let version = version(&self.connection, self.handle).map_err(failed)?;
        let transaction = self.connection.transaction().map_err(failed)?;
        let users = crate::users::all(&transaction).map_err(failed)?;
        let devices = crate::devices::all(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Snapshot {
            version,
            users,
            devices,
        })
    }

    /// Runs a change in one transaction. It is undone if `change` fails.
    pub(crate) fn change<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>, &Path) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let path = &self.path;
        let failed = |source| StoreError::sqlite(path, source);
        // Immediate: take the write lock first, so that what is read inside
        // still holds when it is written.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let done = change(&transaction, path)?;
        transaction.commit().map_err(failed)?;
        Ok(done)
    }

    pub(crate) fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.path, source)
    }
}

fn version(connection: &Connection, handle: u64) -> rusqlite::Result<Version> {
    Ok(Version {
        handle,
        others: connection.query_row("PRAGMA data_version", [], |row| row.get(0))?,
        own: connection.total_changes(),
    })
}

/// Makes the file with mode 0600 before SQLite would make it for all to read.
/// The files beside it take their mode from it.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .map(drop)
        .map_err(|source| StoreError::NotWritable {
            path: path.to_path_buf(),
            source,
        })
}
