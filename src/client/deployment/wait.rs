//! Waiting for a deployment: each step is shown when it comes, and the wait ends as soon as it can.
//!
//! Leaving a wait changes nothing: the deployment goes on.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::DEPLOYMENT;
use super::history::History;
use super::shown::{Progress, Shown};
use crate::cli::{Output, Wish};
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::http::encoded;
use crate::client::output;

/// Short at first, because small models start at once; longer then, because large ones take minutes.
const POLL_INTERVALS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];
/// What is lost is mostly made again at once. It is given up for this wait when it is not.
const LOST_MAX: Duration = Duration::from_secs(5);

/// What a look at a deployment says about the wait.
enum Look {
    Done(Value),
    Failed(Value),
    Waiting(Value),
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub wish: Wish,
    /// So many that are ready, when any will not do.
    pub replicas: Option<u32>,
}

impl From<Wish> for Goal {
    fn from(wish: Wish) -> Self {
        Self { wish, replicas: None }
    }
}

/// Waits until the deployment is what is wished for. That it failed, or went, is a failure.
pub async fn wait(
    api: &Api,
    name: &str,
    goal: impl Into<Goal>,
    limit: Duration,
    form: Output,
) -> Result<(), ClientError> {
    let goal = goal.into();
    let wish = goal.wish;
    let waited = tokio::select! {
        waited = steps(api, name, goal, limit, form) => waited,
        _ = tokio::signal::ctrl_c() => Err(ClientError::Interrupted),
    };
    match waited {
        Ok(value) => done(api, name, wish, &value, form).await,
        Err(ClientError::Interrupted) => {
            let at = &api.at;
            eprintln!(
                "deployment {name} goes on without being waited for\n  wait again: nimgate deployment wait {name}{at}\n  \
                 delete it: nimgate deployment delete {name}{at}"
            );
            Err(ClientError::Interrupted)
        }
        Err(error) => Err(error),
    }
}

/// Shows each step until it is what is wished for, and gives what it is then.
pub async fn steps(
    api: &Api,
    name: &str,
    goal: impl Into<Goal>,
    limit: Duration,
    form: Output,
) -> Result<Value, ClientError> {
    let goal = goal.into();
    let wish = goal.wish;
    let mut shown = Shown::new(format!("waiting for deployment {name}"), form);
    let deadline = Instant::now() + limit;
    let mut history = History::default();
    let [mut pause, pause_max] = POLL_INTERVALS;
    let (mut first, mut lost_since) = (true, None);
    loop {
        let look = look(api, name, goal, first).await?;
        let (Look::Done(value) | Look::Failed(value) | Look::Waiting(value)) = &look;
        let mut news = history.news(value);
        if first && (wish == Wish::Deleted || goal.replicas.is_some()) {
            // How it came to run is no step of its end, or of another number of it.
            news.drain(..news.len().saturating_sub(1));
        }
        first = false;
        shown.step(&news, Progress::of(value))?;
        let is_lost = wish == Wish::Ready && value["status"] == "LOST";
        lost_since = is_lost.then(|| lost_since.unwrap_or_else(Instant::now));
        match look {
            Look::Done(value) => return Ok(value),
            Look::Failed(value) => return Err(failed(api, name, wish, &value)),
            Look::Waiting(value) if lost_since.is_some_and(|since| since.elapsed() > LOST_MAX) => {
                return Err(lost(api, name, &value));
            }
            Look::Waiting(value) if Instant::now() + pause > deadline => {
                return Err(late(api, name, limit, &value));
            }
            Look::Waiting(_) => sleep(pause).await,
        }
        pause = (pause * 2).min(pause_max);
    }
}

