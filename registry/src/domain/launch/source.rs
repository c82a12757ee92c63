//! Where the weights are, and which keys lead there.

use proto_shared::WorkspaceName;

use super::args;
use super::image;
use super::plan::Draft;
use super::{LaunchInput, ServedModel};
use crate::domain::Reference;
use crate::domain::deployment_config::Engine;
use crate::domain::deployment_spec::{ModelSource, Origin, Runs, SpecError, refused};
use crate::domain::fileset::{HuggingfaceStorage, NgcStorage, S3Storage, Storage};

/// Where the files of a fileset are seen.
pub const MODEL_STORE: &str = "/model-store";
/// The hub that everybody means who names none.
const HUGGING_FACE: &str = "https://huggingface.co";
/// What a repository has when no revision is named.
const MAIN: &str = "main";

/// The fileset of a model.
#[derive(Debug, Clone)]
pub struct Weights {
    /// With its workspace.
    pub fileset: Reference,
    pub storage: Storage,
}

pub(super) enum Source {
    /// In the image, or found by it; or the user says where in words of the engine.
    Unsaid,
    /// A fileset that is kept here.
    Files(Reference),
    Hub {
        repository: String,
        revision: Option<String>,
        token: Option<Reference>,
        /// Absent: the one that everybody means.
        endpoint: Option<String>,
    },
    Ngc {
        /// `org/team/name:version`
        target: String,
        key: Option<Reference>,
    },
    Bucket {
        /// `bucket/prefix`
        path: String,
        region: Option<String>,
        endpoint: Option<String>,
        keys: Option<[Reference; 2]>,
    },
}

impl Source {
    /// A model's own files come first. A bare name means the hub where the engine, or its image, serves any model.
    pub fn of(input: LaunchInput<'_>, image: Option<&str>) -> Result<Self, SpecError> {
        let named = input.spec.model.as_ref();
        let origin = named.and_then(|model| model.origin);
        if let (None, Some(weights)) = (origin, input.model.and_then(|model| model.weights.as_ref())) {
            let home = weights.fileset.workspace(input.workspace);
            return Self::of_weights(weights, home, named.and_then(|model| model.revision.as_deref()));
        }
        let Some(named) = named else { return Ok(Self::Unsaid) };
        let takes_any = match input.spec.engine {
            Engine::Nim => image.is_some_and(image::serves_any_model),
            Engine::Vllm => matches!(input.spec.runs, Runs::Image(_)),
            Engine::Generic => false,
        };
        match (origin, input.model) {
            (Some(Origin::Ngc), _) => Ok(Self::Ngc {
                target: with_version(path_of(named), named.revision.as_deref()),
                key: input.settings.ngc_api_key.clone(),
            }),
            (Some(Origin::HuggingFace), _) => Ok(Self::hub(named)),
            (None, None) if takes_any => Ok(Self::hub(named)),
            (None, Some(model)) if takes_any && !says_model(input) => Err(nowhere(model)),
            (None, _) => Ok(Self::Unsaid),
        }
    }

    fn hub(named: &ModelSource) -> Self {
        Self::Hub {
            repository: path_of(named),
            revision: named.revision.clone(),
            token: None,
            endpoint: None,
        }
    }

    fn of_weights(
        weights: &Weights,
        home: &WorkspaceName,
        revision: Option<&str>,
    ) -> Result<Self, SpecError> {
        let secret = |name: &str| -> Result<Reference, SpecError> {
            let named = Reference::try_from(name.to_owned());
            let named =
                named.map_err(|error| refused("model_name", format!("a secret of its fileset: {error}")))?;
            Ok(named.within(home))
        };
        match &weights.storage {
            Storage::Local(_) => Ok(Self::Files(weights.fileset.clone())),
            Storage::Huggingface(HuggingfaceStorage {
                repo_id,
                revision: own,
                token_secret,
                endpoint,
                ..
            }) => Ok(Self::Hub {
                repository: repo_id.clone(),
                revision: Some(revision.unwrap_or(own))
                    .filter(|revision| *revision != MAIN)
                    .map(str::to_owned),
                token: token_secret.as_deref().map(secret).transpose()?,
                endpoint: Some(endpoint.trim_end_matches('/'))
                    .filter(|endpoint| *endpoint != HUGGING_FACE)
                    .map(str::to_owned),
            }),
            Storage::Ngc(NgcStorage { org, team, target, version, api_key_secret, .. }) => {
                let parts = [org, team, target].map(String::as_str);
                let path: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                Ok(Self::Ngc {
                    target: with_version(path.join("/"), revision.or(version.as_deref())),
                    key: Some(secret(api_key_secret)?),
                })
            }
            Storage::S3(storage) => Self::of_bucket(storage, secret),
        }
    }

