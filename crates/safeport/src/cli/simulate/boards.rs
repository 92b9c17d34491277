//! Pretend boards on the command line: options in, events out.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use safeport_sim::board::espeasy::{self, EspEasyBoard};
use safeport_sim::board::esphome::{self, EspHomeBoard};
use safeport_sim::board::idf::{self, IdfBoard, Mode};
use safeport_sim::board::tasmota::{self, Layout, TasmotaBoard};
use safeport_sim::board::xiaozhi::{self, XiaozhiBoard};
use safeport_sim::board::{BoardError, Events, Fault, Tls};
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

#[derive(Debug, Args)]
pub(in crate::cli) struct EspeasyArgs {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    mqtt: MqttArgs,
    /// esp32, esp32c3, esp8266 …
    #[arg(long, default_value = "esp32")]
    chip: ImageChip,
    /// Password of the web pages; the user is `admin`
    #[arg(long)]
    web_password: Option<String>,
    /// Unit number
    #[arg(long, default_value_t = 1)]
    unit: u8,
}

/// Whom boards with mbedTLS trust.
#[derive(Debug, Args)]
struct TrustArgs {
    /// Certificate of the CA that the device trusts over TLS, in PEM. Default: any server
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Accept any server, which is the default
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
}

impl TrustArgs {
    fn tls(&self) -> Tls {
        match &self.ca {
            Some(path) => Tls::CaFile(path.clone()),
            None => Tls::Anyone,
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct XiaozhiArgs {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// OTA address, as the captive portal stores it
    #[arg(long, value_name = "URL")]
    ota_url: String,
    /// Board type
    #[arg(
        long = "board",
        default_value = "bread-compact-wifi",
        value_name = "TYPE"
    )]
    kind: String,
    /// esp32, esp32s3, esp32c3 …
    #[arg(long, default_value = "esp32s3")]
    chip: ImageChip,
    /// Client id. Default: made from the hardware address
    #[arg(long)]
    uuid: Option<String>,
    /// Serial number of the chip, for activation by signature
    #[arg(long, requires = "key")]
    serial: Option<String>,
    /// Key of the chip, in hexadecimal
    #[arg(long, requires = "serial", value_name = "HEX", value_parser = key)]
    key: Option<Key>,
    /// Size of the flash in MiB: 16 or 8
    #[arg(long, default_value_t = 16)]
    flash: u32,
    /// Version of the made-up image, where no --image is given
    #[arg(long, default_value = "2.4.0")]
    firmware: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct EsphomeArgs {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    mqtt: MqttArgs,
    /// esp32, esp32c3 …
    #[arg(long, default_value = "esp32c3")]
    chip: ImageChip,
    /// Address of the manifest that the update entity polls
    #[arg(long, value_name = "URL")]
    manifest: Option<String>,
    /// Seconds between two looks at it
    #[arg(long, default_value_t = 21_600.0, value_parser = pause)]
    every: f64,
    /// auto installs what it finds; command waits for `INSTALL` over MQTT
    #[arg(long, default_value = "auto", value_parser = ["auto", "command"])]
    install: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct IdfArgs {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Address of the image
    #[arg(long)]
    url: String,
    /// esp32, esp32c3 …
    #[arg(long, default_value = "esp32c3")]
    chip: ImageChip,
    /// plain: one GET; partial: HEAD and ranges; resume: goes on where it stopped
    #[arg(long, default_value = "plain", value_parser = ["plain", "partial", "resume"])]
    mode: String,
    /// Bytes of a range, for `--mode partial`
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u64).range(1..))]
    range_size: u64,
    /// Seconds between two tries
    #[arg(long, default_value_t = 60.0, value_parser = pause)]
    every: f64,
    /// Install whatever is there, without comparing its version with the own one
    #[arg(long)]
    blindly: bool,
}

/// Bytes of a key. A type of its own, since a list would be one value for each byte.
#[derive(Debug, Clone)]
struct Key(Vec<u8>);

fn key(text: &str) -> Result<Key, String> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    match digits {
        Some(digits) if !digits.is_empty() && digits.len() % 2 == 0 && digits.len() <= 128 => {
            let pairs = digits.chunks_exact(2);
            Ok(Key(pairs.map(|pair| pair[0] << 4 | pair[1]).collect()))
        }
        _ => Err("give up to 64 bytes in hexadecimal".to_owned()),
    }
}

fn pause(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("give 0.1 to 1000000 seconds".to_owned()),
    }
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

