//! Parts of schemas that many bodies share.

use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// A name: 2 to 63 characters of `a-z 0-9 - @ . + _`, starting with a letter, without `--`, not ending in `-`.
#[derive(ToSchema)]
#[schema(pattern = "^[a-z](?!.*--)[a-z0-9\\-@.+_]{1,62}(?<!-)$", example = "my-name")]
#[expect(dead_code, reason = "a schema; values are names of their kind")]
pub struct Name(String);

/// A name, of at most 60 characters: with the number of a version behind it, it is a name too.
#[derive(ToSchema)]
#[schema(pattern = "^[a-z](?!.*--)[a-z0-9\\-@.+_]{1,62}(?<!-)$", max_length = 60, example = "my-deployment")]
#[expect(dead_code, reason = "a schema; values are names of their kind")]
pub struct VersionedName(String);

/// A project: a label of the user's.
#[derive(ToSchema)]
#[schema(pattern = "^[\\w\\-./]+$", max_length = 255)]
#[expect(dead_code, reason = "a schema; values are texts")]
pub struct ProjectLabel(String);

/// A reference: `name`, or `workspace/name`.
#[derive(ToSchema)]
#[schema(max_length = 127)]
#[expect(dead_code, reason = "a schema; values are texts")]
pub struct EntityRef(String);

/// Which page of a list, in which order, and of which objects.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; the query is read by `query`")]
pub struct ListParams {
    /// Page number, from 1
    #[param(minimum = 1)]
    page: Option<u64>,
    /// Objects on a page
    #[param(minimum = 1)]
    page_size: Option<u64>,
    /// Field to sort by; `-` in front of it for descending
    sort: Option<String>,
    /// `field:"value" AND …`, or a JSON object; also `filter[field]=value` and `filter[field][$like]=part`
    filter: Option<String>,
}

/// Where a page stands in its list.
#[derive(Serialize, ToSchema)]
pub struct Pagination {
    pub page: u32,
    pub page_size: u32,
    pub current_page_size: usize,
    pub total_pages: u64,
    pub total_results: u64,
}

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub struct PageView<T> {
    pub data: Vec<T>,
    pub pagination: Pagination,
    pub sort: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Value>,
}

/// An error: `detail` as the platform has it, `error` as OpenAI's clients read it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema; errors are made by `reply`")]
pub struct ErrorAnswer {
    /// A text, or the faults of the request.
    #[schema(value_type = Detail)]
    detail: Value,
    error: OpenAiError,
}

#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a schema; errors are made by `reply`")]
pub enum Detail {
    Text(String),
    Faults(Vec<Fault>),
}

/// One fault of a request.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema; errors are made by `reply`")]
pub struct Fault {
    r#type: String,
    /// Where: `body`, `query` or `path`, and the way to the value.
    loc: Vec<Value>,
    msg: String,
    /// What was given; null when it may be secret or is long.
    input: Value,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema; errors are made by `reply`")]
pub struct OpenAiError {
    message: String,
    r#type: String,
    param: Option<String>,
    code: Option<String>,
}

/// Who made an object: the anonymous principal, as long as there is no authentication.
#[derive(Serialize, Default, ToSchema)]
pub struct AuthContext {
    pub principal_id: String,
    pub principal_email: Option<String>,
    pub principal_groups: Vec<String>,
    pub principal_on_behalf_of: Option<String>,
    pub principal_on_behalf_of_groups: Option<Vec<String>>,
    pub principal_on_behalf_of_email: Option<String>,
}

/// That something is gone, or on its way out.
#[derive(Serialize, ToSchema)]
pub struct Deleted {
    pub message: &'static str,
    pub id: String,
}

impl Deleted {
    pub fn resource(id: String) -> Self {
        Self { message: "Resource deleted successfully.", id }
    }
}
