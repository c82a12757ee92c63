//! A virtual model: what a request for a model resolves to.
//!
//! Every served model has one of its name, made with it; an owner may change it or make others.

use proto_shared::names::EntityName;
use proto_shared::{ModelName, RequestLimits, WorkspaceName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Reference;
use super::document::Draft;
use super::model::BackendFormat;
use super::routing::RoutingWish;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VirtualModelBody {
    /// `workspace/name` of the model that answers; not set: the one of its own name.
    #[schema(max_length = 255)]
    pub default_model_entity: Option<String>,
    /// It goes when nobody serves the model of its name any more.
    #[serde(default)]
    pub autoprovisioned: bool,
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub models: Vec<VirtualModelInferenceConfig>,
    #[serde(default)]
    #[schema(max_items = 100)]
    pub request_middleware: Vec<MiddlewareCall>,
    #[serde(default)]
    #[schema(max_items = 100)]
    pub response_middleware: Vec<MiddlewareCall>,
    #[serde(default)]
    #[schema(max_items = 100)]
    pub post_response_middleware: Vec<MiddlewareCall>,
    #[schema(max_length = 255)]
    pub override_proxy: Option<String>,
    /// Ours, as what follows: left out where it says nothing. How requests are spread over providers
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutingWish>,
    /// Its requests never go to a hosted provider
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local_only: bool,
    /// A chat stream whose server dies goes on at another address: `true` says that all servers know
    /// `continue_final_message`, `auto` asks the local ones whether they do
    #[serde(default, skip_serializing_if = "ResumeWish::is_off")]
    #[schema(value_type = ResumeWord)]
    pub resume: ResumeWish,
    /// How often the client of a stream gets a comment while nobody says anything yet; null: as the providers say
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 600_000)]
    pub stream_comment_interval_ms: Option<u32>,
    /// How much may be asked of it in each gateway, whoever serves it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsWish>,
}

/// Limits of a model as they are written. What is left out stays as it is; zero is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsWish {
    /// Most requests under way at once; further ones wait; 0: any number
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100_000)]
    pub concurrency: Option<u32>,
    /// Further ones are refused with 429; 0: any number
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 10_000_000)]
    pub requests_per_minute: Option<u32>,
}

impl LimitsWish {
    /// What is written over what was. None: no limit is left.
    pub fn over(self, before: Option<Self>) -> Option<Self> {
        let before = before.unwrap_or_default();
        let merged = Self {
            concurrency: self.concurrency.or(before.concurrency).filter(|limit| *limit > 0),
            requests_per_minute: self
                .requests_per_minute
                .or(before.requests_per_minute)
                .filter(|limit| *limit > 0),
        };
        (merged != Self::default()).then_some(merged)
    }

    pub fn published(wish: Option<Self>) -> RequestLimits {
        let Self { concurrency, requests_per_minute } =
            wish.and_then(|wish| wish.over(None)).unwrap_or_default();
        RequestLimits { concurrency, requests_per_minute }
    }
}

/// Whether chat streams go on at another address when their server dies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ResumeWord", into = "ResumeWord")]
pub enum ResumeWish {
    #[default]
    Off,
    /// At servers of which gateways learn that they can.
    WhereKnown,
    /// The owner says that all can.
    Promised,
}

impl ResumeWish {
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// As it is written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ResumeWord {
    Told(bool),
    Learned(Learned),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Learned {
    Auto,
}

impl From<ResumeWord> for ResumeWish {
    fn from(word: ResumeWord) -> Self {
        match word {
            ResumeWord::Told(false) => Self::Off,
            ResumeWord::Told(true) => Self::Promised,
            ResumeWord::Learned(Learned::Auto) => Self::WhereKnown,
        }
    }
}

impl From<ResumeWish> for ResumeWord {
    fn from(wish: ResumeWish) -> Self {
        match wish {
            ResumeWish::Off => Self::Told(false),
            ResumeWish::Promised => Self::Told(true),
            ResumeWish::WhereKnown => Self::Learned(Learned::Auto),
        }
    }
}

/// A model that middleware may choose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VirtualModelInferenceConfig {
    #[schema(max_length = 255)]
    pub model: String,
    pub backend_format: Option<BackendFormat>,
}

/// A plugin that is to see requests or answers. Kept; there are no plugins here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MiddlewareCall {
    #[schema(max_length = 255)]
    pub name: String,
    #[schema(max_length = 255)]
    pub config_type: String,
    #[schema(value_type = Option<Object>)]
    pub config: Option<Map<String, Value>>,
    #[schema(max_length = 255)]
    pub config_id: Option<String>,
}

impl VirtualModelBody {
    /// Names of the plugins it wants, in the order in which they would run.
    pub fn middleware(&self) -> Vec<String> {
        let calls = [&self.request_middleware, &self.response_middleware, &self.post_response_middleware];
        calls.into_iter().flatten().map(|call| call.name.clone()).collect()
    }
}

/// The one that a served model gets.
pub fn automatic(workspace: &WorkspaceName, name: EntityName) -> Draft<VirtualModelBody> {
    let body = VirtualModelBody {
        default_model_entity: Some(format!("{workspace}/{name}")),
        autoprovisioned: true,
        ..VirtualModelBody::default()
    };
    Draft { name, project: None, description: None, body }
}

/// What routing needs of a virtual model.
#[derive(Debug, Clone)]
pub struct VirtualRoute {
    pub workspace: WorkspaceName,
    pub name: ModelName,
    pub target: Target,
    /// Seconds since the epoch.
    pub created: u64,
    /// Plugins without which it must not be used.
    pub middleware: Vec<String>,
    pub routing: Option<RoutingWish>,
    pub local_only: bool,
    pub resume: ResumeWish,
    pub stream_comment_interval_ms: Option<u32>,
    pub limits: Option<LimitsWish>,
}

/// Which model answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one of its own name.
    Own,
    Other(Reference),
    /// What is written there names no model.
    Nothing,
}

impl Target {
    pub fn read(entity: Option<String>) -> Self {
        match entity {
            None => Self::Own,
            Some(text) => Reference::try_from(text).map_or(Self::Nothing, Self::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_once_and_nonsense_leads_nowhere() {
        assert_eq!(Target::read(None), Target::Own);
        assert_eq!(Target::read(Some("Not A Model".into())), Target::Nothing);
        let Target::Other(reference) = Target::read(Some("default/tiny".into())) else { panic!() };
        assert_eq!(reference.to_string(), "default/tiny");
    }

    #[test]
    fn a_limit_that_is_written_leaves_the_other_and_zero_takes_it_away() {
        let of = |concurrency, requests_per_minute| LimitsWish { concurrency, requests_per_minute };
        let both = of(Some(4), None).over(Some(of(None, Some(60))));
        assert_eq!(both, Some(of(Some(4), Some(60))));
        assert_eq!(of(Some(0), None).over(both), Some(of(None, Some(60))));
        assert_eq!(of(Some(0), Some(0)).over(both), None);
        assert!(LimitsWish::published(Some(of(Some(0), None))).is_none());
    }

    #[test]
    fn middleware_is_named_in_the_order_in_which_it_would_run() {
        let call = |name: &str| MiddlewareCall {
            name: name.into(),
            config_type: "t".into(),
            config: None,
            config_id: None,
        };
        let body = VirtualModelBody {
            request_middleware: vec![call("a"), call("b")],
            post_response_middleware: vec![call("c")],
            ..VirtualModelBody::default()
        };
        assert_eq!(body.middleware(), ["a", "b", "c"]);
    }
}
