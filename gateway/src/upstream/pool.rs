//! Idle HTTP/1 connections of one endpoint.
//!
//! A bounded lock-free queue: taking and giving back spawns nothing and locks nothing. A connection
//! is handed out only if it is young enough (below the upstream's own keep-alive) and silent: one
//! that became readable was closed, or sent what nobody asked for. Connections nobody takes are
//! closed by [`Pool::sweep`], which the owner calls once a second.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use futures_util::FutureExt;
use pingora::protocols::Stream;
use tokio::io::AsyncReadExt;

pub struct Pool {
    capacity: usize,
    idle_max: Duration,
    /// Allocated when the first connection comes back: most endpoints of a large table are quiet.
    idle: OnceLock<ArrayQueue<Idle>>,
}

struct Idle {
    stream: Stream,
    since: Instant,
}

impl Pool {
    pub fn new(capacity: usize, idle_max: Duration) -> Self {
        Self { capacity: capacity.max(1), idle_max, idle: OnceLock::new() }
    }

    /// A connection that was alive a moment ago.
    pub fn take(&self) -> Option<Stream> {
        let queue = self.idle.get()?;
        loop {
            let Idle { mut stream, since } = queue.pop()?;
            if since.elapsed() < self.idle_max && is_silent(&mut stream) {
                return Some(stream);
            }
        }
    }

    /// Keeps a connection whose last answer was read to its end. A full pool closes it.
    pub fn give_back(&self, stream: Stream) {
        let queue = self.idle.get_or_init(|| ArrayQueue::new(self.capacity));
        let _ = queue.push(Idle { stream, since: Instant::now() });
    }

    /// Closes what is too old or was closed by the peer.
    pub fn sweep(&self) {
        let Some(queue) = self.idle.get() else { return };
        for _ in 0..queue.len() {
            let Some(mut idle) = queue.pop() else { return };
            if idle.since.elapsed() < self.idle_max && is_silent(&mut idle.stream) {
                let _ = queue.push(idle);
            }
        }
    }

    pub fn idle_connections(&self) -> usize {
        self.idle.get().map_or(0, ArrayQueue::len)
    }
}

/// Nothing to read and not closed. Costs no system call while the runtime knows the socket is drained.
fn is_silent(stream: &mut Stream) -> bool {
    let mut byte = [0; 1];
    tokio::task::unconstrained(stream.read(&mut byte)).now_or_never().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora::protocols::l4::stream::Stream as L4Stream;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Box::new(L4Stream::from(client)), server)
    }

    #[tokio::test]
    async fn a_silent_connection_is_handed_out_again() {
        let pool = Pool::new(2, Duration::from_secs(60));
        let (stream, _peer) = pair().await;
        pool.give_back(stream);
        assert!(pool.take().is_some());
        assert!(pool.take().is_none());
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_or_spoke_is_not() {
        let pool = Pool::new(2, Duration::from_secs(60));
        let (closed, peer) = pair().await;
        drop(peer);
        let (spoke, mut peer) = pair().await;
        peer.write_all(b"HTTP/1.1 408\r\n").await.unwrap();
        for stream in [closed, spoke] {
            let mut stream = stream;
            // Wait until the event is there, without taking it from the socket's queue.
            while is_silent(&mut stream) {
                tokio::task::yield_now().await;
            }
            // The byte read by the wait above leaves end-of-file or more bytes behind.
            pool.give_back(stream);
            assert!(pool.take().is_none());
        }
    }

    #[tokio::test]
    async fn old_connections_and_those_over_the_bound_are_closed() {
        let pool = Pool::new(1, Duration::ZERO);
        let (stream, _peer) = pair().await;
        pool.give_back(stream);
        pool.sweep();
        assert_eq!(pool.idle_connections(), 0);

        let pool = Pool::new(1, Duration::from_secs(60));
        let ((a, _a), (b, _b)) = (pair().await, pair().await);
        pool.give_back(a);
        pool.give_back(b);
        assert_eq!(pool.idle_connections(), 1);
    }
}
