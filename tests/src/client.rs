//! A small HTTP/1.1 client: one connection a request, nothing retried, nothing decoded.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::DEADLINE;

pub type RequestBody = Full<Bytes>;

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// # Panics
    /// When the body is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sends a request on a connection of its own. The answer's body comes as it comes; dropping it
/// closes the connection.
pub async fn open(address: SocketAddr, request: Request<RequestBody>) -> io::Result<Response<Incoming>> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(io::Error::other)
    };
    timeout(DEADLINE, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Sends a request and reads the whole answer.
pub async fn send(address: SocketAddr, request: Request<RequestBody>) -> io::Result<Reply> {
    let (parts, body) = open(address, request).await?.into_parts();
    let reading = timeout(DEADLINE, body.collect()).await;
    let collected = reading.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    let body = collected.map_err(io::Error::other)?.to_bytes();
    Ok(Reply { status: parts.status, headers: parts.headers, body })
}

/// # Panics
/// When method and path make no request.
pub fn request(method: Method, path: &str, body: Option<&Value>) -> Request<RequestBody> {
    let builder = Request::builder().method(method).uri(path).header("host", "localhost");
    let made = match body {
        Some(value) => builder.header("content-type", "application/json").body(Full::from(value.to_string())),
        None => builder.body(Full::default()),
    };
    made.unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A chat with one message.
pub fn chat_body(model: &str, prompt: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": prompt}]})
}

/// The same, its answer streamed.
pub fn stream_body(model: &str, prompt: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": prompt}], "stream": true})
}

/// Collects an answer's body frame by frame until `enough` says so.
///
/// # Panics
/// When the body ends or breaks first, or the deadline passes.
pub async fn read_until(body: &mut Incoming, enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    while !enough(&text) {
        match timeout(DEADLINE, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                text.push_str(&String::from_utf8_lossy(frame.data_ref().map_or(&[], |data| data)));
            }
            other => panic!("the body stopped ({other:?}) after: {text}"),
        }
    }
    text
}
