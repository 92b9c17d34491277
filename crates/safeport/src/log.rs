//! Logs: lines of text or JSON on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Directives that a person's own ones override. rustls warns once per connection of every client
/// that puts an IP address into SNI, which devices configured by address do.
const QUIET: &str = "rustls=error";

/// A filter that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}; write a level (error, warn, info, debug, trace) or `info,safeport::engine=debug`")]
pub struct BadFilter(tracing_subscriber::filter::ParseError);

/// Starts logging to stderr with the directives in `filter`.
///
/// # Errors
/// [`BadFilter`] if `filter` is no list of directives.
pub fn start(filter: &str, format: Format) -> Result<(), BadFilter> {
    let filter = EnvFilter::builder()
        .parse(format!("{QUIET},{filter}"))
        .map_err(BadFilter)?;
    let registry = tracing_subscriber::registry().with(filter);
    // A second start, as in tests, keeps the first one's settings.
    let _ = match format {
        Format::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        Format::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(std::io::stderr().is_terminal() && !no_color())
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    Ok(())
}

/// Whether the person asked for no colour (<https://no-color.org>).
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
