//! What an endpoint is: the router and the document of the API are both made of these, so that
//! neither can say what the other does not.

use std::collections::HashMap;

use safeport_store::{ScopeArea, ScopeLevel};

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::limits::{API_BODY_BYTES, API_BULK_BODY_BYTES, API_LOG_BYTES};

/// One method at one address under `/api/v1`.
pub(super) struct Endpoint {
    pub(super) verb: Verb,
    /// With parameters in braces: `/devices/{device}`.
    pub(super) path: &'static str,
    pub(super) needs: Need,
    /// What it does, as one sentence without its full stop.
    pub(super) does: &'static str,
    /// What may stand behind the question mark.
    pub(super) query: &'static [Parameter],
    pub(super) takes: Takes,
    pub(super) gives: Gives,
    pub(super) work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Patch,
    Put,
    Delete,
}

/// What a token has to be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Whatever it is good for.
    Nothing,
    Scope(ScopeArea, ScopeLevel),
}

/// A parameter in the query.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) means: &'static str,
    pub(super) kind: Kind,
}

/// What values a parameter has.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// `true` or `false`.
    Flag,
}

/// What the body of a request holds; the words are names of schemas.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    Nothing,
    Json(&'static str),
    /// JSON or nothing at all.
    Maybe(&'static str),
    /// JSON with many rows.
    Rows(&'static str),
    /// Lines of text.
    Text,
    /// The bytes of a file; the endpoint reads them by itself.
    File,
}

/// What a good answer holds.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    /// A schema's name and the status it comes with.
    Json(u16, &'static str),
    /// The bytes of a file.
    File,
    /// A recording: Ogg Opus.
    Sound,
}

/// Who answers.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// A thread that may wait for the disk.
    Desk(fn(&mut Desk<'_>) -> Result<Answer, Refusal>),
    /// Takes a file as it comes.
    Upload,
}

impl Verb {
    pub(super) fn method(self) -> axum::routing::MethodFilter {
        use axum::routing::MethodFilter as Filter;
        match self {
            Verb::Get => Filter::GET,
            Verb::Post => Filter::POST,
            Verb::Patch => Filter::PATCH,
            Verb::Put => Filter::PUT,
            Verb::Delete => Filter::DELETE,
        }
    }

    /// As OpenAPI writes it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Patch => "patch",
            Verb::Put => "put",
            Verb::Delete => "delete",
        }
    }
}

/// Looking at an area.
pub(super) const fn read(area: ScopeArea) -> Need {
    Need::Scope(area, ScopeLevel::Read)
}

/// Changing it.
pub(super) const fn write(area: ScopeArea) -> Need {
    Need::Scope(area, ScopeLevel::Write)
}

impl Need {
    /// As `token add --scope` takes it.
    pub(super) fn word(self) -> Option<String> {
        match self {
            Need::Nothing => None,
            Need::Scope(area, level) => Some(format!("{area}:{level}")),
        }
    }
}

impl Takes {
    /// The schema, and whether a body must be there.
    pub(super) fn schema(self) -> Option<(&'static str, bool)> {
        match self {
            Takes::Json(name) | Takes::Rows(name) => Some((name, true)),
            Takes::Maybe(name) => Some((name, false)),
            Takes::Nothing | Takes::Text | Takes::File => None,
        }
    }

    /// Most bytes of a body; more is answered with 413.
    pub(super) fn limit(self) -> usize {
        match self {
            Takes::Rows(_) => API_BULK_BODY_BYTES,
            Takes::Text => API_LOG_BYTES,
            _ => API_BODY_BYTES,
        }
    }
}

impl Endpoint {
    pub(super) fn query_names(&self) -> Vec<&'static str> {
        self.query.iter().map(|known| known.name).collect()
    }

    /// The names in braces.
    pub(super) fn path_names(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// What an address and its query say.
#[derive(Default)]
pub(super) struct Given {
    pub(super) path: HashMap<String, String>,
    pub(super) query: HashMap<String, String>,
}
