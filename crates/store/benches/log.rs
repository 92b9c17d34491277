//! What the log costs: nanoseconds per 256-byte message, written in groups of 1 to 1000, and how
//! fast it is read back. `cargo bench -p safeport-store --bench log`

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use safeport_store::log::{Folder, Log, LogOptions};

const MESSAGE: usize = 256;
/// How long each row is measured.
const ROW: Duration = Duration::from_millis(1500);
/// A row ends here too, so that the disk does not fill up.
const MOST_BYTES: usize = 128 << 20;

fn main() {
    // `cargo test` builds it, and need not wait for it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("log-bench");
    println!("{MESSAGE}-byte messages, in {}", base.display());
    println!(
        "messages a group   ns a message   the same, sync after each group   median group with sync, µs"
    );
    for messages in [1, 10, 100, 1000] {
        let plain = write(&base, messages, false);
        let synced = write(&base, messages, true);
        println!(
            "{messages:16}   {:12.0}   {:31.0}   {:27.0}",
            plain.mean, synced.mean, synced.median_group_us
        );
    }
    read(&base);
    remove(&base);
}

struct Row {
    /// Nanoseconds a message.
    mean: f64,
    median_group_us: f64,
}

fn open(path: &Path) -> (Log, usize) {
    let folder = Folder::open(path).expect("a folder");
    let mut bytes = 0;
    let each = &mut |group: &[u8]| {
        bytes += group.len();
        Ok(())
    };
    let (log, _) = Log::open(folder, LogOptions::default(), each, &mut |_| {}).expect("sound");
    (log, bytes)
}

fn write(base: &Path, messages: usize, sync: bool) -> Row {
    remove(base);
    let (mut log, _) = open(base);
    let group = vec![0x5A; messages * MESSAGE];
    let mut times = Vec::new();
    let began = Instant::now();
    while began.elapsed() < ROW && times.len() * group.len() < MOST_BYTES {
        let start = Instant::now();
        log.append(&group).expect("room");
        if sync && let Some(task) = log.sync_task() {
            log.was_synced(task.run().expect("a sound disk"));
        }
        times.push(start.elapsed());
    }
    let mean = began.elapsed().as_nanos() as f64 / (times.len() * messages) as f64;
    times.sort_unstable();
    Row {
        mean,
        median_group_us: times[times.len() / 2].as_nanos() as f64 / 1e3,
    }
}

fn read(base: &Path) {
    remove(base);
    let (mut log, _) = open(base);
    let group = vec![0x5A; 100 * MESSAGE];
    for _ in 0..10_000 {
        log.append(&group).expect("room");
    }
    drop(log);
    let began = Instant::now();
    let (log, bytes) = open(base);
    let time = began.elapsed();
    println!(
        "read back: {} messages, {} MB in {:.2} s",
        bytes / MESSAGE,
        log.bytes() / 1_000_000,
        time.as_secs_f64()
    );
}

fn remove(base: &Path) {
    // Not there before the first row.
    let _ = fs::remove_dir_all(base);
}
