//! What makes two requests belong together: a user, a session, or how their prompts begin.
//!
//! What must stay true: a request without the key it is asked for has none, and is spread like any other; one
//! conversation has the same prefix in each of its turns. The body was scanned before, so it is JSON.
//!
//! Costs one more pass over the body. So it runs only for models whose strategy asks for a key.

use std::ops::Range;

use proto_shared::routing::{StickyKey, Strategy};

use super::hash;
use crate::body::{Kind, Member, names, walk};

/// How much of a prompt's beginning tells it from others. Longer system prompts share their place.
pub const PREFIX_BYTES_MAX: usize = 4 * 1024;
/// The header that names a session.
pub const SESSION_HEADER: &str = "x-session-id";

/// Where a key may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    User,
    Session,
    Prefix,
}

/// What a model's strategy wants to know of a request, the first that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sought(&'static [Source]);

impl Sought {
    pub fn by(strategy: Strategy, sticky: StickyKey) -> Self {
        use Source::{Prefix, Session, User};
        Self(match (strategy, sticky) {
            (Strategy::LeastBusy | Strategy::RoundRobin | Strategy::Priority, _) => &[],
            (Strategy::Weighted, StickyKey::Auto) => &[User, Session],
            (Strategy::Weighted, StickyKey::User) => &[User],
            (Strategy::Weighted, StickyKey::Session) => &[Session],
            (Strategy::Weighted, StickyKey::Nothing) => &[],
            (Strategy::PrefixAffinity, StickyKey::Auto | StickyKey::Session) => &[Session, Prefix],
            (Strategy::PrefixAffinity, StickyKey::User) => &[User, Prefix],
            (Strategy::PrefixAffinity, StickyKey::Nothing) => &[Prefix],
        })
    }

    pub fn is_nothing(self) -> bool {
        self.0.is_empty()
    }

    /// The key of a request with this session header and this JSON body.
    pub fn key(self, session: Option<&[u8]>, body: Option<&[u8]>) -> Option<Key> {
        let mut found = None::<Members>;
        self.0.iter().find_map(|source| {
            if *source == Source::Session
                && let Some(session) = session.filter(|session| !session.is_empty())
            {
                return Some(Key::of(*source, hash::bytes(session)));
            }
            let body = body?;
            let members = found.get_or_insert_with(|| Members::of(body));
            let number = match source {
                Source::User => members.user.or(members.safety_identifier)?,
                Source::Session => members.cache_key?,
                Source::Prefix => members.prefix(body)?,
            };
            Some(Key::of(*source, number))
        })
    }
}

/// Equal for requests that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub u64);

impl Key {
    /// A user is not the session of the same name.
    fn of(source: Source, number: u64) -> Self {
        Self(hash::pair(source as u64, number))
    }
}

/// The members of a body that keys are made of.
#[derive(Default)]
struct Members {
    user: Option<u64>,
    safety_identifier: Option<u64>,
    cache_key: Option<u64>,
    /// What comes before the conversation: `instructions`, or Anthropic's `system`.
    preface: Option<Range<usize>>,
    conversation: Option<(Range<usize>, Kind)>,
}

impl Members {
    fn of(body: &[u8]) -> Self {
        let mut members = Self::default();
        // A body that is not JSON was refused before.
        let _ = walk(body, |body, member| {
            members.take(body, &member);
            Ok(())
        });
        members
    }

    fn take(&mut self, body: &[u8], member: &Member) {
        let is = |name: &str| names(body, member, name);
        match member.kind {
            Kind::Text if is("user") => self.user = text(body, member),
            Kind::Text if is("safety_identifier") => self.safety_identifier = text(body, member),
            Kind::Text if is("prompt_cache_key") => self.cache_key = text(body, member),
            Kind::Text | Kind::Container if is("instructions") || is("system") => {
                self.preface = Some(member.value.clone());
            }
            Kind::Text | Kind::Container if is("messages") || is("input") || is("prompt") => {
                self.conversation = Some((member.value.clone(), member.kind));
            }
            Kind::Text | Kind::Container | Kind::Scalar => {}
        }
    }

    /// The beginning of the prompt, to the end of the user's first turn at most.
    fn prefix(&self, body: &[u8]) -> Option<u64> {
        let of = |range: &Range<usize>| body.get(range.clone()).unwrap_or_default();
        let preface = self.preface.as_ref().map(of).unwrap_or_default();
        let preface = head(preface, PREFIX_BYTES_MAX);
        let (range, kind) = self.conversation.as_ref()?;
        let conversation = head(of(range), PREFIX_BYTES_MAX - preface.len());
        let conversation = match kind {
            Kind::Container => first_turn(conversation),
            Kind::Text | Kind::Scalar => conversation,
        };
        Some(hash::pair(hash::bytes(preface), hash::bytes(conversation)))
    }
}

/// A string that says something, as a number.
fn text(body: &[u8], member: &Member) -> Option<u64> {
    let inner = body.get(member.value.start + 1..member.value.end.checked_sub(1)?)?;
    (!inner.is_empty()).then(|| hash::bytes(inner))
}

fn head(bytes: &[u8], len: usize) -> &[u8] {
    bytes.get(..len).unwrap_or(bytes)
}

