//! `safeport check`: settings, port plan, data folder, ports of this machine, certificates for
//! probes: everything that is wrong, at once, and nothing is started.

use std::time::SystemTime;

use safeport_net::holder::{Holding, holder_of};
use safeport_net::rustls::pki_types::CertificateDer;
use safeport_net::rustls::pki_types::pem::PemObject;
use safeport_settings::{PlannedBind, Problem, Protocol};
use safeport_store::{DataFolder, RunningServer, StoreError};

use super::{colored, failure, speak};
use crate::app::{holding_text, port_range};
use crate::certificates::chain_problems;
use crate::console::{Console, Exit, Failure};
use crate::reading::{Asked, Read, problem_json, show, show_note};
use crate::say;
use crate::shown::ports::holder_json;
use crate::text::{Language, Texts};

/// Says whether the settings hold and the machine can serve them; every problem at once.
pub(super) fn check(
    asked: &Asked,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let read = match Read::new(asked) {
        Ok(read) => read,
        Err(error) => {
            if console.json {
                let problems = error.problems(&console.texts);
                console.json(&serde_json::json!({"fine": false, "problems": problems}))?;
            }
            return Err(failure(&error, console));
        }
    };
    speak(read.settings.server.language, console, lang);
    let texts = &console.texts;
    let data = read.data_folder();
    let (server, folder_trouble) = look_at_folder(&read);
    let held = held_ports(&read, server);
    let chains = chain_troubles(&read);
    let fine = held.iter().all(|held| held.moves) && folder_trouble.is_none() && chains.is_empty();
    let notes = &read.settings.notes;
    if console.json {
        console.json(&serde_json::json!({
            "fine": fine,
            "file": read.file(),
            "files": read.files.iter().map(|file| &file.path).collect::<Vec<_>>(),
            "data": data,
            "server": server.map(|server| server.pid),
            "problems": held.iter().map(|held| held.json(texts)).collect::<Vec<_>>(),
            "certificate_problems": chains.iter().map(|chain| problem_json(chain, texts)).collect::<Vec<_>>(),
            "data_problem": folder_trouble.as_ref().map(ToString::to_string),
            "notes": notes.iter().map(|note| problem_json(note, texts)).collect::<Vec<_>>(),
            "listeners": read.settings.plan.binds().iter().map(|planned| serde_json::json!({
                "name": planned.listener.name(),
                "bind": planned.address.to_string(),
                "key": planned.key,
            })).collect::<Vec<_>>(),
            "advertised": read.settings.plan.advertised().iter().map(|planned| serde_json::json!({
                "url": planned.address.to_string(),
                "listener": planned.to.name(),
                "key": planned.key,
            })).collect::<Vec<_>>(),
        }))?;
        return if fine {
            Ok(())
        } else {
            Err(trouble(
                &read,
                &held,
                &chains,
                folder_trouble.as_ref(),
                texts,
            ))
        };
    }
    for note in notes {
        let text = show_note(note, &read.files, texts.language().into(), colored(console));
        console.talk(&text);
    }
    if !fine {
        for chain in &chains {
            let text = show(
                chain,
                &read.files,
                texts.language().into(),
                colored(console),
            );
            console.talk(&text);
        }
        return Err(trouble(
            &read,
            &held,
            &chains,
            folder_trouble.as_ref(),
            texts,
        ));
    }
    let mut text = match read.file() {
        Some(file) => say!(texts, "check-fine-file", path = file.display()),
        None => say!(texts, "check-fine"),
    };
    for planned in read.settings.plan.binds() {
        let name = planned.listener.name();
        text.push_str(&format!("\n  {name:<6} {}", planned.address));
    }
    for held in &held {
        text.push_str(&format!("\n  {}", held.words(texts)));
    }
    if let Some(data) = data {
        text.push_str("\n  ");
        text.push_str(&say!(texts, "banner-data", path = data.display()));
        if let Some(server) = server {
            text.push_str("\n  ");
            text.push_str(&say!(
                texts,
                "check-runs",
                path = data.display(),
                pid = pid_text(server)
            ));
        }
    }
    console.data(&text)
}

