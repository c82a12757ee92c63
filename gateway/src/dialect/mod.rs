//! Dialects: what a client speaks and its provider does not.
//!
//! Everything here is pure: bytes and values in, bytes and values out. A request is translated for one
//! provider at a time, since providers differ; what the way back needs of it is a
//! [`Turn`](responses::turn::Turn).

pub mod chat;
pub mod chat_reply;
mod operation;
pub mod responses;
pub mod sse;
mod think;

pub use operation::{ErrorClasses, Operation};
