//! Reads what may set a key — file, environment, flags — and shows what is wrong with it. The
//! rules themselves are in `safeport-settings`; this is its eyes and mouth.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use safeport_settings::{DataPath, FileSource, FlagSource, Problem, Settings, Source, Sources};

use crate::console::{Console, Exit, Failure};
use crate::say;

/// Places that are looked at when no `--config` names a file; the first that exists is read.
pub const USUAL_FILES: [&str; 2] = ["safeport.toml", "/etc/safeport/safeport.toml"];

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
#[derive(Debug)]
pub struct Read {
    /// The settings.
    pub settings: Settings,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The whole environment, as far as it is text.
    environment: Vec<(String, String)>,
}

/// Why there are no settings.
#[derive(Debug)]
pub enum ReadError {
    /// The file could not be read at all.
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A flag that is no text.
    Flag(&'static str),
    /// Everything that is wrong, and the file's text to point into.
    Problems {
        /// Path and text, if a file was read.
        file: Option<(PathBuf, String)>,
        /// What is wrong, in file order.
        problems: Vec<Problem>,
    },
}

impl Read {
    /// Reads everything that may set a key: default < file < environment < flag.
    ///
    /// # Errors
    /// All problems at once.
    pub fn new(asked: &Asked) -> Result<Read, ReadError> {
        let file = read_file(asked)?;
        let environment = environment();
        match parse(asked, file.as_ref(), &environment) {
            Ok(settings) => Ok(Read {
                settings,
                file: file.map(|(path, _)| path),
                environment,
            }),
            Err(ParseError::Flag(flag)) => Err(ReadError::Flag(flag)),
            Err(ParseError::Problems(problems)) => Err(ReadError::Problems { file, problems }),
        }
    }

