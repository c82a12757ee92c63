//! What the registry knows, as plain values.
//!
//! Invariants:
//! - A value of these types is valid; what a request holds is checked where it is parsed.
//! - No I/O, no clock, no SQL, no HTTP here.

pub mod access;
pub mod adapter;
pub mod deployment;
pub mod deployment_config;
pub mod deployment_spec;
pub mod document;
pub mod entity;
pub mod extra_headers;
pub mod fileset;
pub mod filter;
pub mod id;
// Adapters are not placed yet.
#[allow(dead_code, unused_imports)]
pub mod launch;
pub mod model;
pub mod model_spec;
pub mod observed;
pub mod page;
pub mod presets;
pub mod prompt;
pub mod provider;
pub mod quantity;
pub mod records;
pub mod redact;
pub mod reference;
pub mod routes;
pub mod routing;
pub mod sight;
pub mod timestamp;
pub mod virtual_model;

pub use deployment::{Deployment, DeploymentStatus};
pub use document::Document;
pub use id::EntityId;
pub use model::Model;
pub use page::{Direction, ListRules, Page, PageRequest, Sort, SortKey};
pub use provider::{Provider, ProviderSpec, ProviderStatus, ServedModel};
pub use records::{Contents, Secret, Workspace};
pub use reference::Reference;
pub use timestamp::Timestamp;
