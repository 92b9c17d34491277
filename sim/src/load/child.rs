//! A broker that the run starts, kills and starts again.

use super::LoadError;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a broker may take until it serves, with millions of messages to read back.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// How long it may take to end when asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A process of ours; it is killed when this goes away.
pub(super) struct Broker<'a> {
    command: &'a str,
    child: Child,
    output: PathBuf,
    pub(super) started: Instant,
}

impl<'a> Broker<'a> {
    pub(super) fn start(command: &'a str, name: &str) -> Result<Self, LoadError> {
        let output =
            std::env::temp_dir().join(format!("safeport-bench-{}.log", name.replace('/', "-")));
        let failed = |error| LoadError::Command {
            command: command.to_owned(),
            error,
        };
        let file = File::create(&output).map_err(failed)?;
        let started = Instant::now();
        let child = Command::new("sh")
            // With exec the process that we know is the broker, not the shell.
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(failed)?)
            .stderr(file)
            .spawn()
            .map_err(failed)?;
        Ok(Broker {
            command,
            child,
            output,
            started,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tries until `attempt` succeeds: a broker that starts refuses connections for a while.
    pub(super) fn when_ready<T>(
        &mut self,
        address: SocketAddr,
        mut attempt: impl FnMut() -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        loop {
            match attempt() {
                Err(LoadError::Connect { .. } | LoadError::Closed { .. }) => {}
                other => return other,
            }
            let ended = self.child.try_wait().map_err(|error| LoadError::Command {
                command: self.command.to_owned(),
                error,
            })?;
            if let Some(status) = ended {
                return Err(LoadError::Ended {
                    command: self.command.to_owned(),
                    status,
                    last_words: self.last_words(),
                });
            }
            if self.started.elapsed() > READY_TIMEOUT {
                return Err(LoadError::NotReady {
                    command: self.command.to_owned(),
                    address,
                    waited: READY_TIMEOUT,
                });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGKILL, now.
    pub(super) fn kill(&mut self) -> Result<(), LoadError> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(|_| ())
            .map_err(|error| LoadError::Command {
                command: self.command.to_owned(),
                error,
            })
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // One that is gone already needs no asking.
            let _ = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.output);
    }
}
