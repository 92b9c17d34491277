//! From "this release for that device" to a plan, or to the reason why not.
//!
//! A release is a set of images. Which of them a device gets follows from what is known of it:
//! family, chip, layout, build. Nothing is sent here, and nothing is asked.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::image::{Image, Kind, Misfit, Target, Warning, fits};
use crate::upgrade::{Adapter, Identity, Named, Part, Plan, Planned, Step};
use crate::{Chip, Family, Installed, Layout, Member, Slot, limits, version};

/// How much a device's safeboot matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Safeboot {
    /// `Ensure` for devices that come over TLS, `Off` for others.
    #[default]
    Auto,
    /// At least as new as the one in the release, or as the main image.
    Ensure,
    /// Not looked at.
    Off,
}

/// What a person or a setting decides about an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Install even what the device reports already.
    pub reinstall: bool,
    /// What about the safeboot. Default [`Safeboot::Auto`].
    pub safeboot: Safeboot,
    /// Save the device's settings first. Default true.
    pub backup: bool,
    /// How long the device has to stay healthy, in seconds. Default 600.
    pub soak: u64,
    /// How long the device is waited for until it is told again, in seconds. Default 60.
    pub patience: u64,
    /// How long the offer stands, in seconds. Default 7 days.
    pub lifetime: u64,
    /// How much of an address comes before `/ota/`, in characters, where it is known: to see
    /// whether a Tasmota can store the whole.
    pub base_length: Option<usize>,
    /// An `OtaUrl` that an earlier offer read and could not give back.
    pub own_ota_url: Option<String>,
    /// Randomness for the jitter of retries.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            reinstall: false,
            safeboot: Safeboot::Auto,
            backup: true,
            soak: 600,
            patience: 60,
            lifetime: 7 * 86_400,
            base_length: None,
            own_ota_url: None,
            seed: 1,
        }
    }
}

/// Why a device is not offered something. Says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The one image that might have been meant does not fit.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// None of several images is for this device.
    #[error("none of the release's {count} images is for this device; the nearest: {nearest}")]
    NoImage {
        /// How many there are.
        count: usize,
        /// Why the nearest is not.
        nearest: Misfit,
    },
    /// Several images would do.
    #[error(
        "several images fit this device ({names}): offer one of them, or make a release with one for each kind of device"
    )]
    Ambiguous {
        /// Their file names.
        names: String,
    },
    /// There is no image at all.
    #[error(
        "the release holds no image: make it anew with `safeport firmware release NAME IMAGE …`"
    )]
    Empty,
    /// The device runs it already.
    #[error(
        "the device runs {version} already; to install it once more, offer it with --reinstall"
    )]
    AlreadyInstalled {
        /// What it runs.
        version: String,
    },
    /// xiaozhi compares versions by itself.
    #[error(
        "the device runs version {version} too, and xiaozhi installs nothing of its own version: build the image with a higher one"
    )]
    SameVersion {
        /// What it runs.
        version: String,
    },
    /// A TLS device whose safeboot is older or not known, and no safeboot image.
    #[error(
        "the device comes over TLS, and its safeboot ({known}) may be too old for that: put the safeboot image for {chip} into the release too, or offer it with --safeboot off"
    )]
    SafebootMissing {
        /// Its version, or that it is unknown.
        known: String,
        /// Which one is missing.
        chip: Chip,
    },
    /// The safeboot image cannot do what the device needs.
    #[error(
        "{file} is built without MQTT over TLS, and this device comes over TLS: after its first restart into that safeboot nobody would hear of it again. Take a safeboot built with TLS, or let the device use the plain listener"
    )]
    SafebootWithoutTls {
        /// Which one.
        file: String,
    },
    /// Nobody could bring the device back.
    #[error(
        "whether {file} can do MQTT over TLS cannot be told, and the device's own page, which would bring it back, is not known: give it with `safeport device set NAME --web HOST:PORT`, or offer it with --safeboot off"
    )]
    SafebootUnprovable {
        /// Which one.
        file: String,
    },
    /// A small ESP8266 has no room for two.
    #[error(
        "this ESP8266 has {flash} bytes of flash, too few to hold two images: put tasmota-minimal.bin into the release too"
    )]
    MinimalMissing {
        /// Its flash, in bytes.
        flash: u64,
    },
    /// Too old for one leap.
    #[error(
        "from {from} Tasmota goes by way of {hop}: put that image into the release too, under a file name with its version (tasmota-{hop}.bin)"
    )]
    HopMissing {
        /// What runs.
        from: String,
        /// What has to come between.
        hop: String,
    },
    /// The device could not store it.
    #[error(
        "the address of the image would have {length} characters, and Tasmota stores {limit}: advertise a shorter name or an IP address"
    )]
    UrlTooLong {
        /// Its length.
        length: usize,
        /// How much fits.
        limit: usize,
    },
    /// Assets go another way.
    #[error(
        "assets go to a xiaozhi device through its voice session, not by an offer of firmware: offer the application image"
    )]
    Assets,
}

