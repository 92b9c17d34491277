//! The registry: one SQLite file, read by people's questions and by the server
//! when it changes.

use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Params, Row, Transaction, TransactionBehavior,
};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::areas::{self, Area};
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
}

/// The state of users and devices as of one look. Two equal versions mean that
/// none of them was changed in between, by any process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(u64);

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
        Ok(Registry {
            connection,
            path: path.to_path_buf(),
        })
    }

    /// As [`open`](Registry::open), but for reading only; see
    /// [`DataFolder::registry_to_read`](crate::DataFolder::registry_to_read).
    pub(crate) fn open_to_read(path: &Path) -> Result<Option<Registry>, StoreError> {
        match std::fs::metadata(path) {
            Ok(found) if found.len() == 0 => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(StoreError::NotReadable {
                    path: path.to_path_buf(),
                    source,
                });
            }
        }
        let failed = |source| StoreError::sqlite(path, source);
        // Not SQLite's own read-only mode: that would leave the files of the
        // write-ahead log behind. Where we may not write, it falls back to it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection
            .busy_timeout(limits::BUSY_TIMEOUT)
            .map_err(failed)?;
        connection
            .pragma_update(None, "query_only", true)
            .map_err(failed)?;
        let look = connection.transaction().map_err(failed)?;
        let version = schema::recognise(&look, path)?;
        look.commit().map_err(failed)?;
        Ok((version == schema::NEWEST).then(|| Registry {
            connection,
            path: path.to_path_buf(),
        }))
    }

    /// From now on changes made through this handle do not wait for the disk: a
    /// power cut may lose the last ones, and damages nothing. For notes that
    /// come often and that nobody was promised.
    ///
    /// # Errors
    /// The database could not be asked.
    pub fn without_waiting(self) -> Result<Registry, StoreError> {
        let set = || {
            self.connection
                .pragma_update(None, "synchronous", "NORMAL")?;
            self.connection
                .pragma_update(None, "wal_autocheckpoint", limits::WAL_PAGES)
        };
        set().map_err(|source| self.failed(source))?;
        Ok(self)
    }

    /// Waits until everything that was committed to the database is on the disk,
    /// also by handles that [do not wait](Registry::without_waiting).
    ///
    /// # Errors
    /// The write-ahead log could not be opened or synced.
    pub fn sync(&self) -> Result<(), StoreError> {
        let mut path = self.path.clone().into_os_string();
        path.push("-wal");
        let path = PathBuf::from(path);
        // What is not in it (any more) was synced before it was taken out.
        let synced = match OpenOptions::new().write(true).open(&path) {
            Ok(log) => log.sync_data(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        synced.map_err(|source| StoreError::NotWritable { path, source })
    }

    /// The state of users and devices now. Takes microseconds: poll it. Moves
    /// with them, their rights and tags, not with what else is stored.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn version(&self) -> Result<Version, StoreError> {
        areas::version(&self.connection, Area::Accounts)
            .map(Version)
            .map_err(|source| self.failed(source))
    }

    /// Moves whenever a revision of the settings is staged or settled, by any
    /// process. Takes microseconds: poll it.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn settings_version(&self) -> Result<u64, StoreError> {
        areas::version(&self.connection, Area::Settings).map_err(|source| self.failed(source))
    }

    /// All users and devices as of one moment.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn load(&mut self) -> Result<Snapshot, StoreError> {
        let path = self.path.clone();
        let failed = |source| StoreError::sqlite(&path, source);
        let transaction = self.connection.transaction().map_err(failed)?;
        let version = areas::version(&transaction, Area::Accounts).map_err(failed)?;
        let users = crate::users::all(&transaction).map_err(failed)?;
        let devices = crate::devices::all(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Snapshot {
            version: Version(version),
            users,
            devices,
        })
    }

    /// Runs a change in one transaction, and tells those who wait for its area.
    /// It is undone if `change` fails.
    pub(crate) fn change<T>(
        &mut self,
        area: Area,
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
        areas::bump(&transaction, area).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(done)
    }

    /// What a query finds.
    pub(crate) fn rows<T>(
        &self,
        query: &str,
        with: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let find = || -> rusqlite::Result<Vec<T>> {
            self.connection
                .prepare_cached(query)?
                .query_map(with, read)?
                .collect()
        };
        find().map_err(|source| self.failed(source))
    }

    /// The one row that a query finds, if it finds any.
    pub(crate) fn row<T>(
        &self,
        query: &str,
        with: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let find = || {
            self.connection
                .prepare_cached(query)?
                .query_row(with, read)
                .optional()
        };
        find().map_err(|source| self.failed(source))
    }

    pub(crate) fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.path, source)
    }
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
