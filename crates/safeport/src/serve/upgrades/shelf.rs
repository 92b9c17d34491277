//! What lies in the download folders: one folder for each step of an offer, and one for each
//! enrolled device that fetches by itself.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use safeport_fleet::{
    Confidence, Facts, Family, Identity, Installed, MacAddress, MemberId, Proof, Sighting, Slot,
    Source,
};
use safeport_store::{BlobHash, DownloadUse};

use super::Upgrades;
use super::view::OfferId;
use crate::serve::access::unix_now;
use crate::serve::http::download::{Asked, Content, End, NotServed, Sent, Served, Ticket};

/// From so many downloads on, those that were asked for and never begun are looked for.
const TICKETS: usize = 1024;
/// A download begins sooner than this, or not at all (its turn came too late, its range began
/// behind the end, its client went).
const NEVER_BEGUN: Duration = Duration::from_secs(60);

/// Bytes of a version that is believed; Tasmota's has about 30.
const VERSION_BYTES: usize = 100;

/// So many ranges of one file are remembered whose predecessor is not known to have arrived.
const AHEAD: usize = 64;

/// A folder of one step.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub offer: OfferId,
    pub member: MemberId,
    pub step: usize,
    pub files: HashMap<String, Arc<Shelved>>,
}

/// A file that lies ready.
#[derive(Debug)]
pub(super) struct Shelved {
    pub file: Arc<File>,
    pub length: u64,
    pub hash: BlobHash,
    pub md5: Option<[u8; 16]>,
    /// It is Tasmota's `-minimal`.
    pub minimal: bool,
}

/// What a device that fetches by itself finds below its token.
#[derive(Debug, Clone)]
pub(super) struct DeviceFolder {
    /// Whether the offer still counts what is fetched.
    pub offer: Option<OfferId>,
    pub member: MemberId,
    pub family: Family,
    pub step: usize,
    pub image: Arc<Shelved>,
    /// For ESPHome; the image's name in it is relative.
    pub manifest: Option<axum::body::Bytes>,
}

/// A download on its way.
struct Going {
    token: String,
    file: String,
    offer: Option<OfferId>,
    step: usize,
    minimal: bool,
    length: u64,
    /// How far the file is known to be over there, over all ranges.
    reach: u64,
    counted: u64,
    /// When it was asked for.
    asked: Instant,
    /// Whether any of it was sent: of what is refused afterwards nobody hears again.
    begun: bool,
}

/// How much of a file is over there without a gap.
#[derive(Debug, Default)]
struct Reach {
    bytes: u64,
    /// Ranges behind a gap: each may come over a connection of its own, and the ends of those are
    /// told in any order.
    ahead: Vec<(Ticket, u64, u64)>,
}

impl Reach {
    /// From the beginning: what was there before does not count any more.
    fn begin(&mut self, ticket: Ticket) {
        self.bytes = 0;
        self.ahead.retain(|(each, ..)| each.0 > ticket.0);
    }

    fn add(&mut self, ticket: Ticket, start: u64, end: u64) {
        if start > self.bytes {
            self.ahead.retain(|(each, ..)| *each != ticket);
            if self.ahead.len() < AHEAD {
                self.ahead.push((ticket, start, end));
            }
            return;
        }
        self.bytes = self.bytes.max(end);
        while let Some(at) = self
            .ahead
            .iter()
            .position(|(_, start, _)| *start <= self.bytes)
        {
            self.bytes = self.bytes.max(self.ahead.swap_remove(at).2);
        }
    }
}

/// News of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    pub offer: OfferId,
    pub step: usize,
    pub minimal: bool,
    pub bytes: u64,
    pub total: u64,
    pub ended: bool,
}

#[derive(Default)]
pub(super) struct Folders {
    attempts: RwLock<HashMap<String, Folder>>,
    /// Token of a device to its name.
    devices: RwLock<HashMap<String, String>>,
    /// What lies there, by the device's name.
    device_folders: RwLock<HashMap<String, DeviceFolder>>,
    going: Mutex<HashMap<Ticket, Going>>,
    /// How far ranges of one file below one token have come, since each range is a download.
    reached: Mutex<HashMap<(String, String), Reach>>,
    next_ticket: AtomicU64,
    uses: Mutex<Vec<DownloadUse>>,
}

