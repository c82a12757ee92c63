//! The log of a serving process: lines on stderr, filtered by `NIMGATE_LOG` or `RUST_LOG`. Client commands
//! have none: they say what they have to say themselves.

use std::env;
use std::io::IsTerminal as _;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Ours from info up, libraries from warn up; waiting for a hand-over is no error, and that nothing can be accepted
/// is said by the gateway, once.
const SERVING: &str = "warn,nimgate=info,gateway=info,registry=info,nim_sim=warn,\
    pingora_core::server::transfer_fd=off,pingora_core::services::listening=off";
/// A demo's output is its story.
const DEMO: &str = "error,nimgate=warn,gateway=warn,registry=warn";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Serving,
    Demo,
}

/// Starts the log. A filter that can't be read is told and replaced by the default.
pub fn start(kind: Kind) {
    let default = match kind {
        Kind::Serving => SERVING,
        Kind::Demo => DEMO,
    };
    let asked = ["NIMGATE_LOG", "RUST_LOG"].into_iter().find_map(|name| {
        let text = env::var(name).ok().filter(|text| !text.is_empty())?;
        Some((name, EnvFilter::try_new(text)))
    });
    let filter = match asked {
        None => EnvFilter::new(default),
        Some((_, Ok(filter))) => filter,
        Some((name, Err(e))) => {
            eprintln!("nimgate: {name} is not a log filter ({e}); using {default}");
            EnvFilter::new(default)
        }
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .finish()
        .with(filter_fn(|event| !holds_secrets(event.target(), *event.level())));
    // Fails only when a log was started before: then that one stays.
    let _ = log.try_init();
}

/// The container engine's client prints whole requests, environments of containers included. No filter brings
/// those into the log.
fn holds_secrets(target: &str, level: Level) -> bool {
    target.split("::").next() == Some("bollard") && level > Level::WARN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prints_whole_requests_stays_out_of_the_log_at_every_level() {
        for level in [Level::INFO, Level::DEBUG, Level::TRACE] {
            assert!(holds_secrets("bollard", level) && holds_secrets("bollard::docker", level));
            assert!(!holds_secrets("registry", level) && !holds_secrets("bollards", level));
        }
        assert!(!holds_secrets("bollard::docker", Level::WARN));
    }
}
