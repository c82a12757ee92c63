//! `/apis/files/v2/workspaces/{ws}/filesets/{name}/-/{path}` and the list of files.
//!
//! Bodies are streamed in both directions: these routes have limits of their own for time and size
//! (`config::FilesConfig`), not those of all others.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::query::Pairs;
use super::reply::{self, Reply};
use crate::Registry;
use crate::domain::fileset::Storage;
use crate::error::Error;
use crate::files::{FileError, FileInfo, FilePath};
use crate::store::documents as stored;
use crate::store::filesets::{self, Fileset, Filesets};

mod findings;
mod send;

pub use send::{described, digest, sent, tag_of};

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Routes whose bodies may be long.
pub fn transfers() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(describe, download, upload, delete))
}

/// A file of a fileset.
#[derive(Serialize, ToSchema)]
#[schema(as = FilesetFileOutput)]
pub struct File {
    /// `workspace/fileset#path`
    file_ref: String,
    file_url: String,
    path: String,
    size: u64,
    /// `not_cacheable` in lists: what lies here needs no copy.
    cache_status: Option<CacheStatus>,
}

#[derive(Serialize, ToSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "the others are for copies of remote files, which are not made here")]
enum CacheStatus {
    Cached,
    Caching,
    NotCached,
    NotCacheable,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ListFilesetFilesResponse)]
struct Files {
    data: Vec<File>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; the query is read by `list`")]
struct FilesParams {
    /// A file, or the folder whose files are wanted
    path: Option<String>,
    /// Has no effect: files that lie here are never copied
    include_cache_status: Option<bool>,
}

/// A file's place in its fileset.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a schema; the path is read by the handlers")]
pub struct FilePathParam {
    /// Slashes may be percent-encoded
    path: String,
}

impl File {
    fn new(fileset: &Fileset, file: FileInfo, cache_status: Option<CacheStatus>) -> Self {
        let (workspace, name) = (&fileset.workspace, &fileset.name);
        Self {
            file_ref: format!("{workspace}/{name}#{}", file.path),
            file_url: format!(
                "/apis/files/v2/workspaces/{workspace}/filesets/{name}/-/{}",
                file.path.to_url()
            ),
            path: file.path.to_string(),
            size: file.size,
            cache_status,
        }
    }
}

/// A fileset whose files lie here.
pub async fn local(registry: &Registry, workspace: String, name: String) -> Result<Fileset, Error> {
    let reading =
        registry.inner.store.read(move |connection| stored::get::<Filesets>(connection, &workspace, &name));
    let fileset = reading.await?;
    match &fileset.body.storage {
        Storage::Local(_) => Ok(fileset),
        remote => Err(Error::NotImplemented(format!(
            "files of a {} fileset are not fetched by nimgate: '{}/{}' only says where they are",
            remote.kind(),
            fileset.workspace,
            fileset.name
        ))),
    }
}

/// Says which file was not there.
pub fn missing(fileset: &Fileset, path: &FilePath) -> impl FnOnce(FileError) -> Error {
    let text = format!("File '{path}' not found in fileset '{}/{}'", fileset.workspace, fileset.name);
    |error| match error {
        FileError::NotFound => Error::NotFound(text),
        FileError::IsFolder => Error::NotFound(format!("{text}: it is a folder; list it with files?path=…")),
        error => error.into(),
    }
}

pub fn path_of(text: &str) -> Result<FilePath, Error> {
    FilePath::parse(text).map_err(|error| Error::Files(error.into()))
}

#[utoipa::path(
    get, path = "/apis/files/v2/workspaces/{workspace}/filesets/{name}/files", tag = "files",
    params(FilesParams), responses((status = 200, body = Files)),
)]
async fn list(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let below = pairs.iter().rev().find(|(key, _)| key == "path").map(|(_, path)| path.trim_matches('/'));
    let below = below.filter(|path| !path.is_empty()).map(path_of).transpose()?;
    let fileset = local(&registry, workspace, name).await?;
    let files = registry.inner.files.list(&fileset.id, below).await?;
    let view = |file| File::new(&fileset, file, Some(CacheStatus::NotCacheable));
    Ok(Json(Files { data: files.into_iter().map(view).collect() }).into_response())
}

