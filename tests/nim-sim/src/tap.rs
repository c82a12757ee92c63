//! Request heads as they came over the wire. An HTTP library gives headers parsed, lower-cased and grouped by name;
//! tests want to compare what was sent.
//!
//! [`Framer`] (pure) follows HTTP/1 framing: it holds a head back until it is whole, queues a copy, and lets bodies
//! pass. It gives up (and lets everything pass) at the HTTP/2 preface, after an upgrade, and at heads over
//! [`MAX_HEAD_BYTES`]; the record then falls back to the parsed headers.
//!
//! A head that asks for `x-sim-trailers` without `te: trailers` gets that line added behind the copy, because the
//! HTTP library sends trailers to nobody else.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub const MAX_HEAD_BYTES: usize = 256 * 1024;
/// Heads queued and not yet served: pipelining goes no deeper in the record.
const MAX_QUEUED_HEADS: usize = 256;

/// Heads seen on one connection and not yet claimed by a request, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Heads(Arc<Mutex<VecDeque<Bytes>>>);

impl Heads {
    pub fn take(&self) -> Option<Bytes> {
        self.0.lock().pop_front()
    }

    fn push(&self, head: Bytes) -> bool {
        let mut heads = self.0.lock();
        if heads.len() >= MAX_QUEUED_HEADS {
            return false;
        }
        heads.push_back(head);
        true
    }
}

enum State {
    Head,
    Body { left: u64 },
    ChunkSize,
    ChunkData { left: u64 },
    Trailers,
    Pass,
}

struct Framer {
    state: State,
    held: BytesMut,
    heads: Heads,
}

impl Framer {
    fn new(heads: Heads) -> Self {
        Self { state: State::Head, held: BytesMut::new(), heads }
    }

    /// How many of the next bytes need no looking at.
    fn passes(&self) -> u64 {
        match self.state {
            State::Pass => u64::MAX,
            State::Body { left } | State::ChunkData { left } if self.held.is_empty() => left,
            _ => 0,
        }
    }

    fn passed(&mut self, count: u64) {
        match &mut self.state {
            State::Body { left } => {
                *left -= count;
                if *left == 0 {
                    self.state = State::Head;
                }
            }
            State::ChunkData { left } => {
                *left -= count;
                if *left == 0 {
                    self.state = State::ChunkSize;
                }
            }
            _ => {}
        }
    }

    /// Takes bytes in, and appends to `out` those which may go on.
    fn feed(&mut self, bytes: &[u8], out: &mut BytesMut) {
        self.held.extend_from_slice(bytes);
        while !self.held.is_empty() && self.step(out) {}
    }

    /// One step; false when more bytes are needed.
    fn step(&mut self, out: &mut BytesMut) -> bool {
        match self.state {
            State::Pass => out.unsplit(self.held.split()),
            State::Body { left } | State::ChunkData { left } => {
                let count = left.min(self.held.len() as u64);
                out.unsplit(self.held.split_to(usize::try_from(count).unwrap_or(self.held.len())));
                self.passed(count);
            }
            State::Head => return self.step_head(out),
            State::ChunkSize => {
                let Some(line) = self.line() else { return false };
                self.state = match chunk_size(&line) {
                    Some(0) => State::Trailers,
                    // The data and the line end behind it.
                    Some(size) => State::ChunkData { left: size.saturating_add(2) },
                    None => State::Pass,
                };
                out.unsplit(line);
            }
            State::Trailers => {
                let Some(line) = self.line() else { return false };
                if line.trim_ascii().is_empty() {
                    self.state = State::Head;
                }
                out.unsplit(line);
            }
        }
        true
    }

    fn step_head(&mut self, out: &mut BytesMut) -> bool {
        let blank = self.held.iter().take_while(|&&b| b == b'\r' || b == b'\n').count();
        out.unsplit(self.held.split_to(blank));
        let Some(end) = head_end(&self.held) else {
            if self.held.len() > MAX_HEAD_BYTES {
                self.state = State::Pass;
                return true;
            }
            return false;
        };
        let head = self.held.split_to(end).freeze();
        if head.starts_with(b"PRI * HTTP/2") {
            self.state = State::Pass;
            out.extend_from_slice(&head);
            return true;
        }
        let facts = HeadFacts::of(&head);
        self.state = if self.heads.push(head.clone()) { facts.body_state() } else { State::Pass };
        if facts.wants_trailers && !facts.has_te {
            let line_end = if head.ends_with(b"\r\n") { 2 } else { 1 };
            out.extend_from_slice(&head[..end - line_end]);
            out.extend_from_slice(b"te: trailers\r\n\r\n");
        } else {
            out.extend_from_slice(&head);
        }
        true
    }

