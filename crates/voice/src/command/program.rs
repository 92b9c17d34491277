//! One program: starting it, its pipes, its end.

use std::env;
use std::future::{Future, pending};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::CommandSettings;
use crate::limits::{PROGRAM_LAST_WORDS_BYTES, PROGRAM_TEXT_BYTES};
use crate::provider::{Failure, FailureKind, Stage};

/// A program that can be started.
#[derive(Debug)]
pub(crate) struct Program {
    name: Box<str>,
    stage: Stage,
    command: Vec<String>,
    language: Box<str>,
    timeout: Duration,
    places: Semaphore,
}

/// One that runs. It is killed when this is dropped, with all that it started.
pub(crate) struct Running<'a> {
    program: &'a Program,
    child: Child,
    /// Its group of processes, until its end is known: only so long does the number belong to it.
    group: Option<Pid>,
    _place: SemaphorePermit<'a>,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

/// What came out of a program.
pub(crate) enum Heard<T> {
    /// It closed its output, and this is what that was.
    All(Result<T, Failure>),
    /// More is not wanted.
    Enough(T),
}

impl Program {
    pub(crate) fn new(settings: CommandSettings, stage: Stage) -> Result<Program, Failure> {
        let program = Program {
            name: settings.name,
            stage,
            command: settings.program,
            language: settings.language,
            timeout: settings.timeout,
            places: Semaphore::new(settings.at_once.clamp(1, Semaphore::MAX_PERMITS)),
        };
        match program.command.first() {
            None => Err(program.failure(
                FailureKind::Missing,
                "no program is named; set it and its arguments",
            )),
            Some(first) if !is_there(first) => Err(program.failure(
                FailureKind::Missing,
                format!(
                    "there is no program `{first}` that this server may run; install it, or give its whole path"
                ),
            )),
            Some(_) => Ok(program),
        }
    }

    /// Starts it, as soon as there is a place.
    pub(crate) async fn start(&self, language: Option<&str>) -> Result<Running<'_>, Failure> {
        let arguments = self.arguments(language)?;
        let place = self.in_time(self.places.acquire()).await?;
        let place = place.map_err(|_| self.failure(FailureKind::Failed, "the server ends"))?;
        let mut command = tokio::process::Command::new(&arguments[0]);
        command
            .args(&arguments[1..])
            .env_clear()
            .envs(env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed_on)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| self.not_started(&error))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(self.failure(FailureKind::Failed, "it came without pipes"));
        };
        Ok(Running {
            program: self,
            child,
            group,
            _place: place,
            stdin,
            stdout,
            stderr,
        })
    }

    /// Waits no longer than the settings allow.
    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::time::timeout(self.timeout, work).await.map_err(|_| {
            self.failure(
                FailureKind::TimedOut,
                format!("nothing came for {} s", self.timeout.as_secs_f32()),
            )
        })
    }

    /// All the text that a program writes.
    pub(crate) async fn text(&self, mut output: ChildStdout) -> Result<Heard<String>, Failure> {
        let misunderstood = |problem: String| self.failure(FailureKind::Misunderstood, problem);
        let mut text = Vec::new();
        let mut buffer = vec![0; 4096];
        loop {
            let read = self.in_time(output.read(&mut buffer)).await?;
            let Ok(read @ 1..) = read else { break };
            text.extend_from_slice(&buffer[..read]);
            if text.len() > PROGRAM_TEXT_BYTES {
                return Err(misunderstood(format!(
                    "it wrote more than {} KiB; it is to write what was said, and nothing else",
                    PROGRAM_TEXT_BYTES >> 10
                )));
            }
        }
        let text = String::from_utf8(text);
        Ok(Heard::All(text.map_err(|_| {
            misunderstood("what it wrote is no UTF-8 text".to_owned())
        })))
    }

    pub(crate) fn failure(&self, kind: FailureKind, detail: impl Into<Box<str>>) -> Failure {
        Failure {
            stage: self.stage,
            provider: self.name.clone(),
            kind,
            detail: detail.into(),
        }
    }

    fn arguments(&self, language: Option<&str>) -> Result<Vec<String>, Failure> {
        let language = language.unwrap_or(&self.language);
        // What begins with a dash would be an option.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if language.starts_with('-') || !language.bytes().all(allowed) {
            return Err(self.failure(
                FailureKind::Refused,
                format!("{language:?} is no language; set one like `en` or `zh`"),
            ));
        }
        let arguments = self.command.iter();
        Ok(arguments
            .map(|argument| argument.replace("{language}", language))
            .collect())
    }

    fn not_started(&self, error: &io::Error) -> Failure {
        let first = &self.command[0];
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => FailureKind::Missing,
            _ => FailureKind::Failed,
        };
        self.failure(kind, format!("`{first}` could not be started: {error}"))
    }
}

