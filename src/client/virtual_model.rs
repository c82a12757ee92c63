//! `nimgate virtual-model`.

use serde_json::json;

use super::error::ClientError;
use super::noun::{Body, Cell, Change, Column, Fields, List, Noun, text};
use super::routing;
use crate::cli::{VirtualModelCommand, VirtualModelFields};

pub const VIRTUAL_MODEL: Noun = Noun {
    name: "virtual-model",
    service: "inference-gateway",
    collection: "virtual-models",
    columns: &[
        Column("NAME", Cell::Text("/name")),
        Column("DEFAULT MODEL", Cell::Text("/default_model_entity")),
        Column(
            "MODELS",
            Cell::Of(|value| {
                let models = value["models"].as_array().into_iter().flatten();
                models.map(|model| text(&model["model"])).collect::<Vec<_>>().join(", ")
            }),
        ),
        Column("ROUTING", Cell::Text("/routing/strategy")),
        Column("AUTOMATIC", Cell::Text("/autoprovisioned")),
        Column("UPDATED", Cell::Age("/updated_at")),
    ],
    change: Change::Patch(&[]),
    required: &[],
    first: "nimgate virtual-model create NAME --default-model WORKSPACE/MODEL",
    next: |_| "nimgate chat {name} \"Hello\"",
};

impl Fields for VirtualModelFields {
    fn write(&self, body: &mut Body) {
        body.text("default_model_entity", &self.default_model);
        let models: Vec<_> = self.models.iter().map(|model| json!({"model": model})).collect();
        body.put("models", &(!models.is_empty()).then_some(models));
        body.put("local_only", &self.local_only);
        body.put("resume", &self.resume);
        body.put_or_clear("stream_comment_interval_ms", self.stream_comment_interval_ms);
        body.put("limits.concurrency", &self.concurrency);
        body.put("limits.requests_per_minute", &self.requests_per_minute);
    }
}

pub async fn run(command: VirtualModelCommand) -> Result<(), ClientError> {
    match command {
        VirtualModelCommand::Create(args) => VIRTUAL_MODEL.create(args).await,
        VirtualModelCommand::List(args) => {
            let list = List::from(args.listing);
            VIRTUAL_MODEL.list(list.also(args.exclude_autoprovisioned, "exclude_autoprovisioned=true")).await
        }
        VirtualModelCommand::Get(args) => routing::get(args).await,
        VirtualModelCommand::Update(args) => VIRTUAL_MODEL.update(args).await,
        VirtualModelCommand::Delete(args) => VIRTUAL_MODEL.delete(args).await,
    }
}
