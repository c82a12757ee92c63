//! The endpoints of a NIM.

use crate::wire::{CHAT, DEADLINE, Reply, STREAM, get, post, raw, read_until, sim, sim_with};
use nim_sim::{Lora, Sim, SimOptions};
use serde_json::{Value, json};

async fn fetch(sim: &Sim, path: &str) -> Reply {
    raw(sim.addr(), &get(path, "")).await
}

async fn send(sim: &Sim, path: &str, body: &Value) -> Reply {
    raw(sim.addr(), &post(path, "", &body.to_string())).await
}

/// The JSON of every frame but the terminator.
fn frames(text: &str) -> Vec<Value> {
    text.split("\n\n")
        .filter_map(|frame| frame.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[tokio::test]
async fn every_answer_says_that_it_is_a_simulation() {
    let sim = sim().await;
    for path in ["/v1/models", "/v1/health/live", "/metrics", "/nowhere", "/v1/responses", "/__sim/stats"] {
        assert_eq!(fetch(&sim, path).await.header("x-nim-sim"), Some("simulation"), "{path}");
    }
    let metadata = fetch(&sim, "/v1/metadata").await.json();
    assert_eq!(metadata["simulation"], true);
    assert!(metadata["notice"].as_str().unwrap().contains("simulation"));
}

#[tokio::test]
async fn a_loading_server_is_live_but_not_ready() {
    let sim = sim_with(SimOptions { ready_after_ms: 3_600_000, ..SimOptions::default() }).await;
    let status = async |path: &str| fetch(&sim, path).await.status();
    assert_eq!(status("/v1/health/live").await, 200);
    for path in ["/v1/health/ready", "/health", "/v1/models"] {
        assert_eq!(status(path).await, 503, "{path}");
    }
    sim.set_ready(true);
    assert_eq!(status("/v1/health/ready").await, 200);
    assert_eq!(status("/v1/models").await, 200);
}

#[tokio::test]
async fn the_health_ramp_ends_by_itself() {
    let sim = sim_with(SimOptions { ready_after_ms: 30, ..SimOptions::default() }).await;
    let start = std::time::Instant::now();
    while fetch(&sim, "/v1/health/ready").await.status() != 200 {
        assert!(start.elapsed() < DEADLINE);
    }
}

#[tokio::test]
async fn model_cards_name_base_and_adapters() {
    let options = SimOptions {
        models: vec!["meta/a".to_owned(), "b".to_owned()],
        loras: vec![Lora::new("tuned", "meta/a")],
        ..SimOptions::default()
    };
    let sim = sim_with(options).await;
    let list = fetch(&sim, "/v1/models").await.json();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["meta/a", "b", "tuned"]);
    assert_eq!(list["data"][0]["parent"], Value::Null);
    assert_eq!(
        (&list["data"][2]["parent"], &list["data"][2]["root"]),
        (&json!("meta/a"), &json!("/loras/tuned"))
    );
    assert_eq!(fetch(&sim, "/v1/models/meta/a").await.json()["id"], "meta/a");
    assert_eq!(fetch(&sim, "/v1/models/meta%2Fa").await.json()["id"], "meta/a");
    assert_eq!(fetch(&sim, "/v1/models/none").await.status(), 404);
}

#[tokio::test]
async fn adapters_come_and_go_at_run_time() {
    let sim = sim().await;
    let lora = json!({ "lora_name": "l" });
    assert_eq!(send(&sim, "/v1/load_lora_adapter", &lora).await.status(), 200);
    assert_eq!(send(&sim, "/v1/load_lora_adapter", &lora).await.status(), 400);
    assert_eq!(fetch(&sim, "/v1/models/l").await.json()["parent"], "m");
    assert_eq!(send(&sim, "/v1/unload_lora_adapter", &lora).await.status(), 200);
    assert_eq!(fetch(&sim, "/v1/models/l").await.status(), 404);
}

#[tokio::test]
async fn a_chat_repeats_the_last_user_message_and_counts_words() {
    let sim = sim().await;
    let reply = raw(sim.addr(), &post("/v1/chat/completions", "", CHAT)).await.json();
    assert_eq!((&reply["object"], &reply["model"]), (&json!("chat.completion"), &json!("m")));
    assert_eq!(reply["choices"][0]["message"]["content"], "You said: hello world");
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    assert_eq!(reply["usage"], json!({ "prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6 }));
    let again = raw(sim.addr(), &post("/v1/chat/completions", "", CHAT)).await.json();
    assert_ne!(reply["id"], again["id"]);
}

#[tokio::test]
async fn a_streamed_chat_has_the_same_words_and_its_usage_when_asked() {
    let sim = sim().await;
    let mut body: Value = serde_json::from_str(STREAM).unwrap();
    let without = send(&sim, "/v1/chat/completions", &body).await.text();
    assert!(frames(&without).iter().all(|frame| frame.get("usage").is_none()));
    body["stream_options"] = json!({ "include_usage": true });
    let reply = send(&sim, "/v1/chat/completions", &body).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let text = reply.text();
    assert!(text.ends_with("data: [DONE]\n\n"));
    let frames = frames(&text);
    let words: String =
        frames.iter().filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(words, "You said: hello world");
    let last = frames.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(6)));
}

#[tokio::test]
async fn a_tool_call_comes_whole_or_in_pieces() {
    let sim = sim().await;
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let mut body = json!({
        "model": "m",
        "messages": [{ "role": "user", "content": "get_weather for Bern" }],
        "tools": [{ "type": "function", "function": { "name": "get_weather", "parameters": parameters } }],
    });
    let whole = send(&sim, "/v1/chat/completions", &body).await.json();
    let choice = &whole["choices"][0];
    let call = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!((&choice["finish_reason"], &call["name"]), (&json!("tool_calls"), &json!("get_weather")));
    body["stream"] = json!(true);
    let frames = frames(&send(&sim, "/v1/chat/completions", &body).await.text());
    let delta =
        |frame: &Value| frame["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].clone();
    let arguments: String =
        frames.iter().filter_map(|frame| delta(frame).as_str().map(str::to_owned)).collect();
    assert_eq!(call["arguments"], arguments);
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap()["city"], "get_weather for Bern");
}

#[tokio::test]
async fn completions_answer_both_ways() {
    let sim = sim().await;
    let whole = send(&sim, "/v1/completions", &json!({ "model": "m", "prompt": "a b" })).await.json();
    assert_eq!(
        (&whole["object"], &whole["choices"][0]["text"]),
        (&json!("text_completion"), &json!("You said: a b"))
    );
    let body = json!({ "model": "m", "prompt": ["a", "b"], "stream": true, "max_tokens": 3 });
    let frames = frames(&send(&sim, "/v1/completions", &body).await.text());
    let text: String = frames.iter().filter_map(|frame| frame["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, "You said: a ");
    assert_eq!(frames.last().unwrap()["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn embeddings_come_in_both_encodings() {
    use base64::Engine as _;
    let sim = sim().await;
    let mut body = json!({ "model": "m", "input": ["a b", "c"], "dimensions": 3 });
    let floats = send(&sim, "/v1/embeddings", &body).await.json();
    assert_eq!(floats["usage"]["prompt_tokens"], 3);
    assert_eq!(floats["data"][1]["embedding"].as_array().unwrap().len(), 3);
    body["encoding_format"] = json!("base64");
    let packed = send(&sim, "/v1/embeddings", &body).await.json();
    let text = packed["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let first = f32::from_le_bytes(bytes[..4].try_into().unwrap());
    assert_eq!(Some(f64::from(first)), floats["data"][0]["embedding"][0].as_f64());
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_as_vllm_does() {
    let sim = sim().await;
    let unknown = send(&sim, "/v1/chat/completions", &json!({ "model": "x", "messages": [] })).await;
    assert_eq!(unknown.status(), 404);
    assert_eq!(unknown.json()["error"]["message"], "The model `x` does not exist.");
    assert_eq!(raw(sim.addr(), &post("/v1/chat/completions", "", "{")).await.status(), 400);
    assert_eq!(fetch(&sim, "/v1/chat/completions").await.status(), 405);
    assert_eq!(send(&sim, "/v1/responses", &json!({})).await.status(), 404);
}

#[tokio::test]
async fn a_key_is_asked_for_everywhere_but_at_the_probes() {
    let sim = sim_with(SimOptions { api_key: Some("k".to_owned()), ..SimOptions::default() }).await;
    assert_eq!(fetch(&sim, "/v1/models").await.status(), 401);
    assert_eq!(fetch(&sim, "/v1/health/ready").await.status(), 200);
    let status = async |header: &str| raw(sim.addr(), &get("/v1/models", header)).await.status();
    assert_eq!(status("authorization: Bearer wrong\r\n").await, 401);
    assert_eq!(status("authorization: Bearer k\r\n").await, 200);
}

#[tokio::test]
async fn metrics_count_what_runs() {
    use tokio::io::AsyncWriteExt as _;
    let sim = sim().await;
    let mut stream = crate::wire::connect(sim.addr()).await;
    let request = post("/v1/chat/completions", "x-sim-fault: tokens=100000,token-ms=5\r\n", STREAM);
    stream.write_all(&request).await.unwrap();
    read_until(&mut stream, "said").await;
    for path in ["/metrics", "/v1/metrics"] {
        let text = fetch(&sim, path).await.text();
        assert!(text.contains("vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 1\n"), "{text}");
        assert!(text.contains("vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.01\n"), "{text}");
    }
}
