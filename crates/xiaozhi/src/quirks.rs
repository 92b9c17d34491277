//! What a version of the firmware can and cannot do.

use crate::{CheckRequest, Client, Modem, Network, Version};

/// The habits of one device, by the version that it reports and the way it is connected. A device
/// that reports none is taken for a current one: nothing that an old one needs harms it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// Up to 1.5.9 the whole check fails without a `firmware` object that has a version and an
    /// address.
    pub wants_firmware: bool,
    /// Up to 1.6.x the status is not looked at: a JSON body counts as a good answer under any, and
    /// numbers in the `mqtt` section are passed over.
    pub ignores_status: bool,
    /// Before 1.6.2 the port of MQTT is 8883, whatever is told, and so is TLS.
    pub mqtt_port_is_fixed: bool,
    /// From 1.6.2 on the address of the WebSocket comes from the answer; before it was built in.
    pub takes_websocket: bool,
    /// The modem decides about TLS of a WebSocket by something else than the scheme.
    pub modem_tls: ModemTls,
    /// Whether TLS verifies the server: against the public roots, and no others.
    pub verifies: bool,
    /// From 2.5 on a device that is idle plays what it is sent in a `notify`
    /// (78/xiaozhi-esp32#2191). An older one passes over it without a sound, so only one counts that
    /// says its version.
    pub takes_notices: bool,
    /// A program that trusts no certificate more or less: TLS of WebSockets is not verified, and
    /// MQTT is what its user chose, not what is told.
    pub is_program: bool,
}

/// When an ML307 modem speaks TLS on a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModemTls {
    /// As the scheme says (component 3.0 and later, firmware from 1.8.0).
    ByScheme,
    /// Always (up to 1.9.0, firmware up to 1.6.0).
    Always,
    /// At port 443 only, whatever the scheme (1.9.1 to 2.x, firmware 1.6.1 to 1.7.x).
    ByPort443,
}

/// Why a device cannot go a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misses {
    /// WebSockets cannot be told to it.
    #[error("firmware before 1.6.2 has its WebSocket address built in; update the device")]
    WebSocketBuiltIn,
    /// Its modem looks at the port.
    #[error(
        "the modem component of firmware 1.6.1 to 1.7 speaks TLS at port 443 and nowhere else; \
         give xiaozhi.websocket_url as wss:// at port 443 or ws:// at another, or update the device"
    )]
    ModemLooksAtPort,
    /// It connects to port 8883 whatever it is told.
    #[error(
        "firmware before 1.6.2 connects to port 8883 with TLS, whatever it is told; serve mqtts at \
         port 8883 with a publicly trusted certificate, or update the device"
    )]
    MqttPortFixed,
    /// It has no MQTT.
    #[error("a browser has no MQTT; set xiaozhi.websocket_url")]
    NoMqtt,
    /// It trusts the public roots only.
    #[error(
        "xiaozhi firmware trusts public certificates only, and that of this address is none; use \
         an address without TLS, or a certificate of a public authority ([acme], tls.chain_files)"
    )]
    PrivateCertificate,
}

impl Quirks {
    /// The habits of whoever sent this check.
    pub fn of(check: &CheckRequest) -> Quirks {
        Quirks::by(check.version.as_ref(), check.network, check.client)
    }

    /// The habits of a device of this version.
    pub fn by(version: Option<&Version>, network: Network, client: Client) -> Quirks {
        let is_program = client != Client::Device;
        let told = version.filter(|version| !version.is_empty() && !is_program);
        let segments = told.map_or(&[u32::MAX][..], Version::segments);
        let before = |limit: &[u32]| segments < limit;
        let modem_tls = match network {
            Network::Cellular(Modem::Ml307) if before(&[1, 6, 1]) => ModemTls::Always,
            Network::Cellular(Modem::Ml307) if before(&[1, 8]) => ModemTls::ByPort443,
            _ => ModemTls::ByScheme,
        };
        Quirks {
            wants_firmware: before(&[1, 6]),
            ignores_status: before(&[1, 7]),
            mqtt_port_is_fixed: before(&[1, 6, 2]),
            takes_websocket: !before(&[1, 6, 2]),
            modem_tls,
            verifies: !is_program && !matches!(network, Network::Cellular(_)),
            takes_notices: told.is_some() && !before(&[2, 5]),
            is_program,
        }
    }

    /// Whether a WebSocket at this port, inside TLS or not, comes about. `is_public`: its
    /// certificate is one that the public roots vouch for.
    ///
    /// # Errors
    /// Why it does not.
    pub fn websocket(&self, tls: bool, port: u16, is_public: bool) -> Result<(), Misses> {
        if !self.takes_websocket {
            return Err(Misses::WebSocketBuiltIn);
        }
        // Where the modem always speaks TLS, the address is built in, too.
        if self.modem_tls == ModemTls::ByPort443 && tls != (port == 443) {
            return Err(Misses::ModemLooksAtPort);
        }
        self.certificate(tls, is_public)
    }

    /// Whether MQTT at this port comes about. TLS is spoken exactly at 8883.
    ///
    /// # Errors
    /// Why it does not.
    pub fn mqtt(&self, client: Client, port: u16, is_public: bool) -> Result<(), Misses> {
        if client == Client::Browser {
            return Err(Misses::NoMqtt);
        }
        if self.mqtt_port_is_fixed && port != crate::Endpoint::TLS_PORT {
            return Err(Misses::MqttPortFixed);
        }
        // py-xiaozhi verifies MQTT against the system's roots, as devices do.
        let verifies = self.verifies || self.is_program;
        match port == crate::Endpoint::TLS_PORT && verifies && !is_public {
            true => Err(Misses::PrivateCertificate),
            false => Ok(()),
        }
    }

