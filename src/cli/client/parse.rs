//! Values of flags that have a form of their own.

use proto_shared::HoldBack;
use proto_shared::backend::{BackendFormat, LeavingClients, ReasoningReplay};
use proto_shared::routing::{StickyKey, Strategy, TIER_MAX, WEIGHT_MAX};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// One condition of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub field: String,
    pub comparison: Comparison,
    pub value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Contains,
    AtLeast,
    AtMost,
}

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub name: String,
    pub value: String,
}

/// `PROVIDER=3`, or `PROVIDER:MODEL=3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    pub provider: String,
    pub model: Option<String>,
    pub value: u32,
}

pub fn filter(text: &str) -> Result<Filter, String> {
    let usage = || format!("{text:?} is not FIELD=VALUE, FIELD~TEXT, FIELD>=VALUE or FIELD<=VALUE");
    let (field, rest) = text.find(['=', '~', '>', '<']).map(|at| text.split_at(at)).ok_or_else(usage)?;
    let (comparison, value) = [
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        ("=", Comparison::Equal),
        ("~", Comparison::Contains),
    ]
    .into_iter()
    .find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?)))
    .ok_or_else(usage)?;
    if field.trim().is_empty() {
        return Err(usage());
    }
    Ok(Filter { field: field.trim().to_owned(), comparison, value: value.to_owned() })
}

pub fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Pair { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

pub fn share(text: &str) -> Result<Number, String> {
    number(text, WEIGHT_MAX, "PROVIDER=SHARE or PROVIDER:MODEL=SHARE, such as build=90")
}

pub fn tier(text: &str) -> Result<Number, String> {
    number(text, TIER_MAX, "PROVIDER=TIER or PROVIDER:MODEL=TIER, such as build=0")
}

fn number(text: &str, max: u32, form: &str) -> Result<Number, String> {
    let (named, value) = text.rsplit_once('=').ok_or_else(|| format!("{text:?} is not {form}"))?;
    let (provider, model) = match named.split_once(':') {
        Some((provider, model)) if !model.is_empty() => (provider, Some(model.to_owned())),
        _ => (named, None),
    };
    match value.trim_end_matches('%').parse() {
        _ if provider.is_empty() => Err(format!("{text:?} is not {form}")),
        Ok(value) if value <= max => Ok(Number { provider: provider.to_owned(), model, value }),
        _ => Err(format!("{value:?} is not a whole number from 0 to {max}")),
    }
}

/// `90`, `90s`, `10m`, `2h` or `1d`, as seconds.
pub fn seconds(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    let number = digits.parse::<u32>().ok();
    let seconds = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    seconds.ok_or_else(|| format!("{text:?} is not a duration such as 30s, 10m, 2h or 1d"))
}

pub fn json_object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|e| format!("not a JSON object: {e}"))
}

pub fn backend_format(text: &str) -> Result<BackendFormat, String> {
    word(&text.to_ascii_uppercase())
        .ok_or_else(|| format!("{text:?} is none of openai-chat, openai-responses and anthropic-messages"))
}

pub fn leaving_clients(text: &str) -> Result<LeavingClients, String> {
    word(text).ok_or_else(|| format!("{text:?} is neither cancel nor drain"))
}

pub fn reasoning_replay(text: &str) -> Result<ReasoningReplay, String> {
    word(&text.to_ascii_lowercase())
        .ok_or_else(|| format!("{text:?} is none of auto, drop, think-tags, reasoning-content and reasoning"))
}

pub fn hold_back(text: &str) -> Result<HoldBack, String> {
    word(&text.to_ascii_lowercase()).ok_or_else(|| format!("{text:?} is none of auto, always and never"))
}

pub fn resume(text: &str) -> Result<Value, String> {
    match text {
        "true" | "false" => Ok(Value::Bool(text == "true")),
        "auto" => Ok(Value::from(text)),
        _ => Err(format!("{text:?} is none of true, false and auto")),
    }
}

pub fn strategy(text: &str) -> Result<Strategy, String> {
    word(text).ok_or_else(|| {
        format!("{text:?} is none of least-busy, round-robin, weighted, priority and prefix-affinity")
    })
}

pub fn sticky_key(text: &str) -> Result<StickyKey, String> {
    word(text).ok_or_else(|| format!("{text:?} is none of auto, user, session and nothing"))
}

/// A word of the API, in which `-` may stand for `_`.
fn word<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(Value::String(text.replace('-', "_"))).ok()
}

pub fn json_list(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(list @ Value::Array(_)) => Ok(list),
        Ok(_) => Err("not a JSON list".to_owned()),
        Err(e) => Err(format!("not a JSON list: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_field_a_sign_and_a_value() {
        for (text, field, comparison, value) in [
            ("status=READY", "status", Comparison::Equal, "READY"),
            ("name~lla=ma", "name", Comparison::Contains, "lla=ma"),
            ("created_at>=2026-01-01", "created_at", Comparison::AtLeast, "2026-01-01"),
            ("created_at<=2026-01-01", "created_at", Comparison::AtMost, "2026-01-01"),
            ("project=", "project", Comparison::Equal, ""),
        ] {
            let expected = Filter { field: field.into(), comparison, value: value.into() };
            assert_eq!(filter(text), Ok(expected), "{text}");
        }
        for text in ["", "status", "=READY", "name>3", " ~x"] {
            assert!(filter(text).unwrap_err().contains("FIELD=VALUE"), "{text}");
        }
    }

    #[test]
    fn a_duration_has_a_unit_or_is_in_seconds() {
        for (text, expected) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "m", "1w", "-1s", "1.5h", "999999d", "1é"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_word_of_the_api_may_be_typed_with_dashes() {
        assert_eq!(backend_format("openai-responses"), Ok(BackendFormat::OpenaiResponses));
        assert_eq!(backend_format("OPENAI_CHAT"), Ok(BackendFormat::OpenaiChat));
        assert_eq!(reasoning_replay("think-tags"), Ok(ReasoningReplay::ThinkTags));
        assert!(backend_format("grpc").unwrap_err().contains("anthropic-messages"));
        assert!(reasoning_replay("").is_err());
    }

    #[test]
    fn a_share_is_a_whole_number_and_may_be_in_percent() {
        let number = |provider: &str, model: Option<&str>, value| {
            Ok(Number { provider: provider.into(), model: model.map(str::to_owned), value })
        };
        assert_eq!(share("team/aa=90"), number("team/aa", None, 90));
        assert_eq!(share("aa:llama3:8b=1"), number("aa", Some("llama3:8b"), 1));
        assert_eq!(share("aa=90%").map(|share| share.value), Ok(90));
        for bad in ["aa", "aa=", "=1", "aa=-1", "aa=0.5", "aa=1000001"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        assert!(tier("aa=1001").is_err() && tier("aa=0").is_ok());
        assert_eq!(strategy("prefix-affinity"), Ok(Strategy::PrefixAffinity));
        assert!(strategy("best").unwrap_err().contains("least-busy") && sticky_key("cookie").is_err());
    }

    #[test]
    fn a_pair_has_a_name_and_may_be_empty() {
        assert_eq!(pair("A=b=c"), Ok(Pair { name: "A".into(), value: "b=c".into() }));
        assert!(pair("A=").is_ok() && pair("A").is_err() && pair("=b").is_err());
    }
}
