//! A new binary takes over from a running one, which goes on with what it has.

use http::Method;
use integration_tests::client::{request, send};
use integration_tests::process::Signal;
use integration_tests::{Home, Serving, free_address};

use crate::MACHINE;
use crate::crowd::{Crowd, Site, Size};
use crate::model_server::{ModelServer, WITH_DESCRIPTORS};

const SIZE: Size = Size { streams: 500, tokens: 16, requests_per_second: 200 };
const DRAIN: [&str; 2] = ["--set", "limits.drain_timeout_ms=120000"];

async fn home() -> Home {
    let mut home = Home::new().await;
    home.launcher = Some(WITH_DESCRIPTORS.to_owned());
    home
}

/// Takes over from `old` while it streams and answers.
async fn take_over(old: &mut Serving, next: impl Future<Output = Serving>) -> Serving {
    let site = Site::at(old.address);
    let mut crowd = Crowd::start(&site, SIZE);
    crowd.expect_ready(&site);
    crowd.all_stream(SIZE.streams).await;
    let signal = async {
        crowd.answers(SIZE.requests_per_second).await;
        old.process.signal(Signal::Quit);
    };
    let (new, ()) = tokio::join!(next, signal);
    assert_eq!(new.address, old.address);
    crowd.answers(2 * SIZE.requests_per_second).await;
    crowd.end_well().await;
    assert!(old.process.ended().await.success(), "{}", old.process.printed());
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_replaced_under_five_hundred_streams() {
    let _machine = MACHINE.lock().await;
    let (home, model_server) = (home().await, ModelServer::start().await);
    let (registry, _registry) = home.registry("127.0.0.1:0", &[]).await;
    let (listen, admin) = (free_address(), free_address());
    let mut old = home.gateway_at("a", registry, [&listen, &admin], &DRAIN).await;
    old.add_provider(&home, "sim", &model_server.url(), "m").await;
    let flags = [&["--upgrade"], &DRAIN[..]].concat();
    let new = take_over(&mut old, home.gateway_at("a", registry, [&listen, &admin], &flags)).await;
    let metrics = send(new.admin, request(Method::GET, "/metrics", None)).await.unwrap();
    assert_eq!(metrics.status, 200, "the admin listener is there too");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_and_registry_of_one_process_are_replaced_under_five_hundred_streams() {
    let _machine = MACHINE.lock().await;
    let (home, model_server) = (home().await, ModelServer::start().await);
    let (listen, admin) = (free_address(), free_address());
    let mut old = home.up_at(&listen, &admin, &DRAIN).await;
    old.add_provider(&home, "sim", &model_server.url(), "m").await;
    let flags = [&["--upgrade"], &DRAIN[..]].concat();
    let new = take_over(&mut old, home.up_at(&listen, &admin, &flags)).await;
    new.add_provider(&home, "again", &model_server.url(), "m").await;
}
