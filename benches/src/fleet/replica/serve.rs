//! The sockets of a simulated model server.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::cache::{BYTES_PER_TOKEN, KvCache};
use super::{HITS_METRIC, MODEL, QUERIES_METRIC, ReplicaArgs};
use crate::error::BenchError;
use crate::upstream::{DONE, Head, READ_BYTES, STREAM_HEAD, end_with_stdin, json, next_request};

/// What each token begins with; its number follows, so that no part of an answer is like another.
const TOKEN: &str = " t";

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

struct Replica {
    args: ReplicaArgs,
    slots: Semaphore,
    cache: RefCell<KvCache>,
    running: Cell<usize>,
    waiting: Cell<usize>,
    /// Tokens of the prompts that run or wait.
    tokens_held: Cell<usize>,
    tokens_asked: Cell<usize>,
    tokens_known: Cell<usize>,
    /// One for each token of an answer.
    events: Vec<Vec<u8>>,
    end: Vec<u8>,
}

/// Serves until the process ends.
pub fn run(args: &ReplicaArgs) -> Result<(), BenchError> {
    if args.until_stdin_ends {
        end_with_stdin();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::io("can't start a runtime"))?;
    let replica = Rc::new(Replica::new(args.clone()));
    LocalSet::new().block_on(&runtime, async {
        let address = SocketAddr::from(([127, 0, 0, 1], args.port));
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(BenchError::io(format!("can't listen on {address}")))?;
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let replica = Rc::clone(&replica);
            // A client that is gone is the end of its connection, and nothing else.
            tokio::task::spawn_local(async move { replica.talk(stream).await.unwrap_or_default() });
        }
    })
}

