//! `nimgate provider`.

mod presets;
mod record;
mod show;
mod wait;

use std::time::Duration;

use serde_json::{Value, json};

use super::api::Api;
use super::error::ClientError;
use super::http::FAR_GATEWAY;
use super::noun::{Body, Cell, Change, Column, Done, Fields, Noun, Way};
use super::output;
use crate::cli::{
    Connection, FarConnection, Named, Output, ProviderCommand, ProviderCreateArgs, ProviderFields,
    ProviderWaitArgs, Update,
};

pub use record::Provider;
pub use show::verdict;
pub use wait::wait;

pub const PROVIDER: Noun = Noun {
    name: "provider",
    service: "models",
    collection: "providers",
    columns: &[
        Column("NAME", Cell::Text("/name")),
        Column("STATUS", Cell::Text("/status")),
        Column("MODELS", Cell::Count("/served_models")),
        Column("URL", Cell::Text("/host_url")),
        Column("MESSAGE", Cell::Text("/status_message")),
    ],
    change: Change::Whole(Way::Put),
    required: &[(&["/host_url", "/preset"], "--preset NAME or --url URL")],
    first: "nimgate provider create NAME --preset NAME --key-env VARIABLE",
    next: |_| "nimgate provider get {name}",
};

/// What a preset decides, where nobody says otherwise.
const OF_PRESETS: [&str; 5] =
    ["host_url", "auth_header_format", "default_extra_headers", "backend_format", "chat_traits"];

impl Fields for ProviderFields {
    /// Its status is found out by asking it.
    fn make_sendable(body: &mut Body) {
        body.remove("status");
        body.remove("status_message");
    }

    fn write(&self, body: &mut Body) {
        if self.preset.as_deref().is_some_and(|name| !name.is_empty()) {
            OF_PRESETS.iter().for_each(|field| body.remove(field));
        }
        body.text("preset", &self.preset);
        body.text("locality", &self.locality);
        body.text("replay", &self.replay);
        body.text("health_path", &self.health_path);
        body.text("metrics_path", &self.metrics_path);
        body.text("host_url", &self.url);
        body.text("api_key_secret_name", &self.secret);
        body.text("auth_header_format", &self.auth_header_format);
        body.list("enabled_models", &self.enabled_models);
        body.put("default_extra_body", &self.default_extra_body);
        body.put("required_extra_body", &self.required_extra_body);
        body.put("default_extra_headers", &self.default_extra_headers);
        body.put("required_extra_headers", &self.required_extra_headers);
        body.text("pinned_model", &self.model);
        body.put("num_concurrent_requests", &self.num_concurrent_requests);
        body.put_or_clear("stream_comment_interval_ms", self.stream_comment_interval_ms);
        body.put("leaving_clients", &self.leaving_clients);
        // Zero takes the limit away.
        let per_minute = self.requests_per_minute.map(|limit| json!((limit > 0).then_some(limit)));
        body.put("requests_per_minute", &per_minute);
        body.put("hold_back", &self.hold_back);
        body.put("uses_reasoning_parser", &self.uses_reasoning_parser);
        body.put("backend_format", &self.backend_format);
        body.put("chat_traits", &self.chat_traits);
        body.put("chat_traits.reasoning_replay", &self.reasoning_replay);
        body.about(&self.about);
    }

    fn changes_elsewhere(&self) -> bool {
        self.key.is_given()
    }
}

pub async fn run(command: ProviderCommand) -> Result<(), ClientError> {
    match command {
        ProviderCommand::Create(args) => create(args).await,
        ProviderCommand::List(args) => PROVIDER.list(args).await,
        ProviderCommand::Presets(args) => presets::list(args).await,
        ProviderCommand::Get(args) => get(args).await,
        ProviderCommand::Update(args) => update(args).await,
        ProviderCommand::Delete(args) => PROVIDER.delete(args).await,
        ProviderCommand::Wait(args) => wait_for(args).await,
    }
}

