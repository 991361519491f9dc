//! `chv cluster set-retention`: how much of history is kept.

use std::io::Write;

use chv_domain::{Command, KeepFor, KeepSize, Retention};

use crate::change::{Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

/// Say how much of history is kept. What is beyond a limit is forgotten, file by file, by every replica and for good;
/// `chv cluster get` shows the setting and what is kept. A limit that is not given is lifted.
///
/// The present state, and the answers to commands sent again within an hour, don't depend on history.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv cluster set-retention --keep-for 90d
  chv cluster set-retention --keep-for 90d --keep-size 20GiB
  chv cluster set-retention --forever")]
#[command(group(clap::ArgGroup::new("limits").required(true).multiple(true)))]
pub(crate) struct SetRetention {
    /// Forget events that are older, such as `90d` or `12h`.
    #[arg(long, group = "limits", value_name = "TIME")]
    keep_for: Option<KeepFor>,
    /// Forget the oldest events when sealed history takes up more of a replica's disk, such as `20GiB`.
    #[arg(long, group = "limits", value_name = "SIZE")]
    keep_size: Option<KeepSize>,
    /// Forget nothing, as in the beginning.
    #[arg(long, group = "limits", conflicts_with_all = ["keep_for", "keep_size"])]
    forever: bool,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl SetRetention {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let retention = Retention {
            keep_for: self.keep_for,
            keep_size: self.keep_size,
        };
        Change::of_cluster(
            "set",
            format!("retention {retention}"),
            Command::SetRetention { retention },
        )
        .expecting(self.expect)
        .make(session, self.waiting, to)
        .await
    }
}
