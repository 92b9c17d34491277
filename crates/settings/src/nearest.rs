//! The known name that a person probably meant.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::said::said;
use crate::{Said, limits};

/// The candidate fewest edits away from `name`, if that is close enough to be a
/// slip: at most a third of its length.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let length = name.chars().count();
    if length > limits::MAX_SUGGESTION {
        return None;
    }
    let name = plain(name);
    candidates
        .map(|candidate| (distance(&name, &plain(candidate)), candidate))
        .filter(|(edits, _)| *edits <= (length / 3).max(1))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Case, and `-` for `_`, are the commonest slips and count nothing.
fn plain(name: &str) -> Vec<char> {
    name.chars()
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Edits between two names: insert, delete, replace, or swap two neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = last;
        last = row;
    }
    last[b.len()]
}

/// Joins names as a sentence does: `a`, `a or b`, `a, b or c`; in Chinese
/// `a`, `a 或 b`, `a、b 或 c`.
pub(crate) fn either<T: AsRef<str>>(names: &[T]) -> Said {
    let join = |comma: &str, or: &str| {
        let mut out = String::new();
        for (index, name) in names.iter().enumerate() {
            if index > 0 {
                out.push_str(if index + 1 == names.len() { or } else { comma });
            }
            out.push_str(name.as_ref());
        }
        out
    };
    Said::new(join(", ", " or "), join("、", " 或 "))
}

/// The question that follows a slip.
pub(crate) fn did_you_mean(name: &str) -> Said {
    said!("did you mean {name}?", "您是指 {name} 吗？")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_the_name_and_strangers_find_none() {
        let known = ["max_packet", "bind", "enabled", "max_connections"];
        for (slip, meant) in [
            ("max-packet", Some("max_packet")),
            ("MaxPacket", Some("max_packet")),
            ("bnid", Some("bind")),
            ("enable", Some("enabled")),
            ("max_conections", Some("max_connections")),
            ("certificate", None),
            ("", None),
        ] {
            assert_eq!(nearest(slip, known.into_iter()), meant, "{slip}");
        }
    }

    #[test]
    fn names_are_joined_as_in_a_sentence() {
        assert_eq!(either(&["a"]).en, "a");
        assert_eq!(either(&["a", "b"]).en, "a or b");
        assert_eq!(either(&["a", "b", "c"]).en, "a, b or c");
        assert_eq!(either(&["a", "b", "c"]).zh, "a、b 或 c");
    }
}
