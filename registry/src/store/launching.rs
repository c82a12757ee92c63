//! What a launch plan is made from, beside the config: its model, and the key for NVIDIA's registry.

use rusqlite::Connection;

use super::{adapters, filesets, models, secrets};
use crate::domain::Reference;
use crate::domain::launch::{ServedModel, Weights};
use crate::error::Error;

/// The model entity `workspace/name`. None when it was deleted since, or never was.
pub fn served_model(connection: &Connection, entity: &str) -> Result<Option<ServedModel>, Error> {
    let Some((workspace, name)) = entity.split_once('/') else { return Ok(None) };
    let model = match models::get(connection, workspace, name) {
        Err(Error::NotFound(_)) => return Ok(None),
        found => found?,
    };
    let document = model.document;
    let weights = match &document.body.fileset {
        Some(reference) => filesets::find(connection, &document.workspace, reference)?.map(|fileset| {
            Weights { fileset: reference.within(&document.workspace), storage: fileset.body.storage }
        }),
        None => None,
    };
    let adapters = adapters::of_model(connection, workspace, name)?;
    let ranks = adapters.iter().filter_map(|adapter| Some(adapter.body.lora_config.as_ref()?.rank));
    Ok(Some(ServedModel {
        lora_rank_max: ranks.max(),
        name: Reference::to(&document.workspace, document.name),
        spec: model.spec,
        trust_remote_code: document.body.trust_remote_code,
        weights,
    }))
}

/// The name of the secret, while there is one.
pub fn ngc_api_key(connection: &Connection) -> Result<Option<Reference>, Error> {
    let (workspace, name) = secrets::NGC_API_KEY;
    let is_there = secrets::exists(connection, workspace, name)?;
    Ok(is_there.then(|| Reference::try_from(format!("{workspace}/{name}")).ok()).flatten())
}

#[cfg(test)]
mod tests {
    use proto_shared::names::EntityName;
    use proto_shared::{KeyRing, MasterKey};
    use serde_json::json;

    use super::*;
    use crate::domain::document::Draft;
    use crate::domain::fileset::{FilesetBody, FilesetMetadata, FilesetMetadataInput, Purpose, Storage};
    use crate::domain::model::ModelBody;
    use crate::store::{documents, open};
    use crate::test_values::workspace_name;

    fn draft<B>(name: &str, body: B) -> Draft<B> {
        Draft { name: EntityName::new(name).unwrap(), project: None, description: None, body }
    }

    fn fileset() -> FilesetBody {
        let told = json!({ "model": { "tool_calling": { "tool_call_parser": "hermes" } } });
        let metadata: FilesetMetadataInput = serde_json::from_value(told).unwrap();
        FilesetBody {
            purpose: Purpose::Model,
            storage: Storage::server_local(),
            metadata: FilesetMetadata::from(metadata),
            custom_fields: serde_json::Map::new(),
            cache: false,
            found: None,
        }
    }

    #[tokio::test]
    async fn a_model_brings_its_fileset_and_what_that_says_of_tools() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), &MasterKey::generate().unwrap().into()).unwrap().store;
        let write = store.write(|write| {
            let workspace = workspace_name("default");
            documents::insert::<filesets::Filesets>(write, &workspace, &draft("weights", fileset()))?;
            let fileset = Reference::try_from("weights".to_owned()).ok();
            models::insert(write, &workspace, &draft("tiny", ModelBody { fileset, ..ModelBody::default() }))
        });
        write.await.unwrap();
        let found = store.read(|connection| served_model(connection, "default/tiny")).await.unwrap().unwrap();
        assert_eq!(found.name.to_string(), "default/tiny");
        assert_eq!(found.weights.unwrap().fileset.to_string(), "default/weights");
        let tools = found.spec.unwrap().tool_call_config.unwrap();
        assert_eq!(tools.tool_call_parser.as_deref(), Some("hermes"));
        for gone in ["default/none", "tiny"] {
            assert!(store.read(move |connection| served_model(connection, gone)).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn the_key_is_named_while_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::generate().unwrap();
        let store = open(dir.path(), &keys.keys()).unwrap().store;
        assert_eq!(store.read(ngc_api_key).await.unwrap(), None);
        let value = Some("nvapi-1".to_owned().into());
        store.write(move |write| secrets::set_ngc_api_key(write, &keys, value.as_ref())).await.unwrap();
        let key = store.read(ngc_api_key).await.unwrap().unwrap();
        assert_eq!(key.to_string(), "system/ngc-api-key");
    }
}
