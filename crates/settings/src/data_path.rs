//! Where the data folder lies.

use alloc::format;
use alloc::string::{String, ToString};

/// The setting `server.data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataPath {
    /// Found by [`DataPath::resolve`]. Written `auto`.
    Auto,
    /// This folder.
    Folder(String),
}

impl DataPath {
    /// The folder to use. For [`DataPath::Auto`], the first that applies:
    ///
    /// 1. `$STATE_DIRECTORY`, which systemd sets (the first, if it lists more);
    /// 2. `/var/lib/safeport` for root;
    /// 3. `$XDG_DATA_HOME/safeport`;
    /// 4. `$HOME/.local/share/safeport`.
    ///
    /// `None` when none applies: then the person has to name one.
    pub fn resolve(&self, env: &[(&str, &str)], root: bool) -> Option<String> {
        let variable = |name: &str| {
            env.iter()
                .find(|(variable, value)| *variable == name && value.starts_with('/'))
                .map(|(_, value)| *value)
        };
        match self {
            DataPath::Folder(folder) => Some(folder.clone()),
            DataPath::Auto => {
                if let Some(list) = variable("STATE_DIRECTORY") {
                    return list.split(':').next().map(ToString::to_string);
                }
                if root {
                    return Some("/var/lib/safeport".to_string());
                }
                if let Some(data) = variable("XDG_DATA_HOME") {
                    return Some(format!("{}/safeport", data.trim_end_matches('/')));
                }
                variable("HOME")
                    .map(|home| format!("{}/.local/share/safeport", home.trim_end_matches('/')))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_is_taken_as_it_is() {
        let folder = DataPath::Folder("data".to_string());
        assert_eq!(
            folder.resolve(&[("HOME", "/home/a")], true),
            Some("data".to_string())
        );
    }

    #[test]
    fn auto_prefers_systemd_then_the_systems_folder_for_root_then_the_users() {
        let env = [
            ("HOME", "/home/a/"),
            ("XDG_DATA_HOME", "/home/a/data"),
            ("STATE_DIRECTORY", "/var/lib/one:/var/lib/two"),
        ];
        let auto = |env, root| DataPath::Auto.resolve(env, root);
        assert_eq!(auto(&env, true).as_deref(), Some("/var/lib/one"));
        assert_eq!(auto(&env[..2], true).as_deref(), Some("/var/lib/safeport"));
        assert_eq!(
            auto(&env[..2], false).as_deref(),
            Some("/home/a/data/safeport")
        );
        assert_eq!(
            auto(&env[..1], false).as_deref(),
            Some("/home/a/.local/share/safeport")
        );
        assert_eq!(auto(&[("HOME", "")], false), None);
        assert_eq!(auto(&[("XDG_DATA_HOME", "relative")], false), None);
    }
}
