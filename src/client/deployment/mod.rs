//! `nimgate deployment` and `nimgate deploy`.

pub mod config;
mod history;
mod logs;
mod shown;
mod wait;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::api::Api;
use super::error::ClientError;
use super::noun::{Body, Cell, Change, Column, Done, Fields, List, Noun, Way};
use super::output;
use crate::cli::{
    Connection, Create, DeployArgs, DeploymentCommand, DeploymentFields, Patience, Scale, Update,
    VersionNamed, WaitArgs, Waiting, Wish,
};
use config::CONFIG;
pub use wait::steps;

pub const DEPLOYMENT: Noun = Noun {
    name: "deployment",
    service: "models",
    collection: "deployments",
    columns: &[
        Column("NAME", Cell::Text("/name")),
        Column("VERSION", Cell::Text("/entity_version")),
        Column("STATUS", Cell::Text("/status")),
        Column(
            "CONFIG",
            Cell::Of(|value| {
                let version =
                    value["config_version"].as_u64().map_or(String::new(), |n| format!(", version {n}"));
                format!("{}{version}", value["config"].as_str().unwrap_or_default())
            }),
        ),
        Column("PROVIDER", Cell::Text("/model_provider_id")),
        Column("UPDATED", Cell::Age("/updated_at")),
        Column("MESSAGE", Cell::Text("/status_message")),
    ],
    change: Change::Whole(Way::Post),
    required: &[(&["/config"], "--config NAME")],
    first: "nimgate deploy NAME --image IMAGE --model MODEL --gpus N",
    next: |_| "nimgate deployment wait {name}",
};

impl Fields for DeploymentFields {
    fn write(&self, body: &mut Body) {
        if self.config.is_some() {
            // The version of another config, or the one that ran until now, is not meant.
            body.remove("config_version");
        }
        body.text("config", &self.config);
        body.put("config_version", &self.config_version);
        body.put("replicas", &self.replicas);
        body.text("project", &self.project);
    }

    /// The same config again means its latest version.
    fn changes_elsewhere(&self) -> bool {
        self.config.is_some()
    }
}

pub async fn run(command: DeploymentCommand) -> Result<(), ClientError> {
    match command {
        DeploymentCommand::Create(args) => create(args).await,
        DeploymentCommand::List(args) => {
            let list = List::from(args.listing).also(args.all_versions, "all_versions=true");
            DEPLOYMENT.list(list).await
        }
        DeploymentCommand::Get(args) => DEPLOYMENT.get_version(args).await,
        DeploymentCommand::Update(args) => update(args).await,
        DeploymentCommand::Scale(args) => scale(args).await,
        DeploymentCommand::Delete(args) => delete(args).await,
        DeploymentCommand::Versions(args) => DEPLOYMENT.versions(args).await,
        DeploymentCommand::Logs(args) => logs::run(args).await,
        DeploymentCommand::Wait(args) => wait_for(args).await,
    }
}

async fn create(args: Waiting<Create<DeploymentFields>>) -> Result<(), ClientError> {
    let Waiting { args, patience } = args;
    let api = Api::new(&args.connection)?;
    let (name, body) = DEPLOYMENT.new_body(args.name, &args.source, &args.fields)?;
    let (value, done) = DEPLOYMENT.post(&api, &name, &body, args.exist_ok).await?;
    tell_or_wait(&api, &args.connection, &name, (&value, done), &patience).await
}

async fn update(args: Waiting<Update<DeploymentFields>>) -> Result<(), ClientError> {
    let Waiting { args, patience } = args;
    let api = Api::new(&args.connection)?;
    let value = DEPLOYMENT.replace(&api, &args.name, &args.source, &args.fields).await?;
    tell_or_wait(&api, &args.connection, &args.name, (&value, Done::Updated), &patience).await
}

async fn scale(args: Waiting<Scale>) -> Result<(), ClientError> {
    let Waiting { args: Scale { name, replicas, connection }, patience } = args;
    let (api, form) = (Api::new(&connection)?, connection.view.output);
    let sent = api.send(Method::PATCH, &DEPLOYMENT.one(&api, &name), &json!({"replicas": replicas})).await;
    let value = sent.map_err(|e| DEPLOYMENT.see_list(&api, e))?;
    if patience.wait {
        let limit = Duration::from_secs(patience.limit.timeout_s);
        let goal = wait::Goal { wish: Wish::Ready, replicas: Some(replicas) };
        return wait::wait(&api, &name, goal, limit, form).await;
    }
    output::show(form, &value, || {
        output::say(&format!("deployment {name} gets {replicas} replica(s)"))?;
        output::say(&format!("next: nimgate deployment wait {name}{}", api.at))
    })
}

