//! Which path is answered by what, and the small answers.

use crate::answer::{Answer, Refusal};
use crate::catalog::MAX_LORAS;
use crate::fault::Fault;
use crate::inbox::Inbox;
use crate::options::Lora;
use crate::state::Shared;
use crate::{embeddings, inference, loras, websocket};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

const NOTICE: &str =
    "This is nim-sim, a simulation of a NIM. No model is behind it; replies repeat the request.";

/// A request that was read.
pub(crate) struct Ask<'a> {
    pub parts: &'a Parts,
    /// As sent.
    pub target: &'a str,
    pub inbox: &'a Inbox,
    pub fault: &'a Fault,
}

type Handler = fn(&Ask<'_>, &Shared) -> Answer;

/// Who may ask, and when.
#[derive(PartialEq, Eq)]
enum Access {
    /// Always, as a probe does.
    Open,
    /// With the key, if there is one.
    Keyed,
    /// With the key, and once the model is there.
    KeyedWhenReady,
}

pub(crate) fn answer(ask: &Ask<'_>, shared: &Shared) -> Answer {
    let path = ask.parts.uri.path();
    let (method, access, handler) = match find(path) {
        Some(found) => found,
        None => return Answer::not_found(),
    };
    if access != Access::Open && !has_key(ask.parts, shared) {
        let message =
            "Unauthorized: send `Authorization: Bearer <key>` with the key this server was started with";
        return Answer::error(StatusCode::UNAUTHORIZED, "AuthenticationError", None, message);
    }
    if access == Access::KeyedWhenReady && !shared.is_ready() {
        let message = "the model is still loading; wait for /v1/health/ready";
        return Answer::error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", None, message);
    }
    match method {
        Some("GET") if !matches!(ask.parts.method, Method::GET | Method::HEAD) => {
            Answer::method_not_allowed("GET, HEAD")
        }
        Some("POST") if ask.parts.method != Method::POST => Answer::method_not_allowed("POST"),
        _ => handler(ask, shared),
    }
}

fn find(path: &str) -> Option<(Option<&'static str>, Access, Handler)> {
    use Access::{Keyed, KeyedWhenReady, Open};
    let found: (Option<&'static str>, Access, Handler) = match path {
        "/v1/health/live" => (Some("GET"), Open, live),
        "/v1/health/ready" | "/health" => (Some("GET"), Open, ready),
        "/metrics" | "/v1/metrics" => (Some("GET"), Open, metrics),
        "/openapi.json" => (Some("GET"), Open, openapi),
        "/v1/metadata" => (Some("GET"), Keyed, metadata),
        "/v1/version" | "/version" => (Some("GET"), Keyed, version),
        "/v1/models" => (Some("GET"), KeyedWhenReady, models),
        "/v1/chat/completions" => (Some("POST"), KeyedWhenReady, inference::chat),
        "/v1/completions" => (Some("POST"), KeyedWhenReady, inference::completions),
        "/v1/embeddings" => (Some("POST"), KeyedWhenReady, embeddings::answer),
        "/v1/realtime" => (Some("GET"), KeyedWhenReady, websocket::handshake),
        "/v1/load_lora_adapter" => (Some("POST"), KeyedWhenReady, load_lora),
        "/v1/unload_lora_adapter" => (Some("POST"), KeyedWhenReady, unload_lora),
        path if path.starts_with("/v1/models/") => (Some("GET"), KeyedWhenReady, model),
        path if path == "/echo" || path.starts_with("/echo/") => (None, Keyed, echo),
        _ => return None,
    };
    Some(found)
}

fn has_key(parts: &Parts, shared: &Shared) -> bool {
    let Some(key) = &shared.api_key else { return true };
    let sent = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    sent.and_then(|value| value.strip_prefix("Bearer ")) == Some(key.as_str())
}

fn live(_: &Ask<'_>, _: &Shared) -> Answer {
    Answer::ok(&json!({ "object": "health.response", "message": "Service is live.", "status": "live" }))
}

fn ready(_: &Ask<'_>, shared: &Shared) -> Answer {
    let (status, message, word) = if shared.is_ready() {
        (StatusCode::OK, "Service is ready.", "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Service is not ready: the model is loading.", "not_ready")
    };
    Answer::json(status, &json!({ "object": "health.response", "message": message, "status": word }))
}

/// As much of it as tells what a chat request may say. Members of that name are also in what counts tokens, as in vLLM.
fn openapi(ask: &Ask<'_>, _: &Shared) -> Answer {
    let takes = |schema: &str| {
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        json!({ "post": { "requestBody": { "content": { "application/json": { "schema": schema } } } } })
    };
    let flag = || json!({ "type": "boolean", "default": false });
    let mut chat = json!({ "model": {}, "messages": {}, "stream": flag() });
    if !ask.fault.no_continue {
        chat["continue_final_message"] = flag();
    }
    let counted = json!({ "messages": {}, "continue_final_message": flag() });
    let paths = json!({
        "/tokenize": takes("TokenizeChatRequest"), "/v1/chat/completions": takes("ChatCompletionRequest"),
    });
    let schemas = json!({
        "ChatCompletionRequest": { "type": "object", "properties": chat },
        "TokenizeChatRequest": { "type": "object", "properties": counted },
    });
    // What refers stands before what it refers to, as servers write it.
    Answer::json_text(format!(
        "{{\"openapi\":\"3.1.0\",\"info\":{},\"paths\":{paths},\"components\":{{\"schemas\":{schemas}}}}}",
        json!({ "title": "nim-sim", "description": NOTICE, "version": env!("CARGO_PKG_VERSION") }),
    ))
}

fn metadata(_: &Ask<'_>, shared: &Shared) -> Answer {
    let catalog = shared.catalog.read();
    let models: Vec<Value> = catalog
        .models
        .iter()
        .map(|id| json!({ "shortName": id.rsplit('/').next(), "modelUrl": format!("sim://{id}") }))
        .collect();
    Answer::ok(&json!({
        "simulation": true,
        "notice": NOTICE,
        "version": env!("CARGO_PKG_VERSION"),
        "selectedModelProfileId": "simulation",
        "licenseInfo": { "name": "Apache-2.0" },
        "modelInfo": models,
    }))
}

fn version(_: &Ask<'_>, _: &Shared) -> Answer {
    let release = concat!(env!("CARGO_PKG_VERSION"), "-simulation");
    Answer::ok(&json!({ "release": release, "api": "1.0.0", "version": release, "notice": NOTICE }))
}

fn models(_: &Ask<'_>, shared: &Shared) -> Answer {
    Answer::ok(&json!({ "object": "list", "data": shared.catalog.read().cards(shared.created_s) }))
}

fn model(ask: &Ask<'_>, shared: &Shared) -> Answer {
    let id = percent_decoded(ask.parts.uri.path().trim_start_matches("/v1/models/"));
    let cards = shared.catalog.read().cards(shared.created_s);
    cards
        .into_iter()
        .find(|card| card["id"] == id.as_str())
        .map_or_else(|| Refusal::UnknownModel(id).into(), |card| Answer::ok(&card))
}

fn metrics(_: &Ask<'_>, shared: &Shared) -> Answer {
    // The request that asks is in flight too.
    let running = shared.recorder.in_flight().saturating_sub(1);
    let cache_use = u32::try_from(running).map_or(1.0, |n| (f64::from(n) / 100.0).min(1.0));
    let waiting = shared.waiting.load(Relaxed);
    let catalog = shared.catalog.read();
    let labels = format!("{{engine=\"0\",model_name=\"{}\"}}", catalog.base());
    let rows = [
        ("num_requests_running", "gauge", "Requests in model execution batches.", running.to_string()),
        ("num_requests_waiting", "gauge", "Requests waiting to be processed.", waiting.to_string()),
        ("kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", cache_use.to_string()),
        ("request_success_total", "counter", "Requests answered.", shared.recorder.answered().to_string()),
    ];
    let mut text = format!("# {NOTICE}\n");
    for (name, kind, help, value) in rows {
        let _ = write!(
            text,
            "# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}\nvllm:{name}{labels} {value}\n"
        );
    }
    Answer::text(text)
}

#[derive(Deserialize)]
struct LoraRequest {
    lora_name: String,
    /// Absent: there is nothing to look at.
    lora_path: Option<PathBuf>,
}

fn lora_request(ask: &Ask<'_>) -> Result<LoraRequest, Refusal> {
    serde_json::from_slice(&ask.inbox.bytes)
        .map_err(|error| Refusal::bad_request(Some("lora_name"), error.to_string()))
}

fn load_lora(ask: &Ask<'_>, shared: &Shared) -> Answer {
    lora_request(ask).and_then(|request| load(request, shared)).unwrap_or_else(Answer::from)
}

fn load(request: LoraRequest, shared: &Shared) -> Result<Answer, Refusal> {
    let LoraRequest { lora_name: name, lora_path } = request;
    if let Some(path) = &lora_path {
        loras::check(path).map_err(|error| Refusal::bad_request(Some("lora_path"), error.to_string()))?;
    }
    let mut catalog = shared.catalog.write();
    if catalog.serves(&name) || catalog.loras.len() >= MAX_LORAS {
        let message = format!("`{name}` is loaded already, or there are {MAX_LORAS} adapters");
        return Err(Refusal::bad_request(Some("lora_name"), message));
    }
    let mut lora = Lora::new(name.as_str(), catalog.base());
    if let Some(path) = lora_path {
        lora.root = path.to_string_lossy().into_owned();
    }
    catalog.loras.push(lora);
    Ok(Answer::text(format!("Success: LoRA adapter '{name}' added successfully.")))
}

fn unload_lora(ask: &Ask<'_>, shared: &Shared) -> Answer {
    lora_request(ask).and_then(|request| unload(&request.lora_name, shared)).unwrap_or_else(Answer::from)
}

fn unload(name: &str, shared: &Shared) -> Result<Answer, Refusal> {
    let mut catalog = shared.catalog.write();
    let before = catalog.loras.len();
    catalog.loras.retain(|lora| lora.id != name);
    if catalog.loras.len() == before {
        return Err(Refusal::UnknownModel(name.to_owned()));
    }
    Ok(Answer::text(format!("Success: LoRA adapter '{name}' removed successfully.")))
}

/// What arrived, as JSON: for comparing bytes from outside.
fn echo(ask: &Ask<'_>, _: &Shared) -> Answer {
    let headers: Vec<(String, String)> = ask
        .parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let sha256: String =
        ask.inbox.sha256.unwrap_or_default().iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
    let mut body = json!({
        "method": ask.parts.method.as_str(),
        "target": ask.target,
        "headers": headers,
        "body_len": ask.inbox.len,
        "body_sha256": sha256,
    });
    if let Some(bytes) = ask.fault.big_bytes {
        body["padding"] = Value::String("x".repeat(bytes));
    }
    Answer::ok(&body)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)).map(|(h, l)| h * 16 + l),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_ids_may_come_escaped() {
        assert_eq!(percent_decoded("meta%2Fllama%zz%2"), "meta/llama%zz%2");
    }
}
