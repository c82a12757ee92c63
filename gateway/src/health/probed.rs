//! What probes of our own found at one address: values in, a value out.
//!
//! One finding proves little, so a verdict turns only after some in a row. What has only begun to be probed is
//! neither up nor down, and gets requests like any other.

use std::fmt;

use super::State;

/// Findings in a row after which an address is down.
pub const DOWN_AFTER: u8 = 3;
/// Findings in a row after which one that was down is up.
pub const UP_AFTER: u8 = 2;

/// What one probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    Up,
    Down(Why),
}

/// Why a probe did not find what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Dns,
    /// The egress policy does not allow the address.
    Forbidden,
    Refused,
    Unreachable,
    Tls,
    /// No connection, or no answer, in time.
    Silent,
    /// What it answered is not HTTP.
    Broken,
    Status(u16),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "its name leads to no address",
            Self::Forbidden => "its address is not allowed",
            Self::Refused => "connection refused",
            Self::Unreachable => "can't be reached",
            Self::Tls => "the TLS handshake failed",
            Self::Silent => "no answer in time",
            Self::Broken => "what it answers is not HTTP",
            Self::Status(status) => return write!(f, "answers {status}"),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Unknown,
    Up,
    Down(Why),
}

/// What all probes of an address found together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    pub verdict: Verdict,
    /// When the verdict became what it is.
    pub since_s: u32,
    /// Findings in a row that contradict the verdict.
    contrary: u8,
}

impl Probed {
    pub const UNKNOWN: Self = Self { verdict: Verdict::Unknown, since_s: 0, contrary: 0 };

    pub fn is_down(self) -> bool {
        matches!(self.verdict, Verdict::Down(_))
    }

    /// Whether the next findings may turn the verdict: they are worth asking for sooner.
    pub fn is_in_doubt(self) -> bool {
        self.verdict != Verdict::Up || self.contrary > 0
    }

    pub fn after(self, finding: Finding, now_s: u32) -> Self {
        let (verdict, needed) = match (self.verdict, finding) {
            (Verdict::Up, Finding::Up) => return Self { contrary: 0, ..self },
            // The reason is the newest, the time the oldest.
            (Verdict::Down(_), Finding::Down(why)) => {
                return Self { contrary: 0, verdict: Verdict::Down(why), ..self };
            }
            (Verdict::Unknown, Finding::Up) => (Verdict::Up, 1),
            (Verdict::Down(_), Finding::Up) => (Verdict::Up, UP_AFTER),
            (Verdict::Unknown | Verdict::Up, Finding::Down(why)) => (Verdict::Down(why), DOWN_AFTER),
        };
        match self.contrary + 1 {
            contrary if contrary < needed => Self { contrary, ..self },
            _ => Self { verdict, since_s: now_s, contrary: 0 },
        }
    }

    /// Two bits of verdict, six of findings in a row, eight of reason, 16 of status, 32 of time.
    pub fn pack(self) -> u64 {
        let (verdict, why, status) = match self.verdict {
            Verdict::Unknown => (0, 0, 0),
            Verdict::Up => (1, 0, 0),
            Verdict::Down(why) => {
                let (why, status) = match why {
                    Why::Dns => (0, 0),
                    Why::Forbidden => (1, 0),
                    Why::Refused => (2, 0),
                    Why::Unreachable => (3, 0),
                    Why::Tls => (4, 0),
                    Why::Silent => (5, 0),
                    Why::Broken => (6, 0),
                    Why::Status(status) => (7, status),
                };
                (2, why, status)
            }
        };
        let contrary = u64::from(self.contrary.min(63));
        verdict << 62 | contrary << 56 | why << 48 | u64::from(status) << 32 | u64::from(self.since_s)
    }

    pub fn unpack(word: u64) -> Self {
        let why = match (word >> 48) as u8 {
            0 => Why::Dns,
            1 => Why::Forbidden,
            2 => Why::Refused,
            3 => Why::Unreachable,
            4 => Why::Tls,
            5 => Why::Silent,
            6 => Why::Broken,
            _ => Why::Status((word >> 32) as u16),
        };
        let verdict = match word >> 62 {
            0 => Verdict::Unknown,
            1 => Verdict::Up,
            _ => Verdict::Down(why),
        };
        Self { verdict, since_s: word as u32, contrary: (word >> 56) as u8 & 63 }
    }
}