impl Folders {
    pub(super) fn put(&self, token: String, folder: Folder) {
        write(&self.attempts).insert(token, folder);
    }

    /// Takes the folder of a step away; its tokens.
    pub(super) fn take(&self, offer: OfferId, step: Option<usize>) -> Vec<String> {
        let mut attempts = write(&self.attempts);
        let tokens: Vec<String> = attempts
            .iter()
            .filter(|(_, folder)| {
                folder.offer == offer && step.is_none_or(|step| folder.step == step)
            })
            .map(|(token, _)| token.clone())
            .collect();
        for token in &tokens {
            attempts.remove(token);
        }
        drop(attempts);
        lock(&self.reached).retain(|(token, _), _| !tokens.contains(token));
        tokens
    }

    pub(super) fn token_of(&self, offer: OfferId, step: usize) -> Option<String> {
        read(&self.attempts)
            .iter()
            .find(|(_, folder)| folder.offer == offer && folder.step == step)
            .map(|(token, _)| token.clone())
    }

    pub(super) fn set_devices(&self, tokens: HashMap<String, String>) {
        *write(&self.devices) = tokens;
    }

    pub(super) fn add_device(&self, token: String, device: String) {
        write(&self.devices).insert(token, device);
    }

    pub(super) fn device_token(&self, device: &str) -> Option<String> {
        read(&self.devices)
            .iter()
            .find(|(_, name)| *name == device)
            .map(|(token, _)| token.clone())
    }

    pub(super) fn put_for_device(&self, device: String, folder: DeviceFolder) {
        write(&self.device_folders).insert(device, folder);
    }

    /// The offer is over: with `keep`, what it brought stays there to be compared with.
    pub(super) fn end_for_device(&self, offer: OfferId, keep: bool) {
        let mut folders = write(&self.device_folders);
        folders.retain(|_, folder| {
            if folder.offer != Some(offer) {
                return true;
            }
            folder.offer = None;
            keep
        });
    }

    /// The device is not enrolled any more: nothing lies at its address, and whoever has its name
    /// next gets another one.
    pub(super) fn forget_device(&self, device: &str) {
        write(&self.devices).retain(|_, name| name != device);
        write(&self.device_folders).remove(device);
    }

    /// The device has another token from now on; what lies in its folder stays.
    pub(super) fn renew_device(&self, device: &str, token: Option<String>) {
        let mut devices = write(&self.devices);
        devices.retain(|_, name| name != device);
        devices.extend(token.map(|token| (token, device.to_owned())));
    }

    /// Use of tokens since the last call, for the registry.
    pub(super) fn take_uses(&self) -> Vec<DownloadUse> {
        std::mem::take(&mut lock(&self.uses))
    }

    /// The offer whose manifest this is.
    pub(super) fn manifest_of(&self, asked: &Asked<'_>) -> Option<OfferId> {
        if asked.file != "manifest.json" || asked.is_head {
            return None;
        }
        let device = read(&self.devices).get(asked.token).cloned()?;
        read(&self.device_folders).get(&device)?.offer
    }

    /// The file, and what the request itself says about the device.
    pub(super) fn find(
        &self,
        asked: &Asked<'_>,
        may_fetch: impl Fn(OfferId, usize) -> bool,
    ) -> Result<(Served, Option<Sighting>), NotServed> {
        if asked.token.starts_with('d') {
            return self.find_for_device(asked);
        }
        let folder = read(&self.attempts).get(asked.token).cloned();
        let Some(folder) = folder else {
            return Err(NotServed {
                status: 404,
                why: "nobody was given this address, or what was offered there is over; offer it again"
                    .to_owned(),
            });
        };
        let Some(shelved) = folder.files.get(asked.file) else {
            let mut names: Vec<&str> = folder.files.keys().map(String::as_str).collect();
            names.sort_unstable();
            return Err(NotServed {
                status: 404,
                why: format!("here lies {}, and nothing else", names.join(", ")),
            });
        };
        if !may_fetch(folder.offer, folder.step) {
            return Err(NotServed {
                status: 404,
                why: "it is not the turn of this file".to_owned(),
            });
        }
        let ticket = self.ticket(asked, Some(folder.offer), folder.step, shelved);
        Ok((
            shelved.served(ticket, "application/octet-stream"),
            sighting(asked, folder.member),
        ))
    }

