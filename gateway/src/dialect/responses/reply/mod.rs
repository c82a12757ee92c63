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
mod stream;
mod think;
mod tool_calls;
mod usage;

use bytes::BytesMut;

use self::calls::Pieces;
use self::event::Nobody;
pub use self::fault::{ERROR_BODY_BYTES_MAX, FaultKind, MESSAGE_CHARS_MAX, UpstreamFault};
use self::ids::Ids;
pub use self::machine::ANSWER_BYTES_MAX;
use self::machine::Machine;
use self::object::{Ending, Head, Stage};
pub use self::stream::{StreamTranslator, failed_events, whole_as_events};
use super::turn::Turn;

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
