//! What a provider adds to requests: its key, its headers, its body members. Its key stays between the
//! gateway and it (R2.7, R4.1).

use crate::harness::routes::sealed;
use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;
use proto_shared::AuthTemplate;

const KEY: &str = "sk-provider-canary-0123456789";

/// Routes to one upstream whose provider has the key.
fn keyed(upstream: &Scripted) -> Routes {
    Routes::usual_with(&upstream.url(), "x/y", |p| p.api_key = Some(sealed(KEY)))
}

#[tokio::test]
async fn the_key_goes_up_as_a_bearer_token_unless_the_template_says_otherwise() {
    for (template, name, value) in [
        (None, "authorization", format!("Bearer {KEY}")),
        (Some("X-Api-Key: {{ auth_secret }}"), "x-api-key", KEY.to_owned()),
        (Some("api-key: {{auth_secret}}"), "api-key", KEY.to_owned()),
        (
            Some("Authorization: Token token=\"{{ auth_secret }}\""),
            "authorization",
            format!("Token token=\"{KEY}\""),
        ),
    ] {
        let upstream = Scripted::obliging().await;
        let world = World::start(Routes::usual_with(&upstream.url(), "x/y", |p| {
            p.api_key = Some(sealed(&format!("{KEY}\n")));
            p.auth_header_format = template.map(|t| AuthTemplate::parse(t).unwrap()).unwrap_or_default();
        }))
        .await;
        for base in [PROVIDER, MODEL, OPENAI] {
            let ask = Ask::post(&format!("{base}{CHAT}"), CHAT_BODY);
            // The client's own credentials, under all the names a key may have.
            let ask = ask.header("Authorization", "Bearer sk-client").header("X-Api-Key", "sk-client");
            assert_eq!(world.ask(ask.header("Api-Key", "sk-client")).await.status, 200);
            let heard = upstream.heard().pop().unwrap();
            assert_eq!(heard.all(name), [value.as_str()], "{base}");
            assert!(!heard.head.contains("sk-client"), "{}", heard.head);
            assert_eq!(heard.head.matches(KEY).count(), 1, "{}", heard.head);
        }
    }
}

#[tokio::test]
async fn a_provider_without_a_key_gets_no_credentials_at_all() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let ask = Ask::post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).header("authorization", "Bearer sk-client");
    assert_eq!(world.ask(ask).await.status, 200);
    assert!(upstream.heard()[0].header("authorization").is_none());
}

#[tokio::test]
async fn a_provider_whose_secret_is_gone_is_not_called_without_it() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual_with(&upstream.url(), "x/y", |p| {
        p.missing_secret = Some("team-key".parse().unwrap());
    }))
    .await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        assert_eq!((reply.status, reply.code().as_str()), (424, "provider_unusable"), "{base}");
        assert!(reply.text().contains("team-key"), "{}", reply.text());
    }
    assert!(upstream.heard().is_empty());
}

#[tokio::test]
async fn default_headers_yield_to_the_clients_and_required_ones_win() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual_with(&upstream.url(), "x/y", |p| {
        p.default_extra_headers.insert("X-Default".into(), "default".into());
        p.default_extra_headers.insert("User-Agent".into(), "nimgate".into());
        p.required_extra_headers.insert("X-Required".into(), "required".into());
    }))
    .await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let ask = Ask::post(&format!("{base}{CHAT}"), CHAT_BODY);
        assert_eq!(world.ask(ask.clone()).await.status, 200);
        let heard = upstream.heard().pop().unwrap();
        assert_eq!((heard.all("x-default"), heard.all("x-required")), (vec!["default"], vec!["required"]));
        assert_eq!(heard.all("user-agent"), ["nimgate"]);
        let ask = ask.header("x-dEFAULT", "client").header("X-REQUIRED", "client").header("user-agent", "me");
        assert_eq!(world.ask(ask).await.status, 200);
        let heard = upstream.heard().pop().unwrap();
        assert_eq!((heard.all("x-default"), heard.all("x-required")), (vec!["client"], vec!["required"]));
        assert_eq!(heard.all("user-agent"), ["me"]);
    }
}

#[tokio::test]
async fn default_members_yield_to_the_clients_and_required_ones_win() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual_with(&upstream.url(), "x/y", |p| {
        p.default_extra_body.insert("temperature".into(), 0.5.into());
        p.default_extra_body.insert("options".into(), serde_json::json!({"a": 1}));
        p.required_extra_body.insert("store".into(), false.into());
    }))
    .await;
    for (base, model) in [(PROVIDER, "m1"), (MODEL, "x/y"), (OPENAI, "x/y")] {
        for (body, expected) in [
            (
                r#"{"model":"m1","n":1}"#.to_owned(),
                serde_json::json!({"model": model, "n": 1, "temperature": 0.5, "options": {"a": 1}, "store": false}),
            ),
            (
                // The merge is shallow: the client's object replaces the default one.
                r#"{"model":"m1","options":{"b":2},"temperature":1,"store":true}"#.to_owned(),
                serde_json::json!({"model": model, "options": {"b": 2}, "temperature": 1, "store": false}),
            ),
        ] {
            let reply = world.post(&format!("{base}{CHAT}"), &body).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            let heard: serde_json::Value =
                serde_json::from_slice(&upstream.heard().pop().unwrap().body).unwrap();
            assert_eq!(heard, expected, "{base}");
        }
    }
}

