//! A byte stream with an input buffer and an output queue, driven by polling.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWrite};

/// Free room below which the input buffer grows by [`READ_BYTES`].
const READ_ROOM_BYTES_MIN: usize = 2 * 1024;
/// Slices of one write.
const SLICES_MAX: usize = 16;

pub struct Wire {
    io: Stream,
    pub input: BytesMut,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    /// Something was written and not flushed (TLS keeps records back until then).
    dirty: bool,
}

impl Wire {
    pub fn new(io: Stream) -> Self {
        Self { io, input: BytesMut::new(), output: VecDeque::new(), output_bytes: 0, dirty: false }
    }

    /// Reads once into the input buffer. `Ok(0)`: the other side has closed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, read_bytes: usize) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < READ_ROOM_BYTES_MIN {
            self.input.reserve(read_bytes);
        }
        // The future keeps no state of its own: a fresh one a poll loses nothing.
        pin!(self.io.read_buf(&mut self.input)).poll(cx)
    }

    /// Whether the other side has closed or reset, even if bytes wait that were not read.
    pub fn is_closed_by_peer(&self) -> bool {
        const ESTABLISHED: u8 = 1;
        let digest = self.io.get_socket_digest();
        digest.and_then(|digest| digest.tcp_info()).is_some_and(|info| info.tcpi_state != ESTABLISHED)
    }

    pub fn local_address(&self) -> Option<SocketAddr> {
        self.io.get_socket_digest()?.local_addr()?.as_inet().copied()
    }

    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.output_bytes += bytes.len();
            self.output.push_back(bytes);
        }
    }

    /// Bytes that still have to leave.
    pub fn backlog(&self) -> usize {
        self.output_bytes
    }

    pub fn has_output(&self) -> bool {
        self.output_bytes > 0 || self.dirty
    }

    /// Writes as much as the socket takes. Ready: everything is out.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.output_bytes > 0 {
            let written = ready!(self.poll_write_some(cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.dirty = true;
            self.advance(written);
        }
        if self.dirty {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let ([only], []) = self.output.as_slices() {
            return Pin::new(&mut self.io).poll_write(cx, only);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut used = 0;
        for (slot, bytes) in slices.iter_mut().zip(&self.output) {
            *slot = IoSlice::new(bytes);
            used += 1;
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
    }

    fn advance(&mut self, mut written: usize) {
        self.output_bytes = self.output_bytes.saturating_sub(written);
        while let Some(front) = self.output.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.output.pop_front();
        }
    }

    /// Flushes, then says goodbye: FIN after the last byte.
    pub async fn close(&mut self) {
        let _ = std::future::poll_fn(|cx| self.poll_flush(cx)).await;
        let _ = std::future::poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await;
    }

    pub fn io_mut(&mut self) -> &mut Stream {
        &mut self.io
    }

    pub fn into_io(self) -> Stream {
        self.io
    }
}
