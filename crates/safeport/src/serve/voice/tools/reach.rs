//! Which devices can be asked for something now, whether they talk or only stay connected over MQTT.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::{DeviceBox, WhyShown};
use super::idle::Idle;
use super::notice::Herald;

/// Carries messages to devices that stay connected while they do not talk.
pub trait Post: Send + Sync {
    /// Whether the device with this name is connected over MQTT.
    fn is_connected(&self, device: &str) -> bool;

    /// Sends it one message. Never waits.
    ///
    /// # Errors
    /// It is not connected, or does not take its messages.
    fn send(&self, device: &str, message: String) -> Result<(), Unsent>;

    /// What is needed to speak to it while it does not talk.
    ///
    /// # Errors
    /// Why it can only be shown something.
    fn herald(&self, device: &str) -> Result<Herald, WhyShown>;
}

/// A message that did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsent;

/// The ways to all devices.
#[derive(Default)]
pub struct Reach {
    devices: Mutex<HashMap<String, Ways>>,
    post: Mutex<Option<Arc<dyn Post>>>,
    next: AtomicU64,
}

/// The ways to one.
#[derive(Default)]
struct Ways {
    /// Its conversation, by its number.
    conversation: Option<(u64, DeviceBox)>,
    /// Asked while it did not talk.
    idle: Option<Idle>,
}

/// A conversation in which a device can be reached, until dropped.
pub struct Presence {
    reach: Arc<Reach>,
    device: String,
    number: u64,
}

/// A device that cannot be asked for anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the device neither talks nor is connected over MQTT; over WebSocket it is there only while it \
     talks: wake it, or let it use MQTT (`config set --device {0} advertise.xiaozhi mqtt`, then \
     restart it)"
)]
pub struct NotThere(pub String);

impl Reach {
    /// How messages reach devices over MQTT; before the first call there is no such way.
    pub fn set_post(&self, post: Arc<dyn Post>) {
        *self.post.lock().unwrap_or_else(PoisonError::into_inner) = Some(post);
    }

    /// A device talks now. A conversation of before is not reached any more.
    pub fn enter(self: &Arc<Reach>, device: &str, handle: DeviceBox) -> Presence {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut devices = self.devices();
        let ways = devices.entry(device.to_owned()).or_default();
        ways.conversation = Some((number, handle));
        Presence {
            reach: self.clone(),
            device: device.to_owned(),
            number,
        }
    }

    /// Takes the payload of an `mcp` message that came over MQTT, in a conversation or not.
    pub fn hear(&self, device: &str, payload: &str) {
        let devices = self.devices();
        if let Some(idle) = devices.get(device).and_then(|ways| ways.idle.as_ref()) {
            idle.hear(payload);
        }
    }

    /// The way to a device: its conversation, or else its connection. To be called on the runtime.
    ///
    /// # Errors
    /// There is none.
    pub fn find(self: &Arc<Reach>, device: &str) -> Result<DeviceBox, NotThere> {
        let post = self.post.lock().unwrap_or_else(PoisonError::into_inner);
        let post = post.clone();
        let mut devices = self.devices();
        if let Some((_, handle)) = devices
            .get(device)
            .and_then(|ways| ways.conversation.as_ref())
        {
            return Ok(handle.clone());
        }
        let post = post.filter(|post| post.is_connected(device));
        let post = post.ok_or_else(|| NotThere(device.to_owned()))?;
        let ways = devices.entry(device.to_owned()).or_default();
        if let Some(idle) = ways.idle.as_ref().filter(|idle| idle.is_open()) {
            return Ok(idle.handle());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let idle = Idle::start(device, number, post, self.clone());
        let handle = idle.handle();
        ways.idle = Some(idle);
        Ok(handle)
    }

    /// Nothing is asked of an idle device any more.
    pub(super) fn forget_idle(&self, device: &str, number: u64) {
        self.forget(device, |ways| {
            ways.idle.take_if(|idle| idle.number() == number);
        });
    }

    fn forget(&self, device: &str, what: impl FnOnce(&mut Ways)) {
        let mut devices = self.devices();
        if let Some(ways) = devices.get_mut(device) {
            what(ways);
            if ways.conversation.is_none() && ways.idle.is_none() {
                devices.remove(device);
            }
        }
    }

    fn devices(&self) -> MutexGuard<'_, HashMap<String, Ways>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.reach.forget(&self.device, |ways| {
            ways.conversation
                .take_if(|(number, _)| *number == self.number);
        });
    }
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach")
            .field("devices", &self.devices().len())
            .finish_non_exhaustive()
    }
}
