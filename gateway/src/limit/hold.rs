//! Whether a request is held back from an address: pure.
//!
//! What must stay true: without evidence that an address has too much to do nothing is held back, however many
//! requests there are. A learned limit begins low and rises slowly; it alone is no evidence.

use proto_shared::HoldBack;

/// A server that wants to be left alone for longer is not waited for. Unless its owner wants it spared, it is asked, and
/// its own answer goes to the client: one refusal may be of one request alone.
pub const REST_WAITED_FOR_MAX_MS: u64 = 2_000;

/// What an owner wants, once it is known whose servers they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Never,
    /// What the servers say themselves counts.
    Said,
    /// What is seen of them, too.
    Seen,
}

impl Hold {
    pub fn of(wish: HoldBack, is_own: bool) -> Self {
        match wish {
            HoldBack::Never => Self::Never,
            HoldBack::Always => Self::Seen,
            HoldBack::Auto if is_own => Self::Said,
            HoldBack::Auto => Self::Never,
        }
    }
}

/// What speaks against sending an address more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// It asked to be left alone so much longer.
    pub rests_ms: u64,
    /// It was found to be able to take so many when it said that it is busy.
    pub said: Option<u32>,
    /// Its own report says that requests wait in it; without those it has so many of ours.
    pub reported: Option<u32>,
    /// It answered later because requests waited in it; without those it had so many.
    pub seen: Option<u32>,
}

/// Whether a request may go there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Free,
    /// As soon as others leave.
    Full,
    /// Not before so many milliseconds.
    Rests(u64),
}

impl Evidence {
    /// The limit that holds requests back.
    pub fn limit(self, hold: Hold) -> Option<u32> {
        let seen = self.seen.filter(|_| hold == Hold::Seen);
        [self.said, self.reported, seen].into_iter().flatten().min().filter(|_| hold != Hold::Never)
    }

    pub fn room(self, hold: Hold, in_flight: usize) -> Room {
        match self.limit(hold) {
            _ if hold == Hold::Never => Room::Free,
            _ if self.rests_ms > REST_WAITED_FOR_MAX_MS && hold == Hold::Said => Room::Free,
            _ if self.rests_ms > 0 => Room::Rests(self.rests_ms),
            Some(limit) if in_flight >= limit as usize => Room::Full,
            _ => Room::Free,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Evidence = Evidence { rests_ms: 0, said: None, reported: None, seen: None };

    #[test]
    fn without_evidence_nothing_is_held_back() {
        for hold in [Hold::Never, Hold::Said, Hold::Seen] {
            assert_eq!(NONE.room(hold, 100_000), Room::Free);
        }
    }

    #[test]
    fn an_owner_says_what_counts() {
        let rests = Evidence { rests_ms: 500, ..NONE };
        let said = Evidence { said: Some(4), ..NONE };
        let reported = Evidence { reported: Some(4), ..NONE };
        let seen = Evidence { seen: Some(4), ..NONE };
        for evidence in [rests, said, reported, seen] {
            assert_eq!(evidence.room(Hold::Never, 9), Room::Free, "{evidence:?}");
            assert_ne!(evidence.room(Hold::Seen, 4), Room::Free, "{evidence:?}");
            assert_eq!(evidence.room(Hold::Said, 4) == Room::Free, evidence == seen, "{evidence:?}");
        }
        assert_eq!((said.room(Hold::Said, 3), rests.room(Hold::Said, 0)), (Room::Free, Room::Rests(500)));
    }

    #[test]
    fn who_asks_for_a_long_rest_is_spared_only_when_the_owner_says_so() {
        let rests = |rests_ms| Evidence { rests_ms, ..NONE };
        let long = REST_WAITED_FOR_MAX_MS + 1;
        assert_eq!(rests(REST_WAITED_FOR_MAX_MS).room(Hold::Said, 0), Room::Rests(REST_WAITED_FOR_MAX_MS));
        assert_eq!(
            (rests(long).room(Hold::Said, 0), rests(long).room(Hold::Seen, 0)),
            (Room::Free, Room::Rests(long))
        );
    }

    #[test]
    fn who_is_hosted_is_held_back_only_when_the_owner_says_so() {
        assert_eq!(
            (Hold::of(HoldBack::Auto, false), Hold::of(HoldBack::Auto, true)),
            (Hold::Never, Hold::Said)
        );
        for is_own in [false, true] {
            assert_eq!(Hold::of(HoldBack::Always, is_own), Hold::Seen);
            assert_eq!(Hold::of(HoldBack::Never, is_own), Hold::Never);
        }
    }

    #[test]
    fn of_several_limits_the_lowest_holds() {
        let all = Evidence { rests_ms: 0, said: Some(9), reported: Some(7), seen: Some(3) };
        assert_eq!(
            (all.limit(Hold::Said), all.limit(Hold::Seen), all.limit(Hold::Never)),
            (Some(7), Some(3), None)
        );
    }
}
