//! TLS on both sides: ALPN to clients, a private authority towards upstreams.

use bytes::BytesMut;
use gateway::StartError;

use crate::harness::h2_client::{self, H2Client, collect};
use crate::harness::paced::Paced;
use crate::harness::raw::RawClient;
use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::tls::Authority;
use crate::harness::*;

/// A gateway with TLS listeners in front of `url`.
async fn tls_world(authority: &Authority, url: &str) -> World {
    let files = tempfile::tempdir().unwrap();
    let tls = authority.files_in(files.path());
    World::start_with(Routes::usual(url, "x/y"), |config| config.tls = Some(tls)).await
}

/// A simulated NIM behind TLS, and a gateway that trusts `root`.
async fn tls_upstream(authority: &Authority, root: &Authority) -> (nim_sim::Sim, World) {
    let options =
        nim_sim::SimOptions { tls: Some(authority.pair()), models: vec!["x/y".into()], ..Default::default() };
    let sim = nim_sim::Sim::start(options).await.unwrap();
    let world = trusting(Routes::usual(&sim.url(), "x/y"), root).await;
    (sim, world)
}

async fn trusting(routes: Routes, root: &Authority) -> World {
    let files = tempfile::tempdir().unwrap();
    let root = root.root_in(files.path());
    World::start_with(routes, |config| config.upstream_ca = Some(root)).await
}

#[tokio::test]
async fn alpn_chooses_between_http2_and_http1() {
    let upstream = Scripted::obliging().await;
    let authority = Authority::new();
    let world = tls_world(&authority, &upstream.url()).await;
    for offered in [&["h2", "http/1.1"][..], &["h2"]] {
        let stream = authority.connect(world.address, offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut client = H2Client::over(stream).await;
        let reply = client.ask(h2_client::post(&format!("{OPENAI}{CHAT}")), CHAT_BODY).await;
        assert_eq!((reply.status, &*reply.text()), (200, "{}"));
    }
    for offered in [&["http/1.1"][..], &[]] {
        let stream = authority.connect(world.address, offered).await;
        let mut client = RawClient::over(stream);
        for _ in 0..2 {
            let reply = client.ask(&Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY)).await;
            assert_eq!((reply.status, &*reply.text()), (200, "{}"));
        }
    }
    world.settled().await;
}

