//! How requests are spread, in words: pure.

use proto_shared::routing::{StickyKey, Strategy, WEIGHT_DEFAULT};
use serde_json::{Value, json};

use crate::client::output::Table;

/// A virtual model with what its routing comes to.
pub struct Spread {
    /// As the server tells it.
    pub virtual_model: Value,
    pub parts: Vec<Part>,
    strategy: Option<Strategy>,
    sticky: StickyKey,
    workspace: String,
    /// The model that answers, as `workspace/model`.
    target: String,
    /// What keeps its requests from hosted providers.
    pub local_only: Option<String>,
}

/// One provider of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `workspace/provider`.
    pub provider: String,
    pub standing: Standing,
    /// What it is asked for, when that is another model.
    pub model: Option<String>,
    /// Of a split; who is not named in one has none.
    weight: u32,
    tier: Option<u64>,
}

/// Whether a provider that is named can get requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Serves,
    /// It is there and does not serve the model.
    Idle {
        status: String,
    },
    Absent,
}

impl Spread {
    /// `serving` are those who serve the model, as `workspace/provider`. Who does not is `Absent` until it is found.
    pub fn new(workspace: &str, target: &str, virtual_model: Value, serving: Vec<String>) -> Self {
        let routing = &virtual_model["routing"];
        let strategy = serde_json::from_value(routing["strategy"].clone()).ok();
        let sticky = serde_json::from_value(routing["sticky"].clone()).unwrap_or_default();
        let named: Vec<Part> = routing["providers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|part| {
                let text = part["provider"].as_str()?;
                let provider =
                    if text.contains('/') { text.to_owned() } else { format!("{workspace}/{text}") };
                let weight = part["weight"].as_u64().and_then(|weight| u32::try_from(weight).ok());
                Some(Part {
                    standing: if serving.contains(&provider) { Standing::Serves } else { Standing::Absent },
                    provider,
                    model: part["model"].as_str().map(str::to_owned),
                    weight: weight.unwrap_or(WEIGHT_DEFAULT),
                    tier: part["tier"].as_u64(),
                })
            })
            .collect();
        let weight = if named.is_empty() { WEIGHT_DEFAULT } else { 0 };
        let others = serving.into_iter().filter(|name| !named.iter().any(|part| part.provider == *name));
        let others = others.map(|provider| Part {
            provider,
            standing: Standing::Serves,
            model: None,
            weight,
            tier: None,
        });
        let parts: Vec<Part> = named.iter().cloned().chain(others).collect();
        Self {
            workspace: workspace.to_owned(),
            target: target.to_owned(),
            strategy,
            sticky,
            parts,
            virtual_model,
            local_only: None,
        }
    }

    pub fn name(&self) -> &str {
        self.virtual_model["name"].as_str().unwrap_or_default()
    }

    /// Whether it is what a served model gets by itself, once its routing is taken away.
    pub fn is_automatic_but_for_routing(&self) -> bool {
        let value = &self.virtual_model;
        let says_nothing = |field: &str| match &value[field] {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        let fields = [
            "models",
            "request_middleware",
            "response_middleware",
            "post_response_middleware",
            "override_proxy",
            "local_only",
            "resume",
            "stream_comment_interval_ms",
            "limits",
        ];
        let is_own = self.target == format!("{}/{}", self.workspace, self.name());
        let is_served = self.parts.iter().any(|part| part.standing == Standing::Serves);
        is_own && is_served && fields.into_iter().all(says_nothing)
    }

    /// What is written, and each provider's part of it.
    pub fn words(&self) -> String {
        let name = format!("{}/{}", self.workspace, self.name());
        if self.parts.is_empty() {
            return format!("nobody serves {name} now\n");
        }
        let how = match self.strategy {
            None if self.parts.len() == 1 => "go to its one provider",
            None => {
                "go to the least busy provider (to the first, where the owner of its model gave an order)"
            }
            Some(Strategy::LeastBusy) => "go to the least busy provider",
            Some(Strategy::RoundRobin) => "go to each provider in turn",
            Some(Strategy::Weighted) => "are split",
            Some(Strategy::Priority) => "go to the first tier that can take them",
            Some(Strategy::PrefixAffinity) => "go where their prompt or session is known",
        };
        let boundary = self
            .local_only
            .as_ref()
            .map(|by| format!("local only, by {by}: those that are hosted get nothing\n"));
        format!(
            "requests for {name} {how}:\n{}{}",
            self.table().text(usize::MAX),
            boundary.unwrap_or_default()
        )
    }

    fn table(&self) -> Table {
        let column = match self.strategy {
            Some(Strategy::Weighted) => Some("SHARE"),
            Some(Strategy::Priority) => Some("TIER"),
            _ => None,
        };
        let has_notes =
            self.parts.iter().any(|part| part.standing != Standing::Serves || part.model.is_some());
        let headings = ["PROVIDER"].into_iter().chain(column).chain(has_notes.then_some("NOTE"));
        let mut table = Table::new(&headings.collect::<Vec<_>>());
        let total: u64 = self.parts.iter().map(|part| u64::from(part.weight)).sum();
        for (place, part) in self.parts.iter().enumerate() {
            let said = match self.strategy {
                Some(Strategy::Weighted) => percent(part.weight, total),
                _ => part.tier.unwrap_or(place as u64).to_string(),
            };
            let note = match &part.standing {
                Standing::Serves => part.model.iter().map(|model| format!("is asked for {model}")).collect(),
                Standing::Idle { status } => format!("does not serve {} ({status})", self.target),
                Standing::Absent => "is not there".to_owned(),
            };
            let cells = [self.short(&part.provider).to_owned()].into_iter();
            let cells = cells.chain(column.map(|_| said)).chain(has_notes.then_some(note));
            table.row(&cells.collect::<Vec<_>>());
        }
        table
    }

    fn short<'p>(&self, provider: &'p str) -> &'p str {
        provider.strip_prefix(&*self.workspace).and_then(|rest| rest.strip_prefix('/')).unwrap_or(provider)
    }

    /// One for each that is named and gets nothing.
    pub fn warnings(&self) -> Vec<String> {
        let target = &self.target;
        let warning = |part: &Part| {
            let provider = self.short(&part.provider);
            match &part.standing {
                Standing::Serves => None,
                Standing::Idle { status } => Some(format!(
                    "warning: provider {provider} does not serve {target} now ({status}); its part goes to the others"
                )),
                Standing::Absent => Some(format!(
                    "warning: there is no provider {provider}; its part goes to the others until it is made and serves {target}"
                )),
            }
        };
        self.parts.iter().filter_map(warning).collect()
    }

    /// The command that takes the routing back.
    pub fn undo(&self) -> String {
        let verb = if self.strategy == Some(Strategy::Weighted) { "split" } else { "route" };
        format!("nimgate model {verb} {} --off", self.name())
    }

    /// How clients stay where they are, and how to reach one provider whatever the routing says.
    pub fn next(&self, base_url: &dyn Fn(&str) -> String) -> String {
        let Some(strategy) = self.strategy else { return String::new() };
        let (user, session) = ("\"user\" in the body", "header x-session-id");
        let sticky = match (strategy, self.sticky) {
            (Strategy::Weighted, StickyKey::Auto) => {
                format!("clients with the same {user}, else with the same {session}, stay with one of them")
            }
            (Strategy::Weighted, StickyKey::User) => {
                format!("clients with the same {user} stay with one of them")
            }
            (Strategy::Weighted | Strategy::PrefixAffinity, StickyKey::Session) => {
                format!("requests with the same {session} stay with one of them")
            }
            (Strategy::PrefixAffinity, StickyKey::Auto) => {
                format!("requests that begin alike, or with the same {session}, stay together")
            }
            (Strategy::PrefixAffinity, StickyKey::User) => {
                format!("requests with the same {user} stay together")
            }
            _ => "each request is taken by itself".to_owned(),
        };
        let mut text = format!("sticky:  {sticky}\n");
        for (index, part) in self.parts.iter().enumerate() {
            let label = if index == 0 { "pin one:" } else { "" };
            let model = part.model.as_ref().map(|id| format!("  with \"model\": {}", json!(id)));
            let model = model.unwrap_or_default();
            text.push_str(&format!("{label:<8} {}{model}\n", base_url(&part.provider)));
        }
        text
    }
}

