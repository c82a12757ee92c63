//! How long the work on bodies takes: nanoseconds and gigabytes per second for each case, the best of several rounds.
//!
//! `cargo bench -p benches --bench body [-- NAME]` runs all cases, or those whose name contains NAME.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use gateway::body::{ExtraBody, JsonRewriter, ModelRewrite, SseRewriter, replace_model, scan, spans};
use gateway::dialect::chat::without_think_blocks;
use gateway::dialect::chat_reply::{self, ChatStream};
use gateway::dialect::responses::reply::{End, Opening, StreamTranslator, whole};
use gateway::dialect::responses::request::{Target, translate};
use gateway::dialect::responses::turn::Turn;
use proto_shared::backend::Backend;
use serde_json::{Map, Value, json};

const ROUNDS: usize = 15;
const ROUND_NS: u128 = 20_000_000;

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("{:<34} {:>9} {:>11} {:>8}", "case", "bytes", "ns", "GB/s");
    requests(&only);
    translations(&only);
    replies(&only);
    answers(&only);
}

fn case(only: &str, name: &str, bytes: usize, mut work: impl FnMut()) {
    if !name.contains(only) {
        return;
    }
    let mut times = 1u32;
    while elapsed_ns(times, &mut work) < ROUND_NS / 4 {
        times *= 2;
    }
    let rounds = (0..ROUNDS).map(|_| elapsed_ns(times, &mut work));
    let ns = rounds.min().unwrap_or_default() as f64 / f64::from(times);
    println!("{name:<34} {bytes:>9} {ns:>11.1} {:>8.2}", bytes as f64 / ns);
}

fn elapsed_ns(times: u32, work: &mut impl FnMut()) -> u128 {
    let start = Instant::now();
    (0..times).for_each(|_| work());
    start.elapsed().as_nanos()
}

fn requests(only: &str) {
    let bodies = [
        ("chat 1 KB", chat("Summarise the trade-offs of proxies for long-lived streams. ", 300)),
        ("chat 100 KB, escapes", chat(ESCAPES, 98_500)),
        ("chat 100 KB, no escapes", chat("The quick brown fox went on and on. ", 98_500)),
        (
            "chat 100 KB, code in JSON in JSON",
            chat(r#"{"text":"{\"name\": \"value\", \"path\": \"C:\\b\"}"} and so on, "#, 70_000),
        ),
        ("chat 100 KB, Chinese", chat("敏捷的棕色狐狸跳过懒狗，然后继续前进。", 98_500)),
        ("chat 100 KB, an emoji at times", chat(&format!("{}😀", ESCAPES.repeat(10)), 98_500)),
        ("tools 10 KB", tools(10_000)),
        ("token ids 100 KB", token_ids(100_000)),
    ];
    let new_value = Bytes::from_static(b"\"default/a-model\"");
    let extra = ExtraBody::new(&object(json!({"temperature": 1, "seed": 1})), &object(json!({"user": "x"})));
    for (name, body) in &bodies {
        let body = Bytes::from(body.clone());
        case(only, &format!("scan {name}"), body.len(), || {
            let _ = black_box(scan(black_box(&body)));
        });
    }
    let body = Bytes::from(bodies[0].1.clone());
    let Ok(scanned) = scan(&body) else { return };
    case(only, "replace_model chat 1 KB", body.len(), || {
        black_box(replace_model(&body, black_box(&scanned), &new_value));
    });
    let Some(extra) = extra else { return };
    case(only, "extra body chat 1 KB", body.len(), || {
        let _ = black_box(extra.apply(&body, Some((black_box(&scanned), &new_value))));
    });
}

fn translations(only: &str) {
    let backend = Backend::default();
    let target = Target { backend: &backend, model: "bench-model", shown_model: "bench", extra: None };
    for (name, body) in [
        ("1 KB", responses(1)),
        ("75 KB, an agent's history", responses(50)),
        ("1 MB, an image", image(1_000_000)),
    ] {
        case(only, &format!("translate Responses {name}"), body.len(), || {
            let _ = black_box(translate(black_box(body.as_bytes()), &target));
        });
    }
    let body = Bytes::from(thought(1_000));
    case(only, "without_think_blocks chat 1 KB", body.len(), || {
        black_box(without_think_blocks(black_box(&body)));
    });
}

/// So many turns in which a tool was called.
fn responses(turns: usize) -> String {
    let mut input = vec![json!({"role": "user", "content": [{"type": "input_text", "text": ESCAPES}]})];
    for turn in 0..turns {
        let id = format!("call_{turn}");
        input.extend([
            json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": ESCAPES}]}),
            json!({"type": "function_call", "call_id": id, "name": "shell", "arguments": r#"{"command":["ls"]}"#}),
            json!({"type": "function_call_output", "call_id": id, "output": filled(ESCAPES, 10 * turns)}),
        ]);
    }
    json!({"model": "bench", "instructions": filled(ESCAPES, 200), "input": input, "stream": true})
        .to_string()
}

fn image(len: usize) -> String {
    let url = format!("data:image/png;base64,{}", filled("iVBORw0KGgoAAAANSUhEUg", len));
    json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}).to_string()
}

fn thought(len: usize) -> String {
    let said = format!("<think>{}</think>{ESCAPES}", filled(ESCAPES, len));
    json!({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]})
        .to_string()
}