    fn of_bucket(
        storage: &S3Storage,
        secret: impl Fn(&str) -> Result<Reference, SpecError>,
    ) -> Result<Self, SpecError> {
        let S3Storage { bucket, prefix, region, endpoint_url, .. } = storage;
        let path = format!("{bucket}/{}", prefix.trim_matches('/'));
        let keys = match (&storage.access_key_id_secret, &storage.secret_access_key_secret) {
            (Some(id), Some(key)) => Some([secret(id)?, secret(key)?]),
            _ => None,
        };
        Ok(Self::Bucket {
            path: path.trim_end_matches('/').to_owned(),
            region: region.clone(),
            endpoint: endpoint_url.clone(),
            keys,
        })
    }

    /// In the words of NIM, which knows all of them; none where nothing is said or the files are mounted.
    pub fn uri(&self) -> Option<String> {
        match self {
            Self::Unsaid | Self::Files(_) => None,
            Self::Hub { repository, revision, .. } => {
                Some(format!("hf://{}", with_version(repository.clone(), revision.as_deref())))
            }
            Self::Ngc { target, .. } => Some(format!("ngc://{target}")),
            Self::Bucket { path, .. } => Some(format!("s3://{path}")),
        }
    }

    /// Its own key, not the installation's.
    pub fn ngc_api_key(&self) -> Option<&Reference> {
        match self {
            Self::Ngc { key, .. } => key.as_ref(),
            _ => None,
        }
    }

    /// The keys that lead there, under the names that every loader knows.
    pub fn write(&self, draft: &mut Draft) {
        match self {
            Self::Unsaid | Self::Files(_) => {}
            Self::Hub { token, endpoint, .. } => {
                token.iter().for_each(|token| draft.secret("HF_TOKEN", token));
                endpoint.iter().for_each(|endpoint| draft.env("HF_ENDPOINT", endpoint));
            }
            Self::Ngc { key, .. } => key.iter().for_each(|key| draft.secret("NGC_API_KEY", key)),
            Self::Bucket { region, endpoint, keys, .. } => {
                if let Some(region) = region {
                    draft.env("AWS_REGION", region);
                    draft.env("AWS_DEFAULT_REGION", region);
                }
                endpoint.iter().for_each(|endpoint| draft.env("AWS_ENDPOINT_URL", endpoint));
                if let Some([id, key]) = keys {
                    draft.secret("AWS_ACCESS_KEY_ID", id);
                    draft.secret("AWS_SECRET_ACCESS_KEY", key);
                }
            }
        }
    }
}

fn path_of(named: &ModelSource) -> String {
    match &named.namespace {
        Some(namespace) => format!("{namespace}/{}", named.name),
        None => named.name.clone(),
    }
}

fn with_version(path: String, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("{path}:{version}"),
        None => path,
    }
}

/// Whether the user says in the engine's own words where the weights are.
pub(super) fn says_model(input: LaunchInput<'_>) -> bool {
    let spec = input.spec;
    let is_given = |name: &str| spec.envs.contains_key(name) || spec.overrides.env.contains_key(name);
    match spec.engine {
        Engine::Nim => ["NIM_MODEL_NAME", "NIM_MODEL_PATH"].iter().any(|name| is_given(name)),
        Engine::Vllm => spec.overrides.args.is_some() || names_model(&spec.args),
        Engine::Generic => true,
    }
}

/// vLLM takes a model as its first argument, or after `--model`.
fn names_model(args: &[String]) -> bool {
    args.first().is_some_and(|first| !first.starts_with('-'))
        || args.iter().any(|arg| args::value_after(arg, "--model").is_some())
}

fn nowhere(model: &ServedModel) -> SpecError {
    let reason = format!(
        "nothing says where the weights of the model {} are; give it a fileset, or name a repository as hf://org/name",
        model.name
    );
    refused("model_name", reason)
}
