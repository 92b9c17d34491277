//! `safeport simulate image`: firmware files for pretend boards.

use std::path::PathBuf;

use clap::Args;
use safeport_sim::image::{Behaviour, ImageChip, ImageFamily, ImageSpec, Spoilt, Variant, build};

use crate::console::{Console, Failure};
use crate::say;

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageArgs {
    /// tasmota, espeasy, esphome, xiaozhi or idf
    #[arg(long)]
    family: ImageFamily,
    /// esp8266, esp32, esp32c3, esp32s3 …
    #[arg(long, default_value = "esp32c3")]
    chip: ImageChip,
    /// Version that the board reports once it runs this file
    #[arg(long)]
    version: String,
    /// main, safeboot or minimal
    #[arg(long, default_value = "main")]
    variant: Variant,
    /// Image tag, such as release-tasmota32c3. Default: the family's usual one
    #[arg(long)]
    tag: Option<String>,
    /// Project name in the descriptor. Default: the family's usual one
    #[arg(long)]
    project: Option<String>,
    /// It cannot speak MQTT over TLS
    #[arg(long)]
    no_tls: bool,
    /// Length in bytes, at least
    #[arg(long, default_value_t = 65_536, value_parser = size)]
    size: usize,
    /// Packed by gzip, for the ESP8266
    #[arg(long)]
    gzip: bool,
    /// good, crash (restarts by itself), mute (never finds the network) or unconfirmed
    #[arg(long, default_value = "good")]
    behaves: Behaviour,
    /// What is wrong with it: truncated, checksum, hash, html, elf, factory, bootloader, encrypted
    #[arg(long)]
    spoil: Option<Spoilt>,
    /// Any number; two files that differ in nothing else differ in their hashes
    #[arg(long, default_value_t = 0)]
    salt: u64,
    /// Where to write it. A folder gets the name that the family's own build would give the file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 4096..=16_777_216) => Ok(size),
        _ => Err("give 4096 to 16777216 bytes".to_owned()),
    }
}

impl ImageArgs {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let mut spec = ImageSpec::new(self.family, self.chip, self.version.as_str());
        spec.variant = self.variant;
        spec.tag = self.tag.clone();
        spec.project = self.project.clone();
        spec.tls &= !self.no_tls;
        spec.size = self.size;
        spec.gzip = self.gzip;
        spec.behaviour = self.behaves;
        spec.spoilt = self.spoil;
        spec.salt = self.salt;
        let image = build(&spec);
        let path = if self.output.is_dir() {
            self.output.join(spec.file_name())
        } else {
            self.output.clone()
        };
        std::fs::write(&path, &image).map_err(|error| {
            Failure::new(say!(&console.texts, "simulate-failed"))
                .detail(format!("{}: {error}", path.display()))
        })?;
        if console.json {
            return console.json(&serde_json::json!({
                "file": path.display().to_string(),
                "size": image.len(),
            }));
        }
        console.data(&format!("{}", path.display()))
    }
}
