//! The devices' own settings: saved before anything is changed on a device and when asked for,
//! compared, and put back.
//!
//! A backup is the settings file as the device gives it, kept under its SHA-256. The same bytes
//! again are noted, not kept twice. Everything here blocks while a device is asked, for half a
//! minute at most, and for a restore some minutes if the device is slow.

mod form;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use safeport_fleet::{Family, Member, MemberId, Sighting};
use safeport_store::{BackupRow, BlobStore, By, Kind, NewBackup, Registry, Secret, StoreError};

pub use self::form::{Difference, MOST_RANGES, Range};
use self::form::{Form, NotSettings};
pub use self::view::{
    BackupError, BackupId, BackupIdError, BackupView, Comparison, Made, Restored,
};
use super::access::unix_now;
use super::device_web::{Acquaintances, Pages, SettingsFile};
use super::upgrades::{DeviceWeb, Devices, WebError};

/// What backups work with.
pub struct Parts {
    /// A connection to the registry of their own, which waits for the disk.
    pub registry: Registry,
    /// Where the bytes lie.
    pub blobs: BlobStore,
    /// The fleet; the same that offers work with.
    pub devices: Arc<dyn Devices>,
    /// `firmware.keep_backups`.
    pub keep: u32,
}

/// How settings are put back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Restore {
    /// Onto this device instead of the one they are of.
    pub to: Option<MemberId>,
    /// It is meant to be another one.
    pub other_device: bool,
    /// Only say what would be done and what is to be minded.
    pub dry_run: bool,
}

/// The backups of this server, and the pages of the devices that they come from.
pub struct Backups {
    registry: Mutex<Registry>,
    blobs: BlobStore,
    devices: Arc<dyn Devices>,
    keep: Mutex<u32>,
    met: Acquaintances,
    /// One at a time asks a device for its settings or changes them.
    busy: Mutex<Vec<MemberId>>,
}

impl fmt::Debug for Backups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backups(…)")
    }
}

impl Backups {
    /// Ready for use; nothing runs by itself.
    pub fn new(parts: Parts) -> Arc<Backups> {
        Arc::new(Backups {
            registry: Mutex::new(parts.registry),
            blobs: parts.blobs,
            devices: parts.devices,
            keep: Mutex::new(parts.keep),
            met: Acquaintances::default(),
            busy: Mutex::default(),
        })
    }

    /// Another `firmware.keep_backups`, from the next backup on.
    pub fn set_keep(&self, keep: u32) {
        *lock(&self.keep) = keep;
    }

    /// The backups of a device, the newest first.
    ///
    /// # Errors
    /// If the registry cannot be read.
    pub fn list(&self, member: MemberId) -> Result<Vec<BackupView>, BackupError> {
        let rows = lock(&self.registry).backups(member.0)?;
        Ok(rows.into_iter().map(BackupView::of).collect())
    }

    /// One backup.
    ///
    /// # Errors
    /// [`BackupError::Unknown`].
    pub fn get(&self, id: BackupId) -> Result<BackupView, BackupError> {
        Ok(BackupView::of(self.row(id)?))
    }

    /// The file of a backup. It holds the passwords of the device.
    ///
    /// # Errors
    /// [`BackupError::Unknown`], or the file is gone.
    pub fn bytes(&self, id: BackupId) -> Result<(BackupView, File), BackupError> {
        let row = self.row(id)?;
        let file = self.blobs.file(&row.hash)?.file;
        Ok((BackupView::of(row), file))
    }

    /// Asks a device for its settings and keeps them.
    ///
    /// # Errors
    /// The device is not known or cannot be asked, gives something else, or the file cannot be
    /// kept.
    pub fn make(&self, member: MemberId, why: &str, who: &str) -> Result<Made, BackupError> {
        let member = self.member(member)?;
        let _turn = self.turn(member.id)?;
        self.take(&member, why, who, 0)
    }

    /// Asks a device's own pages what it is and runs, for whoever wants to know it now.
    ///
    /// # Errors
    /// The device is not known or cannot be asked.
    pub fn refresh(&self, member: MemberId) -> Result<(), BackupError> {
        let member = self.member(member)?;
        let password = self.password(member.id)?;
        let sighting = self.met.pages(&member, password.as_ref())?.look()?;
        self.devices.sight(sighting);
        Ok(())
    }

