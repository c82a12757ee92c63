//! `nimgate registry backup`, `rotate` and `verify`.

use std::path::Path;
use std::time::Duration;

use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use registry::{KeyProgress, Verified};
use serde_json::Value;

use super::{ServeError, Start, load, places, roles, runtime};
use crate::cli::{BackupArgs, RegistryCommand, RotateArgs, VerifyArgs};
use crate::client::http::{Http, REGISTRY};
use crate::client::{ClientError, output};
use crate::config::{FlagValue, Role, Settings};
use crate::master_key::{Origin, WhenAbsent};

const ROTATE_PATH: &str = "/apis/secrets/v2/rotate-encryption-keys";
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// A registry that gives up a long rotation is asked to go on this often.
const ROUNDS_MAX: usize = 1000;
/// Faults that are listed; the rest is counted.
const FAULTS_SHOWN_MAX: usize = 20;

pub fn run(command: &RegistryCommand) -> Result<(), ServeError> {
    match command {
        RegistryCommand::Backup(args) => backup(args),
        RegistryCommand::Rotate(args) => rotate(args),
        RegistryCommand::Verify(args) => verify(args),
    }
}

fn settings(config: Option<&Path>, flags: Vec<FlagValue>) -> Result<Settings, ServeError> {
    load(Role::Registry, config, flags).map(|loaded| loaded.settings)
}

fn backup(args: &BackupArgs) -> Result<(), ServeError> {
    let settings = settings(args.store.config.as_deref(), args.store.flags())?;
    let made = registry::back_up(&settings.data_dir, &args.dest)?;
    let mut text = format!(
        "copied {} to {}\n  database  {} secrets, {} providers, {} bytes\n",
        settings.data_dir.display(),
        args.dest.display(),
        made.secrets,
        made.providers,
        made.database_bytes
    );
    if made.files > 0 {
        text.push_str(&format!("  files     {}, {} bytes\n", made.files, made.file_bytes));
    }
    text.push_str(&format!(
        "  key       not in it; it needs master key {}: keep that elsewhere\n\n\
         restore: stop the registry, put this folder in the place of {}, start it with the same master key\n\
         check:   nimgate registry verify --data-dir {}\n",
        made.keys.join(" and "),
        settings.data_dir.display(),
        args.dest.display(),
    ));
    Ok(output::push(&text)?)
}

fn verify(args: &VerifyArgs) -> Result<(), ServeError> {
    let settings = settings(args.keyed.store.config.as_deref(), args.keyed.flags())?;
    crate::process::protect_memory();
    let (ring, _) = places(&settings).load(WhenAbsent::Refuse)?;
    let Verified { current_key, sound, faults } = registry::verify(&settings.data_dir, &ring.keys())?;
    output::say(&format!("{} open with master key {current_key}", secrets(sound)))?;
    if faults.is_empty() {
        return Ok(());
    }
    let shown = faults.iter().take(FAULTS_SHOWN_MAX);
    let mut text: String = shown.map(|fault| format!("\n  {}: {}", fault.secret, fault.why)).collect();
    if faults.len() > FAULTS_SHOWN_MAX {
        text.push_str(&format!("\n  and {} more", faults.len() - FAULTS_SHOWN_MAX));
    }
    Err(ServeError::Said(format!(
        "not everything does; run `nimgate registry rotate` if another key is named, else store the secret \
         again:{text}"
    )))
}

fn rotate(args: &RotateArgs) -> Result<(), ServeError> {
    let settings = settings(args.keyed.store.config.as_deref(), args.flags())?;
    crate::process::protect_memory();
    let keys = places(&settings).load(WhenAbsent::Refuse);
    let runtime = runtime(1)?;
    let done = if registry::is_in_use(&settings.data_dir)? {
        let newest = keys.ok().map(|(ring, _)| ring.current_id());
        runtime.block_on(rotate_running(&settings, newest.as_deref()))?
    } else {
        let (key, origin) = keys?;
        runtime.block_on(rotate_here(Start { settings, key, origin }))?
    };
    report(&done)
}

/// What a rotation came to.
struct Done {
    current_key: String,
    rotated: u64,
    failed: Vec<String>,
    complete: bool,
}

