//! Virtual models that a file declares: names under which models answer, and how their requests are spread.

use proto_shared::names::EntityName;
use proto_shared::{ModelName, WorkspaceName};
use serde_json::Value;

use super::{Applied, DeclarationFault, faults};
use crate::Registry;
use crate::api::body;
use crate::api::virtual_models::CreateVirtualModel;
use crate::domain::document::Draft;
use crate::domain::virtual_model::VirtualModelBody;
use crate::error::Error;
use crate::store::virtual_models::{self, VirtualModels};
use crate::store::{documents, workspaces};

/// A virtual model as it is to be.
#[derive(Debug, Clone)]
pub struct DeclaredVirtualModel {
    pub workspace: WorkspaceName,
    pub name: EntityName,
    body: VirtualModelBody,
}

impl DeclaredVirtualModel {
    /// What a declaration may say.
    pub const FIELDS: [&str; 7] = [
        "name",
        "default_model_entity",
        "routing",
        "local_only",
        "resume",
        "stream_comment_interval_ms",
        "limits",
    ];
    /// The same of its `limits`.
    pub const LIMITS_FIELDS: [&str; 2] = ["concurrency", "requests_per_minute"];
    /// The same of its `routing`.
    pub const ROUTING_FIELDS: [&str; 3] = ["strategy", "sticky", "providers"];
    /// And of each of the `providers` there.
    pub const PART_FIELDS: [&str; 4] = ["provider", "model", "weight", "tier"];

    /// Reads what the API would take to create it.
    pub fn parse(workspace: &str, declared: &Value) -> Result<Self, Vec<DeclarationFault>> {
        let workspace = WorkspaceName::new(workspace)
            .map_err(|reason| vec![DeclarationFault::of("workspace", reason.to_string())])?;
        let CreateVirtualModel { name, body } = body::parse(declared).map_err(faults)?;
        // Gateways know models by such names alone.
        ModelName::new(name.as_str())
            .map_err(|reason| vec![DeclarationFault::of("name", reason.to_string())])?;
        Ok(Self { workspace, name, body })
    }
}

impl Registry {
    /// Makes the virtual model what it is declared to be. One that was made by itself becomes its owner's.
    pub async fn declare_virtual_model(&self, declared: &DeclaredVirtualModel) -> Result<Applied, Error> {
        let DeclaredVirtualModel { workspace, name, body } = declared.clone();
        let done = self.inner.store.write(move |write| {
            workspaces::require_target(write, workspace.as_str())?;
            let found = documents::find::<VirtualModels>(write, workspace.as_str(), name.as_str())?;
            let Some(mut stored) = found else {
                let draft = Draft { name, project: None, description: None, body };
                virtual_models::insert(write, &workspace, &draft)?;
                return Ok(Applied::Created);
            };
            if stored.body == body {
                return Ok(Applied::Unchanged);
            }
            stored.body = body;
            virtual_models::update(write, &stored)?;
            Ok(Applied::Updated)
        });
        Ok(done.await?.value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults_of(declared: &Value) -> Vec<String> {
        let parsed = DeclaredVirtualModel::parse("default", declared);
        parsed.unwrap_err().iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect()
    }

    #[test]
    fn every_field_of_a_declaration_is_one_of_the_api() {
        let document = include_str!("../../openapi.json");
        let all = [
            &DeclaredVirtualModel::FIELDS[..],
            &DeclaredVirtualModel::LIMITS_FIELDS,
            &DeclaredVirtualModel::ROUTING_FIELDS,
            &DeclaredVirtualModel::PART_FIELDS,
        ];
        for field in all.concat() {
            assert!(document.contains(&format!("\"{field}\":")), "{field}");
        }
    }

    #[test]
    fn faults_are_told_by_field() {
        let routing = |routing: Value| faults_of(&json!({ "name": "chat", "routing": routing }));
        assert!(routing(json!({}))[0].starts_with("routing.strategy: "));
        let part = json!({ "strategy": "weighted", "providers": [{ "provider": "pp", "weight": -1 }] });
        assert!(routing(part)[0].starts_with("routing.providers.0.weight: "));
        assert!(faults_of(&json!({ "name": "No Name" }))[0].starts_with("name: "));
        let elsewhere = DeclaredVirtualModel::parse("No Such", &json!({ "name": "chat" }));
        assert_eq!(elsewhere.unwrap_err()[0].field, "workspace");
    }
}