impl Running<'_> {
    /// Hands `input` in, lets `listen` take what it writes, and waits for its end.
    pub(crate) async fn talk<T, F>(
        self,
        input: &[u8],
        listen: impl FnOnce(ChildStdout) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Heard<T>, Failure>>,
    {
        let Running {
            program,
            child,
            group,
            _place,
            stdin,
            stdout,
            stderr,
        } = self;
        let mut end = End { child, group };
        let mut words = Words::new(stderr);
        let heard = {
            let beside = async {
                tokio::join!(hand_in(stdin, input), words.listen());
                pending::<()>().await;
            };
            let heard = async {
                match listen(stdout).await? {
                    Heard::Enough(heard) => Ok(heard),
                    // A program that failed says why in other words than its output.
                    Heard::All(heard) => end.wait(program).await.and(heard),
                }
            };
            tokio::pin!(heard);
            tokio::select! {
                biased;
                () = beside => return Err(program.failure(FailureKind::Failed, "its pipes broke")),
                heard = &mut heard => heard,
            }
        };
        drop(end);
        match heard {
            Ok(heard) => Ok(heard),
            Err(failure) => Err(words.behind(failure).await),
        }
    }
}

/// Its end, by itself or because nobody wants it any more.
struct End {
    child: Child,
    group: Option<Pid>,
}

impl End {
    async fn wait(&mut self, program: &Program) -> Result<(), Failure> {
        let status = program.in_time(self.child.wait()).await?;
        self.group = None;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                Err(program.failure(FailureKind::Failed, format!("it ended with {status}")))
            }
            Err(error) => Err(program.failure(
                FailureKind::Failed,
                format!("its end is not known: {error}"),
            )),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // Gone already, if this fails.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The last of what it writes to its standard error.
struct Words {
    stderr: ChildStderr,
    last: Vec<u8>,
}

impl Words {
    fn new(stderr: ChildStderr) -> Words {
        Words {
            stderr,
            last: Vec::new(),
        }
    }

    async fn listen(&mut self) {
        let mut buffer = [0; PROGRAM_LAST_WORDS_BYTES];
        while let Ok(read @ 1..) = self.stderr.read(&mut buffer).await {
            self.last.extend_from_slice(&buffer[..read]);
            let surplus = self.last.len().saturating_sub(PROGRAM_LAST_WORDS_BYTES);
            self.last.drain(..surplus);
        }
    }

    /// Adds them to why it failed.
    async fn behind(mut self, failure: Failure) -> Failure {
        let _ = tokio::time::timeout(GRACE, self.listen()).await;
        let text = String::from_utf8_lossy(&self.last);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        if lines.is_empty() {
            return failure;
        }
        let said: String = lines
            .join(" / ")
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        Failure {
            detail: format!("{}; it said: {said}", failure.detail).into(),
            ..failure
        }
    }
}

/// A program need not read what it is given.
async fn hand_in(mut stdin: ChildStdin, input: &[u8]) {
    let _ = stdin.write_all(input).await;
    let _ = stdin.shutdown().await;
}

fn is_there(program: &str) -> bool {
    let runs = |path: &Path| {
        path.metadata()
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return runs(Path::new(program));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| runs(&folder.join(program)))
}

/// What programs need to find themselves and their files. Everything else may be a key.
fn is_passed_on(name: &str) -> bool {
    ["PATH", "HOME", "USER", "LANG", "TMPDIR", "LD_LIBRARY_PATH"].contains(&name)
        || name.starts_with("LC_")
        || name.starts_with("XDG_")
}

/// How long a program that is done for may take to say so.
const GRACE: Duration = Duration::from_millis(200);
