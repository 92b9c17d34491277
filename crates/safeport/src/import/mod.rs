//! Settings of other servers, read as Safeport's: [`mosquitto`] and [`xiaozhi`].
//!
//! Texts in, values out; `cli/import.rs` reads the files and prints. Nothing is guessed: each line
//! of the other server's file ends up as a setting with the same meaning ([`Mapped`]) or in a list
//! with the reason why not ([`Left`]), and no secret is repeated in either.

pub mod mosquitto;
pub mod xiaozhi;
mod yaml;

use std::fmt;
use std::sync::Arc;

use safeport_settings::{FileSource, Problem, Said, Settings, Sources};

/// Longest file that is read, in bytes. The longest that other servers ship has 40 KiB; a longer
/// one than this is the wrong file.
pub const MAX_FILE: usize = 4 << 20;

/// What stands for a secret in everything that is printed.
pub const SECRET: &str = "(secret)";

/// Both languages side by side, each with its values inline.
macro_rules! said {
    ($en:literal, $zh:literal $(, $name:ident = $value:expr)* $(,)?) => {
        ::safeport_settings::Said::new(
            format!($en $(, $name = $value)*),
            format!($zh $(, $name = $value)*),
        )
    };
}
use said;

/// One file of another server, already read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its path as the person knows it; used in messages only.
    pub path: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's path as it was given.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

/// A setting that means what the other server's lines mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The key, such as `limits.max_inflight`.
    pub key: String,
    /// Its value as TOML.
    pub value: String,
    /// The lines that say so; none where the other server's default says so.
    pub from: Vec<Place>,
    /// What is worth knowing beside it.
    pub remark: Option<Said>,
}

/// A line that did not become a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where it stands; `None` for what the other server does without being told.
    pub place: Option<Place>,
    /// The option's name there.
    pub name: String,
    /// Its value, [`SECRET`] for secrets, `None` where it may be one.
    pub value: Option<String>,
    /// Why it did not, and how to have it with Safeport, if there is a way.
    pub why: Said,
    /// Whether Safeport does the same anyway, so that nothing is lost.
    pub already_so: bool,
}

/// A login of the other server. Its password cannot be taken along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedLogin {
    /// The user name.
    pub name: String,
    /// Topic filters that it may publish to.
    pub publish: Vec<String>,
    /// Topic filters that it may subscribe to.
    pub subscribe: Vec<String>,
    /// The lines that say so.
    pub from: Vec<Place>,
    /// What differs from what it had.
    pub remark: Option<Said>,
}

/// What another server's files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// What became a setting.
    pub settings: Vec<Mapped>,
    /// What did not, in the order of the files.
    pub not_mapped: Vec<Left>,
    /// Logins to add.
    pub logins: Vec<ImportedLogin>,
}

/// Why a file cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}\n  help: {help}")]
pub struct ImportError {
    /// Where.
    pub place: Place,
    /// What was seen there.
    pub what: Said,
    /// What to do.
    pub help: Said,
}

