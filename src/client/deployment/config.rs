//! `nimgate deployment-config`.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;

use crate::cli::{ConfigFields, DeploymentConfigCommand, Output, VersionNamed};
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::noun::{Body, Cell, Change, Column, Fields, Noun, Way, show_one, text};

/// The older form of a config: one object for what are two today.
const OLDER: &str = "nim_deployment";

pub const CONFIG: Noun = Noun {
    name: "deployment-config",
    service: "models",
    collection: "deployment-configs",
    columns: &[
        Column("NAME", Cell::Text("/name")),
        Column("VERSION", Cell::Text("/entity_version")),
        Column("ENGINE", Cell::Text("/engine")),
        Column(
            "MODEL",
            Cell::Of(|value| with_prefix(value, "/model_spec", "model_namespace", "/", "model_name")),
        ),
        Column(
            "IMAGE",
            Cell::Of(|value| {
                let name = with_prefix(value, "/executor_config", "image_name", ":", "image_tag");
                name.trim_end_matches(':').to_owned()
            }),
        ),
        Column("GPUS", Cell::Of(|value| text(part(value, "/executor_config", "gpu")))),
        Column("UPDATED", Cell::Age("/updated_at")),
    ],
    change: Change::Whole(Way::Post),
    required: &[(&["/executor_config/gpu", "/nim_deployment/gpu"], "--gpus N")],
    first: "nimgate deployment-config create NAME --model MODEL --gpus N",
    next: |_| "nimgate deployment create {name} --config {name} --wait",
};

/// A field of today's form, or of the older one.
fn part<'a>(value: &'a Value, within: &str, field: &str) -> &'a Value {
    let today = value.pointer(within).and_then(|inner| inner.get(field));
    today.or_else(|| value[OLDER].get(field)).unwrap_or(&Value::Null)
}

fn with_prefix(value: &Value, within: &str, first: &str, sign: &str, second: &str) -> String {
    let (first, second) = (text(part(value, within, first)), text(part(value, within, second)));
    if first.is_empty() { second } else { format!("{first}{sign}{second}") }
}

impl Fields for ConfigFields {
    /// An answer has both forms of the same; one is to be sent, and today's is the fuller one.
    fn make_sendable(body: &mut Body) {
        if body.has("/engine") {
            body.remove(OLDER);
        }
    }

    fn write(&self, body: &mut Body) {
        let older = body.has(&format!("/{OLDER}"));
        let (spec, executor) = if older { (OLDER, OLDER) } else { ("model_spec", "executor_config") };
        let in_spec = |field: &str| format!("{spec}.{field}");
        let in_executor = |field: &str| format!("{executor}.{field}");
        if let Some(image) = &self.image {
            body.put(&in_executor("image_name"), &Some(&image.name));
            body.put(&in_executor("image_tag"), &Some(&image.tag));
        }
        if let Some(model) = &self.model {
            body.put(&in_spec("model_namespace"), &Some(&model.namespace));
            body.put(&in_spec("model_name"), &Some(&model.name));
        }
        body.put(&in_executor("gpu"), &self.gpus);
        body.put(&in_executor("replicas"), &self.replicas);
        let envs: BTreeMap<_, _> = self.envs.iter().map(|env| (&env.name, &env.value)).collect();
        body.put(&in_executor("additional_envs"), &(!envs.is_empty()).then_some(envs));
        body.list(&in_executor("additional_args"), &self.args);
        body.text(&in_executor("image_pull_login.password_secret"), &self.pull_secret);
        body.text(&in_executor("image_pull_login.username"), &self.pull_username);
        body.text(&in_executor("disk_size"), &self.disk_size);
        body.text(&in_executor("health_check_path"), &self.health_path);
        body.text(&in_spec("model_type"), &self.model_type);
        body.text(&in_spec("model_revision"), &self.model_revision);
        body.put(&in_spec("lora_enabled"), &self.lora);
        body.text(&in_spec("tool_call_config.tool_call_parser"), &self.tool_call_parser);
        body.put(&in_spec("tool_call_config.auto_tool_choice"), &self.auto_tool_choice);
        body.text("engine", &self.engine);
        body.text("model_entity_id", &self.model_entity_id);
        body.text("description", &self.description);
    }

    fn write_defaults(&self, body: &mut Body) {
        if body.has(&format!("/{OLDER}")) {
            return;
        }
        if !body.has("/engine") {
            body.put("engine", &Some("nim"));
        }
        if !body.has("/model_spec") {
            body.put("model_spec", &Some(Value::Object(serde_json::Map::new())));
        }
    }
}

