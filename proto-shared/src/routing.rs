//! How the requests for one model are spread over the providers that serve it.
//!
//! What must stay true: every value means something for any list of candidates. Who is not named has the
//! defaults, and who is named and serves nothing is passed over, so a snapshot needs no second check.

use serde::{Deserialize, Serialize};

use crate::names::{ProviderName, WorkspaceName};

/// What one provider gets of a weighted split, unless it says otherwise.
pub const WEIGHT_DEFAULT: u32 = 1;
/// The highest weight: shares down to a millionth can be written.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// The highest tier.
pub const TIER_MAX: u32 = 1_000;

/// How one model's requests are spread. The default is what a snapshot without it meant: the candidates in
/// their order, the next one only when the one before does not serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Routing {
    pub strategy: Strategy,
    /// What makes two requests belong together, where the strategy keeps those at one place.
    pub sticky: StickyKey,
    /// Weights and tiers; who is missing has the defaults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<ProviderShare>,
}

/// Who of those that can serve a request gets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Of two taken at random, the one with less to do for its speed; over all addresses of all providers.
    LeastBusy,
    /// Each address in turn.
    RoundRobin,
    /// Providers by their weights; who has a key stays with one of them.
    Weighted,
    /// Providers by their tiers, lowest first; inside a tier the least busy.
    #[default]
    Priority,
    /// Prompts that begin alike, and sessions, at the address that knows them, unless it has too much to do.
    PrefixAffinity,
}

/// What of a request says to whom or to what it belongs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StickyKey {
    /// What suits the strategy: the user before the session for weights, the session alone for prefixes.
    #[default]
    Auto,
    /// The members `user` and `safety_identifier`.
    User,
    /// The header `x-session-id` and the member `prompt_cache_key`.
    Session,
    /// Requests are independent of each other.
    Nothing,
}

/// One provider's part in the routing of a model, or of one model that it is asked for: so two models of a
/// provider are two parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderShare {
    pub workspace: WorkspaceName,
    pub provider: ProviderName,
    /// What it is asked for; absent: whatever of its models no other part names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its part of a weighted split, in proportion to the others'. Zero: it gets nothing.
    #[serde(default = "weight_default")]
    pub weight: u32,
    /// The lowest goes first; absent: its place in the list of candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<u32>,
}

fn weight_default() -> u32 {
    WEIGHT_DEFAULT
}

impl Routing {
    /// Whether nothing was said about it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What was said about a provider that is asked for `model`.
    pub fn share(&self, workspace: &str, provider: &str, model: &str) -> Option<&ProviderShare> {
        let its_own = self
            .providers
            .iter()
            .filter(|share| share.workspace.as_str() == workspace && share.provider.as_str() == provider);
        its_own.clone().find(|share| share.model.as_deref() == Some(model)).or_else(|| {
            let mut its_own = its_own;
            its_own.find(|share| share.model.is_none())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> Routing {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_said_is_the_order_of_the_list() {
        let routing = read(json!({}));
        assert!(routing.is_default());
        assert_eq!((routing.strategy, routing.sticky), (Strategy::Priority, StickyKey::Auto));
    }

    #[test]
    fn a_split_reads_and_writes_back_as_it_was() {
        let split = json!({
            "strategy": "weighted",
            "sticky": "user",
            "providers": [
                { "workspace": "default", "provider": "arm-a", "weight": 90 },
                { "workspace": "default", "provider": "arm-b", "weight": 0, "tier": 2 },
            ],
        });
        let routing = read(split.clone());
        assert_eq!(serde_json::to_value(&routing).unwrap(), split);
        let [a, b] = &*routing.providers else { panic!("two providers") };
        assert_eq!((a.weight, a.tier, b.weight, b.tier), (90, None, 0, Some(2)));
        assert_eq!(routing.share("default", "arm-b", "any"), Some(b));
        assert_eq!(routing.share("team", "arm-b", "any"), None);
    }

    #[test]
    fn a_part_that_names_a_model_is_for_that_one_alone() {
        let routing = read(json!({ "strategy": "weighted", "providers": [
            { "workspace": "default", "provider": "pp", "weight": 3 },
            { "workspace": "default", "provider": "pp", "model": "llama:70b", "weight": 7 },
            { "workspace": "default", "provider": "qq", "model": "llama:8b" },
        ] }));
        let weight = |provider, model| routing.share("default", provider, model).map(|share| share.weight);
        assert_eq!((weight("pp", "llama:70b"), weight("pp", "llama:8b")), (Some(7), Some(3)));
        assert_eq!((weight("qq", "llama:8b"), weight("qq", "llama:70b")), (Some(1), None));
    }

    #[test]
    fn who_is_named_without_a_weight_counts_once() {
        let named = read(json!({ "providers": [{ "workspace": "default", "provider": "arm-a" }] }));
        assert_eq!(named.providers[0].weight, WEIGHT_DEFAULT);
    }
}
