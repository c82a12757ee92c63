//! The Responses API on top of Chat Completions.
//!
//! What must stay true: nothing is stored between two requests; a `Turn` carries what the reply echoes;
//! the events of a stream and the object of a plain answer come from one state machine.

pub mod reply;
pub mod request;
pub mod signature;
pub mod turn;

#[cfg(test)]
mod round_trip;
