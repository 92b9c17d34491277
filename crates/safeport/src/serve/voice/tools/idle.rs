//! Asking a device that does not talk, over its MQTT connection.

use std::sync::Arc;
use std::time::Instant;

use safeport_xiaozhi::Time;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::device::{DeviceBox, DeviceDriver, NotSaid, Say};
use super::notice::Crier;
use super::reach::{Post, Reach, Unsent};
use crate::limits::{IDLE_PAYLOADS, IDLE_REST, NOTICES_WAITING, SAID_PATIENCE};

/// A device that is asked while it does not talk. Its tools are kept for a while, for the next question.
#[derive(Debug)]
pub(super) struct Idle {
    number: u64,
    handle: DeviceBox,
    heard: mpsc::Sender<String>,
}

impl Idle {
    pub(super) fn start(device: &str, number: u64, post: Arc<dyn Post>, reach: Arc<Reach>) -> Idle {
        let driver = DeviceDriver::new(device, None, None);
        let handle = driver.handle();
        let (heard, hears) = mpsc::channel(IDLE_PAYLOADS);
        let (says, waiting) = mpsc::channel(NOTICES_WAITING);
        let crier = Crier::new(device, post.clone());
        let asking = Asking {
            device: device.to_owned(),
            driver,
            post,
            says,
            began: Instant::now(),
        };
        tokio::spawn(async move {
            let device = asking.device.clone();
            tokio::select! {
                () = asking.run(hears) => {}
                () = crier.run(waiting) => {}
            }
            reach.forget_idle(&device, number);
        });
        Idle {
            number,
            handle,
            heard,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn handle(&self) -> DeviceBox {
        self.handle.clone()
    }

    /// Whether it still takes questions.
    pub(super) fn is_open(&self) -> bool {
        !self.heard.is_closed()
    }

    /// What would be too much is passed over: the device floods, and what waits for it fails in time.
    pub(super) fn hear(&self, payload: &str) {
        let _ = self.heard.try_send(payload.to_owned());
    }
}

struct Asking {
    device: String,
    driver: DeviceDriver,
    post: Arc<dyn Post>,
    /// What is to be said.
    says: mpsc::Sender<Say>,
    began: Instant,
}

impl Asking {
    async fn run(mut self, mut hears: mpsc::Receiver<String>) {
        self.driver.start(self.now());
        let mut rest = self.now() + IDLE_REST.as_millis() as u64;
        loop {
            while let Some(message) = self.driver.poll(self.now()) {
                if self.post.send(&self.device, message) == Err(Unsent) {
                    return;
                }
            }
            let wake = self.driver.next_wake().map_or(rest, |at| at.min(rest));
            let pause = std::time::Duration::from_millis(wake.since(self.now()));
            tokio::select! {
                heard = hears.recv() => match heard {
                    Some(payload) => self.driver.hear(&payload, self.now()),
                    None => return,
                },
                request = self.driver.next_request() => {
                    rest = self.now() + IDLE_REST.as_millis() as u64;
                    if let Some(say) = self.driver.take(request, self.now()) {
                        // Whoever wants it said waits no longer.
                        rest = rest + SAID_PATIENCE.as_millis() as u64;
                        self.say(say);
                    }
                }
                () = tokio::time::sleep(pause) => {
                    if self.now() >= rest {
                        return;
                    }
                }
            }
        }
    }

    /// Behind what is being said.
    fn say(&self, say: Say) {
        match self.says.try_send(say) {
            Ok(()) => {}
            Err(TrySendError::Full(say)) => say.done(Err(NotSaid::Busy)),
            Err(TrySendError::Closed(say)) => say.done(Err(NotSaid::Gone)),
        }
    }

    fn now(&self) -> Time {
        Time(self.began.elapsed().as_millis() as u64)
    }
}
