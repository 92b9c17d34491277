//! A server that is a program of this machine.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::over::Over;
use crate::limits::PROGRAM_LAST_WORDS_BYTES;

/// It runs until this is dropped, and everything that it has started ends with it.
pub(super) struct Process {
    child: Child,
    group: Option<Pid>,
    errors: Option<ChildStderr>,
    last_words: Vec<u8>,
}

impl Process {
    /// Starts it, without a shell, and without the rest of our environment: keys may be in there.
    pub(super) fn start(command: &[String], env: &[(String, String)]) -> Result<Process, String> {
        let Some((program, arguments)) = command.split_first() else {
            return Err("no program is named; set it and its arguments".to_owned());
        };
        let ours = std::env::vars_os();
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(ours.filter(|(name, _)| name.to_str().is_some_and(is_passed_on)))
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`{program}` could not be started: {error}"))?;
        Ok(Process {
            group: child.id().and_then(|id| Pid::from_raw(id.cast_signed())),
            errors: child.stderr.take(),
            child,
            last_words: Vec::new(),
        })
    }

    /// Its output and its input, once.
    pub(super) fn pipes(&mut self) -> Option<(ChildStdout, ChildStdin)> {
        self.child.stdout.take().zip(self.child.stdin.take())
    }

    /// Reads what it says of itself until it has ended: one that nobody reads would stand still. What it has started may
    /// live on, with its pipes.
    pub(super) async fn listen(&mut self) {
        loop {
            let Process {
                child,
                errors,
                last_words,
                ..
            } = self;
            tokio::select! {
                biased;
                more = hear(errors, last_words) => if !more {
                    *errors = None;
                    let _ = child.wait().await;
                    return;
                },
                _ = child.wait() => return,
            }
        }
    }

    /// It is over: `over` with what it said last and how it ended.
    pub(super) async fn end(mut self, mut over: Over) -> Over {
        // Its output ends a moment before it does, and what it said last may still be on its way.
        let rest = async {
            self.listen().await;
            while hear(&mut self.errors, &mut self.last_words).await {}
        };
        let _ = tokio::time::timeout(GRACE, rest).await;
        if let Ok(Some(status)) = self.child.try_wait() {
            over.why += &format!(" ({status})");
        }
        let words = String::from_utf8_lossy(&self.last_words);
        let words = words.trim();
        if !words.is_empty() {
            over.why += &format!("; it said: {words}");
        }
        over
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // Fails if all of them have ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Takes some of what a program says; `false`: it says nothing more.
async fn hear(errors: &mut Option<ChildStderr>, last_words: &mut Vec<u8>) -> bool {
    let Some(errors) = errors else {
        return false;
    };
    let mut buffer = [0; 1024];
    let Ok(read @ 1..) = errors.read(&mut buffer).await else {
        return false;
    };
    last_words.extend_from_slice(&buffer[..read]);
    let extra = last_words.len().saturating_sub(PROGRAM_LAST_WORDS_BYTES);
    last_words.drain(..extra);
    true
}

fn is_passed_on(name: &str) -> bool {
    ["PATH", "HOME", "USER", "LANG", "TMPDIR", "LD_LIBRARY_PATH"].contains(&name)
        || name.starts_with("LC_")
        || name.starts_with("XDG_")
}

/// How long a program whose output has ended may take to end itself.
const GRACE: Duration = Duration::from_millis(500);
