//! The control API as a client sees it: paths, pages, and refusals with their next step.

use http::Method;
use serde_json::{Value, json};

use super::advice;
use super::error::ClientError;
use super::http::{GATEWAY, Http, Named, encoded};
use crate::cli::Connection;

const PAGE_SIZE: usize = 100;
/// No list is longer; a server that never ends a list is not believed.
const PAGES_MAX: usize = 10_000;
/// Stands for a workspace in the paths of lists.
const ALL_WORKSPACES: &str = "-";

/// The control API of one workspace.
#[derive(Clone)]
pub struct Api {
    pub http: Http,
    pub workspace: String,
    /// Flags that make a further command mean the same gateway and workspace.
    pub at: String,
    /// The same without the workspace.
    pub gateway_at: String,
}

impl Api {
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        Self::named(connection, GATEWAY)
    }

    pub fn named(connection: &Connection, named: Named) -> Result<Self, ClientError> {
        Ok(Self {
            http: Http::new(&connection.url, named, connection.view.ca.as_deref())?,
            workspace: connection.view.workspace.clone(),
            at: connection.repeated(),
            gateway_at: connection.gateway_repeated(),
        })
    }

    /// The same API for lists over all workspaces.
    pub fn of_all_workspaces(self) -> Self {
        Self { workspace: ALL_WORKSPACES.to_owned(), ..self }
    }

    /// `secrets` below `secrets`, `providers` below `models`.
    pub fn path(&self, service: &str, kind: &str) -> String {
        format!("/apis/{service}/v2/workspaces/{}/{kind}", encoded(&self.workspace))
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

    pub async fn list_models(&self) -> Result<Vec<Value>, ClientError> {
        let answer = self.get(&format!("{}/models", self.route(None))).await?;
        Ok(answer["data"].as_array().cloned().unwrap_or_default())
    }

    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.http.get(path).await.map_err(|e| self.advised(e))
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.http.json(method, path, Some(body)).await.map_err(|e| self.advised(e))
    }

    /// What the server says about it is given where it says something.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        let bytes = self.http.call(Method::DELETE, path, None).await.map_err(|e| self.advised(e))?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Stores a secret, over an older value where there is one.
    pub async fn store_secret(&self, name: &str, value: &str, description: &str) -> Result<(), ClientError> {
        let secrets = self.path("secrets", "secrets");
        let body = json!({"name": name, "value": value, "description": description});
        match self.send(Method::POST, &secrets, &body).await {
            Err(e) if e.status() == Some(http::StatusCode::CONFLICT) => {
                let one = format!("{secrets}/{}", encoded(name));
                self.send(Method::PATCH, &one, &json!({"value": value})).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    /// A list to its last page. `query` is what follows the page, with its `&`.
    pub async fn all(&self, path: &str, query: &str) -> Result<Vec<Value>, ClientError> {
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let answer = self.get(&format!("{path}?page={page}&page_size={PAGE_SIZE}{query}")).await?;
            let Some(data) = answer["data"].as_array() else { break };
            let pages = answer.pointer("/pagination/total_pages").and_then(Value::as_u64).unwrap_or(0);
            all.extend(data.iter().cloned());
            if data.is_empty() || page as u64 >= pages {
                break;
            }
        }
        Ok(all)
    }

    /// Adds the next step to a refusal.
    pub fn advised(&self, error: ClientError) -> ClientError {
        match error {
            ClientError::Answer { status, message, hint: None } => {
                let hint = advice::next_step(status, &message, &self.at, &self.gateway_at);
                ClientError::Answer { status, message, hint }
            }
            other => other,
        }
    }
}