/// A list of messages up to the end of the first one of the user; later ones are not there in each turn. What
/// says `"user"` outside a text is one: inside a text, its quotes are escaped.
fn first_turn(list: &[u8]) -> &[u8] {
    const USER: &[u8] = b"\"user\"";
    let (mut depth, mut in_text, mut escaped, mut began) = (0u32, false, false, 0);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                if depth == 2 {
                    began = at;
                }
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                let message = list.get(began..=at).unwrap_or_default();
                if depth == 1 && message.windows(USER.len()).any(|word| word == USER) {
                    return head(list, at + 1);
                }
            }
            _ => {}
        }
    }
    list.strip_suffix(b"]").unwrap_or(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_USER: Sought = Sought(&[Source::User, Source::Session]);
    const BY_PREFIX: Sought = Sought(&[Source::Session, Source::Prefix]);

    fn key(sought: Sought, body: &str) -> Option<Key> {
        sought.key(None, Some(body.as_bytes()))
    }

    fn prefix(messages: &str) -> Option<Key> {
        key(BY_PREFIX, &format!("{{\"model\":\"m\",\"messages\":{messages}}}"))
    }

    #[test]
    fn a_strategy_that_keeps_nothing_together_asks_for_nothing() {
        for strategy in [Strategy::LeastBusy, Strategy::RoundRobin, Strategy::Priority] {
            assert!(Sought::by(strategy, StickyKey::User).is_nothing());
        }
        assert!(Sought::by(Strategy::Weighted, StickyKey::Nothing).is_nothing());
        assert_eq!(Sought::by(Strategy::Weighted, StickyKey::Auto), BY_USER);
        assert_eq!(Sought::by(Strategy::PrefixAffinity, StickyKey::Auto), BY_PREFIX);
    }

    #[test]
    fn a_user_is_known_by_either_member_and_comes_before_a_session() {
        let user = key(BY_USER, r#"{"model":"m","user":"u1"}"#);
        assert!(user.is_some());
        assert_eq!(key(BY_USER, r#"{"prompt_cache_key":"s","user":"u1","safety_identifier":"x"}"#), user);
        assert_eq!(key(BY_USER, r#"{"safety_identifier":"u1"}"#), user);
        assert_ne!(key(BY_USER, r#"{"user":"u2"}"#), user);
        assert_eq!(BY_USER.key(Some(b"s1"), Some(br#"{"user":"u1"}"#)), user);
    }

    #[test]
    fn a_session_is_the_header_or_the_cache_key_and_no_user() {
        let session = BY_USER.key(Some(b"s1"), None);
        assert!(session.is_some());
        assert_eq!(key(BY_USER, r#"{"prompt_cache_key":"s1"}"#), session);
        assert_ne!(key(BY_USER, r#"{"user":"s1"}"#), session);
        assert_eq!(BY_PREFIX.key(Some(b"s1"), Some(br#"{"prompt":"x"}"#)), session);
    }

    #[test]
    fn who_says_nothing_has_no_key() {
        for body in [r#"{}"#, r#"{"user":""}"#, r#"{"user":7}"#, r#"{"metadata":{"user":"u"}}"#, "", "["] {
            assert_eq!(key(BY_USER, body), None, "{body}");
        }
        assert_eq!(BY_USER.key(Some(b""), None), None);
        assert_eq!(key(BY_PREFIX, r#"{"messages":5}"#), None);
    }

    #[test]
    fn each_turn_of_a_conversation_has_the_same_prefix() {
        let first = prefix(r#"[{"role":"system","content":"be kind"},{"role":"user","content":"hi"}]"#);
        let later = prefix(
            r#"[{"role":"system","content":"be kind"},{"role":"user","content":"hi"},{"role":"assistant","content":"yes"},{"role":"user","content":"go on"}]"#,
        );
        let other = prefix(r#"[{"role":"system","content":"be kind"},{"role":"user","content":"ho"}]"#);
        assert!(first.is_some() && first == later && first != other);
        let said = prefix(r#"[{"role":"system","content":"a \"user\" ] }"},{"role":"user","content":"1"}]"#);
        let said_other =
            prefix(r#"[{"role":"system","content":"a \"user\" ] }"},{"role":"user","content":"2"}]"#);
        assert_ne!(said, said_other, "what a text says is no message");
    }

    #[test]
    fn long_beginnings_that_are_equal_belong_together_whatever_follows() {
        let long = "x".repeat(PREFIX_BYTES_MAX);
        let ask = |end: &str| {
            prefix(&format!(
                r#"[{{"role":"system","content":"{long}"}},{{"role":"user","content":"{end}"}}]"#
            ))
        };
        assert!(ask("a").is_some() && ask("a") == ask("b"));
        let told = |instructions: &str, input: &str| {
            key(BY_PREFIX, &format!(r#"{{"instructions":"{instructions}","input":"{input}"}}"#))
        };
        assert_eq!(told(&long, "a"), told(&long, "b"));
        assert_ne!(told("short", "a"), told("short", "b"));
        assert_ne!(told("short", "a"), told("other", "a"));
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(proptest::sample::select(b"{}[]\"\\:,user messages input".to_vec()), 0..200)) {
            let _ = BY_PREFIX.key(None, Some(&body));
            let _ = first_turn(&body);
        }
    }
}