fn pid_text(server: RunningServer) -> String {
    server
        .pid
        .map_or_else(|| "?".to_owned(), |pid| pid.to_string())
}

/// Chains of the settings that no listener could present.
fn chain_troubles(read: &Read) -> Vec<Problem> {
    let root = read
        .data_folder()
        .and_then(|data| std::fs::read(data.join("pki").join("ca.pem")).ok())
        .and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
    let root = root.as_deref().unwrap_or_default();
    chain_problems(&read.settings, root, SystemTime::now())
}

/// The server on the data folder, and what keeps one from using it.
fn look_at_folder(read: &Read) -> (Option<RunningServer>, Option<StoreError>) {
    let Some(path) = read.data_folder() else {
        return (None, None);
    };
    match DataFolder::open_existing(&path).and_then(|folder| match folder {
        Some(folder) => folder.server(),
        None => Ok(None),
    }) {
        Ok(server) => (server, None),
        Err(error) => (None, Some(error)),
    }
}

/// A planned port that somebody else holds.
struct Held {
    planned: PlannedBind,
    holding: Holding,
    /// Whether the settings let the listener move; then it is no mistake.
    moves: bool,
    range: String,
}

impl Held {
    fn words(&self, texts: &Texts) -> String {
        let holder = holding_text(texts, &self.holding);
        if self.moves {
            return say!(
                texts,
                "check-port-moves",
                key = self.planned.key,
                address = self.planned.address,
                holder = holder,
                listener = self.planned.listener.name(),
                range = self.range
            );
        }
        say!(
            texts,
            "check-port",
            key = self.planned.key,
            address = self.planned.address,
            holder = holder
        )
    }

    fn json(&self, texts: &Texts) -> serde_json::Value {
        serde_json::json!({
            "key": self.planned.key,
            "source": crate::reading::source_json(&self.planned.source),
            "address": self.planned.address.to_string(),
            "holder": holder_json(texts, &self.holding),
            "moves": self.moves,
        })
    }
}

fn held_ports(read: &Read, server: Option<RunningServer>) -> Vec<Held> {
    let settings = &read.settings;
    settings
        .plan
        .binds()
        .iter()
        .filter(|planned| !planned.standard && planned.address.port() != 0)
        .filter_map(|planned| {
            let protocol = match planned.protocol {
                Protocol::Tcp => safeport_net::holder::Protocol::Tcp,
                Protocol::Udp => safeport_net::holder::Protocol::Udp,
            };
            if safeport_net::is_free(protocol, planned.address) {
                return None;
            }
            let holding = holder_of(protocol, planned.address);
            let ours = match (&holding, server) {
                (Holding::Program(holder), Some(server)) => Some(holder.pid) == server.pid,
                (Holding::OtherUser { .. }, Some(_)) => true,
                _ => false,
            };
            let range = port_range(settings, planned.listener);
            (!ours).then(|| Held {
                planned: planned.clone(),
                holding,
                moves: range.is_some(),
                range: range.map_or_else(String::new, |range| {
                    format!("{}-{}", range.start(), range.end())
                }),
            })
        })
        .collect()
}

fn trouble(
    read: &Read,
    held: &[Held],
    chains: &[Problem],
    folder: Option<&StoreError>,
    texts: &Texts,
) -> Failure {
    let mut lines: Vec<String> = held.iter().map(|held| held.words(texts)).collect();
    lines.extend(folder.map(ToString::to_string));
    if lines.is_empty() {
        // Mistakes of the settings, since other files would cure them.
        let count = chains.len();
        return Failure::usage(say!(texts, "check-chains", count = count));
    }
    let headline = match folder {
        Some(_) if held.is_empty() => say!(
            texts,
            "check-unwritable",
            path = read.data_folder().unwrap_or_default().display()
        ),
        _ => say!(texts, "check-held"),
    };
    Failure {
        exit: Exit::Failed,
        headline,
        detail: Some(lines.join("\n")),
        next: None,
    }
}
