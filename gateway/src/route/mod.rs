//! Routing: from a request's path (and body `model`) to the upstream that serves it.
//!
//! Invariants:
//! - Path parsing and resolving are pure: values in, values out, no socket, no clock.
//! - A table never changes after it was built; a newer one replaces it whole ([`store`]).
//! - What a request resolved is what it keeps: an `Arc`, not a look-up repeated later.

pub mod path;
pub mod provider;
pub mod resolve;
pub mod store;
pub mod table;
pub mod tail;

pub use path::{Target, parse_target};
pub use provider::{Provider, Replica};
pub use resolve::{ModelQuery, provider_unknown, resolve_model, resolve_provider};
pub use store::{Published, RouteStore};
pub use table::{ModelEntry, RouteTable};
