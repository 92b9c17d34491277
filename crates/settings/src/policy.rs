//! Who may set a key, and how several sources go together.

use alloc::vec::Vec;

use crate::Said;
use crate::said::said;

/// The policy of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Only defaults, files, the environment and flags may set it: a value that
    /// comes from elsewhere must not cut off the way by which it is repaired.
    pub local: bool,
    /// Sources may set it only to the same value.
    pub agree: bool,
    /// The lists of several sources are joined, without doubles; `"!reset"` as
    /// the first of a list drops what lower ranks have said.
    pub append: bool,
    /// Its value is never shown.
    pub secret: bool,
    /// `auto` is worked out by the server.
    pub derived: bool,
    /// A change holds at once; otherwise at the next start.
    pub live: bool,
    /// It may be set for a tag or for one device.
    pub told: bool,
    /// A change may cut off who made it, and has to be confirmed.
    pub lockout: bool,
}

impl Policy {
    /// What holds for a key of which the table says nothing else.
    pub(crate) const PLAIN: Policy = Policy {
        local: false,
        agree: false,
        append: false,
        secret: false,
        derived: false,
        live: true,
        told: false,
        lockout: false,
    };

    /// The policy in the one word that says most: `secret`, `derived`, `agree`,
    /// `append`, `local` or `replace`.
    pub fn word(&self) -> &'static str {
        match self {
            Policy { secret: true, .. } => "secret",
            Policy { derived: true, .. } => "derived",
            Policy { agree: true, .. } => "agree",
            Policy { append: true, .. } => "append",
            Policy { local: true, .. } => "local",
            _ => "replace",
        }
    }

    /// Everything that is out of the ordinary, a sentence each.
    pub fn remarks(&self) -> Vec<Said> {
        let mut remarks = Vec::new();
        if !self.live {
            remarks.push(said!(
                "A change holds from the next start.",
                "更改在下次启动后生效。"
            ));
        }
        if self.local {
            remarks.push(said!(
                "Only the file, the environment and flags may set it.",
                "只能在文件、环境变量或命令行参数中设置。"
            ));
        }
        if self.agree {
            remarks.push(said!(
                "Sources that differ are a mistake.",
                "各来源不一致即为错误。"
            ));
        }
        if self.append {
            remarks.push(said!(
                "Lists of several sources are joined; \"!reset\" as the first entry drops those \
                 of lower ones.",
                "多个来源的列表会合并；首项写 \"!reset\" 则丢弃较低来源的内容。"
            ));
        }
        if self.secret {
            remarks.push(said!("It is never shown.", "从不显示其值。"));
        }
        if self.told {
            remarks.push(said!(
                "It may be set for a tag or for one device.",
                "可以针对标签或单个设备设置。"
            ));
        }
        if self.lockout {
            remarks.push(said!(
                "A change has to be confirmed, or it is taken back.",
                "更改须确认，否则会被撤回。"
            ));
        }
        remarks
    }
}
