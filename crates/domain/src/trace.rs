//! The trace that a change belongs to, in the W3C's form (<https://www.w3.org/TR/trace-context/>).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place in a distributed trace. Written as a `traceparent` header of version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TraceContext {
    /// The whole trace; never all zero.
    #[serde(with = "serde_bytes")]
    pub trace_id: [u8; 16],
    /// The span that what follows is a child of; never all zero.
    #[serde(with = "serde_bytes")]
    pub span_id: [u8; 8],
    /// Whether the sender records this trace.
    pub sampled: bool,
}

/// A text that is not a `traceparent` of version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a W3C traceparent: expected 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, neither id all zero"
)]
pub struct TraceParseError;

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace_id
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", u8::from(self.sampled))
    }
}

fn hex<const N: usize>(text: &str) -> Result<[u8; N], TraceParseError> {
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * N || !text.bytes().all(lower_hex) {
        return Err(TraceParseError);
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| TraceParseError)?;
    }
    Ok(bytes)
}

impl FromStr for TraceContext {
    type Err = TraceParseError;

    fn from_str(text: &str) -> Result<Self, TraceParseError> {
        let mut parts = text.split('-');
        let (Some("00"), Some(trace), Some(span), Some(flags), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(TraceParseError);
        };
        let (trace_id, span_id, [flags]) = (hex(trace)?, hex(span)?, hex::<1>(flags)?);
        if trace_id == [0; 16] || span_id == [0; 8] {
            return Err(TraceParseError);
        }
        Ok(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace: [u8; 16], span: [u8; 8], sampled: bool) {
            prop_assume!(trace != [0; 16] && span != [0; 8]);
            let context = TraceContext { trace_id: trace, span_id: span, sampled };
            prop_assert_eq!(context.to_string().parse(), Ok(context));
        }

        #[test]
        fn junk_is_refused_without_a_panic(text in ".{0,60}") {
            let _ = text.parse::<TraceContext>();
        }
    }

    #[test]
    fn an_all_zero_id_is_refused() {
        let zero = format!("00-{}-{}-01", "0".repeat(32), "1".repeat(16));
        assert_eq!(zero.parse::<TraceContext>(), Err(TraceParseError));
    }
}
