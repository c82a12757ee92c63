//! What the demo does and says: one provider, one chat through each kind of route, what to try next.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::cli::{Connection, Output, URL_DEFAULT, View};
use crate::client::ClientError;
use crate::client::api::Api;
use crate::client::chat::{self, Piece};
use crate::client::output::{plain, push, say};
use crate::client::provider::{self, PROVIDER as PROVIDERS, Provider};

const PROVIDER: &str = "sim";
const WAIT_MAX: Duration = Duration::from_secs(15);

/// Creates the provider, chats, and prints what can be copied.
pub async fn tell(base: &str, admin: &str, upstream: &str, once: bool) -> Result<(), ClientError> {
    say(
        "nimgate demo: a real gateway and registry in front of a SIMULATED model server (no GPU, no real model)",
    )?;
    let api = Api::new(&Connection {
        url: base.to_owned(),
        view: View { workspace: "default".into(), output: Output::Table, ca: None },
    })?;
    let (model, served) = make_provider(&api, upstream).await?;
    let question = |model: &str, stream: bool| {
        let words = "Say hello to the person who just started nimgate.";
        json!({"model": model, "messages": [{"role": "user", "content": words}], "stream": stream})
    };
    chat_over(&api, "model route", &api.model_route(&model), &question(&model, false)).await?;
    chat_over(&api, "provider route", &api.route(Some(PROVIDER)), &question(&served, false)).await?;
    chat_over(&api, "OpenAI route, streamed", &api.route(None), &question(&model, true)).await?;
    if once { Ok(()) } else { say(&next_steps(base, admin, &model)) }
}

/// The names of its first model: the public one, and the server's own.
async fn make_provider(api: &Api, upstream: &str) -> Result<(String, String), ClientError> {
    let body = json!({"name": PROVIDER, "host_url": upstream});
    api.send(Method::POST, &PROVIDERS.all(api), &body).await?;
    let made = Provider::read(&provider::wait(api, PROVIDER, WAIT_MAX).await?);
    let Some(model) = made.models().first() else {
        let why = format!("provider {PROVIDER} is {} without models: {}", made.status, plain(made.message()));
        return Err(ClientError::Said(why));
    };
    say(&format!("\nprovider {PROVIDER} at {upstream}: {}, model {}", made.status, model.name()))?;
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

Ctrl-C stops it. Everything is in memory or a temporary folder and goes with it."#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_fits_a_screen_and_names_the_address_in_use() {
        let text = next_steps("http://127.0.0.1:4711", "http://127.0.0.1:1", "m");
        assert!(text.lines().count() <= 18);
        assert!(text.lines().any(|line| line == "from openai import OpenAI"), "not indented");
        assert!(text.contains("curl http://127.0.0.1:4711/v1/chat/completions"));
        assert!(text.contains("nimgate chat m \"Hello\" --url http://127.0.0.1:4711"));
    }
}
