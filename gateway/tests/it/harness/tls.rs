//! Certificates of a private authority, and TLS with them on both sides of the gateway.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::within;

/// A certificate for `localhost` and 127.0.0.1, and the authority that signed it; all PEM.
#[derive(Clone)]
pub struct Authority {
    pub root: String,
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        let root = params.self_signed(&root_key).unwrap();
        let issuer = Issuer::from_params(&params, &root_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        Self { root: root.pem(), certificate: leaf.pem(), key: key.serialize_pem() }
    }

    /// What another process wrote with [`Self::root_in`] and [`Self::files_in`].
    pub fn from_folder(folder: &Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        Self { root: read("root.pem"), certificate: read("certificate.pem"), key: read("key.pem") }
    }

    /// For `SimOptions::tls`.
    pub fn pair(&self) -> (String, String) {
        (self.certificate.clone(), self.key.clone())
    }

    /// Writes the root where a gateway reads it.
    pub fn root_in(&self, folder: &Path) -> PathBuf {
        write(folder, "root.pem", &self.root)
    }

    /// Writes certificate and key where a gateway reads them.
    pub fn files_in(&self, folder: &Path) -> TlsFiles {
        TlsFiles {
            certificate: write(folder, "certificate.pem", &self.certificate),
            key: write(folder, "key.pem", &self.key),
        }
    }

    /// The server's side, offering `protocols` by ALPN.
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A client's connection, offering `protocols` by ALPN.
    pub async fn connect(&self, address: SocketAddr, protocols: &[&str]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root.as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = within("connecting", TcpStream::connect(address)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        within("the TLS handshake", connecting).await.unwrap()
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
