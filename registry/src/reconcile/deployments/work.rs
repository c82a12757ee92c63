//! What takes its time, off the loop: starting, stopping, reading. Each leaves its end in the memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::launching;
use super::memory::Memory;
use super::pulls::Pull;
use super::seen::Work;
use crate::Registry;
use crate::domain::Timestamp;
use crate::domain::deployment_config::DISK_BYTES_DEFAULT;
use crate::runtime::{
    DeploymentId, Fault, FaultKind, InstanceId, Launch, LogQuery, MountSource, PullProgress, PullTerms,
    Runtime,
};

/// Of a download, news are told this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Of a log that ended, so many lines and characters are told.
const LAST_LINES: u32 = 40;
const LAST_CHARS_MAX: usize = 700;
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Brings an instance up, from its image to its start.
pub async fn launch(
    registry: Registry,
    runtime: Arc<dyn Runtime>,
    memory: Memory,
    id: InstanceId,
    spec: launching::Asked,
    gpus: Vec<String>,
) {
    match bring_up(&registry, runtime.as_ref(), &memory, &id, &spec, gpus).await {
        Ok(()) => memory.ended(&id, None),
        Err(fault) => {
            tracing::warn!(instance = %id, fault = %fault, "an instance did not start");
            memory.failed(&id, fault, now());
        }
    }
}

async fn bring_up(
    registry: &Registry,
    runtime: &dyn Runtime,
    memory: &Memory,
    id: &InstanceId,
    spec: &launching::Asked,
    gpus: Vec<String>,
) -> Result<(), Fault> {
    let planned = launching::plan(registry, id, spec, gpus).await?;
    if !planned.instance.gpus.is_empty() {
        runtime.check(true).await?;
    }
    let (progress, seen) = watch::channel(PullProgress::default());
    // The default was written for large models, and says nothing about this one.
    let disk_free_bytes_min = Some(planned.disk_bytes).filter(|bytes| *bytes != DISK_BYTES_DEFAULT);
    let terms = PullTerms {
        credentials: planned.credentials.as_ref(),
        disk_free_bytes_min: disk_free_bytes_min.unwrap_or_default(),
    };
    let prepared = runtime.prepare(&planned.instance.launch, terms, &progress);
    let pull = registry.inner.runtimes.pulls().begin(id);
    let told = tell_progress(memory, id, &planned.instance.launch, pull, seen);
    tokio::select! {
        prepared = prepared => prepared.map(drop)?,
        () = told => {}
    }
    for mount in &planned.instance.mounts {
        if let MountSource::Volume(volume) = mount.source() {
            runtime.ensure_volume(volume).await?;
        }
    }
    tracing::info!(instance = %id, runtime = runtime.name(), "starting an instance");
    runtime.start(id, &planned.instance).await
}

/// Never ends by itself.
async fn tell_progress(
    memory: &Memory,
    id: &InstanceId,
    launch: &Launch,
    pull: Pull,
    mut seen: watch::Receiver<PullProgress>,
) {
    let Launch::Image { reference, .. } = launch else { return std::future::pending().await };
    while seen.changed().await.is_ok() {
        let progress = *seen.borrow_and_update();
        pull.moved(progress);
        memory.progress(id, format!("Pulling image {reference}: {}", how_far(&progress)), now());
        tokio::time::sleep(PROGRESS_INTERVAL).await;
    }
    std::future::pending().await
}

fn how_far(progress: &PullProgress) -> String {
    let PullProgress { bytes_done, bytes_total, layers_done, layers_total } = progress;
    format!(
        "{} of {}, {layers_done} of {layers_total} layers",
        megabytes(*bytes_done),
        megabytes(*bytes_total)
    )
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

pub async fn stop(runtime: Arc<dyn Runtime>, memory: Memory, id: InstanceId, grace: Duration) {
    match runtime.stop(&id, grace).await {
        Ok(()) => memory.ended(&id, Some(Work::Done)),
        Err(fault) => {
            tracing::warn!(instance = %id, fault = %fault, "an instance did not stop; trying again");
            memory.failed(&id, fault, now());
        }
    }
}

/// The end of its log, with every key that is known blotted out.
pub async fn read_last_words(
    registry: Registry,
    runtime: Arc<dyn Runtime>,
    memory: Memory,
    id: InstanceId,
    asked: Option<launching::Asked>,
) {
    let read = async {
        let lines = runtime.logs(&id, LogQuery::last(LAST_LINES)).await.ok()?;
        let lines: Vec<_> = lines.filter_map(|line| std::future::ready(line.ok())).collect().await;
        Some(lines.join("\n"))
    };
    let words = tokio::time::timeout(LAST_WORDS_TIMEOUT, read).await.ok().flatten().unwrap_or_default();
    let words = launching::redactor(&registry, &id.deployment, asked.as_ref()).await.redact(&words);
    memory.said(&id, last_chars(words.trim(), LAST_CHARS_MAX));
}

fn last_chars(text: &str, max: usize) -> String {
    let skipped = text.chars().count().saturating_sub(max);
    text.chars().skip(skipped).collect()
}

/// Removes the volumes of a deployment of which nothing runs.
pub async fn remove_volumes(runtime: Arc<dyn Runtime>, memory: Memory, deployment: DeploymentId) {
    let removed = async {
        for volume in runtime.volumes().await?.into_iter().filter(|volume| volume.deployment == deployment) {
            runtime.remove_volume(&volume).await?;
        }
        Ok::<_, Fault>(())
    };
    let work = match removed.await {
        Ok(()) => Work::Done,
        Err(fault) => Work::Failed { fault, at: now() },
    };
    memory.volumes_work(&deployment, work);
}

/// What no runtime should be asked for.
pub fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::SpecInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_end_is_told() {
        assert_eq!(last_chars("aébc", 3), "ébc");
        assert_eq!(last_chars("", 3), "");
    }
}
