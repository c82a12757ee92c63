//! Wall-clock times, for showing, and for what must be waited for across restarts. Nothing is ordered by them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Iso8601;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

const WIRE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]");

/// Microseconds since the epoch, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    pub fn seconds(self) -> u64 {
        u64::try_from(self.0 / 1_000_000).unwrap_or_default()
    }

    /// Reads an ISO 8601 date or time; without a zone it is UTC.
    pub fn from_wire(text: &str) -> Option<Self> {
        let iso = &Iso8601::PARSING;
        let at = OffsetDateTime::parse(text, iso)
            .or_else(|_| PrimitiveDateTime::parse(text, iso).map(PrimitiveDateTime::assume_utc))
            .or_else(|_| Date::parse(text, iso).map(|date| date.midnight().assume_utc()))
            .ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000).ok().map(Self)
    }

    /// The platform's form: ISO 8601 with microseconds and without a zone.
    pub fn to_wire(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .ok()
            .and_then(|at| at.format(&WIRE).ok())
            .unwrap_or_else(|| "1970-01-01T00:00:00.000000".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_has_six_digits_and_no_zone() {
        assert_eq!(Timestamp(1_795_374_563_106_587).to_wire(), "2026-11-22T19:09:23.106587");
        assert_eq!(Timestamp(0).to_wire(), "1970-01-01T00:00:00.000000");
        assert_eq!(Timestamp(i64::MAX).to_wire(), "1970-01-01T00:00:00.000000");
    }

    #[test]
    fn dates_and_times_are_read_with_and_without_a_zone() {
        let noon = Some(Timestamp(1_795_348_800_000_000));
        assert_eq!(Timestamp::from_wire("2026-11-22T12:00:00"), noon);
        assert_eq!(Timestamp::from_wire("2026-11-22T12:00:00.000000Z"), noon);
        assert_eq!(Timestamp::from_wire("2026-11-22T14:00:00+02:00"), noon);
        assert_eq!(Timestamp::from_wire("2026-11-22"), Some(Timestamp(1_795_305_600_000_000)));
        assert_eq!(Timestamp::from_wire("soon"), None);
    }
}
