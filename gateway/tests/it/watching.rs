//! Probes and reports: what is found of an address beside its requests decides where they go, what hangs delays
//! nobody, and who is not to be asked is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use nim_sim::{Sim, SimOptions};
use proto_shared::HostUrl;
use proto_shared::feed::GatewayReport;
use proto_shared::snapshot::Watch;
use serde_json::Value;

use crate::harness::full_queue::refusing_url;
use crate::harness::scripted::{Heard, Scripted, json_reply};
use crate::harness::*;

/// Everything at once, for tests.
fn quick(limits: &mut gateway::Limits) {
    limits.watch.probe_interval = Duration::from_millis(10);
    limits.watch.doubt_interval = Duration::from_millis(10);
    limits.watch.lone_interval = Duration::from_millis(10);
    limits.watch.report_interval = Duration::from_millis(10);
    limits.watch.table_interval = Duration::from_millis(10);
    limits.watch.failed_rest_max = Duration::from_millis(50);
    limits.watch.probe_timeout = DEADLINE;
    limits.watch.report_timeout = DEADLINE;
}

fn watched(urls: &[&str]) -> Routes {
    Routes::usual_with(urls[0], "x/y", |provider| {
        provider.replicas = urls.iter().map(|url| HostUrl::parse(url).unwrap()).collect();
        provider.watch = Some(Watch::default());
    })
}

/// A server of one's own that can be told to be ready or not. Requests are answered either way.
struct Server {
    upstream: Scripted,
    is_ready: Arc<AtomicBool>,
}

impl Server {
    async fn start() -> Self {
        let is_ready = Arc::new(AtomicBool::new(true));
        let ready = Arc::clone(&is_ready);
        let upstream = Scripted::start(move |mut line| {
            let ready = Arc::clone(&ready);
            async move {
                while let Some(heard) = line.request().await {
                    let answer = match heard.target() {
                        _ if is_post(&heard) => json_reply("{}"),
                        "/v1/health/ready" if ready.load(Relaxed) => json_reply("{}"),
                        "/v1/health/ready" => status("503 Service Unavailable"),
                        _ => status("404 Not Found"),
                    };
                    line.write(&answer).await;
                }
            }
        })
        .await;
        Self { upstream, is_ready }
    }

    fn url(&self) -> String {
        self.upstream.url()
    }

    fn posts(&self) -> usize {
        self.upstream.heard().iter().filter(|heard| is_post(heard)).count()
    }
}

fn is_post(heard: &Heard) -> bool {
    heard.head.starts_with("POST ")
}

fn asked(upstream: &Scripted, target: &str) -> usize {
    upstream.heard().iter().filter(|heard| heard.target() == target).count()
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n")
}

/// Takes probes and reports and answers none; answers requests.
async fn mute() -> Scripted {
    Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            if !is_post(&heard) {
                return line.hang().await;
            }
            line.write(json_reply("{}")).await;
        }
    })
    .await
}

/// What the admin pages show of provider `p1`'s addresses.
async fn shown(world: &World) -> Vec<Value> {
    let reply = RawClient::connect(world.admin).await.ask(&Ask::get("/routes")).await;
    let dump: Value = serde_json::from_slice(&reply.body).unwrap();
    dump["workspaces"][0]["providers"][0]["replicas"].as_array().unwrap().clone()
}

