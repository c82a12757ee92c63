//! What a request becomes for one candidate: the tail and body that it gets, and how its answer is read.

use std::borrow::Cow;

use bytes::Bytes;

use super::choice::Candidate;
use super::forward::Forward;
use super::plan::Body;
use crate::body::{self, Parts};
use crate::dialect::Operation;
use crate::dialect::chat::without_think_blocks;
use crate::dialect::responses::request::{Target, translate};
use crate::dialect::responses::turn::Turn;
use crate::refusal::Refusal;

/// One candidate's form of a request.
pub struct Exchange<'f> {
    /// Goes on the upstream's base path.
    pub tail: Cow<'f, str>,
    /// The body, unless it streams through.
    pub parts: Option<Parts>,
    pub conversion: Option<Conversion>,
    /// The answer is looked into on its way.
    pub is_read: bool,
}

/// How the answer is made of what comes back.
pub enum Conversion {
    /// A response out of a chat completion.
    Response(Box<Turn>),
    /// A chat completion with its reasoning in its text.
    Reasoning,
}

impl<'f> Exchange<'f> {
    pub fn of(forward: &Forward<'f>, candidate: Candidate<'_>) -> Result<Self, Refusal> {
        let provider = candidate.provider;
        match forward.operation {
            Operation::Response { .. } if provider.translates_responses() => respond(forward, candidate),
            Operation::ChatCompletions if provider.backend.uses_reasoning_parser => {
                let conversion = Some(Conversion::Reasoning);
                Ok(Self {
                    conversion,
                    is_read: true,
                    parts: without_reasoning(&forward.body, candidate)?,
                    ..Self::plain(forward)
                })
            }
            Operation::StoredResponse if provider.translates_responses() => Err(Refusal::NothingStored),
            _ => Ok(Self { parts: forward.body.parts(provider, candidate.served)?, ..Self::plain(forward) }),
        }
    }

    /// The request for the rest of an answer that broke off elsewhere.
    pub fn of_rest(forward: &Forward<'f>, candidate: Candidate<'_>, rest: &Bytes) -> Result<Self, Refusal> {
        let scan = body::scan(rest).map_err(Refusal::Body)?;
        let parts = Body::Json(rest, &scan).parts(candidate.provider, candidate.served)?;
        Ok(Self { parts, ..Self::plain(forward) })
    }

    fn plain(forward: &Forward<'f>) -> Self {
        Self { tail: Cow::Borrowed(forward.tail), parts: None, conversion: None, is_read: false }
    }
}

/// A chat's body whose history holds no reasoning. One that streams through was not to be read.
fn without_reasoning(body: &Body<'_>, candidate: Candidate<'_>) -> Result<Option<Parts>, Refusal> {
    let stripped = match body {
        Body::Whole(bytes) | Body::Json(bytes, _) => without_think_blocks(bytes),
        Body::Empty | Body::Stream { .. } => None,
    };
    match (body, &stripped) {
        (Body::Json(..), Some(bytes)) => {
            let scan = body::scan(bytes).map_err(Refusal::Body)?;
            Body::Json(bytes, &scan).parts(candidate.provider, candidate.served)
        }
        (_, Some(bytes)) => Body::Whole(bytes).parts(candidate.provider, candidate.served),
        (body, None) => body.parts(candidate.provider, candidate.served),
    }
}

/// A Responses request to a provider that speaks chat alone.
fn respond<'f>(forward: &Forward<'f>, candidate: Candidate<'_>) -> Result<Exchange<'f>, Refusal> {
    let provider = candidate.provider;
    let Body::Json(bytes, scan) = &forward.body else { return Err(Refusal::UnsupportedMediaType) };
    let served = candidate.served.map(|json| serde_json::from_slice::<String>(json).unwrap_or_default());
    let asked = scan.model.as_deref();
    let Some(model) = served.as_deref().or(asked) else { return Err(Refusal::ModelMissing) };
    let target = Target {
        backend: &provider.backend,
        model,
        shown_model: candidate.shown.unwrap_or(model),
        extra: provider.extra_body.as_ref(),
    };
    let translated = translate(bytes, &target).map_err(Refusal::Untranslatable)?;
    if translated.tools_dropped > 0 {
        let (provider, dropped) = (&*provider.label, translated.tools_dropped);
        tracing::debug!(provider, dropped, "tools without a form in chat completions were left out");
    }
    Ok(Exchange {
        tail: forward.operation.chat_tail().map_or(Cow::Borrowed(forward.tail), Cow::Owned),
        parts: Some(Parts::whole(translated.body.into())),
        conversion: Some(Conversion::Response(Box::new(translated.turn))),
        is_read: true,
    })
}
