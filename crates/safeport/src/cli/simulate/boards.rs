//! Pretend boards on the command line: options in, events out.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use safeport_sim::board::tasmota::{self, Layout, TasmotaBoard};
use safeport_sim::board::{BoardError, Events, Fault};
use safeport_sim::image::{ImageChip, ImageFamily, ImageSpec, Variant, build};
use safeport_sim::tasmota::{Fingerprint, MacAddress, PlugOptions, Trust};

use super::interrupted;
use crate::cli::bench::seconds;
use crate::console::{Console, Failure};
use crate::say;

/// What every board has.
#[derive(Debug, Args)]
struct BoardArgs {
    /// Name of the device; topic and user name follow it where they are not given
    #[arg(long)]
    name: Option<String>,
    /// Hardware address
    #[arg(long, value_name = "MAC")]
    mac: Option<MacAddress>,
    /// What a blank flash is filled with. Default: a made-up image
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Port of the device's own web pages on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    web_port: u16,
    /// Folder that holds the flash, so that it survives this command. Default: memory
    #[arg(long, value_name = "DIR")]
    flash_dir: Option<PathBuf>,
    /// Multiplies every wait of the device: 0.05 is twenty times as fast
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    time_scale: f64,
    /// An accident: power, drop, stall or crash, at download:50%, boot, installed or time:SECONDS,
    /// such as power@download:50%. `*3` behind it: three times; `*0`: always
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Fault>,
    /// Stop after this many seconds. Default: run until Ctrl-C
    #[arg(long = "for", value_name = "SECONDS")]
    stop_after: Option<f64>,
    /// One JSON object for each event on stdout, instead of words on stderr
    #[arg(long)]
    events: bool,
}

/// How a board reaches a broker.
#[derive(Debug, Args)]
struct MqttArgs {
    /// Host of the broker
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of the broker. Default: 1883, with TLS 8883
    #[arg(long)]
    port: Option<u16>,
    /// User name
    #[arg(long, alias = "username")]
    user: Option<String>,
    /// Password
    #[arg(long, env = "SAFEPORT_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Topic
    #[arg(long)]
    topic: Option<String>,
    /// Client id
    #[arg(long)]
    client_id: Option<String>,
    /// Connect by TLS. Without --ca or --fingerprint any server is accepted
    #[arg(long)]
    tls: bool,
    /// Accept any server; implies --tls
    #[arg(long, conflicts_with_all = ["ca", "fingerprint"])]
    insecure: bool,
    /// Certificate of the CA that the device trusts, in PEM; implies --tls
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    ca: Option<PathBuf>,
    /// Fingerprint of the server's key; implies --tls
    #[arg(long, value_parser = super::pasted_fingerprint)]
    fingerprint: Option<Fingerprint>,
}

impl MqttArgs {
    fn trust(&self) -> Option<Trust> {
        if let Some(path) = &self.ca {
            return Some(Trust::CaFile(path.clone()));
        }
        if let Some(fingerprint) = self.fingerprint {
            return Some(Trust::Fingerprint(fingerprint));
        }
        (self.tls || self.insecure).then_some(Trust::Fingerprint(Fingerprint([0xff; 20])))
    }

    fn port(&self) -> u16 {
        let usual = if self.trust().is_some() { 8883 } else { 1883 };
        self.port.unwrap_or(usual)
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Tasmota32Args {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    mqtt: MqttArgs,
    #[command(flatten)]
    tasmota: TasmotaWebArgs,
    /// What a blank safeboot partition is filled with. Default: a made-up image
    #[arg(long, value_name = "FILE")]
    safeboot: Option<PathBuf>,
    /// esp32, esp32c3, esp32s3 …
    #[arg(long, default_value = "esp32c3")]
    chip: ImageChip,
    /// How the flash is divided: safeboot, or dual as before version 12
    #[arg(long, default_value = "safeboot", value_parser = layout)]
    layout: Layout,
    /// A blank board begins in its safeboot, as one that was left there
    #[arg(long)]
    stuck: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Tasmota8266Args {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    mqtt: MqttArgs,
    #[command(flatten)]
    tasmota: TasmotaWebArgs,
    /// Size of the flash: 1M or 4M
    #[arg(long, default_value = "1M", value_parser = flash)]
    flash: usize,
}

#[derive(Debug, Args)]
struct TasmotaWebArgs {
    /// `OtaUrl`
    #[arg(long, value_name = "URL")]
    ota_url: Option<String>,
    /// Password of the web pages; the user is `admin`
    #[arg(long)]
    web_password: Option<String>,
    /// SetOption128 is off: web requests need a Referer of the device itself
    #[arg(long)]
    check_referer: bool,
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if (0.01..=1.0).contains(&scale) => Ok(scale),
        _ => Err("give 0.01 to 1".to_owned()),
    }
}

fn layout(text: &str) -> Result<Layout, String> {
    match text {
        "safeboot" => Ok(Layout::Safeboot),
        "dual" => Ok(Layout::Dual),
        _ => Err("give safeboot or dual".to_owned()),
    }
}

fn flash(text: &str) -> Result<usize, String> {
    match text {
        "1M" => Ok(1024),
        "4M" => Ok(4096),
        _ => Err("give 1M or 4M".to_owned()),
    }
}

impl Tasmota32Args {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let safeboot = image_or(console, self.safeboot.as_deref(), || {
            let mut spec = ImageSpec::new(ImageFamily::Tasmota, self.chip, BUILT_IN);
            spec.variant = Variant::Safeboot;
            spec
        })?;
        let tasmota = &self.tasmota;
        let mut board = tasmota.board(console, &self.board, &self.mqtt, self.chip, safeboot)?;
        board.layout = self.layout;
        board.stuck = self.stuck;
        let events = self.board.events(&board.plug.name);
        run(console, &self.board, events, |events, stop| {
            tasmota::run(board, events, stop)
        })
    }
}

impl Tasmota8266Args {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let chip = ImageChip::ESP8266;
        let tasmota = &self.tasmota;
        let mut board = tasmota.board(console, &self.board, &self.mqtt, chip, Vec::new())?;
        board.flash_kib = self.flash;
        let events = self.board.events(&board.plug.name);
        run(console, &self.board, events, |events, stop| {
            tasmota::run(board, events, stop)
        })
    }
}