/// With one digit behind the point where that says more.
fn percent(weight: u32, total: u64) -> String {
    if total == 0 {
        return "0 %".to_owned();
    }
    let share = f64::from(weight) * 100.0 / total as f64;
    let text = format!("{share:.1}");
    match text.strip_suffix(".0") {
        Some("0") if weight > 0 => "<0.1 %".to_owned(),
        Some(whole) => format!("{whole} %"),
        None => format!("{text} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(routing: Value, serving: &[&str]) -> Spread {
        let model = json!({"name": "llama", "routing": routing, "models": [], "autoprovisioned": false});
        let serving = serving.iter().map(|name| (*name).to_owned()).collect();
        Spread::new("default", "default/llama", model, serving)
    }

    #[test]
    fn a_split_is_shown_in_percent_and_who_is_not_named_has_nothing() {
        let split = json!({"strategy": "weighted", "providers": [
            {"provider": "aa", "weight": 2}, {"provider": "team/bb"}]});
        let shown = spread(split, &["default/aa", "default/cc"]);
        assert_eq!(
            shown.words(),
            "requests for default/llama are split:\nPROVIDER  SHARE   NOTE\naa        66.7 %\n\
             team/bb   33.3 %  is not there\ncc        0 %\n"
        );
        assert_eq!(shown.warnings().len(), 1);
        assert!(shown.warnings()[0].contains("no provider team/bb"), "{:?}", shown.warnings());
    }

    #[test]
    fn tiers_are_shown_and_places_where_none_is_written() {
        let tiers = json!({"strategy": "priority", "providers": [{"provider": "aa", "tier": 0}]});
        let shown = spread(tiers, &["default/aa", "default/bb"]).words();
        assert!(shown.ends_with("PROVIDER  TIER\naa        0\nbb        1\n"), "{shown}");
    }

    #[test]
    fn shares_are_exact_to_a_tenth() {
        for (weight, total, shown) in [
            (90, 100, "90 %"),
            (1, 3, "33.3 %"),
            (995, 1000, "99.5 %"),
            (1, 100_000, "<0.1 %"),
            (0, 0, "0 %"),
        ] {
            assert_eq!(percent(weight, total), shown);
        }
    }

    #[test]
    fn each_provider_has_an_address_of_its_own() {
        let split = json!({"strategy": "weighted", "providers": [{"provider": "aa"}]});
        let next = spread(split, &["default/aa", "default/bb"]).next(&|name| format!("http://g/{name}"));
        assert!(next.contains("x-session-id"), "{next}");
        assert!(next.ends_with("pin one: http://g/default/aa\n         http://g/default/bb\n"), "{next}");
    }

    #[test]
    fn two_models_of_a_provider_are_two_parts_of_it() {
        let split = json!({"strategy": "weighted", "providers": [
            {"provider": "aa", "model": "x/8b", "weight": 9}, {"provider": "aa", "model": "x/70b"}]});
        let shown = spread(split, &["default/aa"]);
        assert!(
            shown
                .words()
                .ends_with("aa        90 %   is asked for x/8b\naa        10 %   is asked for x/70b\n")
        );
        let next = shown.next(&|name| format!("http://g/{name}"));
        assert!(next.contains("http://g/default/aa  with \"model\": \"x/70b\"\n"), "{next}");
    }

    #[test]
    fn what_says_nothing_but_its_routing_was_automatic() {
        let plain = || spread(json!({"strategy": "least_busy"}), &["default/aa"]);
        assert!(plain().is_automatic_but_for_routing());
        for (field, value) in [
            ("local_only", json!(true)),
            ("resume", json!(true)),
            ("stream_comment_interval_ms", json!(15_000)),
            ("limits", json!({"concurrency": 4})),
            ("request_middleware", json!([{"name": "guard"}])),
            ("override_proxy", json!("a.b")),
        ] {
            let mut other = plain();
            other.virtual_model[field] = value;
            assert!(!other.is_automatic_but_for_routing(), "{field}");
        }
        assert!(!spread(Value::Null, &[]).is_automatic_but_for_routing(), "nobody serves it");
    }
}
