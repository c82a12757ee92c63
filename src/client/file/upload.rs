//! `nimgate file upload`.

use http_body_util::BodyExt as _;
use indicatif::ProgressBar;
use serde_json::Value;
use tokio::fs::File;

use super::body::FileBody;
use super::walk::{self, LocalFile};
use super::{content, counted, progress, stalled};
use crate::cli::UploadArgs;
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::fileset::FILESET;
use crate::client::http::SILENCE_MAX;
use crate::client::output;

pub async fn run(args: UploadArgs) -> Result<(), ClientError> {
    let files = walk::files(&args.local, args.remote_path.as_deref())?;
    if files.is_empty() {
        return Err(ClientError::Said(format!("{} has no files", args.local.display())));
    }
    let api = Api::new(&args.connection)?;
    // Before any byte: a server that refuses in the middle of a body can't always say why.
    api.get(&FILESET.one(&api, &args.fileset)).await.map_err(|e| {
        e.or_try(http::StatusCode::NOT_FOUND, || {
            format!("make it: nimgate fileset create {}{}", args.fileset, api.at)
        })
    })?;
    let total = files.iter().map(|file| file.length).sum();
    let bar = progress(total);
    let mut stored = Vec::new();
    for file in &files {
        bar.set_message(file.name.as_str().to_owned());
        stored.push(send(&api, &args.fileset, file, &bar).await?);
    }
    bar.finish_and_clear();
    output::show(args.connection.view.output, &stored, || {
        output::say(&format!("uploaded {} to fileset {}", counted(files.len(), total), args.fileset))?;
        output::say(&format!("next: nimgate file list {}{}", args.fileset, api.at))
    })
}

async fn send(api: &Api, fileset: &str, file: &LocalFile, bar: &ProgressBar) -> Result<Value, ClientError> {
    let opened = File::open(&file.path).await;
    let opened = opened.map_err(|source| ClientError::File { path: file.path.clone(), source })?;
    let payload = FileBody::new(opened, file.length, bar.clone()).boxed_unsync();
    let path = content(api, fileset, file.name.as_str());
    tokio::select! {
        stored = api.http.put(&path, payload) => stored.map_err(|e| api.advised(e)),
        () = stalled(bar, SILENCE_MAX) => Err(api.http.late(SILENCE_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing;
    use super::*;
    use crate::client::file::remote::RemotePath;

    #[tokio::test]
    async fn a_file_is_sent_whole_under_its_name() {
        let (api, asked) =
            testing::gateway(|_, _| testing::json(200, r#"{"path":"a b/c.txt","size":5}"#)).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.txt");
        std::fs::write(&path, "hello").unwrap();
        let file = LocalFile { path, length: 5, name: RemotePath::parse("a b/c.txt").unwrap() };
        let bar = ProgressBar::hidden();
        send(&api, "fs", &file, &bar).await.unwrap();
        let asked = asked.lock().unwrap();
        assert_eq!(asked[0].0, "PUT /apis/files/v2/workspaces/default/filesets/fs/-/a%20b/c.txt");
        assert_eq!((asked[0].1.as_str(), bar.position()), ("hello", 5));
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_the_files_fault() {
        let (api, _) = testing::gateway(|_, _| testing::json(200, "{}")).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        std::fs::write(&path, "hello").unwrap();
        let file = LocalFile { path, length: 9, name: RemotePath::parse("c").unwrap() };
        let error = send(&api, "fs", &file, &ProgressBar::hidden()).await.unwrap_err();
        assert!(error.to_string().contains("shorter"), "{error}");
    }
}
