//! Registry and gateways as processes of their own: changes are usable at once where they were made and
//! soon everywhere, and nothing that is served depends on the registry being there.

use std::net::SocketAddr;
use std::path::PathBuf;

use integration_tests::client::{chat_body, stream_body};
use integration_tests::{Home, Process, Serving, eventually};
use nim_sim::{Sim, SimOptions};
use serde_json::json;

const PROVIDERS: &str = "/apis/models/v2/workspaces/default/providers";
const ANY_PORT: &str = "127.0.0.1:0";
const CHAT: &str = "/v1/chat/completions";

async fn sim(model: &str) -> Sim {
    Sim::start(SimOptions { models: vec![model.to_owned()], ..SimOptions::default() }).await.unwrap()
}

async fn create(gateway: &Serving, name: &str, sim: &Sim) {
    let body = json!({"name": name, "host_url": sim.url()});
    let reply = gateway.post(PROVIDERS, &body).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
}

fn provider_route(name: &str) -> String {
    format!("/v2/workspaces/default/inference/gateway/provider/{name}/-{CHAT}")
}

async fn chats(gateway: &Serving, path: &str, model: &str) -> Result<(), String> {
    let reply = gateway.post(path, &chat_body(model, "hi")).await.map_err(|e| e.to_string())?;
    if reply.status == 200 { Ok(()) } else { Err(reply.text()) }
}

/// A registry and two gateways, `m` served on both.
struct Cluster {
    home: Home,
    registry_address: SocketAddr,
    registry: Process,
    a: Serving,
    b: Serving,
    sim: Sim,
}

impl Cluster {
    async fn start() -> Self {
        let home = Home::new().await;
        let (registry_address, registry) = home.registry(ANY_PORT, &[]).await;
        let a = home.gateway("a", registry_address, &[]).await;
        let b = home.gateway("b", registry_address, &[]).await;
        let sim = sim("m").await;
        a.add_provider(&home, "first", &sim.url(), "m").await;
        b.serves("m").await;
        Self { home, registry_address, registry, a, b, sim }
    }