async fn look(api: &Api, name: &str, goal: Goal, first: bool) -> Result<Look, ClientError> {
    let Goal { wish, replicas } = goal;
    let value = match DEPLOYMENT.fetch(api, name).await {
        // A deployment that nobody ever saw is a mistyped name, unless it is to be gone anyway.
        Err(e) if e.status() == Some(StatusCode::NOT_FOUND) && (wish == Wish::Deleted || !first) => {
            json!({"name": name, "status": "DELETED", "status_message": ""})
        }
        other => other?,
    };
    let has_all = replicas.is_none_or(|replicas| value["ready_replicas"] == replicas);
    Ok(match (wish, value["status"].as_str().unwrap_or_default()) {
        (Wish::Deleted, "DELETED") => Look::Done(value),
        (_, "DELETED" | "ERROR") => Look::Failed(value),
        (Wish::Ready, "READY") if has_all && routed(api, &value).await => Look::Done(value),
        _ => Look::Waiting(value),
    })
}

/// Whether the gateway serves its provider already.
async fn routed(api: &Api, deployment: &Value) -> bool {
    let Some(provider) = deployment["model_provider_id"].as_str() else { return true };
    let name = provider.rsplit('/').next().unwrap_or_default();
    api.get(&api.path("inference-gateway", &format!("provider/{}/ready", encoded(name)))).await.is_ok()
}

async fn done(api: &Api, name: &str, wish: Wish, value: &Value, form: Output) -> Result<(), ClientError> {
    let next = match (wish, form) {
        (Wish::Ready, Output::Table) => next_step(api, name, value).await,
        _ => String::new(),
    };
    output::show(form, value, || match wish {
        Wish::Deleted => output::say(&format!("deployment {name} is gone")),
        Wish::Ready => output::say(&format!("deployment {name} is ready{next}")),
    })
}

/// A chat with its first model; else its provider, which says why there is none.
async fn next_step(api: &Api, name: &str, value: &Value) -> String {
    let at = &api.at;
    let models = api.get(&format!("{}/models", DEPLOYMENT.one(api, name))).await.unwrap_or_default();
    let model = models.pointer("/models/0/name").and_then(Value::as_str);
    match (model, value["model_provider_id"].as_str()) {
        (Some(model), _) => format!("\nnext: nimgate chat {} \"Hello\"{at}", output::line(model)),
        (None, Some(provider)) => {
            let provider = output::line(provider.rsplit('/').next().unwrap_or_default());
            format!("\nnext: nimgate provider get {provider}{at}")
        }
        (None, None) => String::new(),
    }
}

fn failed(api: &Api, name: &str, wish: Wish, value: &Value) -> ClientError {
    let (reason, at) = (reason(value), &api.at);
    ClientError::Said(match (value["status"].as_str(), wish) {
        (Some("DELETED"), _) => format!("deployment {name} was deleted while it was waited for"),
        (_, Wish::Ready) => format!(
            "deployment {name} failed{reason}\n  what it printed: nimgate deployment logs {name}{at}\n  look at it: \
             nimgate deployment get {name}{at}\n  delete it: nimgate deployment delete {name}{at}"
        ),
        (_, Wish::Deleted) => {
            format!("deployment {name} failed{reason}\n  delete it: nimgate deployment delete {name}{at}")
        }
    })
}

fn lost(api: &Api, name: &str, value: &Value) -> ClientError {
    let (reason, at) = (reason(value), &api.at);
    ClientError::Said(format!(
        "deployment {name} is lost{reason}\n  wait again: nimgate deployment wait {name}{at}\n  look at it: nimgate \
         deployment get {name}{at}"
    ))
}

fn late(api: &Api, name: &str, limit: Duration, value: &Value) -> ClientError {
    let status = output::line(value["status"].as_str().unwrap_or("UNKNOWN"));
    let (reason, at, limit_s) = (reason(value), &api.at, limit.as_secs());
    ClientError::Said(format!(
        "deployment {name} is still {status} after {limit_s} s{reason}; it goes on\n  wait again: nimgate deployment \
         wait {name}{at}"
    ))
}

