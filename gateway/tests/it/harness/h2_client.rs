//! An HTTP/2 client, one stream at a time under the test's control.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::raw::Io;
use super::within;

pub struct H2Client {
    send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

pub struct H2Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// Why the stream ended, when it did not end properly.
    pub error: Option<h2::Error>,
}

impl H2Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub fn post(target: &str) -> http::request::Builder {
    Request::post(format!("http://gateway.test{target}")).header("content-type", "application/json")
}

pub fn get(target: &str) -> http::request::Builder {
    Request::get(format!("http://gateway.test{target}"))
}

impl H2Client {
    /// Prior knowledge: HTTP/2 from the first byte.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    pub async fn over(stream: impl Io) -> Self {
        Self::with(h2::client::Builder::new(), stream).await
    }

    pub async fn with(builder: h2::client::Builder, stream: impl Io) -> Self {
        let (send, connection) = within("the HTTP/2 handshake", builder.handshake(stream)).await.unwrap();
        // How the connection ends is told to its streams.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self { send, driver }
    }

    /// For a request that is not made by the rules.
    pub async fn ready(&mut self) -> Result<SendRequest<Bytes>, h2::Error> {
        within("room for a stream", self.send.clone().ready()).await
    }

    /// Sends a head; the body is the test's to send.
    pub async fn open(&mut self, request: http::request::Builder) -> (ResponseFuture, SendStream<Bytes>) {
        let mut send = within("room for a stream", self.send.clone().ready()).await.unwrap();
        send.send_request(request.body(()).unwrap(), false).unwrap()
    }

    /// Sends a request whole and gives its answer's head and body stream.
    pub async fn start(
        &mut self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Response<RecvStream> {
        let body = body.into();
        let mut send = within("room for a stream", self.send.clone().ready()).await.unwrap();
        let (answer, mut up) = send.send_request(request.body(()).unwrap(), body.is_empty()).unwrap();
        if !body.is_empty() {
            up.send_data(body, true).unwrap();
        }
        within("the answer's head", answer).await.unwrap()
    }

    pub async fn ask(&mut self, request: http::request::Builder, body: impl Into<Bytes>) -> H2Reply {
        let answer = self.start(request, body).await;
        collect(answer).await
    }

    /// Drops the connection without a word.
    pub fn vanish(self) {
        self.driver.abort();
    }
}

impl Drop for H2Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Reads an answer to its end.
pub async fn collect(answer: Response<RecvStream>) -> H2Reply {
    let (parts, mut stream) = answer.into_parts();
    let mut reply = H2Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: vec![],
        trailers: None,
        error: None,
    };
    while let Some(data) = within("the answer's body", stream.data()).await {
        match data {
            Ok(data) => {
                stream.flow_control().release_capacity(data.len()).unwrap();
                reply.body.extend_from_slice(&data);
            }
            Err(error) => {
                reply.error = Some(error);
                return reply;
            }
        }
    }
    match within("the answer's trailers", stream.trailers()).await {
        Ok(trailers) => reply.trailers = trailers,
        Err(error) => reply.error = Some(error),
    }
    reply
}

/// Reads until `wanted` has come.
pub async fn until(stream: &mut RecvStream, seen: &mut BytesMut, wanted: &str) {
    while memchr::memmem::find(seen, wanted.as_bytes()).is_none() {
        let data = within(wanted, stream.data()).await.expect("the stream ended").unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        seen.extend_from_slice(&data);
    }
}
