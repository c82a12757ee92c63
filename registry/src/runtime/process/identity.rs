//! Which process it is. A number alone proves nothing: the kernel uses numbers again.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A process, never to be taken for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Clock ticks from boot to its start.
    start_ticks: u64,
    /// Numbers and ticks begin again at each boot.
    boot: String,
}

/// What `/proc` says of a process.
#[derive(Debug, PartialEq, Eq)]
pub struct Stat {
    state: char,
    pub group: i32,
    start_ticks: u64,
}

impl Identity {
    /// Nothing when it is gone.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, start_ticks: stat(pid)?.start_ticks, boot: boot()?.to_owned() })
    }

    /// One that ended and waits for its parent counts as gone.
    pub fn is_alive(&self) -> bool {
        let same = |stat: Stat| stat.start_ticks == self.start_ticks && !matches!(stat.state, 'Z' | 'X');
        stat(self.pid).is_some_and(same) && boot().is_some_and(|boot| boot == self.boot)
    }

    /// Waits until it is gone: only parents are told.
    pub async fn gone(&self, poll_interval: Duration) {
        while self.is_alive() {
            tokio::time::sleep(poll_interval).await;
        }
    }
}

pub fn stat(pid: i32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned());
    BOOT.get_or_init(read).as_deref()
}

/// The second field is the program's name, which may hold anything, also blanks and brackets.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

/// All processes that carry a token in their environment, as far as we may look.
pub fn with_token(token: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| carries(*pid, token)).collect()
}

fn carries(pid: i32, token: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let wanted = format!("{}={token}", super::environment::TOKEN);
    environment.split(|&byte| byte == 0).any(|one| one == wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_does_not_confuse() {
        let line = "42 (a) b (c) S 1 40 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1 1";
        assert_eq!(parse(line), Some(Stat { state: 'S', group: 40, start_ticks: 777 }));
        assert_eq!(parse("42 (a) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = Identity::of(pid).unwrap();
        assert!(me.is_alive());
        assert!(!Identity { start_ticks: me.start_ticks + 1, ..me.clone() }.is_alive());
        assert!(!Identity { boot: "another".into(), ..me }.is_alive());
    }
}
