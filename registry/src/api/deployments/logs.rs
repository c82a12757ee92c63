//! `…/deployments/{name}/logs`: ours, beside the platform's calls.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;
use utoipa::IntoParams;

use crate::Registry;
use crate::api::query::{self, Pairs};
use crate::api::reply::Reply;
use crate::config::LOG_TAIL_DEFAULT;
use crate::domain::Timestamp;
use crate::error::{Error, Issue};
use crate::reconcile::logs;
use crate::runtime::{LogQuery, TAIL_LINES_MAX};
use crate::server::Stop;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; the query is read as pairs")]
pub struct LogParams {
    /// Goes on with what comes, until the deployment is gone
    follow: Option<bool>,
    /// The last so many lines of each instance; 1000 when left out
    #[param(maximum = 10000)]
    tail: Option<u32>,
    /// Nothing older than this: a time (ISO 8601), or a number of seconds. Commands keep no times of their lines: of
    /// those all come, or none when the last one is older
    since: Option<String>,
}

/// What its instances print, line by line; with several of them, each line begins with `[vVERSION/REPLICA]`. Known
/// secrets, and what looks like a key, are blotted out.
#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/deployments/{name}/logs", tag = "deployments",
    params(LogParams), responses((status = 200, body = String, content_type = "text/plain")),
)]
pub async fn read(
    State(registry): State<Registry>,
    Extension(Stop(stop)): Extension<Stop>,
    Path((workspace, name)): Path<(String, String)>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let wanted = wanted(&pairs, logs::now())?;
    let pieces = logs::read(registry, workspace, name, wanted, stop).await?;
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(pieces.map(Ok::<_, std::convert::Infallible>))).into_response())
}

fn wanted(pairs: &Pairs, now: Timestamp) -> Result<LogQuery, Error> {
    let follow = query::switch(pairs, "follow")?;
    let given = |name| query::last(pairs, name).filter(|text| !text.is_empty());
    let tail = match given("tail") {
        None => LOG_TAIL_DEFAULT,
        Some(text) => {
            let number = text.parse().ok().filter(|lines| *lines <= TAIL_LINES_MAX);
            number.ok_or_else(|| refused("tail", format!("give a number of lines, 0 to {TAIL_LINES_MAX}")))?
        }
    };
    let since = given("since").map(|text| {
        let why = "give a time such as 2026-01-31T12:00:00Z, or a number of seconds";
        since(text, now).ok_or_else(|| refused("since", why))
    });
    Ok(LogQuery { tail, follow, since: since.transpose()? })
}

fn since(text: &str, now: Timestamp) -> Option<Timestamp> {
    match text.parse::<u32>() {
        Ok(seconds) => Some(Timestamp(now.0 - i64::from(seconds) * 1_000_000)),
        Err(_) => Timestamp::from_wire(text),
    }
}

fn refused(parameter: &str, reason: impl std::fmt::Display) -> Error {
    Error::Invalid(vec![Issue::value(vec![json!("query"), json!(parameter)], reason)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<LogQuery, Error> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        wanted(&pairs, Timestamp(100_000_000))
    }

    #[test]
    fn a_log_is_bounded_unless_more_is_asked_for() {
        assert_eq!(read(&[]).unwrap(), LogQuery::last(LOG_TAIL_DEFAULT));
        let asked = read(&[("follow", "true"), ("tail", "0"), ("since", "60")]).unwrap();
        assert_eq!(asked, LogQuery { tail: 0, follow: true, since: Some(Timestamp(40_000_000)) });
        let at = read(&[("since", "1970-01-01T00:00:02Z")]).unwrap();
        assert_eq!(at.since, Some(Timestamp(2_000_000)));
    }

    #[test]
    fn what_can_not_be_read_is_refused_by_name() {
        for (name, value) in [("tail", "x"), ("tail", "10001"), ("tail", "-1"), ("since", "now")] {
            let Err(Error::Invalid(issues)) = read(&[(name, value)]) else { panic!("{name}={value}") };
            assert_eq!(issues[0].loc, [json!("query"), json!(name)]);
        }
    }
}
