//! `safeport attempts`: who tried to connect, what came of it, and what to do about it.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use safeport_store::AttemptQuery;

use super::registry::{Open, failed};
use super::{Place, gather};
use crate::console::{Console, Failure};
use crate::say;
use crate::shown::attempts::{of_device, row_json, table};
use crate::text::Language;

#[derive(Debug, Args)]
pub(super) struct AttemptsArgs {
    /// Only those from this IP address
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Only those of this device: by its login, and by where it connects from
    #[arg(long, value_name = "NAME", conflicts_with = "address")]
    device: Option<String>,
    /// Only those that failed
    #[arg(long)]
    failed: bool,
    /// Only those of this last time, such as 90s, 10m, 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = time_span)]
    since: Option<Duration>,
    /// At most so many lines, newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    place: Place,
}

impl AttemptsArgs {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        // Also beside settings with mistakes: that is when connections fail.
        let gathered = gather(&self.place.asked(), console, lang)?;
        let open = Open::beside(&gathered, console)?;
        let texts = &console.texts;
        let address = self
            .address
            .map(|address| address.to_canonical().to_string());
        let query = AttemptQuery {
            address: address.as_deref(),
            who: None,
            failed: self.failed,
            since: self
                .since
                .map_or(0, |since| open.now().saturating_sub(since.as_secs())),
            limit: self.limit,
        };
        let found = match &self.device {
            None => open.registry.attempts(&query),
            Some(name) => {
                let known = open.registry.device(name);
                let device = known
                    .map_err(|error| failed(texts, &error))?
                    .ok_or_else(|| {
                        Failure::new(say!(texts, "name-unknown", name = name))
                            .next(say!(texts, "device-unknown-next"))
                    })?;
                let who = (device.username.as_str(), device.client_id.as_str());
                of_device(&open.registry, who, &query)
            }
        };
        let rows = found.map_err(|error| failed(texts, &error))?;
        if console.json {
            let values: Vec<_> = rows.iter().map(|row| row_json(row, texts)).collect();
            return console.json(&values);
        }
        if rows.is_empty() {
            console.talk(&say!(texts, "attempts-none"));
            return Ok(());
        }
        console.data(&table(&rows, texts))
    }
}

/// A number with s, m, h or d behind it.
pub(super) fn time_span(text: &str) -> Result<Duration, String> {
    let help = || "write a number with s, m, h or d behind it, such as 10m".to_owned();
    let unit = text.chars().last().ok_or_else(help)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(help()),
    };
    let number = &text[..text.len() - 1];
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .ok_or_else(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_is_a_number_with_its_unit() {
        assert_eq!(time_span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time_span("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(time_span("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in [
            "",
            "10",
            "m",
            "-1m",
            "1.5h",
            "10 m",
            "十",
            "99999999999999999999d",
        ] {
            assert!(time_span(bad).is_err(), "{bad:?}");
        }
    }
}
