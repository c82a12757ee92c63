//! How a model's requests are spread, and where they may go, from the command line.

use integration_tests::client::chat_body;
use nim_sim::{Sim, SimOptions};
use serde_json::json;

use crate::at::At;

/// Providers of one model, named `arm-a`, `arm-b`, …
async fn arms(count: usize) -> (At, Vec<Sim>) {
    let at = At::start().await;
    let mut sims = Vec::new();
    for name in ["arm-a", "arm-b", "arm-c"].into_iter().take(count) {
        let sim = Sim::start(SimOptions::default()).await.unwrap();
        at.done(&format!("provider create {name} --url {}", sim.url())).await;
        sims.push(sim);
    }
    (at, sims)
}

#[tokio::test]
async fn a_split_is_made_shown_and_taken_back() {
    let (at, _sims) = arms(3).await;
    let made = at.done("model split sim-echo-8b arm-a=90 arm-b=10").await;
    for line in ["arm-a     90 %", "arm-b     10 %", "arm-c     0 %"] {
        assert!(made.contains(line), "{made}");
    }
    for (word, line) in
        [("sticky", "x-session-id"), ("pin", "/provider/arm-b/-/v1"), ("see", "vm get sim-echo-8b")]
    {
        assert!(made.contains(word) && made.contains(line), "no {line} in {made}");
    }
    let stored = at.json("vm get sim-echo-8b").await;
    assert_eq!(stored["autoprovisioned"], false);
    let split = json!({"strategy": "weighted", "providers": [
        {"provider": "arm-a", "weight": 90}, {"provider": "arm-b", "weight": 10}]});
    assert_eq!(stored["routing"], split);
    let shown = at.done("vm get sim-echo-8b").await;
    assert!(shown.contains("weighted") && shown.contains("arm-a     90 %"), "{shown}");
    assert!(at.done("vm list").await.contains("weighted"));

    at.done("model split default/sim-echo-8b arm-a=1 arm-b=1 --sticky session").await;
    at.done("model split sim-echo-8b arm-a=1 arm-b=3").await;
    assert_eq!(
        at.json("vm get sim-echo-8b").await["routing"]["sticky"],
        "session",
        "what is not named stays"
    );

    let off = at.done("model split sim-echo-8b --off").await;
    assert!(off.contains("least busy"), "{off}");
    let stored = at.json("vm get sim-echo-8b").await;
    assert_eq!((&stored["autoprovisioned"], stored.get("routing")), (&json!(true), None), "as it was before");
}

