//! What a name stands for is the registry's word: who answers, which upstream ids mean it, what it wants.

use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;

fn body(model: &str) -> String {
    format!(r#"{{"model":"{model}"}}"#)
}

#[tokio::test]
async fn one_that_wants_middleware_is_refused_for_good_and_nothing_else_is() {
    let upstream = Scripted::obliging().await;
    let routes = Routes::usual(&upstream.url(), "x/y").model("guarded", "x/z", &["p1"]).but(|model| {
        model.middleware = vec!["nemo-guardrails".into(), "log".into()];
    });
    let world = World::start(routes).await;
    // Its upstream id must not lead past it either.
    for (path, model) in [
        (format!("{OPENAI}{CHAT}"), "guarded"),
        (format!("{OPENAI}{CHAT}"), "default/guarded"),
        (format!("{OPENAI}{CHAT}"), "x/z"),
        ("/v1/chat/completions".into(), "guarded"),
        (MODEL.replace("m1", "guarded") + CHAT, "m1"),
    ] {
        let reply = world.post(&path, body(model)).await;
        reply.assert_refusal(501, "middleware_unsupported");
        assert_eq!(reply.header("x-should-retry"), Some("false"));
        assert!(reply.text().contains("default/guarded wants middleware (nemo-guardrails, log)"));
    }
    assert_eq!(upstream.connections(), 0);
    for path in [format!("{OPENAI}{CHAT}"), format!("{PROVIDER}{CHAT}")] {
        assert_eq!(world.post(&path, body("m1")).await.status, 200);
    }
    assert_eq!(world.get("/v1/models/guarded").await.status, 200, "it is listed");
}

#[tokio::test]
async fn upstream_ids_mean_what_the_registry_says_they_mean() {
    let upstream = Scripted::answering(json_reply(r#"{"model":"meta/llama"}"#)).await;
    let routes = Routes::new()
        .provider("p1", &upstream.url())
        .model("chat", "meta/llama", &["p1"])
        .but(|model| model.aliases = Some(vec![]))
        .model("moved", "meta/llama", &["p1"])
        .but(|model| model.aliases = Some(vec!["meta/old".into()]))
        .model("meta-llama", "meta/llama", &["p1"]);
    let world = World::start(routes).await;
    for (asked, answers) in [
        ("meta/llama", "default/meta-llama"),
        ("meta/old", "default/moved"),
        ("chat", "default/chat"),
        ("default/moved", "default/moved"),
    ] {
        let reply = world.post(&format!("{OPENAI}{CHAT}"), body(asked)).await;
        assert_eq!((reply.status, &reply.json()["model"]), (200, &answers.into()), "{asked}");
        assert_eq!(upstream.heard().pop().unwrap().body, body("meta/llama").as_bytes());
    }
}

#[tokio::test]
async fn of_two_that_claim_an_upstream_id_the_older_has_it() {
    let upstream = Scripted::answering(json_reply(r#"{"model":"id"}"#)).await;
    let routes = Routes::new().provider("p1", &upstream.url());
    let world = World::start(routes.model("newer", "id", &["p1"]).model("older", "id", &["p1"])).await;
    let reply = world.post(&format!("{OPENAI}{CHAT}"), body("id")).await;
    assert_eq!(reply.json()["model"], "default/older");
}
