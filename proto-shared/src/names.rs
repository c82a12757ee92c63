//! Names of workspaces, providers, models and secrets: one grammar, one type per noun.
//!
//! Grammar (platform API, "entity name, as stored"): 2 to 63 characters of
//! `a-z 0-9 - @ . + _`, starting with a letter, without `--`, not ending in `-`.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// Shortest name, in bytes.
pub const NAME_BYTES_MIN: usize = 2;

/// The grammar as a regular expression, as the platform's API documents it.
pub const NAME_PATTERN: &str = r"^[a-z](?!.*--)[a-z0-9\-@.+_]{1,62}(?<!-)$";

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name has {NAME_BYTES_MIN} to {NAME_BYTES_MAX} characters, this one has {0}")]
    Length(usize),
    #[error("a name starts with a lower-case letter")]
    Start,
    #[error("a name holds only a-z, 0-9 and -@.+_, not {0:?}")]
    Char(char),
    #[error("a name holds no \"--\"")]
    DoubleDash,
    #[error("a name does not end in \"-\"")]
    EndsInDash,
}

/// Checks `raw` against the grammar without building a name.
pub fn check_name(raw: &str) -> Result<(), NameError> {
    if raw.len() < NAME_BYTES_MIN || raw.len() > NAME_BYTES_MAX {
        return Err(NameError::Length(raw.chars().count()));
    }
    if !raw.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(NameError::Start);
    }
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '@' | '.' | '+' | '_');
    if let Some(c) = raw.chars().find(|&c| !allowed(c)) {
        return Err(NameError::Char(c));
    }
    if raw.contains("--") {
        return Err(NameError::DoubleDash);
    }
    if raw.ends_with('-') {
        return Err(NameError::EndsInDash);
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            pub fn new(raw: impl Into<String>) -> Result<Self, NameError> {
                Self::try_from(raw.into())
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(raw: String) -> Result<Self, NameError> {
                check_name(&raw)?;
                Ok(Self(raw.into_boxed_str()))
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(raw: &str) -> Result<Self, NameError> {
                Self::new(raw)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into_string()
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name_type!(
    /// A workspace: the namespace of everything else.
    WorkspaceName
);
name_type!(
    /// A provider: a named upstream service of a workspace.
    ProviderName
);
name_type!(
    /// A routable model of a workspace.
    ModelName
);
name_type!(
    /// A secret of a workspace.
    SecretName
);
name_type!(
    /// Anything else that has a name in a workspace.
    EntityName
);

impl From<ModelName> for EntityName {
    fn from(name: ModelName) -> Self {
        Self(name.0)
    }
}

/// The entity name under which an upstream's model id becomes routable in `workspace`.
///
/// Drop a leading `{workspace}/`, lower-case, turn every run of other characters into one `-`,
/// trim `-`, prefix a leading digit with `m-`; longer than 63 characters: cut and append `-` and
/// eight hex digits of the id's SHA-256. An id without a letter or digit, or of one character only,
/// gets `m-` and the hash, so that every id has a name.
pub fn entity_name_for(workspace: &WorkspaceName, upstream_id: &str) -> ModelName {
    let id = upstream_id
        .strip_prefix(workspace.as_str())
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(upstream_id);
    let mut name = String::with_capacity(id.len() + 2);
    for c in id.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
    }
    name.truncate(name.trim_end_matches('-').len());
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "m-");
    }
    if name.len() < NAME_BYTES_MIN {
        name = format!("m-{}", id_hash(upstream_id));
    } else if name.len() > NAME_BYTES_MAX {
        name.truncate(NAME_BYTES_MAX - ID_HASH_CHARS - 1);
        name.truncate(name.trim_end_matches('-').len());
        name = format!("{name}-{}", id_hash(upstream_id));
    }
    ModelName(name.into_boxed_str())
}

/// Another name for an id whose normalised name is taken by a different id: cut so that
/// `-` and eight hex digits of the id's SHA-256 fit.
pub fn distinct_entity_name(taken: &ModelName, upstream_id: &str) -> ModelName {
    let mut name = taken.as_str().to_owned();
    name.truncate(NAME_BYTES_MAX - ID_HASH_CHARS - 1);
    name.truncate(name.trim_end_matches('-').len());
    ModelName(format!("{name}-{}", id_hash(upstream_id)).into_boxed_str())
}

const ID_HASH_CHARS: usize = 8;

fn id_hash(id: &str) -> String {
    Sha256::digest(id.as_bytes()).iter().take(ID_HASH_CHARS / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> WorkspaceName {
        WorkspaceName::new("default").unwrap()
    }

    #[test]
    fn the_grammar_of_the_platform_holds() {
        for good in ["ab", "a-b", "gpt-4o", "x@y.z+1_2", &"a".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("a", NameError::Length(1)),
            ("", NameError::Length(0)),
            ("1a", NameError::Start),
            ("Ab", NameError::Start),
            ("aB", NameError::Char('B')),
            ("a/b", NameError::Char('/')),
            ("a--b", NameError::DoubleDash),
            ("ab-", NameError::EndsInDash),
        ] {
            assert_eq!(check_name(bad), Err(why), "{bad}");
        }
        assert!(check_name(&"a".repeat(64)).is_err());
    }

    #[test]
    fn upstream_ids_get_the_names_the_platform_gives_them() {
        for (id, name) in [
            ("meta/llama-3.2-1b-instruct", "meta-llama-3-2-1b-instruct"),
            ("01-ai/yi", "m-01-ai-yi"),
            ("Bad:Name v1", "bad-name-v1"),
            ("default/tiny", "tiny"),
        ] {
            assert_eq!(entity_name_for(&workspace(), id).as_str(), name);
        }
    }

    #[test]
    fn every_id_gets_a_valid_name() {
        for id in ["", "/", "é", "x", "7", &"a/".repeat(80), &"b".repeat(64), "--a--"] {
            let name = entity_name_for(&workspace(), id);
            assert_eq!(check_name(name.as_str()), Ok(()), "{id:?} became {name}");
            let other = distinct_entity_name(&name, id);
            assert_eq!(check_name(other.as_str()), Ok(()), "{id:?} became {other}");
        }
    }

    #[test]
    fn ids_that_normalise_alike_can_be_told_apart() {
        let first = entity_name_for(&workspace(), "a:b");
        assert_eq!(first, entity_name_for(&workspace(), "a/b"));
        assert_ne!(first, distinct_entity_name(&first, "a/b"));
    }

    #[test]
    fn a_bad_name_cannot_enter_through_json() {
        assert!(serde_json::from_str::<ModelName>("\"UPPER\"").is_err());
        assert!(serde_json::from_str::<ModelName>("\"lower\"").is_ok());
    }
}
