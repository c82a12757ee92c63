//! Arguments of `nimgate fileset` and `nimgate file`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::fields::About;
use super::parse::json_object;
use super::shared::{Connection, Create, Listing, Named, Update};

#[derive(Debug, Subcommand)]
pub enum FilesetCommand {
    /// Make a fileset: an empty folder here, or a reference to files elsewhere.
    #[command(after_help = "\
Examples:
  nimgate fileset create my-llama --purpose model
  nimgate fileset create qwen --huggingface Qwen/Qwen3-8B --token-secret hf-token --purpose model
  nimgate fileset create data --storage '{\"type\": \"s3\", \"bucket\": \"data\", \"use_sdk_auth\": true}'
  nimgate file upload ./my-llama my-llama")]
    Create(Create<FilesetFields>),
    /// All filesets of the workspace.
    #[command(after_help = "Example:\n  nimgate fileset list --filter purpose=model")]
    List(Listing),
    /// One fileset.
    #[command(after_help = "Example:\n  nimgate fileset get my-llama")]
    Get(Named),
    /// Change what is named; the rest stays.
    #[command(
        after_help = "Example:\n  nimgate fileset update my-llama --tool-call-parser llama3_json --auto-tool-choice"
    )]
    Update(Update<FilesetFields>),
    /// Delete a fileset and its files.
    #[command(after_help = "Example:\n  nimgate fileset delete my-llama")]
    Delete(Named),
}

#[derive(Debug, Default, Args)]
pub struct FilesetFields {
    /// dataset, model or generic
    #[arg(long, value_name = "PURPOSE")]
    pub purpose: Option<String>,
    /// Its files are those of this Hugging Face repository; only when it is created
    #[arg(long, value_name = "OWNER/NAME", conflicts_with = "storage")]
    pub huggingface: Option<String>,
    /// Revision of the repository
    #[arg(long, value_name = "REVISION", requires = "huggingface")]
    pub revision: Option<String>,
    /// Secret with the token for the repository
    #[arg(long, value_name = "SECRET", requires = "huggingface")]
    pub token_secret: Option<String>,
    /// JSON object: where its files are (type huggingface, ngc or s3); only when it is created
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub storage: Option<Map<String, Value>>,
    /// Parser of the tool calls its model makes
    #[arg(long, value_name = "PARSER")]
    pub tool_call_parser: Option<String>,
    /// Let its model decide when to call tools
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub auto_tool_choice: Option<bool>,
    /// JSON object: metadata, replaced as a whole
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub metadata: Option<Map<String, Value>>,
    /// JSON object: fields of your own
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub custom_fields: Option<Map<String, Value>>,
    #[command(flatten)]
    pub about: About,
}

#[derive(Debug, Subcommand)]
pub enum FileCommand {
    /// Upload a file, or a folder with all that is in it.
    #[command(after_help = "\
Examples:
  nimgate file upload ./my-llama my-llama
  nimgate file upload ./config.json my-llama --remote-path original/config.json")]
    Upload(UploadArgs),
    /// Download a file, or all files below a path.
    #[command(after_help = "\
Examples:
  nimgate file download my-llama --to ./my-llama
  nimgate file download my-llama --remote-path config.json")]
    Download(DownloadArgs),
    /// Files of a fileset, with their sizes.
    #[command(after_help = "\
Examples:
  nimgate file list my-llama
  nimgate file list my-llama --path original/")]
    List(FileList),
    /// Delete a file.
    #[command(after_help = "Example:\n  nimgate file delete my-llama original/config.json")]
    Delete(FileNamed),
}

#[derive(Debug, Args)]
pub struct UploadArgs {
    /// File or folder on this machine
    pub local: PathBuf,
    /// Fileset they go to
    pub fileset: String,
    /// Name in the fileset: of the file, or of a folder for all of them
    #[arg(long, value_name = "PATH")]
    pub remote_path: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct DownloadArgs {
    /// Fileset they come from
    pub fileset: String,
    /// Only this file, or the files below this folder
    #[arg(long, value_name = "PATH")]
    pub remote_path: Option<String>,
    /// Folder on this machine; what is there already is replaced
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub to: PathBuf,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct FileList {
    /// Name of the fileset
    pub fileset: String,
    /// Only files below this path
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct FileNamed {
    /// Name of the fileset
    pub fileset: String,
    /// Path of the file in it
    pub path: String,
    #[command(flatten)]
    pub connection: Connection,
}
