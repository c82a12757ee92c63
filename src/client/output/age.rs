//! Times as people say them.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;
/// What is older is shown by its date.
const RELATIVE_MAX_S: i64 = 30 * DAY_S;

/// How long ago `timestamp` (RFC 3339; UTC where no zone is named) was; text that is no time stays as it is.
pub fn age(timestamp: &str) -> String {
    ago(timestamp, OffsetDateTime::now_utc())
}

fn ago(timestamp: &str, now: OffsetDateTime) -> String {
    let Some(then) = parsed(timestamp) else { return timestamp.to_owned() };
    let seconds = (now - then).max(Duration::ZERO).whole_seconds();
    match seconds {
        0 => "now".to_owned(),
        1..MINUTE_S => format!("{seconds} s ago"),
        MINUTE_S..HOUR_S => format!("{} min ago", seconds / MINUTE_S),
        HOUR_S..DAY_S => format!("{} h ago", seconds / HOUR_S),
        DAY_S..RELATIVE_MAX_S => format!("{} d ago", seconds / DAY_S),
        _ => then.date().to_string(),
    }
}

fn parsed(timestamp: &str) -> Option<OffsetDateTime> {
    let zoned = || OffsetDateTime::parse(timestamp, &Rfc3339).ok();
    zoned().or_else(|| OffsetDateTime::parse(&format!("{timestamp}Z"), &Rfc3339).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_shortly() {
        let now = parsed("2026-11-21T12:00:00Z").unwrap();
        for (timestamp, said) in [
            ("2026-11-21T12:00:00.106587", "now"),
            ("2026-11-21T12:00:09Z", "now"),
            ("2026-11-21T11:59:18.5", "41 s ago"),
            ("2026-11-21T11:57:59", "2 min ago"),
            ("2026-11-21T13:00:00+02:00", "1 h ago"),
            ("2026-11-18T11:00:00", "3 d ago"),
            ("2026-01-02T11:00:00", "2026-01-02"),
            ("soon", "soon"),
            ("", ""),
        ] {
            assert_eq!(ago(timestamp, now), said, "{timestamp}");
        }
    }
}