    /// Kills the registry and gateway A, whose routes are on disk by then.
    async fn kill_registry_and_a(&mut self) {
        let saved = async || {
            self.snapshot("json").is_some_and(|text| text.contains(r#""served_name":"m""#)).then_some(())
        };
        eventually("the routes are saved", saved).await;
        self.registry.kill().await;
        self.a.process.kill().await;
    }

    /// Where gateway A keeps its routes; the file is told apart by the port that was asked for.
    fn snapshot_path(&self, extension: &str) -> PathBuf {
        self.home.path().join("a").join("routes-0").with_extension(extension)
    }

    fn snapshot(&self, extension: &str) -> Option<String> {
        std::fs::read_to_string(self.snapshot_path(extension)).ok()
    }

    async fn restart_a(&mut self) {
        self.a = self.home.gateway("a", self.registry_address, &[]).await;
    }

    async fn restart_registry(&mut self) {
        let address = self.registry_address.to_string();
        (_, self.registry) = self.home.registry(&address, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_usable_in_the_next_request_where_it_was_made_and_soon_elsewhere() {
    let cluster = Cluster::start().await;
    for n in 0..20 {
        let name = format!("p{n}");
        create(&cluster.a, &name, &cluster.sim).await;
        chats(&cluster.a, &provider_route(&name), "m").await.unwrap();
    }
    let path = provider_route("p19");
    eventually("the other gateway routes to it", async || chats(&cluster.b, &path, "m").await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_provider_is_gone_in_the_next_request() {
    let cluster = Cluster::start().await;
    let args = ["provider", "delete", "first", "--url", &cluster.a.url()];
    cluster.home.run(args).await.expect_done();
    let path = provider_route("first");
    assert!(chats(&cluster.a, &path, "m").await.is_err());
    eventually("it is gone elsewhere", async || chats(&cluster.b, &path, "m").await.err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_serve_on_while_the_registry_is_dead_and_follow_it_when_it_is_back() {
    let mut cluster = Cluster::start().await;
    cluster.registry.kill().await;
    for gateway in [&cluster.a, &cluster.b] {
        chats(gateway, CHAT, "m").await.unwrap();
        assert_eq!(gateway.get("/health/ready").await.unwrap().status, 200);
    }
    let refused =
        cluster.a.post(PROVIDERS, &json!({"name": "x", "host_url": cluster.sim.url()})).await.unwrap();
    assert_eq!(refused.status, 503, "a change can't be made: {}", refused.text());
    assert!(refused.json()["error"]["message"].is_string(), "{}", refused.text());

    cluster.restart_registry().await;
    let second = sim("second").await;
    eventually("a change can be made again", async || {
        let args =
            ["provider", "create", "second", "--url", &second.url(), "--gateway-url", &cluster.a.url()];
        (cluster.home.run(args).await.code == Some(0)).then_some(())
    })
    .await;
    for gateway in [&cluster.a, &cluster.b] {
        gateway.serves("second").await;
        chats(gateway, CHAT, "second").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_boots_from_its_last_routes_while_the_registry_is_dead() {
    let mut cluster = Cluster::start().await;
    cluster.kill_registry_and_a().await;
    cluster.restart_a().await;
    chats(&cluster.a, CHAT, "m").await.unwrap();
    assert_eq!(cluster.a.get("/health/ready").await.unwrap().status, 200);

    cluster.restart_registry().await;
    let second = sim("second").await;
    eventually("changes flow again", async || {
        let args =
            ["provider", "create", "second", "--url", &second.url(), "--gateway-url", &cluster.b.url()];
        (cluster.home.run(args).await.code == Some(0)).then_some(())
    })
    .await;
    cluster.a.serves("second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_boots_from_the_routes_before_when_the_last_ones_are_damaged_or_half_saved() {
    let mut cluster = Cluster::start().await;
    cluster.kill_registry_and_a().await;
    let whole = cluster.snapshot("json").unwrap();
    for damaged in [Some(&whole[..whole.len() / 2]), Some(""), None] {
        std::fs::write(cluster.snapshot_path("previous"), &whole).unwrap();
        match damaged {
            Some(text) => std::fs::write(cluster.snapshot_path("json"), text).unwrap(),
            // As after a crash between the two renames of a save.
            None => std::fs::remove_file(cluster.snapshot_path("json")).unwrap(),
        }
        cluster.restart_a().await;
        let served = chats(&cluster.a, CHAT, "m").await;
        assert!(served.is_ok(), "with {damaged:?}: {served:?}");
        cluster.a.process.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_routes_listens_says_why_and_goes_on_trying() {
    let home = Home::new().await;
    let (address, mut registry) = home.registry(ANY_PORT, &[]).await;
    registry.kill().await;
    let gateway = home.gateway("a", address, &[]).await;
    let ready = gateway.get("/health/ready").await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("registry"), "{}", ready.text());
    assert_eq!(gateway.get("/health/live").await.unwrap().status, 200);
    assert_eq!(gateway.post(CHAT, &chat_body("m", "hi")).await.unwrap().status, 503);

    let (_, _registry) = home.registry(&address.to_string(), &[]).await;
    let ready =
        async || gateway.get("/health/ready").await.is_ok_and(|reply| reply.status == 200).then_some(());
    eventually("it is ready", ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_is_there_after_kill_dash_nine() {
    let home = Home::new().await;
    let sim = sim("m").await;
    let mut first = home.up(&[]).await;
    first.add_provider(&home, "sim", &sim.url(), "m").await;
    first.process.kill().await;
    let second = home.up(&[]).await;
    second.serves("m").await;
    chats(&second, CHAT, "m").await.unwrap();
    let streamed = second.post(CHAT, &stream_body("m", "hi")).await.unwrap();
    assert!(streamed.text().ends_with("data: [DONE]\n\n"), "{}", streamed.text());
}
