//! What is shown of a provider. Lenient: lists leave null fields out.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Provider {
    pub name: String,
    pub host_url: String,
    pub status: String,
    pub status_message: Option<String>,
    pub served_models: Option<Vec<ServedModel>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServedModel {
    pub model_entity_id: String,
    pub served_model_name: String,
}

impl Provider {
    pub fn read(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }

    pub fn models(&self) -> &[ServedModel] {
        self.served_models.as_deref().unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.status_message.as_deref().unwrap_or_default()
    }
}

impl ServedModel {
    /// The name the model is called by in its own workspace.
    pub fn name(&self) -> &str {
        self.model_entity_id.split_once('/').map_or(self.model_entity_id.as_str(), |(_, name)| name)
    }
}
