//! Answers the gateway gives itself: each with a status, a stable code (which is also the metric
//! label), and a message that says what to do. The body has both OpenAI's and the platform's form.

use std::borrow::Cow;

use http::StatusCode;
use proto_shared::ErrorBody;
use proto_shared::names::{NameError, check_name};

use crate::body::BodyError;
use crate::dialect::ErrorClasses;
use crate::dialect::responses::reply::{FaultKind, UpstreamFault};
use crate::dialect::responses::request::BadRequest;
use crate::h1::HeadError;
use crate::limit::UsedUp;
use crate::metrics::Outcome;
use crate::route::tail::TailError;

/// As much of a text that is no name as its refusal repeats.
const NAME_ECHO_CHARS_MAX: usize = 128;

/// When to try a provider again whose places are all taken: answers of models take seconds.
const BUSY_RETRY_AFTER_S: u32 = 2;

/// Nobody is told to come again later than this.
const RETRY_AFTER_MAX_S: u64 = 60;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    // The request itself.
    Head(HeadError),
    Framing(&'static str),
    HeadTimeout,
    MethodNotAllowed,
    Expectation,
    Tail(TailError),
    UnsupportedMediaType,
    ContentEncoding,
    BodyTooLarge {
        limit_bytes: usize,
    },
    BodyTooSlow,
    Body(BodyError),
    /// A Responses request of which no chat request can be made.
    Untranslatable(BadRequest),
    /// A response is asked for that would have to be kept here.
    NothingStored,
    UpgradeNotHere,
    /// A web page that is not let in asks through a browser.
    Origin,
    // What it asks for.
    NoSuchPath,
    ModelMissing,
    ModelEmpty,
    ModelUnknown {
        workspace: String,
        name: String,
    },
    ModelNotServed {
        id: String,
    },
    MiddlewareUnsupported {
        id: String,
        plugins: String,
    },
    NotAName {
        of: Named,
        text: String,
        why: NameError,
    },
    ProviderUnknown {
        workspace: String,
        name: String,
    },
    ProviderNotReady {
        workspace: String,
        name: String,
    },
    ProviderUnusable {
        workspace: String,
        name: String,
        why: String,
    },
    /// Only hosted providers could answer, and the request must not leave.
    LocalOnly {
        /// What is marked so.
        rule: String,
        hosted: String,
    },
    // Why it can't be served now.
    NoTable,
    Overloaded,
    /// It works on as many requests as it takes, and none of its places became free.
    ProviderBusy {
        provider: String,
        why: &'static str,
    },
    /// A model is answered as often at once as its owner wants.
    ModelBusy {
        model: String,
        limit: u32,
        why: &'static str,
    },
    /// There were as many requests lately as an owner wants.
    RateLimited {
        of: RateOf,
        name: String,
        used_up: UsedUp,
    },
    /// All who could answer have too much to do.
    NoRoom {
        asked: String,
        why: &'static str,
        wait_ms: u64,
    },
    /// All who could answer were out of reach or silent lately, and other requests are trying already.
    NoneReachable {
        asked: String,
    },
    RegistryAway,
    UpstreamDns {
        provider: String,
    },
    UpstreamConnect {
        provider: String,
        why: &'static str,
    },
    UpstreamForbidden {
        provider: String,
        why: String,
    },
    UpstreamTimeout {
        provider: String,
        what: &'static str,
    },
    UpstreamAnswer {
        provider: String,
        why: &'static str,
    },
    UpstreamAmbiguous {
        provider: String,
    },
    /// Its own refusal, where its answer can't be passed: told in a stream that has begun.
    UpstreamFault(Box<UpstreamFault>),
}

/// Whose rate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateOf {
    Model,
    Provider,
}

/// What a text is to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    Workspace,
    Provider,
    Model,
}

impl Named {
    fn code(self) -> &'static str {
        match self {
            Self::Workspace => "invalid_workspace",
            Self::Provider => "invalid_provider",
            Self::Model => "invalid_model",
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Workspace => "workspace",
            Self::Provider => "name",
            Self::Model => "model",
        })
    }
}

