//! Any packet of any version survives the wire; failing cases shrink to small ones.

#[path = "../../../fuzz/src/mqtt.rs"]
#[allow(dead_code, unreachable_pub)]
mod mqtt;
#[path = "../../../fuzz/src/packets.rs"]
#[allow(dead_code, unreachable_pub)]
mod packets;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use std::collections::HashSet;

use proptest::prelude::*;
use safeport_mqtt::Version;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_encoded_decodes_to_the_same_and_its_prefixes_are_incomplete(
        choices in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        mqtt::round_trip(&choices);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        mqtt::decode_stream(&bytes);
    }
}

#[test]
fn the_generator_makes_every_packet_of_every_version() {
    let mut made = HashSet::new();
    for first in 0..3 {
        for second in 0..=255 {
            packets::with_packet(&mut source::Source::new(&[first, second, 9, 9]), |v, p| {
                made.insert((v, p.packet_type()));
            });
        }
    }
    let versions = [(Version::V31, 14), (Version::V311, 14), (Version::V5, 15)];
    for (version, kinds) in versions {
        assert_eq!(made.iter().filter(|(v, _)| *v == version).count(), kinds);
    }
}
