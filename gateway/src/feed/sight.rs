//! Which addresses are out of use here, as the registry is to hear it: pure, told the time.
//!
//! What must stay true: it is calm. An address is told to be out, back, or out for another reason only after it has
//! been so for a while; and a gateway that has just begun to look says nothing yet, which is not "all are well".

use std::collections::BTreeMap;
use std::time::Duration;

use proto_shared::HostUrl;
use proto_shared::feed::OutAddress;

/// Most addresses that are told to be out; which of more are told is always the same.
pub const OUT_MAX: usize = 500;
/// Most bytes of them, a good part of the longest report.
pub const OUT_BYTES_MAX: usize = 128 * 1024;

/// How calm it is, with defaults.
#[derive(Debug, Clone)]
pub struct SightLimits {
    /// Between two looks at all addresses.
    pub look_interval: Duration,
    /// So long an address must be out before it is told.
    pub out_after: Duration,
    /// The same for one that is back; and before anything is told at all.
    pub back_after: Duration,
    /// The same for another reason.
    pub other_reason_after: Duration,
}

impl Default for SightLimits {
    fn default() -> Self {
        Self {
            look_interval: Duration::from_secs(1),
            out_after: Duration::from_secs(2),
            back_after: Duration::from_secs(5),
            other_reason_after: Duration::from_secs(30),
        }
    }
}

/// `workspace/provider`, and the address.
pub type Key = (Box<str>, HostUrl);

/// What is told, and what may be told soon.
#[derive(Debug)]
pub struct Sight {
    limits: SightLimits,
    began_ms: Option<u64>,
    addresses: BTreeMap<(Box<str>, String), Address>,
}

#[derive(Debug)]
struct Address {
    url: HostUrl,
    told: Option<String>,
    /// Why it is out now; none: it is not.
    seen: Option<String>,
    since_ms: u64,
}

impl Sight {
    pub fn new(limits: SightLimits) -> Self {
        Self { limits, began_ms: None, addresses: BTreeMap::new() }
    }

    /// These are out now, each with its reason, and no others.
    pub fn look(&mut self, out: impl IntoIterator<Item = (Key, String)>, now_ms: u64) {
        self.began_ms.get_or_insert(now_ms);
        let mut out: BTreeMap<_, _> = out
            .into_iter()
            .map(|((provider, url), why)| ((provider, url.as_str().to_owned()), (url, why)))
            .collect();
        for (key, address) in &mut self.addresses {
            let seen = out.remove(key).map(|(_, why)| why);
            if seen != address.seen {
                (address.seen, address.since_ms) = (seen, now_ms);
            }
        }
        self.addresses.extend(
            out.into_iter().map(|(key, (url, why))| {
                (key, Address { url, told: None, seen: Some(why), since_ms: now_ms })
            }),
        );
        for address in self.addresses.values_mut() {
            address.settle(&self.limits, now_ms);
        }
        self.addresses.retain(|_, address| address.told.is_some() || address.seen.is_some());
    }

    /// What is to be told; none: nothing is known yet.
    pub fn told(&self, now_ms: u64) -> Option<Vec<OutAddress>> {
        let long = self.limits.back_after.as_millis() as u64;
        self.began_ms.filter(|began_ms| now_ms.saturating_sub(*began_ms) >= long)?;
        let told = self.addresses.iter().filter_map(|((provider, _), address)| {
            let why = address.told.clone()?;
            Some(OutAddress { provider: provider.to_string(), url: address.url.clone(), why })
        });
        let mut bytes = 0;
        let fits = |out: &OutAddress| {
            bytes += out.provider.len() + out.url.as_str().len() + out.why.len();
            bytes <= OUT_BYTES_MAX
        };
        Some(told.take(OUT_MAX).take_while(fits).collect())
    }
}

