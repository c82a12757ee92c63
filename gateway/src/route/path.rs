//! What a request path asks for.
//!
//! Two path families and one alias lead to the same three route kinds:
//! `/apis/inference-gateway/v2/workspaces/{ws}/…` (current SDKs), `/v2/workspaces/{ws}/inference/gateway/…`,
//! and `/v1/…` for the OpenAI route of the default workspace. Routing looks at raw bytes: no case
//! folding, no collapsing of slashes. The first `/-/` ends the prefix; a later one is the tail's.

use std::borrow::Cow;

use super::tail::percent_decode;

/// The workspace of the `/v1` alias.
pub const DEFAULT_WORKSPACE: &str = "default";

/// A path, taken apart. Tails are raw, without their leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'p> {
    Model {
        workspace: Cow<'p, str>,
        name: Cow<'p, str>,
        tail: &'p str,
    },
    Provider {
        workspace: Cow<'p, str>,
        name: Cow<'p, str>,
        tail: &'p str,
    },
    OpenAi {
        workspace: Cow<'p, str>,
        tail: &'p str,
    },
    /// `GET …/provider/{name}/ready`.
    ProviderReady {
        workspace: Cow<'p, str>,
        name: Cow<'p, str>,
    },
    Live,
    Ready,
    /// Everything else below `/apis/`, and the few system paths: the registry's.
    Control,
    Unknown,
}

/// Paths outside `/apis/` that the registry serves.
const REGISTRY_PATHS: [&str; 3] = ["/status", "/cluster-info", "/openapi.json"];

const CURRENT_FAMILY: &str = "/apis/inference-gateway/v2/workspaces/";
const SEED_FAMILY: &str = "/v2/workspaces/";

/// Takes `path` (without the query) apart.
pub fn parse_target(path: &str) -> Target<'_> {
    if let Some(tail) = path.strip_prefix("/v1/") {
        return Target::OpenAi {
            workspace: DEFAULT_WORKSPACE.into(),
            // The alias is `/v1` itself: what goes on is `v1/…`.
            tail: &path[path.len() - tail.len() - "v1/".len()..],
        };
    }
    if let Some(rest) = path.strip_prefix(CURRENT_FAMILY) {
        let Some((workspace, rest)) = rest.split_once('/') else { return Target::Control };
        return parse_kind(workspace, rest).unwrap_or(Target::Control);
    }
    if let Some(rest) = path.strip_prefix(SEED_FAMILY) {
        let Some((workspace, rest)) = rest.split_once("/inference/gateway/") else { return Target::Unknown };
        return parse_kind(workspace, rest).unwrap_or(Target::Unknown);
    }
    match path {
        "/health/live" => Target::Live,
        "/health/ready" => Target::Ready,
        _ if path.starts_with("/apis/") || REGISTRY_PATHS.contains(&path) => Target::Control,
        _ => Target::Unknown,
    }
}

/// `model/{name}/-/{tail}`, `provider/{name}/-/{tail}`, `provider/{name}/ready` or `openai/-/{tail}`.
fn parse_kind<'p>(workspace: &'p str, rest: &'p str) -> Option<Target<'p>> {
    let workspace = decode_name(workspace)?;
    let (prefix, tail) = match rest.split_once("/-/") {
        Some(split) => split,
        None => match rest.strip_suffix("/-") {
            Some(prefix) => (prefix, ""),
            None => return parse_ready(workspace, rest),
        },
    };
    if prefix == "openai" {
        return Some(Target::OpenAi { workspace, tail });
    }
    let (kind, name) = prefix.split_once('/')?;
    let name = decode_name(name)?;
    match kind {
        "model" => Some(Target::Model { workspace, name, tail }),
        "provider" => Some(Target::Provider { workspace, name, tail }),
        _ => None,
    }
}

fn parse_ready<'p>(workspace: Cow<'p, str>, rest: &'p str) -> Option<Target<'p>> {
    let name = rest.strip_prefix("provider/")?.strip_suffix("/ready")?;
    Some(Target::ProviderReady { workspace, name: decode_name(name)? })
}

/// SDKs percent-encode path parameters; the name grammar is checked by the look-up itself, since a
/// text that is no name is in no table.
fn decode_name(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    String::from_utf8(percent_decode(raw.as_bytes())).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openai<'a>(workspace: &'a str, tail: &'a str) -> Target<'a> {
        Target::OpenAi { workspace: workspace.into(), tail }
    }
    fn model<'a>(name: &'a str, tail: &'a str) -> Target<'a> {
        Target::Model { workspace: "default".into(), name: name.into(), tail }
    }
    fn provider<'a>(name: &'a str, tail: &'a str) -> Target<'a> {
        Target::Provider { workspace: "default".into(), name: name.into(), tail }
    }

    #[test]
    fn both_families_and_the_alias_lead_to_the_same_routes() {
        for family in
            ["/apis/inference-gateway/v2/workspaces/default", "/v2/workspaces/default/inference/gateway"]
        {
            for (rest, target) in [
                ("model/m1/-/v1/chat/completions", model("m1", "v1/chat/completions")),
                ("provider/p1/-/v1/models", provider("p1", "v1/models")),
                ("openai/-/v1/chat/completions", openai("default", "v1/chat/completions")),
                ("provider/p1/-/", provider("p1", "")),
                ("provider/p1/-", provider("p1", "")),
            ] {
                let path = format!("{family}/{rest}");
                assert_eq!(parse_target(&path), target, "{path}");
            }
        }
        assert_eq!(parse_target("/v1/chat/completions"), openai("default", "v1/chat/completions"));
        assert_eq!(parse_target("/v1/models/default/m1"), openai("default", "v1/models/default/m1"));
    }

    #[test]
    fn the_first_separator_ends_the_prefix_and_the_rest_is_the_tails() {
        let base = "/v2/workspaces/default/inference/gateway/provider/p1/-/";
        for tail in ["a/-/b", "/-/-/", "-/x", "a//b", "%zz", "v1%2Fmodels"] {
            assert_eq!(parse_target(&format!("{base}{tail}")), provider("p1", tail));
        }
    }

    #[test]
    fn encoded_names_are_decoded_and_composite_names_stay_whole() {
        let base = "/v2/workspaces/default/inference/gateway/model";
        assert_eq!(parse_target(&format!("{base}/a%40b/-/x")), model("a@b", "x"));
        assert_eq!(parse_target(&format!("{base}/ws/a&adapters/b/-/x")), model("ws/a&adapters/b", "x"));
    }

    #[test]
    fn other_paths_belong_to_the_registry_or_to_nobody() {
        for path in [
            "/apis/models/v2/workspaces/default/providers",
            "/apis/inference-gateway/v2/workspaces/default/virtual-models",
            "/apis/inference-gateway/v2/workspaces/default/provider/p1",
            "/status",
        ] {
            assert_eq!(parse_target(path), Target::Control, "{path}");
        }
        for path in
            ["/", "", "/v1", "/V1/models", "//v1/models", "/internal/feed", "/v2/workspaces/default/x", "*"]
        {
            assert_eq!(parse_target(path), Target::Unknown, "{path}");
        }
        let ready = "/apis/inference-gateway/v2/workspaces/default/provider/p1/ready";
        assert_eq!(
            parse_target(ready),
            Target::ProviderReady { workspace: "default".into(), name: "p1".into() }
        );
    }
}