impl Refusal {
    /// The word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Misfit(misfit) => misfit.code(),
            Refusal::NoImage { .. } => "no-image",
            Refusal::Ambiguous { .. } => "ambiguous",
            Refusal::Empty => "empty-release",
            Refusal::AlreadyInstalled { .. } => "already-installed",
            Refusal::SameVersion { .. } => "same-version",
            Refusal::SafebootMissing { .. } => "safeboot-missing",
            Refusal::SafebootWithoutTls { .. } => "safeboot-without-tls",
            Refusal::SafebootUnprovable { .. } => "safeboot-unprovable",
            Refusal::MinimalMissing { .. } => "minimal-missing",
            Refusal::HopMissing { .. } => "hop-missing",
            Refusal::UrlTooLong { .. } => "url-too-long",
            Refusal::Assets => "assets",
        }
    }
}

/// The classes by which a release's images are listed: `tasmota/esp32c3/safeboot`. Unknown parts
/// are `any`.
pub fn class(image: &Image) -> String {
    let family = image.family.map_or("any", Family::as_str);
    let chip = image.chip.map_or("any", Chip::as_str);
    let kind = image.kind.as_str();
    match &image.variant {
        Some(variant) if image.kind == Kind::App => format!("{family}/{chip}/{kind}/{variant}"),
        _ => format!("{family}/{chip}/{kind}"),
    }
}

/// The version of what a device runs, in the form that its images have it. ESPEasy's reported build
/// is a number of another kind; the day is in the name of its file.
pub fn version_of(installed: &Installed) -> Option<&str> {
    let named = installed.variant.as_deref();
    let day = named
        .and_then(|name| name.strip_prefix("ESP_Easy_mega_"))
        .map(|rest| rest.split_once('_').map_or(rest, |(day, _)| day));
    day.or(installed.version.as_deref())
}

/// What is to be done with `member` so that it runs what `images` hold for it.
///
/// # Errors
/// Why nothing is, with the way out.
pub fn plan(
    member: &Member,
    images: &[Image],
    options: &Options,
    now: u64,
) -> Result<(Plan, Vec<Warning>), Refusal> {
    Planner {
        member,
        images,
        options,
    }
    .plan(now)
}

/// Tasmota's stations, oldest first: from below one of them to it, and no further in one leap.
const HOPS: [&str; 7] = [
    "3.9.22", "4.2.0", "5.14.0", "6.7.1", "7.2.0", "8.5.1", "9.1.0",
];
/// An ESP8266 with this much flash or less has no room for two images.
const SMALL_FLASH: u64 = 1024 * 1024;
/// A packed image of this size still fits beside a running one there.
const FITS_BESIDE: u64 = 340 * 1024;
/// `/ota/`, a token and a `/`.
const FOLDER: usize = 5 + 20 + 1;

struct Planner<'a> {
    member: &'a Member,
    images: &'a [Image],
    options: &'a Options,
}

