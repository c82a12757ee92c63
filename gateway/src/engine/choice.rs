//! Who may serve a request, one candidate at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::app::App;
use super::down::RequestView;
use super::plan::Body;
use crate::balance::{Key, Plan, SESSION_HEADER};
use crate::body::ModelRewrite;
use crate::dialect::Operation;
use crate::limit::{Hold, RetryBudget};
use crate::metrics::ModelTokens;
use crate::refusal::Refusal;
use crate::route::{ModelEntry, ModelQuery, Provider, Replica, resolve_model, resolve_provider};
use crate::upstream::line::Line;

/// Who may serve it.
pub enum Choice {
    Model(Arc<ModelEntry>),
    Provider(Arc<Provider>),
}

impl Choice {
    /// Which address is next.
    pub fn plan(&self) -> &Plan {
        match self {
            Self::Provider(provider) => &provider.plan,
            Self::Model(entry) => &entry.plan,
        }
    }

    /// What its requests may be tried again out of.
    pub fn retries(&self) -> &RetryBudget {
        match self {
            Self::Provider(provider) => &provider.retries,
            Self::Model(entry) => &entry.retries,
        }
    }

    /// What requests have in common that belong together, when that counts for this choice.
    pub fn key(&self, request: RequestView<'_>, body: &Body<'_>) -> Option<u64> {
        let Self::Model(entry) = self else { return None };
        if entry.sought.is_nothing() || entry.plan.candidates().count() < 2 {
            return None;
        }
        let body = match body {
            Body::Json(bytes, _) | Body::Whole(bytes) => Some(&***bytes),
            Body::Empty | Body::Stream { .. } => None,
        };
        entry.sought.key(request.fields.get(SESSION_HEADER), body).map(|Key(key)| key)
    }

    /// The address that the plan calls `index`, and the place of its provider.
    pub fn replica(&self, index: usize) -> Option<(usize, &Replica)> {
        let (arm, place) = self.plan().seat(index)?;
        let provider = match self {
            Self::Provider(provider) => provider,
            Self::Model(entry) => &entry.candidates.get(arm)?.provider,
        };
        Some((arm, provider.replicas.get(place)?))
    }

    pub fn provider(&self, arm: usize) -> Option<&Provider> {
        match self {
            Self::Provider(provider) => (arm == 0).then_some(&**provider),
            Self::Model(entry) => entry.candidates.get(arm).map(|candidate| &*candidate.provider),
        }
    }

    /// The places of all candidates that are of the same provider as this one.
    pub fn arms_of_provider(&self, arm: usize) -> impl Iterator<Item = usize> {
        let provider = self.provider(arm).map(std::ptr::from_ref);
        let is_of_it = move |arm: &usize| self.provider(*arm).map(std::ptr::from_ref) == provider;
        let count = match self {
            Self::Provider(_) => 1,
            Self::Model(entry) => entry.candidates.len(),
        };
        (0..count).filter(is_of_it)
    }

    /// Who waits for room at its servers; none: nobody is ever held back.
    pub fn line(&self) -> Option<&Line> {
        match self {
            Self::Provider(provider) => (provider.hold != Hold::Never).then(|| &provider.quota.line),
            Self::Model(entry) => entry.quota.as_deref().map(|quota| &quota.line),
        }
    }

    /// What was asked for, in words.
    pub fn asked(&self) -> String {
        match self {
            Self::Provider(provider) => format!("provider {}", provider.label),
            Self::Model(entry) => format!("model {}", entry.public_id),
        }
    }

    /// The `n`th candidate for a request with this body.
    pub fn candidate(&self, n: usize, body: &Body<'_>) -> Option<Candidate<'_>> {
        match self {
            Self::Provider(provider) => {
                let pinned = provider.pinned.as_ref().filter(|_| matches!(body, Body::Json(..)));
                (n == 0).then_some(Candidate {
                    provider,
                    label: None,
                    served: pinned.map(|pinned| &pinned.json),
                    rewrite: pinned.map(|pinned| &pinned.echo),
                    shown: pinned.map(|pinned| &*pinned.name),
                    tokens: &provider.tokens,
                })
            }
            Self::Model(entry) => entry.candidates.get(n).map(|candidate| Candidate {
                provider: &candidate.provider,
                label: candidate.label.as_ref(),
                served: Some(&candidate.served_json),
                rewrite: candidate.rewrite.as_ref(),
                shown: Some(&*entry.public_id),
                tokens: &candidate.tokens,
            }),
        }
    }

    /// All who may serve it.
    pub fn candidates<'c>(&'c self, body: &Body<'_>) -> impl Iterator<Item = Candidate<'c>> {
        (0..self.arms()).filter_map(move |n| self.candidate(n, body))
    }

    fn arms(&self) -> usize {
        match self {
            Self::Provider(_) => 1,
            Self::Model(entry) => entry.candidates.len(),
        }
    }

    /// Whether a Responses request may have to be translated for one of them.
    pub fn translates(&self) -> bool {
        match self {
            Self::Provider(provider) => provider.translates_responses(),
            Self::Model(entry) => entry.candidates.iter().any(|c| c.provider.translates_responses()),
        }
    }

    /// Whether one of them gets a body made anew, which is held beside the one that came.
    pub fn copies(&self, operation: Operation<'_>) -> bool {
        let copies = |provider: &Provider| match operation {
            Operation::Response { .. } => provider.translates_responses(),
            Operation::ChatCompletions => provider.backend.uses_reasoning_parser,
            _ => false,
        };
        match self {
            Self::Provider(provider) => copies(provider),
            Self::Model(entry) => entry.candidates.iter().any(|candidate| copies(&candidate.provider)),
        }
    }

    /// How often the client of a stream hears something while nobody says anything yet.
    pub fn comment_interval(&self) -> Option<Duration> {
        match self {
            Self::Provider(provider) => provider.comment_interval,
            Self::Model(entry) => entry.comment_interval,
        }
    }

    /// The same by the table of now.
    pub fn renewed(&self, app: &App) -> Result<Self, Refusal> {
        let table = app.routes.load();
        match self {
            Self::Provider(old) => {
                resolve_provider(&table, &old.workspace, &old.name).map(Arc::clone).map(Self::Provider)
            }
            Self::Model(old) => {
                let workspace = old.public_id.split('/').next().unwrap_or_default();
                resolve_model(&table, workspace, ModelQuery::Url(&old.name)).map(Self::Model)
            }
        }
    }
}

#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    pub provider: &'a Arc<Provider>,
    /// Which of its models it stands for, where it is asked for several.
    pub label: Option<&'a Arc<str>>,
    pub served: Option<&'a Bytes>,
    pub rewrite: Option<&'a Arc<ModelRewrite>>,
    /// What the client is to see as the model; none: what it asked for.
    pub shown: Option<&'a str>,
    pub tokens: &'a ModelTokens,
}
