//! Accidents on purpose: `power@download:50%` and the like.

use std::str::FromStr;
use std::time::Duration;

/// One accident: what happens, where, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// Where.
    pub point: FaultPoint,
    /// How many times more; `None` for always.
    pub times: Option<u32>,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The power goes. The flash stays as it is, everything else is lost.
    Power,
    /// The connection ends.
    Drop,
    /// Nothing more is read.
    Stall,
    /// An exception: the device restarts by itself.
    Crash,
}

/// Where it happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultPoint {
    /// When this part of a download, 0 to 1, is written.
    Download(f64),
    /// Right after a boot.
    Boot,
    /// When an image is written, and not yet the one to boot.
    Installed,
    /// So long after the device was switched on, in its own time.
    Time(Duration),
}

impl FaultKind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            FaultKind::Power => "power",
            FaultKind::Drop => "drop",
            FaultKind::Stall => "stall",
            FaultKind::Crash => "crash",
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no fault: give power, drop, stall or crash, `@`, and download:50%, \
                 boot, installed or time:SECONDS, such as `power@download:50%`"
            )
        };
        let (body, times) = match text.rsplit_once('*') {
            None => (text, Some(1)),
            Some((body, "0")) => (body, None),
            Some((body, times)) => (body, Some(times.parse().map_err(|_| wrong())?)),
        };
        let (kind, point) = body.split_once('@').ok_or_else(wrong)?;
        let kind = match kind {
            "power" => FaultKind::Power,
            "drop" => FaultKind::Drop,
            "stall" => FaultKind::Stall,
            "crash" => FaultKind::Crash,
            _ => return Err(wrong()),
        };
        let point = match point.split_once(':') {
            None if point == "boot" => FaultPoint::Boot,
            None if point == "installed" => FaultPoint::Installed,
            Some(("download", share)) => {
                let share = share.strip_suffix('%').ok_or_else(wrong)?;
                let share: f64 = share.parse().map_err(|_| wrong())?;
                if !(0.0..=100.0).contains(&share) {
                    return Err(wrong());
                }
                FaultPoint::Download(share / 100.0)
            }
            Some(("time", seconds)) => {
                let seconds: f64 = seconds.parse().map_err(|_| wrong())?;
                FaultPoint::Time(Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?)
            }
            _ => return Err(wrong()),
        };
        // A connection can only be lost where there is one.
        let fits = match kind {
            FaultKind::Power | FaultKind::Crash => true,
            FaultKind::Drop | FaultKind::Stall => matches!(point, FaultPoint::Download(_)),
        };
        if fits {
            Ok(Fault { kind, point, times })
        } else {
            Err(wrong())
        }
    }
}

/// The accidents that are still to come.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn new(faults: &[Fault]) -> Self {
        Faults(faults.to_vec())
    }

    /// The accident of this boot, if one is left.
    pub(super) fn at_boot(&mut self) -> Option<FaultKind> {
        self.take(|point| point == FaultPoint::Boot)
    }

    /// The accident of this installation.
    pub(super) fn at_installed(&mut self) -> Option<FaultKind> {
        self.take(|point| point == FaultPoint::Installed)
    }

    /// The accident that has come due in a download of which `done` of `total` bytes are written.
    pub(super) fn in_download(&mut self, done: u64, total: u64) -> Option<FaultKind> {
        let part = done as f64 / total.max(1) as f64;
        self.take(|point| matches!(point, FaultPoint::Download(share) if part >= share))
    }

    /// The next accident by time.
    pub(super) fn next_time(&self) -> Option<Duration> {
        let times = self.0.iter().filter_map(|fault| match fault.point {
            FaultPoint::Time(at) => Some(at),
            _ => None,
        });
        times.min()
    }

    /// The accident that is due at `now`.
    pub(super) fn by_time(&mut self, now: Duration) -> Option<FaultKind> {
        let found = self
            .0
            .iter()
            .position(|fault| matches!(fault.point, FaultPoint::Time(at) if at <= now))?;
        // A time comes once.
        Some(self.0.remove(found).kind)
    }

    fn take(&mut self, is_due: impl Fn(FaultPoint) -> bool) -> Option<FaultKind> {
        let found = self.0.iter().position(|fault| is_due(fault.point))?;
        let fault = &mut self.0[found];
        let kind = fault.kind;
        if let Some(times) = &mut fault.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(found);
            }
        }
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_it_is_written_and_happens_as_often_as_it_says() {
        let fault: Fault = "power@download:50%*2".parse().expect("a fault");
        assert_eq!(fault.point, FaultPoint::Download(0.5));
        let mut faults = Faults::new(&[fault]);
        assert_eq!(faults.in_download(49, 100), None);
        assert_eq!(faults.in_download(50, 100), Some(FaultKind::Power));
        assert_eq!(faults.in_download(51, 100), Some(FaultKind::Power));
        assert_eq!(faults.in_download(52, 100), None);
        let mut always = Faults::new(&["crash@boot*0".parse().expect("a fault")]);
        for _ in 0..5 {
            assert_eq!(always.at_boot(), Some(FaultKind::Crash));
        }
    }

    #[test]
    fn a_fault_that_cannot_be_is_refused_with_the_way_out() {
        for wrong in [
            "power",
            "power@",
            "power@download:150%",
            "stall@boot",
            "fire@boot",
            "power@download:50",
            "power@time:-1",
        ] {
            let error = wrong.parse::<Fault>().expect_err(wrong);
            assert!(error.contains("power@download:50%"), "{error}");
        }
    }
}
