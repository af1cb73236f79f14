//! `/openapi.json`: the description of the API, made from the endpoints and the types of requests and answers.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::access::Deed;
use super::endpoint::{Answer, Content, Endpoint, Parameter};
use super::error::{Code, PROBLEM_JSON};
use super::router;
use super::wire::ProblemDetails;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/openapi.json", "getOpenApi", "This document, OpenAPI 3.1.", get)
            .does(Deed::Ask)
            .answers_other(200, "The document.", "application/json"),
    ]
}

async fn get() -> impl IntoResponse {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| Bytes::from(document().to_string()));
    ([(header::CONTENT_TYPE, "application/json")], text.clone())
}

/// The OpenAPI 3.1 document of the whole API.
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in router::endpoints() {
        let operation = operation(&endpoint, &mut generator);
        let item = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        item[endpoint.method] = operation;
    }
    let problem = reference::<ProblemDetails>(&mut generator);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Replibook",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "security": [{ "bearer": [] }],
        "components": {
            "securitySchemes": { "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": SECURITY,
            }},
            "schemas": generator.take_definitions(true),
            "responses": { "Problem": {
                "description": problem_text(),
                "content": { PROBLEM_JSON: { "schema": problem } },
            }},
        },
    })
}

fn operation(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let mut answers: Map<String, Value> = Map::new();
    for answer in &endpoint.answers {
        answers.insert(answer.status.to_string(), response(answer, generator));
    }
    for (status, codes) in by_status(endpoint) {
        answers.insert(status.to_string(), failure(&codes, generator));
    }
    answers.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    let mut operation = json!({
        "operationId": endpoint.id,
        "tags": [tag(endpoint.path)],
        "summary": endpoint.summary,
        "responses": answers,
    });
    let verbs = endpoint.deed.map_or(&[][..], Deed::verbs);
    let verbs: Vec<&str> = verbs.iter().map(|verb| verb.as_str()).collect();
    if endpoint.deed.is_some_and(Deed::is_open) {
        operation["security"] = json!([]);
    }
    if !verbs.is_empty() {
        operation["description"] = json!(format!("Wants the verb {}.", verbs.join(" or ")));
    }
    // The same for programs.
    operation["x-verbs"] = json!(verbs);
    if !endpoint.parameters.is_empty() {
        let all = endpoint.parameters.iter().map(|one| parameter(one, generator));
        operation["parameters"] = all.collect();
    }
    if let Some(body) = &endpoint.body {
        operation["requestBody"] =
            json!({ "required": true, "content": contents([body].into_iter(), generator) });
    }
    operation
}

/// Who may ask what, for readers of the description.
const SECURITY: &str = "On a server with `--access`: a token of `replibook token new`, or one of an issuer of OpenID Connect \
     that the server knows. What somebody may not view does not exist for them. Other servers ask nobody who they are.";

fn by_status(endpoint: &Endpoint) -> BTreeMap<u16, Vec<Code>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for code in endpoint.codes() {
        found.entry(code.status().as_u16()).or_default().push(code);
    }
    found
}

/// The answer for all errors with one status.
fn failure(codes: &[Code], generator: &mut SchemaGenerator) -> Value {
    let meaning = |code: &Code| format!("`{}`: {}", code.as_str(), code.meaning());
    let words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    let own = json!({ "properties": { "code": { "enum": words } } });
    let problem = reference::<ProblemDetails>(generator);
    json!({
        "description": codes.iter().map(meaning).collect::<Vec<_>>().join("; "),
        "content": { PROBLEM_JSON: { "schema": { "allOf": [problem, own] } } },
    })
}

/// The resource that a path is about; everything outside `/api/v1` belongs to `operations`.
fn tag(path: &str) -> &str {
    let rest = path.strip_prefix("/api/v1/").unwrap_or("operations");
    rest.split('/').next().unwrap_or(rest)
}

fn parameter(parameter: &Parameter, generator: &mut SchemaGenerator) -> Value {
    let schema = (parameter.schema)(generator).to_value();
    let is_list = schema["type"] == "array";
    let mut described = json!({
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": schema,
    });
    if is_list {
        // The values are separated by commas.
        described["style"] = json!("form");
        described["explode"] = json!(false);
    }
    described
}

fn response(answer: &Answer, generator: &mut SchemaGenerator) -> Value {
    let mut response = json!({ "description": answer.description });
    if !answer.content.is_empty() {
        response["content"] = contents(answer.content.iter(), generator);
    }
    response
}

fn contents<'c>(all: impl Iterator<Item = &'c Content>, generator: &mut SchemaGenerator) -> Value {
    let one = |content: &'c Content| {
        let schema = content.schema.map(|schema| schema(generator));
        let described = schema.map_or_else(|| json!({}), |schema| json!({ "schema": schema }));
        (content.media_type.to_owned(), described)
    };
    Value::Object(all.map(one).collect())
}

fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn problem_text() -> String {
    let line = |code: &Code| {
        format!("- `{}` ({}): {}", code.as_str(), code.status().as_u16(), code.meaning())
    };
    let lines: Vec<_> = Code::ALL.iter().map(line).collect();
    format!("An error. The values of `code`:\n\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What also those may ask of whom nothing is known.
    const OPEN: [&str; 7] =
        ["getHealth", "getReady", "getOpenApi", "listIssuers", "login", "loginCallback", "logout"];

    #[test]
    fn every_endpoint_is_described_once_and_has_a_good_answer() {
        let mut ids = BTreeSet::new();
        let mut routes = BTreeSet::new();
        for endpoint in router::endpoints() {
            assert!(ids.insert(endpoint.id), "{}", endpoint.id);
            assert!(routes.insert((endpoint.path, endpoint.method)), "{}", endpoint.path);
            assert!(!endpoint.answers.is_empty(), "{}", endpoint.id);
            assert!(endpoint.summary.ends_with('.'), "{}", endpoint.id);
            let deed = endpoint.deed.unwrap_or_else(|| panic!("{} has no deed", endpoint.id));
            // What changes something is in the table as such; of the rest only what tries a start has a body.
            let only_looks =
                endpoint.method == "get" || deed == Deed::LogIn || endpoint.id == "planRun";
            assert_eq!(deed.changes(), !only_looks, "{}", endpoint.id);
            assert_eq!(deed.is_open(), OPEN.contains(&endpoint.id), "{}", endpoint.id);
        }
        let document = document();
        let drain = &document["paths"]["/api/v1/engines/{id}/drain"]["put"];
        assert_eq!(drain["x-verbs"], json!(["admin"]));
        let paths = document["paths"].as_object().unwrap();
        let documented = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (path.as_str(), method.as_str()))
        });
        assert_eq!(documented.collect::<BTreeSet<_>>(), routes);
    }

    #[test]
    fn the_parts_of_a_path_are_described() {
        for endpoint in router::endpoints() {
            let parts = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{'));
            let parts: BTreeSet<_> = parts.map(|part| part.trim_end_matches('}')).collect();
            let described = endpoint.parameters.iter().filter(|one| one.place == "path");
            assert_eq!(described.map(|one| one.name).collect::<BTreeSet<_>>(), parts);
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_no_schema_stands_alone() {
        fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str));
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.contains(format!("#/components/schemas/{name}").as_str()), "{name}");
        }
        for name in ["RunView", "RunViewListing", "AgentRecord", "RunEvent", "ProblemDetails"] {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }

    #[test]
    fn every_code_is_an_error_of_some_route_and_none_is_of_all_that_it_is_not() {
        let mut named: BTreeSet<Code> = [Code::RouteNotFound, Code::MethodNotAllowed].into();
        for endpoint in router::endpoints() {
            let codes = endpoint.codes();
            let has_agent = endpoint.parameters.iter().any(|one| one.name == "agent");
            assert!(
                !has_agent || endpoint.id == "listLogLines" || codes.contains(&Code::AgentNotFound)
            );
            assert_eq!(
                endpoint.body.is_some(),
                codes.contains(&Code::BodyTooLarge),
                "{}",
                endpoint.id
            );
            named.extend(codes);
        }
        assert_eq!(named, BTreeSet::from(Code::ALL));
    }

    #[test]
    fn parameters_have_their_bounds() {
        let document = document();
        let of = |path: &str, name: &str| {
            let all = document["paths"][path]["get"]["parameters"].as_array().unwrap();
            all.iter().find(|one| one["name"] == name).unwrap()["schema"].clone()
        };
        let limit = json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 });
        assert_eq!(of("/api/v1/runs", "limit"), limit);
        assert_eq!(of("/api/v1/runs/{id}/events", "limit"), limit);
        assert_eq!(of("/api/v1/runs", "status")["items"]["$ref"], "#/components/schemas/RunStatus");
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Digest"]["pattern"], "^sha256:[0-9a-f]{64}$");
        assert_eq!(schemas["SubmitCommand"]["properties"]["reason"]["maxLength"], 4096);
        let codes = schemas["ProblemDetails"]["properties"]["code"]["enum"].as_array().unwrap();
        assert_eq!(codes.len(), Code::ALL.len());
        let gone = &document["paths"]["/api/v1/runs/{id}"]["get"]["responses"]["404"];
        let code = &gone["content"][PROBLEM_JSON]["schema"]["allOf"][1]["properties"]["code"];
        assert_eq!(code["enum"], json!(["run-not-found"]));
    }

    #[test]
    fn every_schema_is_valid_json_schema() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(jsonschema::meta::is_valid(schema), "{name}: {schema}");
        }
    }
}
