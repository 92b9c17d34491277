//! Asking a device that does not talk, over its MQTT connection.

use std::sync::Arc;
use std::time::Instant;

use safeport_xiaozhi::{Time, ToDevice};
use tokio::sync::mpsc;

use super::device::{DeviceBox, DeviceDriver, NotSaid, Say};
use super::reach::{Post, Reach, Unsent};
use crate::limits::{IDLE_PAYLOADS, IDLE_REST};

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
        let asking = Asking {
            device: device.to_owned(),
            driver,
            post,
            began: Instant::now(),
        };
        tokio::spawn(async move {
            let device = asking.device.clone();
            asking.run(hears).await;
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
                        self.show(say);
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

    /// It has no voice while it does not talk, so it shows the words, and rings.
    fn show(&self, say: Say) {
        let alert = ToDevice::Alert {
            status: "Safeport".into(),
            message: say.text.clone().into(),
            emotion: "neutral".into(),
        };
        let sent = self.post.send(&self.device, alert.to_json(None));
        say.done(sent.map_err(|Unsent| NotSaid::Gone));
    }

    fn now(&self) -> Time {
        Time(self.began.elapsed().as_millis() as u64)
    }
}
