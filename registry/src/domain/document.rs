//! A stored thing of which the registry keeps what its owner wrote.

use proto_shared::WorkspaceName;
use proto_shared::names::EntityName;

use super::{EntityId, Timestamp};

/// Name, times and body. What the body means is its kind's matter.
#[derive(Debug, Clone)]
pub struct Document<B> {
    /// Order of creation; never used again.
    pub seq: i64,
    pub id: EntityId,
    pub workspace: WorkspaceName,
    pub name: EntityName,
    pub project: Option<String>,
    pub description: Option<String>,
    pub body: B,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// A document that is still to be stored.
#[derive(Debug, Clone)]
pub struct Draft<B> {
    pub name: EntityName,
    pub project: Option<String>,
    pub description: Option<String>,
    pub body: B,
}
