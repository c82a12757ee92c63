//! Who a control call comes from: decided here, told to the registry in a header of ours.
//!
//! What only a program on this machine may ask for is not given to a web page in this machine's browser:
//! such a page shows itself by an `Origin`, or by a `Host` that was made to resolve to this machine.

use std::net::{IpAddr, SocketAddr};

use proto_shared::Caller;

/// What is known of a request and its connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival<'a> {
    /// The connection's address on our side.
    pub local: Option<SocketAddr>,
    /// The `Host` header. HTTP/2 has none.
    pub host: Option<&'a [u8]>,
    pub has_origin: bool,
}

/// `listeners` are the addresses that were bound: a connection to 127.0.0.1 through one on 0.0.0.0 does
/// not count, as what stands before it (a port forwarding, a proxy) is open to others.
pub fn caller(arrival: Arrival<'_>, listeners: &[SocketAddr]) -> Caller {
    let loopback = arrival.local.is_some_and(|at| is_loopback(at.ip()) && listeners.contains(&at));
    if loopback && !arrival.has_origin && arrival.host.is_none_or(names_this_machine) {
        Caller::Loopback
    } else {
        Caller::Other
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Whether a `Host` is `localhost` or a loopback address, with or without a port.
fn names_this_machine(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENER: &str = "127.0.0.1:8080";

    fn of(local: &str, listener: &str, host: Option<&str>, has_origin: bool) -> Caller {
        let arrival = Arrival { local: local.parse().ok(), host: host.map(str::as_bytes), has_origin };
        caller(arrival, &[listener.parse().unwrap()])
    }

    #[test]
    fn only_what_comes_through_a_loopback_listener_is_local() {
        assert_eq!(of(LISTENER, LISTENER, Some("localhost"), false), Caller::Loopback);
        assert_eq!(of("[::1]:1", "[::1]:1", None, false), Caller::Loopback);
        for (local, listener) in [
            ("127.0.0.1:8080", "0.0.0.0:8080"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("127.0.0.1:8081", LISTENER),
            ("unknown", LISTENER),
        ] {
            assert_eq!(of(local, listener, Some("localhost"), false), Caller::Other, "{local} {listener}");
        }
    }

    #[test]
    fn a_web_page_is_not_local_wherever_its_browser_runs() {
        assert_eq!(of(LISTENER, LISTENER, Some("localhost:8080"), true), Caller::Other);
        for host in
            ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "[", ""]
        {
            assert_eq!(of(LISTENER, LISTENER, Some(host), false), Caller::Other, "{host}");
        }
        for host in ["LocalHost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:8080", "[::ffff:127.0.0.1]"] {
            assert_eq!(of(LISTENER, LISTENER, Some(host), false), Caller::Loopback, "{host}");
        }
    }
}
