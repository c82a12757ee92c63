//! The feed's wire: one HTTP request whose answer never ends, a JSON document a line. Lines are handed
//! on unparsed: of those that pile up only the newest is worth parsing.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proto_shared::feed::{FEED_LINE_BYTES_MAX, FEED_PATH, FEED_SILENCE_MAX_MS};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::RegistryAddress;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

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
pub async fn follow(registry: &RegistryAddress, mut hear: impl FnMut(Bytes)) -> Heard {
    let mut lines = 0;
    let mut count = |line| {
        lines += 1;
        hear(line);
    };
    let timed_out = || FeedError::Connect(std::io::ErrorKind::TimedOut.into());
    let result = match registry {
        RegistryAddress::Unix(path) => {
            match tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await {
                Ok(Ok(stream)) => read(stream, &mut count).await,
                Ok(Err(error)) => Err(FeedError::Connect(error)),
                Err(_) => Err(timed_out()),
            }
        }
        RegistryAddress::Tcp(address) => {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => read(stream, &mut count).await,
                Ok(Err(error)) => Err(FeedError::Connect(error)),
                Err(_) => Err(timed_out()),
            }
        }
    };
    Heard { lines, error: result.err().unwrap_or(FeedError::Closed) }
}

async fn read(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    hear: &mut impl FnMut(Bytes),
) -> Result<(), FeedError> {
    let silence = Duration::from_millis(FEED_SILENCE_MAX_MS);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let _stop = AbortOnDrop(driving.abort_handle());
    let request = http::Request::get(FEED_PATH)
        .header(http::header::HOST, "registry")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FeedError::Request)?;
    let answer = tokio::time::timeout(silence, sender.send_request(request))
        .await
        .map_err(|_| FeedError::Silent)??;
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
