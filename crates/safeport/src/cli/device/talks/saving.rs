//! `safeport device talks --save`: the sound of turns, as files in a folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use safeport_store::Side;
use serde_json::Value;

use super::super::super::registry::{Open, failed};
use super::super::super::session::Session;
use crate::console::Failure;
use crate::say;
use crate::text::Texts;

/// Writes the sound of these turns there; says how many files. What lies there already, whole, is left as it is.
///
/// # Errors
/// A file could not be fetched or written; then those before it are there.
pub(super) fn save(
    name: &str,
    talks: &[Value],
    folder: &Path,
    session: &Session,
    texts: &Texts,
) -> Result<usize, Failure> {
    make(folder).map_err(|error| unwritable(folder, error, texts))?;
    let mut files = 0;
    // Numbers only: nothing in what a server says leads out of the folder.
    for (talk, id) in talks
        .iter()
        .filter_map(|talk| Some((talk, talk["id"].as_u64()?)))
    {
        for (side, word) in [(Side::Heard, "heard"), (Side::Said, "said")] {
            let Some(bytes) = talk["sound"][word]["bytes"].as_u64() else {
                continue;
            };
            let path = folder.join(format!("{id}-{word}.ogg"));
            if fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == bytes) {
                continue;
            }
            let mut file = create(&path).map_err(|error| unwritable(&path, error, texts))?;
            let fetched = match session {
                Session::Server(client) => {
                    let place = format!("{}/talks/{id}/{word}.ogg", super::super::path(name));
                    client.download(&place, &mut file).map(|_| true)
                }
                Session::Folder(open) => copy(open, name, id, side, &mut file, &path, texts),
            };
            if !matches!(fetched, Ok(true)) {
                // Half a recording is none, and its name is wanted for the next try.
                let _ = fs::remove_file(&path);
            }
            files += usize::from(fetched?);
        }
    }
    Ok(files)
}

/// Copies a file out of the data folder; whether it was there still.
fn copy(
    open: &Open,
    name: &str,
    id: u64,
    side: Side,
    to: &mut File,
    path: &Path,
    texts: &Texts,
) -> Result<bool, Failure> {
    let broken = |error| failed(texts, &error);
    let talk = open.registry.talk(name, id, open.now()).map_err(broken)?;
    let Some(sound) = talk.and_then(|talk| talk.sound) else {
        return Ok(false);
    };
    let recordings = open.folder.recordings();
    let Some(mut found) = recordings.open(&sound, side).map_err(broken)? else {
        return Ok(false);
    };
    io::copy(&mut found.file, to).map_err(|error| unwritable(path, error, texts))?;
    Ok(true)
}

/// Only for who asked: it is what people sound like.
fn make(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn unwritable(path: &Path, error: io::Error, texts: &Texts) -> Failure {
    let shown = path.display();
    Failure::usage(say!(texts, "talks-unwritable", path = shown))
        .detail(error)
        .next(say!(texts, "talks-unwritable-next"))
}
