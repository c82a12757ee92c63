//! From NeMo Gym's files to providers. Pure.
//!
//! A model server of the kind `inference_provider` is one provider with one model. Keys are kept apart from
//! everything that is shown.

use std::collections::BTreeSet;

use proto_shared::secret::SecretString;
use proto_shared::{WorkspaceName, entity_name_for};
use serde_json::{Map, Value};

use super::reference::Scope;

/// The one kind of model server that stands for a provider.
const KIND: &str = "inference_provider";
const SERVERS: &str = "responses_api_models";
/// How Gym itself runs its server.
const GYMS_OWN: [&str; 4] = ["entrypoint", "host", "port", "domain"];
/// Gym's name of a setting, and ours.
const SETTINGS: [(&str, &str); 5] = [
    ("base_url", "host_url"),
    ("model", "pinned_model"),
    ("uses_reasoning_parser", "uses_reasoning_parser"),
    ("num_concurrent_requests", "num_concurrent_requests"),
    ("extra_body", "default_extra_body"),
];
const KEY: &str = "api_key";
/// What Gym's generic config refers to.
const POLICY: [(&str, &str); 3] =
    [("base_url", "policy_base_url"), (KEY, "policy_api_key"), ("model", "policy_model_name")];

/// A file that was read.
pub struct File {
    /// As it was typed.
    pub label: String,
    /// Its name without folder and ending.
    pub stem: String,
    pub fields: Map<String, Value>,
}

/// What is to be made, and what has no place here.
#[derive(Debug, Default)]
pub struct Plan {
    pub providers: Vec<Planned>,
    pub left_out: Vec<String>,
}

#[derive(Debug)]
pub struct Planned {
    pub name: String,
    /// What the API takes, without name and secret.
    pub body: Map<String, Value>,
    pub key: Option<SecretString>,
}

/// Plans everything that the files hold. `environment` looks up variables.
pub fn plan(
    workspace: &WorkspaceName,
    env: &File,
    configs: &[File],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Plan {
    let files = std::iter::once(env).chain(configs).map(|file| &file.fields).collect();
    let mut scope = Scope { files, environment, used: BTreeSet::new() };
    let mut plan = Plan::default();
    if configs.is_empty() {
        let fields = POLICY.iter().filter(|(_, name)| env.fields.contains_key(*name));
        let fields =
            fields.map(|(field, name)| ((*field).to_owned(), format!("${{{name}}}").into())).collect();
        plan.server(workspace, "policy", &env.label, &fields, &mut scope);
    }
    for config in configs {
        let servers: Vec<_> = config.fields.iter().flat_map(servers_of).collect();
        for (name, fields) in &servers {
            let called =
                if servers.len() == 1 { config.stem.clone() } else { format!("{}-{name}", config.stem) };
            plan.server(workspace, &called, &format!("{}: {name}", config.label), fields, &mut scope);
        }
        plan.left_out.extend(strangers(config, servers.is_empty()));
    }
    let unused = env.fields.keys().filter(|name| !scope.used.contains(*name));
    plan.left_out.extend(unused.map(|name| format!("{}: {name} is used by none of the configs", env.label)));
    plan
}

/// Whether a key itself stands in a config, in the place of a reference to one.
pub fn holds_key(config: &File) -> bool {
    let servers = config.fields.iter().filter_map(servers_of);
    let mut keys = servers.filter_map(|(_, fields)| fields.get(KEY)?.as_str());
    keys.any(|key| !key.is_empty() && !key.contains("${"))
}

/// The model servers below one name, as far as they are providers.
fn servers_of<'f>((name, value): (&'f String, &'f Value)) -> Option<(&'f str, &'f Map<String, Value>)> {
    Some((name, value.get(SERVERS)?.get(KIND)?.as_object()?))
}

/// What of a config is no provider.
fn strangers(config: &File, has_none: bool) -> Vec<String> {
    let mut told = Vec::new();
    for (name, value) in &config.fields {
        let Some(parts) = value.as_object() else { continue };
        for part in parts.keys().filter(|part| *part != SERVERS) {
            told.push(format!("{}: {name}.{part} is no model server", config.label));
        }
        let kinds = parts.get(SERVERS).and_then(Value::as_object).into_iter().flatten();
        for (kind, _) in kinds.filter(|(kind, inner)| *kind != KIND || !inner.is_object()) {
            told.push(format!("{}: {name}.{SERVERS}.{kind} is no {KIND}", config.label));
        }
    }
    if has_none && told.is_empty() {
        told.push(format!("{}: it holds no {SERVERS}.{KIND}", config.label));
    }
    told
}