impl EspeasyArgs {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let args = &self.board;
        let name = args.name.clone().or_else(|| self.mqtt.user.clone());
        let image = image_or(console, args.image.as_deref(), || {
            ImageSpec::new(ImageFamily::EspEasy, self.chip, "20260101")
        })?;
        let name = name.unwrap_or_else(|| "ESP-Easy".to_owned());
        let mut board = EspEasyBoard::new(name, self.mqtt.host.as_str(), image);
        board.unit = self.unit;
        board.mac = args.mac();
        board.port = self.mqtt.port();
        board.username = self.mqtt.user.clone();
        board.password = self.mqtt.password.clone();
        board.client_id = self.mqtt.client_id.clone();
        board.tls = self.mqtt.trust();
        board.chip = self.chip;
        board.web_password = self.web_password.clone();
        board.web_port = args.web_port;
        board.flash_folder = args.flash_dir.clone();
        board.time_scale = args.time_scale;
        board.faults = args.fault.clone();
        let events = args.events(&board.name);
        run(console, args, events, |events, stop| {
            espeasy::run(board, events, stop)
        })
    }
}

impl XiaozhiArgs {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let args = &self.board;
        let image = image_or(console, args.image.as_deref(), || {
            let firmware = self.firmware.as_str();
            let mut spec = ImageSpec::new(ImageFamily::Xiaozhi, self.chip, firmware);
            spec.tag = Some(self.kind.clone());
            spec
        })?;
        let mut board = XiaozhiBoard::new(self.ota_url.as_str(), image);
        board.mac = args.mac();
        board.uuid = self.uuid.clone();
        board.board = self.kind.clone();
        board.chip = self.chip;
        board.flash_mib = self.flash;
        let key = self.key.clone().map(|Key(bytes)| bytes);
        board.serial = self.serial.clone().zip(key);
        board.tls = self.trust.tls();
        board.flash_folder = args.flash_dir.clone();
        board.time_scale = args.time_scale;
        board.faults = args.fault.clone();
        let events = args.events("xiaozhi");
        run(console, args, events, |events, stop| {
            xiaozhi::run(board, events, stop)
        })
    }
}

impl EsphomeArgs {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let args = &self.board;
        let name = args.name.clone().or_else(|| self.mqtt.user.clone());
        let name = name.unwrap_or_else(|| "living-room".to_owned());
        let image = image_or(console, args.image.as_deref(), || {
            ImageSpec::new(ImageFamily::EspHome, self.chip, "1.0.0")
        })?;
        let mut board = EspHomeBoard::new(name, image);
        board.mac = args.mac();
        board.host = self.mqtt.host.clone();
        board.port = self.mqtt.port();
        board.username = self.mqtt.user.clone();
        board.password = self.mqtt.password.clone();
        board.client_id = self.mqtt.client_id.clone();
        let trust = self.mqtt.trust();
        board.mqtt_tls = trust.is_some();
        board.tls = match trust {
            Some(Trust::CaFile(path)) => Tls::CaFile(path),
            Some(Trust::Fingerprint(fingerprint)) if fingerprint.0 != [0xff; 20] => {
                Tls::Light(Trust::Fingerprint(fingerprint))
            }
            _ => Tls::Anyone,
        };
        board.manifest = self.manifest.clone();
        board.every = Duration::from_secs_f64(self.every);
        board.installs = self.install == "auto";
        board.chip = self.chip;
        board.flash_folder = args.flash_dir.clone();
        board.time_scale = args.time_scale;
        board.faults = args.fault.clone();
        let events = args.events(&board.name);
        run(console, args, events, |events, stop| {
            esphome::run(board, events, stop)
        })
    }
}

impl IdfArgs {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let args = &self.board;
        let image = image_or(console, args.image.as_deref(), || {
            ImageSpec::new(ImageFamily::Idf, self.chip, "1.0.0")
        })?;
        let mut board = IdfBoard::new(self.url.as_str(), image);
        board.mode = match self.mode.as_str() {
            "partial" => Mode::Partial(self.range_size),
            "resume" => Mode::Resume,
            _ => Mode::Plain,
        };
        board.every = Duration::from_secs_f64(self.every);
        board.compares = !self.blindly;
        board.tls = self.trust.tls();
        board.chip = self.chip;
        board.flash_folder = args.flash_dir.clone();
        board.time_scale = args.time_scale;
        board.faults = args.fault.clone();
        let events = args.events("idf");
        run(console, args, events, |events, stop| {
            idf::run(board, events, stop)
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