    /// Compares a backup with another one, or with the one before it.
    ///
    /// # Errors
    /// [`BackupError::Unknown`], [`BackupError::NothingBefore`], or they are of different families.
    pub fn compare(&self, id: BackupId, with: Option<BackupId>) -> Result<Comparison, BackupError> {
        let row = self.row(id)?;
        let other = match with {
            Some(other) => self.row(other)?,
            None => {
                let rows = lock(&self.registry).backups(row.member)?;
                let before = rows
                    .into_iter()
                    .find(|other| other.id < row.id && other.kind == row.kind);
                before.ok_or(BackupError::NothingBefore(id))?
            }
        };
        if row.kind != other.kind {
            return Err(BackupError::Unlike(id, BackupId(other.id)));
        }
        let (one, two) = (self.read(&row)?, self.read(&other)?);
        Ok(Comparison {
            with: BackupId(other.id).to_string(),
            difference: form::compare(family_of(&row.kind), &two, &one),
        })
    }

    /// Puts settings back onto the device they are of, after a backup of what it has now. The
    /// device restarts.
    ///
    /// # Errors
    /// They do not fit, the device cannot be asked, or it refuses them.
    pub fn restore(&self, id: BackupId, wish: Restore, who: &str) -> Result<Restored, BackupError> {
        let row = self.row(id)?;
        let member = self.member(wish.to.unwrap_or(MemberId(row.member)))?;
        let bytes = self.read(&row)?;
        let warnings = fits(&row, &bytes, &member, wish.other_device)?;
        if wish.dry_run {
            return Ok(Restored {
                warnings,
                saved: None,
                said: None,
            });
        }
        let _turn = self.turn(member.id)?;
        let password = self.password(member.id)?;
        let pages = self.met.pages(&member, password.as_ref())?;
        // One more is kept, so that this does not push out the very one that is put back.
        let saved = self.take(&member, &format!("before {id} was put back"), who, 1)?;
        let said = pages.restore(&row.file_name, &bytes)?;
        self.devices.note(
            member.id,
            &format!("settings of backup {id} put back by {who}: {said}"),
        );
        Ok(Restored {
            warnings,
            saved: Some(saved.backup.id),
            said: Some(said),
        })
    }

    /// Removes a backup.
    ///
    /// # Errors
    /// [`BackupError::Unknown`].
    pub fn remove(&self, id: BackupId, who: &str) -> Result<(), BackupError> {
        self.row(id)?;
        let by = By {
            who,
            at: unix_now(),
        };
        Ok(lock(&self.registry).remove_backup(id.0, by)?)
    }

    /// The password of a device's own pages (user `admin`), or none any more. It is kept as it is,
    /// since the device wants to hear it, and sent only to the address that the device has proved
    /// or an operator has set.
    ///
    /// # Errors
    /// The device is not known, or the registry cannot be written.
    pub fn set_password(
        &self,
        member: MemberId,
        password: Option<&str>,
        who: &str,
    ) -> Result<(), BackupError> {
        let member = self.member(member)?;
        if let Some(password) = password
            && (password.len() > MOST_PASSWORD || password.chars().any(char::is_control))
        {
            return Err(BackupError::BadPassword);
        }
        let secret = password.map(Secret::new);
        let by = By {
            who,
            at: unix_now(),
        };
        self.once_written(|registry| registry.set_web_password(member.id.0, secret.as_ref(), by))
    }

    /// Whether a password is set for the device's own pages.
    ///
    /// # Errors
    /// If the registry cannot be read.
    pub fn has_password(&self, member: MemberId) -> Result<bool, BackupError> {
        Ok(self.password(member)?.is_some())
    }

