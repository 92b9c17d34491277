//! How deep a connection got.

use core::fmt;

use serde::Serialize;

/// A layer of a connection, in the order in which a device goes through them: a broken one hides
/// those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Joining the network: password, signal, address by DHCP.
    Wifi,
    /// From a name to an address.
    Dns,
    /// From an address to an open connection.
    Tcp,
    /// The device's or the server's time, without which no certificate can be judged.
    Clock,
    /// The TLS handshake and its records, certificates aside.
    Tls,
    /// The chain of certificates and the name in it.
    Certificate,
    /// CONNECT, CONNACK and what follows.
    Mqtt,
    /// The upgrade to WebSocket, and the first messages on it.
    Websocket,
    /// A request and its answer.
    Http,
    /// Firmware: what is offered, fetched, checked and booted.
    Ota,
    /// The device's own memory.
    Memory,
}

impl Layer {
    /// Every layer, the first one first.
    pub const ALL: [Layer; 11] = [
        Layer::Wifi,
        Layer::Dns,
        Layer::Tcp,
        Layer::Clock,
        Layer::Tls,
        Layer::Certificate,
        Layer::Mqtt,
        Layer::Websocket,
        Layer::Http,
        Layer::Ota,
        Layer::Memory,
    ];

    /// The word of the catalogue, of JSON and of the API.
    pub const fn code(self) -> &'static str {
        match self {
            Layer::Wifi => "wifi",
            Layer::Dns => "dns",
            Layer::Tcp => "tcp",
            Layer::Clock => "clock",
            Layer::Tls => "tls",
            Layer::Certificate => "certificate",
            Layer::Mqtt => "mqtt",
            Layer::Websocket => "websocket",
            Layer::Http => "http",
            Layer::Ota => "ota",
            Layer::Memory => "memory",
        }
    }

    /// The layer with this word.
    pub fn of_code(code: &str) -> Option<Layer> {
        Layer::ALL.into_iter().find(|layer| layer.code() == code)
    }

    /// What `safeport doctor` exits with when this layer is broken: 10 to 19. Firmware and memory
    /// are both the device itself, and share 19.
    pub const fn exit_code(self) -> u8 {
        match self {
            Layer::Wifi => 10,
            Layer::Dns => 11,
            Layer::Tcp => 12,
            Layer::Clock => 13,
            Layer::Tls => 14,
            Layer::Certificate => 15,
            Layer::Mqtt => 16,
            Layer::Websocket => 17,
            Layer::Http => 18,
            Layer::Ota | Layer::Memory => 19,
        }
    }

    /// Which broken layer hides which: of two troubles in one burst the one with the lower rank is
    /// the cause. Clock, TLS and certificate are one step, in which the more specific clue wins; so
    /// are the protocols on top. Want of memory shows wherever memory is needed first, so it stands
    /// with TLS.
    pub const fn rank(self) -> u8 {
        match self {
            Layer::Wifi => 0,
            Layer::Dns => 1,
            Layer::Tcp => 2,
            Layer::Clock | Layer::Tls | Layer::Certificate | Layer::Memory => 3,
            Layer::Mqtt | Layer::Websocket | Layer::Http => 4,
            Layer::Ota => 5,
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
