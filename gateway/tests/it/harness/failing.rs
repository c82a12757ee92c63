//! Servers that fail, one for each way there is, and one that does not.

use std::any::Any;

use h2::{Reason, server};
use http::Response;
use proto_shared::ProviderRoute;
use proto_shared::snapshot::Replay;

use super::full_queue::{FullQueue, refusing_url};
use super::h2_upstream::H2Upstream;
use super::scripted::{LAST_CHUNK, SOON, SSE_HEAD, Scripted, chunk, json_reply};
use super::tls::Authority;

/// What is wrong with a server. Before its answer began, in all cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Its name has no address.
    NoAddress,
    Refuses,
    /// Connecting to it neither succeeds nor fails.
    ConnectsNever,
    /// Its certificate is of an authority that nobody trusts.
    Untrusted,
    /// It speaks no TLS where it should.
    PlainBehindTls,
    /// It lets one in, and says nothing in the handshake.
    MuteInHandshake,
    Answers(Wire, u16),
    /// The same, and says when to come again.
    AsksToWait(Wire, u16),
    /// It takes requests and answers none.
    Mute(Wire),
    /// It takes a request and closes the connection.
    Closes,
    /// It resets the stream of a request that it did not look at.
    RefusesStream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Http1,
    Http2,
}

use Failure::{Answers, AsksToWait, Mute};
use Wire::{Http1, Http2};

impl Failure {
    pub const ALL: [Self; 22] = [
        Self::NoAddress,
        Self::Refuses,
        Self::ConnectsNever,
        Self::Untrusted,
        Self::PlainBehindTls,
        Self::MuteInHandshake,
        Answers(Http1, 429),
        Answers(Http1, 500),
        Answers(Http1, 502),
        Answers(Http1, 503),
        Answers(Http1, 504),
        Answers(Http1, 529),
        AsksToWait(Http1, 429),
        AsksToWait(Http1, 503),
        Answers(Http2, 429),
        Answers(Http2, 500),
        Answers(Http2, 503),
        AsksToWait(Http2, 503),
        Mute(Http1),
        Mute(Http2),
        Self::Closes,
        Self::RefusesStream,
    ];

    /// Whether it leaves open what became of the request: such go elsewhere only where that is harmless.
    pub fn is_ambiguous(self) -> bool {
        matches!(self, Mute(_) | Self::Closes | Answers(_, 502 | 504))
    }
}

/// A server that fails.
pub struct Failing {
    pub url: String,
    failure: Failure,
    /// Held for as long as it is to fail this way.
    _server: Box<dyn Any + Send>,
}

impl Failing {
    /// `trusted` signs its certificate where it is to have a good one.
    pub async fn start(failure: Failure, trusted: &Authority) -> Self {
        let (url, server) = match failure {
            // Reserved: no such name exists anywhere.
            Failure::NoAddress => ("http://provider.invalid".to_owned(), Box::new(()) as Box<dyn Any + Send>),
            Failure::Refuses => (refusing_url().await, Box::new(()) as _),
            Failure::ConnectsNever => {
                let full = FullQueue::new();
                (full.url(), Box::new(full) as _)
            }
            Failure::Untrusted => of_http2(answering_h2(Authority::new(), 200, None).await),
            Failure::PlainBehindTls => behind_tls(Scripted::obliging().await),
            Failure::MuteInHandshake => {
                behind_tls(Scripted::start(|mut line| async move { line.hang().await }).await)
            }
            Answers(Http1, status) => of_http1(answering_h1(status, "").await),
            AsksToWait(Http1, status) => of_http1(answering_h1(status, "retry-after: 60\r\n").await),
            Answers(Http2, status) => of_http2(answering_h2(trusted.clone(), status, None).await),
            AsksToWait(Http2, status) => of_http2(answering_h2(trusted.clone(), status, Some("60")).await),
            Mute(Http1) => of_http1(mute_h1().await),
            Mute(Http2) => of_http2(mute_h2(trusted.clone()).await),
            Failure::Closes => of_http1(closing().await),
            Failure::RefusesStream => of_http2(refusing_streams(trusted.clone()).await),
        };
        Self { url, failure, _server: server }
    }

