//! Changes of settings at the two ends of a server: what its start takes back, and what it notes as
//! good.

use std::path::PathBuf;

use safeport_store::{By, DataFolder, Draft, RevisionKind, RevisionState};

use super::house::registry_failed;
use super::live::{Live, changed_files};
use crate::console::{Console, Failure};
use crate::reading::{Gathered, TextFile, put_back};
use crate::say;
use crate::serve::access::unix_now;
use crate::text::Texts;

/// Takes back a change that nobody had confirmed when its server ended. To be called before the
/// settings are read; does nothing beside a running server.
pub fn take_back_unconfirmed(gathered: &Gathered, console: &Console) {
    let Some(Ok(Some(folder))) = gathered.data_folder().map(DataFolder::open_existing) else {
        return;
    };
    // Whatever is wrong here is told when the folder is opened to serve.
    if !matches!(folder.server(), Ok(None)) || !matches!(folder.registry_to_read(), Ok(Some(_))) {
        return;
    }
    let Ok(mut registry) = folder.registry() else {
        return;
    };
    let Ok(Some(revision)) = registry.unconfirmed() else {
        return;
    };
    let texts = &console.texts;
    let mut verdict = say!(texts, "change-cut-off");
    for file in &revision.files {
        if let Err(error) = put_back(file) {
            let path = &file.path;
            verdict.push(' ');
            verdict.push_str(&say!(
                texts,
                "file-not-put-back",
                path = path,
                error = error
            ));
        }
    }
    let by = By {
        who: "server",
        at: unix_now(),
    };
    let id = revision.id;
    match registry.settle(id, RevisionState::Reverted, Some(&verdict), None, by) {
        Ok(()) => console.talk(&say!(
            texts,
            "change-done",
            revision = id,
            verdict = verdict
        )),
        Err(error) => console.talk(&error.to_string()),
    }
}

/// Writes down the files that this start went well with, if they are others than the last time: a
/// later start falls back to them.
pub(super) fn note_start(live: &mut Live, texts: &Texts) -> Result<(), Failure> {
    let failed = |error| registry_failed(texts, &error);
    let known = live.registry.last_good_files().map_err(failed)?;
    let before: Vec<TextFile> = known
        .into_iter()
        .map(|(path, text)| TextFile {
            path: PathBuf::from(path),
            text,
            drop_in: false,
        })
        .collect();
    let files = changed_files(&before, &live.read.files);
    if files.is_empty() {
        return Ok(());
    }
    let by = By {
        who: "server",
        at: unix_now(),
    };
    let draft = Draft {
        reason: String::new(),
        kind: RevisionKind::Start,
        base: None,
        changes: Vec::new(),
        files,
    };
    // A change that waits for its confirmation was cut off by the end of the last server: staging
    // settles it when its time is over, and until then nothing is noted.
    if let Ok(id) = live.registry.stage(&draft, by) {
        live.registry
            .settle(id, RevisionState::Live, None, None, by)
            .map_err(failed)?;
    }
    Ok(())
}
