//! Client connections: what protocol they speak.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::tls::ALPN;
use pingora::server::ShutdownWatch;
use tokio::time::Instant;

use super::app::App;
use super::connection_h1::serve_h1;
use super::connection_h2::serve_h2;
use super::timer::StopWatch;
use super::wire::Wire;

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const HEAD_READ_BYTES: usize = 8 * 1024;
/// After an answer that ends a connection or a stream whose request was not read: how long what the
/// client still sends is read and dropped.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// After a stop: how long an idle connection may still bring a request, which is then its last. Closing
/// at once would race with a request already on its way.
pub const LAST_REQUEST_WAIT: Duration = Duration::from_millis(500);

/// The application behind every public listener.
pub struct Listener(pub Arc<App>);

#[async_trait]
impl ServerApp for Listener {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let app = &self.0;
        // Over the limit the connection is closed at once: an answer would cost what is missing.
        let _place = app.enter_connection()?;
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            Box::pin(serve_h2(app, stream, shutdown)).await;
            return None;
        }
        let plaintext = stream.get_ssl_digest().is_none();
        let mut wire = Wire::new(stream);
        let head_deadline = Instant::now() + app.limits.head_timeout;
        match tell_protocol(&mut wire, plaintext, head_deadline, shutdown).await {
            Protocol::H1 => serve_h1(app, wire, head_deadline, shutdown).await,
            Protocol::H2 => {
                if let Some(stream) = rewound(wire) {
                    Box::pin(serve_h2(app, stream, shutdown)).await;
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
async fn tell_protocol(
    wire: &mut Wire,
    plaintext: bool,
    head_deadline: Instant,
    shutdown: &ShutdownWatch,
) -> Protocol {
    if !plaintext {
        return Protocol::H1;
    }
    let mut deadline = head_deadline;
    let (mut stop, mut stopping) = (StopWatch::new(shutdown), false);
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
            () = std::future::poll_fn(|cx| stop.poll(cx)), if n == 0 && !stopping => {
                (stopping, deadline) = (true, deadline.min(Instant::now() + LAST_REQUEST_WAIT));
            }
        }
    }
}

/// The stream with what was read put back.
fn rewound(wire: Wire) -> Option<Stream> {
    let mut wire = wire;
    let read = wire.input.split();
    let mut stream = wire.into_io().into_any().downcast::<L4Stream>().ok()?;
    stream.rewind(&read);
    Some(stream)
}
