//! `config set`, `unset`, `rollback`, `reload` and `confirm`: every change is staged in the data
//! folder; a running server takes it over, or refuses it and says why, and this command waits for
//! what it says. Without a server the change is checked here and counts at the next start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use safeport_settings::{BoundSocket, KeyInfo, Listener, Scheme, Source, candidates};
use safeport_store::{
    Change, ChangeTurn, DataFolder, Draft, FileSnapshot, ManagedRow, Revision, RevisionKind,
    RevisionState, Scope, StoreError,
};

use super::look::unknown_key;
use super::past::{as_of, changed_in, json};
use super::{For, ReloadArgs, RollbackArgs, SetArgs, UnsetArgs, Why};
use crate::app::changed_files;
use crate::cli::registry::{Open, failed};
use crate::cli::{Place, gather, read};
use crate::console::{Console, Failure};
use crate::limits::{CHANGE_PATIENCE, CHANGE_POLL, STAGE_PATIENCE};
use crate::probe::{self, Proofs, Trust};
use crate::reading::{Gathered, Read, TextFile, put_back, settled, show, write_file};
use crate::say;
use crate::serve::access::unix_now;
use crate::serve::gate::surroundings;
use crate::serve::http::CONFIRM_PATH;
use crate::text::{Language, Texts};

pub(super) fn set(
    args: &SetArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let value = |_: &KeyInfo| {
        safeport_settings::read_value(&args.key, &args.value)
            .map(Some)
            .map_err(Box::new)
    };
    let edit = Edit {
        key: &args.key,
        whom: &args.whom,
        file: args.file,
        why: &args.why,
        place: &args.place,
    };
    edit.run(value, console, lang)
}

pub(super) fn unset(
    args: &UnsetArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let edit = Edit {
        key: &args.key,
        whom: &args.whom,
        file: args.file,
        why: &args.why,
        place: &args.place,
    };
    edit.run(|_| Ok(None), console, lang)
}

/// One key that gets another value, or none.
struct Edit<'a> {
    key: &'a str,
    whom: &'a For,
    file: bool,
    why: &'a Why,
    place: &'a Place,
}

impl Edit<'_> {
    fn run(
        &self,
        value: impl FnOnce(&KeyInfo) -> Result<Option<String>, Box<safeport_settings::Problem>>,
        console: &mut Console,
        lang: Option<Language>,
    ) -> Result<(), Failure> {
        let _turn = turn(self.place, console, lang)?;
        let before = read(&self.place.asked(), console, lang)?;
        let texts = &console.texts;
        let problem = |problem: &safeport_settings::Problem| {
            let language = texts.language().into();
            let failure = Failure::usage(say!(texts, "set-refused", key = self.key));
            match problem.source {
                // What was just typed stands nowhere yet.
                Source::Default => failure
                    .detail(problem.what.in_language(language))
                    .next(problem.help.in_language(language).to_owned()),
                _ => failure.detail(show(problem, &before.files, language, false)),
            }
        };
        let Some(info) = safeport_settings::key_info(self.key) else {
            return Err(unknown_key(texts, self.key));
        };
        let value = value(&info).map_err(|error| problem(&error))?;
        let scope = match (&self.whom.tag, &self.whom.device) {
            (Some(tag), _) => Scope::Tag(tag.clone()),
            (_, Some(device)) => Scope::Device(device.clone()),
            _ => Scope::Everyone,
        };
        if scope != Scope::Everyone && !info.told {
            return Err(Failure::usage(say!(texts, "set-not-told", key = self.key)));
        }
        let into_file = scope == Scope::Everyone && (info.local || self.file);
        if !into_file {
            before
                .settings
                .may_manage(self.key)
                .map_err(|error| problem(&error))?;
        }
        let mut open = Open::of(read(&self.place.asked(), console, lang)?, console)?;
        let texts = &console.texts;
        let mut proposal = Proposal::new(&open)?;
        if self.key == "server.data" {
            console.talk(&say!(texts, "set-data-moves"));
        }
        if into_file {
            is_the_servers(&open, &before, texts)?;
            proposal.edit_file(&before, self.key, value.as_deref(), texts)?;
        } else {
            proposal.edit_managed(scope, &info, value, texts)?;
        }
        if proposal.is_empty() {
            console.talk(&say!(texts, "set-nothing", key = self.key));
            return Ok(());
        }
        // Judged here first: a mistake is told with its place, and nothing is written.
        let after = proposal.judge(&before, texts)?;
        let outcome = proposal.submit(
            &mut open,
            RevisionKind::Set,
            self.why,
            self.whom.base,
            texts,
        )?;
        tell_overruled(&after, self.key, into_file, console);
        outcome.tell(console, &mut open, self.why)
    }
}