#[tokio::test]
async fn large_bodies_cross_tls_in_both_directions() {
    let body = format!(r#"{{"model":"m1","padding":"{}"}}"#, "x".repeat(1_000_000));
    let reply_body = format!(r#"{{"model":"x/y","padding":"{}"}}"#, "y".repeat(1_000_000));
    let upstream = Scripted::answering(json_reply(&reply_body)).await;
    let authority = Authority::new();
    let world = tls_world(&authority, &upstream.url()).await;
    let mut h1 = RawClient::over(authority.connect(world.address, &["http/1.1"]).await);
    let mut h2 = H2Client::over(authority.connect(world.address, &["h2"]).await).await;
    for base in [PROVIDER, OPENAI] {
        let model = if base == PROVIDER { "x/y" } else { "default/m1" };
        let expected = reply_body.replace("x/y", model);
        let reply = h1.ask(&Ask::post(&format!("{base}{CHAT}"), &body)).await;
        assert!(reply.whole && reply.body == expected.as_bytes(), "{base}");
        let reply = h2.ask(h2_client::post(&format!("{base}{CHAT}")), body.clone()).await;
        assert!(reply.error.is_none() && reply.body == expected.as_bytes(), "{base}, h2");
        assert_eq!(upstream.heard().pop().unwrap().body.len(), body.len() + usize::from(base == OPENAI));
    }
}

#[tokio::test]
async fn each_piece_of_a_stream_leaves_through_tls_before_the_next_one_comes() {
    let pieces = ["data: 1\n\n", "data: 2", "\n\n", "data: [DONE]\n\n"];
    let paced = Paced::stream(&pieces).await;
    let authority = Authority::new();
    let world = tls_world(&authority, &paced.upstream.url()).await;
    let mut h1 = RawClient::over(authority.connect(world.address, &["http/1.1"]).await);
    h1.send(Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).encode()).await;
    paced.step();
    h1.head().await;
    for piece in pieces {
        paced.step();
        h1.until(piece).await;
    }
    paced.step();
    h1.until("0\r\n\r\n").await;

    let mut h2 = H2Client::over(authority.connect(world.address, &["h2"]).await).await;
    paced.step();
    let mut answer = h2.start(h2_client::post(&format!("{OPENAI}{CHAT}")), STREAM_BODY).await;
    for piece in pieces {
        paced.step();
        h2_client::until(answer.body_mut(), &mut BytesMut::new(), piece).await;
    }
    paced.step();
    assert!(collect(answer).await.error.is_none());
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_dropped_without_an_answer() {
    let world = tls_world(&Authority::new(), "http://127.0.0.1:9").await;
    let mut client = world.connect().await;
    client.send("GET /health/live HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (rest, _) = client.rest().await;
    assert!(!rest.starts_with(b"HTTP/"), "{rest:?}");
}

#[tokio::test]
async fn an_upstream_is_spoken_to_in_http2_when_it_offers_it() {
    let authority = Authority::new();
    let (sim, world) = tls_upstream(&authority, &authority).await;
    for _ in 0..3 {
        for base in [MODEL, OPENAI] {
            let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
            assert_eq!((reply.status, &reply.json()["model"]), (200, &"default/m1".into()));
        }
    }
    let seen = sim.requests();
    assert!(seen.iter().all(|request| request.version == http::Version::HTTP_2));
    assert!(seen.iter().all(|request| request.target == "/v1/chat/completions"));
    assert!(seen.iter().all(|request| request.connection == 1), "one connection serves them all");
    assert_eq!(seen[0].header("host").unwrap_or(&sim.addr().to_string()), sim.addr().to_string());
    world.settled().await;
}

#[tokio::test]
async fn bodies_of_all_sizes_reach_an_http2_upstream() {
    let authority = Authority::new();
    let (sim, world) = tls_upstream(&authority, &authority).await;
    for size in [0, 1, 16_385, 65_537, 1_000_000] {
        let body: Vec<u8> = (0..size).map(|n| n as u8).collect();
        for chunk_bytes in [None, Some(7000)] {
            let ask = Ask::new("PUT", &format!("{PROVIDER}echo/x?a=1&a=2")).body(&body);
            let reply = world.ask(chunk_bytes.map_or(ask.clone(), |bytes| ask.chunked(bytes))).await;
            assert_eq!((reply.status, &reply.json()["body_len"]), (200, &size.into()), "{}", reply.text());
            let arrived = sim.requests().pop().unwrap();
            assert!(arrived.body == body && arrived.target == "/echo/x?a=1&a=2" && arrived.method == "PUT");
        }
        sim.clear();
    }
}

#[tokio::test]
async fn streams_trailers_and_cuts_of_an_http2_upstream_arrive() {
    let authority = Authority::new();
    let (_sim, world) = tls_upstream(&authority, &authority).await;
    let reply = world.ask(Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).fault("split=3")).await;
    assert!(reply.whole && reply.text().ends_with("data: [DONE]\n\n"));
    assert!(reply.text().contains("default/m1") && !reply.text().contains("x/y"));
    let reply = world.ask(Ask::get(&format!("{PROVIDER}v1/models")).header("x-sim-trailers", "1")).await;
    assert_eq!((reply.status, &*reply.trailers), (200, "x-sim-trailer: done\n"));
    for fault in ["cut-after=300", "reset-after=300"] {
        let reply = world.ask(Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).fault(fault)).await;
        assert!(!reply.whole && reply.text().contains("upstream_incomplete"), "{fault}: {}", reply.text());
        assert!(!reply.text().contains("[DONE]"));
    }
    let ask = Ask::new("HEAD", &format!("{PROVIDER}v1/models"));
    assert_eq!(world.ask(ask).await.status, 200);
    world.settled().await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_stream_at_an_http2_upstream_and_no_other() {
    let authority = Authority::new();
    let (sim, world) = tls_upstream(&authority, &authority).await;
    let staying = Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).fault("tokens=30,token-ms=10");
    let mut stays = world.connect().await;
    stays.send(staying.encode()).await;
    stays.until("data: ").await;
    for fault in ["hang", "token-ms=10000,tokens=3"] {
        let mut leaves = world.connect().await;
        leaves.send(Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).fault(fault).encode()).await;
        sim.wait_for(|seen| seen.last().is_some_and(|r| r.header("x-sim-fault") == Some(fault)), DEADLINE)
            .await
            .unwrap();
        drop(leaves);
        let left = |seen: &[nim_sim::Recorded]| {
            seen.iter().any(|r| r.header("x-sim-fault") == Some(fault) && r.client_left())
        };
        sim.wait_for(left, DEADLINE).await.unwrap();
    }
    assert!(stays.until("\r\n0\r\n\r\n").await.contains("[DONE]"));
    assert_eq!(sim.stats().accepted_connections, 1);
    world.settled().await;
}

