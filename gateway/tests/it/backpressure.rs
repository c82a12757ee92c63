//! Slow readers slow down who sends to them (R8.8): what is on its way is bounded, in both directions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::harness::h2_client::{self, H2Client, collect};
use crate::harness::scripted::{SSE_HEAD, Scripted};
use crate::harness::*;

const BLOCK_BYTES: usize = 64 * 1024;
const BLOCKS: usize = 1600;
const TOTAL_BYTES: usize = BLOCK_BYTES * BLOCKS;
/// What the sockets of two connections may hold, by the kernel's limits, and some more.
const ON_THE_WAY_MAX: usize = 40_000_000;

/// One block of a stream of events.
fn block() -> Vec<u8> {
    let mut event = b"data: {\"model\":\"x/y\",\"padding\":\"".to_vec();
    event.resize(BLOCK_BYTES - 4, b'x');
    event.extend_from_slice(b"\"}\n\n");
    event
}

/// An upstream that sends as fast as it is let, and counts.
async fn torrent() -> (Scripted, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let upstream = Scripted::start(move |mut line| {
        let count = Arc::clone(&count);
        async move {
            line.request().await;
            line.write(SSE_HEAD).await;
            let chunk = scripted::chunk(block());
            for _ in 0..BLOCKS {
                line.write(&chunk).await;
                count.fetch_add(BLOCK_BYTES, Ordering::Relaxed);
            }
            line.write(scripted::LAST_CHUNK).await;
        }
    })
    .await;
    (upstream, sent)
}

/// Waits until the count stands still; gives it.
async fn stuck(count: &AtomicUsize) -> usize {
    let mut before = usize::MAX;
    loop {
        let now = count.load(Ordering::Relaxed);
        if now == before && now > 0 {
            return now;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn an_upstream_waits_for_a_client_that_does_not_read() {
    for base in [PROVIDER, OPENAI] {
        let (upstream, sent) = torrent().await;
        let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
        let mut client = world.connect().await;
        let ask = Ask::post(&format!("{base}{CHAT}"), STREAM_BODY);
        client.send(ask.encode()).await;
        let on_the_way = within("it stops", stuck(&sent)).await;
        assert!(on_the_way < ON_THE_WAY_MAX, "{on_the_way} bytes are on their way");
        // And goes on when the client does.
        let reply = client.reply().await;
        let grown = if base == OPENAI { BLOCKS * ("default/m1".len() - "x/y".len()) } else { 0 };
        assert_eq!((reply.whole, reply.body.len()), (true, TOTAL_BYTES + grown));
    }
}

#[tokio::test]
async fn an_upstream_waits_for_an_http2_client_that_does_not_read() {
    let (upstream, sent) = torrent().await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = H2Client::connect(world.address).await;
    let answer = client.start(h2_client::post(&format!("{OPENAI}{CHAT}")), STREAM_BODY).await;
    let on_the_way = within("it stops", stuck(&sent)).await;
    assert!(on_the_way < ON_THE_WAY_MAX / 2, "{on_the_way} bytes are on their way");
    let reply = collect(answer).await;
    let grown = BLOCKS * ("default/m1".len() - "x/y".len());
    assert_eq!((reply.error.is_none(), reply.body.len()), (true, TOTAL_BYTES + grown));
}

#[tokio::test]
async fn a_client_waits_for_an_upstream_that_does_not_read() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let upstream = Scripted::start(move |mut line| {
        let mut wait = wait.clone();
        async move {
            wait.wait_for(|go| *go).await.unwrap();
            line.request().await;
            line.write(scripted::json_reply("{}")).await;
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = world.connect().await;
    let head = Ask::new("POST", &format!("{PROVIDER}v1/files"));
    let head = head.header("content-length", &TOTAL_BYTES.to_string()).head();
    client.send(head).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let (mut read, mut write) = client.stream.into_split();
    let count = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let mut hash = Sha256::new();
        for n in 0..BLOCKS {
            let block = vec![n as u8; BLOCK_BYTES];
            write.write_all(&block).await.unwrap();
            hash.update(&block);
            count.fetch_add(BLOCK_BYTES, Ordering::Relaxed);
        }
        (write, hash.finalize())
    });
    let on_the_way = within("it stops", stuck(&sent)).await;
    assert!(on_the_way < ON_THE_WAY_MAX, "{on_the_way} bytes are on their way");
    go.send(true).unwrap();
    let (_write, hash) = within("the upload", sending).await.unwrap();
    let mut answer = vec![0; 12];
    within("the answer", tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    assert_eq!(Sha256::digest(&upstream.heard()[0].body), hash);
}

#[tokio::test]
async fn an_http2_client_waits_too() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let upstream = Scripted::start(move |mut line| {
        let mut wait = wait.clone();
        async move {
            wait.wait_for(|go| *go).await.unwrap();
            line.request().await;
            line.write(scripted::json_reply("{}")).await;
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = H2Client::connect(world.address).await;
    let (answer, mut up) = client.open(h2_client::post(&format!("{PROVIDER}v1/files"))).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let mut left = 20_000_000;
        while left > 0 {
            up.reserve_capacity(left.min(BLOCK_BYTES));
            let room = std::future::poll_fn(|cx| up.poll_capacity(cx)).await.unwrap().unwrap();
            let size = room.min(left);
            left -= size;
            up.send_data(vec![b'x'; size].into(), left == 0).unwrap();
            count.fetch_add(size, Ordering::Relaxed);
        }
    });
    let on_the_way = within("it stops", stuck(&sent)).await;
    assert!(on_the_way < 15_000_000, "{on_the_way} bytes are on their way");
    go.send(true).unwrap();
    within("the upload", sending).await.unwrap();
    assert_eq!(within("the answer", answer).await.unwrap().status(), 200);
    assert_eq!(upstream.heard()[0].body.len(), 20_000_000);
}