/// Waits until no other command is changing anything: what it would put back is what we read.
fn turn(
    place: &Place,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<Option<ChangeTurn>, Failure> {
    let gathered = gather(&place.asked(), console, lang)?;
    // What else is wrong with the folder is told by who opens it.
    let Some(Ok(Some(folder))) = gathered.data_folder().map(DataFolder::open_existing) else {
        return Ok(None);
    };
    match folder.change_turn(CHANGE_PATIENCE) {
        Ok(turn) => Ok(Some(turn)),
        Err(error @ StoreError::Changing { .. }) => Err(failed(&console.texts, &error)),
        Err(_) => Ok(None),
    }
}

/// Refuses to write a settings file that the running server does not read: the change would be
/// called in force and never be.
fn is_the_servers(open: &Open, read: &Read, texts: &Texts) -> Result<(), Failure> {
    if open.server().is_none() {
        return Ok(());
    }
    let theirs = open
        .registry
        .live()
        .map_err(|error| failed(texts, &error))?
        .and_then(|live| live.file);
    let Some(theirs) = theirs else {
        return Ok(());
    };
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| settled(path));
    if real(Path::new(&theirs)) == real(&read.main) {
        return Ok(());
    }
    let ours = settled(&read.main).display().to_string();
    Err(
        Failure::usage(say!(texts, "set-other-file", ours = ours, theirs = theirs)).next(say!(
            texts,
            "set-other-file-next",
            theirs = theirs
        )),
    )
}

/// Says so when another source wins over what was just written.
fn tell_overruled(after: &Read, key: &str, into_file: bool, console: &Console) {
    let Some(source) = after.settings.source(key) else {
        return;
    };
    let ours = match source {
        Source::File { drop_in, .. } => into_file && !drop_in,
        Source::Managed { .. } => !into_file,
        Source::Default => true,
        _ => false,
    };
    if !ours {
        console.talk(&say!(
            console.texts,
            "set-overruled",
            key = key,
            source = source
        ));
    }
}

pub(super) fn rollback(
    args: &RollbackArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    // The files of now may be the very reason for going back, so they need not hold.
    let asked = args.place.asked();
    let _turn = turn(&args.place, console, lang)?;
    let gathered = gather(&asked, console, lang)?;
    let mut open = Open::beside(&gathered, console)?;
    let texts = &console.texts;
    // Judged first: what held then may not hold any more, with another environment or version.
    as_of(&open.registry, &asked, args.revision, texts)?;
    let (changes, _) = open
        .registry
        .way_back(args.revision)
        .map_err(|error| failed(texts, &error))?;
    // What is in a file now counts, not what was in it when somebody last looked.
    let files = open
        .registry
        .files_at(args.revision)
        .map_err(|error| failed(texts, &error))?
        .into_iter()
        .map(|(path, new)| {
            Ok(FileSnapshot {
                old: text_of(&path, texts)?,
                path,
                new,
            })
        })
        .filter(|file| !matches!(file, Ok(file) if file.old == file.new))
        .collect::<Result<Vec<_>, Failure>>()?;
    let proposal = Proposal {
        changes,
        files,
        managed: Vec::new(),
    };
    if proposal.is_empty() {
        console.talk(&say!(texts, "rollback-nothing", revision = args.revision));
        return Ok(());
    }
    let outcome = proposal.submit(&mut open, RevisionKind::Rollback, &args.why, None, texts)?;
    outcome.tell(console, &mut open, &args.why)
}

/// What is in a file; `None` if there is none. One that cannot be read is not taken for missing: the
/// way back would remove it.
fn text_of(path: &str, texts: &Texts) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(
            Failure::usage(say!(texts, "config-unreadable", path = path))
                .detail(error)
                .next(say!(texts, "config-unreadable-next")),
        ),
    }
}