#[tokio::test]
async fn an_upstream_that_offers_only_http1_is_spoken_to_in_it_and_its_connection_kept() {
    let authority = Authority::new();
    for offered in [&["http/1.1"][..], &[]] {
        let acceptor = authority.acceptor(offered);
        let upstream = Scripted::over(
            move |stream| {
                let acceptor = acceptor.clone();
                async move { acceptor.accept(stream).await.ok() }
            },
            |mut line| async move {
                while line.request().await.is_some() {
                    line.write(json_reply(r#"{"model":"x/y"}"#)).await;
                }
            },
        )
        .await;
        let url = format!("https://localhost:{}", upstream.address.port());
        let world = trusting(Routes::usual(&url, "x/y"), &authority).await;
        for _ in 0..3 {
            let reply = world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await;
            assert_eq!((reply.status, &*reply.text()), (200, r#"{"model":"default/m1"}"#));
        }
        assert_eq!(upstream.heard()[0].header("host"), Some(&url["https://".len()..]));
        assert_eq!(upstream.connections(), 1);
    }
}

#[tokio::test]
async fn an_upstream_with_a_certificate_of_another_authority_is_not_spoken_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (sim, world) = tls_upstream(&authority, &other).await;
    for base in [PROVIDER, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        reply.assert_refusal(502, "upstream_connect");
        assert!(reply.json()["detail"].as_str().unwrap().contains("TLS"), "{}", reply.text());
    }
    assert_eq!(sim.requests().len(), 0);
}

/// Runs the test `name` of this file in a process of its own, with other trusted roots of the system.
fn in_a_process_with_roots(name: &str, roots: &std::path::Path) {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("tls::{name}"), "--ignored", "--test-threads=1"]);
    let output = command.env("SSL_CERT_FILE", roots).env_remove("SSL_CERT_DIR").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn the_operators_roots_join_the_systems() {
    let files = tempfile::tempdir().unwrap();
    let system = Authority::new();
    system.files_in(files.path());
    in_a_process_with_roots("both_authorities_are_trusted", &system.root_in(files.path()));
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn both_authorities_are_trusted() {
    let root = std::path::PathBuf::from(std::env::var_os("SSL_CERT_FILE").unwrap());
    let system = Authority::from_folder(root.parent().unwrap());
    let operator = Authority::new();
    for authority in [&system, &operator] {
        let (_sim, world) = tls_upstream(authority, &operator).await;
        assert_eq!(world.get(&format!("{PROVIDER}v1/models")).await.status, 200);
    }
    let (_sim, world) = tls_upstream(&Authority::new(), &operator).await;
    assert_eq!(world.get(&format!("{PROVIDER}v1/models")).await.status, 502);
}

#[test]
fn a_system_without_roots_is_no_reason_not_to_start() {
    let missing = tempfile::tempdir().unwrap().path().join("none.pem");
    in_a_process_with_roots("plain_upstreams_and_those_of_the_operators_roots_work", &missing);
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn plain_upstreams_and_those_of_the_operators_roots_work() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    assert_eq!(world.get(&format!("{PROVIDER}v1/models")).await.status, 200);
    let authority = Authority::new();
    let (_sim, world) = tls_upstream(&authority, &authority).await;
    assert_eq!(world.get(&format!("{PROVIDER}v1/models")).await.status, 200);
}

#[tokio::test]
async fn an_upstream_with_a_certificate_for_another_name_is_not_spoken_to() {
    let authority = Authority::new();
    let options = nim_sim::SimOptions { tls: Some(authority.pair()), ..Default::default() };
    let sim = nim_sim::Sim::start(options).await.unwrap();
    // 127.0.0.2 reaches the same machine; the certificate is for 127.0.0.1.
    let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = sim.addr();
    let carrying = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    let world = trusting(Routes::usual(&format!("https://{address}"), "x/y"), &authority).await;
    world.get(&format!("{PROVIDER}v1/models")).await.assert_refusal(502, "upstream_connect");
    assert_eq!(sim.requests().len(), 0);
    carrying.abort();
}

#[tokio::test]
async fn files_that_can_not_be_used_are_an_error_that_names_them() {
    let authority = Authority::new();
    let other = Authority::new();
    type Change = Box<dyn FnOnce(&mut gateway::GatewayConfig)>;
    let files = tempfile::tempdir().unwrap();
    let good = authority.files_in(files.path());
    let missing = files.path().join("missing.pem");
    let empty = files.path().join("empty.pem");
    let odd_key = files.path().join("other-key.pem");
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&odd_key, &other.key).unwrap();
    let tls = |certificate: &std::path::Path, key: &std::path::Path| -> Change {
        let files = gateway::TlsFiles { certificate: certificate.into(), key: key.into() };
        Box::new(move |config| config.tls = Some(files))
    };
    let ca = |path: &std::path::Path| -> Change {
        let path = path.to_owned();
        Box::new(move |config| config.upstream_ca = Some(path))
    };
    let damaged = files.path().join("damaged.pem");
    std::fs::write(&damaged, "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n").unwrap();
    for (change, names) in [
        (tls(&missing, &good.key), "missing.pem"),
        (tls(&good.certificate, &missing), "missing.pem"),
        (tls(&empty, &good.key), "empty.pem"),
        (tls(&good.certificate, &empty), "empty.pem"),
        (tls(&good.certificate, &good.certificate), "certificate.pem"),
        (tls(&good.certificate, &odd_key), "belong together"),
        (ca(&missing), "missing.pem"),
        (ca(&empty), "empty.pem"),
        (ca(&good.key), "key.pem"),
        (ca(&damaged), "damaged.pem"),
    ] {
        let error = match World::in_folder(tempfile::tempdir().unwrap(), change).await {
            Err(error) => error,
            Ok(_) => panic!("it started: {names}"),
        };
        assert!(matches!(error, StartError::Tls(_) | StartError::Roots(_)), "{error:?}");
        assert!(error.to_string().contains(names), "{error} does not name {names}");
    }
}

#[tokio::test]
async fn a_reloaded_certificate_serves_new_connections_and_old_ones_go_on() {
    let upstream = Scripted::obliging().await;
    let (first, second) = (Authority::new(), Authority::new());
    let files = tempfile::tempdir().unwrap();
    let tls = first.files_in(files.path());
    let folder = tempfile::tempdir().unwrap();
    let registry = fake_registry::FakeRegistry::start(&folder.path().join("registry.sock"));
    let mut config = config(folder.path());
    config.tls = Some(tls);
    let gateway = gateway::Gateway::bind(config, master_key(), None).await.unwrap();
    let (address, handle, app) = (gateway.addresses()[0], gateway.handle(), gateway.app());
    let (_stop, stopping) = tokio::sync::watch::channel(gateway::Stop::Run);
    let running = tokio::spawn(gateway.run(stopping));
    registry.push(&Routes::usual(&upstream.url(), "x/y").snapshot(1));
    assert!(app.routes.wait_for(1, DEADLINE).await);
    let mut old = RawClient::over(first.connect(address, &["http/1.1"]).await);
    assert_eq!(old.ask(&Ask::get("/health/live")).await.status, 200);

    std::fs::write(files.path().join("key.pem"), "not a key").unwrap();
    assert!(handle.reload_certificate().is_err(), "a bad pair is refused");
    first.connect(address, &["h2"]).await;

    second.files_in(files.path());
    handle.reload_certificate().unwrap();
    let mut new = RawClient::over(second.connect(address, &["http/1.1"]).await);
    assert_eq!(new.ask(&Ask::get("/health/live")).await.status, 200);
    assert_eq!(old.ask(&Ask::get("/health/live")).await.status, 200);
    running.abort();
}
