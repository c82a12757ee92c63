//! Arguments of the commands that look after a registry's data.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::serve::one;
use crate::config::FlagValue;

#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Copy the data folder, while a registry serves it or not.
    Backup(BackupArgs),
    /// Seal every secret under the newest master key, while everything goes on.
    Rotate(RotateArgs),
    /// Prove that every secret opens with the newest master key.
    Verify(VerifyArgs),
}

/// Which registry.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Configuration file (TOML) [default: ~/.config/nimgate/nimgate.toml if it exists]
    #[arg(long, value_name = "FILE", env = "NIMGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder of the database [default: ~/.local/share/nimgate]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The copy is of one moment and complete, whoever writes meanwhile. The master key is not in
it: keep that elsewhere, as long as the copy. To restore, stop the registry, put the copy in
the place of its data folder, and start it with the same key; gateways follow by themselves.

Examples:
  nimgate registry backup /backups/nimgate-2026-11-21
  nimgate registry backup copy --data-dir /var/lib/nimgate
  nimgate registry verify --data-dir copy        # does the copy open with our key?
  nimgate registry --data-dir copy               # a registry on it")]
pub struct BackupArgs {
    /// New folder to make; it must not exist
    #[arg(value_name = "DEST")]
    pub dest: PathBuf,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A new master key, step by step. Nothing stops, and no request fails:
  1. nimgate keygen --add --file master.key   a new first line; the old keys still open
  2. copy the file to every gateway; send SIGHUP to them and to the registry
  3. nimgate registry rotate                  may be interrupted and called again
  4. nimgate registry verify                  every secret opens with the new key
  5. take the old lines out of the file, and send SIGHUP once more

Keys in NIMGATE_MASTER_KEY are separated by commas, and need a restart in the place of
SIGHUP. Backups from before step 3 need the old key: keep it as long as them.

Examples:
  nimgate registry rotate
  nimgate registry rotate --config config/registry-role.toml")]
pub struct RotateArgs {
    #[command(flatten)]
    pub keyed: KeyedArgs,
    /// Where the running registry listens, if it is not part of `nimgate up` [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate registry verify
  nimgate registry verify --data-dir copy --master-key-file master.key")]
pub struct VerifyArgs {
    #[command(flatten)]
    pub keyed: KeyedArgs,
}

/// Which registry, and its keys.
#[derive(Debug, Args)]
pub struct KeyedArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// File with the master keys, the newest first
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<String>,
}

impl StoreArgs {
    pub fn flags(&self) -> Vec<FlagValue> {
        one("data_dir", "--data-dir", self.data_dir.as_ref()).into_iter().collect()
    }
}

impl KeyedArgs {
    pub fn flags(&self) -> Vec<FlagValue> {
        let mut out = self.store.flags();
        out.extend(one("master_key_file", "--master-key-file", self.master_key_file.as_ref()));
        out
    }
}

impl RotateArgs {
    pub fn flags(&self) -> Vec<FlagValue> {
        let mut out = self.keyed.flags();
        out.extend(one("registry_listen", "--listen", self.listen.as_ref()));
        out
    }
}
