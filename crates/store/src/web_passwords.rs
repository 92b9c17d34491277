//! Passwords of devices' own web pages. They have to be presented as they are, so
//! they are kept as they are, in a file that only the server's user may read.

use rusqlite::{Row, params};

use crate::areas::Area;
use crate::columns::signed;
use crate::{By, Kind, Registry, Secret, StoreError, audit};

impl Registry {
    /// Keeps the password of a device's own pages, or forgets it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such device.
    pub fn set_web_password(
        &mut self,
        member: u64,
        password: Option<&Secret>,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let member = signed(member);
            let known = db
                .prepare_cached("SELECT 1 FROM members WHERE id = ?1")
                .and_then(|mut known| known.exists([member]))
                .map_err(failed)?;
            if !known {
                return Err(StoreError::NotFound {
                    kind: Kind::Member,
                    name: member.to_string(),
                });
            }
            let password = password.filter(|password| !password.expose().is_empty());
            let done = match password {
                Some(password) => {
                    db.execute(
                        "INSERT OR REPLACE INTO web_passwords (member, password, since)
                         VALUES (?1, ?2, ?3)",
                        params![member, password.expose(), signed(by.at)],
                    )
                    .map_err(failed)?;
                    "set"
                }
                None => {
                    db.execute("DELETE FROM web_passwords WHERE member = ?1", [member])
                        .map_err(failed)?;
                    "forgotten"
                }
            };
            let what = format!("password of the pages of device {member} {done}");
            audit::write(db, by, &what).map_err(failed)
        })
    }

    /// The password of a device's own pages, if one is set.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn web_password(&self, member: u64) -> Result<Option<Secret>, StoreError> {
        let query = "SELECT password FROM web_passwords WHERE member = ?1";
        self.row(query, [signed(member)], |row: &Row<'_>| {
            Ok(Secret::new(row.get::<_, String>(0)?))
        })
    }
}
