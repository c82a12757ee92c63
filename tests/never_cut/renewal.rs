//! Certificates are renewed while streams run over TLS: SIGHUP, and new connections see the new one.

use std::path::Path;
use std::sync::Arc;

use http::Method;
use integration_tests::client::{request, send};
use integration_tests::process::Signal;
use integration_tests::{Home, Serving, eventually, within};
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::MACHINE;
use crate::crowd::{Crowd, Site, Size};
use crate::model_server::{ModelServer, WITH_DESCRIPTORS};

const SIZE: Size = Size { streams: 100, tokens: 8, requests_per_second: 50 };
const RENEWALS: usize = 3;

/// What a renewal writes.
struct Pair {
    key: KeyPair,
    certificate: rcgen::Certificate,
}

impl Pair {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { key, certificate }
    }

    /// As renewing programs do: each file at once, one after the other.
    fn put(&self, folder: &Path) {
        for (name, text) in
            [("key.pem", self.key.serialize_pem()), ("certificate.pem", self.certificate.pem())]
        {
            let beside = folder.join(format!("{name}.new"));
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(&beside, folder.join(name)).unwrap();
        }
    }
}

/// Trusts all of them, so that only the connections count.
fn trusting(pairs: &[Pair]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    pairs.iter().for_each(|pair| roots.add(pair.certificate.der().clone()).unwrap());
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A session taken up again shows the certificate that it began with.
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

/// What a new connection is shown.
async fn shown(gateway: &Serving, tls: &TlsConnector) -> CertificateDer<'static> {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let connecting = tls.connect(ServerName::try_from("localhost").unwrap(), stream);
    let stream = within("TLS", connecting).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_by_a_signal_under_a_hundred_streams() {
    let _machine = MACHINE.lock().await;
    let mut home = Home::new().await;
    home.launcher = Some(WITH_DESCRIPTORS.to_owned());
    let model_server = ModelServer::start().await;
    let (registry, _registry) = home.registry("127.0.0.1:0", &[]).await;
    let plain = home.gateway("plain", registry, &[]).await;
    plain.add_provider(&home, "sim", &model_server.url(), "m").await;
    let pairs: Vec<_> = (0..=RENEWALS).map(|_| Pair::new()).collect();
    pairs[0].put(home.path());
    let flags = ["--tls-certificate", "certificate.pem", "--tls-key", "key.pem"];
    let mut gateway = home.gateway("tls", registry, &flags).await;
    let is_ready = async || {
        let looked = send(gateway.admin, request(Method::GET, "/health/ready", None)).await;
        looked.is_ok_and(|reply| reply.status == 200).then_some(())
    };
    eventually("it has routes", is_ready).await;
    let tls = trusting(&pairs);
    let crowd = Crowd::start(&Site { tls: Some(tls.clone()), ..Site::at(gateway.address) }, SIZE);
    crowd.all_stream(SIZE.streams).await;
    for (n, pair) in pairs.iter().enumerate().skip(1) {
        // The key of the next before its certificate: they do not belong together, and what was stays.
        std::fs::write(home.path().join("key.pem"), pair.key.serialize_pem()).unwrap();
        gateway.process.signal(Signal::Hangup);
        let refused =
            |text: &str| (text.matches("the certificate stays as it was").count() >= n).then_some(());
        gateway.process.prints("that it keeps the old one", refused).await;
        assert_eq!(shown(&gateway, &tls).await, *pairs[n - 1].certificate.der());
        pair.put(home.path());
        gateway.process.signal(Signal::Hangup);
        let read = |text: &str| (text.matches("certificate read again").count() >= n).then_some(());
        gateway.process.prints("that it read the new one", read).await;
        assert_eq!(shown(&gateway, &tls).await, *pair.certificate.der());
        crowd.answers(SIZE.requests_per_second).await;
    }
    crowd.end_well().await;
}
