//! The requests that are under way and those that ended lately, to be asked about by their ids.
//!
//! What must stay true: what is kept has a bound, in number and in bytes; a request never waits to be written down;
//! no key, header, path, query or body is kept. Requests that went straight and others have places of their own, so
//! that a flood of the first does not wash away the second, which are the ones that people ask about.
//!
//! Absent on purpose: what is kept across a start, or told to other gateways. The access log is for that.

mod shown;
mod slots;
mod trace;

use std::time::{Duration, Instant};

pub use shown::{NotKept, Shown, ms};
pub use slots::Ticket;
pub use trace::{AttemptEnd, Link, Look, NOTED_MAX, SeenThen, Trace, Tried};

use crate::body::Usage;
use crate::metrics::Outcome;
use crate::request_id::RequestId;
use slots::{Current, Ring};

/// Under way may be so many times as many as are kept of each kind that ended.
const CURRENT_FACTOR: usize = 4;
/// Requests with the same id that are shown: clients choose their own.
const SHOWN_MAX: usize = 16;
/// A request whose answer began later than this is remembered among those that did not go straight.
pub const SLOW: Duration = Duration::from_secs(5);

/// What is known of one request.
#[derive(Debug, Clone)]
pub struct Account {
    pub id: RequestId,
    pub started: Instant,
    pub trace: Trace,
    /// Zero: nothing was answered.
    pub status: u16,
    /// Of a refusal.
    pub reason: Option<&'static str>,
    pub first_byte: Option<Duration>,
    pub bytes_sent: u64,
    pub usage: Usage,
    /// None: it is under way.
    pub end: Option<(Outcome, Duration)>,
}

impl Account {
    fn is_plain(&self) -> bool {
        let fine = match self.end {
            Some((Outcome::Ok | Outcome::ClientError, _)) | None => true,
            // Refused before anybody could be asked.
            Some((Outcome::Failed, _)) => self.trace.route.is_none(),
            Some(_) => false,
        };
        fine && self.trace.went_straight() && self.first_byte.is_none_or(|took| took < SLOW)
    }
}

/// Where they are.
#[derive(Debug)]
pub struct Recent {
    kept_max: usize,
    current: Current<Account>,
    plain: Ring<Account>,
    others: Ring<Account>,
}

impl Recent {
    /// Of each kind so many; zero: none at all.
    pub fn new(kept_max: usize) -> Self {
        Self {
            kept_max,
            current: Current::new(kept_max.saturating_mul(CURRENT_FACTOR)),
            plain: Ring::new(kept_max),
            others: Ring::new(kept_max),
        }
    }

    pub fn is_on(&self) -> bool {
        self.kept_max > 0
    }

    /// A request is under way, and as far as this. None: there is no place for it.
    pub fn begin(&self, account: Account) -> Option<Ticket> {
        self.current.enter(account)
    }

    pub fn goes_on(&self, ticket: &Ticket, account: Account) {
        self.current.update(ticket, account);
    }

    /// Whether it was kept.
    pub fn ended(&self, ticket: Option<Ticket>, account: Account) -> bool {
        let ring = if account.is_plain() { &self.plain } else { &self.others };
        let is_kept = ring.put(account);
        if let Some(ticket) = ticket {
            self.current.leave(ticket);
        }
        is_kept
    }

    /// All requests of this id, the newest first.
    pub fn find(&self, id: &str) -> Result<Vec<Shown>, NotKept> {
        let is_it = |account: &Account| account.id.as_str() == id;
        // Under way first: one that ends meanwhile is found twice, and not missed.
        let mut found = self.current.find(is_it);
        for ended in self.others.find(is_it).into_iter().chain(self.plain.find(is_it)) {
            found.retain(|account| account.started != ended.started);
            found.push(ended);
        }
        found.sort_by_key(|account| std::cmp::Reverse(account.started));
        found.truncate(SHOWN_MAX);
        if found.is_empty() {
            return Err(NotKept::of(id, self.kept_max));
        }
        Ok(found.iter().map(Shown::of).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(id: &str, outcome: Option<Outcome>) -> Account {
        Account {
            id: RequestId::of(Some(id.as_bytes())),
            started: Instant::now(),
            trace: Trace { route: Some(crate::metrics::RouteKind::OpenAi), ..Trace::default() },
            status: 200,
            reason: None,
            first_byte: None,
            bytes_sent: 0,
            usage: Usage::default(),
            end: outcome.map(|outcome| (outcome, Duration::ZERO)),
        }
    }

    #[test]
    fn a_flood_of_plain_requests_leaves_the_others_alone() {
        let recent = Recent::new(3);
        recent.ended(None, account("failed", Some(Outcome::Failed)));
        recent.ended(None, Account { first_byte: Some(SLOW), ..account("slow", Some(Outcome::Ok)) });
        (0..50).for_each(|n| _ = recent.ended(None, account(&format!("plain{n}"), Some(Outcome::Ok))));
        for id in ["failed", "slow", "plain49", "plain47"] {
            assert!(recent.find(id).is_ok(), "{id}");
        }
        assert!(recent.find("plain46").is_err());
    }

    #[test]
    fn a_request_is_found_once_under_way_and_after_its_end() {
        let recent = Recent::new(2);
        let (began, ended) = (account("a", None), account("a", Some(Outcome::Ok)));
        let ticket = recent.begin(began.clone());
        assert_eq!(recent.find("a").unwrap().len(), 1);
        recent.ended(ticket, Account { started: began.started, ..ended });
        assert_eq!(recent.find("a").unwrap().len(), 1);
        recent.ended(None, account("a", Some(Outcome::Ok)));
        assert_eq!(recent.find("a").unwrap().len(), 2, "clients may use an id twice");
    }

    #[test]
    fn without_room_nothing_is_kept_and_it_says_so() {
        let recent = Recent::new(0);
        assert!(!recent.is_on() && recent.begin(account("a", None)).is_none());
        assert!(!recent.ended(None, account("a", Some(Outcome::Ok))));
        assert!(recent.find("a").unwrap_err().to_string().contains("recent_requests_max"));
    }
}
