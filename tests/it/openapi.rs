//! The document and the program say the same: what is documented answers.

use std::collections::BTreeSet;

use http::Method;
use integration_tests::{Home, client};
use serde_json::{Value, json};

/// Every parameter of a path gets a name that nothing has.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part.trim_matches(['{', '}']) {
        inner if inner.len() == part.len() => part,
        "workspace" => "default",
        "version" | "v" => "1",
        "trailing_uri" => "v1/embeddings",
        _ => "no-such-thing",
    });
    parts.collect::<Vec<_>>().join("/")
}

fn operations(document: &Value) -> Vec<(String, Method)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = ["get", "head", "post", "put", "patch", "delete"];
    let of_path = |(path, item): (&String, &Value)| {
        let known = methods.into_iter().filter(|method| item.get(method).is_some());
        let path = path.clone();
        known.map(|method| (path.clone(), method.to_uppercase().parse().unwrap())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

#[tokio::test]
async fn every_documented_route_answers_through_the_gateway() {
    let home = Home::new().await;
    let up = home.up(&[]).await;
    let document = up.get("/openapi.json").await.unwrap().json();
    let all = operations(&document);
    assert!(all.len() > 60, "only {} operations", all.len());
    for (path, method) in all {
        let target = filled(&path);
        let body = matches!(method, Method::POST | Method::PUT | Method::PATCH).then(|| json!({}));
        let request = client::request(method.clone(), &target, body.as_ref());
        let reply = client::send(up.address, request).await.unwrap();
        let status = reply.status.as_u16();
        let text = reply.text();
        assert!(status != 405 && status < 500 || status == 503, "{method} {target}: {status} {text}");
        // What no route takes has this text and no more.
        assert!(!text.contains("\"detail\":\"Not Found"), "{method} {target}: {text}");
    }
}

#[tokio::test]
async fn every_route_of_the_platform_that_clients_use_is_documented() {
    let home = Home::new().await;
    let up = home.up(&[]).await;
    let document = up.get("/openapi.json").await.unwrap().json();
    let ours: BTreeSet<String> = operations(&document)
        .into_iter()
        .map(|(path, method)| format!("{method} {}", shape(&path)))
        .collect();
    let wanted = include_str!("platform_routes.txt").lines().filter(|line| !line.starts_with('#'));
    let missing: Vec<_> = wanted.filter(|line| !ours.contains(*line)).collect();
    assert!(missing.is_empty(), "not documented: {missing:#?}");
}

/// Names of parameters differ; their places don't.
fn shape(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}