impl Replica {
    fn new(args: ReplicaArgs) -> Self {
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let token = |number| chunk(&event(&format!(r#"{{"content":"{TOKEN}{number:04}"}}"#), "null"));
        Self {
            slots: Semaphore::new(usize::from(args.slots)),
            cache: RefCell::new(KvCache::new(args.cache_blocks)),
            running: Cell::default(),
            waiting: Cell::default(),
            tokens_held: Cell::default(),
            tokens_asked: Cell::default(),
            tokens_known: Cell::default(),
            events: (0..args.pace.tokens).map(|number| token(number).into_bytes()).collect(),
            end: format!("{}{}0\r\n\r\n", chunk(&event("{}", r#""stop""#)), chunk(DONE)).into_bytes(),
            args,
        }
    }

    async fn talk(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut input = BytesMut::with_capacity(READ_BYTES);
        while let Some(head) = next_request(&mut stream, &mut input).await? {
            let request = input.split_to(head.request_bytes);
            let body = request.get(head.head_bytes..).unwrap_or_default();
            match self.answer_at_once(&head, body) {
                Some(answer) => stream.write_all(&answer).await?,
                None => {
                    let body = serde_json::from_slice(body).unwrap_or_default();
                    let (prompt, said) = (prompt(&body), tokens_said(&body));
                    let (mut reader, mut writer) = stream.split();
                    tokio::select! {
                        sent = self.stream(&mut writer, prompt.as_bytes(), said) => sent?,
                        gone = leaving(&mut reader, input.has_remaining()) => return gone,
                    }
                }
            }
        }
        Ok(())
    }

    /// What takes no slot; `None`: a stream is wanted.
    fn answer_at_once(&self, head: &Head, body: &[u8]) -> Option<Vec<u8>> {
        let error = |status: &str| json(status, &format!(r#"{{"error":{{"message":"{status}"}}}}"#));
        if head.is_chunked {
            return Some(error("411 Length Required"));
        }
        match (head.is_post, head.path.as_str()) {
            (false, "/health") => return Some(json("200 OK", "")),
            (false, "/v1/models") => return Some(json("200 OK", &model_list())),
            (false, "/metrics" | "/v1/metrics") => return Some(json("200 OK", &self.metrics())),
            (true, "/v1/chat/completions") => {}
            (false, "/get_load") => return Some(json("200 OK", &self.load())),
            _ => return Some(error("404 Not Found")),
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Some(error("400 Bad Request")) };
        if body["model"] != MODEL {
            return Some(error("404 Not Found"));
        }
        if body["stream"] != true {
            return Some(error("400 Bad Request"));
        }
        (self.waiting.get() >= self.args.queue).then(|| error("503 Service Unavailable"))
    }

    /// The tokens of an answer, without those that were `said` before.
    async fn stream(&self, writer: &mut WriteHalf<'_>, prompt: &[u8], said: usize) -> io::Result<()> {
        if !self.args.late_head {
            writer.write_all(STREAM_HEAD.as_bytes()).await?;
        }
        let _held = Counted::new(&self.tokens_held, prompt.len() / BYTES_PER_TOKEN);
        let waiting = Counted::new(&self.waiting, 1);
        let Ok(_slot) = self.slots.acquire().await else { return Err(io::ErrorKind::Other.into()) };
        drop(waiting);
        let _running = Counted::new(&self.running, 1);
        let known = self.cache.borrow_mut().admit(prompt);
        self.tokens_asked.set(self.tokens_asked.get() + prompt.len() / BYTES_PER_TOKEN);
        self.tokens_known.set(self.tokens_known.get() + known / BYTES_PER_TOKEN);
        let first = Instant::now() + self.args.pace.prefill(prompt.len().saturating_sub(known));
        if self.args.late_head {
            sleep_until(first).await;
            writer.write_all(STREAM_HEAD.as_bytes()).await?;
        }
        let mut due = first;
        for event in self.events.iter().skip(said) {
            sleep_until(due).await;
            writer.write_all(event).await?;
            due += self.args.pace.decode();
        }
        writer.write_all(&self.end).await
    }

    /// As SGLang says it; its router asks for nothing else.
    fn load(&self) -> String {
        let (running, waiting) = (self.running.get(), self.waiting.get());
        let (all, tokens) = (running + waiting, self.tokens_held.get());
        format!(r#"[{{"dp_rank":0,"num_reqs":{all},"num_waiting_reqs":{waiting},"num_tokens":{tokens}}}]"#)
    }

    fn metrics(&self) -> String {
        let line = |name: &str, kind: &str, value: usize| {
            format!("# TYPE {name} {kind}\n{name}{{engine=\"0\",model_name=\"{MODEL}\"}} {value}\n")
        };
        [
            line("vllm:num_requests_running", "gauge", self.running.get()),
            line("vllm:num_requests_waiting", "gauge", self.waiting.get()),
            line(QUERIES_METRIC, "counter", self.tokens_asked.get()),
            line(HITS_METRIC, "counter", self.tokens_known.get()),
        ]
        .concat()
    }
}

/// So many more, as long as it lives.
struct Counted<'a> {
    count: &'a Cell<usize>,
    amount: usize,
}

impl<'a> Counted<'a> {
    fn new(count: &'a Cell<usize>, amount: usize) -> Self {
        count.set(count.get() + amount);
        Self { count, amount }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.set(self.count.get().saturating_sub(self.amount));
    }
}

/// Ends when the client closes; never, while it has sent its next request already.
async fn leaving(reader: &mut ReadHalf<'_>, has_more: bool) -> io::Result<()> {
    if has_more || reader.peek(&mut [0]).await? > 0 {
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// The contents of all messages.
fn prompt(body: &Value) -> String {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    messages.iter().filter_map(|message| message["content"].as_str()).collect()
}

/// How much of its answer the last message holds, where it is to be continued.
fn tokens_said(body: &Value) -> usize {
    let last = body["messages"].as_array().and_then(|messages| messages.last());
    let is_continued = body["continue_final_message"] == true;
    let last = last.filter(|last| is_continued && last["role"] == "assistant");
    last.and_then(|last| last["content"].as_str()).map_or(0, |text| text.matches(TOKEN).count())
}

/// A chunk of a stream as vLLM writes it.
fn event(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-5b0d1f6e2c9a4870\",\"object\":\"chat.completion.chunk\",\"created\":1763000000,\
         \"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
         \"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn model_list() -> String {
    format!(
        r#"{{"object":"list","data":[{{"id":"{MODEL}","object":"model","created":1,"owned_by":"vllm"}}]}}"#
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ReplicaArgs,
    }

    fn head(is_post: bool, path: &str) -> Head {
        Head { is_post, path: path.to_owned(), is_chunked: false, head_bytes: 0, request_bytes: 0 }
    }

    fn replica(options: &[&str]) -> Replica {
        Replica::new(Line::parse_from(["replica", "--port", "1"].iter().chain(options)).args)
    }

    fn said(answer: Option<Vec<u8>>) -> String {
        String::from_utf8(answer.unwrap_or_default()).unwrap()
    }

    #[test]
    fn only_a_stream_of_its_model_takes_a_slot() {
        let replica = replica(&[]);
        let ask =
            |body: &str| said(replica.answer_at_once(&head(true, "/v1/chat/completions"), body.as_bytes()));
        assert_eq!(ask(r#"{"model":"bench-model","stream":true,"messages":[]}"#), "");
        assert!(ask(r#"{"model":"other","stream":true}"#).starts_with("HTTP/1.1 404"));
        assert!(ask(r#"{"model":"bench-model"}"#).starts_with("HTTP/1.1 400"));
        assert!(ask("x").starts_with("HTTP/1.1 400"));
    }

    #[test]
    fn who_finds_no_place_in_the_line_is_told_so() {
        let body = br#"{"model":"bench-model","stream":true}"#;
        let replica = replica(&["--queue", "2"]);
        replica.waiting.set(2);
        assert!(said(replica.answer_at_once(&head(true, "/v1/chat/completions"), body)).contains(" 503 "));
    }

    #[test]
    fn metrics_have_the_names_that_vllm_uses() {
        let replica = replica(&[]);
        replica.waiting.set(3);
        let text = said(replica.answer_at_once(&head(false, "/metrics"), b""));
        assert!(
            text.contains("vllm:num_requests_waiting{engine=\"0\",model_name=\"bench-model\"} 3\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_to_be_continued_is_the_text_of_so_many_tokens() {
        let of = |role: &str, content: &str, goes_on: bool| {
            let messages = serde_json::json!([{"role": "user", "content": " t0000"}, {"role": role, "content": content}]);
            tokens_said(&serde_json::json!({"messages": messages, "continue_final_message": goes_on}))
        };
        assert_eq!(of("assistant", " t0000 t0001 t0002", true), 3);
        assert_eq!((of("assistant", " t0000", false), of("user", " t0000", true)), (0, 0));
        let replica = replica(&["--tokens", "3"]);
        assert_eq!(replica.events.len(), 3);
        let last = String::from_utf8(replica.events[2].clone()).unwrap();
        assert!(last.contains(r#""delta":{"content":" t0002"},"#), "{last}");
        assert!(String::from_utf8(replica.end.clone()).unwrap().contains(r#""finish_reason":"stop""#));
    }

    #[test]
    fn a_prompt_is_what_all_messages_say() {
        let body = serde_json::json!({"messages": [{"content": "a"}, {"content": "b"}, {"role": "x"}]});
        assert_eq!(prompt(&body), "ab");
    }
}
