//! Client connections: what protocol they speak, and their requests one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use http::Method;
use pingora::apps::ServerApp;
use pingora::protocols::http::v2::server::{H2Accept, HttpSession, default_h2_options, handshake};
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::tls::ALPN;
use pingora::protocols::{Digest, Stream};
use pingora::server::ShutdownWatch;
use tokio::time::Instant;

use super::app::App;
use super::context::{RequestContext, RequestId};
use super::down::{Down, RequestView};
use super::down_h1::H1Down;
use super::down_h2::H2Down;
use super::encode::Fields;
use super::local::LocalReply;
use super::serve::{Served, serve};
use super::wire::Wire;
use crate::h1::head::BodyLength;
use crate::h1::{HeadError, HeadLimits, RequestHead, parse_request};
use crate::refusal::Refusal;

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_READ_BYTES: usize = 8 * 1024;
/// Receive windows of HTTP/2: bound what clients can make us hold.
const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Malformed streams before the whole connection is given up.
const H2_MALFORMED_MAX: usize = 32;
/// After an answer that ends a connection whose request was not read: how long, and how much, is
/// read and dropped, so that the client sees the answer and not a reset.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// After a stop: how long an idle connection may still bring a request, which is then its last. Closing
/// at once would race with a request already on its way.
const LAST_REQUEST_WAIT: Duration = Duration::from_millis(500);

/// The application behind every public listener.
pub struct Listener(pub Arc<App>);

#[async_trait]
impl ServerApp for Listener {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let app = &self.0;
        // Over the limit the connection is closed at once: an answer would cost what is missing.
        let _place = app.enter_connection()?;
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            serve_h2(app, stream, shutdown.clone()).await;
            return None;
        }
        let plaintext = stream.get_ssl_digest().is_none();
        let mut wire = Wire::new(stream);
        match tell_protocol(app, &mut wire, plaintext, shutdown).await {
            Protocol::H1 => serve_h1(app, wire, shutdown.clone()).await,
            Protocol::H2 => {
                if let Some(stream) = rewound(wire) {
                    serve_h2(app, stream, shutdown.clone()).await;
                }
            }
            Protocol::Gone => {}
        }
        None
    }
}

enum Protocol {
    H1,
    H2,
    Gone,
}

/// Reads until the first bytes say what the client speaks. An HTTP/1 head's time counts from here.
async fn tell_protocol(app: &App, wire: &mut Wire, plaintext: bool, shutdown: &ShutdownWatch) -> Protocol {
    if !plaintext {
        return Protocol::H1;
    }
    let mut deadline = Instant::now() + app.limits.head_timeout;
    let (mut shutdown, mut stopping) = (shutdown.clone(), false);
    loop {
        let n = wire.input.len().min(H2_PREFACE.len());
        if wire.input.get(..n) != H2_PREFACE.get(..n) {
            return Protocol::H1;
        }
        if n == H2_PREFACE.len() {
            return Protocol::H2;
        }
        let reading =
            tokio::time::timeout_at(deadline, std::future::poll_fn(|cx| wire.poll_read(cx, HEAD_READ_BYTES)));
        tokio::select! {
            biased;
            read = reading => match read {
                Ok(Ok(1..)) => {}
                _ => return Protocol::Gone,
            },
            () = stopped(&mut shutdown), if n == 0 && !stopping => {
                (stopping, deadline) = (true, deadline.min(Instant::now() + LAST_REQUEST_WAIT));
            }
        }
    }
}

/// Resolves when the process is asked to stop.
async fn stopped(shutdown: &mut ShutdownWatch) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// The stream with what was read put back.
fn rewound(wire: Wire) -> Option<Stream> {
    let mut wire = wire;
    let read = wire.input.split();
    let mut stream = wire.into_io().into_any().downcast::<L4Stream>().ok()?;
    stream.rewind(&read);
    Some(stream)
}

async fn serve_h1(app: &Arc<App>, wire: Wire, mut shutdown: ShutdownWatch) {
    let mut connection = H1Down::new(wire);
    let mut first = true;
    for left in (0..app.limits.requests_per_connection_max).rev() {
        let head = match next_head(app, &mut connection.wire, first, &mut shutdown).await {
            Next::Head(head) => head,
            Next::Refuse(refusal) => return refuse_head(app, connection, refusal).await,
            Next::Close => return connection.wire.close().await,
        };
        first = false;
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
            Served::Broken => return connection.wire.close().await,
            Served::ClientGone => return,
        }
    }
}

enum Next {
    Head(Box<RequestHead>),
    Refuse(Refusal),
    Close,
}

/// The next request's head. It has `keep_alive_timeout` to begin (the first one `head_timeout`), and
/// from its first byte `head_timeout` to be complete.
async fn next_head(app: &App, wire: &mut Wire, first: bool, shutdown: &mut ShutdownWatch) -> Next {
    let limits = &app.limits;
    let head_limits = HeadLimits {
        bytes_max: limits.head_bytes_max,
        target_bytes_max: limits.target_bytes_max,
        lines_max: limits.header_lines_max,
    };
    let (mut began, mut stopping, mut deadline) = (false, false, None);
    loop {
        match parse_request(&mut wire.input, &head_limits) {
            Ok(Some(head)) => return Next::Head(Box::new(head)),
            Ok(None) => {}
            Err(error) => return Next::Refuse(Refusal::Head(error)),
        }
        if !began && !wire.input.is_empty() {
            (began, deadline) = (true, None);
        }
        let limit = match (began, stopping) {
            (true, _) => limits.head_timeout,
            (false, false) if first => limits.head_timeout,
            (false, false) => limits.keep_alive_timeout,
            (false, true) => LAST_REQUEST_WAIT,
        };
        let at = *deadline.get_or_insert_with(|| Instant::now() + limit);
        let idle = wire.input.is_empty();
        let reading =
            tokio::time::timeout_at(at, std::future::poll_fn(|cx| wire.poll_read(cx, HEAD_READ_BYTES)));
        tokio::select! {
            biased;
            read = reading => match read {
                Ok(Ok(1..)) => {}
                Ok(_) => return Next::Close,
                Err(_) if idle => return Next::Close,
                Err(_) => return Next::Refuse(Refusal::HeadTimeout),
            },
            () = stopped(shutdown), if !stopping => {
                stopping = true;
                deadline = deadline.filter(|_| began);
            }
        }
    }
}

