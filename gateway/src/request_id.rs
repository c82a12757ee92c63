//! The name of one request in logs, answers, at the upstream, and in questions about it.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest request id taken from a client.
const CLIENT_ID_BYTES_MAX: usize = 64;
/// What an id made by a gateway begins with.
const OURS: &str = "req_";
/// And what tells one start of a gateway from another, behind that.
const PROCESS_DIGITS: usize = 8;
const COUNT_DIGITS: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(smallvec::SmallVec<[u8; CLIENT_ID_BYTES_MAX]>);

/// Who made an id, as far as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeBy {
    ThisGateway,
    /// Or this one, before its last start.
    AnotherGateway,
    AClient,
}

impl RequestId {
    /// The client's id if it is short and plain, else a new one.
    pub fn of(client: Option<&[u8]>) -> Self {
        let plain = |id: &[u8]| {
            (1..=CLIENT_ID_BYTES_MAX).contains(&id.len())
                && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        client.filter(|id| plain(id)).map_or_else(Self::fresh, |id| Self(id.into()))
    }

    fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut id = smallvec::SmallVec::from_slice(OURS.as_bytes());
        put_hex(&mut id, process(), PROCESS_DIGITS);
        put_hex(&mut id, next, COUNT_DIGITS);
        Self(id)
    }

    /// What all ids begin with that this process makes.
    pub fn prefix() -> String {
        let mut id = smallvec::SmallVec::from_slice(OURS.as_bytes());
        put_hex(&mut id, process(), PROCESS_DIGITS);
        Self(id).as_str().to_owned()
    }

    pub fn made_by(id: &str) -> MadeBy {
        let is_ours = id.strip_prefix(OURS).is_some_and(|rest| {
            rest.len() == PROCESS_DIGITS + COUNT_DIGITS && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        match is_ours {
            true if id.starts_with(&Self::prefix()) => MadeBy::ThisGateway,
            true => MadeBy::AnotherGateway,
            false => MadeBy::AClient,
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn process() -> u64 {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    *PROCESS.get_or_init(|| RandomState::new().hash_one("request ids"))
}

fn put_hex(id: &mut smallvec::SmallVec<[u8; CLIENT_ID_BYTES_MAX]>, number: u64, digits: usize) {
    let digit = |place: usize| b"0123456789abcdef"[(number >> (place * 4)) as usize & 15];
    id.extend((0..digits).rev().map(digit));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_id_is_kept_only_if_it_is_short_and_plain() {
        assert_eq!(RequestId::of(Some(b"abc-1._Z")).as_str(), "abc-1._Z");
        for id in [&b""[..], b"a b", b"a\"b", &[b'a'; 65], "é".as_bytes()] {
            assert!(RequestId::of(Some(id)).as_str().starts_with("req_"), "{id:?}");
        }
        assert_ne!(RequestId::of(None), RequestId::of(None));
    }

    #[test]
    fn an_id_says_which_gateway_made_it() {
        let own = RequestId::of(None);
        assert_eq!((own.as_str().len(), RequestId::made_by(own.as_str())), (22, MadeBy::ThisGateway));
        let other = own.as_str().replacen(&RequestId::prefix(), "req_0000000g", 1);
        assert_eq!(RequestId::made_by(&other), MadeBy::AClient);
        let other = if RequestId::prefix() == "req_00000000" { "req_11111111" } else { "req_00000000" };
        assert_eq!(RequestId::made_by(&format!("{other}0000000001")), MadeBy::AnotherGateway);
    }
}
