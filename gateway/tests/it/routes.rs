//! Where a request goes: path families, route kinds, tails and base paths.

use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;

/// All ways to one chat completion.
const CHAT_PATHS: [&str; 7] = [
    "/apis/inference-gateway/v2/workspaces/default/model/m1/-/v1/chat/completions",
    "/apis/inference-gateway/v2/workspaces/default/provider/p1/-/v1/chat/completions",
    "/apis/inference-gateway/v2/workspaces/default/openai/-/v1/chat/completions",
    "/v2/workspaces/default/inference/gateway/model/m1/-/v1/chat/completions",
    "/v2/workspaces/default/inference/gateway/provider/p1/-/v1/chat/completions",
    "/v2/workspaces/default/inference/gateway/openai/-/v1/chat/completions",
    "/v1/chat/completions",
];

#[tokio::test]
async fn all_three_kinds_of_routes_work_in_both_path_families_and_under_the_v1_alias() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["m1".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "m1")).await;
    for path in CHAT_PATHS {
        let reply = world.post(path, CHAT_BODY).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert_eq!(reply.json()["choices"][0]["message"]["content"], "You said: hello", "{path}");
        assert_eq!(sim.requests().last().unwrap().target, "/v1/chat/completions", "{path}");
    }
    world.settled().await;
}

#[tokio::test]
async fn every_method_is_forwarded_by_every_kind_of_route() {
    let upstream = Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            let reply = json_reply("{}");
            let head_only = heard.head.starts_with("HEAD");
            line.write(if head_only { reply.trim_end_matches("{}") } else { &reply }).await;
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "served/m1")).await;
    let mut expected = vec![];
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND"] {
        for base in [PROVIDER, MODEL, OPENAI] {
            let ask = Ask::new(method, &format!("{base}v1/things"));
            let ask = ask.header("content-type", "application/json").body(CHAT_BODY);
            let reply = world.ask(ask).await;
            assert_eq!(reply.status, 200, "{method} {base}");
            expected.push(format!("{method} /v1/things HTTP/1.1"));
        }
    }
    let heard = upstream.heard();
    let lines: Vec<&str> = heard.iter().map(|heard| heard.head.lines().next().unwrap()).collect();
    assert_eq!(lines, expected);
    assert!(heard.iter().all(|heard| !heard.body.is_empty()), "a body got lost");
}

#[tokio::test]
async fn methods_without_a_body_reach_model_and_provider_routes_without_one() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "served/m1")).await;
    for method in ["GET", "DELETE", "OPTIONS"] {
        for base in [PROVIDER, MODEL] {
            assert_eq!(world.ask(Ask::new(method, &format!("{base}v1/x"))).await.status, 200, "{method}");
            let heard = upstream.heard().pop().unwrap();
            assert!(heard.header("content-length").is_none(), "{}", heard.head);
            assert!(heard.header("transfer-encoding").is_none(), "{}", heard.head);
        }
    }
}

/// What may stand after `/-/`, with its query.
const TAILS: [&str; 19] = [
    "v1/a/-/b/-/",
    "/-/-/x",
    "a//b///c",
    "//a",
    "/",
    "",
    "%zz",
    "%",
    "a%2",
    "a%20b+c",
    "a%3fb%23c",
    "%c3%a9/~'()*!$,:@&=;",
    "v1/things?",
    "v1/things?a=1&a=2&a=1",
    "v1/things?x?y=/-/../%2e%2e&z=%2F",
    "v1/things?q=%zz&+=%20",
    "v1/things?a=b//c",
    ".../..a/a../.hidden",
    "V1/Models",
];

#[tokio::test]
async fn what_follows_the_separator_arrives_byte_for_byte() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "served/m1")).await;
    let mut client = world.connect().await;
    let families =
        ["/v2/workspaces/default/inference/gateway", "/apis/inference-gateway/v2/workspaces/default"];
    for family in families {
        for kind in ["provider/p1", "model/m1", "openai"] {
            for tail in TAILS {
                let reply = client.ask(&Ask::post(&format!("{family}/{kind}/-/{tail}"), CHAT_BODY)).await;
                assert_eq!(reply.status, 200, "{kind} {tail}: {}", reply.text());
                assert_eq!(upstream.heard().pop().unwrap().target(), format!("/{tail}"), "{kind}");
            }
        }
    }
}

