//! Like attempts become one row, between two writings into the registry.

use std::collections::HashMap;

use safeport_store::limits::MAX_ATTEMPTS_PER_ADDRESS;
use safeport_store::{AttemptDetails, AttemptKey, AttemptRow};

use super::seen::Seen;
use crate::limits::ATTEMPT_ROWS;

/// What was gathered since the last writing.
#[derive(Default)]
pub(super) struct Gathered {
    rows: HashMap<AttemptKey, Row>,
    /// Counts attempts, to know which row was seen last.
    count: u64,
}

struct Row {
    row: AttemptRow,
    last: u64,
}

impl Gathered {
    /// Adds one attempt; false if there is no room for another row.
    pub(super) fn add(&mut self, seen: &Seen) -> bool {
        self.count += 1;
        let key = key(seen);
        let at = seen.at.as_secs();
        if let Some(known) = self.rows.get_mut(&key) {
            known.row.count += 1;
            known.row.last_at = known.row.last_at.max(at);
            known.row.last = details(seen);
            known.last = self.count;
            return true;
        }
        if self.rows.len() >= ATTEMPT_ROWS {
            return false;
        }
        let row = AttemptRow {
            key: key.clone(),
            count: 1,
            first_at: at,
            last_at: at,
            last: details(seen),
        };
        let last = self.count;
        self.rows.insert(key, Row { row, last });
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, in the order in which they were seen last. Of one address no more than the
    /// registry keeps: writing the others would only push these out.
    pub(super) fn take(&mut self) -> Vec<AttemptRow> {
        let mut rows: Vec<Row> = self.rows.drain().map(|(_, row)| row).collect();
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.last));
        let mut of_address: HashMap<String, u32> = HashMap::new();
        rows.retain(|row| {
            let count = match of_address.get_mut(&row.row.key.address) {
                Some(count) => count,
                None => of_address.entry(row.row.key.address.clone()).or_default(),
            };
            *count += 1;
            *count <= MAX_ATTEMPTS_PER_ADDRESS
        });
        rows.into_iter().rev().map(|row| row.row).collect()
    }
}

fn key(seen: &Seen) -> AttemptKey {
    AttemptKey {
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