    /// What a provider must say for this failure to be one, and soon: short waits where it is about waiting, and
    /// that asking twice is harmless where that is what it takes.
    pub fn settings(&self) -> impl Fn(&mut ProviderRoute) + use<> {
        let failure = self.failure;
        move |provider| {
            let soon_ms = SOON.as_millis() as u64;
            match failure {
                Failure::NoAddress | Failure::ConnectsNever | Failure::MuteInHandshake => {
                    provider.timeouts.connect_timeout_ms = soon_ms
                }
                Mute(_) => provider.timeouts.first_byte_timeout_ms = soon_ms,
                _ => {}
            }
            if failure.is_ambiguous() {
                provider.replay = Replay::Safe;
            }
        }
    }
}

fn of_http1(server: Scripted) -> (String, Box<dyn Any + Send>) {
    (server.url(), Box::new(server))
}

fn of_http2(server: H2Upstream) -> (String, Box<dyn Any + Send>) {
    (server.url(), Box::new(server))
}

fn behind_tls(server: Scripted) -> (String, Box<dyn Any + Send>) {
    (format!("https://{}", server.address), Box::new(server))
}

/// The body of all answers that are failures: no JSON that anybody would write again the same way.
pub const FAILURE_BODY: &[u8] =
    b"{\"error\" :{\"code\":12345678901234567890123,\"model\":\"x/y\",\"t\":\"\\u00e9 \xff\"} }\r\n";

async fn answering_h1(status: u16, more: &str) -> Scripted {
    let head = format!(
        "HTTP/1.1 {status} Because\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-own: 1\r\n{more}\r\n",
        FAILURE_BODY.len()
    );
    Scripted::answering([head.as_bytes(), FAILURE_BODY].concat()).await
}

async fn answering_h2(authority: Authority, status: u16, retry_after: Option<&'static str>) -> H2Upstream {
    H2Upstream::start_as(authority, server::Builder::new(), move |mut line, _, heard| async move {
        while let Some((_, mut respond)) = heard.next(&mut line).await {
            let head = Response::builder().status(status).header("content-type", "application/json");
            let head = retry_after
                .into_iter()
                .fold(head.header("x-own", "1"), |head, s| head.header("retry-after", s));
            let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
            stream.send_data(FAILURE_BODY.into(), true).unwrap();
        }
    })
    .await
}

async fn mute_h1() -> Scripted {
    Scripted::start(|mut line| async move {
        line.request().await;
        line.hang().await;
    })
    .await
}

async fn mute_h2(authority: Authority) -> H2Upstream {
    H2Upstream::start_as(authority, server::Builder::new(), |mut line, _, heard| async move {
        let mut unanswered = vec![];
        while let Some(ask) = heard.next(&mut line).await {
            unanswered.push(ask);
        }
    })
    .await
}

async fn closing() -> Scripted {
    Scripted::start(|mut line| async move {
        line.request().await;
    })
    .await
}

async fn refusing_streams(authority: Authority) -> H2Upstream {
    H2Upstream::start_as(authority, server::Builder::new(), |mut line, _, heard| async move {
        while let Some((_, mut respond)) = heard.next(&mut line).await {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    })
    .await
}

/// What a server answers that does not fail, to a request with this body.
pub fn good_answer(body: &[u8]) -> &'static str {
    if is_stream(body) {
        "data: {\"model\":\"default/m1\"}\n\ndata: [DONE]\n\n"
    } else {
        r#"{"model":"default/m1"}"#
    }
}

fn is_stream(body: &[u8]) -> bool {
    memchr::memmem::find(body, br#""stream":true"#).is_some()
}

/// A server that does not fail: JSON, or a stream for who asks for one.
pub async fn good() -> Scripted {
    Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            let answer = good_answer(&heard.body).replace("default/m1", "x/y");
            if is_stream(&heard.body) {
                line.write([SSE_HEAD.as_bytes(), &chunk(answer), LAST_CHUNK.as_bytes()].concat()).await;
            } else {
                line.write(json_reply(&answer)).await;
            }
        }
    })
    .await
}
