//! What becomes of a VM whose host is lost.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What becomes of a VM whose host can't be reached. See docs/adr/0026.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnHostLoss {
    /// It stays: never stopped for a lost connection, never started elsewhere.
    #[default]
    Stay,
    /// It runs under its host's lease: stopped there before the lease ends, and started on another host after.
    Failover,
}

impl OnHostLoss {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Stay, Self::Failover];

    /// As it is written in manifests and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stay => "stay",
            Self::Failover => "failover",
        }
    }
}

impl fmt::Display for OnHostLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for OnHostLoss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|choice| choice.as_str() == text);
        named.ok_or_else(|| format!("{text:?} is neither stay nor failover"))
    }
}
