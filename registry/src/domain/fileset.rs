//! A fileset: files under one name, kept here or only referred to.

use proto_shared::HostUrl;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::model_spec::SpecParts;

mod dataset;

pub use dataset::DatasetMetadata;

/// What a stored fileset holds beside its common columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FilesetBody {
    pub purpose: Purpose,
    pub storage: Storage,
    pub metadata: FilesetMetadata,
    pub custom_fields: Map<String, Value>,
    /// Wanted by the user; nothing here copies remote files.
    pub cache: bool,
    /// What its files say about a model.
    #[serde(default)]
    pub found: Option<SpecParts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FilesetPurpose)]
pub enum Purpose {
    Dataset,
    #[default]
    Generic,
    Model,
}

/// Where the files are.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schema(as = StorageConfig)]
pub enum Storage {
    Local(LocalStorage),
    Huggingface(HuggingfaceStorage),
    Ngc(NgcStorage),
    S3(S3Storage),
}

/// In the data folder. Chosen by leaving `storage` out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = LocalStorageConfig)]
pub struct LocalStorage {
    #[serde(default = "read_chunk_size")]
    #[schema(minimum = 1)]
    pub read_chunk_size: u64,
    /// A word in the place of a path: where files lie is the server's own matter.
    pub path: String,
    #[serde(default = "write_buffer_size")]
    #[schema(minimum = 1)]
    pub write_buffer_size: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = HuggingfaceStorageConfig)]
pub struct HuggingfaceStorage {
    #[serde(default = "read_chunk_size")]
    #[schema(minimum = 1)]
    pub read_chunk_size: u64,
    #[schema(pattern = "^[\\w.\\-]+(/[\\w.\\-]+)?$", max_length = 255, example = "meta-llama/Llama-3.1-8B")]
    pub repo_id: String,
    #[serde(default)]
    pub repo_type: RepoType,
    #[serde(default = "main_revision")]
    #[schema(min_length = 1, max_length = 255)]
    pub revision: String,
    #[schema(max_length = 255)]
    pub original_revision: Option<String>,
    #[schema(pattern = "^[a-z0-9_-]+(/[a-z0-9_-]+)?$")]
    pub token_secret: Option<String>,
    #[serde(default = "huggingface_endpoint")]
    pub endpoint: String,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RepoType {
    #[default]
    Model,
    Dataset,
    Space,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = NGCStorageConfig)]
pub struct NgcStorage {
    #[serde(default = "read_chunk_size")]
    #[schema(minimum = 1)]
    pub read_chunk_size: u64,
    #[schema(min_length = 1, max_length = 255)]
    pub org: String,
    #[schema(max_length = 255)]
    pub team: String,
    #[schema(min_length = 1, max_length = 255)]
    pub target: String,
    #[serde(default)]
    pub target_type: NgcTarget,
    #[schema(max_length = 255)]
    pub version: Option<String>,
    #[schema(max_length = 255)]
    pub original_version: Option<String>,
    #[schema(pattern = "^[a-z0-9_-]+(/[a-z0-9_-]+)?$")]
    pub api_key_secret: String,
    #[serde(default = "ngc_host")]
    pub host: String,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NgcTarget {
    #[default]
    Resource,
    Model,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = S3StorageConfig)]
pub struct S3Storage {
    #[serde(default = "read_chunk_size")]
    #[schema(minimum = 1)]
    pub read_chunk_size: u64,
    #[schema(min_length = 1, max_length = 255)]
    pub bucket: String,
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub prefix: String,
    #[schema(max_length = 255)]
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
    #[serde(default)]
    pub use_sdk_auth: bool,
    #[schema(pattern = "^[a-z0-9_-]+(/[a-z0-9_-]+)?$")]
    pub access_key_id_secret: Option<String>,
    #[schema(pattern = "^[a-z0-9_-]+(/[a-z0-9_-]+)?$")]
    pub secret_access_key_secret: Option<String>,
    #[serde(default)]
    pub signature_version: SignatureVersion,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignatureVersion {
    #[default]
    S3v4,
    S3,
}

/// What is known about the files, by purpose. Unknown members are dropped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FilesetMetadata {
    pub dataset: Option<DatasetMetadata>,
    pub model: Option<ModelMetadata>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ModelMetadataContent)]
pub struct ModelMetadata {
    pub tool_calling: Option<ToolCalling>,
}

/// Chat template and tool calling of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ToolCallingMetadataContent)]
pub struct ToolCalling {
    pub chat_template: Option<String>,
    #[schema(max_length = 255)]
    pub tool_call_parser: Option<String>,
    #[schema(max_length = 255)]
    pub tool_call_plugin: Option<String>,
    pub auto_tool_choice: Option<bool>,
}

/// As it is written. `tool_calling` at the top is the older spelling of `model.tool_calling`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct FilesetMetadataInput {
    dataset: Option<DatasetMetadata>,
    model: Option<ModelMetadata>,
    tool_calling: Option<ToolCalling>,
}

/// Why a storage can't be, and at which member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageFault {
    pub member: &'static str,
    pub reason: String,
    pub is_refusal: bool,
}

