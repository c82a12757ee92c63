//! "Where would this request go, and why?": the same pure functions as the request path, with words.

use http::Method;
use proto_shared::HostUrl;
use proto_shared::routing::Strategy;
use serde::Serialize;

use crate::balance::Standing;
use crate::dialect::Operation;
use crate::resume::Resume;
use crate::route::tail::forwardable;
use crate::route::{
    ModelEntry, ModelQuery, Provider, Replica, RouteTable, Target, parse_target, resolve_model,
    resolve_provider,
};
use crate::upstream::{Load, Seen};
use crate::uptime::now_ms;

#[derive(Debug, Serialize)]
pub struct Explanation {
    pub route: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Who of the candidates gets a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// What that goes by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compares: Option<&'static str>,
    /// Where its streams go on when their server dies: `promised` by its owner, or `where known`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<&'static str>,
    pub candidates: Vec<ExplainedCandidate>,
    /// Who is no candidate because requests must stay with local providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_only: Option<ExplainedBoundary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<ExplainedRefusal>,
    pub generation: u64,
}

#[derive(Debug, Serialize)]
pub struct ExplainedCandidate {
    pub provider: String,
    /// Where it would go; with several replicas the first of them.
    pub url: String,
    /// The best that one of its addresses has.
    pub standing: Option<Standing>,
    /// Its share, with weights; zero gets nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Its place, with priorities: the lowest of those that are open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<u32>,
    /// Why streams don't go on from or to it, though the model wants that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub does_not_go_on: Option<&'static str>,
    /// All addresses, when there are several or something is known of the one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ExplainedReplica>,
    /// What the request is translated into for this provider, when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translated_into: Option<&'static str>,
    pub served_model: Option<String>,
    pub ready: bool,
    pub sends_key: bool,
}

#[derive(Debug, Serialize)]
pub struct ExplainedBoundary {
    /// What is marked so.
    pub by: String,
    pub left_out: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct ExplainedReplica {
    pub url: String,
    /// Requests that are there or wait, and the one that would come.
    pub queue: u64,
    /// That times the square of the time to the first byte, in s²; absent: the time is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    #[serde(flatten)]
    pub seen: Seen,
}

#[derive(Debug, Serialize)]
pub struct ExplainedRefusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

/// Explains `path` (with or without a query) for a body that asks for `model`.
pub fn explain(table: &RouteTable, path: &str, model: Option<&str>) -> Explanation {
    let path = path.split('?').next().unwrap_or_default();
    let mut out = Explanation {
        route: "none",
        workspace: None,
        model: None,
        strategy: None,
        compares: None,
        resume: None,
        candidates: Vec::new(),
        local_only: None,
        refusal: None,
        generation: table.generation,
    };
    let result = match parse_target(path) {
        Target::Live | Target::Ready => {
            out.route = "health";
            Ok(())
        }
        Target::Control => {
            out.route = "registry";
            Ok(())
        }
        Target::ProviderReady { workspace, .. } => {
            (out.route, out.workspace) = ("readiness", Some(workspace.into_owned()));
            Ok(())
        }
        Target::Unknown => Err(crate::refusal::Refusal::NoSuchPath),
        Target::Provider { workspace, name, tail } => {
            (out.route, out.workspace) = ("provider", Some(workspace.to_string()));
            explain_provider(table, &workspace, &name, tail, &mut out)
        }
        Target::Model { workspace, name, tail } => {
            (out.route, out.workspace) = ("model", Some(workspace.to_string()));
            explain_model(table, &workspace, ModelQuery::Url(&name), tail, &mut out)
        }
        Target::OpenAi { workspace, tail } => {
            (out.route, out.workspace) = ("openai", Some(workspace.to_string()));
            if tail.starts_with("v1/models") {
                Ok(())
            } else {
                explain_model(table, &workspace, ModelQuery::Body(model), tail, &mut out)
            }
        }
    };
    if let Err(refusal) = result {
        out.refusal = Some(ExplainedRefusal {
            status: refusal.status().as_u16(),
            code: refusal.code(),
            message: refusal.body().detail,
        });
    }
    out
}

fn explain_provider(
    table: &RouteTable,
    workspace: &str,
    name: &str,
    tail: &str,
    out: &mut Explanation,
) -> Result<(), crate::refusal::Refusal> {
    let tail = forwardable(tail).map_err(crate::refusal::Refusal::Tail)?;
    out.candidates.push(candidate(resolve_provider(table, workspace, name)?, &tail, None));
    Ok(())
}

fn explain_model(
    table: &RouteTable,
    workspace: &str,
    query: ModelQuery<'_>,
    tail: &str,
    out: &mut Explanation,
) -> Result<(), crate::refusal::Refusal> {
    let tail = forwardable(tail).map_err(crate::refusal::Refusal::Tail)?;
    let entry: std::sync::Arc<ModelEntry> = resolve_model(table, workspace, query)?;
    out.model = Some(entry.public_id.to_string());
    out.strategy = Some(entry.plan.strategy());
    out.compares = Some(compares(entry.plan.strategy()));
    out.resume = entry.resume.label();
    out.local_only = entry
        .local_only
        .as_ref()
        .map(|rule| ExplainedBoundary { by: rule.by.to_string(), left_out: rule.left_out.clone() });
    out.candidates = entry
        .candidates
        .iter()
        .enumerate()
        .map(|(place, c)| {
            let known = candidate(&c.provider, &tail, serde_json::from_slice(&c.served_json).ok());
            let does_not_go_on = c.provider.does_not_go_on().filter(|_| entry.resume != Resume::Off);
            let share = entry.plan.share(place);
            let (weight, tier) = match entry.plan.strategy() {
                Strategy::Weighted => (share.map(|(weight, _)| weight), None),
                Strategy::Priority => (None, share.map(|(_, tier)| tier)),
                Strategy::LeastBusy | Strategy::RoundRobin | Strategy::PrefixAffinity => (None, None),
            };
            ExplainedCandidate { does_not_go_on, weight, tier, ..known }
        })
        .collect();
    Ok(())
}

/// What a strategy goes by, of those who stand best.
fn compares(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::LeastBusy => {
            "of two at random, the lower cost; the shorter queue, where a cost is not known"
        }
        Strategy::RoundRobin => "each in turn",
        Strategy::Weighted => "the share of weights that the request's key falls to; then cost",
        Strategy::Priority => "the lowest tier that has room; then cost",
        Strategy::PrefixAffinity => {
            "where the beginning of the prompt belongs, unless that has a quarter more to do than the mean"
        }
    }
}

