//! An HTTP/2 upstream behind TLS whose connections do what a script says.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{RecvStream, server};
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

use super::tls::Authority;
use super::{Routes, World, within};

pub type Line = Connection<TlsStream<TcpStream>, Bytes>;
pub type Ask = (Request<RecvStream>, SendResponse<Bytes>);

pub struct H2Upstream {
    pub address: SocketAddr,
    authority: Authority,
    heard: Heard,
    accepting: JoinHandle<()>,
}

/// Requests as they were heard: method and path.
#[derive(Clone, Default)]
pub struct Heard(Arc<watch::Sender<Vec<String>>>);

impl Heard {
    /// The next request of a connection, noted down; none: the gateway has closed it.
    pub async fn next(&self, line: &mut Line) -> Option<Ask> {
        let (request, respond) = line.accept().await?.ok()?;
        let note = format!("{} {}", request.method(), request.uri().path());
        self.0.send_modify(|all| all.push(note));
        Some((request, respond))
    }
}

impl H2Upstream {
    /// Runs `script` for each connection with its number, counted from 0.
    pub async fn start<F, R>(settings: server::Builder, script: F) -> Self
    where
        F: Fn(Line, usize, Heard) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::start_as(Authority::new(), settings, script).await
    }

    /// The same with a certificate of this authority.
    pub async fn start_as<F, R>(authority: Authority, settings: server::Builder, script: F) -> Self
    where
        F: Fn(Line, usize, Heard) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let acceptor = authority.acceptor(&["h2"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Heard::default();
        let notes = heard.clone();
        let accepting = tokio::spawn(async move {
            let mut running = tokio::task::JoinSet::new();
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let Ok(line) = settings.handshake(stream).await else { continue };
                running.spawn(script(line, number, notes.clone()));
            }
        });
        Self { address, authority, heard, accepting }
    }

    /// A gateway that trusts it; `p1` and `m1` are its.
    pub async fn world(&self) -> World {
        let files = tempfile::tempdir().unwrap();
        let root = self.authority.root_in(files.path());
        let routes = Routes::usual(&self.url(), "x/y");
        World::start_with(routes, |config| config.upstream_ca = Some(root)).await
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.0.borrow().clone()
    }

    pub async fn heard_requests(&self, count: usize) {
        let mut heard = self.heard.0.subscribe();
        within("requests at the upstream", heard.wait_for(|heard| heard.len() >= count)).await.unwrap();
    }
}

impl Drop for H2Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers with 200 and a JSON text.
pub fn answer(mut respond: SendResponse<Bytes>, body: &'static str) {
    let head = Response::builder().header("content-type", "application/json").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    stream.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
}
