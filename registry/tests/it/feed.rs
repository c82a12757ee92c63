use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use proto_shared::feed::{FEED_PATH, FeedMessage};
use serde_json::json;

use crate::harness::{DEADLINE, Harness, PROVIDERS, WORKSPACES, connect};

struct Feed {
    body: Incoming,
    rest: Vec<u8>,
}

impl Feed {
    async fn open(h: &Harness) -> Self {
        let mut sender = connect(h.address).await;
        let request =
            Request::get(FEED_PATH).header("host", "registry").body(Full::new(Bytes::new())).unwrap();
        Self { body: sender.send_request(request).await.unwrap().into_body(), rest: Vec::new() }
    }

    /// `None` when the feed has ended.
    async fn next(&mut self) -> Option<FeedMessage> {
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
