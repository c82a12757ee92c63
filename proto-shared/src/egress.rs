//! Where a gateway or a probe may connect.
//!
//! Judged twice: on the URL when a provider is written, and on the very address when a connection
//! is made. Some addresses are blocked whatever the configuration says: link-local and cloud
//! metadata, multicast, and the management ports of container runtimes.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::host_url::{Host, HostUrl};
use crate::snapshot::Origin;

/// Ports of the Docker API and the kubelet: never an inference server.
const MANAGEMENT_PORTS: [u16; 3] = [2375, 2376, 10250];
const METADATA_NAMES: [&str; 4] =
    ["metadata.google.internal", "metadata", "instance-data", "metadata.azure.internal"];
const METADATA_ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// What the operator allows beyond public addresses. Static configuration: the API can't change it.
#[derive(Debug, Clone, Default)]
pub struct EgressPolicy {
    /// Everything private is allowed (the operator is the user: no authentication, loopback listener).
    pub allow_private: bool,
    /// Plain `http` to public names.
    pub allow_plaintext: bool,
    /// Private networks and names that are allowed one by one.
    pub allow: Vec<EgressRule>,
    /// Our own listeners: a provider that points at one would call itself without end.
    pub own: Vec<SocketAddr>,
}

/// One entry of `egress.allow`: a network in CIDR form, or a host name (`.suffix` for all below it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EgressRule {
    Network { address: IpAddr, prefix_bits: u8 },
    Name(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressRefusal {
    #[error("{0} is never connected to (link-local, metadata, multicast or unspecified address)")]
    Forbidden(String),
    #[error("{0} is this gateway itself")]
    Own(SocketAddr),
    #[error("port {0} is a container runtime's management port")]
    ManagementPort(u16),
    #[error("{0} is a private address; add it to egress.allow to use it")]
    Private(String),
    #[error("plain http to {0} would send the key in clear; use https or set egress.allow_plaintext")]
    Plaintext(String),
}

impl EgressPolicy {
    /// The policy for an operator who is the user: private networks and plain http are fine.
    pub fn local() -> Self {
        Self { allow_private: true, allow_plaintext: true, ..Self::default() }
    }

    /// The policy for what is there by `origin`: what the registry runs itself may be on a private address, and
    /// speaks plain http there. What is blocked always stays so.
    pub fn of(&self, origin: Origin) -> Cow<'_, Self> {
        match origin {
            Origin::Owner => Cow::Borrowed(self),
            Origin::Deployment => {
                Cow::Owned(Self { allow_private: true, allow_plaintext: true, ..self.clone() })
            }
        }
    }

    /// Judges a URL when it is written. Names are judged again, as addresses, at connect.
    pub fn check_url(&self, url: &HostUrl) -> Result<(), EgressRefusal> {
        match url.host() {
            Host::Ip(ip) => self.check_address(*ip, url.port(), None)?,
            Host::Name(name) => {
                check_port(url.port())?;
                if METADATA_NAMES.contains(&&**name) {
                    return Err(EgressRefusal::Forbidden(name.to_string()));
                }
                if is_localhost(name) && !self.allow_private && !self.allows_name(name) {
                    return Err(EgressRefusal::Private(name.to_string()));
                }
            }
        }
        let public = match url.host() {
            Host::Ip(ip) => class_of(*ip) == Class::Public,
            Host::Name(name) => !(&**name == "localhost" || self.allows_name(name)),
        };
        if public && !url.is_https() && !self.allow_plaintext {
            return Err(EgressRefusal::Plaintext(url.authority()));
        }
        Ok(())
    }

    /// Judges the address a connection is about to be made to. `name` is what it was resolved from.
    pub fn check_address(&self, ip: IpAddr, port: u16, name: Option<&str>) -> Result<(), EgressRefusal> {
        check_port(port)?;
        if self.is_own(ip, port) {
            return Err(EgressRefusal::Own(SocketAddr::new(ip, port)));
        }
        match class_of(ip) {
            Class::Forbidden => Err(EgressRefusal::Forbidden(ip.to_string())),
            Class::Public => Ok(()),
            Class::Private => {
                let allowed = self.allow_private
                    || self.allow.iter().any(|rule| rule.holds_address(ip))
                    || name.is_some_and(|name| self.allows_name(name));
                if allowed { Ok(()) } else { Err(EgressRefusal::Private(ip.to_string())) }
            }
        }
    }

    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        self.own.iter().any(|own| {
            let reached = own.ip() == ip || (own.ip().is_unspecified() && ip.is_loopback());
            own.port() == port && reached
        })
    }

    fn allows_name(&self, name: &str) -> bool {
        self.allow.iter().any(|rule| match rule {
            EgressRule::Name(suffix) if suffix.starts_with('.') => name.ends_with(suffix.as_str()),
            EgressRule::Name(exact) => name == exact,
            EgressRule::Network { .. } => false,
        })
    }
}

