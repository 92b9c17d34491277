//! The terminal: data on stdout, talk on stderr, and errors that say what to do next.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::say;
use crate::text::Texts;

/// How the process ends. The numbers are part of the command line's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Fine = 0,
    /// Something failed.
    Failed = 1,
    /// Bad settings or usage (`EX_USAGE` of sysexits).
    Usage = 64,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What failed, in the reader's language.
    pub headline: String,
    /// What exactly was seen: names keys, files and addresses, and often the way out.
    pub detail: Option<String>,
    /// What to do next, in the reader's language.
    pub next: Option<String>,
}

impl Failure {
    /// A failure that ends with exit code 1.
    pub fn new(headline: String) -> Failure {
        Failure {
            exit: Exit::Failed,
            headline,
            detail: None,
            next: None,
        }
    }

    /// A failure of usage or settings: exit code 64.
    pub fn usage(headline: String) -> Failure {
        Failure {
            exit: Exit::Usage,
            ..Failure::new(headline)
        }
    }

    /// With what exactly was seen.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Failure {
        self.detail = Some(detail.to_string());
        self
    }

    /// All of it in one line, for the log and for the history.
    pub fn one_text(&self) -> String {
        let parts = [
            Some(&self.headline),
            self.detail.as_ref(),
            self.next.as_ref(),
        ];
        let texts: Vec<&str> = parts
            .into_iter()
            .flatten()
            .map(|text| text.trim())
            .collect();
        texts.join("; ")
    }

    /// With the next step.
    #[must_use]
    pub fn next(mut self, next: String) -> Failure {
        self.next = Some(next);
        self
    }
}

/// Where a command talks and puts its data.
#[derive(Debug)]
pub struct Console {
    /// Messages in the reader's language.
    pub texts: Texts,
    /// Whether data and errors are to be JSON.
    pub json: bool,
}

impl Console {
    /// Prints data: one block of text, with a line break at its end.
    ///
    /// # Errors
    /// If stdout does not take it: data that nobody got is a failed command.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let line_break = if text.ends_with('\n') { "" } else { "\n" };
        match write!(stdout, "{text}{line_break}").and_then(|()| stdout.flush()) {
            // The reader (`| head`) has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            done => {
                done.map_err(|error| Failure::new(say!(self.texts, "stdout-failed")).detail(error))
            }
        }
    }

    /// Prints data as one JSON document.
    ///
    /// # Errors
    /// If stdout does not take it.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::new(say!(self.texts, "stdout-failed")).detail(error))?;
        self.data(&text)
    }

    /// Says something to the person at the terminal.
    pub fn talk(&self, text: &str) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says what failed, as text or, with `--json`, as `{"error": …}`; both on stderr.
    pub fn fail(&self, failure: &Failure) {
        if self.json {
            let error = serde_json::json!({"error": {
                "headline": failure.headline,
                "detail": failure.detail,
                "next": failure.next,
            }});
            return self.talk(&error.to_string());
        }
        let mut text = say!(self.texts, "error", what = failure.headline);
        for part in [&failure.detail, &failure.next].into_iter().flatten() {
            for line in part.lines() {
                text.push_str("\n  ");
                text.push_str(line);
            }
        }
        self.talk(&text);
    }
}
