//! The steps that a file takes on the disk, one function each, so that tests can
//! write down their order and let a power cut undo what was not synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::folder::create_private;

/// Makes an empty file that nobody else may read; an error if there is one.
pub(super) fn create(path: &Path) -> io::Result<File> {
    look_on(Step::Create(path))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Appends all of `bytes`, or any part of them and an error.
pub(super) fn write(mut file: &File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    look_on(Step::Write(path, bytes))?;
    file.write_all(bytes)
}

/// Makes the bytes of a file durable.
pub(super) fn sync_file(file: &File, path: &Path) -> io::Result<()> {
    look_on(Step::SyncFile(path))?;
    file.sync_all()
}

/// Makes a folder if it is missing.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    look_on(Step::MakeFolder(path))?;
    create_private(path)
}

/// Gives a file another name, in place of what had that.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    look_on(Step::Rename(from, to))?;
    fs::rename(from, to)
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    look_on(Step::SyncFolder(path))?;
    // Elsewhere folders cannot be opened.
    #[cfg(unix)]
    File::open(path)?.sync_all()?;
    Ok(())
}

/// Removes a name.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    look_on(Step::Remove(path))?;
    fs::remove_file(path)
}

/// What is about to be done.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(test), allow(dead_code))]
pub(super) enum Step<'a> {
    Create(&'a Path),
    Write(&'a Path, &'a [u8]),
    SyncFile(&'a Path),
    MakeFolder(&'a Path),
    Rename(&'a Path, &'a Path),
    SyncFolder(&'a Path),
    Remove(&'a Path),
}

/// Tests write the step down, or let it fail.
#[cfg(test)]
use super::tests::look_on;

#[cfg(not(test))]
fn look_on(_: Step<'_>) -> io::Result<()> {
    Ok(())
}