impl Address {
    fn settle(&mut self, limits: &SightLimits, now_ms: u64) {
        let needed = match (&self.told, &self.seen) {
            (told, seen) if told == seen => return,
            (None, Some(_)) => limits.out_after,
            (Some(_), None) => limits.back_after,
            _ => limits.other_reason_after,
        };
        if now_ms.saturating_sub(self.since_ms) >= needed.as_millis() as u64 {
            self.told.clone_from(&self.seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(provider: &str, port: u16) -> Key {
        (provider.into(), HostUrl::parse(&format!("http://127.0.0.1:{port}")).unwrap())
    }

    /// One that has looked for long, and what it tells after looks at these times.
    fn told(looks: &[(u64, Option<&str>)]) -> Vec<Option<String>> {
        let mut sight = Sight::new(SightLimits::default());
        sight.look([], 0);
        let mut look = |(at_s, why): &(u64, Option<&str>)| {
            let now_ms = 100_000 + at_s * 1_000;
            sight.look(why.map(|why| (key("w/p", 1), why.to_owned())), now_ms);
            sight.told(now_ms).unwrap().pop().map(|out| out.why)
        };
        looks.iter().map(&mut look).collect()
    }

    fn all(words: &[&str]) -> Vec<Option<String>> {
        words.iter().map(|word| Some((*word).to_owned()).filter(|word| !word.is_empty())).collect()
    }

    #[test]
    fn what_has_been_so_for_a_while_is_told() {
        let (out, back) = (Some("refused"), None);
        let looks = [(0, out), (1, out), (2, out), (3, back), (7, back), (8, back)];
        assert_eq!(told(&looks), all(&["", "", "refused", "refused", "refused", ""]));
    }

    #[test]
    fn what_flaps_stays_as_it_was_told() {
        let (out, back) = (Some("refused"), None);
        let ups: Vec<_> = (0..60).map(|at| (at, if at % 2 == 0 { out } else { back })).collect();
        assert!(told(&ups).iter().all(Option::is_none));
        let downs: Vec<_> = (0..60).map(|at| (at, if at % 5 == 4 { back } else { out })).collect();
        assert!(told(&downs).iter().skip(2).all(Option::is_some));
        let reasons: Vec<_> =
            (0..60).map(|at| (at, Some(if at % 20 < 9 { "503" } else { "silent" }))).collect();
        assert_eq!(told(&reasons[..3])[2].as_deref(), Some("503"));
        assert!(told(&reasons).iter().skip(2).all(|why| why.as_deref() == Some("503")));
        let other = [(0, Some("a")), (2, Some("a")), (3, Some("b")), (32, Some("b")), (33, Some("b"))];
        assert_eq!(told(&other), all(&["", "a", "a", "a", "b"]));
    }

    #[test]
    fn who_has_just_begun_says_nothing_rather_than_that_all_are_well() {
        let mut sight = Sight::new(SightLimits::default());
        assert_eq!(sight.told(9_000_000), None);
        for at_s in 0..5 {
            sight.look([(key("w/p", 1), "refused".to_owned())], at_s * 1_000);
            assert_eq!(sight.told(at_s * 1_000), None);
        }
        sight.look([(key("w/p", 1), "refused".to_owned())], 5_000);
        assert_eq!(sight.told(5_000).unwrap().len(), 1);
    }

    #[test]
    fn what_is_told_is_bounded_and_always_the_same() {
        let mut sight = Sight::new(SightLimits::default());
        for at_ms in [0, 10_000] {
            sight.look((0..2_000).map(|port| (key("w/p", port + 1), "x".to_owned())), at_ms);
        }
        let told = sight.told(10_000).unwrap();
        assert_eq!((told.len(), &told), (OUT_MAX, &sight.told(11_000).unwrap()));
        let long = |port: u16| {
            let url = format!("http://127.0.0.1:{port}/{}", "x".repeat(2_000));
            (("w/p".into(), HostUrl::parse(&url).unwrap()), "x".to_owned())
        };
        for at_ms in [20_000, 30_000] {
            sight.look((0..2_000).map(|port| long(port + 1)), at_ms);
        }
        let bytes: usize = sight.told(30_000).unwrap().iter().map(|out| out.url.as_str().len()).sum();
        assert!((OUT_BYTES_MAX / 2..OUT_BYTES_MAX).contains(&bytes), "{bytes}");
    }
}
