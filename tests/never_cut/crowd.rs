//! Clients that ask and stream without end, try nothing again, and write down whatever is not as it should be.
//!
//! They are as good as clients must be and no better. One that keeps a connection uses it only while it was idle for less
//! than [`IDLE_MAX`], and makes a new one when the old one was closed between two requests, or said that it takes no
//! more before a byte of the next one was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use integration_tests::client::{RequestBody, chat_body, stream_body};
use integration_tests::{DEADLINE, eventually};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

pub const CHAT: &str = "/v1/chat/completions";
/// Less than a server that stops gives for a last request.
const IDLE_MAX: Duration = Duration::from_millis(250);
/// Between two requests of one client.
const PACE: Duration = Duration::from_millis(200);
/// Between two streams of one client.
const NO_PAUSE: Duration = Duration::from_millis(1);
/// Streams on one HTTP/2 connection.
const STREAMS_PER_CONNECTION: usize = 25;
/// One in so many clients speaks HTTP/2.
const HTTP2_SHARE: usize = 5;

/// Where clients go.
#[derive(Clone)]
pub struct Site {
    /// The address for the next connection.
    pub address: Arc<dyn Fn() -> SocketAddr + Send + Sync>,
    pub tls: Option<TlsConnector>,
}

impl Site {
    pub fn at(address: SocketAddr) -> Self {
        Self { address: Arc::new(move || address), tls: None }
    }
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

#[derive(Clone, Copy)]
pub struct Size {
    /// That run at once.
    pub streams: usize,
    /// Tokens of each, one every half second.
    pub tokens: usize,
    pub requests_per_second: usize,
}

/// What all clients saw.
#[derive(Default)]
pub struct Seen {
    answered: AtomicUsize,
    streaming: AtomicUsize,
    streamed: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

pub struct Crowd {
    seen: Arc<Seen>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    NewConnections,
    KeepsOne,
    Http2,
}

impl Crowd {
    pub fn start(site: &Site, size: Size) -> Self {
        let (seen, stop) = (Arc::new(Seen::default()), watch::Sender::new(false));
        let mut crowd = Self { seen, stop, clients: JoinSet::new() };
        let prompt = format!("[[sim: tokens={},token-ms=500]] hello", size.tokens);
        let over_http2 = size.streams / HTTP2_SHARE;
        let alone = std::iter::repeat_n((Manner::NewConnections, 1), size.streams - over_http2);
        let shared = std::iter::repeat_n(
            (Manner::Http2, STREAMS_PER_CONNECTION),
            over_http2.div_ceil(STREAMS_PER_CONNECTION),
        );
        for (manner, streams) in alone.chain(shared) {
            let connection = Arc::new(tokio::sync::Mutex::new(Connection::new(site, manner)));
            for _ in 0..streams {
                let body = stream_body("m", &prompt).to_string();
                crowd.client(Arc::clone(&connection), Ask { kind: Kind::Stream, body });
            }
        }
        let clients = (size.requests_per_second as u64 * PACE.as_millis() as u64 / 1_000) as usize;
        for n in 0..clients {
            let manner = match n % HTTP2_SHARE {
                0 => Manner::Http2,
                1 | 2 => Manner::KeepsOne,
                _ => Manner::NewConnections,
            };
            let ask = Ask { kind: Kind::Chat, body: chat_body("m", "hi").to_string() };
            crowd.client(Arc::new(tokio::sync::Mutex::new(Connection::new(site, manner))), ask);
        }
        crowd
    }

    /// Looks all the time whether who is there is ready, as a balancer does; not being so is wrong.
    pub fn expect_ready(&mut self, site: &Site) {
        for manner in [Manner::NewConnections, Manner::KeepsOne, Manner::Http2] {
            let ask = Ask { kind: Kind::Look, body: String::new() };
            self.client(Arc::new(tokio::sync::Mutex::new(Connection::new(site, manner))), ask);
        }
    }

    fn client(&mut self, connection: Arc<tokio::sync::Mutex<Connection>>, ask: Ask) {
        let (seen, stopped) = (Arc::clone(&self.seen), self.stop.subscribe());
        self.clients.spawn(async move {
            let mut ticks = interval(if ask.kind == Kind::Stream { NO_PAUSE } else { PACE });
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !*stopped.borrow() {
                ticks.tick().await;
                if let Err(what) = ask.once(&connection, &seen).await {
                    seen.wrong.lock().push(what);
                }
            }
        });
    }

    /// Waits until that many streams run at once.
    pub async fn all_stream(&self, streams: usize) {
        let running = async || (self.seen.streaming.load(Relaxed) >= streams).then_some(());
        eventually("all streams run", running).await;
    }

    /// Waits until so many more requests were answered.
    pub async fn answers(&self, more: usize) {
        let enough = self.seen.answered.load(Relaxed) + more;
        let answered = async || (self.seen.answered.load(Relaxed) >= enough).then_some(());
        eventually("requests are answered", answered).await;
    }