    /// A whole line with its end; a line without one is as bounded as a head.
    fn line(&mut self) -> Option<BytesMut> {
        let end = memchr::memchr(b'\n', &self.held);
        if end.is_none() && self.held.len() > MAX_HEAD_BYTES {
            self.state = State::Pass;
            return Some(self.held.split());
        }
        Some(self.held.split_to(end? + 1))
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    let crlf = memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
    let lf = memmem::find(bytes, b"\n\n").map(|at| at + 2);
    match (crlf, lf) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (found, None) | (None, found) => found,
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&b| b == b';').next()?.trim_ascii();
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[derive(Default)]
struct HeadFacts {
    length: u64,
    chunked: bool,
    upgrade: bool,
    wants_trailers: bool,
    has_te: bool,
}

impl HeadFacts {
    fn of(head: &[u8]) -> Self {
        let mut facts = Self { upgrade: head.starts_with(b"CONNECT "), ..Self::default() };
        for (name, value) in header_lines(head) {
            if name.eq_ignore_ascii_case(b"content-length") {
                facts.length = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()).unwrap_or(0);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                facts.chunked = true;
            } else if name.eq_ignore_ascii_case(b"upgrade") {
                facts.upgrade = true;
            } else if name.eq_ignore_ascii_case(b"x-sim-trailers") {
                facts.wants_trailers = true;
            } else if name.eq_ignore_ascii_case(b"te") {
                facts.has_te = true;
            }
        }
        facts
    }

    fn body_state(&self) -> State {
        match self {
            Self { upgrade: true, .. } => State::Pass,
            Self { chunked: true, .. } => State::ChunkSize,
            Self { length: 0, .. } => State::Head,
            Self { length, .. } => State::Body { left: *length },
        }
    }
}

/// The header lines of a head: names and values, in order, values without the white space around them.
pub(crate) fn header_lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|&b| b == b'\n').skip(1).filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// The request target of a head.
pub(crate) fn target(head: &[u8]) -> Option<&[u8]> {
    head.split(|&b| b == b'\r' || b == b'\n').next()?.split(|&b| b == b' ').nth(1)
}

/// A stream whose incoming bytes go through a [`Framer`].
pub(crate) struct Tap<S> {
    inner: S,
    framer: Framer,
    ready: BytesMut,
}

impl<S> Tap<S> {
    pub fn new(inner: S, heads: Heads) -> Self {
        Self { inner, framer: Framer::new(heads), ready: BytesMut::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                let count = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready[..count]);
                this.ready.advance(count);
                return Poll::Ready(Ok(()));
            }
            let start = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let count = (buf.filled().len() - start) as u64;
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            if count <= this.framer.passes() {
                this.framer.passed(count);
                return Poll::Ready(Ok(()));
            }
            this.framer.feed(&buf.filled()[start..], &mut this.ready);
            buf.set_filled(start);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `wire` in pieces of `size`; gives what went on and the heads seen.
    fn run(wire: &[u8], size: usize) -> (Vec<u8>, Vec<Bytes>) {
        let heads = Heads::default();
        let mut framer = Framer::new(heads.clone());
        let mut out = BytesMut::new();
        for piece in wire.chunks(size) {
            framer.feed(piece, &mut out);
        }
        (out.to_vec(), std::iter::from_fn(|| heads.take()).collect())
    }

    const TWO: &[u8] = b"POST /a//b?x HTTP/1.1\r\nX-Case: A\r\nContent-Length: 5\r\n\r\nGET /\
        GET /next HTTP/1.1\r\nhost: h\r\n\r\n";
    const CHUNKED: &[u8] = b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
        4;x=y\r\nGET \r\n0\r\nt: 1\r\n\r\nGET /next HTTP/1.1\r\n\r\n";

    #[test]
    fn every_byte_goes_on_however_it_is_cut() {
        for wire in [TWO, CHUNKED] {
            for size in 1..wire.len() {
                assert_eq!(run(wire, size).0, wire);
            }
        }
    }

    #[test]
    fn heads_are_found_behind_bodies_of_either_framing() {
        for wire in [TWO, CHUNKED] {
            for size in [1, 7, wire.len()] {
                let heads = run(wire, size).1;
                assert_eq!(heads.len(), 2);
                assert_eq!(target(&heads[1]), Some(&b"/next"[..]));
            }
        }
        let head = run(TWO, 9).1.remove(0);
        assert_eq!(target(&head), Some(&b"/a//b?x"[..]));
        assert_eq!(header_lines(&head).next(), Some((&b"X-Case"[..], &b"A"[..])));
    }

    #[test]
    fn http2_and_upgraded_connections_pass_untouched() {
        let h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04";
        assert_eq!(run(h2, 3), (h2.to_vec(), vec![]));
        let upgraded = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\x81\x80mask\n\n";
        let (out, heads) = run(upgraded, 4);
        assert_eq!((out.as_slice(), heads.len()), (&upgraded[..], 1));
    }

    #[test]
    fn trailers_are_asked_for_behind_the_copy() {
        let wire = b"GET / HTTP/1.1\r\nx-sim-trailers: 1\r\n\r\n";
        let (out, heads) = run(wire, 5);
        assert!(out.ends_with(b"x-sim-trailers: 1\r\nte: trailers\r\n\r\n"));
        assert_eq!(heads[0], &wire[..]);
    }
}
