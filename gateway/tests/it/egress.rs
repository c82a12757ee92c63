//! Where the gateway connects (security section 3): some addresses never, private ones by permission,
//! judged on the very address.

use gateway::GatewayConfig;
use proto_shared::ProviderRoute;
use proto_shared::egress::EgressPolicy;
use proto_shared::snapshot::Origin;

use crate::harness::scripted::Scripted;
use crate::harness::*;

async fn forbidden(world: &World, base: &str) -> String {
    let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
    reply.assert_refusal(502, "upstream_forbidden");
    reply.json()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn some_addresses_are_never_connected_to_whatever_is_allowed() {
    for url in [
        "http://169.254.169.254/latest",
        "http://[fe80::1]:8000",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://100.100.100.200/",
        "http://[fd00:ec2::254]/",
        "http://0.0.0.0:8000",
        "http://[::]:8000",
        "http://224.0.0.1:8000",
        "http://255.255.255.255:8000",
        "http://127.0.0.1:2375",
        "http://127.0.0.1:2376",
        "http://127.0.0.1:10250",
    ] {
        let world = World::start(Routes::usual(url, "x/y")).await;
        for base in [PROVIDER, OPENAI] {
            let detail = forbidden(&world, base).await;
            assert!(detail.contains("default/p1"), "{detail}");
        }
    }
}

#[tokio::test]
async fn the_gateway_does_not_call_itself() {
    let world = World::start(Routes::new()).await;
    for address in [world.address, world.admin] {
        // Without this, every call would lead to the next.
        let base = "v2/workspaces/default/inference/gateway/provider/p1/-";
        world.publish(Routes::usual(&format!("http://{address}/{base}"), "x/y")).await;
        forbidden(&world, PROVIDER).await;
    }
}

/// A gateway that is not its operator's alone, with these permissions.
fn closed(allow: &'static [&'static str]) -> impl FnOnce(&mut GatewayConfig) {
    move |config| {
        let allow = allow.iter().map(|rule| rule.parse().unwrap()).collect();
        config.egress = EgressPolicy { allow_plaintext: true, allow, ..EgressPolicy::default() };
    }
}

#[tokio::test]
async fn private_addresses_need_a_permission_and_the_refusal_names_the_setting() {
    let upstream = Scripted::obliging().await;
    let localhost = format!("http://localhost:{}", upstream.address.port());
    for url in [&upstream.url(), &localhost] {
        let world = World::start_with(Routes::usual(url, "x/y"), closed(&[])).await;
        let detail = forbidden(&world, OPENAI).await;
        assert!(detail.contains("egress.allow"), "{detail}");
        let world = World::start_with(Routes::usual(url, "x/y"), closed(&["10.0.0.0/8", "other"])).await;
        forbidden(&world, OPENAI).await;
    }
    assert_eq!(upstream.connections(), 0);
    let world = World::start_with(Routes::usual(&upstream.url(), "x/y"), closed(&["127.0.0.0/8"])).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    let world = World::start_with(Routes::usual(&localhost, "x/y"), closed(&["localhost"])).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
}

#[tokio::test]
async fn what_the_registry_runs_itself_may_be_on_a_private_address_as_long_as_the_registry_says_so() {
    let upstream = Scripted::obliging().await;
    let deployed = |p: &mut ProviderRoute| p.origin = Origin::Deployment;
    let routes = || Routes::usual_with(&upstream.url(), "x/y", deployed);
    let strict = |config: &mut GatewayConfig| config.egress = EgressPolicy::default();
    let world = World::start_with(routes(), strict).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    world.publish(Routes::usual(&upstream.url(), "x/y")).await;
    forbidden(&world, OPENAI).await;
    world.publish(Routes::usual_with("http://169.254.169.254", "x/y", deployed)).await;
    forbidden(&world, OPENAI).await;
}

#[tokio::test]
async fn a_forbidden_candidate_gives_way_to_the_next() {
    let upstream = Scripted::obliging().await;
    let routes = Routes::new().provider("p1", "http://169.254.169.254").provider("p2", &upstream.url());
    let world = World::start(routes.model("m1", "x/y", &["p1", "p2"])).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
}

#[tokio::test]
async fn plain_http_to_a_public_address_would_show_the_key_and_needs_a_permission() {
    // Documentation addresses: nobody answers there.
    let closed = |config: &mut GatewayConfig| config.egress = EgressPolicy::default();
    let routes = Routes::usual_with("http://192.0.2.1", "x/y", |p| {
        p.api_key = Some(crate::harness::routes::sealed("sk-0123456789"));
        p.timeouts.connect_timeout_ms = 300;
    });
    let world = World::start_with(routes, closed).await;
    let detail = forbidden(&world, OPENAI).await;
    assert!(detail.contains("egress.allow_plaintext"), "{detail}");
}
