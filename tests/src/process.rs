//! A child process: what it prints, how it is told to end, how it ended. Dropping it kills it.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::wait::{DEADLINE, within};

/// The most that is kept of what a process prints.
const PRINTED_BYTES_MAX: usize = 1024 * 1024;

/// The path of one of the workspace's commands, built beside this test.
///
/// # Panics
/// When it is not built.
pub fn binary(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_else(|e| panic!("the path of this test: {e}"));
    // target/debug/deps/it-1234 → target/debug/NAME
    let folder = exe.ancestors().nth(2).unwrap_or(&exe);
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not built; run: cargo build -p {name} (tests/run does it for you)",
        path.display()
    );
    path
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Interrupt,
    Quit,
    Hangup,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "-TERM",
            Self::Interrupt => "-INT",
            Self::Quit => "-QUIT",
            Self::Hangup => "-HUP",
        }
    }
}

pub struct Process {
    child: Child,
    printed: watch::Receiver<String>,
}

impl Process {
    /// # Panics
    /// When it can't be started.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (sender, printed) = watch::channel(String::new());
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(collect(stdout, sender.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(collect(stderr, sender));
        }
        Self { child, printed }
    }

    /// What it printed so far, standard output and error together.
    pub fn printed(&self) -> String {
        self.printed.borrow().clone()
    }

    /// Waits until `find` finds something in what it printed.
    ///
    /// # Panics
    /// When the process ends, or the deadline passes, first.
    pub async fn prints<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let waiting = self.printed.wait_for(|text| find(text).is_some());
        let found = match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(Ok(text)) => find(&text),
            _ => None,
        };
        match found {
            Some(found) => found,
            None => panic!("it never printed {what}; it printed:\n{}", self.printed()),
        }
    }

    /// Its id, while it runs.
    ///
    /// # Panics
    /// When it has ended.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("it has ended; it printed:\n{}", self.printed()))
    }

    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        let id = self.id().to_string();
        let sent = std::process::Command::new("kill").args([signal.name(), &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "can't signal {id}");
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on until the deadline.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = within("the end of a process", self.child.wait()).await;
        status.unwrap_or_else(|e| panic!("waiting for a process: {e}"))
    }

    /// SIGKILL: no chance to tidy up.
    pub async fn kill(&mut self) {
        self.child.start_kill().unwrap_or_else(|e| panic!("killing a process: {e}"));
        self.ended().await;
    }
}

async fn collect(stream: impl AsyncRead + Unpin, printed: watch::Sender<String>) {
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        printed.send_modify(|text| {
            if text.len() < PRINTED_BYTES_MAX {
                text.push_str(&String::from_utf8_lossy(&line));
                text.push('\n');
            }
        });
    }
}
