//! Upstreams that can't be reached or give no answer: who is asked next, what the client is told, and
//! that nothing is executed twice (security section 9).

use proto_shared::snapshot::Replay;

use crate::harness::full_queue::{FullQueue, refusing_url};
use crate::harness::h2_client::{self, H2Client};
use crate::harness::scripted::{SOON, Scripted, json_reply};
use crate::harness::tls::Authority;
use crate::harness::*;

const SOON_MS: u64 = SOON.as_millis() as u64;

/// Model `m1`, served by providers at these URLs in this order.
fn candidates(urls: &[&str]) -> Routes {
    let names: Vec<String> = (1..=urls.len()).map(|n| format!("p{n}")).collect();
    let routes =
        urls.iter().zip(&names).fold(Routes::new(), |routes, (url, name)| routes.provider(name, url));
    routes.model("m1", "x/y", &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// An upstream that reads `swallowed` requests per connection, after `answered` good ones, and closes.
async fn closing_after(answered: usize) -> Scripted {
    Scripted::start(move |mut line| async move {
        for _ in 0..answered {
            if line.request().await.is_none() {
                return;
            }
            line.write(json_reply("1")).await;
        }
        line.request().await;
    })
    .await
}

#[tokio::test]
async fn a_refused_connection_is_a_502_that_names_the_provider() {
    let world = World::start(candidates(&[&refusing_url().await])).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        reply.assert_refusal(502, "upstream_connect");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("default/p1") && detail.contains("refused"), "{detail}");
    }
    world.settled().await;
}

