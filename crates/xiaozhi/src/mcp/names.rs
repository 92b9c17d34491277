//! Names of tools as interfaces of language models take them: letters, digits, `_` and `-`, at
//! most 64 of them. Devices put dots into theirs.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use sha2::{Digest, Sha256};

/// Longest name that a model is told, in bytes: the least of what such interfaces allow.
const MAX_MODEL_NAME: usize = 64;

/// A name for the model for each name of a tool, and back. No two are alike.
///
/// A name says the same whatever the order of the tools, so that what a model has called in an
/// older conversation is the same tool still. It changes only if a tool comes whose name looks the
/// same to a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelNames {
    to_model: BTreeMap<Box<str>, Box<str>>,
    to_own: BTreeMap<Box<str>, Box<str>>,
}

impl ModelNames {
    /// Names for all of `names`; one that comes twice is taken once.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> ModelNames {
        let names: BTreeSet<&str> = names.into_iter().collect();
        let mut alike: BTreeMap<String, u32> = BTreeMap::new();
        for name in &names {
            *alike.entry(plain(name)).or_default() += 1;
        }
        let mut made = ModelNames::default();
        // First those that need nothing but other letters, so that the others find out what is
        // taken.
        let mut hashed = BTreeSet::new();
        for name in names {
            let plain = plain(name);
            let fits = plain.len() <= MAX_MODEL_NAME;
            if fits && (plain == name || alike[&plain] == 1) {
                made.insert(name, plain);
            } else {
                hashed.insert(name);
            }
        }
        for name in hashed {
            let free = (0u32..).map(|salt| with_hash(name, salt));
            let free = free
                .into_iter()
                .find(|free| !made.to_own.contains_key(free.as_str()));
            made.insert(name, free.expect("there are more hashes than names"));
        }
        made
    }

    fn insert(&mut self, own: &str, model: String) {
        let model = model.into_boxed_str();
        self.to_own.insert(model.clone(), own.to_owned().into());
        self.to_model.insert(own.to_owned().into(), model);
    }

    /// What the model is told.
    pub fn to_model(&self, own: &str) -> Option<&str> {
        self.to_model.get(own).map(|name| &**name)
    }

    /// What the model means.
    pub fn to_own(&self, model: &str) -> Option<&str> {
        self.to_own.get(model).map(|name| &**name)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.to_own.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.to_own.is_empty()
    }
}

/// The name with other letters only. Some interfaces want a letter or `_` at its beginning.
fn plain(name: &str) -> String {
    let letter = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => c,
        _ => '_',
    };
    let mut plain = String::with_capacity(name.len());
    if name.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        plain.push_str("t_");
    }
    plain.extend(name.chars().map(letter));
    plain
}

/// As much of it as fits before eight digits that others hardly have.
fn with_hash(name: &str, salt: u32) -> String {
    let hash = Sha256::new_with_prefix(name).chain_update(salt.to_be_bytes());
    let hash = hash.finalize();
    let mut made = plain(name);
    made.truncate(MAX_MODEL_NAME - 9);
    let hash = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    format!("{made}_{hash:08x}")
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn names(own: &[&str]) -> Vec<String> {
        let names = ModelNames::new(own.iter().copied());
        own.iter()
            .map(|own| names.to_model(own).expect("every name has one").into())
            .collect()
    }

    #[test]
    fn dots_become_underscores_and_what_a_model_takes_stays() {
        assert_eq!(
            names(&["self.audio_speaker.set_volume", "self_camera_take_photo"]),
            ["self_audio_speaker_set_volume", "self_camera_take_photo"]
        );
        assert_eq!(names(&["3d.print", "-x"]), ["t_3d_print", "t_-x"]);
    }

    #[test]
    fn names_that_look_alike_are_told_apart_in_any_order() {
        let own = ["a.b", "a/b", "a_b", "灯.开", "灯.关"];
        let made = names(&own);
        assert_eq!(made[2], "a_b");
        assert!(made[0].starts_with("a_b_") && made[0].len() == 12);
        let mut reversed = own;
        reversed.reverse();
        let mut back = names(&reversed);
        back.reverse();
        assert_eq!(made, back);
        let unique: BTreeSet<&String> = made.iter().collect();
        assert_eq!(unique.len(), 5);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (one, two) = ("x".repeat(64), "x".repeat(65));
        let three = "x".repeat(100);
        let made = names(&[&one, &two, &three]);
        assert_eq!(made[0], one);
        assert_eq!(made[1][..56], made[2][..56]);
        assert!(made[1] != made[2] && made[1].len() == 64);
    }

    #[test]
    fn a_name_that_somebody_has_already_is_not_given_again() {
        let taken = with_hash("a.b", 0);
        let made = names(&["a.b", "a/b", &taken]);
        assert_eq!(made[2], taken);
        assert_eq!(made[0], with_hash("a.b", 1));
    }

    proptest! {
        #[test]
        fn names_for_models_and_names_of_tools_belong_to_each_other(
            own in proptest::collection::vec("[a-c._/\\-0灯]{0,4}|[a.]{60,70}|.{1,40}", 0..40)
        ) {
            let names = ModelNames::new(own.iter().map(String::as_str));
            let distinct: BTreeSet<&String> = own.iter().collect();
            prop_assert_eq!(names.len(), distinct.len());
            for name in &own {
                let model = names.to_model(name).expect("every name has one");
                prop_assert_eq!(names.to_own(model), Some(name.as_str()));
                prop_assert!((1..=64).contains(&model.len()) || name.is_empty());
                let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                prop_assert!(model.chars().all(allowed));
                prop_assert!(!model.starts_with(|c: char| c.is_ascii_digit() || c == '-'));
            }
        }
    }
}
