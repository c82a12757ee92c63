//! The gateway's own routes in the document: it serves them itself, from its table.

use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi, PathItem, Ref, RefOr, Required, ResponseBuilder, Schema, Type,
};
use utoipa::{PartialSchema as _, ToSchema};

const TAG: &str = "inference-gateway";
const CURRENT: &str = "/apis/inference-gateway/v2/workspaces/{workspace}";
const OLDER: &str = "/v2/workspaces/{workspace}/inference/gateway";

/// Every method that is forwarded.
const FORWARDED: [HttpMethod; 5] =
    [HttpMethod::Get, HttpMethod::Post, HttpMethod::Put, HttpMethod::Patch, HttpMethod::Delete];

/// A model as OpenAI's clients list it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema; the gateway answers from its table")]
struct OpenAiModel {
    /// `workspace/name`
    id: String,
    owned_by: String,
    object: String,
    /// Seconds since the epoch
    created: u64,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema; the gateway answers from its table")]
struct OpenAiModels {
    data: Vec<OpenAiModel>,
    object: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema; the gateway answers from its table")]
struct ProviderReady {
    ready: bool,
    provider: String,
    host_url: String,
}

pub fn add(document: &mut OpenApi) {
    let mut schemas = vec![
        (OpenAiModels::name().into_owned(), OpenAiModels::schema()),
        (ProviderReady::name().into_owned(), ProviderReady::schema()),
    ];
    OpenAiModels::schemas(&mut schemas);
    document.components.get_or_insert_default().schemas.extend(schemas);
    for base in [CURRENT, OLDER] {
        for (kind, meaning) in [
            ("openai", "To the provider that serves the body's `model`"),
            ("model/{name}", "To the provider that serves this model, whatever the body says"),
            ("provider/{name}", "To this provider"),
        ] {
            forwarded(document, &format!("{base}/{kind}/-/{{trailing_uri}}"), meaning);
        }
        answered(
            document,
            &format!("{base}/openai/-/v1/models"),
            "The models that can be called",
            "OpenAiModels",
        );
        answered(document, &format!("{base}/openai/-/v1/models/{{name}}"), "One of them", "OpenAiModel");
        let ready = format!("{base}/provider/{{name}}/ready");
        answered(document, &ready, "Whether the provider is routed to", "ProviderReady");
    }
    forwarded(document, "/v1/{trailing_uri}", "The OpenAI route of workspace `default`");
    answered(document, "/v1/models", "The models of workspace `default`", "OpenAiModels");
    answered(document, "/v1/models/{name}", "One of them", "OpenAiModel");
}

fn forwarded(document: &mut OpenApi, path: &str, meaning: &str) {
    for method in FORWARDED {
        let answer = ResponseBuilder::new()
            .description("The provider's answer as it is, or a refusal of the gateway (`error` and `detail`)")
            .build();
        let operation = operation(path, meaning).response("default", answer).build();
        add_operation(document, path, method, operation);
    }
}

fn answered(document: &mut OpenApi, path: &str, meaning: &str, schema: &str) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let answer = ResponseBuilder::new().description(meaning).content("application/json", content).build();
    let operation = operation(path, meaning).response("200", answer).build();
    add_operation(document, path, HttpMethod::Get, operation);
}

fn operation(path: &str, meaning: &str) -> OperationBuilder {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let text: RefOr<Schema> = ObjectBuilder::new().schema_type(Type::String).into();
    names.fold(OperationBuilder::new().tag(TAG).summary(Some(meaning)), |operation, name| {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(text.clone()));
        operation.parameter(parameter)
    })
}

fn add_operation(document: &mut OpenApi, path: &str, method: HttpMethod, operation: Operation) {
    let item = PathItem::new(method, operation);
    match document.paths.paths.get_mut(path) {
        Some(existing) => existing.merge_operations(item),
        None => {
            document.paths.paths.insert(path.to_owned(), item);
        }
    }
}
