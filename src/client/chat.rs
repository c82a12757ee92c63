//! `nimgate chat`: one question, the answer as it comes.
//!
//! A stream that ends without saying so is reported as cut, never as an answer.

use std::io::{self, Read as _};
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::api::Api;
use super::error::{ClientError, message_in};
use super::output::{self, plain};
use super::sse::Events;
use crate::cli::{ChatArgs, Output};

const PROMPT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest silence inside an answer.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// What came back.
#[derive(Debug, Default)]
pub struct Reply {
    pub content: String,
    pub thinking: String,
    pub model: Option<String>,
    pub usage: Option<Value>,
    finished: bool,
}

/// A piece of an answer, for showing.
pub enum Piece<'a> {
    Thinking(&'a str),
    Content(&'a str),
}

pub async fn run(args: ChatArgs) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let prompt = if args.prompt == "-" { from_standard_input()? } else { args.prompt.clone() };
    let path = format!("{}/chat/completions", api.route(args.provider.as_deref()));
    let body = body_of(&args, &prompt);
    let form = args.connection.view.output;
    let colour = output::terminal();
    let mut begun = false;
    let mut show = |piece: Piece<'_>| {
        let text = match piece {
            _ if form != Output::Table => return Ok(()),
            Piece::Content(text) => plain(text),
            Piece::Thinking(text) if colour => format!("\u{1b}[2m{}\u{1b}[0m", plain(text)),
            Piece::Thinking(_) => return Ok(()),
        };
        begun = true;
        output::push(&text)
    };
    let asked = tokio::select! {
        answer = ask(&api, &path, &body, &mut show) => answer,
        _ = tokio::signal::ctrl_c() => Err(ClientError::Interrupted),
    };
    if begun {
        output::push("\n")?;
    }
    let reply = asked.map_err(|e| advise(e, &args))?;
    output::show(form, &reply.as_json(), || Ok(()))
}

fn advise(error: ClientError, args: &ChatArgs) -> ClientError {
    let at = args.connection.repeated();
    error.or_try(StatusCode::NOT_FOUND, || match args.provider {
        Some(_) => format!("see what there is: nimgate provider list{at}"),
        None => format!("see what there is: nimgate model list{at}"),
    })
}

fn body_of(args: &ChatArgs, prompt: &str) -> Value {
    let mut messages = Vec::new();
    if let Some(system) = &args.system {
        messages.push(json!({"role": "system", "content": system}));
    }
    messages.push(json!({"role": "user", "content": prompt}));
    let mut body = json!({"model": args.model, "messages": messages, "stream": true});
    if let Some(n) = args.max_tokens {
        body["max_tokens"] = json!(n);
    }
    if let Some(t) = args.temperature {
        body["temperature"] = json!(t);
    }
    body
}

