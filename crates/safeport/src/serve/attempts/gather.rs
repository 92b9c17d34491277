//! Like attempts become one row, between two writings into the registry.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use safeport_store::limits::MAX_ATTEMPTS_PER_ADDRESS;
use safeport_store::{AttemptDetails, AttemptKey, AttemptRow};

use super::seen::Seen;
use crate::limits::ATTEMPT_ROWS;

/// What was gathered since the last writing.
#[derive(Default)]
pub(super) struct Gathered {
    rows: HashMap<Alike, Row>,
    /// Counts attempts, to know which row was seen last.
    count: u64,
}

/// An attempt as far as it is like others. Nothing is copied for it: every connection comes by
/// here.
struct Alike(Arc<Seen>);

impl Alike {
    fn parts(&self) -> impl Eq + Hash {
        let seen = &self.0;
        (
            seen.address(),
            &seen.listener,
            seen.cause,
            seen.hello.as_ref().map(|hello| &hello.fingerprint),
            &seen.client_id,
            &seen.user,
        )
    }
}

impl PartialEq for Alike {
    fn eq(&self, other: &Alike) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Alike {}

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

struct Row {
    count: u64,
    first_at: u64,
    last_at: u64,
    last: Arc<Seen>,
    order: u64,
}

impl Gathered {
    /// Adds one attempt; false if there is no room for another row.
    pub(super) fn add(&mut self, seen: &Arc<Seen>) -> bool {
        self.count += 1;
        let at = seen.at.as_secs();
        let alike = Alike(seen.clone());
        if let Some(known) = self.rows.get_mut(&alike) {
            known.count += 1;
            known.last_at = known.last_at.max(at);
            known.last = seen.clone();
            known.order = self.count;
            return true;
        }
        if self.rows.len() >= ATTEMPT_ROWS {
            return false;
        }
        let row = Row {
            count: 1,
            first_at: at,
            last_at: at,
            last: seen.clone(),
            order: self.count,
        };
        self.rows.insert(alike, row);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, in the order in which they were seen last. Of one address no more than the
    /// registry keeps: writing the others would only push these out.
    pub(super) fn take(&mut self) -> Vec<AttemptRow> {
        let mut rows: Vec<Row> = self.rows.drain().map(|(_, row)| row).collect();
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.order));
        let mut of_address: HashMap<IpAddr, u32> = HashMap::new();
        rows.retain(|row| {
            let count = of_address.entry(row.last.address()).or_default();
            *count += 1;
            *count <= MAX_ATTEMPTS_PER_ADDRESS
        });
        rows.into_iter().rev().map(Row::written).collect()
    }
}

impl Row {
    fn written(self) -> AttemptRow {
        let seen = &self.last;
        AttemptRow {
            key: AttemptKey {
                address: seen.address().to_string(),
                listener: seen.listener.to_string(),
                cause: seen.cause.code().to_owned(),
                hello: seen
                    .hello
                    .as_ref()
                    .map(|hello| hello.fingerprint.clone())
                    .unwrap_or_default(),
                client_id: seen.client_id.clone().unwrap_or_default(),
                user: seen.user.clone().unwrap_or_default(),
            },
            count: self.count,
            first_at: self.first_at,
            last_at: self.last_at,
            last: details(seen),
        }
    }
}

fn details(seen: &Seen) -> AttemptDetails {
    let others: Vec<&str> = seen.others.iter().map(|cause| cause.code()).collect();
    AttemptDetails {
        failure: seen.cause.is_failure(),
        stack: seen
            .hello
            .as_ref()
            .map(|hello| hello.stack.code().to_owned())
            .unwrap_or_default(),
        server_name: seen.server_name.clone(),
        version: seen.version,
        suite: seen.suite,
        alert: seen.alert,
        why: seen.why.clone(),
        candidates: others.join(" "),
        certainty: seen.certainty.code().to_owned(),
        took_ms: u64::try_from(seen.took.as_millis()).unwrap_or(u64::MAX),
    }
}
