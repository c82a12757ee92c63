//! Chat and text completions on the wire: one JSON object, or a stream of them.

use crate::answer::{Answer, Refusal};
use crate::chat::{ChatRequest, Reply, Tokens, words};
use crate::inbox::without_markers;
use crate::routes::Ask;
use crate::state::{Shared, now_s};
use crate::steps::{Frame, Frames};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

/// The request parsed, or the answer that says what is wrong with it.
pub(crate) fn parse<T: DeserializeOwned>(ask: &Ask<'_>) -> Result<T, Refusal> {
    serde_json::from_slice(&ask.inbox.bytes).map_err(|error| {
        Refusal::bad_request(None, format!("the request body is not what this route takes: {error}"))
    })
}

/// The model to name in the reply: the request's own, or the base model.
pub(crate) fn served(model: Option<&str>, shared: &Shared) -> Result<String, Refusal> {
    let catalog = shared.catalog.read();
    match model {
        None => Ok(catalog.base().to_owned()),
        Some(id) if catalog.serves(id) => Ok(id.to_owned()),
        Some(id) => Err(Refusal::UnknownModel(id.to_owned())),
    }
}

/// What every object of one reply begins with.
#[derive(Clone)]
struct Envelope {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
}

impl Envelope {
    fn new(prefix: &str, object: &'static str, model: String) -> Self {
        Self { id: format!("{prefix}-{}", Uuid::new_v4().simple()), object, created: now_s(), model }
    }

    fn with(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    fn with_usage(&self, choices: Value, usage: &Value) -> Value {
        let mut object = self.with(choices);
        object["usage"] = usage.clone();
        object
    }

    fn chat_delta(&self, delta: Value, finish: Option<&str>) -> String {
        self.with(json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]))
            .to_string()
    }

    fn text_piece(&self, text: &str, finish: Option<&str>) -> String {
        self.with(json!([{ "index": 0, "text": text, "logprobs": null, "finish_reason": finish }]))
            .to_string()
    }

    /// The end of a stream: the usage, when asked for, and the terminator.
    fn tail(&self, usage: Option<&Value>) -> impl Iterator<Item = Frame> + Send + use<> {
        let usage = usage.map(|usage| Frame::Note(self.with_usage(json!([]), usage).to_string()));
        usage.into_iter().chain([Frame::Done])
    }
}

fn usage(prompt: usize, completion: usize) -> Value {
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
}

pub(crate) fn chat(ask: &Ask<'_>, shared: &Shared) -> Answer {
    if let Some(scripted) = shared.script.take(&ask.inbox.bytes) {
        return scripted;
    }
    chat_or_error(ask, shared).unwrap_or_else(Answer::from)
}

fn chat_or_error(ask: &Ask<'_>, shared: &Shared) -> Result<Answer, Refusal> {
    let request: ChatRequest = parse(ask)?;
    let model = served(request.model.as_deref(), shared)?;
    if request.messages.is_empty() {
        return Err(Refusal::bad_request(Some("messages"), "`messages` must have at least one message"));
    }
    if request.contradicts_itself() && !ask.fault.no_continue {
        let message = "`continue_final_message` needs `add_generation_prompt` to be false";
        return Err(Refusal::bad_request(Some("continue_final_message"), message));
    }
    let reply = request.reply(ask.fault);
    let completion = match &reply {
        Reply::Text(tokens) => tokens.count,
        Reply::ToolCall { arguments, .. } => words(arguments),
    };
    let usage = usage(request.prompt_words(), completion);
    if request.stream == Some(true) {
        let envelope = Envelope::new("chatcmpl", "chat.completion.chunk", model);
        let usage = request.include_usage().then_some(usage);
        return Ok(Answer::events(chat_frames(envelope, reply, usage)));
    }
    let envelope = Envelope::new("chatcmpl", "chat.completion", model);
    let (message, finish) = match reply {
        Reply::Text(tokens) => {
            (json!({ "role": "assistant", "content": tokens.text() }), tokens.finish_reason())
        }
        Reply::ToolCall { name, arguments } => {
            let call = tool_call(&call_id(), &name, &arguments);
            (json!({ "role": "assistant", "content": null, "tool_calls": [call] }), "tool_calls")
        }
    };
    let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": finish });
    Ok(Answer::ok(&envelope.with_usage(json!([choice]), &usage)))
}

fn call_id() -> String {
    format!("call_{}", Uuid::new_v4().simple())
}

fn tool_call(id: &str, name: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

fn chat_frames(envelope: Envelope, reply: Reply, usage: Option<Value>) -> Frames {
    let role = Frame::Note(envelope.chat_delta(json!({ "role": "assistant", "content": "" }), None));
    let tail = envelope.tail(usage.as_ref());
    let (pieces, finish): (Box<dyn Iterator<Item = Value> + Send>, _) = match reply {
        Reply::Text(tokens) => {
            let finish = tokens.finish_reason();
            (Box::new(tokens.iter().map(|text| json!({ "content": text }))), finish)
        }
        Reply::ToolCall { name, arguments } => {
            (Box::new(tool_deltas(&name, &arguments).into_iter()), "tool_calls")
        }
    };
    let end = Frame::Note(envelope.chat_delta(json!({}), Some(finish)));
    let pieces = pieces.map(move |delta| Frame::Token(envelope.chat_delta(delta, None)));
    Box::new(std::iter::once(role).chain(pieces).chain([end]).chain(tail))
}

/// The call's name first, then its arguments in pieces.
fn tool_deltas(name: &str, arguments: &str) -> Vec<Value> {
    let mut call = tool_call(&call_id(), name, "");
    call["index"] = json!(0);
    let start = json!({ "tool_calls": [call] });
    let pieces = arguments
        .split_inclusive([' ', ',', ':'])
        .map(|piece| json!({ "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] }));
    std::iter::once(start).chain(pieces).collect()
}

#[derive(Deserialize)]
struct CompletionRequest {
    model: Option<String>,
    prompt: Prompt,
    stream: Option<bool>,
    stream_options: Option<crate::chat::StreamOptions>,
    max_tokens: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    One(String),
    Many(Vec<String>),
}

impl Prompt {
    fn text(&self) -> String {
        match self {
            Self::One(text) => text.clone(),
            Self::Many(texts) => texts.join(" "),
        }
    }
}

pub(crate) fn completions(ask: &Ask<'_>, shared: &Shared) -> Answer {
    completions_or_error(ask, shared).unwrap_or_else(Answer::from)
}

fn completions_or_error(ask: &Ask<'_>, shared: &Shared) -> Result<Answer, Refusal> {
    let request: CompletionRequest = parse(ask)?;
    let model = served(request.model.as_deref(), shared)?;
    let prompt = request.prompt.text();
    let text = format!("You said: {}", without_markers(&prompt));
    let tokens = Tokens::new(&text, "", request.max_tokens, ask.fault);
    let usage = usage(words(&prompt), tokens.count);
    let envelope = Envelope::new("cmpl", "text_completion", model);
    let finish = tokens.finish_reason();
    if request.stream == Some(true) {
        let include_usage = request.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
        let tail = envelope.tail(include_usage.then_some(&usage));
        let end = Frame::Note(envelope.text_piece("", Some(finish)));
        let pieces = tokens.iter().map(move |piece| Frame::Token(envelope.text_piece(&piece, None)));
        return Ok(Answer::events(Box::new(pieces.chain([end]).chain(tail))));
    }
    let choice = json!({ "index": 0, "text": tokens.text(), "logprobs": null, "finish_reason": finish });
    Ok(Answer::ok(&envelope.with_usage(json!([choice]), &usage)))
}
