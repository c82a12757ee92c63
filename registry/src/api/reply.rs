//! Answers: the one place that knows status codes.

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use proto_shared::ErrorBody;
use proto_shared::feed::GENERATION_HEADER;
use serde::Serialize;
use serde_json::{Value, json};

use super::schema::{PageView, Pagination};
use crate::domain::page::{ListRules, Page, PageRequest};
use crate::error::{Error, Issue};
use crate::files::FileError;
use crate::store::{Committed, StoreError};

pub type Reply = Result<Response, Error>;

/// What a list does with fields that are not set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    Keep,
    Omit,
}

pub fn object(status: StatusCode, view: impl Serialize) -> Response {
    (status, Json(view)).into_response()
}

/// The answer to a write.
pub fn written<T, V: Serialize>(
    status: StatusCode,
    committed: Committed<T>,
    view: impl FnOnce(T) -> V,
) -> Response {
    let generation = committed.generation;
    with_generation(object(status, view(committed.value)), generation)
}

/// 204. The platform sends a content type with it.
pub fn deleted<T>(committed: &Committed<T>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json")];
    with_generation((StatusCode::NO_CONTENT, headers).into_response(), committed.generation)
}

pub fn with_generation(mut response: Response, generation: Option<u64>) -> Response {
    if let Some(generation) = generation {
        response.headers_mut().insert(GENERATION_HEADER, HeaderValue::from(generation));
    }
    response
}

pub fn page<T, V: Serialize>(
    page: Page<T>,
    request: &PageRequest,
    rules: &ListRules,
    nulls: Nulls,
    view: impl Fn(T) -> V,
) -> Response {
    object(StatusCode::OK, page_view(page, request, rules, nulls, view))
}

pub fn page_view<T, V: Serialize>(
    page: Page<T>,
    request: &PageRequest,
    rules: &ListRules,
    nulls: Nulls,
    view: impl Fn(T) -> V,
) -> PageView<Value> {
    let pagination = Pagination {
        page: request.page,
        page_size: request.page_size,
        current_page_size: page.rows.len(),
        total_pages: page.total_pages(request.page_size).max(rules.pages_min),
        total_results: page.total,
    };
    let data = page.rows.into_iter().map(|row| in_list(view(row), nulls)).collect();
    let filter = match &request.filter {
        Some(filter) => Some(filter.to_wire()),
        None if nulls == Nulls::Keep => Some(Value::Null),
        None => None,
    };
    PageView { data, pagination, sort: request.sort.to_wire(), filter }
}

/// What users wrote as free JSON keeps its nulls: there they mean something.
const FREE_JSON: &[&str] = &[
    "config",
    "custom_fields",
    "schema",
    "schema_defs",
    "schemas_by_path",
    "data",
    "default_extra_body",
    "ownership",
    "override_config",
    "parameters",
    "required_extra_body",
    "resources",
    "response_format",
    "tolerations",
    "tool_choice",
];

fn in_list(view: impl Serialize, nulls: Nulls) -> Value {
    let mut value = serde_json::to_value(view).unwrap_or_default();
    if nulls == Nulls::Omit {
        omit_nulls(&mut value);
    }
    value
}

fn omit_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => members.retain(|name, member| {
            if !FREE_JSON.contains(&name.as_str()) {
                omit_nulls(member);
            }
            !member.is_null()
        }),
        Value::Array(items) => items.iter_mut().for_each(omit_nulls),
        _ => {}
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        use StatusCode as S;
        let text = self.to_string();
        let (status, body) = match self {
            Self::Invalid(issues) => return invalid(&issues),
            Self::NotFound(_) => (S::NOT_FOUND, ErrorBody::new(text, "not_found_error", "not_found")),
            Self::AlreadyExists(_) => (S::CONFLICT, ErrorBody::new(text, "conflict_error", "already_exists")),
            Self::NoWorkspace(_) => {
                (S::UNPROCESSABLE_ENTITY, ErrorBody::new(text, INVALID, "no_such_workspace"))
            }
            Self::Refused { field, .. } => {
                (S::BAD_REQUEST, ErrorBody::new(text, INVALID, "invalid_value").with_param(&field))
            }
            Self::BodyTooLong(_) => (S::PAYLOAD_TOO_LARGE, ErrorBody::new(text, INVALID, "body_too_long")),
            Self::BodyTimeout => (S::REQUEST_TIMEOUT, ErrorBody::new(text, INVALID, "body_timeout")),
            Self::Forbidden(_) => (S::FORBIDDEN, ErrorBody::new(text, "permission_error", "forbidden")),
            Self::Conflict(_) => (S::CONFLICT, ErrorBody::new(text, "conflict_error", "conflict")),
            Self::Filter(_) => {
                (S::BAD_REQUEST, ErrorBody::new(text, INVALID, "invalid_filter").with_param("filter"))
            }
            Self::Unauthorized(_) => (S::UNAUTHORIZED, ErrorBody::new(text, INVALID, "unauthorized")),
            Self::NotImplemented(_) => {
                (S::NOT_IMPLEMENTED, ErrorBody::new(text, "server_error", "not_implemented"))
            }
            Self::Unavailable(_) => {
                (S::SERVICE_UNAVAILABLE, ErrorBody::new(text, "server_error", "unavailable"))
            }
            Self::Files(error) => of_files(&error, text),
            Self::Seal(_) | Self::Schema(_) => internal(&text),
            Self::Store(StoreError::Sqlite(_)) => internal(&text),
            Self::Store(StoreError::DiskFull) => {
                (S::INSUFFICIENT_STORAGE, ErrorBody::new(text, "server_error", "disk_full"))
            }
            Self::Store(StoreError::Busy | StoreError::Locked | StoreError::Stopped) => {
                (S::SERVICE_UNAVAILABLE, ErrorBody::new(text, "server_error", "busy"))
            }
        };
        let mut headers = HeaderMap::new();
        match status {
            // SDKs try these again unless they are told not to.
            S::CONFLICT | S::NOT_IMPLEMENTED => {
                headers.insert("x-should-retry", HeaderValue::from_static("false"))
            }
            S::SERVICE_UNAVAILABLE => headers.insert(RETRY_AFTER, HeaderValue::from_static("1")),
            _ => None,
        };
        (status, headers, Json(body)).into_response()
    }
}