fn replies(only: &str) {
    let Some(rewrite) = ModelRewrite::new("bench-model", "default/bench") else { return };
    let rewrite = Arc::new(rewrite);
    for (name, body) in [
        ("chat 620 B", reply("a few sentences of text, returned at once, and ", 300)),
        (
            "chat 620 B, letters escaped",
            reply("caf\u{e9} a few sentences of text, ", 300).replace('é', "\\u00e9"),
        ),
        ("chat 10 KB, escapes", reply(ESCAPES, 10_000)),
        ("embedding 30 KB", embedding()),
    ] {
        case(only, &format!("spans {name}"), body.len(), || {
            black_box(spans(black_box(body.as_bytes()), &rewrite));
        });
        let mut out = BytesMut::with_capacity(64 * 1024);
        case(only, &format!("JsonRewriter {name}"), body.len(), || {
            out.clear();
            let mut rewriter = JsonRewriter::new(Arc::clone(&rewrite));
            rewriter.feed(black_box(body.as_bytes()), &mut out);
            rewriter.finish(&mut out);
        });
    }
    for (name, token) in
        [("", " token"), (", text escaped", " \\\"tok\\n\\\""), (", letters escaped", " caf\\u00e9")]
    {
        let frames: Vec<String> = (0..50).map(|_| frame(token)).collect();
        let burst = frames.concat();
        let mut out = BytesMut::with_capacity(64 * 1024);
        let mut rewriter = SseRewriter::new(Arc::clone(&rewrite));
        case(only, &format!("SSE 50 events at once{name}"), burst.len(), || {
            out.clear();
            rewriter.feed(black_box(burst.as_bytes()), &mut out);
        });
        case(only, &format!("SSE 50 events, one by one{name}"), burst.len(), || {
            out.clear();
            frames.iter().for_each(|frame| rewriter.feed(black_box(frame.as_bytes()), &mut out));
        });
        case(only, &format!("SSE 50 events, cut at 1000{name}"), burst.len(), || {
            out.clear();
            burst.as_bytes().chunks(1000).for_each(|chunk| rewriter.feed(black_box(chunk), &mut out));
        });
    }
    let deltas = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\" tok\"}\n\n"
        .repeat(50);
    let mut out = BytesMut::with_capacity(64 * 1024);
    let mut rewriter = SseRewriter::new(rewrite);
    case(only, "SSE 50 events without a model", deltas.len(), || {
        out.clear();
        rewriter.feed(black_box(deltas.as_bytes()), &mut out);
    });
}

