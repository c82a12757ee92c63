//! A fake provider: an HTTP server that answers `/v1/models` as it is told to, and remembers what it
//! was sent.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;

pub enum Behaviour {
    Lists(Vec<&'static str>),
    Status(u16),
    Says(String),
    RedirectsTo(String),
    Hangs,
}

pub struct FakeProvider {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    behaviour: Behaviour,
    seen: Vec<(String, HeaderMap)>,
}

impl FakeProvider {
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared { behaviour, seen: Vec::new() }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    pub async fn listing(ids: &[&'static str]) -> Self {
        Self::start(Behaviour::Lists(ids.to_vec())).await
    }

    /// With a certificate for `localhost` that signs itself; it comes along in PEM.
    pub async fn listing_over_tls(ids: &[&'static str]) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour = Behaviour::Lists(ids.to_vec());
        let shared = Arc::new(Mutex::new(Shared { behaviour, seen: Vec::new() }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (Self { address, shared }, made.cert.pem())
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.lock().behaviour = behaviour;
    }

    /// Path and headers of each request so far.
    pub fn seen(&self) -> Vec<(String, HeaderMap)> {
        self.shared.lock().seen.clone()
    }

    pub fn last_header(&self, name: &str) -> Option<String> {
        let shared = self.shared.lock();
        let (_, headers) = shared.seen.last()?;
        Some(headers.get(name)?.to_str().ok()?.to_owned())
    }
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let response = {
        let mut shared = shared.lock();
        shared.seen.push((request.uri().to_string(), request.headers().clone()));
        match &shared.behaviour {
            Behaviour::Lists(ids) => {
                let data: Vec<_> = ids.iter().map(|id| json!({ "id": id, "object": "model" })).collect();
                Some(axum::Json(json!({ "object": "list", "data": data })).into_response())
            }
            Behaviour::Status(code) => {
                Some((StatusCode::from_u16(*code).unwrap(), "the provider's own words").into_response())
            }
            Behaviour::Says(text) => Some(text.clone().into_response()),
            Behaviour::RedirectsTo(url) => {
                Some((StatusCode::FOUND, [("location", url.clone())]).into_response())
            }
            Behaviour::Hangs => None,
        }
    };
    match response {
        Some(response) => response,
        None => std::future::pending().await,
    }
}
