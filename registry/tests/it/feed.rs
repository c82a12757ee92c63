use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use proto_shared::HostUrl;
use proto_shared::feed::{FEED_PATH, FeedMessage, GATEWAY_HEADER, GATEWAYS_PATH, REPORT_BYTES_MAX};
use registry::Drain;
use serde_json::json;

use crate::harness::{DEADLINE, Harness, PROVIDERS, WORKSPACES, connect};

pub struct Feed {
    body: Incoming,
    rest: Vec<u8>,
}

impl Feed {
    async fn open(h: &Harness) -> Self {
        Self::ask(h, Request::get(FEED_PATH)).await
    }

    /// As a gateway follows.
    pub async fn of_gateway(h: &Harness, id: &str) -> Self {
        Self::ask(h, Request::get(FEED_PATH).header(GATEWAY_HEADER, id)).await
    }

    async fn ask(h: &Harness, request: http::request::Builder) -> Self {
        let mut sender = connect(h.address).await;
        let request = request.header("host", "registry").body(Full::new(Bytes::new())).unwrap();
        Self { body: sender.send_request(request).await.unwrap().into_body(), rest: Vec::new() }
    }

    /// `None` when the feed has ended.
    pub async fn next(&mut self) -> Option<FeedMessage> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("a line in time")?;
            self.rest.extend(frame.unwrap().into_data().unwrap());
        }
    }
}

#[tokio::test]
async fn the_first_line_is_the_present_and_each_change_is_pushed() {
    let h = Harness::start().await;
    let mut feed = Feed::open(&h).await;
    let Some(FeedMessage::Snapshot(first)) = feed.next().await else { panic!("no snapshot") };
    assert_eq!(first.generation, h.snapshot().generation);
    assert_eq!(first.workspaces.len(), 2);
    let made = h.post(WORKSPACES, json!({"name": "team-a"})).await.expect(201).generation().unwrap();
    let Some(FeedMessage::Snapshot(next)) = feed.next().await else { panic!("no snapshot") };
    assert_eq!(next.generation, made);
    assert_eq!(next.installation, first.installation);
    assert_eq!(next.workspaces.len(), 3);
}

#[tokio::test]
async fn a_storm_of_changes_ends_with_the_newest_and_never_goes_back() {
    let h = Harness::start().await;
    let mut feed = Feed::open(&h).await;
    let mut last = 0;
    for number in 0..50 {
        let body = json!({"name": format!("p{number}"), "host_url": "http://127.0.0.1:9"});
        last = h.post(PROVIDERS, body).await.expect(201).generation().unwrap();
    }
    let mut seen = 0;
    while seen < last {
        let Some(FeedMessage::Snapshot(snapshot)) = feed.next().await else { continue };
        assert!(snapshot.generation > seen);
        seen = snapshot.generation;
        if seen >= last {
            assert_eq!(snapshot.providers.len(), 50);
        }
    }
}

#[tokio::test]
async fn an_idle_feed_says_that_it_is_alive() {
    let h = Harness::start().await;
    let mut feed = Feed::open(&h).await;
    feed.next().await;
    let Some(FeedMessage::Heartbeat { generation }) = feed.next().await else { panic!("no heartbeat") };
    assert_eq!(generation, h.snapshot().generation);
}

#[tokio::test]
async fn a_registry_that_stops_ends_its_feeds() {
    let h = Harness::start().await;
    let mut feed = Feed::open(&h).await;
    feed.next().await;
    h.stop().await;
    while feed.next().await.is_some() {}
}

#[tokio::test]
async fn an_address_is_drained_when_every_gateway_that_follows_says_so() {
    let h = Harness::start().await;
    let id = "0123456789abcdef0123456789abcdef";
    let path = format!("{GATEWAYS_PATH}/{id}");
    let url = HostUrl::parse("http://127.0.0.1:9/v1").unwrap();
    let busy = |generation: u64| json!({"generation": generation, "busy": [{"url": url, "in_flight": 2}]});
    h.post(&path, busy(1)).await.expect(404);

    let mut feed = Feed::of_gateway(&h, id).await;
    let Some(FeedMessage::Snapshot(first)) = feed.next().await else { panic!("no snapshot") };
    let generation = first.generation;
    assert_eq!(h.registry.drained(&url, generation), Drain::Waiting);
    h.post(&path, busy(generation)).await.expect(204);
    assert_eq!(h.registry.drained(&url, generation), Drain::Busy { in_flight: 2 });
    let gateways = &h.get("/status").await.expect(200).body["gateways"];
    let draining = json!([{"url": url, "in_flight": 2}]);
    assert_eq!(
        *gateways,
        json!([{"id": id, "generation": generation, "draining": draining, "out_of_use": null}])
    );
    h.post(&path, json!({"generation": generation})).await.expect(204);
    let mut changes = h.registry.drain_changes();
    let drained = async {
        while h.registry.drained(&url, generation) != Drain::Drained {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, drained).await.unwrap();
    assert_eq!(h.registry.drained(&url, generation + 1), Drain::Waiting);

    // A gateway that goes is not waited for for ever.
    drop(feed);
    let forgotten = async {
        while h.registry.drained(&url, generation + 1) != Drain::Drained {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, forgotten).await.unwrap();
}

#[tokio::test]
async fn reports_that_are_none_are_refused() {
    let h = Harness::start().await;
    let path = format!("{GATEWAYS_PATH}/{}", "0".repeat(32));
    let _feed = Feed::of_gateway(&h, &"0".repeat(32)).await;
    for body in [
        json!({}),
        json!({"generation": -1}),
        json!({"generation": 1, "busy": [{"url": "x", "in_flight": 1}]}),
    ] {
        h.post(&path, body).await.expect(400);
    }
    h.post(&path, json!({"generation": 1, "pad": "x".repeat(REPORT_BYTES_MAX)})).await.expect(413);
    h.post(&format!("{GATEWAYS_PATH}/me"), json!({"generation": 1})).await.expect(400);
}
