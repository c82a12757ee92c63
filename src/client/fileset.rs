//! `nimgate fileset`.

use serde_json::json;

use super::error::ClientError;
use super::noun::{Body, Cell, Change, Column, Fields, Noun, text};
use crate::cli::{FilesetCommand, FilesetFields};

pub const FILESET: Noun = Noun {
    name: "fileset",
    service: "files",
    collection: "filesets",
    columns: &[
        Column("NAME", Cell::Text("/name")),
        Column("PURPOSE", Cell::Text("/purpose")),
        Column(
            "STORAGE",
            Cell::Of(|value| {
                let place = ["/storage/repo_id", "/storage/target", "/storage/bucket"];
                let place = place.iter().find_map(|at| value.pointer(at)?.as_str()).unwrap_or_default();
                format!("{} {place}", text(&value["storage"]["type"]))
            }),
        ),
        Column("UPDATED", Cell::Age("/updated_at")),
        Column("DESCRIPTION", Cell::Text("/description")),
    ],
    change: Change::Patch(&["metadata"]),
    required: &[],
    first: "nimgate fileset create NAME",
    next: |fileset| match fileset["storage"]["type"].as_str() {
        Some("local") => "nimgate file upload FOLDER {name}",
        _ => "nimgate file list {name}",
    },
};

const TOOL_CALLING: &str = "metadata.model.tool_calling";

impl Fields for FilesetFields {
    /// Where local files lie is the server's choice.
    fn make_sendable(body: &mut Body) {
        if body.text_at("/storage/type").as_deref() == Some("local") {
            body.remove("storage");
        }
    }

    fn write(&self, body: &mut Body) {
        body.text("purpose", &self.purpose);
        body.put("storage", &self.storage);
        if let Some(repository) = &self.huggingface {
            body.put("storage", &Some(json!({"type": "huggingface", "repo_id": repository})));
            body.text("storage.revision", &self.revision);
            body.text("storage.token_secret", &self.token_secret);
        }
        body.put("metadata", &self.metadata);
        body.text(&format!("{TOOL_CALLING}.tool_call_parser"), &self.tool_call_parser);
        body.put(&format!("{TOOL_CALLING}.auto_tool_choice"), &self.auto_tool_choice);
        body.put("custom_fields", &self.custom_fields);
        body.about(&self.about);
    }
}

pub async fn run(command: FilesetCommand) -> Result<(), ClientError> {
    match command {
        FilesetCommand::Create(args) => FILESET.create(args).await,
        FilesetCommand::List(args) => FILESET.list(args).await,
        FilesetCommand::Get(args) => FILESET.get(args).await,
        FilesetCommand::Update(args) => FILESET.update(args).await,
        FilesetCommand::Delete(args) => FILESET.delete(args).await,
    }
}