#[tokio::test]
async fn members_are_put_in_without_touching_the_other_bytes() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual_with(&upstream.url(), "x/y", |p| {
        p.required_extra_body.insert("store".into(), false.into());
    }))
    .await;
    let body = "{ \"big\":12345678901234567890, \"a\":1, \"a\":2,\r\n\"model\" : \"m1\", \"e\":\"\\u00e9\" }";
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), body).await.status, 200);
    let expected = body.replacen('{', "{\"store\":false,", 1).replace("m1", "x/y");
    assert_eq!(String::from_utf8(upstream.heard()[0].body.clone()).unwrap(), expected);
}

#[tokio::test]
async fn a_required_model_wins_over_the_served_name() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual_with(&upstream.url(), "x/y", |p| {
        p.required_extra_body.insert("model".into(), "pinned".into());
    }))
    .await;
    for base in [PROVIDER, MODEL, OPENAI] {
        assert_eq!(world.post(&format!("{base}{CHAT}"), CHAT_BODY).await.status, 200);
        let heard: serde_json::Value = serde_json::from_slice(&upstream.heard().pop().unwrap().body).unwrap();
        assert_eq!(heard["model"], "pinned", "{base}");
    }
}

#[tokio::test]
async fn a_provider_route_merges_into_objects_and_passes_everything_else() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual_with(&upstream.url(), "x/y", |p| {
        p.default_extra_body.insert("n".into(), 1.into());
    }))
    .await;
    for (content_type, body) in [
        ("application/json", r#"[{"a":1}]"#),
        ("application/json", "no json"),
        ("text/plain", r#"{"a":1}"#),
        ("multipart/form-data; boundary=x", "--x--"),
    ] {
        let ask = Ask::new("POST", &format!("{PROVIDER}v1/files")).header("content-type", content_type);
        assert_eq!(world.ask(ask.body(body)).await.status, 200);
        assert_eq!(String::from_utf8(upstream.heard().pop().unwrap().body).unwrap(), body, "{content_type}");
    }
}

#[tokio::test]
async fn a_key_that_an_error_answer_echoes_is_blotted_out() {
    let body = format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}. {KEY}"}}}}"#);
    let clean = body.replace(KEY, &"*".repeat(KEY.len()));
    for status in ["401 Unauthorized", "403 Forbidden", "400 Bad Request", "500 Oops"] {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nx-echo: Bearer {KEY}\r\nwww-authenticate: Bearer realm=\"x\"\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let upstream = Scripted::answering(answer).await;
        let world = World::start(keyed(&upstream)).await;
        for base in [PROVIDER, MODEL, OPENAI] {
            let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
            assert_eq!(reply.text(), clean, "{base}");
            assert!(!reply.head.contains(KEY), "{}", reply.head);
            assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"x\""));
            assert_eq!(reply.status, status[..3].parse::<u16>().unwrap());
        }
    }
}

#[tokio::test]
async fn an_echoed_key_is_blotted_out_however_it_is_cut_into_pieces() {
    let options = nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() };
    let sim = nim_sim::Sim::start(options).await.unwrap();
    let world = World::start(Routes::usual_with(&sim.url(), "x/y", |p| p.api_key = Some(sealed(KEY)))).await;
    for piece_bytes in [1, 3, 10, 40] {
        let fault = format!("echo-auth,split={piece_bytes}");
        let reply = world.ask(Ask::post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).fault(&fault)).await;
        assert_eq!(reply.status, 401);
        assert!(reply.text().contains("Bearer ****") && !reply.text().contains("canary"), "{}", reply.text());
        assert!(reply.whole && reply.json()["error"].is_object());
    }
    // It really was sent.
    assert_eq!(sim.requests()[0].header("authorization"), Some(&*format!("Bearer {KEY}")));
}

#[tokio::test]
async fn a_compressed_error_answer_can_not_smuggle_the_key_past_the_gateway() {
    let upstream = Scripted::obliging().await;
    let world = World::start(keyed(&upstream)).await;
    let ask = Ask::post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).header("accept-encoding", "gzip");
    assert_eq!(world.ask(ask).await.status, 200);
    // The key can only be seen in a plain answer, so a provider with a key is not asked for another.
    assert_eq!(upstream.heard()[0].header("accept-encoding"), None);
}

#[tokio::test]
async fn redirects_are_passed_and_not_followed() {
    let (elsewhere, key_in_url) = (Scripted::obliging().await, format!("?key={KEY}"));
    for location in [elsewhere.url() + "/x", elsewhere.url() + &key_in_url] {
        let answer =
            format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let upstream = Scripted::answering(answer).await;
        let world = World::start(keyed(&upstream)).await;
        let reply = world.post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).await;
        assert_eq!(reply.status, 307);
        let expected = (!location.contains(KEY)).then_some(location.as_str());
        assert_eq!(reply.header("location"), expected);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_success_may_say_what_it_likes() {
    let upstream = Scripted::answering(json_reply(r#"{"a":"b"}"#)).await;
    let world = World::start(keyed(&upstream)).await;
    assert_eq!(world.post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).await.text(), r#"{"a":"b"}"#);
}
