//! The models this server claims to have.

use crate::options::Lora;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MAX_MODEL_LEN: u32 = 131_072;
/// LoRA adapters at one time; more are refused.
pub(crate) const MAX_LORAS: usize = 1000;

pub(crate) struct Catalog {
    pub models: Vec<String>,
    pub loras: Vec<Lora>,
}

impl Catalog {
    pub fn base(&self) -> &str {
        self.models.first().map_or(crate::DEFAULT_MODEL, String::as_str)
    }

    /// Takes over what was found in `source`, and forgets what was found there before.
    pub fn find_loras(&mut self, source: &Path, found: &BTreeMap<String, PathBuf>) {
        let base = self.base().to_owned();
        self.loras.retain(|lora| !Path::new(&lora.root).starts_with(source));
        self.loras.extend(found.iter().take(MAX_LORAS).map(|(id, path)| Lora {
            id: id.clone(),
            parent: base.clone(),
            root: path.to_string_lossy().into_owned(),
        }));
    }

    pub fn serves(&self, id: &str) -> bool {
        self.models.iter().any(|model| model == id) || self.loras.iter().any(|lora| lora.id == id)
    }

    /// All cards in vLLM's form: an adapter has its base as `parent` and its path as `root`.
    pub fn cards(&self, created_s: u64) -> Vec<Value> {
        let bases = self.models.iter().map(|id| card(id, id, None, created_s));
        let loras =
            self.loras.iter().map(|lora| card(&lora.id, &lora.root, Some(lora.parent.as_str()), created_s));
        bases.chain(loras).collect()
    }
}

fn card(id: &str, root: &str, parent: Option<&str>, created_s: u64) -> Value {
    json!({
        "id": id,
        "object": "model",
        "created": created_s,
        "owned_by": "nim-sim",
        "root": root,
        "parent": parent,
        "max_model_len": MAX_MODEL_LEN,
        "permission": [],
    })
}
