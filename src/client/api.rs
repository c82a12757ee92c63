//! The control API as a client sees it: paths, pages, and the few fields that are shown.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ClientError;
use super::http::{GATEWAY, Http, Named, encoded};
use crate::cli::Connection;

const PAGE_SIZE: usize = 100;
/// No list is longer; a server that never ends a list is not believed.
const PAGES_MAX: usize = 10_000;

/// The control API of one workspace.
#[derive(Clone)]
pub struct Api {
    pub http: Http,
    pub workspace: String,
}

/// What is shown of a provider. Lenient: lists leave null fields out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Provider {
    pub name: String,
    pub host_url: String,
    pub status: String,
    pub status_message: Option<String>,
    pub api_key_secret_name: Option<String>,
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

impl Api {
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        Self::named(connection, GATEWAY)
    }

    pub fn named(connection: &Connection, named: Named) -> Result<Self, ClientError> {
        let http = Http::new(&connection.url, named, connection.view.ca.as_deref())?;
        Ok(Self { http, workspace: connection.view.workspace.clone() })
    }

    /// `secrets` below `secrets`, `providers` below `models`.
    fn path(&self, service: &str, kind: &str) -> String {
        format!("/apis/{service}/v2/workspaces/{}/{kind}", encoded(&self.workspace))
    }

    fn secrets(&self) -> String {
        self.path("secrets", "secrets")
    }

    fn providers(&self) -> String {
        self.path("models", "providers")
    }

    /// The OpenAI route of this workspace, or one provider's own route; without a slash at the end.
    pub fn route(&self, provider: Option<&str>) -> String {
        match provider {
            Some(name) => self.path("inference-gateway", &format!("provider/{}/-/v1", encoded(name))),
            None => self.path("inference-gateway", "openai/-/v1"),
        }
    }

    pub fn model_route(&self, model: &str) -> String {
        self.path("inference-gateway", &format!("model/{}/-/v1", encoded(model)))
    }

    pub async fn list_secrets(&self) -> Result<Vec<Value>, ClientError> {
        self.all_pages(&self.secrets()).await
    }

    pub async fn list_providers(&self) -> Result<Vec<Value>, ClientError> {
        self.all_pages(&self.providers()).await
    }

    pub async fn list_models(&self) -> Result<Vec<Value>, ClientError> {
        let answer = self.http.get(&format!("{}/models", self.route(None))).await?;
        Ok(answer["data"].as_array().cloned().unwrap_or_default())
    }

    pub async fn create_secret(
        &self,
        name: &str,
        value: &str,
        description: Option<&str>,
    ) -> Result<Value, ClientError> {
        let body = json!({"name": name, "value": value, "description": description});
        self.http.json(Method::POST, &self.secrets(), Some(&body)).await
    }

    pub async fn replace_secret(&self, name: &str, value: &str) -> Result<Value, ClientError> {
        let path = format!("{}/{}", self.secrets(), encoded(name));
        self.http.json(Method::PATCH, &path, Some(&json!({"value": value}))).await
    }

    pub async fn delete_secret(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("{}/{}", self.secrets(), encoded(name));
        self.http.call(Method::DELETE, &path, None).await.map(drop)
    }

    pub async fn create_provider(&self, body: &Value) -> Result<Value, ClientError> {
        self.http.json(Method::POST, &self.providers(), Some(body)).await
    }

    pub async fn get_provider(&self, name: &str) -> Result<Value, ClientError> {
        self.http.get(&format!("{}/{}", self.providers(), encoded(name))).await
    }

    pub async fn delete_provider(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("{}/{}", self.providers(), encoded(name));
        self.http.call(Method::DELETE, &path, None).await.map(drop)
    }

    async fn all_pages(&self, path: &str) -> Result<Vec<Value>, ClientError> {
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let answer = self.http.get(&format!("{path}?page={page}&page_size={PAGE_SIZE}")).await?;
            let Some(data) = answer["data"].as_array() else { break };
            let pages = answer.pointer("/pagination/total_pages").and_then(Value::as_u64).unwrap_or(0);
            all.extend(data.iter().cloned());
            if data.is_empty() || page as u64 >= pages {
                break;
            }
        }
        Ok(all)
    }
}
