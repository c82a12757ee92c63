//! The bodies' specification: tables, cuts at every byte, and comparison with serde_json.

mod request;
mod rewrite;
