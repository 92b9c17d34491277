//! Logs: lines of text or JSON on stderr.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Directives that a person's own ones override. rustls warns once per connection of every client
/// that puts an IP address into SNI, which devices configured by address do. rmcp logs whole addresses and answers of
/// servers, with the keys that may stand in them; what it has to say, we say.
const QUIET: &str = "rustls=error,rmcp=off";

/// Gives the running log another filter.
static SWAP: OnceLock<Box<dyn Fn(EnvFilter) -> bool + Send + Sync>> = OnceLock::new();

/// A filter that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}; write a level (error, warn, info, debug, trace) or `info,safeport::engine=debug`")]
pub struct BadFilter(tracing_subscriber::filter::ParseError);

/// Starts logging to stderr with the directives in `filter`.
///
/// # Errors
/// [`BadFilter`] if `filter` is no list of directives.
pub fn start(filter: &str, format: Format) -> Result<(), BadFilter> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let _ = SWAP.set(Box::new(move |filter| handle.reload(filter).is_ok()));
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

/// Logs with the directives in `filter` from now on.
///
/// # Errors
/// [`BadFilter`] if `filter` is no list of directives; then the log stays as it is.
pub fn set_filter(filter: &str) -> Result<(), BadFilter> {
    let filter = parse(filter)?;
    if let Some(swap) = SWAP.get() {
        swap(filter);
    }
    Ok(())
}

fn parse(filter: &str) -> Result<EnvFilter, BadFilter> {
    EnvFilter::builder()
        .parse(format!("{QUIET},{filter}"))
        .map_err(BadFilter)
}

/// Whether the person asked for no colour (<https://no-color.org>).
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
