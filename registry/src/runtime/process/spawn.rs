//! Making processes.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::{Child, Command};

use super::super::id::{InstanceId, sorted};
use super::super::spec::{InstanceSpec, Launch, MountSource};
use super::super::{Fault, FaultKind};
use super::environment::{Placeholders, environment};
use super::identity::{Identity, with_token};
use super::record::{self, Ended, Record, State};
use super::{Inner, log};

/// Free ports that are looked at until one is not meant for another instance.
const PORT_TRIES: usize = 32;

impl Inner {
    pub(super) async fn start(self: &Arc<Self>, id: &InstanceId, spec: &InstanceSpec) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        let folder = self.folder(id);
        let record = match record::read(&folder)? {
            None => self.begin(id, spec, &folder)?,
            Some(record) if record.spec_digest != spec.digest() => {
                let message = format!("{id} is there with another spec: stop it first, or start another try");
                return Err(Fault::new(FaultKind::SpecConflict, message));
            }
            Some(record) if record.state != State::Starting => return Ok(()),
            Some(record) => record,
        };
        // A registry that was killed while it started this one may have got as far as the process.
        if let Some(identity) = with_token(&record.token).first().and_then(|pid| Identity::of(*pid)) {
            tokio::spawn(super::adopted(Arc::downgrade(self), folder.clone(), identity.clone()));
            return self.running(&folder, record, identity);
        }
        let child = match self.spawn(spec, &folder, &record) {
            Ok(child) => child,
            Err(fault) => {
                record::remove_folder(folder).await?;
                return Err(fault);
            }
        };
        self.watch(child, folder, record)
    }

    /// Writes down what is about to be done.
    pub(super) fn begin(&self, id: &InstanceId, spec: &InstanceSpec, folder: &Path) -> Result<Record, Fault> {
        resolve(&spec.launch)?;
        let mut volumes = Vec::new();
        for mount in &spec.mounts {
            if let MountSource::Volume(volume) = mount.source() {
                self.make_volume(volume)?;
                volumes.push(volume.name(&self.config.installation));
            }
        }
        let record = Record {
            labels: sorted(id.labels(&self.config.installation)),
            token: uuid::Uuid::new_v4().simple().to_string(),
            spec_digest: spec.digest(),
            port: self.free_port()?,
            gpus: spec.gpus.clone(),
            volumes,
            state: State::Starting,
        };
        fs::create_dir_all(folder).map_err(|error| record::fault(folder, &error))?;
        record::write(folder, &record)?;
        Ok(record)
    }

    /// A port that nobody listens on, nor will: another instance may be about to. Somebody else may still be
    /// faster; the process then ends, and another try gets another port.
    fn free_port(&self) -> Result<u16, Fault> {
        let promised: Vec<_> = self.records()?.into_iter().map(|(_, record)| record.port).collect();
        for _ in 0..PORT_TRIES {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
            let port = listener.and_then(|listener| listener.local_addr()).map(|address| address.port());
            match port {
                Ok(port) if !promised.contains(&port) => return Ok(port),
                Ok(_) => {}
                Err(error) => {
                    return Err(Fault::new(
                        FaultKind::PortInUse,
                        format!("no free port on 127.0.0.1: {error}"),
                    ));
                }
            }
        }
        Err(Fault::new(FaultKind::PortInUse, "no free port on 127.0.0.1: all are taken by other instances"))
    }

    fn spawn(&self, spec: &InstanceSpec, folder: &Path, record: &Record) -> Result<Child, Fault> {
        let Launch::Command { program, args, working_dir } = &spec.launch else {
            return Err(not_a_command());
        };
        let placeholders = Placeholders::new(self, spec, record.port)?;
        let output = log::open(folder).map_err(|error| record::fault(folder, &error))?;
        let errors = output.try_clone().map_err(|error| record::fault(folder, &error))?;
        let mut command = Command::new(program);
        command
            .args(args.iter().map(|arg| placeholders.fill(arg)))
            .env_clear()
            .envs(environment(spec, &placeholders, record.port, &record.token))
            .current_dir(working_dir.as_deref().unwrap_or(folder))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(false);
        if let Some(user) = spec.user {
            command.uid(user.uid);
            if let Some(gid) = user.gid {
                command.gid(gid);
            }
        }
        command.spawn().map_err(|error| refused(program, spec, &error))
    }

    /// Records the process, and its end when that comes.
    fn watch(self: &Arc<Self>, mut child: Child, folder: PathBuf, record: Record) -> Result<(), Fault> {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let Some(identity) = pid.and_then(Identity::of) else {
            let _ = child.start_kill();
            return Err(Fault::new(FaultKind::Engine, "/proc tells nothing of a process that was just made"));
        };
        let token = record.token.clone();
        self.children.lock().insert(token.clone());
        let recorded = self.running(&folder, record, identity.clone());
        let inner = Arc::downgrade(self);
        tokio::spawn(async move {
            let status = child.wait().await;
            let Some(inner) = inner.upgrade() else { return };
            let code = status.ok().and_then(|status| {
                use std::os::unix::process::ExitStatusExt as _;
                status.code().or_else(|| status.signal().map(|signal| 128 + signal))
            });
            inner.ended(&folder, &identity, Ended { code, at: Some(record::now()) }).await;
            inner.children.lock().remove(&token);
        });
        recorded
    }

    fn running(&self, folder: &Path, record: Record, identity: Identity) -> Result<(), Fault> {
        let state = State::Running { identity, since: record::now() };
        let recorded = record::write(folder, &Record { state, ..record });
        self.wake();
        recorded
    }
}

fn not_a_command() -> Fault {
    Fault::new(
        FaultKind::SpecInvalid,
        "this runtime runs commands: give a command, or use the docker runtime",
    )
}

/// Where the program is.
pub fn resolve(launch: &Launch) -> Result<PathBuf, Fault> {
    let Launch::Command { program, .. } = launch else { return Err(not_a_command()) };
    if program.contains('/') && Path::new(program).is_file() {
        return Ok(program.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(program));
    match found.find(|path| !program.contains('/') && path.is_file()) {
        Some(path) => Ok(path),
        None => {
            let message = format!("there is no program {program:?}: install it, or give its whole path");
            Err(Fault::new(FaultKind::SpecInvalid, message))
        }
    }
}

fn refused(program: &str, spec: &InstanceSpec, error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::PermissionDenied {
        let why = match spec.user {
            Some(user) => format!("only root may start processes as user {}", user.uid),
            None => "make it executable".into(),
        };
        return Fault::new(FaultKind::PermissionDenied, format!("{program}: permission denied; {why}"));
    }
    Fault::new(FaultKind::SpecInvalid, format!("{program} can't be started: {error}"))
}
