//! Models have two names: the public one, and what the provider calls it. Each side sees its own, and
//! no other byte changes.

use crate::harness::scripted::{LAST_CHUNK, SSE_HEAD, Scripted, chunk, json_reply};
use crate::harness::*;

const SERVED: &str = "meta/llama-3.1-8b-instruct";

/// Bodies before and after the name is put in; `NAME` is the place.
const BODIES: [&str; 9] = [
    r#"{"model":NAME,"messages":[{"role":"user","content":"hello"}]}"#,
    r#"{"messages":[{"role":"user","content":"the \"model\":\"m1\" of {\"model\":\"m1\"}"}],"model":NAME}"#,
    "\t\r\n {  \"a\" : 1 ,\n  \"model\"\t:\r\n NAME ,\"b\":2 }  \n",
    r#"{"seed":123456789012345678901234567890,"t":1.0,"e":1e400,"z":-0.0,"model":NAME}"#,
    r#"{"a":1,"a":2,"model":NAME,"a":3}"#,
    r#"{"x":"\u00e9\ud83d\ude00é😀\/","model":NAME,"nested":{"model":"m1","deeper":[{"model":"m1"}]}}"#,
    r#"{"\u006dodel":NAME,"stream":false}"#,
    r#"{"tools":[],"stream":false,"model":NAME,"metadata":{"model":null}}"#,
    r#"{"model":NAME}"#,
];

#[tokio::test]
async fn the_served_name_takes_the_place_of_the_public_one_and_nothing_else_changes() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), SERVED)).await;
    for template in BODIES {
        for name in
            ["\"m1\"", "\"default/m1\"", "\"\\u006d1\"", "\"default\\/m1\"", "\"meta/llama-3.1-8b-instruct\""]
        {
            let body = template.replace("NAME", name);
            let expected = template.replace("NAME", &format!("\"{SERVED}\""));
            for base in [MODEL, OPENAI] {
                let reply = world.post(&format!("{base}{CHAT}"), &body).await;
                assert_eq!(reply.status, 200, "{body}: {}", reply.text());
                let heard = upstream.heard().pop().unwrap();
                assert_eq!(String::from_utf8(heard.body).unwrap(), expected, "{base}");
            }
        }
    }
}

#[tokio::test]
async fn a_model_route_overrides_the_bodys_model_and_adds_it_where_there_is_none() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), SERVED)).await;
    for (body, arrives) in [
        (r#"{"model":"something else","n":1}"#, r#"{"model":"meta/llama-3.1-8b-instruct","n":1}"#),
        (r#"{"n":1}"#, r#"{"model":"meta/llama-3.1-8b-instruct","n":1}"#),
        (r#" { } "#, r#" {"model":"meta/llama-3.1-8b-instruct" } "#),
    ] {
        assert_eq!(world.post(&format!("{MODEL}{CHAT}"), body).await.status, 200, "{body}");
        assert_eq!(String::from_utf8(upstream.heard().pop().unwrap().body).unwrap(), arrives);
    }
}

#[tokio::test]
async fn names_that_are_no_plain_json_text_are_put_in_escaped() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "a \"b\\c\" é")).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), r#"{"model":"m1"}"#).await.status, 200);
    let body: serde_json::Value = serde_json::from_slice(&upstream.heard().pop().unwrap().body).unwrap();
    assert_eq!(body["model"], "a \"b\\c\" é");
}

#[tokio::test]
async fn a_name_goes_to_the_model_that_bears_it_before_one_that_is_served_under_it() {
    let (first, second) = (Scripted::obliging().await, Scripted::obliging().await);
    let routes = Routes::new().provider("p1", &first.url()).provider("p2", &second.url());
    let world = World::start(routes.model("m1", "m2", &["p1"]).model("m2", "x/y", &["p2"])).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), r#"{"model":"m2"}"#).await.status, 200);
    assert_eq!((first.heard().len(), second.heard().len()), (0, 1));
}

