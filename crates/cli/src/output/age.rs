//! Spans of time in one or two units, as people read them.

use std::time::Duration;

use chv_domain::Timestamp;

/// How long ago `then` was at `now`; `-` when it never was.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    if then == Timestamp::default() {
        return "-".to_owned();
    }
    duration(now.since(then))
}

/// A span, rounded down to what matters at its size: `850ms`, `4.2s`, `2m5s`, `3h12m`, `8d`.
pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{}ms", span.as_millis()),
        1..10 => format!("{seconds}.{}s", span.subsec_millis() / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_shows_what_matters_at_its_size() {
        for (millis, shown) in [
            (0, "0ms"),
            (999, "999ms"),
            (4_290, "4.2s"),
            (59_999, "59s"),
            (125_000, "2m5s"),
            (11_520_000, "3h12m"),
            (700_000_000, "8d"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn what_never_was_has_no_age() {
        assert_eq!(age(Timestamp(0), Timestamp(5)), "-");
        assert_eq!(age(Timestamp(9_000_000), Timestamp(5)), "0ms");
    }
}
