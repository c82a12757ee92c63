//! Virtual models through the gateway: what they stand for is in force in the very next request.

use http::Method;
use integration_tests::client::{self, Reply, chat_body};
use integration_tests::{Home, Serving, eventually};
use nim_sim::{Sim, SimOptions};
use serde_json::{Value, json};

const VIRTUAL: &str = "/apis/inference-gateway/v2/workspaces/default/virtual-models";
const MODELS: &str = "/apis/models/v2/workspaces/default/models";
const PROVIDERS: &str = "/apis/models/v2/workspaces/default/providers";
const CHAT: &str = "/v1/chat/completions";

async fn serving(models: &[&str]) -> (Home, Serving, Sim) {
    let home = Home::new().await;
    let up = home.up(&[]).await;
    let models = models.iter().map(|id| (*id).to_owned()).collect();
    let sim = Sim::start(SimOptions { models, ..SimOptions::default() }).await.unwrap();
    let reply = up.post(PROVIDERS, &json!({"name": "p1", "host_url": sim.url()})).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text());
    let is_ready =
        async || up.get(&format!("{PROVIDERS}/p1")).await.ok()?.json()["served_models"].get(0).map(drop);
    eventually("its models are found", is_ready).await;
    eventually("and routed", async || (listed(&up).await.len() == 2).then_some(())).await;
    (home, up, sim)
}

async fn call(up: &Serving, method: Method, path: &str, body: Option<Value>) -> Reply {
    let reply = client::send(up.address, client::request(method, path, body.as_ref())).await.unwrap();
    assert!(reply.status.is_success(), "{path}: {}", reply.text());
    reply
}

async fn listed(up: &Serving) -> Vec<String> {
    let list = up.get("/v1/models").await.unwrap().json();
    let ids = list["data"].as_array().unwrap().iter();
    ids.map(|card| card["id"].as_str().unwrap().to_owned()).collect()
}

/// Status, and the model that the answer names or the error's code.
async fn chat(up: &Serving, model: &str) -> (u16, String) {
    let reply = up.post(CHAT, &chat_body(model, "hi")).await.unwrap();
    let body = reply.json();
    let word = body["model"].as_str().or(body["error"]["code"].as_str()).unwrap_or_default();
    (reply.status.as_u16(), word.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_virtual_model_is_in_force_in_the_next_request() {
    let (_home, up, _sim) = serving(&["meta/llama", "tiny"]).await;
    assert_eq!(listed(&up).await, ["default/tiny", "default/meta-llama"], "newest first");

    let chat_model = json!({"name": "chat", "default_model_entity": "default/meta-llama"});
    call(&up, Method::POST, VIRTUAL, Some(chat_model)).await;
    assert_eq!(chat(&up, "chat").await, (200, "default/chat".into()));
    assert_eq!(listed(&up).await[0], "default/chat");
    assert_eq!(
        chat(&up, "meta/llama").await,
        (200, "default/meta-llama".into()),
        "upstream ids keep their name"
    );

    let path = format!("{VIRTUAL}/chat");
    call(&up, Method::PATCH, &path, Some(json!({"default_model_entity": "default/nobody"}))).await;
    assert_eq!(chat(&up, "chat").await, (404, "model_not_served".into()));
    let guard = json!({"request_middleware": [{"name": "guard", "config_type": "t"}]});
    call(&up, Method::PATCH, &path, Some(guard)).await;
    assert_eq!(chat(&up, "chat").await, (501, "middleware_unsupported".into()));
    call(&up, Method::DELETE, &path, None).await;
    assert_eq!(chat(&up, "chat").await, (404, "model_not_found".into()));
    assert_eq!(chat(&up, "Chat").await, (422, "invalid_model".into()));

    let guard = json!({"response_middleware": [{"name": "guard", "config_type": "t"}]});
    call(&up, Method::PATCH, &format!("{VIRTUAL}/meta-llama"), Some(guard)).await;
    assert_eq!(chat(&up, "meta/llama").await.0, 501, "nor is there a way round it");
    let direct = format!("/v2/workspaces/default/inference/gateway/provider/p1/-{CHAT}");
    assert_eq!(up.post(&direct, &chat_body("meta/llama", "hi")).await.unwrap().status, 200);
    assert_eq!(chat(&up, "tiny").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_model_says_which_provider_answers_the_next_request() {
    let (_home, up, first) = serving(&["meta/llama", "tiny"]).await;
    let models = vec!["tiny".to_owned()];
    let second = Sim::start(SimOptions { models, ..SimOptions::default() }).await.unwrap();
    call(&up, Method::POST, PROVIDERS, Some(json!({"name": "p2", "host_url": second.url()}))).await;
    let path = format!("{MODELS}/tiny");
    let both =
        async || (up.get(&path).await.ok()?.json()["model_providers"].as_array()?.len() == 2).then_some(());
    eventually("both serve it", both).await;

    let requests = |sim: &Sim| sim.requests().iter().filter(|request| request.path() == CHAT).count();
    for (wish, sim) in [("default/p2", &second), ("default/p1", &first), ("default/p2", &second)] {
        call(&up, Method::PATCH, &path, Some(json!({"model_providers": [wish]}))).await;
        let before = requests(sim);
        assert_eq!(chat(&up, "tiny").await.0, 200);
        assert_eq!(requests(sim), before + 1, "{wish}");
    }
    call(&up, Method::DELETE, &path, None).await;
    assert_eq!(chat(&up, "tiny").await.0, 404);
    let back = async || (chat(&up, "meta-llama").await.0 == 200).then_some(());
    eventually("the others are served on", back).await;
}
