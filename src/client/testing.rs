//! A gateway for tests: it answers each request with prepared bytes and remembers what was asked.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::api::Api;
use crate::cli::{Connection, Output, View};

/// `METHOD /path` and body of each request, in order.
pub type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Serves `answer` (a whole HTTP answer for a request line) on a free port.
pub async fn gateway(answer: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> (Api, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        for nth in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            one(stream, &seen, |line| answer(line, nth)).await;
        }
    });
    let view = View { workspace: "default".into(), output: Output::Json, ca: None };
    (Api::new(&Connection { url, view }).unwrap(), asked)
}

async fn one(stream: TcpStream, asked: &Asked, answer: impl Fn(&str) -> String + Send + Sync) {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let first = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let bytes = answer(&first);
    asked.lock().unwrap().push((first, String::from_utf8(body).unwrap()));
    stream.write_all(bytes.as_bytes()).await.unwrap();
}

pub fn json(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// A stream that ends as HTTP wants it.
pub fn events(body: &str) -> String {
    format!("{}0\r\n\r\n", cut_events(body))
}

/// A stream whose connection goes away.
pub fn cut_events(body: &str) -> String {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{:x}\r\n{body}\r\n", body.len())
}