#[utoipa::path(
    head, path = "/apis/files/v2/workspaces/{workspace}/filesets/{name}/-/{*path}", tag = "files",
    params(FilePathParam),
    responses((status = 200)),
)]
async fn describe(
    State(registry): State<Registry>,
    Path((workspace, name, path)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Reply {
    let path = path_of(&path)?;
    let fileset = local(&registry, workspace, name).await?;
    described(&registry, &fileset, path, &headers).await
}

#[utoipa::path(
    get, path = "/apis/files/v2/workspaces/{workspace}/filesets/{name}/-/{*path}", tag = "files",
    params(FilePathParam),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304), (status = 416),
    ),
)]
async fn download(
    State(registry): State<Registry>,
    Path((workspace, name, path)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Reply {
    let path = path_of(&path)?;
    let fileset = local(&registry, workspace, name).await?;
    sent(&registry, &fileset, path, &headers).await
}

#[utoipa::path(
    put, path = "/apis/files/v2/workspaces/{workspace}/filesets/{name}/-/{*path}", tag = "files",
    params(FilePathParam),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = File)),
)]
async fn upload(
    State(registry): State<Registry>,
    Path((workspace, name, path)): Path<(String, String, String)>,
    request: Request,
) -> Reply {
    let path = path_of(&path)?;
    refuse_forms(request.headers())?;
    let fileset = local(&registry, workspace, name).await?;
    let length = request.headers().get(CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse().ok());
    let received = registry.inner.files.receive(request.into_body(), length).await?;
    // From here on a client that leaves changes nothing.
    let placing = tokio::spawn(async move {
        let id = fileset.id.clone();
        let at = path.clone();
        let file =
            tokio::task::spawn_blocking(move || received.place(&id, at)).await.map_err(FileError::from)??;
        keep_if_owned(&registry, &fileset).await?;
        findings::renew(&registry, &fileset, &path).await?;
        registry.inner.adapters.wake();
        Ok::<_, Error>(File::new(&fileset, file, None))
    });
    let file = placing.await.map_err(FileError::from)??;
    Ok(reply::object(StatusCode::OK, file))
}

/// A fileset that was deleted while a file of it arrived takes the file with it.
async fn keep_if_owned(registry: &Registry, fileset: &Fileset) -> Result<(), Error> {
    let id = fileset.id.clone();
    let exists = registry.inner.store.read(move |connection| filesets::exists(connection, id.as_str()));
    if exists.await? {
        return Ok(());
    }
    registry.inner.files.forget(&fileset.id).await;
    Err(FileError::FilesetGone.into())
}

/// The body is the file. A form around it would become part of the file.
fn refuse_forms(headers: &HeaderMap) -> Result<(), Error> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return Err(Error::refused("content-type", "send the file itself, as application/octet-stream"));
    }
    Ok(())
}

#[utoipa::path(
    delete, path = "/apis/files/v2/workspaces/{workspace}/filesets/{name}/-/{*path}", tag = "files",
    params(FilePathParam),
    responses((status = 200, body = File)),
)]
async fn delete(
    State(registry): State<Registry>,
    Path((workspace, name, path)): Path<(String, String, String)>,
) -> Reply {
    let path = path_of(&path)?;
    let fileset = local(&registry, workspace, name).await?;
    let removed = registry.inner.files.remove(&fileset.id, path.clone()).await;
    let file = removed.map_err(missing(&fileset, &path))?;
    findings::renew(&registry, &fileset, &path).await?;
    registry.inner.adapters.wake();
    Ok(reply::object(StatusCode::OK, File::new(&fileset, file, None)))
}

/// An answer whose body is a file's bytes, or none.
fn octets(status: StatusCode, body: Body) -> Response {
    (status, [(CONTENT_TYPE, "application/octet-stream")], body).into_response()
}