pub async fn run(command: DeploymentConfigCommand) -> Result<(), ClientError> {
    match command {
        DeploymentConfigCommand::Create(args) => CONFIG.create(*args).await,
        DeploymentConfigCommand::List(args) => CONFIG.list(args).await,
        DeploymentConfigCommand::Get(args) => get(args).await,
        DeploymentConfigCommand::Update(args) => CONFIG.update(*args).await,
        DeploymentConfigCommand::Delete(args) => {
            let api = Api::new(&args.connection)?;
            let deleted = CONFIG.delete_version(&api, &args).await.map_err(|e| {
                e.or_try(StatusCode::CONFLICT, || {
                    format!(
                        "see what runs it: nimgate deployment list --filter config={}{}",
                        args.name, api.at
                    )
                })
            });
            deleted?;
            CONFIG.tell_deleted(&args.connection, &args.name)
        }
        DeploymentConfigCommand::Versions(args) => CONFIG.versions(args).await,
    }
}

/// Data is shown as it came; people see one of its two forms.
async fn get(args: VersionNamed) -> Result<(), ClientError> {
    let mut value = CONFIG.fetch_version(&args).await?;
    let form = args.connection.view.output;
    if form == Output::Table
        && !value["engine"].is_null()
        && let Some(fields) = value.as_object_mut()
    {
        fields.remove(OLDER);
    }
    show_one(form, &value)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::cli::{Cli, ClientCommand, Command};

    fn body_of(flags: &str, mut body: Body) -> Value {
        let line = format!("nimgate dc create c {flags}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Client(ClientCommand::DeploymentConfig(command)) = cli.command else { panic!("{line}") };
        let DeploymentConfigCommand::Create(args) = *command else { panic!("{line}") };
        ConfigFields::make_sendable(&mut body);
        args.fields.write(&mut body);
        args.fields.write_defaults(&mut body);
        body.json()
    }

    #[test]
    fn flags_become_model_spec_and_executor_config() {
        let flags = "--image nvcr.io/nim/meta/llama:1.8.5 --model meta/llama --gpus 2 --env A=1 --env B=x=y \
                     --arg=--max-model-len=8 --lora --tool-call-parser llama3_json --pull-secret key --pull-username me";
        assert_eq!(
            body_of(flags, Body::default()),
            json!({
                "executor_config": {
                    "image_name": "nvcr.io/nim/meta/llama", "image_tag": "1.8.5", "gpu": 2,
                    "additional_envs": {"A": "1", "B": "x=y"}, "additional_args": ["--max-model-len=8"],
                    "image_pull_login": {"password_secret": "key", "username": "me"},
                },
                "model_spec": {
                    "model_namespace": "meta", "model_name": "llama", "lora_enabled": true,
                    "tool_call_config": {"tool_call_parser": "llama3_json"},
                },
                "engine": "nim",
            })
        );
    }

    #[test]
    fn a_file_in_the_older_form_stays_in_its_form() {
        let older =
            Body::of(&json!({"nim_deployment": {"image_name": "sim", "gpu": 1}}), &["nim_deployment"]);
        assert_eq!(
            body_of("--gpus 2 --model m", older),
            json!({"nim_deployment": {"image_name": "sim", "gpu": 2, "model_namespace": null, "model_name": "m"}})
        );
    }

    #[test]
    fn of_both_forms_in_an_answer_one_is_sent() {
        let shown = json!({"engine": "nim", "model_spec": {"model_name": "m"}, "executor_config": {"gpu": 1},
                           "nim_deployment": {"model_name": "m", "gpu": 1}});
        let sent = body_of("--gpus 2", Body::settable(&shown));
        let expected =
            json!({"engine": "nim", "model_spec": {"model_name": "m"}, "executor_config": {"gpu": 2}});
        assert_eq!(sent, expected);
    }

    #[test]
    fn both_forms_are_shown_alike() {
        let today = json!({"model_spec": {"model_namespace": "meta", "model_name": "llama"},
                           "executor_config": {"image_name": "nim", "image_tag": "1", "gpu": 1}});
        let older = json!({"nim_deployment": {"model_namespace": "meta", "model_name": "llama",
                           "image_name": "nim", "image_tag": "1", "gpu": 1}});
        for value in [today, older] {
            let cells: Vec<String> = CONFIG.columns[3..6].iter().map(|column| column.cell(&value)).collect();
            assert_eq!(cells, ["meta/llama", "nim:1", "1"]);
        }
    }
}
