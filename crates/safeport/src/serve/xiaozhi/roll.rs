//! Checks and the fleet.

use safeport_fleet::{Identity, MacAddress, MemberId, Sighting, Slot};
use safeport_xiaozhi::{CheckRequest, Client};

use super::Roll;
use super::facts::hash_of;
use crate::serve::fleet::Fleet;

impl Roll for Fleet {
    fn checked(&self, sighting: Sighting) -> Option<MemberId> {
        self.sight(&sighting).member
    }

    fn knows_build(&self, check: &CheckRequest) -> bool {
        let Some(mac) = Identity::mac(check.mac) else {
            return false;
        };
        self.with(|roster| {
            let member = roster.by_identity(&mac);
            let Some(known) = member.and_then(|member| member.facts.image(Slot::Main)) else {
                return false;
            };
            let hash = check.info.elf_sha256.as_deref().and_then(hash_of);
            if check.client == Client::Device && hash.is_some() {
                return known.elf_sha256 == hash;
            }
            known.version.is_some()
                && known.version.as_deref() == check.version_text.as_deref()
                && known.built.as_deref() == check.info.compile_time.as_deref()
        })
    }

    fn version(&self, mac: MacAddress) -> Option<String> {
        let mac = Identity::mac(mac)?;
        self.with(|roster| {
            let image = roster.by_identity(&mac)?.facts.image(Slot::Main)?;
            image.version.as_deref().map(str::to_owned)
        })
    }
}
