//! `nimgate file`: files go to filesets and come from them as streams, one after the other.
//!
//! No file is ever held in memory as a whole, and no name that a server gives leads out of the folder
//! that a download was asked into.

mod body;
mod download;
mod remote;
mod upload;
mod walk;

use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::api::Api;
use super::error::ClientError;
use super::fileset::FILESET;
use super::http::{encoded, encoded_path};
use super::noun::text;
use super::output::{self, Table};
use crate::cli::{FileCommand, FileList, FileNamed};

pub async fn run(command: FileCommand) -> Result<(), ClientError> {
    match command {
        FileCommand::Upload(args) => upload::run(args).await,
        // Ctrl-C leaves no beginning of a file behind.
        FileCommand::Download(args) => tokio::select! {
            done = download::run(args) => done,
            _ = tokio::signal::ctrl_c() => Err(ClientError::Interrupted),
        },
        FileCommand::List(args) => list(args).await,
        FileCommand::Delete(args) => delete(args).await,
    }
}

/// The path of a file's content.
fn content(api: &Api, fileset: &str, path: &str) -> String {
    format!("{}/-/{}", FILESET.one(api, fileset), encoded_path(path))
}

/// The files of a fileset, or those below a path.
async fn listed(api: &Api, fileset: &str, below: Option<&str>) -> Result<Vec<Value>, ClientError> {
    let mut path = format!("{}/files", FILESET.one(api, fileset));
    if let Some(below) = below {
        path.push_str(&format!("?path={}", encoded(below)));
    }
    let answer = api.get(&path).await.map_err(|e| FILESET.see_list(api, e))?;
    Ok(answer["data"].as_array().cloned().unwrap_or_default())
}

async fn list(args: FileList) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let files = listed(&api, &args.fileset, args.path.as_deref()).await?;
    output::show(args.connection.view.output, &files, || {
        if files.is_empty() {
            let upload = format!("nimgate file upload FOLDER {}{}", args.fileset, api.at);
            return output::say(&format!("no files; upload some: {upload}"));
        }
        let mut table = Table::new(&["PATH", "SIZE", "CACHE"]);
        for file in &files {
            let cache = match file["cache_status"].as_str() {
                Some("not_cacheable") | None => "",
                Some(status) => status,
            };
            let size = file["size"].as_u64().map_or(String::new(), |bytes| HumanBytes(bytes).to_string());
            table.row(&[text(&file["path"]), size, cache.to_owned()]);
        }
        table.print()
    })
}

async fn delete(args: FileNamed) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    api.delete(&content(&api, &args.fileset, &args.path)).await.map_err(|e| {
        e.or_try(http::StatusCode::NOT_FOUND, || {
            format!("see what there is: nimgate file list {}{}", args.fileset, api.at)
        })
    })?;
    output::show(args.connection.view.output, &json!({"deleted": args.path}), || {
        output::say(&format!("file {} deleted from fileset {}", args.path, args.fileset))
    })
}

/// A bar over all bytes. Draws nothing where standard error is no terminal.
fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Ends when no byte has moved for this long.
async fn stalled(bar: &ProgressBar, silence_max: Duration) {
    let mut seen = bar.position();
    loop {
        tokio::time::sleep(silence_max).await;
        match bar.position() {
            now if now == seen => return,
            now => seen = now,
        }
    }
}

fn counted(files: usize, bytes: u64) -> String {
    let noun = if files == 1 { "file" } else { "files" };
    format!("{files} {noun} ({})", HumanBytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transfer_in_which_nothing_moves_ends() {
        let bar = ProgressBar::hidden();
        bar.inc(7);
        tokio::time::timeout(Duration::from_secs(60), stalled(&bar, Duration::from_millis(1))).await.unwrap();
    }
}