async fn get(args: Named) -> Result<(), ClientError> {
    let value = PROVIDER.fetch(&Api::new(&args.connection)?, &args.name).await?;
    output::show(args.connection.view.output, &value, || show::one(&value))
}

async fn create(args: ProviderCreateArgs) -> Result<(), ClientError> {
    let create = args.create;
    let connection = Connection::from(create.connection);
    let api = Api::named(&connection, FAR_GATEWAY)?;
    let (name, mut body) = PROVIDER.new_body(create.name, &create.source, &create.fields)?;
    store_key(&api, &name, &create.fields, &mut body).await?;
    let (_, done) = PROVIDER.post(&api, &name, &body, create.exist_ok).await?;
    if done == Done::Found && connection.view.output == Output::Table {
        output::say(&format!("provider {name} {}", done.word()))?;
    }
    tell_decided(&api, &name, args.wait_s, &connection).await
}

async fn update(args: Update<ProviderFields, FarConnection>) -> Result<(), ClientError> {
    let connection = Connection::from(args.connection);
    let api = Api::named(&connection, FAR_GATEWAY)?;
    let mut fields = args.fields;
    if fields.key.is_given() {
        // Its present secret is the one to renew, unless another is named.
        let present =
            PROVIDER.fetch(&api, &args.name).await?["api_key_secret_name"].as_str().map(str::to_owned);
        let mut body = Body::default();
        body.text("api_key_secret_name", &fields.secret.clone().or(present));
        store_key(&api, &args.name, &fields, &mut body).await?;
        fields.secret = body.text_at("/api_key_secret_name");
    }
    let value = PROVIDER.replace(&api, &args.name, &args.source, &fields).await?;
    PROVIDER.tell_done(&api, connection.view.output, &value, &args.name, Done::Updated)
}

async fn wait_for(args: ProviderWaitArgs) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    tell_decided(&api, &args.name, args.timeout_s, &args.connection).await
}

async fn tell_decided(
    api: &Api,
    name: &str,
    wait_s: u64,
    connection: &Connection,
) -> Result<(), ClientError> {
    let decided: Value = wait(api, name, Duration::from_secs(wait_s)).await?;
    let form = connection.view.output;
    output::show(form, &decided, || Ok(()))?;
    show::verdict(&Provider::read(&decided), wait_s, form, &api.at)
}

