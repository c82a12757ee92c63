//! Upstreams: endpoints with their addresses, connections and idle pools.
//!
//! Invariants:
//! - An endpoint, which is one address of a provider, outlives routing tables; a table holds an `Arc` of it.
//! - A connection is made only to an address that the egress policy judged, in the same call.
//! - Names are resolved off the request path; a request waits only for the very first answer, and briefly for another
//!   when nobody answers at the addresses that are known.

pub mod connect;
mod departed;
pub mod dns;
pub mod endpoint;
pub mod line;
pub mod load;
pub mod places;
pub mod pool;
pub mod quota;
pub mod roots;
pub mod series;
pub mod watched;

pub use connect::{ConnectError, Connection, Connector};
pub use dns::Names;
pub use endpoint::{Endpoint, Endpoints, Spot};
pub use load::{Leaving, Load, Seen, Visit};
