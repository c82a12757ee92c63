//! What every bench can be told: which nimgate, where the results go, and how much it may push others aside.

use std::path::PathBuf;

use clap::Args;

use crate::error::BenchError;
use crate::gateways::Nimgate;
use crate::process::Preferred;
use crate::results;

#[derive(Debug, Args)]
pub struct Subject {
    /// Where the raw results go [default: benches/results/DATE-BENCH.json]
    #[arg(long)]
    out: Option<PathBuf>,
    /// The binary to measure [default: nimgate beside this program]
    #[arg(long)]
    nimgate: Option<PathBuf>,
    /// Prefer this bench to everything else on the machine (needs root)
    #[arg(long)]
    pub prefer: bool,
}

impl Subject {
    pub fn program(&self) -> Result<PathBuf, BenchError> {
        self.nimgate.clone().map_or_else(Nimgate::default_program, Ok)
    }

    /// To be held for as long as the bench runs.
    pub fn preferred(&self) -> Result<Option<Preferred>, BenchError> {
        self.prefer.then(Preferred::ask).transpose()
    }

    /// Where the results of `bench` go.
    pub fn results(&self, bench: &str) -> PathBuf {
        results::path(self.out.clone(), bench)
    }
}
