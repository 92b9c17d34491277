//! Which devices fetch speech and play it while they are idle, and by which address of ours.

use safeport_settings::AdvertisedAddress;
use safeport_xiaozhi::{Client, ClientId, Network, Quirks, Version};

use super::Xiaozhi;

/// A device that takes notices.
#[derive(Debug, Clone)]
pub struct NoticeTaker {
    /// Its tags.
    pub tags: Vec<String>,
    /// A proved address of ours by which it fetches files.
    pub address: AdvertisedAddress,
}

/// Why a device takes none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoNotice {
    /// It is not enrolled, or devices are not served.
    Unknown,
    /// The version that it reported last is older than 2.5, or it reported none.
    Firmware(Option<String>),
    /// No address of ours is proved.
    NoAddress,
}

impl Xiaozhi {
    /// What is to be known to speak to a device that is connected over MQTT, and does not talk.
    ///
    /// # Errors
    /// Why nothing can be spoken to it.
    pub fn notice_taker(&self, id: &ClientId) -> Result<NoticeTaker, NoNotice> {
        let rules = self.rules();
        let device = self.admitted(id).filter(|_| rules.enabled);
        let device = device.ok_or(NoNotice::Unknown)?;
        let told = self.roll.version(id.mac);
        let version = told.as_ref().and_then(|told| told.parse::<Version>().ok());
        let quirks = Quirks::by(version.as_ref(), Network::Lan, Client::Device);
        if !quirks.takes_notices {
            return Err(NoNotice::Firmware(told));
        }
        let wish = rules.audience.wish(&device);
        let address = self.ways.http(wish.host.as_deref(), None);
        Ok(NoticeTaker {
            tags: device.tags.clone(),
            address: address.ok_or(NoNotice::NoAddress)?,
        })
    }
}