/// Answers a head that can't be served, and ends the connection: what follows can't be trusted.
async fn refuse_head(app: &Arc<App>, mut connection: H1Down, refusal: Refusal) {
    connection.close_after_reply();
    let mut context = RequestContext::new(app, RequestId::of(None), &Method::GET, "");
    context.refused(refusal.status().as_u16(), refusal.code());
    let mut reply = LocalReply::refusal(&refusal);
    if refusal != Refusal::Head(HeadError::Method) {
        reply.allow = None;
    }
    let sent = reply.send(app, &mut Down::H1(&mut connection), &Method::GET, &mut context).await;
    if sent.is_ok() {
        linger(connection).await;
    }
}

/// Says goodbye, then reads what the client still sends, within bounds.
async fn linger(mut connection: H1Down) {
    connection.wire.close().await;
    let reading = async {
        let mut dropped = 0;
        while dropped < LINGER_BYTES_MAX {
            connection.wire.input = BytesMut::new();
            match std::future::poll_fn(|cx| connection.wire.poll_read(cx, HEAD_READ_BYTES)).await {
                Ok(n @ 1..) => dropped += n,
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIMEOUT, reading).await;
}

async fn serve_h2(app: &Arc<App>, stream: Stream, mut shutdown: ShutdownWatch) {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(app.limits.h2_streams_max)
        .max_header_list_size(u32::try_from(app.limits.head_bytes_max).unwrap_or(u32::MAX))
        .initial_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES);
    let shaking = tokio::time::timeout(app.limits.head_timeout, handshake(stream, Some(options)));
    let Ok(Ok(mut connection)) = shaking.await else { return };
    let active = Arc::new(AtomicUsize::new(0));
    let (mut malformed, mut stopping) = (0, false);
    loop {
        let idle_limit = app.limits.keep_alive_timeout;
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut shutdown), if !stopping => {
                connection.graceful_shutdown();
                stopping = true;
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
            () = tokio::time::sleep(idle_limit) => {
                if active.load(Ordering::Relaxed) == 0 {
                    return;
                }
                continue;
            }
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                let (app, stream) = (Arc::clone(app), ActiveStream::enter(&active));
                tokio::spawn(async move {
                    let _stream = stream;
                    serve_stream(&app, session).await;
                });
            }
            Ok(Some(H2Accept::Rejected)) if malformed < H2_MALFORMED_MAX => malformed += 1,
            _ => return,
        }
    }
}

/// Counts a connection's streams, however they end.
struct ActiveStream(Arc<AtomicUsize>);

impl ActiveStream {
    fn enter(active: &Arc<AtomicUsize>) -> Self {
        active.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(active))
    }
}

impl Drop for ActiveStream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve_stream(app: &Arc<App>, session: HttpSession) {
    let head = session.req_header().clone();
    let mut stream = H2Down::new(session);
    let method = head.method.clone();
    let length = head.headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    let request = RequestView {
        method: &method,
        target: head.uri.path_and_query().map_or("/", |target| target.as_str()),
        fields: Fields::Map(&head.headers),
        body: match length {
            _ if stream.body_done() => BodyLength::Empty,
            Some(length) => BodyLength::Known(length),
            None => BodyLength::Chunked,
        },
        websocket: false,
    };
    let served = match check_h2(app, request) {
        Ok(()) => serve(app, &mut Down::H2(&mut stream), request).await,
        Err(refusal) => {
            let mut context = RequestContext::new(app, RequestId::of(None), &method, "");
            context.refused(refusal.status().as_u16(), refusal.code());
            let mut down = Down::H2(&mut stream);
            let sent = LocalReply::refusal(&refusal).send(app, &mut down, &method, &mut context).await;
            if sent.is_ok() { Served::Whole } else { Served::ClientGone }
        }
    };
    if served == Served::Whole && !stream.body_done() {
        // Dropping the stream now would reset it, and the answer might be lost.
        let draining = std::future::poll_fn(|cx| {
            loop {
                match std::task::ready!(stream.poll_body(cx, &mut drop)) {
                    Ok(super::down::Upload::Progress) => {}
                    _ => return std::task::Poll::Ready(()),
                }
            }
        });
        let _ = tokio::time::timeout(LINGER_TIMEOUT, draining).await;
    }
}

/// What the HTTP/1 parser checks and the HTTP/2 session does not.
fn check_h2(app: &App, request: RequestView<'_>) -> Result<(), Refusal> {
    let refuse = |error| Err(Refusal::Head(error));
    if matches!(*request.method, Method::TRACE | Method::CONNECT) {
        return refuse(HeadError::Method);
    }
    if request.target.len() > app.limits.target_bytes_max {
        return refuse(HeadError::TargetTooLong);
    }
    let (mut lines, mut underscore) = (0, false);
    request.fields.for_each(|name, _| {
        lines += 1;
        underscore |= name.contains(&b'_');
    });
    if lines > app.limits.header_lines_max {
        return refuse(HeadError::TooManyLines);
    }
    if underscore { refuse(HeadError::Underscore) } else { Ok(()) }
}
