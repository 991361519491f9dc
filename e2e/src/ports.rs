//! Free ports on loopback, for programs that must get the same port again after a restart.
//!
//! They lie below the range from which the kernel takes ports for outgoing connections: there, a client that tries to
//! reach a killed server can be given the server's own port, and keep the server from coming back.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// `count` ports that nobody listens on. Another program may take one before it is used; the caller then tries others.
///
/// # Errors
/// When so many are not found.
pub fn free(count: usize) -> Result<Vec<u16>> {
    let mut found = BTreeSet::new();
    for attempt in 0..1_000_u64 {
        if found.len() == count {
            return Ok(found.into_iter().collect());
        }
        let draw = RandomState::new().hash_one(attempt) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start + u16::try_from(draw).expect("less than the range's length");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.insert(port);
        }
    }
    bail!("found no {count} free ports on loopback from {RANGE:?}")
}
