//! No raw request smuggles, escapes, or takes a key along: the cases of `tests/raw/cases.jsonl`, over each
//! kind of route.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use integration_tests::raw::{Case, Expectation, Then, Values, judge, load, talk};
use integration_tests::recorder::Recorder;
use integration_tests::{Home, Serving};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Cases run side by side, each lane with an upstream and a provider of its own.
const LANES: usize = 12;
/// How long something that must not come upstream is given to come.
const GRACE: Duration = Duration::from_millis(50);
const BASE: &str = "/upstream/base";
const ADMIN_MARKER: &str = "for-operators-only";

#[derive(Clone, Copy)]
enum Route {
    OpenAi,
    Model,
    Provider,
}

impl Route {
    /// The paths of chat completions, and of the beginning of the tail.
    fn paths(self, lane: usize) -> (String, String) {
        let seed = "/v2/workspaces/default/inference/gateway";
        let current = "/apis/inference-gateway/v2/workspaces/default";
        let tail = match self {
            Self::OpenAi => return ("/v1/chat/completions".into(), format!("{current}/openai/-/")),
            Self::Model => format!("{seed}/model/model-{lane}/-/"),
            Self::Provider => format!("{current}/provider/lane-{lane}/-/"),
        };
        (format!("{tail}v1/chat/completions"), tail)
    }

    fn values(self, lane: usize, gateway: &Serving) -> Values {
        let (path, tail) = self.paths(lane);
        let model = format!("model-{lane}");
        Values {
            gateway: gateway.address,
            path,
            tail,
            admin: "/apis/models/v2/workspaces/default/providers".into(),
            admin_marker: ADMIN_MARKER.into(),
            key: "client-key-0123456789-0123456789-0123456789".into(),
            body: format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#),
            model,
            base: BASE.into(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_raw_request_goes_wrong_on_the_openai_route() {
    run(Route::OpenAi).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_raw_request_goes_wrong_on_a_model_route() {
    run(Route::Model).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_raw_request_goes_wrong_on_a_provider_route() {
    run(Route::Provider).await;
}

async fn run(route: Route) {
    let home = Home::new().await;
    let gateway = home.up(&[]).await;
    let url = gateway.url();
    home.run_with_input(["secret", "create", "up", "--url", &url], "upstream-key").await.expect_done();
    let (skipped, cases): (Vec<Case>, Vec<Case>) = cases().into_iter().partition(|case| case.skip.is_some());
    for case in &skipped {
        println!("skipped {}: {}", case.id, case.skip.as_deref().unwrap_or_default());
    }
    let cases = Arc::new(cases);
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let recorder = add_lane(&home, &gateway, lane).await;
        lanes.spawn(run_lane(lane, recorder, route.values(lane, &gateway), Arc::clone(&cases)));
    }
    let failures: Vec<String> = lanes.join_all().await.into_iter().flatten().collect();
    let ready = gateway.get("/health/ready").await.unwrap();
    assert_eq!(ready.status, 200, "the gateway lives");
    let (failed, all) = (failures.len(), cases.len());
    assert!(failures.is_empty(), "{failed} of {all} cases failed:\n{}", failures.join("\n"));
}

fn cases() -> Vec<Case> {
    let cases = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("raw/cases.jsonl"));
    // For work on one case.
    match std::env::var("RAW_ONLY") {
        Ok(only) => cases.into_iter().filter(|case| only.split(',').any(|id| id == case.id)).collect(),
        Err(_) => cases,
    }
}

async fn add_lane(home: &Home, gateway: &Serving, lane: usize) -> Recorder {
    let recorder = Recorder::start(&format!("model-{lane}")).await.unwrap();
    let (name, url) = (format!("lane-{lane}"), format!("http://{}{BASE}", recorder.address()));
    let gateway_url = gateway.url();
    let create =
        ["provider", "create", &name, "--url", &url, "--secret", "up", "--description", ADMIN_MARKER];
    home.run(create.into_iter().chain(["--gateway-url", &gateway_url])).await.expect_done();
    gateway.serves(&format!("model-{lane}")).await;
    recorder
}

/// Runs every case whose turn is this lane's; gives what went wrong.
async fn run_lane(lane: usize, recorder: Recorder, values: Values, cases: Arc<Vec<Case>>) -> Vec<String> {
    let mut failures = Vec::new();
    for case in cases.iter().skip(lane).step_by(LANES) {
        recorder.take();
        let then = match case.expect {
            Expectation::Cut => Then::End,
            Expectation::Reject => Then::AwaitClose,
            _ => Then::Listen,
        };
        let heard = match talk(values.gateway, &case.bytes(&values), then).await {
            Ok(heard) => heard,
            Err(error) => {
                failures.push(format!("{}: the gateway can't be reached: {error}", case.id));
                continue;
            }
        };
        sleep(GRACE).await;
        let seen = recorder.take();
        let bad = judge(case, &values, &heard, &seen);
        if !bad.is_empty() {
            let state = if heard.closed { "closed" } else { "open" };
            let (statuses, bad) = (heard.statuses(), bad.join("; "));
            failures.push(format!("{} ({}) {statuses:?} {state}: {bad}", case.id, case.why));
        }
    }
    failures
}
