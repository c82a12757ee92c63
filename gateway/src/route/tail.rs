//! The tail: what is forwarded, and what never is.
//!
//! A tail goes upstream byte for byte, with two exceptions. `%2F` becomes `/`, because the stock
//! SDKs encode the whole tail as one path parameter. Dot segments (plain, or encoded a few times over),
//! backslashes and control bytes are refused, because an upstream may walk out of its base path. So is vLLM's way to load
//! weights from any path or repository into a server: whoever may ask a model anything may not change it.

use std::borrow::Cow;

/// Why a tail is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TailError {
    #[error("the path holds a dot segment (\".\" or \"..\", perhaps encoded)")]
    DotSegment,
    #[error("the path holds a backslash (perhaps encoded)")]
    Backslash,
    #[error("the path holds a control character (perhaps encoded)")]
    Control,
    #[error(
        "adapters are not loaded into servers through the gateway; create them for their model \
         (nimgate adapter create), or disable them"
    )]
    Adapters,
}

/// How often an upstream might decode a path; what hides deeper reaches nobody.
const DECODINGS_MAX: usize = 4;

/// Checks a raw tail and gives the form that goes upstream.
pub fn forwardable(tail: &str) -> Result<Cow<'_, str>, TailError> {
    check(tail.as_bytes())?;
    if !tail.contains('%') {
        return Ok(Cow::Borrowed(tail));
    }
    let mut decoded = percent_decode(tail.as_bytes());
    for _ in 0..DECODINGS_MAX {
        check(&decoded)?;
        let again = percent_decode(&decoded);
        if again == decoded {
            break;
        }
        decoded = again;
    }
    Ok(decode_slashes(tail))
}

fn check(bytes: &[u8]) -> Result<(), TailError> {
    if bytes.contains(&b'\\') {
        return Err(TailError::Backslash);
    }
    if bytes.iter().any(u8::is_ascii_control) {
        return Err(TailError::Control);
    }
    for segment in bytes.split(|&b| b == b'/') {
        match segment {
            b"." | b".." => return Err(TailError::DotSegment),
            b"load_lora_adapter" | b"unload_lora_adapter" => return Err(TailError::Adapters),
            _ => {}
        }
    }
    Ok(())
}

fn decode_slashes(tail: &str) -> Cow<'_, str> {
    if !tail.contains("%2F") && !tail.contains("%2f") {
        return Cow::Borrowed(tail);
    }
    Cow::Owned(tail.replace("%2F", "/").replace("%2f", "/"))
}

/// Decodes every valid escape; an invalid one stays as it is.
pub fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let hex = |b: u8| char::from(b).to_digit(16);
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        if let (b'%', [high, low, tail @ ..]) = (byte, after)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push((high * 16 + low) as u8);
            rest = tail;
        } else {
            out.push(byte);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_go_on_unchanged() {
        for tail in [
            "",
            "v1/chat/completions",
            "a//b",
            "/a",
            "a/-/b",
            "%zz%",
            "a%20b%3fc",
            "...",
            "a.b/..c",
            "%c3%a9",
        ] {
            assert_eq!(forwardable(tail).unwrap(), tail);
        }
    }

    #[test]
    fn encoded_slashes_are_slashes() {
        assert_eq!(forwardable("v1%2Fchat%2fcompletions").unwrap(), "v1/chat/completions");
    }

    #[test]
    fn nothing_walks_out_of_the_base_path_or_changes_a_server() {
        for (tail, why) in [
            ("..", TailError::DotSegment),
            ("a/../b", TailError::DotSegment),
            ("a/./b", TailError::DotSegment),
            ("a/%2e%2E/b", TailError::DotSegment),
            ("a/%252e%252e/b", TailError::DotSegment),
            ("a/%25252e%25252e/b", TailError::DotSegment),
            ("a%2f..%2fb", TailError::DotSegment),
            ("a%252f..%252fb", TailError::DotSegment),
            ("a\\b", TailError::Backslash),
            ("a%5cb", TailError::Backslash),
            ("a%00b", TailError::Control),
            ("a%0d%0ab", TailError::Control),
            ("a%250ab", TailError::Control),
            ("v1/load_lora_adapter", TailError::Adapters),
            ("v1%2Funload%255flora_adapter/", TailError::Adapters),
        ] {
            assert_eq!(forwardable(tail), Err(why), "{tail}");
        }
    }
}