    fn find_for_device(&self, asked: &Asked<'_>) -> Result<(Served, Option<Sighting>), NotServed> {
        let Some(device) = read(&self.devices).get(asked.token).cloned() else {
            return Err(NotServed {
                status: 404,
                why: "no device has this address; see `safeport device show NAME`".to_owned(),
            });
        };
        let folder = read(&self.device_folders).get(&device).cloned();
        let Some(folder) = folder else {
            return Err(NotServed {
                status: 404,
                why: format!("nothing new for {device}"),
            });
        };
        let seen = sighting(asked, folder.member);
        match (asked.file, &folder.manifest) {
            ("manifest.json", Some(manifest)) => {
                let served = Served {
                    content: Content::Bytes(manifest.clone()),
                    length: manifest.len() as u64,
                    md5: None,
                    sha256: None,
                    content_type: "application/json",
                    ticket: Ticket(u64::MAX),
                };
                Ok((served, seen))
            }
            // An ESP-IDF device that compares nothing would install it for ever.
            ("firmware.bin" | "firmware.ota.bin", _)
                if folder.offer.is_some() || folder.family == Family::EspHome =>
            {
                let ticket = self.ticket(asked, folder.offer, folder.step, &folder.image);
                Ok((
                    folder.image.served(ticket, "application/octet-stream"),
                    seen,
                ))
            }
            ("firmware.bin" | "firmware.ota.bin", _) => Err(NotServed {
                status: 404,
                why: format!("{device} has what lies here already"),
            }),
            _ => Err(NotServed {
                status: 404,
                why: "here lie firmware.bin and, for ESPHome, manifest.json and firmware.ota.bin"
                    .to_owned(),
            }),
        }
    }

    fn ticket(
        &self,
        asked: &Asked<'_>,
        offer: Option<OfferId>,
        step: usize,
        shelved: &Shelved,
    ) -> Ticket {
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        if asked.is_head {
            return ticket;
        }
        let now = Instant::now();
        let mut going = lock(&self.going);
        if going.len() >= TICKETS {
            going.retain(|_, going| going.begun || now.duration_since(going.asked) < NEVER_BEGUN);
        }
        going.insert(
            ticket,
            Going {
                token: asked.token.to_owned(),
                file: asked.file.to_owned(),
                offer,
                step,
                minimal: shelved.minimal,
                length: shelved.length,
                reach: 0,
                counted: 0,
                asked: now,
                begun: false,
            },
        );
        ticket
    }

    /// A download below a token that was taken away meanwhile leaves nothing behind.
    fn forget_reach(&self, download: &Going) {
        let is_known = match download.token.starts_with('d') {
            true => read(&self.devices).contains_key(&download.token),
            false => read(&self.attempts).contains_key(&download.token),
        };
        if !is_known {
            lock(&self.reached).retain(|(token, _), _| *token != download.token);
        }
    }

