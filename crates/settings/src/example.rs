//! The example settings file, made from the table of keys.

use alloc::string::String;

use crate::table::SECTIONS;
use crate::{Settings, Sources};

impl Settings {
    /// `safeport.toml` with every key, its meaning and its default. The values
    /// are commented out: a line counts once its `#` is removed.
    pub fn example() -> String {
        let defaults = match Settings::parse(&Sources::default()) {
            Ok(settings) => settings.resolved,
            Err(problems) => unreachable!("the defaults are valid: {problems:?}"),
        };
        let mut defaults = defaults.into_iter();
        let mut text = String::from(
            "# Settings of Safeport. Every value below is the default; to change one, remove\n\
             # the # in front of its key. The environment (SAFEPORT__MQTT__BIND) and flags\n\
             # win over this file.\n",
        );
        for section in SECTIONS {
            text.push('\n');
            for line in section.doc {
                remark(&mut text, line);
            }
            if section.named {
                text.push_str(&alloc::format!("#[{}.front]\n", section.name));
            } else {
                text.push_str(&alloc::format!("[{}]\n", section.name));
            }
            for spec in section.keys {
                text.push('\n');
                for line in spec.doc {
                    remark(&mut text, line);
                }
                if let Some((least, most)) = spec.range {
                    remark(&mut text, &alloc::format!("From {least} to {most}."));
                }
                let value = match (section.named, spec.default) {
                    (false, _) => defaults.next().map(|default| default.value),
                    (true, Some(default)) => Some(alloc::format!("\"{default}\"")),
                    (true, None) => Some(String::from("\"https://hub.example.com\"")),
                };
                let value = value.unwrap_or_default();
                text.push_str(&alloc::format!("#{} = {value}\n", spec.name));
            }
        }
        text
    }
}

fn remark(text: &mut String, line: &str) {
    text.push_str("# ");
    text.push_str(line.trim());
    text.push('\n');
}