impl Planner<'_> {
    fn plan(&self, now: u64) -> Result<(Plan, Vec<Warning>), Refusal> {
        let member = self.member;
        let family = member.family().ok_or(Misfit::FamilyUnknown)?;
        if self.images.is_empty() {
            return Err(Refusal::Empty);
        }
        if self.images.iter().all(|image| image.kind == Kind::Assets) {
            return Err(Refusal::Assets);
        }
        let adapter = self.adapter(family);
        let over_tls = member.facts.tls == Some(true);
        let web = member.web().is_some();
        let mut warnings = Vec::new();
        let mut steps = Vec::new();
        let mut prove = false;

        if adapter == Adapter::TasmotaSafeboot
            && let Some(image) = self.safeboot(over_tls, web, &mut warnings)?
        {
            prove = over_tls && web;
            steps.push(self.step(adapter, Part::Safeboot, image));
        }
        let only_safeboot = self.images.iter().all(|image| image.kind == Kind::Safeboot);
        let mut downgrade = false;
        if !only_safeboot {
            let main = self.pick(Slot::Main, &mut warnings)?;
            if self.runs(main, Slot::Main) && !self.options.reinstall {
                let version = main.version.clone().unwrap_or_default();
                if steps.is_empty() {
                    return Err(match family {
                        Family::Xiaozhi => Refusal::SameVersion { version },
                        _ => Refusal::AlreadyInstalled { version },
                    });
                }
            } else {
                for hop in self.hops(family, main, &mut warnings)? {
                    steps.push(self.step(adapter, Part::Main, hop));
                }
                self.room_for_two(family, main)?;
                steps.push(self.step(adapter, Part::Main, main));
                downgrade = warnings
                    .iter()
                    .any(|warning| matches!(warning, Warning::Older { .. }));
            }
        } else if steps.is_empty() {
            let version = self.version(Slot::Safeboot).unwrap_or_default().to_string();
            return Err(Refusal::AlreadyInstalled { version });
        }
        if adapter.is_tasmota()
            && let Some(base) = self.options.base_length
        {
            let name = steps.iter().map(|step: &Step| step.told_name.len()).max();
            let length = base + FOLDER + name.unwrap_or(0);
            if length > limits::MAX_OTA_URL {
                return Err(Refusal::UrlTooLong {
                    length,
                    limit: limits::MAX_OTA_URL,
                });
            }
        }
        let plan = Plan {
            adapter,
            steps,
            over_tls,
            web,
            prove_safeboot: prove,
            backup: self.options.backup && matches!(family, Family::Tasmota | Family::EspEasy),
            may_upload: true,
            online: member.is_online(),
            running: self.running(Slot::Main),
            own_ota_url: self.options.own_ota_url.clone(),
            reinstall: self.options.reinstall,
            downgrade,
            soak: self.options.soak,
            patience: self.options.patience,
            expires_at: now + self.options.lifetime,
            seed: self.options.seed,
        };
        Ok((plan, warnings))
    }

    fn adapter(&self, family: Family) -> Adapter {
        match family {
            Family::Tasmota => {
                let esp32 = self.member.chip().is_some_and(Chip::is_esp32);
                // An unknown layout is taken for the usual one: the answer to `Upgrade 2` tells,
                // and `Upgrade 1` is right for both.
                if esp32 && !matches!(self.member.layout(), Some(Layout::Dual)) {
                    Adapter::TasmotaSafeboot
                } else {
                    Adapter::TasmotaDirect
                }
            }
            Family::EspEasy => Adapter::EspEasy,
            Family::EspHome => Adapter::EspHome,
            Family::Xiaozhi => Adapter::Xiaozhi,
            Family::Plain => Adapter::Idf,
        }
    }

    /// The safeboot image to write first, if one has to be.
    fn safeboot(
        &self,
        over_tls: bool,
        web: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<&Image>, Refusal> {
        let only_safeboot = self.images.iter().all(|image| image.kind == Kind::Safeboot);
        let ensure = match self.options.safeboot {
            Safeboot::Auto => over_tls,
            Safeboot::Ensure => true,
            Safeboot::Off => false,
        };
        if !ensure && !only_safeboot {
            return Ok(None);
        }
        let has_one = self.images.iter().any(|image| image.kind == Kind::Safeboot);
        let known = self.version(Slot::Safeboot);
        if !has_one {
            // The main image that is offered says how new the safeboot should be.
            let main = self.pick(Slot::Main, &mut Vec::new())?;
            let wanted = main.version.as_deref();
            if self.is_new_enough(known, wanted) {
                return Ok(None);
            }
            return Err(Refusal::SafebootMissing {
                known: known.unwrap_or("version unknown").to_string(),
                chip: main.chip.unwrap_or(Chip::Esp32),
            });
        }
        let image = self.pick(Slot::Safeboot, warnings)?;
        let same = self.runs(image, Slot::Safeboot);
        if !self.options.reinstall && (same || self.is_new_enough(known, image.version.as_deref()))
        {
            return Ok(None);
        }
        if over_tls && image.tls == Some(false) {
            return Err(Refusal::SafebootWithoutTls {
                file: image.file_name.clone(),
            });
        }
        if over_tls && image.tls.is_none() && !web {
            return Err(Refusal::SafebootUnprovable {
                file: image.file_name.clone(),
            });
        }
        Ok(Some(image))
    }

    fn is_new_enough(&self, known: Option<&str>, wanted: Option<&str>) -> bool {
        let (Some(known), Some(wanted)) = (known, wanted) else {
            return false;
        };
        matches!(
            version::compare(Family::Tasmota, known, wanted),
            Some(Ordering::Equal | Ordering::Greater)
        )
    }

    /// The image for a slot: the one that fits, of several the one of the same build.
    fn pick(&self, slot: Slot, warnings: &mut Vec<Warning>) -> Result<&Image, Refusal> {
        let target = self.target(slot);
        let meant: Vec<&Image> = self
            .images
            .iter()
            .filter(|image| match slot {
                Slot::Safeboot => image.kind == Kind::Safeboot,
                Slot::Minimal => image.kind == Kind::Minimal,
                Slot::Main | Slot::Assets => {
                    !matches!(image.kind, Kind::Safeboot | Kind::Minimal | Kind::Assets)
                }
            })
            .collect();
        let mut fitting: Vec<(&Image, Vec<Warning>)> = Vec::new();
        let mut misfits = Vec::new();
        for image in &meant {
            match fits(image, &target) {
                Ok(warnings) => fitting.push((image, warnings)),
                Err(Misfit::AlreadyInstalled) => fitting.push((image, Vec::new())),
                Err(misfit) => misfits.push((image.chip == target.chip, misfit)),
            }
        }
        if fitting.is_empty() {
            // Of the right chip first: that misfit says more.
            misfits.sort_by_key(|(same_chip, _)| !same_chip);
            let count = misfits.len();
            let Some((_, nearest)) = misfits.into_iter().next() else {
                // A release of safeboots alone, asked for a main image.
                return Err(Refusal::Empty);
            };
            return Err(match count {
                1 => Refusal::Misfit(nearest),
                count => Refusal::NoImage { count, nearest },
            });
        }
        if slot == Slot::Main && fitting.len() > 1 {
            self.narrow(&mut fitting);
        }
        let (image, found) = fitting.remove(0);
        if !fitting.is_empty() {
            let names = fitting.iter().map(|(other, _)| other.file_name.as_str());
            let mut all = vec![image.file_name.as_str()];
            all.extend(names);
            return Err(Refusal::Ambiguous {
                names: all.join(", "),
            });
        }
        warnings.extend(found);
        Ok(image)
    }

    /// Of several that would start on this device: the newest, of the build that it runs now, and
    /// packed where the device unpacks.
    fn narrow(&self, fitting: &mut Vec<(&Image, Vec<Warning>)>) {
        let Some(family) = self.member.family() else {
            return;
        };
        let newest = fitting
            .iter()
            .filter_map(|(image, _)| image.version.as_deref())
            .reduce(|one, other| match version::compare(family, one, other) {
                Some(Ordering::Less) => other,
                _ => one,
            })
            .map(str::to_string);
        if newest.is_some() {
            fitting.retain(|(image, _)| image.version == newest);
        }
        let runs = self
            .member
            .facts
            .image(Slot::Main)
            .and_then(|installed| installed.variant.as_deref());
        let alike = |image: &Image| match (&image.variant, runs) {
            (Some(variant), Some(runs)) => runs
                .trim_start_matches("release-")
                .ends_with(variant.as_str()),
            (None, Some(runs)) => runs.trim_start_matches("release-").starts_with("tasmota"),
            _ => false,
        };
        if fitting.iter().any(|(image, _)| alike(image)) {
            fitting.retain(|(image, _)| alike(image));
        }
        if fitting.iter().any(|(image, _)| image.gzip.is_some()) {
            fitting.retain(|(image, _)| image.gzip.is_some());
        }
    }

    /// Old Tasmotas go from station to station; the images of those between here and `main`.
    fn hops(
        &self,
        family: Family,
        main: &Image,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<&Image>, Refusal> {
        let mut hops = Vec::new();
        let (Family::Tasmota, Some(from), Some(to)) =
            (family, self.version(Slot::Main), main.version.as_deref())
        else {
            return Ok(hops);
        };
        let below =
            |one: &str, other: &str| version::compare(family, one, other) == Some(Ordering::Less);
        for hop in HOPS {
            if !below(from, hop) || !below(hop, to) {
                continue;
            }
            let found = self.images.iter().find(|image| {
                image.kind == Kind::App
                    && image.chip == main.chip
                    && image.version.as_deref().is_some_and(|version| {
                        version::compare(family, version, hop) == Some(Ordering::Equal)
                    })
            });
            let Some(image) = found else {
                return Err(Refusal::HopMissing {
                    from: from.to_string(),
                    hop: hop.to_string(),
                });
            };
            let target = self.target(Slot::Main);
            warnings.extend(fits(image, &target)?);
            hops.push(image);
        }
        Ok(hops)
    }

    fn room_for_two(&self, family: Family, main: &Image) -> Result<(), Refusal> {
        let small = self.member.chip() == Some(Chip::Esp8266)
            && family == Family::Tasmota
            && main.size > FITS_BESIDE;
        let has_minimal = self.images.iter().any(|image| image.kind == Kind::Minimal);
        match self.member.flash_size() {
            Some(flash) if small && !has_minimal && u64::from(flash) <= SMALL_FLASH => {
                Err(Refusal::MinimalMissing {
                    flash: u64::from(flash),
                })
            }
            _ => Ok(()),
        }
    }

    fn target(&self, slot: Slot) -> Target {
        let member = self.member;
        let installed = member.facts.image(slot);
        let mut target = Target {
            family: member.family(),
            chip: member.chip(),
            chip_rev: member.facts.chip_rev,
            single_core: member.facts.single_core,
            slot: Some(slot),
            slot_size: member.room(slot).map(u64::from),
            flash_size: member.flash_size().map(u64::from),
            layout: member.layout(),
            has_assets: member.room(Slot::Assets).map(|bytes| bytes > 0),
            version: installed.and_then(version_of).map(str::to_string),
            variant: installed.and_then(|image| Some(image.variant.as_deref()?.to_string())),
            running_sha256: installed.and_then(|image| image.elf_sha256.or(image.sha256)),
            running_md5: installed.and_then(|image| image.md5),
        };
        if self.options.reinstall {
            target.running_sha256 = None;
            target.running_md5 = None;
        }
        if target.family == Some(Family::Tasmota)
            && target.chip.is_some_and(Chip::is_esp32)
            && target.layout.is_none()
        {
            // See `adapter`: the device itself tells when it is asked for its safeboot.
            target.layout = Some(Layout::Safeboot);
        }
        target
    }

    fn version(&self, slot: Slot) -> Option<&str> {
        version_of(self.member.facts.image(slot)?)
    }

    fn running(&self, slot: Slot) -> Identity {
        let Some(installed) = self.member.facts.image(slot) else {
            return Identity::default();
        };
        Identity {
            version: version_of(installed).map(str::to_string),
            build: installed.built.as_deref().map(str::to_string),
            variant: None,
            hash: installed.elf_sha256.as_ref().map(hex),
        }
    }

    fn runs(&self, image: &Image, slot: Slot) -> bool {
        if fits(image, &self.target(slot)) == Err(Misfit::AlreadyInstalled) {
            return true;
        }
        let family = self.member.family();
        let (Some(family), Some(runs), Some(version)) =
            (family, self.version(slot), image.version.as_deref())
        else {
            return false;
        };
        let told = self.member.facts.image(slot);
        if let (Some(elf), Some(told)) = (image.elf_sha256, told.and_then(|told| told.elf_sha256))
            && family != Family::Xiaozhi
        {
            return elf == told;
        }
        match version::compare(family, version, runs) {
            Some(order) => order == Ordering::Equal,
            None => version == runs,
        }
    }

    fn step(&self, adapter: Adapter, part: Part, image: &Image) -> Step {
        let sha256 = hex(&image.sha256);
        let named = |name: String, sha256: &str| Named {
            name,
            sha256: sha256.to_string(),
        };
        let chip = image.chip.or(self.member.chip());
        let told_name = match adapter {
            Adapter::TasmotaSafeboot | Adapter::TasmotaDirect => match chip {
                Some(chip) if chip.is_esp32() => {
                    let tail = chip.as_str().trim_start_matches("esp32");
                    format!("tasmota32{tail}.bin")
                }
                _ if image.gzip.is_some() => "tasmota.bin.gz".to_string(),
                _ => "tasmota.bin".to_string(),
            },
            Adapter::EspHome => "firmware.ota.bin".to_string(),
            Adapter::EspEasy | Adapter::Xiaozhi | Adapter::Idf => "firmware.bin".to_string(),
        };
        let mut files = Vec::new();
        match (adapter.is_tasmota(), part) {
            // The device asks for a name that it makes itself, from all before the first `-` or `.`.
            (true, Part::Safeboot) => {
                let stem = told_name.trim_end_matches(".bin");
                files.push(named(format!("{stem}-safeboot.bin"), &sha256));
            }
            (true, Part::Main) => {
                files.push(named(told_name.clone(), &sha256));
                if chip == Some(Chip::Esp8266) {
                    // Its last try appends `.gz`, whatever it was told.
                    if !told_name.ends_with(".gz") {
                        files.push(named(format!("{told_name}.gz"), &sha256));
                    }
                    if let Ok(minimal) = self.pick(Slot::Minimal, &mut Vec::new()) {
                        let minimal = hex(&minimal.sha256);
                        files.push(named("tasmota-minimal.bin".to_string(), &minimal));
                        files.push(named("tasmota-minimal.bin.gz".to_string(), &minimal));
                    }
                }
            }
            (false, _) => files.push(named(told_name.clone(), &sha256)),
        }
        let is_xiaozhi = adapter == Adapter::Xiaozhi;
        Step {
            part,
            image: Planned {
                sha256,
                md5: hex(&image.md5),
                size: image.size,
                identity: Identity {
                    version: image.version.clone(),
                    build: None,
                    variant: None,
                    // Only xiaozhi reports it of what it runs.
                    hash: image.elf_sha256.as_ref().filter(|_| is_xiaozhi).map(hex),
                },
            },
            told_name,
            files,
        }
    }
}

/// Lower-case hexadecimal.
fn hex<const N: usize>(bytes: &[u8; N]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
