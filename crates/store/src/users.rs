//! People and programs in the registry, and the rights of every login.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::areas::Area;
use crate::audit;
use crate::columns::{signed, unsigned};
use crate::logins::{all_rights, claim_login, exists, read_rights, write_rights};
use crate::{Account, By, Kind, Registry, Rights, Secret, StoreError, User};

const COLUMNS: &str = "SELECT name, password_hash, enabled, created FROM users";

impl Registry {
    /// Adds a user.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] by a user or a device.
    pub fn add_user(&mut self, user: &User, by: By<'_>) -> Result<(), StoreError> {
        self.change(Area::Accounts, |db, path| {
            claim_login(db, path, &user.name, Kind::User)?;
            let failed = |source| StoreError::sqlite(path, source);
            db.execute(
                "INSERT INTO users (name, password_hash, enabled, created) VALUES (?1, ?2, ?3, ?4)",
                params![
                    user.name,
                    user.password_hash.expose(),
                    user.enabled,
                    signed(user.created)
                ],
            )
            .map_err(failed)?;
            write_rights(db, &user.name, &user.rights).map_err(failed)?;
            audit::write(db, by, &format!("user {} added", user.name)).map_err(failed)
        })
    }

    /// Replaces the password hash of a user.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn set_user_password(
        &mut self,
        name: &str,
        hash: &Secret,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.update_user(name, by, "password changed", |db| {
            db.execute(
                "UPDATE users SET password_hash = ?2 WHERE name = ?1",
                params![name, hash.expose()],
            )
        })
    }

    /// Replaces what a user may do.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn set_user_rights(
        &mut self,
        name: &str,
        rights: &Rights,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.update_user(name, by, "rights changed", |db| {
            let found = exists(db, "SELECT 1 FROM users WHERE name = ?1", name)?;
            if found {
                write_rights(db, name, rights)?;
            }
            Ok(usize::from(found))
        })
    }

    /// Lets a user log in, or no longer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn set_user_enabled(
        &mut self,
        name: &str,
        enabled: bool,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        let what = if enabled { "enabled" } else { "disabled" };
        self.update_user(name, by, what, |db| {
            db.execute(
                "UPDATE users SET enabled = ?2 WHERE name = ?1",
                params![name, enabled],
            )
        })
    }

    /// Removes a user with all rights.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn remove_user(&mut self, name: &str, by: By<'_>) -> Result<(), StoreError> {
        self.update_user(name, by, "removed", |db| {
            db.execute(
                "DELETE FROM logins WHERE name = ?1 AND kind = 'user'",
                [name],
            )
        })
    }

    /// All users, by name.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn users(&self) -> Result<Vec<User>, StoreError> {
        all(&self.connection).map_err(|source| self.failed(source))
    }

    /// One user.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn user(&self, name: &str) -> Result<Option<User>, StoreError> {
        one(&self.connection, name).map_err(|source| self.failed(source))
    }

    /// Whoever logs in with this name.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn account(&self, username: &str) -> Result<Option<Account>, StoreError> {
        let db = &self.connection;
        let found = match one(db, username).map_err(|source| self.failed(source))? {
            Some(user) => Some(Account::User(user)),
            None => crate::devices::by_username(db, username)
                .map_err(|source| self.failed(source))?
                .map(Account::Device),
        };
        Ok(found)
    }

    fn update_user(
        &mut self,
        name: &str,
        by: By<'_>,
        what: &str,
        update: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
    ) -> Result<(), StoreError> {
        self.change(Area::Accounts, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            if update(db).map_err(failed)? == 0 {
                return Err(StoreError::NotFound {
                    kind: Kind::User,
                    name: name.to_string(),
                });
            }
            audit::write(db, by, &format!("user {name} {what}")).map_err(failed)
        })
    }
}

pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<User>> {
    let mut statement = db.prepare_cached(&format!("{COLUMNS} ORDER BY name"))?;
    let mut rights = all_rights(db)?;
    let rows = statement.query_map([], read)?;
    rows.map(|user| {
        let mut user = user?;
        user.rights = rights.remove(&user.name).unwrap_or_default();
        Ok(user)
    })
    .collect()
}

fn one(db: &Connection, name: &str) -> rusqlite::Result<Option<User>> {
    db.prepare_cached(&format!("{COLUMNS} WHERE name = ?1"))?
        .query_row([name], read)
        .optional()?
        .map(|user| with_rights(db, user))
        .transpose()
}

fn read(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        name: row.get(0)?,
        password_hash: Secret::new(row.get::<_, String>(1)?),
        rights: Rights::default(),
        enabled: row.get(2)?,
        created: unsigned(row, 3)?,
    })
}

fn with_rights(db: &Connection, mut user: User) -> rusqlite::Result<User> {
    user.rights = read_rights(db, &user.name)?;
    Ok(user)
}
