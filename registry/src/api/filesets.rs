//! `/apis/files/v2/workspaces/{ws}/filesets`: the sets. Their files are in [`super::files`].

use axum::extract::{Path, Query, State};
use http::StatusCode;
use proto_shared::names::EntityName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{RequestBody, Valid, given};
use super::documents;
use super::query::Pairs;
use super::reply::{self, Reply};
use super::schema::{self, ListParams, PageView};
use crate::Registry;
use crate::domain::document::Draft;
use crate::domain::fileset::{FilesetBody, FilesetMetadata, FilesetMetadataInput, Purpose, Storage};
use crate::error::{Error, Issue};
use crate::store::documents as stored;
use crate::store::filesets::{self, Filesets};
use crate::store::workspaces;

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, change, delete))
}

#[derive(Deserialize, ToSchema)]
pub struct CreateFilesetRequest {
    #[schema(value_type = schema::Name)]
    name: EntityName,
    #[schema(max_length = 255)]
    description: Option<String>,
    project: Option<String>,
    /// Left out: the server's own disk.
    storage: Option<Storage>,
    #[serde(default)]
    #[schema(value_type = Option<Purpose>)]
    purpose: Option<Purpose>,
    metadata: Option<FilesetMetadataInput>,
    #[schema(value_type = Option<HashMap<String, Value>>)]
    custom_fields: Option<Map<String, Value>>,
    #[serde(default)]
    cache: bool,
}

/// What is not sent stays; null means the default.
#[derive(Deserialize, ToSchema)]
pub struct UpdateFilesetRequest {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 255)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    project: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Purpose>)]
    purpose: Option<Option<Purpose>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<FilesetMetadataInput>)]
    metadata: Option<Option<FilesetMetadataInput>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<HashMap<String, Value>>)]
    custom_fields: Option<Option<Map<String, Value>>>,
}

impl RequestBody for CreateFilesetRequest {}
impl RequestBody for UpdateFilesetRequest {}

/// A stored fileset.
#[derive(Serialize, ToSchema)]
#[schema(as = FilesetOutput)]
pub struct Fileset {
    id: String,
    name: String,
    workspace: String,
    description: String,
    purpose: Purpose,
    storage: Storage,
    metadata: FilesetMetadata,
    #[schema(value_type = HashMap<String, Value>)]
    custom_fields: Map<String, Value>,
    project: String,
    created_at: String,
    updated_at: String,
}

impl From<filesets::Fileset> for Fileset {
    fn from(fileset: filesets::Fileset) -> Self {
        let FilesetBody { purpose, storage, metadata, custom_fields, .. } = fileset.body;
        Self {
            id: fileset.id.to_string(),
            name: fileset.name.into(),
            workspace: fileset.workspace.into(),
            description: fileset.description.unwrap_or_default(),
            purpose,
            storage,
            metadata,
            custom_fields,
            project: fileset.project.unwrap_or_default(),
            created_at: fileset.created.to_wire(),
            updated_at: fileset.updated.to_wire(),
        }
    }
}

impl CreateFilesetRequest {
    fn into_draft(self) -> Result<Draft<FilesetBody>, Error> {
        let storage = match self.storage {
            None => Storage::server_local(),
            Some(storage) => checked(storage)?,
        };
        let body = FilesetBody {
            purpose: self.purpose.unwrap_or_default(),
            storage,
            metadata: self.metadata.unwrap_or_default().into(),
            custom_fields: self.custom_fields.unwrap_or_default(),
            cache: self.cache,
            found: None,
        };
        Ok(Draft { name: self.name, project: self.project, description: self.description, body })
    }
}

fn checked(storage: Storage) -> Result<Storage, Error> {
    let Err(fault) = storage.check() else { return Ok(storage) };
    if fault.is_refusal {
        return Err(Error::refused(&format!("storage.{}", fault.member), fault.reason));
    }
    let loc = ["body", "storage", fault.member].map(Value::from).to_vec();
    Err(Error::Invalid(vec![Issue::value(loc, fault.reason)]))
}

impl UpdateFilesetRequest {
    fn apply(self, fileset: &mut filesets::Fileset) {
        if let Some(description) = self.description {
            fileset.description = description;
        }
        if let Some(project) = self.project {
            fileset.project = project;
        }
        if let Some(purpose) = self.purpose {
            fileset.body.purpose = purpose.unwrap_or_default();
        }
        if let Some(metadata) = self.metadata {
            fileset.body.metadata = metadata.unwrap_or_default().into();
        }
        if let Some(custom_fields) = self.custom_fields {
            fileset.body.custom_fields = custom_fields.unwrap_or_default();
        }
    }
}

#[utoipa::path(
    post, path = "/apis/files/v2/workspaces/{workspace}/filesets", tag = "files",
    request_body = CreateFilesetRequest, responses((status = 200, body = Fileset)),
)]
async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Valid(fileset): Valid<CreateFilesetRequest>,
) -> Reply {
    let draft = fileset.into_draft()?;
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        stored::insert::<Filesets>(write, &workspace, &draft)
    });
    Ok(reply::written(StatusCode::OK, made.await?, Fileset::from))
}

#[utoipa::path(
    get, path = "/apis/files/v2/workspaces/{workspace}/filesets", tag = "files",
    params(ListParams), responses((status = 200, body = PageView<Fileset>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    documents::list::<Filesets, Fileset>(&registry, workspace, &pairs, &filesets::LIST).await
}

#[utoipa::path(
    get, path = "/apis/files/v2/workspaces/{workspace}/filesets/{name}", tag = "files",
    responses((status = 200, body = Fileset)),
)]
async fn read(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    documents::read::<Filesets, Fileset>(&registry, workspace, name).await
}

#[utoipa::path(
    patch, path = "/apis/files/v2/workspaces/{workspace}/filesets/{name}", tag = "files",
    request_body = UpdateFilesetRequest, responses((status = 200, body = Fileset)),
)]
async fn change(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(changes): Valid<UpdateFilesetRequest>,
) -> Reply {
    documents::update::<Filesets, Fileset>(&registry, workspace, name, |fileset| changes.apply(fileset)).await
}

/// The row goes first: files without a row are swept at the next start, a row without files lies.
#[utoipa::path(
    delete, path = "/apis/files/v2/workspaces/{workspace}/filesets/{name}", tag = "files",
    responses((status = 200, body = Fileset)),
)]
async fn delete(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    let deleted =
        registry.inner.store.write(move |write| stored::delete::<Filesets>(write, &workspace, &name)).await?;
    registry.inner.files.forget(&deleted.value.id).await;
    Ok(reply::written(StatusCode::OK, deleted, Fileset::from))
}
