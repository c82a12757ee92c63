//! Sends bytes and hears what comes back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::judge::Heard;

/// After an answer: how long silence lasts until nothing more is expected.
const QUIET_AFTER_ANSWER: Duration = Duration::from_millis(700);
/// Without an answer, and where a close is to come.
const QUIET: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(20);
const HEARD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a conversation goes on after the bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Listen until it is quiet.
    Listen,
    /// The same, but a close is expected: give it time.
    AwaitClose,
    /// End our half first.
    End,
}

pub async fn talk(gateway: SocketAddr, bytes: &[u8], then: Then) -> io::Result<Heard> {
    let stream = timeout(WHOLE, TcpStream::connect(gateway)).await;
    let stream = stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let (mut reading, mut writing) = stream.into_split();
    // Beside the reading: a gateway may answer, and stop reading, before all is sent.
    let bytes = bytes.to_vec();
    let sending = tokio::spawn(async move {
        let _ = writing.write_all(&bytes).await;
        if then == Then::End {
            let _ = writing.shutdown().await;
        }
        writing
    });
    let mut heard = Heard::default();
    let deadline = Instant::now() + WHOLE;
    while Instant::now() < deadline && heard.bytes.len() < HEARD_BYTES_MAX {
        let answered = !heard.statuses().is_empty();
        let quiet = if answered && then != Then::AwaitClose { QUIET_AFTER_ANSWER } else { QUIET };
        match timeout(quiet, reading.read_buf(&mut heard.bytes)).await {
            Err(_) => break,
            Ok(Ok(0) | Err(_)) => {
                heard.closed = true;
                break;
            }
            Ok(Ok(_)) => {}
        }
    }
    sending.abort();
    Ok(heard)
}