/// Stores the key from the environment or a file, over an older one, under the name of the secret in the body or
/// of the provider.
async fn store_key(
    api: &Api,
    name: &str,
    fields: &ProviderFields,
    body: &mut Body,
) -> Result<(), ClientError> {
    let Some(key) = fields.key.read()? else { return Ok(()) };
    let secret = body.text_at("/api_key_secret_name").unwrap_or_else(|| name.to_owned());
    api.store_secret(&secret, &key, &format!("key of provider {name}")).await?;
    body.text("api_key_secret_name", &Some(secret));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::testing;
    use super::*;
    use crate::cli::{Cli, ClientCommand, Command, Create, Source};

    fn args(more: &[&str]) -> Create<ProviderFields, FarConnection> {
        let line = ["nimgate", "provider", "create", "p", "--url", "http://h/v1"];
        let cli = Cli::try_parse_from(line.iter().chain(more)).unwrap();
        let Command::Client(ClientCommand::Provider(command)) = cli.command else { panic!("no provider") };
        let ProviderCommand::Create(args) = *command else { panic!("nothing to create") };
        args.create
    }

    fn body_of(more: &[&str]) -> Value {
        let args = args(more);
        PROVIDER.new_body(args.name, &args.source, &args.fields).unwrap().1.json()
    }

    #[tokio::test]
    async fn a_key_from_the_environment_replaces_the_one_that_is_there() {
        let (api, asked) = testing::gateway(|line, _| match line.starts_with("POST") {
            true => testing::json(409, r#"{"detail":"exists"}"#),
            false => testing::json(200, r#"{"name":"p"}"#),
        })
        .await;
        let mut body = Body::default();
        store_key(&api, "p", &args(&["--key-env", "PATH"]).fields, &mut body).await.unwrap();
        assert_eq!(body.json(), json!({"api_key_secret_name": "p"}));
        let asked = asked.lock().unwrap();
        assert_eq!(asked[1].0, "PATCH /apis/secrets/v2/workspaces/default/secrets/p");
        assert!(asked[1].1.contains(&std::env::var("PATH").unwrap()));
    }

    #[test]
    fn only_what_was_given_is_sent() {
        assert_eq!(body_of(&[]), json!({"name": "p", "host_url": "http://h/v1"}));
        let full = body_of(&[
            "--secret",
            "s",
            "--enabled-models",
            "a,b",
            "--enabled-models",
            "c",
            "--default-extra-body",
            r#"{"top_k": 5}"#,
            "--auth-header-format",
            "X-Api-Key: {{ auth_secret }}",
        ]);
        assert_eq!(
            full,
            json!({
                "name": "p", "host_url": "http://h/v1", "api_key_secret_name": "s",
                "auth_header_format": "X-Api-Key: {{ auth_secret }}",
                "enabled_models": ["a", "b", "c"], "default_extra_body": {"top_k": 5},
            })
        );
    }

    #[test]
    fn a_preset_takes_the_place_of_present_settings_and_flags_go_before_it() {
        let flags =
            ["--preset", "gemini", "--model", "m", "--reasoning-replay", "drop", "--uses-reasoning-parser"];
        let fields = args(&flags).fields;
        let mut body = Body::settable(&json!({
            "host_url": "http://old", "auth_header_format": "x-old: {{ auth_secret }}", "replay": "safe",
            "chat_traits": {"takes_files": false}, "pinned_model": "old",
        }));
        fields.write(&mut body);
        let expected = json!({
            "preset": "gemini", "host_url": "http://h/v1", "pinned_model": "m", "replay": "safe",
            "chat_traits": {"reasoning_replay": "drop"}, "uses_reasoning_parser": true,
        });
        assert_eq!(body.json(), expected);
        let cleared = args(&["--preset", "", "--model", "", "--uses-reasoning-parser=false"]).fields;
        cleared.write(&mut body);
        assert_eq!((&body.json()["preset"], &body.json()["pinned_model"]), (&Value::Null, &Value::Null));
        assert_eq!(body.json()["chat_traits"], expected["chat_traits"]);
    }

    #[test]
    fn what_was_shown_can_be_sent_again() {
        let shown = json!({"name": "p", "host_url": "http://h", "status": "ERROR", "status_message": "x"});
        let mut body = Body::of(&shown, &["name", "host_url", "status", "status_message"]);
        ProviderFields::make_sendable(&mut body);
        assert_eq!(body.json(), json!({"name": "p", "host_url": "http://h"}));
    }

    #[tokio::test]
    async fn an_update_keeps_what_it_does_not_name_and_leaves_the_status_alone() {
        let (api, asked) = testing::gateway(|_, _| {
            testing::json(
                200,
                r#"{"name":"p","host_url":"http://h","api_key_secret_name":"s","description":"old",
                    "status":"READY","served_models":[],"project":null,"replay":"safe"}"#,
            )
        })
        .await;
        let fields = ProviderFields {
            secret: Some(String::new()),
            enabled_models: vec!["m".into()],
            ..ProviderFields::default()
        };
        PROVIDER.replace(&api, "p", &Source::default(), &fields).await.unwrap();
        let asked = asked.lock().unwrap();
        assert_eq!(asked[1].0, "PUT /apis/models/v2/workspaces/default/providers/p");
        let sent: Value = serde_json::from_str(&asked[1].1).unwrap();
        let expected = json!({"description": "old", "host_url": "http://h", "api_key_secret_name": null,
                              "enabled_models": ["m"], "replay": "safe"});
        assert_eq!(sent, expected);
    }
}
