//! Settings files: found, read, written and put back.

use std::path::{Path, PathBuf};

use safeport_store::FileSnapshot;

use super::{Asked, ReadError};
use crate::limits::{CONF_D_FILES, CONFIG_BYTES};

/// Places that are looked at when no `--config` names a file; the first that exists is read.
pub const USUAL_FILES: [&str; 2] = ["safeport.toml", "/etc/safeport/safeport.toml"];

/// The folder beside the settings file whose `*.toml` files are read, too, and win over it.
pub const DROP_INS: &str = "conf.d";

/// One settings file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// Its path: as given for the file itself, so that messages name it as the person does.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
    /// Whether it lies in `conf.d`.
    pub drop_in: bool,
}

/// A path that means the same from every working directory.
pub fn settled(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// The settings file and its drop-ins. A `conf.d` counts beside the file that was read; without
/// one, only the system's own (`/etc/safeport/conf.d`) does, since a folder of that name may lie
/// about anywhere.
pub(super) fn read_files(asked: &Asked) -> Result<(PathBuf, Vec<TextFile>), ReadError> {
    let (main, text) = read_main(asked)?;
    let mut files = Vec::new();
    let beside = match &text {
        Some(_) => main.parent().map(|folder| folder.join(DROP_INS)),
        None => Path::new(USUAL_FILES[1])
            .parent()
            .map(|folder| folder.join(DROP_INS)),
    };
    if let Some(text) = text {
        files.push(TextFile {
            path: main.clone(),
            text,
            drop_in: false,
        });
    }
    if let Some(folder) = beside {
        files.extend(drop_ins(&folder)?);
    }
    Ok((main, files))
}

fn read_main(asked: &Asked) -> Result<(PathBuf, Option<String>), ReadError> {
    let unreadable = |path: &Path, error| ReadError::File {
        path: path.to_path_buf(),
        error,
    };
    if let Some(path) = &asked.config {
        return match read_text(path) {
            Ok(text) => Ok((path.clone(), Some(text))),
            Err(error) => Err(unreadable(path, error)),
        };
    }
    for usual in USUAL_FILES {
        match read_text(Path::new(usual)) {
            Ok(text) => return Ok((PathBuf::from(usual), Some(text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(Path::new(usual), error)),
        }
    }
    let would_be = if rustix::process::geteuid().is_root() {
        PathBuf::from(USUAL_FILES[1])
    } else {
        std::path::absolute(USUAL_FILES[0]).unwrap_or_else(|_| PathBuf::from(USUAL_FILES[0]))
    };
    Ok((would_be, None))
}

/// Every `*.toml` of a folder, by name. Hidden files and what editors leave behind do not end so.
fn drop_ins(folder: &Path) -> Result<Vec<TextFile>, ReadError> {
    let unreadable = |path: &Path, error| ReadError::File {
        path: path.to_path_buf(),
        error,
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unreadable(folder, error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|end| end == "toml") && !hidden {
            paths.push(path);
        }
    }
    if paths.len() > CONF_D_FILES {
        return Err(ReadError::TooManyFiles(folder.to_path_buf()));
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| match read_drop_in(&path) {
            Ok(text) => Ok(TextFile {
                path,
                text,
                drop_in: true,
            }),
            Err(error) => Err(ReadError::File { path, error }),
        })
        .collect()
}

/// The text of a settings file; one without an end is not read to it.
fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(CONFIG_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > CONFIG_BYTES {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it has more than {CONFIG_BYTES} bytes"),
        ));
    }
    Ok(text)
}

/// The same for a file that nobody named: a pipe in that folder would hold the server up until
/// somebody writes into it.
fn read_drop_in(path: &Path) -> std::io::Result<String> {
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "it is a pipe, socket or device, not a file",
        ));
    }
    read_text(path)
}

/// Writes a settings file so that a reader finds the old text or the new one, never a part; owner,
/// group and permissions stay, and a link stays a link. A file that cannot be replaced like this
/// (its folder belongs to somebody else, it is mounted into a container by itself) is overwritten.
///
/// # Errors
/// What the system says.
pub fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    let path = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.to_path_buf(),
        Err(error) => return Err(error),
    };
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
    {
        std::fs::create_dir_all(folder)?;
    }
    let replaced = replace_file(&path, text);
    if replaced.is_err() && path.is_file() {
        return overwrite_file(&path, text);
    }
    replaced
}

fn replace_file(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, fchown};
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    // One that is there was left behind by a process that is gone, or is a trap.
    let _ = std::fs::remove_file(&beside);
    let written = (|| {
        let mut file = std::fs::File::create_new(&beside)?;
        if let Ok(old) = std::fs::metadata(path) {
            let new = file.metadata()?;
            // A server that runs as another user than this command must still be able to read it.
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            file.set_permissions(old.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn overwrite_file(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Puts back the text of before a change, unless somebody has written since.
///
/// # Errors
/// What the system says.
pub fn put_back(file: &FileSnapshot) -> std::io::Result<()> {
    let path = Path::new(&file.path);
    let now = match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if now != file.new || now == file.old {
        return Ok(());
    }
    match &file.old {
        Some(text) => write_file(path, text),
        None => std::fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settings_file_is_replaced_as_a_whole_and_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("safeport.toml");
        write_file(&path, "a = 1\n").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        write_file(&link, "a = 2\n").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "a = 2\n");
        let mode = std::fs::metadata(&path)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(
            std::fs::symlink_metadata(&link)
                .expect("a link")
                .is_symlink()
        );
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .flatten()
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_settings_file_of_somebody_else_stays_theirs() {
        use std::os::unix::fs::{MetadataExt, chown};
        // Only root may give files away; everybody else has nothing to lose here.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("safeport.toml");
        std::fs::write(&path, "a = 1\n").expect("written");
        chown(&path, Some(4711), Some(4712)).expect("given away");
        write_file(&path, "a = 2\n").expect("written");
        let now = std::fs::metadata(&path).expect("a file");
        assert_eq!((now.uid(), now.gid()), (4711, 4712));
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "a = 2\n");
    }

    #[test]
    fn a_file_is_put_back_only_over_what_the_change_has_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("safeport.toml");
        let change = |old: Option<&str>, new: Option<&str>| FileSnapshot {
            path: path.to_string_lossy().into_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let says = || std::fs::read_to_string(&path).ok();
        std::fs::write(&path, "theirs").expect("written");
        put_back(&change(Some("old"), Some("new"))).expect("left alone");
        assert_eq!(says().as_deref(), Some("theirs"));
        std::fs::write(&path, "new").expect("written");
        put_back(&change(Some("old"), Some("new"))).expect("put back");
        assert_eq!(says().as_deref(), Some("old"));
        put_back(&change(None, Some("old"))).expect("taken away");
        assert_eq!(says(), None);
        // What cannot be read is nobody's to take away.
        std::fs::write(&path, b"\xff").expect("written");
        assert!(put_back(&change(None, Some("new"))).is_err());
        assert!(path.exists());
    }

    #[test]
    fn what_has_no_end_is_no_settings_file() {
        let endless = read_text(Path::new("/dev/zero")).expect_err("too large");
        assert_eq!(endless.kind(), std::io::ErrorKind::FileTooLarge);
        let device = read_drop_in(Path::new("/dev/zero")).expect_err("no file");
        assert_eq!(device.kind(), std::io::ErrorKind::InvalidInput);
    }
}
