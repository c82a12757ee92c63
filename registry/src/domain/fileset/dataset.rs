//! What rows of a dataset look like: JSON Schemas, inline or by name.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Schemas of the rows. Every name that is used is defined in `schema_defs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Unchecked")]
#[schema(as = DatasetMetadataContent)]
pub struct DatasetMetadata {
    schema: Option<RowSchema>,
    #[serde(default)]
    #[schema(value_type = HashMap<String, HashMap<String, Value>>)]
    schema_defs: Map<String, Value>,
    #[serde(default)]
    #[schema(value_type = HashMap<String, RowSchema>)]
    schemas_by_path: Map<String, Value>,
}

/// A JSON Schema, or the name of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RowSchema {
    Name(String),
    #[schema(value_type = HashMap<String, Value>)]
    Inline(Map<String, Value>),
}

#[derive(Deserialize)]
struct Unchecked {
    schema: Option<RowSchema>,
    #[serde(default)]
    schema_defs: Map<String, Value>,
    #[serde(default)]
    schemas_by_path: Map<String, Value>,
}

impl TryFrom<Unchecked> for DatasetMetadata {
    type Error = String;

    fn try_from(given: Unchecked) -> Result<Self, String> {
        let Unchecked { schema, schema_defs, schemas_by_path } = given;
        let own = match &schema {
            Some(RowSchema::Name(name)) => Some(("schema", name.as_str())),
            _ => None,
        };
        let by_path =
            schemas_by_path.iter().filter_map(|(path, value)| Some((path.as_str(), value.as_str()?)));
        if let Some((place, name)) =
            own.into_iter().chain(by_path).find(|(_, name)| !schema_defs.contains_key(*name))
        {
            return Err(format!(
                "dataset metadata reference '{place}' points to unknown schema_def '{name}'"
            ));
        }
        Ok(Self { schema, schema_defs, schemas_by_path })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_nothing_defines_is_refused() {
        let read = |value: Value| serde_json::from_value::<DatasetMetadata>(value).map_err(|e| e.to_string());
        assert!(read(json!({ "schema": { "type": "object" } })).is_ok());
        assert!(read(json!({ "schema": "row", "schema_defs": { "row": {} } })).is_ok());
        assert!(read(json!({ "schema": "row" })).unwrap_err().contains("unknown schema_def 'row'"));
        let by_path = json!({ "schemas_by_path": { "a.jsonl": "gone" } });
        assert!(read(by_path).unwrap_err().contains("'a.jsonl'"));
    }
}
