//! The simulated model server of the demo, as a process of its own: this very program under a hidden name.
//!
//! What must stay true: it ends with the process that started it, however that ended. So a demo leaves nothing behind.

use std::io;
use std::time::Duration;

use nim_sim::{Sim, SimOptions};
use rustix::process::{Pid, getppid};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::NimSimArgs;
use crate::serve::ServeError;

/// How soon it is seen that the parent is gone.
const PARENT_INTERVAL: Duration = Duration::from_millis(100);

pub fn run(args: &NimSimArgs) -> Result<(), ServeError> {
    let failed = |source| ServeError::Io { what: "the simulated model server".into(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(serve(args, getppid())).map_err(failed)
}

async fn serve(args: &NimSimArgs, parent: Option<Pid>) -> io::Result<()> {
    // Before listening: a signal during the start must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let NimSimArgs { listen, token_ms } = *args;
    let sim = Sim::start(SimOptions { listen, token_ms, ..SimOptions::default() }).await?;
    println!("a simulated model server (no model is loaded) listens on {}", sim.url());
    tokio::select! {
        _ = terminate.recv() => {}
        () = gone(parent) => println!("nobody is left who started it"),
    }
    sim.shutdown().await;
    Ok(())
}

async fn gone(parent: Option<Pid>) {
    while getppid() == parent {
        tokio::time::sleep(PARENT_INTERVAL).await;
    }
}
