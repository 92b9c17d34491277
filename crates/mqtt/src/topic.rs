//! Topic names and topic filters: what is well-formed, what matches, what covers.

use thiserror::Error;

use crate::error::{DecodeErrorKind as Kind, EncodeError};
use crate::limits::{MAX_TOPIC, MAX_TOPIC_LEVELS};

/// Why a text is not a topic name or topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// Empty [MQTT-4.7.3-1].
    #[error("a topic must have at least one character [MQTT-4.7.3-1]")]
    Empty,
    /// Longer than its length field can say [MQTT-4.7.3-3].
    #[error("the topic has {len} bytes, at most 65535 are possible [MQTT-4.7.3-3]")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Contains U+0000 [MQTT-4.7.3-2].
    #[error("a topic must not contain U+0000 [MQTT-4.7.3-2]")]
    NullCharacter,
    /// A topic name with `+` or `#` [MQTT-4.7.0-1].
    #[error("a topic name must not contain + or #; only topic filters may [MQTT-4.7.0-1]")]
    Wildcard,
    /// `#` not at the end [MQTT-4.7.1-1], or a wildcard that shares its level with other
    /// characters [MQTT-4.7.1-2].
    #[error("# must be the last level and + a whole level of a topic filter [MQTT-4.7.1-1]")]
    MisplacedWildcard,
    /// `$share/` without a name, with a wildcard in the name, or without a filter behind it
    /// [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    #[error("a shared subscription is written $share/<name>/<filter> [MQTT-4.8.2-2]")]
    MalformedShare,
    /// More than [`MAX_TOPIC_LEVELS`] levels.
    #[error("a topic may have 200 levels: use fewer slashes")]
    TooDeep,
}

impl From<TopicError> for EncodeError {
    fn from(error: TopicError) -> EncodeError {
        match error {
            TopicError::TooLong { len } => EncodeError::FieldTooLong { len },
            TopicError::Empty => Kind::EmptyTopicFilter.into(),
            TopicError::NullCharacter => Kind::NullCharacter.into(),
            TopicError::Wildcard => Kind::WildcardInTopicName.into(),
            TopicError::MisplacedWildcard => Kind::MisplacedWildcard.into(),
            TopicError::MalformedShare => Kind::MalformedShare.into(),
            TopicError::TooDeep => Kind::TopicFilterTooDeep.into(),
        }
    }
}

/// A checked topic name: where a message goes. No wildcards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks `text`: 1 to 65,535 bytes, at most [`MAX_TOPIC_LEVELS`] levels, no `+`, `#` or
    /// U+0000.
    pub fn new(text: &'a str) -> Result<TopicName<'a>, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > MAX_TOPIC {
            return Err(TopicError::TooLong { len: text.len() });
        }
        match check_name(text) {
            Ok(()) => Ok(TopicName(text)),
            Err(Kind::NullCharacter) => Err(TopicError::NullCharacter),
            Err(Kind::TopicNameTooDeep) => Err(TopicError::TooDeep),
            Err(_) => Err(TopicError::Wildcard),
        }
    }

    /// The text.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }

    /// The levels between the slashes; some may be empty.
    pub fn levels(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.0.split('/')
    }
}

/// A checked topic filter: what a subscription asks for.
///
/// A shared filter is `$share/<group>/<filter>`; Safeport gives it this meaning in every version
/// of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a> {
    text: &'a str,
    /// Where the filter starts behind `$share/<group>/`; 0 if not shared.
    start: usize,
}

/// What the text of a shared subscription begins with.
const SHARE: &str = "$share/";

impl<'a> TopicFilter<'a> {
    /// Checks `text`: 1 to 65,535 bytes, at most [`MAX_TOPIC_LEVELS`] levels, no U+0000, wildcards
    /// only where they may stand, a well-formed share if it begins with `$share/`.
    pub fn new(text: &'a str) -> Result<TopicFilter<'a>, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > MAX_TOPIC {
            return Err(TopicError::TooLong { len: text.len() });
        }
        if text.as_bytes().contains(&0) {
            return Err(TopicError::NullCharacter);
        }
        let start = share_prefix(text)?;
        check_filter_levels(&text[start..])?;
        Ok(TopicFilter { text, start })
    }

