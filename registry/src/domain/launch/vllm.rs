//! vLLM: `vllm serve MODEL` and arguments. One that the user gives is not given twice.

use super::facts::Facts;
use super::nim;
use super::plan::{Draft, MountKind};
use super::source::{MODEL_STORE, Source, says_model};
use crate::domain::deployment_config::ModelType;
use crate::domain::deployment_spec::{SpecError, refused};

/// Where it keeps what it loads and builds.
const CACHE: &str = "/model-cache";
const LOOPBACK: &str = "127.0.0.1";

pub fn write(facts: &Facts<'_>, draft: &mut Draft) -> Result<(), SpecError> {
    // Said, because older images begin their program in another way, which takes no model as first argument.
    draft.entrypoint = Some(["vllm", "serve"].map(str::to_owned).to_vec());
    draft.mount(MountKind::ModelCache, CACHE);
    draft.env("HF_HOME", facts.path(CACHE));
    draft.env("VLLM_CACHE_ROOT", format!("{}/vllm", facts.path(CACHE)));
    model(facts, draft)?;
    if let Some(name) = &facts.served_name {
        argument(facts, draft, "--served-model-name", Some(name));
    }
    let parallel = tensor_parallel(facts);
    if parallel > 1 && !facts.has_arg("-tp") {
        argument(facts, draft, "--tensor-parallel-size", Some(&parallel.to_string()));
    }
    if facts.input.spec.model_type == Some(ModelType::Embed) {
        argument(facts, draft, "--runner", Some("pooling"));
    }
    if facts.input.model.is_some_and(|model| model.trust_remote_code) {
        argument(facts, draft, "--trust-remote-code", None);
    }
    tools(facts, draft)?;
    if facts.input.spec.lora { loras(facts, draft) } else { Ok(()) }
}

/// It is told of each adapter while it runs: its own look-up by name would load the first one only when somebody asks
/// for it, so no list would show it. Whoever reaches its port could do the same, so that port is this host's alone.
fn loras(facts: &Facts<'_>, draft: &mut Draft) -> Result<(), SpecError> {
    draft.mount(MountKind::Loras, nim::LORAS);
    draft.env("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True");
    argument(facts, draft, "--enable-lora", None);
    argument(facts, draft, "--max-lora-rank", Some(&facts.lora_rank_max().to_string()));
    // The port of a container is published on loopback, wherever it listens inside.
    if !facts.is_command() {
        return Ok(());
    }
    argument(facts, draft, "--host", Some(LOOPBACK));
    match facts.given_arg("--host") {
        None | Some(LOOPBACK | "localhost" | "::1") => Ok(()),
        Some(_) => {
            let reason = "adapters are loaded through vLLM's own port, which must be this host's alone; \
                          let it listen on 127.0.0.1 (--host)";
            Err(refused("lora_enabled", reason))
        }
    }
}

/// A command names its model itself: where it would go in there is not known.
fn model(facts: &Facts<'_>, draft: &mut Draft) -> Result<(), SpecError> {
    if let Source::Files(fileset) = &facts.source {
        draft.mount(MountKind::Fileset(fileset.clone()), MODEL_STORE);
    }
    if facts.is_command() || says_model(facts.input) {
        return Ok(());
    }
    match &facts.source {
        Source::Unsaid => return Err(refused("model_name", "vLLM needs a model: name it, as org/name")),
        Source::Ngc { .. } => {
            let reason = "vLLM can't load from NGC; use the engine nim, or a fileset that is kept here or on Hugging Face";
            return Err(refused("model_name", reason));
        }
        Source::Files(_) => draft.args.push(facts.path(MODEL_STORE)),
        Source::Hub { repository, revision, .. } => {
            draft.args.push(repository.clone());
            if let Some(revision) = revision {
                argument(facts, draft, "--revision", Some(revision));
            }
        }
        Source::Bucket { path, .. } => {
            draft.args.push(format!("s3://{path}"));
            argument(facts, draft, "--load-format", Some("runai_streamer"));
        }
    }
    Ok(())
}

fn tools(facts: &Facts<'_>, draft: &mut Draft) -> Result<(), SpecError> {
    let tools = &facts.tools;
    if tools.auto_choice == Some(true) && tools.parser.is_none() && !facts.has_arg("--tool-call-parser") {
        return Err(refused("auto_tool_choice", "vLLM needs a parser for it; give tool_call_parser too"));
    }
    if let Some(template) = &tools.chat_template {
        argument(facts, draft, "--chat-template", Some(template));
    }
    if tools.auto_choice == Some(true) {
        argument(facts, draft, "--enable-auto-tool-choice", None);
    }
    if let Some(parser) = &tools.parser {
        argument(facts, draft, "--tool-call-parser", Some(parser));
    }
    if let Some(plugin) = facts.plugin(draft) {
        argument(facts, draft, "--tool-parser-plugin", Some(&plugin));
    }
    Ok(())
}

fn argument(facts: &Facts<'_>, draft: &mut Draft, name: &str, value: Option<&str>) {
    if !facts.has_arg(name) {
        draft.args.push(name.to_owned());
        draft.args.extend(value.map(str::to_owned));
    }
}

/// The largest number of the GPUs over which everything in the model that is split can be split evenly.
fn tensor_parallel(facts: &Facts<'_>) -> u64 {
    let known = facts.input.model.and_then(|model| model.spec.as_ref());
    let parts = known.map(|known| [known.hidden_size, known.num_attention_heads, known.num_kv_heads]);
    let parts: Vec<u64> = parts.into_iter().flatten().flatten().filter(|part| *part > 0).collect();
    let gpus = u64::from(facts.input.spec.gpus);
    let fits = |ways: &u64| gpus % ways == 0 && parts.iter().all(|part| part % ways == 0);
    (1..=gpus).rev().find(fits).unwrap_or(1)
}