async fn until_shown(world: &World, what: &str, holds: impl Fn(&[Value]) -> bool) {
    let looking = async {
        while !holds(&shown(world).await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, looking).await;
}

async fn ask_often(world: &World) {
    for _ in 0..20 {
        assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    }
}

#[tokio::test]
async fn an_address_that_is_not_ready_gets_nothing_until_it_is_again() {
    let (one, other) = (Server::start().await, Server::start().await);
    let world = World::limited(watched(&[&one.url(), &other.url()]), quick).await;
    until_shown(&world, "both are up", |shown| shown.iter().all(|at| at["state"] == "up")).await;
    one.is_ready.store(false, Relaxed);
    until_shown(&world, "one is down", |shown| shown[0]["state"] == "down").await;
    assert_eq!(shown(&world).await[0]["reason"], "answers 503");
    let before = one.posts();
    ask_often(&world).await;
    assert_eq!(one.posts(), before);
    one.is_ready.store(true, Relaxed);
    until_shown(&world, "it is up again", |shown| shown[0]["state"] == "up").await;
    ask_often(&world).await;
    assert!(one.posts() > before);
}

#[tokio::test]
async fn what_was_found_outlives_the_table_and_is_shown_when_a_path_is_explained() {
    let (refusing, good) = (refusing_url().await, Server::start().await);
    let routes = || watched(&[&refusing, &good.url()]);
    let world = World::limited(routes(), quick).await;
    until_shown(&world, "nobody listens there", |shown| shown[0]["state"] == "down").await;
    assert_eq!(shown(&world).await[0]["reason"], "connection refused");
    world.publish(routes()).await;
    assert_eq!(shown(&world).await[0]["state"], "down");
    ask_often(&world).await;
    assert_eq!(
        world.metric("nimgate_upstream_attempts_total{provider=\"p1\",result=\"connect_failed\""),
        None
    );
    let target = format!("/explain?path={OPENAI}{CHAT}&model=m1");
    let reply = RawClient::connect(world.admin).await.ask(&Ask::get(&target)).await;
    let explained: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(explained["candidates"][0]["replicas"][0]["state"], "down");
}

#[tokio::test]
async fn when_all_are_down_requests_are_still_tried() {
    let (one, other) = (Server::start().await, Server::start().await);
    one.is_ready.store(false, Relaxed);
    other.is_ready.store(false, Relaxed);
    let world = World::limited(watched(&[&one.url(), &other.url()]), quick).await;
    until_shown(&world, "both are down", |shown| shown.iter().all(|at| at["state"] == "down")).await;
    ask_often(&world).await;
}

#[tokio::test]
async fn a_probe_that_hangs_delays_no_other_and_no_request() {
    let (mute, good) = (mute().await, Server::start().await);
    let world = World::limited(watched(&[&mute.url(), &good.url()]), quick).await;
    mute.heard_requests(2).await;
    eventually("the other is probed on", || asked(&good.upstream, "/v1/health/ready") > 9).await;
    ask_often(&world).await;
    assert_eq!(
        mute.heard().iter().filter(|heard| !is_post(heard)).count(),
        2,
        "a probe and a report still wait"
    );
}

#[tokio::test]
async fn an_address_that_answers_no_probe_in_time_is_down() {
    let (mute, good) = (mute().await, Server::start().await);
    let world = World::limited(watched(&[&mute.url(), &good.url()]), |limits| {
        quick(limits);
        limits.watch.probe_timeout = Duration::from_millis(50);
    })
    .await;
    until_shown(&world, "it is down", |shown| shown[0]["state"] == "down").await;
    assert_eq!(shown(&world).await[0]["reason"], "no answer in time");
}

#[tokio::test]
async fn no_more_is_asked_at_once_than_the_limit_and_what_is_up_has_places_of_its_own() {
    let (one, other) = (Server::start().await, Server::start().await);
    let good = watched(&[&one.url(), &other.url()]);
    let world = World::limited(good.clone(), |limits| {
        quick(limits);
        limits.watch.concurrent_max = 2;
    })
    .await;
    until_shown(&world, "both are up", |shown| shown.iter().all(|at| at["state"] == "up")).await;
    let mut mutes = vec![];
    for _ in 0..6 {
        mutes.push(mute().await);
    }
    let urls: Vec<_> = mutes.iter().map(|mute| HostUrl::parse(&mute.url()).unwrap()).collect();
    let more = good.provider_with("p2", &mutes[0].url(), |provider| {
        provider.replicas = urls;
        provider.watch = Some(Watch::default());
    });
    world.publish(more).await;
    let heard = || mutes.iter().map(|mute| mute.heard().len()).sum::<usize>();
    eventually("all places are taken", || heard() == 4).await;
    let before = asked(&one.upstream, "/v1/health/ready");
    eventually("who is up is probed on", || asked(&one.upstream, "/v1/health/ready") > before + 9).await;
    assert_eq!(heard(), 4, "two probes and two reports");
}

#[tokio::test]
async fn nothing_is_asked_of_a_hosted_provider_and_the_only_server_is_not_asked_for_its_load() {
    let (one, other) = (Server::start().await, Server::start().await);
    let (hosted, alone) = (Server::start().await, Server::start().await);
    let routes = watched(&[&one.url(), &other.url()])
        .provider("hosted", &hosted.url())
        .provider_with("alone", &alone.url(), |provider| provider.watch = Some(Watch::default()))
        .model("m2", "x/y", &["alone"]);
    let world = World::limited(routes, quick).await;
    eventually("others are probed", || asked(&one.upstream, "/v1/health/ready") > 9).await;
    eventually("so is the only one", || asked(&alone.upstream, "/v1/health/ready") > 9).await;
    assert!(alone.upstream.heard().iter().all(|heard| heard.target() == "/v1/health/ready"));
    assert!(hosted.upstream.heard().is_empty());
    drop(world);
}

#[tokio::test]
async fn where_a_server_says_how_it_is_is_asked_first_and_guessed_only_where_it_does_not() {
    let (told, other) = (mute_but(&["/up?deep=1", "/stats"]).await, mute_but(&["/health"]).await);
    let mut routes = watched(&[&told.url(), &other.url()]);
    routes = routes.each_provider(|provider| {
        let [health_path, metrics_path] = ["/up?deep=1", "/stats"].map(|path| Some(path.to_owned()));
        provider.watch = Some(Watch { health_path, metrics_path });
    });
    let world = World::limited(routes, quick).await;
    until_shown(&world, "both are up", |shown| shown.iter().all(|at| at["state"] == "up")).await;
    eventually("it is asked again", || asked(&told, "/up?deep=1") > 9).await;
    assert_eq!(asked(&told, "/v1/health/ready") + asked(&told, "/health") + asked(&told, "/v1/models"), 0);
    eventually("the other's is found", || asked(&other, "/health") > 9).await;
    assert_eq!(asked(&other, "/up?deep=1"), 1);
}

#[tokio::test]
async fn a_server_that_says_that_requests_wait_in_it_gets_fewer() {
    let start = || Sim::start(SimOptions { models: vec!["x/y".into()], ..SimOptions::default() });
    let (busy, idle) = (start().await.unwrap(), start().await.unwrap());
    busy.set_waiting(50);
    let world = World::limited(watched(&[&busy.url(), &idle.url()]), quick).await;
    until_shown(&world, "both have reported", |shown| {
        shown[0]["reported"]["waiting"] == 50 && shown[1]["reported"]["waiting"] == 0
    })
    .await;
    let posts = |sim: &Sim| sim.requests().iter().filter(|request| request.method == "POST").count();
    ask_often(&world).await;
    assert_eq!((posts(&busy), posts(&idle)), (0, 20));
}

#[tokio::test]
async fn a_server_without_metrics_is_asked_for_them_less_and_less_and_gets_requests() {
    let (without, with) = (Server::start().await, Sim::start(SimOptions::default()).await.unwrap());
    let world = World::limited(watched(&[&without.url(), &with.url()]), quick).await;
    let asks = |sim: &Sim| sim.requests().iter().filter(|request| request.target == "/metrics").count();
    eventually("reports follow each other", || asks(&with) > 60).await;
    let asked = asked(&without.upstream, "/metrics") + asked(&without.upstream, "/v1/metrics");
    assert!((2..60).contains(&asked), "asked {asked} times");
    assert_eq!(shown(&world).await[0].get("reported"), None);
}

#[tokio::test]
async fn looking_ends_when_an_address_is_not_to_be_asked_any_more_and_what_was_found_is_forgotten() {
    let (one, other) = (Server::start().await, Server::start().await);
    one.is_ready.store(false, Relaxed);
    let world = World::limited(watched(&[&one.url(), &other.url()]), quick).await;
    until_shown(&world, "one is down", |shown| shown[0]["state"] == "down").await;
    world.publish(watched(&[&one.url()])).await;
    assert_eq!(shown(&world).await[0]["state"], "down", "it is looked at on");
    world.publish(watched(&[&one.url()]).each_provider(|provider| provider.watch = None)).await;
    until_shown(&world, "nobody looks", |shown| shown[0]["state"] == "unknown").await;
}

#[tokio::test]
async fn the_only_server_gets_its_requests_whatever_its_probes_say() {
    let one = Server::start().await;
    one.is_ready.store(false, Relaxed);
    let world = World::limited(watched(&[&one.url()]), quick).await;
    until_shown(&world, "it is down", |shown| shown[0]["state"] == "down").await;
    ask_often(&world).await;
}

/// The addresses that the registry was told last to be out of use, with the reasons.
fn told(report: &GatewayReport) -> Vec<(String, String)> {
    let outs = report.out.iter().flatten();
    outs.map(|out| (out.provider.clone(), out.why.clone())).collect()
}

fn calm_for(limits: &mut gateway::Limits, out_ms: u64, back_ms: u64) {
    quick(limits);
    limits.watch.sight.look_interval = Duration::from_millis(10);
    limits.watch.sight.out_after = Duration::from_millis(out_ms);
    limits.watch.sight.back_after = Duration::from_millis(back_ms);
}

#[tokio::test]
async fn the_registry_is_told_what_is_out_of_use_and_back_and_nothing_in_between() {
    let one = Server::start().await;
    let dead = refusing_url().await;
    let routes = watched(&[&one.url()]).provider("p2", &dead).model("m2", "x/y", &["p2"]);
    let world = World::limited(routes, |limits| calm_for(limits, 30, 50)).await;
    let silent = |report: &GatewayReport| report.out.as_ref().is_some_and(Vec::is_empty);
    world.registry.reported("it has looked for a while", silent).await;
    one.is_ready.store(false, Relaxed);
    let down = [("default/p1".to_owned(), "answers 503".to_owned())];
    world.registry.reported("what probes found", |report| told(report) == down).await;
    let reports = world.registry.reports().len();
    let body = CHAT_BODY.replace("m1", "m2");
    world.post(&format!("{OPENAI}{CHAT}"), body).await;
    let both = [down[0].clone(), ("default/p2".into(), "its last requests got no connection".into())];
    world.registry.reported("what requests found", |report| told(report) == both).await;
    assert_eq!(world.registry.reports().len(), reports + 1);
    one.is_ready.store(true, Relaxed);
    world.registry.reported("it is back", |report| told(report) == both[1..]).await;
}

#[tokio::test]
async fn who_flaps_is_no_news() {
    let one = Server::start().await;
    let world = World::limited(watched(&[&one.url()]), |limits| calm_for(limits, 60_000, 50)).await;
    let silent = |report: &GatewayReport| report.out.as_ref().is_some_and(Vec::is_empty);
    world.registry.reported("it has looked for a while", silent).await;
    let reports = world.registry.reports().len();
    for is_ready in [false, true, false, true] {
        one.is_ready.store(is_ready, Relaxed);
        let state = if is_ready { "up" } else { "down" };
        until_shown(&world, state, |shown| shown[0]["state"] == state).await;
    }
    assert_eq!(world.registry.reports().len(), reports);
}

/// Is ready, and does not come to an end of what its API is, after so many bytes.
async fn endless(bytes: usize) -> Scripted {
    Scripted::start(move |mut line| async move {
        while let Some(heard) = line.request().await {
            if heard.target() != "/openapi.json" {
                line.write(json_reply("{}")).await;
                continue;
            }
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n";
            line.write(head).await;
            line.write(" ".repeat(bytes)).await;
            return line.hang().await;
        }
    })
    .await
}

async fn to_learn(one: &Scripted, other: &Scripted) -> World {
    let routes = watched(&[&one.url(), &other.url()]).but(|model| model.resume_where_known = true);
    World::limited(routes, |limits| {
        quick(limits);
        limits.watch.schema_bytes_max = 256 * 1024;
    })
    .await
}

#[tokio::test]
async fn who_never_says_what_it_can_do_delays_no_probe_and_no_request() {
    let (mute, other) = (endless(0).await, endless(0).await);
    let world = to_learn(&mute, &other).await;
    eventually("it is asked", || asked(&mute, "/openapi.json") == 1).await;
    let before = asked(&mute, "/v1/health/ready");
    eventually("it is probed on", || asked(&mute, "/v1/health/ready") > before + 9).await;
    ask_often(&world).await;
    assert_eq!(asked(&mute, "/openapi.json"), 1, "it is still waited for");
    assert_eq!(shown(&world).await[0].get("continues"), None);
}

#[tokio::test]
async fn of_what_a_server_says_of_its_api_no_more_is_read_than_the_limit() {
    let (endless, other) = (endless(512 * 1024).await, endless(0).await);
    let world = to_learn(&endless, &other).await;
    eventually("it was left, and is asked again", || asked(&endless, "/openapi.json") > 1).await;
    until_shown(&world, "it is up", |shown| shown[0]["state"] == "up").await;
    assert_eq!(shown(&world).await[0].get("continues"), None);
}

/// Answers these paths, and says of others that they are not there.
async fn mute_but(paths: &'static [&'static str]) -> Scripted {
    Scripted::start(move |mut line| async move {
        while let Some(heard) = line.request().await {
            let is_there = paths.contains(&heard.target());
            line.write(if is_there { json_reply("{}") } else { status("404 Not Found") }).await;
        }
    })
    .await
}
