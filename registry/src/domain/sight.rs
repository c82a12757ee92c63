//! What gateways see of a provider, as it is shown: pure, from their reports to a status and a message.
//!
//! It is an ERROR when every gateway that says anything has all addresses of the provider out of use; otherwise the
//! message tells what is. It is shown over a status of READY alone: what discovery or an owner found wrong stands.

use std::collections::{BTreeMap, BTreeSet};

use proto_shared::HostUrl;
use proto_shared::feed::OutAddress;

use super::ProviderStatus;

/// Addresses that are named in a message before the rest is counted.
const NAMED_MAX: usize = 4;
/// Reasons of one address that are told; gateways may see different ones.
const REASONS_MAX: usize = 2;
/// Longest reason, in characters; longer ones are cut.
const REASON_CHARS_MAX: usize = 80;
/// Longest address in a message, in characters; longer ones are cut.
const URL_CHARS_MAX: usize = 100;

/// What is shown of a provider that is READY otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    pub status: ProviderStatus,
    pub message: String,
}

/// What all gateways say, by provider.
#[derive(Debug, Default)]
pub struct Reports<'r> {
    /// Those that say anything.
    gateways: usize,
    /// The gateway's number with each.
    by_provider: BTreeMap<&'r str, Vec<(usize, &'r OutAddress)>>,
}

impl<'r> Reports<'r> {
    pub fn new(all: impl IntoIterator<Item = &'r [OutAddress]>) -> Self {
        let mut reports = Self::default();
        for outs in all {
            for out in outs {
                reports.by_provider.entry(&out.provider).or_default().push((reports.gateways, out));
            }
            reports.gateways += 1;
        }
        reports
    }

    /// What is to be shown of `provider` (`workspace/name`), which is served at these addresses.
    pub fn of(&self, provider: &str, addresses: &[HostUrl]) -> Option<Sight> {
        let outs = self.by_provider.get(provider)?;
        let mut reasons = BTreeMap::<&str, BTreeSet<&str>>::new();
        let mut seen_by = BTreeMap::<usize, BTreeSet<&str>>::new();
        for (gateway, out) in outs.iter().filter(|(_, out)| addresses.contains(&out.url)) {
            reasons.entry(out.url.as_str()).or_default().insert(&out.why);
            seen_by.entry(*gateway).or_default().insert(out.url.as_str());
        }
        if reasons.is_empty() {
            return None;
        }
        let count = addresses.iter().map(HostUrl::as_str).collect::<BTreeSet<_>>().len();
        let wholly = seen_by.values().filter(|urls| urls.len() == count).count();
        let status = if wholly == self.gateways { ProviderStatus::Error } else { ProviderStatus::Ready };
        Some(Sight { status, message: self.words(count, &reasons, seen_by.len()) })
    }

    fn words(&self, count: usize, reasons: &BTreeMap<&str, BTreeSet<&str>>, seen_by: usize) -> String {
        let at = match self.gateways {
            1 => String::new(),
            all if all == seen_by => format!(" at all {all} gateways"),
            all => format!(" at {seen_by} of {all} gateways"),
        };
        if let (1, Some(why)) = (count, reasons.values().next()) {
            return format!("Out of use{at}: {}", either(why));
        }
        let mut named: Vec<_> = reasons
            .iter()
            .take(NAMED_MAX)
            .map(|(url, why)| format!("{} ({})", cut(url, URL_CHARS_MAX), either(why)))
            .collect();
        if let Some(more @ 1..) = reasons.len().checked_sub(NAMED_MAX) {
            named.push(format!("and {more} more"));
        }
        let verb = if reasons.len() == 1 { "is" } else { "are" };
        format!("{} of {count} addresses {verb} out of use{at}: {}", reasons.len(), named.join(", "))
    }
}

fn either(reasons: &BTreeSet<&str>) -> String {
    let reasons = reasons.iter().take(REASONS_MAX).map(|why| cut(why, REASON_CHARS_MAX));
    reasons.collect::<Vec<_>>().join(" or ")
}

fn cut(text: &str, chars_max: usize) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::provider::STATUS_MESSAGE_CHARS_MAX;

    fn url(port: u16) -> HostUrl {
        HostUrl::parse(&format!("http://h:{port}")).unwrap()
    }

    fn out(port: u16, why: &str) -> OutAddress {
        OutAddress { provider: "w/p".into(), url: url(port), why: why.into() }
    }

    /// What is shown of a provider at ports 1 to `count`.
    fn shown(count: u16, gateways: &[&[OutAddress]]) -> Option<(ProviderStatus, String)> {
        let addresses: Vec<_> = (1..=count).map(url).collect();
        let sight = Reports::new(gateways.iter().copied()).of("w/p", &addresses)?;
        Some((sight.status, sight.message))
    }

    fn error(message: &str) -> Option<(ProviderStatus, String)> {
        Some((ProviderStatus::Error, message.into()))
    }

    fn ready(message: &str) -> Option<(ProviderStatus, String)> {
        Some((ProviderStatus::Ready, message.into()))
    }

    #[test]
    fn a_provider_that_no_gateway_can_use_is_an_error() {
        assert_eq!(shown(1, &[&[out(1, "connection refused")]]), error("Out of use: connection refused"));
        let both = [out(1, "answers 503"), out(2, "no answer in time")];
        assert_eq!(
            shown(2, &[&both]),
            error(
                "2 of 2 addresses are out of use: http://h:1 (answers 503), http://h:2 (no answer in time)"
            )
        );
        assert_eq!(
            shown(1, &[&[out(1, "refused")], &[out(1, "answers 503")]]),
            error("Out of use at all 2 gateways: answers 503 or refused")
        );
    }

    #[test]
    fn what_only_some_see_or_only_some_addresses_are_is_told_and_no_error() {
        assert_eq!(shown(1, &[&[out(1, "refused")], &[]]), ready("Out of use at 1 of 2 gateways: refused"));
        assert_eq!(
            shown(3, &[&[out(2, "refused")]]),
            ready("1 of 3 addresses is out of use: http://h:2 (refused)")
        );
        // Each gateway has one that works.
        assert_eq!(
            shown(2, &[&[out(1, "x")], &[out(2, "y")]]),
            ready("2 of 2 addresses are out of use at all 2 gateways: http://h:1 (x), http://h:2 (y)")
        );
    }

    #[test]
    fn of_what_is_well_or_elsewhere_nothing_is_told() {
        assert_eq!(shown(2, &[&[], &[]]), None);
        assert_eq!(shown(2, &[&[out(3, "an address that it had before")]]), None);
        let other = OutAddress { provider: "w/other".into(), ..out(1, "x") };
        assert_eq!(shown(2, &[&[other]]), None);
        assert_eq!(shown(2, &[]), None);
    }

    #[test]
    fn a_message_is_bounded_and_printable() {
        let many: Vec<_> = (1..=99).map(|port| out(port, &format!("{port}\n{}", "é".repeat(999)))).collect();
        let (_, message) = shown(99, &[&many]).unwrap();
        assert!(message.chars().count() <= STATUS_MESSAGE_CHARS_MAX && message.ends_with("and 95 more"));
        assert!(!message.contains('\n'));
    }
}
