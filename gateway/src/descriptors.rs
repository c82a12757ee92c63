//! Notices that the process has no file descriptor left.
//!
//! What must stay true: that is never held against an upstream (`upstream::ConnectError::NoDescriptor`), and streams
//! that are under way need none and notice nothing. New connections wait in the kernel's queue meanwhile: the
//! framework's accept loop pauses for a second when it gets none. It would say so each second; here it is said once.

use std::io;
use std::time::Duration;

use prometheus::IntCounter;
use rustix::io::Errno;

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a call failed for want of what the process or the machine has too few of.
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// Looks for as long as the process runs, and counts the seconds in which there was none.
pub async fn watch(without: IntCounter) {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut were_there = true;
    loop {
        looks.tick().await;
        let are_there = are_left();
        match (were_there, are_there) {
            (true, false) => tracing::error!(
                "no file descriptor is left: new connections wait until others end, streams go on. \
                 Raise the limit of open files (ulimit -n, LimitNOFILE=)"
            ),
            (false, true) => tracing::info!("there are file descriptors again"),
            _ => {}
        }
        if !are_there {
            without.inc();
        }
        were_there = are_there;
    }
}

/// Whether a socket can be made: tried, because nobody counts them for us.
fn are_left() -> bool {
    let made = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    made.map_or_else(|error| !is_exhausted(&error), |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_lacks_is_told_from_what_the_network_does() {
        let is = |errno: Errno| is_exhausted(&io::Error::from(errno));
        assert!(is(Errno::MFILE) && is(Errno::NFILE) && is(Errno::NOBUFS));
        assert!(!is(Errno::CONNREFUSED) && !is(Errno::HOSTUNREACH) && !is(Errno::TIMEDOUT));
        assert!(are_left());
    }
}
