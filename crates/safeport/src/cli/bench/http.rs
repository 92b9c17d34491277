//! `safeport bench http`: requests as devices make them.

use std::fs;
use std::net::ToSocketAddrs;
use std::path::PathBuf;

use clap::Args;
use safeport_sim::load::{HttpLoad, http};

use crate::console::{Console, Failure};
use crate::say;

#[derive(Debug, Args)]
pub(in crate::cli) struct HttpArgs {
    /// Where to, such as http://127.0.0.1:8002/xiaozhi/ota/; no TLS. `{n}` in the path, a header
    /// or the body becomes a number of six hexadecimal digits
    url: String,
    /// Send this file as a body, with POST; without, GET of HTTP/1.0
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// A further header, such as "Device-Id: a0:b1:c2:00:00:01"; may be repeated
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// How many different requests `{n}` makes
    #[arg(long, default_value_t = 1)]
    names: u32,
    /// Requests under way at once
    #[arg(long, default_value_t = 4)]
    clients: u32,
    /// How long requests are begun, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// At most so many requests; 0 for as many as fit
    #[arg(long, default_value_t = 0)]
    requests: u64,
    /// Bytes a second that each client reads, with the small window of a device; without, all that
    /// comes
    #[arg(long)]
    rate: Option<u32>,
}

impl HttpArgs {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let texts = &console.texts;
        let bad_url = || Failure::usage(say!(texts, "bench-url-bad", url = self.url));
        let rest = self.url.strip_prefix("http://").ok_or_else(bad_url)?;
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) => (host, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        let with_port = match host.rsplit_once(':') {
            Some(_) => host.to_owned(),
            None => format!("{host}:80"),
        };
        let target = with_port
            .to_socket_addrs()
            .map_err(|error| bad_url().detail(error))?
            .next()
            .ok_or_else(bad_url)?;
        super::seconds(self.seconds, texts)?;
        let body = match &self.body {
            None => None,
            Some(path) => Some(fs::read_to_string(path).map_err(|error| {
                Failure::new(say!(texts, "bench-body-unreadable", path = path.display()))
                    .detail(error)
            })?),
        };
        let more: String = self
            .headers
            .iter()
            .map(|line| format!("{line}\r\n"))
            .collect();
        let request = match &body {
            // The placeholder and what stands in its place are of different lengths.
            Some(body) => {
                let length = body.replace("{n}", "000000").len();
                format!(
                    "POST {path} HTTP/1.1\r\nHost: {host}\r\n{more}Content-Type: application/json\r\n\
                     Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                )
            }
            None => {
                format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n")
            }
        };
        let load = HttpLoad {
            target,
            request,
            names: self.names,
            clients: self.clients,
            seconds: self.seconds,
            requests: self.requests,
            rate: self.rate,
        };
        let report = http(&load).map_err(|error| {
            Failure::new(say!(texts, "bench-failed", address = target)).detail(error)
        })?;
        if console.json {
            console.json(&report.to_json())?;
        } else {
            console.data(&format!(
                "answered {}  failed {}  bytes {}  seconds {:.3}  per second {:.0}",
                report.answered,
                report.failed,
                report.bytes,
                report.elapsed.as_secs_f64(),
                report.answered as f64 / report.elapsed.as_secs_f64(),
            ))?;
        }
        match report.first_failure {
            None => Ok(()),
            Some(why) => {
                Err(Failure::new(say!(texts, "bench-failed", address = target)).detail(why))
            }
        }
    }
}
