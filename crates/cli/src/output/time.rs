//! Points in time, as RFC 3339 in UTC with milliseconds.

use chv_domain::Timestamp;

/// The time in RFC 3339; the far end of the calendar for what lies beyond it.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let micros = i64::try_from(time.0).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

/// The time of a wire field in which 0 stands for none.
pub(crate) fn since(micros: u64) -> Option<String> {
    (micros != 0).then(|| rfc3339(Timestamp(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(
            rfc3339(Timestamp(1_763_689_690_123_999)),
            "2025-11-21T01:48:10.123Z"
        );
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(Timestamp(u64::MAX)).starts_with("9999-12-3"));
        assert_eq!(since(0), None);
    }
}
