//! A mock OpenAI upstream that costs less than any gateway in front of it.
//!
//! | request | answer |
//! |---|---|
//! | `POST …/chat/completions` | JSON of about 620 bytes |
//! | the same with `"stream":true` | 50 events of about 215 bytes and `[DONE]`, one write each |
//! | the same with `[[delay]]` or `[[delay:MS]]` too | the events 10 or MS milliseconds apart |
//! | `GET /v1/models` | `bench-model` |
//! | `GET /PREFIX/v1/models` | `PREFIX-m0`, `PREFIX-m1`, … : as many as configured |
//!
//! Without a prefix the body must name the model `bench-model`, or the answer is 404: so a gateway that
//! has to rewrite the name can't get away without doing so.
//!
//! One thread. Of a body only its first and last 512 bytes are looked at: model and switches are
//! there. Absent on purpose: chunked request bodies (411) and everything else a server is for.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use clap::Args;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::error::BenchError;

pub const EVENTS: usize = 50;
const DELAY_DEFAULT_MS: u64 = 10;
const DELAY_MAX_MS: u64 = 60_000;
const HEAD_BYTES_MAX: usize = 32 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
pub(crate) const READ_BYTES: usize = 32 * 1024;
const LOOKED_AT_BYTES: usize = 512;
const HEADER_LINES_MAX: usize = 64;

const COMPLETION: &str = r#"{"id":"chatcmpl-5b0d1f6e2c9a4870","object":"chat.completion","created":1763000000,"model":"bench-model","choices":[{"index":0,"message":{"role":"assistant","content":"A gateway sees every stream and can move the next one to whichever server has room; clients that balance by themselves see only their own, but need nobody between them and the model. With long streams the gateway wins where load is uneven, and the clients win where one hop less matters more.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":212,"completion_tokens":64,"total_tokens":276},"system_fingerprint":"fp_bench"}"#;
pub(crate) const EVENT: &str = concat!(
    r#"data: {"id":"chatcmpl-5b0d1f6e2c9a4870","object":"chat.completion.chunk","created":1763000000,"model":"bench-model","choices":[{"index":0,"delta":{"content":" stream"},"logprobs":null,"finish_reason":null}]}"#,
    "\n\n"
);
pub(crate) const DONE: &str = "data: [DONE]\n\n";
pub(crate) const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

#[derive(Debug, Clone, Args)]
pub struct UpstreamArgs {
    /// Port on 127.0.0.1; may be repeated
    #[arg(long = "port", required = true)]
    pub ports: Vec<u16>,
    /// Models listed for each path prefix
    #[arg(long, default_value_t = 10)]
    pub models: usize,
    /// End when standard input does, so as not to outlive whoever started it
    #[arg(long)]
    pub until_stdin_ends: bool,
}

/// Ends this process when its standard input does.
pub(crate) fn end_with_stdin() {
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(0);
    });
}

