//! How much of history is kept, and what of it is forgotten.

use chv_domain::{Forgotten, KeepFor, KeepSize, Retention, Seq, Timestamp};

use super::error::WireError;
use crate::v1;

/// A setting, as it is sent.
pub fn retention_to_wire(retention: Retention) -> v1::Retention {
    v1::Retention {
        keep_for_s: retention.keep_for.map_or(0, KeepFor::seconds),
        keep_size_bytes: retention.keep_size.map_or(0, KeepSize::bytes),
    }
}

/// A setting, as it was sent.
pub fn retention_from_wire(retention: Option<v1::Retention>) -> Result<Retention, WireError> {
    let retention = retention.ok_or_else(|| WireError::missing("retention"))?;
    // Zero is no limit.
    Ok(Retention {
        keep_for: KeepFor::from_seconds(retention.keep_for_s).ok(),
        keep_size: KeepSize::from_bytes(retention.keep_size_bytes).ok(),
    })
}

/// What is forgotten, as it is sent.
pub fn forgotten_to_wire(forgotten: Forgotten) -> v1::Forgotten {
    v1::Forgotten {
        upto: forgotten.upto.0,
        kept_from_us: forgotten.kept_from.0,
    }
}

/// What is forgotten, as it was sent.
pub fn forgotten_from_wire(forgotten: Option<v1::Forgotten>) -> Result<Forgotten, WireError> {
    let forgotten = forgotten.ok_or_else(|| WireError::missing("forgotten"))?;
    Ok(Forgotten {
        upto: Seq(forgotten.upto),
        kept_from: Timestamp(forgotten.kept_from_us),
    })
}
