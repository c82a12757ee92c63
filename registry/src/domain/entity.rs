//! Objects of types that others define: the registry keeps them and knows nothing of their meaning.

use std::fmt;
use std::str::FromStr;

use proto_shared::WorkspaceName;
use proto_shared::names::EntityName;
use serde_json::{Map, Value};

use super::{EntityId, Timestamp};

/// Longest entity type, in bytes.
pub const ENTITY_TYPE_BYTES_MAX: usize = 63;

/// What kind of thing it is: `a-z 0-9 - _`, starting with a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityType(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an entity type has 1 to {ENTITY_TYPE_BYTES_MAX} characters of a-z 0-9 - _ and starts with a letter")]
pub struct EntityTypeError;

impl EntityType {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the ids of its entities begin with.
    pub fn id_kind(&self) -> String {
        self.0.replace('_', "-")
    }
}

impl FromStr for EntityType {
    type Err = EntityTypeError;

    fn from_str(text: &str) -> Result<Self, EntityTypeError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        let fits = text.len() <= ENTITY_TYPE_BYTES_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(plain);
        if fits { Ok(Self(text.to_owned())) } else { Err(EntityTypeError) }
    }
}

impl TryFrom<String> for EntityType {
    type Error = EntityTypeError;

    fn try_from(text: String) -> Result<Self, EntityTypeError> {
        text.parse()
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an entity stands. Names are unique below one parent.
#[derive(Debug, Clone)]
pub struct EntityKey {
    pub workspace: String,
    pub kind: EntityType,
    /// The id of another entity; empty at the top.
    pub parent: String,
    pub name: String,
}

/// A stored entity.
#[derive(Debug, Clone)]
pub struct Entity {
    pub seq: i64,
    pub id: EntityId,
    pub workspace: WorkspaceName,
    pub kind: EntityType,
    pub parent: String,
    pub name: EntityName,
    pub project: Option<String>,
    pub data: Map<String, Value>,
    /// From 1; rises with every change.
    pub version: i64,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What a writer wants to be true of an entity.
#[derive(Debug, Clone)]
pub struct EntityChange {
    pub new_name: Option<EntityName>,
    /// Absent: as it was.
    pub project: Option<String>,
    pub data: Map<String, Value>,
    /// The change is refused when the entity has another version.
    pub expected_version: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_type_is_a_plain_word() {
        for good in ["a", "target_config", "job-2"] {
            assert!(good.parse::<EntityType>().is_ok(), "{good}");
        }
        for bad in ["", "2a", "A", "a b", "a/b", "é", &"a".repeat(64)] {
            assert!(bad.parse::<EntityType>().is_err(), "{bad}");
        }
        assert_eq!("target_config".parse::<EntityType>().unwrap().id_kind(), "target-config");
    }
}
