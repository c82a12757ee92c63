//! An HTTP/1.1 connection: its requests one after the other.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::Method;
use pingora::server::ShutdownWatch;
use tokio::time::Instant;

use super::app::App;
use super::connection::{HEAD_READ_BYTES, LAST_REQUEST_WAIT, LINGER_TIMEOUT};
use super::context::{RequestContext, RequestId};
use super::down::{Down, RequestView};
use super::down_h1::H1Down;
use super::encode::Fields;
use super::local::LocalReply;
use super::serve::{Served, serve};
use super::timer::{LazyTimer, StopWatch};
use super::wire::Wire;
use crate::h1::{HeadLimits, RequestHead, parse_request};
use crate::refusal::Refusal;

/// After an answer that ends a connection whose request was not read: how much is read and dropped,
/// so that the client sees the answer and not a reset.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Serves until either side has enough. The first head is due at `head_deadline`.
pub async fn serve_h1(app: &Arc<App>, wire: Wire, head_deadline: Instant, shutdown: &ShutdownWatch) {
    let mut connection = H1Down::new(wire);
    let mut stop = StopWatch::new(shutdown);
    let mut first = Some(head_deadline);
    for left in (0..app.limits.requests_per_connection_max).rev() {
        let head = match next_head(app, &mut connection, first, &mut stop).await {
            Next::Head(head) => head,
            Next::Refuse(refusal) => return refuse_head(app, connection, refusal).await,
            Next::Close => return close(connection).await,
        };
        first = None;
        connection.begin(&head, left > 0 && !app.draining());
        if head.expect_unknown {
            connection.close_after_reply();
            return refuse_head(app, connection, Refusal::Expectation).await;
        }
        let request = RequestView {
            method: &head.method,
            target: head.target(),
            fields: Fields::H1(&head.head),
            body: head.body,
            websocket: head.websocket,
            origin: head.origin(),
        };
        if head.websocket {
            // What follows an upgrade request is not HTTP, whatever the answer.
            connection.close_after_reply();
        }
        // Boxed: an idle connection should not carry the size of a request being served.
        let served = Box::pin(serve(app, &mut Down::H1(&mut connection), request)).await;
        match served {
            Served::Whole if connection.reusable() => {}
            Served::Whole => return linger(connection).await,
            Served::Broken => return close(connection).await,
            Served::ClientGone => return,
        }
    }
}

enum Next {
    Head(Box<RequestHead>),
    Refuse(Refusal),
    Close,
}

/// The next request's head. It has `keep_alive_timeout` to begin, and from its first byte
/// `head_timeout` to be complete; the `first` one of a connection has one deadline for both.
async fn next_head(app: &App, connection: &mut H1Down, first: Option<Instant>, stop: &mut StopWatch) -> Next {
    let limits = &app.limits;
    let head_limits = HeadLimits {
        bytes_max: limits.head_bytes_max,
        target_bytes_max: limits.target_bytes_max,
        lines_max: limits.header_lines_max,
    };
    let H1Down { wire, timer, .. } = connection;
    let (mut began, mut stopping, mut deadline) = (false, false, first);
    loop {
        match parse_request(&mut wire.input, &head_limits) {
            Ok(Some(head)) => return Next::Head(Box::new(head)),
            Ok(None) => {}
            Err(error) => return Next::Refuse(Refusal::Head(error)),
        }
        if !began && !wire.input.is_empty() {
            (began, deadline) = (true, first);
        }
        let limit = match (began, stopping) {
            (true, _) => limits.head_timeout,
            (false, false) => limits.keep_alive_timeout,
            (false, true) => LAST_REQUEST_WAIT,
        };
        let at = *deadline.get_or_insert_with(|| Instant::now() + limit);
        let idle = wire.input.is_empty();
        match std::future::poll_fn(|cx| poll_head(cx, wire, timer, stop, at, stopping)).await {
            Waited::Read(Ok(1..)) => {}
            Waited::Read(_) => return Next::Close,
            Waited::TimedOut if idle => return Next::Close,
            Waited::TimedOut => return Next::Refuse(Refusal::HeadTimeout),
            Waited::Stopping => {
                stopping = true;
                deadline = deadline.filter(|_| began);
            }
        }
    }
}

enum Waited {
    Read(std::io::Result<usize>),
    TimedOut,
    Stopping,
}

fn poll_head(
    cx: &mut Context<'_>,
    wire: &mut Wire,
    timer: &mut LazyTimer,
    stop: &mut StopWatch,
    at: Instant,
    stopping: bool,
) -> Poll<Waited> {
    if let Poll::Ready(read) = wire.poll_read(cx, HEAD_READ_BYTES) {
        return Poll::Ready(Waited::Read(read));
    }
    if !stopping && stop.poll(cx).is_ready() {
        return Poll::Ready(Waited::Stopping);
    }
    timer.poll_until(cx, at).map(|()| Waited::TimedOut)
}

/// Answers a head that can't be served, and ends the connection: what follows can't be trusted.
async fn refuse_head(app: &Arc<App>, mut connection: H1Down, refusal: Refusal) {
    connection.close_after_reply();
    let mut context = RequestContext::new(app, RequestId::of(None), &Method::GET, "");
    context.refused(refusal.status().as_u16(), refusal.code());
    let reply = LocalReply::refusal(&refusal);
    let sent = reply.send(app, &mut Down::H1(&mut connection), &Method::GET, &mut context).await;
    if sent.is_ok() {
        linger(connection).await;
    }
}

/// Says goodbye, then reads what the client still sends, within bounds.
async fn linger(mut connection: H1Down) {
    let leaving = async {
        connection.wire.close().await;
        let mut dropped = 0;
        while dropped < LINGER_BYTES_MAX {
            connection.wire.input = BytesMut::new();
            match std::future::poll_fn(|cx| connection.wire.poll_read(cx, HEAD_READ_BYTES)).await {
                Ok(n @ 1..) => dropped += n,
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIMEOUT, leaving).await;
}

/// Says goodbye. A client that does not take it is not waited for.
async fn close(mut connection: H1Down) {
    let _ = tokio::time::timeout(LINGER_TIMEOUT, connection.wire.close()).await;
}