#[tokio::test]
async fn who_is_named_and_gets_nothing_is_warned_of() {
    let (at, _sims) = arms(1).await;
    let other =
        Sim::start(SimOptions { models: vec!["other".into()], ..SimOptions::default() }).await.unwrap();
    at.done(&format!("provider create busy --url {}", other.url())).await;
    let ended = at.run("model split sim-echo-8b arm-a=1 busy=1 later=2").await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("no provider later"), "{}", ended.stderr);
    assert!(ended.stderr.contains("busy does not serve default/sim-echo-8b now (READY)"), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("later     50 %") && ended.stdout.contains("is not there"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn tiers_name_who_stands_in_for_whom() {
    let (at, _sims) = arms(2).await;
    let made = at.done("model route sim-echo-8b --tier arm-b=0 --tier arm-a=1").await;
    assert!(made.contains("arm-b     0") && made.contains("arm-a     1"), "{made}");
    let routing = &at.json("vm get sim-echo-8b").await["routing"];
    assert_eq!((&routing["strategy"], &routing["providers"][1]["tier"]), (&json!("priority"), &json!(1)));
    at.done("model route sim-echo-8b --strategy prefix-affinity --sticky session").await;
    let asked = at.done("model route sim-echo-8b").await;
    assert!(asked.contains("prompt or session"), "{asked}");
    at.done("model route sim-echo-8b --off").await;
    for (line, code, says) in [
        ("model split sim-echo-8b", 2, "PROVIDER=SHARE"),
        ("model split sim-echo-8b arm-a=1 --off", 2, "--off"),
        ("model split sim-echo-8b arm-a=lots", 2, "whole number"),
        ("model split sim-echo-8b arm-a=1 arm-a=2", 1, "named twice"),
        ("model split nobody arm-a=1", 1, "nimgate model list"),
        ("model route sim-echo-8b --strategy fastest", 2, "least-busy"),
        ("model route sim-echo-8b --sticky user", 2, "--strategy"),
    ] {
        let said = at.fails(line, code).await;
        assert!(said.contains(says), "{line}: {said}");
    }
}

#[tokio::test]
async fn what_is_local_only_is_refused_rather_than_sent_to_a_hosted_provider() {
    let (at, sims) = arms(2).await;
    at.done("provider update arm-b --locality hosted").await;
    assert!(at.done("provider get arm-b").await.contains("hosted"));
    at.done("workspace update default --local-only").await;
    assert_eq!(at.json("workspace get default").await["local_only"], true);
    let shown = at.done("model route sim-echo-8b").await;
    assert!(shown.contains("local only, by workspace default"), "{shown}");
    for _ in 0..8 {
        at.done("chat sim-echo-8b Hello").await;
    }
    let path = "/v2/workspaces/default/inference/gateway/provider/arm-b/-/v1/chat/completions";
    let refused = at.gateway.post(path, &chat_body("sim-echo-8b", "hi")).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (403, &json!("local_only")));
    assert!(refused.text().contains("workspace default"), "{}", refused.text());

    at.done("provider delete arm-a").await;
    let refused = at.gateway.post("/v1/chat/completions", &chat_body("sim-echo-8b", "hi")).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (403, &json!("local_only")));
    assert!(refused.text().contains("default/arm-b"), "{}", refused.text());
    let came: Vec<_> = sims[1].requests().iter().map(|request| request.path().to_owned()).collect();
    assert!(!came.iter().any(|path| path.contains("chat")), "{came:?}");
    at.done("workspace update default --local-only=false").await;
    let reply = at.gateway.post("/v1/chat/completions", &chat_body("sim-echo-8b", "hi")).await.unwrap();
    assert_eq!(reply.headers["x-nimgate-served-by"], "default/arm-b");
}

