//! Cuts a stream of bytes into lines. Pure; a line that is too long is dropped whole and told once.

/// What came out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its end; what is not UTF-8 in it is replaced.
    Text(String),
    /// A line longer than allowed.
    TooLong,
}

/// The line that is still being received.
#[derive(Debug)]
pub(crate) struct Lines {
    held: Vec<u8>,
    overflow: bool,
    max: usize,
}

impl Lines {
    /// Takes lines of at most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            held: Vec::new(),
            overflow: false,
            max,
        }
    }

    /// Takes what was received, and gives the lines that ended in it, without empty ones.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut ended = Vec::new();
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                if std::mem::take(&mut self.overflow) {
                    ended.push(Line::TooLong);
                } else if !self.held.is_empty() {
                    ended.push(Line::Text(String::from_utf8_lossy(&self.held).into_owned()));
                }
                self.held.clear();
            } else if self.held.len() < self.max {
                self.held.push(byte);
            } else {
                self.overflow = true;
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn given_a_line_that_is_too_long_when_pushed_then_only_that_one_is_lost() {
        let mut lines = Lines::new(4);
        assert_eq!(lines.push(b"abcde"), []);
        assert_eq!(
            lines.push(b"fgh\nok\r\n"),
            [Line::TooLong, Line::Text("ok".into())]
        );
        assert_eq!(lines.push(b"four\n"), [Line::Text("four".into())]);
    }

    proptest! {
        #[test]
        fn given_a_stream_cut_anywhere_when_pushed_then_the_lines_are_the_same(
            text in "[a-c\n]{0,60}", cuts in proptest::collection::vec(0usize..60, 0..8),
        ) {
            let whole = Lines::new(10).push(text.as_bytes());
            let mut lines = Lines::new(10);
            let mut pieces = Vec::new();
            let mut ends: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            ends.sort_unstable();
            ends.push(text.len());
            let mut from = 0;
            for end in ends {
                pieces.extend(lines.push(&text.as_bytes()[from..end]));
                from = end;
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
