//! A process that uploads and writes rows is killed in the middle of it, again
//! and again: nothing half is left, and nothing that it was told is lost.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use safeport_store::{
    BlobHash, By, DataFolder, DeviceRecord, DownloadFile, DownloadToken, IdentityRow, ImageRow,
    MemberEventRow, MemberRow, NewBackup, NewOffer, OfferChange, Registry, Rights, Secret, Side,
    StoreError, TalkRow, TrackBytes,
};

/// How long the whole test goes on killing.
const LONG: Duration = Duration::from_secs(8);
/// Where the child works; only set for it.
const FOLDER: &str = "SAFEPORT_KILLED_FOLDER";
const DICE: &str = "SAFEPORT_KILLED_DICE";

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Bytes that can be told from all others.
fn bytes_of(seed: u64, len: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    (0..len).map(|_| dice.roll(256) as u8).collect()
}

#[test]
fn whatever_was_acknowledged_is_there_after_the_process_is_killed_and_nothing_half() {
    let scratch = tempfile::tempdir().unwrap();
    let mut dice = Dice(20_261_123);
    let mut told = Told::default();
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < LONG {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "works_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(FOLDER, scratch.path())
            .env(DICE, dice.roll(1 << 30).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || lines.map_while(Result::ok).collect());
        std::thread::sleep(Duration::from_millis(40 + dice.roll(400)));
        child.kill().unwrap();
        child.wait().unwrap();
        let lines: Vec<String> = reader.join().unwrap();
        told.hear(&lines);
        told.check(scratch.path(), rounds);
        rounds += 1;
    }
    println!(
        "killed {rounds} times: {} files, {} devices, {} offers",
        told.images.len() + told.backups.len(),
        told.members.len(),
        told.offers.len()
    );
    assert!(rounds > 3 && told.images.len() > 3 && told.offers.len() > 3);
}

/// What the children said was done. A last line may be cut.
#[derive(Default)]
struct Told {
    images: BTreeMap<BlobHash, u64>,
    backups: BTreeMap<u64, BlobHash>,
    members: BTreeMap<u64, u64>,
    offers: BTreeMap<u64, String>,
    tokens: Vec<String>,
    /// The last batch of turns.
    talks: u64,
}

impl Told {
    fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let Some((&"told", words)) = words.split_first() else {
                continue;
            };
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            match words {
                ["image", hash, _, "."] => {
                    self.images.insert(hash.parse().unwrap(), number(2));
                }
                ["backup", _, hash, "."] => {
                    self.backups.insert(number(1), hash.parse().unwrap());
                }
                ["member", _, _, "."] => {
                    self.members.insert(number(1), number(2));
                }
                ["offer", _, state, "."] => {
                    self.offers.insert(number(1), (*state).to_string());
                }
                ["talks", _, "."] => self.talks = number(1),
                ["token", token, "."] => self.tokens.push((*token).to_string()),
                _ => {}
            }
        }
    }

    fn check(&self, path: &Path, round: u32) {
        let folder = DataFolder::open(path).unwrap();
        let blobs = folder.blobs().unwrap();
        let unfinished = std::fs::read_dir(path.join("blobs/new")).unwrap().count();
        assert_eq!(unfinished, 0, "round {round}");
        let mut registry = folder.registry().unwrap();
        for blob in blobs.list().unwrap() {
            blobs.verify(&blob.hash).unwrap();
        }
        for (hash, bytes) in &self.images {
            let row = registry.image(hash).unwrap().expect("an image");
            assert_eq!(row.bytes, *bytes);
        }
        // Rows never name a file that is not there.
        for row in registry.images().unwrap() {
            assert_eq!(blobs.bytes(&row.hash).unwrap(), Some(row.bytes));
        }
        for (id, hash) in &self.backups {
            let row = registry.backup(*id).unwrap().expect("a backup");
            assert_eq!(row.hash, *hash);
            assert!(blobs.bytes(hash).unwrap().is_some());
        }
        for (id, last_at) in &self.members {
            let row = registry.member(*id).unwrap().expect("a device");
            assert!(row.last_at >= *last_at, "round {round}");
        }
        // A batch is there whole: all of its rows have its time.
        let mut batches: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        registry
            .load_members(|row| {
                assert_eq!(row.identities.len(), 2);
                batches.entry(row.family).or_default().push(row.last_at);
            })
            .unwrap();
        for (batch, times) in batches {
            assert_eq!(times.len() as u64, BATCH, "{batch}");
            assert!(times.iter().all(|at| *at == times[0]), "{batch}: {times:?}");
        }
        for (id, state) in &self.offers {
            let row = registry.offer(*id).unwrap().expect("an offer");
            if state == "ended" {
                assert!(!row.open);
                assert_eq!(registry.downloads_of_offer(*id).unwrap(), []);
            }
        }
        for token in &self.tokens {
            let found = registry.download(token).unwrap();
            // It may have ended with its offer, and then so did that.
            assert!(found.is_none_or(|found| found.files.len() == 1));
        }
        // Turns of a batch are there whole, and as many batches as were told of.
        let talks = registry.talks("box", None, 2_000, 0).unwrap();
        assert_eq!(talks.len() % TURNS, 0, "round {round}");
        let newest = talks.first().map_or(0, |talk| talk.at);
        assert!(newest >= self.talks, "round {round}: {newest}");
        for batch in talks.chunks(TURNS) {
            assert!(batch.iter().all(|talk| talk.at == batch[0].at));
        }
        // Rows never name sound that is not there, and after the start no sound is there
        // that no row names.
        let recordings = folder.recordings();
        let mut files = 0;
        for sound in talks.iter().filter_map(|talk| talk.sound.as_ref()) {
            for side in [Side::Heard, Side::Said] {
                assert!(
                    recordings.open(sound, side).unwrap().is_some(),
                    "round {round}"
                );
                files += 1;
            }
        }
        recordings.sweep(&mut registry).unwrap();
        assert_eq!(count(&path.join("recordings")), files, "round {round}");
        let sound: String = rusqlite::Connection::open(folder.database())
            .unwrap()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}

