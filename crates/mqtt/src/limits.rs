//! Every limit of the codec, by name.

/// Largest remaining length that four length bytes can carry, in bytes.
///
/// Source: section 2.2.3 of MQTT 3.1.1, section 1.5.5 of MQTT 5.
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// Largest fixed header: one type byte and four length bytes.
pub const MAX_FIXED_HEADER: usize = 5;

/// Largest packet that the protocol can carry, in bytes, fixed header included.
pub const MAX_PACKET: u32 = MAX_REMAINING_LENGTH + MAX_FIXED_HEADER as u32;

/// Longest string or binary field, in bytes: its length is a two byte integer
/// (section 1.5.4 and 1.5.6 of MQTT 5).
pub const MAX_FIELD: usize = 65_535;

/// Longest topic name or topic filter, in bytes [MQTT-4.7.3-3].
pub const MAX_TOPIC: usize = MAX_FIELD;

/// Most levels that a topic name or topic filter may have. A deeper one is refused with
/// "topic name invalid" or "topic filter invalid".
///
/// The specifications set no limit; ours keeps one hostile topic from costing the broker's
/// tree 65,536 nodes. The `$share/<group>/` in front of a shared filter does not count.
pub const MAX_TOPIC_LEVELS: usize = 200;

/// Largest value of a variable byte integer, and so of a subscription identifier.
pub const MAX_VARIABLE_INTEGER: u32 = MAX_REMAINING_LENGTH;
