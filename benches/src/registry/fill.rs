//! A full store, and the calls that change it.

use bytes::Bytes;
use serde_json::json;

use super::{DEPLOYMENTS, MODELS, PROVIDERS, VERSIONS_EACH};
use crate::control::Client;
use crate::error::BenchError;
use crate::gateways::{Nimgate, Upstream};
use crate::side_by_side::start;
use crate::wire;

const API: &str = "/apis/models/v2/workspaces/default";

pub fn fill(nimgate: &Nimgate, upstream: &Upstream) -> Result<(), BenchError> {
    start::fill(nimgate.registry_address(), nimgate.admin_address(), upstream.address()?, PROVIDERS, MODELS)?;
    let mut client = Client::new(nimgate.registry_address());
    let config = json!({
        "name": "bench",
        "engine": "nim",
        "model_spec": {"model_name": "llama-3.1-8b-instruct", "model_namespace": "meta"},
        "executor_config": {"gpu": 1, "additional_envs": {"NIM_LOG_LEVEL": "INFO"}},
    });
    client.call("POST", &format!("{API}/deployment-configs"), Some(&config), 201)?;
    for number in 0..DEPLOYMENTS {
        let name = format!("d{number:04}");
        let first = json!({"name": name, "config": "bench"});
        client.call("POST", &format!("{API}/deployments"), Some(&first), 201)?;
        for _ in 1..VERSIONS_EACH {
            let next = json!({"config": "bench"});
            client.call("POST", &format!("{API}/deployments/{name}"), Some(&next), 201)?;
        }
    }
    Ok(())
}

pub fn prompt(number: usize) -> Bytes {
    let body = json!({
        "name": format!("prompt-{number}"),
        "messages": [{"role": "system", "content": "You are a helpful assistant."}],
    });
    wire::request("POST", &format!("{API}/prompts"), Some(&body.to_string()))
}

pub fn provider_replaced(number: usize) -> Bytes {
    let name = start::provider(number % PROVIDERS);
    // Nothing listens there, so that what is measured is the call alone.
    let body = json!({"host_url": format!("http://127.0.0.1:9/{name}")});
    wire::request("PUT", &format!("{API}/providers/{name}"), Some(&body.to_string()))
}