    /// The whole text, share and all.
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The group of a shared subscription.
    pub fn share_group(&self) -> Option<&'a str> {
        self.text.get(SHARE.len()..self.start.checked_sub(1)?)
    }

    /// The filter itself, without `$share/<group>/`.
    pub fn filter(&self) -> &'a str {
        &self.text[self.start..]
    }

    /// The levels of [`filter`](Self::filter); some may be empty.
    pub fn levels(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.filter().split('/')
    }

    /// Whether a message to this topic name belongs to the filter (section 4.7.1).
    ///
    /// A filter that begins with a wildcard matches no topic that begins with `$`
    /// [MQTT-4.7.2-1].
    pub fn matches(&self, topic: &str) -> bool {
        let filter = self.filter();
        if topic.starts_with('$') && filter.starts_with(['+', '#']) {
            return false;
        }
        let mut names = topic.split('/');
        for level in filter.split('/') {
            // `#` also stands for its parent: sport/# matches sport (section 4.7.1.2).
            if level == "#" {
                return true;
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether every topic that `other` matches is matched by `self`. Shares are not looked at.
    ///
    /// This is what a right to subscribe means: a client with the right `plugs/#` may subscribe
    /// to what `plugs/#` covers.
    pub fn covers(&self, other: &TopicFilter<'_>) -> bool {
        let (wide, narrow) = (self.filter(), other.filter());
        // Topics below `$` are out of reach of a leading wildcard [MQTT-4.7.2-1].
        if narrow.starts_with('$') && wide.starts_with(['+', '#']) {
            return false;
        }
        // `#` matches one level or more, since no topic is empty; so does `+/#`, as its `#` also
        // stands for its parent.
        if narrow == "#" {
            return wide == "#" || wide == "+/#";
        }
        let mut narrow = narrow.split('/');
        for level in wide.split('/') {
            if level == "#" {
                return true;
            }
            match narrow.next() {
                // `#` also matches its parent and deeper topics, which no single level does.
                Some("#") | None => return false,
                Some(other) if level == "+" || level == other => {}
                Some(_) => return false,
            }
        }
        narrow.next().is_none()
    }
}

/// Where the filter starts behind `$share/<group>/`, 0 if `text` is no shared filter.
///
/// The group has at least one character [MQTT-4.8.2-1], none of them `/`, `+` or `#`, and a
/// filter follows it [MQTT-4.8.2-2].
fn share_prefix(text: &str) -> Result<usize, TopicError> {
    let Some(shared) = text.strip_prefix(SHARE) else {
        return Ok(0);
    };
    match shared.split_once('/') {
        Some((group, filter))
            if !group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty() =>
        {
            Ok(SHARE.len() + group.len() + 1)
        }
        _ => Err(TopicError::MalformedShare),
    }
}

/// Wildcards only where they may stand [MQTT-4.7.1-1], [MQTT-4.7.1-2] (3.1.1: [MQTT-4.7.1-2],
/// [MQTT-4.7.1-3]), and not too many levels.
fn check_filter_levels(filter: &str) -> Result<(), TopicError> {
    let mut count = 0;
    let mut closed = false;
    for level in filter.split('/') {
        count += 1;
        if closed || (level.len() > 1 && level.contains(['+', '#'])) {
            return Err(TopicError::MisplacedWildcard);
        }
        closed = level == "#";
    }
    if count > MAX_TOPIC_LEVELS {
        return Err(TopicError::TooDeep);
    }
    Ok(())
}

/// The rules of a topic name but for its length: no wildcard [MQTT-4.7.0-1] (3.1.1:
/// [MQTT-4.7.1-1]), no U+0000 [MQTT-4.7.3-2], not too many levels.
#[inline]
pub(crate) fn check_name(name: &str) -> Result<(), Kind> {
    let bytes = name.as_bytes();
    let suspect = match bytes.last_chunk() {
        // The last word overlaps the one before it, which spares a loop over the odd bytes.
        Some(last) => {
            let words = bytes.as_chunks().0.iter();
            words.fold(suspect_word(*last), |suspect, word| {
                suspect | suspect_word(*word)
            }) != 0
        }
        None => bytes.iter().any(|byte| matches!(byte, 0 | b'+' | b'#')),
    };
    if suspect || bytes.len() >= MAX_TOPIC_LEVELS {
        return check_suspect_name(bytes);
    }
    Ok(())
}

/// Not 0 if one of eight bytes is U+0000, `+` or `#`.
#[inline]
fn suspect_word(bytes: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let word = u64::from_ne_bytes(bytes);
    // Subtracting 1 borrows into the top bit of a byte that is 0, and of no byte below 0x80 else
    // unless a byte below it was 0.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let has = |byte: u8| zero(word ^ (ONES * u64::from(byte)));
    (has(0) | has(b'+') | has(b'#')) & TOPS
}

#[cold]
fn check_suspect_name(bytes: &[u8]) -> Result<(), Kind> {
    if bytes.contains(&0) {
        return Err(Kind::NullCharacter);
    }
    if bytes.iter().any(|byte| matches!(byte, b'+' | b'#')) {
        return Err(Kind::WildcardInTopicName);
    }
    if bytes.iter().filter(|byte| **byte == b'/').count() >= MAX_TOPIC_LEVELS {
        return Err(Kind::TopicNameTooDeep);
    }
    Ok(())
}

/// The rules of a topic filter read from a packet.
pub(crate) fn check_filter(text: &str) -> Result<TopicFilter<'_>, Kind> {
    TopicFilter::new(text).map_err(|error| match error {
        TopicError::Empty => Kind::EmptyTopicFilter,
        TopicError::NullCharacter => Kind::NullCharacter,
        TopicError::MalformedShare => Kind::MalformedShare,
        TopicError::TooDeep => Kind::TopicFilterTooDeep,
        // A field of a packet cannot be too long.
        TopicError::Wildcard | TopicError::MisplacedWildcard | TopicError::TooLong { .. } => {
            Kind::MisplacedWildcard
        }
    })
}
