//! Whether a VM is started again, and which are started first.

use chv_domain::spec::{Restart, StartPriority, Within};

use super::given;
use crate::convert::error::{WireError, parse_optional};
use crate::v1;

/// As it is sent; nothing where nothing is said.
pub(crate) fn restart_to_wire(restart: &Restart) -> Option<v1::Restart> {
    if *restart == Restart::default() {
        return None;
    }
    Some(v1::Restart {
        policy: restart.policy.to_string(),
        backoff_s: number(restart.backoff),
        max_backoff_s: number(restart.max_backoff),
        limit: number(restart.limit),
        reset_after_s: number(restart.reset_after),
    })
}

fn number<const LEAST: u64, const MOST: u64>(number: Option<Within<LEAST, MOST>>) -> u32 {
    number
        .and_then(|number| u32::try_from(number.get()).ok())
        .unwrap_or_default()
}

pub(super) fn restart_from_wire(restart: v1::Restart) -> Result<Restart, WireError> {
    Ok(Restart {
        policy: parse_optional("policy", &restart.policy)?.unwrap_or_default(),
        backoff: given("backoff_s", u64::from(restart.backoff_s))?,
        max_backoff: given("max_backoff_s", u64::from(restart.max_backoff_s))?,
        limit: given("limit", u64::from(restart.limit))?,
        reset_after: given("reset_after_s", u64::from(restart.reset_after_s))?,
    })
}

pub(super) fn priority_from_wire(number: i32) -> Result<StartPriority, WireError> {
    StartPriority::try_from(number).map_err(|error| WireError::new("start_priority", error))
}
