//! Which orders to boot anew a process has behind it. An order is carried out once: what is noted before the effect, and
//! what the guest says of itself after it, tell a daemon that was restarted in between whether it was.

use std::fmt;
use std::time::Duration;

use chv_domain::{Seq, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest id of a boot that is taken from a guest, in bytes.
const MAX_ID: usize = 64;

/// How long a guest that was found has to say which boot it is in.
const SAYS_BOOT: Duration = Duration::from_secs(10);

/// What a guest calls the time from one boot to the next. Its own word, not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootId(String);

impl BootId {
    /// From what a guest said; `None` for what no guest says in good faith.
    pub fn new(text: &str) -> Option<Self> {
        let sane = (1..=MAX_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        sane.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reset that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The order that it carries out.
    pub order: Seq,
    /// The boot that it ends, when the guest had said.
    pub ends: Option<BootId>,
}

/// Which orders to boot anew a process has behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boots {
    /// It has booted after this order, and those before it.
    pub after: Seq,
    /// A reset of which it is not known whether it was done.
    pub begun: Option<Begun>,
}

/// What is to be done about a reset of which it is not known whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It was done.
    Done,
    /// It was not, as far as can be told.
    Open,
    /// The guest may still say.
    Until(Timestamp),
}

impl Begun {
    /// What is known of it: `says` is the boot that the guest says it is in, if it has said since `found`, when it was
    /// found by this daemon. Without a word from a guest it is done again.
    pub fn doubt(&self, says: Option<&BootId>, found: Timestamp, now: Timestamp) -> Doubt {
        let until = found.min(now).plus(SAYS_BOOT);
        match (&self.ends, says) {
            (Some(ended), Some(says)) if ended != says => Doubt::Done,
            (Some(_), None) if now < until => Doubt::Until(until),
            _ => Doubt::Open,
        }
    }
}