    /// How far a download is; what of it an offer has to know.
    pub(super) fn progress(&self, ticket: Ticket, sent: Sent) -> Option<Progress> {
        let mut going = lock(&self.going);
        let download = going.get_mut(&ticket)?;
        download.begun = true;
        let place = (download.token.clone(), download.file.clone());
        let mut reached = lock(&self.reached);
        let reach = reached.entry(place).or_default();
        if sent.start == 0 && download.reach == 0 {
            reach.begin(ticket);
        }
        reach.add(ticket, sent.start, sent.start + sent.bytes);
        download.reach = reach.bytes.max(1);
        let mut bytes = reach.bytes;
        drop(reached);
        let ended = sent.ended.is_some();
        let whole_answer = sent.start == 0 && sent.of == download.length;
        let complete = sent.ended == Some(End::Complete) && bytes >= download.length;
        if ended && !complete && bytes >= download.length {
            // All was sent, but it closed the connection before it had read it.
            bytes = download.length - 1;
        }
        // A range is no end, and neither is our own stop.
        let is_over = complete || ended && whole_answer && sent.ended != Some(End::Stopping);
        let news = download.offer.map(|offer| Progress {
            offer,
            step: download.step,
            minimal: download.minimal,
            bytes,
            total: download.length,
            ended: is_over,
        });
        download.counted = sent.bytes;
        if ended && let Some(download) = going.remove(&ticket) {
            self.forget_reach(&download);
            lock(&self.uses).push(DownloadUse {
                token: download.token,
                file: download.file,
                gets: 1,
                bytes: download.counted,
                at: unix_now(),
            });
        }
        news
    }
}

impl Upgrades {
    /// The device was given another token.
    pub fn device_renewed(&self, device: &str) {
        let known = lock(&self.registry).device_token(device);
        let token = known.ok().flatten().map(|known| known.token);
        self.folders.renew_device(device, token);
    }

    /// The device is not enrolled any more.
    pub fn device_forgotten(&self, device: &str) {
        self.folders.forget_device(device);
    }
}

impl Shelved {
    fn served(&self, ticket: Ticket, content_type: &'static str) -> Served {
        Served {
            content: Content::File(self.file.clone()),
            length: self.length,
            md5: self.md5,
            sha256: Some(*self.hash.bytes()),
            content_type,
            ticket,
        }
    }
}

