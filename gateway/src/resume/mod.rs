//! Exact continuation: a chat stream whose server died goes on at another server, from the text that the client has.
//!
//! What must stay true: the client sees one stream, without gap or repeat: one id, one role, one finish, one `[DONE]`;
//! it gets whole events only, so that there is always a place to go on from; what is not understood is not continued,
//! and ends in the error event it would have ended in without all this. Tokens are counted as one run would have
//! counted them: what the first server said is part of the second one's prompt, and moves to the completion.
//!
//! How it goes on: the text so far becomes the last message, and `continue_final_message` asks for the rest of it. That
//! is the vLLM family's word for it. Who knows it is promised by the model's owner, or learned from what the server
//! says of its API ([`Resume`]). A server that ignores it begins anew, which is noticed when it says a good part of the
//! same again ([`Misfit::SaysItAgain`]) or begins to think ([`Misfit::BeginsAnew`]). Nothing is cut away then: an answer
//! may repeat itself, and nothing tells both apart. What can't be noticed: who begins anew in other words, or says
//! nothing more and ends. So who was caught once is not asked again.
//!
//! White space at the end of the text is not sent, because chat templates trim it; the rest says it again, and that
//! is left out. Tokens of a stream that does not tell them are counted by its pieces, which may be too few: then a
//! limit on tokens is reached that much later.
//!
//! Absent on purpose: answers with tools, with a fixed form, with several choices, with log probabilities or with any
//! reasoning; stop words and penalties on what was said, which a server applies to its own part alone; limits that were
//! reached just when the server died. Pure: bytes in, bytes out.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod chunk;
mod continued;
mod events;
mod fit;
mod request;
mod stream;

pub use request::{Resumable, Unfit};
pub use stream::{AtCut, ResumableStream, SoFar};

/// The longest text that is kept to go on from.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;

/// The longest event of a stream that can go on elsewhere.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;

/// The longest request that can go on elsewhere: it is sent again, with the text so far.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often one answer goes on elsewhere.
pub const CONTINUATIONS_MAX: u32 = 3;

/// Whether the streams of a model go on elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resume {
    #[default]
    Off,
    /// At addresses of which it was learned that they can.
    WhereKnown,
    /// Its owner says that all can.
    Promised,
}

impl Resume {
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::WhereKnown => Some("where known"),
            Self::Promised => Some("promised"),
        }
    }

    /// As snapshots have it. A promise goes before.
    pub fn told(promised: bool, where_known: bool) -> Self {
        match (promised, where_known) {
            (true, _) => Self::Promised,
            (false, true) => Self::WhereKnown,
            (false, false) => Self::Off,
        }
    }
}

/// Why a continuation can't be joined to what the client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("the server that should go on says the same again")]
    SaysItAgain,
    #[error("the server that should go on begins to think, as at the beginning of an answer")]
    BeginsAnew,
    #[error("the server that should go on sends what is no plain text")]
    NotText,
    #[error("an event of the stream is over {EVENT_BYTES_MAX} bytes")]
    EventTooLong,
}

impl Misfit {
    /// Whether it shows that the server does not go on with what it is told.
    pub fn shows_a_new_beginning(self) -> bool {
        matches!(self, Self::SaysItAgain | Self::BeginsAnew)
    }
}

#[cfg(test)]
mod tests;
