//! The specifications. Their names say what must hold.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use proto_shared::secret::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::logs::{LINE_BYTES_MAX, LogQuery};
use super::super::spec::{EnvValue, Mount, MountSource};
use super::super::{FaultKind, InstanceId, Phase, Runtime, VolumeId};
use super::{Bench, DEADLINE, LONG_GRACE, eventually, exit, find, id, spec};
use crate::domain::timestamp::Timestamp;

async fn endpoint(runtime: &dyn Runtime, id: &InstanceId) -> SocketAddr {
    match find(runtime, id).await.map(|instance| instance.phase) {
        Some(Phase::Running { endpoint: Some(endpoint), .. }) => endpoint,
        other => panic!("it does not run: {other:?}"),
    }
}

/// Waits until a simulated NIM answers there.
async fn answers(endpoint: SocketAddr) {
    eventually("an answer", async || {
        let mut stream = TcpStream::connect(endpoint).await.ok()?;
        let request = "GET /v1/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

async fn log(runtime: &dyn Runtime, id: &InstanceId, query: LogQuery) -> Vec<String> {
    let lines = runtime.logs(id, query).await.unwrap();
    timeout(DEADLINE, lines.try_collect()).await.expect("the log ends").unwrap()
}

pub async fn a_started_instance_runs_and_answers(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    let spec = spec(bench.launch(&[]));
    assert_eq!(runtime.list().await.unwrap(), []);
    runtime.start(&id, &spec).await.unwrap();
    let instance = find(runtime, &id).await.unwrap();
    assert_eq!(instance.spec_digest, spec.digest());
    assert!(matches!(instance.phase, Phase::Running { since, .. } if since.0 > 0), "{instance:?}");
    let endpoint = endpoint(runtime, &id).await;
    assert!(endpoint.ip().is_loopback(), "{endpoint}");
    answers(endpoint).await;
}

pub async fn starting_twice_makes_one_instance(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    let spec = spec(bench.launch(&[]));
    let (one, other) = tokio::join!(runtime.start(&id, &spec), runtime.start(&id, &spec));
    assert_eq!((one, other), (Ok(()), Ok(())));
    let first = runtime.list().await.unwrap();
    runtime.start(&id, &spec).await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(runtime.list().await.unwrap(), first);
}

pub async fn the_same_id_with_another_spec_is_refused(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    runtime.start(&id, &spec(bench.launch(&[]))).await.unwrap();
    let before = runtime.list().await.unwrap();
    let refused = runtime.start(&id, &spec(bench.launch(&["--model", "other"]))).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::SpecConflict);
    assert_eq!(runtime.list().await.unwrap(), before);
}

pub async fn what_ended_is_not_started_again(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    for (replica, code) in [(0, 0), (1, 3)] {
        let id = InstanceId { replica, ..id.clone() };
        let spec = spec(bench.launch(&["--exit-code", &code.to_string()]));
        runtime.start(&id, &spec).await.unwrap();
        assert_eq!(exit(runtime, &id).await, (Some(code), false));
        let ended = find(runtime, &id).await;
        runtime.start(&id, &spec).await.unwrap();
        assert_eq!(find(runtime, &id).await, ended);
    }
}

pub async fn a_start_that_was_cut_off_is_finished(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    let spec = spec(bench.launch(&[]));
    bench.cut_off_start(&id, &spec).await;
    assert_eq!(find(runtime, &id).await.map(|it| it.phase), Some(Phase::Created));
    runtime.start(&id, &spec).await.unwrap();
    answers(endpoint(runtime, &id).await).await;
    assert_eq!(runtime.list().await.unwrap().len(), 1);
}

pub async fn a_start_that_is_refused_leaves_nothing(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    let mut without_port = spec(bench.launch(&[]));
    without_port.port = 0;
    assert_eq!(runtime.start(&id, &without_port).await.unwrap_err().kind, FaultKind::SpecInvalid);
    if bench.runs_programs() {
        let refused = runtime.start(&id, &spec(bench.absent())).await.unwrap_err();
        assert!(matches!(refused.kind, FaultKind::SpecInvalid | FaultKind::ImageNotFound), "{refused:?}");
    }
    assert_eq!(runtime.list().await.unwrap(), []);
}

pub async fn what_stops_at_sigterm_is_not_killed_and_nothing_is_left(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    runtime.start(&id, &spec(bench.launch(&[]))).await.unwrap();
    answers(endpoint(runtime, &id).await).await;
    timeout(LONG_GRACE / 2, runtime.stop(&id, LONG_GRACE)).await.expect("it stops at once").unwrap();
    assert_eq!(runtime.list().await.unwrap(), []);
    let gone = runtime.logs(&id, LogQuery::last(1)).await.err();
    assert_eq!(gone.map(|fault| fault.kind), Some(FaultKind::InstanceNotFound));
}

pub async fn what_ignores_sigterm_is_killed_after_the_grace(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    runtime.start(&id, &spec(bench.launch(&["--ignore-sigterm"]))).await.unwrap();
    answers(endpoint(runtime, &id).await).await;
    let stopping = runtime.stop(&id, Duration::from_secs(1));
    timeout(DEADLINE, stopping).await.expect("it is killed").unwrap();
    assert_eq!(runtime.list().await.unwrap(), []);
}

pub async fn stopping_what_is_not_there_is_done(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    runtime.stop(&id, LONG_GRACE).await.unwrap();
    runtime.start(&id, &spec(bench.launch(&["--exit-code", "0"]))).await.unwrap();
    exit(runtime, &id).await;
    let (one, other) = tokio::join!(runtime.stop(&id, LONG_GRACE), runtime.stop(&id, LONG_GRACE));
    assert_eq!((one, other), (Ok(()), Ok(())));
    assert_eq!(runtime.list().await.unwrap(), []);
}

pub async fn two_replicas_have_addresses_of_their_own(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut endpoints = Vec::new();
    for replica in 0..2 {
        runtime.start(&id("llama", replica), &spec(bench.launch(&[]))).await.unwrap();
        endpoints.push(endpoint(runtime, &id("llama", replica)).await);
    }
    assert_ne!(endpoints[0], endpoints[1]);
    for endpoint in endpoints {
        answers(endpoint).await;
    }
    let listed: Vec<_> = runtime.list().await.unwrap().into_iter().map(|it| it.id).collect();
    assert_eq!(listed, [id("llama", 0), id("llama", 1)]);
}

pub async fn logs_give_the_last_lines(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    let spec = spec(bench.launch(&["--print-lines", "5000", "--exit-code", "1"]));
    runtime.start(&id, &spec).await.unwrap();
    exit(runtime, &id).await;
    let tail = LogQuery::last;
    assert_eq!(log(runtime, &id, tail(2)).await, ["line 4998", "line 4999"]);
    assert_eq!(log(runtime, &id, tail(0)).await, [""; 0]);
    assert_eq!(log(runtime, &id, tail(u32::MAX)).await.len(), 5000);
}

pub async fn a_followed_log_ends_with_its_instance(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    if !bench.runs_programs() {
        return;
    }
    let args = ["--print-lines", "3", "--exit-code", "0", "--exit-after-ms", "500"];
    runtime.start(&id, &spec(bench.launch(&args))).await.unwrap();
    let lines = log(runtime, &id, LogQuery { follow: true, ..LogQuery::last(100) }).await;
    assert_eq!(lines[..3], ["line 0", "line 1", "line 2"]);
    assert_eq!(exit(runtime, &id).await, (Some(0), false));
}

pub async fn a_followed_log_goes_on_with_what_comes(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    if !bench.runs_programs() {
        return;
    }
    runtime.start(&id, &spec(bench.launch(&["--print-every-ms", "20"]))).await.unwrap();
    let lines = runtime.logs(&id, LogQuery { follow: true, ..LogQuery::last(0) }).await.unwrap();
    let lines: Vec<_> = timeout(DEADLINE, lines.take(5).try_collect()).await.expect("it goes on").unwrap();
    let number = |line: &String| line.strip_prefix("still here, ").and_then(|it| it.parse::<u64>().ok());
    let numbers: Vec<_> = lines.iter().filter_map(number).collect();
    assert!(numbers.len() >= 4 && numbers.windows(2).all(|two| two[0] + 1 == two[1]), "{lines:?}");
}

pub async fn of_a_line_without_an_end_little_is_held(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    if !bench.runs_programs() {
        return;
    }
    let args = ["--print-long-line-kib", "512", "--print-lines", "1", "--exit-code", "0"];
    runtime.start(&id, &spec(bench.launch(&args))).await.unwrap();
    exit(runtime, &id).await;
    let pieces = log(runtime, &id, LogQuery::last(100)).await;
    assert!(pieces.iter().all(|piece| piece.len() <= LINE_BYTES_MAX));
    assert_eq!(pieces.concat().matches('x').count(), 512 << 10);
}

pub async fn what_was_printed_long_ago_is_left_out(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    if !bench.runs_programs() {
        return;
    }
    runtime.start(&id, &spec(bench.launch(&["--print-lines", "3", "--exit-code", "0"]))).await.unwrap();
    exit(runtime, &id).await;
    let since = |seconds: i64| LogQuery { since: Some(Timestamp(seconds * 1_000_000)), ..LogQuery::last(9) };
    assert_eq!(log(runtime, &id, since(1)).await.len(), 3);
    assert_eq!(log(runtime, &id, since(i64::from(i32::MAX))).await, [""; 0]);
}

pub async fn changes_wake_at_once_and_after_every_change(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    let mut changes = runtime.changes();
    timeout(DEADLINE, changes.next()).await.expect("it wakes at once");
    let spec = spec(bench.launch(&["--exit-code", "0"]));
    runtime.start(&id, &spec).await.unwrap();
    // Looks only when woken, so every change must wake.
    let watching = async {
        while !matches!(find(runtime, &id).await.map(|it| it.phase), Some(Phase::Exited { .. })) {
            changes.next().await;
        }
    };
    timeout(DEADLINE, watching).await.expect("the end wakes");
}

pub async fn volumes_stay_until_they_are_removed(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    let volume = VolumeId::new(id.deployment.clone(), "cache").unwrap();
    for _ in 0..2 {
        runtime.ensure_volume(&volume).await.unwrap();
        assert_eq!(runtime.volumes().await.unwrap(), std::slice::from_ref(&volume));
    }
    let mut spec = spec(bench.launch(&[]));
    spec.mounts = vec![Mount::new(MountSource::Volume(volume.clone()), "/cache").unwrap()];
    runtime.start(&id, &spec).await.unwrap();
    assert_eq!(runtime.remove_volume(&volume).await.unwrap_err().kind, FaultKind::VolumeInUse);
    runtime.stop(&id, LONG_GRACE).await.unwrap();
    for _ in 0..2 {
        runtime.remove_volume(&volume).await.unwrap();
        assert_eq!(runtime.volumes().await.unwrap(), []);
    }
}

pub async fn another_installation_sees_and_touches_nothing(bench: &dyn Bench) {
    let Some(other) = bench.of_another_installation() else { return };
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    let volume = VolumeId::new(id.deployment.clone(), "cache").unwrap();
    runtime.ensure_volume(&volume).await.unwrap();
    runtime.start(&id, &spec(bench.launch(&[]))).await.unwrap();
    let before = runtime.list().await.unwrap();

    assert_eq!(other.list().await.unwrap(), []);
    assert_eq!(other.volumes().await.unwrap(), []);
    other.stop(&id, Duration::ZERO).await.unwrap();
    other.remove_volume(&volume).await.unwrap();
    assert_eq!(runtime.list().await.unwrap(), before);
    assert_eq!(runtime.volumes().await.unwrap(), [volume]);
}

pub async fn a_registry_started_anew_goes_on_with_what_runs(bench: &dyn Bench) {
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    let spec = spec(bench.launch(&[]));
    runtime.start(&id, &spec).await.unwrap();
    let before = runtime.list().await.unwrap();
    let Some(anew) = bench.reopened() else { return };
    anew.start(&id, &spec).await.unwrap();
    assert_eq!(anew.list().await.unwrap(), before);
    answers(endpoint(anew.as_ref(), &id).await).await;
    anew.stop(&id, LONG_GRACE).await.unwrap();
    assert_eq!(anew.list().await.unwrap(), []);
    assert_eq!(runtime.list().await.unwrap(), []);
}

pub async fn the_environment_reaches_the_instance_and_nothing_else_does(bench: &dyn Bench) {
    if !bench.runs_programs() {
        return;
    }
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    // Cargo sets this one for every test.
    let foreign = "CARGO_MANIFEST_DIR";
    assert!(std::env::var_os(foreign).is_some());
    let args = ["--exit-code", "0", "--print-env", "PLAIN", "--print-env", "KEY", "--print-env", foreign];
    let mut spec = spec(bench.launch(&args));
    spec.env.insert("PLAIN".into(), EnvValue::Plain("a b=\"c\" $PATH".into()));
    spec.env.insert("KEY".into(), EnvValue::Secret(SecretString::from("canary".to_owned())));
    runtime.start(&id, &spec).await.unwrap();
    exit(runtime, &id).await;
    let lines = log(runtime, &id, LogQuery::last(10)).await;
    assert_eq!(lines, ["PLAIN=a b=\"c\" $PATH", "KEY=canary", "CARGO_MANIFEST_DIR is not set"]);
}

pub async fn a_volume_outlives_its_instances(bench: &dyn Bench) {
    if !bench.runs_programs() {
        return;
    }
    let (runtime, id) = (bench.runtime(), id("llama", 0));
    let volume = VolumeId::new(id.deployment.clone(), "cache").unwrap();
    // A container has it at its place, a command is told the place.
    let file = match bench.launch(&[]) {
        super::Launch::Image { .. } => "/cache/file",
        super::Launch::Command { .. } => "{mount:/cache}/file",
    };
    for (incarnation, what) in [(0, "--write-file"), (1, "--print-file")] {
        let id = InstanceId { incarnation, ..id.clone() };
        let mut spec = spec(bench.launch(&[what, file, "--exit-code", "0"]));
        spec.mounts = vec![Mount::new(MountSource::Volume(volume.clone()), "/cache").unwrap()];
        runtime.start(&id, &spec).await.unwrap();
        exit(runtime, &id).await;
        let lines = log(runtime, &id, LogQuery::last(1)).await;
        assert!(lines[0].ends_with("/file: written"), "{lines:?}");
        runtime.stop(&id, LONG_GRACE).await.unwrap();
    }
}