const BATCH: u64 = 40;
/// Turns of one batch; what is kept of a device is a multiple of it.
const TURNS: usize = 8;

/// The child: says on its standard output what was acknowledged to it.
#[test]
#[ignore = "the other test starts it, to kill it"]
fn works_until_it_is_killed() {
    let Ok(path) = std::env::var(FOLDER) else {
        return;
    };
    let mut dice = Dice(std::env::var(DICE).unwrap().parse().unwrap());
    let folder = DataFolder::open(path).unwrap();
    let blobs = folder.blobs().unwrap();
    let mut promised = folder.registry().unwrap();
    let mut noted = folder.registry().unwrap().without_waiting().unwrap();
    talker(&mut promised);
    let spoken = promised.talks("box", None, 1, 0).unwrap();
    let spoken = spoken.first().map_or(0, |talk| talk.at);
    for at in 1.. {
        talks(&mut noted, &folder, spoken + at);
        let by = By { who: "child", at };
        let (seed, len) = (dice.roll(1 << 40), dice.roll(300_000));
        let mut writer = blobs.begin(1 << 20).unwrap();
        for piece in bytes_of(seed, len).chunks(16 << 10) {
            writer.write(piece).unwrap();
        }
        if dice.roll(6) == 0 {
            continue;
        }
        let blob = writer.finish(None).unwrap();
        let image = ImageRow {
            hash: blob.hash,
            bytes: blob.bytes,
            file_name: "tasmota.bin".to_string(),
            family: None,
            body: "{}".to_string(),
            created: at,
            who: "child".to_string(),
        };
        promised.add_image(&image, by).unwrap();
        say(format_args!("image {} {}", blob.hash, blob.bytes));

        let first = members(&mut noted, &mut dice);
        upgrade(&mut promised, &mut dice, first, blob.hash, by);
        let backup = NewBackup {
            member: first,
            kind: format!("of {seed}"),
            version: None,
            file_name: "plug.dmp".to_string(),
            hash: blob.hash,
            bytes: blob.bytes,
            why: "asked for".to_string(),
        };
        let id = promised.add_backup(&backup, 5, by).unwrap();
        say(format_args!("backup {id} {}", blob.hash));
    }
}

