//! TLS to providers: verified always, with the system's roots and the operator's own.
//!
//! The same roots as the gateway's: a provider that discovery trusts must be one that requests reach.

use std::path::Path;
use std::sync::Arc;

use proto_shared::HostUrl;
use proto_shared::host_url::Host;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::verdict::Failure;
use crate::store::OpenError;

pub fn connector(extra_roots: Option<&Path>) -> Result<TlsConnector, OpenError> {
    let system = rustls_native_certs::load_native_certs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the system's trusted roots can't be read; TLS providers need upstream_ca");
        Vec::new()
    });
    let mut roots = RootCertStore::empty();
    // A system may hold roots that are odd: those are left out.
    roots.add_parsable_certificates(system);
    if let Some(path) = extra_roots {
        let failed = |reason: String| OpenError::UpstreamCa { path: path.to_owned(), reason };
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let mut added = 0;
        for certificate in rustls_pemfile::certs(&mut pem.as_slice()) {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            added += 1;
        }
        if added == 0 {
            return Err(failed("no certificate in it".into()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::UpstreamCa { path: "TLS".into(), reason: error.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

pub async fn handshake(
    connector: &TlsConnector,
    url: &HostUrl,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Failure> {
    let name = match url.host() {
        Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| Failure::Tls)?,
    };
    connector.connect(name, stream).await.map_err(|_| Failure::Tls)
}
