//! Prints how long a commit takes to be published at full size. Times are told, never asserted.

use std::time::Instant;

use serde_json::json;

use crate::harness::{Harness, PROVIDERS};

const PROVIDERS_COUNT: usize = 1_000;
const MODELS_EACH: usize = 10;
const CHANGES: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a while: cargo test -p registry --release -- --ignored --nocapture"]
async fn commit_to_publish_with_a_thousand_providers() {
    let h = Harness::start().await;
    for number in 0..PROVIDERS_COUNT {
        let name = format!("p{number}");
        let body = json!({"name": name, "host_url": "http://127.0.0.1:9", "status": "DELETING"});
        h.post(PROVIDERS, body).await.expect(201);
        let served: Vec<_> = (0..MODELS_EACH)
            .map(|m| json!({"model_entity_id": format!("default/m{number}-{m}"), "served_model_name": format!("org/m{number}:{m}")}))
            .collect();
        h.put(&format!("{PROVIDERS}/{name}/status"), json!({"served_models": served})).await.expect(200);
    }
    let mut micros = Vec::new();
    let mut watch = h.registry.snapshots();
    for number in 0..CHANGES {
        let body = json!({"host_url": "http://127.0.0.1:9", "status": "DELETING"});
        let path = format!("{PROVIDERS}/p{number}");
        let start = Instant::now();
        let generation = h.put(&path, body).await.expect(200).generation().unwrap();
        let answered = start.elapsed();
        watch.wait_for(|p| p.generation >= generation).await.unwrap();
        micros.push((start.elapsed().as_micros(), answered.as_micros()));
    }
    micros.sort_unstable();
    let bytes = watch.borrow().line.len();
    let (middle, worst) = (micros[CHANGES / 2], micros[CHANGES - 1]);
    println!("line: {bytes} bytes; call to published (and answered), us: median {middle:?}, worst {worst:?}");
    assert_eq!(h.snapshot().models.len(), PROVIDERS_COUNT * MODELS_EACH);
}
