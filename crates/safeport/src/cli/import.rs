//! `safeport import`: settings of other servers as a settings file of ours.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::console::{Console, Failure};
use crate::import::mosquitto::{self, Beside};
use crate::import::{ImportError, Imported, ImportedLogin, Input, Left, MAX_FILE, xiaozhi};
use crate::program::{self, quoted};
use crate::say;
use crate::text::Language;

#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// Read a mosquitto.conf, with the files of its include_dir
    Mosquitto(MosquittoArgs),
    /// Read the config.yaml of xiaozhi-esp32-server
    Xiaozhi(XiaozhiArgs),
}

#[derive(Debug, Args)]
pub(super) struct MosquittoArgs {
    /// The settings file, such as /etc/mosquitto/mosquitto.conf
    file: PathBuf,
    /// Its acl_file, to get the commands that set the same rights
    #[arg(long, value_name = "FILE")]
    acl: Option<PathBuf>,
    /// Its password_file, for the names in it; passwords cannot be taken along
    #[arg(long, value_name = "FILE")]
    passwords: Option<PathBuf>,
    /// Write the settings to this new file; default: print them
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct XiaozhiArgs {
    /// The settings file: config.yaml, or data/.config.yaml alone
    file: PathBuf,
    /// The data/.config.yaml that wins over it
    #[arg(long = "override", value_name = "FILE")]
    wins: Option<PathBuf>,
    /// Write the settings to this new file; default: print them
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl ImportCommand {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let (imported, paths, out) = match self {
            ImportCommand::Mosquitto(args) => {
                let main = Text::read(&args.file, console)?;
                let acl = Text::read_some(args.acl.as_deref(), console)?;
                let passwords = Text::read_some(args.passwords.as_deref(), console)?;
                let beside = Beside {
                    acl: acl.as_ref().map(Text::input),
                    passwords: passwords.as_ref().map(Text::input),
                };
                let imported = mosquitto::read(main.input(), &folder, beside);
                let paths = [Some(main), acl, passwords];
                (imported, paths, &args.out)
            }
            ImportCommand::Xiaozhi(args) => {
                let main = Text::read(&args.file, console)?;
                let wins = Text::read_some(args.wins.as_deref(), console)?;
                let imported = xiaozhi::read(main.input(), wins.as_ref().map(Text::input));
                (imported, [Some(main), wins, None], &args.out)
            }
        };
        let imported = imported.map_err(|error| unreadable(&error, console))?;
        let paths: Vec<String> = paths.into_iter().flatten().map(|text| text.path).collect();
        let title = say!(console.texts, "import-title", files = paths.join(", "));
        let file = imported.settings_file(language(console), &title);
        if let Some(out) = out {
            write_new(out, &file, console)?;
        }
        if console.json {
            return console.json(&as_json(&imported, &file, console));
        }
        match out {
            Some(out) => {
                console.talk(&say!(
                    console.texts,
                    "import-written",
                    path = out.display(),
                    count = imported.settings.len()
                ));
            }
            None => console.data(&file)?,
        }
        list(&imported, console);
        Ok(())
    }
}

/// A file that was read.
struct Text {
    path: String,
    text: String,
}

impl Text {
    fn read(path: &Path, console: &Console) -> Result<Text, Failure> {
        let shown = path.display().to_string();
        let failed = |error: io::Error| {
            Failure::new(say!(console.texts, "import-unreadable", path = shown))
                .detail(error)
                .next(say!(console.texts, "import-unreadable-next"))
        };
        let bytes = bytes(path).map_err(failed)?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            // Too long, and cut within a character: the length is what is said about it.
            Err(error) if error.as_bytes().len() > MAX_FILE => {
                String::from_utf8_lossy(error.as_bytes()).into_owned()
            }
            Err(error) => {
                let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
                let headline = say!(console.texts, "import-not-text", path = shown, line = line);
                let next = say!(console.texts, "import-not-text-next");
                return Err(Failure::usage(headline).next(next));
            }
        };
        Ok(Text { path: shown, text })
    }

    fn read_some(path: Option<&Path>, console: &Console) -> Result<Option<Text>, Failure> {
        path.map(|path| Text::read(path, console)).transpose()
    }

    fn input(&self) -> Input<'_> {
        Input {
            path: &self.path,
            text: &self.text,
        }
    }
}

/// What a file holds, up to one byte more than is taken.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The `*.conf` files of a folder, in the order in which mosquitto reads them: by bytes, so capital
/// letters first.
fn folder(path: &str) -> Result<Vec<(String, String)>, String> {
    let said = |error: io::Error| error.to_string();
    let mut paths: Vec<PathBuf> = fs::read_dir(path)
        .map_err(said)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()
        .map_err(said)?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "conf"));
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let shown = path.display().to_string();
            let read = bytes(path).and_then(|bytes| {
                String::from_utf8(bytes).map_err(|error| io::Error::other(error.utf8_error()))
            });
            match read {
                Ok(text) => Ok((shown, text)),
                Err(error) => Err(format!("{shown}: {error}")),
            }
        })
        .collect()
}

fn unreadable(error: &ImportError, console: &Console) -> Failure {
    let language = language(console);
    let what = error.what.in_language(language);
    Failure::usage(format!("{}: {what}", error.place))
        .next(error.help.in_language(language).to_owned())
}

