//! Why a serving command did not start, or ended, and with which exit code.

use std::fmt;
use std::io;

use gateway::StartError;
use registry::{BackupError, OpenError};

use crate::client::ClientError;
use crate::config::Problem;
use crate::exit;
use crate::master_key::KeyError;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Config(Problems),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("{}", start(.0))]
    Start(#[from] StartError),
    #[error("{0}")]
    Registry(#[from] OpenError),
    #[error("can't start the runtime: {0}")]
    Runtime(io::Error),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the registry stopped serving: {0}")]
    RegistryEnded(io::Error),
    #[error("{0}")]
    Backup(#[from] BackupError),
    #[error("{0}")]
    Ask(#[from] ClientError),
    #[error("{0}")]
    Said(String),
    #[error("the demo failed: {0}")]
    Demo(ClientError),
}

/// Everything wrong with the configuration.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not valid:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

fn start(error: &StartError) -> String {
    match error {
        StartError::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
            format!(
                "{address} is in use; is nimgate running already (nimgate status)? Take another with --listen or \
                 --admin-listen"
            )
        }
        other => other.to_string(),
    }
}

impl ServeError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Key(_) | Self::Start(StartError::Tls(_)) => exit::BAD_CONFIGURATION,
            Self::Demo(e) | Self::Ask(e) => e.exit_code(),
            _ => exit::FAILED,
        }
    }
}