async fn tell_or_wait(
    api: &Api,
    connection: &Connection,
    name: &str,
    (value, done): (&Value, Done),
    patience: &Patience,
) -> Result<(), ClientError> {
    if patience.wait {
        let limit = Duration::from_secs(patience.limit.timeout_s);
        return wait::wait(api, name, Wish::Ready, limit, connection.view.output).await;
    }
    DEPLOYMENT.tell_done(api, connection.view.output, value, name, done)
}

async fn delete(args: Waiting<VersionNamed>) -> Result<(), ClientError> {
    let Waiting { args, patience } = args;
    let (api, form) = (Api::new(&args.connection)?, args.connection.view.output);
    DEPLOYMENT.delete_version(&api, &args).await?;
    if patience.wait {
        let limit = Duration::from_secs(patience.limit.timeout_s);
        return wait::wait(&api, &args.name, Wish::Deleted, limit, form).await;
    }
    let (name, at) = (&args.name, &api.at);
    output::show(form, &json!({"deleting": name}), || {
        output::say(&format!("deployment {name} is being deleted"))?;
        output::say(&format!("next: nimgate deployment wait {name} --status deleted{at}"))
    })
}

async fn wait_for(args: WaitArgs) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let limit = Duration::from_secs(args.limit.timeout_s);
    wait::wait(&api, &args.name, args.status, limit, args.connection.view.output).await
}

/// `nimgate deploy`: a config and a deployment of one name.
pub async fn deploy(args: DeployArgs) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let name = &args.name;
    let (_, body) = CONFIG.new_body(Some(name.clone()), &args.source, &args.fields)?;
    CONFIG.post(&api, name, &body, false).await?;
    let mut of_config = Body::default();
    of_config.put("name", &Some(name));
    of_config.put("config", &Some(name));
    match DEPLOYMENT.post(&api, name, &of_config, false).await {
        Ok((value, done)) => tell_or_wait(&api, &args.connection, name, (&value, done), &args.patience).await,
        Err(e) => {
            // What this command made goes with it; that the deployment was refused is what matters.
            let _ = api.delete(&CONFIG.one(&api, name)).await;
            Err(e)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::testing;
    use super::*;
    use crate::cli::{Cli, ClientCommand, Command};

    fn deploy_args(url: &str) -> DeployArgs {
        let line =
            ["nimgate", "deploy", "d", "--image", "sim:1", "--model", "m", "--gpus", "0", "--url", url];
        let Command::Client(ClientCommand::Deploy(args)) = Cli::try_parse_from(line).unwrap().command else {
            panic!("nothing to deploy")
        };
        *args
    }

    #[tokio::test]
    async fn one_command_makes_the_config_and_the_deployment() {
        let (api, asked) = testing::gateway(|_, _| testing::json(201, r#"{"name":"d"}"#)).await;
        deploy(deploy_args(api.http.base())).await.unwrap();
        let asked = asked.lock().unwrap();
        let lines: Vec<&str> = asked.iter().map(|(line, _)| line.as_str()).collect();
        assert_eq!(
            lines,
            [
                "POST /apis/models/v2/workspaces/default/deployment-configs",
                "POST /apis/models/v2/workspaces/default/deployments"
            ]
        );
        assert_eq!(asked[1].1, r#"{"name":"d","config":"d"}"#);
    }

    #[test]
    fn the_same_config_again_means_its_latest_version() {
        let now = json!({"name": "d", "config": "c", "config_version": 2, "status": "READY", "project": "x"});
        let update = |fields: DeploymentFields| {
            let mut body = Body::settable(&now);
            fields.write(&mut body);
            body.json()
        };
        let config = Some("c".to_owned());
        let latest = update(DeploymentFields { config: config.clone(), ..DeploymentFields::default() });
        assert_eq!(latest, json!({"config": "c", "project": "x"}));
        let third = update(DeploymentFields { config_version: Some(3), ..DeploymentFields::default() });
        assert_eq!(third, json!({"config": "c", "project": "x", "config_version": 3}));
    }

    #[tokio::test]
    async fn a_refused_deployment_leaves_no_config_behind() {
        let (api, asked) = testing::gateway(|line, _| match line.contains("configs") {
            true => testing::json(201, r#"{"name":"d"}"#),
            false => testing::json(409, r#"{"detail":"deployment exists"}"#),
        })
        .await;
        let error = deploy(deploy_args(api.http.base())).await.unwrap_err().to_string();
        assert!(error.contains("deployment exists"), "{error}");
        let asked = asked.lock().unwrap();
        assert_eq!(asked[2].0, "DELETE /apis/models/v2/workspaces/default/deployment-configs/d");
    }
}
