//! Deployments on a runtime that runs nothing but simulated model servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use proto_shared::KeyRing;
use proto_shared::egress::EgressPolicy;
use proto_shared::names::EntityName;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Runtimes, logs};
use crate::Registry;
use crate::config::{DeploymentConfig, DiscoveryConfig, FilesConfig, RegistryConfig};
use crate::domain::access::SecretAccess;
use crate::domain::deployment_config::ConfigBody;
use crate::domain::deployment_spec::DeploymentSpec;
use crate::domain::document::Draft;
use crate::domain::{Deployment, DeploymentStatus as S, Provider};
use crate::error::Error;
use crate::runtime::fake::{Call, FakeRuntime, Script};
use crate::runtime::{Fault, FaultKind, Gpu, Instance, LogQuery, PullProgress, Runtime};
use crate::store::deployments::{self, Order};
use crate::store::instances::RuntimeKind;
use crate::store::{deployment_configs, providers};
use crate::test_values::workspace_name;

const DEADLINE: Duration = Duration::from_secs(30);

/// A registry, its loops, and the fake that stands for Docker.
struct Stage {
    registry: Registry,
    fake: Arc<FakeRuntime>,
    dir: Arc<TempDir>,
    key: Arc<KeyRing>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Stage {
    async fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::on(dir, Arc::new(KeyRing::generate().unwrap()), Arc::new(FakeRuntime::new())).await
    }

    async fn on(dir: Arc<TempDir>, key: Arc<KeyRing>, fake: Arc<FakeRuntime>) -> Self {
        Self::with_drain(dir, key, fake, Duration::from_millis(100)).await
    }

