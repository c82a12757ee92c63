//! What a request asks for, as far as dialects care: told by its method and its tail.

use http::Method;

/// What is asked of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'t> {
    ChatCompletions,
    /// A new response; `before` is what stands before the tail's last segment.
    Response {
        before: &'t str,
    },
    /// What only a server that keeps responses can answer.
    StoredResponse,
    Other,
}

/// Whose classes of errors a client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClasses {
    Usual,
    /// Those of the Responses API, which has fewer.
    Responses,
}

impl<'t> Operation<'t> {
    pub fn of(method: &Method, tail: &'t str) -> Self {
        let tail = tail.trim_end_matches('/');
        if tail.ends_with("chat/completions") {
            return if *method == Method::POST { Self::ChatCompletions } else { Self::Other };
        }
        let Some(at) = memchr::memmem::find(tail.as_bytes(), b"responses") else { return Self::Other };
        let (before, rest) = tail.split_at(at);
        if !(before.is_empty() || before == "v1/" || before.ends_with("/v1/")) {
            return Self::Other;
        }
        match rest.strip_prefix("responses") {
            Some("") if *method == Method::POST => Self::Response { before },
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::StoredResponse,
            _ => Self::Other,
        }
    }

    /// The tail of the chat call that a new response is made with.
    pub fn chat_tail(self) -> Option<String> {
        match self {
            Self::Response { before } => Some(format!("{before}chat/completions")),
            _ => None,
        }
    }

    pub fn error_classes(self) -> ErrorClasses {
        match self {
            Self::Response { .. } | Self::StoredResponse => ErrorClasses::Responses,
            Self::ChatCompletions | Self::Other => ErrorClasses::Usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_and_the_method_say_what_is_asked() {
        let response = |before| Operation::Response { before };
        let (post, get, delete) = (&Method::POST, &Method::GET, &Method::DELETE);
        for (method, tail, operation) in [
            (post, "v1/chat/completions", Operation::ChatCompletions),
            (post, "openai/v1/chat/completions/", Operation::ChatCompletions),
            (get, "v1/chat/completions", Operation::Other),
            (post, "v1/responses", response("v1/")),
            (post, "v1/responses/", response("v1/")),
            (post, "responses", response("")),
            (post, "openai/v1/responses", response("openai/v1/")),
            (get, "v1/responses", Operation::StoredResponse),
            (get, "v1/responses/resp_1", Operation::StoredResponse),
            (delete, "v1/responses/resp_1", Operation::StoredResponse),
            (post, "v1/responses/resp_1/cancel", Operation::StoredResponse),
            (get, "responses/resp_1/input_items", Operation::StoredResponse),
            (post, "v1/responses/compact", Operation::StoredResponse),
            (post, "v1/responses/input_tokens", Operation::StoredResponse),
            (post, "v1/my-responses", Operation::Other),
            (post, "v1/responses2", Operation::Other),
            (post, "v1/files/responses", Operation::Other),
            (get, "v1/models/responses", Operation::Other),
            (post, "", Operation::Other),
        ] {
            assert_eq!(Operation::of(method, tail), operation, "{method} {tail}");
        }
    }

    #[test]
    fn a_response_is_made_with_the_chat_call_beside_it() {
        let chat = |tail| Operation::of(&Method::POST, tail).chat_tail();
        assert_eq!(chat("openai/v1/responses/").as_deref(), Some("openai/v1/chat/completions"));
        assert_eq!(chat("v1/responses/resp_1"), None);
    }
}
