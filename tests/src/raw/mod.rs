//! Raw requests: bytes that no HTTP library would send, what may become of them, and who decides.

mod case;
mod judge;
mod talk;

pub use case::{Case, Expectation, Values, load};
pub use judge::{Heard, judge};
pub use talk::{Then, talk};
