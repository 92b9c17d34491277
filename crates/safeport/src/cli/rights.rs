//! Topic rights as the command line takes them.

use clap::Args;
use safeport_fleet::Grant;
use safeport_store::Rights;

use crate::console::Failure;
use crate::say;
use crate::text::Texts;

/// `--publish` and `--subscribe`.
#[derive(Debug, Default, Args)]
pub(super) struct Filters {
    /// Topic filter that may be published to, such as cmnd/# (may be repeated)
    #[arg(long, value_name = "FILTER")]
    pub(super) publish: Vec<String>,
    /// Topic filter that may be subscribed to, such as tele/+/SENSOR (may be repeated)
    #[arg(long, value_name = "FILTER")]
    pub(super) subscribe: Vec<String>,
}

impl Filters {
    pub(super) fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.subscribe.is_empty()
    }

    /// The filters as rights, if all of them are topic filters.
    pub(super) fn rights(&self, texts: &Texts) -> Result<Rights, Failure> {
        let grant = Grant {
            publish: self.publish.clone(),
            subscribe: self.subscribe.clone(),
        };
        checked(grant, texts)
    }
}

/// Rights of a person or program: everything for `admin`, the named filters, or, when none is
/// named, every topic of devices (`#` does not reach `$SYS`).
pub(super) fn of_user(filters: &Filters, admin: bool, texts: &Texts) -> Result<Rights, Failure> {
    if admin {
        let mut grant = Grant::everything();
        grant.extend(&Grant {
            publish: filters.publish.clone(),
            subscribe: filters.subscribe.clone(),
        });
        return checked(grant, texts);
    }
    if filters.is_empty() {
        return Ok(Rights {
            publish: vec!["#".to_owned()],
            subscribe: vec!["#".to_owned()],
        });
    }
    filters.rights(texts)
}

fn checked(grant: Grant, texts: &Texts) -> Result<Rights, Failure> {
    grant
        .check()
        .map_err(|error| Failure::usage(say!(texts, "filter-bad")).detail(error))?;
    Ok(Rights {
        publish: grant.publish,
        subscribe: grant.subscribe,
    })
}

/// Rights on one line.
pub(super) fn shown(rights: &Rights) -> String {
    format!(
        "publish [{}] subscribe [{}]",
        rights.publish.join(", "),
        rights.subscribe.join(", ")
    )
}