pub(super) fn reload(
    args: &ReloadArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let _turn = turn(&args.place, console, lang)?;
    let read = read(&args.place.asked(), console, lang)?;
    let mut open = Open::of(read.clone(), console)?;
    let texts = &console.texts;
    if open.server().is_none() {
        return Err(Failure::new(say!(texts, "reload-no-server")));
    }
    is_the_servers(&open, &read, texts)?;
    let why = Why {
        reason: String::new(),
        confirm: false,
    };
    // What the files say now is what a later start falls back to.
    let known: Vec<TextFile> = open
        .registry
        .last_good_files()
        .map_err(|error| failed(texts, &error))?
        .into_iter()
        .map(|(path, text)| TextFile {
            path: PathBuf::from(path),
            text,
            drop_in: false,
        })
        .collect();
    let proposal = Proposal {
        files: changed_files(&known, &read.files),
        ..Proposal::new(&open)?
    };
    let outcome = proposal.submit(&mut open, RevisionKind::Files, &why, None, texts)?;
    outcome.tell(console, &mut open, &why)
}

pub(super) fn confirm(
    place: &Place,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let read = read(&place.asked(), console, lang)?;
    let mut open = Open::of(read, console)?;
    let newest = open
        .registry
        .history(1)
        .map_err(|error| failed(&console.texts, &error))?
        .into_iter()
        .next()
        .filter(|newest| newest.state == RevisionState::Unconfirmed);
    let Some(revision) = newest else {
        return Err(Failure::new(say!(console.texts, "confirm-nothing")));
    };
    Outcome { revision }.confirm(console, &mut open)
}

/// What is to change: files, managed values, or both.
struct Proposal {
    changes: Vec<Change>,
    files: Vec<FileSnapshot>,
    managed: Vec<ManagedRow>,
}

impl Proposal {
    fn new(open: &Open) -> Result<Proposal, Failure> {
        Ok(Proposal {
            changes: Vec::new(),
            files: Vec::new(),
            managed: open.managed.clone(),
        })
    }

    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.files.is_empty()
    }

    fn edit_file(
        &mut self,
        before: &Read,
        key: &str,
        value: Option<&str>,
        texts: &Texts,
    ) -> Result<(), Failure> {
        let old = before
            .files
            .iter()
            .find(|file| !file.drop_in)
            .map(|file| file.text.clone());
        let text = old.clone().unwrap_or_default();
        let edited = match value {
            Some(value) => safeport_settings::set_in_file(&text, key, value),
            None => safeport_settings::unset_in_file(&text, key),
        };
        let new = edited.map_err(|error| {
            Failure::usage(say!(texts, "set-refused", key = key)).detail(show(
                &error,
                &before.files,
                texts.language().into(),
                false,
            ))
        })?;
        if old.as_deref() != Some(&new) && !(old.is_none() && new.is_empty()) {
            let path = settled(&before.main);
            self.files.push(FileSnapshot {
                path: path.to_string_lossy().into_owned(),
                old,
                new: Some(new),
            });
        }
        Ok(())
    }

    fn edit_managed(
        &mut self,
        scope: Scope,
        info: &KeyInfo,
        new: Option<String>,
        texts: &Texts,
    ) -> Result<(), Failure> {
        let key = &info.key;
        let old = self
            .managed
            .iter()
            .find(|row| row.scope == scope && row.key == *key)
            .map(|row| row.value.clone());
        if old == new {
            if new.is_none() {
                return Err(
                    Failure::usage(say!(texts, "unset-not-set", key = key)).next(say!(
                        texts,
                        "unset-not-set-next",
                        key = key
                    )),
                );
            }
            return Ok(());
        }
        self.managed
            .retain(|row| row.scope != scope || row.key != *key);
        if let Some(value) = &new {
            self.managed.push(ManagedRow {
                scope: scope.clone(),
                key: key.clone(),
                value: value.clone(),
                secret: info.secret,
                revision: 0,
                who: crate::cli::registry::who(),
                at: unix_now(),
            });
        }
        self.changes.push(Change {
            scope,
            key: key.clone(),
            old,
            new,
            secret: info.secret,
        });
        Ok(())
    }

    fn judge(&self, before: &Read, texts: &Texts) -> Result<Read, Failure> {
        let texts_of: Vec<(PathBuf, Option<String>)> = self
            .files
            .iter()
            .map(|file| (PathBuf::from(&file.path), file.new.clone()))
            .collect();
        Gathered::new(&before.asked)
            .map_err(|error| error.failure(texts, false))?
            .with_files(&texts_of)
            .judge(self.managed.clone())
            .map_err(|error| error.failure(texts, false))
    }

    /// Stages the change, writes its files, and waits for what the server says; files go back if
    /// it refuses.
    fn submit(
        self,
        open: &mut Open,
        kind: RevisionKind,
        why: &Why,
        base: Option<u64>,
        texts: &Texts,
    ) -> Result<Outcome, Failure> {
        let running = open.server().is_some();
        refuse_while_unconfirmed(open, texts)?;
        // Files first: whoever takes the staged revision over must find them. Those of a reload
        // are there already, and are their author's.
        let mut written: Vec<&FileSnapshot> = Vec::new();
        let files: &[FileSnapshot] = match kind {
            RevisionKind::Files => &[],
            _ => &self.files,
        };
        for file in files {
            let done = match &file.new {
                Some(text) => write_file(Path::new(&file.path), text),
                None => std::fs::remove_file(&file.path),
            };
            if let Err(error) = done {
                put_all_back(&written);
                return Err(
                    Failure::new(say!(texts, "file-not-written", path = file.path))
                        .detail(error)
                        .next(say!(texts, "file-not-written-next")),
                );
            }
            written.push(file);
        }
        let draft = Draft {
            reason: why.reason.clone(),
            kind,
            base,
            changes: self.changes.clone(),
            files: self.files.clone(),
        };
        let deadline = Instant::now() + STAGE_PATIENCE;
        let id = loop {
            match open.stage(&draft) {
                Ok(id) => break id,
                // The server is reading its files again; that takes a moment.
                Err(StoreError::ChangePending {
                    state: RevisionState::Staged,
                    ..
                }) if Instant::now() < deadline => std::thread::sleep(CHANGE_POLL),
                Err(error) => {
                    put_all_back(&written);
                    return Err(failed(texts, &error));
                }
            }
        };
        if !running {
            let verdict = say!(texts, "change-next-start");
            open.change(texts, |registry, by| {
                registry.settle(id, RevisionState::Live, Some(&verdict), None, by)
            })?;
        }
        let revision = wait(open, id, texts)?;
        if revision.state == RevisionState::Refused {
            put_all_back(&written);
            return Err(Failure::new(say!(texts, "change-refused"))
                .detail(revision.verdict.unwrap_or_default())
                .next(say!(texts, "change-refused-next")));
        }
        Ok(Outcome { revision })
    }
}

