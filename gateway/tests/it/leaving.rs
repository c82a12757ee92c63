//! Clients that leave (R8.1, R8.2): the upstream is freed at once, in every phase and however they
//! leave, and nothing leaks.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use crate::harness::full_queue::FullQueue;
use crate::harness::h2_client::{self, H2Client};
use crate::harness::scripted::{SSE_HEAD, Scripted, chunk};
use crate::harness::*;

#[derive(Clone, Copy, Debug)]
enum Leaves {
    Fin,
    Reset,
    Stream,
    Connection,
}

const ALL_WAYS: [Leaves; 4] = [Leaves::Fin, Leaves::Reset, Leaves::Stream, Leaves::Connection];

/// A client in the middle of a request.
enum Client {
    H1(RawClient),
    H2(H2Client, h2::client::ResponseFuture, h2::SendStream<Bytes>),
}

impl Client {
    /// Sends a request of which `sent` bytes of the body go out; more are announced if `unfinished`.
    async fn start(world: &World, way: Leaves, target: &str, sent: &str, unfinished: bool) -> Self {
        match way {
            Leaves::Fin | Leaves::Reset => {
                let mut client = world.connect().await;
                let missing = if unfinished { 1000 } else { 0 };
                let announced = format!("{sent}{}", " ".repeat(missing));
                let all = Ask::post(target, announced).encode();
                client.send(&all[..all.len() - missing]).await;
                Self::H1(client)
            }
            Leaves::Stream | Leaves::Connection => {
                let mut client = H2Client::connect(world.address).await;
                let (answer, mut up) = client.open(h2_client::post(target)).await;
                up.send_data(Bytes::copy_from_slice(sent.as_bytes()), !unfinished).unwrap();
                Self::H2(client, answer, up)
            }
        }
    }

    /// Waits for the answer's head.
    async fn answered(&mut self) {
        match self {
            Self::H1(client) => drop(client.head().await),
            Self::H2(_, answer, _) => drop(within("the head", answer).await.unwrap()),
        }
    }

    fn leave(self, way: Leaves) {
        match self {
            Self::H1(client) if matches!(way, Leaves::Reset) => client.reset(),
            Self::H1(client) => drop(client),
            Self::H2(client, ..) if matches!(way, Leaves::Connection) => client.vanish(),
            Self::H2(client, answer, mut up) => {
                up.send_reset(h2::Reason::CANCEL);
                drop((answer, up));
                // The connection stays; its task sends the reset.
                tokio::spawn(async move {
                    tokio::time::sleep(DEADLINE).await;
                    drop(client);
                });
            }
        }
    }
}

const BASES: [&str; 3] = [PROVIDER, MODEL, OPENAI];

async fn in_flight(world: &World) {
    eventually("the request is in flight", || world.metric("nimgate_requests_in_flight ") == Some(1.0)).await;
}

#[tokio::test]
async fn while_the_upstream_is_connected_to() {
    let full = FullQueue::new();
    let routes = Routes::usual_with(&full.url(), "x/y", |p| {
        p.timeouts.connect_timeout_ms = 600_000;
    });
    let world = World::start(routes).await;
    for way in ALL_WAYS {
        for base in BASES {
            let target = format!("{base}{CHAT}");
            let client = Client::start(&world, way, &target, CHAT_BODY, false).await;
            in_flight(&world).await;
            client.leave(way);
            world.settled().await;
        }
    }
}

#[tokio::test]
async fn while_the_first_byte_is_waited_for() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for (n, (way, base)) in ALL_WAYS.iter().flat_map(|way| BASES.map(|base| (*way, base))).enumerate() {
        let client = Client::start(&world, way, &format!("{base}{CHAT}"), CHAT_BODY, false).await;
        upstream.heard_requests(n + 1).await;
        client.leave(way);
        upstream.left_alone().await;
        world.settled().await;
    }
    assert_eq!(upstream.heard().len(), 12, "nothing was sent twice");
}

#[tokio::test]
async fn in_the_middle_of_a_stream() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write([SSE_HEAD.as_bytes(), &chunk("data: 1\n\n")].concat()).await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for way in ALL_WAYS {
        for base in BASES {
            let mut client = Client::start(&world, way, &format!("{base}{CHAT}"), STREAM_BODY, false).await;
            client.answered().await;
            client.leave(way);
            upstream.left_alone().await;
            world.settled().await;
        }
    }
}