#[tokio::test]
async fn the_next_candidate_is_asked_when_one_can_not_be_reached() {
    let good = Scripted::answering(json_reply(r#"{"model":"x/y"}"#)).await;
    let (refusing, full) = (refusing_url().await, FullQueue::new());
    let routes = Routes::new()
        .provider("p1", &refusing)
        .provider_with("p2", &full.url(), |p| p.timeouts.connect_timeout_ms = SOON_MS)
        .provider("p3", &good.url())
        .model("m1", "x/y", &["p1", "p2", "p3"]);
    let world = World::start(routes).await;
    for base in [MODEL, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        assert_eq!((reply.status, &*reply.text()), (200, r#"{"model":"default/m1"}"#));
    }
    // A body that streams through was not touched yet, so it goes along.
    let multipart =
        Ask::new("POST", &format!("{MODEL}v1/files")).header("content-type", "multipart/form-data");
    let reply = world.ask(multipart.body(vec![b'x'; 300_000])).await;
    assert_eq!(reply.status, 200);
    assert_eq!(good.heard().pop().unwrap().body.len(), 300_000);
    // The provider route names one provider: there is no other.
    world.post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).await.assert_refusal(502, "upstream_connect");
    world.settled().await;
}

#[tokio::test]
async fn attempts_are_bounded() {
    let good = Scripted::obliging().await;
    let refusing = refusing_url().await;
    let urls = [&*refusing, &refusing, &refusing, &good.url()];
    let world = World::start(candidates(&urls)).await;
    world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.assert_refusal(502, "upstream_connect");
    assert_eq!(good.connections(), 0, "three attempts are enough");
    let world = World::limited(candidates(&urls), |limits| limits.attempts_max = 4).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
}

#[tokio::test]
async fn a_host_without_an_address_is_a_502() {
    // Reserved: no such name exists anywhere.
    let routes =
        Routes::usual_with("http://provider.invalid", "x/y", |p| p.timeouts.connect_timeout_ms = 1_000);
    let world = World::start(routes).await;
    world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.assert_refusal(502, "upstream_dns");
    world.settled().await;
}

#[tokio::test]
async fn a_name_is_connected_to_by_its_address() {
    let upstream = Scripted::obliging().await;
    let url = format!("http://localhost:{}/v1", upstream.address.port());
    let world = World::start(Routes::usual(&url, "x/y")).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    assert_eq!(upstream.heard()[0].header("host"), Some(&*format!("localhost:{}", upstream.address.port())));
}

#[tokio::test]
async fn connecting_has_a_time_limit() {
    let full = FullQueue::new();
    let routes = Routes::usual_with(&full.url(), "x/y", |p| p.timeouts.connect_timeout_ms = SOON_MS);
    let world = World::start(routes).await;
    for base in [PROVIDER, OPENAI] {
        world.post(&format!("{base}{CHAT}"), CHAT_BODY).await.assert_refusal(504, "upstream_timeout");
    }
    world.settled().await;
}

#[tokio::test]
async fn a_silent_upstream_is_given_up_after_the_first_byte_limit_and_nobody_else_asked() {
    let silent = Scripted::start(|mut line| async move {
        line.request().await;
        line.hang().await;
    })
    .await;
    let other = Scripted::obliging().await;
    let routes = Routes::new()
        .provider_with("p1", &silent.url(), |p| {
            p.timeouts.first_byte_timeout_ms = SOON_MS;
        })
        .provider("p2", &other.url())
        .model("m1", "x/y", &["p1", "p2"]);
    let world = World::start(routes).await;
    for (n, ask) in
        [Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY), Ask::post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY)]
            .into_iter()
            .enumerate()
    {
        world.ask(ask).await.assert_refusal(504, "upstream_timeout");
        assert_eq!(silent.heard().len(), n + 1);
    }
    silent.left_alone().await;
    assert_eq!(other.connections(), 0, "the first may still be working on it");
    world.settled().await;
}

#[tokio::test]
async fn an_answer_that_never_comes_to_its_end_is_given_up() {
    let stuck = Scripted::start(|mut line| async move {
        line.request().await;
        line.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{").await;
        line.hang().await;
    })
    .await;
    for change in
        [(|p: &mut proto_shared::ProviderRoute| p.timeouts.idle_timeout_ms = SOON_MS) as fn(&mut _), |p| {
            p.timeouts.total_timeout_ms = SOON_MS
        }]
    {
        let world = World::start(Routes::usual_with(&stuck.url(), "x/y", change)).await;
        world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.assert_refusal(504, "upstream_timeout");
        stuck.left_alone().await;
        world.settled().await;
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_executed_is_not_sent_again() {
    let other = Scripted::obliging().await;
    for answered in [0, 1] {
        // On a new connection, and on one that was used before.
        let upstream = closing_after(answered).await;
        let world = World::start(candidates(&[&upstream.url(), &other.url()])).await;
        for _ in 0..answered {
            assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
        }
        for base in [OPENAI, PROVIDER] {
            let before = upstream.heard().len();
            let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
            if reply.status != 200 {
                reply.assert_refusal(502, "upstream_ambiguous");
            }
            assert_eq!(upstream.heard().len(), before + 1, "sent once, whatever became of it");
        }
        world.settled().await;
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_post_to_a_provider_that_may_be_asked_twice_goes_to_the_next() {
    let (upstream, other) = (closing_after(0).await, Scripted::obliging().await);
    let routes = Routes::new()
        .provider_with("p1", &upstream.url(), |p| p.replay = Replay::Safe)
        .provider("p2", &other.url())
        .model("m1", "x/y", &["p1", "p2"]);
    let world = World::start(routes).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    assert_eq!((upstream.heard().len(), other.heard().len()), (1, 1));
    assert_eq!(other.heard()[0].body, CHAT_BODY.replace("m1", "x/y").as_bytes(), "the whole body again");
}

#[tokio::test]
async fn a_get_goes_to_the_next_as_well() {
    let (upstream, other) = (closing_after(0).await, Scripted::obliging().await);
    let world = World::start(candidates(&[&upstream.url(), &other.url()])).await;
    for method in ["GET", "OPTIONS"] {
        assert_eq!(world.ask(Ask::new(method, &format!("{MODEL}v1/x"))).await.status, 200, "{method}");
    }
    assert_eq!((upstream.heard().len(), other.heard().len()), (2, 2));
    for method in ["DELETE", "PUT"] {
        let (upstream, other) = (closing_after(0).await, Scripted::obliging().await);
        let world = World::start(candidates(&[&upstream.url(), &other.url()])).await;
        world.ask(Ask::new(method, &format!("{MODEL}v1/x"))).await.assert_refusal(502, "upstream_ambiguous");
        assert_eq!((upstream.heard().len(), other.heard().len()), (1, 0));
    }
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_replaced_where_that_is_harmless() {
    for (replay, ask) in [
        (Replay::Never, Ask::get(&format!("{PROVIDER}v1/x"))),
        (Replay::Safe, Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY)),
    ] {
        let upstream = closing_after(1).await;
        let routes = Routes::usual_with(&upstream.url(), "x/y", |p| p.replay = replay);
        let world = World::start(routes).await;
        for n in 1..=3 {
            // From the second on, the pooled connection swallows the request and closes.
            let reply = world.ask(ask.clone()).await;
            assert_eq!((reply.status, &*reply.text()), (200, "1"), "request {n}");
        }
        world.settled().await;
    }
}

#[tokio::test]
async fn a_connection_the_upstream_closed_while_idle_is_no_clients_problem() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        // Says nothing of it.
        line.write(json_reply("1")).await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = world.connect().await;
    for n in 1..=10 {
        for base in [OPENAI, PROVIDER] {
            let reply = client.ask(&Ask::post(&format!("{base}{CHAT}"), CHAT_BODY)).await;
            assert_eq!((reply.status, &*reply.text()), (200, "1"), "request {n}");
            upstream.left_alone().await;
        }
    }
    assert_eq!(upstream.heard().len(), 20);
}

#[tokio::test]
async fn idle_connections_are_closed_before_the_upstream_would() {
    let upstream = Scripted::obliging().await;
    let routes = Routes::usual_with(&upstream.url(), "x/y", |p| p.timeouts.pool_idle_timeout_ms = SOON_MS);
    let world = World::start(routes).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    upstream.left_alone().await;
}

#[tokio::test]
async fn idle_connections_are_bounded() {
    let upstream = Scripted::obliging().await;
    let routes = Routes::usual_with(&upstream.url(), "x/y", |p| p.timeouts.pool_idle_timeout_ms = 600_000);
    let world = World::limited(routes, |limits| limits.pool_idle_per_endpoint_max = 2).await;
    let mut clients = vec![];
    for _ in 0..6 {
        let mut client = world.connect().await;
        let head = Ask::new("POST", &format!("{PROVIDER}x")).header("content-length", "1").head();
        client.send(head).await;
        clients.push(client);
    }
    upstream.accepted(6).await;
    for client in &mut clients {
        client.send("x").await;
        assert_eq!(client.reply().await.status, 200);
    }
    eventually("two stay", || upstream.open() == 2).await;
}

#[tokio::test]
async fn the_last_candidates_answer_passes_whatever_its_status() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let world = World::start(candidates(&[&sim.url()])).await;
    for status in [400, 401, 403, 404, 408, 409, 413, 422, 425, 429, 500, 501, 502, 503, 504, 529] {
        for base in [MODEL, OPENAI] {
            let fault = format!("status={status},retry-after=7");
            let reply = world.ask(Ask::post(&format!("{base}{CHAT}"), CHAT_BODY).fault(&fault)).await;
            assert_eq!((reply.status, reply.header("retry-after")), (status, Some("7")));
            let error = &reply.json()["error"];
            assert_eq!((&error["type"], &error["code"]), (&"SimulatedFault".into(), &status.into()));
            assert!(reply.json().get("detail").is_none(), "it is the upstream's body");
        }
    }
    assert_eq!(sim.requests().len(), 32);
}

#[tokio::test]
async fn nothing_is_executed_twice_by_an_upstream_that_dies_under_load() {
    let upstream = closing_after(3).await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut sent = 0;
    let mut failed = 0;
    for _ in 0..40 {
        let id = format!("job-{sent}");
        let reply = world.ask(Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).header("x-job", &id)).await;
        sent += 1;
        if reply.status != 200 {
            reply.assert_refusal(502, "upstream_ambiguous");
            failed += 1;
        }
    }
    let mut jobs: Vec<String> =
        upstream.heard().iter().map(|heard| heard.header("x-job").unwrap().to_owned()).collect();
    jobs.sort();
    jobs.dedup();
    assert_eq!((upstream.heard().len(), jobs.len()), (sent, sent), "each once");
    assert!(failed > 0, "the upstream did close on some");
}

#[tokio::test]
async fn an_upstream_that_breaks_an_upload_off_is_a_502_and_the_upload_is_not_sent_again() {
    let upstream = Scripted::start(|mut line| async move {
        line.head().await;
        line.wire.until("begin").await;
        line.reset();
    })
    .await;
    let body = format!("begin{}", "x".repeat(5_000_000));
    for (n, base) in [PROVIDER, MODEL].into_iter().enumerate() {
        let other = Scripted::obliging().await;
        let world = World::start(candidates(&[&upstream.url(), &other.url()])).await;
        let ask =
            Ask::new("POST", &format!("{base}v1/files")).header("content-type", "audio/wav").body(&body);
        world.ask(ask.clone()).await.assert_refusal(502, "upstream_ambiguous");
        world.ask(ask.chunked(50_000)).await.assert_refusal(502, "upstream_ambiguous");
        let mut client = H2Client::connect(world.address).await;
        let request = h2_client::get(&format!("{base}v1/files")).method("POST");
        let reply = client.ask(request, body.clone()).await;
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (502, &"upstream_ambiguous".into()));
        assert_eq!((upstream.connections(), other.connections()), (3 * (n + 1), 0));
        world.settled().await;
    }
}

#[tokio::test]
async fn providers_share_no_connections_even_at_one_address() {
    let authority = Authority::new();
    let plain = nim_sim::Sim::start(nim_sim::SimOptions::default()).await.unwrap();
    let options = nim_sim::SimOptions { tls: Some(authority.pair()), ..Default::default() };
    let tls = nim_sim::Sim::start(options).await.unwrap();
    for sim in [&plain, &tls] {
        let files = tempfile::tempdir().unwrap();
        let root = authority.root_in(files.path());
        let routes = Routes::new().provider("p1", &sim.url()).provider("p2", &sim.url());
        let world = World::start_with(routes, |config| config.upstream_ca = Some(root)).await;
        for _ in 0..3 {
            for name in ["p1", "p2"] {
                assert_eq!(
                    world.get(&format!("{}v1/models", PROVIDER.replace("p1", name))).await.status,
                    200
                );
            }
        }
        let of = |parity: usize| {
            let seen = sim.requests();
            let mut connections: Vec<u64> =
                seen.iter().skip(parity).step_by(2).map(|request| request.connection).collect();
            connections.dedup();
            connections
        };
        let (first, second) = (of(0), of(1));
        assert_eq!((first.len(), second.len()), (1, 1), "each uses its own again");
        assert_ne!(first, second);
    }
}
