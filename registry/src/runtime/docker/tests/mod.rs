//! The conformance suite over a real engine, and what is particular to containers.
//!
//! Without an engine, or the image that `tests/nim-sim/image` makes, they are skipped with a word; with `CI=true`
//! that is a failure.

mod away;
mod owner;
mod pulls;

use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use futures_util::FutureExt as _;
use proto_shared::secret::SecretString;

use super::super::conformance::{self, Bench, LONG_GRACE, conforms, exit, find, id, spec};
use super::super::spec::{EnvValue, Mount, MountSource, User};
use super::*;

const IMAGE: &str = "nimgate/nim-sim:test";

struct Containers {
    runtime: DockerRuntime,
    shared: tempfile::TempDir,
}

/// Nothing when it is missing and may be.
fn missing(what: &str) -> Option<Containers> {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}");
    eprintln!("skipped: {what}");
    None
}

impl Containers {
    async fn new() -> Option<Self> {
        let shared = tempfile::tempdir().unwrap();
        let runtime = open(&uuid::Uuid::new_v4().to_string(), &shared);
        if let Err(fault) = runtime.check(false).await {
            return missing(&fault.message);
        }
        if runtime.image_digest(&runtime.client().unwrap(), &IMAGE.parse().unwrap()).await.unwrap().is_none()
        {
            return missing("the image nimgate/nim-sim:test is not there; run tests/nim-sim/image");
        }
        Some(Self { runtime, shared })
    }

    async fn inspect(&self, id: &InstanceId) -> ContainerInspectResponse {
        self.runtime.find(&self.runtime.client().unwrap(), id).await.unwrap().unwrap()
    }
}

fn open(installation: &str, shared: &tempfile::TempDir) -> DockerRuntime {
    let shared_folder = shared.path().into();
    DockerRuntime::new(DockerConfig {
        installation: Installation::new(installation),
        host: None,
        shared_folder,
    })
}

#[async_trait]
impl Bench for Containers {
    fn runtime(&self) -> &dyn Runtime {
        &self.runtime
    }

    fn reopened(&self) -> Option<Box<dyn Runtime>> {
        Some(Box::new(open(self.runtime.installation.as_str(), &self.shared)))
    }

    fn of_another_installation(&self) -> Option<Box<dyn Runtime>> {
        Some(Box::new(open(&uuid::Uuid::new_v4().to_string(), &self.shared)))
    }

    fn launch(&self, args: &[&str]) -> Launch {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Launch::Image { reference: IMAGE.parse().unwrap(), entrypoint: None, args }
    }

    fn absent(&self) -> Launch {
        Launch::Image { reference: "nimgate/absent:1".parse().unwrap(), entrypoint: None, args: vec![] }
    }

    async fn cut_off_start(&self, id: &InstanceId, spec: &InstanceSpec) {
        self.runtime.create(&self.runtime.client().unwrap(), id, spec).await.unwrap();
    }

    fn runs_programs(&self) -> bool {
        true
    }
}

