//! Load benches: what the gateway costs beside nginx, how fast a change of routes is served, and how
//! requests are spread over a fleet beside other balancers.
//!
//! What must stay true:
//! - Every gateway gets the same load from the same generator in front of the same mock upstream.
//! - Answers are checked before anything is measured, and counted as errors when they differ later.
//! - Every run ends by itself, and everything that was started is stopped.
//!
//! Absent on purpose: assertions on absolute times. Machines differ; ratios of one run are compared.

pub mod child;
pub mod control;
pub mod error;
pub mod fleet;
pub mod gateways;
pub mod load;
pub mod process;
pub mod program;
pub mod prompts;
pub mod registry;
pub mod results;
pub mod side_by_side;
pub mod stats;
pub mod subject;
pub mod swap;
pub mod translate;
pub mod upstream;
pub mod wire;

pub use error::BenchError;
