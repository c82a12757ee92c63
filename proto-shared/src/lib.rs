//! What the gateway and the registry say to each other, and the value types both build on.
//!
//! Invariants:
//! - A value of a type from here is valid: names, URLs, templates and sealed secrets are checked
//!   where they are made, serde included, and never again.
//! - Nothing here does I/O, reads a clock or knows a framework. Absent on purpose: HTTP types.
//! - Wire types tolerate unknown fields, and [`tomorrow`] unknown words, so an older gateway accepts a newer registry's snapshot.

pub mod auth_template;
pub mod backend;
pub mod caller;
pub mod egress;
pub mod error;
pub mod feed;
pub mod host_url;
pub mod keyring;
pub mod limits;
pub mod names;
pub mod routing;
pub mod secret;
pub mod snapshot;
pub mod tomorrow;

pub use auth_template::AuthTemplate;
pub use backend::{Backend, BackendFormat};
pub use caller::Caller;
pub use error::ErrorBody;
pub use host_url::HostUrl;
pub use keyring::{KeyRing, Keys};
pub use limits::{HoldBack, RequestLimits};
pub use names::{ModelName, NameError, ProviderName, SecretName, WorkspaceName, entity_name_for};
pub use routing::Routing;
pub use secret::{MasterKey, SealedSecret, SecretIdentity};
pub use snapshot::{Candidate, LocalOnly, LocalRule, ModelRoute, ProviderRoute, RouteSnapshot};