conforms!(Containers::new().await);

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_container_under_our_name_is_reported_and_left_alone() {
    conformance::run(Containers::new().await, async |bench: &Containers| {
        let (runtime, id) = (&bench.runtime, id("llama", 0));
        let client = runtime.client().unwrap();
        let name = id.name(&runtime.installation);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let body = ContainerCreateBody { image: Some(IMAGE.into()), ..ContainerCreateBody::default() };
        let foreign = client.create_container(Some(options), body).await.unwrap().id;

        let outcome = std::panic::AssertUnwindSafe(async {
            let refused = runtime.start(&id, &spec(bench.launch(&[]))).await.unwrap_err();
            assert_eq!(refused.kind, FaultKind::NameTaken);
            assert!(refused.message.contains(&name) && refused.message.contains(&foreign[..12]), "{refused}");
            runtime.stop(&id, Duration::ZERO).await.unwrap();
            assert_eq!(runtime.list().await.unwrap(), []);
            assert!(runtime.inspect(&client, &foreign).await.unwrap().is_some());
        });
        let outcome = outcome.catch_unwind().await;
        runtime.remove(&client, &foreign).await.unwrap();
        outcome.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_a_spec_reaches_the_container_and_nothing_opens_the_host() {
    conformance::run(Containers::new().await, async |bench: &Containers| {
        let id = id("llama", 0);
        std::fs::create_dir(bench.shared.path().join("weights")).unwrap();
        let mut spec = spec(bench.launch(&["--model", "a b"]));
        spec.env.insert("KEY".into(), EnvValue::Secret(SecretString::from("canary".to_owned())));
        spec.shm_bytes = Some(1 << 30);
        spec.memory_bytes = Some(256 << 20);
        spec.user = Some(User { uid: 1000, gid: Some(2000) });
        let volume = VolumeId::new(id.deployment.clone(), "cache").unwrap();
        spec.mounts = vec![
            Mount::new(MountSource::Volume(volume), "/opt/nim/.cache").unwrap(),
            Mount::new(MountSource::Folder("weights".into()), "/model-store").unwrap(),
        ];
        bench.runtime.start(&id, &spec).await.unwrap();

        let container = bench.inspect(&id).await;
        let config = container.config.unwrap();
        assert_eq!(config.cmd.unwrap(), ["--model", "a b"]);
        assert_eq!(config.user.as_deref(), Some("1000:2000"));
        assert!(config.env.unwrap().contains(&"KEY=canary".to_owned()));
        let labels = config.labels.unwrap();
        assert_eq!(labels["nmp.nvidia.com/deployment-name"], "llama");
        assert!(!format!("{labels:?}{:?}{:?}", container.args, container.name).contains("canary"));

        let host = container.host_config.unwrap();
        assert_eq!((host.shm_size, host.memory), (Some(1 << 30), Some(256 << 20)));
        assert_eq!(host.privileged, Some(false));
        assert_eq!(host.network_mode.as_deref(), Some("default"));
        assert_eq!(host.binds, None);
        assert_eq!(host.restart_policy.unwrap().name.unwrap().to_string(), "no");
        let bindings: Vec<_> = host.port_bindings.unwrap().into_values().flatten().flatten().collect();
        assert!(
            bindings.iter().all(|binding| binding.host_ip.as_deref() == Some("127.0.0.1")),
            "{bindings:?}"
        );
        let mounts = container.mounts.unwrap();
        let writable =
            |target: &str| mounts.iter().find(|it| it.destination.as_deref() == Some(target)).unwrap().rw;
        assert_eq!((writable("/opt/nim/.cache"), writable("/model-store")), (Some(true), Some(false)));
        assert_eq!(mounts.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_on_a_host_without_is_refused_and_leaves_nothing() {
    conformance::run(Containers::new().await, async |bench: &Containers| {
        if bench.runtime.check(true).await.is_ok() {
            return;
        }
        let id = id("llama", 0);
        let mut spec = spec(bench.launch(&[]));
        spec.gpus = vec!["0".into()];
        let refused = bench.runtime.start(&id, &spec).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::GpuUnsupported);
        assert!(refused.message.contains("container toolkit"), "{refused}");
        assert_eq!(bench.runtime.list().await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrypoint_that_is_not_there_is_refused_and_leaves_nothing() {
    conformance::run(Containers::new().await, async |bench: &Containers| {
        let entrypoint = Some(vec!["/no-such-program".into()]);
        let launch = Launch::Image { reference: IMAGE.parse().unwrap(), entrypoint, args: vec![] };
        let refused = bench.runtime.start(&id("llama", 0), &spec(launch)).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::SpecInvalid, "{refused}");
        assert_eq!(bench.runtime.list().await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_ran_out_is_told_from_other_ends() {
    conformance::run(Containers::new().await, async |bench: &Containers| {
        let id = id("llama", 0);
        let mut spec = spec(bench.launch(&["--allocate-mib", "512"]));
        spec.memory_bytes = Some(64 << 20);
        bench.runtime.start(&id, &spec).await.unwrap();
        assert_eq!(exit(&bench.runtime, &id).await, (Some(137), true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_may_be_longer_than_any_other_call() {
    conformance::run(Containers::new().await, async |bench: &Containers| {
        let id = id("llama", 0);
        bench.runtime.start(&id, &spec(bench.launch(&["--ignore-sigterm"]))).await.unwrap();
        let impatient = DockerRuntime {
            call_timeout: Duration::from_secs(1),
            ..open(bench.runtime.installation.as_str(), &bench.shared)
        };
        impatient.stop(&id, Duration::from_secs(3)).await.unwrap();
        assert_eq!(find(&bench.runtime, &id).await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_found_under_any_name() {
    conformance::run(Containers::new().await, async |bench: &Containers| {
        let (id, spec) = (id("llama", 0), spec(bench.launch(&[])));
        bench.runtime.start(&id, &spec).await.unwrap();
        let container = bench.inspect(&id).await.id.unwrap();
        let name = format!("renamed-{}", bench.runtime.installation.as_str());
        let options = bollard::query_parameters::RenameContainerOptionsBuilder::new().name(&name).build();
        bench.runtime.client().unwrap().rename_container(&container, options).await.unwrap();
        bench.runtime.start(&id, &spec).await.unwrap();
        assert_eq!(bench.runtime.list().await.unwrap().len(), 1);
        bench.runtime.stop(&id, LONG_GRACE).await.unwrap();
        assert_eq!(bench.runtime.list().await.unwrap(), []);
    })
    .await;
}
