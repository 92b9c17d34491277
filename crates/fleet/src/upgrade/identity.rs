//! Whether a device runs what it was meant to run.

use super::event::Saw;
use super::plan::Identity;

/// The answer to "is this the build?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    Yes,
    No,
    /// The device does not say enough.
    Unknown,
}

impl Identity {
    /// Takes over what a look at the device showed.
    pub(super) fn fold(&mut self, saw: &Saw) {
        let fresh = |new: &Option<_>, old: &Option<_>| new.is_some() && new != old;
        if fresh(&saw.version, &self.version) {
            // Another version is another build: what was known of the old one does not hold.
            *self = Identity::default();
        }
        for (mine, seen) in [
            (&mut self.version, &saw.version),
            (&mut self.build, &saw.build),
            (&mut self.variant, &saw.variant),
            (&mut self.hash, &saw.hash),
        ] {
            if seen.is_some() {
                mine.clone_from(seen);
            }
        }
    }

    /// Whether a device that reports `seen` runs `self`, where `before` is what it ran before.
    pub(super) fn judge(&self, seen: &Identity, before: &Identity) -> Match {
        if let Some(same) = both(&self.hash, &seen.hash) {
            return if same { Match::Yes } else { Match::No };
        }
        let compared = [
            both(&self.version, &seen.version),
            both(&self.build, &seen.build),
            both(&self.variant, &seen.variant),
        ];
        if compared.contains(&Some(false)) {
            return Match::No;
        }
        if compared[1] == Some(true) {
            return Match::Yes;
        }
        if compared[0] == Some(true) && before.version.is_some() && before.version != self.version {
            return Match::Yes;
        }
        // The version alone cannot tell, since it was the same before, or is not known: then
        // anything that has changed is a sign.
        let changed = [
            both(&before.version, &seen.version),
            both(&before.build, &seen.build),
            both(&before.variant, &seen.variant),
            both(&before.hash, &seen.hash),
        ];
        let is_new = compared[0] == Some(true) && before.version.is_none();
        if changed.contains(&Some(false)) || is_new {
            Match::Yes
        } else {
            Match::Unknown
        }
    }

    /// Whether a device that reports `seen` need not be given `self` at all.
    pub(super) fn is_already(&self, seen: &Identity) -> bool {
        if let Some(same) = both(&self.hash, &seen.hash) {
            return same;
        }
        both(&self.version, &seen.version) == Some(true)
            && both(&self.build, &seen.build) != Some(false)
            && both(&self.variant, &seen.variant) != Some(false)
    }
}

/// Whether two known values are equal; `None` if one is not known. Case does not matter: hashes
/// and names come in either.
fn both(
    one: &Option<alloc::string::String>,
    other: &Option<alloc::string::String>,
) -> Option<bool> {
    Some(one.as_ref()?.eq_ignore_ascii_case(other.as_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn identity(version: &str, build: &str, hash: &str) -> Identity {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_string());
        Identity {
            version: known(version),
            build: known(build),
            variant: None,
            hash: known(hash),
        }
    }

    #[test]
    fn a_hash_decides_alone_and_a_build_date_beats_an_equal_version() {
        let before = identity("1.0", "mon", "");
        let target = identity("1.1", "tue", "aa");
        assert_eq!(
            target.judge(&identity("9.9", "", "AA"), &before),
            Match::Yes
        );
        assert_eq!(
            target.judge(&identity("1.1", "tue", "bb"), &before),
            Match::No
        );
        assert_eq!(
            target.judge(&identity("1.1", "wed", ""), &before),
            Match::No
        );
        assert_eq!(
            target.judge(&identity("1.1", "tue", ""), &before),
            Match::Yes
        );
        assert_eq!(target.judge(&identity("1.1", "", ""), &before), Match::Yes);
    }

    #[test]
    fn the_same_version_as_before_is_no_evidence_until_something_has_changed() {
        let before = identity("1.0", "mon", "");
        let target = identity("1.0", "", "");
        assert_eq!(
            target.judge(&identity("1.0", "", ""), &before),
            Match::Unknown
        );
        assert_eq!(
            target.judge(&identity("1.0", "mon", ""), &before),
            Match::Unknown
        );
        assert_eq!(
            target.judge(&identity("1.0", "tue", ""), &before),
            Match::Yes
        );
        let silent = identity("", "", "");
        assert_eq!(
            silent.judge(&identity("1.0", "", ""), &before),
            Match::Unknown
        );
        assert_eq!(silent.judge(&identity("1.2", "", ""), &before), Match::Yes);
    }

    #[test]
    fn what_runs_already_is_known_by_hash_or_else_by_version_and_build() {
        let target = identity("1.0", "mon", "");
        assert!(target.is_already(&identity("1.0", "", "")));
        assert!(!target.is_already(&identity("1.0", "tue", "")));
        assert!(!target.is_already(&identity("", "", "")));
    }
}
