//! What the gateway answers from its own table, and what it says of things that are not in it.

use crate::harness::scripted::Scripted;
use crate::harness::*;

const FAMILIES: [&str; 2] =
    ["/apis/inference-gateway/v2/workspaces/default", "/v2/workspaces/default/inference/gateway"];

#[tokio::test]
async fn the_model_list_is_the_tables_and_no_upstream_is_asked() {
    let upstream = Scripted::obliging().await;
    let routes =
        Routes::usual(&upstream.url(), "x/y").model("a2", "x/z", &["p1"]).model("unserved", "q", &[]);
    let world = World::start(routes).await;
    let mut paths: Vec<String> = FAMILIES.map(|family| format!("{family}/openai/-/v1/models")).to_vec();
    paths.push("/v1/models".into());
    paths.extend(["/v1/models/".into(), "/v1/models?limit=1".into(), format!("{OPENAI}v1%2Fmodels")]);
    for path in paths {
        let reply = world.get(&path).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{path}");
        let list = reply.json();
        assert_eq!(list["object"], "list");
        let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|card| card["id"].clone()).collect();
        assert_eq!(ids, ["default/m1", "default/a2", "default/unserved"], "as published, {path}");
        let card = &list["data"][0];
        assert_eq!((&card["object"], &card["owned_by"]), (&"model".into(), &"default".into()));
        assert_eq!(card["created"], 1_700_000_000);
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_model_card_is_found_by_each_of_its_names() {
    let world = World::start(Routes::usual("http://127.0.0.1:9", "meta/llama")).await;
    for id in ["m1", "default/m1", "default%2Fm1", "meta/llama"] {
        for base in [OPENAI, "/"] {
            let reply = world.get(&format!("{base}v1/models/{id}")).await;
            assert_eq!((reply.status, &reply.json()["id"]), (200, &"default/m1".into()), "{base} {id}");
        }
    }
    for id in ["nope", "other/m1", "M1", "m1/"] {
        let reply = world.get(&format!("/v1/models/{id}")).await;
        reply.assert_refusal(404, "model_not_found");
        assert_eq!(reply.json()["error"]["param"], "model");
    }
}

#[tokio::test]
async fn the_list_of_an_unknown_workspace_is_empty() {
    let world = World::start(Routes::usual("http://127.0.0.1:9", "x")).await;
    let reply = world.get("/v2/workspaces/nobody/inference/gateway/openai/-/v1/models").await;
    assert_eq!((reply.status, reply.json()["data"].clone()), (200, serde_json::json!([])));
}

#[tokio::test]
async fn a_provider_says_whether_it_is_ready() {
    let routes = Routes::new().provider("p1", "http://127.0.0.1:9/v1");
    let world = World::start(routes.provider_with("p2", "http://127.0.0.1:9", |p| p.ready = false)).await;
    for family in FAMILIES {
        let reply = world.get(&format!("{family}/provider/p1/ready")).await;
        assert_eq!(reply.status, 200);
        let expected = serde_json::json!(
            {"ready": true, "provider": "default/p1", "host_url": "http://127.0.0.1:9/v1"});
        assert_eq!(reply.json(), expected);
        world.get(&format!("{family}/provider/p2/ready")).await.assert_refusal(404, "provider_not_ready");
        world.get(&format!("{family}/provider/nope/ready")).await.assert_refusal(404, "provider_not_found");
    }
}

#[tokio::test]
async fn a_provider_that_is_not_ready_is_used_all_the_same_when_it_is_named() {
    let upstream = Scripted::obliging().await;
    let routes = Routes::new().provider_with("p1", &upstream.url(), |p| p.ready = false);
    let world = World::start(routes).await;
    assert_eq!(world.get(&format!("{PROVIDER}v1/models")).await.status, 200);
}

#[tokio::test]
async fn unknown_things_are_named_in_both_error_forms() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x").model("unserved", "q", &["gone"])).await;
    let body = |model: &str| format!(r#"{{"model":{model}}}"#);
    let m1 = body(r#""m1""#);
    for (path, body, status, code) in [
        (format!("{OPENAI}{CHAT}"), body(r#""nope""#), 404, "model_not_found"),
        (format!("{OPENAI}{CHAT}"), body(r#""other/m1""#), 422, "invalid_model"),
        (format!("{OPENAI}{CHAT}"), body(r#""Bad Name""#), 422, "invalid_model"),
        (format!("{OPENAI}{CHAT}"), body(r#""unserved""#), 404, "model_not_served"),
        (format!("{OPENAI}{CHAT}"), body(r#""""#), 422, "model_empty"),
        (format!("{OPENAI}{CHAT}"), body("7"), 400, "model_not_a_string"),
        (format!("{OPENAI}{CHAT}"), body("null"), 400, "model_not_a_string"),
        (format!("{OPENAI}{CHAT}"), "{}".into(), 400, "model_missing"),
        (format!("{OPENAI}{CHAT}"), "[]".into(), 400, "body_not_an_object"),
        (format!("{OPENAI}{CHAT}"), "{".into(), 400, "body_not_json"),
        (format!("{OPENAI}{CHAT}"), r#"{"model":"m1"} x"#.into(), 400, "body_trailing_data"),
        (format!("{OPENAI}{CHAT}"), r#"{"model":"m1","model":"m1"}"#.into(), 400, "model_duplicate"),
        (format!("{OPENAI}{CHAT}"), r#"{"model":"m1","Model":"m2"}"#.into(), 400, "model_misspelt"),
        (format!("{MODEL}{CHAT}"), "{".into(), 400, "body_not_json"),
        (MODEL.replace("m1", "nope") + CHAT, m1.clone(), 404, "model_not_found"),
        (MODEL.replace("m1", "default/m2") + CHAT, m1.clone(), 404, "model_not_found"),
        (MODEL.replace("m1", "other/m1") + CHAT, m1.clone(), 422, "invalid_model"),
        (MODEL.replace("m1", "M1") + CHAT, m1.clone(), 422, "invalid_model"),
        (PROVIDER.replace("p1", "p%2F1") + CHAT, m1.clone(), 422, "invalid_provider"),
        (PROVIDER.replace("default", "No") + CHAT, m1.clone(), 422, "invalid_workspace"),
        (OPENAI.replace("default", "a--b") + CHAT, m1.clone(), 422, "invalid_workspace"),
        (MODEL.replace("m1", "unserved") + CHAT, m1.clone(), 404, "model_not_served"),
        (PROVIDER.replace("p1", "nope") + CHAT, m1.clone(), 404, "provider_not_found"),
        (PROVIDER.replace("default", "nope") + CHAT, m1.clone(), 404, "provider_not_found"),
        (MODEL.replace("default", "nope") + CHAT, m1.clone(), 404, "model_not_found"),
        (OPENAI.replace("default", "nope") + CHAT, m1.clone(), 404, "model_not_found"),
        ("/".into(), m1.clone(), 404, "no_such_path"),
        ("/V1/chat/completions".into(), m1.clone(), 404, "no_such_path"),
        ("//v1/chat/completions".into(), m1.clone(), 404, "no_such_path"),
        ("/internal/feed".into(), m1.clone(), 404, "no_such_path"),
        ("/metrics".into(), m1.clone(), 404, "no_such_path"),
        ("/routes".into(), m1.clone(), 404, "no_such_path"),
        ("/v2/workspaces/default/inference/gateway/nothing/x/-/y".into(), m1.clone(), 404, "no_such_path"),
    ] {
        let reply = world.post(&path, &body).await;
        assert_eq!((reply.status, &*reply.code()), (status, code), "{path} {body} {}", reply.text());
        reply.assert_refusal(status, code);
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn bodies_that_can_not_be_trusted_to_mean_one_thing_are_refused() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x")).await;
    let nested = |depth: usize| {
        format!(r#"{{"model":"m1","a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth)).into_bytes()
    };
    for base in [MODEL, OPENAI] {
        for (body, code) in [
            (nested(200), "body_too_deep"),
            (nested(1_000_000), "body_too_deep"),
            (b"{\"model\":\"m1\",\"a\":\"\xff\"}".to_vec(), "body_invalid_utf8"),
            (b"{\"model\":\"m1\",\"a\":\"\xed\xa0\x80\"}".to_vec(), "body_invalid_utf8"),
            (b"\xff\xfe{\0}\0".to_vec(), "body_not_json"),
            (b"{\"model\":\"m1\"}{\"model\":\"m2\"}".to_vec(), "body_trailing_data"),
            (b"{\"model\":\"m1\",\"mod\\u0065l\":\"m2\"}".to_vec(), "model_duplicate"),
            (b"{\"model\":\"m1\"".to_vec(), "body_not_json"),
            (b"{model:\"m1\"}".to_vec(), "body_not_json"),
        ] {
            let reply = world.post(&format!("{base}{CHAT}"), &body).await;
            assert_eq!((reply.status, &*reply.code()), (400, code), "{}", reply.text());
        }
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), nested(100)).await.status, 200);
}

#[tokio::test]
async fn a_request_without_a_body_names_no_model() {
    let world = World::start(Routes::usual("http://127.0.0.1:9", "x")).await;
    world.get(&format!("{OPENAI}{CHAT}")).await.assert_refusal(400, "model_missing");
    world.get("/v1/nothing").await.assert_refusal(400, "model_missing");
}

#[tokio::test]
async fn health_and_what_is_answered_here_may_only_be_read() {
    let world = World::start(Routes::usual("http://127.0.0.1:9", "x")).await;
    for path in ["/health/live", "/health/ready", &format!("{}/provider/p1/ready", FAMILIES[0])] {
        assert_eq!(world.get(path).await.status, 200, "{path}");
        let head = world.ask(Ask::new("HEAD", path)).await;
        assert_eq!(head.status, 200, "{path}");
        assert!(head.header("content-length").is_some_and(|length| length != "0"), "{}", head.head);
        let reply = world.ask(Ask::new("DELETE", path)).await;
        reply.assert_refusal(405, "method_not_allowed");
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
}

#[tokio::test]
async fn a_provider_whose_key_does_not_open_is_named_with_the_reason() {
    let other_key = proto_shared::MasterKey::generate().unwrap();
    let identity = proto_shared::SecretIdentity { workspace: "default", name: "key", version: 1 };
    let sealed = other_key.seal(&identity, &"sk".to_owned().into()).unwrap();
    let routes = Routes::usual_with("http://127.0.0.1:9", "x", |p| p.api_key = Some(sealed));
    let world = World::start(routes.provider("p2", "http://127.0.0.1:9")).await;
    let reply = world.post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).await;
    reply.assert_refusal(424, "provider_unusable");
    assert!(reply.json()["detail"].as_str().unwrap().contains("master key"), "{}", reply.text());
    // The rest of the table is served.
    assert_eq!(world.get(&format!("{}/provider/p2/ready", FAMILIES[0])).await.status, 200);
}