impl Input<'_> {
    fn file(&self) -> Arc<str> {
        Arc::from(self.path)
    }

    /// Refuses what is longer than [`MAX_FILE`].
    fn check_length(&self) -> Result<(), ImportError> {
        if self.text.len() <= MAX_FILE {
            return Ok(());
        }
        let line = self.text.as_bytes()[..MAX_FILE]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Err(ImportError {
            place: Place {
                file: self.file(),
                line,
            },
            what: said!(
                "the file goes on after {limit} MiB, which no settings file does",
                "文件超过 {limit} MiB，配置文件不会这么大",
                limit = MAX_FILE >> 20
            ),
            help: said!(
                "name the settings file itself, not a database or a log",
                "请指定配置文件本身，而不是数据库或日志"
            ),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Imported {
    fn map(&mut self, key: &str, value: impl Into<String>, from: Vec<Place>) -> &mut Mapped {
        self.settings.push(Mapped {
            key: key.to_owned(),
            value: value.into(),
            from,
            remark: None,
        });
        self.settings.last_mut().expect("just pushed")
    }

    fn leave(&mut self, place: &Place, name: &str, value: Option<&str>, why: Said) -> &mut Left {
        self.not_mapped.push(Left {
            place: Some(place.clone()),
            name: name.to_owned(),
            value: value.map(str::to_owned),
            why,
            already_so: false,
        });
        self.not_mapped.last_mut().expect("just pushed")
    }

    /// The mapped settings as a settings file; each value under a comment that names the lines it
    /// came from.
    pub fn settings_file(&self, language: safeport_settings::Language, title: &str) -> String {
        let mut text = format!("# {}\n", one_line(title));
        let mut sections: Vec<&str> = Vec::new();
        for mapped in &self.settings {
            let section = mapped.section();
            if !sections.contains(&section) {
                sections.push(section);
            }
        }
        for section in sections {
            text.push_str(&format!("\n[{section}]\n"));
            for mapped in self.settings.iter().filter(|m| m.section() == section) {
                if let Some(remark) = &mapped.remark {
                    text.push_str(&format!("# {}\n", one_line(remark.in_language(language))));
                }
                let places: Vec<String> = mapped.from.iter().map(Place::to_string).collect();
                if !places.is_empty() {
                    text.push_str(&format!("# {}\n", one_line(&places.join(", "))));
                }
                text.push_str(&format!("{} = {}\n", mapped.name(), mapped.value));
            }
        }
        text
    }

    /// Lets the rules of our own settings have the last word: a mapped value that they refuse goes
    /// to the list of what is left, with their reason.
    fn settle(mut self) -> Imported {
        loop {
            let text = self.settings_file(safeport_settings::Language::En, "");
            let Err(problems) = parsed(&text) else {
                break;
            };
            let before = self.settings.len();
            for problem in &problems {
                self.refuse(problem);
            }
            if self.settings.len() == before {
                break;
            }
        }
        self.not_mapped.sort_by(|a, b| a.place.cmp(&b.place));
        self
    }

    fn refuse(&mut self, problem: &Problem) {
        let Some(key) = &problem.key else { return };
        let Some(index) = self.settings.iter().position(|m| m.key == *key) else {
            // What the whole section lacks, such as a proxy the url that was refused before.
            let section = key.rsplit_once('.').map_or("", |(section, _)| section);
            let of_it = |m: &Mapped| m.section() == section && m.from.is_empty();
            self.settings.retain(|mapped| !of_it(mapped));
            return;
        };
        let mapped = self.settings.remove(index);
        let why = Said::new(
            format!("{}; {}", problem.what.en, problem.help.en),
            format!("{}；{}", problem.what.zh, problem.help.zh),
        );
        let places: Vec<Option<Place>> = match mapped.from.as_slice() {
            [] => vec![None],
            from => from.iter().cloned().map(Some).collect(),
        };
        for place in places {
            self.not_mapped.push(Left {
                place,
                name: mapped.key.clone(),
                value: Some(mapped.value.clone()),
                why: why.clone(),
                already_so: false,
            });
        }
        // Without it the default holds, which may let in more than the other server did.
        if let Some(listener) = key.strip_suffix(".bind") {
            let key = format!("{listener}.enabled");
            self.map(&key, "false", Vec::new()).remark = Some(said!(
                "its address could not be taken over",
                "其地址无法导入"
            ));
        }
    }
}

/// What our own settings say to a settings file.
///
/// # Errors
/// Its problems.
pub fn parsed(text: &str) -> Result<Settings, Vec<Problem>> {
    Settings::parse(&Sources {
        files: vec![FileSource {
            path: "import",
            text,
            drop_in: false,
        }],
        ..Sources::default()
    })
}

impl Mapped {
    fn section(&self) -> &str {
        self.key.rsplit_once('.').map_or("", |(section, _)| section)
    }

    fn name(&self) -> &str {
        self.key
            .rsplit_once('.')
            .map_or(&self.key, |(_, name)| name)
    }
}

/// Whether a text can be the name of a host.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

/// A text as a TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Several texts as a TOML list; one alone as itself.
fn quoted_list(texts: &[String]) -> String {
    match texts {
        [one] => quoted(one),
        many => {
            let many: Vec<String> = many.iter().map(|text| quoted(text)).collect();
            format!("[{}]", many.join(", "))
        }
    }
}

/// A text that stays within one comment, whatever a file was called.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
