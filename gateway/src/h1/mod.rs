//! HTTP/1.1, both sides, without I/O: heads and bodies in, values out.
//!
//! Why our own: the framework's sessions can't forward trailers, have no deadline for a whole head,
//! keep 128 KiB of buffers a connection, and cost a third of the CPU of a small request (see
//! ARCHITECTURE.md, "Own HTTP/1 codec"). The grammar of a line is `httparse`'s.
//!
//! Invariants:
//! - Strict: a message whose framing two parsers could read differently is refused, never repaired.
//! - Heads and chunk lines are bounded. No allocation per header.

pub mod body;
pub mod head;
pub mod request;
pub mod response;

pub use body::{BodyDecoder, BodyEvent, FramingError};
pub use head::Head;
pub use request::{HeadError, HeadLimits, RequestHead, parse_request};
pub use response::{AnswerError, ResponseHead, parse_response};