/// The provider that answers `model` for this user.
async fn served_by(at: &At, model: &str, user: Option<&str>) -> String {
    let mut body = chat_body(model, "hi");
    if let Some(user) = user {
        body["user"] = json!(user);
    }
    let reply = at.gateway.post("/v1/chat/completions", &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["model"], format!("default/{model}"), "whoever answers");
    reply.headers["x-nimgate-served-by"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_split_deals_requests_by_shares_and_users_stay() {
    let (at, _sims) = arms(2).await;
    at.done("model split sim-echo-8b arm-a=3 arm-b=1").await;
    let mut first = 0;
    for _ in 0..40 {
        first += usize::from(served_by(&at, "sim-echo-8b", None).await == "default/arm-a");
    }
    assert!((28..=32).contains(&first), "{first} of 40");
    for user in ["u1", "u2", "u3", "u4", "u5"] {
        let arm = served_by(&at, "sim-echo-8b", Some(user)).await;
        for _ in 0..3 {
            assert_eq!(served_by(&at, "sim-echo-8b", Some(user)).await, arm, "{user}");
        }
    }
}

#[tokio::test]
async fn two_models_of_one_provider_are_split_under_one_name() {
    let at = At::start().await;
    let models = vec!["meta/llama-8b".into(), "meta/llama-70b".into()];
    let sim = Sim::start(SimOptions { models, ..SimOptions::default() }).await.unwrap();
    at.done(&format!("provider create own --url {}", sim.url())).await;
    let made = at.done("model split chat default/meta-llama-8b=3 default/meta-llama-70b=1").await;
    for line in [
        "75 %   is asked for meta/llama-8b",
        "25 %   is asked for meta/llama-70b",
        "\"model\": \"meta/llama-70b\"",
    ] {
        assert!(made.contains(line), "no {line} in {made}");
    }
    let mut big = 0;
    for _ in 0..20 {
        match served_by(&at, "chat", None).await.as_str() {
            "default/own:meta/llama-8b" => {}
            "default/own:meta/llama-70b" => big += 1,
            other => panic!("{other}"),
        }
    }
    assert!((4..=6).contains(&big), "{big} of 20");
    let arms = ["u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"];
    for user in arms {
        let arm = served_by(&at, "chat", Some(user)).await;
        assert_eq!(served_by(&at, "chat", Some(user)).await, arm, "{user}");
    }
    let asked: Vec<String> = sim
        .requests()
        .iter()
        .filter_map(|request| serde_json::from_slice::<serde_json::Value>(&request.body).ok())
        .filter_map(|body| body["model"].as_str().map(str::to_owned))
        .collect();
    assert!(asked.iter().filter(|model| *model == "meta/llama-70b").count() >= big, "{asked:?}");
    let pinned = "/v2/workspaces/default/inference/gateway/provider/own/-/v1/chat/completions";
    let reply = at.gateway.post(pinned, &chat_body("meta/llama-70b", "hi")).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json()["model"]), (200, &json!("meta/llama-70b")));

    at.done("model split chat own:meta/llama-8b=0 own:meta/llama-70b=1").await;
    assert_eq!(served_by(&at, "chat", None).await, "default/own:meta/llama-70b");
    let models = vec!["meta/llama-8b".into()];
    let twin = Sim::start(SimOptions { models, ..SimOptions::default() }).await.unwrap();
    at.done(&format!("provider create twin --url {}", twin.url())).await;
    let said = at.fails("model split chat meta-llama-8b=1 own:meta/llama-70b=1", 2).await;
    assert!(said.contains("PROVIDER:MODEL") && said.contains("default/twin"), "{said}");
}

#[tokio::test]
async fn a_stand_in_of_another_model_answers_under_the_same_name_while_the_first_is_away() {
    let (at, mut sims) = arms(1).await;
    let other =
        Sim::start(SimOptions { models: vec!["big/other".into()], ..SimOptions::default() }).await.unwrap();
    at.done(&format!("provider create build --url {}", other.url())).await;
    let made = at.done("model route sim-echo-8b --tier arm-a=0 --tier build:big/other=1").await;
    assert!(made.contains("is asked for big/other"), "{made}");
    assert_eq!(served_by(&at, "sim-echo-8b", None).await, "default/arm-a");
    drop(sims.pop());
    assert_eq!(served_by(&at, "sim-echo-8b", None).await, "default/build");

    let made = at.done("model split fresh arm-a:sim/echo-8b=0 build:big/other=1").await;
    assert!(made.contains("build     100 %"), "{made}");
    assert_eq!(served_by(&at, "fresh", None).await, "default/build");
}

#[tokio::test]
async fn streams_outlive_their_server_once_the_model_says_so() {
    let (at, sims) = arms(2).await;
    at.done("virtual-model create steady --default-model default/sim-echo-8b --resume").await;
    at.done("model route steady --tier arm-a=0 --tier arm-b=1").await;
    sims[0].set_fault("cut-after=2000").unwrap();
    let words: Vec<String> = (0..60).map(|n| format!("w{n}")).collect();
    let text = words.join(" ");
    let asked = ["chat", "steady", &text, "--gateway-url", &at.gateway.url()];
    let answer = at.home.run(asked).await.expect_done();
    assert!(answer.stdout.contains(&format!("You said: {text}")), "{answer:?}");
    assert!(sims.iter().all(|sim| !sim.requests().is_empty()), "both had a part of it");
}
