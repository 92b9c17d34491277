//! The two listeners of HTTP.

/// How a connection of HTTP is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// In the clear: `http.bind`.
    Plain,
    /// Inside TLS: `https.bind`.
    Tls,
}

impl Transport {
    /// Both.
    pub const ALL: [Transport; 2] = [Transport::Plain, Transport::Tls];

    /// The listener's name, for settings, log and engine.
    pub fn listener(self) -> &'static str {
        match self {
            Transport::Plain => "http",
            Transport::Tls => "https",
        }
    }
}