/// Whether a URL leads to this machine or a private network by its form alone: no name but `localhost` does.
pub fn is_private(url: &HostUrl) -> bool {
    match url.host() {
        Host::Ip(ip) => class_of(*ip) == Class::Private,
        Host::Name(name) => is_localhost(name),
    }
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn check_port(port: u16) -> Result<(), EgressRefusal> {
    if MANAGEMENT_PORTS.contains(&port) { Err(EgressRefusal::ManagementPort(port)) } else { Ok(()) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Forbidden,
    Private,
    Public,
}

fn class_of(ip: IpAddr) -> Class {
    if METADATA_ADDRESSES.contains(&ip) {
        return Class::Forbidden;
    }
    match ip {
        IpAddr::V4(v4) => class_of_v4(v4),
        IpAddr::V6(v6) => match embedded_v4(v6) {
            Some(v4) => class_of_v4(v4),
            None => class_of_v6(v6),
        },
    }
}

fn class_of_v4(ip: Ipv4Addr) -> Class {
    let [a, b, ..] = ip.octets();
    if METADATA_ADDRESSES.contains(&IpAddr::V4(ip)) || a == 0 || a >= 224 || ip.is_link_local() {
        Class::Forbidden
    } else if ip.is_loopback() || ip.is_private() || (a == 100 && (64..128).contains(&b)) {
        Class::Private
    } else {
        Class::Public
    }
}

fn class_of_v6(ip: Ipv6Addr) -> Class {
    if ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() {
        Class::Forbidden
    } else if ip.is_loopback() || ip.is_unique_local() {
        Class::Private
    } else {
        Class::Public
    }
}

/// The IPv4 address inside a mapped, compatible, NAT64 (64:ff9b::/96) or 6to4 (2002::/16) address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    if ip.is_loopback() || ip.is_unspecified() {
        return None;
    }
    let s = ip.segments();
    let from = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => from(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        _ => None,
    }
}