fn reason(value: &Value) -> String {
    // The rest of it was shown as it came.
    let first = value["status_message"].as_str().unwrap_or_default().lines().next().unwrap_or_default();
    let first = first.strip_suffix(" Its last words:").unwrap_or(first);
    match output::line(first.trim_end_matches('.')) {
        text if text.is_empty() => text,
        text => format!(": {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing;
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn state(status: &str, message: &str) -> String {
        let entry =
            format!(r#"{{"timestamp":"{status}Z","status":"{status}","status_message":"{message}"}}"#);
        let body = format!(
            r#"{{"name":"d","status":"{status}","status_message":"{message}","model_provider_id":"default/p",
                "status_history":[{entry}]}}"#
        );
        testing::json(200, &body)
    }

    #[tokio::test]
    async fn it_ends_when_the_gateway_routes_to_what_is_ready() {
        let (api, asked) = testing::gateway(|line, nth| match (line.ends_with("/ready"), nth) {
            (true, 0..4) => testing::json(404, r#"{"detail":"Model provider not found for default/p"}"#),
            (true, _) => testing::json(200, r#"{"ready":true}"#),
            (false, 0) => state("PENDING", "pulling"),
            _ => state("READY", ""),
        })
        .await;
        wait(&api, "d", Wish::Ready, LONG, Output::Json).await.unwrap();
        let asked = asked.lock().unwrap();
        let last = &asked.last().unwrap().0;
        assert_eq!(last, "GET /apis/inference-gateway/v2/workspaces/default/provider/p/ready");
        assert_eq!(asked.len(), 5);
    }

    #[tokio::test]
    async fn it_fails_at_once_when_the_deployment_failed() {
        let (api, _) = testing::gateway(|_, nth| match nth {
            0 => state("PENDING", ""),
            _ => state("ERROR", "Container exited with code 137."),
        })
        .await;
        let error = wait(&api, "d", Wish::Ready, LONG, Output::Json).await.unwrap_err();
        assert!(error.to_string().contains("exited with code 137\n  what it printed"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }

    #[tokio::test]
    async fn what_is_lost_for_a_moment_is_waited_for() {
        let (api, _) = testing::gateway(|line, nth| match (line.ends_with("/ready"), nth) {
            (true, _) => testing::json(200, r#"{"ready":true}"#),
            (false, 0..2) => state("LOST", "its container is gone"),
            _ => state("READY", ""),
        })
        .await;
        wait(&api, "d", Wish::Ready, LONG, Output::Json).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_gone_is_deleted_and_no_longer_comes() {
        let gone = || testing::json(404, r#"{"detail":"Deployment 'default/d' not found"}"#);
        let (api, _) =
            testing::gateway(move |_, nth| if nth == 0 { state("DELETING", "") } else { gone() }).await;
        wait(&api, "d", Wish::Deleted, LONG, Output::Json).await.unwrap();
        let (api, _) =
            testing::gateway(move |_, nth| if nth == 0 { state("PENDING", "") } else { gone() }).await;
        let error = wait(&api, "d", Wish::Ready, LONG, Output::Json).await.unwrap_err();
        assert!(error.to_string().contains("was deleted"), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_never_was_is_told_with_where_to_look() {
        let (api, _) =
            testing::gateway(|_, _| testing::json(404, r#"{"detail":"Deployment not found"}"#)).await;
        let error = wait(&api, "d", Wish::Ready, LONG, Output::Json).await.unwrap_err();
        assert!(error.to_string().contains("nimgate deployment list"), "{error}");
    }

    #[tokio::test]
    async fn it_ends_with_its_time() {
        let (api, _) = testing::gateway(|_, _| state("PENDING", "pulling image")).await;
        let error = wait(&api, "d", Wish::Ready, Duration::ZERO, Output::Json).await.unwrap_err();
        assert!(error.to_string().contains("still PENDING after 0 s: pulling image"), "{error}");
    }
}
