//! An HTTP/2 connection: its streams, each a request in a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use pingora::protocols::http::v2::server::{H2Accept, HttpSession, default_h2_options, handshake};
use pingora::protocols::{Digest, Stream};
use pingora::server::ShutdownWatch;

use super::app::App;
use super::connection::LINGER_TIMEOUT;
use super::context::{RequestContext, RequestId};
use super::down::{Down, RequestView};
use super::down_h2::H2Down;
use super::encode::Fields;
use super::local::LocalReply;
use super::serve::{Served, serve};
use crate::h1::HeadError;
use crate::h1::head::BodyLength;
use crate::refusal::Refusal;

/// Receive windows of HTTP/2: bound what clients can make us hold.
const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Malformed streams before the whole connection is given up.
const H2_MALFORMED_MAX: usize = 32;

pub async fn serve_h2(app: &Arc<App>, stream: Stream, shutdown: &ShutdownWatch) {
    let mut shutdown = shutdown.clone();
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
        origin: head.headers.get(http::header::ORIGIN).and_then(|origin| origin.to_str().ok()),
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

/// Resolves when the process is asked to stop.
async fn stopped(shutdown: &mut ShutdownWatch) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}
