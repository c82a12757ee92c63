//! What the demo does and says: a deployment, one chat through each kind of route, what to try next.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::cli::{Connection, Output, URL_DEFAULT, View, Wish};
use crate::client::ClientError;
use crate::client::api::Api;
use crate::client::chat::{self, Piece};
use crate::client::deployment::config::CONFIG;
use crate::client::deployment::{DEPLOYMENT, steps};
use crate::client::output::{plain, push, say};
use crate::client::provider::{self, Provider};

/// Config, deployment and provider: the last has the name of the one before.
const NAME: &str = "sim";
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Deploys, chats, and prints what can be copied.
pub async fn tell(base: &str, admin: &str, command: &[String], once: bool) -> Result<(), ClientError> {
    say(
        "nimgate demo: a real gateway and registry, and a SIMULATED model server (no GPU, no real model) that is \
         deployed like a real one",
    )?;
    let api = Api::new(&Connection {
        url: base.to_owned(),
        view: View { workspace: "default".into(), output: Output::Table, ca: None },
    })?;
    deploy(&api, command).await?;
    let (model, served) = its_model(&api).await?;
    let question = |model: &str, stream: bool| {
        let words = "Say hello to the person who just started nimgate.";
        json!({"model": model, "messages": [{"role": "user", "content": words}], "stream": stream})
    };
    chat_over(&api, "model route", &api.model_route(&model), &question(&model, false)).await?;
    chat_over(&api, "provider route", &api.route(Some(NAME)), &question(&served, false)).await?;
    chat_over(&api, "OpenAI route, streamed", &api.route(None), &question(&model, true)).await?;
    if once { Ok(()) } else { say(&next_steps(base, admin, &model)) }
}

/// A config, a deployment of it, and each step of that until it is ready.
async fn deploy(api: &Api, command: &[String]) -> Result<(), ClientError> {
    say(&format!("\ndeployment {NAME}: a process of this host"))?;
    let config = json!({
        "name": NAME, "engine": "generic", "model_spec": {},
        "executor_config": {"gpu": 0, "command": command, "health_check_path": "/v1/health/ready"},
    });
    api.send(Method::POST, &CONFIG.all(api), &config).await?;
    api.send(Method::POST, &DEPLOYMENT.all(api), &json!({"name": NAME, "config": NAME})).await?;
    steps(api, NAME, Wish::Ready, WAIT_MAX, Output::Table).await.map(drop)
}

/// The names of the first model of its provider: the public one, and the server's own.
async fn its_model(api: &Api) -> Result<(String, String), ClientError> {
    let made = Provider::read(&provider::wait(api, NAME, WAIT_MAX).await?);
    let Some(model) = made.models().first() else {
        let why = format!("provider {NAME} is {} without models: {}", made.status, plain(made.message()));
        return Err(ClientError::Said(why));
    };
    say(&format!("provider {NAME}: {}, model {}", made.status, model.name()))?;
    Ok((model.name().to_owned(), model.served_model_name.clone()))
}

async fn chat_over(api: &Api, kind: &str, route: &str, body: &Value) -> Result<(), ClientError> {
    let path = format!("{route}/chat/completions");
    push(&format!("\n{kind}\n  POST {path}\n  "))?;
    let mut show = |piece: Piece<'_>| match piece {
        Piece::Content(text) => push(&plain(text).replace('\n', "\n  ")),
        Piece::Thinking(_) => Ok(()),
    };
    chat::ask(api, &path, body, &mut show).await?;
    say("")
}

fn next_steps(base: &str, admin: &str, model: &str) -> String {
    let url = if base == URL_DEFAULT { String::new() } else { format!(" --url {base}") };
    format!(
        r#"
Your turn. OpenAI base URL: {base}/v1   admin (metrics, routes): {admin}

curl {base}/v1/chat/completions -H 'content-type: application/json' \
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'

# Python: pip install openai
from openai import OpenAI
client = OpenAI(base_url="{base}/v1", api_key="not-needed")
answer = client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello"}}])
print(answer.choices[0].message.content)

nimgate chat {model} "Hello"{url}
nimgate deployment get {NAME}{url}
nimgate deployment logs {NAME} -f{url}

Ctrl-C stops it. Everything is in memory or a temporary folder and goes with it."#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_fits_a_screen_and_names_the_address_in_use() {
        let text = next_steps("http://127.0.0.1:4711", "http://127.0.0.1:1", "m");
        assert!(text.lines().count() <= 20);
        assert!(text.lines().any(|line| line == "from openai import OpenAI"), "not indented");
        assert!(text.contains("curl http://127.0.0.1:4711/v1/chat/completions"));
        assert!(text.contains("nimgate chat m \"Hello\" --url http://127.0.0.1:4711"));
    }
}
