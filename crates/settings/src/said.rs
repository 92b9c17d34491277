//! What is said to people, in both languages.

use alloc::string::{String, ToString};
use core::fmt;

use crate::Language;

/// One sentence for people, in English and in Chinese.
///
/// `Display` gives the English.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Said {
    /// English.
    pub en: String,
    /// Chinese in simplified characters.
    pub zh: String,
}

impl Said {
    /// One meaning, said twice.
    pub fn new(en: impl Into<String>, zh: impl Into<String>) -> Said {
        Said {
            en: en.into(),
            zh: zh.into(),
        }
    }

    /// Something that reads the same in every language: a name, a number, an
    /// address.
    pub fn same(text: impl ToString) -> Said {
        let text = text.to_string();
        Said {
            en: text.clone(),
            zh: text,
        }
    }

    /// The text in a language; English for [`Language::Auto`], which is to be
    /// resolved before.
    pub fn in_language(&self, language: Language) -> &str {
        match language {
            Language::ZhCn => &self.zh,
            Language::En | Language::Auto => &self.en,
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.en)
    }
}

/// Both languages side by side, each with its values inline:
/// `said!("{port} is taken", "{port} 已被占用")`. Values that are no plain names
/// come after both texts and serve both: `said!("{n} bytes", "{n} 字节", n = a + b)`.
macro_rules! said {
    ($en:literal, $zh:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::Said::new(
            ::alloc::format!($en $(, $name = $value)*),
            ::alloc::format!($zh $(, $name = $value)*),
        )
    };
}
#[allow(
    unused_imports,
    reason = "used by texts as they are given a Chinese twin"
)]
pub(crate) use said;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_said_in_the_language_asked_for_and_english_when_none_is_known() {
        let port = 1883;
        let said = said!(
            "{port} is taken by {who}",
            "{port} 已被 {who} 占用",
            who = "x"
        );
        assert_eq!(said.in_language(Language::En), "1883 is taken by x");
        assert_eq!(said.in_language(Language::Auto), "1883 is taken by x");
        assert_eq!(said.in_language(Language::ZhCn), "1883 已被 x 占用");
        assert_eq!(said.to_string(), "1883 is taken by x");
    }
}
