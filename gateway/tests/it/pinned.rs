//! A provider may pin one model: it is asked for nothing else, whatever a client names.

use proto_shared::ProviderRoute;

use crate::harness::scripted::{LAST_CHUNK, SSE_HEAD, Scripted, chunk, json_reply};
use crate::harness::*;

const PINNED: &str = "accounts/x/llama";

fn pins(provider: &mut ProviderRoute) {
    provider.backend.pinned_model = Some(PINNED.into());
}

async fn world(upstream: &Scripted) -> World {
    World::start(Routes::usual_with(&upstream.url(), "served", pins)).await
}

#[tokio::test]
async fn the_pinned_model_is_sent_on_every_route_and_no_other_byte_changes() {
    let upstream = Scripted::obliging().await;
    let world = world(&upstream).await;
    let bodies = [
        r#"{"model":NAME,"seed":123456789012345678901234567890, "x":"\u00e9"}"#,
        "{ \"a\":1,\"a\":2,\n\"model\" : NAME }\n",
    ];
    for template in bodies {
        let expected = template.replace("NAME", &format!("\"{PINNED}\""));
        for (base, name) in
            [(PROVIDER, "anything"), (PROVIDER, ""), (PROVIDER, "served"), (MODEL, "other"), (OPENAI, "m1")]
        {
            let body = template.replace("NAME", &format!("\"{name}\""));
            let reply = world.post(&format!("{base}{CHAT}"), &body).await;
            assert_eq!(reply.status, 200, "{base} {body}: {}", reply.text());
            assert_eq!(String::from_utf8(upstream.heard().pop().unwrap().body).unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn the_pinned_model_is_put_in_where_a_request_names_none() {
    let upstream = Scripted::obliging().await;
    let world = world(&upstream).await;
    for (body, arrives) in [
        (r#"{"n":1}"#, r#"{"model":"accounts/x/llama","n":1}"#),
        (r#" { } "#, r#" {"model":"accounts/x/llama" } "#),
    ] {
        for base in [PROVIDER, MODEL] {
            assert_eq!(world.post(&format!("{base}{CHAT}"), body).await.status, 200, "{body}");
            assert_eq!(String::from_utf8(upstream.heard().pop().unwrap().body).unwrap(), arrives);
        }
    }
}

#[tokio::test]
async fn a_pinned_model_stands_above_one_of_the_extra_body() {
    let upstream = Scripted::obliging().await;
    let routes = Routes::usual_with(&upstream.url(), "served", |provider| {
        pins(provider);
        for extra in [&mut provider.default_extra_body, &mut provider.required_extra_body] {
            extra.insert("model".into(), "extra".into());
        }
        provider.required_extra_body.insert("n".into(), 2.into());
    });
    let world = World::start(routes).await;
    for base in [PROVIDER, MODEL] {
        for (body, arrives) in [
            (r#"{"model":"a","n":1}"#, r#"{"model":"accounts/x/llama","n":2}"#),
            (r#"{"n":1}"#, r#"{"model":"accounts/x/llama","n":2}"#),
        ] {
            assert_eq!(world.post(&format!("{base}{CHAT}"), body).await.status, 200);
            assert_eq!(String::from_utf8(upstream.heard().pop().unwrap().body).unwrap(), arrives);
        }
    }
}

#[tokio::test]
async fn what_can_not_carry_the_pinned_model_is_refused() {
    let upstream = Scripted::obliging().await;
    let world = world(&upstream).await;
    let target = format!("{PROVIDER}{CHAT}");
    for body in ["[]", "{", r#"{"model":1}"#, r#"{"model":"a","model":"b"}"#, r#"{"Model":"a"}"#] {
        assert_eq!(world.post(&target, body).await.status, 400, "{body}");
    }
    let packed = world.ask(Ask::post(&target, CHAT_BODY).header("content-encoding", "gzip")).await;
    assert_eq!(packed.status, 415);
    assert!(upstream.heard().is_empty());
}

#[tokio::test]
async fn requests_without_a_json_body_pass_as_they_are() {
    let upstream = Scripted::answering(json_reply(r#"{"model":"theirs"}"#)).await;
    let world = world(&upstream).await;
    let reply = world.get(&format!("{PROVIDER}v1/things/1")).await;
    assert_eq!((reply.status, &*reply.text()), (200, r#"{"model":"theirs"}"#));
    let target = format!("{PROVIDER}v1/audio");
    let ask = Ask::new("POST", &target).header("content-type", "text/plain").body("model=a");
    assert_eq!(world.ask(ask).await.status, 200);
    assert_eq!(upstream.heard().pop().unwrap().body, b"model=a");
}

#[tokio::test]
async fn a_provider_route_shows_the_pinned_name_and_a_model_route_the_public_id() {
    let upstream = Scripted::answering(json_reply(r#"{"model":"accounts/x/llama","id":"1"}"#)).await;
    let world = world(&upstream).await;
    for (base, shown) in [(PROVIDER, PINNED), (MODEL, "default/m1"), (OPENAI, "default/m1")] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        assert_eq!(reply.text(), format!(r#"{{"model":"{shown}","id":"1"}}"#));
    }
}

#[tokio::test]
async fn a_provider_route_shows_the_pinned_name_whatever_the_provider_calls_the_model() {
    let upstream = Scripted::start(|mut line| async move {
        while line.request().await.is_some() {
            line.write(SSE_HEAD).await;
            line.write(&chunk("data: {\"model\":\"llama-2026")).await;
            line.write(&chunk("-01-01\",\"n\":1}\n\n")).await;
            line.write(&chunk("data: {\"model\":\"\",\"n\":2}\n\ndata: [DONE]\n\n")).await;
            line.write(LAST_CHUNK.as_bytes()).await;
        }
    })
    .await;
    let world = world(&upstream).await;
    let reply = world.post(&format!("{PROVIDER}{CHAT}"), STREAM_BODY).await;
    let event = |n: u32| format!("data: {{\"model\":\"{PINNED}\",\"n\":{n}}}\n\n");
    assert_eq!(reply.text(), format!("{}{}data: [DONE]\n\n", event(1), event(2)));
}
