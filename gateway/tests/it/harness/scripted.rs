//! An upstream that does what a script says, byte by byte, and keeps what it heard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::raw::{Io, RawClient, header_values};
use super::{DEADLINE, within};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Heard {
    pub head: String,
    /// Without transfer coding.
    pub body: Vec<u8>,
    pub trailers: String,
}

impl Heard {
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All values of one header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        header_values(&self.head, name)
    }
}

#[derive(Clone, Default)]
struct Log {
    heard: Arc<watch::Sender<Vec<Heard>>>,
    connections: Arc<watch::Sender<usize>>,
    open: Arc<watch::Sender<usize>>,
}

pub struct Scripted {
    pub address: SocketAddr,
    log: Log,
    accepting: JoinHandle<()>,
}

/// One connection, in the hands of a script.
pub struct Line<S = TcpStream> {
    pub wire: RawClient<S>,
    log: Log,
}

impl Scripted {
    /// Runs `script` for each connection.
    pub async fn start<F, R>(script: F) -> Self
    where
        F: Fn(Line) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::over(|stream: TcpStream| async move { Some(stream) }, script).await
    }

    /// The same above whatever `wrap` makes of a connection, such as TLS.
    pub async fn over<S, W, V, F, R>(wrap: W, script: F) -> Self
    where
        S: Io,
        W: Fn(TcpStream) -> V + Send + 'static,
        V: Future<Output = Option<S>> + Send + 'static,
        F: Fn(Line<S>) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), wrap, script)
    }

    /// The same for a port that a test had before.
    pub fn at<S, W, V, F, R>(listener: TcpListener, wrap: W, script: F) -> Self
    where
        S: Io,
        W: Fn(TcpStream) -> V + Send + 'static,
        V: Future<Output = Option<S>> + Send + 'static,
        F: Fn(Line<S>) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let log = Log::default();
        let connections = log.clone();
        let accepting = tokio::spawn(async move {
            let mut running = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                connections.connections.send_modify(|count| *count += 1);
                let Some(stream) = wrap(stream).await else { continue };
                connections.open.send_modify(|count| *count += 1);
                let line = Line { wire: RawClient::over(stream), log: connections.clone() };
                running.spawn(script(line));
            }
        });
        Self { address, log, accepting }
    }

    /// Answers every request with the same bytes, on connections that stay open.
    pub async fn answering(answer: impl AsRef<[u8]>) -> Self {
        let answer: Arc<[u8]> = answer.as_ref().into();
        Self::start(move |mut line| {
            let answer = Arc::clone(&answer);
            async move {
                while line.request().await.is_some() {
                    line.write(&answer).await;
                }
            }
        })
        .await
    }

    /// Answers every request with 200 and `{}`.
    pub async fn obliging() -> Self {
        Self::answering(json_reply("{}")).await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.log.heard.borrow().clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        *self.log.connections.borrow()
    }

    /// Connections whose scripts still run.
    pub fn open(&self) -> usize {
        *self.log.open.borrow()
    }

    /// Waits until so many requests were heard whole.
    pub async fn heard_requests(&self, count: usize) -> Vec<Heard> {
        let mut heard = self.log.heard.subscribe();
        let seen = within("requests at the upstream", heard.wait_for(|heard| heard.len() >= count)).await;
        seen.unwrap().clone()
    }

    pub async fn accepted(&self, count: usize) {
        let mut connections = self.log.connections.subscribe();
        within("connections at the upstream", connections.wait_for(|now| *now >= count)).await.unwrap();
    }

    /// Goes away: nobody listens any more, and all connections are closed.
    pub async fn end(self) {
        self.accepting.abort();
        self.left_alone().await;
    }

    /// Waits until the scripts of all connections have ended.
    pub async fn left_alone(&self) {
        let mut open = self.log.open.subscribe();
        within("the connections at the upstream close", open.wait_for(|open| *open == 0)).await.unwrap();
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl<S: Io> Line<S> {
    /// Reads a whole request; none: the gateway has closed the connection.
    pub async fn request(&mut self) -> Option<Heard> {
        let head = self.head().await?;
        let heard = self.body_of(head).await?;
        self.log.heard.send_modify(|all| all.push(heard.clone()));
        Some(heard)
    }

    /// Reads a request's head and leaves its body.
    pub async fn head(&mut self) -> Option<String> {
        super::raw::read_head(&mut self.wire.stream, &mut self.wire.seen).await
    }

    async fn body_of(&mut self, head: String) -> Option<Heard> {
        let mut heard = Heard { head, body: vec![], trailers: String::new() };
        if heard.header("transfer-encoding") == Some("chunked") {
            let (stream, seen) = (&mut self.wire.stream, &mut self.wire.seen);
            super::raw::read_chunks(stream, seen, &mut heard.body, &mut heard.trailers).await?;
        } else if let Some(length) = heard.header("content-length").map(|length| length.parse().unwrap()) {
            super::raw::fill(&mut self.wire.stream, &mut self.wire.seen, length).await?;
            heard.body = self.wire.seen.split_to(length).to_vec();
        }
        Some(heard)
    }

    /// Writes; a gateway that has left is not the script's concern.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire.stream.write_all(bytes.as_ref()).await;
        let _ = self.wire.stream.flush().await;
    }

    /// Waits until the gateway closes this connection.
    pub async fn left(&mut self) {
        let _ = tokio::time::timeout(DEADLINE, self.wire.rest()).await;
    }

    /// Stays silent until the gateway closes this connection or the test is over.
    pub async fn hang(&mut self) {
        self.left().await;
    }
}

impl Line {
    pub fn reset(self) {
        self.wire.stream.set_zero_linger().unwrap();
    }
}

impl<S> Drop for Line<S> {
    fn drop(&mut self) {
        self.log.open.send_modify(|count| *count -= 1);
    }
}

/// An answer with a JSON body and its length.
pub fn json_reply(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub const SSE_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// One chunk.
pub fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

pub const LAST_CHUNK: &str = "0\r\n\r\n";

/// So short that a test which waits for it ends soon.
pub const SOON: Duration = Duration::from_millis(150);
