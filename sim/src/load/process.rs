//! What a process costs, read from `/proc`: CPU time and resident memory.

use super::{LoadError, Target};
use std::fs;
use std::io;
use std::time::Duration;

/// Clock ticks per second in `/proc`: `USER_HZ`, which is 100 on every Linux architecture that
/// Rust's standard library serves. The resolution of a CPU figure is therefore 10 ms.
const TICKS_PER_SECOND: u64 = 100;

/// User plus system time that process `pid` (all threads) has used since it started.
pub(super) fn cpu_of(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command name may hold spaces and brackets, so fields count from the last bracket; then
    // utime and stime are the 12th and 13th (14 and 15 in proc(5)).
    stat.rsplit_once(')')
        .and_then(|(_, fields)| {
            let mut fields = fields.split_ascii_whitespace().skip(11);
            let user: u64 = fields.next()?.parse().ok()?;
            let system: u64 = fields.next()?.parse().ok()?;
            Some(ticks(user + system))
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat"))
}

/// CPU time that all processes of the machine have used since it started, the time it waited for
/// another virtual machine (steal) included.
pub(super) fn cpu_of_machine() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line
        .split_ascii_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let [user, nice, system, _, _, irq, softirq, steal, ..] = fields[..] else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "unreadable /proc/stat",
        ));
    };
    Ok(ticks(user + nice + system + irq + softirq + steal))
}

/// Resident memory of a process in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// Resident set size.
    pub(super) rss: u64,
    /// Proportional set size; `None` where the kernel or our rights do not let us read it.
    pub(super) pss: Option<u64>,
}

/// Resident memory of the target's process now, if its pid is known.
pub(super) fn memory(target: &Target) -> Result<Option<Memory>, LoadError> {
    target
        .pid
        .map(|pid| memory_of(pid).map_err(|error| LoadError::Process { pid, error }))
        .transpose()
}

/// Resident memory of process `pid` now.
pub(super) fn memory_of(pid: u32) -> io::Result<Memory> {
    // smaps_rollup is exact but needs the rights of a debugger; status is for anyone.
    if let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        && let Some(rss) = kilobytes(&rollup, "Rss:")
    {
        return Ok(Memory {
            rss,
            pss: kilobytes(&rollup, "Pss:"),
        });
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    match kilobytes(&status, "VmRSS:") {
        Some(rss) => Ok(Memory { rss, pss: None }),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no VmRSS in /proc/PID/status",
        )),
    }
}

/// Threads of process `pid` now.
pub(super) fn threads_of(pid: u32) -> io::Result<i64> {
    let count = fs::read_dir(format!("/proc/{pid}/task"))?.count();
    Ok(count as i64)
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    let number: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(number * 1024)
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_cpu_time_grows_while_we_work_and_is_part_of_the_machines() {
        let pid = std::process::id();
        let before = cpu_of(pid).expect("our own stat");
        let machine = cpu_of_machine().expect("the machine's stat");
        let mut sum = 0u64;
        while cpu_of(pid).expect("our own stat") < before + Duration::from_millis(30) {
            sum = (0..100_000u64).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert!(cpu_of_machine().expect("the machine's stat") > machine);
    }

    #[test]
    fn memory_is_at_least_what_we_just_touched() {
        let before = memory_of(std::process::id()).expect("our own memory").rss;
        let block = std::hint::black_box(vec![1u8; 32 << 20]);
        let after = memory_of(std::process::id()).expect("our own memory").rss;
        assert!(after >= before + (24 << 20), "{before} then {after}");
        drop(block);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(cpu_of(u32::MAX).is_err());
        assert!(memory_of(u32::MAX).is_err());
    }
}
