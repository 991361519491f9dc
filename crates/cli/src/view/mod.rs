//! What is shown of each kind of thing: the fields that programs read, and the cells that people read.
//! The fields' names are stable; docs/cli.md lists them.

pub(crate) mod cluster;
pub(crate) mod event;
pub(crate) mod extent;
pub(crate) mod host;
mod setting;
pub(crate) mod status;
pub(crate) mod vm;

use chv_proto::convert::WireError;

use crate::exit::Exit;
use crate::failure::Failure;

/// An answer that does not fit the contract.
pub(crate) fn garbled(error: &WireError) -> Failure {
    Failure::new(
        Exit::Internal,
        format!("the scheduler's answer makes no sense: {error}"),
    )
    .or_try("`chv --version` and `chv status -o json`: the versions may not fit together")
}
