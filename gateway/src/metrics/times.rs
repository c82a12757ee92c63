//! Times of one address. Plain numbers beside its other state: nothing is looked up, and what a stream's events cost
//! is kept beside the stream and added up now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::TIME_BUCKETS_S;

/// One for each bound, and one for what is beyond.
const COUNTS: usize = TIME_BUCKETS_S.len() + 1;
/// So many are kept before they are added up.
const KEPT_MAX: u8 = 64;

fn place(took: Duration) -> usize {
    let seconds = took.as_secs_f64();
    TIME_BUCKETS_S.iter().position(|bound| seconds <= *bound).unwrap_or(TIME_BUCKETS_S.len())
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// A histogram, shared by all requests.
#[derive(Debug, Default)]
pub struct Times {
    counts: [AtomicU64; COUNTS],
    sum_us: AtomicU64,
}

impl Times {
    pub fn saw(&self, took: Duration) {
        if let Some(count) = self.counts.get(place(took)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(micros(took), Ordering::Relaxed);
    }

    /// For a scrape; none while nothing was seen.
    pub fn collect(&self) -> Option<prometheus::proto::Histogram> {
        let mut total = 0;
        let mut cumulated = self.counts.iter().map(|count| {
            total += count.load(Ordering::Relaxed);
            total
        });
        let buckets = TIME_BUCKETS_S.iter().zip(cumulated.by_ref()).map(|(bound, count)| {
            let mut bucket = prometheus::proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        let total = cumulated.next()?;
        histogram.set_sample_count(total);
        histogram.set_sample_sum(self.sum_us.load(Ordering::Relaxed) as f64 / 1e6);
        (total > 0).then_some(histogram)
    }
}

/// Those of one stream that are not added up yet.
#[derive(Debug, Default)]
pub struct Kept {
    counts: [u8; COUNTS],
    count: u8,
    sum_us: u64,
}

impl Kept {
    pub fn saw(&mut self, took: Duration, all: &Times) {
        if let Some(count) = self.counts.get_mut(place(took)) {
            *count += 1;
        }
        self.sum_us = self.sum_us.saturating_add(micros(took));
        self.count += 1;
        if self.count == KEPT_MAX {
            self.add_to(all);
        }
    }

    pub fn add_to(&mut self, all: &Times) {
        let kept = std::mem::take(self);
        for (count, kept) in all.counts.iter().zip(kept.counts).filter(|(_, kept)| *kept > 0) {
            count.fetch_add(u64::from(kept), Ordering::Relaxed);
        }
        if kept.count > 0 {
            all.sum_us.fetch_add(kept.sum_us, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_beside_a_stream_comes_to_the_same() {
        let (each, kept) = (Times::default(), Times::default());
        let mut stream = Kept::default();
        for n in 0..1_000u64 {
            let took = Duration::from_micros(n * n);
            each.saw(took);
            stream.saw(took, &kept);
        }
        assert!(kept.collect().unwrap().get_sample_count() >= 1_000 - u64::from(KEPT_MAX));
        stream.add_to(&kept);
        stream.add_to(&kept);
        assert_eq!(kept.collect(), each.collect());
    }

    #[test]
    fn counts_go_up_from_bound_to_bound_and_the_longest_count_too() {
        let times = Times::default();
        assert_eq!(times.collect(), None);
        for ms in [1, 2, 900_000] {
            times.saw(Duration::from_millis(ms));
        }
        let histogram = times.collect().unwrap();
        let counts: Vec<_> = histogram.get_bucket().iter().map(|b| b.cumulative_count()).collect();
        assert_eq!((counts[0], counts[1], counts[13]), (1, 2, 2));
        assert_eq!((histogram.get_sample_count(), histogram.get_sample_sum()), (3, 900.003));
    }
}