/// Serves until the process ends.
pub fn run(args: &UpstreamArgs) -> Result<(), BenchError> {
    if args.until_stdin_ends {
        end_with_stdin();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::io("can't start a runtime"))?;
    let answers = Rc::new(Answers::new(args.models));
    LocalSet::new().block_on(&runtime, async {
        let mut accepting = Vec::new();
        for port in &args.ports {
            let address = SocketAddr::from(([127, 0, 0, 1], *port));
            let listener = TcpListener::bind(address)
                .await
                .map_err(BenchError::io(format!("can't listen on {address}")))?;
            accepting.push(tokio::task::spawn_local(accept(listener, Rc::clone(&answers))));
        }
        for task in accepting {
            let _ = task.await;
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener, answers: Rc<Answers>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Rc::clone(&answers);
                tokio::task::spawn_local(async move {
                    // A client that is gone is the end of its connection, and nothing else.
                    let _ = talk(stream, &answers).await;
                });
            }
            // Out of file descriptors, most likely: some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Everything that is ever sent, ready to be sent.
struct Answers {
    models: usize,
    completion: Vec<u8>,
    event: Vec<u8>,
    end: Vec<u8>,
}

impl Answers {
    fn new(models: usize) -> Self {
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        Self {
            models,
            completion: json("200 OK", COMPLETION),
            event: chunk(EVENT).into_bytes(),
            end: format!("{}0\r\n\r\n", chunk(DONE)).into_bytes(),
        }
    }

    fn model_list(&self, prefix: Option<&str>) -> Vec<u8> {
        let card = |id: &str| format!(r#"{{"id":"{id}","object":"model","created":1,"owned_by":"bench"}}"#);
        let cards: Vec<_> = match prefix {
            None => vec![card("bench-model")],
            Some(prefix) => (0..self.models).map(|number| card(&format!("{prefix}-m{number}"))).collect(),
        };
        json("200 OK", &format!(r#"{{"object":"list","data":[{}]}}"#, cards.join(",")))
    }
}

pub(crate) fn json(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What one request wants.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Models { prefix: Option<String> },
    Completion,
    Stream { pause: Option<Duration> },
    Refused(&'static str),
}

async fn talk(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(READ_BYTES);
    loop {
        let Some(head) = next_request(&mut stream, &mut input).await? else { return Ok(()) };
        let wish = head.wish(&input);
        input.advance(head.request_bytes);
        match wish {
            Wish::Completion => stream.write_all(&answers.completion).await?,
            Wish::Models { prefix } => stream.write_all(&answers.model_list(prefix.as_deref())).await?,
            Wish::Stream { pause } => send_stream(&mut stream, answers, pause).await?,
            Wish::Refused(status) => {
                stream.write_all(&json(status, r#"{"error":{"message":"not for this mock"}}"#)).await?;
            }
        }
    }
}

async fn send_stream(stream: &mut TcpStream, answers: &Answers, pause: Option<Duration>) -> io::Result<()> {
    stream.write_all(STREAM_HEAD.as_bytes()).await?;
    let start = Instant::now();
    for number in 0..EVENTS {
        if let Some(pause) = pause {
            tokio::time::sleep_until(start + pause * number as u32).await;
        }
        stream.write_all(&answers.event).await?;
    }
    stream.write_all(&answers.end).await
}

/// Reads until a whole request is there. `None`: the client left.
pub(crate) async fn next_request(stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<Option<Head>> {
    let mut wanted: Option<Head> = None;
    loop {
        if wanted.is_none() {
            wanted = head(input)?;
        }
        if wanted.as_ref().is_some_and(|head| input.len() >= head.request_bytes) {
            return Ok(wanted);
        }
        let missing = wanted.as_ref().map_or(0, |head| head.request_bytes - input.len());
        input.reserve(missing.max(READ_BYTES));
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

pub(crate) struct Head {
    pub is_post: bool,
    pub path: String,
    pub is_chunked: bool,
    pub head_bytes: usize,
    pub request_bytes: usize,
}

fn head(input: &[u8]) -> io::Result<Option<Head>> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let head_bytes = match request.parse(input).map_err(|_| bad())? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial if input.len() > HEAD_BYTES_MAX => return Err(bad()),
        httparse::Status::Partial => return Ok(None),
    };
    let mut body_bytes = 0;
    let mut is_chunked = false;
    for line in request.headers.iter() {
        if line.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(line.value).map_err(|_| bad())?;
            body_bytes = text.trim().parse::<usize>().map_err(|_| bad())?;
        }
        is_chunked |= line.name.eq_ignore_ascii_case("transfer-encoding");
    }
    if body_bytes > BODY_BYTES_MAX {
        return Err(bad());
    }
    Ok(Some(Head {
        is_post: request.method == Some("POST"),
        path: request.path.unwrap_or_default().to_owned(),
        is_chunked,
        head_bytes,
        request_bytes: head_bytes + body_bytes,
    }))
}

impl Head {
    fn wish(&self, input: &[u8]) -> Wish {
        if self.is_chunked {
            return Wish::Refused("411 Length Required");
        }
        let prefix =
            self.path.trim_start_matches('/').split_once("/v1/").map(|(prefix, _)| prefix.to_owned());
        if self.path.ends_with("/v1/models") && !self.is_post {
            return Wish::Models { prefix };
        }
        if !self.path.ends_with("/v1/chat/completions") || !self.is_post {
            return Wish::Refused("404 Not Found");
        }
        let body = input.get(self.head_bytes..self.request_bytes).unwrap_or_default();
        let first = &body[..body.len().min(LOOKED_AT_BYTES)];
        let last = &body[body.len().saturating_sub(LOOKED_AT_BYTES)..];
        let find = |what: &str| {
            [last, first].into_iter().find_map(|part| {
                memmem::find(part, what.as_bytes()).and_then(|at| part.get(at + what.len()..))
            })
        };
        if prefix.is_none() && find("\"model\":\"bench-model\"").is_none() {
            return Wish::Refused("404 Not Found");
        }
        if find("\"stream\":true").is_none() {
            return Wish::Completion;
        }
        Wish::Stream { pause: find("[[delay").map(pause) }
    }
}

/// What follows `[[delay`: `:MS]]`, or `]]`.
fn pause(text: &[u8]) -> Duration {
    let digits = text.strip_prefix(b":").unwrap_or_default();
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let ms = std::str::from_utf8(&digits[..end]).ok().and_then(|text| text.parse().ok());
    Duration::from_millis(ms.unwrap_or(DELAY_DEFAULT_MS).min(DELAY_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompts::Prompt;
    use crate::wire;

    fn wish(path: &str, body: &str) -> Wish {
        let request = wire::request("POST", path, Some(body));
        let head = head(&request).unwrap().unwrap();
        assert_eq!(head.request_bytes, request.len());
        head.wish(&request)
    }

    #[test]
    fn each_prompt_gets_what_it_asks_for() {
        let path = "/v1/chat/completions";
        for (prompt, expected) in [
            (Prompt::Small, Wish::Completion),
            (Prompt::Big, Wish::Completion),
            (Prompt::Burst, Wish::Stream { pause: None }),
            (Prompt::Paced { pause_ms: 30 }, Wish::Stream { pause: Some(Duration::from_millis(30)) }),
        ] {
            assert_eq!(wish(path, &prompt.body("bench-model")), expected);
            let refused = Wish::Refused("404 Not Found");
            assert_eq!(
                wish(path, &prompt.body("default/bench-model")),
                refused,
                "the name was not rewritten"
            );
        }
    }

    #[test]
    fn a_delay_without_a_number_is_ten_milliseconds() {
        assert_eq!(pause(b"]] and so on"), Duration::from_millis(10));
        assert_eq!(pause(b":250]]"), Duration::from_millis(250));
        assert_eq!(pause(b":99999999]]"), Duration::from_millis(DELAY_MAX_MS));
    }

    #[test]
    fn below_a_prefix_every_model_is_served_and_the_list_is_its_own() {
        assert_eq!(wish("/p1/v1/chat/completions", &Prompt::Small.body("p1-m0")), Wish::Completion);
        let request = wire::request("GET", "/p1/v1/models", None);
        let head = head(&request).unwrap().unwrap();
        assert_eq!(head.wish(&request), Wish::Models { prefix: Some("p1".to_owned()) });
        let list = String::from_utf8(Answers::new(2).model_list(Some("p1"))).unwrap();
        assert!(list.contains("p1-m0") && list.contains("p1-m1") && !list.contains("p1-m2"));
    }

    #[test]
    fn half_a_head_is_no_request_yet() {
        assert!(head(b"POST / HTTP/1.1\r\nHost: a\r\n").unwrap().is_none());
        assert!(head(b"\x01\r\n\r\n").is_err());
    }
}
