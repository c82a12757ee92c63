//! A raw HTTP/1.1 client that tells how a connection ended.

use nim_sim::{Sim, SimOptions};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Every wait in these tests ends here.
pub const DEADLINE: Duration = Duration::from_secs(10);

pub async fn sim() -> Sim {
    sim_with(SimOptions { models: vec!["m".to_owned()], ..SimOptions::default() }).await
}

pub async fn sim_with(options: SimOptions) -> Sim {
    Sim::start(options).await.unwrap()
}

#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
}

#[derive(Debug)]
pub struct Reply {
    pub head: String,
    /// Without transfer coding.
    pub body: Vec<u8>,
    /// Whether the body came to the end its head announced.
    pub complete: bool,
    /// The trailer section of a chunked body.
    pub trailers: String,
    pub end: End,
}

impl Reply {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, value) = line.split_once(": ")?;
            n.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

pub async fn connect(addr: SocketAddr) -> TcpStream {
    timeout(DEADLINE, TcpStream::connect(addr)).await.unwrap().unwrap()
}

/// Sends `request` and reads until the connection ends.
pub async fn raw(addr: SocketAddr, request: &[u8]) -> Reply {
    let mut stream = connect(addr).await;
    timeout(DEADLINE, stream.write_all(request)).await.unwrap().unwrap();
    rest(&mut stream).await
}

pub async fn rest(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let end = match timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.unwrap() {
        Ok(_) => End::Fin,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
        Err(error) => panic!("{error}"),
    };
    parse(&bytes, end)
}

/// Reads until `enough` is in; the connection stays open.
pub async fn read_until(stream: &mut TcpStream, enough: &str) -> String {
    let mut text = String::new();
    while !text.contains(enough) {
        let mut piece = [0; 4096];
        let count = timeout(DEADLINE, stream.read(&mut piece)).await.unwrap().unwrap();
        assert_ne!(count, 0, "ended before {enough:?}: {text}");
        text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    text
}

fn parse(bytes: &[u8], end: End) -> Reply {
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let at = split.map_or(bytes.len(), |at| at + 4);
    let mut reply = Reply {
        head: String::from_utf8(bytes[..at].to_vec()).unwrap(),
        body: bytes[at..].to_vec(),
        complete: split.is_some(),
        trailers: String::new(),
        end,
    };
    if reply.header("transfer-encoding") == Some("chunked") {
        let rest = std::mem::take(&mut reply.body);
        reply.complete = dechunk(&rest, &mut reply);
    } else if let Some(length) = reply.header("content-length") {
        reply.complete = length.parse() == Ok(reply.body.len());
    }
    reply
}

/// True when the last chunk and the end of the trailers were there.
fn dechunk(mut rest: &[u8], reply: &mut Reply) -> bool {
    loop {
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else { return false };
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        rest = &rest[line + 2..];
        if size == 0 {
            reply.trailers = String::from_utf8(rest.to_vec()).unwrap();
            return reply.trailers.ends_with("\r\n");
        }
        reply.body.extend_from_slice(&rest[..size.min(rest.len())]);
        let Some(next) = rest.get(size + 2..) else { return false };
        rest = next;
    }
}

pub const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello world"}]}"#;
pub const STREAM: &str =
    r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hello world"}]}"#;

pub fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

/// One chat request with a fault in its header.
pub async fn chat(sim: &Sim, fault: &str, body: &str) -> Reply {
    raw(sim.addr(), &post("/v1/chat/completions", &format!("x-sim-fault: {fault}\r\n"), body)).await
}