#[tokio::test]
async fn in_the_middle_of_an_answer_that_is_no_stream() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"a\":")
            .await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for (n, (way, base)) in ALL_WAYS.iter().flat_map(|way| BASES.map(|base| (*way, base))).enumerate() {
        let mut client = Client::start(&world, way, &format!("{base}{CHAT}"), CHAT_BODY, false).await;
        upstream.heard_requests(n + 1).await;
        if base == PROVIDER {
            client.answered().await;
        }
        client.leave(way);
        upstream.left_alone().await;
        world.settled().await;
    }
}

#[tokio::test]
async fn in_the_middle_of_an_upload() {
    let upstream = Scripted::start(|mut line| async move {
        line.head().await;
        line.wire.until("begin").await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for (n, way) in ALL_WAYS.into_iter().enumerate() {
        let client = Client::start(&world, way, &format!("{PROVIDER}{CHAT}"), "begin", true).await;
        upstream.accepted(n + 1).await;
        client.leave(way);
        upstream.left_alone().await;
        world.settled().await;
    }
}

#[tokio::test]
async fn while_its_body_is_read_here() {
    let world = World::start(Routes::usual("http://127.0.0.1:9", "x/y")).await;
    for way in ALL_WAYS {
        for base in [MODEL, OPENAI] {
            let mut client = Client::start(&world, way, &format!("{base}{CHAT}"), "{\"model\":", true).await;
            while world.app.buffered_bytes() == 0 {
                if let Client::H1(client) = &mut client {
                    client.send(" ").await;
                }
                tokio::task::yield_now().await;
            }
            client.leave(way);
            eventually("its room is given back", || world.app.buffered_bytes() == 0).await;
        }
    }
}

#[tokio::test]
async fn while_the_upstream_takes_no_more_of_the_upload() {
    let upstream = Scripted::start(|mut line| async move {
        line.head().await;
        // Reads nothing more.
        std::future::pending().await
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = world.connect().await;
    let head = Ask::new("POST", &format!("{PROVIDER}v1/files")).header("content-length", "1000000000").head();
    client.send(head).await;
    let block = vec![b'x'; 1_000_000];
    // Until the sockets on the way are full.
    let full = std::time::Duration::from_millis(300);
    while let Ok(wrote) = tokio::time::timeout(full, client.stream.write_all(&block)).await {
        wrote.unwrap();
    }
    // A FIN would wait behind what was not sent; a RST does not.
    client.reset();
    world.settled().await;
}

#[tokio::test]
async fn no_other_candidate_is_tried_for_a_client_that_has_left() {
    let first = Scripted::start(|mut line| async move {
        line.request().await;
        // The gateway's leaving is what ends it: only then would another be tried.
        line.hang().await;
    })
    .await;
    let second = Scripted::obliging().await;
    let routes =
        Routes::new().provider_with("p1", &first.url(), |p| p.replay = proto_shared::snapshot::Replay::Safe);
    let world = World::start(routes.provider("p2", &second.url()).model("m1", "x/y", &["p1", "p2"])).await;
    for way in ALL_WAYS {
        let heard = first.heard().len();
        let client = Client::start(&world, way, &format!("{OPENAI}{CHAT}"), CHAT_BODY, false).await;
        first.heard_requests(heard + 1).await;
        client.leave(way);
        first.left_alone().await;
        world.settled().await;
    }
    assert_eq!(second.connections(), 0);
}

#[tokio::test]
async fn a_cancelled_request_is_counted_once_as_cancelled() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let client = Client::start(&world, Leaves::Fin, &format!("{OPENAI}{CHAT}"), CHAT_BODY, false).await;
    upstream.heard_requests(1).await;
    client.leave(Leaves::Fin);
    upstream.left_alone().await;
    world.settled().await;
    let series = "nimgate_requests_total{outcome=\"cancelled\",provider=\"p1\",route=\"openai\",workspace=\"default\"}";
    assert_eq!(world.metric(series), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_leaves_at_odd_moments_leaves_nothing_behind() {
    let options = nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() };
    let sim = nim_sim::Sim::start(options).await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "x/y")).await;
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..200u64 {
        let address = world.address;
        crowd.spawn(async move {
            let fault = ["hang", "tokens=100,token-ms=5", "silent-ms=1000", "big=1000000"][n as usize % 4];
            let ask = Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).fault(fault);
            let mut client = RawClient::connect(address).await;
            client.send(ask.encode()).await;
            // Anything from nothing at all to somewhere in the stream.
            tokio::time::sleep(std::time::Duration::from_millis(n % 50)).await;
            if n % 3 == 0 { client.reset() } else { drop(client) }
        });
    }
    while let Some(done) = crowd.join_next().await {
        done.unwrap();
    }
    world.settled().await;
    eventually("nobody is connected", || world.app.open_connections() == 0).await;
    eventually("the upstream works for nobody", || sim.stats().in_flight == 0).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
}
