//! What a client was admitted with.

use alloc::string::String;
use alloc::vec::Vec;
use safeport_mqtt::TopicFilter;

/// Which topics somebody may publish to or subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicRights {
    /// Every topic, `$SYS/#` too (which nobody may publish to).
    All,
    /// A publish needs a filter here that matches its topic; a subscription needs one that
    /// covers its filter. `#` is every topic except those starting with `$` [MQTT-4.7.2-1].
    Filters(Vec<String>),
}

impl TopicRights {
    /// May a message go to `topic`?
    pub fn allows_topic(&self, topic: &str) -> bool {
        match self {
            TopicRights::All => true,
            TopicRights::Filters(filters) => filters
                .iter()
                .filter_map(|f| TopicFilter::new(f).ok())
                .any(|f| f.matches(topic)),
        }
    }

    /// May somebody subscribe to `wanted`? A shared subscription is judged by its filter.
    pub fn allows_filter(&self, wanted: &TopicFilter<'_>) -> bool {
        let Ok(wanted) = TopicFilter::new(wanted.filter()) else {
            return false;
        };
        match self {
            TopicRights::All => true,
            TopicRights::Filters(filters) => filters
                .iter()
                .filter_map(|f| TopicFilter::new(f).ok())
                .any(|f| f.covers(&wanted)),
        }
    }
}

/// The rights of one connection, shared by every connection of the same user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// Who logged in; `None` for an anonymous client.
    pub user: Option<String>,
    /// Where it may publish. Nobody may publish to `$SYS/#`.
    pub publish: TopicRights,
    /// What it may subscribe to.
    pub subscribe: TopicRights,
    /// The topic on which it speaks to the server itself. What it publishes there (if `publish`
    /// allows it) makes an [`Effect::Addressed`](crate::Effect::Addressed) and goes to nobody
    /// else; a will there goes to nobody at all. `None` for everybody who speaks to others only.
    pub to_server: Option<String>,
}

impl Permissions {
    /// Whether a message to `topic` is for the server itself.
    pub(crate) fn addresses_server(&self, topic: &str) -> bool {
        self.to_server.as_deref() == Some(topic)
    }

    /// Everything, for `serve --open` and for tests.
    pub fn open() -> Self {
        Self {
            user: None,
            publish: TopicRights::All,
            subscribe: TopicRights::All,
            to_server: None,
        }
    }
}
