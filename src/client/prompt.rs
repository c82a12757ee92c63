//! `nimgate prompt`.

use serde_json::json;

use super::error::ClientError;
use super::noun::{Body, Cell, Change, Column, Fields, Noun, Way};
use crate::cli::{PromptCommand, PromptFields};

pub const PROMPT: Noun = Noun {
    name: "prompt",
    service: "models",
    collection: "prompts",
    columns: &[
        Column("NAME", Cell::Text("/name")),
        Column("MESSAGES", Cell::Count("/messages")),
        Column("VARIABLES", Cell::Text("/input_variables")),
        Column("TAGS", Cell::Text("/tags")),
        Column("UPDATED", Cell::Age("/updated_at")),
        Column("DESCRIPTION", Cell::Text("/description")),
    ],
    change: Change::Whole(Way::Put),
    required: &[],
    first: "nimgate prompt create NAME --system TEXT --user TEXT",
    next: |_| "",
};

impl Fields for PromptFields {
    fn write(&self, body: &mut Body) {
        let message = |role: &str, text: &Option<String>| {
            text.as_ref().map(|text| json!({"role": role, "content": text}))
        };
        let said: Vec<_> =
            [message("system", &self.system), message("user", &self.user)].into_iter().flatten().collect();
        body.put("messages", &(!said.is_empty()).then_some(said));
        body.put("messages", &self.messages);
        body.list("input_variables", &self.input_variables);
        body.put("tools", &self.tools);
        body.put("response_format", &self.response_format);
        body.text("inference_params.model", &self.model);
        body.put("inference_params.temperature", &self.temperature);
        body.put("inference_params.max_tokens", &self.max_tokens);
        body.list("tags", &self.tags);
        body.about(&self.about);
    }
}

pub async fn run(command: PromptCommand) -> Result<(), ClientError> {
    match command {
        PromptCommand::Create(args) => PROMPT.create(args).await,
        PromptCommand::List(args) => PROMPT.list(args).await,
        PromptCommand::Get(args) => PROMPT.get(args).await,
        PromptCommand::Update(args) => PROMPT.update(args).await,
        PromptCommand::Delete(args) => PROMPT.delete(args).await,
    }
}
