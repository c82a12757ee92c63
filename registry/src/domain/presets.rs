//! Providers that are known by name: where each is, how its key is sent, and where it strays from the rest.
//!
//! A preset fills in what an owner leaves out, once, when the provider is written: what is stored is whole, and
//! a later release with other presets changes no provider. Everything here can be set by hand too.
//! Absent on purpose: keys, models, and anything that a provider's plan decides, such as how many requests it takes.

use proto_shared::backend::{Backend, BackendFormat, ChatTraits, MaxTokensField, ReasoningReplay};

/// One provider, or one kind of server, as the whole world runs it.
#[derive(Debug)]
pub struct Preset {
    pub name: &'static str,
    /// What its makers call it.
    pub title: &'static str,
    /// Absent: its owner says where it is.
    pub host_url: Option<&'static str>,
    /// Where its users keep the key by habit. Absent: it needs none, or there is no habit.
    pub key_variable: Option<&'static str>,
    pub auth_header_format: Option<&'static str>,
    pub default_extra_headers: &'static [(&'static str, &'static str)],
    pub format: BackendFormat,
    pub chat: fn() -> ChatTraits,
}

impl Preset {
    /// How it is spoken to when its owner says nothing.
    pub fn backend(&self) -> Backend {
        Backend { format: self.format, chat: (self.chat)(), ..Backend::default() }
    }
}

/// By name; `-` and `_` are the same.
pub fn find(name: &str) -> Option<&'static Preset> {
    let spelled = |name: &str| name.replace('-', "_");
    ALL.iter().find(|preset| spelled(preset.name) == spelled(name))
}

/// The name of the one that is at this address.
pub fn at(host_url: &str) -> Option<&'static str> {
    let bare = |url: &str| url.trim_end_matches('/').to_owned();
    ALL.iter().find(|preset| preset.host_url.is_some_and(|url| bare(url) == bare(host_url))).map(|p| p.name)
}

/// What all have that stray nowhere.
const PLAIN: Preset = Preset {
    name: "",
    title: "",
    host_url: None,
    key_variable: None,
    auth_header_format: None,
    default_extra_headers: &[],
    format: BackendFormat::OpenaiChat,
    chat: ChatTraits::default,
};

/// Hosted ones by name, then servers of one's own, then the one for all others.
pub const ALL: &[Preset] = &[
    Preset {
        name: "anthropic",
        title: "Anthropic",
        host_url: Some("https://api.anthropic.com/v1"),
        key_variable: Some("ANTHROPIC_API_KEY"),
        auth_header_format: Some("x-api-key: {{ auth_secret }}"),
        default_extra_headers: &[("anthropic-version", "2023-06-01")],
        // Its own Messages pass as they came either way; so Responses reach its Chat Completions.
        format: BackendFormat::OpenaiChat,
        chat: || ChatTraits { takes_files: false, takes_audio: false, ..ChatTraits::default() },
    },
    Preset {
        name: "baseten",
        title: "Baseten",
        host_url: Some("https://inference.baseten.co/v1"),
        key_variable: Some("BASETEN_API_KEY"),
        ..PLAIN
    },
    Preset {
        name: "deepinfra",
        title: "DeepInfra",
        host_url: Some("https://api.deepinfra.com/v1/openai"),
        key_variable: Some("DEEPINFRA_API_KEY"),
        ..PLAIN
    },
    Preset {
        name: "deepseek",
        title: "DeepSeek",
        host_url: Some("https://api.deepseek.com/v1"),
        key_variable: Some("DEEPSEEK_API_KEY"),
        chat: replays_reasoning_content,
        ..PLAIN
    },
    Preset {
        name: "fireworks",
        title: "Fireworks",
        host_url: Some("https://api.fireworks.ai/inference/v1"),
        key_variable: Some("FIREWORKS_API_KEY"),
        ..PLAIN
    },
    Preset {
        name: "friendli",
        title: "Friendli",
        host_url: Some("https://api.friendli.ai/serverless/v1"),
        key_variable: Some("FRIENDLI_TOKEN"),
        ..PLAIN
    },
    Preset {
        name: "gemini",
        title: "Gemini",
        host_url: Some("https://generativelanguage.googleapis.com/v1beta/openai"),
        key_variable: Some("GEMINI_API_KEY"),
        chat: gemini,
        ..PLAIN
    },
    Preset {
        name: "hf_inference",
        title: "Hugging Face Inference",
        host_url: Some("https://router.huggingface.co/v1"),
        key_variable: Some("HF_TOKEN"),
        ..PLAIN
    },
    Preset {
        name: "moonshot",
        title: "Moonshot (Kimi)",
        host_url: Some("https://api.moonshot.ai/v1"),
        key_variable: Some("MOONSHOT_API_KEY"),
        chat: replays_reasoning_content,
        ..PLAIN
    },
    Preset {
        name: "nebius",
        title: "Nebius",
        host_url: Some("https://api.tokenfactory.nebius.com/v1/"),
        key_variable: Some("NEBIUS_API_KEY"),
        ..PLAIN
    },
    Preset {
        name: "nvidia",
        title: "NVIDIA Build",
        host_url: Some("https://integrate.api.nvidia.com/v1"),
        key_variable: Some("NVIDIA_API_KEY"),
        ..PLAIN
    },
    Preset {
        name: "openai",
        title: "OpenAI",
        host_url: Some("https://api.openai.com/v1"),
        key_variable: Some("OPENAI_API_KEY"),
        format: BackendFormat::OpenaiResponses,
        chat: || ChatTraits {
            max_tokens_field: MaxTokensField::MaxCompletionTokens,
            ..ChatTraits::default()
        },
        ..PLAIN
    },
    Preset {
        name: "openrouter",
        title: "OpenRouter",
        host_url: Some("https://openrouter.ai/api/v1"),
        key_variable: Some("OPENROUTER_API_KEY"),
        ..PLAIN
    },
    Preset {
        name: "together",
        title: "Together AI",
        host_url: Some("https://api.together.xyz/v1"),
        key_variable: Some("TOGETHER_API_KEY"),
        ..PLAIN
    },
    Preset {
        name: "vllm",
        title: "vLLM on this machine",
        host_url: Some("http://127.0.0.1:8000/v1"),
        chat: model_template,
        ..PLAIN
    },
    Preset {
        name: "sglang",
        title: "SGLang on this machine",
        host_url: Some("http://127.0.0.1:30000/v1"),
        chat: model_template,
        ..PLAIN
    },
    Preset {
        name: "ollama",
        title: "Ollama on this machine",
        host_url: Some("http://127.0.0.1:11434/v1"),
        chat: || ChatTraits { takes_files: false, takes_audio: false, ..ChatTraits::default() },
        ..PLAIN
    },
    Preset {
        name: "llama-cpp",
        title: "llama.cpp's server on this machine",
        host_url: Some("http://127.0.0.1:8080/v1"),
        chat: model_template,
        ..PLAIN
    },
    Preset { name: "generic", title: "Any server that speaks Chat Completions", ..PLAIN },
];

