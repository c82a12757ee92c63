//! What the gateway's engine does, as specifications: a gateway in this process, a fake registry that
//! feeds it, and upstreams that are simulated (`nim_sim`) or scripted byte by byte.
//!
//! What must stay true: every listener takes a free port; every wait ends at a deadline; nothing
//! asserts how fast something is. A test that needs "nothing happens" shows something else that could
//! only happen first.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arms;
mod backpressure;
mod balancing;
mod bodies;
mod catalogue;
mod continuation;
mod cors;
mod credentials;
mod cuts;
mod egress;
mod failures;
mod feed;
mod first_request;
mod flapping;
mod framing;
mod harness;
mod holding;
mod hostile_upstreams;
mod http2;
mod http2_upstreams;
mod hygiene;
mod leaving;
mod left_behind;
mod limits;
mod local_only;
mod metrics;
mod moving;
mod names;
mod pinned;
mod places;
mod quotas;
mod reasoning;
mod recent;
mod replicas;
mod responses;
mod responses_under_way;
mod routes;
mod served_by;
mod silence;
mod streaming;
mod tls;
mod tokens;
mod unreachable;
mod virtual_models;
mod watching;
mod websocket;