/// While a change waits for its confirmation, the files are those of before or after it: nobody
/// else's to write.
fn refuse_while_unconfirmed(open: &Open, texts: &Texts) -> Result<(), Failure> {
    let unconfirmed = open
        .registry
        .unconfirmed()
        .map_err(|error| failed(texts, &error))?;
    match unconfirmed {
        Some(pending) if open.server().is_some() => Err(failed(
            texts,
            &StoreError::ChangePending {
                id: pending.id,
                who: pending.who,
                at: pending.at,
                state: pending.state,
                confirm_by: pending.confirm_by,
            },
        )),
        _ => Ok(()),
    }
}

fn put_all_back(files: &[&FileSnapshot]) {
    for file in files {
        // The server has tried as well; what stays written is found by the next command.
        let _ = put_back(file);
    }
}

fn wait(open: &Open, id: u64, texts: &Texts) -> Result<Revision, Failure> {
    let deadline = Instant::now() + CHANGE_PATIENCE;
    loop {
        let revision = open
            .registry
            .revision(id)
            .map_err(|error| failed(texts, &error))?;
        match revision {
            Some(revision) if revision.state != RevisionState::Staged => return Ok(revision),
            _ if Instant::now() < deadline => std::thread::sleep(CHANGE_POLL),
            _ => {
                return Err(Failure::new(say!(
                    texts,
                    "change-unanswered",
                    seconds = CHANGE_PATIENCE.as_secs()
                ))
                .next(say!(texts, "change-unanswered-next")));
            }
        }
    }
}

/// What came of a change.
struct Outcome {
    revision: Revision,
}