/// Refuses what it does not know, and tool messages without a name; its tool calls are signed.
fn gemini() -> ChatTraits {
    const UNKNOWN: [&str; 9] = [
        "chat_template_kwargs",
        "frequency_penalty",
        "logit_bias",
        "metadata",
        "min_p",
        "parallel_tool_calls",
        "repetition_penalty",
        "store",
        "top_k",
    ];
    ChatTraits {
        omit_fields: UNKNOWN.map(str::to_owned).to_vec(),
        tool_messages_named: true,
        thought_signatures: true,
        takes_files: false,
        ..ChatTraits::default()
    }
}

/// Its thinking models refuse a turn with tool calls that lacks the reasoning before them.
fn replays_reasoning_content() -> ChatTraits {
    ChatTraits {
        reasoning_replay: ReasoningReplay::ReasoningContent,
        takes_files: false,
        takes_audio: false,
        ..ChatTraits::default()
    }
}

/// The model's own template writes the prompt, and most admit one system message, at the beginning.
fn model_template() -> ChatTraits {
    ChatTraits { one_system_message: true, takes_files: false, ..ChatTraits::default() }
}

#[cfg(test)]
mod tests {
    use proto_shared::{AuthTemplate, HostUrl};

    use super::*;
    use crate::domain::extra_headers;

    #[test]
    fn hosted_providers_are_where_they_say_and_paths_never_double() {
        for (name, host_url, chat) in [
            ("baseten", "https://inference.baseten.co/v1", "/v1"),
            ("deepinfra", "https://api.deepinfra.com/v1/openai", "/v1/openai"),
            ("fireworks", "https://api.fireworks.ai/inference/v1", "/inference/v1"),
            ("friendli", "https://api.friendli.ai/serverless/v1", "/serverless/v1"),
            ("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "/v1beta/openai"),
            ("hf_inference", "https://router.huggingface.co/v1", "/v1"),
            ("nebius", "https://api.tokenfactory.nebius.com/v1/", "/v1"),
            ("openrouter", "https://openrouter.ai/api/v1", "/api/v1"),
            ("together", "https://api.together.xyz/v1", "/v1"),
            ("nvidia", "https://integrate.api.nvidia.com/v1", "/v1"),
        ] {
            let preset = find(name).unwrap();
            assert_eq!(preset.host_url, Some(host_url), "{name}");
            let url = HostUrl::parse(host_url).unwrap();
            assert_eq!(url.join("v1/chat/completions"), format!("{chat}/chat/completions"), "{name}");
            assert_eq!(url.join("v1/models"), format!("{chat}/models"), "{name}");
        }
    }

    #[test]
    fn every_preset_is_a_valid_provider_with_a_name_of_its_own() {
        for preset in ALL {
            assert_eq!(find(preset.name).map(|found| found.title), Some(preset.title));
            let url = preset.host_url.map(|url| HostUrl::parse(url).unwrap());
            assert_eq!(url.is_none(), preset.name == "generic");
            assert!(url.is_none_or(|url| url.is_https() || url.as_str().starts_with("http://127.0.0.1:")));
            assert!(preset.auth_header_format.is_none_or(|format| AuthTemplate::parse(format).is_ok()));
            let headers = preset.default_extra_headers.iter();
            let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(extra_headers::check(&headers), Ok(()));
        }
    }

    #[test]
    fn a_name_may_be_spelled_with_either_line() {
        assert_eq!(find("hf-inference").unwrap().name, "hf_inference");
        assert_eq!(at("https://api.tokenfactory.nebius.com/v1"), Some("nebius"));
        assert_eq!(at("https://llm.example"), None);
        assert_eq!(find("llama_cpp").unwrap().name, "llama-cpp");
        assert!(find("").is_none() && find("Together").is_none());
    }
}
