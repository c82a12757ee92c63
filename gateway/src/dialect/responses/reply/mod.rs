//! The way back: from a chat answer to a Responses answer, whole or as events.
//!
//! What must stay true: no I/O, no clock and no chance in here; each event leaves with the chunk that completes its
//! cause; after the last event nothing is written; what ends early never looks finished.
//!
//! | event upstream | what is written |
//! |---|---|
//! | the answer's head | [`StreamTranslator::start`] |
//! | a chunk of its body | [`StreamTranslator::feed`] |
//! | the end of it | [`StreamTranslator::end`] |
//! | nothing for a while | [`StreamTranslator::keep_alive`] |
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod calls;
mod chat;
mod event;
mod fault;
mod ids;
mod item;
mod json;
mod lenient;
mod machine;
mod mend;
mod object;
mod think;
mod usage;

use bytes::{BufMut, BytesMut};

use self::calls::Pieces;
use self::event::{Frames, Nobody};
pub use self::fault::{ERROR_BODY_BYTES_MAX, FaultKind, MESSAGE_CHARS_MAX, UpstreamFault};
use self::ids::Ids;
pub use self::machine::ANSWER_BYTES_MAX;
use self::machine::Machine;
use self::object::{Ending, Head, Stage};
use super::turn::Turn;
use crate::dialect::sse::EventReader;

const DONE: &[u8] = b"data: [DONE]\n\n";

/// How an answer's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As its framing says.
    Clean,
    /// The connection broke.
    Cut,
    /// Nothing came for too long.
    TimedOut,
}

/// What a translation begins with.
#[derive(Debug)]
pub struct Opening {
    pub turn: Turn,
    /// Seconds since 1970.
    pub now_s: u64,
    /// Random: the ids are made of it.
    pub nonce: u128,
}

impl Opening {
    fn begin(self) -> (Head, Machine) {
        let mut ids = Ids::new(self.nonce);
        let head = Head::new(ids.next("resp"), self.now_s, &self.turn.echo);
        let Turn { tools, reasoning, thought_signatures, .. } = self.turn;
        (head, Machine::new(tools, reasoning, thought_signatures, ids))
    }
}

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
    is_finished: bool,
    has_failed: bool,
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
        self.out.is_finished
    }

    /// The last event is written, and says that the answer failed.
    pub fn failed(&self) -> bool {
        self.out.has_failed
    }
}

impl Translated {
    fn new(opening: Opening) -> Self {
        let (head, machine) = opening.begin();
        Self { head, machine, next: 0, key: "".into(), is_finished: false, has_failed: false }
    }

    fn start(&mut self, out: &mut BytesMut) {
        self.in_progress("response.created", out);
        self.in_progress("response.in_progress", out);
    }

    fn in_progress(&mut self, kind: &str, out: &mut BytesMut) {
        if !self.is_finished {
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
        if self.is_finished || data.is_empty() {
            return;
        }
        if data == b"[DONE]" {
            return self.close(now_s, out);
        }
        let Ok(json) = std::str::from_utf8(data) else {
            return self.fail(
                &UpstreamFault::server("the provider sent an event that is not UTF-8"),
                now_s,
                out,
            );
        };
        let mut frames = Frames { out, next: &mut self.next };
        if let Err(fault) = self.machine.take(json, Pieces::Parts, &mut frames) {
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
        if self.is_finished {
            return;
        }
        match self.machine.close(&mut Frames { out, next: &mut self.next }) {
            Ok(finish) => self.last(Ending::Closed(finish), now_s, out),
            Err(fault) => self.fail(&fault, now_s, out),
        }
    }

    fn fail(&mut self, fault: &UpstreamFault, now_s: u64, out: &mut BytesMut) {
        if !self.is_finished {
            self.last(Ending::Failed(&fault.without(&self.key)), now_s, out);
        }
    }

    fn last(&mut self, ending: Ending<'_>, now_s: u64, out: &mut BytesMut) {
        let items = std::mem::take(&mut self.machine.items);
        let stage = Stage::Ended { items: &items, usage: self.machine.usage, at_s: now_s, ending };
        self.snapshot(ending.event(), stage, out);
        out.put_slice(DONE);
        self.is_finished = true;
        self.has_failed = matches!(ending, Ending::Failed(_));
    }
}

/// Translates a whole answer into a whole answer.
pub fn whole(opening: Opening, body: &[u8], now_s: u64) -> Result<BytesMut, UpstreamFault> {
    let (head, mut machine) = opening.begin();
    take_whole(&mut machine, body, &mut Nobody)?;
    let finish = machine.close(&mut Nobody)?;
    let ending = Ending::Closed(finish);
    let mut out = BytesMut::with_capacity(body.len());
    head.put(&mut out, Stage::Ended { items: &machine.items, usage: machine.usage, at_s: now_s, ending });
    Ok(out)
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

fn take_whole(machine: &mut Machine, body: &[u8], sink: &mut impl event::Sink) -> Result<(), UpstreamFault> {
    let Ok(json) = std::str::from_utf8(body) else {
        return Err(UpstreamFault::server("the provider sent an answer that is not UTF-8"));
    };
    if machine.take(json, Pieces::Calls, sink)? {
        return Ok(());
    }
    Err(UpstreamFault::server("the provider sent an answer without choices"))
}

#[cfg(test)]
mod tests;
