//! What a look at a provider means for its status and its models. Pure.
//!
//! - A list of models: READY, and those are its models.
//! - An answer that is no list: READY, but only the provider route leads there.
//! - A pinned model is the one model, listed or not: any answer that is no refusal means READY.
//! - No answer, or an error: ERROR with the class of the failure. The models stay, so that routes
//!   do not vanish with a provider that comes back.
//!
//! A provider that works is not given up for one bad look: a refusal of the key counts at once,
//! everything else the second time.

use std::collections::{HashMap, HashSet};

use proto_shared::names::distinct_entity_name;
use proto_shared::{ModelName, WorkspaceName, entity_name_for};

use super::schedule::Outcome;
use crate::config::MODELS_PER_PROVIDER_MAX;
use crate::domain::provider::{Finding, is_enabled, is_upstream_id};
use crate::domain::{Provider, ProviderStatus, ServedModel};

/// A working provider is given up after this many looks in a row that failed.
const FAILURES_TO_GIVE_UP: u32 = 2;

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub enum Probed {
    /// Upstream ids, in the provider's order.
    Listed(Vec<String>),
    /// It answers, and not with a list of models.
    NoList(NoList),
    Failed(Failure),
}

impl Probed {
    fn shows_life(&self) -> bool {
        match self {
            Self::Listed(_) | Self::NoList(_) => true,
            Self::Failed(failure) => failure.is_about_the_list(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoList {
    NotFound,
    OtherShape,
}

/// Why a look failed: classes only, never what the provider or the system said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("its name does not resolve")]
    Unresolved,
    /// Our own refusal; it names the setting.
    #[error("{0}")]
    Egress(proto_shared::egress::EgressRefusal),
    #[error("connection refused")]
    Refused,
    #[error("it can't be reached")]
    Unreachable,
    #[error("timed out")]
    TimedOut,
    #[error("TLS failed")]
    Tls,
    #[error("its answer is not HTTP")]
    Protocol,
    #[error("answered {0}")]
    Status(u16),
    #[error("its model list is longer than {0} bytes")]
    TooLong(usize),
    #[error("its secret '{0}' does not exist; store it again")]
    NoSecret(proto_shared::SecretName),
    #[error("its key can't be sent (a line break in it, perhaps); set the secret again")]
    Key,
}

impl Failure {
    /// Looking again can't change it.
    fn is_final(&self) -> bool {
        matches!(self, Self::Status(401 | 403) | Self::Key | Self::NoSecret(_) | Self::Egress(_))
    }

    /// It answers, and only its list is not to be had.
    fn is_about_the_list(&self) -> bool {
        match self {
            Self::TooLong(_) => true,
            Self::Status(code) => matches!(code, 400..=499 | 501) && !matches!(code, 401 | 403 | 407 | 408),
            _ => false,
        }
    }
}

/// What is to be written; `None` where nothing changes.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    pub status: Option<ProviderStatus>,
    pub message: Option<String>,
    pub served: Option<Vec<(ModelName, String)>>,
    /// The look was not believed yet: look again soon.
    pub doubtful: bool,
}

impl Verdict {
    const NOTHING: Self = Self { status: None, message: None, served: None, doubtful: false };

    pub fn is_nothing_new(&self) -> bool {
        self.status.is_none() && self.message.is_none() && self.served.is_none()
    }

    pub fn outcome(&self, outcome: Outcome) -> Outcome {
        if self.doubtful { Outcome::Failing } else { outcome }
    }

    pub fn finding(self) -> Finding {
        let Self { status, message, served, .. } = self;
        Finding { status, message, served, model_deployment_id: None }
    }
}

/// What it means that a provider, asked beside the looks of here, listed these.
pub fn listed(provider: &Provider, ids: &[String]) -> Finding {
    let (served, message) = name_models(provider, ids);
    let status = Some(ProviderStatus::Ready);
    Finding { status, message: Some(message), served: Some(served), model_deployment_id: None }
}

/// Judges one look. `failures` counts the failed or doubtful looks right before it.
pub fn judge(provider: &Provider, probed: &Probed, failures: u32) -> Verdict {
    if !provider.status.is_probed() || provider.withheld {
        return Verdict::NOTHING;
    }
    let works = provider.status == ProviderStatus::Ready;
    let believed = failures + 1 >= FAILURES_TO_GIVE_UP;
    let pinned = provider.spec.pinned(&provider.workspace, &provider.served);
    if let Some(pinned) = pinned.filter(|_| probed.shows_life()) {
        let message = word_on_pinned(&pinned.1, probed);
        return change(provider, ProviderStatus::Ready, message, Some(vec![pinned]));
    }
    match probed {
        Probed::Listed(ids) => {
            let (served, message) = name_models(provider, ids);
            change(provider, ProviderStatus::Ready, message, Some(served))
        }
        Probed::NoList(_) if works && !provider.served.is_empty() && !believed => doubt(),
        Probed::NoList(kind) => {
            let what = match kind {
                NoList::NotFound => "has no /v1/models",
                NoList::OtherShape => "answers /v1/models with something else than a list of models",
            };
            let message = format!("The provider {what}: entity routing is disabled, use its provider route");
            change(provider, ProviderStatus::Ready, message, Some(Vec::new()))
        }
        // It lives, and has too much to do to say what it serves.
        Probed::Failed(Failure::Status(429)) if works => doubt(),
        Probed::Failed(failure) if works && !failure.is_final() && !believed => doubt(),
        Probed::Failed(failure) => {
            change(provider, ProviderStatus::Error, format!("Provider discovery failed: {failure}"), None)
        }
    }
}

/// What a look that found life says about the one model.
fn word_on_pinned(pinned: &str, probed: &Probed) -> String {
    match probed {
        Probed::Listed(ids) if !ids.is_empty() && !ids.iter().any(|id| id == pinned) => {
            format!("The provider's list of models does not name its pinned model '{pinned}'")
        }
        Probed::Listed(_) | Probed::NoList(_) => String::new(),
        Probed::Failed(failure) => {
            format!(
                "The provider's list of models can't be had ({failure}); its pinned model is taken on trust"
            )
        }
    }
}

fn doubt() -> Verdict {
    Verdict { doubtful: true, ..Verdict::NOTHING }
}

/// Only what differs from what is stored.
fn change(
    provider: &Provider,
    status: ProviderStatus,
    message: String,
    served: Option<Vec<(ModelName, String)>>,
) -> Verdict {
    Verdict {
        status: (status != provider.status).then_some(status),
        message: (message != provider.status_message).then_some(message),
        served: served.filter(|models| !provider.serves(models)),
        doubtful: false,
    }
}

/// Routable names for upstream ids, and what to say about them.
///
/// An id keeps the name it has. Of new ids that normalise alike, one that is spelled like the name
/// gets it, else the first; the others get names with a hash.
fn name_models(provider: &Provider, ids: &[String]) -> (Vec<(ModelName, String)>, String) {
    let enabled = provider.spec.enabled_models.as_deref();
    let mut seen = HashSet::new();
    let usable: Vec<&String> = ids
        .iter()
        .filter(|id| is_upstream_id(id) && is_enabled(enabled, id) && seen.insert(id.as_str()))
        .collect();
    let kept = &usable[..usable.len().min(MODELS_PER_PROVIDER_MAX)];
    let names = Names::choose(&provider.workspace, &provider.served, kept);
    let served = kept.iter().filter_map(|id| Some((names.of(id)?, (*id).clone()))).collect();
    let message = if usable.len() > kept.len() {
        format!("The provider lists more than {MODELS_PER_PROVIDER_MAX} models; the rest is not routable")
    } else if kept.is_empty() && !ids.is_empty() {
        "The provider lists none of its enabled_models".into()
    } else {
        String::new()
    };
    (served, message)
}

struct Names<'a> {
    by_id: HashMap<&'a str, ModelName>,
}

impl<'a> Names<'a> {
    fn choose(workspace: &WorkspaceName, stored: &[ServedModel], ids: &[&'a String]) -> Self {
        let stored: HashMap<&str, &ModelName> =
            stored.iter().map(|served| (served.served_name.as_str(), &served.name)).collect();
        let mut by_id = HashMap::with_capacity(ids.len());
        let mut taken = HashSet::with_capacity(ids.len());
        for id in ids {
            if let Some(name) = stored.get(id.as_str()).filter(|name| taken.insert((**name).clone())) {
                by_id.insert(id.as_str(), (*name).clone());
            }
        }
        let spelled_alike = |id: &&&String| entity_name_for(workspace, id).as_str() == id.as_str();
        let (first, then): (Vec<&&String>, Vec<&&String>) = ids.iter().partition(spelled_alike);
        for id in first.into_iter().chain(then) {
            if by_id.contains_key(id.as_str()) {
                continue;
            }
            let name = entity_name_for(workspace, id);
            let name = if taken.contains(&name) { distinct_entity_name(&name, id) } else { name };
            // Two ids whose hashes are alike too: the second has no name, rather than a stolen one.
            if taken.insert(name.clone()) {
                by_id.insert(id.as_str(), name);
            }
        }
        Self { by_id }
    }

    fn of(&self, id: &str) -> Option<ModelName> {
        self.by_id.get(id).cloned()
    }
}

#[cfg(test)]
mod tests;
