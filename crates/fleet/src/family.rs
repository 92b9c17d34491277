//! The kinds of firmware that Safeport knows by their habits.

use core::fmt;
use core::str::FromStr;

/// Which firmware a device runs. It decides the topics the device needs, the
/// client identifiers it comes up with, and how a person enters our address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Tasmota on ESP8266 or ESP32.
    Tasmota,
    /// ESPEasy with the controller "Home Assistant (openHAB) MQTT" (C005).
    EspEasy,
    /// ESPHome with its `mqtt:` component.
    EspHome,
    /// A xiaozhi voice device.
    Xiaozhi,
    /// Anything else that speaks MQTT: own ESP-IDF or Arduino firmware.
    Plain,
}

impl Family {
    /// Every family, in the order in which help texts list them.
    pub const ALL: [Family; 5] = [
        Family::Tasmota,
        Family::EspEasy,
        Family::EspHome,
        Family::Xiaozhi,
        Family::Plain,
    ];

    /// The word used on the command line and in the registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Tasmota => "tasmota",
            Family::EspEasy => "espeasy",
            Family::EspHome => "esphome",
            Family::Xiaozhi => "xiaozhi",
            Family::Plain => "plain",
        }
    }

    /// The topic on which devices of this family speak to the server itself, and to nobody else.
    pub fn server_topic(self) -> Option<&'static str> {
        match self {
            Family::Xiaozhi => Some("device-server"),
            Family::Tasmota | Family::EspEasy | Family::EspHome | Family::Plain => None,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Family {
    type Err = FamilyError;

    fn from_str(text: &str) -> Result<Family, FamilyError> {
        // What people call own firmware that is built on ESP-IDF.
        if text.eq_ignore_ascii_case("idf") {
            return Ok(Family::Plain);
        }
        Family::ALL
            .into_iter()
            .find(|family| family.as_str().eq_ignore_ascii_case(text))
            .ok_or(FamilyError)
    }
}

crate::as_text::stored_as_text!(Family, "a device family");

/// The word is no family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a device family: use tasmota, espeasy, esphome, xiaozhi, or plain (or idf) for any other firmware"
)]
pub struct FamilyError;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_family_is_read_back_from_its_own_word_in_any_case() {
        for family in Family::ALL {
            assert_eq!(family.to_string().parse(), Ok(family));
            assert_eq!(family.to_string().to_uppercase().parse(), Ok(family));
        }
    }

    #[test]
    fn own_firmware_may_be_called_by_what_it_is_built_on() {
        assert_eq!("idf".parse(), Ok(Family::Plain));
        assert_eq!("IDF".parse(), Ok(Family::Plain));
    }

    #[test]
    fn an_unknown_family_is_answered_with_the_list_of_known_ones() {
        let answer = "sonoff".parse::<Family>().unwrap_err().to_string();
        for family in Family::ALL {
            assert!(answer.contains(family.as_str()), "{answer}");
        }
    }
}