fn report(done: &Done) -> Result<(), ServeError> {
    output::say(&format!("{} sealed again, master key {} seals", secrets(done.rotated), done.current_key))?;
    if !done.failed.is_empty() {
        return Err(ServeError::Said(format!(
            "no loaded key opens {}; put their key back into the key file, or store them again, and rotate again",
            done.failed.join(", ")
        )));
    }
    if !done.complete {
        return Err(ServeError::Said("some secrets are left; run it again".to_owned()));
    }
    Ok(output::say(
        "next: nimgate registry verify, then take the old keys out of the key file and send SIGHUP",
    )?)
}

fn secrets(count: u64) -> String {
    if count == 1 { "1 secret".to_owned() } else { format!("{count} secrets") }
}

/// Nobody serves the folder: it is done in this process.
async fn rotate_here(start: Start) -> Result<Done, ServeError> {
    debug_assert!(start.origin != Origin::Memory);
    let registry = roles::open(&start).await?;
    let progress = async || registry.key_progress().await.ok();
    let rotation = shown(registry.rotate_keys(), progress).await;
    let rotation = rotation.map_err(|error| ServeError::Said(error.to_string()))?;
    Ok(Done {
        current_key: rotation.current_key,
        rotated: rotation.rotated,
        failed: rotation.failed,
        complete: rotation.complete,
    })
}

/// A registry serves the folder: it is asked to do it.
async fn rotate_running(settings: &Settings, newest: Option<&str>) -> Result<Done, ServeError> {
    let http = reach(settings).await?;
    let progress = async || http.get(ROTATE_PATH).await.ok().and_then(|answer| progress_of(&answer));
    let seals = progress().await.map(|progress| progress.current_key).unwrap_or_default();
    if let Some(newest) = newest.filter(|newest| !seals.is_empty() && *newest != seals) {
        return Err(ServeError::Said(format!(
            "the running registry seals with master key {seals}, but the newest key here is {newest}; send \
             SIGHUP to the registry and to every gateway first"
        )));
    }
    let work = async {
        let mut rotated = 0;
        for _ in 0..ROUNDS_MAX {
            match http.json(Method::POST, ROTATE_PATH, None).await {
                Ok(answer) => return Ok(done_of(&answer, rotated)),
                // It took longer than one call may. What is done is done.
                Err(error) if error.status() == Some(http::StatusCode::SERVICE_UNAVAILABLE) => {
                    let now = progress().await.ok_or(error)?;
                    rotated = now.secrets - now.waiting;
                }
                Err(error) => return Err(error),
            }
        }
        Err(ClientError::Said("the registry does not come to an end with it".to_owned()))
    };
    Ok(shown(work, progress).await?)
}

fn done_of(answer: &Value, before: u64) -> Done {
    let names = answer["failed"].as_array().map(Vec::as_slice).unwrap_or_default();
    Done {
        current_key: answer["current_key"].as_str().unwrap_or_default().to_owned(),
        rotated: before + answer["rotated_secrets"].as_u64().unwrap_or(0),
        failed: names.iter().filter_map(|name| name.as_str().map(output::line)).collect(),
        complete: answer["success"].as_bool().unwrap_or(false),
    }
}

fn progress_of(answer: &Value) -> Option<KeyProgress> {
    Some(KeyProgress {
        current_key: answer["current_key"].as_str()?.to_owned(),
        secrets: answer["secrets"].as_u64()?,
        waiting: answer["waiting"].as_u64()?,
    })
}

/// The registry of `nimgate up` answers on a socket in the folder, one of its own on its address.
async fn reach(settings: &Settings) -> Result<Http, ServeError> {
    let socket = settings.registry_socket();
    if tokio::net::UnixStream::connect(&socket).await.is_ok() {
        return Ok(Http::over(&socket)?);
    }
    Ok(Http::new(&format!("http://{}", settings.registry_listen), REGISTRY, None)?)
}

/// Runs `work` and draws how far it is, on a terminal.
async fn shown<T>(work: impl Future<Output = T>, progress: impl AsyncFn() -> Option<KeyProgress>) -> T {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} secrets") {
        bar.set_style(style);
    }
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                bar.finish_and_clear();
                return done;
            }
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {}
        }
        if let Some(now) = progress().await {
            bar.set_length(now.secrets);
            bar.set_position(now.secrets - now.waiting.min(now.secrets));
        }
    }
}
