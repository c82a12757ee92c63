//! An upstream that is as loose as upstreams are: it takes what it can read as a request, answers 200,
//! and remembers every head byte for byte. What a gateway lets through is seen here.
//!
//! Invariants: a request is remembered when all of it has come, trailers included, and before it is
//! answered; the gateway's own discovery and probes are answered and not remembered.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The most requests remembered.
const SEEN_MAX: usize = 10_000;
const IDLE_MAX: Duration = Duration::from_secs(30);
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// From the request line to the last header, lines as sent; trailers after them, marked as such.
    pub head: String,
    pub body_len: usize,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or_default()
    }

    /// The request target.
    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }
}

/// A recording upstream; dropping it ends it.
pub struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<VecDeque<Seen>>>,
    accepting: JoinHandle<()>,
}

impl Recorder {
    /// Serves `model` on a free port, below any path.
    pub async fn start(model: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::default();
        let accepting = tokio::spawn(accept(listener, model.to_owned(), Arc::clone(&seen)));
        Ok(Self { address, seen, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came since the last call, oldest first.
    pub fn take(&self) -> Vec<Seen> {
        lock(&self.seen).drain(..).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(seen: &Mutex<VecDeque<Seen>>) -> std::sync::MutexGuard<'_, VecDeque<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, model: String, seen: Arc<Mutex<VecDeque<Seen>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (model, seen) = (model.clone(), Arc::clone(&seen));
        // A connection that breaks is over; what it brought before is remembered.
        tokio::spawn(async move {
            let _ = converse(stream, &model, &seen).await;
        });
    }
}

async fn converse(stream: TcpStream, model: &str, seen: &Mutex<VecDeque<Seen>>) -> io::Result<()> {
    let mut input = Input { stream, buffer: Vec::new() };
    loop {
        let request = input.request().await?;
        let body = if is_of_nobody(&request) {
            json!({"object": "list", "data": [{"id": model, "object": "model"}]})
        } else {
            let mut seen = lock(seen);
            if seen.len() == SEEN_MAX {
                seen.pop_front();
            }
            seen.push_back(request);
            drop(seen);
            answer(model)
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        input.stream.write_all(format!("{head}{body}").as_bytes()).await?;
    }
}

fn answer(model: &str) -> serde_json::Value {
    json!({
        "id": "x", "object": "chat.completion", "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    })
}

/// The registry asks for the models by itself, and gateways whether it is ready; what they forward carries a request
/// id.
fn is_of_nobody(request: &Seen) -> bool {
    request.line().starts_with("GET ")
        && ["/v1/models", "/v1/health/ready"].iter().any(|path| request.target().ends_with(path))
        && !request.head.to_ascii_lowercase().contains("\r\nx-request-id:")
}

struct Input {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Input {
    async fn request(&mut self) -> io::Result<Seen> {
        let end = self.find(b"\r\n\r\n").await?;
        let head = self.take(end);
        self.take(4);
        let mut head: String = head.iter().copied().map(char::from).collect();
        let body_len = if value(&head, "transfer-encoding").to_ascii_lowercase().contains("chunked") {
            self.chunks(&mut head).await?
        } else {
            let length = value(&head, "content-length").parse().unwrap_or(0);
            self.fill(length).await?;
            self.take(length);
            length
        };
        Ok(Seen { head, body_len })
    }

    async fn chunks(&mut self, head: &mut String) -> io::Result<usize> {
        let mut total = 0;
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            self.fill(size.saturating_add(2)).await?;
            self.take(size + 2);
            total += size;
        }
        loop {
            let trailer = self.line().await?;
            if trailer.is_empty() {
                return Ok(total);
            }
            head.push_str("\r\n[trailer] ");
            head.push_str(&trailer);
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let end = self.find(b"\r\n").await?;
        let line = self.take(end);
        self.take(2);
        Ok(line.iter().copied().map(char::from).collect())
    }

    async fn find(&mut self, end: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Ok(at);
            }
            self.more().await?;
        }
    }

    async fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(())
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.buffer.len() > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let reading = timeout(IDLE_MAX, self.stream.read_buf(&mut self.buffer)).await;
        match reading.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }
}

/// The values of a header, joined: loose readers do that.
fn value(head: &str, name: &str) -> String {
    let values = head.split("\r\n").skip(1).filter_map(|line| {
        let (n, value) = line.split_once(':')?;
        n.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    });
    values.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn send(recorder: &Recorder, raw: &str) -> String {
        let mut stream = TcpStream::connect(recorder.address()).await.unwrap();
        stream.write_all(raw.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn requests_of_a_connection_are_remembered_in_order_with_their_trailers() {
        let recorder = Recorder::start("m").await.unwrap();
        let first = "POST /a HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc";
        let second =
            "POST /b HTTP/1.1\r\nTransfer-Encoding: x-chunked\r\n\r\n2;a=b\r\nab\r\n0\r\nX-T: 1\r\n\r\n";
        let text = send(&recorder, &format!("{first}{second}")).await;
        assert_eq!(text.matches("HTTP/1.1 200").count(), 2);
        let seen = recorder.take();
        assert_eq!((seen[0].target(), seen[0].body_len), ("/a", 3));
        assert_eq!((seen[1].line(), seen[1].body_len), ("POST /b HTTP/1.1", 2));
        assert!(seen[1].head.ends_with("\r\n[trailer] X-T: 1"));
        assert!(recorder.take().is_empty());
    }

    #[tokio::test]
    async fn discovery_is_answered_and_not_remembered() {
        let recorder = Recorder::start("m").await.unwrap();
        let text = send(&recorder, "GET /base/v1/models HTTP/1.1\r\n\r\n").await;
        assert!(text.contains(r#""id":"m""#));
        assert!(recorder.take().is_empty());
        send(&recorder, "GET /base/v1/models HTTP/1.1\r\nX-Request-Id: 1\r\n\r\n").await;
        assert_eq!(recorder.take().len(), 1);
    }
}
