//! `nimgate file download`.
//!
//! A file appears under its name only when it is whole.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use http_body_util::BodyExt as _;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::remote::RemotePath;
use super::{content, counted, listed, progress};
use crate::cli::DownloadArgs;
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::http::SILENCE_MAX;
use crate::client::output;

/// A file to fetch.
struct Wanted {
    name: RemotePath,
    length: u64,
}

pub async fn run(args: DownloadArgs) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let files = wanted(&api, &args.fileset, args.remote_path.as_deref().unwrap_or_default()).await?;
    let total = files.iter().map(|file| file.length).sum();
    let bar = progress(total);
    let mut written = Vec::new();
    for file in &files {
        bar.set_message(file.name.as_str().to_owned());
        let place = file.name.place_below(&args.to)?;
        fetch(&api, &content(&api, &args.fileset, file.name.as_str()), &place, &bar).await?;
        written
            .push(json!({"path": file.name.as_str(), "size": file.length, "file": place.to_string_lossy()}));
    }
    bar.finish_and_clear();
    output::show(args.connection.view.output, &written, || {
        output::say(&format!("downloaded {} to {}", counted(files.len(), total), args.to.display()))
    })
}

/// The files below a path. One name that is refused refuses all, before anything is written.
async fn wanted(api: &Api, fileset: &str, below: &str) -> Result<Vec<Wanted>, ClientError> {
    let mut files = Vec::new();
    for file in listed(api, fileset, None).await? {
        let name = RemotePath::parse(file["path"].as_str().unwrap_or_default())?;
        if name.is_or_is_below(below) {
            files.push(Wanted { name, length: file["size"].as_u64().unwrap_or(0) });
        }
    }
    if files.is_empty() {
        let what = if below.is_empty() { "no files".to_owned() } else { format!("nothing at {below}") };
        let see = format!("nimgate file list {fileset}{}", api.at);
        return Err(ClientError::Said(format!("fileset {fileset} has {what}\n  see what there is: {see}")));
    }
    Ok(files)
}

/// Mode of a new file, before the umask of the person takes its part.
const FILE_MODE: u32 = 0o666;

async fn fetch(api: &Api, path: &str, place: &Path, bar: &ProgressBar) -> Result<(), ClientError> {
    let response = api.http.open_get(path).await?;
    let status = response.status();
    if !status.is_success() {
        let bytes = api.http.read(response).await?;
        return Err(api.advised(ClientError::answer(status, &bytes)));
    }
    let error = |source| file_error(place, source);
    let mode = Permissions::from_mode(FILE_MODE);
    let folder = place.parent().unwrap_or(Path::new("."));
    // It goes by itself when it does not become the whole.
    let part = tempfile::Builder::new().prefix(".nimgate-").permissions(mode).tempfile_in(folder);
    let part = part.map_err(error)?;
    let mut file = File::from_std(part.as_file().try_clone().map_err(error)?);
    let mut body = response.into_body();
    loop {
        let frame = timeout(SILENCE_MAX, body.frame()).await.map_err(|_| api.http.late(SILENCE_MAX))?;
        let Some(frame) = frame else { break };
        let Ok(bytes) = frame.map_err(|e| api.http.broken(e))?.into_data() else { continue };
        file.write_all(&bytes).await.map_err(error)?;
        bar.inc(bytes.len() as u64);
    }
    file.flush().await.map_err(error)?;
    part.persist(place).map(drop).map_err(|e| error(e.error))
}

fn file_error(path: &Path, source: std::io::Error) -> ClientError {
    ClientError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing;
    use super::*;

    fn answer(length: usize, body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn a_file_that_was_cut_off_does_not_appear() {
        let (api, _) = testing::gateway(|_, nth| answer(if nth == 0 { 5 } else { 9 }, "hello")).await;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("f");
        fetch(&api, "/f", &place, &ProgressBar::hidden()).await.unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"hello");
        let other = folder.path().join("g");
        fetch(&api, "/g", &other, &ProgressBar::hidden()).await.unwrap_err();
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "neither the file nor its beginning"
        );
    }

    #[tokio::test]
    async fn one_name_that_leads_out_refuses_the_whole_download() {
        let list = r#"{"data":[{"path":"good","size":1},{"path":"../bad","size":1}]}"#;
        let (api, _) = testing::gateway(move |_, _| testing::json(200, list)).await;
        let Err(error) = wanted(&api, "fs", "").await else { panic!("accepted") };
        assert!(error.to_string().contains("../bad"), "{error}");
    }

    #[tokio::test]
    async fn only_what_is_below_the_path_is_fetched() {
        let list = r#"{"data":[{"path":"a/b","size":1},{"path":"ab","size":2}]}"#;
        let (api, _) = testing::gateway(move |_, _| testing::json(200, list)).await;
        let files = wanted(&api, "fs", "a/").await.unwrap();
        assert_eq!((files.len(), files[0].length), (1, 1));
        assert!(wanted(&api, "fs", "c").await.is_err_and(|e| e.to_string().contains("nothing at c")));
    }
}
