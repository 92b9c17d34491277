//! `safeport simulate`: pretend devices, by `safeport_sim`.

mod boards;
mod image;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use safeport_sim::tasmota::{
    Fingerprint, FleetOptions, FleetSummary, MacAddress, PlugOptions, Trust, run_fleet,
};

use super::bench::seconds;
use crate::console::{Console, Failure};
use crate::say;
use crate::text::Texts;

#[derive(Debug, Subcommand)]
pub(super) enum SimulateCommand {
    /// Tasmota plugs with power monitoring, until Ctrl-C
    Tasmota(TasmotaArgs),
    /// A board with Tasmota for the ESP32, with safeboot: it downloads, checks and boots real files
    Tasmota32(boards::Tasmota32Args),
    /// The same for the ESP8266, which goes over a minimal image
    Tasmota8266(boards::Tasmota8266Args),
    /// A board with ESPEasy: MQTT, web pages, firmware pushed to it
    Espeasy(boards::EspeasyArgs),
    /// A xiaozhi: OTA checks, activation, upgrades with rollback; its quirks go by its version
    Xiaozhi(boards::XiaozhiArgs),
    /// A board with ESPHome: MQTT, and an update entity that polls a manifest
    Esphome(boards::EsphomeArgs),
    /// A program of one's own that updates itself by esp_https_ota of ESP-IDF
    Idf(boards::IdfArgs),
    /// A firmware file for such boards, sound or spoilt
    #[command(disable_version_flag = true)]
    Image(image::ImageArgs),
}

#[derive(Debug, Args)]
pub(super) struct TasmotaArgs {
    /// How many plugs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Host of the broker
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of the broker. Default: 1883, with TLS 8883
    #[arg(long)]
    port: Option<u16>,
    /// User name. A single plug takes it as topic and client id too, as the line printed by
    /// `safeport device add tasmota` sets them
    #[arg(long)]
    username: Option<String>,
    /// Password
    #[arg(long, env = "SAFEPORT_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Topic; with several plugs a number follows it
    #[arg(long)]
    topic: Option<String>,
    /// Client id; with several plugs a number follows it
    #[arg(long)]
    client_id: Option<String>,
    /// Connect by TLS. Without --ca or --fingerprint any server is accepted, as Tasmota does with
    /// a fingerprint of all FF
    #[arg(long)]
    tls: bool,
    /// Certificate of the CA that the plugs trust, in PEM; implies --tls
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    ca: Option<PathBuf>,
    /// Fingerprint of the server's key, as `safeport cert fingerprint` prints it; implies --tls
    #[arg(long, value_parser = pasted_fingerprint)]
    fingerprint: Option<Fingerprint>,
    /// Stop after this many seconds. Default: run until Ctrl-C
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds between two telemetry messages of a plug, 10 to 3600; 0 for none
    #[arg(long, default_value_t = 300, value_parser = tele_period)]
    tele_period: u16,
}

/// A fingerprint with or without the command that sets it in a device.
fn pasted_fingerprint(text: &str) -> Result<Fingerprint, String> {
    let bytes = text.strip_prefix("MqttFingerprint1").unwrap_or(text).trim();
    bytes
        .parse()
        .map_err(|error: <Fingerprint as std::str::FromStr>::Err| error.to_string())
}

fn tele_period(word: &str) -> Result<u16, String> {
    match word.parse() {
        Ok(period @ (0 | 10..=3600)) => Ok(period),
        _ => Err("give 10 to 3600 seconds, or 0 for none".to_owned()),
    }
}

impl SimulateCommand {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        match self {
            SimulateCommand::Tasmota(args) => args.run(console),
            SimulateCommand::Tasmota32(args) => args.run(console),
            SimulateCommand::Tasmota8266(args) => args.run(console),
            SimulateCommand::Espeasy(args) => args.run(console),
            SimulateCommand::Xiaozhi(args) => args.run(console),
            SimulateCommand::Esphome(args) => args.run(console),
            SimulateCommand::Idf(args) => args.run(console),
            SimulateCommand::Image(args) => args.run(console),
        }
    }
}

impl TasmotaArgs {
    fn run(&self, console: &Console) -> Result<(), Failure> {
        let args = self;
        let texts = &console.texts;
        let options = args.fleet(texts)?;
        let failed = || Failure::new(say!(texts, "simulate-failed"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed().detail(error))?;
        console.talk(&say!(
            texts,
            "simulate-running",
            count = args.count,
            host = args.host,
            port = options.plug.port
        ));
        let summary = runtime
            .block_on(run_fleet(options, interrupted(), |line| console.talk(line)))
            .map_err(|error| failed().detail(error))?;
        report(console, &summary)
    }

    fn fleet(&self, texts: &Texts) -> Result<FleetOptions, Failure> {
        let trust = self.trust(texts)?;
        let port = self
            .port
            .unwrap_or(if trust.is_some() { 8883 } else { 1883 });
        let mut plug = PlugOptions::new(MacAddress::pretend(1), self.host.as_str(), port);
        let own_name = self.username.clone().filter(|_| self.count == 1);
        plug.topic = self.topic.clone().or_else(|| own_name.clone());
        plug.client_id = self.client_id.clone().or(own_name);
        plug.username = self.username.clone();
        plug.password = self.password.clone();
        plug.tele_period = self.tele_period;
        let mut options = FleetOptions::new(plug, self.count);
        options.trust = trust;
        options.stop_after = self
            .seconds
            .map(|given| seconds(given, texts))
            .transpose()?;
        Ok(options)
    }

    fn trust(&self, texts: &Texts) -> Result<Option<Trust>, Failure> {
        if let Some(path) = &self.ca {
            std::fs::metadata(path).map_err(|error| {
                Failure::usage(say!(texts, "ca-unreadable", path = path.display())).detail(error)
            })?;
            return Ok(Some(Trust::CaFile(path.clone())));
        }
        if let Some(fingerprint) = self.fingerprint {
            return Ok(Some(Trust::Fingerprint(fingerprint)));
        }
        // What Tasmota is set to when it is to accept any server.
        Ok(self
            .tls
            .then_some(Trust::Fingerprint(Fingerprint([0xff; 20]))))
    }
}

/// Ready when a signal asks the plugs to stop.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

fn report(console: &Console, summary: &FleetSummary) -> Result<(), Failure> {
    if console.json {
        return console.json(&serde_json::json!({
            "plugs": summary.plugs,
            "connected": summary.connected,
            "connects": summary.connects,
            "failures": summary.failures,
            "published": summary.published,
            "commands": summary.commands,
        }));
    }
    console.data(&summary.to_string())
}
