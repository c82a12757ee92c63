//! A raw HTTP/1.1 client: it sends exactly the bytes it is given and says how an answer ended.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::{DEADLINE, within};

/// Bytes that go both ways.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// One request, written down.
#[derive(Clone)]
pub struct Ask {
    method: String,
    target: String,
    headers: String,
    body: Body,
}

#[derive(Clone)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunks(Vec<u8>, usize),
}

impl Ask {
    pub fn new(method: &str, target: &str) -> Self {
        let headers = "host: gateway.test\r\n".to_owned();
        Self { method: method.into(), target: target.into(), headers, body: Body::None }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A JSON body, with its length.
    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target).header("content-type", "application/json").body(body)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// What the simulated upstream is to do to this request.
    pub fn fault(self, fault: &str) -> Self {
        self.header("x-sim-fault", fault)
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Body::Length(body.as_ref().to_vec());
        self
    }

    /// Sends the body in chunks of so many bytes.
    pub fn chunked(mut self, chunk_bytes: usize) -> Self {
        self.body = match self.body {
            Body::None => Body::Chunks(vec![], chunk_bytes),
            Body::Length(body) | Body::Chunks(body, _) => Body::Chunks(body, chunk_bytes),
        };
        self
    }

    /// Line by line as it is sent, up to the empty line.
    pub fn head(&self) -> Vec<u8> {
        let framing = match &self.body {
            Body::None => String::new(),
            Body::Length(body) => format!("content-length: {}\r\n", body.len()),
            Body::Chunks(..) => "transfer-encoding: chunked\r\n".into(),
        };
        format!("{} {} HTTP/1.1\r\n{}{framing}\r\n", self.method, self.target, self.headers).into_bytes()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.head();
        match &self.body {
            Body::None => {}
            Body::Length(body) => out.extend_from_slice(body),
            Body::Chunks(body, size) => {
                for chunk in body.chunks(*size) {
                    out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    out.extend_from_slice(chunk);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"0\r\n\r\n");
            }
        }
        out
    }

    fn has_no_reply_body(&self) -> bool {
        self.method == "HEAD"
    }
}

/// The values of one header in a head.
pub fn header_values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    /// Without transfer coding.
    pub body: Vec<u8>,
    /// The trailer lines of a chunked body.
    pub trailers: String,
    /// Whether the body came to the end its framing announces.
    pub whole: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All values of one header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        header_values(&self.head, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The gateway's own error code.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Fails unless this is the gateway's own error, in both forms.
    pub fn assert_refusal(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{} {:?}", self.head, String::from_utf8_lossy(&self.body));
        let json = self.json();
        assert_eq!(json["error"]["code"], code, "{json}");
        assert_eq!(json["error"]["message"], json["detail"], "{json}");
        assert!(json["detail"].as_str().is_some_and(|text| !text.is_empty()), "{json}");
        assert!(json["error"]["type"].is_string() && json["error"].get("param").is_some(), "{json}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.header("x-request-id").is_some(), "{}", self.head);
    }
}

pub struct RawClient<S = TcpStream> {
    pub stream: S,
    pub seen: BytesMut,
}

impl RawClient {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Leaves with a RST.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

impl<S: Io> RawClient<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, seen: BytesMut::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("sending", self.stream.write_all(bytes.as_ref())).await.unwrap();
        within("sending", self.stream.flush()).await.unwrap();
    }

    /// Sends a request and reads its answer. Sending may fail: an answer may come before the end.
    pub async fn ask(&mut self, ask: &Ask) -> Reply {
        let request = ask.encode();
        let (mut read, mut write) = tokio::io::split(&mut self.stream);
        let sending = async {
            let _ = write.write_all(&request).await;
            let _ = write.flush().await;
            std::future::pending::<()>().await
        };
        let reading = read_reply(&mut read, &mut self.seen, ask.has_no_reply_body());
        within("the answer", async {
            tokio::select! {
                reply = reading => reply,
                () = sending => unreachable!(),
            }
        })
        .await
    }

    /// Reads one answer to anything but HEAD.
    pub async fn reply(&mut self) -> Reply {
        within("the answer", read_reply(&mut self.stream, &mut self.seen, false)).await
    }

    /// The same for a long answer: it takes as long as it goes on.
    pub async fn long_reply(&mut self) -> Reply {
        let mut patient =
            Patient { stream: &mut self.stream, patience: Box::pin(tokio::time::sleep(DEADLINE)) };
        read_reply(&mut patient, &mut self.seen, false).await
    }

    /// Reads a head and leaves what follows.
    pub async fn head(&mut self) -> String {
        within("the head", read_head(&mut self.stream, &mut self.seen)).await.expect("no head came")
    }

    /// Reads until `wanted` has come; gives everything up to its end.
    pub async fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = memchr::memmem::find(&self.seen, wanted.as_bytes()) {
                let text = self.seen.split_to(at + wanted.len());
                return String::from_utf8_lossy(&text).into_owned();
            }
            let read = within(wanted, self.stream.read_buf(&mut self.seen)).await;
            assert!(
                matches!(read, Ok(1..)),
                "{read:?} before {wanted:?}; read {:?}",
                String::from_utf8_lossy(&self.seen)
            );
        }
    }

    /// Reads until the connection ends; gives what came.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            match within("the end of the connection", self.stream.read_buf(&mut self.seen)).await {
                Ok(0) => break End::Fin,
                Ok(_) => {}
                Err(error) if is_reset(&error) => break End::Reset,
                Err(error) => panic!("{error}"),
            }
        };
        (self.seen.split().to_vec(), end)
    }

    /// Fails unless the connection ends without another byte.
    pub async fn assert_closed(&mut self) {
        let (rest, _) = self.rest().await;
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
}

