//! What the reply gets to know of its request.

use serde_json::value::RawValue;

use super::Provider;
use crate::dialect::responses::turn::Turn;

fn turn(settings: &str, body: &str) -> Turn {
    Provider::new(settings).translate(body.as_bytes()).unwrap().turn
}

fn spelt(raw: &Option<Box<RawValue>>) -> Option<&str> {
    raw.as_deref().map(RawValue::get)
}

#[test]
fn the_reply_repeats_what_was_sent_as_it_was_spelt() {
    let echo = turn(
        "{}",
        r#"{"model":"theirs","input":"Hi","instructions":"caf\u00e9","max_output_tokens":1e3,"max_tool_calls":2,
        "metadata":{ "a":"b"},"parallel_tool_calls":false,"prompt_cache_key":"k","safety_identifier":"s",
        "reasoning":{"effort":"low","summary":"auto"},"service_tier":"flex","temperature":0.70,"top_p":1.0,
        "presence_penalty":0.1,"frequency_penalty":-0.1,"top_logprobs":2,"text":{"verbosity":"low"},
        "tool_choice":{"type":"allowed_tools","mode":"auto","tools":[]},"tools":[{"type":"web_search", "x":1}],
        "truncation":"auto","user":"u"}"#,
    )
    .echo;
    assert_eq!(echo.model, "shown");
    assert_eq!(echo.parallel_tool_calls, Some(false));
    for (raw, wanted) in [
        (&echo.instructions, r#""caf\u00e9""#),
        (&echo.max_output_tokens, "1e3"),
        (&echo.max_tool_calls, "2"),
        (&echo.metadata, r#"{ "a":"b"}"#),
        (&echo.prompt_cache_key, r#""k""#),
        (&echo.safety_identifier, r#""s""#),
        (&echo.reasoning, r#"{"effort":"low","summary":"auto"}"#),
        (&echo.service_tier, r#""flex""#),
        (&echo.temperature, "0.70"),
        (&echo.top_p, "1.0"),
        (&echo.presence_penalty, "0.1"),
        (&echo.frequency_penalty, "-0.1"),
        (&echo.top_logprobs, "2"),
        (&echo.text, r#"{"verbosity":"low"}"#),
        (&echo.tool_choice, r#"{"type":"allowed_tools","mode":"auto","tools":[]}"#),
        (&echo.tools, r#"[{"type":"web_search", "x":1}]"#),
        (&echo.truncation, r#""auto""#),
        (&echo.user, r#""u""#),
    ] {
        assert_eq!(spelt(raw), Some(wanted));
    }
}

#[test]
fn null_is_nothing_to_repeat() {
    let echo = turn("{}", r#"{"input":"Hi","temperature":null,"tools":null,"metadata":null}"#).echo;
    assert_eq!((spelt(&echo.temperature), spelt(&echo.tools), spelt(&echo.metadata)), (None, None, None));
}

#[test]
fn the_reply_knows_how_the_provider_is_to_be_read() {
    let plain = turn("{}", r#"{"input":"Hi"}"#);
    assert_eq!((plain.stream, plain.reasoning, plain.thought_signatures), (false, false, false));
    let other = turn(
        r#"{"uses_reasoning_parser":true,"chat":{"thought_signatures":true}}"#,
        r#"{"input":"Hi","stream":true}"#,
    );
    assert_eq!((other.stream, other.reasoning, other.thought_signatures), (true, true, true));
}