/// What the headers of a download tell: which image downloads, and so the version of a safeboot.
fn sighting(asked: &Asked<'_>, member: MemberId) -> Option<Sighting> {
    let header = |name: &str| {
        asked
            .header(&format!("x-esp32-{name}"))
            .or_else(|| asked.header(&format!("x-esp8266-{name}")))
    };
    let mut sighting = Sighting::new(unix_now(), Source::Download, Proof::Token(member))
        .from_peer(asked.peer.ip());
    if let Some(mac) = header("sta-mac").and_then(|mac| mac.parse::<MacAddress>().ok()) {
        sighting = sighting.with(Identity::Mac(mac));
    }
    let mut facts = Facts::default();
    if let Some(said) = header("version").filter(|said| said.len() <= VERSION_BYTES) {
        // `14.3.0(release-safeboot)`
        let (version, tag) = match said.split_once('(') {
            Some((version, tag)) => (version, Some(tag.trim_end_matches(')'))),
            None => (said, None),
        };
        let slot = match tag {
            Some(tag) if tag.ends_with("safeboot") => Slot::Safeboot,
            Some(tag) if tag.ends_with("minimal") => Slot::Minimal,
            _ => Slot::Main,
        };
        facts.family = Some(Family::Tasmota);
        facts.running = Some(slot);
        facts.images.push((
            slot,
            Installed {
                version: Some(version.trim().into()),
                variant: tag.map(Into::into),
                sha256: header("sketch-sha256").and_then(bytes),
                md5: header("sketch-md5").and_then(bytes),
                confidence: Confidence::Reported,
                at: sighting.at,
                ..Installed::default()
            },
        ));
    }
    if let Some(size) = header("chip-size").and_then(|size| size.parse().ok()) {
        facts.flash_size = Some(size);
    }
    sighting.facts = facts;
    Some(sighting)
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let hex = hex.trim();
    if hex.len() != 2 * N || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    const TOKEN: &str = "abcdefghijklmnopqrst";

    fn folders() -> Folders {
        let folders = Folders::default();
        let file = Arc::new(File::open("/dev/null").expect("a file"));
        let shelved = Arc::new(Shelved {
            file,
            length: 1000,
            hash: BlobHash::from([1; 32]),
            md5: Some([2; 16]),
            minimal: false,
        });
        folders.put(
            TOKEN.to_owned(),
            Folder {
                offer: OfferId(1),
                member: MemberId(2),
                step: 0,
                files: HashMap::from([("tasmota32-safeboot.bin".to_owned(), shelved)]),
            },
        );
        folders
    }

    fn asked<'a>(file: &'a str, headers: &'a [(String, String)]) -> Asked<'a> {
        Asked {
            token: TOKEN,
            file,
            headers,
            peer: SocketAddr::from(([10, 0, 0, 9], 4711)),
            tls: false,
            is_head: false,
        }
    }

    #[test]
    fn headers_of_a_download_tell_the_version_of_the_safeboot_that_downloads() {
        let headers = [
            ("X-ESP32-STA-MAC".to_owned(), "A0:B1:C2:3D:5E:26".to_owned()),
            (
                "x-ESP32-version".to_owned(),
                "14.3.0(release-safeboot)".to_owned(),
            ),
            ("x-ESP32-chip-size".to_owned(), "4194304".to_owned()),
        ];
        let (served, seen) = folders()
            .find(&asked("tasmota32-safeboot.bin", &headers), |_, _| true)
            .expect("a file");
        assert_eq!(served.length, 1000);
        let seen = seen.expect("a sighting");
        assert_eq!(seen.proof, Proof::Token(MemberId(2)));
        assert_eq!(seen.facts.running, Some(Slot::Safeboot));
        let installed = seen.facts.image(Slot::Safeboot).expect("known");
        assert_eq!(installed.version.as_deref(), Some("14.3.0"));
        assert_eq!(seen.facts.flash_size, Some(4_194_304));
    }

    #[test]
    fn a_version_that_is_a_novel_is_not_remembered() {
        let headers = [("x-ESP32-version".to_owned(), "1".repeat(8000))];
        let found = folders().find(&asked("tasmota32-safeboot.bin", &headers), |_, _| true);
        let seen = found.expect("a file").1.expect("a sighting");
        assert!(seen.facts.images.is_empty());
    }

    #[test]
    fn other_names_and_files_whose_turn_it_is_not_are_refused_with_words() {
        let folders = folders();
        let wrong = folders.find(&asked("tasmota32.bin", &[]), |_, _| true);
        let refused = wrong.expect_err("not there");
        assert_eq!(refused.status, 404);
        assert!(
            refused.why.contains("tasmota32-safeboot.bin"),
            "{refused:?}"
        );
        let early = folders.find(&asked("tasmota32-safeboot.bin", &[]), |_, _| false);
        assert_eq!(early.expect_err("not its turn").status, 404);
    }

    fn sent(start: u64, bytes: u64, of: u64, ended: Option<End>) -> Sent {
        Sent {
            start,
            bytes,
            of,
            ended,
        }
    }

    fn ticket(folders: &Folders) -> Ticket {
        let asked = asked("tasmota32-safeboot.bin", &[]);
        folders.find(&asked, |_, _| true).expect("a file").0.ticket
    }

    #[test]
    fn a_whole_answer_is_over_when_it_ends_and_complete_only_if_all_was_taken() {
        let folders = folders();
        let one = ticket(&folders);
        let news = folders
            .progress(one, sent(0, 400, 1000, None))
            .expect("news");
        assert_eq!((news.bytes, news.ended), (400, false));
        let news = folders
            .progress(one, sent(0, 1000, 1000, Some(End::Gone)))
            .expect("news");
        assert_eq!((news.bytes, news.ended), (999, true));
        let two = ticket(&folders);
        let news = folders
            .progress(two, sent(0, 1000, 1000, Some(End::Complete)))
            .expect("news");
        assert_eq!((news.bytes, news.ended), (1000, true));
        assert_eq!(folders.take_uses().len(), 2);
    }

    #[test]
    fn ranges_add_up_and_our_own_stop_is_no_end() {
        let folders = folders();
        let one = ticket(&folders);
        let news = folders.progress(one, sent(0, 500, 500, Some(End::Complete)));
        assert!(!news.expect("news").ended);
        let two = ticket(&folders);
        let news = folders.progress(two, sent(500, 100, 500, Some(End::Stopping)));
        assert!(!news.expect("news").ended);
        let three = ticket(&folders);
        let news = folders
            .progress(three, sent(600, 400, 400, Some(End::Complete)))
            .expect("news");
        assert_eq!((news.bytes, news.ended), (1000, true));
    }

    #[test]
    fn ranges_whose_ends_are_told_out_of_order_add_up() {
        let folders = folders();
        let parts = [0, 250, 500, 750].map(|start| (ticket(&folders), start));
        let mut last = None;
        for index in [1, 0, 3, 2] {
            let (ticket, start) = parts[index];
            last = folders.progress(ticket, sent(start, 250, 250, Some(End::Complete)));
        }
        let news = last.expect("news");
        assert_eq!((news.bytes, news.ended), (1000, true));
        // What an earlier round left behind a gap is not taken for the next one's.
        let (old, new) = (ticket(&folders), ticket(&folders));
        folders.progress(old, sent(2000, 250, 250, Some(End::Complete)));
        let news = folders.progress(new, sent(0, 250, 250, Some(End::Complete)));
        assert_eq!(news.expect("news").bytes, 250);
        assert!(
            lock(&folders.reached)
                .values()
                .all(|reach| reach.ahead.is_empty())
        );
    }

    #[test]
    fn downloads_that_never_begin_are_forgotten() {
        let folders = folders();
        let begun = ticket(&folders);
        folders.progress(begun, sent(0, 1, 1000, None));
        for _ in 0..3 * TICKETS {
            let lost = ticket(&folders);
            let mut going = lock(&folders.going);
            let going = going.get_mut(&lost).expect("known");
            going.asked -= NEVER_BEGUN;
        }
        assert!(lock(&folders.going).len() <= TICKETS + 1);
        let news = folders.progress(begun, sent(0, 2, 1000, None));
        assert_eq!(news.expect("it goes on").bytes, 2);
    }

    #[test]
    fn a_download_that_outlives_its_token_leaves_nothing_behind() {
        let folders = folders();
        let one = ticket(&folders);
        folders.progress(one, sent(0, 1, 1000, None));
        folders.take(OfferId(1), None);
        folders.progress(one, sent(0, 1000, 1000, Some(End::Complete)));
        assert!(lock(&folders.reached).is_empty() && lock(&folders.going).is_empty());
    }

    #[test]
    fn the_address_of_a_forgotten_device_and_the_former_one_of_a_renewed_are_nobodys() {
        let folders = folders();
        let token = "dbcdefghijklmnopqrst";
        folders.add_device(token.to_owned(), "plug".to_owned());
        let image = read(&folders.attempts)[TOKEN].files["tasmota32-safeboot.bin"].clone();
        folders.put_for_device(
            "plug".to_owned(),
            DeviceFolder {
                offer: Some(OfferId(1)),
                member: MemberId(2),
                family: Family::Plain,
                step: 0,
                image,
                manifest: None,
            },
        );
        let own = Asked {
            token,
            ..asked("firmware.bin", &[])
        };
        assert!(folders.find(&own, |_, _| true).is_ok());
        let new = "dzzzefghijklmnopqrst";
        folders.renew_device("plug", Some(new.to_owned()));
        assert!(folders.find(&own, |_, _| true).is_err(), "the old one");
        let own = Asked { token: new, ..own };
        assert!(folders.find(&own, |_, _| true).is_ok());
        folders.forget_device("plug");
        let refused = folders.find(&own, |_, _| true).expect_err("nobody's");
        assert!(refused.why.contains("no device has this address"));
        assert_eq!(
            folders.device_token("plug"),
            None,
            "the next one gets another"
        );
    }

    #[test]
    fn a_folder_that_was_taken_away_is_gone() {
        let folders = folders();
        assert_eq!(folders.take(OfferId(1), Some(0)), [TOKEN]);
        let gone = folders.find(&asked("tasmota32-safeboot.bin", &[]), |_, _| true);
        assert_eq!(gone.expect_err("gone").status, 404);
    }
}
