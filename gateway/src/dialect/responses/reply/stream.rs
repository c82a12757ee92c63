//! Answers as events: frames in, frames out.
//!
//! What must stay true: the first two events are `response.created` and `response.in_progress`; one event ends the
//! response, `[DONE]` follows it, and then nothing is written.

use bytes::{BufMut, BytesMut};

use super::calls::Pieces;
use super::event::Frames;
use super::fault::UpstreamFault;
use super::machine::Machine;
use super::object::{Ending, Head, Stage};
use super::{End, Opening, json, take_whole};
use crate::dialect::sse::EventReader;

const DONE: &[u8] = b"data: [DONE]\n\n";

/// Translates a stream.
#[derive(Debug)]
pub struct StreamTranslator {
    reader: EventReader,
    out: Translated,
}

/// What goes to the client, apart from where it comes from.
#[derive(Debug)]
struct Translated {
    head: Head,
    machine: Machine,
    next: u64,
    /// Empty: there is none to hide.
    key: Box<str>,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Going,
    Finished,
    Failed,
}

impl StreamTranslator {
    pub fn new(opening: Opening) -> Self {
        Self { reader: EventReader::default(), out: Translated::new(opening) }
    }

    /// Blots the provider's key out of errors that its stream reports.
    pub fn hiding(mut self, key: &[u8]) -> Self {
        self.out.key = std::str::from_utf8(key).unwrap_or_default().into();
        self
    }

    /// The provider has agreed to answer.
    pub fn start(&mut self, out: &mut BytesMut) {
        self.out.start(out);
    }

    /// A chunk of the provider's stream, cut anywhere.
    pub fn feed(&mut self, chunk: &[u8], now_s: u64, out: &mut BytesMut) {
        let Self { reader, out: translated } = self;
        if let Err(error) = reader.feed(chunk, |data| translated.data(data, now_s, out)) {
            translated.fail(&UpstreamFault::server(error.to_string()), now_s, out);
        }
    }

    /// The provider's stream has ended.
    pub fn end(&mut self, how: End, now_s: u64, out: &mut BytesMut) {
        let Self { reader, out: translated } = self;
        if how == End::Clean
            && let Err(error) = reader.finish(|data| translated.data(data, now_s, out))
        {
            translated.fail(&UpstreamFault::server(error.to_string()), now_s, out);
        }
        translated.end(how, now_s, out);
    }

    /// An event that says nothing new: clients' timers don't heed comments.
    pub fn keep_alive(&mut self, out: &mut BytesMut) {
        self.out.in_progress("response.in_progress", out);
    }

    /// The last event is written: whatever else comes is of no interest.
    pub fn finished(&self) -> bool {
        self.out.is_over()
    }

    /// The last event is written, and says that the answer failed.
    pub fn failed(&self) -> bool {
        self.out.progress == Progress::Failed
    }
}

impl Translated {
    fn new(opening: Opening) -> Self {
        let (head, machine) = opening.begin();
        Self { head, machine, next: 0, key: "".into(), progress: Progress::Going }
    }

    fn is_over(&self) -> bool {
        self.progress != Progress::Going
    }

    fn start(&mut self, out: &mut BytesMut) {
        self.in_progress("response.created", out);
        self.in_progress("response.in_progress", out);
    }

    fn in_progress(&mut self, kind: &str, out: &mut BytesMut) {
        if !self.is_over() {
            self.snapshot(kind, Stage::InProgress, out);
        }
    }

    fn snapshot(&mut self, kind: &str, stage: Stage<'_>, out: &mut BytesMut) {
        let head = &self.head;
        Frames { out, next: &mut self.next }.frame(kind, |out| {
            json::put_all(out, &[",\"response\":"]);
            head.put(out, stage);
        });
    }

    fn data(&mut self, data: &[u8], now_s: u64, out: &mut BytesMut) {
        let data = data.trim_ascii();
        if self.is_over() || data.is_empty() {
            return;
        }
        if data == b"[DONE]" {
            return self.close(now_s, out);
        }
        let mut frames = Frames { out, next: &mut self.next };
        let taken = match std::str::from_utf8(data) {
            Ok(json) => self.machine.take(json, Pieces::Parts, &mut frames),
            Err(_) => Err(UpstreamFault::server("the provider sent an event that is not UTF-8")),
        };
        if let Err(fault) = taken {
            self.fail(&fault, now_s, out);
        }
    }

    fn end(&mut self, how: End, now_s: u64, out: &mut BytesMut) {
        let (is_whole, why) = match how {
            End::Clean => (self.machine.has_finish(), "the provider's stream ended before its answer did"),
            End::Cut => (self.machine.has_come_to_its_end(), "the connection to the provider broke"),
            End::TimedOut => (self.machine.has_come_to_its_end(), "the provider sent nothing more in time"),
        };
        if is_whole { self.close(now_s, out) } else { self.fail(&UpstreamFault::server(why), now_s, out) }
    }

    fn close(&mut self, now_s: u64, out: &mut BytesMut) {
        if self.is_over() {
            return;
        }
        match self.machine.close(&mut Frames { out, next: &mut self.next }) {
            Ok(finish) => self.last(Ending::Closed(finish), now_s, out),
            Err(fault) => self.fail(&fault, now_s, out),
        }
    }

    fn fail(&mut self, fault: &UpstreamFault, now_s: u64, out: &mut BytesMut) {
        if !self.is_over() {
            self.last(Ending::Failed(&fault.without(&self.key)), now_s, out);
        }
    }

    fn last(&mut self, ending: Ending<'_>, now_s: u64, out: &mut BytesMut) {
        let items = std::mem::take(&mut self.machine.items);
        let stage = Stage::Ended { items: &items, usage: self.machine.usage, at_s: now_s, ending };
        self.snapshot(ending.event(), stage, out);
        out.put_slice(DONE);
        self.progress = match ending {
            Ending::Closed(_) => Progress::Finished,
            Ending::Failed(_) => Progress::Failed,
        };
    }
}

/// All events of a response that failed before it had said anything.
pub fn failed_events(opening: Opening, fault: &UpstreamFault, now_s: u64) -> BytesMut {
    let (mut translated, mut out) = (Translated::new(opening), BytesMut::new());
    translated.start(&mut out);
    translated.fail(fault, now_s, &mut out);
    out
}

/// Translates a whole answer, of a provider that did not stream though it was asked to, into all events at once.
pub fn whole_as_events(
    opening: Opening,
    body: &[u8],
    now_s: u64,
    out: &mut BytesMut,
) -> Result<(), UpstreamFault> {
    let mut translated = Translated::new(opening);
    let mut events = BytesMut::with_capacity(2 * body.len());
    translated.start(&mut events);
    let mut frames = Frames { out: &mut events, next: &mut translated.next };
    take_whole(&mut translated.machine, body, &mut frames)?;
    translated.close(now_s, &mut events);
    out.unsplit(events);
    Ok(())
}
