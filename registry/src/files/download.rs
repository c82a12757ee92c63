//! A file on its way out: a task reads ahead by one buffer, and gives up on a client that takes nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::OpenFile;
use crate::config::TRANSFER_BUFFER_BYTES;

/// Bytes `start` to before `end` of a file. The permit is held until they are sent.
pub fn body(
    opened: OpenFile,
    (start, end): (u64, u64),
    permit: OwnedSemaphorePermit,
    idle: Duration,
) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        send(Arc::new(opened.file), start, end, &sender, idle).await;
        drop(permit);
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }))
}

/// Stops early when the client left or takes nothing: the announced length tells it that bytes are missing.
async fn send(
    file: Arc<File>,
    mut start: u64,
    end: u64,
    chunks: &mpsc::Sender<io::Result<Bytes>>,
    idle: Duration,
) {
    while start < end {
        let chunk = read(Arc::clone(&file), start, end).await;
        let length = chunk.as_ref().map_or(0, |chunk| u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        let is_last = chunk.is_err();
        match tokio::time::timeout(idle, chunks.send(chunk)).await {
            Ok(Ok(())) if !is_last => start = start.saturating_add(length),
            _ => return,
        }
    }
}

async fn read(file: Arc<File>, start: u64, end: u64) -> io::Result<Bytes> {
    let want = usize::try_from(end - start).unwrap_or(usize::MAX).min(TRANSFER_BUFFER_BYTES);
    let reading = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; want];
        file.read_exact_at(&mut chunk, start)?;
        Ok(chunk.into())
    });
    reading.await.map_err(io::Error::other)?
}
