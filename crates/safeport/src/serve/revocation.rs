//! Follows the registry: what `safeport user` and `safeport device` change in another process
//! holds here within 250 ms, for logins that would be refused otherwise at once, and connections
//! that lost their right end.

use std::sync::Arc;
use std::time::Instant;

use safeport_engine::EngineHandle;
use safeport_store::{Registry, StoreError, Version};

use super::access::Access;
use super::voice::Voice;
use crate::throttle::Throttle;

/// Polls the registry until the engine's server ends. Runs on a thread of its own, because
/// SQLite blocks.
pub fn follow(
    mut registry: Registry,
    mut seen: Version,
    access: &Arc<Access>,
    engine: &EngineHandle,
    voice: &Voice,
) {
    let throttle = Throttle::default();
    loop {
        let look = access.next_look();
        match changes(&mut registry, &mut seen, access) {
            Ok(revoked) => {
                for name in revoked {
                    tracing::info!(
                        target: "safeport::access",
                        user = name,
                        "login changed or removed; its connections end"
                    );
                    engine.disconnect_user(&name);
                    voice.disconnect(&name);
                }
            }
            // Those who are connected stay, those who were admitted before still are; the next
            // round tries again.
            Err(error) => {
                if let Some(left_out) = throttle.admit("registry", Instant::now()) {
                    tracing::error!(
                        target: "safeport::access",
                        left_out,
                        "users and devices cannot be read, changes to them wait: {error}"
                    );
                }
            }
        }
        // After the disconnections: whoever is admitted by what was found stays.
        access.looked(look);
    }
}

fn changes(
    registry: &mut Registry,
    seen: &mut Version,
    access: &Access,
) -> Result<Vec<String>, StoreError> {
    if registry.version()? == *seen {
        return Ok(Vec::new());
    }
    let snapshot = registry.load()?;
    *seen = snapshot.version;
    Ok(access.replace(snapshot))
}