/// Whether an address is to be passed over while there are others: it is when either its probes or its requests
/// say so.
pub fn is_out(probed: Probed, requests: State, now_ms: u64) -> bool {
    probed.is_down() || !requests.takes(now_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::health::{CONSECUTIVE_FAULTS_MAX, EJECTION_BASE_MS, Event, Fault, Health, Pass};

    const REFUSED: Finding = Finding::Down(Why::Refused);

    fn after(findings: &[Finding]) -> Probed {
        (10..).zip(findings).fold(Probed::UNKNOWN, |probed, (now_s, finding)| probed.after(*finding, now_s))
    }

    #[test]
    fn so_many_in_a_row_turn_it_down_and_fewer_do_not() {
        assert!(!after(&[Finding::Up, REFUSED, REFUSED]).is_down());
        assert!(!after(&[Finding::Up, REFUSED, REFUSED, Finding::Up, REFUSED, REFUSED]).is_down());
        let down = after(&[Finding::Up, REFUSED, REFUSED, REFUSED]);
        assert_eq!((down.verdict, down.since_s), (Verdict::Down(Why::Refused), 13));
        assert!(!after(&[REFUSED, REFUSED]).is_down());
        assert!(after(&[REFUSED; DOWN_AFTER as usize]).is_down());
    }

    #[test]
    fn what_was_down_is_up_after_some_in_a_row_and_what_is_new_at_once() {
        assert_eq!(after(&[Finding::Up]).verdict, Verdict::Up);
        let mut probed = after(&[REFUSED; DOWN_AFTER as usize]).after(Finding::Up, 60);
        assert!(probed.is_down());
        probed = probed.after(REFUSED, 61).after(Finding::Up, 62);
        assert!(probed.is_down(), "not in a row");
        probed = probed.after(Finding::Up, 63);
        assert_eq!((probed.verdict, probed.since_s), (Verdict::Up, 63));
    }

    #[test]
    fn the_reason_is_the_newest_and_the_time_the_oldest() {
        let down = after(&[REFUSED; DOWN_AFTER as usize]);
        let later = down.after(Finding::Down(Why::Status(503)), 90);
        assert_eq!((later.verdict, later.since_s), (Verdict::Down(Why::Status(503)), down.since_s));
    }

    #[test]
    fn only_what_is_up_without_a_contrary_finding_can_be_asked_at_leisure() {
        assert!(Probed::UNKNOWN.is_in_doubt() && !after(&[Finding::Up]).is_in_doubt());
        assert!(after(&[Finding::Up, REFUSED]).is_in_doubt());
        assert!(after(&[REFUSED; DOWN_AFTER as usize]).is_in_doubt());
    }

    #[test]
    fn it_is_out_when_either_its_probes_or_its_requests_say_so() {
        let (fine, broken) = (Health::default(), Health::default());
        for _ in 0..CONSECUTIVE_FAULTS_MAX {
            broken.ended(Pass::Free, Event::Fault(Fault::Status), 0, 0);
        }
        let (up, down) = (after(&[Finding::Up]), after(&[REFUSED; DOWN_AFTER as usize]));
        assert!(!is_out(up, fine.state(), 1) && !is_out(Probed::UNKNOWN, fine.state(), 1));
        assert!(is_out(down, fine.state(), 1) && is_out(up, broken.state(), 1));
        assert!(!is_out(up, broken.state(), EJECTION_BASE_MS), "due for the request that shows");
    }

    proptest! {
        #[test]
        fn a_state_is_one_number(verdict in 0..3u8, kind in 0..8u8, status: u16, since_s: u32, contrary in 0..64u8) {
            let whys = [
                Why::Dns, Why::Forbidden, Why::Refused, Why::Unreachable, Why::Tls, Why::Silent, Why::Broken,
                Why::Status(status),
            ];
            let verdict = match verdict {
                0 => Verdict::Unknown,
                1 => Verdict::Up,
                _ => Verdict::Down(whys[usize::from(kind)]),
            };
            let probed = Probed { verdict, since_s, contrary };
            prop_assert_eq!(Probed::unpack(probed.pack()), probed);
        }
    }
}
