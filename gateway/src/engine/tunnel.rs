//! After a 101: bytes both ways until either side ends. The two protocols agreed; nothing is looked at.

use bytes::BufMut;
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::down_h1::H1Down;
use super::encode::{put_header, put_status_line};
use super::up_h1::H1Up;
use crate::h1::ResponseHead;
use crate::headers::{Nominated, may_go_downstream};

/// Buffer of each direction.
const BUFFER_BYTES: usize = 8 * 1024;

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
    let both =
        tokio::io::copy_bidirectional_with_sizes(down.wire.io_mut(), &mut up, BUFFER_BYTES, BUFFER_BYTES);
    both.await.map_or(0, |(_, to_client)| to_client)
}
