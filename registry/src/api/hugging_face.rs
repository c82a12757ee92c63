//! `/apis/files/v2/hf`: local filesets as repositories, as clients of Hugging Face read them.
//!
//! A puller of weights sets `HF_ENDPOINT=<base>/apis/files/v2/hf` and `HF_TOKEN=service:<name>`.
//! There is one revision; any name of one means it. Its commit changes with every change of a file.
//! Lists are flat: all files, whatever folder is asked for.

use axum::Form;
use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{RequestBody, Valid};
use super::files::{FilePathParam, described, digest, local, path_of, sent, tag_of};
use super::query::Pairs;
use crate::Registry;
use crate::error::Error;
use crate::files::{FileError, FilePath};
use crate::store::filesets::Fileset;

/// Most paths that one question may name.
const PATHS_MAX: usize = 1000;

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new()
        .routes(routes!(repository))
        .routes(routes!(revision))
        .routes(routes!(tree))
        .routes(routes!(paths_info))
}

/// Routes whose bodies may be long.
pub fn transfers() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(describe, download))
}

/// Told by its token: `Bearer service:<name>`.
struct Service;

impl<S: Sync> FromRequestParts<S> for Service {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let given = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match token.and_then(|(_, token)| token.trim().strip_prefix("service:")) {
            Some(name) if !name.is_empty() => Ok(Self),
            _ => Err(Error::Unauthorized("needs the token of a service: HF_TOKEN=service:<name>".into())),
        }
    }
}

/// A repository and its files.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HfRepoInfo)]
struct Repository {
    id: String,
    model_id: String,
    sha: String,
    last_modified: String,
    private: bool,
    siblings: Vec<Sibling>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = HfSibling)]
struct Sibling {
    rfilename: String,
    size: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = HfTreeEntry)]
struct TreeEntry {
    r#type: &'static str,
    oid: String,
    size: u64,
    path: String,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = PathsInfoRequest)]
struct PathsInfo {
    #[schema(max_items = 1000)]
    paths: Vec<String>,
}

impl RequestBody for PathsInfo {}

/// Changes with every change of a file of the fileset.
async fn commit_of(registry: &Registry, fileset: &Fileset) -> Result<String, Error> {
    let stamp = registry.inner.files.stamp(&fileset.id).await?;
    Ok(digest(&format!("{}\0{stamp}", fileset.id)))
}

async fn with_commit(registry: &Registry, fileset: &Fileset, mut response: Response) -> HfReply {
    let commit = commit_of(registry, fileset).await?;
    if let Ok(commit) = HeaderValue::from_str(&commit) {
        response.headers_mut().insert("x-repo-commit", commit);
    }
    Ok(response)
}

/// An error, and what it is that is missing if something is: clients read that from a header.
struct Failure {
    error: Error,
    missing: &'static str,
}

type HfReply = Result<Response, Failure>;

impl Failure {
    fn of_repository(error: Error) -> Self {
        Self { error, missing: "RepoNotFound" }
    }

    fn of_file(error: Error) -> Self {
        Self { error, missing: "EntryNotFound" }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of_file(error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::of_file(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let is_missing = matches!(self.error, Error::NotFound(_));
        let mut response = self.error.into_response();
        if is_missing {
            response.headers_mut().insert("x-error-code", HeaderValue::from_static(self.missing));
        }
        response
    }
}

#[utoipa::path(
    head, path = "/apis/files/v2/hf/{workspace}/{name}/resolve/{revision}/{*path}", tag = "hugging-face",
    params(FilePathParam),
    responses((status = 200)),
)]
async fn describe(
    _: Service,
    State(registry): State<Registry>,
    Path((workspace, name, _revision, path)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> HfReply {
    let path = path_of(&path)?;
    let fileset = local(&registry, workspace, name).await.map_err(Failure::of_repository)?;
    let response = described(&registry, &fileset, path, &headers).await.map_err(Failure::of_file)?;
    with_commit(&registry, &fileset, response).await
}

#[utoipa::path(
    get, path = "/apis/files/v2/hf/{workspace}/{name}/resolve/{revision}/{*path}", tag = "hugging-face",
    params(FilePathParam),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304), (status = 401, body = super::schema::ErrorAnswer), (status = 416),
    ),
)]
async fn download(
    _: Service,
    State(registry): State<Registry>,
    Path((workspace, name, _revision, path)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> HfReply {
    let path = path_of(&path)?;
    let fileset = local(&registry, workspace, name).await.map_err(Failure::of_repository)?;
    let response = sent(&registry, &fileset, path, &headers).await.map_err(Failure::of_file)?;
    with_commit(&registry, &fileset, response).await
}

#[utoipa::path(
    get, path = "/apis/files/v2/hf/api/models/{workspace}/{name}", tag = "hugging-face",
    responses((status = 200, body = Repository), (status = 401, body = super::schema::ErrorAnswer)),
)]
async fn repository(
    _: Service,
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
) -> HfReply {
    let fileset = local(&registry, workspace, name).await.map_err(Failure::of_repository)?;
    // The commit is taken first: with files that came later it is only too old, never too new.
    let sha = commit_of(&registry, &fileset).await?;
    let files = registry.inner.files.list(&fileset.id, None).await?;
    let id = format!("{}/{}", fileset.workspace, fileset.name);
    let view = Repository {
        model_id: id.clone(),
        id,
        sha,
        last_modified: format!("{}Z", fileset.updated.to_wire()),
        private: false,
        siblings: files
            .into_iter()
            .map(|file| Sibling { rfilename: file.path.to_string(), size: file.size })
            .collect(),
    };
    Ok(Json(view).into_response())
}