impl EgressRule {
    fn holds_address(&self, ip: IpAddr) -> bool {
        match (self, ip) {
            (Self::Network { address: IpAddr::V4(net), prefix_bits }, IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(*prefix_bits).min(32);
                (u64::from(net.to_bits()) >> shift) == (u64::from(ip.to_bits()) >> shift)
            }
            (Self::Network { address: IpAddr::V6(net), prefix_bits }, IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(*prefix_bits).min(128);
                net.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl FromStr for EgressRule {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        if let Ok(address) = address.parse::<IpAddr>() {
            let max = if address.is_ipv4() { 32 } else { 128 };
            let prefix_bits =
                bits.map_or(Ok(max), str::parse).map_err(|_| format!("{text:?}: bad prefix"))?;
            return if prefix_bits <= max {
                Ok(Self::Network { address, prefix_bits })
            } else {
                Err(format!("{text:?}: the prefix is longer than the address"))
            };
        }
        let name = text.to_ascii_lowercase();
        let host = name.strip_prefix('.').unwrap_or(&name);
        match HostUrl::parse(&format!("http://{host}")) {
            Ok(url) if url.base_path().is_empty() && bits.is_none() => Ok(Self::Name(name)),
            _ => Err(format!("{text:?} is neither a network (10.0.0.0/8) nor a host name (.corp.example)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(policy: &EgressPolicy, url: &str) -> bool {
        HostUrl::parse(url).is_ok_and(|url| policy.check_url(&url).is_ok())
    }

    #[test]
    fn some_addresses_are_blocked_whatever_is_allowed() {
        let open = EgressPolicy::local();
        for url in [
            "http://169.254.169.254/",
            "http://[fe80::1]/",
            "http://metadata.google.internal/",
            "http://0.0.0.0:8000/",
            "http://[::]:1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://100.100.100.200/",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://127.0.0.1:2375/",
            "http://h.example:10250/",
        ] {
            assert!(!judge(&open, url), "{url}");
        }
    }

    #[test]
    fn private_networks_need_a_permission() {
        let closed = EgressPolicy::default();
        let listed = EgressPolicy {
            allow: ["127.0.0.0/8", "10.0.0.0/8", "::1", "localhost"].map(|r| r.parse().unwrap()).to_vec(),
            ..EgressPolicy::default()
        };
        for url in [
            "https://127.0.0.1:8000/v1",
            "https://localhost:8000/v1",
            "https://[::1]:8000/",
            "https://10.1.2.3/",
        ] {
            assert!(!judge(&closed, url), "{url}");
            assert!(judge(&listed, url), "{url}");
            assert!(judge(&EgressPolicy::local(), url), "{url}");
        }
        assert!(!judge(&listed, "https://192.168.1.10:8000/"));
        assert!(!judge(&closed, "https://[::ffff:127.0.0.1]/"));
    }

    #[test]
    fn what_the_registry_runs_may_be_private_and_nothing_more() {
        let own = vec!["127.0.0.1:8080".parse().unwrap()];
        let strict = EgressPolicy { own, ..EgressPolicy::default() };
        let deployed = strict.of(Origin::Deployment);
        for url in ["http://127.0.0.1:32768", "http://10.1.2.3:8000"] {
            assert!(judge(&deployed, url), "{url}");
            assert!(!judge(&strict.of(Origin::Owner), url), "{url}");
        }
        for url in ["http://127.0.0.1:8080", "http://127.0.0.1:2375", "http://169.254.169.254"] {
            assert!(!judge(&deployed, url), "{url}");
        }
    }

    #[test]
    fn a_provider_cannot_be_the_gateway_itself() {
        let own = ["127.0.0.1:8080", "0.0.0.0:9000"].map(|a| a.parse().unwrap()).to_vec();
        let policy = EgressPolicy { own, ..EgressPolicy::local() };
        assert!(!judge(&policy, "http://127.0.0.1:8080/v1"));
        assert!(!judge(&policy, "http://127.0.0.1:9000/v1"));
        assert!(judge(&policy, "http://127.0.0.1:8081/v1"));
    }

    #[test]
    fn a_public_name_wants_https() {
        assert!(judge(&EgressPolicy::default(), "https://api.provider.test/v1"));
        assert!(!judge(&EgressPolicy::default(), "http://api.provider.test/v1"));
        assert!(judge(&EgressPolicy::local(), "http://api.provider.test/v1"));
    }

    #[test]
    fn a_name_that_resolves_to_a_private_address_is_refused_at_connect() {
        let ip = "10.0.0.1".parse().unwrap();
        assert!(EgressPolicy::default().check_address(ip, 443, Some("api.provider.test")).is_err());
        let listed = EgressPolicy { allow: vec![".provider.test".parse().unwrap()], ..Default::default() };
        assert!(listed.check_address(ip, 443, Some("api.provider.test")).is_ok());
    }
}
