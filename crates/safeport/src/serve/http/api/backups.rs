//! Copies of devices' own settings: made, listed, compared and put back.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::say;
use crate::serve::backups::{BackupError, BackupId, Backups, Restore};
use crate::text::Texts;

/// `POST /devices/{device}/backups`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WantedBackup {
    why: String,
}

/// `POST /backups/{backup}/restore`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WantedRestore {
    /// Another device than the one that it is of.
    to: Option<String>,
    other_device: bool,
    /// Only look whether it could be done.
    preview: bool,
}

/// `PUT /devices/{device}/web-password`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebPassword {
    password: Option<String>,
}

impl Desk<'_> {
    /// The copies that are kept of a device, newest first.
    pub(super) fn device_backups(&mut self) -> Result<Answer, Refusal> {
        let member = self.named_device()?;
        let found = self.backups()?.list(member.id);
        let found = found.map_err(|error| refusal(&error, self.texts))?;
        Ok(Answer::ok(json!({"backups": found})))
    }

    /// Makes one now.
    pub(super) fn back_up(&mut self) -> Result<Answer, Refusal> {
        let wanted: WantedBackup = match self.body.is_empty() {
            true => WantedBackup::default(),
            false => self.body()?,
        };
        let member = self.named_device()?;
        let made = self.backups()?.make(member.id, &wanted.why, &self.who);
        let made = made.map_err(|error| refusal(&error, self.texts))?;
        Ok(Answer::created(json!(made)))
    }

    pub(super) fn backup(&mut self) -> Result<Answer, Refusal> {
        let found = self.backups()?.get(self.backup_id("backup")?);
        let found = found.map_err(|error| refusal(&error, self.texts))?;
        Ok(Answer::ok(json!(found)))
    }

    pub(super) fn backup_bytes(&mut self) -> Result<Answer, Refusal> {
        let found = self.backups()?.bytes(self.backup_id("backup")?);
        let (view, file) = found.map_err(|error| refusal(&error, self.texts))?;
        Ok(Answer::file(file, view.size, &view.file_name))
    }

    pub(super) fn compare_backup(&mut self) -> Result<Answer, Refusal> {
        let id = self.backup_id("backup")?;
        let with = match self.query("with") {
            None => None,
            Some(text) => Some(self.backup_id_of(&text)?),
        };
        let compared = self.backups()?.compare(id, with);
        let compared = compared.map_err(|error| refusal(&error, self.texts))?;
        Ok(Answer::ok(json!(compared)))
    }

    pub(super) fn restore_backup(&mut self) -> Result<Answer, Refusal> {
        let id = self.backup_id("backup")?;
        let wanted: WantedRestore = match self.body.is_empty() {
            true => WantedRestore::default(),
            false => self.body()?,
        };
        let to = match &wanted.to {
            None => None,
            Some(called) => Some(self.device_called(called)?.id),
        };
        let how = Restore {
            to,
            other_device: wanted.other_device,
            dry_run: wanted.preview,
        };
        let restored = self.backups()?.restore(id, how, &self.who);
        let restored = restored.map_err(|error| refusal(&error, self.texts))?;
        Ok(Answer::ok(json!(restored)))
    }

    pub(super) fn remove_backup(&mut self) -> Result<Answer, Refusal> {
        let id = self.backup_id("backup")?;
        let removed = self.backups()?.remove(id, &self.who);
        removed.map_err(|error| refusal(&error, self.texts))?;
        Ok(Answer::ok(json!({"id": id.to_string(), "done": "removed"})))
    }

    /// Asks it what it is and runs now.
    pub(super) fn refresh_device(&mut self) -> Result<Answer, Refusal> {
        let member = self.named_device()?;
        let name = member.name();
        let upgrades = self.api.upgrades.as_ref();
        if upgrades.is_some_and(|upgrades| upgrades.ask(member.id)) {
            return Ok(Answer::ok(json!({"name": name, "done": "asked"})));
        }
        let seen = self.backups()?.refresh(member.id);
        seen.map_err(|error| refusal(&error, self.texts))?;
        Ok(Answer::ok(json!({"name": name, "done": "seen"})))
    }

    /// The password of the device's own pages, for what is asked of them.
    pub(super) fn set_web_password(&mut self) -> Result<Answer, Refusal> {
        let wanted: WebPassword = self.body()?;
        let member = self.named_device()?;
        let password = wanted.password.as_deref().filter(|text| !text.is_empty());
        let set = self.backups()?.set_password(member.id, password, &self.who);
        set.map_err(|error| refusal(&error, self.texts))?;
        let done = if password.is_some() { "set" } else { "removed" };
        Ok(Answer::ok(json!({"name": member.name(), "done": done})))
    }

    fn backup_id(&self, part: &str) -> Result<BackupId, Refusal> {
        self.backup_id_of(&self.part(part))
    }

    fn backup_id_of(&self, text: &str) -> Result<BackupId, Refusal> {
        text.parse()
            .map_err(|error| Refusal::bad_request(format!("{text:?}: {error}"), self.texts))
    }

    fn backups(&self) -> Result<std::sync::Arc<Backups>, Refusal> {
        let backups = self.api.backups.clone();
        backups.ok_or_else(|| Refusal::not_served(self.texts))
    }
}

fn refusal(error: &BackupError, texts: &Texts) -> Refusal {
    let status = StatusCode::from_u16(error.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let next = say!(texts, "api-backup-next");
    Refusal::new(status, error.code(), error.to_string(), next)
}
