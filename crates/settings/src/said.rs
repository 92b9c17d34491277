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
/// `said!("{port} is taken", "{port} 已被占用")`. Values for `{}` come after both
/// texts and are themselves said in the language of the text, where they are a
/// [`Said`]: `said!("write {}", "请写 {}", either(&words))`.
macro_rules! said {
    ($en:literal, $zh:literal $(,)?) => {
        $crate::Said::new(::alloc::format!($en), ::alloc::format!($zh))
    };
    ($en:literal, $zh:literal, $($value:expr),+ $(,)?) => {
        $crate::Said::new(
            ::alloc::format!($en, $($crate::said::Twin::english(&$value)),+),
            ::alloc::format!($zh, $($crate::said::Twin::chinese(&$value)),+),
        )
    };
}
pub(crate) use said;

/// What can stand in for `{}` in [`said!`].
pub(crate) trait Twin {
    /// In an English text.
    fn english(&self) -> impl fmt::Display;
    /// In a Chinese one.
    fn chinese(&self) -> impl fmt::Display;
}

impl Twin for Said {
    fn english(&self) -> impl fmt::Display {
        &self.en
    }

    fn chinese(&self) -> impl fmt::Display {
        &self.zh
    }
}

/// What reads the same in both languages.
macro_rules! same_in_both {
    ($($type:ty),* $(,)?) => {$(
        impl Twin for $type {
            fn english(&self) -> impl fmt::Display {
                self
            }

            fn chinese(&self) -> impl fmt::Display {
                self
            }
        }
    )*};
}
same_in_both!(
    String,
    &str,
    u8,
    u16,
    u32,
    u64,
    usize,
    core::net::IpAddr,
    core::net::SocketAddr,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_said_in_the_language_asked_for_and_english_when_none_is_known() {
        let (port, who) = (1883, "x");
        let said = said!("{port} is taken by {who}", "{port} 已被 {who} 占用");
        assert_eq!(said.in_language(Language::En), "1883 is taken by x");
        assert_eq!(said.in_language(Language::Auto), "1883 is taken by x");
        assert_eq!(said.in_language(Language::ZhCn), "1883 已被 x 占用");
        assert_eq!(said.to_string(), "1883 is taken by x");
        let both = said!("write {} or {}", "请写 {} 或 {}", said, 7u16);
        assert_eq!(both.en, "write 1883 is taken by x or 7");
        assert_eq!(both.zh, "请写 1883 已被 x 占用 或 7");
    }
}