/// Enrols who talks, once.
fn talker(promised: &mut Registry) {
    if promised.device("box").unwrap().is_some() {
        return;
    }
    let device = DeviceRecord {
        name: "box".to_string(),
        family: "xiaozhi".to_string(),
        topic: "box".to_string(),
        client_id: "box".to_string(),
        username: "box".to_string(),
        mac: None,
        password_hash: Secret::new("hash"),
        extra: Rights::default(),
        tags: vec![],
        created: 1,
    };
    let by = By {
        who: "child",
        at: 1,
    };
    promised.add_device(&device, by).unwrap();
}

/// Writes a batch of turns, all of one time, each with its sound, and forgets that of
/// the batches before the last few.
fn talks(noted: &mut Registry, folder: &DataFolder, at: u64) {
    let recordings = folder.recordings();
    let track = TrackBytes {
        bytes: &[7; 5_000],
        lasts: Duration::from_secs(2),
    };
    let talk = || TalkRow {
        sound: Some(recordings.write(Some(track), Some(track), at + 3).unwrap()),
        device: "box".to_string(),
        at,
        until: at + 1_000_000,
        heard: "x".repeat(300),
        said: "y".repeat(900),
        ..TalkRow::default()
    };
    let talks: Vec<TalkRow> = (0..TURNS).map(|_| talk()).collect();
    noted.add_talks(&talks).unwrap();
    say(format_args!("talks {at}"));
    noted.tidy(at, &Default::default()).unwrap();
    noted.remove_gone_recordings().unwrap();
}

/// How many files lie in a folder and those below it.
fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => count(&entry.path()),
        false => 1,
    });
    below.sum()
}

/// Writes one batch, new or changed; returns one of its devices.
fn members(noted: &mut Registry, dice: &mut Dice) -> u64 {
    let next = noted.next_member_id().unwrap();
    let known = (next - 1) / BATCH;
    let batch = dice.roll(known + 1);
    let first = batch * BATCH + 1;
    let before = noted.member(first).unwrap().map_or(0, |row| row.last_at);
    let rows: Vec<MemberRow> = (first..first + BATCH)
        .map(|id| MemberRow {
            id,
            device: None,
            family: format!("batch-{batch}"),
            first_at: 1,
            last_at: before + 1,
            body: format!("{{\"id\":{id},\"text\":\"{}\"}}", "x".repeat(500)),
            identities: [("mac", false), ("topic", true)]
                .map(|(kind, proved)| IdentityRow {
                    kind: kind.to_string(),
                    value: format!("{id}-{}", before / 2),
                    proved,
                })
                .to_vec(),
        })
        .collect();
    noted.write_members(&rows).unwrap();
    for row in &rows {
        say(format_args!("member {} {}", row.id, row.last_at));
    }
    let event = MemberEventRow {
        id: 0,
        member: first,
        at: before,
        kind: "seen".to_string(),
        body: "{}".to_string(),
    };
    noted.add_member_events(&[event]).unwrap();
    first
}

/// Makes an offer with a token, or ends the one that is open.
fn upgrade(promised: &mut Registry, dice: &mut Dice, member: u64, image: BlobHash, by: By<'_>) {
    let offer = NewOffer {
        member,
        release: None,
        image: Some(image),
        state: "offered".to_string(),
        body: "{}".to_string(),
    };
    match promised.add_offer(&offer, by) {
        Ok(id) => {
            say(format_args!("offer {id} offered"));
            let token = DownloadToken {
                token: format!("a{id}x{}", dice.roll(1 << 40)),
                offer: Some(id),
                member: Some(member),
                created: by.at,
                expires: by.at + 1000,
                files: vec![DownloadFile {
                    file: "tasmota.bin".to_string(),
                    step: 0,
                    hash: image,
                    gets: 0,
                    bytes: 0,
                    last_at: None,
                }],
            };
            promised.issue_download(&token).unwrap();
            say(format_args!("token {}", token.token));
        }
        Err(StoreError::OfferOpen { offer: id, .. }) => {
            let ended = OfferChange {
                id,
                state: "ended".to_string(),
                open: false,
                body: "{}".to_string(),
                updated: by.at,
            };
            promised.write_offers(&[ended]).unwrap();
            say(format_args!("offer {id} ended"));
        }
        Err(error) => panic!("{error}"),
    }
}

/// A whole line ends with a full stop.
fn say(what: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "told {what} .").unwrap();
    out.flush().unwrap();
}
