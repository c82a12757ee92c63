//! The OpenAPI document, made from the routes themselves.
//!
//! `registry/openapi.json` is a copy for people and tools; a test holds it to what is served.

mod gateway;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{Content, InfoBuilder, OpenApi, PathItem, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema as _, ToSchema};

use super::entities::EntityTypeName;
use super::schema::ErrorAnswer;

pub const PATH: &str = "/openapi.json";

/// Errors that a call of this method may end in, beside its own.
const ERRORS: &[(&str, &str)] = &[
    ("400", "A value can't be accepted"),
    ("401", "Credentials are needed"),
    ("403", "Not allowed"),
    ("404", "No such object"),
    ("409", "It exists already, or its state does not allow it"),
    ("413", "The body is too long"),
    ("422", "The request is malformed"),
    ("503", "The registry is busy; try again"),
    ("507", "The disk is full"),
];

static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec(&document()).unwrap_or_default().into());

pub async fn serve() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

/// The document as it is served.
pub fn document() -> OpenApi {
    let (_, mut document) = super::routes().merge(super::transfers()).split_for_parts();
    document.info = InfoBuilder::new()
        .title("nimgate")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("One address for every model: the registry's API and the gateway's routes."))
        .build();
    name_rests(&mut document);
    gateway::add(&mut document);
    add_errors(&mut document);
    add_name_patterns(&mut document);
    document
}

/// Parameters of paths that are names.
const NAMES: &[&str] = &["workspace", "name", "model_name", "adapter", "config", "deployment"];

fn add_name_patterns(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            for parameter in operation.parameters.iter_mut().flatten() {
                let RefOr::T(parameter) = parameter else { continue };
                if parameter.parameter_in == ParameterIn::Path {
                    let schema = match parameter.name.as_str() {
                        "entity_type" => "EntityTypeName",
                        name if NAMES.contains(&name) => "Name",
                        _ => continue,
                    };
                    parameter.schema = Some(Ref::from_schema_name(schema).into());
                }
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, head, .. } = item;
    [get, put, post, delete, patch, head].into_iter().flatten()
}

/// The router writes the rest of a path as `{*path}`; in the document it is a parameter like others.
fn name_rests(document: &mut OpenApi) {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
}

/// Each error once, and a reference to it in every operation.
fn add_errors(document: &mut OpenApi) {
    let mut schemas = vec![
        (ErrorAnswer::name().into_owned(), ErrorAnswer::schema()),
        (EntityTypeName::name().into_owned(), EntityTypeName::schema()),
    ];
    ErrorAnswer::schemas(&mut schemas);
    let components = document.components.get_or_insert_default();
    components.schemas.extend(schemas);
    for (status, description) in ERRORS {
        let content = Content::new(Some(Ref::from_schema_name(ErrorAnswer::name())));
        let response =
            ResponseBuilder::new().description(*description).content("application/json", content).build();
        components.responses.insert(format!("Error{status}"), RefOr::T(response));
    }
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let responses = &mut operation.responses.responses;
            if responses.contains_key("default") {
                // A provider's answer, whatever it is.
                continue;
            }
            for (status, _) in ERRORS {
                let error = Ref::from_response_name(format!("Error{status}"));
                responses.entry((*status).to_owned()).or_insert(RefOr::Ref(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written anew with `NIMGATE_BLESS=1`.
    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        let served = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("NIMGATE_BLESS").is_some() {
            std::fs::write(COMMITTED, &served).unwrap();
        }
        let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
        assert!(
            committed == served,
            "run NIMGATE_BLESS=1 cargo test -p registry openapi, and look at the difference"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = serde_json::to_value(document()).unwrap();
        let text = document.to_string();
        for name in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name} is not in the document");
        }
    }
}