fn write_new(path: &Path, text: &str, console: &Console) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let path = path.display();
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Failure::new(say!(console.texts, "import-exists", path = path))
                .next(say!(console.texts, "import-exists-next"));
        }
        Failure::new(say!(console.texts, "import-unwritten", path = path)).detail(error)
    })
}

/// Tells what was not taken over, one reason once, and which logins to add.
fn list(imported: &Imported, console: &Console) {
    let language = language(console);
    let texts = &console.texts;
    let (same, left): (Vec<&Left>, Vec<&Left>) =
        imported.not_mapped.iter().partition(|left| left.already_so);
    if !same.is_empty() {
        console.talk(&say!(texts, "import-same", count = same.len()));
        for left in same {
            console.talk(&format!("  {}", shown(left)));
        }
    }
    if left.is_empty() {
        console.talk(&say!(texts, "import-all"));
    } else {
        console.talk(&say!(texts, "import-left", count = left.len()));
    }
    for (index, entry) in left.iter().enumerate() {
        console.talk(&format!("  {}", shown(entry)));
        let next = left.get(index + 1);
        if next.is_none_or(|next| next.why != entry.why) {
            console.talk(&format!("    → {}", entry.why.in_language(language)));
        }
    }
    if !imported.logins.is_empty() {
        let count = imported.logins.len();
        console.talk(&say!(texts, "import-logins", count = count));
    }
    for login in &imported.logins {
        if let Some(remark) = &login.remark {
            console.talk(&format!("  # {}", remark.in_language(language)));
        }
        console.talk(&format!("  {}", command(login)));
    }
    console.talk(&say!(texts, "import-next"));
}

fn shown(left: &Left) -> String {
    let mut text = String::new();
    if let Some(place) = &left.place {
        text.push_str(&format!("{place}: "));
    }
    text.push_str(&left.name);
    if let Some(value) = &left.value {
        text.push(' ');
        text.push_str(value);
    }
    // A file may hold what moves the cursor of a terminal.
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// The command that adds a login.
fn command(login: &ImportedLogin) -> String {
    let mut command = format!("{} user add", program::name());
    for (flag, filters) in [
        ("--publish", &login.publish),
        ("--subscribe", &login.subscribe),
    ] {
        for filter in filters {
            command.push_str(&format!(" {flag}={}", quoted(filter)));
        }
    }
    let dashes = if login.name.starts_with('-') {
        " --"
    } else {
        ""
    };
    command.push_str(&format!("{dashes} {}", quoted(&login.name)));
    command
}

fn as_json(imported: &Imported, file: &str, console: &Console) -> serde_json::Value {
    let language = language(console);
    let places = |from: &[crate::import::Place]| -> Vec<String> {
        from.iter().map(ToString::to_string).collect()
    };
    serde_json::json!({
        "settings_file": file,
        "settings": imported.settings.iter().map(|mapped| serde_json::json!({
            "key": mapped.key,
            "value": mapped.value,
            "from": places(&mapped.from),
            "remark": mapped.remark.as_ref().map(|remark| remark.in_language(language)),
        })).collect::<Vec<_>>(),
        "not_mapped": imported.not_mapped.iter().map(|left| serde_json::json!({
            "from": left.place.as_ref().map(ToString::to_string),
            "name": left.name,
            "value": left.value,
            "why": left.why.in_language(language),
            "already_so": left.already_so,
        })).collect::<Vec<_>>(),
        "logins": imported.logins.iter().map(|login| serde_json::json!({
            "name": login.name,
            "publish": login.publish,
            "subscribe": login.subscribe,
            "from": places(&login.from),
            "remark": login.remark.as_ref().map(|remark| remark.in_language(language)),
            "command": command(login),
        })).collect::<Vec<_>>(),
    })
}

fn language(console: &Console) -> safeport_settings::Language {
    match console.texts.language() {
        Language::English => safeport_settings::Language::En,
        Language::Chinese => safeport_settings::Language::ZhCn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(name: &str) -> ImportedLogin {
        ImportedLogin {
            name: name.to_owned(),
            publish: vec!["cmnd/#".to_owned()],
            subscribe: vec!["it's/+".to_owned()],
            from: Vec::new(),
            remark: None,
        }
    }

    #[test]
    fn the_command_for_a_login_survives_a_shell_whatever_the_name() {
        let of = |name: &str| {
            let command = command(&login(name));
            let (_, arguments) = command.split_once(" user add ").expect("a command");
            arguments.to_owned()
        };
        let rights = r"--publish='cmnd/#' --subscribe='it'\''s/+'";
        assert_eq!(of("anna"), format!("{rights} anna"));
        assert_eq!(of("$(reboot)"), format!("{rights} '$(reboot)'"));
        assert_eq!(of("-x"), format!("{rights} -- -x"));
    }

    #[test]
    fn what_is_listed_moves_no_cursor() {
        let left = Left {
            place: None,
            name: "x".to_owned(),
            value: Some("\u{1b}[2J\n".to_owned()),
            why: safeport_settings::Said::default(),
            already_so: false,
        };
        assert!(!shown(&left).contains(char::is_control));
    }
}
