//! Listeners: HTTP/1 and HTTP/2 connections in front of the router, each with its limits.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::{CONNECTIONS_MAX, DRAIN_TIMEOUT, HEAD_TIMEOUT};
use crate::domain::access::Peer;

/// After a failed accept (no file descriptors left, mostly) the next try comes this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// Told to every handler that answers for longer than a moment.
#[derive(Clone)]
pub struct Stop(pub watch::Receiver<bool>);

/// Returns when told to stop, or when nobody is left who could tell.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard that comes back is dropped here: it must not be held while waiting for anything else.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What connections come from.
trait Listener {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, from) = TcpListener::accept(self).await?;
        // Answers are small; a delayed last packet costs more than it saves.
        let _ = stream.set_nodelay(true);
        let local = from.ip().to_canonical().is_loopback();
        Ok((stream, if local { Peer::ThisMachine } else { Peer::Network }))
    }
}

/// A Unix socket that talks to its owner (and to root) only.
struct OwnersSocket {
    listener: UnixListener,
    owner: u32,
}

impl Listener for OwnersSocket {
    type Stream = UnixStream;
    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred()?.uid();
        if peer != self.owner && peer != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer is another user"));
        }
        Ok((stream, Peer::ThisMachine))
    }
}

pub async fn serve_tcp(router: Router, listener: TcpListener, stop: watch::Receiver<bool>) -> io::Result<()> {
    serve(router, listener, stop).await;
    Ok(())
}

pub async fn serve_unix(router: Router, path: PathBuf, stop: watch::Receiver<bool>) -> io::Result<()> {
    let listener = bind_unix(&path).await?;
    let socket = std::fs::symlink_metadata(&path)?;
    serve(router, OwnersSocket { listener, owner: socket.uid() }, stop).await;
    // Only if it is still ours: a successor may have bound the path already.
    if std::fs::symlink_metadata(&path).is_ok_and(|now| now.ino() == socket.ino()) {
        std::fs::remove_file(&path)?;
    }
    Ok(())
}

/// Binds under a passing name and renames, so that the socket never stands there with another mode.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            let text = format!("{} is there and is not a socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        if UnixStream::connect(path).await.is_ok() {
            let text = format!("somebody listens on {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
    }
    let passing = path.with_file_name(format!(".{:x}", std::process::id()));
    match std::fs::remove_file(&passing) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&passing)?;
    std::fs::set_permissions(&passing, Permissions::from_mode(0o600))?;
    std::fs::rename(&passing, path)?;
    Ok(listener)
}

async fn serve<L: Listener>(router: Router, listener: L, mut stop: watch::Receiver<bool>) {
    let router = router.layer(Extension(Stop(stop.clone())));
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?, permit))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok(((stream, peer), permit)) => {
                let connection = serve_connection(router.clone(), stream, peer, stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::info!("connections were still open after {DRAIN_TIMEOUT:?}; closing them");
    }
}

async fn serve_connection<S>(router: Router, stream: S, peer: Peer, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(H2_PING_INTERVAL);
    let router = TowerToHyperService::new(router.into_service::<Incoming>());
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
