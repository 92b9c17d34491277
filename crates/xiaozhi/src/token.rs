//! Words that a device shows to prove that this server let it in.
//!
//! The formats are those of the servers and gateways in the field, so that devices and voice
//! servers can be moved one by one. Every comparison takes the same time wherever the first
//! difference is.

use alloc::format;
use alloc::string::String;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::limits::CLOCK_AHEAD;
use crate::{base64, decode_base64};

pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// The bearer token of a WebSocket: `base64url(HMAC-SHA256(secret, client|device|time)).time`.
///
/// `client_id` and `device_id` are what the device sends in its headers, letter for letter: the
/// voice server computes the same over what it gets. `at` is in seconds since 1970.
pub fn websocket_token(secret: &[u8], client_id: &str, device_id: &str, at: u64) -> String {
    let mac = websocket_mac(secret, client_id, device_id, &format!("{at}"));
    let mac = mac.finalize().into_bytes();
    format!("{}.{at}", base64::encode_url(&mac))
}

/// When `token` was made, in seconds since 1970, if it was made with `secret` for this client and
/// device, and not more than `max_age` seconds before `now`.
///
/// # Errors
/// What is wrong with it.
pub fn verify_websocket_token(
    secret: &[u8],
    client_id: &str,
    device_id: &str,
    token: &str,
    now: u64,
    max_age: u64,
) -> Result<u64, TokenError> {
    let (mac, at) = token.split_once('.').ok_or(TokenError::Shape)?;
    if at.contains('.') || at.len() > 20 || !at.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TokenError::Shape);
    }
    let made: u64 = at.parse().map_err(|_| TokenError::Shape)?;
    let mac = decode_base64(mac).ok_or(TokenError::Shape)?;
    // Over the time as it is written: `01700000000` is another text with another hash.
    websocket_mac(secret, client_id, device_id, at)
        .verify_slice(&mac)
        .map_err(|_| TokenError::Forged)?;
    check_age(made, now, max_age).map(|()| made)
}

fn websocket_mac(secret: &[u8], client_id: &str, device_id: &str, at: &str) -> Hmac<Sha256> {
    hmac(
        secret,
        &[
            client_id.as_bytes(),
            b"|",
            device_id.as_bytes(),
            b"|",
            at.as_bytes(),
        ],
    )
}

fn check_age(made: u64, now: u64, max_age: u64) -> Result<(), TokenError> {
    if made > now.saturating_add(CLOCK_AHEAD) {
        return Err(TokenError::FromTheFuture);
    }
    if now.saturating_sub(made) > max_age {
        return Err(TokenError::Expired);
    }
    Ok(())
}

/// The password of an MQTT login: `base64(HMAC-SHA256(key, client_id|username))`. It carries no
/// time; what ends it is another key, or that the device is not admitted any more.
pub fn mqtt_password(key: &[u8], client_id: &str, username: &str) -> String {
    base64::encode(
        &password_mac(key, client_id, username)
            .finalize()
            .into_bytes(),
    )
}

/// Whether `password` belongs to this client identifier and user name.
pub fn verify_mqtt_password(key: &[u8], client_id: &str, username: &str, password: &[u8]) -> bool {
    core::str::from_utf8(password)
        .ok()
        .and_then(decode_base64)
        .is_some_and(|mac| {
            password_mac(key, client_id, username)
                .verify_slice(&mac)
                .is_ok()
        })
}

fn password_mac(key: &[u8], client_id: &str, username: &str) -> Hmac<Sha256> {
    hmac(key, &[client_id.as_bytes(), b"|", username.as_bytes()])
}

/// The word of a day by which a management program shows itself to an MQTT gateway: the hash of
/// the date, as in `2026-01-02`, followed by the key.
pub fn management_token(key: &[u8], date: &str) -> String {
    let digest = Sha256::new_with_prefix(date).chain_update(key).finalize();
    let mut token = String::with_capacity(64);
    for byte in digest {
        token.push_str(&format!("{byte:02x}"));
    }
    token
}

/// Whether `token` is that of one of `dates`: callers in the field try today, yesterday and
/// tomorrow, since the gateway's date is a local one.
pub fn verify_management_token(key: &[u8], token: &str, dates: &[&str]) -> bool {
    // Compared through a keyed hash, so that the time says nothing of how far they agree.
    let given = hmac(key, &[token.as_bytes()]).finalize().into_bytes();
    let mut found = false;
    for date in dates {
        let own = management_token(key, date);
        found |= hmac(key, &[own.as_bytes()]).verify_slice(&given).is_ok();
    }
    found
}