#[tokio::test]
async fn the_v1_alias_keeps_its_tail_too() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "served/m1")).await;
    for target in ["/v1/chat/completions?a=1&a=2", "/v1//x/-/y?", "/v1/", "/v1/%zz"] {
        assert_eq!(world.post(target, CHAT_BODY).await.status, 200, "{target}");
        assert_eq!(upstream.heard().pop().unwrap().target(), target);
    }
}

#[tokio::test]
async fn an_encoded_slash_in_the_tail_arrives_as_a_slash_and_in_the_query_as_it_is() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "served/m1")).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let target = format!("{base}v1%2Fchat%2fcompletions?a=%2F");
        assert_eq!(world.post(&target, CHAT_BODY).await.status, 200, "{target}");
        assert_eq!(upstream.heard().pop().unwrap().target(), "/v1/chat/completions?a=%2F");
    }
}

#[tokio::test]
async fn paths_that_could_walk_out_of_the_base_path_are_refused_and_reach_nobody() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&format!("{}/base", upstream.url()), "served/m1")).await;
    for base in [PROVIDER, MODEL, OPENAI, "/v1/"] {
        for tail in [
            "..",
            "../x",
            "a/../b",
            "a/./b",
            ".",
            "a/%2e%2e/b",
            "a/%2E./b",
            "a/%252e%252e/b",
            "a%2f..%2fb",
            "a%252f..%252fb",
            "a\\b",
            "a%5cb",
            "a%255Cb",
            "a%00b",
            "a%0d%0ax:y",
            "a%250ab",
            "a%7fb",
        ] {
            let reply = world.post(&format!("{base}{tail}"), CHAT_BODY).await;
            assert_eq!((reply.status, &*reply.code()), (400, "bad_path"), "{base}{tail}");
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn the_base_path_of_a_provider_never_doubles_a_version_or_a_slash() {
    let upstream = Scripted::obliging().await;
    for (base, chat, metrics) in [
        ("", "/v1/chat/completions", "/metrics"),
        ("/", "/v1/chat/completions", "/metrics"),
        ("/v1", "/v1/chat/completions", "/v1/metrics"),
        ("/v1/", "/v1/chat/completions", "/v1/metrics"),
        ("/inference", "/inference/v1/chat/completions", "/inference/metrics"),
        ("/inference/", "/inference/v1/chat/completions", "/inference/metrics"),
        ("/inference/v1", "/inference/v1/chat/completions", "/inference/v1/metrics"),
        ("/myv1", "/myv1/v1/chat/completions", "/myv1/metrics"),
        ("/v1/openai", "/v1/openai/chat/completions", "/v1/openai/metrics"),
        ("/v1beta/openai/", "/v1beta/openai/chat/completions", "/v1beta/openai/metrics"),
    ] {
        let world = World::start(Routes::usual(&format!("{}{base}", upstream.url()), "served/m1")).await;
        for route in [PROVIDER, MODEL, OPENAI] {
            for (tail, arrives) in [(CHAT, chat), ("metrics", metrics)] {
                assert_eq!(world.post(&format!("{route}{tail}"), CHAT_BODY).await.status, 200);
                assert_eq!(upstream.heard().pop().unwrap().target(), arrives, "{base:?} {route}");
            }
        }
    }
}

#[tokio::test]
async fn host_and_credentials_of_a_request_do_not_choose_its_destination() {
    let (upstream, other) = (Scripted::obliging().await, Scripted::obliging().await);
    let world = World::start(Routes::usual(&upstream.url(), "served/m1")).await;
    let body = format!(
        r#"{{"model":"m1","api_base":"{0}","base_url":"{0}","host_url":"{0}","api_key":"sk-client"}}"#,
        other.url()
    );
    for base in [PROVIDER, MODEL, OPENAI] {
        let target = format!("{base}{CHAT}?api_base={}", other.url());
        let ask = Ask::post(&target, &body).header("x-forwarded-host", &other.address.to_string());
        assert_eq!(world.ask(ask).await.status, 200);
        assert_eq!(upstream.heard().pop().unwrap().header("host"), Some(&*upstream.address.to_string()));
    }
    assert_eq!(other.connections(), 0);
}