impl Plan {
    fn server(
        &mut self,
        workspace: &WorkspaceName,
        called: &str,
        at: &str,
        fields: &Map<String, Value>,
        scope: &mut Scope<'_>,
    ) {
        let name = String::from(entity_name_for(workspace, called));
        let (mut body, mut key, mut is_whole) = (Map::new(), None, true);
        for (field, value) in fields {
            let ours = SETTINGS.iter().find(|(gym, _)| gym == field).map(|(_, ours)| *ours);
            if ours.is_none() && field != KEY {
                if !GYMS_OWN.contains(&field.as_str()) {
                    self.left_out.push(format!("{at}: {field} has no place in a provider"));
                }
                continue;
            }
            match (scope.resolve(value), ours) {
                (Ok(Value::Null), _) => {}
                (Ok(value), Some(ours)) => {
                    body.insert(ours.to_owned(), value);
                }
                (Ok(Value::String(text)), None) if !text.is_empty() => key = Some(SecretString::from(text)),
                (Ok(_), None) => self.left_out.push(format!("{at}: {field} is no text, and no key is sent")),
                (Err(fault), _) => {
                    is_whole = false;
                    self.left_out.push(format!("{at}: {field} {fault}"));
                }
            }
        }
        if is_whole && !body.contains_key("host_url") {
            is_whole = false;
            self.left_out.push(format!("{at}: base_url is missing; set policy_base_url"));
        }
        if !is_whole {
            self.left_out.push(format!("{at}: not imported, for want of the above"));
        } else if self.providers.iter().any(|planned| planned.name == name) {
            self.left_out.push(format!("{at}: not imported, because another file made {name}"));
        } else {
            let preset = body["host_url"].as_str().and_then(registry::preset_at);
            preset.map(|preset| body.insert("preset".to_owned(), preset.into()));
            self.providers.push(Planned { name, body, key });
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_shared::secret::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    const ENV: &str = "policy_base_url: https://llm.example/v1\npolicy_api_key: sk-gym-1\n\
                       policy_model_name: nvidia/Nemotron-3-Nano-30B-A3B\nhf_token: hf-2\n";

    fn file(name: &str, yaml: &str) -> File {
        let fields: Value = yaml_serde::from_str(yaml).unwrap();
        File {
            label: format!("{name}.yaml"),
            stem: name.to_owned(),
            fields: fields.as_object().unwrap().clone(),
        }
    }

    fn planned(configs: &[File]) -> Plan {
        let workspace = WorkspaceName::new("default").unwrap();
        plan(&workspace, &file("env", ENV), configs, &|_| None)
    }

    fn server(fields: &str) -> String {
        let fields = fields.replace('\n', "\n      ");
        format!(
            "policy_model:\n  responses_api_models:\n    inference_provider:\n      entrypoint: app.py\n      {fields}\n"
        )
    }

    #[test]
    fn a_config_becomes_a_provider_with_its_key_and_its_preset() {
        let config = server(
            "base_url: https://api.together.xyz/v1\napi_key: ${policy_api_key}\nmodel: ${policy_model_name}\n\
             uses_reasoning_parser: true\nnum_concurrent_requests: 16\nextra_body:\n  service_tier: flex",
        );
        let plan = planned(&[file("together", &config)]);
        let [one] = &plan.providers[..] else { panic!("{plan:?}") };
        assert_eq!(one.name, "together");
        assert_eq!(one.key.as_ref().unwrap().expose_secret(), "sk-gym-1");
        let expected = json!({
            "host_url": "https://api.together.xyz/v1", "preset": "together", "uses_reasoning_parser": true,
            "pinned_model": "nvidia/Nemotron-3-Nano-30B-A3B", "num_concurrent_requests": 16,
            "default_extra_body": {"service_tier": "flex"},
        });
        assert_eq!(Value::Object(one.body.clone()), expected);
        assert!(!format!("{plan:?}").contains("sk-gym-1") && !format!("{plan:?}").contains("hf-2"));
    }

    #[test]
    fn without_a_config_the_policy_of_the_environment_is_the_provider() {
        let plan = planned(&[]);
        assert_eq!(plan.providers[0].name, "policy");
        assert_eq!(plan.providers[0].body["host_url"], "https://llm.example/v1");
        assert!(plan.providers[0].body.get("preset").is_none());
        assert_eq!(plan.left_out, ["env.yaml: hf_token is used by none of the configs"]);
    }

    #[test]
    fn what_has_no_place_here_is_told_by_its_place() {
        let agent = "simple_agent:\n  responses_api_agents:\n    simple_agent: {entrypoint: app.py}\n";
        let vllm = "policy_model:\n  responses_api_models:\n    vllm_model: {base_url: x}\n";
        let odd = server("base_url: ${policy_base_url}\nmodel: ${no_such}\nreplace_developer_role: true");
        let nowhere = server("api_key: 7\nmodel: m");
        let plan = planned(&[
            file("agent", agent),
            file("vllm", vllm),
            file("odd", &odd),
            file("nowhere", &nowhere),
            file("empty", "a: 1\n"),
        ]);
        assert!(plan.providers.is_empty(), "{plan:?}");
        for told in [
            "agent.yaml: simple_agent.responses_api_agents is no model server",
            "vllm.yaml: policy_model.responses_api_models.vllm_model is no inference_provider",
            "odd.yaml: policy_model: model refers to no_such, which no file sets",
            "odd.yaml: policy_model: replace_developer_role has no place in a provider",
            "odd.yaml: policy_model: not imported, for want of the above",
            "nowhere.yaml: policy_model: api_key is no text, and no key is sent",
            "nowhere.yaml: policy_model: base_url is missing; set policy_base_url",
            "empty.yaml: it holds no responses_api_models.inference_provider",
        ] {
            assert!(plan.left_out.iter().any(|line| line == told), "no {told:?} in {:#?}", plan.left_out);
        }
    }

    #[test]
    fn a_key_that_stands_in_a_config_is_noticed() {
        assert!(holds_key(&file("a", &server("api_key: sk-1"))));
        for other in ["api_key: ${policy_api_key}", "api_key: ''", "model: m"] {
            assert!(!holds_key(&file("a", &server(other))), "{other}");
        }
    }

    #[test]
    fn several_servers_of_one_file_have_names_of_their_own() {
        let both = server("base_url: http://a").replace("policy_model", "policy")
            + &server("base_url: http://b").replace("policy_model", "judge");
        let again = file("both", &server("base_url: http://c"));
        let plan = planned(&[file("both", &both), file("One.File", &server("base_url: http://c")), again]);
        let names: Vec<_> = plan.providers.iter().map(|planned| planned.name.as_str()).collect();
        assert_eq!(names, ["both-policy", "both-judge", "one-file", "both"]);
    }
}