impl Refusal {
    /// Nothing is there under this name: `unknown`, unless the name or its workspace's can't be one at all.
    pub fn of_unknown(of: Named, workspace: &str, name: &str, unknown: Self) -> Self {
        for (of, text) in [(Named::Workspace, workspace), (of, name)] {
            if let Err(why) = check_name(text) {
                return Self::NotAName { of, text: text.chars().take(NAME_ECHO_CHARS_MAX).collect(), why };
            }
        }
        unknown
    }

    pub fn status(&self) -> StatusCode {
        use Refusal as R;
        match self {
            R::Head(error) => error.status(),
            R::Framing(_)
            | R::Tail(_)
            | R::Body(_)
            | R::Untranslatable(_)
            | R::ModelMissing
            | R::UpgradeNotHere
            | R::Origin => StatusCode::BAD_REQUEST,
            R::HeadTimeout | R::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            R::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            R::Expectation => StatusCode::EXPECTATION_FAILED,
            R::UnsupportedMediaType | R::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            R::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            R::ModelEmpty | R::NotAName { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            R::MiddlewareUnsupported { .. } => StatusCode::NOT_IMPLEMENTED,
            R::NoSuchPath
            | R::NothingStored
            | R::ModelUnknown { .. }
            | R::ModelNotServed { .. }
            | R::ProviderUnknown { .. }
            | R::ProviderNotReady { .. } => StatusCode::NOT_FOUND,
            R::LocalOnly { .. } => StatusCode::FORBIDDEN,
            R::ProviderUnusable { .. } => StatusCode::FAILED_DEPENDENCY,
            R::ProviderBusy { .. } | R::ModelBusy { .. } | R::RateLimited { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            R::NoTable | R::Overloaded | R::NoRoom { .. } | R::NoneReachable { .. } | R::RegistryAway => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            R::UpstreamDns { .. }
            | R::UpstreamConnect { .. }
            | R::UpstreamForbidden { .. }
            | R::UpstreamAnswer { .. }
            | R::UpstreamAmbiguous { .. } => StatusCode::BAD_GATEWAY,
            R::UpstreamFault(fault) => StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_GATEWAY),
            R::UpstreamTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// A stable word for machines: the error's `code`, and the reason label of metrics and logs.
    pub fn code(&self) -> &'static str {
        use Refusal as R;
        match self {
            R::Head(error) => error.code(),
            R::Framing(_) => "bad_framing",
            R::HeadTimeout => "head_timeout",
            R::MethodNotAllowed => "method_not_allowed",
            R::Expectation => "expectation_failed",
            R::Tail(_) => "bad_path",
            R::UnsupportedMediaType => "unsupported_media_type",
            R::ContentEncoding => "unsupported_content_encoding",
            R::BodyTooLarge { .. } => "body_too_large",
            R::BodyTooSlow => "body_timeout",
            R::Body(error) => error.code(),
            R::Untranslatable(bad) => bad.code(),
            R::NothingStored => "responses_not_stored",
            R::UpgradeNotHere => "upgrade_not_supported",
            R::Origin => "origin_not_allowed",
            R::NoSuchPath => "no_such_path",
            R::ModelMissing => "model_missing",
            R::ModelEmpty => "model_empty",
            R::ModelUnknown { .. } => "model_not_found",
            R::ModelNotServed { .. } => "model_not_served",
            R::MiddlewareUnsupported { .. } => "middleware_unsupported",
            R::NotAName { of, .. } => of.code(),
            R::ProviderUnknown { .. } => "provider_not_found",
            R::ProviderNotReady { .. } => "provider_not_ready",
            R::ProviderUnusable { .. } => "provider_unusable",
            R::LocalOnly { .. } => "local_only",
            R::NoTable => "no_routes_yet",
            R::Overloaded => "overloaded",
            R::ProviderBusy { .. } => "provider_busy",
            R::ModelBusy { .. } => "model_busy",
            R::RateLimited { of: RateOf::Model, .. } => "model_rate_limited",
            R::RateLimited { of: RateOf::Provider, .. } => "provider_rate_limited",
            R::NoRoom { .. } => "no_room",
            R::NoneReachable { .. } => "none_reachable",
            R::RegistryAway => "registry_unavailable",
            R::UpstreamDns { .. } => "upstream_dns",
            R::UpstreamConnect { .. } => "upstream_connect",
            R::UpstreamForbidden { .. } => "upstream_forbidden",
            R::UpstreamTimeout { .. } => "upstream_timeout",
            R::UpstreamAnswer { .. } => "upstream_bad_answer",
            R::UpstreamAmbiguous { .. } => "upstream_ambiguous",
            R::UpstreamFault(_) => "upstream_error",
        }
    }

    /// OpenAI's error class.
    fn kind(&self) -> &'static str {
        match self.status().as_u16() {
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "api_error",
        }
    }

    /// The error class as the Responses API knows it, which has fewer.
    fn kind_in_responses(&self) -> FaultKind {
        match self.status().as_u16() {
            429 => FaultKind::RateLimit,
            400..500 => FaultKind::InvalidRequest,
            _ => FaultKind::Server,
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::Untranslatable(bad) => bad.param(),
            Self::ModelMissing
            | Self::ModelEmpty
            | Self::ModelUnknown { .. }
            | Self::NotAName { of: Named::Model, .. }
            | Self::Body(BodyError::DuplicateModel | BodyError::ModelNotAString) => Some("model"),
            _ => None,
        }
    }

    /// What becomes of a request that had a provider and is refused all the same.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::ProviderBusy { .. } | Self::ModelBusy { .. } | Self::RateLimited { .. } => Outcome::Failed,
            Self::UpstreamFault(fault) if fault.kind != FaultKind::InvalidRequest => Outcome::UpstreamError,
            refusal if refusal.status().is_client_error() => Outcome::ClientError,
            _ => Outcome::Failed,
        }
    }

    /// Seconds after which trying again makes sense.
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::NoTable | Self::Overloaded | Self::NoneReachable { .. } | Self::RegistryAway => Some(1),
            Self::ProviderBusy { .. } | Self::ModelBusy { .. } => Some(BUSY_RETRY_AFTER_S),
            Self::RateLimited { used_up: UsedUp { wait_ms, .. }, .. } | Self::NoRoom { wait_ms, .. } => {
                Some(wait_ms.div_ceil(1_000).clamp(1, RETRY_AFTER_MAX_S) as u32)
            }
            _ => None,
        }
    }

    /// A header of the answer beside `retry-after`.
    pub fn header(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::MethodNotAllowed | Self::Head(HeadError::Method) => Some(("allow", "GET, HEAD")),
            // SDKs take a 501 for a passing fault.
            Self::MiddlewareUnsupported { .. } => Some(("x-should-retry", "false")),
            _ => None,
        }
    }

    fn message(&self) -> Cow<'static, str> {
        use Refusal as R;
        let text = match self {
            R::Head(error) => error.to_string(),
            R::Framing(why) => format!("the request's framing is ambiguous: {why}"),
            R::HeadTimeout => return "the request head did not arrive in time".into(),
            R::MethodNotAllowed => return "this method is not allowed here".into(),
            R::Expectation => return "only \"Expect: 100-continue\" is supported".into(),
            R::Tail(error) => format!("{error}; such paths are not forwarded"),
            R::UnsupportedMediaType => {
                return "this route reads \"model\" from a JSON body: send Content-Type: application/json, \
                        or use the model or provider route for other bodies"
                    .into();
            }
            R::ContentEncoding => {
                return "the body is read here, so it must not be compressed: drop Content-Encoding. \
                        The provider route passes bodies on in which it has nothing to change"
                    .into();
            }
            R::BodyTooLarge { limit_bytes } => format!(
                "the body is over {limit_bytes} bytes, the limit of routes that read it; \
                 the provider route has none"
            ),
            R::BodyTooSlow => return "the body did not arrive in time".into(),
            R::Body(error) => format!("Invalid request body: {error}"),
            R::Untranslatable(bad) => bad.message(),
            R::NothingStored => {
                return "no responses are stored here: send the whole conversation with POST /v1/responses"
                    .into();
            }
            R::UpgradeNotHere => {
                return "protocol upgrades work on provider routes, over HTTP/1.1, for websocket only".into();
            }
            R::Origin => {
                return "Disallowed CORS origin: list the page's origin in cors.allow_origins".into();
            }
            R::NoSuchPath => {
                return "Not Found: no such path. OpenAI clients use the base URL http://<this host>/v1"
                    .into();
            }
            R::ModelMissing => {
                return "Could not extract model from openai request: 'model'. Put the model's name into the body, \
                        or use the model route"
                    .into();
            }
            R::ModelEmpty => return "Invalid model: \"model\" is empty".into(),
            R::ModelUnknown { workspace, name } => {
                // A body may name the model with its workspace.
                let bare = name.strip_prefix(workspace.as_str()).and_then(|rest| rest.strip_prefix('/'));
                let name = bare.unwrap_or(name);
                format!(
                    "No VirtualModel named '{workspace}/{name}' was found. GET /v1/models lists what this gateway serves"
                )
            }
            R::ModelNotServed { id } => format!("Model entity not found for {id}: no provider serves it now"),
            R::MiddlewareUnsupported { id, plugins } => format!(
                "{id} wants middleware ({plugins}), and this gateway has no plugins. \
                 Take it out of the virtual model, or ask for a model without"
            ),
            R::NotAName { of: Named::Model, text, why } => format!(
                "Invalid model: {text:?} is no upstream id that is served here, and {why}. \
                 GET /v1/models lists what this gateway serves"
            ),
            R::NotAName { of, text, why } => format!("Invalid {of}: {text:?}: {why}"),
            R::ProviderUnknown { workspace, name } => {
                format!("Model provider not found for {workspace}/{name}")
            }
            R::ProviderNotReady { workspace, name } => format!("Provider not ready for {workspace}/{name}"),
            R::ProviderUnusable { workspace, name, why } => format!(
                "Provider {workspace}/{name} can't be used: {why}. Store its key again and update the provider"
            ),
            R::LocalOnly { rule, hosted } => format!(
                "{rule} is local_only: its requests go to local providers alone, and this one could only go to {hosted}. \
                 Add a provider of your own, or say that one is (its locality), or take the mark away"
            ),
            R::NoTable => return "this gateway has no routes yet; it is waiting for the registry".into(),
            R::Overloaded => return "this gateway is at its limit; try again shortly".into(),
            R::ProviderBusy { provider, why } => format!(
                "Provider {provider} is busy: {why}. Try again in a moment, or raise its num_concurrent_requests"
            ),
            R::ModelBusy { model, limit, why } => format!(
                "Model {model} is answered at most {limit} times at once: {why}. Try again in a moment, or raise its \
                 limits.concurrency"
            ),
            R::RateLimited { of: RateOf::Model, name, used_up } => format!(
                "Model {name} takes {} requests a minute, and they are used up. Try again when Retry-After says, or raise \
                 its limits.requests_per_minute",
                used_up.per_minute
            ),
            R::RateLimited { of: RateOf::Provider, name, used_up } => format!(
                "Provider {name} takes {} requests a minute, they are used up, and nobody else serves this. Try again \
                 when Retry-After says, or raise its requests_per_minute",
                used_up.per_minute
            ),
            R::NoRoom { asked, why, .. } => format!(
                "The servers of {asked} have too much to do: {why}. Try again when Retry-After says, or add a server; \
                 with hold_back: never at its provider requests are sent on whatever it has to do"
            ),
            R::NoneReachable { asked } => format!(
                "no server of {asked} can be reached or answers now, and another request is finding out whether one is back. \
                 Try again in a moment, or look at its addresses with `nimgate explain`"
            ),
            R::RegistryAway => {
                return "the registry can't be reached; inference goes on, changes do not".into();
            }
            R::UpstreamFault(fault) => fault.message.clone(),
            R::UpstreamDns { provider } => format!("the host of provider {provider} has no address (DNS)"),
            R::UpstreamConnect { provider, why } => {
                format!("Backend networking error: provider {provider}: {why}")
            }
            R::UpstreamForbidden { provider, why } => format!("provider {provider}: {why}"),
            R::UpstreamTimeout { provider, what } => format!("provider {provider} gave {what} in time"),
            R::UpstreamAnswer { provider, why } => format!("provider {provider} gave a broken answer: {why}"),
            R::UpstreamAmbiguous { provider } => format!(
                "the connection to provider {provider} broke after the request was sent and before an answer came. \
                 It may have been executed, so it was not sent again"
            ),
        };
        text.into()
    }

    pub fn body(&self) -> ErrorBody {
        let code = match self {
            Self::UpstreamFault(fault) => fault.code.as_deref(),
            _ => None,
        };
        let body = ErrorBody::new(self.message(), self.kind(), code.unwrap_or(self.code()));
        match self.param() {
            Some(param) => body.with_param(param),
            None => body,
        }
    }

    /// The body for who asked for this.
    pub fn body_json(&self, classes: ErrorClasses) -> Vec<u8> {
        let mut body = self.body();
        if classes == ErrorClasses::Responses {
            body.error.kind = self.kind_in_responses().as_str().into();
        }
        // Strings and options only: this serialisation has no way to fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_clients_read_the_same_message() {
        let body = Refusal::ModelMissing.body();
        assert_eq!(body.error.message, body.detail);
        assert_eq!(body.error.param.as_deref(), Some("model"));
        assert_eq!(body.error.code.as_deref(), Some("model_missing"));
        assert_eq!(body.error.kind, "invalid_request_error");
    }

    #[test]
    fn an_unknown_model_is_an_openai_not_found() {
        for name in ["x", "default/x"] {
            let refusal = Refusal::ModelUnknown { workspace: "default".into(), name: name.into() };
            assert_eq!(refusal.status(), StatusCode::NOT_FOUND);
            assert!(refusal.body().detail.contains("'default/x'"));
        }
    }

    #[test]
    fn what_can_not_be_a_name_is_malformed_rather_than_missing() {
        let unknown = || Refusal::NoSuchPath;
        let judge = |workspace: &str, name: &str| {
            let refusal = Refusal::of_unknown(Named::Provider, workspace, name, unknown());
            (refusal.status().as_u16(), refusal.body().detail)
        };
        assert_eq!(Refusal::of_unknown(Named::Model, "default", "tiny", unknown()), unknown());
        assert_eq!(
            judge("default", "Bad").1,
            "Invalid name: \"Bad\": a name starts with a lower-case letter"
        );
        assert!(judge("No Space", "Bad").1.starts_with("Invalid workspace: \"No Space\""));
        assert_eq!(judge("default", &"x".repeat(5000)).0, 422);
        assert!(judge("default", &"x".repeat(5000)).1.len() < 400);
    }

    #[test]
    fn a_bad_request_is_no_failure_of_its_provider() {
        assert_eq!(Refusal::NothingStored.outcome(), Outcome::ClientError);
        assert_eq!(Refusal::BodyTooSlow.outcome(), Outcome::ClientError);
        for why in ["full", "late"] {
            assert_eq!(Refusal::ProviderBusy { provider: "p".into(), why }.outcome(), Outcome::Failed);
        }
        assert_eq!(Refusal::Overloaded.outcome(), Outcome::Failed);
    }

    #[test]
    fn sdks_are_told_not_to_try_again_what_can_not_work() {
        let refusal = Refusal::MiddlewareUnsupported { id: "default/x".into(), plugins: "guard".into() };
        assert_eq!(refusal.status(), StatusCode::NOT_IMPLEMENTED);
        assert_eq!(refusal.header(), Some(("x-should-retry", "false")));
        assert!(refusal.body().detail.contains("guard"));
    }
}
