//! CPU time of everyone involved, read at the two ends of what is measured.

use super::{LoadError, Target, process};
use std::time::{Duration, Instant};

/// CPU time of the broker, of this process and of the whole machine at one moment.
pub(super) struct Clocks {
    pub(super) at: Instant,
    broker: Option<Duration>,
    generator: Duration,
    machine: Duration,
}

/// What each used between two moments.
pub(super) struct Used {
    pub(super) elapsed: Duration,
    pub(super) broker: Option<Duration>,
    /// CPUs that this process kept busy.
    pub(super) generator_share: f64,
    /// CPUs that all other processes together kept busy. Unknown without the broker's pid.
    pub(super) others_share: Option<f64>,
}

impl Clocks {
    pub(super) fn read(target: &Target) -> Result<Clocks, LoadError> {
        let read = |pid| process::cpu_of(pid).map_err(|error| LoadError::Process { pid, error });
        let own = std::process::id();
        Ok(Clocks {
            broker: target.pid.map(read).transpose()?,
            generator: read(own)?,
            machine: process::cpu_of_machine()
                .map_err(|error| LoadError::Process { pid: own, error })?,
            at: Instant::now(),
        })
    }

    pub(super) fn since(&self, earlier: &Clocks) -> Used {
        let elapsed = self.at.duration_since(earlier.at);
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let generator = self.generator.saturating_sub(earlier.generator);
        let machine = self.machine.saturating_sub(earlier.machine);
        let broker = match (self.broker, earlier.broker) {
            (Some(now), Some(then)) => Some(now.saturating_sub(then)),
            _ => None,
        };
        Used {
            elapsed,
            broker,
            generator_share: generator.as_secs_f64() / seconds,
            others_share: broker
                .map(|broker| machine.saturating_sub(broker + generator).as_secs_f64() / seconds),
        }
    }
}
