//! The `limits.*` keys: each field of [`Limits`], its range and how to reach it.

use std::time::Duration;

use gateway::Limits;

/// One limit of `T` as a key. Durations are whole milliseconds and end in `_ms`, or whole seconds and end in `_s`.
pub struct Row<T> {
    pub key: &'static str,
    pub min: u64,
    pub max: u64,
    pub get: fn(&T) -> u64,
    pub set: fn(&mut T, u64),
}

// A field of `Limits`, or of a group in it: `watch.rest_max` is `limits.watch_rest_max_ms`.
macro_rules! count {
    ($field:ident $(. $of_group:ident)*, $min:expr, $max:expr) => {
        Row {
            key: concat!("limits.", stringify!($field) $(, "_", stringify!($of_group))*),
            min: $min,
            max: $max,
            get: |limits| u64::try_from(limits.$field $(. $of_group)*).unwrap_or(u64::MAX),
            // In range of the field's type: `max` is checked before.
            set: |limits, value| {
                limits.$field $(. $of_group)* = value.try_into().unwrap_or(limits.$field $(. $of_group)*);
            },
        }
    };
}

macro_rules! time_ms {
    ($field:ident $(. $of_group:ident)*, $min:expr, $max:expr) => {
        Row {
            key: concat!("limits.", stringify!($field) $(, "_", stringify!($of_group))*, "_ms"),
            min: $min,
            max: $max,
            get: |limits| u64::try_from(limits.$field $(. $of_group)*.as_millis()).unwrap_or(u64::MAX),
            set: |limits, value| limits.$field $(. $of_group)* = Duration::from_millis(value),
        }
    };
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const HOUR_MS: u64 = 3_600_000;

pub const ROWS: &[Row<Limits>] = &[
    count!(head_bytes_max, KIB, MIB),
    count!(target_bytes_max, 128, MIB),
    count!(header_lines_max, 8, 1_000),
    time_ms!(head_timeout, 100, HOUR_MS),
    count!(body_bytes_max, KIB, 4 * GIB - 1),
    count!(buffered_bytes_max, MIB, 1024 * GIB),
    count!(body_rate_bytes_per_s, 1, GIB),
    time_ms!(body_rate_grace, 100, HOUR_MS),
    time_ms!(body_timeout, 100, 24 * HOUR_MS),
    time_ms!(write_stall_timeout, 100, HOUR_MS),
    time_ms!(stream_keep_alive, 100, HOUR_MS),
    time_ms!(keep_alive_timeout, 100, 24 * HOUR_MS),
    count!(requests_per_connection_max, 1, 1_000_000_000),
    count!(connections_max, 1, 10_000_000),
    count!(h2_streams_max, 1, 10_000),
    count!(upstream_head_bytes_max, KIB, 16 * MIB),
    count!(reply_buffer_bytes_max, KIB, GIB),
    count!(attempts_max, 1, 20),
    count!(waiting_per_provider_max, 0, 1_000_000),
    count!(waiting_per_model_max, 0, 1_000_000),
    time_ms!(waiting_timeout, 1, HOUR_MS),
    count!(pool_idle_per_endpoint_max, 0, 100_000),
    count!(recent_requests_max, 0, 100_000),
    time_ms!(left_behind_timeout, 100, 24 * HOUR_MS),
    count!(left_behind_bytes_max, KIB, GIB),
    count!(left_behind_max, 0, 100_000),
    time_ms!(lookup_interval, 1_000, 24 * HOUR_MS),
    time_ms!(apply_wait_max, 0, 60_000),
    time_ms!(drain_delay, 0, HOUR_MS),
    time_ms!(drain_timeout, 0, 24 * HOUR_MS),
    time_ms!(watch.probe_interval, 10, HOUR_MS),
    time_ms!(watch.doubt_interval, 10, HOUR_MS),
    time_ms!(watch.lone_interval, 10, HOUR_MS),
    time_ms!(watch.probe_timeout, 10, HOUR_MS),
    time_ms!(watch.report_interval, 10, HOUR_MS),
    time_ms!(watch.report_timeout, 10, HOUR_MS),
    count!(watch.report_bytes_max, KIB, 64 * MIB),
    count!(watch.schema_bytes_max, KIB, 64 * MIB),
    time_ms!(watch.rest_max, 10, 24 * HOUR_MS),
    time_ms!(watch.failed_rest_max, 10, HOUR_MS),
    count!(watch.concurrent_max, 1, 10_000),
    count!(watch.asked_per_second_max, 1, 100_000),
    count!(watch.addresses_max, 0, 100_000),
    time_ms!(watch.table_interval, 10, HOUR_MS),
    time_ms!(watch.sight.look_interval, 10, HOUR_MS),
    time_ms!(watch.sight.out_after, 0, HOUR_MS),
    time_ms!(watch.sight.back_after, 0, HOUR_MS),
    time_ms!(watch.sight.other_reason_after, 0, HOUR_MS),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of `Limits`, read off its debug form; those of a group with its name before theirs.
    fn fields() -> Vec<String> {
        let (text, mut groups) = (format!("{:#?}", Limits::default()), Vec::new());
        let field = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            let depth = (name.len() - name.trim_start().len()) / 4;
            groups.truncate(depth - 1);
            groups.push(name.trim_start().to_owned());
            (!value.ends_with('{')).then(|| groups.join("_"))
        };
        text.lines().filter_map(field).collect()
    }

    #[test]
    fn every_limit_of_the_gateway_has_a_key() {
        let keys: Vec<_> =
            ROWS.iter().map(|row| row.key.trim_start_matches("limits.").trim_end_matches("_ms")).collect();
        let missing: Vec<_> = fields().into_iter().filter(|name| !keys.contains(&name.as_str())).collect();
        assert!(missing.is_empty(), "no key for {missing:?}");
    }

    #[test]
    fn every_default_is_in_its_range_and_every_value_of_a_range_can_be_set() {
        for row in ROWS {
            let mut limits = Limits::default();
            let default = (row.get)(&limits);
            assert!((row.min..=row.max).contains(&default), "{}: {default}", row.key);
            for value in [row.min, row.max] {
                (row.set)(&mut limits, value);
                assert_eq!((row.get)(&limits), value, "{}", row.key);
            }
        }
    }
}