/// Replies before and after the public name is put back; `NAME` is a place where it stands.
const REPLIES: [&str; 7] = [
    r#"{"id":"x","model":NAME,"choices":[{"message":{"role":"assistant","content":"model"}}]}"#,
    r#"{"type":"response.created","response":{"id":"r","model":NAME,"output":[]}}"#,
    r#"{"type":"message_start","message":{"id":"m","model":NAME,"content":[]}}"#,
    " {\n \"usage\" : {\"model\":\"meta/llama-3.1-8b-instruct\"} ,\r\n\t\"model\"\t:  NAME , \"n\":1.0 }\n",
    r#"{"model":"another model","text":"meta/llama-3.1-8b-instruct"}"#,
    r#"[{"model":"meta/llama-3.1-8b-instruct"}]"#,
    "{\"model\":\"meta/llama-3.1-8b-instr",
];

#[tokio::test]
async fn json_replies_bear_the_public_name_with_the_right_length() {
    for template in REPLIES {
        let upstream =
            Scripted::answering(json_reply(&template.replace("NAME", &format!("\"{SERVED}\"")))).await;
        let world = World::start(Routes::usual(&upstream.url(), SERVED)).await;
        let expected = template.replace("NAME", "\"default/m1\"");
        for base in [MODEL, OPENAI] {
            let reply = world.post(&format!("{base}{CHAT}"), r#"{"model":"m1"}"#).await;
            assert_eq!((reply.status, reply.text()), (200, expected.clone()));
            assert_eq!(reply.header("content-length"), Some(&*expected.len().to_string()));
        }
    }
}

#[tokio::test]
async fn json_replies_too_large_to_be_kept_bear_the_public_name_in_chunks() {
    let padding = "x".repeat(gateway::Limits::default().reply_buffer_bytes_max);
    let body = |name: &str| format!(r#"{{"padding":"{padding}","model":"{name}","n":1}}"#);
    let upstream = Scripted::answering(json_reply(&body(SERVED))).await;
    let world = World::start(Routes::usual(&upstream.url(), SERVED)).await;
    let reply = world.post(&format!("{OPENAI}{CHAT}"), r#"{"model":"m1"}"#).await;
    assert!(reply.whole);
    assert_eq!(reply.text(), body("default/m1"));
    assert_eq!(reply.header("content-length"), None);
}

/// A stream with everything that may stand in one.
fn stream(name: &str) -> String {
    let mut text = String::from("\u{feff}: comment with \"model\":\"meta/llama-3.1-8b-instruct\"\n\n");
    text.push_str(&format!(
        "data: {{\"model\":\"{name}\",\"choices\":[{{\"delta\":{{\"content\":\"né 世界\"}}}}]}}\n\n"
    ));
    text.push_str(&format!(
        "event: response.created\r\ndata: {{\"response\":{{\"model\":\"{name}\"}}}}\r\n\r\n"
    ));
    text.push_str(&format!("event: message_start\rdata:{{\"message\":{{\"model\":\"{name}\"}}}}\r\r"));
    text.push_str(&format!("id: 7\nretry: 10\ndata: {{\"a\":1,\ndata: \"model\":\"{name}\"}}\n\n"));
    text.push_str("data: {\"text\":\"meta/llama-3.1-8b-instruct\",\"model\":\"meta/llama\"}\n\n: ping\n\n");
    text.push_str("data: [DONE]\n\n");
    text
}

#[tokio::test]
async fn streamed_frames_bear_the_public_name_wherever_they_are_cut() {
    let (served, public) = (stream(SERVED), stream("default/m1"));
    for piece_bytes in [1, 2, 3, 5, 7, 16, 33, 64, 1000] {
        let pieces: Vec<Vec<u8>> = served.as_bytes().chunks(piece_bytes).map(chunk).collect();
        let upstream = Scripted::start(move |mut line| {
            let pieces = pieces.clone();
            async move {
                while line.request().await.is_some() {
                    line.write(SSE_HEAD).await;
                    for piece in &pieces {
                        line.write(piece).await;
                        tokio::task::yield_now().await;
                    }
                    line.write(LAST_CHUNK).await;
                }
            }
        })
        .await;
        let world = World::start(Routes::usual(&upstream.url(), SERVED)).await;
        for base in [MODEL, OPENAI] {
            let reply = world.post(&format!("{base}{CHAT}"), r#"{"model":"m1","stream":true}"#).await;
            assert_eq!(reply.text(), public, "pieces of {piece_bytes}");
            assert!(reply.whole);
        }
        let reply = world.post(&format!("{PROVIDER}{CHAT}"), r#"{"model":"x","stream":true}"#).await;
        assert_eq!(reply.text(), served, "the provider route, pieces of {piece_bytes}");
    }
}

#[tokio::test]
async fn a_simulated_models_stream_bears_the_public_name_however_it_is_written() {
    let options = nim_sim::SimOptions { models: vec![SERVED.into()], ..Default::default() };
    let sim = nim_sim::Sim::start(options).await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), SERVED)).await;
    for fault in ["split=1", "split=7", "split=64,crlf", "comments", "crlf,comments", "big=100000"] {
        let reply = world.ask(Ask::post("/v1/chat/completions", STREAM_BODY).fault(fault)).await;
        let text = reply.text();
        let names = text.matches("\"model\":\"default/m1\"").count();
        assert!(names >= 3 && !text.contains(SERVED) && reply.whole, "{fault}: {text:.300}");
        assert!(text.trim_end().ends_with("data: [DONE]"), "{fault}");
    }
}

#[tokio::test]
async fn provider_routes_change_nothing() {
    let body = r#"{"model":"meta/llama-3.1-8b-instruct","a":1,"a":2}"#;
    let upstream = Scripted::answering(json_reply(body)).await;
    let world = World::start(Routes::usual(&upstream.url(), SERVED)).await;
    let odd = b"\x00\xff{\"model\":\"m1\", not json".as_slice();
    for sent in [body.as_bytes(), odd, b"{\"model\":\"m1\",\"model\":\"m1\"}"] {
        let reply = world.post(&format!("{PROVIDER}{CHAT}"), sent).await;
        assert_eq!((reply.status, &*reply.text()), (200, body));
        assert_eq!(upstream.heard().pop().unwrap().body, sent);
    }
}

#[tokio::test]
async fn error_answers_of_upstreams_are_passed_as_they_are() {
    let body = r#"{"error":{"message":"no"},"model":"meta/llama-3.1-8b-instruct"}"#;
    for status in ["400 Bad Request", "404 Not Found", "429 Too Many Requests", "500 Oops", "503 Busy"] {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let upstream = Scripted::answering(answer).await;
        let world = World::start(Routes::usual(&upstream.url(), SERVED)).await;
        let reply = world.post(&format!("{OPENAI}{CHAT}"), r#"{"model":"m1"}"#).await;
        assert_eq!((reply.status, &*reply.text()), (status[..3].parse().unwrap(), body));
    }
}

#[tokio::test]
async fn a_reply_that_will_be_read_is_not_asked_for_compressed_and_one_that_comes_so_is_passed() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00";
    let upstream = Scripted::answering(answer).await;
    let world = World::start(Routes::usual(&upstream.url(), SERVED)).await;
    for (base, passes) in [(OPENAI, None), (MODEL, None), (PROVIDER, Some("gzip, br"))] {
        let ask = Ask::post(&format!("{base}{CHAT}"), r#"{"model":"m1"}"#);
        let reply = world.ask(ask.header("accept-encoding", "gzip, br")).await;
        assert_eq!(reply.body, b"\x1f\x8b\x08\x00");
        assert_eq!(reply.header("content-encoding"), Some("gzip"));
        assert_eq!(upstream.heard().pop().unwrap().header("accept-encoding"), passes, "{base}");
    }
}
