//! Checks of devices that nobody has taken in: they are shown a code, or taken in where the server is
//! open.

use std::sync::{Arc, PoisonError};

use safeport_fleet::Proof;
use safeport_store::StoreError;
use safeport_xiaozhi::{
    Activation, CheckReply, CheckRequest, Client, ClientId, Firmware, Text, Way,
};

use super::super::access::{XiaozhiDevice, shown};
use super::codes::{Issued, NoCode, Shown};
use super::{Asker, Refused, Rules, Xiaozhi, enrol};
use crate::limits::XIAOZHI_DRAWS;
use crate::program;

impl Xiaozhi {
    /// A device that nobody has taken in: its code.
    pub(super) async fn stranger(
        &self,
        check: &CheckRequest,
        asker: Asker,
        rules: &Rules,
        now: u64,
    ) -> Result<CheckReply, Refused> {
        let id = ClientId::new(&check.board, check.mac, &check.client_id);
        let shown = match self.codes.asked(check.mac, &check.client_id, now) {
            Some(shown) => shown,
            None => self.new_code(check, asker, now).await?,
        };
        self.sighted(check, &id, Proof::Claim, asker, now);
        Ok(CheckReply {
            server_time: self.time(),
            firmware: Firmware::nothing(check),
            // It does not get so far while it waits.
            way: Way::None,
            activation: Some(Activation {
                code: shown.code,
                message: format!("{}\n{}", rules.name, shown.code),
                challenge: Text::new(shown.challenge).unwrap_or_default(),
                timeout_ms: 30_000,
            }),
        })
    }

    async fn new_code(
        &self,
        check: &CheckRequest,
        asker: Asker,
        now: u64,
    ) -> Result<Shown, Refused> {
        let address = asker.peer.ip().to_canonical();
        self.codes
            .may_issue(check.mac, address, now)
            .map_err(|no| match no {
                NoCode::TooMany => Refused::TooMany,
                NoCode::Contested => Refused::Contested,
            })?;
        // py-xiaozhi sends the key that it will sign with where devices send a hash.
        let signing_key = (check.client == Client::Python && check.signs)
            .then(|| check.info.elf_sha256.clone())
            .flatten();
        let issued = self.codes.draw(check, signing_key, now).map_err(|error| {
            tracing::error!(target: "safeport::xiaozhi", "no code can be drawn: {error}");
            Refused::Registry
        })?;
        let Issued { shown: code, .. } = self.write_code(issued, now).await?;
        tracing::info!(
            target: "safeport::xiaozhi",
            mac = %check.mac,
            board = shown(&check.board),
            version = shown(check.version_text.as_deref().unwrap_or("unknown")),
            %address,
            "new xiaozhi device shows the code {code}; `{program} device activate {code}` takes it in",
            code = code.code,
            program = program::name(),
        );
        Ok(code)
    }

    /// Writes a code down, so that it is good for whoever reads it from the device.
    async fn write_code(&self, mut issued: Issued, now: u64) -> Result<Issued, Refused> {
        let registry = self.registry.clone();
        let codes = self.codes.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
            for code in &issued.pushed_out {
                registry.remove_activation(code)?;
            }
            for _ in 0..XIAOZHI_DRAWS {
                if registry.add_activation(&issued.row, now)? {
                    break;
                }
                // Given out before, by a server that has forgotten it.
                codes.draw_again(&mut issued);
            }
            Ok::<Issued, StoreError>(issued)
        });
        match written.await {
            Ok(Ok(issued)) => {
                self.codes.keep(&issued);
                Ok(issued)
            }
            Ok(Err(error)) => {
                tracing::error!(
                    target: "safeport::xiaozhi",
                    "the code of a new device cannot be written down, so it gets none: {error}"
                );
                Err(Refused::Registry)
            }
            Err(_) => Err(Refused::Registry),
        }
    }

    /// Takes a device in without a code (`xiaozhi.activation = "open"`).
    pub(super) async fn take_in(
        &self,
        check: &CheckRequest,
        id: &ClientId,
        asker: Asker,
        now: u64,
    ) -> Result<Option<Arc<XiaozhiDevice>>, Refused> {
        // Somebody else's address stays somebody else's, also on an open server.
        if self.access.xiaozhi(check.mac).is_some() {
            return Ok(None);
        }
        let address = asker.peer.ip().to_canonical();
        self.codes
            .may_issue(check.mac, address, now)
            .map_err(|_| Refused::TooMany)?;
        let registry = self.registry.clone();
        let id = id.clone();
        let taken = tokio::task::spawn_blocking(move || {
            let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
            enrol::take_in(&mut registry, &id, now)
        });
        match taken.await {
            Ok(Ok(device)) => {
                tracing::info!(
                    target: "safeport::xiaozhi",
                    device = device.name, mac = %check.mac, %address,
                    "new xiaozhi device is taken in, since xiaozhi.activation is open"
                );
                Ok(Some(Arc::new(device)))
            }
            Ok(Err(error)) => {
                tracing::error!(
                    target: "safeport::xiaozhi",
                    mac = %check.mac, %address,
                    "a new xiaozhi device cannot be taken in: {error}"
                );
                Err(Refused::Registry)
            }
            Err(_) => Err(Refused::Registry),
        }
    }
}
