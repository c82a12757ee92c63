//! Single steps with containers. Each may be cut off, and be taken again.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use super::super::id::InstanceId;
use super::super::spec::{InstanceSpec, Launch, MountSource};
use super::fault::status;
use super::{DockerRuntime, Fault, FaultKind, Instance, Phase, container, fault};
use crate::domain::Timestamp;

/// Between the end of the grace and the engine's word that the container stopped.
const STOP_MARGIN: Duration = Duration::from_secs(30);
/// How long a name may be taken by a container that is neither ours nor foreign yet: one that is being made.
const NAME_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a removal that somebody else began may take.
const REMOVAL_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a container may be in a state that Docker's API does not know: in Podman's a container is "stopped" for a
/// moment before it has "exited".
const ODD_STATE_WAIT_MAX: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The engine may tell that a process was killed a moment before it tells that memory had run out.
const REASON_WAIT: Duration = Duration::from_millis(300);
const KILLED: i32 = 137;

fn now() -> Timestamp {
    Timestamp(i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000).unwrap_or_default())
}

/// Killed, without a reason, so lately that the reason may still come.
fn may_lack_reason(phase: &Phase, now: Timestamp) -> bool {
    match phase {
        Phase::Exited { code: Some(KILLED), oom_killed: false, at: Some(at) } => {
            now.since(*at) < 2 * REASON_WAIT
        }
        _ => false,
    }
}

impl DockerRuntime {
    /// Our containers with these labels, running or not.
    pub(super) async fn owned(
        &self,
        client: &Docker,
        labels: &HashMap<String, String>,
    ) -> Result<Vec<ContainerSummary>, Fault> {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let deadline = Instant::now() + ODD_STATE_WAIT_MAX;
        loop {
            match client.list_containers(Some(options.clone())).await {
                Ok(containers) => return Ok(containers),
                Err(error) if fault::is_odd(&error) && Instant::now() < deadline => {
                    sleep(POLL_INTERVAL).await
                }
                Err(error) => return Err(self.fault(error)),
            }
        }
    }

    /// The container of an instance.
    pub(super) async fn find(
        &self,
        client: &Docker,
        id: &InstanceId,
    ) -> Result<Option<ContainerInspectResponse>, Fault> {
        for summary in self.owned(client, &id.labels(&self.installation)).await? {
            if let Some(container) = self.inspect(client, &summary.id.unwrap_or_default()).await? {
                return Ok(Some(container));
            }
        }
        Ok(None)
    }

    pub(super) async fn inspect(
        &self,
        client: &Docker,
        container: &str,
    ) -> Result<Option<ContainerInspectResponse>, Fault> {
        let deadline = Instant::now() + ODD_STATE_WAIT_MAX;
        loop {
            match client.inspect_container(container, None::<InspectContainerOptions>).await {
                Ok(container) => return Ok(Some(container)),
                Err(error) if status(&error) == Some(404) => return Ok(None),
                Err(error) if fault::is_odd(&error) && Instant::now() < deadline => {
                    sleep(POLL_INTERVAL).await
                }
                Err(error) => return Err(self.fault(error)),
            }
        }
    }

    /// The instance that a container is. One that went meanwhile is not there.
    pub(super) async fn look(
        &self,
        client: &Docker,
        id: String,
    ) -> Result<Option<(String, Instance)>, Fault> {
        let Some(mut found) = self.inspect(client, &id).await? else { return Ok(None) };
        let mut instance = container::instance(&found, &self.installation);
        if instance.as_ref().is_some_and(|instance| may_lack_reason(&instance.phase, now())) {
            sleep(REASON_WAIT).await;
            let Some(again) = self.inspect(client, &id).await? else { return Ok(None) };
            instance = container::instance(&again, &self.installation);
            found = again;
        }
        if instance.is_none() {
            tracing::warn!(container = found.name, "left alone: its labels were changed");
        }
        Ok(instance.map(|instance| (id, instance)))
    }

