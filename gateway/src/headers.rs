//! Which headers cross the gateway, in both directions.

use crate::h1::head::tokens;

/// Never to an upstream: hop-by-hop, client credentials, forwarding, overrides, and what the gateway
/// writes itself. Lower case.
const NEVER_UPSTREAM: [&str; 32] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
    "proxy-authenticate",
    "proxy-authorization",
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "cookie",
    "cookie2",
    "forwarded",
    "x-real-ip",
    "via",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-host",
    "true-client-ip",
    "host",
    "content-length",
    "x-request-id",
];

/// Prefixes of the same kind: forwarding, sidecar overrides, and our own internal names.
const NEVER_UPSTREAM_PREFIXES: [&str; 5] = ["x-forwarded-", "x-envoy-", "x-nimgate-", "x-nmp-", "proxy-"];

/// Never to a client. Lower case.
const NEVER_DOWNSTREAM: [&str; 15] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "set-cookie",
    "set-cookie2",
    "server",
    "alt-svc",
    "x-request-id",
    "content-length",
];

/// Rate-limit headers name the provider's account; our own prefix is ours; and which web pages may
/// read an answer is not the provider's to say.
const NEVER_DOWNSTREAM_PREFIXES: [&str; 3] = ["x-nimgate-", "openai-organization", "access-control-"];

/// Beside all that begin with `content-`. Lower case.
const OF_THE_ORIGINAL: [&str; 12] = [
    "etag",
    "last-modified",
    "cache-control",
    "expires",
    "age",
    "accept-ranges",
    "digest",
    "repr-digest",
    "location",
    "retry-after",
    "www-authenticate",
    "x-accel-buffering",
];

/// Headers that `Connection` can't nominate: dropping them would change the message or who asks.
const NOT_NOMINABLE: [&str; 4] = ["host", "authorization", "content-length", "content-type"];

pub fn may_go_upstream(name: &[u8]) -> bool {
    !listed(name, &NEVER_UPSTREAM) && !prefixed(name, &NEVER_UPSTREAM_PREFIXES) && !name.contains(&b'_')
}

pub fn may_go_downstream(name: &[u8]) -> bool {
    !listed(name, &NEVER_DOWNSTREAM) && !prefixed(name, &NEVER_DOWNSTREAM_PREFIXES)
}

/// Whether a header says something of an answer's body, or of the call's other end: not of one that was
/// translated.
pub fn is_of_the_original(name: &[u8]) -> bool {
    listed(name, &OF_THE_ORIGINAL) || prefixed(name, &["content-"])
}

/// Trailers may carry what headers may, except what would change framing, routing or content.
pub fn may_be_trailer(name: &[u8]) -> bool {
    may_go_upstream(name)
        && may_go_downstream(name)
        && !listed(name, &["content-type", "content-encoding", "content-range", "cache-control", "location"])
}

fn listed(name: &[u8], list: &[&str]) -> bool {
    list.iter().any(|entry| entry.len() == name.len() && entry.as_bytes().eq_ignore_ascii_case(name))
}

fn prefixed(name: &[u8], list: &[&str]) -> bool {
    list.iter().any(|prefix| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    })
}

/// The names that a message's `Connection` headers nominate as hop-by-hop, beyond the usual ones.
/// Most messages nominate none, and this allocates nothing then.
#[derive(Debug, Default)]
pub struct Nominated<'h>(smallvec::SmallVec<[&'h [u8]; 4]>);

impl<'h> Nominated<'h> {
    pub fn of(headers: impl Iterator<Item = (&'h [u8], &'h [u8])>) -> Self {
        let mut names = Self::default();
        for (_, value) in headers.filter(|(name, _)| name.eq_ignore_ascii_case(b"connection")) {
            for token in tokens(value) {
                let usual = ["close", "keep-alive", "upgrade", "te", "http2-settings"];
                if !listed(token, &usual) && !listed(token, &NOT_NOMINABLE) {
                    names.0.push(token);
                }
            }
        }
        names
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|nominated| nominated.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_cookies_and_forwarding_headers_stay_here() {
        for name in [
            "Authorization",
            "X-API-Key",
            "api-key",
            "Cookie",
            "Proxy-Authorization",
            "X-Forwarded-For",
            "Forwarded",
            "Via",
            "X-Original-URL",
            "X-Envoy-Anything",
            "X-Nimgate-Generation",
            "TE",
            "Expect",
            "Content_Length",
            "x_y",
            "Host",
            "HTTP2-Settings",
            "x-nmp-principal-id",
        ] {
            assert!(!may_go_upstream(name.as_bytes()), "{name}");
        }
        for name in
            ["Content-Type", "Accept", "OpenAI-Beta", "X-Stainless-Lang", "traceparent", "Idempotency-Key"]
        {
            assert!(may_go_upstream(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn answers_lose_cookies_and_what_belongs_to_the_hop() {
        for name in ["Set-Cookie", "Server", "Alt-Svc", "Keep-Alive", "Transfer-Encoding", "Connection"] {
            assert!(!may_go_downstream(name.as_bytes()), "{name}");
        }
        for name in ["Content-Type", "Retry-After", "Location", "ETag", "x-ratelimit-remaining"] {
            assert!(may_go_downstream(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn connection_nominates_but_not_what_the_message_stands_on() {
        let headers =
            [(&b"Connection"[..], &b"close, X-Hop , content-type"[..]), (b"connection", b"x-other")];
        let nominated = Nominated::of(headers.into_iter());
        assert!(nominated.contains(b"x-hop") && nominated.contains(b"X-Other"));
        assert!(!nominated.contains(b"Content-Type") && !nominated.contains(b"close"));
    }
}
