//! The time of a pretend board, which may run faster than ours.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Time since a board was switched on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    began: Instant,
    scale: f64,
}

impl Clock {
    /// `scale` is what every wait of the device is multiplied with: 1 as on the device.
    pub(super) fn new(scale: f64) -> Self {
        Clock {
            began: Instant::now(),
            scale: if scale > 0.0 { scale } else { 1.0 },
        }
    }

    /// Device time that has passed.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed().div_f64(self.scale)
    }

    /// How long a wait of the device takes here.
    pub(super) fn real(&self, wait: Duration) -> Duration {
        wait.mul_f64(self.scale)
    }

    /// A limit on how long another may take: never shorter than a second, since the other side
    /// runs at our speed.
    pub(super) fn limit(&self, wait: Duration) -> Duration {
        self.real(wait)
            .max(Duration::from_secs(1))
            .min(wait.max(Duration::from_secs(1)))
    }

    /// Device time until which something is far away, or `None` for never.
    pub(super) fn at(&self, when: Option<Duration>) -> Option<Instant> {
        let when = when.filter(|when| *when < FOREVER)?;
        Some(self.began + self.real(when))
    }

    pub(super) async fn wait(&self, wait: Duration) {
        sleep(self.real(wait)).await;
    }
}

/// A device that waits longer than this waits for ever.
const FOREVER: Duration = Duration::from_secs(400 * 86_400);
