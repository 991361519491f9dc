//! What breaks things: disks that lose what was not flushed, fail or are slow, links that are cut, processes that are killed
//! or stopped; and the load that runs meanwhile and remembers what it was told.
//!
//! All of it is in namespaces of the test's own, so the kernel removes what is left however the test ends. It needs
//! root. What is right or wrong of what happened is for [`crate::history_check`] to say.

mod clients;
mod disks;
mod failing_disk;
mod frozen;
mod links;
mod load;
mod loop_disk;
mod losing_disk;
mod misfortune;
mod namespaces;
mod read_only_mount;
mod rounds;
mod slow_disk;
mod small_disk;
mod system;

pub use clients::Clients;
pub use disks::{Disks, PowerCut};
pub use failing_disk::FailingDisk;
pub use links::{End, Links};
pub use load::{Acknowledged, Load};
pub use losing_disk::{Loses, Loss, Switch};
pub use misfortune::{Misfortune, befall};
pub use namespaces::in_own_namespaces;
pub use read_only_mount::ReadOnlyMount;
pub use rounds::Rounds;
pub use slow_disk::SlowDisk;
pub use small_disk::SmallDisk;
