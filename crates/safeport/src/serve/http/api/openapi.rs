//! `/api/v1/openapi.json`: the document of the API, made from the table that the router is made
//! from. Schemas are in `schemas.json`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::endpoint::{Endpoint, Gives, Kind, Need, Takes};
use super::table::ENDPOINTS;

/// Schemas of bodies by name.
const SCHEMAS: &str = include_str!("schemas.json");

pub(super) fn answer() -> Answer {
    Answer::ok(document())
}

/// The whole document: OpenAPI 3.1.
pub(super) fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        paths
            .entry(endpoint.path)
            .or_default()
            .insert(endpoint.verb.word().to_owned(), operation(endpoint));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Safeport",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Devices, firmware, settings and their history. Texts for people are in the \
                            language of Accept-Language: en or zh-CN.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer",
                "description": "A token that `safeport token add NAME` has printed.",
            }},
            "responses": {"Refusal": {
                "description": "It was not done; the body says why and what to do next",
                "content": {"application/json": {"schema": reference("Refusal")}},
            }},
            "schemas": schemas(),
        },
    })
}

fn schemas() -> Value {
    serde_json::from_str(SCHEMAS).unwrap_or_default()
}

fn operation(endpoint: &Endpoint) -> Value {
    let needs = endpoint.needs.word();
    let tag = match endpoint.needs {
        Need::Nothing => "api",
        Need::Scope(area, _) => area.word(),
    };
    let in_path = endpoint.path_names().map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}),
    );
    let in_query = endpoint.query.iter().map(|parameter| {
        json!({
            "name": parameter.name, "in": "query", "description": parameter.means,
            "schema": match parameter.kind {
                Kind::Text => json!({"type": "string"}),
                Kind::Number(least, u64::MAX) => json!({"type": "integer", "minimum": least}),
                Kind::Number(least, most) => {
                    json!({"type": "integer", "minimum": least, "maximum": most})
                }
                Kind::Flag => json!({"type": "boolean"}),
            },
        })
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let (status, good) = match endpoint.gives {
        Gives::Json(status, schema) => (
            status,
            json!({"application/json": {"schema": reference(schema)}}),
        ),
        Gives::File => (200, json!({"application/octet-stream": {}})),
        Gives::Sound => (200, json!({"audio/ogg": {}})),
    };
    let mut operation = json!({
        "summary": endpoint.does,
        "operationId": operation_id(endpoint),
        "description": match &needs {
            Some(needs) => format!("Needs a token with the scope {needs}."),
            None => "Needs any token.".to_owned(),
        },
        "tags": [tag],
        "x-safeport-scope": needs,
        "responses": {
            status.to_string(): {"description": endpoint.does, "content": good},
            "default": {"$ref": "#/components/responses/Refusal"},
        },
    });
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some((schema, required)) = endpoint.takes.schema() {
        operation["requestBody"] = json!({
            "required": required,
            "content": {"application/json": {"schema": reference(schema)}},
        });
    } else if matches!(endpoint.takes, Takes::Text) {
        operation["requestBody"] = json!({
            "required": true,
            "content": {"text/plain": {"schema": {"type": "string"}}},
        });
    } else if matches!(endpoint.takes, Takes::File) {
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/octet-stream": {}},
        });
    }
    operation
}

/// `get_devices_device`.
fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint
        .path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut id = endpoint.verb.word().to_owned();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    match (name.as_str(), value) {
                        ("$ref", Value::String(to)) => {
                            found.insert(to.clone());
                        }
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere_and_every_schema_is_used() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').expect("inside the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let schemas = document["components"]["schemas"].as_object();
        let schemas = schemas.expect("schemas that are JSON");
        for name in schemas.keys() {
            let reference = format!("#/components/schemas/{name}");
            assert!(found.contains(&reference), "{name} is used by nobody");
        }
    }

    #[test]
    fn no_two_operations_share_an_address_or_an_id() {
        let mut places = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for endpoint in ENDPOINTS {
            let place = (endpoint.path, endpoint.verb.word());
            assert!(places.insert(place), "{place:?} is there twice");
            let id = operation_id(endpoint);
            assert!(ids.insert(id.clone()), "{id} is there twice");
        }
    }
}
