//! A prompt: messages, tools and parameters that users keep for later.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PromptBody {
    #[serde(default)]
    pub messages: Vec<PromptMessage>,
    #[serde(default)]
    pub input_variables: Vec<String>,
    pub tools: Option<Vec<ChatCompletionTool>>,
    /// A word such as `auto`, or an object that names a function.
    pub tool_choice: Option<ToolChoice>,
    #[schema(value_type = Option<Object>)]
    pub response_format: Option<Map<String, Value>>,
    pub inference_params: Option<InferenceParams>,
    pub tags: Option<Vec<String>>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PromptMessage {
    pub role: PromptRole,
    pub content: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PromptRole {
    System,
    Developer,
    User,
    Assistant,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChatCompletionTool {
    pub r#type: ToolType,
    pub function: FunctionDefinition,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolType {
    Function,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FunctionDefinition {
    #[schema(max_length = 255)]
    pub name: String,
    pub description: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    pub strict: Option<bool>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ToolChoice {
    Word(String),
    #[schema(value_type = Object)]
    Function(Map<String, Value>),
}

/// Sampling parameters; further members are kept as they are.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InferenceParams {
    pub model: Option<String>,
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    #[schema(minimum = 1)]
    pub max_tokens: Option<u64>,
    #[schema(minimum = 1)]
    pub max_completion_tokens: Option<u64>,
    #[schema(minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    pub stop: Option<Vec<String>>,
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub further: Map<String, Value>,
}