    fn take(&self, member: &Member, why: &str, who: &str, more: u32) -> Result<Made, BackupError> {
        let password = self.password(member.id)?;
        let pages = self.met.pages(member, password.as_ref())?;
        // Tells its version as of now, and that it is the right one.
        let sighting = pages.look()?;
        let version = sighting.facts.version().map(str::to_owned);
        self.devices.sight(sighting);
        let SettingsFile { name, bytes } = pages.settings()?;
        let family = pages.family();
        let found = form::recognise(family, &bytes).map_err(|NotSettings(why)| {
            BackupError::NotSettings {
                device: member.name().into(),
                why,
            }
        })?;
        let version = version.or_else(|| found.version().map(str::to_owned));
        self.keep(member, family, version, name, &bytes, why, who, more)
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a row")]
    fn keep(
        &self,
        member: &Member,
        family: Family,
        version: Option<String>,
        file_name: String,
        bytes: &[u8],
        why: &str,
        who: &str,
        more: u32,
    ) -> Result<Made, BackupError> {
        let kind = kind_of(family);
        let by = By {
            who,
            at: unix_now(),
        };
        let before = lock(&self.registry)
            .backups(member.id.0)?
            .into_iter()
            .find(|row| row.kind == kind);
        let mut writer = self.blobs.begin(bytes.len() as u64)?;
        writer.write(bytes)?;
        // The same bytes lie there once, whoever they are of.
        let blob = writer.finish(None)?;
        if let Some(before) = before.as_ref().filter(|before| before.hash == blob.hash) {
            let mut registry = lock(&self.registry);
            registry.note_backup(before.id, by)?;
            let row = registry.backup(before.id)?;
            let id = BackupId(before.id);
            return Ok(Made {
                backup: BackupView::of(row.ok_or(BackupError::Unknown(id))?),
                unchanged: true,
                compared: None,
            });
        }
        let keep = lock(&self.keep).saturating_add(more);
        let new = NewBackup {
            member: member.id.0,
            kind: kind.to_owned(),
            version,
            file_name,
            hash: blob.hash,
            bytes: blob.bytes,
            why: why.to_owned(),
        };
        let id = BackupId(self.once_written(|registry| registry.add_backup(&new, keep, by))?);
        let row = self.row(id)?;
        self.devices
            .note(member.id, &format!("settings saved as {id}: {why}"));
        let compared = match before {
            None => None,
            Some(before) => self.read(&before).ok().map(|old| Comparison {
                with: BackupId(before.id).to_string(),
                difference: form::compare(family, &old, bytes),
            }),
        };
        Ok(Made {
            backup: BackupView::of(row),
            unchanged: false,
            compared,
        })
    }

    fn member(&self, id: MemberId) -> Result<Member, BackupError> {
        self.devices.member(id).ok_or(BackupError::NoDevice(id))
    }

    fn row(&self, id: BackupId) -> Result<BackupRow, BackupError> {
        let row = lock(&self.registry).backup(id.0)?;
        row.ok_or(BackupError::Unknown(id))
    }

    /// The file of a backup, with its hash proved.
    fn read(&self, row: &BackupRow) -> Result<Vec<u8>, BackupError> {
        let damaged = |why: String| BackupError::Unreadable(BackupId(row.id), why);
        self.blobs
            .verify(&row.hash)
            .map_err(|error| damaged(error.to_string()))?;
        let found = self.blobs.file(&row.hash)?;
        let mut bytes = Vec::new();
        found
            .file
            .take(row.bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(error.to_string()))?;
        Ok(bytes)
    }

    /// What needs the row of a device, which is written down within a second or two of its first
    /// appearance.
    fn once_written<T>(
        &self,
        mut work: impl FnMut(&mut Registry) -> Result<T, StoreError>,
    ) -> Result<T, BackupError> {
        let deadline = Instant::now() + WRITTEN_WITHIN;
        loop {
            match work(&mut lock(&self.registry)) {
                Err(StoreError::NotFound {
                    kind: Kind::Member, ..
                }) if Instant::now() < deadline => {}
                done => return Ok(done?),
            }
            std::thread::sleep(WRITTEN_WITHIN / 20);
        }
    }

    fn password(&self, member: MemberId) -> Result<Option<Secret>, BackupError> {
        Ok(lock(&self.registry).web_password(member.0)?)
    }

    fn turn(&self, member: MemberId) -> Result<Turn<'_>, BackupError> {
        let mut busy = lock(&self.busy);
        if busy.contains(&member) {
            return Err(BackupError::Busy(member));
        }
        busy.push(member);
        Ok(Turn {
            backups: self,
            member,
        })
    }

