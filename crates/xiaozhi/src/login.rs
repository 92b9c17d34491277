//! The MQTT login of a device: what stands in its client identifier and its user name.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use safeport_fleet::MacAddress;

use crate::limits::MAX_CLIENT_ID;
use crate::{base64, decode_base64};

/// `GID_<board>@@@<mac with underscores>@@@<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientId {
    /// `GID_<board type>` by convention.
    pub group: String,
    /// Whose it is.
    pub mac: MacAddress,
    /// The device's Client-Id, by which it is told from another one that claims its address;
    /// some servers put the address here once more. `None` in the short form of two parts, which
    /// proves nothing.
    pub uuid: Option<String>,
}

/// The text is no client identifier of a xiaozhi device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a client identifier of a xiaozhi device, which looks like \
     GID_board@@@a0_b1_c2_d3_e4_f5@@@uuid; restart the device, it fetches one"
)]
pub struct ClientIdError;

impl ClientId {
    /// That of a board of this type. What would break it apart, or an MQTT topic that somebody
    /// makes of it, becomes `_`.
    pub fn new(board: &str, mac: MacAddress, uuid: &str) -> ClientId {
        let clean = |text: &str, most: usize| -> String {
            text.chars()
                .take(most)
                .map(|c| match c {
                    'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' => c,
                    _ => '_',
                })
                .collect()
        };
        let board = if board.is_empty() { "default" } else { board };
        ClientId {
            group: format!("GID_{}", clean(board, 48)),
            mac,
            uuid: Some(clean(uuid, 64)),
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@@@{}", self.group, self.mac.with_underscores())?;
        match &self.uuid {
            Some(uuid) => write!(f, "@@@{uuid}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ClientId {
    type Err = ClientIdError;

    fn from_str(text: &str) -> Result<ClientId, ClientIdError> {
        if text.len() > MAX_CLIENT_ID {
            return Err(ClientIdError);
        }
        let mut parts = text.split("@@@");
        let (Some(group), Some(mac), uuid, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ClientIdError);
        };
        if group.is_empty() || uuid.is_some_and(str::is_empty) {
            return Err(ClientIdError);
        }
        Ok(ClientId {
            group: group.to_string(),
            mac: mac.parse().map_err(|_| ClientIdError)?,
            uuid: uuid.map(str::to_string),
        })
    }
}

/// What a user name says: base64 of a small JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(default)]
pub struct Username {
    /// Where the device was when it asked, as the server saw it; `unknown` where it did not.
    pub ip: Option<String>,
    /// When the server made the login, in seconds since 1970; other servers leave it out. A login
    /// that is older than the enrolment of its device belongs to an earlier one.
    pub at: Option<u64>,
}

impl Username {
    /// The user name of a device that asks from `ip` at `at`, in seconds since 1970.
    pub fn text(ip: Option<IpAddr>, at: u64) -> String {
        let json = match ip {
            Some(ip) => format!("{{\"ip\":\"{ip}\",\"at\":{at}}}"),
            None => format!("{{\"ip\":\"unknown\",\"at\":{at}}}"),
        };
        base64::encode(json.as_bytes())
    }
}

impl FromStr for Username {
    type Err = ClientIdError;

    fn from_str(text: &str) -> Result<Username, ClientIdError> {
        let json = decode_base64(text).ok_or(ClientIdError)?;
        serde_json::from_slice(&json).map_err(|_| ClientIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);

    #[test]
    fn a_client_identifier_reads_back_as_itself() {
        let id = ClientId::new("bread-compact-wifi", MAC, "7b94d69a");
        let text = id.to_string();
        assert_eq!(
            text,
            "GID_bread-compact-wifi@@@aa_bb_cc_dd_ee_ff@@@7b94d69a"
        );
        assert_eq!(text.parse(), Ok(id));
        let short: ClientId = "GID_x@@@AA_BB_CC_DD_EE_FF".parse().expect("two parts");
        assert_eq!((short.mac, short.uuid), (MAC, None));
    }

    #[test]
    fn names_of_boards_cannot_break_a_client_identifier_apart() {
        for board in [
            "a@@@b",
            "Web测试设备",
            "a/b#+",
            "",
            "a:b c",
            &"x".repeat(500),
        ] {
            let id = ClientId::new(board, MAC, "u@@@v/#");
            let text = id.to_string();
            assert_eq!(text.parse().as_ref(), Ok(&id), "{text}");
            assert!(!text.contains(['/', '#', '+']), "{text}");
        }
        assert_eq!(ClientId::new("", MAC, "u").group, "GID_default");
    }

    #[test]
    fn what_is_no_client_identifier_of_a_xiaozhi_device_is_refused() {
        for text in [
            "",
            "plug-1",
            "GID_x@@@",
            "GID_x@@@nomac@@@u",
            "@@@aa_bb_cc_dd_ee_ff@@@u",
            "GID_x@@@aa_bb_cc_dd_ee_ff@@@",
            "GID_x@@@aa_bb_cc_dd_ee_ff@@@u@@@v",
        ] {
            assert_eq!(text.parse::<ClientId>(), Err(ClientIdError), "{text}");
        }
        let long = format!("GID_{}@@@aa_bb_cc_dd_ee_ff@@@u", "x".repeat(300));
        assert_eq!(long.parse::<ClientId>(), Err(ClientIdError));
    }

    #[test]
    fn user_names_of_other_servers_are_read_too() {
        let theirs: Username = "eyJpcCI6ICJ1bmtub3duIn0=".parse().expect("a user name");
        assert_eq!((theirs.ip.as_deref(), theirs.at), (Some("unknown"), None));
        let ours = Username::text(Some(IpAddr::from([192, 168, 1, 20])), 1_700_000_000);
        let ours: Username = ours.parse().expect("a user name");
        assert_eq!(ours.ip.as_deref(), Some("192.168.1.20"));
        assert_eq!(ours.at, Some(1_700_000_000));
        for wrong in ["", "plug-1", "e30", "bnVsbA=="] {
            let read = wrong.parse::<Username>();
            assert!(read.is_err() || read == Ok(Username::default()), "{wrong}");
        }
    }
}