impl From<FilesetMetadataInput> for FilesetMetadata {
    /// Of both spellings, each member of `model.tool_calling` wins over the one at the top.
    fn from(input: FilesetMetadataInput) -> Self {
        let FilesetMetadataInput { dataset, model, tool_calling: top } = input;
        let Some(top) = top else { return Self { dataset, model } };
        let model = model.unwrap_or_default();
        let own = model.tool_calling.unwrap_or_default();
        let tool_calling = ToolCalling {
            chat_template: own.chat_template.or(top.chat_template),
            tool_call_parser: own.tool_call_parser.or(top.tool_call_parser),
            tool_call_plugin: own.tool_call_plugin.or(top.tool_call_plugin),
            auto_tool_choice: own.auto_tool_choice.or(top.auto_tool_choice),
        };
        Self { dataset, model: Some(ModelMetadata { tool_calling: Some(tool_calling) }) }
    }
}

impl FilesetMetadata {
    pub fn tool_calling(&self) -> Option<&ToolCalling> {
        self.model.as_ref()?.tool_calling.as_ref()
    }
}

impl Storage {
    pub fn server_local() -> Self {
        Self::Local(LocalStorage {
            read_chunk_size: read_chunk_size(),
            path: "server-local".into(),
            write_buffer_size: write_buffer_size(),
        })
    }

    /// `organisation/…` of the hub that the files come from.
    pub fn repository(&self) -> Option<String> {
        match self {
            Self::Huggingface(storage) => Some(storage.repo_id.clone()),
            Self::Ngc(storage) => Some(format!("{}/{}", storage.org, storage.target)),
            Self::Local(_) | Self::S3(_) => None,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Huggingface(_) => "huggingface",
            Self::Ngc(_) => "ngc",
            Self::S3(_) => "s3",
        }
    }

    /// Checks what a schema can't say. Whether secrets exist is found out when they are used.
    pub fn check(&self) -> Result<(), StorageFault> {
        match self {
            Self::Local(_) => Err(StorageFault {
                member: "type",
                reason:
                    "Creating filesets with local storage is not allowed. Use NGC, HuggingFace or S3, or \
                         leave storage out for the server's own."
                        .into(),
                is_refusal: true,
            }),
            Self::Huggingface(storage) => check_url("endpoint", &storage.endpoint),
            Self::Ngc(storage) => check_url("host", &storage.host),
            Self::S3(storage) => storage.check(),
        }
    }
}

impl S3Storage {
    fn check(&self) -> Result<(), StorageFault> {
        let fault = |reason: &str, is_refusal| {
            Err(StorageFault { member: "use_sdk_auth", reason: reason.into(), is_refusal })
        };
        let keys = [&self.access_key_id_secret, &self.secret_access_key_secret];
        if self.use_sdk_auth && keys.iter().any(|key| key.is_some()) {
            return fault(
                "is not possible together with access_key_id_secret and secret_access_key_secret",
                false,
            );
        }
        if self.use_sdk_auth {
            return fault(
                "use_sdk_auth=True is not allowed for user-provided S3 storage. Provide explicit credentials \
                 via access_key_id_secret and secret_access_key_secret.",
                true,
            );
        }
        if keys.iter().any(|key| key.is_none()) {
            return fault(
                "needs both access_key_id_secret and secret_access_key_secret when it is false",
                false,
            );
        }
        self.endpoint_url.as_deref().map_or(Ok(()), |url| check_url("endpoint_url", url))
    }
}

fn check_url(member: &'static str, text: &str) -> Result<(), StorageFault> {
    let fault = |error| StorageFault { member, reason: format!("{error}"), is_refusal: true };
    HostUrl::parse(text).map(drop).map_err(fault)
}

fn read_chunk_size() -> u64 {
    1024 * 1024
}

fn write_buffer_size() -> u64 {
    16 * 1024 * 1024
}

fn main_revision() -> String {
    "main".into()
}

fn huggingface_endpoint() -> String {
    "https://huggingface.co".into()
}

fn ngc_host() -> String {
    "https://api.ngc.nvidia.com".into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(value: Value) -> FilesetMetadata {
        serde_json::from_value::<FilesetMetadataInput>(value).unwrap().into()
    }

    #[test]
    fn tool_calling_at_the_top_means_the_models_and_loses_to_it_member_by_member() {
        let old = metadata(json!({ "tool_calling": { "tool_call_parser": "hermes" }, "zzz": 1 }));
        assert_eq!(old.tool_calling().unwrap().tool_call_parser.as_deref(), Some("hermes"));
        let both = metadata(json!({
            "tool_calling": { "tool_call_parser": "hermes", "auto_tool_choice": true },
            "model": { "tool_calling": { "tool_call_parser": "pythonic" } },
        }));
        let expected = ToolCalling {
            tool_call_parser: Some("pythonic".into()),
            auto_tool_choice: Some(true),
            ..ToolCalling::default()
        };
        assert_eq!(both.tool_calling(), Some(&expected));
    }

    #[test]
    fn s3_takes_its_two_secrets_and_nothing_else() {
        let member = |more: Value| {
            let mut value = json!({ "type": "s3", "bucket": "b" });
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let storage: Storage = serde_json::from_value(value).unwrap();
            storage.check().map_err(|fault| (fault.member, fault.is_refusal))
        };
        let secrets = json!({ "access_key_id_secret": "a", "secret_access_key_secret": "ws/b" });
        assert_eq!(member(secrets), Ok(()));
        assert_eq!(member(json!({})), Err(("use_sdk_auth", false)));
        assert_eq!(member(json!({ "use_sdk_auth": true })), Err(("use_sdk_auth", true)));
        assert_eq!(member(json!({ "access_key_id_secret": "a" })), Err(("use_sdk_auth", false)));
        let with_url = json!({
            "access_key_id_secret": "a", "secret_access_key_secret": "b", "endpoint_url": "ftp://x",
        });
        assert_eq!(member(with_url), Err(("endpoint_url", true)));
    }
}
