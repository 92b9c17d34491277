//! Who may talk: the token that a device was told at its check.

use safeport_fleet::MacAddress;
use safeport_xiaozhi::{
    Client, ClientId, Framing, Habits, TokenError, Version, verify_websocket_token,
};

use super::Xiaozhi;
use crate::limits::XIAOZHI_TOKEN_AGE;
use crate::serve::access::unix_now;

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
    /// `from=mqtt_gateway`: a gateway speaks for a device that came to it over MQTT and UDP.
    pub is_gateway: bool,
}

/// A device that may talk.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its name in the registry.
    pub name: String,
    /// What its firmware does and does not.
    pub habits: Habits,
    /// How its binary frames look.
    pub framing: Framing,
    /// Minutes by which its clock is ahead of UTC.
    pub offset_minutes: i16,
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
        let given = |value: &'_ Option<String>, name| {
            let given = value.clone().filter(|value| !value.is_empty());
            given.ok_or(NoGuest::Nameless(name))
        };
        let device_id = given(&introduction.device_id, "Device-Id")?;
        let client_id = given(&introduction.client_id, "Client-Id")?;
        let mac: MacAddress = device_id.parse().map_err(|_| NoGuest::NoMac)?;
        let id = ClientId::new("", mac, &client_id);
        let device = self.admitted(&id).ok_or(NoGuest::Unknown)?;
        let token = introduction.authorization.as_deref().unwrap_or_default();
        let token = token.strip_prefix("Bearer ").unwrap_or(token).trim();
        if token.is_empty() {
            return Err(NoGuest::NoToken);
        }
        let made = verify_websocket_token(
            &rules.auth_key,
            &client_id,
            &device_id,
            token,
            unix_now(),
            XIAOZHI_TOKEN_AGE.as_secs(),
        );
        if made.map_err(NoGuest::Token)? < device.created {
            return Err(NoGuest::Outdated);
        }
        let version = self.roll.version(mac);
        let version = version.and_then(|version| version.parse::<Version>().ok());
        Ok(Guest {
            name: device.name.clone(),
            habits: Habits::by(version.as_ref(), Client::Device),
            framing: match introduction.is_gateway {
                true => Framing::GatewayServer,
                false => Framing::of_version(introduction.version.unwrap_or(1)),
            },
            offset_minutes: self.clock.offset_minutes(),
        })
    }
}
