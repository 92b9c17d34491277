//! Settings files with their secrets covered, for messages that show lines.

use alloc::string::String;
use alloc::vec::Vec;

use crate::nearest::nearest;
use crate::table::all_keys;

/// The text of a settings file in which every value of a secret key is covered
/// by `*`, byte for byte, so that places in it stay true.
///
/// It does not take the text to be valid TOML: a secret without quotes, under a
/// misspelt key, or in a remark is covered, too, together with what follows on
/// its line.
pub fn mask_secrets(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    // The quotes that end a text of several lines.
    let mut until: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let from = match until {
            Some(quotes) => {
                if line.contains(quotes) {
                    until = None;
                }
                0
            }
            None => {
                let Some(from) = secret_value(line) else {
                    masked.push_str(line);
                    continue;
                };
                let value = line[from..].trim_start();
                until = ["\"\"\"", "'''"]
                    .into_iter()
                    .find(|quotes| value.starts_with(quotes) && value.matches(quotes).count() == 1);
                from
            }
        };
        let (plain, secret) = line.split_at(from);
        masked.push_str(plain);
        for byte in secret.bytes() {
            masked.push(match byte {
                b'\n' => '\n',
                b'\r' => '\r',
                b' ' => ' ',
                _ => '*',
            });
        }
    }
    masked
}

/// Where the value of a secret key begins in a line.
fn secret_value(line: &str) -> Option<usize> {
    let known: Vec<&str> = all_keys().map(|spec| spec.name).collect();
    let is_secret = |name: &str| {
        let near = nearest(name, known.iter().copied());
        all_keys().any(|spec| spec.policy.secret && Some(spec.name) == near)
    };
    line.match_indices('=').find_map(|(at, _)| {
        let before = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let begin = before
            .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
            .map_or(0, |at| {
                at + before[at..].chars().next().map_or(1, char::len_utf8)
            });
        is_secret(&before[begin..]).then_some(at + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_covered_however_they_are_written() {
        for line in [
            "metrics_token = \"hunter2\"",
            "metrics_token = hunter2",
            "metrics-token='hunter2' # hunter2",
            "metric_token = \"hunter2\"",
            "#metrics_token = \"hunter2\"",
            "http.\"metrics_token\" = \"hunter2\"",
            "http = { enabled = true, metrics_token = \"hunter2\" }",
            "metrics_token = \"\"\"\nhunter2\n\"\"\"",
            "家 metrics_token = \"hunter2家\"",
        ] {
            let text = alloc::format!("[http]\n{line}\n# after\nbind = \"[::]:1\"\n");
            let masked = mask_secrets(&text);
            assert!(!masked.contains("hunter2"), "{masked}");
            assert_eq!(masked.len(), text.len());
            assert!(masked.contains("token"), "{masked}");
            assert!(masked.ends_with("# after\nbind = \"[::]:1\"\n"), "{masked}");
        }
        let plain = crate::Settings::example();
        let without = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| {
                ![
                    "#metrics_token",
                    "#eab_key =",
                    "#auth_key",
                    "#mqtt_key",
                    "#key =",
                ]
                .iter()
                .any(|key| line.starts_with(key))
            });
            lines.map(String::from).collect()
        };
        assert_eq!(without(&mask_secrets(&plain)), without(&plain));
    }

    proptest! {
        #[test]
        fn places_stay_true_in_any_text(text: String) {
            let masked = mask_secrets(&text);
            prop_assert_eq!(masked.len(), text.len());
            prop_assert_eq!(masked.lines().count(), text.lines().count());
        }
    }
}
