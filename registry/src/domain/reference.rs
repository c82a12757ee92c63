//! References to things by name: `name`, or `workspace/name` for one of another workspace.

use proto_shared::WorkspaceName;
use proto_shared::names::{EntityName, NameError};
use serde::{Deserialize, Serialize};

/// Kept as it was written; what it means depends on the workspace it is written in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    workspace: Option<WorkspaceName>,
    name: EntityName,
}

impl Reference {
    pub fn to(workspace: &WorkspaceName, name: EntityName) -> Self {
        Self { workspace: Some(workspace.clone()), name }
    }

    pub fn workspace<'r>(&'r self, own: &'r WorkspaceName) -> &'r WorkspaceName {
        self.workspace.as_ref().unwrap_or(own)
    }

    pub fn name(&self) -> &EntityName {
        &self.name
    }

    /// With its workspace in front.
    pub fn within(&self, own: &WorkspaceName) -> Self {
        Self::to(self.workspace(own), self.name.clone())
    }
}

impl TryFrom<String> for Reference {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        match text.split_once('/') {
            None => Ok(Self { workspace: None, name: EntityName::new(text)? }),
            Some((workspace, name)) => {
                Ok(Self { workspace: Some(WorkspaceName::new(workspace)?), name: EntityName::new(name)? })
            }
        }
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.workspace {
            Some(workspace) => write!(f, "{workspace}/{}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_values::workspace_name;

    #[test]
    fn a_reference_is_kept_as_written_and_read_in_its_workspace() {
        let own = workspace_name("team-a");
        for (text, whole) in [("tiny", "team-a/tiny"), ("default/tiny", "default/tiny")] {
            let reference = Reference::try_from(text.to_owned()).unwrap();
            assert_eq!(reference.to_string(), text);
            assert_eq!(reference.within(&own).to_string(), whole);
        }
    }

    #[test]
    fn what_is_no_name_is_no_reference() {
        for text in ["", "/", "a/", "/tiny", "a/b/c", "Tiny", "default/Tiny"] {
            assert!(Reference::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
