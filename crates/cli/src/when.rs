//! Moments as people write them: how long ago, a time, or the number of an event.

use std::str::FromStr;

use chv_domain::{Seq, Timestamp};
use chv_proto::convert;

use crate::cli::span;

/// A time: `10m` for ten minutes ago, or RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// So long ago.
    Ago(std::time::Duration),
    /// Then.
    Time(Timestamp),
}

impl When {
    /// The time that it stands for at `now`.
    pub(crate) fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.minus(span),
            Self::Time(time) => time,
        }
    }

    /// The same in milliseconds since the Unix epoch, as queries carry it; never 0, which stands for no time.
    pub(crate) fn millis(self, now: Timestamp) -> u64 {
        self.time(now).as_millis().max(1)
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = text.strip_suffix("ago").map_or(text, str::trim_end);
        // A number alone would be seconds to some, and an event to others.
        if !ago.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(ago) = span(ago)
        {
            return Ok(Self::Ago(ago));
        }
        let wrong =
            || format!("`{text}` is no time: write how long ago, such as 10m, or 2026-11-21T08:30:00Z");
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        let micros = u64::try_from(time.as_microsecond()).map_err(|_| wrong())?;
        Ok(Self::Time(Timestamp(micros)))
    }
}

/// A moment of the past: an event, or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Right after this event.
    Event(Seq),
    /// At this time.
    At(When),
}

impl Moment {
    /// What to ask for at `now`.
    pub(crate) fn at(self, now: Timestamp) -> convert::At {
        match self {
            Self::Event(seq) => convert::At::Seq(seq),
            Self::At(when) => convert::At::Time(when.time(now)),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<u64>() {
            Ok(0) => Err("events are numbered from 1".to_owned()),
            Ok(seq) => Ok(Self::Event(Seq(seq))),
            Err(_) => {
                let when: When = text.parse().map_err(|_| {
                    format!(
                        "`{text}` is no moment: write an event's number, how long ago, such as 10m, or 2026-11-21T08:30:00Z"
                    )
                })?;
                Ok(Self::At(when))
            }
        }
    }
}

/// The option that shows things as they were.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct AsOf {
    /// As it was then: an event's number, how long ago (`10m`), or a time (`2026-11-21T08:30:00Z`).
    #[arg(long, value_name = "SEQ|TIME|AGO")]
    pub(crate) at: Option<Moment>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_read() {
        let minutes = |minutes: u64| Moment::At(When::Ago(Duration::from_secs(60 * minutes)));
        for (text, moment) in [
            ("41", Moment::Event(Seq(41))),
            ("10m", minutes(10)),
            ("1h30m", minutes(90)),
            ("5m ago", minutes(5)),
            (
                "1970-01-01T00:00:01.5Z",
                Moment::At(When::Time(Timestamp(1_500_000))),
            ),
            ("1970-01-01T01:00:00+01:00", Moment::At(When::Time(Timestamp(0)))),
        ] {
            assert_eq!(text.parse(), Ok(moment), "{text}");
        }
        for wrong in ["", "0", "-5", "soon", "2026-11-21", "1969-01-01T00:00:00Z"] {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
        assert!("41".parse::<When>().is_err(), "a number is no time");
    }

    #[test]
    fn ago_counts_from_now() {
        let now = Timestamp(100_000_000);
        let ago: When = "10s".parse().unwrap();
        assert_eq!(ago.time(now), Timestamp(90_000_000));
        assert_eq!("1h".parse::<When>().unwrap().millis(now), 1);
    }
}