    /// Begins nothing new, and waits until all that runs has ended. Everything was answered, and to its end.
    pub async fn end_well(self) {
        self.stop.send_replace(true);
        let streaming = self.seen.streaming.load(Relaxed);
        timeout(2 * DEADLINE, self.clients.join_all()).await.unwrap();
        let (answered, streamed) = (self.seen.answered.load(Relaxed), self.seen.streamed.load(Relaxed));
        let wrong = self.seen.wrong.lock();
        println!(
            "{answered} answers, {streamed} streams, {streaming} of them to the end; {} went wrong",
            wrong.len()
        );
        let some: Vec<_> = wrong.iter().take(10).collect();
        assert!(wrong.is_empty(), "{} went wrong, of {answered} and {streamed}: {some:#?}", wrong.len());
        assert!(streamed >= streaming, "all streams ended");
    }
}

#[derive(Clone)]
struct Ask {
    kind: Kind,
    body: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stream,
    Chat,
    /// Whether the process at this address is ready.
    Look,
}

impl Ask {
    async fn once(&self, connection: &tokio::sync::Mutex<Connection>, seen: &Seen) -> Result<(), String> {
        let (response, sender) = self.send(connection).await?;
        let status = response.status();
        let streaming = (self.kind == Kind::Stream).then(|| Streaming::new(seen));
        let text = read(response).await?;
        drop(streaming);
        connection.lock().await.keep(sender);
        if status != 200 {
            return Err(format!("{status}: {text}"));
        }
        if self.kind != Kind::Stream {
            seen.answered.fetch_add(usize::from(self.kind == Kind::Chat), Relaxed);
            return Ok(());
        }
        if !text.ends_with("data: [DONE]\n\n") || text.contains("\"error\"") {
            return Err(format!("a stream is not whole: {text}"));
        }
        seen.streamed.fetch_add(1, Relaxed);
        Ok(())
    }

    fn request(&self) -> Request<RequestBody> {
        let (method, path) =
            if self.kind == Kind::Look { (Method::GET, "/health/ready") } else { (Method::POST, CHAT) };
        Request::builder()
            .method(method)
            .uri(format!("http://localhost{path}"))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(RequestBody::from(self.body.clone()))
            .unwrap()
    }

    async fn send(
        &self,
        connection: &tokio::sync::Mutex<Connection>,
    ) -> Result<(Response<Incoming>, Sender), String> {
        loop {
            let mut sender = connection.lock().await.sender().await?;
            let sent =
                timeout(DEADLINE, sender.send(self.request())).await.map_err(|_| "no answer in time")?;
            match sent {
                Ok(response) => return Ok((response, sender)),
                // The connection had ended before a byte of it was written.
                Err(error) if error.message().is_some() => connection.lock().await.open = None,
                Err(error) => return Err(format!("no answer: {:?}", error.into_error())),
            }
        }
    }
}

struct Streaming<'s>(&'s Seen);

impl<'s> Streaming<'s> {
    fn new(seen: &'s Seen) -> Self {
        seen.streaming.fetch_add(1, Relaxed);
        Self(seen)
    }
}

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        self.0.streaming.fetch_sub(1, Relaxed);
    }
}

async fn read(response: Response<Incoming>) -> Result<String, String> {
    let (mut body, mut text) = (response.into_body(), String::new());
    while let Some(frame) = timeout(DEADLINE, body.frame()).await.map_err(|_| "the answer stood still")? {
        let frame = frame.map_err(|error| format!("an answer broke off: {error:?} after {text}"))?;
        text.push_str(&String::from_utf8_lossy(frame.data_ref().map_or(&[], |data| data)));
    }
    Ok(text)
}

/// What requests are sent with; HTTP/2 shares it.
struct Connection {
    site: Site,
    manner: Manner,
    open: Option<(Sender, Instant)>,
}

enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

impl Sender {
    async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        }
    }
}

impl Connection {
    fn new(site: &Site, manner: Manner) -> Self {
        Self { site: site.clone(), manner, open: None }
    }

    async fn sender(&mut self) -> Result<Sender, String> {
        if let Some((mut sender, since)) = self.open.take()
            && (self.manner == Manner::Http2 || since.elapsed() < IDLE_MAX)
            && sender.is_ready().await
        {
            return Ok(self.shared(sender));
        }
        let address = (self.site.address)();
        let stream =
            timeout(DEADLINE, TcpStream::connect(address)).await.map_err(|_| "no connection in time")?;
        let stream = stream.map_err(|error| format!("no connection to {address}: {error}"))?;
        let io = TokioIo::new(self.secured(stream).await?);
        let sender = if self.manner == Manner::Http2 {
            let made = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = made.map_err(|error| format!("no HTTP/2: {error:?}"))?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let made = http1::handshake(io).await;
            let (sender, connection) = made.map_err(|error| format!("no HTTP/1.1: {error:?}"))?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Ok(self.shared(sender))
    }

    async fn secured(&self, stream: TcpStream) -> Result<Box<dyn Io>, String> {
        let Some(tls) = &self.site.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from("localhost").unwrap();
        let protocol = if self.manner == Manner::Http2 { "h2" } else { "http/1.1" };
        let shaking = tls.with_alpn(vec![protocol.into()]).connect(name, stream);
        let shaken = timeout(DEADLINE, shaking).await.map_err(|_| "no TLS in time")?;
        Ok(Box::new(shaken.map_err(|error| format!("no TLS: {error}"))?))
    }

    fn shared(&mut self, sender: Sender) -> Sender {
        if let Sender::Http2(shared) = &sender {
            self.open = Some((Sender::Http2(shared.clone()), Instant::now()));
        }
        sender
    }

    fn keep(&mut self, sender: Sender) {
        if matches!(sender, Sender::Http1(_)) && self.manner == Manner::KeepsOne {
            self.open = Some((sender, Instant::now()));
        }
    }
}
