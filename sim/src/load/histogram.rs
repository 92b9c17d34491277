//! Times from sending to arrival, counted in buckets of at most 1/16 of their value.

use std::time::Duration;

/// Sixteen buckets per power of two of nanoseconds: 8 KiB, one addition per value.
pub(super) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

const STEPS: u64 = 16;

impl Histogram {
    pub(super) fn new() -> Self {
        Histogram {
            buckets: vec![0; 64 * STEPS as usize],
            count: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
    }

    pub(super) fn add(&mut self, nanoseconds: u64) {
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
    }

    /// The value below which `share` (0 to 1) of all values lie, as the upper edge of its bucket;
    /// `None` when nothing was counted.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = rank(self.count, share)?;
        let mut seen = 0;
        let index = self.buckets.iter().position(|&n| {
            seen += n;
            seen >= rank
        })?;
        Some(Duration::from_nanos(upper_edge(index)))
    }
}

/// The place, from 1, of the value below which `share` (0 to 1) of `count` values lie, the nearest one;
/// `None` of no values.
pub(super) fn rank(count: u64, share: f64) -> Option<u64> {
    (count > 0).then(|| ((count as f64 * share).ceil() as u64).clamp(1, count))
}

fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let power = u64::from(63 - value.leading_zeros());
    let step = value >> (power - 4) & (STEPS - 1);
    ((power - 3) * STEPS + step) as usize
}

fn upper_edge(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let power = index / STEPS + 3;
    ((STEPS + index % STEPS + 1) << (power - 4)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_no_wider_than_a_sixteenth_of_it() {
        for power in 0..63 {
            for value in [1u64 << power, (1 << power) + 1, (1 << power) * 3 / 2] {
                let edge = upper_edge(bucket(value));
                assert!(
                    edge >= value && edge - value <= value / 16,
                    "{value}: {edge}"
                );
            }
        }
    }

    #[test]
    fn quantiles_of_a_known_row_come_out_within_a_sixteenth() {
        let mut times = Histogram::new();
        assert_eq!(times.quantile(0.5), None);
        for microsecond in 1..=1000 {
            times.add(microsecond * 1000);
        }
        let half = times.quantile(0.5).expect("values").as_micros();
        let most = times.quantile(0.99).expect("values").as_micros();
        assert!((500..=531).contains(&half), "{half}");
        assert!((990..=1055).contains(&most), "{most}");
        times.clear();
        assert_eq!(times.quantile(0.5), None);
    }
}
