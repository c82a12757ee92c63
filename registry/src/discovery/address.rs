//! From a provider's URL to a connection: every address is judged, and the judged one is used.

use std::io;
use std::net::SocketAddr;

use proto_shared::HostUrl;
use proto_shared::egress::EgressPolicy;
use proto_shared::host_url::Host;
use tokio::net::TcpStream;

use super::verdict::Failure;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

pub async fn connect(url: &HostUrl, egress: &EgressPolicy) -> Result<TcpStream, Failure> {
    let mut last = Failure::Unresolved;
    for address in judged(url, egress).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // One small request: nothing is gained by holding packets back.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = class_of(&error),
        }
    }
    Err(last)
}

/// The allowed addresses; when there is none, why the first was refused.
async fn judged(url: &HostUrl, egress: &EgressPolicy) -> Result<Vec<SocketAddr>, Failure> {
    egress.check_url(url).map_err(Failure::Egress)?;
    let (found, name) = match url.host() {
        Host::Ip(ip) => (vec![SocketAddr::new(*ip, url.port())], None),
        Host::Name(name) => {
            let found = tokio::net::lookup_host((&**name, url.port())).await;
            (found.map_err(|_| Failure::Unresolved)?.collect(), Some(&**name))
        }
    };
    let mut refusal = None;
    let mut allowed = Vec::new();
    for address in found {
        match egress.check_address(address.ip(), address.port(), name) {
            Ok(()) if allowed.len() < ADDRESSES_MAX => allowed.push(address),
            Ok(()) => {}
            Err(reason) => refusal = refusal.or(Some(reason)),
        }
    }
    match refusal {
        Some(reason) if allowed.is_empty() => Err(Failure::Egress(reason)),
        _ => Ok(allowed),
    }
}

pub fn class_of(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::TimedOut,
        _ => Failure::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> HostUrl {
        HostUrl::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_is_refused_unless_allowed() {
        let strict = EgressPolicy { allow_plaintext: true, ..EgressPolicy::default() };
        let refused = judged(&url("http://127.0.0.1:1"), &strict).await;
        assert!(matches!(refused, Err(Failure::Egress(_))));
        let allowed = judged(&url("http://127.0.0.1:1"), &EgressPolicy::local()).await.unwrap();
        assert_eq!(allowed, ["127.0.0.1:1".parse().unwrap()]);
    }

    #[tokio::test]
    async fn metadata_addresses_are_never_connected_to() {
        let refused = judged(&url("http://169.254.169.254"), &EgressPolicy::local()).await;
        assert!(matches!(refused, Err(Failure::Egress(_))));
    }
}
