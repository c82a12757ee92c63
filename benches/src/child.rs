//! Processes that a bench starts, and stops again whatever happens.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::BenchError;

const STOP_POLL: Duration = Duration::from_millis(5);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A started process. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    pub name: String,
    child: Child,
}

impl Running {
    /// Starts `command` with its output in a file below `folder`. Its standard input is a pipe
    /// that ends with this process.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self, BenchError> {
        let path = folder.join(format!("{name}.log"));
        let log = File::create(&path).map_err(BenchError::io(format!("can't make {}", path.display())))?;
        let errors = log.try_clone().map_err(BenchError::io("can't share a log file"))?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(BenchError::io(format!("can't start {name} ({:?})", command.get_program())))?;
        Ok(Self { name: name.to_owned(), child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, and makes it end when it does not.
    pub fn stop(&mut self) {
        if self.has_ended() {
            return;
        }
        // The standard library sends only SIGKILL, which would leave workers behind.
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.pid())]).status();
        let asked = Instant::now();
        while !self.has_ended() {
            if asked.elapsed() > STOP_LIMIT {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(STOP_POLL);
        }
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A copy of a program, to run from.
pub fn copy_program(program: &Path, to: &Path) -> Result<PathBuf, BenchError> {
    fs::copy(program, to).map_err(BenchError::io(format!("can't copy {}", program.display())))?;
    Ok(to.to_owned())
}

/// A port that is free now. Another process could take it first, which is told when it happens.
pub fn free_port() -> Result<u16, BenchError> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(BenchError::io("no free port"))
}

/// Tries again until it works; gives the last error when the time is over.
pub fn eventually<T>(
    limit: Duration,
    pause: Duration,
    mut attempt: impl FnMut() -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => return Err(error),
            Err(_) => thread::sleep(pause),
        }
    }
}
