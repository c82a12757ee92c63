//! Medians, percentiles, ratios.

use std::time::Duration;

use serde::Serialize;

/// Durations of requests, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub count: usize,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Percentiles {
    pub fn of(durations: &mut [Duration]) -> Self {
        durations.sort_unstable();
        let at = |share: f64| {
            let index = (share * durations.len() as f64) as usize;
            let index = index.min(durations.len().saturating_sub(1));
            durations.get(index).map_or(0.0, |d| d.as_nanos() as f64 / 1e3)
        };
        Self {
            count: durations.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        }
    }
}

/// In milliseconds; 0 without values.
pub fn mean_ms(durations: &[Duration]) -> f64 {
    let sum: f64 = durations.iter().map(Duration::as_secs_f64).sum();
    if durations.is_empty() { 0.0 } else { sum * 1e3 / durations.len() as f64 }
}

/// `None` when there are no values.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values.get(middle).copied(),
        _ => Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0, f64::NAN]), Some(2.5));
    }

    #[test]
    fn a_mean_of_nothing_is_zero() {
        assert_eq!(mean_ms(&[]), 0.0);
        assert_eq!(mean_ms(&[Duration::from_millis(10), Duration::from_millis(40)]), 25.0);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut durations: Vec<_> = (1..=1000).rev().map(Duration::from_micros).collect();
        let p = Percentiles::of(&mut durations);
        assert_eq!((p.count, p.p50_us, p.p99_us, p.max_us), (1000, 501.0, 991.0, 1000.0));
        assert_eq!(Percentiles::of(&mut []), Percentiles::default());
    }
}
