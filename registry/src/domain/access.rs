//! Who may read a secret's value.
//!
//! Nobody is asked for a key yet, so the way a request came is all there is to go by: it must have
//! started on this machine, at every hop.

use proto_shared::Caller;

/// The setting `secrets.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretAccess {
    /// For programs on this machine.
    Loopback,
    Off,
}

/// Where the connection that a request came over begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A Unix socket of ours, or a loopback address.
    ThisMachine,
    Network,
}

/// Why the value is not given; none: it may be.
pub fn refusal(access: SecretAccess, peer: Peer, caller: Caller) -> Option<&'static str> {
    match (access, peer, caller) {
        (SecretAccess::Off, ..) => {
            Some("Reading secrets is switched off: set secrets.access = true where the registry runs")
        }
        (_, Peer::Network, _) => Some(
            "A secret's value does not cross a network in the clear: ask through a gateway on the \
             registry's own machine, or `nimgate up`",
        ),
        (_, _, Caller::Other) => Some(
            "A secret's value is only given to programs on the gateway's own machine: have it listen on \
             127.0.0.1 (listen = \"127.0.0.1:8080\") and call it by that address or as localhost, not \
             from a web page",
        ),
        (SecretAccess::Loopback, Peer::ThisMachine, Caller::Loopback) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_leads_to_a_value_and_the_others_say_what_to_change() {
        for access in [SecretAccess::Loopback, SecretAccess::Off] {
            for peer in [Peer::ThisMachine, Peer::Network] {
                for caller in [Caller::Loopback, Caller::Other] {
                    let why = refusal(access, peer, caller);
                    let right = (access, peer, caller)
                        == (SecretAccess::Loopback, Peer::ThisMachine, Caller::Loopback);
                    assert_eq!(why.is_none(), right, "{access:?} {peer:?} {caller:?}");
                    assert_eq!(
                        why.is_some_and(|text| text.contains("secrets.access")),
                        access == SecretAccess::Off
                    );
                }
            }
        }
    }
}
