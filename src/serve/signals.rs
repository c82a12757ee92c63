//! All signals of a serving process, in one place.
//!
//! SIGTERM drains; a second one ends at once. SIGINT the same, with a word to whoever pressed the key.
//! SIGQUIT asks for the listeners to be handed over to the next process. SIGHUP has the certificate files
//! and the master key file read again.

use std::io;

use gateway::Stop;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The handlers. From the moment this exists, no signal it names ends the process by itself.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Terminate,
    Interrupt,
    HandOver,
    Reload,
}

impl Signals {
    pub fn register() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Turns signals into stops for as long as it is polled.
    pub async fn drive(mut self, stop: watch::Sender<Stop>, hand_over: impl Fn(), reload: impl Fn()) {
        loop {
            let asked = self.next().await;
            match asked {
                Asked::HandOver => {
                    hand_over();
                    continue;
                }
                Asked::Reload => {
                    reload();
                    continue;
                }
                Asked::Terminate | Asked::Interrupt => {}
            }
            let next = after(*stop.borrow());
            if asked == Asked::Interrupt && next == Stop::Drain {
                eprintln!("\nstopping; what is in flight may finish (press Ctrl-C again to end it now)");
            }
            tracing::info!(signal = ?asked, stop = ?next, "asked to stop");
            stop.send_replace(next);
        }
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.quit.recv() => Asked::HandOver,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

/// The first request to stop drains, every further one ends.
fn after(stop: Stop) -> Stop {
    match stop {
        Stop::Run => Stop::Drain,
        Stop::HandedOver | Stop::Drain | Stop::Now => Stop::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_drains_and_the_second_ends() {
        assert_eq!(after(Stop::Run), Stop::Drain);
        assert_eq!(after(Stop::Drain), Stop::Now);
        assert_eq!(after(Stop::HandedOver), Stop::Now);
        assert_eq!(after(Stop::Now), Stop::Now);
    }
}
