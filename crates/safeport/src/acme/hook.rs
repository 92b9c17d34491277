//! The program that sets records of `dns-01` (`acme.dns_hook`).
//!
//! `HOOK present NAME VALUE` makes a TXT record, `HOOK cleanup NAME VALUE` takes it away. `present`
//! ends when the name servers of the zone show the record: the authority looks at once.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use safeport_settings::Said;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::trouble::{Trouble, both};
use crate::limits::{ACME_HOOK, ACME_HOOK_WORDS};

/// A TXT record that proves a name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Record {
    /// `_acme-challenge.hub.example.com`, without a dot at its end.
    pub(super) name: String,
    /// What the record says.
    pub(super) value: String,
}

/// Runs the hook to its end. When this is dropped, the hook is ended, with everything it started.
pub(super) async fn run(program: &Path, verb: &str, record: &Record) -> Result<(), Trouble> {
    let shown = program.display().to_string();
    let failed = |why: &Said| Trouble::hook(&shown, &record.name, verb, why);
    let mut command = Command::new(program);
    command
        .args([verb, &record.name, &record.value])
        .env("SAFEPORT_ACME_ACTION", verb)
        .env("SAFEPORT_ACME_RECORD", &record.name)
        .env("SAFEPORT_ACME_VALUE", &record.value)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    // Settings may come as variables, and some of them are secrets.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SAFEPORT__") {
            command.env_remove(name);
        }
    }
    let mut child = command
        .spawn()
        .map_err(|error| failed(&both!("cannot be started: {error}", "无法启动：{error}")))?;
    let group = Group(child.id());
    let words = tokio::spawn(words_of(child.stdout.take(), child.stderr.take()));
    let Ok(ended) = tokio::time::timeout(ACME_HOOK, child.wait()).await else {
        let seconds = ACME_HOOK.as_secs();
        return Err(failed(&both!(
            "did not end within {seconds} s and was stopped",
            "{seconds} 秒内没有结束，已被终止"
        )));
    };
    group.let_go();
    // What it left running in the background may hold the streams for ever.
    let said = tokio::time::timeout(LAST_WORDS, words).await;
    let said = said.ok().and_then(Result::ok).unwrap_or_default();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let said = match said.as_str() {
                "" => String::new(),
                said => format!(": {said}"),
            };
            Err(failed(&both!(
                "failed ({status}){said}",
                "失败（{status}）{said}"
            )))
        }
        Err(error) => Err(failed(&both!("was lost: {error}", "丢失：{error}"))),
    }
}

/// How long the words of a hook that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The end of what the hook says; on its error stream, or else on the other.
async fn words_of(
    out: Option<impl AsyncRead + Unpin>,
    err: Option<impl AsyncRead + Unpin>,
) -> String {
    let (out, err) = tokio::join!(tail(out), tail(err));
    let said = if err.is_empty() { out } else { err };
    let said = String::from_utf8_lossy(&said);
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).collect()
}

async fn tail(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else {
        return kept;
    };
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        let over = kept.len().saturating_sub(ACME_HOOK_WORDS);
        kept.drain(..over);
    }
    kept
}

/// The hook and what it started, ended when this is dropped.
struct Group(Option<u32>);

impl Group {
    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

/// Makes a program for tests. Another process writes it: what this one has open for writing, a
/// child that another test starts just then has, too, and what is open for writing is not run.
#[cfg(test)]
pub(super) fn write_program(path: &Path, text: &str) {
    let written = std::process::Command::new("sh")
        .args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .arg(text)
        .status();
    assert!(written.expect("a shell").success(), "{}", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn hook(folder: &TempDir, script: &str) -> PathBuf {
        let path = folder.path().join("hook.sh");
        write_program(&path, &format!("#!/bin/sh\n{script}\n"));
        path
    }

    fn record() -> Record {
        Record {
            name: "_acme-challenge.hub.example.com".to_owned(),
            value: "digest".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_hook_is_told_what_to_do_as_arguments_and_variables() {
        let folder = tempfile::tempdir().expect("a folder");
        let seen = folder.path().join("seen.txt");
        let script = format!(
            "echo \"$1 $2 $3 $SAFEPORT_ACME_ACTION $SAFEPORT_ACME_RECORD $SAFEPORT_ACME_VALUE\" > {}",
            seen.display()
        );
        let hook = hook(&folder, &script);
        run(&hook, "present", &record()).await.expect("it works");
        let said = std::fs::read_to_string(&seen).expect("what it saw");
        let half = "present _acme-challenge.hub.example.com digest";
        assert_eq!(said.trim(), format!("{half} {half}"));
    }

    #[tokio::test]
    async fn what_a_failing_hook_says_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let hook = hook(&folder, "echo the zone is locked >&2; exit 3");
        let trouble = run(&hook, "present", &record())
            .await
            .expect_err("it fails");
        assert_eq!(trouble.code, "dns_hook_failed");
        assert!(
            trouble
                .what
                .en
                .contains("exit status: 3): the zone is locked"),
            "{}",
            trouble.what
        );
        let missing = run(Path::new("/nowhere/hook"), "present", &record()).await;
        assert!(
            missing
                .expect_err("none")
                .what
                .en
                .contains("cannot be started")
        );
    }

    #[tokio::test]
    async fn a_hook_that_is_given_up_ends_with_everything_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let alive = folder.path().join("alive");
        let script = format!("(sleep 2; touch {}) & wait", alive.display());
        let hook = hook(&folder, &script);
        let record = record();
        let mut running = Box::pin(run(&hook, "present", &record));
        let waited = tokio::time::timeout(Duration::from_millis(500), &mut running).await;
        assert!(waited.is_err(), "it hangs");
        drop(running);
        tokio::time::sleep(Duration::from_millis(2200)).await;
        assert!(!alive.exists(), "its child lives on");
    }
}
