//! A simulated NIM / vLLM model server. It speaks real HTTP/1.1 and HTTP/2 (TLS, or h2c with prior knowledge) and
//! has no model in it: replies are made from the request's own words.
//!
//! Invariants:
//! - It never pretends: every answer carries `x-nim-sim: simulation`, and the metadata says so in words.
//! - What it recorded is what it received. For HTTP/1 the request line and the headers come from the wire, not from
//!   a parsed form. Everything it keeps is bounded.
//! - A fault happens at the socket: a cut after N bytes means that exactly N bytes of body were written.
//!
//! Absent on purpose: sampling, tokenizers, the Responses API, WebSocket over HTTP/2.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let sim = nim_sim::Sim::start(nim_sim::SimOptions::default()).await?;
//! println!("{}/v1", sim.url());
//! # Ok(()) }
//! ```

mod answer;
mod body;
mod catalog;
mod chat;
mod control;
mod embeddings;
mod error;
pub mod fault;
mod inbox;
mod inference;
mod loras;
mod options;
mod record;
mod routes;
mod script;
mod server;
mod service;
mod socket;
mod state;
mod steps;
mod tap;
mod tls;
mod websocket;

pub use fault::{Fault, FaultError};
pub use loras::{LoraError, LoraSource};
pub use options::{DEFAULT_MODEL, Lora, SimOptions};
pub use record::{Outcome, Recorded, WaitTimeout};
pub use server::Sim;
pub use state::Stats;

/// The header, and its value, on every answer.
pub const SIM_HEADER: (&str, &str) = ("x-nim-sim", "simulation");
