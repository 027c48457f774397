//! How long did replies take, all in all: counts by duration, in the form of a Prometheus histogram.

use std::time::Duration;

/// Upper ends of the classes, in microseconds; a last class takes what is longer.
pub const BOUNDS_US: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    classes: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Latencies {
    pub fn count(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.classes[BOUNDS_US.partition_point(|bound| *bound < us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many took no longer than each of [`BOUNDS_US`].
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut so_far = 0;
        BOUNDS_US.into_iter().zip(self.classes).map(move |(bound, count)| {
            so_far += count;
            (bound, so_far)
        })
    }

    pub fn total(&self) -> u64 {
        self.classes.iter().sum()
    }

    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_counts_in_every_class_that_holds_it() {
        let mut latencies = Latencies::default();
        [100, 101, 1_000_000, 9_000_000].into_iter().for_each(|us| latencies.count(Duration::from_micros(us)));
        let counts: Vec<u64> = latencies.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3]);
        assert_eq!((latencies.total(), latencies.sum_us()), (4, 10_000_201));
    }
}