/// Chat answers translated into Responses, beside what it costs to pass the same events.
fn answers(only: &str) {
    let opening = |reasoning| Opening { turn: Turn { reasoning, ..Turn::default() }, now_s: 0, nonce: 0 };
    for (name, field, token, reasoning) in [
        ("", "content", " token", false),
        (", text escaped", "content", " \\\"tok\\n\\\"", false),
        (", looked through for tags", "content", " token", true),
        (", reasoning", "reasoning_content", " token", true),
    ] {
        let frames: Vec<String> = (0..1000).map(|_| frame(token).replace("content", field)).collect();
        let len = frames.iter().map(String::len).sum();
        let mut out = BytesMut::with_capacity(1024 * 1024);
        case(only, &format!("translate 1000 events{name}"), len, || {
            out.clear();
            let mut stream = StreamTranslator::new(opening(reasoning));
            stream.start(&mut out);
            frames.iter().for_each(|frame| stream.feed(black_box(frame.as_bytes()), 0, &mut out));
            stream.end(End::Clean, 0, &mut out);
        });
        case(only, &format!("ChatStream 1000 events{name}"), len, || {
            out.clear();
            let mut stream = ChatStream::default();
            frames.iter().for_each(|frame| stream.feed(black_box(frame.as_bytes()), &mut out));
        });
    }
    let body = reply("a few sentences of text, returned at once, and ", 700);
    case(only, "translate answer 1 KB", body.len(), || {
        let _ = black_box(whole(opening(true), black_box(body.as_bytes()), 0));
    });
    let body = body.replace("\"content\"", "\"reasoning\":\"hm\",\"content\"");
    case(only, "chat_reply answer 1 KB", body.len(), || {
        black_box(chat_reply::whole(black_box(body.as_bytes())));
    });
}

const ESCAPES: &str =
    "The quick brown fox said \"hello\" to the lazy dog;\n the dog did not answer, and the fox went on. ";

/// `text` over and over, up to about `len` bytes.
fn filled(text: &str, len: usize) -> String {
    text.repeat(len / text.len() + 1)
}

/// SDKs send the messages first and the model behind them.
fn chat(text: &str, len: usize) -> String {
    let rules =
        "You are a careful assistant that answers briefly, cites what it used, and says so when it does not \
        know. Keep the tone neutral; use lists only when they help; never invent a source. "
            .repeat(2);
    json!({
        "messages": [{"role": "system", "content": rules}, {"role": "user", "content": filled(text, len)}],
        "model": "bench-model", "temperature": 0.2, "max_tokens": 256, "top_p": 1,
    })
    .to_string()
}

fn tools(len: usize) -> String {
    let tool = json!({"type": "function", "function": {"name": "get_weather", "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["place"]}}});
    let tools = vec![tool.clone(); len / tool.to_string().len()];
    json!({"tools": tools, "messages": [{"role": "user", "content": "?"}], "model": "bench-model"})
        .to_string()
}

fn token_ids(len: usize) -> String {
    let ids: Vec<usize> = (0..len / 6).map(|index| 10_000 + index * 7919 % 90_000).collect();
    json!({"input": ids, "model": "bench-model"}).to_string()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn reply(text: &str, len: usize) -> String {
    json!({
        "id": "chatcmpl-9f1c2b7a6d5e4f30", "object": "chat.completion", "created": 1763000000, "model": "bench-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": filled(text, len), "refusal": null},
            "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 212, "completion_tokens": 64, "total_tokens": 276},
        "system_fingerprint": "fp_bench",
    })
    .to_string()
}

fn embedding() -> String {
    let numbers: Vec<f64> = (0..1536).map(|index| f64::from(index).sin()).collect();
    json!({
        "object": "list", "data": [{"object": "embedding", "index": 0, "embedding": numbers}],
        "model": "bench-model", "usage": {"prompt_tokens": 8, "total_tokens": 8},
    })
    .to_string()
}

fn frame(token: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-9f1c2b7a6d5e4f30\",\"object\":\"chat.completion.chunk\",\"created\":1763000000,\
         \"model\":\"bench-model\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{token}\"}},\
         \"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
    )
}
