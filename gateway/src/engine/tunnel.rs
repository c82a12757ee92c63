//! After a 101: bytes both ways until either side ends. The two protocols agreed; nothing is looked at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::down_h1::H1Down;
use super::encode::{put_header, put_status_line};
use super::up_h1::H1Up;
use crate::h1::ResponseHead;
use crate::headers::{Nominated, may_go_downstream};

/// Buffer of each direction.
const BUFFER_BYTES: usize = 8 * 1024;
/// After one side has ended: how long the other may say its last word.
const HALF_OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// Passes the upstream's 101 on and tunnels. Gives the bytes sent to the client.
pub async fn run(down: &mut H1Down, up: H1Up, head: &ResponseHead, request_id: &[u8]) -> u64 {
    down.close_after_reply();
    let mut out = BytesMut::with_capacity(512);
    put_status_line(&mut out, head.status);
    let nominated = Nominated::of(head.head.iter());
    let passes = |name: &[u8]| may_go_downstream(name) && !nominated.contains(name);
    for (name, value) in head.head.iter().filter(|(name, _)| passes(name)) {
        put_header(&mut out, name, value);
    }
    put_header(&mut out, b"x-request-id", request_id);
    out.put_slice(b"connection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let (mut up, early) = up.into_tunnel();
    out.put_slice(&early);
    down.wire.push(out.freeze());
    if std::future::poll_fn(|cx| down.wire.poll_flush(cx)).await.is_err() {
        return 0;
    }
    let first = down.wire.input.split();
    if !first.is_empty() && up.write_all(&first).await.is_err() {
        return 0;
    }
    both_ways(down.wire.io_mut(), &mut up).await
}

async fn both_ways(
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
) -> u64 {
    let (client_reads, client_writes) = tokio::io::split(client);
    let (upstream_reads, upstream_writes) = tokio::io::split(upstream);
    let sent = AtomicU64::new(0);
    let mut up = std::pin::pin!(pass(client_reads, upstream_writes, |_| {}));
    let mut down = std::pin::pin!(pass(upstream_reads, client_writes, |bytes| {
        sent.fetch_add(bytes, Ordering::Relaxed);
    }));
    tokio::select! {
        () = &mut up => drop(tokio::time::timeout(HALF_OPEN_TIMEOUT, down).await),
        () = &mut down => drop(tokio::time::timeout(HALF_OPEN_TIMEOUT, up).await),
    }
    sent.load(Ordering::Relaxed)
}

/// Passes bytes on until `from` ends or `to` takes no more, then says so to `to`.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, count: impl Fn(u64)) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let piece = buffer.get(..n).unwrap_or_default();
        if to.write_all(piece).await.is_err() || to.flush().await.is_err() {
            return;
        }
        count(n as u64);
    }
    let _ = to.shutdown().await;
}
