//! Thought signatures, carried across turns in the id of a tool call.
//!
//! Some providers sign what a tool call was thought from, and refuse the next turn unless the call comes back with
//! its signature. Nothing is stored here, so it travels with the client: `call_id` is the one field that every
//! client sends back as it got it, with the call and with its output.
//!
//! What must stay true: an id that carries nothing is the provider's own; what `split` gives is what was joined,
//! and all it writes is of letters, digits, `_` and `-`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Between the provider's id and the signature. It does not end as it begins, so no id that lacks it can make it
/// begin earlier.
const MARK: &str = "_sig-";

/// The longest signature that is carried: clients send it back twice for each call, in every later turn.
pub const SIGNATURE_BYTES_MAX: usize = 16 * 1024;

/// The `call_id` that the client gets. A signature that is too long is left out.
pub fn join<'a>(call_id: &'a str, signature: Option<&str>) -> Cow<'a, str> {
    match signature {
        Some(signature)
            if !signature.is_empty() && signature.len() <= SIGNATURE_BYTES_MAX && !call_id.contains(MARK) =>
        {
            Cow::Owned([call_id, MARK, &URL_SAFE_NO_PAD.encode(signature)].concat())
        }
        _ => Cow::Borrowed(call_id),
    }
}

/// The provider's own id, and the signature that came with it.
pub fn split(call_id: &str) -> (&str, Option<String>) {
    let carried = || {
        let (id, encoded) = call_id.split_once(MARK)?;
        if encoded.is_empty() || encoded.len() > SIGNATURE_BYTES_MAX * 4 / 3 + 3 {
            return None;
        }
        let signature = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
        Some((id, signature))
    };
    match carried() {
        Some((id, signature)) => (id, Some(signature)),
        None => (call_id, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_signature_comes_back_with_the_id_that_it_left_with() {
        let sent = join("call_1", Some("CiQB+/=="));
        assert_eq!(sent, "call_1_sig-Q2lRQisvPT0");
        assert_eq!(split(&sent), ("call_1", Some("CiQB+/==".to_owned())));
    }

    #[test]
    fn an_id_without_a_signature_is_the_providers_own() {
        assert_eq!(join("call_1", None), "call_1");
        assert_eq!(join("call_1", Some("")), "call_1");
        for id in ["call_1", "", "call_sig-", "call_sig-!", "_sig-", "call_sig-A", "a_sig_Q2lR"] {
            assert_eq!(split(id), (id, None));
        }
    }

    #[test]
    fn a_signature_that_is_too_long_is_left_out() {
        let longest = "s".repeat(SIGNATURE_BYTES_MAX);
        assert_eq!(split(&join("c", Some(&longest))), ("c", Some(longest.clone())));
        assert_eq!(join("c", Some(&(longest + "s"))), "c");
    }

    proptest! {
        #[test]
        fn what_was_joined_is_split_again(id in "([a-z0-9]|_sig|_|-){0,6}", signature in "\\PC{1,40}") {
            prop_assume!(!id.contains(MARK));
            let sent = join(&id, Some(&signature));
            prop_assert!(sent.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')));
            prop_assert_eq!(split(&sent), (id.as_str(), Some(signature)));
        }

        #[test]
        fn any_id_can_be_split(id in "(_sig-|[ -~]|é){0,20}") {
            let (own, _) = split(&id);
            prop_assert!(id.starts_with(own));
        }
    }
}
