//! Reads what a newer registry says, as far as it is understood.
//!
//! What must stay true: a word that is not known here changes what it is about and nothing else. It means what the
//! field means when nothing is said, which never allows more; where there is no such meaning, what it is about is left
//! out. Everything else that can't be read is a fault of the whole line, as ever: half a table is worse than an old
//! one. A line of today is parsed once, at no further cost.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::backend::{BackendFormat, LeavingClients, MaxTokensField, ReasoningReplay};
use crate::feed::FeedMessage;
use crate::limits::HoldBack;
use crate::names::WorkspaceName;
use crate::routing::{StickyKey, Strategy};
use crate::snapshot::{LocalRule, ModelRoute, Origin, ProviderRoute, Replay, RouteSnapshot};

/// Longest part of an unknown word that is shown.
const WORD_CHARS_MAX: usize = 64;

/// A word that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// `provider workspace/name`, or the same of a model.
    pub of: String,
    /// As a path: `routing/strategy`.
    pub field: &'static str,
    pub word: String,
    /// What it is about can't be used without understanding it.
    pub left_out: bool,
}

/// Reads one line of the feed, and tells what of it was not understood.
pub fn read(line: &[u8]) -> Result<(FeedMessage, Vec<UnknownWord>), serde_json::Error> {
    serde_json::from_slice(line).map(|message| (message, Vec::new())).or_else(|error| {
        // The first error says where it is in the line; the second would be about a part of it.
        let Ok(Line { snapshot }) = serde_json::from_slice(line) else { return Err(error) };
        let mut unknown = Vec::new();
        let Some(snapshot) = snapshot.understood(&mut unknown) else { return Err(error) };
        Ok((FeedMessage::Snapshot(Arc::new(snapshot)), unknown))
    })
}

#[derive(Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    snapshot: Snapshot<'l>,
}

/// A snapshot of which the parts are still to be read.
#[derive(Deserialize)]
struct Snapshot<'l> {
    format: u32,
    installation: String,
    generation: u64,
    workspaces: Vec<WorkspaceName>,
    #[serde(default)]
    local_only: Vec<WorkspaceName>,
    #[serde(borrow)]
    providers: Vec<&'l RawValue>,
    #[serde(borrow)]
    models: Vec<&'l RawValue>,
}

impl Snapshot<'_> {
    fn understood(self, unknown: &mut Vec<UnknownWord>) -> Option<RouteSnapshot> {
        let Self { format, installation, generation, workspaces, local_only, .. } = self;
        let providers = parts::<ProviderRoute>(&self.providers, "provider", &OF_PROVIDERS, unknown)?;
        let models = parts::<ModelRoute>(&self.models, "model", &OF_MODELS, unknown)?;
        Some(RouteSnapshot { format, installation, generation, workspaces, local_only, providers, models })
    }
}

/// A field that holds one of several words.
struct Words {
    field: &'static str,
    knows: fn(&Value) -> bool,
    otherwise: Otherwise,
}

/// What stands for a word that is not known.
#[derive(Clone, Copy)]
enum Otherwise {
    /// What nothing said means.
    Absent,
    /// The rule holds, whoever made it: here the model itself.
    RuleOfModel,
    LeftOut,
}

const fn words<T: DeserializeOwned>(field: &'static str, otherwise: Otherwise) -> Words {
    Words { field, knows: |value| T::deserialize(value).is_ok(), otherwise }
}

const OF_PROVIDERS: [Words; 7] = [
    words::<Origin>("origin", Otherwise::Absent),
    words::<Replay>("replay", Otherwise::Absent),
    words::<LeavingClients>("backend/leaving_clients", Otherwise::Absent),
    words::<HoldBack>("backend/hold_back", Otherwise::Absent),
    words::<ReasoningReplay>("backend/chat/reasoning_replay", Otherwise::Absent),
    words::<MaxTokensField>("backend/chat/max_tokens_field", Otherwise::Absent),
    // What would be sent in another dialect than it speaks is an error of every request.
    words::<BackendFormat>("backend/format", Otherwise::LeftOut),
];