    async fn with_drain(
        dir: Arc<TempDir>,
        key: Arc<KeyRing>,
        fake: Arc<FakeRuntime>,
        drain_timeout: Duration,
    ) -> Self {
        let config = RegistryConfig {
            data_dir: dir.path().join("data"),
            master_key: Arc::clone(&key),
            egress: EgressPolicy::local(),
            secret_access: SecretAccess::Loopback,
            ngc_api_key: None,
            discovery: DiscoveryConfig::default(),
            deployments: DeploymentConfig {
                deleted_kept: Duration::from_millis(100),
                drain_timeout,
                ..DeploymentConfig::default()
            },
            files: FilesConfig::default(),
        };
        let runtime: Arc<dyn Runtime> = Arc::clone(&fake) as _;
        let runtimes = Runtimes::new([(RuntimeKind::Docker, runtime, true)]);
        let registry = Registry::open_on(config, |_, _| Ok(runtimes)).await.unwrap();
        let (stop, stopping) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(registry.run_discovery(stopping.clone())),
            tokio::spawn(registry.run_reconcile(stopping)),
        ];
        Self { registry, fake, dir, key, stop, tasks }
    }

    async fn restart(self) -> Self {
        self.stop.send(true).unwrap();
        for task in self.tasks {
            task.await.unwrap();
        }
        let Self { dir, key, fake, registry, .. } = { Self { tasks: Vec::new(), ..self } };
        drop(registry);
        Self::on(dir, key, fake).await
    }

    /// A config that asks for so many GPUs, and a deployment of it.
    async fn deploy(&self, name: &str, gpus: u32) {
        let config = self.config(name, gpus).await;
        let (order, name) = (order(&config), EntityName::new(name).unwrap());
        let store = &self.registry.inner.store;
        let workspace = workspace_name("default");
        store.write(move |write| deployments::insert(write, &workspace, &name, &order)).await.unwrap();
    }

    async fn config(&self, name: &str, gpus: u32) -> String {
        let body: ConfigBody = serde_json::from_value(json!({
            "nim_deployment": { "gpu": gpus, "image_name": "sim", "image_tag": "1", "startup_timeout_s": 60 }
        }))
        .unwrap();
        let spec = DeploymentSpec::new(body.spelling.engine_config()).unwrap();
        let draft = Draft { name: EntityName::new(name).unwrap(), project: None, description: None, body };
        let (store, workspace) = (&self.registry.inner.store, workspace_name("default"));
        store.write(move |write| deployment_configs::insert(write, &workspace, draft, &spec)).await.unwrap();
        name.to_owned()
    }

    async fn update(&self, name: &str) {
        let (order, name) = (order(name), EntityName::new(name).unwrap());
        let (store, workspace) = (&self.registry.inner.store, workspace_name("default"));
        store.write(move |write| deployments::insert_version(write, &workspace, &name, order)).await.unwrap();
    }

    async fn delete(&self, name: &'static str) {
        let store = &self.registry.inner.store;
        store.write(move |write| deployments::delete(write, "default", name, None)).await.unwrap();
    }

    async fn find(&self, name: &str, version: Option<i64>) -> Option<Deployment> {
        let name = name.to_owned();
        let store = &self.registry.inner.store;
        store.read(move |read| deployments::get(read, "default", &name, version)).await.ok()
    }

    /// Whether nothing is left of version 1 but its history.
    async fn is_replaced(&self, name: &str) -> bool {
        let first = self.find(name, Some(1)).await;
        first.is_some_and(|first| first.lifecycle.status() == S::Deleted)
    }

    async fn provider(&self, name: &str) -> Option<Provider> {
        let name = name.to_owned();
        self.registry.inner.store.read(move |read| providers::find(read, "default", &name)).await.unwrap()
    }

    /// The latest version, as soon as `holds`.
    async fn when(&self, name: &str, holds: impl Fn(&Deployment) -> bool) -> Deployment {
        let until = Instant::now() + DEADLINE;
        loop {
            let found = self.find(name, None).await;
            if let Some(deployment) = found.clone().filter(|found| holds(found)) {
                return deployment;
            }
            assert!(Instant::now() < until, "{found:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn becomes(&self, name: &str, status: S) -> Deployment {
        self.when(name, |deployment| deployment.lifecycle.status() == status).await
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let until = Instant::now() + DEADLINE;
        while !holds().await {
            assert!(Instant::now() < until, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn running(&self) -> Vec<Instance> {
        self.fake.list().await.unwrap()
    }

    fn starts(&self) -> usize {
        self.fake.calls().iter().filter(|call| matches!(call, Call::Start(_))).count()
    }
}

fn order(config: &str) -> Order {
    Order { project: None, config: config.into(), config_version: None, replicas: None }
}

fn gpu(index: u32) -> Gpu {
    Gpu {
        index,
        uuid: format!("GPU-{index}"),
        name: "sim".into(),
        memory_total_mib: 80_000,
        memory_used_mib: 0,
    }
}

fn statuses(deployment: &Deployment) -> Vec<S> {
    let mut statuses: Vec<_> = deployment.lifecycle.history().iter().map(|entry| entry.status).collect();
    statuses.dedup();
    statuses
}

#[tokio::test]
async fn a_deployment_gets_ready_is_routed_and_goes_without_a_trace() {
    let stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    let ready = stage.becomes("llama", S::Ready).await;
    assert_eq!(statuses(&ready), [S::Created, S::Pending, S::Ready]);
    let provider = stage.provider("llama").await.unwrap();
    assert_eq!(provider.spec.description.as_deref(), Some("Auto-created provider for deployment llama"));
    assert_eq!(provider.spec.model_deployment_id.as_deref(), Some("default/llama"));
    assert_eq!(ready.model_provider_id.as_deref(), Some("default/llama"));
    assert!(!provider.served.is_empty(), "its models are known as soon as it is ready");

    stage.delete("llama").await;
    stage.until("nothing is left", async || stage.find("llama", None).await.is_none()).await;
    assert_eq!(stage.running().await, []);
    assert!(stage.provider("llama").await.is_none());
}

#[tokio::test]
async fn a_name_that_is_taken_gets_a_part_that_tells_it_apart() {
    let stage = Stage::new().await;
    let spec = crate::test_values::provider_spec("http://127.0.0.1:9");
    let name = proto_shared::ProviderName::new("llama").unwrap();
    let store = &stage.registry.inner.store;
    let workspace = workspace_name("default");
    store
        .write(move |write| providers::insert(write, &workspace, &name, &spec, &Default::default()))
        .await
        .unwrap();
    stage.deploy("llama", 0).await;
    let ready = stage.becomes("llama", S::Ready).await;
    let id = ready.model_provider_id.unwrap();
    assert!(id.starts_with("default/llama_") && id.len() == "default/llama_01234567".len(), "{id}");
}

#[tokio::test]
async fn a_container_that_ends_before_it_is_ready_fails_at_once_whatever_its_code() {
    let stage = Stage::new().await;
    stage.fake.script(Script { exit_code: Some(0), ..Script::default() });
    stage.deploy("llama", 0).await;
    let failed = stage.becomes("llama", S::Error).await;
    assert!(
        failed.lifecycle.message().starts_with("It exited with code 0 before it was ready."),
        "{failed:?}"
    );
    assert_eq!(stage.starts(), 1);
    assert!(stage.provider("llama").await.is_none());
}

#[tokio::test]
async fn a_pull_that_is_refused_says_why_and_is_not_tried_again() {
    let stage = Stage::new().await;
    let refusal = Fault::new(FaultKind::ImageAuth, "the registry wants a key");
    stage.fake.script(Script { refuses_pull: Some(refusal), ..Script::default() });
    stage.deploy("llama", 0).await;
    let failed = stage.becomes("llama", S::Error).await;
    assert_eq!(failed.lifecycle.message(), "the registry wants a key");
}

#[tokio::test]
async fn what_was_removed_behind_our_back_is_lost_and_comes_back() {
    let stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    stage.becomes("llama", S::Ready).await;
    let first = stage.running().await.remove(0);
    stage.fake.lose(&first.id);
    let is_back = |it: &Deployment| it.lifecycle.status() == S::Ready && statuses(it).contains(&S::Lost);
    let ready = stage.when("llama", is_back).await;
    assert_eq!(statuses(&ready), [S::Created, S::Pending, S::Ready, S::Lost, S::Pending, S::Ready]);
    let second = stage.running().await.remove(0);
    assert_eq!(second.id.incarnation, first.id.incarnation + 1);
}

#[tokio::test]
async fn a_restart_adopts_what_runs() {
    let mut stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    let before = stage.becomes("llama", S::Ready).await;
    for _ in 0..3 {
        stage = stage.restart().await;
        stage.deploy_another().await;
    }
    assert_eq!(stage.find("llama", None).await.unwrap().lifecycle, before.lifecycle);
    assert_eq!(stage.running().await.iter().filter(|it| it.id.deployment.deployment() == "llama").count(), 1);
    assert_eq!(stage.fake.calls().iter().filter(|call| matches!(call, Call::Stop(_))).count(), 0);
}

impl Stage {
    /// One that gets ready: by then the loop has looked at all others.
    async fn deploy_another(&self) {
        let name = format!("other-{}", self.starts());
        self.deploy(&name, 0).await;
        self.becomes(&name, S::Ready).await;
    }
}

#[tokio::test]
async fn a_runtime_that_is_away_is_unknown_and_loses_nothing() {
    let stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    stage.becomes("llama", S::Ready).await;
    stage.fake.set_unavailable(true);
    stage.becomes("llama", S::Unknown).await;
    let provider = stage.provider("llama").await.unwrap();
    assert!(!provider.withheld, "what runs goes on serving");
    stage.fake.set_unavailable(false);
    stage.becomes("llama", S::Ready).await;
    assert_eq!(stage.starts(), 1);
}

#[tokio::test]
async fn a_new_version_takes_the_routes_when_it_is_ready_and_the_old_one_goes() {
    let stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    stage.becomes("llama", S::Ready).await;
    let first = stage.provider("llama").await.unwrap();
    stage.update("llama").await;
    let second = stage.when("llama", |it| it.version == 2 && it.lifecycle.status() == S::Ready).await;
    assert_eq!(second.model_provider_id.as_deref(), Some("default/llama"));
    let provider = stage.provider("llama").await.unwrap();
    assert_eq!(provider.seq, first.seq, "one provider, and it is the same");
    assert_ne!(provider.spec.host_url, first.spec.host_url);
    stage.until("version 1 is gone", async || stage.is_replaced("llama").await).await;
    assert_eq!(stage.running().await.len(), 1);
    stage.delete("llama").await;
    stage.until("its history goes with it", async || stage.find("llama", Some(1)).await.is_none()).await;
}

#[tokio::test]
async fn a_version_that_does_not_get_ready_leaves_the_old_one_serving() {
    let stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    stage.becomes("llama", S::Ready).await;
    let before = stage.provider("llama").await.unwrap();
    stage.fake.script(Script { exit_code: Some(3), ..Script::default() });
    stage.update("llama").await;
    stage.when("llama", |it| it.version == 2 && it.lifecycle.status() == S::Error).await;
    let provider = stage.provider("llama").await.unwrap();
    assert_eq!((provider.spec.host_url, provider.withheld), (before.spec.host_url, false));
    assert_eq!(stage.find("llama", Some(1)).await.unwrap().lifecycle.status(), S::Ready);
}

#[tokio::test]
async fn a_gpu_is_given_to_one_and_the_next_waits_until_it_is_free() {
    let stage = Stage::new().await;
    stage.fake.set_gpus(vec![gpu(0)]);
    stage.deploy("one", 1).await;
    stage.becomes("one", S::Ready).await;
    assert_eq!(stage.running().await[0].gpus, ["GPU-0"]);
    stage.deploy("two", 1).await;
    let waiting = stage.when("two", |it| it.lifecycle.message().starts_with("Waiting for 1 free GPU")).await;
    assert_eq!(waiting.lifecycle.status(), S::Pending);
    stage.delete("one").await;
    stage.becomes("two", S::Ready).await;
}

#[tokio::test]
async fn without_a_spare_gpu_an_update_stops_the_old_version_first_and_says_so() {
    let stage = Stage::new().await;
    stage.fake.set_gpus(vec![gpu(0)]);
    stage.deploy("llama", 1).await;
    stage.becomes("llama", S::Ready).await;
    stage.update("llama").await;
    let second = stage.when("llama", |it| it.version == 2 && it.lifecycle.status() == S::Ready).await;
    let told =
        second.lifecycle.history().iter().any(|entry| entry.message.contains("the older version stops"));
    assert!(told, "{second:#?}");
}

#[tokio::test]
async fn a_gpu_where_there_is_none_is_refused_with_a_word_on_what_to_do() {
    let stage = Stage::new().await;
    stage.deploy("llama", 1).await;
    let failed = stage.becomes("llama", S::Error).await;
    assert!(failed.lifecycle.message().contains("this host has 0"), "{failed:?}");
}

#[tokio::test]
async fn what_runs_and_is_not_recorded_is_left_alone_and_reported() {
    let stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    stage.becomes("llama", S::Ready).await;
    let fake = Arc::clone(&stage.fake);
    let empty = Arc::new(tempfile::tempdir().unwrap());
    let other = Stage::on(empty, Arc::new(KeyRing::generate().unwrap()), fake).await;
    other.until("it is reported", async || !other.registry.inner.runtimes.summary().strays.is_empty()).await;
    other.deploy("llama", 0).await;
    let ready = other.becomes("llama", S::Ready).await;
    assert_eq!(ready.version, 1);
    assert_eq!(other.running().await.len(), 2, "the one that was there, and its own");
    assert!(!other.fake.calls().iter().any(|call| matches!(call, Call::Stop(_))));
}

/// What is printed of `llama` until the log ends.
async fn printed(stage: &Stage, follow: bool) -> Result<String, Error> {
    let query = LogQuery { follow, ..LogQuery::last(10) };
    let (registry, (_stop, never)) = (stage.registry.clone(), watch::channel(false));
    let pieces = logs::read(registry, "default".into(), "llama".into(), query, never).await?;
    let pieces: Vec<_> = pieces.collect().await;
    Ok(String::from_utf8(pieces.concat()).unwrap())
}

#[tokio::test]
async fn a_log_is_shown_while_it_is_there_and_without_secrets() {
    let stage = Stage::new().await;
    let logs = vec!["loading".into(), "key nvapi-0123456789".into()];
    stage.fake.script(Script { exit_code: Some(1), logs, ..Script::default() });
    stage.deploy("llama", 0).await;
    stage.becomes("llama", S::Error).await;
    assert_eq!(
        printed(&stage, false).await.unwrap(),
        "loading\nkey [redacted]\n",
        "it ended, and its log is there"
    );
    stage.delete("llama").await;
    stage.until("nothing is left", async || stage.find("llama", None).await.is_none()).await;
    assert!(matches!(printed(&stage, false).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn what_never_ran_has_no_log_and_says_why() {
    let stage = Stage::new().await;
    stage.deploy("llama", 1).await;
    stage.becomes("llama", S::Error).await;
    let error = printed(&stage, false).await.unwrap_err().to_string();
    assert!(error.contains("has no log here. It is ERROR: It wants 1 GPU"), "{error}");
}

#[tokio::test]
async fn a_followed_log_takes_in_what_comes_and_ends_with_the_deployment() {
    let stage = Stage::new().await;
    let script = |line: &str| Script { logs: vec![line.into()], ..Script::default() };
    stage.fake.script(script("first"));
    stage.deploy("llama", 0).await;
    stage.becomes("llama", S::Ready).await;
    let (shown, ()) = tokio::join!(printed(&stage, true), async {
        stage.fake.script(script("second"));
        stage.update("llama").await;
        stage.when("llama", |it| it.version == 2 && it.lifecycle.status() == S::Ready).await;
        stage.until("both are followed", async || stage.fake.are_followed()).await;
        stage.delete("llama").await;
    });
    assert_eq!(shown.unwrap(), "first\n[v2/0] second\n");
}

#[tokio::test]
async fn a_pull_shows_how_far_it_is_until_it_ends() {
    let stage = Stage::new().await;
    stage.fake.script(Script { hangs_in_pull: true, ..Script::default() });
    stage.deploy("llama", 0).await;
    let pulling = |it: &Deployment| it.lifecycle.message().starts_with("Pulling image sim:1: 1 MB of 1 MB");
    stage.when("llama", pulling).await;
    let pulls = stage.registry.inner.runtimes.pulls();
    let expected = PullProgress { bytes_done: 1, bytes_total: 2, layers_done: 0, layers_total: 1 };
    assert_eq!(pulls.of("default", "llama", 1), Some(expected));
    stage.delete("llama").await;
    stage.until("nothing is left", async || stage.find("llama", None).await.is_none()).await;
    assert_eq!(pulls.of("default", "llama", 1), None);
}

impl Stage {
    async fn scale(&self, name: &'static str, replicas: u32) {
        let store = &self.registry.inner.store;
        let scaled = store.write(move |write| deployments::scale(write, "default", name, Some(replicas)));
        scaled.await.unwrap();
    }

    /// As soon as so many take requests, and nothing else is there.
    async fn has(&self, name: &str, replicas: usize) -> Deployment {
        let all = format!("{replicas} of {replicas} ready");
        let is_there = |it: &Deployment| match replicas {
            1 => it.lifecycle.message().starts_with("Running and ready"),
            _ => it.lifecycle.message() == all,
        };
        let ready = self.when(name, is_there).await;
        self.until("the others are gone", async || self.running().await.len() == replicas).await;
        ready
    }
}

#[tokio::test]
async fn a_deployment_is_scaled_up_and_down_and_stays_the_same_version() {
    let stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    stage.becomes("llama", S::Ready).await;
    let first = stage.provider("llama").await.unwrap();
    stage.scale("llama", 3).await;
    let scaled = stage.has("llama", 3).await;
    assert_eq!((scaled.version, scaled.replicas, scaled.ready_replicas), (1, Some(3), Some(3)));
    let provider = stage.provider("llama").await.unwrap();
    assert_eq!(provider.instances.len(), 3);
    assert_eq!(provider.spec.host_url, first.spec.host_url, "what is asked for all of them stays");
    stage.scale("llama", 1).await;
    stage.has("llama", 1).await;
    let provider = stage.provider("llama").await.unwrap();
    assert_eq!(provider.instances, [first.spec.host_url], "the newest went");
}

#[tokio::test]
async fn one_replica_that_is_lost_is_made_again_alone_while_the_others_serve() {
    let stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    stage.scale("llama", 3).await;
    stage.has("llama", 3).await;
    let before = stage.running().await;
    stage.fake.lose(&before[1].id);
    let is_back = async || {
        let now = stage.running().await;
        now.len() == 3 && now[1].id.incarnation > before[2].id.incarnation
    };
    stage.until("it is made again, under a number of its own", is_back).await;
    let back = stage.has("llama", 3).await;
    let after: Vec<_> = stage.running().await.into_iter().map(|instance| instance.id).collect();
    assert_eq!((&after[0], &after[2]), (&before[0].id, &before[2].id));
    assert_eq!(statuses(&back), [S::Created, S::Pending, S::Ready], "it was READY all the time");
}

#[tokio::test]
async fn routes_that_move_to_a_new_version_carry_what_it_serves() {
    let stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    stage.becomes("llama", S::Ready).await;
    let served = |provider: Provider| provider.served.into_iter().map(|model| model.served_name);
    let first = stage.provider("llama").await.unwrap();
    let before: Vec<_> = served(first.clone()).collect();
    stage.fake.script(Script { model: Some("other".into()), ..Script::default() });
    stage.update("llama").await;
    let mut seen = std::collections::BTreeSet::from([(first.spec.host_url.to_string(), before.clone())]);
    let moved = async || {
        let provider = stage.provider("llama").await.unwrap();
        let is_moved = served(provider.clone()).any(|name| name == "other");
        seen.insert((provider.spec.host_url.to_string(), served(provider).collect::<Vec<_>>()));
        is_moved
    };
    stage.until("the new version is served", moved).await;
    assert!(seen.iter().all(|(_, names)| *names == before || *names == ["other"]), "{seen:?}");
    assert_eq!(seen.len(), 2, "an address never went with the models of the other: {seen:?}");
}

#[tokio::test]
async fn what_we_run_is_marked_so_until_its_owner_points_the_provider_elsewhere() {
    use crate::domain::routes::KeyedProvider;
    use proto_shared::snapshot::Origin;
    let stage = Stage::new().await;
    stage.deploy("llama", 0).await;
    stage.becomes("llama", S::Ready).await;
    let origin = |provider: &Provider| KeyedProvider { provider: provider.clone(), key: None }.origin();
    let ours = stage.provider("llama").await.unwrap();
    assert_eq!(origin(&ours), Origin::Deployment);
    let watch = KeyedProvider { provider: ours.clone(), key: None }.route().watch.unwrap_or_default();
    assert_eq!(watch.health_path.as_deref(), Some("/v1/health/ready"), "where its engine has it");
    assert_eq!(watch.metrics_path.as_deref(), Some("/v1/metrics"));

    let (spec, name) = (ours.spec.clone(), proto_shared::ProviderName::new("forged").unwrap());
    let elsewhere = crate::test_values::provider_spec("http://127.0.0.1:9");
    let written = stage.registry.inner.store.write(move |write| {
        let forged = providers::insert(write, &workspace_name("default"), &name, &spec, &Default::default())?;
        let moved = providers::replace(write, &ours, &elsewhere, &Default::default())?;
        Ok((forged, moved))
    });
    let (forged, moved) = written.await.unwrap().value;
    assert_eq!(origin(&forged), Origin::Owner, "the same address, and the same deployment named");
    assert_eq!(origin(&moved), Origin::Owner);
    let led_back = async || {
        let provider = stage.provider("llama").await.unwrap();
        origin(&provider) == Origin::Deployment
    };
    stage.until("it is led back to what runs", led_back).await;
}

#[tokio::test]
async fn an_instance_is_stopped_when_every_gateway_says_that_nothing_is_under_way_there() {
    use proto_shared::feed::{BusyAddress, GatewayId, GatewayReport};
    let (dir, key) = (Arc::new(tempfile::tempdir().unwrap()), Arc::new(KeyRing::generate().unwrap()));
    let forever = Duration::from_secs(3_600);
    let stage = Stage::with_drain(dir, key, Arc::new(FakeRuntime::new()), forever).await;
    let (gateways, id) = (Arc::clone(&stage.registry.inner.gateways), GatewayId::new(1));
    let following = gateways.follow(id).unwrap();
    stage.deploy("llama", 0).await;
    stage.scale("llama", 2).await;
    stage.becomes("llama", S::Ready).await;
    let has_two = async || stage.provider("llama").await.is_some_and(|it| it.instances.len() == 2);
    stage.until("both are routed", has_two).await;
    let before = stage.provider("llama").await.unwrap().instances;
    stage.scale("llama", 1).await;
    stage.until("one is routed", async || !has_two().await).await;

    let generation = u64::MAX;
    let busy = BusyAddress { url: before[1].clone(), in_flight: 1 };
    gateways.report(id, GatewayReport { generation, busy: vec![busy], out: None }).unwrap();
    stage.deploy_another().await;
    assert_eq!(stage.running().await.len(), 3, "a request is under way");
    gateways.report(id, GatewayReport { generation, busy: Vec::new(), out: None }).unwrap();
    stage.until("it is stopped", async || stage.running().await.len() == 2).await;
    drop(following);
}
