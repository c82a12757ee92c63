//! The listening side: accepts, keeps count, and ends everything at once.

use crate::fault::FaultError;
use crate::loras::{LoraError, LoraSource};
use crate::options::{Lora, SimOptions};
use crate::record::{Recorded, WaitTimeout};
use crate::service;
use crate::socket::{Connection, Socket};
use crate::state::{Shared, Stats};
use crate::tap::Tap;
use crate::tls::Acceptor;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The pause after a failed accept (out of descriptors, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// More header lines than a gateway under test would let through.
const MAX_HEADERS: usize = 1000;

/// A running simulated server. Dropping it ends it, connections included.
pub struct Sim {
    addr: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    lora_source: Option<LoraSource>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Sim {
    /// Binds and serves on the current Tokio runtime.
    pub async fn start(options: SimOptions) -> io::Result<Self> {
        let shared =
            Arc::new(Shared::new(&options).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?);
        if let Some(source) = &options.lora_source {
            shared.find_loras(&source.folder).map_err(io::Error::other)?;
        }
        let acceptor = Acceptor::new(options.tls.as_ref())?;
        let listener = TcpListener::bind(options.listen).await?;
        let addr = listener.local_addr()?;
        let scheme = acceptor.scheme();
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, acceptor, Arc::clone(&shared), stopped));
        Ok(Self { addr, scheme, shared, lora_source: options.lora_source, stop, accepting })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:port`, without a path.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// The last requests received, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.recorder.requests()
    }

    pub fn clear(&self) {
        self.shared.recorder.clear();
    }

    /// Waits until what was received satisfies `satisfied`, looking again at every change.
    pub async fn wait_for(
        &self,
        satisfied: impl Fn(&[Recorded]) -> bool,
        deadline: Duration,
    ) -> Result<Vec<Recorded>, WaitTimeout> {
        self.shared.recorder.wait_for(satisfied, deadline).await
    }

    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// The fault for requests that name none; empty clears it.
    pub fn set_fault(&self, spec: &str) -> Result<(), FaultError> {
        self.shared.set_fault(spec)
    }

    /// Overrides the health ramp: a ready server may become unready again.
    pub fn set_ready(&self, ready: bool) {
        self.shared.set_ready(ready);
    }

    /// How many requests its metrics say wait; none really do.
    pub fn set_waiting(&self, requests: u64) {
        self.shared.waiting.store(requests, Relaxed);
    }

    pub fn set_models(&self, models: Vec<String>) {
        self.shared.catalog.write().models = models;
    }

    pub fn set_loras(&self, loras: Vec<Lora>) {
        self.shared.catalog.write().loras = loras;
    }

    /// Looks for adapters again and again, and ends with the first that is half written.
    pub async fn follow_loras(&self) -> LoraError {
        let refreshed = self.lora_source.as_ref().and_then(|source| Some((source, source.refresh?)));
        let Some((source, refresh)) = refreshed else { return std::future::pending().await };
        loop {
            tokio::time::sleep(refresh).await;
            if let Err(error) = self.shared.find_loras(&source.folder) {
                return error;
            }
        }
    }

    /// Ends the server; when this returns the port is free and every connection closed.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        self.accepting.abort();
        // An aborted task ends with an error by design.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Acceptor,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let number = shared.accepted_connections.fetch_add(1, Relaxed) + 1;
                    if shared.refuses() {
                        continue;
                    }
                    let open = Arc::clone(&shared.open_connections);
                    let connection = Connection::new(number, open, stopped.clone());
                    connections.spawn(serve(stream, acceptor.clone(), connection, Arc::clone(&shared)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, acceptor: Acceptor, connection: Arc<Connection>, shared: Arc<Shared>) {
    // Without it, split writes would be glued together by the kernel; a failure only loses that.
    let _ = stream.set_nodelay(true);
    let socket = Socket::new(stream, Arc::clone(&connection));
    match acceptor {
        Acceptor::Plain => speak(socket, connection, shared).await,
        #[cfg(feature = "tls")]
        Acceptor::Tls(tls) => {
            // A failed handshake is the client's to report.
            if let Ok(stream) = tls.accept(socket).await {
                speak(stream, connection, shared).await;
            }
        }
    }
}

async fn speak<S>(stream: S, connection: Arc<Connection>, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tap = Tap::new(stream, connection.heads.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (connection, shared) = (Arc::clone(&connection), Arc::clone(&shared));
        async move { service::answer(request, connection, shared).await }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_headers(MAX_HEADERS);
    // Whatever ends a connection is in the records of its requests.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(tap), service).await;
}