    fn certificate(&self, tls: bool, is_public: bool) -> Result<(), Misses> {
        if tls && self.verifies && !is_public {
            return Err(Misses::PrivateCertificate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str, network: Network) -> Quirks {
        let version: Version = version.parse().expect(version);
        Quirks::by(Some(&version), network, Client::Device)
    }

    #[test]
    fn each_habit_ends_with_the_version_that_ended_it() {
        for (version, firmware, status, port, websocket) in [
            ("1.4.0", true, true, true, false),
            ("1.5.9", true, true, true, false),
            ("1.6.0", false, true, true, false),
            ("1.6.1", false, true, true, false),
            ("1.6.2", false, true, false, true),
            ("1.6.6", false, true, false, true),
            ("1.7.0", false, false, false, true),
            ("2.4.2", false, false, false, true),
        ] {
            let quirks = of(version, Network::Lan);
            assert_eq!(quirks.wants_firmware, firmware, "{version}");
            assert_eq!(quirks.ignores_status, status, "{version}");
            assert_eq!(quirks.mqtt_port_is_fixed, port, "{version}");
            assert_eq!(quirks.takes_websocket, websocket, "{version}");
        }
        let unknown = Quirks::by(None, Network::Unknown, Client::Device);
        assert!(!unknown.wants_firmware && unknown.takes_websocket);
    }

    #[test]
    fn notices_are_for_devices_that_say_that_their_firmware_is_2_5_or_later() {
        let takes = |version| of(version, Network::Lan).takes_notices;
        assert!(!takes("1.9.4") && !takes("2.4.2") && !takes("2.4.99"));
        assert!(takes("2.5") && takes("2.5.0") && takes("2.10.1") && takes("3.0.0"));
        let unknown = Quirks::by(None, Network::Lan, Client::Device);
        assert!(!unknown.takes_notices);
        let version: Version = "3.0.0".parse().expect("a version");
        let program = Quirks::by(Some(&version), Network::Lan, Client::Python);
        assert!(!program.takes_notices);
    }

    #[test]
    fn modems_speak_tls_where_their_component_does_and_not_where_the_scheme_says() {
        let modem = Network::Cellular(Modem::Ml307);
        for (version, tls, port, comes) in [
            ("1.6.2", true, 443, Ok(())),
            ("1.6.2", true, 8443, Err(Misses::ModemLooksAtPort)),
            ("1.7.6", false, 8000, Ok(())),
            ("1.7.6", false, 443, Err(Misses::ModemLooksAtPort)),
            ("1.8.0", false, 443, Ok(())),
            ("1.8.0", true, 8443, Ok(())),
        ] {
            assert_eq!(
                of(version, modem).websocket(tls, port, false),
                comes,
                "{version} {tls} {port}"
            );
        }
        assert_eq!(of("1.6.0", modem).modem_tls, ModemTls::Always);
        let ec801 = Network::Cellular(Modem::Ec801);
        assert_eq!(of("1.7.0", ec801).websocket(true, 8443, false), Ok(()));
    }

    #[test]
    fn rule_9_a_private_certificate_is_good_enough_for_modems_only() {
        let lan = of("2.4.2", Network::Lan);
        let modem = of("2.4.2", Network::Cellular(Modem::Ec801));
        let private = Err(Misses::PrivateCertificate);
        assert_eq!(lan.websocket(true, 8443, false), private);
        assert_eq!(lan.websocket(true, 8443, true), Ok(()));
        assert_eq!(lan.websocket(false, 8002, false), Ok(()));
        assert_eq!(modem.websocket(true, 8443, false), Ok(()));
        assert_eq!(lan.mqtt(Client::Device, 8883, false), private);
        assert_eq!(lan.mqtt(Client::Device, 8883, true), Ok(()));
        assert_eq!(lan.mqtt(Client::Device, 1883, false), Ok(()));
        assert_eq!(modem.mqtt(Client::Device, 8883, false), Ok(()));
        let unknown = Quirks::by(None, Network::Unknown, Client::Device);
        assert_eq!(unknown.websocket(true, 8443, false), private);
    }

    #[test]
    fn before_1_6_2_only_port_8883_is_of_use() {
        let old = of("1.6.1", Network::Lan);
        assert_eq!(
            old.mqtt(Client::Device, 1883, true),
            Err(Misses::MqttPortFixed)
        );
        assert_eq!(old.mqtt(Client::Device, 8883, true), Ok(()));
        assert_eq!(
            old.websocket(false, 8002, false),
            Err(Misses::WebSocketBuiltIn)
        );
    }

    #[test]
    fn programs_are_not_taken_for_old_firmware_by_the_version_of_the_program() {
        let version: Version = "1.0.0".parse().expect("a version");
        let browser = Quirks::by(Some(&version), Network::Unknown, Client::Browser);
        assert_eq!(browser.websocket(false, 8002, false), Ok(()));
        assert_eq!(
            browser.mqtt(Client::Browser, 1883, true),
            Err(Misses::NoMqtt)
        );
        let python = Quirks::by(Some(&version), Network::Unknown, Client::Python);
        assert_eq!(python.mqtt(Client::Python, 1883, false), Ok(()));
        assert_eq!(
            python.mqtt(Client::Python, 8883, false),
            Err(Misses::PrivateCertificate)
        );
    }
}
