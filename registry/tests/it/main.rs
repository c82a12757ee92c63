//! The registry from outside: a real store in a temporary folder, real HTTP, a fake provider.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod adapters;
mod backup;
mod declared;
mod deployment_configs;
mod deployments;
mod discovery;
mod durability;
mod entities;
mod errors;
mod fake_provider;
mod feed;
mod files;
mod filesets;
mod harness;
mod healing;
mod hugging_face;
mod lists;
mod migration;
mod model_specs;
mod models;
mod presets;
mod providers;
mod rotation;
mod routing;
mod secrecy;
mod secrets;
mod sights;
mod socket;
mod speed;
mod uploads;
mod virtual_models;
mod workspaces;