impl Outcome {
    fn tell(self, console: &Console, open: &mut Open, why: &Why) -> Result<(), Failure> {
        if self.revision.state == RevisionState::Unconfirmed && why.confirm {
            return self.confirm(console, open);
        }
        if console.json {
            return console.json(&json(&self.revision));
        }
        let verdict = self.revision.verdict.clone().unwrap_or_default();
        console.data(&say!(
            console.texts,
            "change-done",
            revision = self.revision.id,
            verdict = verdict
        ))?;
        if self.revision.state == RevisionState::Unconfirmed {
            let left = self
                .revision
                .confirm_by
                .unwrap_or_default()
                .saturating_sub(unix_now());
            console.talk(&say!(console.texts, "change-confirm", seconds = left));
            for url in confirm_urls(open, &self.revision) {
                console.talk(&format!("  {url}"));
            }
        }
        Ok(())
    }

    /// Goes over each address that the server has now, as a person elsewhere would.
    fn confirm(self, console: &Console, open: &mut Open) -> Result<(), Failure> {
        let texts = &console.texts;
        let mut tried = Vec::new();
        for url in confirm_urls(open, &self.revision) {
            match post(&url, open) {
                Ok(200) => {
                    let revision = wait_confirmed(open, self.revision.id, texts)?;
                    if console.json {
                        return console.json(&json(&revision));
                    }
                    return console.data(&say!(texts, "confirm-done", revision = revision.id));
                }
                Ok(status) => tried.push(format!("{url}: HTTP {status}")),
                Err(error) => tried.push(format!("{url}: {error}")),
            }
        }
        Err(Failure::new(say!(texts, "confirm-unreached"))
            .detail(tried.join("\n"))
            .next(say!(texts, "confirm-unreached-next")))
    }
}

/// Goes over one address; a certificate of our own authority is believed.
fn post(url: &str, open: &Open) -> Result<u16, String> {
    let patience = Duration::from_secs(5);
    let done = if url.starts_with("https://") {
        let own = std::fs::read_to_string(open.folder.pki().join("ca.pem")).unwrap_or_default();
        match Trust::new(&own) {
            Ok(trust) => probe::post_trusting(url, &trust, patience),
            Err(error) => return Err(error.to_string()),
        }
    } else {
        probe::post(url, patience)
    };
    done.map_err(|error| error.to_string())
}

fn wait_confirmed(open: &Open, id: u64, texts: &Texts) -> Result<Revision, Failure> {
    let deadline = Instant::now() + CHANGE_PATIENCE;
    loop {
        let revision = open
            .registry
            .revision(id)
            .map_err(|error| failed(texts, &error))?;
        match revision {
            Some(revision) if revision.state != RevisionState::Unconfirmed => return Ok(revision),
            Some(revision) if Instant::now() >= deadline => return Ok(revision),
            None => return Err(failed(texts, &StoreError::NoRevision { id })),
            Some(_) => std::thread::sleep(CHANGE_POLL),
        }
    }
}

/// Where a change can be confirmed: the page under every new address of the listeners that it
/// moves.
fn confirm_urls(open: &mut Open, revision: &Revision) -> Vec<String> {
    let Ok(key) = open.registry.instance_key() else {
        return Vec::new();
    };
    let token = Proofs::new(*key.expose()).confirm_token(revision.id);
    let keys: Vec<String> = revision
        .files
        .iter()
        .flat_map(changed_in)
        .map(|changed| changed.key)
        .collect();
    let moved = |listener: Listener| {
        let section = format!("{}.", listener.name());
        keys.iter().any(|key| key.starts_with(&section))
    };
    let settings = open.settings_now();
    // What is switched off cannot be asked; then the other way in has to do.
    let any = [Listener::Http, Listener::Https]
        .into_iter()
        .any(|listener| moved(listener) && settings.binds(listener).0);
    let sockets: Vec<BoundSocket> = settings
        .plan
        .binds()
        .iter()
        .filter(|planned| moved(planned.listener) || !any)
        .map(|planned| BoundSocket {
            listener: planned.listener,
            address: planned.address,
            standard: planned.standard,
        })
        .collect();
    candidates(&settings, &surroundings(&sockets))
        .into_iter()
        .filter(|candidate| matches!(candidate.address.scheme(), Scheme::Http | Scheme::Https))
        .map(|candidate| candidate.address.url(&format!("{CONFIRM_PATH}{token}")))
        .collect()
}