/// Why a token lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not shaped like one.
    #[error("this is no token of a xiaozhi device; restart the device, it fetches another one")]
    Shape,
    /// It was made with another key, or for another device.
    #[error(
        "the token was made with another key or for another device; restart the device, and set \
         the same xiaozhi.auth_key here and at the voice server"
    )]
    Forged,
    /// It is older than tokens may be.
    #[error("the token has run out; restart the device, it fetches another one")]
    Expired,
    /// It says that it will be made later.
    #[error("the token is dated in the future; set the clocks of both servers right")]
    FromTheFuture,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"safeport-test-secret";
    const CLIENT: &str = "7b94d69a-9808-4c59-9c9b-704333b38aff";
    const DEVICE: &str = "aa:bb:cc:dd:ee:ff";
    const DAY: u64 = 86_400;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn vector_4_the_websocket_token_is_that_of_servers_in_the_field() {
        let token = websocket_token(SECRET, CLIENT, DEVICE, 1_700_000_000);
        assert_eq!(
            token,
            "9dvI-eZgxgevdgsR_HeA-NWZin2aR7u3b_PdjUvEWVM.1700000000"
        );
        assert_eq!(
            hex(&decode_base64(&token[..43]).expect("base64")),
            "f5dbc8f9e660c607af760b11fc7780f8d5998a7d9a47bbb76ff3dd8d4bc45953"
        );
    }

    #[test]
    fn a_websocket_token_holds_for_its_time_its_device_and_its_key_only() {
        let at = 1_700_000_000;
        let token = websocket_token(SECRET, CLIENT, DEVICE, at);
        let verify =
            |token: &str, now| verify_websocket_token(SECRET, CLIENT, DEVICE, token, now, 30 * DAY);
        assert_eq!(verify(&token, at), Ok(at));
        assert_eq!(verify(&token, at + 30 * DAY), Ok(at));
        assert_eq!(verify(&token, at + 30 * DAY + 1), Err(TokenError::Expired));
        assert_eq!(verify(&token, at - 300), Ok(at));
        assert_eq!(verify(&token, at - 301), Err(TokenError::FromTheFuture));
        let (mac, _) = token.split_once('.').expect("a dot");
        for (wrong, error) in [
            (String::new(), TokenError::Shape),
            (mac.into(), TokenError::Shape),
            (format!("{token}.1"), TokenError::Shape),
            (format!("{mac}."), TokenError::Shape),
            (format!("{mac}.-1"), TokenError::Shape),
            (format!("{mac}.99999999999999999999"), TokenError::Shape),
            (format!("{mac}.1700000001"), TokenError::Forged),
            (format!("{mac}.01700000000"), TokenError::Forged),
            (format!("{}.{at}", &mac[..42]), TokenError::Shape),
            (format!("A{}.{at}", &mac[1..]), TokenError::Forged),
            (format!(".{at}"), TokenError::Forged),
        ] {
            assert_eq!(verify(&wrong, at), Err(error), "{wrong}");
        }
        for (secret, client, device) in [
            (&b"other"[..], CLIENT, DEVICE),
            (SECRET, "other", DEVICE),
            (SECRET, CLIENT, "AA:BB:CC:DD:EE:FF"),
        ] {
            assert_eq!(
                verify_websocket_token(secret, client, device, &token, at, DAY),
                Err(TokenError::Forged)
            );
        }
    }

    const KEY: &[u8] = b"SafePortKey77";
    const MQTT_ID: &str = "GID_bread-compact-wifi@@@aa_bb_cc_dd_ee_ff@@@aa_bb_cc_dd_ee_ff";
    const USER: &str = "eyJpcCI6ICJ1bmtub3duIn0=";

    #[test]
    fn vector_5_the_mqtt_password_is_that_of_gateways_in_the_field() {
        let password = mqtt_password(KEY, MQTT_ID, USER);
        assert_eq!(password, "KIIL6iczkRlTnPNcG7i7hxmdBKbSrDLEM6ivH+LHlec=");
        assert_eq!(
            hex(&decode_base64(&password).expect("base64")),
            "28820bea27339119539cf35c1bb8bb87199d04a6d2ac32c433a8af1fe2c795e7"
        );
        assert!(verify_mqtt_password(
            KEY,
            MQTT_ID,
            USER,
            password.as_bytes()
        ));
        for (key, id, user) in [
            (&b"SafePortKey78"[..], MQTT_ID, USER),
            (KEY, "GID_x@@@aa_bb_cc_dd_ee_ff@@@y", USER),
            (KEY, MQTT_ID, "eyJpcCI6InVua25vd24ifQ=="),
        ] {
            assert!(!verify_mqtt_password(key, id, user, password.as_bytes()));
        }
        for wrong in [&b""[..], b"KIIL", b"\xff\xfe", &password.as_bytes()[1..]] {
            assert!(!verify_mqtt_password(KEY, MQTT_ID, USER, wrong));
        }
    }

    #[test]
    fn vector_5_the_management_token_is_that_of_gateways_in_the_field() {
        let token = management_token(KEY, "2026-01-02");
        assert_eq!(
            token,
            "92dc70a68729a1735140f2a682fc0c8c27911f323bbf88c18020ed42a56cc244"
        );
        let dates = ["2026-01-03", "2026-01-02", "2026-01-04"];
        assert!(verify_management_token(KEY, &token, &dates));
        assert!(!verify_management_token(KEY, &token, &dates[..1]));
        assert!(!verify_management_token(b"other", &token, &dates));
        assert!(!verify_management_token(KEY, "", &dates));
    }
}
