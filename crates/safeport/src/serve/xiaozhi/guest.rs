//! Who may talk: the token that a device was told at its check.

use std::net::IpAddr;

use safeport_fleet::MacAddress;
use safeport_xiaozhi::{
    Client, ClientId, Framing, Habits, TokenError, Version, Vision, verify_websocket_token,
};

use super::Xiaozhi;
use crate::limits::XIAOZHI_TOKEN_AGE;
use crate::serve::access::{XiaozhiDevice, unix_now};

/// What a request for a conversation says of its sender, from headers or, where a page in a browser
/// cannot set them, from the query.
#[derive(Debug, Clone, Default)]
pub struct Introduction {
    /// `Device-Id`.
    pub device_id: Option<String>,
    /// `Client-Id`.
    pub client_id: Option<String>,
    /// `Authorization`, with or without `Bearer`.
    pub authorization: Option<String>,
    /// `Protocol-Version`.
    pub version: Option<u64>,
    /// Our address at which it arrived.
    pub came_to: Option<IpAddr>,
    /// `from=mqtt_gateway`: a gateway speaks for a device that came to it over MQTT and UDP.
    pub is_gateway: bool,
}

/// Who somebody says to be.
pub(super) struct Named<'a> {
    pub(super) device_id: &'a str,
    pub(super) client_id: &'a str,
    pub(super) mac: MacAddress,
}

impl Introduction {
    pub(super) fn names(&self) -> Result<Named<'_>, NoGuest> {
        fn given<'a>(value: &'a Option<String>, name: &'static str) -> Result<&'a str, NoGuest> {
            let given = value.as_deref().filter(|value| !value.is_empty());
            given.ok_or(NoGuest::Nameless(name))
        }
        let device_id = given(&self.device_id, "Device-Id")?;
        Ok(Named {
            client_id: given(&self.client_id, "Client-Id")?,
            mac: device_id.parse().map_err(|_| NoGuest::NoMac)?,
            device_id,
        })
    }

    pub(super) fn token(&self) -> Result<&str, NoGuest> {
        let token = self.authorization.as_deref().unwrap_or_default();
        let token = token.strip_prefix("Bearer ").unwrap_or(token).trim();
        match token.is_empty() {
            true => Err(NoGuest::NoToken),
            false => Ok(token),
        }
    }
}

/// A device that may talk.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its name in the registry.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What its firmware does and does not.
    pub habits: Habits,
    /// How its binary frames look.
    pub framing: Framing,
    /// Minutes by which its clock is ahead of UTC.
    pub offset_minutes: i16,
    /// Where its camera sends pictures; `None`: no address of ours is proved.
    pub vision: Option<Vision>,
}

/// Why somebody may not talk: told before the upgrade, since a device that is refused behind it
/// waits ten seconds for a hello.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoGuest {
    /// It does not say who it is.
    #[error(
        "the request has no {0}; a device sends it as a header, a page in a browser as {query}=… \
         behind the ? of the address; a proxy must pass it on",
        query = .0.to_ascii_lowercase()
    )]
    Nameless(&'static str),
    /// Its `Device-Id` is no MAC address.
    #[error("Device-Id has to be the device's MAC address, such as a0:b1:c2:d3:e4:f5")]
    NoMac,
    /// Nobody has taken it in.
    #[error(
        "no device with this Device-Id and Client-Id is enrolled; restart it, and enter the code \
         that it shows (`device activate CODE`)"
    )]
    Unknown,
    /// It has no token.
    #[error(
        "the request has no token (Authorization: Bearer …); restart the device, its check at \
         /xiaozhi/ota/ brings one"
    )]
    NoToken,
    /// The token is not good.
    #[error("{0}")]
    Token(TokenError),
    /// The token is older than the enrolment.
    #[error("the token was made for an earlier enrolment of this device; restart the device")]
    Outdated,
    /// Switched off.
    #[error("xiaozhi devices are not served here: xiaozhi.enabled is false")]
    Disabled,
}

impl NoGuest {
    /// The status of the answer: 401 where a new token would help, 403 where none would.
    pub fn status(&self) -> u16 {
        match self {
            NoGuest::Nameless(_) | NoGuest::NoMac => 400,
            NoGuest::NoToken | NoGuest::Token(_) | NoGuest::Outdated => 401,
            NoGuest::Unknown => 403,
            NoGuest::Disabled => 404,
        }
    }
}

impl Xiaozhi {
    /// Judges who wants to talk.
    ///
    /// # Errors
    /// Why they may not.
    pub fn admit(&self, introduction: &Introduction) -> Result<Guest, NoGuest> {
        let rules = self.rules();
        if !rules.enabled {
            return Err(NoGuest::Disabled);
        }
        let Named {
            device_id,
            client_id,
            mac,
        } = introduction.names()?;
        let id = ClientId::new("", mac, client_id);
        let device = self.admitted(&id).ok_or(NoGuest::Unknown)?;
        let made = verify_websocket_token(
            &rules.auth_key,
            client_id,
            device_id,
            introduction.token()?,
            unix_now(),
            XIAOZHI_TOKEN_AGE.as_secs(),
        );
        if made.map_err(NoGuest::Token)? < device.created {
            return Err(NoGuest::Outdated);
        }
        let framing = match introduction.is_gateway {
            true => Framing::GatewayServer,
            false => Framing::of_version(introduction.version.unwrap_or(1)),
        };
        Ok(self.guest(&device, mac, framing, introduction.came_to))
    }

    /// Judges a device that is connected over MQTT: who it is, its login has proved.
    ///
    /// # Errors
    /// Why it may not talk.
    pub fn admit_login(
        &self,
        id: &ClientId,
        user: Option<&str>,
        came_to: Option<IpAddr>,
    ) -> Result<Guest, NoGuest> {
        if !self.rules().enabled {
            return Err(NoGuest::Disabled);
        }
        let device = self.admitted(id);
        let device = device.filter(|device| Some(&*device.name) == user);
        let device = device.ok_or(NoGuest::Unknown)?;
        Ok(self.guest(&device, id.mac, Framing::V1, came_to))
    }

    fn guest(
        &self,
        device: &XiaozhiDevice,
        mac: MacAddress,
        framing: Framing,
        came_to: Option<IpAddr>,
    ) -> Guest {
        let version = self.roll.version(mac);
        let version = version.and_then(|version| version.parse::<Version>().ok());
        Guest {
            name: device.name.clone(),
            tags: device.tags.clone(),
            habits: Habits::by(version.as_ref(), Client::Device),
            framing,
            offset_minutes: self.clock.offset_minutes(),
            vision: self.vision(device, mac, came_to),
        }
    }
}
