//! Medians and quantiles.

use crate::plan::Quantiles;

/// Quantiles of times in nanoseconds, which may be negative.
pub(crate) fn quantiles(mut times: Vec<i64>) -> Quantiles {
    times.sort_unstable();
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(rank).map_or(0.0, |time| *time as f64 / 1_000.0)
    };
    Quantiles {
        p50_us: at(50),
        p99_us: at(99),
    }
}

/// The middle one; of an even number, the lower of the two in the middle. 0 of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_hundred_times_then_the_quantiles_are_the_50th_and_the_99th() {
        let found = quantiles((1..=100).rev().map(|microseconds| microseconds * 1_000).collect());
        assert_eq!((found.p50_us, found.p99_us), (50.0, 99.0));
        assert_eq!(quantiles(Vec::new()), Quantiles::default());
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
    }
}