#[utoipa::path(
    get, path = "/apis/files/v2/hf/api/models/{workspace}/{name}/revision/{revision}", tag = "hugging-face",
    responses((status = 200, body = Repository), (status = 401, body = super::schema::ErrorAnswer)),
)]
async fn revision(
    service: Service,
    state: State<Registry>,
    Path((workspace, name, _revision)): Path<(String, String, String)>,
) -> HfReply {
    repository(service, state, Path((workspace, name))).await
}

#[utoipa::path(
    get, path = "/apis/files/v2/hf/api/models/{workspace}/{name}/tree/{revision}", tag = "hugging-face",
    responses((status = 200, body = Vec<TreeEntry>), (status = 401, body = super::schema::ErrorAnswer)),
)]
async fn tree(
    _: Service,
    State(registry): State<Registry>,
    Path((workspace, name, _revision)): Path<(String, String, String)>,
) -> HfReply {
    let fileset = local(&registry, workspace, name).await.map_err(Failure::of_repository)?;
    let files = registry.inner.files.list(&fileset.id, None).await?;
    entries(&registry, &fileset, files.into_iter().map(|file| file.path)).await
}

#[utoipa::path(
    post, path = "/apis/files/v2/hf/api/models/{workspace}/{name}/paths-info/{revision}", tag = "hugging-face",
    request_body = PathsInfo,
    responses((status = 200, body = Vec<TreeEntry>), (status = 401, body = super::schema::ErrorAnswer)),
)]
async fn paths_info(
    _: Service,
    State(registry): State<Registry>,
    Path((workspace, name, _revision)): Path<(String, String, String)>,
    request: Request,
) -> HfReply {
    let paths = asked_paths(request).await?;
    let fileset = local(&registry, workspace, name).await.map_err(Failure::of_repository)?;
    // What can't be a path is not there.
    entries(&registry, &fileset, paths.iter().filter_map(|path| FilePath::parse(path).ok())).await
}

/// As JSON, or as the form that older clients send.
async fn asked_paths(request: Request) -> Result<Vec<String>, Error> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let paths = if kind.starts_with("application/x-www-form-urlencoded") {
        let form = Form::<Pairs>::from_request(request, &()).await;
        let Form(pairs) = form.map_err(|error| Error::invalid("paths", error))?;
        pairs.into_iter().filter(|(key, _)| key == "paths").map(|(_, path)| path).collect()
    } else {
        Valid::<PathsInfo>::from_request(request, &()).await?.0.paths
    };
    if paths.len() > PATHS_MAX {
        return Err(Error::invalid("paths", format!("more than {PATHS_MAX} paths")));
    }
    Ok(paths)
}

/// Those of `paths` that are files.
async fn entries(registry: &Registry, fileset: &Fileset, paths: impl Iterator<Item = FilePath>) -> HfReply {
    let mut entries = Vec::new();
    for path in paths {
        let Ok(file) = registry.inner.files.open_file(&fileset.id, path.clone()).await else { continue };
        let oid = tag_of(&fileset.id, &path, &file).trim_matches('"').to_owned();
        entries.push(TreeEntry { r#type: "file", oid, size: file.size, path: path.to_string() });
    }
    Ok(Json(entries).into_response())
}
