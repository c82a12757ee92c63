//! The feed's wire: one HTTP request whose answer never ends, a JSON document a line. Lines are handed
//! on unparsed: of those that pile up only the newest is worth parsing. And the reports that go back.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proto_shared::feed::{
    FEED_LINE_BYTES_MAX, FEED_PATH, FEED_SILENCE_MAX_MS, GATEWAY_HEADER, GATEWAYS_PATH, GatewayId,
    GatewayReport,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::RegistryAddress;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a connection to the feed went.
pub struct Heard {
    pub lines: u64,
    pub error: FeedError,
}

#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("can't reach the registry: {0}")]
    Connect(std::io::Error),
    #[error("the registry speaks no HTTP here: {0}")]
    Http(#[from] hyper::Error),
    #[error("the registry answered {0}")]
    Status(http::StatusCode),
    #[error("the registry went silent")]
    Silent,
    #[error("the registry closed the feed")]
    Closed,
    #[error("a line is longer than {FEED_LINE_BYTES_MAX} bytes")]
    Line,
    #[error("the request could not be built")]
    Request,
}

/// Connects and hands every line to `hear` until the feed ends.
pub async fn follow(registry: &RegistryAddress, id: GatewayId, mut hear: impl FnMut(Bytes)) -> Heard {
    let mut lines = 0;
    let mut count = |line| {
        lines += 1;
        hear(line);
    };
    let result = read(registry, id, &mut count).await;
    Heard { lines, error: result.err().unwrap_or(FeedError::Closed) }
}

/// Says what this gateway serves and still uses.
pub async fn report(
    registry: &RegistryAddress,
    id: GatewayId,
    report: &GatewayReport,
) -> Result<(), FeedError> {
    let body = serde_json::to_vec(report).map_err(|_| FeedError::Request)?;
    let request = http::Request::post(format!("{GATEWAYS_PATH}/{id}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::CONTENT_LENGTH, body.len());
    let (answer, _driving) = ask(registry, request, body.into(), REPORT_TIMEOUT).await?;
    if answer.status().is_success() { Ok(()) } else { Err(FeedError::Status(answer.status())) }
}

/// Sends a request on a connection of its own, which stands for as long as the guard is held.
async fn ask(
    registry: &RegistryAddress,
    request: http::request::Builder,
    body: Bytes,
    limit: Duration,
) -> Result<(http::Response<Incoming>, AbortOnDrop), FeedError> {
    let timed_out = |_| FeedError::Connect(std::io::ErrorKind::TimedOut.into());
    let connecting = async {
        match registry {
            RegistryAddress::Unix(path) => handshake(UnixStream::connect(path).await).await,
            RegistryAddress::Tcp(address) => handshake(TcpStream::connect(address).await).await,
        }
    };
    let (mut sender, driving) =
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(timed_out)??;
    let request = request.header(http::header::HOST, "registry").body(Full::new(body));
    let request = request.map_err(|_| FeedError::Request)?;
    let answer = tokio::time::timeout(limit, sender.send_request(request)).await;
    Ok((answer.map_err(|_| FeedError::Silent)??, driving))
}

async fn handshake(
    connected: std::io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
) -> Result<(http1::SendRequest<Full<Bytes>>, AbortOnDrop), FeedError> {
    let stream = connected.map_err(FeedError::Connect)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(async move {
        // How it ended is seen by who asks.
        let _ = connection.await;
    });
    Ok((sender, AbortOnDrop(driving.abort_handle())))
}

async fn read(
    registry: &RegistryAddress,
    id: GatewayId,
    hear: &mut impl FnMut(Bytes),
) -> Result<(), FeedError> {
    let silence = Duration::from_millis(FEED_SILENCE_MAX_MS);
    let request = http::Request::get(FEED_PATH).header(GATEWAY_HEADER, id.to_string());
    let (answer, _driving) = ask(registry, request, Bytes::new(), silence).await?;
    if answer.status() != http::StatusCode::OK {
        return Err(FeedError::Status(answer.status()));
    }
    let mut body = answer.into_body();
    let mut pending = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(silence, body.frame()).await.map_err(|_| FeedError::Silent)?;
        let Some(frame) = frame.transpose()? else { return Ok(()) };
        let Some(data) = frame.data_ref() else { continue };
        let mut searched = pending.len();
        pending.extend_from_slice(data);
        while let Some(end) = memchr::memchr(b'\n', pending.get(searched..).unwrap_or_default()) {
            let line = pending.split_to(searched + end);
            pending.advance(1);
            searched = 0;
            if !line.is_empty() {
                hear(line.freeze());
            }
        }
        if pending.len() > FEED_LINE_BYTES_MAX {
            return Err(FeedError::Line);
        }
    }
}

/// Ends the connection's task with the feed.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
