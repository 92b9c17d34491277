//! Pictures of a device's camera: where it is told to send them, and who may.

use std::net::IpAddr;
use std::sync::Arc;

use safeport_fleet::MacAddress;
use safeport_xiaozhi::{ClientId, Vision, verify_websocket_token, websocket_token};

use super::enrol::derived_key;
use super::guest::Named;
use super::{Introduction, NoGuest, Xiaozhi};
use crate::limits::PICTURE_TOKEN_AGE;
use crate::serve::access::{XiaozhiDevice, unix_now};

/// Where pictures are sent.
pub const PICTURE_PATH: &str = "/xiaozhi/vision/explain";

impl Xiaozhi {
    /// What a device is told of where to send pictures: an address of ours that is proved, the one that it came to if it
    /// is one, and a token of its own.
    pub(super) fn vision(
        &self,
        device: &XiaozhiDevice,
        mac: MacAddress,
        came_to: Option<IpAddr>,
    ) -> Option<Vision> {
        let wish = self.rules().audience.wish(device);
        let address = self.ways.http(wish.host.as_deref(), came_to)?;
        Some(Vision {
            url: address.url(PICTURE_PATH),
            token: websocket_token(
                &self.picture_key(),
                device.uuid.as_deref().unwrap_or_default(),
                &mac.to_string(),
                unix_now(),
            ),
        })
    }

    /// Judges who sends a picture.
    ///
    /// # Errors
    /// Why they may not.
    pub fn admit_picture(
        &self,
        introduction: &Introduction,
    ) -> Result<Arc<XiaozhiDevice>, NoGuest> {
        if !self.rules().enabled {
            return Err(NoGuest::Disabled);
        }
        let Named { mac, client_id, .. } = introduction.names()?;
        let id = ClientId::new("", mac, client_id);
        let device = self.admitted(&id).ok_or(NoGuest::Unknown)?;
        let made = verify_websocket_token(
            &self.picture_key(),
            device.uuid.as_deref().unwrap_or_default(),
            &mac.to_string(),
            introduction.token()?,
            unix_now(),
            PICTURE_TOKEN_AGE.as_secs(),
        );
        if made.map_err(NoGuest::Token)? < device.created {
            return Err(NoGuest::Outdated);
        }
        Ok(device)
    }

    fn picture_key(&self) -> Vec<u8> {
        derived_key(&self.instance_key, "pictures")
    }
}
