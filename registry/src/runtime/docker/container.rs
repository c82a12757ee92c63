//! Containers: what is asked of the engine for a spec, and what its answers say. Pure, but for resolving a folder.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status,
    ContainerSummary, ContainerSummaryStateEnum, DeviceRequest, HostConfig, HostConfigLogConfig,
    Mount as ContainerMount, MountType, PortBinding, RestartPolicy, RestartPolicyNameEnum, SystemInfo,
};

use super::super::id::{Installation, InstanceId};
use super::super::image::ImageReference;
use super::super::process::shared_path;
use super::super::spec::{InstanceSpec, Launch, MountSource};
use super::super::{Fault, Instance, Phase};
use crate::domain::timestamp::Timestamp;

const LABEL_SPEC: &str = "nimgate.spec";
const LABEL_GPUS: &str = "nimgate.gpus";
const LABEL_IMAGE: &str = "nimgate.image";

/// Logs on disk, per container: size of a file, and number of files.
const LOG_FILE_MAX: (&str, &str) = ("16m", "3");

/// Whose container it will be, and with what.
pub struct Placed<'a> {
    pub installation: &'a Installation,
    pub shared_folder: &'a Path,
    pub image_digest: &'a str,
}

/// The container for an instance. Its `Debug` output has the secrets: never log it.
pub fn body(
    id: &InstanceId,
    spec: &InstanceSpec,
    image: &ImageReference,
    placed: &Placed<'_>,
) -> Result<ContainerCreateBody, Fault> {
    let Launch::Image { entrypoint, args, .. } = &spec.launch else {
        return Err(super::fault::not_an_image());
    };
    let mut labels = id.labels(placed.installation);
    labels.insert(LABEL_SPEC.into(), spec.digest());
    labels.insert(LABEL_GPUS.into(), spec.gpus.join(","));
    labels.insert(LABEL_IMAGE.into(), placed.image_digest.into());
    let user = spec.user.map(|user| match user.gid {
        Some(gid) => format!("{}:{gid}", user.uid),
        None => user.uid.to_string(),
    });
    Ok(ContainerCreateBody {
        image: Some(image.to_string()),
        entrypoint: entrypoint.clone(),
        cmd: (!args.is_empty()).then(|| args.clone()),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect()),
        exposed_ports: Some(vec![format!("{}/tcp", spec.port)]),
        labels: Some(labels),
        user,
        host_config: Some(host_config(spec, placed)?),
        ..ContainerCreateBody::default()
    })
}

fn host_config(spec: &InstanceSpec, placed: &Placed<'_>) -> Result<HostConfig, Fault> {
    let loopback =
        PortBinding { host_ip: Some(Ipv4Addr::LOCALHOST.to_string()), host_port: Some(String::new()) };
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mounts = spec.mounts.iter().map(|mount| {
        let (source, typ) = match mount.source() {
            MountSource::Volume(volume) => (volume.name(placed.installation), MountType::VOLUME),
            MountSource::Folder(folder) => {
                let path = shared_path(placed.shared_folder, folder)?;
                (path.to_string_lossy().into_owned(), MountType::BIND)
            }
        };
        Ok(ContainerMount {
            read_only: Some(typ == MountType::BIND),
            source: Some(source),
            target: Some(mount.target().into()),
            typ: Some(typ),
            ..ContainerMount::default()
        })
    });
    let gpus = (!spec.gpus.is_empty()).then(|| DeviceRequest {
        device_ids: Some(spec.gpus.clone()),
        capabilities: Some(vec![vec!["gpu".into()]]),
        ..DeviceRequest::default()
    });
    let (size, files) = LOG_FILE_MAX;
    let log = HashMap::from([("max-size".into(), size.into()), ("max-file".into(), files.into())]);
    Ok(HostConfig {
        port_bindings: Some(HashMap::from([(format!("{}/tcp", spec.port), Some(vec![loopback]))])),
        mounts: Some(mounts.collect::<Result<_, Fault>>()?),
        device_requests: gpus.map(|gpus| vec![gpus]),
        shm_size: spec.shm_bytes.map(bytes),
        memory: spec.memory_bytes.map(bytes),
        // The same again: no swap on top.
        memory_swap: spec.memory_bytes.map(bytes),
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".into()), config: Some(log) }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            ..RestartPolicy::default()
        }),
        security_opt: Some(vec!["no-new-privileges".into()]),
        ..HostConfig::default()
    })
}

/// The instance that a container is; nothing when it isn't one of this installation.
pub fn instance(container: &ContainerInspectResponse, installation: &Installation) -> Option<Instance> {
    let labels = container.config.as_ref()?.labels.as_ref()?;
    let gpus = labels.get(LABEL_GPUS).map(String::as_str).unwrap_or_default();
    Some(Instance {
        id: InstanceId::from_labels(labels, installation)?,
        phase: phase(container.state.as_ref()?, endpoint(container)),
        spec_digest: labels.get(LABEL_SPEC)?.clone(),
        image_digest: labels.get(LABEL_IMAGE).cloned(),
        gpus: gpus.split(',').filter(|gpu| !gpu.is_empty()).map(str::to_owned).collect(),
    })
}

fn phase(state: &ContainerState, endpoint: Option<SocketAddr>) -> Phase {
    let at = |time: &Option<String>| time.as_deref().and_then(Timestamp::from_wire);
    match state.status.unwrap_or(Status::EMPTY) {
        Status::CREATED => Phase::Created,
        Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING => {
            Phase::Running { endpoint, since: at(&state.started_at).unwrap_or(Timestamp(0)) }
        }
        Status::EXITED | Status::DEAD | Status::REMOVING | Status::EMPTY => Phase::Exited {
            code: state.exit_code.and_then(|code| i32::try_from(code).ok()),
            oom_killed: state.oom_killed.unwrap_or_default(),
            at: at(&state.finished_at),
        },
    }
}

/// One port is published, on loopback.
fn endpoint(container: &ContainerInspectResponse) -> Option<SocketAddr> {
    let ports = container.network_settings.as_ref()?.ports.as_ref()?;
    let bindings = ports.values().flatten().flatten();
    bindings
        .filter_map(|binding| {
            let ip: Ipv4Addr = binding.host_ip.as_deref()?.parse().ok()?;
            let port: u16 = binding.host_port.as_deref()?.parse().ok()?;
            (ip.is_loopback() && port != 0).then_some(SocketAddr::from((ip, port)))
        })
        .min()
}

/// Tells one run of a container from every other, by what a list says.
pub fn running_key(summary: &ContainerSummary) -> Option<(String, u16)> {
    let runs = summary.state == Some(ContainerSummaryStateEnum::RUNNING);
    let port = summary.ports.as_ref()?.iter().find_map(|port| port.public_port)?;
    runs.then_some((summary.id.clone()?, port))
}

/// Whether the engine can give GPUs to containers, as far as it says.
pub fn has_gpu_support(info: &SystemInfo) -> bool {
    let has_runtime = info.runtimes.as_ref().is_some_and(|runtimes| runtimes.contains_key("nvidia"));
    let has_device = info.discovered_devices.as_ref().is_some_and(|devices| !devices.is_empty());
    // An engine on this host finds the hook by itself, and lists no runtime for it.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_hook =
        std::env::split_paths(&path).any(|folder| folder.join("nvidia-container-runtime-hook").is_file());
    has_runtime || has_device || has_hook
}