    /// The container's id; one that is there already is taken when it is of this instance.
    pub(super) async fn create(
        &self,
        client: &Docker,
        id: &InstanceId,
        spec: &InstanceSpec,
    ) -> Result<String, Fault> {
        let Launch::Image { reference, .. } = &spec.launch else { return Err(fault::not_an_image()) };
        let image_digest = self.image_digest(client, reference).await?;
        let Some(image_digest) = image_digest else { return Err(fault::image_not_pulled(reference)) };
        for mount in &spec.mounts {
            if let MountSource::Volume(volume) = mount.source() {
                self.make_volume(client, volume).await?;
            }
        }
        let placed = container::Placed {
            installation: &self.installation,
            shared_folder: &self.shared_folder,
            image_digest: &image_digest,
        };
        let body = container::body(id, spec, reference, &placed)?;
        let name = id.name(&self.installation);
        let deadline = Instant::now() + NAME_WAIT_MAX;
        loop {
            let options = CreateContainerOptionsBuilder::new().name(&name).build();
            match client.create_container(Some(options), body.clone()).await {
                Ok(created) => return Ok(created.id),
                Err(error) if fault::is_name_taken(&error) => {}
                Err(error) => return Err(fault::of_start(&self.host, &error)),
            }
            match self.inspect(client, &name).await? {
                Some(taken)
                    if container::instance(&taken, &self.installation).is_some_and(|it| it.id == *id) =>
                {
                    return Ok(taken.id.unwrap_or_default());
                }
                Some(taken) => return Err(fault::name_taken(&name, taken.id.as_deref())),
                None if Instant::now() > deadline => return Err(fault::name_taken(&name, None)),
                None => sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// Starts a container that was made. When the engine refuses, the container goes.
    pub(super) async fn run(&self, client: &Docker, container: &str) -> Result<(), Fault> {
        let Err(error) = client.start_container(container, None::<StartContainerOptions>).await else {
            return Ok(());
        };
        let refused = fault::of_start(&self.host, &error);
        if refused.kind != FaultKind::Unavailable {
            self.remove(client, container).await?;
        }
        Err(refused)
    }

    pub(super) async fn remove(&self, client: &Docker, container: &str) -> Result<(), Fault> {
        let deadline = Instant::now() + REMOVAL_WAIT_MAX;
        loop {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match client.remove_container(container, Some(options)).await {
                Ok(()) => return Ok(()),
                Err(error) if status(&error) == Some(404) => return Ok(()),
                // Somebody is removing it already.
                Err(error) if status(&error) == Some(409) && Instant::now() < deadline => {
                    sleep(POLL_INTERVAL).await;
                }
                Err(error) => return Err(self.fault(error)),
            }
        }
    }

    pub(super) async fn stop_container(
        &self,
        client: &Docker,
        container: &str,
        grace: Duration,
    ) -> Result<(), Fault> {
        let patient = client.clone().with_timeout(grace.saturating_add(STOP_MARGIN));
        let seconds = i32::try_from(grace.as_millis().div_ceil(1_000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        match patient.stop_container(container, Some(options)).await {
            Ok(()) => {}
            Err(error) if matches!(status(&error), Some(304 | 404)) => {}
            Err(error) => return Err(self.fault(error)),
        }
        self.remove(client, container).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_killed_just_now_without_a_reason_is_looked_at_again() {
        let (now, moment) = (Timestamp(10_000_000), Timestamp(9_900_000));
        let ended = |code, oom_killed, at| Phase::Exited { code, oom_killed, at };
        assert!(may_lack_reason(&ended(Some(137), false, Some(moment)), now));
        for phase in [
            ended(Some(137), true, Some(moment)),
            ended(Some(1), false, Some(moment)),
            ended(Some(137), false, Some(Timestamp(9_000_000))),
            ended(Some(137), false, None),
            Phase::Created,
        ] {
            assert!(!may_lack_reason(&phase, now), "{phase:?}");
        }
    }
}
