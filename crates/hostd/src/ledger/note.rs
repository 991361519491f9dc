//! What is noted of one VM.

use chv_domain::{Epoch, ExitReason, Run, Seq, Timestamp};
use serde::{Deserialize, Serialize};

use crate::plan::{Boots, Stop};

/// What is noted of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmNote {
    /// The highest grant that was seen; an older one is refused.
    pub epoch: Epoch,
    /// Its process.
    pub noted: Noted,
}

/// What is noted of a VM's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Noted {
    /// There is none, and nothing is left to report of one.
    Nothing,
    /// One is about to be started: it may be there, and it may have run.
    Launching {
        /// Under this grant.
        epoch: Epoch,
    },
    /// It runs, or ran when this was noted.
    Running {
        /// Under this grant.
        epoch: Epoch,
        /// When it was started.
        launched: Timestamp,
        /// A graceful stop under way.
        stop: Option<Stop>,
        /// Why it is being ended by this daemon, when it is.
        killed: Option<ExitReason>,
        /// Which orders to boot anew it has behind it.
        boots: Boots,
        /// The last order or grant that was heard.
        order: Seq,
        /// How often in a row it was started again under that order.
        restarts: u32,
    },
    /// It ended, and the log may not know.
    Ended {
        /// Under this grant.
        epoch: Epoch,
        /// How.
        reason: ExitReason,
        /// The run that ended.
        run: Run,
    },
}
