//! Why a request can't be translated: where, a stable code, and what to do. Nothing of the payload is repeated but
//! the names of types.

use std::fmt;

use super::tools::TOOLS_MAX;
use super::wire::Place;
use crate::body::BodyError;

/// The longest name of a type that an error repeats.
const TYPE_NAME_BYTES_MAX: usize = 64;

/// A request that is refused without asking a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    param: Option<String>,
    problem: Problem,
}

/// What is wrong; each text goes on where the name of the place ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("the request body repeats one of its members; send each member once")]
    BodyRepeats,
    #[error("must be {0}")]
    MustBe(&'static str),
    #[error("must be one of {0}")]
    NotOneOf(&'static str),
    #[error("lacks `{0}`; send it")]
    Lacks(&'static str),
    #[error("must not be empty")]
    Empty,
    #[error("repeats one of its members; send each member once")]
    Repeats,
    #[error("has no form in chat completions{of}; leave it out", of = TypeName(.0))]
    Untranslatable(TypeNamed),
    #[error("is of no known type{of}; see the types of the Responses API", of = TypeName(.0))]
    UnknownType(TypeNamed),
    #[error("is no part that this message can carry{of}; send text", of = TypeName(.0))]
    UnknownTextPart(TypeNamed),
    #[error("is not a known role; use user, assistant, system, developer or tool")]
    UnknownRole,
    #[error("is not taken by this provider; {0}")]
    NotTaken(&'static str),
    #[error("names an earlier response, and none are stored here; send the whole conversation as `input`")]
    PreviousResponse,
    #[error("is not supported: {0}")]
    Unsupported(&'static str),
    #[error("has the name of another tool, as it is sent to the provider; rename one of them")]
    ToolNameTaken,
    #[error("is one tool too many; offer {TOOLS_MAX} at most")]
    TooManyTools,
    #[error("names a tool that is not offered; list it in `tools`")]
    ToolNotOffered,
    #[error("asks for a tool call, but no tool is left that this provider can be offered")]
    NoToolLeft,
    #[error("holds half a surrogate pair; send whole characters")]
    HalfCharacter,
}

/// A type's name as a client may see it again: none when it is longer or stranger than names of types are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeNamed(Option<Box<str>>);

impl TypeNamed {
    pub fn new(name: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let is_name = !name.is_empty() && name.len() <= TYPE_NAME_BYTES_MAX && name.bytes().all(plain);
        Self(is_name.then(|| name.into()))
    }
}

struct TypeName<'a>(&'a TypeNamed);

impl fmt::Display for TypeName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.0 {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

impl BadRequest {
    pub fn at(place: &Place<'_>, problem: Problem) -> Self {
        Self { param: Some(place.to_string()), problem }
    }

    /// About a member of the request itself that is not there, or can't be looked into.
    pub fn of(param: &'static str, problem: Problem) -> Self {
        Self { param: Some(param.to_owned()), problem }
    }

    /// The place in the request, like `input[3].content[0]`; none when the whole body is wrong.
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    pub fn message(&self) -> String {
        self.to_string()
    }

    /// A stable label, OpenAI's where there is one.
    pub fn code(&self) -> &'static str {
        match &self.problem {
            Problem::Body(error) => error.code(),
            Problem::BodyRepeats => "body_repeated_members",
            Problem::MustBe(_) | Problem::HalfCharacter => "invalid_type",
            Problem::Lacks(_) => "missing_required_parameter",
            Problem::NotOneOf(_)
            | Problem::Empty
            | Problem::Repeats
            | Problem::UnknownType(_)
            | Problem::UnknownRole => "invalid_value",
            Problem::Untranslatable(_) | Problem::UnknownTextPart(_) | Problem::NotTaken(_) => {
                "unsupported_value"
            }
            Problem::PreviousResponse => "previous_response_not_found",
            Problem::Unsupported(_) => "unsupported_parameter",
            Problem::ToolNameTaken => "tool_name_taken",
            Problem::TooManyTools => "too_many_tools",
            Problem::ToolNotOffered => "tool_not_offered",
            Problem::NoToolLeft => "no_tool_left",
        }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.param {
            Some(param) => write!(f, "`{param}` {}", self.problem),
            None => self.problem.fmt(f),
        }
    }
}

impl std::error::Error for BadRequest {}

/// What is wrong with a whole body.
impl<P: Into<Problem>> From<P> for BadRequest {
    fn from(problem: P) -> Self {
        Self { param: None, problem: problem.into() }
    }
}
