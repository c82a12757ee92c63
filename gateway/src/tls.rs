//! TLS of the public listeners. Files are read and checked here, so that a bad key is a message and
//! not a panic; certificates can be replaced without dropping a connection.

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::listeners::tls::TlsSettings;
use pingora::tls::{ClientHello, ResolvesServerCert};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;

use crate::config::TlsFiles;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("can't read {0}: {1}")]
    Read(String, std::io::Error),
    #[error("{0} holds no certificate")]
    NoCertificate(String),
    #[error("{0} holds no private key")]
    NoKey(String),
    #[error("the private key in {0} is of no supported kind")]
    KeyKind(String),
    #[error("certificate and key do not belong together, or the certificate is damaged")]
    Mismatch,
    #[error("the TLS listener can't be set up: {0}")]
    Setup(String),
}

/// The certificate of this moment.
#[derive(Debug)]
pub struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(read(files)?)))
    }

    /// Takes changed files over. A bad pair leaves the old one in place.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), TlsError> {
        self.0.store(Arc::new(read(files)?));
        Ok(())
    }
}

/// Settings of a listener: HTTP/2 and HTTP/1.1 by ALPN.
pub fn settings(certificate: Arc<Certificate>) -> Result<TlsSettings, TlsError> {
    let mut settings =
        TlsSettings::intermediate("", "").map_err(|error| TlsError::Setup(error.to_string()))?;
    settings.set_cert_resolver(certificate);
    settings.enable_h2();
    Ok(settings)
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let name = |path: &Path| path.display().to_string();
    let open = |path: &Path| {
        std::fs::File::open(path).map(BufReader::new).map_err(|error| TlsError::Read(name(path), error))
    };
    let chain: Vec<_> = rustls_pemfile::certs(&mut open(&files.certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Read(name(&files.certificate), error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(name(&files.certificate)));
    }
    let key = rustls_pemfile::private_key(&mut open(&files.key)?)
        .map_err(|error| TlsError::Read(name(&files.key), error))?
        .ok_or_else(|| TlsError::NoKey(name(&files.key)))?;
    let key = any_supported_type(&key).map_err(|_| TlsError::KeyKind(name(&files.key)))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
        Err(_) => Err(TlsError::Mismatch),
    }
}
