//! Every endpoint under `/api/v1`.

use safeport_store::ScopeArea::{Attempts, Certificates, Settings};

use super::endpoint::{Endpoint, Gives, Kind, Need, Parameter, Takes, Verb, Work, read, write};
use crate::limits::{API_ATTEMPTS, API_REVISIONS};

const fn text(name: &'static str, means: &'static str) -> Parameter {
    Parameter {
        name,
        means,
        kind: Kind::Text,
    }
}

const fn number(name: &'static str, means: &'static str, least: u64, most: u64) -> Parameter {
    Parameter {
        name,
        means,
        kind: Kind::Number(least, most),
    }
}

const fn flag(name: &'static str, means: &'static str) -> Parameter {
    Parameter {
        name,
        means,
        kind: Kind::Flag,
    }
}

const ATTEMPTS: &[Parameter] = &[
    text("address", "only those from this IP address"),
    text(
        "device",
        "only those of this device, by its login or client id",
    ),
    text("cause", "only those with this code"),
    flag("failed", "true: only failures"),
    number(
        "since",
        "only those at or after this moment, in seconds since 1970",
        0,
        u64::MAX,
    ),
    number(
        "limit",
        "most that are answered, default 100",
        1,
        API_ATTEMPTS as u64,
    ),
];

/// The table. Addresses with words come before those with parameters at the same place only for
/// the reader: the router tells them apart by itself.
pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        verb: Verb::Get,
        path: "/openapi.json",
        needs: Need::Nothing,
        does: "This description of the API",
        query: &[],
        takes: Takes::Nothing,
        gives: Gives::Json(200, "Anything"),
        work: Work::Desk(|_| Ok(super::openapi::answer())),
    },
    Endpoint {
        verb: Verb::Get,
        path: "/settings",
        needs: read(Settings),
        does: "Every key with value, default, source and policy",
        query: &[],
        takes: Takes::Nothing,
        gives: Gives::Json(200, "Settings"),
        work: Work::Desk(|desk| desk.settings()),
    },
    Endpoint {
        verb: Verb::Patch,
        path: "/settings",
        needs: write(Settings),
        does: "Changes managed values, all or none",
        query: &[],
        takes: Takes::Json("SettingsChange"),
        gives: Gives::Json(200, "Revision"),
        work: Work::Desk(|desk| desk.change()),
    },
    Endpoint {
        verb: Verb::Post,
        path: "/settings/reload",
        needs: write(Settings),
        does: "Has the server read its files again, as SIGHUP does",
        query: &[],
        takes: Takes::Nothing,
        gives: Gives::Json(200, "Revision"),
        work: Work::Desk(|desk| desk.reload()),
    },
    Endpoint {
        verb: Verb::Get,
        path: "/settings/{key}",
        needs: read(Settings),
        does: "Everything about one key",
        query: &[text("device", "as this device is told it")],
        takes: Takes::Nothing,
        gives: Gives::Json(200, "Setting"),
        work: Work::Desk(|desk| {
            let key = desk.part("key");
            let device = desk.query("device");
            desk.explain(&key, device.as_deref())
        }),
    },
    Endpoint {
        verb: Verb::Get,
        path: "/revisions",
        needs: read(Settings),
        does: "The history of the settings, newest first",
        query: &[number(
            "limit",
            "most that are answered, default 20",
            1,
            API_REVISIONS as u64,
        )],
        takes: Takes::Nothing,
        gives: Gives::Json(200, "Revisions"),
        work: Work::Desk(|desk| {
            let limit = desk.query("limit");
            desk.revisions(limit.as_deref())
        }),
    },
    Endpoint {
        verb: Verb::Get,
        path: "/revisions/{revision}",
        needs: read(Settings),
        does: "One revision of the settings",
        query: &[],
        takes: Takes::Nothing,
        gives: Gives::Json(200, "Revision"),
        work: Work::Desk(|desk| {
            let id = desk.part("revision");
            desk.revision(&id)
        }),
    },
    Endpoint {
        verb: Verb::Post,
        path: "/revisions/{revision}/rollback",
        needs: write(Settings),
        does: "Managed values as of this revision; itself a new one",
        query: &[],
        takes: Takes::Maybe("Reason"),
        gives: Gives::Json(200, "Revision"),
        work: Work::Desk(|desk| {
            let id = desk.part("revision");
            desk.roll_back(&id)
        }),
    },
    Endpoint {
        verb: Verb::Get,
        path: "/ports",
        needs: read(Settings),
        does: "Every listener and every advertised address, and how it stands",
        query: &[],
        takes: Takes::Nothing,
        gives: Gives::Json(200, "Ports"),
        work: Work::Desk(|desk| desk.ports()),
    },
    Endpoint {
        verb: Verb::Get,
        path: "/attempts",
        needs: read(Attempts),
        does: "The newest attempts to connect, one by one",
        query: ATTEMPTS,
        takes: Takes::Nothing,
        gives: Gives::Json(200, "Attempts"),
        work: Work::Desk(|desk| desk.attempts()),
    },
    Endpoint {
        verb: Verb::Get,
        path: "/attempts/counted",
        needs: read(Attempts),
        does: "Like attempts counted together, those of earlier runs too",
        query: ATTEMPTS,
        takes: Takes::Nothing,
        gives: Gives::Json(200, "Attempts"),
        work: Work::Desk(|desk| desk.counted_attempts()),
    },
    Endpoint {
        verb: Verb::Get,
        path: "/certificates",
        needs: read(Certificates),
        does: "What each listener presents, and which device families can connect",
        query: &[],
        takes: Takes::Nothing,
        gives: Gives::Json(200, "Certificates"),
        work: Work::Desk(|desk| desk.certificates()),
    },
];
