//! An adapter: weights that change a base model, such as a LoRA.

pub mod placement;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Reference;
use super::model::FinetuningType;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdapterBody {
    /// Where its files are.
    pub fileset: Reference,
    pub finetuning_type: FinetuningType,
    /// Whether inference may use it.
    pub enabled: bool,
    pub lora_config: Option<Lora>,
    /// The base model, always with its workspace.
    pub model: Reference,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Lora {
    pub rank: u64,
    pub alpha: Option<u64>,
}