    /// The data folder: `server.data`, or the usual place for this user.
    pub fn data_folder(&self) -> Option<PathBuf> {
        let root = rustix::process::geteuid().is_root();
        self.settings
            .server
            .data
            .resolve(&pairs(&self.environment), root)
            .map(PathBuf::from)
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

enum ParseError {
    Flag(&'static str),
    Problems(Vec<Problem>),
}

fn parse(
    asked: &Asked,
    file: Option<&(PathBuf, String)>,
    environment: &[(String, String)],
) -> Result<Settings, ParseError> {
    let path = file.map(|(path, _)| path.to_string_lossy());
    let data = match &asked.data {
        Some(data) => Some(absolute(data).ok_or(ParseError::Flag("--data"))?),
        None => None,
    };
    let mut sources = Sources {
        files: file
            .zip(path.as_deref())
            .map(|((_, text), path)| FileSource {
                path,
                text,
                drop_in: false,
            })
            .into_iter()
            .collect(),
        env: pairs(environment),
        ..Sources::default()
    };
    if let Some(data) = &data {
        sources.flags.push(flag("--data", "server.data", data));
    }
    if asked.open {
        sources
            .flags
            .push(flag("--open", "access.anonymous", "true"));
    }
    if !asked.open && asked.bind.is_none() {
        return Settings::parse(&sources).map_err(ParseError::Problems);
    }
    // Which addresses and ports hold without these flags decides what the flags set.
    let plain = Settings::parse(&sources).map_err(ParseError::Problems)?;
    let listeners = [
        ("mqtt.bind", plain.mqtt.bind.first().port),
        ("mqtts.bind", plain.mqtts.bind.first().port),
        ("http.bind", plain.http.bind.first().port),
        ("https.bind", plain.https.bind.first().port),
    ];
    let moved: Vec<(&str, &str, String)> = listeners
        .into_iter()
        .filter_map(|(key, port)| match asked.bind {
            Some(address) => {
                let bind = SocketAddr::new(address, port);
                Some(("--bind", key, bind.to_string()))
            }
            None if plain.source(key) == Some(&Source::Default) => {
                Some(("--open", key, format!("{LOOPBACK}:{port}")))
            }
            None => None,
        })
        .collect();
    for (name, key, value) in &moved {
        sources.flags.push(flag(name, key, value));
    }
    Settings::parse(&sources).map_err(ParseError::Problems)
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

fn read_file(asked: &Asked) -> Result<Option<(PathBuf, String)>, ReadError> {
    if let Some(path) = &asked.config {
        return match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some((path.clone(), text))),
            Err(error) => Err(ReadError::File {
                path: path.clone(),
                error,
            }),
        };
    }
    for usual in USUAL_FILES {
        match std::fs::read_to_string(usual) {
            Ok(text) => return Ok(Some((PathBuf::from(usual), text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(ReadError::File {
                    path: PathBuf::from(usual),
                    error,
                });
            }
        }
    }
    Ok(None)
}

impl ReadError {
    /// The failure to end with: exit code 64.
    pub fn failure(&self, console: &Console, color: bool) -> Failure {
        let texts = &console.texts;
        match self {
            ReadError::File { path, error } => {
                Failure::usage(say!(texts, "config-unreadable", path = path.display()))
                    .detail(error)
                    .next(say!(texts, "config-unreadable-next"))
            }
            ReadError::Flag(flag) => Failure::usage(say!(texts, "flag-not-text", flag = *flag)),
            ReadError::Problems { file, problems } => {
                let shown: Vec<String> = problems
                    .iter()
                    .map(|problem| show(problem, file.as_ref(), color))
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
    pub fn problems(&self) -> Vec<serde_json::Value> {
        let ReadError::Problems { problems, .. } = self else {
            return Vec::new();
        };
        problems
            .iter()
            .map(|problem| {
                let place = match &problem.source {
                    Source::File { path, location, .. } => serde_json::json!({
                        "file": path,
                        "line": location.line,
                        "column": location.column,
                    }),
                    other => serde_json::json!(other.to_string()),
                };
                serde_json::json!({
                    "key": problem.key,
                    "source": place,
                    "what": problem.what.en,
                    "help": problem.help.en,
                    "related": problem.related.as_ref().map(|(key, source)| serde_json::json!({
                        "key": key,
                        "source": source.to_string(),
                    })),
                })
            })
            .collect()
    }
}

/// One problem, pointing into the file where it can.
fn show(problem: &Problem, file: Option<&(PathBuf, String)>, color: bool) -> String {
    let (Source::File { path, location, .. }, Some((_, text))) = (&problem.source, file) else {
        return problem.to_string();
    };
    let title = match &problem.key {
        Some(key) => format!("{key}: {}", problem.what),
        None => problem.what.to_string(),
    };
    let span = visible(text, location.span.clone());
    let mut snippet = Snippet::source(text.as_str())
        .path(path.as_str())
        .annotation(AnnotationKind::Primary.span(span));
    let mut notes = Vec::new();
    if let Some((key, source)) = &problem.related {
        match source {
            Source::File { location, .. } => {
                let span = visible(text, location.span.clone());
                let label = AnnotationKind::Context.span(span).label(key.as_str());
                snippet = snippet.annotation(label);
            }
            other => notes.push(format!("{key} ({other})")),
        }
    }
    let mut group = Level::ERROR.primary_title(title).element(snippet);
    for note in notes {
        group = group.element(Level::NOTE.message(note));
    }
    let group = group.element(Level::HELP.message(problem.help.en.as_str()));
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

    fn binds(asked: &Asked, file: &str, environment: &[(&str, &str)]) -> [String; 3] {
        let file = (PathBuf::from("safeport.toml"), file.to_owned());
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let Ok(settings) = parse(asked, Some(&file), &environment) else {
            panic!("the settings are fine");
        };
        assert_eq!(settings.access.anonymous, asked.open);
        [
            settings.mqtt.bind.to_string(),
            settings.mqtts.bind.to_string(),
            settings.http.bind.to_string(),
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
            ["127.0.0.1:1883", "127.0.0.1:8883", "127.0.0.1:8002"]
        );
        assert_eq!(
            binds(
                &open,
                "[mqtt]\nbind = \"0.0.0.0:1884\"\n",
                &[("SAFEPORT__HTTP__BIND", "192.168.1.20:80")]
            ),
            ["0.0.0.0:1884", "127.0.0.1:8883", "192.168.1.20:80"]
        );
        let everywhere = Asked {
            bind: Some("0.0.0.0".parse().expect("an address")),
            ..open
        };
        assert_eq!(
            binds(&everywhere, "", &[]),
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
            binds(&asked, "[mqtt]\nbind = \"0.0.0.0:1884\"\n", &[]),
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
}
