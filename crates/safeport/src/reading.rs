//! Reads what may set a key — files, environment, flags, the managed source — and shows what is
//! wrong with it. The rules themselves are in `safeport-settings`; this is its eyes and mouth.

mod files;
mod show;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use safeport_settings::{
    Audience, DataPath, FileSource, FlagSource, ManagedValue, Names, Problem, Settings, Source,
    Sources,
};
use safeport_store::{DataFolder, ManagedRow, Registry, Revision, Scope, StoreError};

use crate::limits::NAME_DEADLINE;

pub use files::{DROP_INS, TextFile, USUAL_FILES, put_back, settled, write_file};
pub use show::{problem_json, show, show_note, source_json};

use files::read_files;

/// The address that `serve --open` binds unless something says otherwise.
const LOOPBACK: &str = "127.0.0.1";

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--open`.
    pub open: bool,
    /// `--bind`: the address of every listener; ports stay.
    pub bind: Option<IpAddr>,
}

/// Settings and where they came from.
#[derive(Clone, Debug)]
pub struct Read {
    /// The settings.
    pub settings: Settings,
    /// The settings file that was read or, if there is none, the one that would be.
    pub main: PathBuf,
    /// Every file that was read: the settings file first, then `conf.d` by name.
    pub files: Vec<TextFile>,
    /// What was asked for.
    pub asked: Asked,
    /// Why these are not the settings of the files as they are: the last good ones serve instead.
    pub degraded: Option<String>,
    /// What the managed source said.
    pub managed: Vec<ManagedRow>,
    /// The whole environment, as far as it is text.
    environment: Vec<(String, String)>,
}

/// Everything but the managed source, read and not judged yet.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// The settings file that was read or would be.
    pub main: PathBuf,
    /// Every file.
    pub files: Vec<TextFile>,
    asked: Asked,
    environment: Vec<(String, String)>,
    data: Option<String>,
}

/// Why there are no settings.
#[derive(Debug)]
pub enum ReadError {
    /// A file could not be read at all.
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// More files in `conf.d` than are read.
    TooManyFiles(PathBuf),
    /// A flag that is no text.
    Flag(&'static str),
    /// The managed source cannot be read.
    Managed(StoreError),
    /// Everything that is wrong, and the texts to point into.
    Problems {
        /// Every file that was read.
        files: Vec<TextFile>,
        /// What is wrong, in the order of the sources.
        problems: Vec<Problem>,
    },
}

impl Gathered {
    /// Reads files and environment.
    ///
    /// # Errors
    /// A file that cannot be read, a flag that is no text.
    pub fn new(asked: &Asked) -> Result<Gathered, ReadError> {
        let data = match &asked.data {
            Some(data) => Some(absolute(data).ok_or(ReadError::Flag("--data"))?),
            None => None,
        };
        let (main, files) = read_files(asked)?;
        Ok(Gathered {
            main,
            files,
            asked: asked.clone(),
            environment: environment(),
            data,
        })
    }

    /// The same with other texts of files, as a change or a way back would have them; `None`
    /// for a file that would be gone.
    #[must_use]
    pub fn with_files(mut self, texts: &[(PathBuf, Option<String>)]) -> Gathered {
        let main = settled(&self.main);
        for (path, text) in texts {
            let path = settled(path);
            // Messages go on naming a file as the person does.
            let named = self
                .files
                .iter()
                .position(|file| settled(&file.path) == path)
                .map(|index| self.files.remove(index).path);
            if let Some(text) = text {
                let drop_in = path != main;
                self.files.push(TextFile {
                    path: named.unwrap_or_else(|| match drop_in {
                        true => path,
                        false => self.main.clone(),
                    }),
                    text: text.clone(),
                    drop_in,
                });
            }
        }
        self.files
            .sort_by(|a, b| (a.drop_in, &a.path).cmp(&(b.drop_in, &b.path)));
        self
    }

    /// The data folder that these sources name, as far as they can be understood.
    pub fn data_folder(&self) -> Option<PathBuf> {
        data_folder(&self.lenient(), &self.environment)
    }

    /// What was asked for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The settings as far as they can be understood.
    pub fn lenient(&self) -> Settings {
        Settings::parse_lenient(&self.sources(&[], None, Names::default(), &[])).0
    }

    /// What the managed source of the data folder says; nothing if there is no such folder yet.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn managed(&self) -> Result<Vec<ManagedRow>, ReadError> {
        let Some(folder) = self.data_folder() else {
            return Ok(Vec::new());
        };
        // Whatever is wrong with the folder itself is told by who needs it.
        let Ok(Some(folder)) = DataFolder::open_existing(&folder) else {
            return Ok(Vec::new());
        };
        match folder.registry_to_read() {
            Ok(Some(registry)) => registry.managed().map_err(ReadError::Managed),
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(ReadError::Managed(error)),
        }
    }

    /// Judges everything.
    ///
    /// # Errors
    /// All problems at once.
    pub fn judge(self, managed: Vec<ManagedRow>) -> Result<Read, ReadError> {
        self.judge_for(managed, None)
    }

    /// Judges everything as one device is told it: the values for its tags and for itself count,
    /// too.
    ///
    /// # Errors
    /// All problems at once.
    pub fn judge_for(
        self,
        managed: Vec<ManagedRow>,
        audience: Option<(&str, &[String])>,
    ) -> Result<Read, ReadError> {
        let problems = |problems| ReadError::Problems {
            files: self.files.clone(),
            problems,
        };
        let flags = self.flags(&managed);
        let first = self.sources(&managed, audience, Names::default(), &flags);
        let (lenient, _) = Settings::parse_lenient(&first);
        let names = resolve(&lenient.names());
        let sources = self.sources(&managed, audience, names, &flags);
        let (settings, mut found) = Settings::parse_lenient(&sources);
        let outside = outside_problems(&settings);
        if !outside.is_empty() {
            found.extend(outside);
            // From top to bottom, as the others are already.
            let files = self.files.iter().map(|file| file.path.to_str());
            let files: Vec<Option<&str>> = files.collect();
            found.sort_by_key(|problem| match &problem.source {
                Source::File { path, location, .. } => {
                    let file = files.iter().position(|file| *file == Some(path.as_str()));
                    (problem.source.rank(), file, location.span.start)
                }
                source => (source.rank(), None, 0),
            });
        }
        if !found.is_empty() {
            return Err(problems(found));
        }
        Ok(Read {
            settings,
            main: self.main,
            files: self.files,
            asked: self.asked,
            degraded: None,
            managed,
            environment: self.environment,
        })
    }

    fn sources<'a>(
        &'a self,
        managed: &'a [ManagedRow],
        audience: Option<(&'a str, &'a [String])>,
        names: Names<'a>,
        flags: &'a [(&'static str, &'static str, String)],
    ) -> Sources<'a> {
        let mut sources = Sources {
            files: self
                .files
                .iter()
                .map(|file| FileSource {
                    path: file.path.to_str().unwrap_or("safeport.toml"),
                    text: &file.text,
                    drop_in: file.drop_in,
                })
                .collect(),
            env: pairs(&self.environment),
            flags: Vec::new(),
            managed: managed.iter().map(managed_value).collect(),
            audience: audience.map(|(device, tags)| Audience {
                device,
                tags: tags.iter().map(String::as_str).collect(),
            }),
            names,
        };
        if let Some(data) = &self.data {
            sources.flags.push(flag("--data", "server.data", data));
        }
        if self.asked.open {
            sources
                .flags
                .push(flag("--open", "access.anonymous", "true"));
        }
        for (name, key, value) in flags {
            sources.flags.push(flag(name, key, value));
        }
        sources
    }

    /// What `--bind` and `--open` set: the addresses of listeners, whose ports hold as they are
    /// without these flags.
    fn flags(&self, managed: &[ManagedRow]) -> Vec<(&'static str, &'static str, String)> {
        if !self.asked.open && self.asked.bind.is_none() {
            return Vec::new();
        }
        let (plain, _) =
            Settings::parse_lenient(&self.sources(managed, None, Names::default(), &[]));
        let listeners = [
            ("mqtt.bind", plain.mqtt.bind.first().port),
            ("mqtts.bind", plain.mqtts.bind.first().port),
            ("http.bind", plain.http.bind.first().port),
            ("https.bind", plain.https.bind.first().port),
        ];
        listeners
            .into_iter()
            .filter_map(|(key, port)| match self.asked.bind {
                Some(address) => Some(("--bind", key, SocketAddr::new(address, port).to_string())),
                None if plain.source(key) == Some(&Source::Default) => {
                    Some(("--open", key, format!("{LOOPBACK}:{port}")))
                }
                None => None,
            })
            .collect()
    }
}

impl Read {
    /// Reads everything that may set a key and judges it.
    ///
    /// # Errors
    /// All problems at once.
    pub fn new(asked: &Asked) -> Result<Read, ReadError> {
        let gathered = Gathered::new(asked)?;
        let managed = gathered.managed()?;
        gathered.judge(managed)
    }

    /// The settings as they would be with a staged revision.
    ///
    /// # Errors
    /// All problems at once.
    pub fn staged(
        asked: &Asked,
        registry: &mut Registry,
        revision: &Revision,
    ) -> Result<Read, ReadError> {
        let mut managed = registry.managed().map_err(ReadError::Managed)?;
        for change in &revision.changes {
            managed.retain(|row| row.scope != change.scope || row.key != change.key);
            if let Some(value) = &change.new {
                managed.push(ManagedRow {
                    scope: change.scope.clone(),
                    key: change.key.clone(),
                    value: value.clone(),
                    secret: change.secret,
                    revision: revision.id,
                    who: revision.who.clone(),
                    at: revision.at,
                });
            }
        }
        // Whoever staged it has written the files already.
        Gathered::new(asked)?.judge(managed)
    }

    /// The settings of the last start or change that went well, in place of files that have
    /// mistakes now; `None` if there are none or they do not hold either.
    pub fn last_good(asked: &Asked, why: String) -> Option<Read> {
        let gathered = Gathered::new(asked).ok()?;
        let folder = DataFolder::open_existing(gathered.data_folder()?).ok()??;
        let registry = folder.registry_to_read().ok()??;
        let good = registry.last_good_files().ok()?;
        if good.is_empty() {
            return None;
        }
        let managed = registry.managed().ok()?;
        let mut texts: Vec<(PathBuf, Option<String>)> = gathered
            .files
            .iter()
            .map(|file| (file.path.clone(), None))
            .collect();
        texts.extend(
            good.into_iter()
                .map(|(path, text)| (PathBuf::from(path), Some(text))),
        );
        let mut read = gathered.with_files(&texts).judge(managed).ok()?;
        read.degraded = Some(why);
        Some(read)
    }

    /// The same sources as one device is told them.
    ///
    /// # Errors
    /// All problems at once.
    pub fn told_to(&self, device: &str, tags: &[String]) -> Result<Settings, ReadError> {
        let gathered = Gathered {
            main: self.main.clone(),
            files: self.files.clone(),
            asked: self.asked.clone(),
            environment: self.environment.clone(),
            data: None,
        };
        gathered
            .judge_for(self.managed.clone(), Some((device, tags)))
            .map(|read| read.settings)
    }

    /// The settings file, if one was read.
    pub fn file(&self) -> Option<&Path> {
        self.files
            .iter()
            .find(|file| !file.drop_in)
            .map(|file| file.path.as_path())
    }

    /// The data folder: `server.data`, or the usual place for this user.
    pub fn data_folder(&self) -> Option<PathBuf> {
        data_folder(&self.settings, &self.environment)
    }

    /// Whether a command without `--data` finds the same folder from any shell of this user: no
    /// flag and no `$STATE_DIRECTORY` of a service chose it.
    pub fn data_is_usual(&self) -> bool {
        let root = rustix::process::geteuid().is_root();
        let shell: Vec<(&str, &str)> = pairs(&self.environment)
            .into_iter()
            .filter(|(name, _)| *name != "STATE_DIRECTORY")
            .collect();
        let usual = DataPath::Auto.resolve(&shell, root).map(PathBuf::from);
        usual.is_some() && usual == self.data_folder()
    }
}

fn data_folder(settings: &Settings, environment: &[(String, String)]) -> Option<PathBuf> {
    let root = rustix::process::geteuid().is_root();
    settings
        .server
        .data
        .resolve(&pairs(environment), root)
        .map(PathBuf::from)
}

fn managed_value(row: &ManagedRow) -> ManagedValue<'_> {
    ManagedValue {
        scope: match &row.scope {
            Scope::Everyone => safeport_settings::Scope::Everyone,
            Scope::Tag(name) => safeport_settings::Scope::Tag(name.clone()),
            Scope::Device(name) => safeport_settings::Scope::Device(name.clone()),
        },
        key: &row.key,
        value: &row.value,
        revision: row.revision,
        who: &row.who,
        at: row.at,
    }
}

/// What only a look at the disk can say about values: reported like every other problem.
fn outside_problems(settings: &Settings) -> Vec<Problem> {
    let mut problems = crate::certificates::client_ca_problems(settings);
    problems.extend(crate::trust::problem(settings));
    problems
}

/// Addresses of the names in bind settings, as this machine knows them now.
fn resolve<'a>(names: &[&'a str]) -> Names<'a> {
    names
        .iter()
        .map(|name| {
            let found = safeport_net::surroundings::resolve(name, NAME_DEADLINE);
            (*name, found.unwrap_or_default())
        })
        .collect()
}

fn flag<'a>(flag: &'a str, key: &'a str, value: &'a str) -> FlagSource<'a> {
    FlagSource { flag, key, value }
}

fn pairs(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// The environment as text. A value that is no text cannot be a setting's; it is shown with
/// replacement characters, so that a `SAFEPORT__` one is refused by its key's own rules.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect()
}

/// A folder given on the command line means one below where the person stands.
fn absolute(path: &Path) -> Option<String> {
    std::path::absolute(path)
        .ok()?
        .into_os_string()
        .into_string()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binds(asked: &Asked, file: &str, environment: &[(&str, &str)]) -> [String; 4] {
        let gathered = Gathered {
            main: PathBuf::from("safeport.toml"),
            files: vec![TextFile {
                path: PathBuf::from("safeport.toml"),
                text: file.to_owned(),
                drop_in: false,
            }],
            asked: asked.clone(),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            data: None,
        };
        let Ok(Read { settings, .. }) = gathered.judge(Vec::new()) else {
            panic!("the settings are fine");
        };
        assert_eq!(settings.access.anonymous, asked.open);
        [
            settings.mqtt.bind.to_string(),
            settings.mqtts.bind.to_string(),
            settings.http.bind.to_string(),
            settings.https.bind.to_string(),
        ]
    }

    #[test]
    fn open_moves_listeners_to_loopback_unless_a_setting_or_flag_says_where_they_are() {
        let open = Asked {
            open: true,
            ..Asked::default()
        };
        assert_eq!(
            binds(&open, "", &[]),
            [
                "127.0.0.1:1883",
                "127.0.0.1:8883",
                "127.0.0.1:8002",
                "127.0.0.1:8443"
            ]
        );
        assert_eq!(
            binds(
                &open,
                "[mqtt]\nbind = \"0.0.0.0:1884\"\n",
                &[("SAFEPORT__HTTP__BIND", "192.168.1.20:80")]
            )[..3],
            ["0.0.0.0:1884", "127.0.0.1:8883", "192.168.1.20:80"]
        );
        let everywhere = Asked {
            bind: Some("0.0.0.0".parse().expect("an address")),
            ..open
        };
        assert_eq!(
            binds(&everywhere, "", &[])[..3],
            ["0.0.0.0:1883", "0.0.0.0:8883", "0.0.0.0:8002"]
        );
    }

    #[test]
    fn bind_moves_every_listener_and_leaves_the_ports_as_set() {
        let asked = Asked {
            bind: Some("::1".parse().expect("an address")),
            ..Asked::default()
        };
        assert_eq!(
            binds(&asked, "[mqtt]\nbind = \"0.0.0.0:1884\"\n", &[])[..3],
            ["[::1]:1884", "[::1]:8883", "[::1]:8002"]
        );
        assert_eq!(
            binds(&Asked::default(), "", &[])[0],
            "[::]:1883",
            "without flags nothing moves"
        );
    }
}
