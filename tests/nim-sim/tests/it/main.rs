//! nim-sim as a client sees it: raw TCP where bytes matter, hyper's client for HTTP/2.

#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

mod api;
mod command;
mod faults;
mod loras;
mod protocol;
mod records;
mod wire;
