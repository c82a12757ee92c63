//! Which authorities upstream TLS trusts: the system's, and those the operator adds.
//!
//! The framework takes one file, in the place of the system's roots, and panics when it is bad. So
//! both are joined here, checked, and handed over as a file without a name.

use std::fs::File;
use std::io::{BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::{MemfdFlags, memfd_create};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("can't read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    #[error("{0} holds a certificate that is damaged or no authority's")]
    Damaged(PathBuf),
    #[error("the trusted roots can't be kept: {0}")]
    Keep(std::io::Error),
}

/// A PEM file of all trusted roots, for as long as this lives.
pub struct Roots(File);

impl Roots {
    pub fn load(further: Option<&Path>) -> Result<Self, RootsError> {
        let system = pingora::tls::load_native_certs().unwrap_or_else(|error| {
            tracing::warn!(%error, "the system's trusted roots can't be read; TLS upstreams need upstream_ca");
            Vec::new()
        });
        // A system may hold roots that are odd: those are left out. The operator's must be right.
        let mut roots: Vec<_> = system.into_iter().filter(is_root).collect();
        if let Some(path) = further {
            roots.extend(read(path)?);
        }
        keep(&roots).map(Self).map_err(RootsError::Keep)
    }

    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let failed = |error| RootsError::Read(path.to_owned(), error);
    let mut file = File::open(path).map(BufReader::new).map_err(failed)?;
    let roots: Vec<_> = rustls_pemfile::certs(&mut file).collect::<Result<_, _>>().map_err(failed)?;
    match roots.iter().all(is_root) {
        _ if roots.is_empty() => Err(RootsError::NoCertificate(path.to_owned())),
        true => Ok(roots),
        false => Err(RootsError::Damaged(path.to_owned())),
    }
}

fn is_root(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

/// Writes the roots to a file in memory: there may be no folder that one can write to.
fn keep(roots: &[CertificateDer<'_>]) -> std::io::Result<File> {
    let mut pem = String::new();
    for root in roots {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        pem.push_str(&BASE64.encode(root));
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    let mut file = File::from(memfd_create("trusted roots", MemfdFlags::CLOEXEC)?);
    file.write_all(pem.as_bytes())?;
    Ok(file)
}