/// Fails when nothing comes for as long as the deadline.
struct Patient<'s, S> {
    stream: &'s mut S,
    patience: Pin<Box<Sleep>>,
}

impl<S: Io> AsyncRead for Patient<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut *self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.patience.as_mut().reset(Instant::now() + DEADLINE);
            return read;
        }
        self.patience.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        || error.kind() == io::ErrorKind::UnexpectedEof
}

pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin), seen: &mut BytesMut) -> Option<String> {
    loop {
        if let Some(at) = memchr::memmem::find(seen, b"\r\n\r\n") {
            return Some(String::from_utf8(seen.split_to(at + 4).to_vec()).unwrap());
        }
        if !matches!(stream.read_buf(seen).await, Ok(1..)) {
            return None;
        }
    }
}

/// Reads an answer, its interim ones skipped.
async fn read_reply(stream: &mut (impl AsyncRead + Unpin), seen: &mut BytesMut, bodiless: bool) -> Reply {
    let head = loop {
        let head = read_head(stream, seen).await;
        let Some(head) = head else {
            panic!("the connection ended without an answer: {:?}", String::from_utf8_lossy(seen))
        };
        if !head.starts_with("HTTP/1.1 100") {
            break head;
        }
    };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    let mut reply = Reply { status, head, body: vec![], trailers: String::new(), whole: true };
    if bodiless || matches!(status, 101 | 204 | 304) {
        return reply;
    }
    if reply.header("transfer-encoding") == Some("chunked") {
        reply.whole = read_chunks(stream, seen, &mut reply.body, &mut reply.trailers).await.is_some();
    } else if let Some(length) = reply.header("content-length").map(|length| length.parse().unwrap()) {
        reply.whole = fill(stream, seen, length).await.is_some();
        reply.body = seen.split_to(length.min(seen.len())).to_vec();
    } else {
        // Until the connection ends: only an orderly end counts.
        reply.whole = loop {
            match stream.read_buf(seen).await {
                Ok(0) => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        reply.body = seen.split().to_vec();
    }
    reply
}

/// Reads a chunked body and its trailers; none: the connection ended before its end.
pub(super) async fn read_chunks(
    stream: &mut (impl AsyncRead + Unpin),
    seen: &mut BytesMut,
    body: &mut Vec<u8>,
    trailers: &mut String,
) -> Option<()> {
    loop {
        let line = read_line(stream, seen).await?;
        let size = usize::from_str_radix(&line, 16).unwrap();
        if size == 0 {
            break;
        }
        let all_there = fill(stream, seen, size).await;
        let have = size.min(seen.len());
        body.extend_from_slice(&seen.split_to(have));
        all_there?;
        fill(stream, seen, 2).await?;
        assert_eq!(&seen[..2], b"\r\n", "a chunk does not end where its size says");
        seen.advance(2);
    }
    loop {
        let line = read_line(stream, seen).await?;
        if line.is_empty() {
            return Some(());
        }
        trailers.push_str(&line);
        trailers.push('\n');
    }
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin), seen: &mut BytesMut) -> Option<String> {
    loop {
        if let Some(at) = memchr::memmem::find(seen, b"\r\n") {
            let line = String::from_utf8(seen.split_to(at).to_vec()).unwrap();
            seen.advance(2);
            return Some(line);
        }
        if !matches!(stream.read_buf(seen).await, Ok(1..)) {
            return None;
        }
    }
}

/// Reads until `size` bytes are there.
pub(super) async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    seen: &mut BytesMut,
    size: usize,
) -> Option<()> {
    while seen.len() < size {
        if !matches!(stream.read_buf(seen).await, Ok(1..)) {
            return None;
        }
    }
    Some(())
}
