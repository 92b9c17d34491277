//! Where a Tasmota device speaks and listens.

use alloc::string::String;
use alloc::vec::Vec;

use crate::MacAddress;
use crate::sighting::Text;

/// A topic of the shape that Tasmota's FullTopic makes with its default
/// prefixes, wherever in it the prefix stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TasmotaTopic<'t> {
    whole: &'t str,
    /// `cmnd`, `stat` or `tele`.
    pub prefix: &'t str,
    /// The last level: `LWT`, `RESULT`.
    pub last: &'t str,
}

impl<'t> TasmotaTopic<'t> {
    /// Takes a topic apart. None if no level is a prefix, or nothing is left
    /// beside it.
    pub fn split(topic: &'t str) -> Option<TasmotaTopic<'t>> {
        let (path, last) = topic.rsplit_once('/')?;
        let prefix = path
            .split('/')
            .find(|level| matches!(*level, "cmnd" | "stat" | "tele"))?;
        (path != prefix && !last.is_empty()).then_some(TasmotaTopic {
            whole: topic,
            prefix,
            last,
        })
    }

    /// What tells the device: all levels but the prefix and the last.
    pub fn path(&self) -> String {
        let path = &self.whole[..self.whole.len() - self.last.len() - 1];
        let mut seen = false;
        let levels = path.split('/').filter(|level| {
            let prefix = !seen && *level == self.prefix;
            seen |= prefix;
            !prefix
        });
        let levels: Vec<&str> = levels.collect();
        levels.join("/")
    }

    /// The same topic with another prefix, up to and with the last `/`.
    pub fn with_prefix(&self, prefix: &str) -> String {
        let path = &self.whole[..self.whole.len() - self.last.len()];
        let at = self.prefix.as_ptr() as usize - self.whole.as_ptr() as usize;
        [&path[..at], prefix, &path[at + self.prefix.len()..]].concat()
    }
}

/// Fills in a FullTopic as the firmware does: with a closing `/`, without `#`
/// and double `/`. None if the outcome would be longer than a topic may be.
pub fn expand(
    template: &str,
    prefix: &str,
    topic: &str,
    hostname: &str,
    mac: Option<MacAddress>,
) -> Option<Text> {
    let mut filled = template
        .replace("%prefix%", prefix)
        .replace("%topic%", topic)
        .replace("%hostname%", hostname);
    if filled.contains("%id%") {
        filled = filled.replace("%id%", &mac?.to_plain_upper());
    }
    let filled = filled.replace('#', "");
    let levels: Vec<&str> = filled
        .split('/')
        .filter(|level| !level.is_empty())
        .collect();
    let mut full = levels.join("/");
    full.push('/');
    let fits = full.len() > 1 && full.len() <= crate::limits::MAX_IDENTITY;
    (fits && !full.contains(char::is_control)).then(|| full.into())
}