fn replica_at(url: String, load: &Load, now_ms: u64) -> ExplainedReplica {
    let work = load.work(now_ms);
    ExplainedReplica {
        url,
        queue: u64::try_from(work.queue()).unwrap_or(u64::MAX),
        cost: work.cost().map(|us2| us2 as f64 / 1e12),
        seen: load.seen(now_ms),
    }
}

fn candidate(provider: &Provider, tail: &str, served_model: Option<String>) -> ExplainedCandidate {
    let operation = Operation::of(&Method::POST, tail);
    let translated = operation.chat_tail().filter(|_| provider.translates_responses());
    let tail = translated.as_deref().unwrap_or(tail);
    let now_ms = now_ms();
    let at = |url: &HostUrl| {
        let scheme = if url.is_https() { "https" } else { "http" };
        format!("{scheme}://{}{}", url.authority(), url.join(tail))
    };
    let replicas =
        provider.replicas.iter().map(|replica| replica_at(at(replica.url()), &replica.endpoint.load, now_ms));
    let is_known = provider.replicas.iter().any(|r| {
        let seen = r.endpoint.load.seen(now_ms);
        seen.watched.is_known() || seen.first_byte_ms.is_some()
    });
    ExplainedCandidate {
        provider: provider.label.to_string(),
        url: at(provider.replicas.first().map_or(&provider.host_url, Replica::url)),
        standing: provider.replicas.iter().map(|r| r.endpoint.load.standing(now_ms)).min(),
        weight: None,
        tier: None,
        does_not_go_on: None,
        replicas: if provider.replicas.len() > 1 || is_known { replicas.collect() } else { Vec::new() },
        translated_into: translated.is_some().then_some("chat completions"),
        served_model: served_model.or_else(|| provider.pinned.as_ref().map(|pinned| pinned.name.to_string())),
        ready: provider.ready,
        sends_key: !provider.key.is_empty(),
    }
}
