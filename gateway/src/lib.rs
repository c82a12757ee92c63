//! nimgate's data plane: an L7 proxy on Pingora with an atomically swapped routing table.
//!
//! See ARCHITECTURE.md for the life of a request. Layers: [`route`], [`body`], [`dialect`], [`h1`], [`headers`], [`cors`],
//! [`caller`], [`balance`], [`health`], [`limit`], [`failover`], [`resume`] and [`refusal`] are pure; [`upstream`] and [`engine`] do the I/O; [`feed`] keeps the
//! table fresh; [`watch`] looks at back ends beside the requests; [`server`] wires it all.

pub mod access_log;
pub mod admin;
pub mod balance;
pub mod body;
pub mod caller;
pub mod config;
pub mod cors;
mod descriptors;
pub mod dialect;
pub mod engine;
pub mod explain;
pub mod failover;
pub mod feed;
pub mod h1;
pub mod headers;
pub mod health;
pub mod limit;
pub mod metrics;
mod random;
pub mod recent;
pub mod refusal;
pub mod request_id;
pub mod resume;
pub mod route;
pub mod server;
mod tls;
pub mod upstream;
mod uptime;
pub mod watch;

pub use config::{AccessLog, GatewayConfig, Limits, RegistryAddress, TlsFiles};
pub use server::{Gateway, HAND_OVER_OVERLAP, Handle, StartError};
pub use upstream::Names;

/// How the process is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Serve.
    Run,
    /// Another process has the listeners: finish what is in flight.
    HandedOver,
    /// Finish what is in flight, take nothing new.
    Drain,
    /// End now.
    Now,
}
