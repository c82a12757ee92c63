//! `nimgate model` and `nimgate adapter`.

use super::api::Api;
use super::error::ClientError;
use super::noun::{Body, Cell, Change, Column, Fields, Noun, text};
use super::output::{self, Table};
use super::routing;
use crate::cli::{AdapterCommand, AdapterFields, Connection, ModelCommand, ModelFields, ModelListing};

pub const MODEL: Noun = Noun {
    name: "model",
    service: "models",
    collection: "models",
    columns: &[
        Column("NAME", Cell::Text("/name")),
        Column("PROVIDERS", Cell::Text("/model_providers")),
        Column("BASE MODEL", Cell::Text("/base_model")),
        Column("FILESET", Cell::Text("/fileset")),
        Column("UPDATED", Cell::Age("/updated_at")),
        Column("DESCRIPTION", Cell::Text("/description")),
    ],
    change: Change::Patch(&[]),
    required: &[],
    first: "nimgate model create NAME",
    next: |_| "",
};

pub const ADAPTER: Noun = Noun {
    name: "adapter",
    service: "models",
    collection: "adapters",
    columns: &[
        Column("NAME", Cell::Text("/name")),
        Column("MODEL", Cell::Text("/model")),
        Column("TYPE", Cell::Text("/finetuning_type")),
        Column("FILESET", Cell::Text("/fileset")),
        Column("ENABLED", Cell::Text("/enabled")),
        Column("UPDATED", Cell::Age("/updated_at")),
    ],
    change: Change::Patch(&[]),
    required: &[(&["/model"], "--model MODEL"), (&["/fileset"], "--fileset NAME")],
    first: "nimgate adapter create NAME --model MODEL --fileset NAME",
    next: |_| "",
};

impl Fields for ModelFields {
    fn write(&self, body: &mut Body) {
        body.text("fileset", &self.fileset);
        body.text("base_model", &self.base_model);
        body.text("finetuning_type", &self.finetuning_type);
        body.text("backend_format", &self.backend_format);
        body.list("model_providers", &self.model_providers);
        body.put("spec", &self.spec);
        body.put("custom_fields", &self.custom_fields);
        body.put("trust_remote_code", &self.trust_remote_code);
        body.put("local_only", &self.local_only);
        body.about(&self.about);
    }
}

impl Fields for AdapterFields {
    fn write(&self, body: &mut Body) {
        body.text("model", &self.model);
        body.text("fileset", &self.fileset);
        body.text("finetuning_type", &self.finetuning_type);
        body.put("lora_config.rank", &self.lora_rank);
        body.put("lora_config.alpha", &self.lora_alpha);
        body.put("enabled", &self.enabled);
        body.text("description", &self.description);
    }

    fn write_defaults(&self, body: &mut Body) {
        if !body.has("/finetuning_type") {
            body.put("finetuning_type", &Some("lora"));
        }
    }
}

pub async fn run(command: ModelCommand) -> Result<(), ClientError> {
    match command {
        ModelCommand::List(args) => list(args).await,
        ModelCommand::Create(args) => MODEL.create(args).await,
        ModelCommand::Get(args) => MODEL.get(args).await,
        ModelCommand::Update(args) => MODEL.update(args).await,
        ModelCommand::Split(args) => routing::split(args).await,
        ModelCommand::Route(args) => routing::route(args).await,
        ModelCommand::Delete(args) => MODEL.delete(args).await,
    }
}

pub async fn run_adapter(command: AdapterCommand) -> Result<(), ClientError> {
    match command {
        AdapterCommand::Create(args) => ADAPTER.create(args).await,
        AdapterCommand::List(args) => ADAPTER.list(args).await,
        AdapterCommand::Get(args) => ADAPTER.get(args).await,
        AdapterCommand::Update(args) => ADAPTER.update(args).await,
        AdapterCommand::Delete(args) => ADAPTER.delete(args).await,
    }
}

async fn list(args: ModelListing) -> Result<(), ClientError> {
    let order = &args.listing.order;
    let of_entities = !order.filters.is_empty() || order.sort.is_some() || args.listing.scope.all_workspaces;
    if args.entities || of_entities {
        return MODEL.list(args.listing).await;
    }
    list_callable(&args.listing.scope.connection).await
}

async fn list_callable(connection: &Connection) -> Result<(), ClientError> {
    let api = Api::new(connection)?;
    let models = api.list_models().await?;
    output::show(connection.view.output, &models, || {
        if models.is_empty() {
            let add = "nimgate provider create NAME --url URL --key-env VARIABLE";
            return output::say(&format!("no models; add a provider: {add}{}", api.at));
        }
        let mut table = Table::new(&["MODEL", "OWNER"]);
        for model in &models {
            table.row(&[text(&model["id"]), text(&model["owned_by"])]);
        }
        table.print()
    })
}
