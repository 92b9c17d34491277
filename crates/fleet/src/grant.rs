//! What one login may publish and subscribe.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use safeport_mqtt::TopicFilter;

use crate::limits;

/// Topic filters for both directions. A login may publish to a topic that one
/// of `publish` matches, and subscribe to a filter that one of `subscribe`
/// covers. Empty means nothing.
///
/// `#` includes no topic that begins with `$`; such topics must be named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Filters of the topics that may be published to.
    pub publish: Vec<String>,
    /// Filters that subscriptions must stay within.
    pub subscribe: Vec<String>,
}

impl Grant {
    /// Everything, the server's own `$SYS` topics included: for the person who
    /// runs the house and for programs such as Home Assistant.
    pub fn everything() -> Grant {
        Grant {
            publish: vec!["#".to_string()],
            subscribe: vec!["#".to_string(), "$SYS/#".to_string()],
        }
    }

    /// Adds what `other` allows. A filter that is already there is not doubled.
    pub fn extend(&mut self, other: &Grant) {
        for (mine, theirs) in [
            (&mut self.publish, &other.publish),
            (&mut self.subscribe, &other.subscribe),
        ] {
            for filter in theirs {
                if !mine.contains(filter) {
                    mine.push(filter.clone());
                }
            }
        }
    }

    /// Whether every filter is one that MQTT knows.
    ///
    /// # Errors
    /// The first filter that is not, or the direction that has more than 64.
    pub fn check(&self) -> Result<(), GrantError> {
        for filters in [&self.publish, &self.subscribe] {
            if filters.len() > limits::MAX_FILTERS {
                return Err(GrantError {
                    filter: filters[limits::MAX_FILTERS].clone(),
                    why: "there are more than 64 filters; join some with + or #".to_string(),
                });
            }
            for filter in filters {
                check_filter(filter).map_err(|why| GrantError {
                    filter: filter.clone(),
                    why,
                })?;
            }
        }
        Ok(())
    }
}

/// A right that is no topic filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{filter:?} cannot be granted: {why}")]
pub struct GrantError {
    /// The filter as given.
    pub filter: String,
    /// The rule it breaks and the way out.
    pub why: String,
}

/// What MQTT asks of a filter, and what rights ask beyond it.
fn check_filter(filter: &str) -> Result<(), String> {
    if filter.is_empty() {
        return Err("it is empty; write # for every topic".to_string());
    }
    if filter.len() > limits::MAX_FILTER {
        return Err("it is longer than 512 bytes".to_string());
    }
    if filter.contains(char::is_control) {
        return Err("it has a control character".to_string());
    }
    // Rights name topics. A shared subscription is judged by its inner filter.
    if filter == "$share" || filter.starts_with("$share/") {
        return Err("rights name topics; grant the filter behind $share/<group>/".to_string());
    }
    TopicFilter::new(filter)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(filter: &str) -> Grant {
        Grant {
            publish: vec![filter.to_string()],
            subscribe: Vec::new(),
        }
    }

    #[test]
    fn everything_includes_the_servers_own_topics_for_reading_only() {
        let all = Grant::everything();
        assert_eq!(all.check(), Ok(()));
        assert!(all.subscribe.contains(&"$SYS/#".to_string()));
        assert!(!all.publish.contains(&"$SYS/#".to_string()));
    }

    #[test]
    fn legal_filters_pass_and_misplaced_wildcards_are_named() {
        for filter in ["#", "+", "a/#", "+/b/+", "/a", "a//b", "$SYS/#", "家/灯"] {
            assert_eq!(publish(filter).check(), Ok(()), "{filter}");
        }
        for filter in [
            "",
            "a#",
            "#/a",
            "a/#/b",
            "a+",
            "+a/b",
            "a\0b",
            "$share/g/a",
            "$share",
        ] {
            let error = publish(filter).check().unwrap_err();
            assert_eq!(error.filter, filter);
        }
        assert!(publish(&"a".repeat(513)).check().is_err());
        let many = Grant {
            publish: Vec::new(),
            subscribe: vec!["a".to_string(); 65],
        };
        assert!(many.check().is_err());
    }

    #[test]
    fn extending_twice_changes_nothing_the_second_time() {
        let mut grant = publish("a/#");
        grant.extend(&Grant::everything());
        let once = grant.clone();
        grant.extend(&Grant::everything());
        assert_eq!(grant, once);
        assert_eq!(grant.publish, ["a/#", "#"]);
    }
}
