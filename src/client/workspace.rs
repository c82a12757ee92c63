//! `nimgate workspace`.

use super::error::ClientError;
use super::noun::{Body, Cell, Change, Column, Fields, Noun, Way};
use crate::cli::{WorkspaceCommand, WorkspaceFields};

pub const WORKSPACE: Noun = Noun {
    name: "workspace",
    service: "entities",
    collection: "workspaces",
    columns: &[
        Column("NAME", Cell::Text("/name")),
        Column("CREATED", Cell::Age("/created_at")),
        Column("DESCRIPTION", Cell::Text("/description")),
    ],
    change: Change::Whole(Way::Put),
    required: &[],
    first: "nimgate workspace create NAME",
    next: |_| "nimgate provider create NAME --url URL --key-env VARIABLE --workspace {name}",
};

impl Fields for WorkspaceFields {
    fn write(&self, body: &mut Body) {
        body.text("description", &self.description);
        body.put("local_only", &self.local_only);
    }
}

pub async fn run(command: WorkspaceCommand) -> Result<(), ClientError> {
    match command {
        WorkspaceCommand::Create(args) => WORKSPACE.create(args).await,
        WorkspaceCommand::List(args) => WORKSPACE.list(args).await,
        WorkspaceCommand::Get(args) => WORKSPACE.get(args).await,
        WorkspaceCommand::Update(args) => WORKSPACE.update(args).await,
        WorkspaceCommand::Delete(args) => WORKSPACE.delete(args).await,
    }
}
