//! Any server: it gets the files and keys of its model, and what its config says under plain names, for a script to
//! pick up. What it is to do with them is its own matter: `additional_args` and `additional_envs` can say anything.

use super::facts::Facts;
use super::plan::{Draft, MountKind};
use super::source::{MODEL_STORE, Source};
use crate::domain::deployment_config::ModelType;

pub fn write(facts: &Facts<'_>, draft: &mut Draft) {
    let place = match &facts.source {
        Source::Files(fileset) => {
            draft.mount(MountKind::Fileset(fileset.clone()), MODEL_STORE);
            Some(facts.path(MODEL_STORE))
        }
        source => source.uri(),
    };
    let tools = &facts.tools;
    let word = |yes: bool| if yes { "1" } else { "0" };
    let kind = facts.input.spec.model_type.map(|kind| match kind {
        ModelType::Llm => "llm",
        ModelType::Embed => "embed",
        ModelType::Other => "other",
    });
    let trust = facts.input.model.is_some_and(|model| model.trust_remote_code);
    let plugin = facts.plugin(draft);
    let variables = [
        ("MODEL_NAME", facts.served_name.as_deref()),
        ("MODEL_PATH", place.as_deref()),
        ("MODEL_TYPE", kind),
        ("CHAT_TEMPLATE", tools.chat_template.as_deref()),
        ("TOOL_CALL_PARSER", tools.parser.as_deref()),
        ("TOOL_PARSER_PLUGIN", plugin.as_deref()),
        ("ENABLE_AUTO_TOOL_CHOICE", tools.auto_choice.map(word)),
        ("TRUST_REMOTE_CODE", trust.then_some("1")),
        ("PORT", facts.is_command().then_some("{port}")),
    ];
    for (name, value) in variables {
        if let Some(value) = value {
            draft.env(name, value);
        }
    }
}