impl TasmotaWebArgs {
    fn board(
        &self,
        console: &Console,
        args: &BoardArgs,
        mqtt: &MqttArgs,
        chip: ImageChip,
        safeboot: Vec<u8>,
    ) -> Result<TasmotaBoard, Failure> {
        let mut plug = PlugOptions::new(args.mac(), mqtt.host.as_str(), mqtt.port());
        // As the line that `safeport device add tasmota` prints sets them.
        let own_name = mqtt.user.clone().or_else(|| args.name.clone());
        plug.topic = mqtt.topic.clone().or_else(|| own_name.clone());
        plug.client_id = mqtt.client_id.clone().or_else(|| mqtt.user.clone());
        plug.username = mqtt.user.clone();
        plug.password = mqtt.password.clone();
        if let Some(name) = args.name.clone().or(own_name) {
            plug.name = name;
        }
        if let Some(url) = &self.ota_url {
            plug.ota_url = url.clone();
        }
        let image = image_or(console, args.image.as_deref(), || {
            ImageSpec::new(ImageFamily::Tasmota, chip, BUILT_IN)
        })?;
        let mut board = TasmotaBoard::new(plug, image, safeboot);
        board.tls = mqtt.trust();
        board.chip = chip;
        board.web_password = self.web_password.clone();
        board.checks_referer = self.check_referer;
        board.web_port = args.web_port;
        board.flash_folder = args.flash_dir.clone();
        board.time_scale = args.time_scale;
        board.faults = args.fault.clone();
        Ok(board)
    }
}

type Told = (
    Events,
    tokio::sync::mpsc::UnboundedReceiver<safeport_sim::board::Event>,
);

impl BoardArgs {
    fn mac(&self) -> MacAddress {
        self.mac.unwrap_or(MacAddress::pretend(1))
    }

    fn events(&self, name: &str) -> Told {
        Events::new(self.name.as_deref().unwrap_or(name))
    }
}

/// The file, or a made-up image where none is given.
fn image_or(
    console: &Console,
    path: Option<&Path>,
    spec: impl FnOnce() -> ImageSpec,
) -> Result<Vec<u8>, Failure> {
    match path {
        None => Ok(build(&spec())),
        Some(path) => std::fs::read(path).map_err(|error| {
            Failure::usage(say!(&console.texts, "simulate-failed"))
                .detail(format!("{}: {error}", path.display()))
        }),
    }
}

/// Runs a board until Ctrl-C or `--for`, and shows what it tells.
fn run<F>(
    console: &Console,
    args: &BoardArgs,
    (events, mut told): Told,
    board: impl FnOnce(Events, Stop) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), BoardError>>,
{
    let texts = &console.texts;
    let stop_after = args
        .stop_after
        .map(|given| seconds(given, texts))
        .transpose()?;
    let failed = || Failure::new(say!(texts, "simulate-failed"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed().detail(error))?;
    let as_json = args.events || console.json;
    runtime.block_on(async {
        let board = board(events, stop(stop_after));
        tokio::pin!(board);
        let mut ended = None;
        loop {
            tokio::select! {
                biased;
                event = told.recv() => match event {
                    Some(event) if as_json => console.data(&event.to_json().to_string())?,
                    Some(event) => console.talk(&event.to_string()),
                    // The board has gone, and everything it told has been shown.
                    None => break,
                },
                result = &mut board, if ended.is_none() => ended = Some(result),
            }
        }
        ended
            .unwrap_or(Ok(()))
            .map_err(|error| failed().detail(error))
    })
}

type Stop = std::pin::Pin<Box<dyn Future<Output = ()>>>;

fn stop(after: Option<Duration>) -> Stop {
    Box::pin(async move {
        match after {
            None => interrupted().await,
            Some(after) => {
                tokio::select! {
                    () = interrupted() => {}
                    () = tokio::time::sleep(after) => {}
                }
            }
        }
    })
}

/// Version of the images that a board has when none are given.
const BUILT_IN: &str = "15.0.1";