const OF_MODELS: [Words; 3] = [
    words::<Strategy>("routing/strategy", Otherwise::Absent),
    words::<StickyKey>("routing/sticky", Otherwise::Absent),
    words::<LocalRule>("local_only/by", Otherwise::RuleOfModel),
];

/// None: one of them is at fault in another way.
fn parts<T: DeserializeOwned>(
    raw: &[&RawValue],
    kind: &str,
    words: &[Words],
    unknown: &mut Vec<UnknownWord>,
) -> Option<Vec<T>> {
    let mut parts = Vec::with_capacity(raw.len());
    for part in raw {
        if let Ok(part) = serde_json::from_str(part.get()) {
            parts.push(part);
            continue;
        }
        let mut value: Value = serde_json::from_str(part.get()).ok()?;
        let id = format!("{}/{}", value["workspace"].as_str()?, value["name"].as_str()?);
        let before = unknown.len();
        unknown.extend(words.iter().filter_map(|words| words.replace(&mut value, kind, &id)));
        let left_out = unknown.iter().skip(before).any(|word| word.left_out);
        if !left_out {
            parts.push(serde_json::from_value(value).ok()?);
        }
    }
    Some(parts)
}

impl Words {
    /// Puts something known in the place of a word that is not.
    fn replace(&self, value: &mut Value, kind: &str, id: &str) -> Option<UnknownWord> {
        let (parent, last) =
            self.field.rsplit_once('/').map_or(("", self.field), |(parent, last)| (parent, last));
        let parent = if parent.is_empty() { value } else { value.pointer_mut(&format!("/{parent}"))? };
        let found = parent.get(last).filter(|word| !(self.knows)(word))?;
        let word = match found {
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        let members = parent.as_object_mut()?;
        match self.otherwise {
            Otherwise::Absent | Otherwise::LeftOut => drop(members.remove(last)),
            Otherwise::RuleOfModel => drop(members.insert(last.to_owned(), json!({ "model": id }))),
        }
        Some(UnknownWord {
            of: format!("{kind} {id}"),
            field: self.field,
            word: word.chars().take(WORD_CHARS_MAX).collect(),
            left_out: matches!(self.otherwise, Otherwise::LeftOut),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A snapshot with one provider and one model.
    fn line(provider: &Value, model: &Value) -> Value {
        let with = |base: Value, more: &Value| {
            let mut base = base;
            for (key, value) in more.as_object().into_iter().flatten() {
                base[key] = value.clone();
            }
            base
        };
        let plain = json!({ "workspace": "default", "name": "pp", "host_url": "http://h" });
        let of_model = json!({ "workspace": "default", "name": "mm", "created": 7, "candidates": [
            { "workspace": "default", "provider": "pp", "served_name": "x" }] });
        json!({ "snapshot": { "format": 1, "installation": "i", "generation": 9, "workspaces": ["default"],
            "providers": [with(plain.clone(), provider), with(plain, &json!({ "name": "other" }))],
            "models": [with(of_model.clone(), model), with(of_model, &json!({ "name": "other" }))] } })
    }

    fn understood(line: &Value) -> (RouteSnapshot, Vec<UnknownWord>) {
        let (message, unknown) = read(line.to_string().as_bytes()).unwrap();
        let FeedMessage::Snapshot(snapshot) = message else { panic!("a snapshot") };
        (snapshot.as_ref().clone(), unknown)
    }

    #[test]
    fn a_word_of_tomorrow_means_what_nothing_said_means_for_that_one_alone() {
        let provider = json!({ "origin": "cluster", "replay": "if_idempotent", "colour": "red",
            "backend": { "chat": { "reasoning_replay": "encrypted", "max_tokens_field": "max_output_tokens",
                                   "takes_files": false } } });
        let model = json!({ "local_only": { "by": { "team": "blue" }, "left_out": ["default/hosted"] },
            "routing": { "strategy": "cheapest", "sticky": "cookie", "providers": [
                { "workspace": "default", "provider": "pp", "weight": 3, "until": "noon" }] } });
        let (snapshot, unknown) = understood(&line(&provider, &model));
        let (provider, model) = (&snapshot.providers[0], &snapshot.models[0]);
        assert_eq!((provider.origin, provider.replay), (Origin::Owner, Replay::Never));
        let chat = &provider.backend.chat;
        assert_eq!((chat.reasoning_replay, chat.takes_files), (ReasoningReplay::Auto, false));
        assert_eq!((model.routing.strategy, model.routing.sticky), (Strategy::Priority, StickyKey::Auto));
        assert_eq!(model.routing.providers[0].weight, 3);
        let boundary = model.local_only.as_ref().unwrap();
        assert_eq!((boundary.by.to_string(), boundary.left_out.len()), ("model default/mm".to_owned(), 1));
        assert_eq!((snapshot.providers.len(), snapshot.models.len(), unknown.len()), (2, 2, 7));
        let strategy = unknown.iter().find(|unknown| unknown.field == "routing/strategy").unwrap();
        assert_eq!(
            (&*strategy.of, &*strategy.word, strategy.left_out),
            ("model default/mm", "cheapest", false)
        );
    }

    #[test]
    fn a_provider_that_speaks_what_is_not_known_is_left_out_and_no_other_is() {
        let (snapshot, unknown) = understood(&line(&json!({ "backend": { "format": "GRPC" } }), &json!({})));
        assert_eq!(snapshot.providers.iter().map(|by| by.name.as_str()).collect::<Vec<_>>(), ["other"]);
        assert_eq!((snapshot.models.len(), unknown.len(), unknown[0].left_out), (2, 1, true));
    }

    #[test]
    fn what_is_at_fault_in_another_way_is_a_fault_of_the_whole_line() {
        for (provider, model) in [
            (json!({ "host_url": "ftp://h", "replay": "later" }), json!({})),
            (json!({}), json!({ "candidates": 3 })),
            (json!({}), json!({ "routing": 3 })),
            (json!({}), json!({ "name": "No Name", "routing": { "strategy": "cheapest" } })),
        ] {
            assert!(read(line(&provider, &model).to_string().as_bytes()).is_err(), "{provider} {model}");
        }
        for text in ["", "{}", "[]", "not json", r#"{"snapshot":{"format":1}}"#] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_of_today_holds_nothing_unknown() {
        let model =
            json!({ "routing": { "strategy": "weighted" }, "local_only": { "by": { "workspace": "team" } } });
        let (snapshot, unknown) = understood(&line(&json!({ "replay": "safe" }), &model));
        assert_eq!((snapshot.generation, unknown.len()), (9, 0));
        assert!(matches!(read(br#"{"heartbeat":{"generation":1}}"#), Ok((FeedMessage::Heartbeat { .. }, _))));
    }

    /// A new word is safe for older gateways only if it is listed here.
    #[test]
    fn every_field_of_words_is_told_apart() {
        let provider = json!({ "origin": 1, "replay": [], "backend": { "format": {}, "leaving_clients": [], "hold_back": 1, "chat": {
            "reasoning_replay": 0.5, "max_tokens_field": false } } });
        let model = json!({ "routing": { "strategy": [], "sticky": {} }, "local_only": { "by": "x" } });
        let (_, unknown) = understood(&line(&provider, &model));
        assert_eq!(unknown.len(), OF_PROVIDERS.len() + OF_MODELS.len());
        let long = "x".repeat(WORD_CHARS_MAX + 1);
        let (_, unknown) = understood(&line(&json!({}), &json!({ "routing": { "strategy": long } })));
        assert_eq!(unknown[0].word.len(), WORD_CHARS_MAX);
    }
}
