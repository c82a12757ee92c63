//! How an owner wants the requests for a model spread: as it is written, and what a snapshot says of it.
//!
//! What must stay true: nobody needs to be there who is named. Whoever is not named in a split gets nothing of
//! it: shares are exactly what was written, whoever else begins to serve the model.

use proto_shared::routing::{ProviderShare, StickyKey, Strategy, TIER_MAX, WEIGHT_DEFAULT, WEIGHT_MAX};
use proto_shared::{ProviderName, Routing, WorkspaceName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Reference;

/// How the requests for a model are spread over those who serve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoutingWish {
    /// Who of those that serve the model gets a request
    #[schema(value_type = RoutingStrategy)]
    pub strategy: Strategy,
    /// What makes requests belong together; `auto`: what suits the strategy
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RoutingKey>)]
    pub sticky: Option<StickyKey>,
    /// Shares and tiers. They need not be there, nor serve the model
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub providers: Vec<ProviderPart>,
}

/// What one provider gets, or one of its models: a provider may be named once for each
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderPart {
    /// `provider`, or `workspace/provider`
    #[schema(value_type = String, max_length = 127)]
    pub provider: Reference,
    /// What it is asked for: an id of its own. With it, it need not serve the model that the name stands for, and may
    /// be named again with another. Without, it is what it serves of that model
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub model: Option<String>,
    /// For `weighted`: its part in proportion to the others'; 1. Who is not named gets nothing
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub weight: Option<u32>,
    /// For `priority`: the lowest goes first; its place in the list
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000)]
    pub tier: Option<u32>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema; values are `Strategy`")]
enum RoutingStrategy {
    LeastBusy,
    RoundRobin,
    Weighted,
    Priority,
    PrefixAffinity,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema; values are `StickyKey`")]
enum RoutingKey {
    Auto,
    User,
    Session,
    Nothing,
}

impl RoutingWish {
    /// At which place a provider is named that is asked for `model`.
    pub fn place(
        &self,
        own: &WorkspaceName,
        (workspace, provider): (&WorkspaceName, &ProviderName),
        model: &str,
    ) -> Option<usize> {
        let is_it = |part: &ProviderPart| {
            part.provider.workspace(own) == workspace && part.provider.name().as_str() == provider.as_str()
        };
        let place = |of: Option<&str>| {
            self.providers.iter().position(|part| is_it(part) && part.model.as_deref() == of)
        };
        place(Some(model)).or_else(|| place(None))
    }

    /// As a snapshot says it. `own` is the workspace it was written in, `serving` are all who serve the model, each
    /// with what it is asked for.
    pub fn published<'s>(
        &self,
        own: &WorkspaceName,
        serving: impl Iterator<Item = (&'s WorkspaceName, &'s ProviderName, &'s str)>,
    ) -> Routing {
        let named = self.providers.iter().filter_map(|part| {
            Some(ProviderShare {
                workspace: part.provider.workspace(own).clone(),
                provider: ProviderName::new(part.provider.name().as_str()).ok()?,
                model: part.model.clone(),
                weight: part.weight.unwrap_or(WEIGHT_DEFAULT).min(WEIGHT_MAX),
                tier: part.tier.map(|tier| tier.min(TIER_MAX)),
            })
        });
        let mut providers: Vec<ProviderShare> = named.collect();
        if self.strategy == Strategy::Weighted && !providers.is_empty() {
            let others = serving.filter(|(workspace, provider, model)| {
                self.place(own, (*workspace, *provider), model).is_none()
            });
            providers.extend(others.map(|(workspace, provider, _)| ProviderShare {
                workspace: workspace.clone(),
                provider: provider.clone(),
                model: None,
                weight: 0,
                tier: None,
            }));
        }
        Routing { strategy: self.strategy, sticky: self.sticky.unwrap_or_default(), providers }
    }
}

/// What is in force where nobody wrote a routing: the order that the owner of the model gave, else whoever
/// has the least to do.
pub fn unwritten(candidates: usize, has_order: bool) -> Routing {
    let strategy =
        if candidates > 1 && !has_order { Strategy::LeastBusy } else { Routing::default().strategy };
    Routing { strategy, ..Routing::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::test_values::workspace_name;

    fn read(value: Value) -> RoutingWish {
        serde_json::from_value(value).unwrap()
    }

    fn published(wish: &RoutingWish, serving: &[&str]) -> Vec<(String, u32, Option<u32>)> {
        let default = workspace_name("default");
        let serving: Vec<_> = serving.iter().map(|name| ProviderName::new(*name).unwrap()).collect();
        let routing = wish.published(&default, serving.iter().map(|name| (&default, name, "m")));
        let shown = |share: &ProviderShare| {
            (format!("{}/{}", share.workspace, share.provider), share.weight, share.tier)
        };
        routing.providers.iter().map(shown).collect()
    }

    #[test]
    fn it_is_stored_as_it_was_written() {
        for written in [
            json!({ "strategy": "least_busy" }),
            json!({ "strategy": "weighted", "sticky": "user", "providers": [
                { "provider": "arm-a", "weight": 90 }, { "provider": "team/arm-b", "weight": 0, "tier": 3 }] }),
        ] {
            assert_eq!(serde_json::to_value(read(written.clone())).unwrap(), written);
        }
    }

    #[test]
    fn a_split_is_exact_whoever_else_serves_the_model() {
        let split = read(json!({ "strategy": "weighted", "providers": [
            { "provider": "aa", "weight": 90 }, { "provider": "team/bb" }] }));
        let wanted = [
            ("default/aa".to_owned(), 90, None),
            ("team/bb".into(), 1, None),
            ("default/cc".into(), 0, None),
        ];
        assert_eq!(published(&split, &["aa", "cc"]), wanted);
    }

    #[test]
    fn a_split_that_names_nobody_leaves_all_their_share() {
        assert_eq!(published(&read(json!({ "strategy": "weighted" })), &["aa", "bb"]), []);
    }

    #[test]
    fn tiers_say_nothing_about_those_who_are_not_named() {
        let tiers = read(json!({ "strategy": "priority", "providers": [{ "provider": "aa", "tier": 2 }] }));
        assert_eq!(published(&tiers, &["aa", "bb"]), [("default/aa".to_owned(), 1, Some(2))]);
    }

    #[test]
    fn without_a_word_the_least_busy_goes_first_unless_there_is_an_order() {
        assert_eq!(unwritten(2, false).strategy, Strategy::LeastBusy);
        assert!(unwritten(2, true).is_default() && unwritten(1, false).is_default());
    }

    #[test]
    fn the_limits_in_the_schema_are_those_of_snapshots() {
        assert_eq!((WEIGHT_MAX, TIER_MAX), (1_000_000, 1_000));
    }
}
