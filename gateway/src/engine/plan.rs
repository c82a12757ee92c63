//! From a request to what goes to a candidate: the head, encoded, and the body, spliced.

use bytes::{BufMut, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};
use pingora::http::RequestHeader;
use proto_shared::caller::{CALLER_HEADER, Caller};

use super::down::RequestView;
use super::encode::{Fields, put_content_length, put_header};
use crate::body::{self, Parts, RequestScan};
use crate::headers::{self, Nominated};
use crate::refusal::Refusal;
use crate::route::{Provider, Replica};

/// The request's body, as the route needs it.
pub enum Body<'b> {
    Empty,
    /// Streamed through, any size.
    Stream {
        length: Option<u64>,
    },
    /// Read whole, for a route that changes nothing in it but the provider's own members.
    Whole(&'b Bytes),
    /// Read whole and scanned, for a route that puts the served name in.
    Json(&'b Bytes, &'b RequestScan<'b>),
}

impl Body<'_> {
    /// The bytes for one candidate; nothing for streamed bodies.
    pub fn parts(&self, provider: &Provider, served_json: Option<&Bytes>) -> Result<Option<Parts>, Refusal> {
        let parts = match (self, &provider.extra_body, served_json) {
            (Self::Empty | Self::Stream { .. }, ..) => return Ok(None),
            (Self::Json(bytes, scan), Some(extra), Some(served)) => {
                extra.apply(bytes, Some((scan, served))).map_err(Refusal::Body)?
            }
            (Self::Json(bytes, scan), None, Some(served)) => body::replace_model(bytes, scan, served),
            (Self::Whole(bytes) | Self::Json(bytes, _), Some(extra), _) => {
                extra.apply(bytes, None).map_err(Refusal::Body)?
            }
            (Self::Whole(bytes) | Self::Json(bytes, _), None, _) => Parts::whole((*bytes).clone()),
        };
        Ok(Some(parts))
    }

    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream { .. })
    }
}

/// How the body is framed on its way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    None,
    Known(u64),
    Chunked,
}

impl Length {
    pub fn of(body: &Body<'_>, parts: Option<&Parts>, method: &Method) -> Self {
        match (body, parts) {
            (_, Some(parts)) => Self::Known(parts.len as u64),
            (Body::Stream { length: Some(length) }, None) => Self::Known(*length),
            (Body::Stream { length: None }, None) => Self::Chunked,
            // An empty POST says so, or some servers wait for a body.
            _ if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => Self::Known(0),
            _ => Self::None,
        }
    }
}

/// Who the request goes to, as far as its head cares.
pub enum Receiver<'a> {
    Provider(&'a Provider, &'a Replica),
    /// Our own registry: credentials pass, they are meant for it. It is told who asks.
    Registry(Caller),
}

pub struct UpstreamHead<'a> {
    pub request: RequestView<'a>,
    pub receiver: Receiver<'a>,
    /// Path and query on the upstream.
    pub path: &'a str,
    pub length: Length,
    pub request_id: &'a [u8],
    /// The answer will be read here: it must not be compressed.
    pub identity_only: bool,
}