const INVALID: &str = "invalid_request_error";

fn of_files(error: &FileError, text: String) -> (StatusCode, ErrorBody) {
    use StatusCode as S;
    match error {
        FileError::Path(_) => {
            (S::BAD_REQUEST, ErrorBody::new(text, INVALID, "invalid_value").with_param("path"))
        }
        FileError::NotFound | FileError::FilesetGone => {
            (S::NOT_FOUND, ErrorBody::new(text, "not_found_error", "not_found"))
        }
        FileError::IsFolder | FileError::BelowFile => {
            (S::CONFLICT, ErrorBody::new(text, "conflict_error", "conflict"))
        }
        FileError::DiskFull => (S::INSUFFICIENT_STORAGE, ErrorBody::new(text, "server_error", "disk_full")),
        FileError::TooLong(_) => (S::PAYLOAD_TOO_LARGE, ErrorBody::new(text, INVALID, "body_too_long")),
        FileError::TooMany(_) => (S::BAD_REQUEST, ErrorBody::new(text, INVALID, "too_many_files")),
        FileError::Busy => (S::SERVICE_UNAVAILABLE, ErrorBody::new(text, "server_error", "busy")),
        FileError::TooSlow => (S::REQUEST_TIMEOUT, ErrorBody::new(text, INVALID, "body_timeout")),
        FileError::Cut => (S::BAD_REQUEST, ErrorBody::new(text, INVALID, "body_cut")),
        FileError::Io(_) => internal(&text),
    }
}

/// What went wrong inside is for the log.
fn internal(text: &str) -> (StatusCode, ErrorBody) {
    tracing::error!(error = text, "a call failed");
    let body = ErrorBody::new("An unexpected error occurred.", "server_error", "internal_error");
    (StatusCode::INTERNAL_SERVER_ERROR, body)
}

fn invalid(issues: &[Issue]) -> Response {
    let name = |issue: &Issue| {
        let words: Vec<_> = issue
            .loc
            .iter()
            .skip(1)
            .map(|l| l.as_str().map_or_else(|| l.to_string(), str::to_owned))
            .collect();
        words.join(".")
    };
    let message =
        issues.iter().map(|issue| format!("{}: {}", name(issue), issue.msg)).collect::<Vec<_>>().join("; ");
    let detail: Vec<Value> = issues
        .iter()
        .map(|issue| json!({ "type": issue.kind, "loc": issue.loc, "msg": issue.msg, "input": issue.input }))
        .collect();
    let param = issues.first().map(name);
    let error = json!({ "message": message, "type": INVALID, "param": param, "code": "validation_error" });
    object(StatusCode::UNPROCESSABLE_ENTITY, json!({ "detail": detail, "error": error }))
}

pub fn timed_out(changes: bool) -> Response {
    let text = if changes {
        "the registry took too long; the change may still be made: read before you try again"
    } else {
        "the registry took too long; try again"
    };
    let body = ErrorBody::new(text, "server_error", "timeout");
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

/// Gives the usual body to errors that come from the framework (no such route or method, a path that
/// is not UTF-8). Their headers stay: `allow` is one of them.
pub fn with_error_body(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return response;
    }
    let text = status.canonical_reason().unwrap_or("Error");
    let body = ErrorBody::new(text, INVALID, &text.to_ascii_lowercase().replace(' ', "_"));
    let (mut parts, _) = response.into_parts();
    let Ok(bytes) = serde_json::to_vec(&body) else { return Response::from_parts(parts, Body::empty()) };
    parts.headers.remove(http::header::CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(bytes))
}
