//! What became of one request is told by its id, while it is under way and after it ended.

use serde_json::Value;

use crate::harness::paced::Paced;
use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;

const SECRET: &str = "nvapi-never-to-be-shown";

async fn ask_admin(world: &World, target: &str) -> Reply {
    RawClient::connect(world.admin).await.ask(&Ask::get(target)).await
}

/// The request's account, once it is there and `holds`.
async fn told(world: &World, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
    within("the request is explained", async {
        loop {
            let reply = ask_admin(world, &format!("/explain?request={id}")).await;
            if reply.status == 200 {
                let told = reply.json()["requests"][0].clone();
                if holds(&told) {
                    return told;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
}

fn has_ended(told: &Value) -> bool {
    told["state"] == "ended"
}

fn chat(id: &str) -> Ask {
    Ask::post("/v1/chat/completions", CHAT_BODY)
        .header("x-request-id", id)
        .header("authorization", &format!("Bearer {SECRET}"))
}

#[tokio::test]
async fn a_request_that_went_straight_has_one_attempt_and_no_more_words() {
    let upstream =
        Scripted::answering(json_reply(r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#)).await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let id = world.ask(Ask::post("/v1/chat/completions", CHAT_BODY)).await;
    let id = id.header("x-request-id").unwrap().to_owned();
    let told = told(&world, &id, has_ended).await;
    assert_eq!((&told["route"], &told["model"]), (&"openai".into(), &"default/m1".into()));
    assert_eq!((&told["strategy"], &told["by_key"]), (&"priority".into(), &false.into()));
    assert_eq!((&told["status"], &told["outcome"]), (&200.into(), &"ok".into()));
    assert_eq!((&told["input_tokens"], &told["output_tokens"]), (&3.into(), &4.into()));
    let attempt = &told["attempts"][0];
    assert_eq!((&attempt["provider"], &attempt["address"]), (&"default/p1".into(), &upstream.url().into()));
    assert_eq!((&attempt["connection"], &attempt["result"]), (&"new".into(), &"answered".into()));
    assert_eq!(attempt["status"], 200);
    assert!(attempt["connect_ms"].is_number() && attempt["first_byte_ms"].is_number(), "{attempt}");
    for absent in ["candidates", "waits", "left_out", "reason"] {
        assert!(told.get(absent).is_none(), "{absent}: {told}");
    }
}

#[tokio::test]
async fn one_that_went_from_address_to_address_tells_who_was_there_and_what_each_said() {
    let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
    let (busy, well) = (Scripted::answering(busy).await, Scripted::answering(json_reply("{}")).await);
    let routes = Routes::new()
        .provider("down", "http://127.0.0.1:1")
        .provider("busy", &busy.url())
        .provider("well", &well.url())
        .model("m1", "m1", &["down", "busy", "well"])
        .but(|model| model.routing.strategy = proto_shared::routing::Strategy::Priority);
    let world = World::start(routes).await;
    assert_eq!(world.ask(chat("from-here-to-there")).await.status, 200);
    let told = told(&world, "from-here-to-there", has_ended).await;
    let of =
        |attempt: &Value| (attempt["provider"].clone(), attempt["result"].clone(), attempt["status"].clone());
    let attempts: Vec<_> = told["attempts"].as_array().unwrap().iter().map(of).collect();
    let expected = [
        ("default/down".into(), "connect_failed".into(), Value::Null),
        ("default/busy".into(), "passed_over".into(), 503.into()),
        ("default/well".into(), "answered".into(), 200.into()),
    ];
    assert_eq!(attempts, expected, "{told}");
    assert_eq!(told["attempts"][0]["why"], "connection refused");
    let seen = told["candidates"]["seen"].as_array().unwrap();
    let standing =
        |at: usize| (seen[at]["provider"].as_str().unwrap(), seen[at]["standing"].as_str().unwrap());
    assert_eq!((standing(0), standing(1)), (("default/down", "out"), ("default/busy", "open")), "{told}");
}

#[tokio::test]
async fn a_request_under_way_tells_how_far_it_is() {
    let paced = Paced::stream(&["data: {\"n\":1}\n\n"]).await;
    let world = World::start(Routes::usual(&paced.upstream.url(), "m1")).await;
    let mut client = world.connect().await;
    let ask = Ask::post("/v1/chat/completions", STREAM_BODY).header("x-request-id", "live");
    client.send(ask.encode()).await;
    let waiting = told(&world, "live", |told| told["attempts"][0].is_object()).await;
    assert_eq!((&waiting["state"], &waiting["outcome"]), (&"under way".into(), &Value::Null));
    paced.step();
    let streams = told(&world, "live", |told| told["attempts"][0]["result"] == "answers").await;
    assert_eq!((&streams["state"], &streams["status"]), (&"under way".into(), &200.into()));
    (0..2).for_each(|_| paced.step());
    client.reply().await;
    assert_eq!(told(&world, "live", has_ended).await["outcome"], "ok");
}

#[tokio::test]
async fn one_that_waits_on_a_connection_that_was_there_before_is_told_after_a_moment() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(json_reply("{}")).await;
        line.request().await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    assert_eq!(world.ask(chat("answered")).await.status, 200);
    let mut client = world.connect().await;
    client.send(chat("held").encode()).await;
    let held = told(&world, "held", |told| told["attempts"][0]["connection"] == "reused").await;
    assert_eq!((&held["state"], &held["route"]), (&"under way".into(), &"openai".into()));
}

#[tokio::test]
async fn a_turn_in_line_is_told_while_it_lasts_and_afterwards() {
    let paced = Paced::start(vec![json_reply("{}").into_bytes()]).await;
    let routes = Routes::usual_with(&paced.upstream.url(), "m1", |provider| {
        provider.backend.num_concurrent_requests = 1;
    });
    let world = World::start(routes).await;
    let (mut first, mut second) = (world.connect().await, world.connect().await);
    first.send(chat("first").encode()).await;
    paced.upstream.heard_requests(1).await;
    second.send(chat("second").encode()).await;
    let waiting = told(&world, "second", |told| told["waits"][0].is_object()).await;
    assert_eq!((&waiting["state"], waiting["waits"][0].get("took_ms")), (&"under way".into(), None));
    (0..2).for_each(|_| paced.step());
    first.reply().await;
    second.reply().await;
    let ended = told(&world, "second", has_ended).await;
    assert_eq!(ended["waits"][0]["got_place"], true, "{ended}");
    assert!(ended["waits"][0]["took_ms"].is_number());
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
    let world = World::start(Routes::usual("http://127.0.0.1:1", "m1")).await;
    world.ask(chat("refused")).await.assert_refusal(502, "upstream_connect");
    let refused = told(&world, "refused", has_ended).await;
    assert_eq!((&refused["status"], &refused["reason"]), (&502.into(), &"upstream_connect".into()));
    let unknown =
        Ask::post("/v1/chat/completions", r#"{"model":"nobody"}"#).header("x-request-id", "unknown");
    assert_eq!(world.ask(unknown).await.status, 404);
    assert_eq!(told(&world, "unknown", has_ended).await["reason"], "model_not_found");
}

#[tokio::test]
async fn no_key_and_no_byte_of_a_body_is_told() {
    let upstream = Scripted::answering(json_reply(r#"{"answer":"forty-two"}"#)).await;
    let routes =
        Routes::usual_with(&upstream.url(), "m1", |provider| provider.api_key = Some(routes::sealed(SECRET)));
    let world = World::start(routes).await;
    let ask = Ask::post("/v1/chat/completions?api_key=hidden", CHAT_BODY).header("x-request-id", "quiet");
    assert_eq!(world.ask(ask).await.status, 200);
    told(&world, "quiet", has_ended).await;
    let text = ask_admin(&world, "/explain?request=quiet").await.text();
    for hidden in [SECRET, "hello", "forty-two", "hidden"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_said_to_be_and_where_else_to_look() {
    let upstream = Scripted::obliging().await;
    let routes = Routes::usual(&upstream.url(), "m1");
    let world = World::limited(routes, |limits| limits.recent_requests_max = 2).await;
    let reply = world.post("/v1/chat/completions", CHAT_BODY).await;
    let own = reply.header("x-request-id").unwrap().to_owned();
    told(&world, &own, has_ended).await;
    for n in 0..3 {
        world.ask(chat(&format!("later-{n}"))).await;
        told(&world, &format!("later-{n}"), has_ended).await;
    }
    for (id, word) in [
        (own.as_str(), "not kept any more"),
        ("later-0", "a client chose the id"),
        ("req_000000000000000001", "admin listeners of the others"),
    ] {
        let reply = ask_admin(&world, &format!("/explain?request={id}")).await;
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(reply.status == 404 && detail.contains(word), "{id}: {detail}");
    }
    assert_eq!(ask_admin(&world, "/explain").await.status, 400);
    let ready = ask_admin(&world, "/health/ready").await.json();
    assert!(own.starts_with(ready["request_ids"].as_str().unwrap()));
}

#[tokio::test]
async fn a_request_that_can_not_go_on_elsewhere_is_told_why_where_its_model_wants_that() {
    let upstream = Scripted::obliging().await;
    let routes = Routes::usual(&upstream.url(), "m1").but(|model| model.resume = true);
    let world = World::start(routes).await;
    let with_tools = CHAT_BODY.replace("\"model\"", "\"stream\":true,\"tools\":[],\"model\"");
    for (id, body, word) in [
        ("can", STREAM_BODY, "can go on"),
        ("can-not", with_tools.as_str(), "a member of which it is not known"),
    ] {
        world.ask(Ask::post("/v1/chat/completions", body).header("x-request-id", id)).await;
        let told = told(&world, id, has_ended).await;
        assert!(told["resume"].as_str().unwrap().contains(word), "{told}");
    }
}

#[tokio::test]
async fn where_a_request_would_go_is_told_with_the_numbers_that_are_compared() {
    let (one, two) = (Scripted::obliging().await, Scripted::obliging().await);
    let routes = Routes::new()
        .provider_with("p1", &one.url(), |provider| provider.local = true)
        .provider_with("p2", &two.url(), |provider| provider.local = false)
        .model("m1", "m1", &["p1", "p2"])
        .but(|model| {
            (model.resume, model.routing.strategy) = (true, proto_shared::routing::Strategy::Priority)
        });
    let world = World::start(routes).await;
    assert_eq!(world.post("/v1/chat/completions", CHAT_BODY).await.status, 200);
    world.settled().await;
    let told = ask_admin(&world, "/explain?path=/v1/chat/completions&model=m1").await.json();
    assert!(told["compares"].as_str().unwrap().contains("lowest tier"), "{told}");
    let (first, second) = (&told["candidates"][0], &told["candidates"][1]);
    assert_eq!((&first["tier"], &second["tier"]), (&0.into(), &1.into()));
    assert_eq!((first.get("weight"), first.get("does_not_go_on")), (None, None));
    assert!(second["does_not_go_on"].as_str().unwrap().contains("replay: safe"), "{second}");
    let address = &first["replicas"][0];
    assert_eq!(address["queue"], 1, "{address}");
    assert!(address["cost"].as_f64().is_some_and(|cost| cost > 0.0) && address["first_byte_ms"].is_number());
}