fn from_standard_input() -> Result<String, ClientError> {
    let mut text = String::new();
    io::stdin().lock().take(PROMPT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Sends `body` and shows each piece of the answer when it comes. Dropping the future ends the request.
pub async fn ask(
    api: &Api,
    path: &str,
    body: &Value,
    show: &mut impl FnMut(Piece<'_>) -> Result<(), ClientError>,
) -> Result<Reply, ClientError> {
    let response = api.http.open(path, body).await?;
    let status = response.status();
    if !status.is_success() {
        let bytes = api.http.read(response).await?;
        return Err(ClientError::answer(status, &bytes));
    }
    let streamed = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let mut reply = Reply::default();
    if streamed {
        read_stream(response.into_body(), &mut reply, show).await?;
    } else {
        let bytes = api.http.read(response).await?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|_| ClientError::Said("the answer is neither a stream nor JSON".to_owned()))?;
        reply.take(&value, "message", show)?;
        reply.finished = true;
    }
    if reply.finished { Ok(reply) } else { Err(cut("it ended without saying so")) }
}

fn cut(why: impl std::fmt::Display) -> ClientError {
    ClientError::Said(format!("the answer was cut off: {why}"))
}

async fn read_stream(
    mut body: Incoming,
    reply: &mut Reply,
    show: &mut impl FnMut(Piece<'_>) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let mut events = Events::default();
    loop {
        let frame = timeout(SILENCE_MAX, body.frame()).await;
        let Some(frame) = frame.map_err(|_| cut(format!("silent for {} s", SILENCE_MAX.as_secs())))? else {
            return Ok(());
        };
        let Ok(bytes) = frame.map_err(cut)?.into_data() else { continue };
        for event in events.feed(&bytes).map_err(|_| cut("a line of it has no end"))? {
            if event.data.trim() == "[DONE]" {
                reply.finished = true;
                continue;
            }
            let Ok(value) = serde_json::from_str::<Value>(&event.data) else { continue };
            if event.name == "error" || value.get("error").is_some_and(|error| !error.is_null()) {
                return Err(cut(plain(&message_in(&value))));
            }
            reply.take(&value, "delta", show)?;
        }
    }
}

impl Reply {
    /// Takes one chunk of a stream (`delta`), or a whole answer (`message`).
    fn take(
        &mut self,
        value: &Value,
        part: &str,
        show: &mut impl FnMut(Piece<'_>) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        if let Some(model) = value["model"].as_str() {
            self.model = Some(model.to_owned());
        }
        if value["usage"].is_object() {
            self.usage = Some(value["usage"].clone());
        }
        let choice = &value["choices"][0];
        let delta = &choice[part];
        let thinking = delta["reasoning_content"].as_str().or_else(|| delta["reasoning"].as_str());
        if let Some(text) = thinking.filter(|text| !text.is_empty()) {
            self.thinking.push_str(text);
            show(Piece::Thinking(text))?;
        }
        if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
            if self.content.is_empty() && !self.thinking.is_empty() {
                show(Piece::Thinking("\n\n"))?;
            }
            self.content.push_str(text);
            show(Piece::Content(text))?;
        }
        self.finished |= choice["finish_reason"].is_string();
        Ok(())
    }

    pub fn as_json(&self) -> Value {
        json!({
            "content": self.content,
            "thinking": self.thinking,
            "model": self.model,
            "usage": self.usage,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{cut_events, events, gateway, json as answer};
    use super::*;

    const HELLO: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";

    /// What was shown, and how it ended.
    async fn asked(answer: String) -> (String, Result<Reply, ClientError>) {
        let (api, _) = gateway(move |_, _| answer.clone()).await;
        let mut shown = String::new();
        let mut show = |piece: Piece<'_>| {
            if let Piece::Content(text) = piece {
                shown.push_str(text);
            }
            Ok(())
        };
        let reply = ask(&api, "/v1/chat/completions", &json!({}), &mut show).await;
        (shown, reply)
    }

    #[tokio::test]
    async fn an_answer_is_shown_whether_streamed_or_not() {
        let (shown, reply) = asked(events(&format!("{HELLO}data: [DONE]\n\n"))).await;
        assert_eq!((shown.as_str(), reply.unwrap().content.as_str()), ("Hello", "Hello"));
        let (shown, reply) = asked(answer(200, r#"{"choices":[{"message":{"content":"Hi"}}]}"#)).await;
        assert!(reply.is_ok() && shown == "Hi");
    }

    #[tokio::test]
    async fn a_stream_that_breaks_is_never_an_answer() {
        for broken in [events(HELLO), cut_events(HELLO)] {
            let (shown, reply) = asked(broken).await;
            let error = reply.unwrap_err().to_string();
            assert!(shown == "Hello" && error.starts_with("the answer was cut off"), "{error}");
        }
        let told = format!("{HELLO}event: error\ndata: {{\"error\":{{\"message\":\"upstream left\"}}}}\n\n");
        let error = asked(events(&told)).await.1.unwrap_err().to_string();
        assert_eq!(error, "the answer was cut off: upstream left");
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_its_own_words() {
        let (_, reply) =
            asked(answer(429, r#"{"error":{"message":"slow down"},"detail":"slow down"}"#)).await;
        assert_eq!(reply.unwrap_err().to_string(), "slow down (429 Too Many Requests)");
    }

    #[test]
    fn chunks_add_up_to_the_answer() {
        let mut reply = Reply::default();
        let mut shown = String::new();
        let mut show = |piece: Piece<'_>| {
            if let Piece::Content(text) = piece {
                shown.push_str(text);
            }
            Ok(())
        };
        for chunk in [
            json!({"model": "m", "choices": [{"delta": {"role": "assistant", "content": ""}}]}),
            json!({"choices": [{"delta": {"reasoning_content": "hm"}}]}),
            json!({"choices": [{"delta": {"content": "Hel"}}]}),
            json!({"choices": [{"delta": {"content": "lo"}, "finish_reason": null}]}),
        ] {
            reply.take(&chunk, "delta", &mut show).unwrap();
        }
        assert!(!reply.finished);
        let last = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
        reply.take(&last, "delta", &mut show).unwrap();
        let usage = json!({"choices": [], "usage": {"total_tokens": 3}});
        reply.take(&usage, "delta", &mut show).unwrap();
        assert!(reply.finished);
        assert_eq!(shown, "Hello");
        assert_eq!(
            reply.as_json(),
            json!({"content": "Hello", "thinking": "hm", "model": "m", "usage": {"total_tokens": 3}})
        );
    }
}
