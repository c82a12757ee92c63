//! A file as the body of a request, read piece by piece while it is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use indicatif::ProgressBar;
use tokio::fs::File;
use tokio::io::{AsyncRead as _, ReadBuf};

const PIECE_BYTES_MAX: usize = 128 * 1024;

/// Exactly `left` bytes of a file: what is appended meanwhile is not sent, and less is an error.
pub struct FileBody {
    file: File,
    left: u64,
    piece: BytesMut,
    bar: ProgressBar,
}

impl FileBody {
    pub fn new(file: File, length: u64, bar: ProgressBar) -> Self {
        Self { file, left: length, piece: BytesMut::new(), bar }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = usize::try_from(this.left).unwrap_or(usize::MAX).min(PIECE_BYTES_MAX);
        this.piece.resize(wanted, 0);
        let mut buffer = ReadBuf::new(&mut this.piece);
        ready!(Pin::new(&mut this.file).poll_read(context, &mut buffer))?;
        let length = buffer.filled().len();
        if length == 0 {
            let shorter = "the file became shorter while it was sent";
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, shorter))));
        }
        this.left -= length as u64;
        this.bar.inc(length as u64);
        let mut piece = std::mem::take(&mut this.piece);
        piece.truncate(length);
        Poll::Ready(Some(Ok(Frame::data(piece.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn sent(content: &[u8], length: u64) -> Result<Bytes, io::Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        let body = FileBody::new(File::open(&path).await.unwrap(), length, ProgressBar::hidden());
        Ok(body.collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn a_file_is_sent_as_it_is_in_pieces() {
        let content: Vec<u8> = (0..3 * PIECE_BYTES_MAX + 7).map(|n| n as u8).collect();
        assert_eq!(sent(&content, content.len() as u64).await.unwrap(), content);
        assert_eq!(sent(b"", 0).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_file_that_changes_is_never_sent_with_a_wrong_length() {
        assert_eq!(sent(b"abcdef", 4).await.unwrap(), "abcd");
        let error = sent(b"abc", 4).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
