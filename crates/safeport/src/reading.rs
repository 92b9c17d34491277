//! Reads what may set a key — files, environment, flags, the managed source — and shows what is
//! wrong with it. The rules themselves are in `safeport-settings`; this is its eyes and mouth.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use safeport_settings::{
    Audience, DataPath, FileSource, FlagSource, ManagedValue, Names, Problem, Settings, Source,
    Sources,
};
use safeport_store::{DataFolder, FileSnapshot, ManagedRow, Registry, Revision, Scope, StoreError};

use crate::console::{Exit, Failure};
use crate::limits::{CONF_D_FILES, CONFIG_BYTES, NAME_DEADLINE};
use crate::say;
use crate::text::Texts;

/// Places that are looked at when no `--config` names a file; the first that exists is read.
pub const USUAL_FILES: [&str; 2] = ["safeport.toml", "/etc/safeport/safeport.toml"];

/// The folder beside the settings file whose `*.toml` files are read, too, and win over it.
pub const DROP_INS: &str = "conf.d";

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
        found.extend(outside_problems(&settings));
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
    crate::trust::problem(settings).into_iter().collect()
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

/// A path that means the same from every working directory.
pub fn settled(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// A folder given on the command line means one below where the person stands.
fn absolute(path: &Path) -> Option<String> {
    std::path::absolute(path)
        .ok()?
        .into_os_string()
        .into_string()
        .ok()
}

/// The settings file and its drop-ins. A `conf.d` counts beside the file that was read; without
/// one, only the system's own (`/etc/safeport/conf.d`) does, since a folder of that name may lie
/// about anywhere.
fn read_files(asked: &Asked) -> Result<(PathBuf, Vec<TextFile>), ReadError> {
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

impl ReadError {
    /// The failure to end with: exit code 64.
    pub fn failure(&self, texts: &Texts, color: bool) -> Failure {
        match self {
            ReadError::File { path, error } => {
                Failure::usage(say!(texts, "config-unreadable", path = path.display()))
                    .detail(error)
                    .next(say!(texts, "config-unreadable-next"))
            }
            ReadError::TooManyFiles(folder) => Failure::usage(say!(
                texts,
                "config-too-many",
                path = folder.display(),
                most = CONF_D_FILES
            )),
            ReadError::Flag(flag) => Failure::usage(say!(texts, "flag-not-text", flag = *flag)),
            ReadError::Managed(error) => {
                Failure::new(say!(texts, "managed-unreadable")).detail(error)
            }
            ReadError::Problems { files, problems } => {
                let shown: Vec<String> = problems
                    .iter()
                    .map(|problem| show(problem, files, texts.language().into(), color))
                    .collect();
                Failure {
                    exit: Exit::Usage,
                    headline: say!(texts, "settings-bad", count = problems.len()),
                    detail: Some(shown.join("\n")),
                    next: Some(say!(texts, "settings-bad-next")),
                }
            }
        }
    }

    /// The problems as data, for `check --json`.
    pub fn problems(&self, texts: &Texts) -> Vec<serde_json::Value> {
        let ReadError::Problems { problems, .. } = self else {
            return Vec::new();
        };
        problems
            .iter()
            .map(|problem| problem_json(problem, texts))
            .collect()
    }

    /// Whether files are to blame, so that the last good ones could stand in.
    pub fn is_about_files(&self) -> bool {
        match self {
            ReadError::Problems { problems, .. } => problems
                .iter()
                .any(|problem| matches!(problem.source, Source::File { .. })),
            _ => false,
        }
    }
}

/// One problem as data.
pub fn problem_json(problem: &Problem, texts: &Texts) -> serde_json::Value {
    let language = texts.language().into();
    serde_json::json!({
        "key": problem.key,
        "source": source_json(&problem.source),
        "what": problem.what.in_language(language),
        "help": problem.help.in_language(language),
        "related": problem.related.as_ref().map(|(key, source)| serde_json::json!({
            "key": key,
            "source": source.to_string(),
        })),
    })
}

/// Where a value came from, as data.
pub fn source_json(source: &Source) -> serde_json::Value {
    match source {
        Source::File { path, location, .. } => serde_json::json!({
            "file": path,
            "line": location.line,
            "column": location.column,
        }),
        other => serde_json::json!(other.to_string()),
    }
}

/// One problem, pointing into its file where it can.
pub fn show(
    problem: &Problem,
    files: &[TextFile],
    language: safeport_settings::Language,
    color: bool,
) -> String {
    // Of the same length, so that what points into the text stays true.
    let masked: Vec<(Option<&str>, String)> = files
        .iter()
        .map(|file| {
            let text = safeport_settings::mask_secrets(&file.text);
            (file.path.to_str(), text)
        })
        .collect();
    let text_of = |path: &str| {
        masked
            .iter()
            .find(|(known, _)| *known == Some(path))
            .map(|(_, text)| text.as_str())
    };
    let (path, location, text) = match &problem.source {
        Source::File { path, location, .. } => match text_of(path) {
            Some(text) => (path, location, text),
            None => return problem.text(language),
        },
        _ => return problem.text(language),
    };
    let what = problem.what.in_language(language);
    let title = match &problem.key {
        Some(key) => format!("{key}: {what}"),
        None => what.to_owned(),
    };
    let span = visible(text, location.span.clone());
    let mut snippet = Snippet::source(text)
        .path(path.as_str())
        .annotation(AnnotationKind::Primary.span(span));
    let mut second = None;
    let mut notes = Vec::new();
    if let Some((key, source)) = &problem.related {
        match source {
            Source::File {
                path: other,
                location,
                ..
            } if other == path => {
                let span = visible(text, location.span.clone());
                snippet =
                    snippet.annotation(AnnotationKind::Context.span(span).label(key.as_str()));
            }
            Source::File {
                path: other,
                location,
                ..
            } if text_of(other).is_some() => {
                let text = text_of(other).unwrap_or_default();
                let span = visible(text, location.span.clone());
                second = Some(
                    Snippet::source(text)
                        .path(other.as_str())
                        .annotation(AnnotationKind::Context.span(span).label(key.as_str())),
                );
            }
            other => notes.push(format!("{key} ({other})")),
        }
    }
    let mut group = Level::ERROR.primary_title(title).element(snippet);
    if let Some(second) = second {
        group = group.element(second);
    }
    for note in notes {
        group = group.element(Level::NOTE.message(note));
    }
    let group = group.element(Level::HELP.message(problem.help.in_language(language)));
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// A span to underline: within the text, and at least one byte wide where there is one.
fn visible(text: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let start = span.start.min(text.len());
    let end = span.end.clamp(start, text.len());
    if start == end
        && let Some(next) = text[start..].chars().next()
    {
        return start..start + next.len_utf8();
    }
    start..end
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

    #[test]
    fn a_problem_at_the_end_of_a_file_can_be_pointed_at() {
        for (text, span) in [("", 0..0), ("a = 家", 4..4), ("a", 1..9)] {
            let visible = visible(text, span);
            assert!(text.get(visible.clone()).is_some(), "{text:?} {visible:?}");
        }
    }

    #[test]
    fn a_settings_file_is_replaced_as_a_whole_and_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let folder =
            std::env::temp_dir().join(format!("safeport-write-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("safeport.toml");
        write_file(&path, "a = 1\n").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        let link = folder.join("link.toml");
        let _ = std::fs::remove_file(&link);
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
        let left: Vec<_> = std::fs::read_dir(&folder)
            .expect("a folder")
            .flatten()
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[test]
    fn a_settings_file_of_somebody_else_stays_theirs() {
        use std::os::unix::fs::{MetadataExt, chown};
        // Only root may give files away; everybody else has nothing to lose here.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = std::env::temp_dir().join(format!("safeport-owner-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("safeport.toml");
        std::fs::write(&path, "a = 1\n").expect("written");
        chown(&path, Some(4711), Some(4712)).expect("given away");
        write_file(&path, "a = 2\n").expect("written");
        let now = std::fs::metadata(&path).expect("a file");
        assert_eq!((now.uid(), now.gid()), (4711, 4712));
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "a = 2\n");
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[test]
    fn a_file_is_put_back_only_over_what_the_change_has_written() {
        let folder = std::env::temp_dir().join(format!("safeport-back-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("safeport.toml");
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
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[test]
    fn what_has_no_end_is_no_settings_file() {
        let endless = read_text(Path::new("/dev/zero")).expect_err("too large");
        assert_eq!(endless.kind(), std::io::ErrorKind::FileTooLarge);
        let device = read_drop_in(Path::new("/dev/zero")).expect_err("no file");
        assert_eq!(device.kind(), std::io::ErrorKind::InvalidInput);
    }
}
