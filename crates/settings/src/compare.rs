//! What differs between two readings of the settings.

use alloc::string::String;
use alloc::vec::Vec;

use crate::Settings;

impl Settings {
    /// Keys whose values are not the same in both, in the order of the table;
    /// those that only `self` has come last. Secrets are compared, too.
    pub fn differences(&self, after: &Settings) -> Vec<String> {
        let mut keys: Vec<String> = after
            .resolved
            .iter()
            .filter(|new| {
                self.find(&new.name())
                    .is_none_or(|old| old.value != new.value)
            })
            .map(|new| new.name())
            .collect();
        keys.extend(
            self.resolved
                .iter()
                .map(|old| old.name())
                .filter(|name| after.find(name).is_none()),
        );
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileSource, Sources};
    use alloc::vec;

    fn read(text: &str) -> Settings {
        Settings::parse(&Sources {
            files: vec![FileSource {
                path: "safeport.toml",
                text,
                drop_in: false,
            }],
            ..Sources::default()
        })
        .expect("good settings")
    }

    #[test]
    fn changed_added_and_removed_keys_differ_and_rewritten_ones_do_not() {
        let before = read("[limits]\npatience = 20\n[proxy.old]\nurl = \"https://a.example\"\n");
        let after = read(
            "# a remark\n[limits]\npatience = \"20s\"\nmax_inflight = 10\n\
             [http]\nmetrics_token = \"0123456789abcdef\"\n",
        );
        assert_eq!(
            before.differences(&after),
            [
                "http.metrics_token",
                "limits.max_inflight",
                "proxy.old.url",
                "proxy.old.to"
            ]
        );
        assert!(after.differences(&after.clone()).is_empty());
    }
}