    /// What needs the pages of a device.
    fn with_pages<T>(
        &self,
        member: MemberId,
        work: impl FnOnce(&Pages<'_>) -> Result<T, WebError>,
    ) -> Result<T, WebError> {
        let unreachable = |error: BackupError| WebError::Unreachable(error.to_string());
        let member = self.member(member).map_err(unreachable)?;
        let password = self.password(member.id).map_err(unreachable)?;
        work(&self.met.pages(&member, password.as_ref())?)
    }
}

impl DeviceWeb for Backups {
    fn command(&self, member: MemberId, text: &str) -> Result<String, WebError> {
        self.with_pages(member, |pages| pages.command(text))
    }

    fn look(&self, member: MemberId) -> Result<Sighting, WebError> {
        self.with_pages(member, |pages| pages.look())
    }

    fn upload(
        &self,
        member: MemberId,
        file: &File,
        length: u64,
        name: &str,
        progress: &mut dyn FnMut(u64),
    ) -> Result<String, WebError> {
        let mut place = FromStart { file, at: 0 };
        self.with_pages(member, |pages| {
            pages.install(&mut place, length, name, progress)
        })
    }

    fn backup(&self, member: MemberId, why: &str) -> Result<(), WebError> {
        match self.make(member, why, "offers") {
            Ok(_) => Ok(()),
            Err(BackupError::Web(error)) => Err(error),
            Err(error @ BackupError::NotSettings { .. }) => {
                Err(WebError::Refused(error.to_string()))
            }
            Err(error) => Err(WebError::Unreachable(error.to_string())),
        }
    }
}

/// Reads a file from its begin, wherever others that share it are reading.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let read = self.file.read_at(to, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// While it lives, nobody else asks this device for settings or changes them.
struct Turn<'a> {
    backups: &'a Backups,
    member: MemberId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.backups.busy).retain(|member| *member != self.member);
    }
}

/// The fleet writes what is new once a second.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a password: what Tasmota takes.
const MOST_PASSWORD: usize = 64;

/// Whether these settings may go onto this device, and what is to be minded.
fn fits(
    row: &BackupRow,
    bytes: &[u8],
    member: &Member,
    other_device: bool,
) -> Result<Vec<String>, BackupError> {
    let id = BackupId(row.id);
    let is_other = member.id.0 != row.member;
    if is_other && !other_device {
        return Err(BackupError::OtherDevice {
            backup: id,
            of: MemberId(row.member),
            to: member.name().into(),
        });
    }
    let family = family_of(&row.kind);
    if member.family() != Some(family) {
        return Err(BackupError::OtherFamily {
            backup: id,
            family: family.to_string(),
            device: member.name().into(),
        });
    }
    let found =
        form::recognise(family, bytes).map_err(|NotSettings(why)| BackupError::NotSettings {
            device: member.name().into(),
            why,
        })?;
    if let Some(chip) = member.chip()
        && found.is_for(chip) == Some(false)
    {
        return Err(BackupError::OtherChip {
            backup: id,
            device: member.name().into(),
            chip: chip.name().to_owned(),
        });
    }
    let mut warnings = Vec::new();
    if is_other {
        warnings.push(format!(
            "these are the settings of {}: with them {} takes its name, topic and MQTT login, and \
             the two disturb each other until they are changed on one of them",
            MemberId(row.member),
            member.name()
        ));
    }
    let now = member.facts.version();
    match (&row.version, now) {
        (Some(then), Some(now)) if then != now => warnings.push(format!(
            "the settings were saved by version {then}, and the device runs {now}: a newer \
             version brings older settings up to date, an older one may not understand newer ones"
        )),
        (None, _) | (_, None) => warnings.push(
            "it is not known whether the device runs the version that saved the settings"
                .to_owned(),
        ),
        _ => {}
    }
    if found == Form::Unknown {
        warnings.push(
            "the file has no form that this server knows, so it was not checked; the device \
             decides"
                .to_owned(),
        );
    }
    Ok(warnings)
}

fn kind_of(family: Family) -> &'static str {
    match family {
        Family::EspEasy => "espeasy",
        _ => "tasmota",
    }
}

fn family_of(kind: &str) -> Family {
    match kind {
        "espeasy" => Family::EspEasy,
        _ => Family::Tasmota,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kept apart from other errors: the registry's own.
impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> BackupError {
        BackupError::Store(error)
    }
}