impl UpstreamHead<'_> {
    fn admits(&self, name: &[u8], nominated: &Nominated<'_>) -> bool {
        if nominated.contains(name) || (self.identity_only && name.eq_ignore_ascii_case(b"accept-encoding")) {
            return false;
        }
        match self.receiver {
            Receiver::Provider(provider, _) => headers::may_go_upstream(name) && !provider.owns_header(name),
            Receiver::Registry(_) => {
                headers::may_go_upstream(name) || name.eq_ignore_ascii_case(b"authorization")
            }
        }
    }

    fn nominated(&self) -> Nominated<'_> {
        match self.request.fields {
            Fields::H1(head) => Nominated::of(head.iter()),
            _ => Nominated::default(),
        }
    }

    /// As HTTP/1.1 bytes.
    pub fn encode_h1(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(1024);
        out.put_slice(self.request.method.as_str().as_bytes());
        out.put_slice(b" ");
        out.put_slice(self.path.as_bytes());
        out.put_slice(b" HTTP/1.1\r\n");
        match self.receiver {
            Receiver::Provider(provider, replica) => {
                out.put_slice(&replica.fixed_lines);
                for (name, value) in self.defaults(provider) {
                    put_header(&mut out, name.as_str().as_bytes(), value.as_bytes());
                }
            }
            Receiver::Registry(caller) => {
                out.put_slice(b"host: registry\r\n");
                put_header(&mut out, CALLER_HEADER.as_bytes(), caller.as_str().as_bytes());
            }
        }
        let nominated = self.nominated();
        self.request.fields.for_each(|name, value| {
            if self.admits(name, &nominated) {
                put_header(&mut out, name, value);
            }
        });
        put_header(&mut out, b"x-request-id", self.request_id);
        match self.length {
            Length::None => {}
            Length::Known(length) => put_content_length(&mut out, length),
            Length::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        }
        if self.request.websocket {
            out.put_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        }
        out.put_slice(b"\r\n");
        out
    }

    /// As an HTTP/2 head: scheme and authority travel in the URI, `host` does not.
    pub fn encode_h2(&self, provider: &Provider, replica: &Replica) -> Result<Box<RequestHeader>, Refusal> {
        let bad = |_| Refusal::Framing("the path can't be sent over HTTP/2");
        let path: PathAndQuery = self.path.parse().map_err(bad)?;
        let uri = http::Uri::builder()
            .scheme("https")
            .authority(replica.url().authority())
            .path_and_query(path)
            .build()
            .map_err(|_| Refusal::Framing("the path can't be sent over HTTP/2"))?;
        let mut head = RequestHeader::build(self.request.method.clone(), b"/", None)
            .map_err(|_| Refusal::Framing("the method can't be sent over HTTP/2"))?;
        head.set_uri(uri);
        head.set_version(http::Version::HTTP_2);
        let nominated = self.nominated();
        let mut add = |name: HeaderName, value: HeaderValue| {
            // The only failure is a map beyond 32,768 entries; a head has at most 200 lines.
            let _ = head.append_header(name, value);
        };
        for (name, value) in provider.fixed_headers.iter().filter(|(name, _)| name != http::header::HOST) {
            add(name.clone(), value.clone());
        }
        for (name, value) in self.defaults(provider) {
            add(name.clone(), value.clone());
        }
        self.request.fields.for_each(|name, value| {
            if self.admits(name, &nominated)
                && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                add(name, value);
            }
        });
        if let Ok(id) = HeaderValue::from_bytes(self.request_id) {
            add(HeaderName::from_static("x-request-id"), id);
        }
        if let Length::Known(length) = self.length {
            add(http::header::CONTENT_LENGTH, length.into());
        }
        Ok(Box::new(head))
    }

    /// The provider's default headers that the client did not send.
    fn defaults<'p>(&'p self, provider: &'p Provider) -> impl Iterator<Item = &'p (HeaderName, HeaderValue)> {
        provider.default_headers.iter().filter(|(name, _)| self.request.fields.get(name.as_str()).is_none())
    }
}

/// Head and the first of the body in one buffer when that is small: one packet, one wake-up.
pub fn join_small(head: BytesMut, parts: Option<Parts>) -> (Bytes, Option<Parts>) {
    const JOINED_BYTES_MAX: usize = 8 * 1024;
    match parts {
        Some(parts) if parts.len <= JOINED_BYTES_MAX => {
            let mut joined = head;
            parts.segments.iter().for_each(|segment| joined.put_slice(segment));
            (joined.freeze(), None)
        }
        parts => (head.freeze(), parts),
    }
}

/// The tail on the provider's address, with the query as sent.
pub fn upstream_path(replica: &Replica, tail: &str, query: Option<&str>) -> String {
    let mut path = replica.url().join(tail);
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}
