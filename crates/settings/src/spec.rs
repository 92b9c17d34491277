//! What the table says of a key: its type, limits and policy, without its value.

use alloc::string::String;

use crate::kind::{Check, Kind, Misfit, Raw};
use crate::said::said;
use crate::{Policy, Source, toml_words};

/// One key of the table.
pub(crate) struct KeySpec {
    /// Its section.
    pub(crate) section: &'static str,
    /// Its name within the section.
    pub(crate) name: &'static str,
    /// What it means, line by line.
    pub(crate) doc: &'static [&'static str],
    /// Its default as text; `None` for a key that has to be set.
    pub(crate) default: Option<&'static str>,
    /// What an example says in place of the default, as text.
    pub(crate) example: Option<&'static str>,
    /// Least and greatest value as text.
    pub(crate) range: Option<(&'static str, &'static str)>,
    /// Who may set it, and how.
    pub(crate) policy: Policy,
    /// Reads a value, holds it against type, limits and rules, and writes it as
    /// TOML. The flag says whether the source outlives this run.
    pub(crate) judge: fn(&KeySpec, Raw<'_>, bool) -> Result<String, Misfit>,
}

/// One section of the table.
pub(crate) struct SectionSpec {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is for, line by line.
    pub(crate) doc: &'static [&'static str],
    /// Whether it holds named entries, each with these keys: `[proxy.NAME]`.
    pub(crate) named: bool,
    /// The name of an entry in examples.
    pub(crate) example: &'static str,
    /// Its keys.
    pub(crate) keys: &'static [KeySpec],
}

impl KeySpec {
    /// `section.name`; of a section of named entries `section.NAME.name`.
    pub(crate) fn full_name(&self, entry: Option<&str>) -> String {
        match entry {
            None => alloc::format!("{}.{}", self.section, self.name),
            Some(entry) => alloc::format!("{}.{entry}.{}", self.section, self.name),
        }
    }

    /// `SAFEPORT__SECTION__NAME`.
    pub(crate) fn variable(&self, entry: Option<&str>) -> String {
        let name = self.full_name(entry).replace('.', "__").replace('-', "_");
        alloc::format!("SAFEPORT__{}", name.to_ascii_uppercase())
    }
}

impl KeySpec {
    /// Judges a value of the table's own.
    pub(crate) fn default_value(&self, text: &str) -> Result<String, String> {
        (self.judge)(self, Raw::Text(text), true).map_err(|_| String::from(text))
    }

    /// Judges a value that was joined of several.
    pub(crate) fn judge(&self, toml: &str, source: &Source) -> Result<String, Misfit> {
        match toml.parse::<toml_edit::Value>() {
            Ok(value) => self.judge_raw(Raw::Toml(&value), source),
            Err(error) => Err(Misfit {
                what: said!(
                    "this is not TOML: {}",
                    "这不是 TOML：{}",
                    toml_words::said(&error)
                ),
                help: said!(
                    "write the value as in the settings file, texts in double quotes",
                    "请像设置文件里那样写，文字加双引号"
                ),
            }),
        }
    }

    /// Judges what a source says.
    pub(crate) fn judge_raw(&self, raw: Raw<'_>, source: &Source) -> Result<String, Misfit> {
        let lasting = !matches!(source, Source::Flag { .. });
        (self.judge)(self, raw, lasting)
    }
}

impl PartialEq for KeySpec {
    fn eq(&self, other: &KeySpec) -> bool {
        (self.section, self.name) == (other.section, other.name)
    }
}

impl Eq for KeySpec {}

/// [`KeySpec::judge`] of a type.
pub(crate) fn judge<T: Kind>(
    spec: &KeySpec,
    raw: Raw<'_>,
    lasting: bool,
    check: Option<Check<T>>,
) -> Result<String, Misfit> {
    if raw.resets() && !spec.policy.append {
        return Err(Misfit {
            what: said!(
                "\"!reset\" belongs to lists that are joined from several sources",
                "\"!reset\" 只用于由多个来源合并的列表"
            ),
            help: said!(
                "leave it away: the value of the highest source holds alone",
                "请去掉：最高来源的值单独生效"
            ),
        });
    }
    let value = T::read(raw)?;
    within(spec, &value)?;
    check.map_or(Ok(()), |check| check(&value))?;
    if lasting {
        value.lasting()?;
    }
    Ok(value.show())
}

/// Reads back what [`judge`] wrote.
pub(crate) fn read_back<T: Kind>(toml: &str) -> T {
    let value = toml.parse::<toml_edit::Value>();
    match value.as_ref().map(|value| T::read(Raw::Toml(value))) {
        Ok(Ok(value)) => value,
        // It was shown by the same type; a test does this with every default,
        // and property tests with what else there is.
        _ => unreachable!("a value is read back as it was shown: {toml}"),
    }
}

/// Holds a value against the limits in the table.
fn within<T: Kind>(spec: &KeySpec, value: &T) -> Result<(), Misfit> {
    let Some((least, most)) = spec.range else {
        return Ok(());
    };
    let bound = |text| {
        T::read(Raw::Text(text))
            .ok()
            .and_then(|value| value.measure())
    };
    let (Some(least_value), Some(most_value), Some(measured)) =
        (bound(least), bound(most), value.measure())
    else {
        return Ok(());
    };
    if (least_value..=most_value).contains(&measured) {
        return Ok(());
    }
    let seen = value.show();
    Err(Misfit {
        what: if measured < least_value {
            said!("{seen} is too small", "{seen} 太小")
        } else {
            said!("{seen} is too big", "{seen} 太大")
        },
        help: said!(
            "use a value from {least} to {most}",
            "请用 {least} 到 {most} 之间的值"
        ),
    })
}
