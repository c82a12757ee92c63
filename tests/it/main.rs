//! nimgate from outside, as specifications: the real command, real sockets, one module a behaviour.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod at;
mod cli;
mod cli_deployments;
mod cli_files;
mod cli_objects;
mod cli_providers;
mod cli_routing;
mod declared_providers;
mod deployments_run;
mod descriptors;
mod docker;
mod drain;
mod durability;
mod files;
mod kills;
mod lora;
mod openapi;
mod provider_status;
mod raw_http;
mod roles;
mod rotation;
mod secrecy;
mod stand_in;
mod upgrade;
mod virtual_models;
