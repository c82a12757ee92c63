//! The access log: one JSON line a request, written by a thread of its own. A full queue or a closed
//! output drops lines and counts them; it never makes a request wait. Bodies, queries and credentials
//! are absent on purpose.

use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};

use prometheus::IntCounter;
use serde::Serialize;

use crate::config::AccessLog as Sink;

/// Lines waiting to be written.
const QUEUE_LINES_MAX: usize = 8192;
/// Longest logged value of a client.
const VALUE_BYTES_MAX: usize = 256;

pub struct AccessLog {
    lines: Option<SyncSender<Vec<u8>>>,
    dropped: IntCounter,
}

#[derive(Serialize)]
pub struct Entry<'a> {
    pub id: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub route: Option<&'a str>,
    pub provider: Option<&'a str>,
    pub model: Option<&'a str>,
    pub status: u16,
    pub outcome: &'a str,
    pub reason: Option<&'a str>,
    pub attempts: u32,
    pub bytes_sent: u64,
    /// As upstreams said; absent: none did.
    pub input_tokens: Option<u64>,
    pub cached_input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// How an answer ended that was read on after its client had left, and how much of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_behind_bytes: Option<u64>,
    pub first_byte_ms: Option<f64>,
    pub duration_ms: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
}

impl AccessLog {
    pub fn new(sink: Sink, dropped: IntCounter) -> Self {
        let lines = match sink {
            Sink::Off => None,
            Sink::Stdout => start_writer(std::io::stdout()),
            Sink::Stderr => start_writer(std::io::stderr()),
        };
        Self { lines, dropped }
    }

    pub fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    pub fn write(&self, entry: &Entry<'_>) {
        let Some(lines) = &self.lines else { return };
        let path = entry.path.split('?').next().unwrap_or_default();
        let entry = Entry { path: cut(path), model: entry.model.map(cut), ..*entry };
        let now = time::OffsetDateTime::now_utc();
        let time = now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        let Ok(mut line) = serde_json::to_vec(&Line { time, entry: &entry }) else { return };
        line.push(b'\n');
        if lines.try_send(line).is_err() {
            self.dropped.inc();
        }
    }
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(VALUE_BYTES_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.get(..end).unwrap_or_default()
}

fn start_writer(mut output: impl Write + Send + 'static) -> Option<SyncSender<Vec<u8>>> {
    let (sender, lines) = sync_channel::<Vec<u8>>(QUEUE_LINES_MAX);
    let writer = move || {
        for line in lines {
            if output.write_all(&line).and_then(|()| output.flush()).is_err() {
                // The other end is gone. Going on would only burn time; senders see a closed queue.
                return;
            }
        }
    };
    std::thread::Builder::new().name("access-log".into()).spawn(writer).ok().map(|_| sender)
}
