//! The daemon killed at any point, again and again: what runs is adopted, what was asked for is finished, nothing is
//! there twice or left over, and what is not ours is not touched.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use integration_tests::eventually;

use crate::at::At;
use crate::deployments_run::{command, killed_and_started_again, serving_on};
use crate::docker::{IMAGE, docker, has_containers};

const DEPLOYMENTS: u64 = 3;
/// Kills come within this time after an order: from before anything happened to long after it was done.
const KILLED_WITHIN_MS: u64 = 500;

/// Some number below `end`.
fn any(end: u64) -> u64 {
    RandomState::new().hash_one(0) % end
}

/// Orders one thing of one deployment. Some of it is refused, as the thing before is on its way.
async fn order(at: &At, prefix: &str) {
    let name = format!("{prefix}{}", any(DEPLOYMENTS));
    let line = match any(5) {
        0 => format!("deployment delete {name}"),
        1 => format!("deployment update {name} --config {prefix}steady"),
        _ => format!("deployment create {name} --config {prefix}steady"),
    };
    at.run(&line).await;
}

async fn rounds(mut at: At, count: u32, runtime: &str, prefix: &str) -> At {
    for _ in 0..count {
        order(&at, prefix).await;
        tokio::time::sleep(Duration::from_millis(any(KILLED_WITHIN_MS))).await;
        at = killed_and_started_again(at, runtime).await;
    }
    at
}

/// The deployments, once all of them are READY and `instances` counts as many instances.
async fn settled(at: &At, mut instances: impl AsyncFnMut() -> usize) -> usize {
    eventually("each that is wanted runs once", async || {
        let list = at.json("deployment list").await;
        let all = list.as_array().unwrap();
        let are_ready = all.iter().all(|deployment| deployment["status"] == "READY");
        (are_ready && instances().await == all.len()).then_some(all.len())
    })
    .await
}

async fn delete_all(at: &At) {
    for name in at.names("deployment list").await {
        at.done(&format!("deployment delete {name} --wait")).await;
    }
}

#[tokio::test]
async fn processes_survive_kills_at_any_point_once_each() {
    let at = serving_on("process").await;
    at.fed("deploy dsteady --wait --file -", &command(&[])).await.expect_done();
    let at = rounds(at, 20, "process", "d").await;
    let folder = at.home.path().join("data/processes/instances");
    let instances = || std::fs::read_dir(&folder).unwrap().count();
    assert!(settled(&at, async || instances()).await > 0);
    delete_all(&at).await;
    assert_eq!(instances(), 0);
}

/// The containers of deployments whose name begins so, by id: their deployment's name.
async fn containers(prefix: &str) -> BTreeMap<String, String> {
    let format = "{{.ID}} {{.Label \"nimgate.deployment\"}}";
    let listed =
        docker(&["ps", "--all", "--no-trunc", "--filter", "label=nimgate.deployment", "--format", format])
            .await;
    let pairs = listed.lines().filter_map(|line| line.split_once(' '));
    pairs.filter(|(_, name)| name.starts_with(prefix)).map(|(id, name)| (id.into(), name.into())).collect()
}

#[tokio::test]
async fn containers_survive_a_hundred_kills_at_any_point_once_each() {
    if !has_containers().await {
        return;
    }
    let prefix = format!("k{:x}-", any(1 << 32));
    let foreign = docker(&["run", "--detach", "--label", "nimgate.deployment=none-of-ours", IMAGE]).await;
    let at = serving_on("docker").await;
    at.done(&format!("deploy {prefix}steady --image {IMAGE} --gpus 0 --wait")).await;
    let (steady, _) = containers(&prefix).await.pop_first().unwrap();

    let at = rounds(at, 100, "docker", &prefix).await;

    settled(&at, async || containers(&prefix).await.len()).await;
    let running = containers(&prefix).await;
    let mut names: Vec<_> = running.values().collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), running.len(), "none is there twice: {running:?}");
    assert_eq!(
        running.get(&steady),
        Some(&format!("{prefix}steady")),
        "what nobody touched is the same container"
    );
    delete_all(&at).await;
    assert_eq!(containers(&prefix).await, BTreeMap::new(), "nothing is left over");
    let state = docker(&["inspect", "--format", "{{.State.Running}}", &foreign]).await;
    docker(&["rm", "--force", &foreign]).await;
    assert_eq!(state, "true", "what is not ours is not touched");
}
