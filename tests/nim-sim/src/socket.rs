//! The accepted socket, and the handle by which a request drops it.
//!
//! Invariant: a cut asked for with [`CutKind`] happens after everything written before it has left for the kernel.

use crate::tap::Heads;
use futures_util::task::AtomicWaker;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long a socket whose client is still uploading stays open after the answer, so that the answer gets there.
const LINGER: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutKind {
    Fin,
    Rst,
}

const NONE: u8 = 0;
const FIN_WHEN_FLUSHED: u8 = 1;
const RST_WHEN_FLUSHED: u8 = 2;
const RST_NOW: u8 = 3;

/// What a request may do to its connection.
pub(crate) struct Connection {
    pub id: u64,
    pub heads: Heads,
    pub stopped: watch::Receiver<bool>,
    cut: AtomicU8,
    linger: AtomicBool,
    reader: AtomicWaker,
    open: Arc<AtomicU64>,
}

impl Connection {
    pub fn new(id: u64, open: Arc<AtomicU64>, stopped: watch::Receiver<bool>) -> Arc<Self> {
        open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            id,
            heads: Heads::default(),
            stopped,
            cut: AtomicU8::new(NONE),
            linger: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            open,
        })
    }

    /// Drops the connection at its next complete flush.
    pub fn cut_when_flushed(&self, kind: CutKind) {
        let cut = if kind == CutKind::Fin { FIN_WHEN_FLUSHED } else { RST_WHEN_FLUSHED };
        self.cut.store(cut, Ordering::Release);
    }

    /// Resets the connection without waiting for a flush.
    pub fn reset_now(&self) {
        self.cut.store(RST_NOW, Ordering::Release);
        self.reader.wake();
    }

    /// Keeps the socket open for a while after it was shut down.
    pub fn linger(&self) {
        self.linger.store(true, Ordering::Release);
    }
}

pub(crate) struct Socket {
    stream: Option<TcpStream>,
    connection: Arc<Connection>,
}

impl Socket {
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream: Some(stream), connection }
    }

    fn gone() -> io::Error {
        io::Error::new(io::ErrorKind::BrokenPipe, "the connection was cut as the fault asked")
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(Self::gone)
    }

    fn reset(&mut self) -> io::Error {
        if let Some(stream) = self.stream.take()
            && let Err(error) = stream.set_zero_linger()
        {
            return error;
        }
        Self::gone()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection.reader.register(cx.waker());
        if self.connection.cut.load(Ordering::Acquire) == RST_NOW {
            return Poll::Ready(Err(self.reset()));
        }
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream()?.poll_flush(cx))?;
        match self.connection.cut.load(Ordering::Acquire) {
            FIN_WHEN_FLUSHED => {
                ready!(self.stream()?.poll_shutdown(cx))?;
                self.stream = None;
                Poll::Ready(Err(Self::gone()))
            }
            RST_WHEN_FLUSHED => Poll::Ready(Err(self.reset())),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.connection.open.fetch_sub(1, Ordering::Relaxed);
        let Some(stream) = self.stream.take() else { return };
        if !self.connection.linger.load(Ordering::Acquire) {
            return;
        }
        // Closing with unread bytes in the kernel resets the connection, and the answer would be lost with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut stopped = self.connection.stopped.clone();
        runtime.spawn(async move {
            let _ = tokio::time::timeout(LINGER, stopped.changed()).await;
            drop(stream);
        });
    }
}
