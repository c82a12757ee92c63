//! NIM. What it reads changed with its second generation; unknown variables are ignored by both, so both are told
//! everything. What only arguments of the inner server can say goes into `NIM_PASSTHROUGH_ARGS`, which the first does
//! not know.

use super::facts::Facts;
use super::image;
use super::plan::{Draft, MountKind};
use super::source::{MODEL_STORE, Source, says_model};
use crate::domain::deployment_config::ModelType;
use crate::domain::deployment_spec::{SpecError, refused};

/// Where it keeps what it loads.
const CACHE: &str = "/opt/nim/.cache";
/// One folder for each adapter.
pub const LORAS: &str = "/scratch/loras";
/// How often it looks there, in seconds.
pub const LORA_REFRESH_S: u64 = 30;
pub const LORA_REFRESH: &str = "NIM_PEFT_REFRESH_INTERVAL";
const PORTS: [&str; 2] = ["NIM_SERVER_PORT", "NIM_HTTP_API_PORT"];

pub fn write(facts: &Facts<'_>, draft: &mut Draft) -> Result<(), SpecError> {
    let port = port(facts);
    PORTS.iter().for_each(|name| draft.env(name, &port));
    draft.mount(MountKind::ModelCache, CACHE);
    draft.env("NIM_CACHE_PATH", facts.path(CACHE));
    if let Some(name) = &facts.served_name {
        draft.env("NIM_SERVED_MODEL_NAME", name);
    }
    if let Some(model) = facts.input.model {
        draft.env("NMP_MODEL_ENTITY_WORKSPACE", model.name.workspace(facts.input.workspace).as_str());
        draft.env("NMP_MODEL_ENTITY_NAME", model.name.name().as_str());
        if model.trust_remote_code {
            draft.env("NIM_FORCE_TRUST_REMOTE_CODE", "1");
            draft.env("NIM_TRUST_CUSTOM_CODE", "1");
        }
    }
    weights(facts, draft)?;
    if facts.input.spec.lora {
        draft.mount(MountKind::Loras, LORAS);
        draft.env("NIM_PEFT_SOURCE", facts.path(LORAS));
        draft.env(LORA_REFRESH, LORA_REFRESH_S.to_string());
        draft.env("NIM_MAX_LORA_RANK", facts.lora_rank_max().to_string());
    }
    tools(facts, draft);
    Ok(())
}

/// Both variables say the same, also when the user gives one of them.
fn port(facts: &Facts<'_>) -> String {
    let spec = facts.input.spec;
    let given = [&spec.overrides.env, &spec.envs]
        .into_iter()
        .find_map(|env| PORTS.iter().find_map(|name| env.get(*name)));
    match given {
        Some(port) => port.clone(),
        None if facts.is_command() => "{port}".to_owned(),
        None => facts.defaults.port.to_string(),
    }
}

fn weights(facts: &Facts<'_>, draft: &mut Draft) -> Result<(), SpecError> {
    let takes_any = facts.image.as_deref().is_some_and(image::serves_any_model);
    let place = match &facts.source {
        Source::Files(fileset) => {
            draft.mount(MountKind::Fileset(fileset.clone()), MODEL_STORE);
            let path = facts.path(MODEL_STORE);
            // An image of one model takes these for weights of the same build.
            if !takes_any {
                draft.env("NIM_FT_MODEL", &path);
                draft.env("NIM_CUSTOM_MODEL", &path);
            }
            Some(path)
        }
        source => source.uri(),
    };
    match place {
        Some(place) => {
            draft.env("NIM_MODEL_NAME", &place);
            draft.env("NIM_MODEL_PATH", &place);
            Ok(())
        }
        None if takes_any && !says_model(facts.input) => {
            Err(refused("model_name", "this image serves any model and needs one: name it, as org/name"))
        }
        None => Ok(()),
    }
}

fn tools(facts: &Facts<'_>, draft: &mut Draft) {
    let tools = &facts.tools;
    let plugin = facts.plugin(draft);
    let variables = [
        ("NIM_CHAT_TEMPLATE", tools.chat_template.as_deref()),
        ("NIM_TOOL_CALL_PARSER", tools.parser.as_deref()),
        ("NIM_TOOL_PARSER_PLUGIN", plugin.as_deref()),
        ("NIM_ENABLE_AUTO_TOOL_CHOICE", tools.auto_choice.map(|free| if free { "1" } else { "0" })),
    ];
    for (name, value) in variables {
        if let Some(value) = value {
            draft.env(name, value);
        }
    }
    if facts.image.as_deref().and_then(image::major) == Some(1) {
        return;
    }
    let spec = facts.input.spec;
    let rank = facts.lora_rank_max().to_string();
    let arguments = [
        ("--chat-template", tools.chat_template.is_some(), tools.chat_template.as_deref()),
        ("--enable-auto-tool-choice", tools.calls_freely(), None),
        ("--tool-call-parser", tools.parser.is_some(), tools.parser.as_deref()),
        ("--tool-parser-plugin", plugin.is_some(), plugin.as_deref()),
        ("--enable-lora", spec.lora, None),
        ("--max-lora-rank", spec.lora, Some(rank.as_str())),
        ("--runner", spec.model_type == Some(ModelType::Embed), Some("pooling")),
    ];
    let wanted = arguments.into_iter().filter(|(name, is_wanted, _)| *is_wanted && !facts.has_arg(name));
    let words: Vec<_> =
        wanted.flat_map(|(name, _, value)| [Some(name), value]).flatten().map(quoted).collect();
    if !words.is_empty() {
        draft.env("NIM_PASSTHROUGH_ARGS", words.join(" "));
    }
}

/// As one word of a shell, which is how the variable is taken apart.
fn quoted(word: &str) -> String {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@' | '+');
    match word.chars().all(is_plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_of_any_text_stay_words() {
        for (word, text) in [
            ("--tool-call-parser", "--tool-call-parser"),
            ("", "''"),
            ("{{ x }}\n", "'{{ x }}\n'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(word), text);
        }
    }
}
