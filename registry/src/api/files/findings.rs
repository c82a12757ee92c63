//! What the files of a fileset say about a model, renewed when one of those that say something changes.

use serde_json::Value;

use crate::Registry;
use crate::domain::EntityId;
use crate::domain::model_spec::{self, ModelFiles};
use crate::error::Error;
use crate::files::{FilePath, FileStore};
use crate::store::filesets::{self, Fileset};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer_config.json";
const INDEX: &str = "model.safetensors.index.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";
const MODULES: &str = "modules.json";
const WEIGHTS: &str = ".safetensors";

/// After `path` changed. Only files at the top of a fileset are a model's.
pub async fn renew(registry: &Registry, fileset: &Fileset, path: &FilePath) -> Result<(), Error> {
    let name = path.as_str();
    let says_something = [CONFIG, TOKENIZER, INDEX, CHAT_TEMPLATE, MODULES].contains(&name);
    if name.contains('/') || !(says_something || name.ends_with(WEIGHTS)) {
        return Ok(());
    }
    let id = fileset.id.clone();
    // The last one here reads what all before it wrote.
    let _alone = registry.inner.finding.lock().await;
    let found = model_spec::read(&read(&registry.inner.files, &id).await?);
    let found = (found != model_spec::SpecParts::default()).then_some(found);
    registry.inner.store.write(move |write| filesets::set_found(write, &id, found.as_ref())).await?;
    Ok(())
}

async fn read(store: &FileStore, id: &EntityId) -> Result<ModelFiles, Error> {
    let files = store.list_top(id).await?;
    let has = |name: &str| files.iter().any(|file| file.path.as_str() == name);
    let weights = files.iter().filter(|file| file.path.as_str().ends_with(WEIGHTS));
    Ok(ModelFiles {
        config: json(store, id, CONFIG).await,
        tokenizer: json(store, id, TOKENIZER).await,
        index: json(store, id, INDEX).await,
        has_chat_template: has(CHAT_TEMPLATE),
        is_sentence_encoder: has(MODULES),
        weights_bytes: weights.map(|file| file.size).sum(),
    })
}

/// What is not there, is too long or is no JSON says nothing.
async fn json(store: &FileStore, id: &EntityId, name: &str) -> Option<Value> {
    let path = FilePath::parse(name).ok()?;
    serde_json::from_str(&store.read_small(id, path).await?).ok()
}
